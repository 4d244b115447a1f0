//! Mail through the SDKs and through SMTP (rows S4, Y21).

pub(crate) mod relay;
mod returns;
mod tls;

use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use testkit::{App, Connection, DEADLINE, Node, Python, Request, ServeNode};

use crate::{command, node, on_both};
use relay::Relay;

/// Evaluates the expression in the query; keeps what comes by mail in memcache.
const CALLER: &str = r"
import cgi
import json
try:
    from urllib.parse import unquote
except ImportError:
    from urllib import unquote
from google.appengine.api import apiproxy_stub_map, mail, mail_errors, memcache
try:
    from google.appengine.api import api_base_pb2 as base, mail_service_pb2 as pb
    THREE = True
except ImportError:
    from google.appengine.api import api_base_pb as base, mail_service_pb as pb
    THREE = False


def text(value):
    if hasattr(value, 'decode') and not isinstance(value, str):
        value = value.decode()
    return value if isinstance(value, str) else value.encode('utf-8')


def send(**options):
    return mail.send_mail('Me <me@example.com>', 'you@example.com', 'Hello', 'A text', **options)


def raw(attachment=None, header=None, content_id=None, method='Send', **fields):
    fields = dict({'Sender': 'me@example.com', 'Subject': 'x', 'TextBody': 'y', 'To': ['you@example.com']}, **fields)
    message = pb.MailMessage()
    for name, value in fields.items():
        if value is None:
            continue
        many = isinstance(value, list)
        for one in value if many else [value]:
            if THREE and many:
                getattr(message, name).append(one)
            elif THREE:
                setattr(message, name, one)
            else:
                getattr(message, ('add_' if many else 'set_') + name.lower())(one)
    if attachment:
        part = message.Attachment.add() if THREE else message.add_attachment()
        if THREE:
            part.FileName, part.Data = attachment, b'data'
            if content_id:
                part.ContentID = content_id
        else:
            part.set_filename(attachment)
            part.set_data('data')
            if content_id:
                part.set_contentid(content_id)
    if header:
        part = message.Header.add() if THREE else message.add_header()
        if THREE:
            part.name, part.value = header, 'x'
        else:
            part.set_name(header)
            part.set_value('x')
    apiproxy_stub_map.MakeSyncCall('mail', method, message, base.VoidProto())


def bounce(environ):
    if THREE:
        return mail.BounceNotification.from_environ(environ)
    from google.appengine.ext.webapp import mail_handlers
    form = cgi.FieldStorage(environ['wsgi.input'], environ=environ)
    return mail_handlers.BounceNotification(dict((name, form.getvalue(name)) for name in form))


def app(environ, start_response):
    path = environ['PATH_INFO']
    status, answer = '200 OK', 'ok'
    if path.startswith('/_ah/mail/fail'):
        memcache.incr('fails', initial_value=0)
        status = '500 No' if memcache.get('fails') < 2 else status
    elif path.startswith('/_ah/mail/'):
        message = mail.InboundEmailMessage(environ['wsgi.input'].read(int(environ['CONTENT_LENGTH'])))
        bodies = [text(body.decode()) for _, body in message.bodies('text/plain')]
        files = [[text(name), text(data.decode())] for name, data in getattr(message, 'attachments', [])]
        memcache.set('mail', [path, environ['CONTENT_TYPE'], environ['REMOTE_ADDR'], text(message.sender), text(message.to), text(message.subject), bodies, files])
    elif path == '/_ah/bounce':
        found = bounce(environ)
        memcache.set('bounce', [text(found.original['to']), text(found.original['subject']), text(found.notification['text']), text(found.original_raw_message.sender)])
    else:
        try:
            answer = json.dumps(eval(unquote(environ['QUERY_STRING'])))
        except Exception as error:
            answer = json.dumps('raises %s %s' % (type(error).__name__, getattr(error, 'application_error', '')))
    start_response(status, [('Content-Type', 'text/plain')])
    return [answer.encode('utf-8')]
";

const SHORT: &str = "From: ann@example.org\r\nTo: a@b.example\r\nSubject: x\r\n\r\ny";

fn app(python: Python) -> App {
    let inbound = "inbound_services:\n- mail\n- mail_bounce\n";
    let handlers = |script: &str| {
        format!("handlers:\n- url: /_ah/(mail/.+|bounce)\n  script: {script}\n  login: admin\n- url: /.*\n  script: {script}\n")
    };
    match python {
        Python::Two => App::with_yaml(&format!("{}{inbound}{}", python.head(), handlers("main.app"))).file("main.py", CALLER),
        Python::Three => App::with_yaml(&format!("{}app_engine_apis: true\n{inbound}{}", python.head(), handlers("auto")))
            .file("main.py", format!("{CALLER}\n\nfrom google.appengine.api import wrap_wsgi_app\napp = wrap_wsgi_app(app)\n"))
            .file("requirements.txt", "appengine-python-standard==3.1.0\nsetuptools<80\n"),
    }
}

fn query(expression: &str) -> Request {
    let quoted = expression.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"));
    Request::get(&format!("/?{quoted}"))
}

fn eval(node: &Node, expression: &str) -> Value {
    node.send(&query(expression)).expect(200).json()
}

/// What memcache holds under a name, once it does.
fn kept(node: &Node, name: &str) -> Value {
    node.eventually(&query(&format!("memcache.get('{name}')")), |answer| answer.text() != "null").json()
}

/// `enginehouse mail …` for a node.
fn mail(storage: &str, args: &[&str]) -> testkit::Finished {
    command(["mail"].iter().chain(args).copied().chain(["--storage", storage]))
}

fn start(python: Python, args: &[&str]) -> (Node, tempfile::TempDir) {
    let storage = tempfile::tempdir().expect("a folder");
    let path = storage.path().to_str().expect("a path").to_owned();
    let node = node().app(&app(python)).args(["--patience", "300", "--storage", &path]).args(args.iter().copied()).start();
    (node, storage)
}

#[test]
fn s4_mail_is_kept_in_development() {
    on_both(|python| {
        let (node, storage) = start(python, &[]);
        let place = storage.path().to_str().expect("a path");
        let whole = "send(html='<b>A text</b>', cc=['Two <two@example.com>'], bcc='three@example.com', reply_to='back@example.com', \
            attachments=[('a.txt', b'data')], headers={'References': '<a@b>'})";
        assert_eq!(eval(&node, whole), Value::Null, "{python:?}");
        let admins = "mail.send_mail_to_admins('me@example.com', 'To you', 'A text')";
        assert_eq!(eval(&node, admins), Value::Null, "{python:?}");

        let listed = mail(place, &["list", "--format", "json"]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
        assert_eq!((&listed[0]["subject"], &listed[1]["subject"]), (&"To you".into(), &"Hello".into()), "{listed}");
        assert_eq!(listed[1]["to"], serde_json::json!(["you@example.com", "two@example.com", "three@example.com"]));
        assert_eq!((&listed[1]["state"], &listed[1]["from"]), (&"kept".into(), &"me@example.com".into()));
        let shown = mail(place, &["show", listed[1]["id"].as_str().expect("an id")]);
        for wanted in [
            "To: you@example.com\n",
            "Cc: Two <two@example.com>\n",
            "Reply-To: back@example.com\n",
            "From: Me <me@example.com>\n",
            "References: <a@b>\n",
            "X-Google-Appengine-App-Id: s~demo\n",
            "Content-Type: multipart/alternative;",
            "<b>A text</b>",
            "filename=\"a.txt\"",
            "ZGF0YQ==",
        ] {
            assert!(shown.stdout.contains(wanted), "{python:?}: {wanted}: {shown:?}");
        }
        assert!(!shown.stdout.contains("three@example.com"), "{shown:?}");
        assert!(node.everything().contains("no mail server is named"), "the log tells");
        assert_eq!(mail(place, &["show", "nothing"]).code, Some(5), "as for anything that is not there");
        assert_eq!(mail(place, &["clear", "--quiet"]).code, Some(0));
        let listed = mail(place, &["list"]);
        assert!(listed.stderr.contains("no mail"), "{listed:?}");
    });
}

#[test]
fn s4_each_rule_has_its_code() {
    on_both(|python| {
        let (node, _storage) = start(python, &[]);
        let code = |call: &str, wanted: &str| assert_eq!(eval(&node, call), wanted, "{python:?}: {call}");
        code("raw(Sender='nobody')", "raises ApplicationError 2");
        code("raw(To=None)", "raises ApplicationError 2");
        code("raw(To=['a@b', 'nobody'])", "raises ApplicationError 2");
        code("raw(TextBody=None)", "raises ApplicationError 2");
        code("raw(attachment='a.exe')", "raises ApplicationError 4");
        code("raw(attachment='.hidden')", "raises ApplicationError 4");
        code("raw(attachment='none')", "raises ApplicationError 4");
        code("raw(header='X-Own')", "raises ApplicationError 5");
        code("raw(attachment='a.png', content_id='<a b>')", "raises ApplicationError 6");
        code("raw(TextBody='x' * (33 << 20))", "raises RequestTooLargeError ");
        assert_eq!(eval(&node, "raw(), raw(method='SendToAdmins', To=None)").to_string(), "[null,null]");
        let sdk = eval(&node, "mail.send_mail('nobody', 'you@example.com', 'x', 'y')");
        assert_eq!(sdk, "raises BadRequestError ", "{python:?}");
    });
}

#[test]
fn s4_mail_goes_out_and_bounces() {
    on_both(|python| {
        let relay = Relay::start();
        let url = format!("smtp://me:secret@{}", relay.address);
        let (node, storage) = start(python, &["--smtp-url", &url, "--mail-admin", "admin@example.com"]);
        assert_eq!(eval(&node, "send(bcc='three@example.com')"), Value::Null);
        let came = relay.next();
        assert_eq!(
            (came.from.as_str(), came.to.as_slice()),
            ("me@example.com", ["you@example.com", "three@example.com"].map(String::from).as_slice())
        );
        assert!(came.message.contains("Subject: Hello") && came.message.contains("A text") && !came.message.contains("three@"), "{came:?}");
        assert_eq!(came.login.as_deref(), Some("AG1lAHNlY3JldA=="), "AUTH PLAIN");
        assert_eq!(eval(&node, "mail.send_mail_to_admins('me@example.com', 'To you', 'A text')"), Value::Null);
        assert_eq!(relay.next().to, ["admin@example.com"]);

        assert_eq!(
            eval(&node, "mail.send_mail('me@example.com', ['refused@example.com', 'good@example.com'], 'Back', 'A text')"),
            Value::Null
        );
        assert_eq!(relay.next().to, ["good@example.com"]);
        let bounce = kept(&node, "bounce");
        assert_eq!(
            (&bounce[0], &bounce[1], &bounce[3]),
            (&"refused@example.com".into(), &"Back".into(), &"me@example.com".into()),
            "{bounce}"
        );
        assert!(bounce[2].as_str().is_some_and(|text| text.contains("refused@example.com: 550 5.1.1 nobody here")), "{bounce}");
        assert!(!node.everything().contains("secret"), "the log knows no passwords");
        let listed = mail(storage.path().to_str().expect("a path"), &["list"]);
        assert!(!listed.stdout.contains("secret") && listed.stdout.contains("bounce"), "{listed:?}");
    });
}

/// Where a node takes mail.
fn listener(node: &Node) -> SocketAddr {
    let line = node.wait_line("the listener's address", |line| line.contains("mail for apps is taken at "));
    let rest = line.split("taken at ").nth(1).expect("an address");
    rest.split(['"', ' ', '\u{1b}']).next().expect("an address").trim().parse().expect("an address")
}

/// A conversation, line by line; the last answer to each.
fn talk(address: SocketAddr, lines: &[&str]) -> Vec<String> {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let (mut out, mut answers) = (stream.try_clone().expect("a copy"), BufReader::new(stream).lines());
    let mut answer = move || {
        loop {
            let line = answers.next().and_then(Result::ok)?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(line);
            }
        }
    };
    let mut said: Vec<String> = answer().into_iter().collect();
    for line in lines {
        if out.write_all(format!("{line}\r\n").as_bytes()).is_err() {
            break;
        }
        match answer() {
            Some(line) => said.push(line),
            None => break,
        }
    }
    said
}

fn deliver(address: SocketAddr, to: &str, message: &str) -> String {
    let data = format!("{message}\r\n.");
    let said = talk(address, &["EHLO there", "MAIL FROM:<ann@example.org>", &format!("RCPT TO:<{to}>"), "DATA", &data, "QUIT"]);
    said.get(5).or(said.last()).cloned().unwrap_or_default()
}

#[test]
fn y21_mail_comes_in() {
    on_both(|python| {
        let (node, storage) = start(python, &["--mail-listen", "127.0.0.1:0", "--mail-domain", "mail.example"]);
        let at = listener(&node);
        let message = "From: Ann <ann@example.org>\r\nTo: shop@demo.appspotmail.com\r\nSubject: Two parts\r\nMIME-Version: 1.0\r\n\
            Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n..dots\r\n--x\r\nContent-Type: text/csv; name=a.csv\r\n\
            Content-Disposition: attachment; filename=a.csv\r\nContent-Transfer-Encoding: base64\r\n\r\nMSwy\r\n--x--";
        assert!(deliver(at, "shop+1@demo.appspotmail.com", message).starts_with("250 "), "{python:?}");
        let seen = kept(&node, "mail");
        let (path, kind, source) = (&seen[0], &seen[1], &seen[2]);
        assert_eq!(
            (path, kind, source),
            (&"/_ah/mail/shop+1@demo.appspotmail.com".into(), &"message/rfc822".into(), &"0.1.0.20".into()),
            "{python:?}"
        );
        assert_eq!((&seen[3], &seen[5]), (&"Ann <ann@example.org>".into(), &"Two parts".into()), "{python:?}: {seen}");
        assert!(seen[6][0].as_str().is_some_and(|text| text.trim_end() == ".dots"), "{python:?}: {seen}");
        assert_eq!(seen[7].to_string(), r#"[["a.csv","1,2"]]"#, "{python:?}");
        for (to, good) in [
            ("a@mail.example", true),
            ("a@demo.mail.example", true),
            ("a@localhost", true),
            ("a@other.appspotmail.com", false),
            ("a@example.com", false),
        ] {
            assert_eq!(deliver(at, to, SHORT).starts_with("250 "), good, "{python:?}: {to}");
        }
        // Nobody else may bring mail to the app.
        assert_ne!(node.send(&Request::post("/_ah/mail/a@b", "x")).status, 200, "{python:?}");
        // All four must have come in before the app forgets them.
        let left = Cell::new(4);
        node.wait_line("four deliveries", |line| {
            left.set(left.get() - u32::from(line.contains("is delivered")));
            left.get() == 0
        });
        // What the app sends to itself needs no server.
        assert_eq!(
            eval(&node, "memcache.delete('mail') and mail.send_mail('me@example.com', 'own@demo.appspotmail.com', 'To myself', 'A text')"),
            Value::Null
        );
        let own = kept(&node, "mail");
        assert_eq!((&own[0], &own[5]), (&"/_ah/mail/own@demo.appspotmail.com".into(), &"To myself".into()), "{python:?}");
        // An app that fails is asked again.
        assert!(deliver(at, "fail@demo.appspotmail.com", SHORT).starts_with("250 "), "{python:?}");
        node.wait_line("the failure", |line| line.contains("the app answers with 500"));
        let listed = mail(storage.path().to_str().expect("a path"), &["list", "--format", "json"]);
        let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
        assert_eq!((&listed[0]["way"], &listed[0]["state"], &listed[0]["tries"]), (&"in".into(), &"queued".into(), &1.into()), "{listed}");
    });
}

#[test]
fn y21_hostile_clients_get_nowhere() {
    let (node, _storage) = start(Python::Two, &["--mail-listen", "127.0.0.1:0"]);
    let at = listener(&node);
    let long = "x".repeat(5000);
    for nonsense in ["GET / HTTP/1.1", "\u{0}\u{1}", "MAIL", &long, "DATA", "RCPT TO:<a@demo.appspotmail.com>"] {
        let said = talk(at, &[nonsense, "NOOP"]);
        assert!(said[1].starts_with('5') && said[2].starts_with("250"), "{nonsense:?}: {said:?}");
    }
    let said = talk(at, &["nonsense"; 14]);
    assert_eq!(said.len(), 12, "after ten mistakes it is over: {said:?}");
    // No end in sight: the connection is closed, and memory stays.
    let mut stream = TcpStream::connect(at).expect("it listens");
    let _ = (0..200).try_for_each(|_| stream.write_all(&[b'x'; 4096]));
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    // A second message cannot be smuggled past the end of the first.
    let smuggled = "From: ann@example.org\r\nTo: a@b.example\r\nSubject: one\r\n\r\nfirst\n.\nMAIL FROM:<evil@example.org>\nRCPT TO:<a@demo.appspotmail.com>\nDATA\nSubject: evil\n\nx\n.\n";
    assert!(deliver(at, "a@demo.appspotmail.com", smuggled).starts_with("250 "));
    assert_eq!(kept(&node, "mail")[5], "one");
    node.wait_line("the delivery", |line| line.contains("is delivered"));
    assert_eq!(node.everything().matches("is delivered").count(), 1);
    // One address has its share of connections.
    let held: Vec<TcpStream> = (0..17).map(|_| TcpStream::connect(at).expect("it listens")).collect();
    let first = |stream: &TcpStream| {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a greeting");
        line
    };
    let greetings: Vec<String> = held.iter().map(first).collect();
    assert!(greetings.iter().any(|line| line.starts_with("421")), "{greetings:?}");
}

#[test]
fn s4_a_server_knows_its_senders_and_loses_nothing() {
    let relay = Relay::start();
    let address = relay.address;
    let url = format!("smtp://{address}");
    let args = ["--project", "shop", "--patience", "300", "--smtp-url", &url, "--mail-sender", "@example.com"];
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), args);
    server.deploy("shop", &app(Python::Two), &[]);
    let ask = |server: &ServeNode, expression: &str| -> Value {
        let host = format!("shop.localhost:{}", server.http().port());
        Connection::open(server.http()).send(&query(expression).host(&host)).expect(200).json()
    };
    assert_eq!(ask(&server, "raw(Sender='x@elsewhere.example')"), "raises ApplicationError 3");
    assert_eq!(ask(&server, "mail.send_mail('x@bank.appspotmail.com', 'a@b.example', 'x', 'y')"), "raises InvalidSenderError ");
    for good in ["x@example.com", "anything@shop.appspotmail.com"] {
        assert_eq!(ask(&server, &format!("raw(Sender='{good}')")), Value::Null, "{good}");
        assert_eq!(relay.next().from, good);
    }
    let listed = server.done("GET", "/enginehouse/v1/apps/shop/mail", "");
    assert_eq!(listed["mail"].as_array().map(Vec::len), Some(2), "{listed}");
    let command = command(["mail", "list", "--server", &server.admin_url(), "--token", &server.owner_token(), "-A", "shop"]);
    assert!(command.stdout.contains("x@example.com"), "{command:?}");
}

#[test]
fn s4_mail_that_was_taken_survives_a_kill() {
    // Whoever is called here does not answer, so the message waits.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("smtp://{}", silent.local_addr().expect("an address"));
    let args = ["--project", "shop", "--patience", "300", "--smtp-url", &url];
    let mut server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), args);
    server.deploy("shop", &app(Python::Two), &[]);
    let host = format!("shop.localhost:{}", server.http().port());
    let request = query("raw(Sender='x@shop.appspotmail.com', Subject='It survives')").host(&host);
    assert_eq!(Connection::open(server.http()).send(&request).expect(200).text(), "null");
    server.kill();
    let relay = Relay::on(silent);
    server.restart();
    assert!(relay.next().message.contains("It survives"));
}
