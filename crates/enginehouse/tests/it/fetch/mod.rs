//! URL Fetch through the SDKs (rows S6, M5, H14), against servers of this machine.

pub(crate) mod elsewhere;

use testkit::{App, Connection, Node, Python, Request, ServeNode};

use crate::{node, on_both};
use elsewhere::Elsewhere;

/// Evaluates the expression in the query, with the SDK's modules at hand. An error is told by its name.
const CALLER: &str = r"
import json
import time
try:
    from urllib.parse import unquote
except ImportError:
    from urllib import unquote
from google.appengine.api import urlfetch


def text(value):
    return value if isinstance(value, str) else value.decode('latin-1')


def get(url, **options):
    return urlfetch.fetch(url, **options)


def body(url, **options):
    return text(get(url, **options).content)


def lines(url, **options):
    return body(url, **options).split('\n')


def together(urls, **options):
    calls = [urlfetch.create_rpc(deadline=20) for _ in urls]
    for call, url in zip(calls, urls):
        urlfetch.make_fetch_call(call, url, **options)
    return [text(call.get_result().content) for call in calls]


def called_back(url):
    seen = []
    call = urlfetch.create_rpc(callback=lambda: seen.append(call.get_result().status_code))
    urlfetch.make_fetch_call(call, url)
    call.wait()
    return seen


def app(environ, start_response):
    if environ['PATH_INFO'] == '/inside':
        names = ['HTTP_HOST', 'REQUEST_METHOD', 'HTTP_X_APPENGINE_INBOUND_APPID', 'HTTP_USER_AGENT', 'REMOTE_ADDR', 'wsgi.url_scheme']
        size = int(environ.get('CONTENT_LENGTH') or 0)
        answer = json.dumps([environ.get(name) for name in names] + [text(environ['wsgi.input'].read(size))])
    elif environ['PATH_INFO'] == '/away':
        start_response('302 Found', [('Location', unquote(environ['QUERY_STRING']))])
        return [b'']
    else:
        try:
            answer = json.dumps(eval(unquote(environ['QUERY_STRING'])))
        except Exception as error:
            answer = json.dumps('raises %s: %s' % (type(error).__name__, error))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode('utf-8')]
";

fn caller(python: Python) -> App {
    match python {
        // Bodies of 32 MiB need room.
        Python::Two => App::with_yaml(&format!("{}instance_class: F4\nhandlers:\n- url: /.*\n  script: main.app\n", python.head()))
            .file("main.py", CALLER),
        Python::Three => App::with_yaml(&format!("{}instance_class: F4\napp_engine_apis: true\n", python.head()))
            .file("main.py", format!("{CALLER}\n\nfrom google.appengine.api import wrap_wsgi_app\napp = wrap_wsgi_app(app)\n"))
            .file("requirements.txt", "appengine-python-standard==3.1.0\nsetuptools<80\n"),
    }
}

fn quoted(text: &str) -> String {
    text.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"))
}

fn eval(node: &Node, expression: &str) -> serde_json::Value {
    node.send(&Request::get(&format!("/?{}", quoted(expression)))).expect(200).json()
}

#[track_caller]
fn raises(node: &Node, expression: &str, error: &str) -> String {
    let answer = eval(node, expression);
    let text = answer.as_str().unwrap_or_else(|| panic!("{expression}: {answer}")).to_owned();
    assert!(text.starts_with(&format!("raises {error}: ")), "{expression}: {text}");
    text
}

fn start(python: Python, args: &[&str]) -> Node {
    node().app(&caller(python)).args(["--patience", "300"]).args(args.iter().copied()).start()
}

const OPEN: [&str; 2] = ["--urlfetch-allow", "127.0.0.0/8"];

#[test]
fn s6_methods_payloads_and_headers() {
    let there = Elsewhere::http("127.0.0.1");
    let echo = there.url("http", "/echo?a=b");
    on_both(|python| {
        let node = start(python, &OPEN);
        for method in ["GET", "DELETE", "POST", "PUT", "PATCH"] {
            let seen = eval(&node, &format!("body('{echo}', method='{method}', payload=b'a body')"));
            let seen = seen.as_str().expect("a text");
            let sent = if matches!(method, "GET" | "DELETE") { "" } else { "a body" };
            assert!(seen.starts_with(&format!("{method} /echo?a=b HTTP/1.1\n")), "{python:?}: {seen}");
            assert_eq!(seen.split_once("\n\n").map(|(_, body)| body), Some(sent), "{python:?}: {seen}");
            let form = seen.contains("Content-Type: application/x-www-form-urlencoded\n");
            assert_eq!(form, method == "POST", "{python:?}: {seen}");
        }
        let head = eval(
            &node,
            &format!(
                "(lambda r: [r.status_code, text(r.content), r.headers['x-one'], int(r.headers['content-length']) > 10])(get('{echo}', method='HEAD'))"
            ),
        );
        assert_eq!(head.to_string(), r#"[200,"","1",true]"#, "{python:?}");
        let two = eval(&node, &format!("get('{echo}').headers['x-two'].replace(' ', '')"));
        assert_eq!(two, "a,b", "{python:?}");

        let seen = eval(
            &node,
            &format!(
                "lines('{echo}', headers={{'User-Agent': 'mine', 'Host': 'evil', 'Via': 'x', 'X-Forwarded-For': '1.2.3.4', 'X-Appengine-Inbound-Appid': 'other', 'X-Own': 'kept'}})"
            ),
        );
        let seen: Vec<&str> = seen.as_array().expect("lines").iter().filter_map(|line| line.as_str()).collect();
        let host = format!("Host: {}", there.address);
        for wanted in ["X-Own: kept", "Accept-Encoding: gzip", &host] {
            assert!(seen.contains(&wanted), "{python:?}: {wanted}: {seen:?}");
        }
        assert!(seen.contains(&"User-Agent: mine AppEngine-Google; (+http://code.google.com/appengine; appid: s~demo)"), "{seen:?}");
        let lower = seen.join("\n").to_ascii_lowercase();
        for gone in ["via:", "x-forwarded-for:", "inbound-appid", "evil"] {
            assert!(!lower.contains(gone), "{python:?}: {gone}: {seen:?}");
        }

        let gzip = there.url("http", "/gzip");
        let unpacked = eval(
            &node,
            &format!("(lambda r: [text(r.content), r.headers.get('content-encoding'), r.headers['content-length']])(get('{gzip}'))"),
        );
        assert_eq!(unpacked.to_string(), r#"["abc",null,"3"]"#, "{python:?}");
        let packed = eval(
            &node,
            &format!(
                "(lambda r: [len(r.content), r.headers.get('content-encoding')])(get('{gzip}', headers={{'Accept-Encoding': 'gzip'}}))"
            ),
        );
        assert_eq!(packed.to_string(), r#"[23,"gzip"]"#, "{python:?}");
        assert_eq!(eval(&node, &format!("body('{}')", there.url("http", "/old"))), "until the end", "{python:?}");
        assert_eq!(eval(&node, &format!("get('{}').status_code", there.url("http", "/status/404"))), 404, "{python:?}");
        assert_eq!(eval(&node, &format!("called_back('{echo}')")).to_string(), "[200]", "{python:?}");
        let many = eval(&node, &format!("set(together(['{}'] * 40)) == set(['end'])", there.url("http", "/loop/1")));
        assert_eq!(many, true, "{python:?}");
    });
}

#[test]
fn s6_redirects() {
    let there = Elsewhere::http("127.0.0.1");
    on_both(|python| {
        let node = start(python, &OPEN);
        let url = |path: &str| there.url("http", path);
        let end = eval(&node, &format!("(lambda r: [r.status_code, text(r.content), r.final_url])(get('{}'))", url("/loop/5")));
        assert_eq!(end.to_string(), format!(r#"[200,"end","{}"]"#, url("/loop/0")), "{python:?}");
        raises(&node, &format!("body('{}')", url("/loop/6")), "TooManyRedirectsError");
        let kept = eval(
            &node,
            &format!("(lambda r: [r.status_code, r.headers['location'], r.final_url])(get('{}', follow_redirects=False))", url("/loop/6")),
        );
        assert_eq!(kept.to_string(), r#"[302,"5",null]"#, "{python:?}");
        for (status, method) in [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST")] {
            let from = url(&format!("/to/{status}?/echo"));
            let seen = eval(&node, &format!("body('{from}', method='POST', payload='a body')"));
            let seen = seen.as_str().expect("a text");
            assert!(seen.starts_with(&format!("{method} /echo ")), "{python:?} {status}: {seen}");
            assert_eq!(seen.ends_with("\n\na body"), method == "POST", "{python:?} {status}: {seen}");
        }
        assert_eq!(eval(&node, &format!("get('{}').status_code", url("/to/308?/echo"))), 308, "{python:?}");
        raises(&node, &format!("body('{}')", url("/nowhere")), "MalformedReplyError");
        raises(&node, &format!("body('{}')", url("/to/302?gopher://x/")), "InvalidURLError");
    });
}

#[test]
fn s6_every_error() {
    let there = Elsewhere::http("127.0.0.1");
    on_both(|python| {
        let node = start(python, &OPEN);
        let url = |path: &str| there.url("http", path);
        let fails = |path: &str, error: &str| raises(&node, &format!("body('{}')", url(path)), error);
        for bad in ["", "nothing", "ftp://example.com/", "http://", "http://user:word@example.com/", "http://127.0.0.1:22/"] {
            raises(&node, &format!("body('{bad}')"), "InvalidURLError");
        }
        raises(&node, "body('http://example.com/' + 'x' * 10240)", "InvalidURLError");
        raises(&node, &format!("body('{}', method='TRACE')", url("/echo")), "InvalidMethodError");
        raises(&node, &format!("body('{}', headers={{'a b': 'c'}})", url("/echo")), "InvalidURLError");
        fails("/status/700", "DownloadError");
        fails("/manyheads", "ResponseTooLargeError");
        fails("/close", "ConnectionClosedError");
        fails("/half", "ConnectionClosedError");
        fails("/garbage", "MalformedReplyError");
        fails("/badchunk", "MalformedReplyError");
        fails("/notgzip", "MalformedReplyError");
        for deadline in ["0.3", "0"] {
            raises(&node, &format!("body('{}', deadline={deadline})", url("/slow")), "DeadlineExceededError");
        }
        raises(&node, "body('http://no-such-name.invalid/')", "DNSLookupFailedError");
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let text = raises(&node, &format!("body('http://{free}/')"), "DownloadError");
        assert!(text.contains("Unable to connect to server"), "{text}");
        raises(&node, &format!("body('{}', method='POST', payload=b'x' * (10 * 1024 * 1024 + 1))", url("/echo")), "PayloadTooLargeError");
        let full = format!("len(body('{}', method='POST', payload=b'x' * (10 * 1024 * 1024))) > 10 * 1024 * 1024", url("/echo"));
        assert_eq!(eval(&node, &full), true, "{python:?}");
        let large = url(&format!("/bytes/{}", (32 << 20) + 1));
        raises(&node, &format!("body('{large}', deadline=30)"), "ResponseTooLargeError");
        let cut = eval(
            &node,
            &format!("(lambda r: [len(r.content), bool(r.content_was_truncated)])(get('{large}', allow_truncated=True, deadline=30))"),
        );
        assert_eq!(cut.to_string(), "[33554432,true]", "{python:?}");
        let whole = url(&format!("/bytes/{}", 32 << 20));
        assert_eq!(eval(&node, &format!("len(body('{whole}', deadline=30))")), 32 << 20, "{python:?}");
    });
}

#[test]
fn s6_private_addresses_are_closed() {
    let there = Elsewhere::http("127.0.0.1");
    let closed = Elsewhere::http("127.0.0.3");
    let open = Elsewhere::http("127.0.0.2");
    on_both(|python| {
        let node = start(python, &["--urlfetch-allow", "127.0.0.2"]);
        let before = there.visits() + closed.visits();
        let port = closed.address.port();
        let refused = |url: &str| {
            let text = raises(&node, &format!("body('{url}')"), "DownloadError");
            assert!(text.contains("--urlfetch-allow"), "{python:?}: {url}: {text}");
        };
        refused(&closed.url("http", "/echo"));
        refused(&closed.url("https", "/echo"));
        refused(&format!("http://[::ffff:127.0.0.3]:{port}/echo"));
        refused(&format!("http://localhost:{}/echo", there.address.port()));
        refused("http://169.254.169.254/computeMetadata/v1/");
        refused("http://10.0.0.1/");
        refused("http://[::1]:8000/");
        refused("http://[fe80::1]/");
        refused("http://0.0.0.0:8000/");
        // From an open server to a closed one.
        refused(&open.url("http", &format!("/to/302?{}", closed.url("http", "/echo"))));
        refused(&open.url("http", &format!("/to/307?http://localhost:{}/echo", there.address.port())));
        assert_eq!(eval(&node, &format!("get('{}').status_code", open.url("http", "/echo"))), 200, "{python:?}");
        assert_eq!(there.visits() + closed.visits(), before, "{python:?}: nothing was connected to");
    });
}

#[test]
fn s6_certificates_are_checked() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let own = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&own).expect("an authority");
    let issuer = Issuer::new(params, own);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters").signed_by(&key, &issuer).expect("a certificate");
    let good = Elsewhere::https("127.0.0.1", &leaf.pem(), &key.serialize_pem());
    let unknown = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let bad = Elsewhere::https("127.0.0.1", &unknown.cert.pem(), &unknown.signing_key.serialize_pem());
    // Packages are still installed from servers that the system knows.
    let system = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = folder.path().join("bundle.pem");
    std::fs::write(&bundle, format!("{system}\n{}", authority.pem())).expect("written");
    on_both(|python| {
        let node = node().app(&caller(python)).args(["--patience", "300"]).args(OPEN).env("SSL_CERT_FILE", &bundle).start();
        let at = |server: &Elsewhere, host: &str| format!("https://{host}:{}/echo", server.address.port());
        let (right, wrong_name, stranger) = (at(&good, "localhost"), at(&good, "127.0.0.1"), at(&bad, "localhost"));
        assert_eq!(eval(&node, &format!("get('{right}').status_code")), 200, "{python:?}");
        assert_eq!(eval(&node, &format!("get('{right}', validate_certificate=True).status_code")), 200, "{python:?}");
        for closed in [&wrong_name, &stranger] {
            raises(&node, &format!("get('{closed}').status_code"), "SSLCertificateError");
        }
        for open in [&wrong_name, &stranger] {
            assert_eq!(eval(&node, &format!("get('{open}', validate_certificate=False).status_code")), 200, "{python:?}");
        }
    });
}

#[test]
fn h14_fetches_of_own_services_carry_the_app() {
    on_both(|python| {
        let node = start(python, &[]);
        let port = node.address().port();
        let inside = |host: &str, options: &str| eval(&node, &format!("json.loads(body('http://{host}:{port}/inside'{options}))"));
        let agent = "AppEngine-Google; (+http://code.google.com/appengine; appid: s~demo)";
        for host in ["localhost", "127.0.0.1", "default.localhost", "main.default.localhost"] {
            let seen = inside(host, ", follow_redirects=False, method='POST', payload='a body'");
            let authority = format!("{host}:{port}");
            let wanted = serde_json::json!([authority, "POST", "demo", agent, "0.1.0.40", "http", "a body"]);
            assert_eq!(seen, wanted, "{python:?}");
        }
        assert_eq!(inside("localhost", "")[2], serde_json::Value::Null, "{python:?}: redirects might lead out");
        let forged = inside("localhost", ", headers={'X-Appengine-Inbound-Appid': 'other'}");
        assert_eq!(forged[2], serde_json::Value::Null, "{python:?}");
        let from_outside = node.send(&Request::get("/inside").header("X-Appengine-Inbound-Appid", "demo")).expect(200).json();
        assert_eq!(from_outside[2], serde_json::Value::Null, "{python:?}");
        // Another port of this machine is not the app's.
        let there = Elsewhere::http("127.0.0.1");
        let text = raises(&node, &format!("body('http://localhost:{}/echo')", there.address.port()), "DownloadError");
        assert!(text.contains("--urlfetch-allow"), "{text}");
        // The app leads itself to a closed address.
        let away = quoted(&there.url("http", "/echo"));
        let text = raises(&node, &format!("body('http://localhost:{port}/away?{away}')"), "DownloadError");
        assert!(text.contains("--urlfetch-allow"), "{text}");
        let missing = eval(&node, &format!("get('http://nothing.localhost:{port}/inside').status_code"));
        assert_eq!(missing, 200, "{python:?}: soft routing, as from outside");
    });
}

#[test]
fn m5_services_and_apps_of_one_server_fetch_each_other() {
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--project", "bank", "--patience", "300"]);
    server.deploy("shop", &caller(Python::Two), &[]);
    server.deploy("bank", &caller(Python::Two), &[]);
    let port = server.http().port();
    let fetch = |expression: &str| -> serde_json::Value {
        let host = format!("shop.localhost:{port}");
        let answer = Connection::open(server.http()).send(&Request::get(&format!("/?{}", quoted(expression))).host(&host));
        answer.expect(200).json()
    };
    let seen = fetch(&format!("json.loads(body('http://bank.localhost:{port}/inside', follow_redirects=False))"));
    assert_eq!(seen[0], format!("bank.localhost:{port}"));
    assert_eq!(seen[2], "shop", "the bank sees that the shop asks");
    let own = fetch(&format!("json.loads(body('http://default.shop.localhost:{port}/inside', follow_redirects=False))"));
    assert_eq!((&own[0], &own[2]), (&format!("default.shop.localhost:{port}").into(), &"shop".into()));
    let nobody = fetch(&format!("body('http://nobody.localhost:{port}/inside')"));
    assert!(nobody.as_str().is_some_and(|text| text.starts_with("raises D")), "{nobody}");
}

#[test]
fn s6_the_standard_library_of_27_fetches() {
    let there = Elsewhere::http("127.0.0.1");
    let echo = there.url("http", "/echo");
    let open = start(Python::Two, &OPEN);
    let seen = eval(&open, &format!("__import__('urllib2').urlopen('{echo}', 'a=b').read()"));
    let seen = seen.as_str().expect("a text");
    assert!(seen.starts_with("POST /echo ") && seen.contains("AppEngine-Google") && seen.ends_with("\n\na=b"), "{seen}");
    let seen = eval(&open, &format!("__import__('urllib').urlopen('{echo}').read()"));
    assert!(seen.as_str().is_some_and(|text| text.contains("AppEngine-Google")), "{seen}");
    let followed = eval(&open, &format!("__import__('urllib2').urlopen('{}').geturl()", there.url("http", "/loop/2")));
    assert_eq!(followed, there.url("http", "/loop/0").as_str());
    let closed = eval(&start(Python::Two, &[]), &format!("__import__('urllib2').urlopen('{echo}').read()"));
    assert!(closed.as_str().is_some_and(|text| text.contains("--urlfetch-allow")), "{closed}");
    let sockets =
        format!("{}env_variables:\n  GAE_USE_SOCKETS_HTTPLIB: '1'\nhandlers:\n- url: /.*\n  script: main.app\n", Python::Two.head());
    let node = node().app(&App::with_yaml(&sockets).file("main.py", CALLER)).args(["--patience", "300"]).start();
    let seen = eval(&node, &format!("__import__('urllib2').urlopen('{echo}').read()"));
    assert!(seen.as_str().is_some_and(|text| text.contains("Python-urllib/2.7") && !text.contains("AppEngine-Google")), "{seen}");
}
