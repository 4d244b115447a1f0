//! Addresses of the web, read and joined (RFC 3986), as far as fetches need it. Pure.

use model::route::host::Host;

/// The longest (the SDK's `_MAX_URL_LENGTH`).
pub const MOST: usize = 10240;

/// An `http` or `https` address that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `https`.
    pub https: bool,
    /// A name in lower case, or an address; IPv6 in brackets.
    pub host: String,
    /// Where it is not the scheme's own.
    port: Option<u16>,
    /// Path and query, ready to be sent.
    pub target: String,
    /// What stands behind `#`, with it.
    fragment: String,
}

/// Why something is no address that can be asked: a text for the developer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Bad(pub &'static str);

impl Address {
    /// Reads an absolute address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &[u8]) -> Result<Self, Bad> {
        if text.len() > MOST {
            return Err(Bad("the URL is longer than 10240 bytes"));
        }
        let text = text.trim_ascii();
        let (scheme, rest) = split_scheme(text).ok_or(Bad("the URL names no scheme: write http:// or https://"))?;
        let https = https(scheme)?;
        let rest = rest.strip_prefix(b"//").ok_or(Bad("the URL names no host"))?;
        let end = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (host, port) = authority_of(authority, https)?;
        let mut address = Self { https, host, port, target: String::new(), fragment: String::new() };
        address.put(rest);
        Ok(address)
    }

    /// Where `reference`, found in an answer from here, leads.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn join(&self, reference: &[u8]) -> Result<Self, Bad> {
        let reference = reference.trim_ascii();
        if reference.len() > MOST {
            return Err(Bad("the URL is longer than 10240 bytes"));
        }
        if split_scheme(reference).is_some() {
            return Self::read(reference);
        }
        if reference.starts_with(b"//") {
            let scheme: &[u8] = if self.https { b"https:" } else { b"http:" };
            return Self::read(&[scheme, reference].concat());
        }
        let mut next = self.clone();
        let path = self.target.split('?').next().unwrap_or_default();
        match reference.first() {
            None | Some(b'#') => next.fragment = encoded(reference),
            Some(b'?') => next.put(&[path.as_bytes(), reference].concat()),
            Some(b'/') => next.put(&without_dots(reference)),
            Some(_) => {
                let folder = &path[..=path.rfind('/').unwrap_or(0)];
                next.put(&without_dots(&[folder.as_bytes(), reference].concat()));
            }
        }
        Ok(next)
    }

    /// Sets path, query and fragment.
    fn put(&mut self, rest: &[u8]) {
        let at = rest.iter().position(|b| *b == b'#').unwrap_or(rest.len());
        let (target, fragment) = rest.split_at(at);
        self.target = encoded(target);
        if !self.target.starts_with('/') {
            self.target.insert(0, '/');
        }
        self.fragment = encoded(fragment);
    }

    /// The port that is asked.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// Host and port as the `Host` header has them.
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    /// The host without brackets, as names and addresses are looked up.
    pub fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}{}", self.authority(), self.target, self.fragment)
    }
}

/// The scheme and what follows its colon.
fn split_scheme(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| b":/?#".contains(b)).filter(|at| text[*at] == b':')?;
    let scheme = &text[..at];
    let good =
        scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    good.then(|| (scheme, &text[at + 1..]))
}

fn https(scheme: &[u8]) -> Result<bool, Bad> {
    if scheme.eq_ignore_ascii_case(b"https") {
        Ok(true)
    } else if scheme.eq_ignore_ascii_case(b"http") {
        Ok(false)
    } else {
        Err(Bad("only http and https can be fetched"))
    }
}

fn authority_of(authority: &[u8], https: bool) -> Result<(String, Option<u16>), Bad> {
    if authority.contains(&b'@') {
        return Err(Bad("the URL may not hold a name and a password; send an Authorization header"));
    }
    let text = std::str::from_utf8(authority).ok().filter(|text| text.is_ascii());
    let text = text.ok_or(Bad("the host has letters beyond ASCII; write it in its xn-- form"))?;
    let (host, port) = Host::parse(text).map_err(|_| Bad("the host or its port is malformed"))?;
    let host = match host {
        Host::None => return Err(Bad("the URL names no host")),
        Host::Name(name) => name.into_owned(),
        // `[::ffff:1.2.3.4]` is 1.2.3.4.
        Host::Address(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        Host::Address(address) => address.to_string(),
    };
    // Port 0 is the scheme's own, as in the SDK.
    let port = port.filter(|port| *port != 0 && *port != if https { 443 } else { 80 });
    if port.is_some_and(|port| !is_allowed(port)) {
        return Err(Bad("only the ports 80-90, 440-450 and 1024-65535 can be fetched"));
    }
    Ok((host, port))
}

/// docs, "Outbound requests".
fn is_allowed(port: u16) -> bool {
    matches!(port, 80..=90 | 440..=450 | 1024..)
}

/// What may not stand in a request line is written as `%XX`.
fn encoded(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for &b in text {
        if b <= b' ' || b >= 0x7f || b"\"<>`{}".contains(&b) {
            out.push('%');
            for half in [b >> 4, b & 15] {
                out.push(char::from(if half < 10 { b'0' + half } else { b'A' - 10 + half }));
            }
        } else {
            out.push(char::from(b));
        }
    }
    out
}

/// `/a/./b/../c` → `/a/c` (RFC 3986 §5.2.4), leaving the query alone.
fn without_dots(text: &[u8]) -> Vec<u8> {
    let at = text.iter().position(|b| b"?#".contains(b)).unwrap_or(text.len());
    let (path, rest) = text.split_at(at);
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment.len() == 2 {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut out: Vec<u8> = kept.iter().flat_map(|segment| [b"/".as_slice(), segment]).flatten().copied().collect();
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, &'static str> {
        Address::read(text.as_bytes()).map(|address| address.to_string()).map_err(|bad| bad.0)
    }

    #[test]
    fn s6_addresses_are_read() {
        for (text, wanted) in [
            ("http://example.com", "http://example.com/"),
            ("HTTP://Example.COM:80/a b?c=<d>#e", "http://example.com/a%20b?c=%3Cd%3E#e"),
            ("https://example.com:443?x", "https://example.com/?x"),
            ("https://example.com:8443/", "https://example.com:8443/"),
            ("http://example.com:0/", "http://example.com/"),
            ("http://[::1]:8080/x", "http://[::1]:8080/x"),
            ("http://[::ffff:127.0.0.1]/", "http://127.0.0.1/"),
            ("http://example.com./\u{e4}\r\n", "http://example.com/%C3%A4"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(wanted), "{text}");
        }
        for bad in [
            "",
            "example.com",
            "/path",
            "ftp://example.com/",
            "http:///path",
            "http://",
            "http:example.com",
            "http://user:pass@example.com/",
            "http://b\u{fc}cher.example/",
            "http://example.com:1/",
            "http://example.com:22/",
            "http://example.com:99999/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://exa mple.com/",
            "http://example.com\\@evil.example/",
        ] {
            assert!(read(bad).is_err(), "{bad}: {:?}", read(bad));
        }
        assert!(read(&format!("http://example.com/{}", "x".repeat(MOST))).is_err());
    }

    #[test]
    fn s6_redirects_are_joined() {
        let base = Address::read(b"http://a.example:8080/b/c/d?q").expect("an address");
        for (reference, wanted) in [
            ("https://other.example/x", "https://other.example/x"),
            ("//other.example:81/x", "http://other.example:81/x"),
            ("/x/./y/../z", "http://a.example:8080/x/z"),
            ("/../../x", "http://a.example:8080/x"),
            ("x", "http://a.example:8080/b/c/x"),
            ("../x?y/../z", "http://a.example:8080/b/x?y/../z"),
            ("..", "http://a.example:8080/b/"),
            ("?z", "http://a.example:8080/b/c/d?z"),
            ("#f", "http://a.example:8080/b/c/d?q#f"),
            ("", "http://a.example:8080/b/c/d?q"),
        ] {
            assert_eq!(base.join(reference.as_bytes()).map(|next| next.to_string()).as_deref(), Ok(wanted), "{reference}");
        }
        assert!(base.join(b"javascript:alert(1)").is_err());
    }

    proptest! {
        /// Nothing that is read or joined can break out of a request line.
        #[test]
        fn s6_targets_fit_a_request_line(base in ".{0,60}", reference in proptest::collection::vec(any::<u8>(), 0..80)) {
            let absolute = format!("http://example.com/{base}");
            for address in [Address::read(&reference), Address::read(absolute.as_bytes()).and_then(|base| base.join(&reference))].into_iter().flatten() {
                prop_assert!(address.target.starts_with('/'));
                prop_assert!(address.target.bytes().all(|b| b > b' ' && b < 0x7f));
                prop_assert!(address.target.parse::<http::uri::PathAndQuery>().is_ok(), "{}", address.target);
                let again = Address::read(address.to_string().as_bytes());
                prop_assert!(again.is_err() || again.as_ref() == Ok(&address), "{address}: {again:?}");
            }
        }
    }
}
