//! How YAML 1.1 reads an unquoted scalar, as the SDK's loader does: every value is read first and then turned into text again, so that
//! `yes` becomes `True`, `0x1f` becomes `31` and `007` becomes `7`. Fields ask for the reading they need.

use std::fmt::Write as _;

use crate::yaml::Scalar;

/// What an unquoted scalar is to YAML 1.1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    /// Text, as written.
    Text,
    /// `~`, `null`, or nothing at all.
    Null,
    /// `true`, `yes`, `on` and their opposites, in three spellings each.
    Bool(bool),
    /// Decimal, `0b…`, `0…` (octal), `0x…` and `1:30` (sexagesimal), as decimal digits.
    Int(String),
    /// A number with a point, `.inf` or `.nan`.
    Float(f64),
}

/// Reads a scalar.
pub(crate) fn read(scalar: &Scalar) -> Reading {
    if !scalar.plain {
        return Reading::Text;
    }
    let text = scalar.text.as_str();
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Reading::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Reading::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Reading::Bool(false),
        _ => {}
    }
    if let Some(digits) = integer(text) {
        return Reading::Int(digits);
    }
    float(text).map_or(Reading::Text, Reading::Float)
}

/// The text that a field of text gets: what Python's `str()` makes of the reading.
pub(crate) fn as_text(scalar: &Scalar) -> String {
    match read(scalar) {
        Reading::Text => scalar.text.clone(),
        Reading::Null => "None".into(),
        Reading::Bool(true) => "True".into(),
        Reading::Bool(false) => "False".into(),
        Reading::Int(digits) => digits,
        Reading::Float(number) => python_float(number),
    }
}

/// `PyYAML`'s integer forms.
fn integer(text: &str) -> Option<String> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => ("-", body),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let first = body.bytes().next().filter(u8::is_ascii_digit)?;
    let radix = |digits: &str, radix: u32| {
        let digits = digits.replace('_', "");
        if digits.is_empty() { None } else { u128::from_str_radix(&digits, radix).ok() }
    };
    let only = |digits: &str, allowed: &dyn Fn(u8) -> bool| digits.bytes().all(|b| b == b'_' || allowed(b));
    let value = if let Some(digits) = body.strip_prefix("0b") {
        radix(digits, 2)?
    } else if let Some(digits) = body.strip_prefix("0x") {
        radix(digits, 16)?
    } else if body == "0" {
        0
    } else if first == b'0' {
        if !only(&body[1..], &|b| (b'0'..=b'7').contains(&b)) {
            return None;
        }
        radix(&body[1..], 8)?
    } else if body.contains(':') {
        sexagesimal(body)?
    } else {
        if !only(body, &|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = body.replace('_', "");
        return Some(format!("{sign}{digits}"));
    };
    let sign = if value == 0 { "" } else { sign };
    Some(format!("{sign}{value}"))
}

/// `1:30` = 90, `1:30:00` = 5400.
fn sexagesimal(body: &str) -> Option<u128> {
    let mut parts = body.split(':');
    let head = parts.next()?.replace('_', "");
    let mut value: u128 = head.parse().ok()?;
    for part in parts {
        let fits = matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_digit());
        let digits: u128 = part.parse().ok().filter(|&n: &u128| fits && n < 60)?;
        value = value.checked_mul(60)?.checked_add(digits)?;
    }
    Some(value)
}

/// `PyYAML`'s float forms: there must be a point, an exponent must have a sign.
fn float(text: &str) -> Option<f64> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1.0, body),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match body {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if body.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    let (whole, rest) = body.split_once('.')?;
    if let Some((head, tail)) = whole.rsplit_once(':') {
        let fraction: f64 =
            format!("0.{}", rest.replace('_', "")).parse().ok().filter(|_| rest.bytes().all(|b| b.is_ascii_digit() || b == b'_'))?;
        let seconds = sexagesimal(&format!("{head}:{tail}"))?;
        #[allow(clippy::cast_precision_loss, reason = "a float is what YAML makes of it")]
        return Some(sign * (seconds as f64 + fraction));
    }
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => {
            let exponent = &rest[at + 1..];
            let number = exponent.strip_prefix(['+', '-'])?;
            if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (&rest[..at], exponent)
        }
        None => (rest, "+0"),
    };
    let signed_without_whole = whole.is_empty() && body.len() != text.len();
    if !digits(whole) || !digits(fraction) || signed_without_whole || (whole.is_empty() && fraction.is_empty()) || whole.starts_with('_') {
        return None;
    }
    let number: f64 = format!("0{whole}.{fraction}0e{exponent}").replace('_', "").parse().ok()?;
    Some(sign * number)
}

/// Python 2's `str()` of a float: twelve significant digits, always a point.
fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{number:.11e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let short = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if (-4..12).contains(&exponent) {
        let decimals = usize::try_from(11 - exponent).unwrap_or(0);
        let text = format!("{number:.decimals$}");
        let mut text = if text.contains('.') { short(&text) } else { text };
        if !text.contains('.') {
            text.push_str(".0");
        }
        return text;
    }
    let mut text = short(mantissa);
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(text, "e{sign}{:02}", exponent.abs());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values as Python 2.7 with `PyYAML` 3.10 reads and prints them.
    #[test]
    fn y1_scalars_read_as_yaml_1_1_and_python_do() {
        for (written, text) in [
            ("yes", "True"),
            ("OFF", "False"),
            ("y", "y"),
            ("~", "None"),
            ("", "None"),
            ("0x1f", "31"),
            ("007", "7"),
            ("0755", "493"),
            ("0o17", "0o17"),
            ("08", "08"),
            ("0b11", "3"),
            ("1_000", "1000"),
            ("+5", "5"),
            ("-5", "-5"),
            ("1:30", "90"),
            ("1:30:00", "5400"),
            ("1:75", "1:75"),
            ("1.10", "1.1"),
            ("1.0", "1.0"),
            ("1.", "1.0"),
            (".5", "0.5"),
            ("1e3", "1e3"),
            ("1.0e+3", "1000.0"),
            ("1.0e3", "1.0e3"),
            ("1.5e+20", "1.5e+20"),
            ("1.0e-5", "1e-05"),
            ("0.1234567890123", "0.123456789012"),
            (".inf", "inf"),
            ("-.INF", "-inf"),
            (".nan", "nan"),
            (".", "."),
            ("1.2.3", "1.2.3"),
            ("2.5.2", "2.5.2"),
            ("127.0.0.1", "127.0.0.1"),
            ("2015-01-01", "2015-01-01"),
            ("123456789012345678901234567890123456789012", "123456789012345678901234567890123456789012"),
            ("0x", "0x"),
            ("-", "-"),
            ("python27", "python27"),
        ] {
            assert_eq!(as_text(&Scalar { text: written.into(), plain: true }), text, "{written}");
            assert_eq!(as_text(&Scalar { text: written.into(), plain: false }), written);
        }
    }
}
