//! Access tokens of service accounts: short-lived, signed and not stored (docs/decisions/331-access-tokens.md). Whoever has the key can make and check
//! them: the services of a house make them, its Admin API checks them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::ids::AppId;

/// The secret that signs them, in the store and in storage folders.
pub const SECRET: &str = "access-tokens";
/// How long one is good, as Google's are.
pub const LASTS: Duration = Duration::from_hours(1);
/// What they begin with; those of people begin with `eh_`.
const PREFIX: &str = "ehs_";
/// Longer texts are not looked at.
const MOST: usize = 16 * 1024;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whose service account.
    pub app: AppId,
    /// For what; empty = all that the account may do.
    pub scopes: Vec<String>,
    /// Until when, to the second.
    pub expires: SystemTime,
}

/// The key that signs tokens.
#[derive(Clone)]
pub struct AccessKey(hmac::Key);

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(hidden)")
    }
}

impl AccessKey {
    /// The key of these secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Makes a token. Scopes hold no spaces (RFC 6749 §3.3); those that do are left out.
    pub fn mint(&self, access: &Access) -> String {
        let expires = access.expires.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let plain = |scope: &&String| !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic());
        let scopes: Vec<&str> = access.scopes.iter().filter(plain).map(String::as_str).collect();
        let payload = URL_SAFE_NO_PAD.encode(format!("{}\n{expires}\n{}", access.app, scopes.join(" ")));
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, payload.as_bytes()));
        format!("{PREFIX}{payload}.{tag}")
    }

    /// Reads one; `None` if it is none of ours or has expired.
    pub fn open(&self, text: &str, now: SystemTime) -> Option<Access> {
        let (payload, tag) = text.strip_prefix(PREFIX).filter(|rest| rest.len() <= MOST)?.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, payload.as_bytes(), &tag).ok()?;
        let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let mut parts = payload.split('\n');
        let (app, expires, scopes) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let expires = UNIX_EPOCH.checked_add(Duration::from_secs(expires))?;
        let scopes = scopes.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        (now < expires).then_some(Access { app, scopes, expires })
    }
}

/// Whether a text is meant to be such a token, good or not.
pub fn is_one(text: &str) -> bool {
    text.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_a_token_is_good_for_its_time_and_key_alone() {
        let key = AccessKey::new(&[7; 32]);
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let access =
            Access { app: "s~example.com:shop".parse().expect("valid"), scopes: vec!["a".into(), "b".into()], expires: now + LASTS };
        let token = key.mint(&access);
        assert!(is_one(&token) && token.bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(key.open(&token, now), Some(access.clone()));
        assert_eq!(key.open(&token, now + LASTS), None, "expired");
        assert_eq!(AccessKey::new(&[8; 32]).open(&token, now), None, "another house");
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] ^= 1;
            assert_eq!(key.open(&String::from_utf8_lossy(&forged), now), None, "changed at {at}");
        }
        for bad in ["", "ehs_", "ehs_.", "ehs_a.b", "eh_1_2"] {
            assert_eq!(key.open(bad, now), None, "{bad}");
        }
        let sly = Access { scopes: vec!["a b".into(), "c\nd".into()], ..access };
        assert_eq!(key.open(&key.mint(&sly), now).map(|access| access.scopes), Some(Vec::new()));
        assert!(!format!("{key:?}").contains('7'));
    }
}
