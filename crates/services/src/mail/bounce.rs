//! What `/_ah/bounce` gets: a form, as the SDKs' `BounceNotification` reads it. Pure.

use super::session::header;
use super::words::readable;

/// The subject of a report that is our own.
pub const FAILURE: &str = "Delivery Status Notification (Failure)";

/// `Content-Type` of the form with this id.
pub fn content_type(id: &str) -> String {
    format!("multipart/form-data; boundary=\"bounce-{id}\"")
}

/// What was said about a message.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// By whom.
    pub from: &'a str,
    /// To whom.
    pub to: &'a str,
    /// Under which subject.
    pub subject: &'a str,
    /// And what.
    pub text: &'a str,
}

/// The form: what was sent, and what was said about it.
pub fn form(id: &str, message: &[u8], recipients: &[String], notice: &Notice<'_>) -> Vec<u8> {
    let of = |name: &str| header(message, name).unwrap_or_default();
    let text = text_of(message);
    let sender = of("From");
    let fields: [(&str, &str); 12] = [
        ("original-from", &sender),
        ("original-to", &recipients.join(", ")),
        ("original-cc", &of("Cc")),
        ("original-bcc", ""),
        ("original-subject", &readable(&of("Subject"))),
        ("original-text", &text),
        ("notification-from", notice.from),
        ("notification-to", notice.to),
        ("notification-cc", ""),
        ("notification-bcc", ""),
        ("notification-subject", notice.subject),
        ("notification-text", notice.text),
    ];
    let mut out = Vec::new();
    for (name, value) in fields {
        part(&mut out, id, name, value.as_bytes());
    }
    part(&mut out, id, "raw-message", message);
    out.extend_from_slice(format!("--bounce-{id}--\r\n").as_bytes());
    out
}

/// No message holds the border: it has an id that was drawn after the message was written.
fn part(out: &mut Vec<u8>, id: &str, name: &str, value: &[u8]) {
    out.extend_from_slice(format!("--bounce-{id}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The body, where it is plain text.
fn text_of(message: &[u8]) -> String {
    let plain = header(message, "Content-Type").is_none_or(|kind| kind.starts_with("text/plain"));
    let end = message.windows(4).position(|four| four == b"\r\n\r\n");
    let encoded = header(message, "Content-Transfer-Encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("base64"));
    match end {
        Some(end) if plain && !encoded => String::from_utf8_lossy(&message[end + 4..]).into_owned(),
        _ => String::new(),
    }
}

/// Everything that a bounce tells of who did not get a letter.
pub fn said(refused: &[(String, String)]) -> String {
    let lines = refused.iter().map(|(who, why)| format!("{who}: {why}"));
    format!("Delivery to the following recipients failed:\r\n\r\n{}\r\n", lines.collect::<Vec<_>>().join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y21_a_bounce_is_a_form() {
        let message = b"From: a@b\r\nSubject: Hello\r\nContent-Type: text/plain\r\n\r\nThe text\r\n";
        let refused = [("c@d".to_owned(), "550 nobody".to_owned())];
        let text = said(&refused);
        let notice = Notice { from: "mailer-daemon@shop.example", to: "a@b", subject: FAILURE, text: &text };
        let form = String::from_utf8(form("1", message, &["c@d".to_owned()], &notice)).expect("text");
        for wanted in [
            "--bounce-1\r\nContent-Disposition: form-data; name=\"original-subject\"\r\n\r\nHello\r\n--bounce-1\r\n",
            "name=\"original-text\"\r\n\r\nThe text\r\n\r\n--bounce-1",
            "name=\"notification-text\"\r\n\r\nDelivery to the following recipients failed:\r\n\r\nc@d: 550 nobody\r\n\r\n",
            "name=\"raw-message\"\r\n\r\nFrom: a@b\r\n",
        ] {
            assert!(form.contains(wanted), "{wanted}\n{form}");
        }
        assert!(form.ends_with("--bounce-1--\r\n"));
    }
}
