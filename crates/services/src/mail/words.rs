//! Words of headers that are written in ASCII although they are not (RFC 2047), as people read them. Pure.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Mailers differ in whether they pad.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// The text of a header. What is malformed, or in an alphabet that is not known here, stays as it is.
pub fn readable(header: &str) -> String {
    let (mut out, mut rest, mut after_word) = (String::new(), header, false);
    while let Some(at) = rest.find("=?") {
        let (before, word) = rest.split_at(at);
        let Some((text, behind)) = read(word) else {
            out.push_str(&rest[..at + 2]);
            (rest, after_word) = (&rest[at + 2..], false);
            continue;
        };
        // Blanks between two words belong to neither (§6.2).
        if !(after_word && before.bytes().all(|b| b.is_ascii_whitespace())) {
            out.push_str(before);
        }
        out.push_str(&text);
        (rest, after_word) = (behind, true);
    }
    out.push_str(rest);
    out.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// `=?CHARSET?B|Q?TEXT?=`, and what stands behind it.
fn read(word: &str) -> Option<(String, &str)> {
    let (charset, rest) = word.strip_prefix("=?")?.split_once('?')?;
    let (way, rest) = rest.split_once('?')?;
    let (text, behind) = rest.split_once("?=")?;
    if text.contains(|c: char| c.is_ascii_whitespace() || c == '?') {
        return None;
    }
    let bytes = match way {
        "B" | "b" => LENIENT.decode(text).ok()?,
        "Q" | "q" => quoted(text.as_bytes())?,
        _ => return None,
    };
    // A language may follow the character set (RFC 2231 §5).
    let charset = charset.split('*').next().unwrap_or_default().to_ascii_lowercase();
    let text = match charset.as_str() {
        "utf-8" | "us-ascii" | "utf8" => String::from_utf8(bytes).ok()?,
        "iso-8859-1" | "latin1" => bytes.into_iter().map(char::from).collect(),
        _ => return None,
    };
    Some((text, behind))
}

fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digits = [*bytes.next()?, *bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?, 16).ok()?
            }
            other => *other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_words_in_headers_are_read() {
        for (header, text) in [
            ("Hello", "Hello"),
            ("=?utf-8?b?R3LDvMOfZSDimIM=?=", "Grüße ☃"),
            ("=?UTF-8?B?R3LDvMOfZQ?= you", "Grüße you"),
            ("=?iso-8859-1?Q?Gr=FC=DFe_an?= =?utf-8*de?q?_alle?=", "Grüße an alle"),
            ("a =?utf-8?q?b?= c", "a b c"),
            ("a =?utf-8?q?b?=\t=?utf-8?q?c?=", "a bc"),
            ("=?utf-8?q?a=0D=0Ab?=", "a  b"),
        ] {
            assert_eq!(readable(header), text, "{header}");
        }
        for strange in [
            "=?",
            "=?utf-8?b",
            "=?utf-8?b?!!?=",
            "=?utf-8?q?=4?=",
            "=?utf-8?q?=FF?=",
            "=?koi8-r?q?a?=",
            "=?utf-8?x?a?=",
            "1 =? 2 ?= 3",
            "=?utf-8?q?a b?=",
        ] {
            assert_eq!(readable(strange), strange);
        }
    }
}
