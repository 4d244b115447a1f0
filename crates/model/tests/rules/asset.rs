//! Static files: which, when, which part, and with which headers.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::asset::{Answer, Entity, decide, headers, locate, mime_by_extension, mime_type, missing};
use model::handler::{Handler, HandlerKind, Login};
use model::table::Version;
use model::time::Expiration;
use proptest::prelude::*;

use crate::fixture::{config, static_dir, static_files, version};
use crate::request::{headers as map_of, text};
use crate::response::NOW;

fn with(handlers: Vec<Handler>) -> Version {
    let mut config = config("default", "v1", "python27");
    config.handlers = handlers;
    version(config)
}

fn file(version: &Version, path: &str) -> Option<String> {
    let matched = version.handlers().find(path.as_bytes())?;
    locate(&version.config, &matched, path.as_bytes())
}

#[test]
fn y14_a_directory_serves_what_lies_in_it() {
    let version = with(vec![static_dir("/img", "static/img"), static_dir("", ".")]);
    for (path, want) in [
        ("/img/a.png", Some("static/img/a.png")),
        ("/img/x/y z.png", Some("static/img/x/y z.png")),
        ("/img/", None),
        ("/img//a.png", None),
        ("/img/a/", None),
        ("/img/../secret", None),
        ("/img/a/../../b", None),
        ("/img//etc/passwd", None),
        ("/img/a\u{1}b", None),
        ("/img/.git/config", None),
        ("/img/a.pyc", None),
        ("/other.txt", Some("other.txt")),
    ] {
        assert_eq!(file(&version, path).as_deref(), want, "{path}");
    }
    assert_eq!(locate(&version.config, &version.handlers().find(b"/img/\xff").expect("matches"), b"/img/\xff"), None);
}

#[test]
fn y15_files_by_pattern_and_only_what_upload_names() {
    let version = with(vec![
        static_files("/(.*)\\.(css|js)", "./static/\\2/\\1.\\2", "static/(css|js)/.*"),
        static_files("/x(.*)y(.*)", "\\1\\2", ".*"),
        static_files("/only/(.*)", "static/\\1", "static/public/.*"),
    ]);
    for (path, want) in [
        ("/a/b.css", Some("static/css/a/b.css")),
        ("/x.y./secret", None),
        ("/x..y/secret", None),
        ("/xy/etc/passwd", None),
        ("/xa/y", None),
        ("/xayb", Some("ab")),
        ("/only/public/a", Some("static/public/a")),
        ("/only/private/a", None),
    ] {
        assert_eq!(file(&version, path).as_deref(), want, "{path}");
    }
}

const ETAG: &str = "\"abc\"";

fn ask(method: &str, lines: &[(&str, &str)]) -> Answer {
    let entity = Entity { etag: ETAG, modified: NOW - 3_600, length: 100 };
    decide(&method.parse::<Method>().expect("a method"), &map_of(lines), &entity, NOW)
}

/// `NOW` is 12:00:00, the file is from 11:00:00.
const AT_11: &str = "Sat, 01 Jun 2024 11:00:00 GMT";
const AT_10: &str = "Sat, 01 Jun 2024 10:00:00 GMT";
const TOMORROW: &str = "Sun, 02 Jun 2024 10:00:00 GMT";

#[test]
fn y14_preconditions_in_the_order_of_rfc_9110() {
    use Answer::{NotModified, PreconditionFailed, Whole};
    for (lines, want) in [
        (&[("If-None-Match", ETAG)][..], NotModified),
        (&[("If-None-Match", "W/\"abc\"")], NotModified),
        (&[("If-None-Match", "\"x\", W/\"abc\"")], NotModified),
        (&[("If-None-Match", "\"x\""), ("If-None-Match", ETAG)], NotModified),
        (&[("If-None-Match", "*")], NotModified),
        (&[("If-None-Match", "\"a,b\"")], Whole),
        (&[("If-None-Match", "abc")], Whole),
        (&[("If-None-Match", "\"abc")], Whole),
        (&[("If-None-Match", "")], Whole),
        (&[("If-Match", ETAG)], Whole),
        (&[("If-Match", "\"x\" , \"abc\"")], Whole),
        (&[("If-Match", "*")], Whole),
        (&[("If-Match", "W/\"abc\"")], PreconditionFailed),
        (&[("If-Match", "\"x\"")], PreconditionFailed),
        (&[("If-Modified-Since", AT_11)], NotModified),
        (&[("If-Modified-Since", AT_10)], Whole),
        (&[("If-Modified-Since", TOMORROW)], Whole),
        (&[("If-Modified-Since", "nonsense")], Whole),
        (&[("If-Unmodified-Since", AT_11)], Whole),
        (&[("If-Unmodified-Since", AT_10)], PreconditionFailed),
        // The tag decides; the date beside it is not looked at.
        (&[("If-None-Match", "\"x\""), ("If-Modified-Since", AT_11)], Whole),
        (&[("If-Match", ETAG), ("If-Unmodified-Since", AT_10)], Whole),
        (&[("If-Match", "\"x\""), ("If-None-Match", ETAG)], PreconditionFailed),
    ] {
        assert_eq!(ask("GET", lines), want, "{lines:?}");
        assert_eq!(ask("HEAD", lines), want, "{lines:?}");
        assert_eq!(ask("POST", lines), Answer::WrongMethod);
    }
    assert_eq!(missing(&map_of(&[("If-Match", "*")])).as_u16(), 412);
    assert_eq!(missing(&HeaderMap::new()).as_u16(), 404);
}

#[test]
fn y14_ranges_and_if_range() {
    let part = |start, end| Answer::Part { start, end };
    for (lines, want) in [
        (&[("Range", "bytes=0-9")][..], part(0, 10)),
        (&[("Range", "bytes=90-")], part(90, 100)),
        (&[("Range", "bytes=-10")], part(90, 100)),
        (&[("Range", "bytes=-1000")], part(0, 100)),
        (&[("Range", "bytes=99-1000")], part(99, 100)),
        (&[("Range", "bytes=100-")], Answer::Unsatisfiable),
        (&[("Range", "bytes=-0")], Answer::Unsatisfiable),
        (&[("Range", "bytes=0-1,5-6")], Answer::Whole),
        (&[("Range", "bytes=0-1"), ("Range", "bytes=5-6")], Answer::Whole),
        (&[("Range", "lines=0-1")], Answer::Whole),
        (&[("Range", "bytes=0-9"), ("If-Range", ETAG)], part(0, 10)),
        (&[("Range", "bytes=0-9"), ("If-Range", "W/\"abc\"")], Answer::Whole),
        (&[("Range", "bytes=0-9"), ("If-Range", "\"x\"")], Answer::Whole),
        (&[("Range", "bytes=0-9"), ("If-Range", AT_11)], part(0, 10)),
        (&[("Range", "bytes=0-9"), ("If-Range", TOMORROW)], Answer::Whole),
        (&[("Range", "bytes=0-9"), ("If-None-Match", ETAG)], Answer::NotModified),
    ] {
        assert_eq!(ask("GET", lines), want, "{lines:?}");
    }
    assert_eq!(ask("HEAD", &[("Range", "bytes=0-9")]), Answer::Whole);
}

fn answer(version: &Version, answer: Answer) -> String {
    let matched = version.handlers().find(b"/img/a.png").expect("a handler");
    let entity = Entity { etag: ETAG, modified: NOW - 3_600, length: 100 };
    text(&headers(&version.config, &matched, &entity, answer, &mime_type(&matched, "a.png"), NOW))
}

#[test]
fn y8_y17_headers_of_each_answer() {
    let mut version = with(vec![static_dir("/img", "img")]);
    let whole = "accept-ranges: bytes\ncache-control: public, max-age=600\ncontent-type: image/png\netag: \"abc\"\nexpires: Sat, 01 Jun 2024 12:10:00 GMT\nlast-modified: Sat, 01 Jun 2024 11:00:00 GMT\n";
    assert_eq!(answer(&version, Answer::Whole), whole);
    let part = answer(&version, Answer::Part { start: 5, end: 10 });
    assert_eq!(part, whole.replace("content-type", "content-range: bytes 5-9/100\ncontent-type"));
    assert_eq!(
        answer(&version, Answer::NotModified),
        "cache-control: public, max-age=600\netag: \"abc\"\nexpires: Sat, 01 Jun 2024 12:10:00 GMT\n"
    );
    assert_eq!(answer(&version, Answer::PreconditionFailed), "etag: \"abc\"\n");
    assert_eq!(answer(&version, Answer::Unsatisfiable), "content-range: bytes */100\n");
    assert_eq!(answer(&version, Answer::WrongMethod), "allow: GET, HEAD\n");

    let mut handler = static_dir("/img", "img");
    handler.login = Login::Required;
    let HandlerKind::Static(files) = &mut handler.kind else { unreachable!("static") };
    files.expiration = Some(Expiration(0));
    files.mime_type = Some("image/x-own".into());
    let own = |name: &'static str, value: &'static str| (HeaderName::from_static(name), HeaderValue::from_static(value));
    files.http_headers = vec![own("access-control-allow-origin", "*"), own("vary", "Origin"), own("etag", "\"own\"")];
    version = with(vec![handler]);
    assert_eq!(
        answer(&version, Answer::Whole),
        "accept-ranges: bytes\naccess-control-allow-origin: *\ncache-control: private, max-age=0\ncontent-type: image/x-own\netag: \"own\"\nexpires: Sat, 01 Jun 2024 12:00:00 GMT\nlast-modified: Sat, 01 Jun 2024 11:00:00 GMT\nvary: Origin\n"
    );
    assert_eq!(
        answer(&version, Answer::NotModified),
        "cache-control: private, max-age=0\netag: \"own\"\nexpires: Sat, 01 Jun 2024 12:00:00 GMT\nvary: Origin\n"
    );
    assert_eq!(mime_by_extension("error.html"), "text/html");
}

proptest! {
    #[test]
    fn y14_no_path_leads_out(path in r"/(img|x)?[a-z./\\%~\x00-\x1f]{0,20}") {
        let version = with(vec![static_dir("/img", "img"), static_files("/x(.*)/(.*)", "\\1/\\2", ".*"), static_dir("", "")]);
        if let Some(found) = file(&version, &path) {
            prop_assert!(!found.starts_with('/') && !found.contains('\0') && !found.ends_with('/'));
            prop_assert!(found.split('/').all(|segment| !segment.is_empty() && segment != "." && segment != ".."), "{found}");
        }
    }

    #[test]
    fn y14_conditions_never_panic(lines in proptest::collection::vec(
        ("if-match|if-none-match|if-range|range|if-modified-since|if-unmodified-since", "(bytes=)?[ -~]{0,16}"), 0..6), length in any::<u64>()) {
        let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let entity = Entity { etag: ETAG, modified: NOW, length };
        if let Answer::Part { start, end } = decide(&Method::GET, &map_of(&lines), &entity, NOW) {
            prop_assert!(start < end && end <= length);
        }
    }
}
