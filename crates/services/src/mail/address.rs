//! Addresses of mail as people write them: `Name <local@domain>`. Pure.

/// The longest address (RFC 5321 §4.5.3.1.3, without the brackets).
const MOST: usize = 254;

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// What stands before it, without quotes.
    pub name: String,
    /// `local@domain`.
    pub address: String,
}

impl Mailbox {
    /// Reads one.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>') {
            Some(text) => text.rsplit_once('<')?,
            None => ("", text),
        };
        let name = name.trim();
        let bare =
            name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).map(|name| name.replace("\\\"", "\"").replace("\\\\", "\\"));
        let name = bare.unwrap_or_else(|| name.to_owned());
        let good = is_address(address.trim()) && !name.chars().any(char::is_control);
        good.then(|| Self { name, address: address.trim().to_owned() })
    }

    /// What stands behind the `@`, in lower case.
    pub fn domain(&self) -> String {
        domain(&self.address).to_ascii_lowercase()
    }
}

/// What stands behind the last `@`.
pub fn domain(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// Whether this is `local@domain`, in ASCII: no commands of SMTP can hide in it.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |b: u8| b.is_ascii_graphic() && !b"<>()[],;:\\\"".contains(&b);
    let local = match local.strip_prefix('"').and_then(|local| local.strip_suffix('"')) {
        Some(quoted) => {
            !quoted.is_empty() && quoted.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\' && b != b'<' && b != b'>')
        }
        None => !local.is_empty() && !local.contains('@') && local.bytes().all(plain),
    };
    let label =
        |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let literal = domain.strip_prefix('[').and_then(|domain| domain.strip_suffix(']'));
    let domain = match literal {
        Some(ip) => ip.strip_prefix("IPv6:").unwrap_or(ip).parse::<std::net::IpAddr>().is_ok(),
        None => domain.split('.').all(label),
    };
    local && domain && text.len() <= MOST
}

/// The addresses of a list with commas between them; commas in quotes or brackets are no such.
pub fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_addresses_are_read() {
        let read = |text: &str| Mailbox::read(text).map(|found| (found.name, found.address));
        let is = |name: &str, address: &str| Some((name.to_owned(), address.to_owned()));
        assert_eq!(read("a@b.example"), is("", "a@b.example"));
        assert_eq!(read(" <a@b.example> "), is("", "a@b.example"));
        assert_eq!(read("J\u{f6}rg X. <a+b@b.example>"), is("J\u{f6}rg X.", "a+b@b.example"));
        assert_eq!(read("\"X, \\\"Y\\\"\" <a@b>"), is("X, \"Y\"", "a@b"));
        assert_eq!(read("<\"a b\"@[127.0.0.1]>"), is("", "\"a b\"@[127.0.0.1]"));
        for bad in ["", "a", "@b", "a@", "a@b..c", "a b@c", "a@b\r\nRCPT TO:<x@y>", "a@b>", "x\r\nBcc: y <a@b>", "a@b@c", "a@\u{e4}.de"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(split("a@b, \"c, d\" <e@f>,, g@h "), ["a@b", "\"c, d\" <e@f>", "g@h"]);
    }
}
