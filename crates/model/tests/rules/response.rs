//! Response headers, in the order in which the rules touch them.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use model::headers::names;
use model::headers::response::{BodyPlan, Finish, Stats, finish, undo_gzip};
use proptest::prelude::*;

use crate::request::{headers, text};

/// 2024-06-01 12:00:00.
pub(crate) const NOW: u64 = 1_717_243_200;
const DATE: &str = "Sat, 01 Jun 2024 12:00:00 GMT";

pub(crate) fn run(method: &str, status: u16, gzip: bool, usage: Option<Stats>, map: &mut HeaderMap) -> BodyPlan {
    let (date, server) = (HeaderValue::from_static(DATE), HeaderValue::from_static("Development/1.0"));
    let (method, status) = (method.parse::<Method>().expect("a method"), StatusCode::from_u16(status).expect("a status"));
    finish(map, &Finish { method: &method, status, date: &date, now: NOW, server: Some(&server), length: None, gzip, stats: usage })
}

/// The headers after the rules, without Date and Server.
fn after(status: u16, gzip: bool, lines: &[(&str, &str)]) -> String {
    let mut map = headers(lines);
    run("GET", status, gzip, None, &mut map);
    assert_eq!(
        (map.remove("date").expect("a date"), map.remove("server").expect("a server")),
        (DATE.parse().expect("a value"), "Development/1.0".parse().expect("a value"))
    );
    text(&map)
}

#[test]
fn h15_transfer_headers_go() {
    let sent = [
        ("Connection", "x-foo"),
        ("Content-Encoding", "gzip"),
        ("Content-Length", "5"),
        ("Date", "never"),
        ("Keep-Alive", "1"),
        ("Proxy-Authenticate", "1"),
        ("Server", "gunicorn"),
        ("Trailer", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "1"),
        ("X-Appengine-BlobKey", "1"),
        ("X-AppEngine-Error-Code", "1"),
        ("X-Foo", "1"),
        ("Cache-Control", "no-cache"),
        ("Content-Type", "a/b"),
    ];
    assert_eq!(after(200, false, &sent), "cache-control: no-cache\ncontent-type: a/b\nx-foo: 1\n");
}

#[test]
fn h16_values_beyond_ascii_go_alone() {
    let sent = [("X-A", "\u{e9}"), ("X-B", "good"), ("X-B", "b\u{e4}d"), ("X-B", "fine"), ("Cache-Control", "no-cache")];
    assert_eq!(after(200, false, &sent), "cache-control: no-cache\ncontent-type: text/html\nx-b: fine\nx-b: good\n");
}

#[test]
fn h17_caching_headers_pass_unchanged() {
    let sent =
        [("Cache-Control", "public, max-age=9"), ("Expires", "Mon, 25 Jul 9999 14:47:05 GMT"), ("Vary", "Cookie"), ("Content-Type", "a/b")];
    assert_eq!(
        after(200, false, &sent),
        "cache-control: public, max-age=9\ncontent-type: a/b\nexpires: Mon, 25 Jul 9999 14:47:05 GMT\nvary: Cookie\n"
    );
}

#[test]
fn h17_a_cookie_makes_the_answer_private() {
    for (cache, expires, want_cache, want_expires) in [
        ("public", "Mon, 25 Jul 9999 14:47:05 GMT", "private", DATE),
        ("public, max-age=20", "", "max-age=20, private", DATE),
        ("max-age=20", "Mon, 13 Mar 1992 18:12:51 GMT", "max-age=20, private", "Mon, 13 Mar 1992 18:12:51 GMT"),
        ("private, max-age=20", "0", "private, max-age=20", "0"),
        ("no-store", DATE, "no-store", DATE),
        ("No-Cache", "", "No-Cache", DATE),
        ("PUBLIC, no-cache=\"set-cookie, x\"", "", "no-cache=\"set-cookie, x\", private", DATE),
    ] {
        let mut sent = vec![("Set-Cookie", "a=b"), ("Set-Cookie", "c=d"), ("Cache-Control", cache), ("Content-Type", "a/b")];
        if !expires.is_empty() {
            sent.push(("Expires", expires));
        }
        let want = format!("cache-control: {want_cache}\ncontent-type: a/b\nexpires: {want_expires}\nset-cookie: a=b\nset-cookie: c=d\n");
        assert_eq!(after(200, false, &sent), want, "{cache}");
    }
}

#[test]
fn h18_without_cache_control_the_answer_is_private() {
    assert_eq!(after(200, false, &[]), "cache-control: private\ncontent-type: text/html\nvary: Accept-Encoding\n");
    assert_eq!(
        after(404, false, &[("Vary", "accept-encoding, Cookie")]),
        "cache-control: private\ncontent-type: text/html\nvary: accept-encoding, Cookie\n"
    );
    assert_eq!(
        after(200, false, &[("Vary", "Cookie")]),
        "cache-control: private\ncontent-type: text/html\nvary: Cookie\nvary: Accept-Encoding\n"
            .replace("vary: Cookie\nvary: Accept-Encoding", "vary: Accept-Encoding\nvary: Cookie")
    );
}

#[test]
fn h19_compressible_bodies_are_compressed_on_request() {
    let html = [("Content-Type", "text/html"), ("Content-Length", "5000"), ("Cache-Control", "no-cache"), ("ETag", "\"x\"")];
    assert_eq!(
        after(200, true, &html),
        "cache-control: no-cache\ncontent-encoding: gzip\ncontent-type: text/html\netag: W/\"x\"\nvary: Accept-Encoding\n"
    );
    assert_eq!(after(200, false, &html), "cache-control: no-cache\ncontent-type: text/html\netag: \"x\"\n");
    for (name, value) in
        [("Content-Type", "image/png"), ("Content-Range", "bytes 0-1/2"), ("Cache-Control", "No-Transform"), ("Content-Length", "12")]
    {
        let mut map = headers(&html);
        map.insert(HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_static(value));
        assert!(!run("GET", 200, true, None, &mut map).gzip, "{value}");
    }
    let mut map = headers(&html);
    assert!(run("GET", 200, true, None, &mut map).gzip);
    undo_gzip(&mut map);
    assert!(!map.contains_key("content-encoding"));
    assert!(!run("GET", 206, true, None, &mut headers(&html)).gzip);
}

#[test]
fn h20_the_length_is_the_front_ends_business() {
    let length = |method, status, values: &[&str]| {
        let lines: Vec<(&str, &str)> = values.iter().map(|value| ("Content-Length", *value)).collect();
        let mut map = headers(&lines);
        let plan = run(method, status, true, None, &mut map);
        (plan.length, plan.empty, map.contains_key("content-length"))
    };
    assert_eq!(length("GET", 200, &["1234"]), (Some(1234), false, false));
    assert_eq!(length("HEAD", 200, &["1234"]), (Some(1234), true, true));
    assert_eq!(length("HEAD", 200, &["-1"]), (None, true, false));
    assert_eq!(length("GET", 200, &["1", "2"]), (None, false, false));
    assert_eq!(length("GET", 304, &["1234"]), (Some(1234), true, false));
    assert_eq!(length("HEAD", 204, &["1234"]), (Some(1234), true, false));
}

#[test]
fn h21_answers_without_body_say_nothing_about_one() {
    for status in [101, 204, 304] {
        assert_eq!(after(status, true, &[("X-A", "1"), ("Set-Cookie", "a=b")]), "set-cookie: a=b\nx-a: 1\n", "{status}");
    }
}

#[test]
fn h23_admins_see_statistics_that_nobody_keeps() {
    let mut map = headers(&[("Cache-Control", "public"), ("X-Appengine-Resource-Usage", "forged")]);
    run("GET", 200, false, Some(Stats { ms: 72, cpu_ms: 3 }), &mut map);
    assert_eq!(map["x-appengine-resource-usage"], "ms=72 cpu_ms=3");
    assert_eq!(map["x-appengine-estimated-cpm-us-dollars"], "$0.001000");
    assert_eq!(map["cache-control"], "no-cache, no-store, must-revalidate");
    let mut map = headers(&[("X-Appengine-Resource-Usage", "forged")]);
    run("GET", 200, false, None, &mut map);
    assert!(!map.contains_key("x-appengine-resource-usage"));
}

proptest! {
    #[test]
    fn h15_h16_finish_never_leaks(
        lines in proptest::collection::vec(
            ("connection|content-encoding|content-length|date|server|upgrade|x-appengine-(blobkey|error-code|x)|set-cookie|cache-control|expires|etag|vary|x-[a-c]|content-type", proptest::collection::vec(prop_oneof![32_u8..127, 128_u8..=255], 0..12)),
            0..14,
        ),
        status in 100_u16..599,
        head in any::<bool>(),
        gzip in any::<bool>(),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in &lines {
            map.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_bytes(value).expect("a value"));
        }
        let plan = run(if head { "HEAD" } else { "GET" }, status, gzip, None, &mut map);
        for (name, value) in &map {
            prop_assert!(value.as_bytes().is_ascii(), "{name}");
            let ours = ["date", "server"].contains(&name.as_str()) || (plan.gzip && name == "content-encoding") || (head && name == "content-length");
            prop_assert!(ours || !names::RESPONSE.contains(&name.as_str()), "{name}");
            prop_assert!(!names::RESPONSE_INTERNAL.contains(&name.as_str()), "{name}");
        }
        prop_assert_eq!(&map["server"], "Development/1.0");
        let bare = status < 200 || status == 204 || status == 304;
        prop_assert!(!(plan.empty && plan.gzip));
        if map.contains_key("set-cookie") && !bare {
            let all: String = map.get_all("cache-control").iter().map(|v| v.to_str().expect("ascii").to_ascii_lowercase()).collect();
            prop_assert!(["private", "no-cache", "no-store"].iter().any(|word| all.contains(word)), "{all}");
        }
    }
}
