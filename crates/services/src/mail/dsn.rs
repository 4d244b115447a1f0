//! Reports of other mail servers about messages that an app has sent (RFC 3464), and the address that they come back to. Pure: hostile bytes lead to
//! `None`, or to less text.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::session::header;

/// What the local part of a return address begins with; the message's id follows.
const RETURN: &str = "bounce+";
/// Parts of a report that are looked at.
const PARTS: usize = 20;
/// Recipients of a report that are listened to.
const RECIPIENTS: usize = 1000;
/// Bytes of its text that apps get.
const MOST_TEXT: usize = 64 << 10;
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Who did not get the message, and why. Empty: it is only late, or has arrived.
    pub failed: Vec<(String, String)>,
    /// `Message-ID` of the message, between its brackets, if the report holds its head.
    pub about: Option<String>,
    /// What it says to people.
    pub text: String,
}

/// `bounce+ID@DOMAIN`, where `from` is an address of that domain.
pub fn return_address(id: &str, from: &str) -> Option<String> {
    from.rsplit_once('@').map(|(_, domain)| format!("{RETURN}{id}@{domain}"))
}

/// The id of the message that came from a return address.
pub fn returned(address: &str) -> Option<&str> {
    let (local, _) = address.rsplit_once('@')?;
    let head = local.get(..RETURN.len()).filter(|head| head.eq_ignore_ascii_case(RETURN))?;
    local.get(head.len()..).filter(|id| !id.is_empty())
}

/// Whether a mail server speaks, not a person.
pub fn is_daemons(message: &[u8]) -> bool {
    let from = header(message, "From").unwrap_or_default().to_ascii_lowercase();
    from.contains("mailer-daemon") || from.contains("postmaster")
}

/// Reads a `multipart/report` with a `message/delivery-status`.
pub fn read(message: &[u8]) -> Option<Report> {
    let kind = header(message, "Content-Type")?;
    if !of_type(&kind, "multipart/report")
        || parameter(&kind, "report-type").is_some_and(|kind| !kind.eq_ignore_ascii_case("delivery-status"))
    {
        return None;
    }
    let border = parameter(&kind, "boundary")?;
    let mut report = Report::default();
    let mut is_one = false;
    for part in parts(body(message), &border).into_iter().take(PARTS) {
        let kind = header(part, "Content-Type").unwrap_or_else(|| "text/plain".into());
        if of_type(&kind, "message/delivery-status") || of_type(&kind, "message/global-delivery-status") {
            is_one = true;
            report.failed.extend(failed(&decoded(part)).take(RECIPIENTS));
        } else if ["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"]
            .iter()
            .any(|one| of_type(&kind, one))
        {
            report.about = report.about.or_else(|| message_id(&decoded(part)));
        } else if of_type(&kind, "text/plain") && report.text.is_empty() {
            report.text = text(part);
        }
    }
    is_one.then_some(report)
}

/// The first text of a message, for reports in no known form.
pub fn text(part: &[u8]) -> String {
    let bytes = decoded(part);
    let bytes = bytes.get(..MOST_TEXT).unwrap_or(&bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

/// `ID` of `<ID@host>`.
pub fn message_id(head: &[u8]) -> Option<String> {
    let value = header(head, "Message-ID")?;
    let id = value.trim().strip_prefix('<')?.strip_suffix('>')?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// The recipients that a delivery status gives up, each a paragraph (RFC 3464 §2.3).
fn failed(status: &[u8]) -> impl Iterator<Item = (String, String)> {
    let text = String::from_utf8_lossy(status).replace("\r\n", "\n");
    let paragraphs: Vec<String> = text.split("\n\n").map(|paragraph| paragraph.trim_start_matches('\n').to_owned() + "\n").collect();
    paragraphs.into_iter().filter_map(|paragraph| {
        let of = |name: &str| header(paragraph.as_bytes(), name);
        // `rfc822; you@example.com`
        let typed = |value: String| value.split_once(';').map_or(value.clone(), |(_, value)| value.trim().to_owned());
        let who = of("Original-Recipient").or_else(|| of("Final-Recipient")).map(typed)?;
        let gone = of("Action").is_some_and(|action| action.trim().eq_ignore_ascii_case("failed"));
        let why = of("Diagnostic-Code").map(typed).or_else(|| of("Status")).unwrap_or_else(|| "not delivered".into());
        let plain = |text: String| text.chars().filter(|c| !c.is_control()).take(1000).collect::<String>();
        gone.then(|| (plain(who), plain(why)))
    })
}

fn of_type(kind: &str, wanted: &str) -> bool {
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}

/// `boundary="x y"` or `boundary=x`.
fn parameter(kind: &str, name: &str) -> Option<String> {
    let mut rest = kind.split_once(';')?.1;
    loop {
        let (key, value) = rest.split_once('=')?;
        let value = value.trim_start();
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.trim_end().to_owned()).filter(|value| !value.is_empty());
        }
        rest = behind.split_once(';')?.1;
    }
}

/// What stands behind the head.
fn body(message: &[u8]) -> &[u8] {
    // A part may have no head at all: then it begins with the empty line.
    if let Some(rest) = message.strip_prefix(b"\r\n").or_else(|| message.strip_prefix(b"\n")) {
        return rest;
    }
    let end = |mark: &[u8]| message.windows(mark.len()).position(|some| some == mark).map(|at| at + mark.len());
    let at = [end(b"\r\n\r\n"), end(b"\n\n")].into_iter().flatten().min();
    at.and_then(|at| message.get(at..)).unwrap_or_default()
}

/// The parts between the borders (RFC 2046 §5.1).
fn parts<'m>(body: &'m [u8], border: &str) -> Vec<&'m [u8]> {
    let border = format!("--{border}");
    let mut parts = Vec::new();
    let (mut begun, mut at) = (None, 0);
    for line in body.split_inclusive(|b| *b == b'\n') {
        let plain = line.trim_ascii_end();
        if let Some(rest) = plain.strip_prefix(border.as_bytes()).filter(|rest| rest.is_empty() || *rest == b"--") {
            parts.extend(begun.and_then(|begun| body.get(begun..at)));
            begun = Some(at + line.len());
            if rest == b"--" || parts.len() >= PARTS {
                return parts;
            }
        }
        at += line.len();
    }
    // Cut off: the last part is what there is.
    parts.extend(begun.and_then(|begun| body.get(begun..)));
    parts
}

/// The body of a part, as its head says that it is written.
fn decoded(part: &[u8]) -> Vec<u8> {
    let body = body(part);
    match header(part, "Content-Transfer-Encoding").map(|how| how.trim().to_ascii_lowercase()).as_deref() {
        Some("base64") => {
            let dense: Vec<u8> = body.iter().copied().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')).collect();
            LENIENT.decode(dense).unwrap_or_default()
        }
        Some("quoted-printable") => quoted_printable(body),
        _ => body.to_vec(),
    }
}

fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'=' {
            out.push(*first);
            continue;
        }
        let hex = |at: usize| rest.get(at).and_then(|b| char::from(*b).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        if let Some(more) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            rest = more;
        } else if let (Some(high), Some(low)) = (hex(0), hex(1)) {
            out.push(high << 4 | low);
            rest = rest.get(2..).unwrap_or_default();
        } else {
            out.push(b'=');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Postfix writes them.
    const POSTFIX: &str = "From: MAILER-DAEMON@mx.example (Mail Delivery System)\r\nTo: bounce+1-2-3@shop.example\r\nAuto-Submitted: auto-replied\r\n\
        Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"A/b=.1\"\r\n\r\nThis is a MIME-encapsulated message.\r\n\r\n\
        --A/b=.1\r\nContent-Description: Notification\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nI'm sorry.\r\n\r\n\
        --A/b=.1\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n\
        Final-Recipient: rfc822; you@example.com\r\nOriginal-Recipient: rfc822;You@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\
        Diagnostic-Code: smtp; 550 5.1.1 no such\r\n    user\r\n\r\nFinal-Recipient: rfc822; late@example.com\r\nAction: delayed\r\nStatus: 4.0.0\r\n\r\n\
        --A/b=.1\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: me@shop.example\r\nMessage-ID: <1-2-3@shop.example>\r\n\r\n--A/b=.1--\r\n";

    #[test]
    fn y21_reports_are_read() {
        let report = read(POSTFIX.as_bytes()).expect("a report");
        assert_eq!(report.failed, [("You@example.com".to_owned(), "550 5.1.1 no such    user".to_owned())]);
        assert_eq!((report.about.as_deref(), report.text.trim()), (Some("1-2-3@shop.example"), "I'm sorry."));
        // Line ends of Unix, and a report that was cut off.
        let short = POSTFIX.replace("\r\n", "\n");
        assert_eq!(read(short.as_bytes()).map(|report| report.failed.len()), Some(1));
        assert_eq!(read(&POSTFIX.as_bytes()[..POSTFIX.len() - 60]).map(|report| report.failed.len()), Some(1));
        let late = POSTFIX.replace("Action: failed", "Action: delayed");
        assert_eq!(read(late.as_bytes()).map(|report| report.failed), Some(Vec::new()));
        for other in [
            POSTFIX.replace("multipart/report", "multipart/mixed"),
            POSTFIX.replace("report-type=delivery-status", "report-type=disposition-notification"),
            POSTFIX.replace("message/delivery-status", "text/html"),
            POSTFIX.replace("boundary=\"A/b=.1\"", "x=y"),
            "From: a\r\n\r\nx".to_owned(),
        ] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn y21_encoded_parts_are_read() {
        let part = b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc=C3=A9=zz=";
        assert_eq!(text(part), "a=bc\u{e9}=zz=");
        assert_eq!(text(b"Content-Transfer-Encoding: BASE64\r\n\r\naGVs\r\nbG8\r\n"), "hello");
        assert_eq!(text(b"Content-Transfer-Encoding: base64\r\n\r\n!"), "");
        assert_eq!(parameter("a/b; x=\"1;2\"; Boundary = z ;y=3", "boundary").as_deref(), Some("z"));
        assert_eq!(parameter("a/b; boundary=\"z", "boundary"), None);
    }

    #[test]
    fn y21_messages_come_back_to_their_return_address() {
        let address = return_address("1-2-3", "me@shop.example").expect("an address");
        assert_eq!(address, "bounce+1-2-3@shop.example");
        assert_eq!((returned(&address), returned("BOUNCE+x@y")), (Some("1-2-3"), Some("x")));
        for other in ["bounce@x", "bounce+@x", "a+bounce+1@x", "b", "b\u{f6}unce+1@x"] {
            assert_eq!(returned(other), None, "{other}");
        }
        assert!(is_daemons(b"From: Mail <MAILER-DAEMON@x>\r\n\r\n") && !is_daemons(b"From: ann@x\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn y21_no_report_is_too_strange(cut in 0usize..1600, at in 0usize..1600, strange in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = POSTFIX.as_bytes().to_vec();
            bytes.splice(at.min(bytes.len())..at.min(bytes.len()), strange);
            bytes.truncate(cut.max(100));
            if let Some(report) = read(&bytes) {
                prop_assert!(report.failed.iter().all(|(who, why)| !who.contains('\n') && !why.contains('\n')));
            }
        }
    }
}
