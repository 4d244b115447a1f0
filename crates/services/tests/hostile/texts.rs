//! Targets of what is no call: conversations with mail servers, messages that they bring, tokens, and questions to the metadata server.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use model::pool::Boxed;
use model::rpc::{Door, Doors, Visit};
use prost::Message as _;
use serde_json::Value;
use services::call::{Context, Service as _};
use services::jwt::{self, Expected};
use services::mail::address::{Mailbox, is_address, split};
use services::mail::session::{Collector, Guard, LINE, Session, Step, header};
use services::mail::{bounce, relay};
use services::metadata::Metadata;
use services::outside::Outside;
use services::proto::user as pb;
use services::server::{Admission, House};
use services::user::{Bearer, Bearers, Users};
use store::access::AccessKey;

use super::{caller, context, folder, identity, registry};

/// A conversation with a server that brings mail: lines, and messages where the conversation comes to one.
pub(super) fn smtp(bytes: &[u8]) {
    let mut session = Session::new(Guard::Offered);
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let known = |address: &str| {
            assert!(is_address(address), "nobody is asked about {address:?}");
            address.ends_with("@shop.example")
        };
        match if line.len() > LINE { session.overlong() } else { session.line(line, known) } {
            Step::Say(said) => reply(&said),
            Step::Close(said) => return reply(&said),
            // What was said before does not count any more.
            Step::Secure(said) => {
                reply(said);
                session = Session::new(Guard::Tls);
            }
            Step::Data(said) => {
                reply(said);
                let mut collector = Collector::default();
                let (used, ended) = collector.feed(rest);
                rest = &rest[used..];
                if !ended {
                    return;
                }
                let message = collector.into_message();
                assert!(!message.windows(5).any(|five| five == b"\r\n.\r\n"), "a message has no end in it");
                let envelope = session.take().expect("it has a sender");
                assert!(!envelope.to.is_empty() && envelope.to.iter().all(|to| is_address(to)), "{envelope:?}");
                incoming(&message);
            }
        }
    }
}

/// Every line of an answer has its number, and nothing of what the other side said breaks it.
fn reply(said: &str) {
    for line in said.split("\r\n") {
        let (number, text) = line.split_at_checked(3).expect("a number");
        assert!(number.bytes().all(|b| b.is_ascii_digit()) && text.starts_with([' ', '-']), "{said:?}");
        assert!(!text.chars().any(char::is_control), "{said:?}");
    }
}

/// A message that another server brings, or that comes back.
pub(super) fn incoming(message: &[u8]) {
    for name in ["From", "To", "Subject", "Content-Type", "Content-Transfer-Encoding"] {
        let found = header(message, name).unwrap_or_default();
        assert!(!found.contains('\n'), "a header is one line: {found:?}");
        for one in split(&found) {
            if let Some(mailbox) = Mailbox::read(one) {
                assert!(is_address(&mailbox.address) && !mailbox.name.chars().any(char::is_control), "{mailbox:?}");
            }
        }
    }
    let refused = [("a@b.example".to_owned(), String::from_utf8_lossy(message).chars().take(100).collect::<String>())];
    let said = bounce::said(&refused);
    let notice = bounce::Notice { from: "mailer-daemon@shop.example", to: "a@b.example", subject: bounce::FAILURE, text: &said };
    let form = bounce::form("0123456789", message, &["a@b.example".into()], &notice);
    assert!(form.windows(message.len().max(1)).any(|part| part == message) || message.is_empty(), "a bounce has the message in it");
    assert!(form.ends_with(b"--bounce-0123456789--\r\n"));
    // What we send ends where we say, and not before.
    let stuffed = relay::stuffed(message);
    let mut collector = Collector::default();
    assert_eq!(collector.feed(&stuffed), (stuffed.len(), true), "a message that is sent on arrives whole");
}

/// A token in a request, and a token with the keys that somebody publishes for it: `KEYS\nTOKEN`.
pub(super) fn tokens(bytes: &[u8]) {
    let own = AccessKey::new(&[7; 32]);
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let text = String::from_utf8_lossy(bytes);
    assert!(own.open(&text, now).is_none(), "nobody knows our key");
    let (keys, token) = text.split_once('\n').unwrap_or(("", &text));
    let keys = serde_json::from_str::<Value>(keys).unwrap_or(Value::Null);
    let expected = Expected { issuer: "https://issuer.example", audience: "house", nonce: None, now };
    if let Ok(claims) = jwt::verify(token, &keys, &expected) {
        assert!(claims["iss"] == "https://issuer.example", "{claims:?}");
    }
    if let Ok(header) = HeaderValue::from_bytes(token.as_bytes()) {
        asked_as(Visit { authority: "shop.example".into(), authorization: Some(header), ..Visit::default() }, own);
    }
}

/// Whoever shows a forged token is nobody.
fn asked_as(visit: Visit, own: AccessKey) {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    let users = Users::new(Arc::new(Ours(own)), Arc::new(Outside::default()));
    let context = Context { visit: Some(Arc::new(visit)), ..context("mallory") };
    let asked = pb::GetOAuthUserRequest { scopes: vec!["email".into()], ..Default::default() };
    let answer = RUNTIME.block_on(users.call("GetOAuthUser", asked.encode_to_vec().into(), &context));
    assert!(answer.is_err(), "a forged token is somebody's: {answer:?}");
}

/// Knows the tokens that we made ourselves.
struct Ours(AccessKey);

impl Bearers for Ours {
    fn find<'a>(&'a self, token: &'a str, _: &'a model::ids::AppId, now: SystemTime) -> Boxed<'a, Result<Option<Bearer>, String>> {
        let found = self.0.open(token, now).map(|access| Bearer {
            email: access.app.service_account(),
            admin: true,
            scopes: access.scopes,
            client_id: String::new(),
        });
        Box::pin(std::future::ready(Ok(found)))
    }
}

/// A question to the metadata server: the target, and further header lines.
pub(super) fn metadata(bytes: &[u8]) {
    static DOOR: LazyLock<(Arc<dyn Door>, House)> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = folder("metadata");
        let (services, handle) = (registry(&folder, runtime.handle()), runtime.handle().clone());
        let outside = super::outside::around([caller("mallory").version]);
        let metadata = Metadata::new(identity(&(Arc::new(move |_: &model::ids::AppId| folder.clone()) as _), &outside), "local".into());
        // It lives as long as the process.
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        let house = House::new(services, metadata, Arc::default(), Admission::Tickets, handle);
        let caller = caller("mallory");
        (house.open(&caller.version, &caller.instance).expect("a door"), house)
    });
    let mut lines = bytes.split(|b| *b == b'\n');
    let target = lines.next().unwrap_or_default();
    let mut request = [b"GET /", target, b" HTTP/1.1\r\nHost: metadata.google.internal\r\nConnection: close\r\n"].concat();
    for line in lines.filter(|line| !line.is_empty()) {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    // Who waits for a change waits for minutes.
    if request.windows(15).any(|part| part.eq_ignore_ascii_case(b"wait_for_change")) {
        return;
    }
    let mut stream = TcpStream::connect(DOOR.0.address()).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    let _ = stream.write_all(&request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    let waited = ended.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    assert!(!waited, "an answer comes, or the connection ends");
    let text = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || text.starts_with("HTTP/1.1 ") || text.starts_with("HTTP/1.0 "), "{text}");
    assert!(!text.contains("access_token") && !text.contains("ehs_"), "nobody outside the instance gets a token: {text}");
}
