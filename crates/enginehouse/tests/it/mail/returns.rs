//! Reports of other mail servers that come by SMTP (rows S4, Y21; decision 372).

use std::net::SocketAddr;

use serde_json::Value;
use testkit::Node;

use super::relay::Relay;
use super::{eval, kept, listener, mail, start, talk};
use crate::on_both;

/// A report as Postfix writes them.
fn report(to: &str, action: &str, about: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example (Mail Delivery System)\r\nTo: {to}\r\nSubject: Undelivered Mail Returned to Sender\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"=_b\"\r\n\r\n\
         --=_b\r\nContent-Type: text/plain\r\n\r\nI am sorry.\r\n\r\n\
         --=_b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n\
         Final-Recipient: rfc822; you@example.com\r\nAction: {action}\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 gone away\r\n\r\n\
         --=_b\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: me@shop.example\r\nMessage-ID: <{about}>\r\n\r\n--=_b--"
    )
}

/// Brings a message; what is said of its recipient, and in the end.
fn bring(at: SocketAddr, from: &str, to: &str, message: &str) -> (String, String) {
    let data = format!("{message}\r\n.");
    let said = talk(at, &["EHLO mx.example", &format!("MAIL FROM:<{from}>"), &format!("RCPT TO:<{to}>"), "DATA", &data]);
    (said.get(3).cloned().unwrap_or_default(), said.get(5).cloned().unwrap_or_default())
}

/// The app sends; the return address, and the id of `Message-ID`.
fn sent(node: &Node, relay: &Relay) -> (String, String) {
    assert_eq!(eval(node, "mail.send_mail('Shop <me@shop.example>', 'you@example.com', 'An offer', 'A text')"), Value::Null);
    let came = relay.next();
    let id = came.message.lines().find_map(|line| line.strip_prefix("Message-ID: <")?.strip_suffix('>')).expect("an id");
    (came.from.clone(), id.to_owned())
}

#[test]
fn y21_reports_that_come_later_are_bounces() {
    on_both(|python| {
        let relay = Relay::start();
        let url = format!("smtp://{}", relay.address);
        let (node, storage) = start(python, &["--smtp-url", &url, "--mail-listen", "127.0.0.1:0", "--mail-domain", "shop.example"]);
        // The listener opens once the app is prepared.
        eval(&node, "1");
        let at = listener(&node);
        let place = storage.path().display().to_string();
        // By the return address, which names the message.
        let (back, id) = sent(&node, &relay);
        let short = id.split('@').next().expect("an id");
        assert_eq!(back, format!("bounce+{short}@shop.example"));
        node.wait_line("the delivery", |line| line.contains("is delivered"));
        assert!(bring(at, "", &back, &report(&back, "failed", "unknown@elsewhere")).1.starts_with("250 "));
        let bounce = kept(&node, "bounce");
        assert_eq!((&bounce[0], &bounce[1]), (&"you@example.com".into(), &"An offer".into()), "{python:?}: {bounce}");
        let text = bounce[2].as_str().expect("a text");
        assert!(text.contains("I am sorry.") && text.contains("you@example.com: 550 5.1.1 gone away"), "{text}");
        assert_eq!(bounce[3], "Shop <me@shop.example>", "{python:?}");
        let listed: Value = serde_json::from_str(&mail(&place, &["list", "--format", "json"]).stdout).expect("JSON");
        let of = |way: &str| listed.as_array().expect("a list").iter().find(|one| one["way"] == way).cloned().unwrap_or_default();
        assert_eq!((&of("out")["state"], &of("bounce")["about"]), (&"failed".into(), &short.into()), "{listed}");
        assert_eq!(of("in"), Value::Null, "a report is no mail: {listed}");

        // By what it says of the message, where it came to the sender.
        let (_, id) = sent(&node, &relay);
        eval(&node, "memcache.delete('bounce')");
        assert!(bring(at, "", "me@shop.example", &report("me@shop.example", "failed", &id)).1.starts_with("250 "));
        assert_eq!(kept(&node, "bounce")[0], "you@example.com", "{python:?}");

        // One that is only late is neither, and is told in the log.
        let (back, _) = sent(&node, &relay);
        eval(&node, "memcache.delete('bounce')");
        assert!(bring(at, "", &back, &report(&back, "delayed", "x@y")).1.starts_with("250 "));
        node.wait_line("the delay", |line| line.contains("on its way still"));
        // A report about what the app never sent is mail like any other, and so is the answer of a person or a program.
        assert!(bring(at, "", "me@shop.example", &report("me@shop.example", "failed", "1-2-3@elsewhere")).1.starts_with("250 "));
        assert_eq!(kept(&node, "mail")[5], "Undelivered Mail Returned to Sender", "{python:?}");
        eval(&node, "memcache.delete('mail')");
        let away = "From: you@example.com\r\nTo: x@y.example\r\nSubject: Away\r\nAuto-Submitted: auto-replied\r\n\r\nUntil Monday";
        assert!(bring(at, "", &back, away).1.starts_with("250 "));
        let answer = kept(&node, "mail");
        assert_eq!((&answer[0], &answer[5]), (&"/_ah/mail/me@shop.example".into(), &"Away".into()), "{python:?}");
        assert_eq!(eval(&node, "memcache.get('bounce')"), Value::Null, "{python:?}");
    });
}
