//! Reads of a log that the journal's own writer wrote.

use bytes::Bytes;
use model::journal::Stream;
use store::log::Writer;

use super::*;

fn key(service: &str, version: &str) -> VersionKey {
    VersionKey::new(service.parse().expect("valid"), version.parse().expect("valid")).expect("short")
}

fn app() -> AppId {
    "s~shop".parse().expect("valid")
}

fn request(number: u64, key: VersionKey, lines: &[(Severity, &str)]) -> Entry {
    let mut request = Request::new(UNIX_EPOCH + Duration::from_secs(1_000 + number), &format!("{number:032x}"), [10, 0, 0, 1].into());
    request.version = Some(key);
    request.method = "GET".into();
    request.target = format!("/{number}");
    request.status = 200;
    request.took = Duration::from_millis(500);
    request.trace = Some(u128::from(number));
    request.lines = lines.iter().map(|(severity, text)| (*severity, (*text).to_owned())).collect();
    request.user = Some("ann@example.org".into());
    Entry::Request(Box::new(request))
}

fn output(number: u64, severity: Severity, text: &str) -> Entry {
    Entry::Output(Box::new(Output {
        at: UNIX_EPOCH + Duration::from_secs(1_000 + number),
        version: key("default", "v1"),
        instance: InstanceId::Opaque("a".into()),
        stream: Stream::Stderr,
        severity,
        text: text.to_owned(),
        trace: Some(format!("{number:032x}")),
        fields: Some(r#"{"logging.googleapis.com/sourceLocation":{"file":"a.py","line":3,"function":"f"}}"#.into()),
    }))
}

fn asked() -> pb::LogReadRequest {
    let version = pb::LogModuleVersion { module_id: None, version_id: Some("v1".into()) };
    pb::LogReadRequest { app_id: "s~shop".into(), module_version: vec![version], ..pb::LogReadRequest::default() }
}

struct Log {
    dir: tempfile::TempDir,
}

impl Log {
    fn of(entries: &[Entry]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut writer = Writer::open(dir.path(), 1 << 20).expect("opens");
        for entry in entries {
            writer.append(UNIX_EPOCH, entry).expect("appended");
        }
        writer.flush().expect("written");
        Self { dir }
    }

    fn read(&self, asked: &pb::LogReadRequest) -> Vec<pb::RequestLog> {
        let reader = Reader::open(self.dir.path()).expect("opens");
        let query = Query::of(asked, &app(), false).expect("good");
        find(Some(&reader), &app(), &query, Vec::new(), Vec::new()).expect("readable")
    }

    fn targets(&self, asked: &pb::LogReadRequest) -> Vec<String> {
        self.read(asked).into_iter().map(|log| log.resource).collect()
    }
}

#[test]
fn s10_requests_are_read_newest_first_in_pages() {
    let log = Log::of(&(0..50).map(|number| request(number, key("default", "v1"), &[])).collect::<Vec<_>>());
    let mut all = Vec::new();
    let mut next = pb::LogReadRequest { count: Some(7), ..asked() };
    loop {
        let mut page = log.read(&next);
        let more = page.len() > 7;
        page.truncate(7);
        all.extend(page.iter().map(|log| log.resource.clone()));
        next.offset = page.last().and_then(|log| log.offset.clone());
        if !more {
            break;
        }
    }
    assert_eq!(all, (0..50).rev().map(|number| format!("/{number}")).collect::<Vec<_>>());
    let one = &log.read(&asked())[0];
    assert_eq!((one.start_time, one.end_time, one.latency), (1_049_000_000, 1_049_500_000, 500_000));
    assert_eq!(one.combined, "10.0.0.1 - ann [01/Jan/1970:00:17:29 +0000] \"GET /49 HTTP/1.1\" 200 0 - -");
    assert_eq!((one.module_id(), one.version_id.as_str(), one.nickname()), ("default", "v1", "ann"));
}

#[test]
fn s10_reads_are_of_versions_times_and_levels() {
    let log = Log::of(&[
        request(1, key("default", "v1"), &[(Severity::Info, "one")]),
        request(2, key("api", "v1"), &[]),
        request(3, key("default", "v2"), &[]),
        output(4, Severity::Error, "flushed"),
        request(4, key("default", "v1"), &[(Severity::Warning, "careful")]),
        request(5, key("default", "v1"), &[]),
    ]);
    assert_eq!(log.targets(&asked()), ["/5", "/4", "/1"]);
    let version = |id: &str| pb::LogReadRequest { module_version: Vec::new(), version_id: vec![id.into()], ..asked() };
    assert_eq!(log.targets(&version("api:v1")), ["/2"]);
    assert_eq!(log.targets(&version("v2.123")), ["/3"]);
    let at_least = |level| pb::LogReadRequest { minimum_log_level: Some(level), ..asked() };
    assert_eq!(log.targets(&at_least(0)), ["/4", "/1"], "requests without lines are left out");
    assert_eq!(log.targets(&at_least(3)), ["/4"], "what was flushed counts");
    assert_eq!(log.targets(&at_least(4)), [""; 0]);
    let times = pb::LogReadRequest { start_time: Some(1_001_500_000), end_time: Some(1_005_500_000), ..asked() };
    assert_eq!(log.targets(&times), ["/4", "/1"], "the end is left out, the beginning is not");
    let with_lines = log.read(&pb::LogReadRequest { include_app_logs: Some(true), ..asked() });
    let lines = &with_lines[1].line;
    assert_eq!(lines.iter().map(|line| (line.level, line.log_message.as_str())).collect::<Vec<_>>(), [(2, "careful"), (3, "flushed")]);
    assert_eq!(lines[1].source_location.as_ref().map(pb::SourceLocation::file), Some("a.py"));
    let ids = |ids: &[u64]| ids.iter().map(|id| Bytes::from(format!("{id:032x}"))).collect();
    let named = pb::LogReadRequest { request_id: ids(&[5, 9, 2]), ..asked() };
    assert_eq!(log.targets(&named), ["/5", "/2"], "in the order of the question; unknown ones are left out");
}

#[test]
fn s10_what_makes_no_sense_is_refused() {
    let check = |change: &dyn Fn(&mut pb::LogReadRequest)| {
        let mut asked = asked();
        change(&mut asked);
        let failure = Query::of(&asked, &app(), false).expect_err("refused");
        assert!(matches!(failure, Failure::Application(1, _)), "{failure:?}");
    };
    check(&|asked| asked.module_version.clear());
    check(&|asked| asked.version_id.push("v1".into()));
    check(&|asked| asked.app_id = "s~other".into());
    check(&|asked| asked.offset = Some(pb::LogOffset { request_id: Some("x".into()) }));
    check(&|asked| asked.request_id.push("not hexadecimal".into()));
    check(&|asked| {
        asked.request_id.push("ab".into());
        asked.start_time = Some(1);
    });
    check(&|asked| asked.minimum_log_level = Some(5));
    check(&|asked| asked.host_regex = Some(".*".into()));
}

#[test]
fn s10_requests_under_way_are_read_if_asked_for() {
    let visit = Visit {
        log_id: "ab".into(),
        at: Some(UNIX_EPOCH + Duration::from_secs(7)),
        target: "/now".parse().expect("a target"),
        ..Visit::default()
    };
    let under = || vec![Under { key: key("default", "v1"), instance: InstanceId::Number(3), visit: Arc::new(visit.clone()) }];
    let query = Query::of(&pb::LogReadRequest { include_incomplete: Some(true), ..asked() }, &app(), false).expect("good");
    let found = find(None, &app(), &query, under(), Vec::new()).expect("readable");
    assert_eq!((found[0].resource.as_str(), found[0].finished(), found[0].end_time, found[0].replica_index()), ("/now", false, 0, 3));
    let offset = found[0].offset.clone();
    let later = Query::of(&pb::LogReadRequest { include_incomplete: Some(true), offset, ..asked() }, &app(), false).expect("good");
    assert!(!later.incomplete, "they come first, and once");
}

#[test]
fn days_are_written_as_apache_does() {
    let day = |seconds: i64| day(seconds * 1_000_000);
    assert_eq!(day(0), "01/Jan/1970:00:00:00 +0000");
    assert_eq!(day(951_782_400), "29/Feb/2000:00:00:00 +0000");
    assert_eq!(day(1_769_860_799), "31/Jan/2026:11:59:59 +0000");
}
