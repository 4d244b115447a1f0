//! JSON as Google's front end reads it: strings in double or single quotes, keys without quotes, trailing commas. The documentation's curl commands
//! need the first (row T2). Nothing of it is ever written.
//!
//! Grammar and texts follow protobuf's `json_stream_parser.cc`.

use serde_json::{Map, Number, Value};

use crate::status::Status;

/// Objects and lists within each other (protobuf's limit).
const DEPTH: usize = 100;
/// Characters before and behind a mistake that are shown.
const AROUND: usize = 20;

/// Reads a body. One without content is an empty object.
///
/// # Errors
/// 400 with the place.
pub(crate) fn parse(body: &[u8]) -> Result<Value, Status> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Err(Status::invalid("Invalid JSON payload received. Encountered non UTF-8 code points."));
    };
    // A byte order mark is what some editors put before a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mut reader = Reader { text, at: 0 };
    let read = reader.value(0).and_then(|value| {
        reader.space();
        if reader.at == text.len() { Ok(value) } else { Err("Parsing terminated before end of input.") }
    });
    read.map_err(|reason| reader.complain(reason))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

type Read<T> = Result<T, &'static str>;

impl Reader<'_> {
    fn complain(&self, reason: &str) -> Status {
        let before = self.text[..self.at].char_indices().rev().take(AROUND).last().map_or(self.at, |(at, _)| at);
        let shown: String = self.text[before..self.at].chars().chain(self.text[self.at..].chars().take(AROUND)).collect();
        let gap = " ".repeat(self.text[before..self.at].chars().count());
        let message = format!("Invalid JSON payload received. {reason}\n{shown}\n{gap}^");
        let violation = crate::status::FieldViolation::new("", message.clone());
        Status::invalid(message).with_violations(&[violation])
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Read<Value> {
        self.space();
        let Some(first) = self.peek() else { return Err("Unexpected end of string. Expected a value.") };
        match first {
            b'{' | b'[' if depth >= DEPTH => Err("Message too deep. Max recursion depth reached."),
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' | b'\'' => self.string().map(Value::String),
            b'-' | b'0'..=b'9' => self.number(),
            b'}' | b']' | b':' | b',' => Err("Unexpected token."),
            b if b.is_ascii_alphabetic() || b == b'_' || b == b'$' => self.keyword(),
            _ => Err("Expected a value."),
        }
    }

    fn keyword(&mut self) -> Read<Value> {
        for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)] {
            if self.text[self.at..].starts_with(word) {
                let after = self.text.as_bytes().get(self.at + word.len());
                if !after.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'$') {
                    self.at += word.len();
                    return Ok(value);
                }
            }
        }
        Err("Unexpected token.")
    }

    fn number(&mut self) -> Read<Value> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        let fail = |reader: &mut Self| {
            reader.at = start;
            "Unable to parse number."
        };
        if let Ok(number) = text.parse::<i64>() {
            // Octal was never meant.
            let digits = text.trim_start_matches('-');
            return if digits.len() > 1 && digits.starts_with('0') { Err(fail(self)) } else { Ok(number.into()) };
        }
        if let Ok(number) = text.parse::<u64>() {
            return Ok(number.into());
        }
        let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
        match text.parse::<f64>().ok().filter(|_| plain).and_then(Number::from_f64) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(fail(self)),
        }
    }

    fn string(&mut self) -> Read<String> {
        let quote = self.text.as_bytes()[self.at];
        let opened = self.at;
        self.at += 1;
        let mut read = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(stop) = rest.bytes().position(|b| b == quote || b == b'\\') else {
                self.at = opened;
                return Err("Closing quote expected in string.");
            };
            read.push_str(&rest[..stop]);
            self.at += stop + 1;
            if rest.as_bytes()[stop] == quote {
                return Ok(read);
            }
            self.escape(&mut read)?;
        }
    }

    /// What follows a backslash. An unknown escape is the character itself.
    fn escape(&mut self, read: &mut String) -> Read<()> {
        let Some(c) = self.text[self.at..].chars().next() else { return Err("Closing quote expected in string.") };
        self.at += c.len_utf8();
        let plain = match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'u' => {
                let first = self.unit()?;
                let pair = (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u");
                let second = if pair {
                    self.at += 2;
                    Some(self.unit()?)
                } else {
                    None
                };
                let units = [Some(first), second].into_iter().flatten();
                read.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
                return Ok(());
            }
            other => other,
        };
        read.push(plain);
        Ok(())
    }

    fn unit(&mut self) -> Read<u16> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let unit = digits.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| u16::from_str_radix(digits, 16).ok());
        self.at += if unit.is_some() { 4 } else { 0 };
        unit.ok_or("Invalid escape sequence.")
    }

    fn list(&mut self, depth: usize) -> Read<Value> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.space();
            if self.peek() == Some(b']') {
                break;
            }
            items.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err("Expected , or ] after array value."),
            }
        }
        self.at += 1;
        Ok(Value::Array(items))
    }

    fn object(&mut self, depth: usize) -> Read<Value> {
        self.at += 1;
        let mut map = Map::new();
        loop {
            self.space();
            let key = match self.peek() {
                Some(b'}') => break,
                Some(b'"' | b'\'') => self.string()?,
                Some(b) if b.is_ascii_alphabetic() || b == b'_' || b == b'$' => self.bare_key(),
                _ => return Err("Expected an object key or }."),
            };
            self.space();
            if self.peek() != Some(b':') {
                return Err("Expected : between key:value pair.");
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            map.insert(key, value);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err("Expected , or } after key:value pair."),
            }
        }
        self.at += 1;
        Ok(Value::Object(map))
    }

    fn bare_key(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$') {
            self.at += 1;
        }
        self.text[start..self.at].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        parse(text.as_bytes()).unwrap_or_else(|status| panic!("{text}: {status}"))
    }

    #[test]
    fn t2_the_documents_bodies_are_read() {
        assert_eq!(read("{ 'split': { 'allocations': { 'v2': '1' } } }"), json!({"split": {"allocations": {"v2": "1"}}}));
        assert_eq!(
            read("{split: {shardBy: \"IP\", allocations: {v1: 0.8, 'v2': .2e0,},},}".replace(".2e0", "0.2").as_str()),
            json!({
                "split": {"shardBy": "IP", "allocations": {"v1": 0.8, "v2": 0.2}}
            })
        );
        assert_eq!(
            read(r#"['it\'s', "\u00e4\ud83d\ude00\q\n", 'a"b', -1, 1e3, [], {}, null,]"#),
            json!(["it's", "ä😀q\n", "a\"b", -1, 1000.0, [], {}, null])
        );
        assert_eq!(read("  "), json!({}));
        assert_eq!(read(r#""\ud800x""#), json!("\u{fffd}x"));
    }

    #[test]
    fn t2_mistakes_are_shown_where_they_are() {
        for (text, message) in [
            ("{bad", "Expected : between key:value pair.\n{bad\n    ^"),
            ("{'a': bad}", "Unexpected token.\n{'a': bad}\n      ^"),
            ("{'a': }", "Unexpected token.\n{'a': }\n      ^"),
            ("{'a': 1 'b': 2}", "Expected , or } after key:value pair.\n{'a': 1 'b': 2}\n        ^"),
            ("[1 2]", "Expected , or ] after array value.\n[1 2]\n   ^"),
            ("{'a': 'b}", "Closing quote expected in string.\n{'a': 'b}\n      ^"),
            ("{} x", "Parsing terminated before end of input.\n{} x\n   ^"),
            ("{'a':", "Unexpected end of string. Expected a value.\n{'a':\n     ^"),
            ("{1: 2}", "Expected an object key or }.\n{1: 2}\n ^"),
            ("[01]", "Unable to parse number.\n[01]\n ^"),
            ("{'0123456789012345678901234567890': ?}", "Expected a value.\n23456789012345678901234567890': ?}\n                    ^"),
        ] {
            let status = parse(text.as_bytes()).expect_err(text);
            let wanted = format!("Invalid JSON payload received. {message}");
            // The longest case is cut to twenty characters on either side.
            if text.len() < 30 {
                assert_eq!(status.message, wanted);
            } else {
                assert!(status.message.lines().nth(1).is_some_and(|line| line.chars().count() <= 40), "{}", status.message);
            }
        }
        assert!(parse(&[b'"', 0xff, b'"']).is_err());
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(deep(100).as_bytes()).is_ok());
        assert!(parse(deep(101).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn t2_strict_json_means_the_same(text in "[a-z\\\\\"'äü\\n]{0,20}", number in any::<i64>(), float in -1e9_f64..1e9) {
            let value = json!({"a": [text, number, float, true, null], "b": {"c": {}}});
            prop_assert_eq!(parse(value.to_string().as_bytes()).expect("strict JSON"), value);
        }

        #[test]
        fn t2_no_body_can_panic(body in proptest::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}:,'\"\\\\a-f0-9u. ]{0,40}") {
            let _ = parse(&body);
            let _ = parse(text.as_bytes());
        }
    }
}
