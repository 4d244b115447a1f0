//! What the app sees of a request (rows H1–H11).

use serde_json::Value;
use testkit::{App, Connection, Python, Request};

use crate::apps::{ECHO, app, echo};
use crate::{node, on_both, serve};

/// What the app sees of a request with these headers.
#[track_caller]
fn seen(node: &testkit::Node, headers: &[(&str, &str)]) -> Value {
    let request = headers.iter().fold(Request::get("/x?a=b"), |request, (name, value)| request.header(name, value));
    node.send(&request).expect(200).json()["environ"].take()
}

/// The names that begin with `HTTP_`.
fn names(environ: &Value) -> Vec<&str> {
    environ.as_object().expect("an object").keys().map(String::as_str).filter(|name| name.starts_with("HTTP_")).collect()
}

#[test]
fn h1_x_google_headers_are_removed() {
    on_both(|python| {
        let environ = seen(
            &serve(&echo(python)),
            &[("X-Google-Apps-Metadata", "a"), ("x-google-internal-x", "b"), ("X_Google_Foo", "c"), ("X-Googly", "kept")],
        );
        assert!(!environ.to_string().contains("X_GOOGLE_"), "{environ:#}");
        assert_eq!(environ["HTTP_X_GOOGLY"], "kept");
    });
}

#[test]
fn h2_headers_of_the_platform_cannot_be_forged() {
    on_both(|python| {
        let node = serve(&echo(python));
        let environ = seen(
            &node,
            &[
                ("X-AppEngine-Country", "XX"),
                ("x-appengine-user-email", "admin@example.com"),
                ("X_AppEngine_User_Is_Admin", "1"),
                ("X-Appengine-Cron", "true"),
                ("X-AppEngine-QueueName", "default"),
                ("X-Appengine-Inbound-Appid", "other"),
                ("X-Appengine-Remote-Addr", "1.2.3.4"),
                ("X-Appengine-Cntry", "kept"),
            ],
        );
        assert_eq!(environ["HTTP_X_APPENGINE_COUNTRY"], "ZZ");
        assert_eq!(environ["HTTP_X_APPENGINE_CNTRY"], "kept");
        for forged in ["HTTP_X_APPENGINE_CRON", "HTTP_X_APPENGINE_QUEUENAME", "HTTP_X_APPENGINE_INBOUND_APPID"] {
            assert!(environ.get(forged).is_none(), "{forged}: {environ:#}");
        }
        let text = environ.to_string();
        assert!(!text.contains("admin@example.com") && !text.contains("1.2.3.4"), "{environ:#}");
    });
}

#[test]
fn h3_transfer_headers_are_removed() {
    on_both(|python| {
        let environ = seen(
            &serve(&echo(python)),
            &[
                ("Accept-Encoding", "br"),
                ("Connection", "keep-alive"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Authorization", "Basic x"),
                ("TE", "trailers"),
                ("Trailer", "X-T"),
                ("Accept-Language", "de"),
            ],
        );
        for gone in ["ACCEPT_ENCODING", "CONNECTION", "KEEP_ALIVE", "PROXY_AUTHORIZATION", "TE", "TRAILER", "TRANSFER_ENCODING"] {
            assert!(environ.get(format!("HTTP_{gone}")).is_none(), "{gone}: {environ:#}");
        }
        assert_eq!(environ["HTTP_ACCEPT_LANGUAGE"], "de");
    });
}

#[test]
fn h3_a_chunked_body_arrives_whole_and_without_its_coding() {
    on_both(|python| {
        let node = serve(&echo(python));
        let mut connection = node.connect();
        connection
            .write(b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
            .expect("sent");
        let answer = connection.read(false).expect("an answer").expect(200).json();
        assert_eq!(answer["body"], "hello world");
        assert!(answer["environ"].get("HTTP_TRANSFER_ENCODING").is_none());
        if python == Python::Two {
            assert_eq!(answer["environ"]["CONTENT_LENGTH"], "11");
        }
    });
}

#[test]
fn h4_a_wsgi_object_is_called_as_pep_3333_says() {
    on_both(|python| {
        let main = r"
from wsgiref.validate import validator


class Body(object):
    def __init__(self):
        self.parts = [b'one', b' ', b'two']

    def __iter__(self):
        return iter(self.parts)

    def close(self):
        pass


@validator
def inner(environ, start_response):
    length = int(environ.get('CONTENT_LENGTH') or 0)
    environ['wsgi.input'].read(length)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return Body()


def app(environ, start_response):
    # python27 has them besides those without HTTP_, as production does; the validator does not like it.
    environ.pop('HTTP_CONTENT_TYPE', None)
    environ.pop('HTTP_CONTENT_LENGTH', None)
    return inner(environ, start_response)
";
        let node = serve(&app(python, "", main));
        for request in
            [Request::get("/?a=%C3%A9"), Request::post("/form", "a=b&c=d"), Request::get("/%C3%A9"), Request::new("PUT", "/x").body("data")]
        {
            let request = request.header("User-Agent", "test");
            assert_eq!(node.send(&request).expect(200).text(), "one two");
        }
        let head = node.connect().send(&Request::new("HEAD", "/"));
        assert_eq!((head.status, head.body.len()), (200, 0));
    });
}

#[test]
fn h5_cgi_variables_are_those_of_rfc_3875() {
    let script = r"
import json
import os
import sys

data = json.dumps(dict((k, v) for k, v in os.environ.items()))
body = sys.stdin.read()
print('Content-Type: application/json')
print('')
sys.stdout.write(data[:-1] + ', ' + json.dumps('stdin')+ ': ' + json.dumps(body) + '}')
";
    let app = App::with_yaml("runtime: python27\napi_version: 1\nthreadsafe: false\nhandlers:\n- url: /.*\n  script: page.py\n")
        .file("page.py", script);
    let node = serve(&app);
    let environ = node.send(&Request::post("/a%20b?c=d", "x=1").header("X-Custom", "y")).expect(200).json();
    for (name, value) in [
        ("REQUEST_METHOD", "POST"),
        ("PATH_INFO", "/a b"),
        ("QUERY_STRING", "c=d"),
        ("CONTENT_LENGTH", "3"),
        ("CONTENT_TYPE", "application/x-www-form-urlencoded"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SCRIPT_NAME", ""),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("SERVER_NAME", "localhost"),
        ("HTTP_X_CUSTOM", "y"),
        ("stdin", "x=1"),
    ] {
        assert_eq!(environ[name], value, "{name}");
    }
    assert!(environ["SERVER_SOFTWARE"].as_str().is_some_and(|software| software.starts_with("Development/")));
}

#[test]
fn h6_the_country_is_zz_without_a_database() {
    on_both(|python| {
        let environ = seen(&serve(&echo(python)), &[]);
        assert_eq!(environ["HTTP_X_APPENGINE_COUNTRY"], "ZZ");
    });
}

#[test]
fn h6_places_come_from_the_database() {
    on_both(|python| {
        let home = tempfile::tempdir().expect("folder");
        let file = home.path().join("places.mmdb");
        std::fs::write(&file, testkit::geo::database("NL", "NH", "Amsterdam", (52.37, 4.89))).expect("file");
        let node = node().app(&echo(python)).arg("--geoip").arg(&file).start();
        let environ = seen(&node, &[("X-Appengine-Country", "XX"), ("X-Appengine-City", "nowhere")]);
        for (name, value) in [("COUNTRY", "NL"), ("REGION", "nh"), ("CITY", "amsterdam"), ("CITYLATLONG", "52.370000,4.890000")] {
            assert_eq!(environ[format!("HTTP_X_APPENGINE_{name}")], value, "{name}");
        }
    });
}

#[test]
fn h6_a_database_that_cannot_be_read_is_an_error() {
    let app = echo(Python::Two).file("no.mmdb", "this is no database");
    let finished = node().arg("run").app(&app).arg("--port").arg("0").arg("--geoip").arg(app.join("no.mmdb")).output();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("no.mmdb"), "{finished:?}");
}

#[test]
fn h7_every_request_has_a_trace_of_its_own() {
    on_both(|python| {
        let node = serve(&echo(python));
        let forged = "105445aa7843bc8bf206b12000100000/1;o=1";
        let trace = |headers: &[(&str, &str)]| seen(&node, headers)["HTTP_X_CLOUD_TRACE_CONTEXT"].as_str().expect("a trace").to_owned();
        let (one, two) = (trace(&[]), trace(&[("X-Cloud-Trace-Context", forged)]));
        let id = one.split(['/', ';']).next().expect("an id");
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, two);
        assert!(!two.starts_with("105445aa"), "an outsider cannot choose it: {two}");
    });
}

#[test]
fn h8_x_forwarded_for_begins_with_the_client() {
    on_both(|python| {
        let environ = seen(&serve(&echo(python)), &[("X-Forwarded-For", "6.6.6.6")]);
        let chain = environ["HTTP_X_FORWARDED_FOR"].as_str().expect("a chain");
        assert_eq!(chain.split(',').next().map(str::trim), Some("127.0.0.1"), "{chain}");
    });
}

#[test]
fn h8_a_proxy_in_a_trusted_network_is_believed() {
    on_both(|python| {
        let node = node().app(&echo(python)).args(["--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "10.0.0.0/8"]).start();
        let environ = seen(&node, &[("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.0.0.1"), ("X-Forwarded-Proto", "https")]);
        // What the client wrote before its own address is nobody's word.
        assert_eq!(environ["HTTP_X_FORWARDED_FOR"], "203.0.113.9, 10.0.0.1, 127.0.0.1");
        assert_eq!((environ["REMOTE_ADDR"].as_str(), environ["wsgi.url_scheme"].as_str()), (Some("203.0.113.9"), Some("https")));
    });
}

#[test]
fn h9_x_forwarded_proto_tells_the_scheme() {
    on_both(|python| {
        let node = node().app(&echo(python)).args(["--tls", "self-signed", "--tls-port", "0"]).start();
        let environ = seen(&node, &[("X-Forwarded-Proto", "https")]);
        assert_eq!((environ["HTTP_X_FORWARDED_PROTO"].as_str(), environ["wsgi.url_scheme"].as_str()), (Some("http"), Some("http")));
        let https = node.https().expect("a TLS listener");
        let answer = Connection::open_tls(https).send(&Request::get("/")).expect(200).json();
        let environ = &answer["environ"];
        assert_eq!((environ["HTTP_X_FORWARDED_PROTO"].as_str(), environ["wsgi.url_scheme"].as_str()), (Some("https"), Some("https")));
        assert_eq!(environ["HTTP_X_APPENGINE_HTTPS"], "on");
    });
}

#[test]
fn h10_the_platform_tells_about_the_request() {
    on_both(|python| {
        let node = serve(&echo(python));
        let first = seen(&node, &[]);
        let second = seen(&node, &[]);
        let port = node.address().port();
        assert_eq!(first["HTTP_X_APPENGINE_HTTPS"], "off");
        let user_ip = "HTTP_X_APPENGINE_USER_IP";
        assert_eq!(first[user_ip], "127.0.0.1");
        let timeout: u64 = first["HTTP_X_APPENGINE_TIMEOUT_MS"].as_str().and_then(|text| text.parse().ok()).expect("milliseconds");
        let most = if python == Python::Two { 60_000 } else { 600_000 };
        assert!(timeout <= most && timeout > most - 30_000, "{timeout}");
        // First generation: some lose their prefix in the environ.
        let (id, host) = match python {
            Python::Two => ("REQUEST_LOG_ID", "DEFAULT_VERSION_HOSTNAME"),
            Python::Three => ("HTTP_X_APPENGINE_REQUEST_LOG_ID", "HTTP_X_APPENGINE_DEFAULT_VERSION_HOSTNAME"),
        };
        assert_eq!(first[host], format!("localhost:{port}").as_str());
        assert!(first[id].as_str().is_some_and(|id| id.len() > 16), "{first:#}");
        assert_ne!(first[id], second[id]);
        assert!(first["HTTP_X_APPENGINE_API_TICKET"].is_string(), "{first:#}");
    });
}

#[test]
fn h11_login_handlers_tell_who_is_there() {
    on_both(|python| {
        let app = app(python, "", ECHO);
        app.write(
            "app.yaml",
            format!(
                "{}handlers:\n- url: /in\n  script: {1}\n  login: required\n- url: /.*\n  script: {1}\n",
                python.head(),
                python.script()
            ),
        );
        let node = serve(&app);
        let cookie = crate::login::sign_in(&node, "ange@example.com", true);
        let inside = node.send(&Request::get("/in").header("Cookie", &cookie)).expect(200).json()["environ"].take();
        let names_and_values = match python {
            Python::Two => [
                ("USER_EMAIL", "ange@example.com"),
                ("USER_NICKNAME", "ange"),
                ("USER_ORGANIZATION", "example.com"),
                ("USER_IS_ADMIN", "1"),
            ],
            Python::Three => [
                ("HTTP_X_APPENGINE_USER_EMAIL", "ange@example.com"),
                ("HTTP_X_APPENGINE_USER_NICKNAME", "ange"),
                ("HTTP_X_APPENGINE_USER_ORGANIZATION", "example.com"),
                ("HTTP_X_APPENGINE_USER_IS_ADMIN", "1"),
            ],
        };
        for (name, value) in names_and_values {
            assert_eq!(inside[name], value, "{name}: {:?}", names(&inside));
        }
        let id = if python == Python::Two { "USER_ID" } else { "HTTP_X_APPENGINE_USER_ID" };
        assert!(inside[id].as_str().is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())), "{inside:#}");
    });
}
