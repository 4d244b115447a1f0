//! What may be sent: the rules of the documents and of the SDK's stub. Pure.

use bytes::Bytes;

use super::address::{Mailbox, split};
use crate::call::Failure;
use crate::proto::mail::{self as pb, ErrorCode};

/// File names that may not end so (the SDK's `EXTENSION_BLACKLIST`).
const FORBIDDEN: [&str; 29] = [
    "ade", "adp", "bat", "chm", "cmd", "com", "cpl", "exe", "hta", "ins", "isp", "jse", "lib", "mde", "msc", "msp", "mst", "pif", "scr",
    "sct", "shb", "sys", "vb", "vbe", "vbs", "vxd", "wsc", "wsf", "wsh",
];
/// Headers that an app may set (the SDK's `HEADER_WHITELIST`, and those that the documents name for list servers).
const HEADERS: [&str; 11] = [
    "auto-submitted",
    "in-reply-to",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "on-behalf-of",
    "precedence",
    "references",
    "resent-date",
    "resent-from",
    "resent-to",
];
/// Bytes of a body that the log shows.
const SHOWN: usize = 16 << 10;
/// People that one message goes to.
const RECIPIENTS: usize = 1000;

/// A message that may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Who sends it.
    pub from: Mailbox,
    /// Where answers go.
    pub reply_to: Vec<Mailbox>,
    /// Who sees whom.
    pub to: Vec<Mailbox>,
    /// Copies.
    pub cc: Vec<Mailbox>,
    /// Copies that nobody sees.
    pub bcc: Vec<Mailbox>,
    /// The subject, on one line.
    pub subject: String,
    /// Plain text.
    pub text: Option<Bytes>,
    /// AMP.
    pub amp: Option<Bytes>,
    /// HTML.
    pub html: Option<Bytes>,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// Further headers: name and value on one line.
    pub headers: Vec<(String, String)>,
}

/// A file in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// `<…>`, by which HTML refers to it.
    pub content_id: Option<String>,
    /// What is in it.
    pub data: Bytes,
}

impl Letter {
    /// Everyone who gets it.
    pub fn recipients(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for one in self.to.iter().chain(&self.cc).chain(&self.bcc) {
            if !all.iter().any(|known| known.eq_ignore_ascii_case(&one.address)) {
                all.push(one.address.clone());
            }
        }
        all
    }

    /// The whole letter for the log; of files their names and sizes.
    pub fn shown(&self) -> String {
        use std::fmt::Write as _;
        let mut shown = format!("mail from {} to {}: {}", self.from.address, self.recipients().join(", "), self.subject);
        for (kind, body) in [("text/plain", &self.text), ("text/html", &self.html), ("text/x-amp-html", &self.amp)] {
            let Some(body) = body else { continue };
            let part = &body[..body.len().min(SHOWN)];
            let more = if part.len() < body.len() { " …" } else { "" };
            let _ = write!(shown, "\n{kind}, {} bytes:\n{}{more}", body.len(), String::from_utf8_lossy(part));
        }
        for file in &self.attachments {
            let _ = write!(shown, "\nattached: {}, {} bytes", file.name, file.data.len());
        }
        shown
    }
}

/// Checks a message. `admins` are its recipients if it is for them, whatever it says itself.
///
/// # Errors
/// With the codes of the service.
pub fn check(message: pb::MailMessage, admins: Option<&[Mailbox]>) -> Result<Letter, Failure> {
    let (Some(sender), Some(subject)) = (message.sender.as_ref(), message.subject.as_ref()) else {
        return Err(bad("The message names no sender or no subject."));
    };
    let from = Mailbox::read(&text(sender)).ok_or_else(|| bad(format!("The sender `{}` is no address.", shown(sender))))?;
    let people = |all: &[Bytes]| mailboxes(all);
    let (to, cc, bcc) = match admins {
        Some(admins) => (admins.to_vec(), Vec::new(), Vec::new()),
        None => (people(&message.to)?, people(&message.cc)?, people(&message.bcc)?),
    };
    let count = to.len() + cc.len() + bcc.len();
    if admins.is_none() && count == 0 {
        return Err(bad("The message names no recipient."));
    }
    if count > RECIPIENTS {
        return Err(bad("The message names more than 1000 recipients."));
    }
    let body = |body: Option<Bytes>| body.filter(|body| !body.is_empty());
    let (plain, amp, html) = (message.text_body, body(message.amp_html_body), body(message.html_body));
    if plain.is_none() && amp.is_none() && html.is_none() {
        return Err(bad("The message has no body."));
    }
    // An empty text is a body all the same.
    let plain = plain.filter(|plain| !plain.is_empty() || (amp.is_none() && html.is_none()));
    Ok(Letter {
        from,
        reply_to: mailboxes(message.reply_to.as_slice())?,
        to,
        cc,
        bcc,
        subject: one_line(&text(subject)),
        text: plain,
        amp,
        html,
        attachments: message.attachment.into_iter().map(attachment).collect::<Result<_, _>>()?,
        headers: message.header.iter().map(header).collect::<Result<_, _>>()?,
    })
}

/// Whether an app may send as `from`: one of its own addresses, or what the owner of the server listed (`person@example.com`, `@example.com`, `*`), or
/// whoever is signed in (docs, "Who can send email").
pub fn may_send(from: &Mailbox, own: &[String], listed: &[String], user: Option<&str>) -> bool {
    let domain = from.domain();
    let fits = |entry: &String| match entry.strip_prefix('@') {
        Some(listed) => listed.eq_ignore_ascii_case(&domain),
        None => entry == "*" || entry.eq_ignore_ascii_case(&from.address),
    };
    own.iter().any(|own| own.eq_ignore_ascii_case(&domain))
        || listed.iter().any(fits)
        || user.is_some_and(|user| user.eq_ignore_ascii_case(&from.address))
}

fn mailboxes(all: &[Bytes]) -> Result<Vec<Mailbox>, Failure> {
    let mut found = Vec::new();
    for list in all {
        let list = text(list);
        for one in split(&list) {
            found.push(Mailbox::read(one).ok_or_else(|| bad(format!("`{}` is no address.", shown(one.as_bytes()))))?);
        }
    }
    Ok(found)
}

fn attachment(asked: pb::MailAttachment) -> Result<Attachment, Failure> {
    let name = text(&asked.file_name.unwrap_or_default());
    let wrong = |why: &str| {
        Failure::app(ErrorCode::InvalidAttachmentType, format!("Invalid attachment type; {why} Received '{}'.", shown(name.as_bytes())))
    };
    if name.starts_with('.') {
        return Err(wrong("attachments cannot be hidden files."));
    }
    let Some((_, extension)) = name.rsplit_once('.') else { return Err(wrong("attachments must have a file extension.")) };
    if FORBIDDEN.contains(&extension.to_ascii_lowercase().as_str()) {
        return Err(wrong("files of this extension are not allowed."));
    }
    if name.chars().any(char::is_control) {
        return Err(wrong("the name has control characters."));
    }
    let content_id = asked.content_id.filter(|id| !id.is_empty()).map(|id| content_id(&id)).transpose()?;
    Ok(Attachment { name, content_id, data: asked.data.unwrap_or_default() })
}

fn content_id(id: &[u8]) -> Result<String, Failure> {
    let good = id.strip_prefix(b"<").and_then(|id| id.strip_suffix(b">")).unwrap_or(id);
    if good.is_empty() || good.len() > 500 || !good.iter().all(|b| b.is_ascii_graphic() && !b"<>".contains(b)) {
        return Err(Failure::app(ErrorCode::InvalidContentId, format!("Invalid content id '{}'.", shown(id))));
    }
    Ok(format!("<{}>", String::from_utf8_lossy(good)))
}

fn header(asked: &pb::MailHeader) -> Result<(String, String), Failure> {
    let name = text(asked.name.as_deref().unwrap_or_default());
    let name = name.trim();
    if !HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(Failure::app(ErrorCode::InvalidHeaderName, format!("Header '{}' is not allowed.", shown(name.as_bytes()))));
    }
    Ok((name.to_owned(), one_line(&text(asked.value.as_deref().unwrap_or_default()))))
}

/// Line breaks and other control characters become spaces: no header can hide in a header.
fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.trim().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown(bytes: &[u8]) -> String {
    text(bytes).chars().take(100).flat_map(char::escape_default).collect()
}

fn bad(why: impl Into<String>) -> Failure {
    Failure::app(ErrorCode::BadRequest, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> pb::MailMessage {
        pb::MailMessage {
            sender: Some(Bytes::from_static(b"Me <me@example.com>")),
            to: vec![Bytes::from_static(b"you@example.com, You Two <two@example.com>")],
            subject: Some(Bytes::from_static(b"Hello\r\nBcc: evil@example.com")),
            text_body: Some(Bytes::from_static(b"text")),
            ..pb::MailMessage::default()
        }
    }

    #[track_caller]
    fn code(message: pb::MailMessage) -> i32 {
        match check(message, None) {
            Err(Failure::Application(code, _)) => code,
            other => panic!("{other:?}"),
        }
    }

    fn file(name: &'static str, id: Option<&'static str>) -> pb::MailMessage {
        let one = pb::MailAttachment {
            file_name: Some(Bytes::from_static(name.as_bytes())),
            data: Some(Bytes::from_static(b"data")),
            content_id: id.map(|id| Bytes::from_static(id.as_bytes())),
        };
        pb::MailMessage { attachment: vec![one], ..message() }
    }

    #[test]
    fn s4_good_messages_pass() {
        let letter = check(message(), None).expect("a good one");
        assert_eq!(letter.recipients(), ["you@example.com", "two@example.com"]);
        assert_eq!(letter.subject, "Hello  Bcc: evil@example.com");
        let admins = [Mailbox::read("admin@example.com").expect("an address")];
        assert_eq!(check(message(), Some(&admins)).expect("a good one").recipients(), ["admin@example.com"]);
        assert!(check(file("a.tar.gz", Some("<x@y>")), None).is_ok());
        let header = pb::MailHeader { name: Some(Bytes::from_static(b"References")), value: Some(Bytes::from_static(b"<a>\r\n <b>")) };
        let letter = check(pb::MailMessage { header: vec![header], ..message() }, None).expect("a good one");
        assert_eq!(letter.headers, [("References".to_owned(), "<a>   <b>".to_owned())]);
    }

    #[test]
    fn s4_each_rule_has_its_code() {
        assert_eq!(code(pb::MailMessage { sender: None, ..message() }), 2);
        assert_eq!(code(pb::MailMessage { sender: Some(Bytes::from_static(b"nobody")), ..message() }), 2);
        assert_eq!(code(pb::MailMessage { to: Vec::new(), ..message() }), 2);
        assert_eq!(code(pb::MailMessage { cc: vec![Bytes::from_static(b"nobody")], ..message() }), 2);
        assert_eq!(code(pb::MailMessage { text_body: None, ..message() }), 2);
        for name in ["a.exe", "a.b.VBS", ".hidden", "none", "\u{0}.txt"] {
            assert_eq!(code(file(name, None)), 4, "{name}");
        }
        assert_eq!(code(file("a.png", Some("<a b>"))), 6);
        let header = |name| pb::MailHeader { name: Some(Bytes::from_static(name)), value: Some(Bytes::new()) };
        for name in [b"X-Own".as_slice(), b"Bcc", b"Subject", b"References\r\nBcc"] {
            assert_eq!(code(pb::MailMessage { header: vec![header(name)], ..message() }), 5);
        }
    }

    #[test]
    fn s4_senders_are_known() {
        let from = |text: &str| Mailbox::read(text).expect("an address");
        let own = ["shop.appspotmail.com".to_owned()];
        let listed = ["@example.com".to_owned(), "one@example.org".to_owned()];
        for good in ["anything@Shop.appspotmail.com", "x@example.com", "ONE@example.org", "user@example.net"] {
            assert!(may_send(&from(good), &own, &listed, Some("user@example.net")), "{good}");
        }
        for wrong in ["x@bank.appspotmail.com", "two@example.org", "x@sub.example.com", "other@example.net"] {
            assert!(!may_send(&from(wrong), &own, &listed, Some("user@example.net")), "{wrong}");
        }
        assert!(may_send(&from("any@where.example"), &[], &["*".to_owned()], None));
    }
}
