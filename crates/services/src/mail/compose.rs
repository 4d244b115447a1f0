//! A message as it travels (RFC 5322, MIME), in the shape that the SDK gives it: alternatives first, then files. Pure.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::address::Mailbox;
use super::rules::{Attachment, Letter};

/// The SDK's `EXTENSION_MIME_MAP`.
const TYPES: &[(&str, &[&str])] = &[
    ("application/msword", &["doc", "docx"]),
    ("application/pdf", &["pdf"]),
    ("application/vnd.google-earth.kml+xml", &["kml"]),
    ("application/vnd.google-earth.kmz", &["kmz"]),
    ("application/vnd.ms-excel", &["xls", "xlsx"]),
    ("application/vnd.ms-powerpoint", &["pps", "ppt", "pptx"]),
    ("application/vnd.oasis.opendocument.presentation", &["odp"]),
    ("application/vnd.oasis.opendocument.spreadsheet", &["ods"]),
    ("application/vnd.oasis.opendocument.text", &["odt"]),
    ("application/vnd.sun.xml.calc", &["sxc"]),
    ("application/vnd.sun.xml.writer", &["sxw"]),
    ("application/x-gzip", &["gzip"]),
    ("application/zip", &["zip"]),
    ("audio/basic", &["au", "snd"]),
    ("audio/flac", &["flac"]),
    ("audio/mid", &["mid", "rmi"]),
    ("audio/mp4", &["m4a"]),
    ("audio/mpeg", &["mp3"]),
    ("audio/ogg", &["oga", "ogg"]),
    ("audio/x-aiff", &["aif", "aifc", "aiff"]),
    ("audio/x-wav", &["wav"]),
    ("image/gif", &["gif"]),
    ("image/jpeg", &["jpe", "jpeg", "jpg"]),
    ("image/png", &["png"]),
    ("image/tiff", &["tif", "tiff"]),
    ("image/vnd.wap.wbmp", &["wbmp"]),
    ("image/webp", &["webp"]),
    ("image/x-ms-bmp", &["bmp"]),
    ("text/calendar", &["ics"]),
    ("text/css", &["css"]),
    ("text/csv", &["csv"]),
    ("text/directory", &["vcf"]),
    ("text/html", &["htm", "html"]),
    ("text/plain", &["asc", "c", "diff", "log", "patch", "pot", "text", "txt"]),
    ("text/rss+xml", &["rss"]),
    ("video/mp4", &["mp4"]),
    ("video/mpeg", &["mpe", "mpeg", "mpg"]),
    ("video/ogg", &["ogv"]),
    ("video/quicktime", &["mov", "qt"]),
    ("video/webm", &["webm"]),
    ("video/x-msvideo", &["avi"]),
];

/// What a message carries besides its letter.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Unique on this server, in letters that are good anywhere.
    pub id: &'a str,
    /// The app with its partition, `s~shop`.
    pub app: &'a str,
    /// The host behind the `@` of `Message-ID`.
    pub host: &'a str,
    /// `Date`, as in RFC 5322.
    pub date: &'a str,
}

/// Writes it, with CRLF.
pub fn compose(letter: &Letter, stamp: &Stamp<'_>) -> Vec<u8> {
    let mut head = String::new();
    for (name, people) in [("To", &letter.to), ("Cc", &letter.cc), ("Reply-To", &letter.reply_to)] {
        if !people.is_empty() {
            field(&mut head, name, &list(people));
        }
    }
    field(&mut head, "From", &one(&letter.from));
    field(&mut head, "Subject", &words(&letter.subject));
    for (name, value) in &letter.headers {
        field(&mut head, name, &words(value));
    }
    field(&mut head, "Date", stamp.date);
    field(&mut head, "Message-ID", &format!("<{}@{}>", stamp.id, stamp.host));
    field(&mut head, "X-Google-Appengine-App-Id", stamp.app);
    field(&mut head, "MIME-Version", "1.0");
    let mut out = head.into_bytes();
    bodies(&mut out, letter, stamp.id);
    out
}

fn bodies(out: &mut Vec<u8>, letter: &Letter, id: &str) {
    let texts = [("plain", &letter.text), ("x-amp-html", &letter.amp), ("html", &letter.html)];
    let texts: Vec<(&str, &[u8])> = texts.into_iter().filter_map(|(kind, body)| Some((kind, body.as_deref()?))).collect();
    let alternatives = |out: &mut Vec<u8>| match *texts.as_slice() {
        [(kind, body)] => text(out, kind, body),
        _ => multipart(out, "alternative", &format!("alternative-{id}"), texts.len(), |out, at| text(out, texts[at].0, texts[at].1)),
    };
    if letter.attachments.is_empty() {
        alternatives(out);
        return;
    }
    multipart(out, "mixed", &format!("mixed-{id}"), letter.attachments.len() + 1, |out, at| match at.checked_sub(1) {
        None => alternatives(out),
        Some(at) => file(out, &letter.attachments[at]),
    });
}

/// Base64 has no `_`, and plain text is only written as it is without it: nothing inside looks like the border.
fn multipart(out: &mut Vec<u8>, kind: &str, border: &str, count: usize, mut part: impl FnMut(&mut Vec<u8>, usize)) {
    out.extend_from_slice(format!("Content-Type: multipart/{kind}; boundary=\"=_{border}\"\r\n\r\n").as_bytes());
    for at in 0..count {
        out.extend_from_slice(format!("--=_{border}\r\n").as_bytes());
        part(out, at);
    }
    out.extend_from_slice(format!("--=_{border}--\r\n").as_bytes());
}

fn text(out: &mut Vec<u8>, kind: &str, body: &[u8]) {
    let lines = |body: &[u8]| body.split(|b| *b == b'\n').all(|line| line.len() < 990 && !line.starts_with(b"--=_"));
    if body.is_ascii() && !body.contains(&0) && lines(body) {
        out.extend_from_slice(
            format!("Content-Type: text/{kind}; charset=\"us-ascii\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n").as_bytes(),
        );
        for line in body.split(|b| *b == b'\n') {
            out.extend(line.strip_suffix(b"\r").unwrap_or(line).iter().map(|b| if *b == b'\r' { b' ' } else { *b }));
            out.extend_from_slice(b"\r\n");
        }
        return;
    }
    out.extend_from_slice(format!("Content-Type: text/{kind}; charset=\"utf-8\"\r\nContent-Transfer-Encoding: base64\r\n\r\n").as_bytes());
    packed(out, body);
}

fn file(out: &mut Vec<u8>, attachment: &Attachment) {
    let extension = attachment.name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    let kind =
        TYPES.iter().find(|(_, extensions)| extensions.contains(&extension.as_str())).map_or("application/octet-stream", |(kind, _)| kind);
    let mut head = format!("Content-Type: {kind}\r\nMIME-Version: 1.0\r\n");
    let _ = write!(head, "Content-Disposition: attachment; {}\r\n", parameter("filename", &attachment.name));
    if let Some(id) = &attachment.content_id {
        let _ = write!(head, "Content-ID: {id}\r\n");
    }
    head.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
    out.extend_from_slice(head.as_bytes());
    packed(out, &attachment.data);
}

/// `filename="a.txt"`, or as RFC 2231 has it beyond ASCII.
fn parameter(name: &str, value: &str) -> String {
    if value.is_ascii() {
        return format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let encoded = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
    format!("{name}*=utf-8''{encoded}")
}

fn packed(out: &mut Vec<u8>, data: &[u8]) {
    // 57 bytes make a line of 76.
    for line in data.chunks(57) {
        out.extend_from_slice(STANDARD.encode(line).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn list(people: &[Mailbox]) -> String {
    people.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn one(person: &Mailbox) -> String {
    let Mailbox { name, address } = person;
    if name.is_empty() {
        address.clone()
    } else if !name.is_ascii() {
        format!("{} <{address}>", words(name))
    } else if name.bytes().all(|b| b.is_ascii_alphanumeric() || b" !#$%&'*+-/=?^_`{|}~".contains(&b)) {
        format!("{name} <{address}>")
    } else {
        format!("\"{}\" <{address}>", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// Words beyond ASCII as RFC 2047 has them.
fn words(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let (mut out, mut piece) = (Vec::new(), String::new());
    for c in text.chars() {
        if piece.len() + c.len_utf8() > 45 {
            out.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    out.push(piece);
    out.iter().map(|piece| format!("=?utf-8?b?{}?=", STANDARD.encode(piece))).collect::<Vec<_>>().join(" ")
}

/// A header, folded at spaces into lines of 76 as far as it has spaces.
fn field(out: &mut String, name: &str, value: &str) {
    let (mut line, mut first) = (name.len() + 1, true);
    out.push_str(name);
    out.push(':');
    for word in value.split(' ') {
        if !first && line + 1 + word.len() > 76 && !word.is_empty() {
            out.push_str("\r\n");
            line = 0;
        }
        out.push(' ');
        out.push_str(word);
        line += 1 + word.len();
        first = false;
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const STAMP: Stamp<'_> = Stamp { id: "1-2", app: "s~shop", host: "shop.example", date: "Thu, 1 Jan 1970 00:00:00 +0000" };

    fn letter() -> Letter {
        let person = |text| Mailbox::read(text).expect("an address");
        Letter {
            from: person("J\u{f6}rg <j@example.com>"),
            reply_to: Vec::new(),
            to: vec![person("\"A, B\" <a@example.com>"), person("b@example.com")],
            cc: Vec::new(),
            bcc: vec![person("secret@example.com")],
            subject: "Hello".into(),
            text: Some(Bytes::from_static(b"one\ntwo\r\n.\r\n")),
            amp: None,
            html: None,
            attachments: Vec::new(),
            headers: vec![("References".into(), "<a> <b>".into())],
        }
    }

    #[test]
    fn s4_a_plain_message() {
        let wanted = "To: \"A, B\" <a@example.com>, b@example.com\r\nFrom: =?utf-8?b?SsO2cmc=?= <j@example.com>\r\nSubject: Hello\r\n\
            References: <a> <b>\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <1-2@shop.example>\r\n\
            X-Google-Appengine-App-Id: s~shop\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=\"us-ascii\"\r\n\
            Content-Transfer-Encoding: 7bit\r\n\r\none\r\ntwo\r\n.\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&compose(&letter(), &STAMP)), wanted);
    }

    #[test]
    fn s4_parts_and_files() {
        let file = Attachment { name: "\u{fc}.png".into(), content_id: Some("<x>".into()), data: Bytes::from_static(b"data") };
        let whole = Letter { html: Some(Bytes::from_static("<b>\u{fc}</b>".as_bytes())), attachments: vec![file], ..letter() };
        let text = String::from_utf8(compose(&whole, &STAMP)).expect("ASCII");
        assert!(text.is_ascii());
        for wanted in [
            "Content-Type: multipart/mixed; boundary=\"=_mixed-1-2\"\r\n\r\n--=_mixed-1-2\r\nContent-Type: multipart/alternative;",
            "Content-Type: text/html; charset=\"utf-8\"\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+w7w8L2I+\r\n--=_alternative-1-2--\r\n",
            "Content-Type: image/png\r\nMIME-Version: 1.0\r\nContent-Disposition: attachment; filename*=utf-8''%C3%BC%2Epng\r\nContent-ID: <x>\r\n",
            "ZGF0YQ==\r\n--=_mixed-1-2--\r\n",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("secret@"));
    }

    proptest! {
        #[test]
        fn s4_lines_are_short_and_headers_stay_apart(subject in "[ -~\u{e4}-\u{ff}]{0,300}", body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let bytes = compose(&Letter { subject, text: Some(body.into()), ..letter() }, &STAMP);
            let text = String::from_utf8(bytes).expect("ASCII");
            prop_assert!(text.is_ascii());
            for line in text.split("\r\n") {
                prop_assert!(line.len() < 998 && !line.contains('\n') && !line.contains('\r'), "{line:?}");
            }
            let head = text.split("\r\n\r\n").next().unwrap_or_default();
            for line in head.split("\r\n") {
                prop_assert!(line.starts_with([' ', '\t']) || line.split_once(':').is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')), "{line:?}");
            }
        }
    }
}
