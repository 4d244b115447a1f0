//! The signed-in user, and where a sign-in may lead back to (rows Y18, H11).

mod md5;

use std::fmt::Write;

/// A signed-in user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// `ange@example.com`.
    pub email: String,
    /// A string of digits, the same for the same email.
    pub id: String,
    /// Administrator of the app.
    pub admin: bool,
}

/// Longest email that is taken (RFC 5321 §4.5.3.1).
const MAX_EMAIL: usize = 254;

impl User {
    /// The user who signed in as `email`; `None` if that cannot be an email address.
    pub fn new(email: &str, admin: bool) -> Option<Self> {
        let email = email.trim();
        let (name, domain) = email.split_once('@')?;
        // What goes into header values and pages must be plain; colons and quotes would also break the SDK's cookie.
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b':' | b';' | b',' | b'\\' | b'(' | b')');
        let fits = !name.is_empty() && !domain.is_empty() && !domain.contains('@') && email.len() <= MAX_EMAIL && email.bytes().all(plain);
        fits.then(|| Self { email: email.to_owned(), id: id_of(email), admin })
    }

    /// What precedes the `@`.
    pub fn nickname(&self) -> &str {
        self.email.split_once('@').map_or(&self.email, |(name, _)| name)
    }

    /// What follows the `@`.
    pub fn organization(&self) -> &str {
        self.email.split_once('@').map_or("", |(_, domain)| domain)
    }

    /// The domain that the account belongs to (document 001: `example.com` for `ange@example.com`).
    pub fn auth_domain(&self) -> &str {
        self.organization()
    }
}

/// The SDK's derivation, so that data which apps stored under a user id stays theirs: `1`, then the first 20 digits of the digest's bytes in
/// decimal, each of at least two digits.
fn id_of(email: &str) -> String {
    let mut id = String::from("1");
    for byte in md5::digest(email.to_ascii_lowercase().as_bytes()) {
        let _ = write!(id, "{byte:02}");
    }
    id.truncate(21);
    id
}

/// Where a sign-in may lead: `url` itself if it is a path of this site or an http(s) URL whose authority `own` accepts, otherwise `/`.
pub fn safe_continue(url: &str, own: impl Fn(&str) -> bool) -> &str {
    if is_safe(url, own) { url } else { "/" }
}

fn is_safe(url: &str, own: impl Fn(&str) -> bool) -> bool {
    // Browsers drop tabs and newlines and read `\` as `/`; whatever is not plain goes nowhere.
    if !url.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return false;
    }
    if url.starts_with('/') {
        return !url.starts_with("//");
    }
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !authority.is_empty() && !authority.contains('@') && own(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h11_users_have_the_names_of_the_document() {
        let user = User::new(" ange@example.com ", true).expect("an email");
        assert_eq!((user.nickname(), user.organization(), user.auth_domain()), ("ange", "example.com", "example.com"));
        assert_eq!(User::new("johnny@example.com", false).expect("an email").id, "115914779145204185301");
        assert_eq!(User::new("Johnny@Example.com", false).expect("an email").id, "115914779145204185301");
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\r\n", "<a@b>", "a@\u{e9}", "a:b@c"] {
            assert_eq!(User::new(&bad.replace("\r\n", "\r\nx"), true), None, "{bad}");
        }
    }

    #[test]
    fn y19_continue_leads_only_to_own_hosts() {
        let own = |host: &str| host == "foo.com:1234" || host == "foo.com";
        for good in ["/", "/a?b=//c", "http://foo.com/blah", "https://foo.com:1234", "http://foo.com?x", "HTTP://foo.com/"] {
            assert_eq!(safe_continue(good, own), good);
        }
        for bad in [
            "",
            "//evil",
            "/\\evil",
            "\\\\evil",
            "http://evil/",
            "http://foo.com@evil/",
            "http://foo.com:x@evil/",
            "http:/evil",
            "http:evil",
            "javascript:alert(1)",
            "javascript://foo.com/%0aalert(1)",
            "ftp://foo.com/",
            "/a\r\nSet-Cookie: b",
            "/\t/evil",
            "http://foo.com\\@evil/",
            "http://",
            "evil",
            " /",
        ] {
            assert_eq!(safe_continue(bad, own), "/", "{bad}");
        }
    }
}
