//! Request headers: what is removed, what is added.

use std::time::Duration;

use expect_test::expect;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::gate::{Caller, Internal};
use model::headers::request::{ADDED, Client, Facts, Forwarded, Geo, add, clean, removed_by};
use model::user::User;
use proptest::prelude::*;

pub(crate) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    map
}

pub(crate) fn text(map: &HeaderMap) -> String {
    let mut lines: Vec<String> = map.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
    lines.sort();
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// What of `lines` reaches an app.
fn reaches(caller: Caller, lines: &[(&str, &str)]) -> String {
    let mut map = headers(lines);
    clean(&mut map, caller);
    text(&map)
}

pub(crate) fn client() -> Client {
    Client::new("203.0.113.9".parse().expect("an address"), false, Geo::default())
}

pub(crate) fn facts<'a>(client: &'a Client, forwarded: &'a Forwarded, user: Option<&'a User>) -> Facts<'a> {
    Facts {
        caller: Caller::External,
        client,
        forwarded,
        trace: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
        place: None,
        log_id: "5f00ff",
        ticket: "t1cket",
        timeout: Duration::from_mins(1),
        default_hostname: "localhost:8080",
        user,
        login: user.is_some(),
    }
}

#[test]
fn h1_google_names_go() {
    assert_eq!(reaches(Caller::External, &[("X-Google-Foo", "1"), ("x-GOOGLE-", "2"), ("X-Googleplex", "3")]), "x-googleplex: 3\n");
}

#[test]
fn h2_exact_app_engine_names_go_in_any_case() {
    let sent = [
        ("X-AppEngine-Country", "XX"),
        ("x-appengine-CITY", "x"),
        ("X-Appengine-User-Is-Admin", "1"),
        ("X-AppEngine-QueueName", "q"),
        ("X-AppEngine-Cron", "true"),
        ("X-Appengine-Inbound-Appid", "a"),
        ("X-AppEngine-Fake-Is-Admin", "1"),
        ("X-AppEngine-Dev-Request-Type", "interactive"),
        ("X-AppEngine-Remote-Addr", "1.1.1.1"),
        ("X-Appengine-Cntry", "stays"),
        ("X-Appengine-Country-Extra", "stays"),
    ];
    assert_eq!(reaches(Caller::External, &sent), "x-appengine-cntry: stays\nx-appengine-country-extra: stays\n");
}

#[test]
fn h2_underscores_cannot_imitate_a_name() {
    let sent = [
        ("X_Appengine_User_Email", "root@example.com"),
        ("X-Appengine_User-Is_Admin", "1"),
        ("X_Google_X", "1"),
        ("X_Forwarded_For", "1.1.1.1"),
        ("X_Cloud_Trace_Context", "1"),
        ("Content_Length", "5"),
        ("Transfer_Encoding", "chunked"),
        ("api_key", "stays"),
    ];
    assert_eq!(reaches(Caller::External, &sent), "api_key: stays\n");
}

#[test]
fn h3_transfer_headers_go() {
    let sent = [
        ("Accept-Encoding", "gzip"),
        ("Connection", "close"),
        ("Keep-Alive", "foo"),
        ("Proxy-Authorization", "me"),
        ("TE", "deflate"),
        ("Trailer", "X-Bar"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "x"),
        ("Expect", "100-continue"),
        ("Proxy", "http://evil/"),
        ("Content-Type", "text/html"),
        ("Authorization", "Basic x"),
        ("Accept", "*/*"),
        ("X-Foo", "bar"),
    ];
    assert_eq!(reaches(Caller::External, &sent), "accept: */*\nauthorization: Basic x\ncontent-type: text/html\nx-foo: bar\n");
}

#[test]
fn h3_connection_names_what_ends_here_but_never_the_request_itself() {
    let sent = [
        ("Connection", "close, X-Hop ,, bad name, Cookie"),
        ("Connection", "Content-Length, x-other, X-Forwarded-For"),
        ("X-Hop", "1"),
        ("X-Other", "1"),
        ("Cookie", "a=b"),
        ("Content-Length", "3"),
    ];
    assert_eq!(reaches(Caller::External, &sent), "content-length: 3\ncookie: a=b\n");
    // Added later, so it cannot be named away.
    let mut map = headers(&sent);
    clean(&mut map, Caller::External);
    let (client, forwarded) = (client(), Forwarded::default());
    add(&mut map, &facts(&client, &forwarded, None));
    assert_eq!(map["x-forwarded-for"], "203.0.113.9");
}

#[test]
fn h2_cookies_are_one_header() {
    assert_eq!(
        reaches(Caller::External, &[("Cookie", "a=1"), ("X-A", "1"), ("Cookie", "b=2"), ("Cookie", "c")]),
        "cookie: a=1; b=2; c\nx-a: 1\n"
    );
}

#[test]
fn h12_h13_the_house_may_say_what_outsiders_may_not() {
    let sent = [
        ("X-Appengine-Cron", "true"),
        ("X-AppEngine-QueueName", "__cron"),
        ("X-Forwarded-For", "1.1.1.1"),
        ("X_Appengine_Cron", "1"),
        ("TE", "x"),
    ];
    assert_eq!(reaches(Caller::External, &sent), "");
    assert_eq!(reaches(Caller::Internal(Internal::Cron), &sent), "x-appengine-cron: true\nx-appengine-queuename: __cron\n");
}

#[test]
fn h6_to_h11_what_is_added() {
    let user = User::new("ange@example.com", true).expect("an email");
    let geo = Geo {
        country: Some("US".into()),
        region: Some("ca".into()),
        city: Some("mountain view".into()),
        lat_long: Some("37.386051,-122.083851".into()),
    };
    let client = Client::new("2001:db8::1".parse().expect("an address"), true, geo);
    let forwarded = Forwarded::default();
    let mut map = headers(&[("Host", "localhost")]);
    add(&mut map, &facts(&client, &forwarded, Some(&user)));
    expect![[r"
        host: localhost
        x-appengine-api-ticket: t1cket
        x-appengine-auth-domain: example.com
        x-appengine-city: mountain view
        x-appengine-citylatlong: 37.386051,-122.083851
        x-appengine-country: US
        x-appengine-default-version-hostname: localhost:8080
        x-appengine-https: on
        x-appengine-region: ca
        x-appengine-request-log-id: 5f00ff
        x-appengine-timeout-ms: 60000
        x-appengine-user-email: ange@example.com
        x-appengine-user-id: 170167493110119411119
        x-appengine-user-ip: 2001:db8::1
        x-appengine-user-is-admin: 1
        x-appengine-user-nickname: ange
        x-appengine-user-organization: example.com
        x-cloud-trace-context: 0123456789abcdef0011223344556677/15736175019746352678;o=1
        x-forwarded-for: 2001:db8::1
        x-forwarded-proto: https
    "]]
    .assert_eq(&text(&map));
}

#[test]
fn h6_an_unknown_place_and_no_user() {
    let (client, forwarded) = (Client::new("::ffff:10.0.0.1".parse().expect("an address"), false, Geo::default()), Forwarded::default());
    let mut map = HeaderMap::new();
    add(&mut map, &facts(&client, &forwarded, None));
    assert_eq!(map["x-appengine-country"], "ZZ");
    assert_eq!(map["x-appengine-city"], "?");
    assert_eq!(map["x-appengine-citylatlong"], "0.000000,0.000000");
    assert_eq!(map["x-appengine-user-ip"], "10.0.0.1");
    assert_eq!(map["x-forwarded-proto"], "http");
    assert_eq!(map["x-appengine-https"], "off");
    assert!(!map.keys().any(|name| name.as_str().starts_with("x-appengine-user-e")));
}

#[test]
fn h7_h8_a_trusted_proxy_is_continued() {
    let client = client();
    for (chain, trace, want_chain, want_trace) in [
        (
            Some("203.0.113.9, 10.0.0.1"),
            Some("105445aa7843bc8bf206b12000100000/1;o=1"),
            "203.0.113.9, 10.0.0.1, 10.0.0.2",
            "105445aa7843bc8bf206b12000100000/",
        ),
        (Some(" "), Some("short/1"), "203.0.113.9, 10.0.0.2", "0123456789abcdef0011223344556677/"),
        (Some("x"), Some("zz5445aa7843bc8bf206b12000100000"), "x, 10.0.0.2", "0123456789abcdef0011223344556677/"),
        (None, None, "203.0.113.9", "0123456789abcdef0011223344556677/"),
    ] {
        let forwarded = Forwarded {
            chain: chain.map(HeaderValue::from_static),
            proxy: Some("10.0.0.2".parse().expect("an address")),
            trace: trace.map(HeaderValue::from_static),
        };
        let mut map = HeaderMap::new();
        add(&mut map, &facts(&client, &forwarded, None));
        assert_eq!(map["x-forwarded-for"], want_chain);
        assert!(map["x-cloud-trace-context"].to_str().expect("text").starts_with(want_trace), "{map:?}");
    }
}

proptest! {
    #[test]
    fn h1_h2_h3_cleaning_leaves_nothing_and_is_idempotent(
        names in proptest::collection::vec("[xX][-_]([aA]pp[eE]ngine|[gG]oogle|forwarded)[-_](user[-_]email|country|cntry|for|proto|x)|te|connection|proxy|[a-z_-]{1,8}", 0..12),
        connection in "[a-zX, -]{0,20}",
    ) {
        let mut map = headers(&[("Connection", &connection)]);
        for name in &names {
            map.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_static("1"));
        }
        clean(&mut map, Caller::External);
        for name in map.keys() {
            prop_assert!(removed_by(name.as_str(), Caller::External).is_none(), "{name}");
            let folded = name.as_str().replace('_', "-");
            prop_assert!(!ADDED.iter().any(|rule| rule.header.as_str() == folded), "{name} could pass for ours");
        }
        let once = map.clone();
        clean(&mut map, Caller::External);
        prop_assert_eq!(once, map);
    }
}
