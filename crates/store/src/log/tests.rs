//! The log as its readers see it, while it grows, is rotated and torn.

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use model::ids::{InstanceId, VersionKey};
use model::journal::{Entry, Output, Request, Severity, Stream};

use super::*;

fn key(service: &str) -> VersionKey {
    VersionKey::new(service.parse().expect("valid"), "v1".parse().expect("valid")).expect("short")
}

fn said(text: &str) -> Entry {
    Entry::Output(Box::new(Output {
        at: UNIX_EPOCH + Duration::from_secs(100),
        version: key("default"),
        instance: InstanceId::Opaque("e4b565394caa".into()),
        stream: Stream::Stderr,
        severity: Severity::Error,
        text: text.to_owned(),
        trace: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        fields: Some(r#"{"user":"ann"}"#.into()),
    }))
}

fn notice(text: &str) -> Entry {
    Entry::Notice { severity: Severity::Info, version: None, text: text.to_owned() }
}

fn asked(log_id: &str) -> Entry {
    let mut request = Request::new(UNIX_EPOCH + Duration::from_millis(1_500), log_id, [127, 0, 0, 1].into());
    request.version = Some(key("api"));
    request.status = 503;
    request.trace = Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    request.lines = vec![(Severity::Warning, "careful\u{1b}[2J".into())];
    request.protocol = "HTTP/2.0";
    Entry::Request(Box::new(request))
}

struct Log {
    dir: tempfile::TempDir,
    writer: Writer,
}

impl Log {
    fn new(limit: u64) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let writer = Writer::open(dir.path(), limit).expect("opens");
        Self { dir, writer }
    }

    fn add(&mut self, entry: &Entry) {
        self.writer.append(UNIX_EPOCH + Duration::from_secs(50), entry).expect("appended");
    }

    fn flush(&mut self) {
        self.writer.flush().expect("written");
    }

    fn reader(&self) -> Reader {
        Reader::open(self.dir.path()).expect("opens")
    }

    fn size(&self) -> u64 {
        let sizes = fs::read_dir(self.dir.path()).expect("readable").map(|file| file.expect("there").metadata().expect("there").len());
        sizes.sum()
    }
}

fn texts(found: impl Iterator<Item = io::Result<Found>>) -> Vec<String> {
    found.map(|found| text(&found.expect("readable").entry)).collect()
}

fn text(entry: &Entry) -> String {
    match entry {
        Entry::Request(request) => request.log_id.clone(),
        Entry::Output(line) => line.text.clone(),
        Entry::Notice { text, .. } => text.clone(),
    }
}

#[test]
fn what_is_written_can_be_read() {
    let mut log = Log::new(0);
    for entry in [said("boom\n\u{0}"), asked("r1"), notice("begun")] {
        log.add(&entry);
    }
    log.flush();
    let found: Vec<Found> = log.reader().forward(Filter::default(), None).map(|found| found.expect("readable")).collect();
    for (found, wanted) in found.iter().zip([said("boom\n\u{0}"), asked("r1"), notice("begun")]) {
        assert_eq!(format!("{:?}", found.entry), format!("{wanted:?}"));
        assert!(!found.json.contains(char::is_control), "{}", found.json);
    }
    assert_eq!(
        found.iter().map(|found| found.at).collect::<Vec<_>>(),
        [100_000, 1_500, 50_000].map(|ms| UNIX_EPOCH + Duration::from_millis(ms))
    );
}

#[test]
fn pages_begin_where_the_last_one_ended() {
    let mut log = Log::new(0);
    for number in 0..1_000 {
        log.add(&notice(&number.to_string()));
    }
    log.flush();
    let reader = log.reader();
    let (mut back, mut before) = (Vec::new(), None);
    loop {
        let page: Vec<Found> = reader.newest_first(Filter::default(), before).take(7).map(|found| found.expect("readable")).collect();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        assert_eq!(last.id.to_string().parse(), Ok(last.id));
        back.extend(page.iter().map(|found| text(&found.entry)));
    }
    back.reverse();
    let (mut on, mut after) = (Vec::new(), None);
    loop {
        let page: Vec<Found> = reader.forward(Filter::default(), after).take(9).map(|found| found.expect("readable")).collect();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        on.extend(page.iter().map(|found| text(&found.entry)));
    }
    assert_eq!(back, on);
    assert_eq!(on, (0..1_000).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!("xyz".parse::<Id>().is_err() && "+123456789abcdef".parse::<Id>().is_err());
}

#[test]
fn the_log_stays_within_its_limit_and_keeps_the_newest() {
    let mut log = Log::new(writer::LEAST);
    let mut tail = log.reader().forward(Filter::default(), None);
    let (mut count, padding) = (0, "x".repeat(1_000));
    for number in 0..20_000 {
        log.add(&notice(&format!("{number} {padding}")));
        if number % 500 == 0 {
            log.flush();
            count += tail.by_ref().flatten().count();
            assert!(log.size() <= writer::LEAST, "{}", log.size());
        }
    }
    log.flush();
    count += tail.by_ref().flatten().count();
    assert_eq!(count, 20_000, "a follower that keeps up misses nothing over rotations");
    assert!(log.size() <= writer::LEAST && log.size() > writer::LEAST / 2);
    let kept = texts(log.reader().forward(Filter::default(), None));
    let mut back = texts(log.reader().newest_first(Filter::default(), None));
    back.reverse();
    assert_eq!(kept, back);
    assert!(kept.last().expect("some").starts_with("19999 ") && kept.len() > 2_000);
    assert!(kept.windows(2).all(|pair| number(&pair[0]) + 1 == number(&pair[1])));
}

fn number(text: &str) -> u64 {
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_torn_line_is_skipped_and_the_next_run_goes_on_behind_it() {
    let mut log = Log::new(0);
    log.add(&notice("one"));
    log.add(&notice("two"));
    log.flush();
    let path = path_of(log.dir.path(), 1);
    let length = fs::metadata(&path).expect("there").len();
    fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(length - 5)).expect("torn");
    let mut follower = log.reader().forward(Filter::default(), None);
    assert_eq!(texts(follower.by_ref()), ["one"]);
    assert_eq!(texts(log.reader().newest_first(Filter::default(), None)), ["one"]);
    log.writer = Writer::open(log.dir.path(), 0).expect("opens");
    log.add(&notice("three"));
    log.flush();
    assert_eq!(texts(follower), ["three"]);
    let mut garbage = fs::OpenOptions::new().append(true).open(&path).expect("opens");
    garbage.write_all(b"\xff\xfe\n{}\n[]\n\n").expect("written");
    log.add(&notice("four"));
    log.flush();
    assert_eq!(texts(log.reader().newest_first(Filter::default(), None)), ["four", "three", "one"]);
}

#[test]
fn lines_longer_than_a_block_are_read_backward_too() {
    let mut log = Log::new(0);
    let padding = "y".repeat(60_000);
    for number in 0..9 {
        log.add(&notice(&format!("{number} {padding}")));
    }
    let mut many = Request::new(UNIX_EPOCH, "big", [127, 0, 0, 1].into());
    many.lines = vec![(Severity::Info, "\u{1}".repeat(100_000)); 100];
    log.add(&Entry::Request(Box::new(many)));
    log.flush();
    let back = texts(log.reader().newest_first(Filter::default(), None));
    assert_eq!((back.len(), back[0].as_str(), number(&back[9])), (10, "big", 0));
    let found = log.reader().newest_first(Filter::default(), None).next().expect("one").expect("readable");
    assert!(found.json.len() < 8 * 1024 * 1024, "{}", found.json.len());
    let Entry::Request(request) = found.entry else { panic!("a request") };
    assert!(request.lines.len() < 20 && request.lines.last().is_some_and(|(_, text)| text.contains("not kept")));
}

#[test]
fn filters_join_a_request_with_the_lines_of_its_trace() {
    let mut log = Log::new(0);
    for entry in [said("boom"), asked("r1"), asked("r2"), notice("begun")] {
        log.add(&entry);
    }
    log.flush();
    let reader = log.reader();
    let find = |filter: Filter| texts(reader.forward(filter, None));
    assert_eq!(find(Filter { service: Some("api".parse().expect("valid")), ..Filter::default() }), ["r1", "r2"]);
    assert_eq!(find(Filter { instance: Some("e4b5".into()), ..Filter::default() }), ["boom"]);
    assert_eq!(find(Filter { level: Some(Severity::Error), ..Filter::default() }), ["boom", "r1", "r2"]);
    assert_eq!(find(Filter { version: Some("v2".parse().expect("valid")), ..Filter::default() }), [""; 0]);
    assert_eq!(find(Filter { since: Some(UNIX_EPOCH + Duration::from_mins(1)), ..Filter::default() }), ["boom"]);
    assert_eq!(find(Filter { until: Some(UNIX_EPOCH + Duration::from_secs(2)), ..Filter::default() }), ["r1", "r2"]);
    let trace = reader.trace_of("r1").expect("readable");
    assert!(trace.is_some() && reader.trace_of("r3").expect("readable").is_none());
    assert_eq!(
        find(Filter { request: Some("r1".into()), trace, ..Filter::default() }),
        ["boom", "r1", "r2"],
        "both requests are of one trace"
    );
    assert_eq!(find(Filter { request: Some("r1".into()), ..Filter::default() }), ["r1"]);
}

#[test]
fn nothing_is_there_before_something_is_written() {
    let log = Log::new(0);
    assert!(log.reader().is_empty() && log.size() == 0);
    assert!(Reader::open(&log.dir.path().join("none")).is_err());
    assert_eq!(texts(log.reader().newest_first(Filter::default(), None)), [""; 0]);
}
