//! Who apps are, as they see it: app identity, the metadata server, OAuth users, capabilities (rows S3, S7, H14), through the official SDKs and google-auth.

use std::process::Command;

use testkit::{App, Connection, Node, Python, Request, ServeNode};

use crate::{node, on_both};

/// Evaluates the expression in the query, and answers its `repr`, or the error's name and text.
const CALLER: &str = r"
import json
import os
import re
import socket
try:
    from urllib.parse import unquote
except ImportError:
    from urllib import unquote
from google.appengine.api import app_identity, oauth, users
from google.appengine.api import apiproxy_stub_map
from google.appengine.api.capabilities import CapabilitySet
from google.appengine.runtime import apiproxy_errors

SCOPE = 'https://www.googleapis.com/auth/cloud-platform'


def get(url, **headers):
    # Not by httplib: in Python 2.7 it goes over URL Fetch, which reaches no address of this machine.
    host, path = url[len('http://'):].split('/', 1)
    name, port = (host.split(':') + ['80'])[:2]
    headers.setdefault('Host', host)
    lines = ['GET /%s HTTP/1.0' % path] + ['%s: %s' % (key.replace('_', '-'), value) for key, value in sorted(headers.items())]
    connection = socket.create_connection((name, int(port)), 60)
    connection.sendall(('\r\n'.join(lines) + '\r\n\r\n').encode('ascii'))
    pieces = []
    while not pieces or pieces[-1]:
        pieces.append(connection.recv(65536))
    connection.close()
    head, body = b''.join(pieces).decode('utf-8').split('\r\n\r\n', 1)
    return int(head.split()[1]), body


def metadata(path, **headers):
    headers.setdefault('Metadata_Flavor', 'Google')
    return get('http://%s/computeMetadata/v1/%s' % (os.environ['GCE_METADATA_HOST'], path), **headers)


def app(environ, start_response):
    expression = unquote(environ['QUERY_STRING'].split('&')[0])
    try:
        answer = re.sub(r'(\d)L\b', r'\1', repr(eval(expression)))
    except Exception as error:
        answer = 'raises %s: %s' % (type(error).__name__, error)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer.encode('utf-8')]
";

const YAML: &str = "env_variables:\n  GREETING: hello\n";

/// Extra packages for Python 3.
fn caller(python: Python, packages: &str) -> App {
    match python {
        Python::Two => {
            App::with_yaml(&format!("{}{YAML}handlers:\n- url: /.*\n  script: main.app\n", python.head())).file("main.py", CALLER)
        }
        Python::Three => App::with_yaml(&format!("{}{YAML}app_engine_apis: true\n", python.head()))
            .file("main.py", format!("{CALLER}\n\nfrom google.appengine.api import wrap_wsgi_app\napp = wrap_wsgi_app(app)\n"))
            .file("requirements.txt", format!("appengine-python-standard==3.1.0\nsetuptools<80\n{packages}")),
    }
}

fn question(expression: &str) -> Request {
    let quoted = expression.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"));
    Request::get(&format!("/?{quoted}"))
}

/// Asks an app of a server.
fn ask_app(server: &ServeNode, project: &str, expression: &str) -> String {
    let request = question(expression).host(&format!("{project}.local.r.localhost"));
    plain(&Connection::open(server.http()).send(&request).expect(200).text())
}

fn plain(text: &str) -> String {
    text.replace("u'", "'").replace("b'", "'").replace("u\"", "\"")
}

fn eval(node: &Node, expression: &str) -> String {
    plain(&node.send(&question(expression)).expect(200).text())
}

#[test]
fn s7_app_identity_through_the_sdk() {
    on_both(|python| {
        let node = node().app(&caller(python, "")).args(["--patience", "300"]).start();
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, expression), wanted, "{python:?}: {expression}");
        check("app_identity.get_application_id()", "'demo'");
        check("app_identity.get_service_account_name()", "'demo@appspot.gserviceaccount.com'");
        check("app_identity.get_default_gcs_bucket_name()", "'demo.appspot.com'");
        // The key is the same in both answers, and the signature is whole.
        check("len(app_identity.sign_blob(b'hello')[1])", "256");
        check("app_identity.sign_blob(b'hello')[0] in [c.key_name for c in app_identity.get_public_certificates()]", "True");
        check(
            "app_identity.sign_blob(b'a') == app_identity.sign_blob(b'a'), app_identity.sign_blob(b'a') == app_identity.sign_blob(b'b')",
            "(True, False)",
        );
        let too_large = eval(&node, "app_identity.sign_blob(b'x' * 9000)");
        assert!(too_large.starts_with("raises BlobSizeTooLarge: "), "{python:?}: {too_large}");
        check("app_identity.get_access_token(SCOPE)[0][:4]", "'ehs_'");
        check("0 < app_identity.get_access_token([SCOPE])[1] - __import__('time').time() <= 3600", "True");
        let no_scope = eval(&node, "app_identity.get_access_token([])");
        assert!(no_scope.starts_with("raises InvalidScope: "), "{python:?}: {no_scope}");
        if python == Python::Two {
            // Python 3 asks the metadata server instead, and has one error for everything.
            for (expression, error) in [
                ("app_identity.get_access_token_uncached(['nonsense'])", "InvalidScope"),
                ("app_identity.get_access_token_uncached([SCOPE], service_account_id='other@example.org')", "NotAllowed"),
                ("app_identity.get_access_token_uncached([SCOPE], service_account_id=7)", "OperationNotImplemented"),
            ] {
                let answer = eval(&node, expression);
                assert!(answer.starts_with(&format!("raises {error}: ")), "{expression}: {answer}");
            }
        } else {
            let nonsense = eval(&node, "app_identity.get_access_token('nonsense')");
            assert!(nonsense.starts_with("raises TransportError: ") && nonsense.contains("400"), "{nonsense}");
        }
        check_signature(&node);
    });
}

/// The value of an expression of bytes; as hexadecimal digits on the way, so that nothing in it reads like one of Python 2's prefixes and suffixes.
fn bytes(node: &Node, expression: &str) -> Vec<u8> {
    let hex = eval(node, &format!("''.join('%02x' % byte for byte in bytearray({expression})) + '.'"));
    let digits: Vec<char> = hex.trim_matches(['\'', '.']).chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("digits")).collect()
}

/// OpenSSL knows the certificate, and the signature with it.
fn check_signature(node: &Node) {
    let home = tempfile::tempdir().expect("a folder");
    let pem = bytes(node, "app_identity.get_public_certificates()[0].x509_certificate_pem.encode('ascii')");
    std::fs::write(home.path().join("app.pem"), pem).expect("written");
    std::fs::write(home.path().join("signature"), bytes(node, "app_identity.sign_blob(b'hello')[1]")).expect("written");
    std::fs::write(home.path().join("blob"), "hello").expect("written");
    let run = |args: &[&str]| Command::new("openssl").args(args).current_dir(home.path()).output().expect("openssl is installed");
    let key = run(&["x509", "-in", "app.pem", "-pubkey", "-noout"]);
    assert!(key.status.success(), "{key:?}");
    std::fs::write(home.path().join("key.pem"), &key.stdout).expect("written");
    let verified = run(&["dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "blob"]);
    assert!(verified.status.success(), "{verified:?}");
    let subject = run(&["x509", "-in", "app.pem", "-subject", "-noout"]);
    assert!(String::from_utf8_lossy(&subject.stdout).contains("demo.appspot.gserviceaccount.com"), "{subject:?}");
}

#[test]
fn s7_the_metadata_server_speaks_to_the_instance() {
    on_both(|python| {
        let node = node().app(&caller(python, "")).args(["--patience", "300"]).start();
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, expression), wanted, "{python:?}: {expression}");
        check("metadata('project/project-id')", "(200, 'demo')");
        named(&node);
        check("metadata('instance/service-accounts/default/email')", "(200, 'demo@appspot.gserviceaccount.com')");
        check("metadata('instance/id')[1] == (os.environ.get('GAE_INSTANCE') or os.environ.get('INSTANCE_ID'))", "True");
        check("metadata('universe/universe-domain')", "(200, 'googleapis.com')");
        check("metadata('nothing')[0], metadata('project/project-id', Metadata_Flavor='x')[0]", "(404, 403)");
        check(
            "metadata('project/project-id', X_Forwarded_For='1.2.3.4')[0], metadata('project/project-id', Host='evil.example')[0]",
            "(403, 403)",
        );
        check("sorted(json.loads(metadata('instance/service-accounts/default/token')[1]))", "['access_token', 'expires_in', 'token_type']");
        check("metadata('instance/service-accounts/default/token?scopes=nonsense')[0]", "400");
        check("metadata('instance/service-accounts/default/identity')[0]", "400");
        check("len(metadata('instance/service-accounts/default/identity?audience=https://x')[1].split('.'))", "3");
        check("json.loads(metadata('?recursive=true')[1])['project']['projectId']", "'demo'");
        // Another process of the machine may look, but gets no token: the test itself.
        let door = eval(&node, "os.environ['GCE_METADATA_HOST']");
        let door = door.trim_matches('\'').parse().expect("an address");
        let ask = |path: &str| {
            let request = Request::get(&format!("/computeMetadata/v1/instance/service-accounts/default/{path}"));
            Connection::open(door).send(&request.host("metadata.google.internal").header("Metadata-Flavor", "Google"))
        };
        assert_eq!(ask("email").expect(200).text(), "demo@appspot.gserviceaccount.com");
        for secret in ["token", "identity?audience=x"] {
            let refused = ask(secret);
            assert!(refused.status == 403 && refused.text().contains("processes of the instance alone"), "{python:?}: {refused:?}");
        }
    });
}

/// Where the machine lets the house have port 80 and instances see a root of their own, Google's names lead to the same server.
fn named(node: &Node) {
    if eval(node, "'metadata.google.internal' in open('/etc/hosts').read()") != "True" {
        return testkit::node::say("no names on this machine: no walls, or no right to port 80");
    }
    let token = "computeMetadata/v1/instance/service-accounts/default/token";
    let by_name = format!("get('http://metadata.google.internal/{token}', Metadata_Flavor='Google')[0]");
    assert_eq!(eval(node, &by_name), "200");
    let at = eval(node, "__import__('socket').gethostbyname('metadata.google.internal')");
    let address: std::net::SocketAddr = format!("{}:80", at.trim_matches('\'')).parse().expect("an address");
    // Nobody else is spoken with there.
    let stranger = std::net::TcpStream::connect(address).and_then(|mut stream| {
        use std::io::{Read as _, Write as _};
        stream.write_all(b"GET / HTTP/1.0\r\nMetadata-Flavor: Google\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(|_| answer)
    });
    assert!(stranger.as_ref().map_or(true, Vec::is_empty), "{stranger:?}");
    assert_eq!(eval(node, "get('http://appengine.googleapis.internal:10001/rpc_http')[0]"), "405");
}

#[test]
fn s7_google_auth_works_unmodified() {
    let python = Python::Three;
    let app = caller(python, "google-auth>=2.38\nrequests\n").file(
        "late.py",
        r"
import google.auth
import google.auth.transport.requests
from google.auth import compute_engine
from google.oauth2 import id_token

session = google.auth.transport.requests.Request()


def default():
    credentials, project = google.auth.default(scopes=['https://www.googleapis.com/auth/cloud-platform'])
    credentials.refresh(session)
    return type(credentials).__module__, project, credentials.service_account_email, credentials.token[:4], credentials.universe_domain


def identity(account):
    import os
    token = id_token.fetch_id_token(session, 'https://me.example')
    certificates = 'http://%s/robot/v1/metadata/x509/%s' % (os.environ['GCE_METADATA_HOST'], account)
    claims = id_token.verify_token(token, session, 'https://me.example', certs_url=certificates)
    return claims['email'], claims['iss'], claims['aud']
",
    );
    let node = node().app(&app).args(["--patience", "300"]).start();
    let default = eval(&node, "__import__('late').default()");
    assert_eq!(default, "('google.auth.compute_engine.credentials', 'demo', 'demo@appspot.gserviceaccount.com', 'ehs_', 'googleapis.com')");
    let account = "demo@appspot.gserviceaccount.com";
    let identity = eval(&node, &format!("__import__('late').identity('{account}')"));
    assert_eq!(identity, format!("('{account}', '{account}', 'https://me.example')"));
}

#[test]
fn s7_tokens_of_the_app_open_the_admin_api() {
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--project", "other", "--patience", "300"]);
    on_both(|python| {
        let version = format!("{python:?}").to_ascii_lowercase();
        server.deploy("shop", &caller(python, ""), &["--version", &version]);
        let token = ask_app(&server, "shop", "app_identity.get_access_token(SCOPE)[0]").trim_matches('\'').to_owned();
        let ask = |method: &str, path: &str, body: &str| {
            let request = Request::new(method, path).header("Authorization", &format!("Bearer {token}"));
            let request = if body.is_empty() { request } else { request.header("Content-Type", "application/json").body(body) };
            Connection::open(server.admin()).send(&request)
        };
        assert_eq!(ask("GET", "/v1/apps/shop", "").expect(200).json()["serviceAccount"], "shop@appspot.gserviceaccount.com");
        assert_eq!(ask("GET", "/v1/apps/shop/services/default/versions", "").status, 200);
        // It may do with its own app what a deployer may, and nothing with another's.
        assert_eq!(ask("GET", "/v1/apps/other", "").status, 403);
        assert_eq!(ask("DELETE", "/v1/apps/shop/services/default", "").status, 403);
        let split = format!("{{\"split\": {{\"allocations\": {{\"{version}\": 1}}}}}}");
        assert_eq!(ask("PATCH", "/v1/apps/shop/services/default?updateMask=split", &split).status, 200);
        let expression = "app_identity.get_access_token('https://www.googleapis.com/auth/userinfo.email')[0]";
        let narrow = ask_app(&server, "shop", expression);
        let narrow = format!("Bearer {}", narrow.trim_matches('\''));
        let refused = Connection::open(server.admin()).send(&Request::get("/v1/apps/shop").header("Authorization", &narrow));
        assert!(refused.status == 403 && refused.text().contains("ACCESS_TOKEN_SCOPE_INSUFFICIENT"), "{refused:?}");
        let forged = format!("Bearer {}x", &token[..token.len() - 1]);
        assert_eq!(Connection::open(server.admin()).send(&Request::get("/v1/apps/shop").header("Authorization", &forged)).status, 401);
        assert!(!server.log().contains(&token), "secrets stand in no log");
    });
}

#[test]
fn s3_oauth_users_show_a_token() {
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--project", "other", "--patience", "300"]);
    on_both(|python| {
        let version = format!("{python:?}").to_ascii_lowercase();
        server.deploy("shop", &caller(python, ""), &["--version", &version]);
        let ask = |expression: &str, authorization: Option<&str>| {
            let request = question(expression).host("shop.local.r.localhost");
            let request = authorization.into_iter().fold(request, |request, value| request.header("Authorization", value));
            plain(&Connection::open(server.http()).send(&request).expect(200).text())
        };
        let me = "(lambda u: (u.email(), u.user_id(), u.auth_domain()))(oauth.get_current_user(SCOPE))";
        assert!(ask(me, None).starts_with("raises InvalidOAuthParametersError: "), "{python:?}: {}", ask(me, None));
        assert!(ask(me, Some("Basic eDp5")).starts_with("raises InvalidOAuthParametersError: "));
        assert!(ask(me, Some("Bearer nonsense")).starts_with("raises InvalidOAuthTokenError: "));
        // The app's own service account.
        let own = ask("app_identity.get_access_token(SCOPE)[0]", None);
        let own = format!("Bearer {}", own.trim_matches('\''));
        let account = "shop@appspot.gserviceaccount.com";
        assert!(ask(me, Some(&own)).starts_with(&format!("('{account}', '1")), "{python:?}: {}", ask(me, Some(&own)));
        assert_eq!(ask("oauth.is_current_user_admin(SCOPE)", Some(&own)), "True");
        assert_eq!(
            ask("oauth.get_authorized_scopes([SCOPE, 'https://other'])", Some(&own)),
            "['https://www.googleapis.com/auth/cloud-platform']"
        );
        assert!(ask("oauth.get_current_user('https://other')", Some(&own)).starts_with("raises InvalidOAuthTokenError: "));
        assert_eq!(ask("len(oauth.get_client_id(SCOPE))", Some(&own)), "12");
        assert!(ask("oauth.get_oauth_consumer_key()", Some(&own)).starts_with("raises InvalidOAuthParametersError: "));
        // People, by tokens of the server that are called after them.
        let token = |name: &str, role: &str| {
            let made =
                server.api("POST", "/enginehouse/v1/tokens", &format!("{{\"name\": \"{name}\", \"role\": \"{role}\"}}")).expect(200).json();
            let text = made["token"].as_str().or(made["secret"].as_str()).unwrap_or_else(|| panic!("a token: {made}")).to_owned();
            format!("Bearer {text}")
        };
        let ann = token("ann@example.org", "viewer");
        assert!(ask(me, Some(&ann)).starts_with("('ann@example.org', '1"), "{python:?}: {}", ask(me, Some(&ann)));
        assert_eq!(ask("oauth.is_current_user_admin()", Some(&ann)), "False");
        assert_eq!(ask("oauth.is_current_user_admin()", Some(&token("boss@example.org", "admin"))), "True");
        assert!(ask(me, Some(&token("ci", "viewer"))).starts_with("raises InvalidOAuthTokenError: "), "a program is no user");
    });
}

#[test]
fn s3_login_addresses_lead_nowhere_else() {
    on_both(|python| {
        let node = node().app(&caller(python, "")).args(["--patience", "300"]).start();
        for (expression, error) in [
            ("users.create_login_url('http://evil.example/')", "NotAllowedError"),
            ("users.create_login_url('javascript://x/')", "NotAllowedError"),
            ("users.create_logout_url('/' + 'x' * 3000)", "RedirectTooLongError"),
        ] {
            let answer = eval(&node, expression);
            assert!(answer.starts_with(&format!("raises {error}: ")), "{python:?}: {expression}: {answer}");
        }
        let host = format!("http://localhost:{}/x", node.address().port());
        let own = eval(&node, &format!("users.create_login_url('{host}')"));
        assert!(own.contains("/_ah/login?continue=http%3A%2F%2Flocalhost"), "{python:?}: {own}");
    });
}

#[test]
fn capabilities_are_what_there_is() {
    on_both(|python| {
        let node = node().app(&caller(python, "")).args(["--patience", "300"]).start();
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, expression), wanted, "{python:?}: {expression}");
        check("CapabilitySet('memcache').is_enabled()", "True");
        check("CapabilitySet('memcache', methods=['Get', 'Set']).is_enabled()", "True");
        check("CapabilitySet('datastore_v3', capabilities=['write']).is_enabled()", "False");
        check("CapabilitySet('xmpp').is_enabled()", "False");
        check("CapabilitySet('memcache').admin_message()", "''");
        let unknown = eval(&node, "CapabilitySet('nothing').is_enabled()");
        assert!(unknown == "False" || unknown.starts_with("raises UnknownCapabilityError"), "{python:?}: {unknown}");
    });
}

#[test]
fn s7_an_instance_cannot_take_the_tokens_of_another() {
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "--project", "other", "--patience", "300"]);
    for project in ["shop", "other"] {
        server.deploy(project, &caller(Python::Three, ""), &["--version", "v1"]);
    }
    let ask = |project: &str, expression: &str| ask_app(&server, project, expression);
    let door = ask("other", "os.environ['GCE_METADATA_HOST']");
    let theft =
        format!("get('http://' + {door} + '/computeMetadata/v1/instance/service-accounts/default/token', Metadata_Flavor='Google')[0]");
    assert_eq!(ask("other", &theft), "200");
    assert_eq!(ask("shop", &theft), "403");
}
