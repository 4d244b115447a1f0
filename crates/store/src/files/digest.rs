//! Digests as values: they cannot be mistaken for each other or for other text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a {1} digest in hexadecimal")]
pub struct BadDigest(String, &'static str);

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $label:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            pub(crate) fn of(digest: &aws_lc_rs::digest::Digest) -> Self {
                let mut bytes = [0; $bytes];
                bytes.copy_from_slice(digest.as_ref());
                Self(bytes)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = BadDigest;
            /// Takes upper case, and the underscores between groups of eight that the SDK writes.
            fn from_str(text: &str) -> Result<Self, BadDigest> {
                let fail = || BadDigest(text.chars().take(80).collect(), $label);
                let mut digits = text.chars().filter(|c| *c != '_').map(|c| c.to_digit(16));
                let mut bytes = [0; $bytes];
                for byte in &mut bytes {
                    let mut next = || digits.next().flatten().ok_or_else(fail);
                    *byte = u8::try_from(next()? * 16 + next()?).map_err(|_| fail())?;
                }
                if digits.next().is_some() { Err(fail()) } else { Ok(Self(bytes)) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadDigest;
            fn try_from(text: String) -> Result<Self, BadDigest> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }
    };
}

digest!(
    /// SHA-256, under which files are kept.
    Sha256,
    32,
    "SHA-256"
);
digest!(
    /// SHA-1, which App Engine's manifests and uploads name files by. Only for finding files, never for trust: bytes are kept under SHA-256.
    Sha1,
    20,
    "SHA-1"
);

impl Sha256 {
    /// The digest of some bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of(&aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_the_sdk_writes_them() {
        let plain: Sha1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709".parse().expect("valid");
        assert_eq!("DA39A3EE_5e6b4b0d_3255bfef_95601890_afd80709".parse(), Ok(plain));
        assert_eq!(plain.to_string(), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        for bad in ["", "da39", "zz39a3ee5e6b4b0d3255bfef95601890afd80709", "da39a3ee5e6b4b0d3255bfef95601890afd8070900", "+1"] {
            assert!(bad.parse::<Sha1>().is_err(), "{bad}");
        }
    }
}
