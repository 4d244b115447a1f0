//! The environ, as the agent hands it to apps.

use std::collections::BTreeMap;

use expect_test::expect;
use http::{HeaderMap, Method};
use model::environ::{Call, constants, write};
use model::gate::{Caller, Internal};
use model::handler::{HandlerKind, Script};
use model::headers::request::{Forwarded, clean};
use model::ids::InstanceId;
use model::table::Version;
use model::user::User;

use crate::fixture::{config, manual, script, version};
use crate::request::{client, facts, headers};

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    assert_eq!(bytes.last(), Some(&0));
    let fields: Vec<String> =
        bytes[..bytes.len() - 1].split(|&b| b == 0).map(|field| String::from_utf8_lossy(field).into_owned()).collect();
    assert_eq!(fields.len() % 2, 0, "whole pairs");
    fields.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

struct Sent<'a> {
    method: Method,
    query: Option<&'a str>,
    headers: HeaderMap,
    length: u64,
    user: Option<User>,
    script: Option<(&'a str, Script)>,
    caller: Caller,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        Self { method: Method::GET, query: None, headers: HeaderMap::new(), length: 0, user: None, script: None, caller: Caller::External }
    }
}

fn environ(version: &Version, sent: Sent<'_>) -> BTreeMap<String, String> {
    let (client, forwarded) = (client(), Forwarded::default());
    let mut facts = facts(&client, &forwarded, sent.user.as_ref());
    facts.caller = sent.caller;
    let mut headers = sent.headers;
    clean(&mut headers, sent.caller);
    let kind = sent.script.as_ref().map_or(Script::Auto, |(_, kind)| kind.clone());
    let mut out = Vec::new();
    write(
        &mut out,
        &Call {
            version,
            facts: &facts,
            method: &sent.method,
            authority: "localhost:8080",
            port: 9999,
            path: b"/caf\xc3\xa9/x",
            raw_path: "/caf%C3%A9%2Fx",
            query: sent.query,
            protocol: "HTTP/1.1",
            headers: &headers,
            content_length: sent.length,
            script: sent.script.as_ref().map(|(script, _)| *script),
            kind: &kind,
        },
    );
    let all = pairs(&out);
    let map: BTreeMap<String, String> = all.iter().cloned().collect();
    assert_eq!(map.len(), all.len(), "no variable twice: {all:?}");
    map
}

fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}\n")).collect::<Vec<_>>().concat()
}

fn named(script: &'static str) -> (&'static str, Script) {
    let HandlerKind::Script(kind) = crate::fixture::script("/.*", script).kind else { unreachable!("a script") };
    (script, kind)
}

#[test]
fn h4_python27_sees_the_variables_of_production() {
    let version = version(config("default", "v1", "python27"));
    let sent = Sent {
        method: Method::POST,
        query: Some("a=b%20c"),
        headers: headers(&[
            ("Host", "localhost:8080"),
            ("Cookie", "a=1"),
            ("Cookie", "b=2"),
            ("Accept", "a"),
            ("Accept", "b"),
            ("X-Foo-Bar", "x"),
            ("Proxy", "evil"),
        ]),
        length: 9,
        user: User::new("ange@example.com", true),
        script: Some(named("pkg.main.app")),
        ..Sent::default()
    };
    expect![[r"
        CONTENT_LENGTH=9
        CONTENT_TYPE=application/x-www-form-urlencoded
        DEFAULT_VERSION_HOSTNAME=localhost:8080
        HTTPS=off
        HTTP_ACCEPT=a, b
        HTTP_CONTENT_LENGTH=9
        HTTP_CONTENT_TYPE=application/x-www-form-urlencoded
        HTTP_COOKIE=a=1; b=2
        HTTP_HOST=localhost:8080
        HTTP_X_APPENGINE_API_TICKET=t1cket
        HTTP_X_APPENGINE_AUTH_DOMAIN=example.com
        HTTP_X_APPENGINE_CITY=?
        HTTP_X_APPENGINE_CITYLATLONG=0.000000,0.000000
        HTTP_X_APPENGINE_COUNTRY=ZZ
        HTTP_X_APPENGINE_DEFAULT_VERSION_HOSTNAME=localhost:8080
        HTTP_X_APPENGINE_HTTPS=off
        HTTP_X_APPENGINE_REGION=?
        HTTP_X_APPENGINE_REQUEST_LOG_ID=5f00ff
        HTTP_X_APPENGINE_TIMEOUT_MS=60000
        HTTP_X_APPENGINE_USER_EMAIL=ange@example.com
        HTTP_X_APPENGINE_USER_ID=170167493110119411119
        HTTP_X_APPENGINE_USER_IP=203.0.113.9
        HTTP_X_APPENGINE_USER_IS_ADMIN=1
        HTTP_X_APPENGINE_USER_NICKNAME=ange
        HTTP_X_APPENGINE_USER_ORGANIZATION=example.com
        HTTP_X_CLOUD_TRACE_CONTEXT=0123456789abcdef0011223344556677/15736175019746352678;o=1
        HTTP_X_FOO_BAR=x
        HTTP_X_FORWARDED_FOR=203.0.113.9
        HTTP_X_FORWARDED_PROTO=http
        PATH_INFO=/café/x
        PATH_TRANSLATED=/srv/app/pkg/main.py
        QUERY_STRING=a=b%20c
        REMOTE_ADDR=203.0.113.9
        REQUEST_ID_HASH=01234567
        REQUEST_LOG_ID=5f00ff
        REQUEST_METHOD=POST
        REQUEST_URI=/caf%C3%A9%2Fx
        SCRIPT_NAME=
        SERVER_NAME=localhost
        SERVER_PORT=8080
        SERVER_PROTOCOL=HTTP/1.1
        USER_EMAIL=ange@example.com
        USER_ID=170167493110119411119
        USER_IS_ADMIN=1
        USER_NICKNAME=ange
        USER_ORGANIZATION=example.com
        enginehouse.deadline_ms=60000
        enginehouse.kind=http
        enginehouse.script=pkg.main.app
        wsgi.url_scheme=http
    "]]
    .assert_eq(&lines(&environ(&version, sent)));
}

#[test]
fn h4_without_body_or_user() {
    let version = version(config("default", "v1", "python27"));
    let map = environ(&version, Sent { headers: headers(&[("Content-Type", "a/b")]), ..Sent::default() });
    for absent in
        ["CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_X_APPENGINE_USER_EMAIL", "enginehouse.script", "PATH_TRANSLATED"]
    {
        assert!(!map.contains_key(absent), "{absent}");
    }
    assert_eq!((&*map["USER_EMAIL"], &*map["USER_IS_ADMIN"], &*map["QUERY_STRING"]), ("", "0", ""));
}

#[test]
fn h5_cgi_knows_its_file() {
    let version = version(config("default", "v1", "python27"));
    let map = environ(&version, Sent { script: Some(named("cgi/form.py")), ..Sent::default() });
    assert_eq!((&*map["PATH_TRANSLATED"], &*map["enginehouse.script"]), ("/srv/app/cgi/form.py", "cgi/form.py"));
}

#[test]
fn h4_python3_sees_plain_wsgi() {
    let version = version(config("default", "v1", "python312"));
    let map = environ(
        &version,
        Sent {
            method: Method::PUT,
            query: Some("q"),
            headers: headers(&[("Content-Type", "a/b"), ("Content-Length", "4")]),
            length: 4,
            user: User::new("ange@example.com", false),
            ..Sent::default()
        },
    );
    assert_eq!((&*map["CONTENT_TYPE"], &*map["CONTENT_LENGTH"]), ("a/b", "4"));
    assert_eq!((&*map["REQUEST_URI"], &*map["RAW_URI"]), ("/caf%C3%A9%2Fx?q", "/caf%C3%A9%2Fx?q"));
    assert_eq!(map["HTTP_HOST"], "localhost:8080", "also where only HTTP/2's :authority says it");
    for absent in ["HTTP_CONTENT_TYPE", "USER_EMAIL", "PATH_TRANSLATED", "HTTP_PROXY"] {
        assert!(!map.contains_key(absent), "{absent}");
    }
    assert_eq!(map["HTTP_X_APPENGINE_USER_IS_ADMIN"], "0");
}

#[test]
fn h2_two_spellings_are_one_variable_and_the_hyphen_wins() {
    let version = version(config("default", "v1", "python312"));
    for sent in [[("X_Foo", "forged"), ("X-Foo", "real")], [("X-Foo", "real"), ("X_Foo", "forged")]] {
        let map = environ(&version, Sent { headers: headers(&sent), ..Sent::default() });
        assert_eq!(map["HTTP_X_FOO"], "real");
    }
    let map =
        environ(&version, Sent { headers: headers(&[("X_Foo", "a"), ("X_Foo", "b"), ("A_b-c", "1"), ("A-b_c", "2")]), ..Sent::default() });
    assert_eq!(map["HTTP_X_FOO"], "a, b");
    assert_eq!(map["HTTP_A_B_C"].len(), 1, "one of two look-alikes");
}

#[test]
fn h13_internal_requests_keep_their_headers_and_kind() {
    let version = version(config("default", "v1", "python27"));
    for (kind, name) in [(Internal::Cron, "http"), (Internal::Start, "start"), (Internal::Warmup, "warmup"), (Internal::Stop, "stop")] {
        let sent = Sent { headers: headers(&[("X-Appengine-Cron", "true")]), caller: Caller::Internal(kind), ..Sent::default() };
        let map = environ(&version, sent);
        assert_eq!((&*map["enginehouse.kind"], &*map["HTTP_X_APPENGINE_CRON"]), (name, "true"));
    }
}

#[test]
fn h4_constants_of_an_instance() {
    let app = "s~shop".parse().expect("an app");
    let first = version(manual(config("api", "m1", "python27"), 2));
    let text: String = constants(&first, &app, &InstanceId::Number(1), "Development/1.0")
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect::<Vec<_>>()
        .concat();
    expect![[r"
        SERVER_SOFTWARE=Development/1.0
        APPLICATION_ID=s~shop
        CURRENT_MODULE_ID=api
        CURRENT_VERSION_ID=m1.370
        INSTANCE_ID=1
        APPENGINE_RUNTIME=python27
        AUTH_DOMAIN=gmail.com
        DATACENTER=us1
        TZ=UTC
        BACKEND_ID=m1
    "]]
    .assert_eq(&text);
    let second = version(config("api", "v1", "python312"));
    assert!(constants(&second, &app, &InstanceId::Opaque("ab".into()), "x").iter().all(|(key, _)| *key != "AUTH_DOMAIN"));
    assert!(matches!(script("/", "a.app").kind, HandlerKind::Script(Script::Wsgi(_))));
}
