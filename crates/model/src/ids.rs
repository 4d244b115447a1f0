//! Names of apps, services, versions, instances and operations. Each is parsed once, here, and cannot be wrong afterwards.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Most characters that a service name and a version name may have together (document 003, `service`: 63).
pub const MAX_PAIR: usize = 63;

/// Why a name was refused. The text says what is wrong and how to mend it; the caller adds where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $parse:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                $parse(text)?;
                Ok(Self(text.into()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A project id, as in `application:` and `--project`, with the optional `partition~` and `domain.tld:` prefixes.
    AppId,
    check_app
);
text_id!(
    /// A service name (row Y24). `default` is the service that must exist.
    ServiceId,
    check_service
);
text_id!(
    /// A version name (row Y27): never `default`, `latest` or `ah-…`.
    VersionId,
    check_version
);

impl AppId {
    /// The id without its `partition~` prefix: `s~shop` is `shop`.
    pub fn project(&self) -> &str {
        self.0.split_once('~').map_or(&self.0, |(_, id)| id)
    }

    /// The address of its default service account: `shop@appspot.gserviceaccount.com`. The domain of a domain-scoped id follows the name.
    pub fn service_account(&self) -> String {
        let project = self.project();
        let name = project.split_once(':').map_or_else(|| project.to_owned(), |(domain, id)| format!("{id}.{domain}"));
        format!("{name}@appspot.gserviceaccount.com")
    }

    /// A number that stands for the app where a number is wanted (`numeric-project-id`): of twelve digits, and always the same for the same app.
    pub fn number(&self) -> u64 {
        // FNV-1a.
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        100_000_000_000 + self.project().bytes().fold(0xcbf2_9ce4_8422_2325, fold) % 900_000_000_000
    }
}

impl ServiceId {
    /// The service that serves whatever names no other.
    pub fn default_service() -> Self {
        Self("default".into())
    }

    /// Whether this is the service that serves whatever names no other.
    pub fn is_default(&self) -> bool {
        &*self.0 == "default"
    }
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// The SDK's `^(?!-)[a-z\d\-]{0,62}[a-z\d]$`, with a reason for each refusal.
fn check_label(what: &str, text: &str) -> Result<(), NameError> {
    let fail = |why: String| Err(NameError(why));
    if text.is_empty() {
        return fail(format!("the {what} name is empty"));
    }
    if let Some(bad) = text.chars().find(|&c| !is_label_char(c)) {
        let lower = text.to_ascii_lowercase();
        let hint = if lower.chars().all(is_label_char) { format!("; write `{lower}`") } else { String::new() };
        return fail(format!("`{text}` is not a {what} name: `{bad}` is not allowed (lower-case letters, digits and hyphens only){hint}"));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return fail(format!("`{text}` is not a {what} name: it may not begin or end with a hyphen"));
    }
    if text.len() > MAX_PAIR {
        return fail(format!("`{text}` is {} characters long; a {what} name has at most {MAX_PAIR}", text.len()));
    }
    Ok(())
}

fn check_service(text: &str) -> Result<(), NameError> {
    check_label("service", text)
}

fn check_version(text: &str) -> Result<(), NameError> {
    check_label("version", text)?;
    if text == "default" || text == "latest" {
        return Err(NameError(format!("`{text}` is reserved and cannot name a version")));
    }
    if text.starts_with("ah-") {
        return Err(NameError(format!("`{text}` cannot name a version: the prefix `ah-` is reserved")));
    }
    if text.contains("-dot-") {
        return Err(NameError(format!("`{text}` cannot name a version: `-dot-` separates the parts of host names")));
    }
    Ok(())
}

fn check_app(text: &str) -> Result<(), NameError> {
    let fail = || {
        Err(NameError(format!(
            "`{text}` is not a project id: lower-case letters, digits and hyphens, beginning and ending with a letter or digit, at most 100 \
             characters (`example.com:shop` and `s~shop` are allowed)"
        )))
    };
    let rest = match text.split_once('~') {
        Some((partition, rest)) if (1..=100).contains(&partition.len()) && partition.chars().all(is_label_char) => rest,
        Some(_) => return fail(),
        None => text,
    };
    let id = match rest.split_once(':') {
        Some((domain, id)) => {
            let fits = (1..=100).contains(&domain.len()) && !domain.starts_with('-');
            if !fits || !domain.chars().all(|c| is_label_char(c) || c == '.') {
                return fail();
            }
            id
        }
        None => rest,
    };
    let ends = id.starts_with('-') || id.ends_with('-');
    if id.is_empty() || id.len() > 100 || ends || !id.chars().all(is_label_char) { fail() } else { Ok(()) }
}

/// One version of one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionKey {
    /// The service.
    pub service: ServiceId,
    /// Its version.
    pub version: VersionId,
}

impl VersionKey {
    /// Joins the two names.
    ///
    /// # Errors
    /// If they are longer than [`MAX_PAIR`] characters together (row Y24).
    pub fn new(service: ServiceId, version: VersionId) -> Result<Self, NameError> {
        let total = service.as_str().len() + version.as_str().len();
        if total > MAX_PAIR {
            return Err(NameError(format!(
                "service `{service}` and version `{version}` have {total} characters together; {MAX_PAIR} are allowed"
            )));
        }
        Ok(Self { service, version })
    }
}

impl fmt::Display for VersionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.version)
    }
}

/// Which instance of a version (row M1): an opaque id under automatic scaling, the number under basic and manual scaling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InstanceId {
    /// Automatic scaling: unique and opaque, such as `e4b565394caa`.
    Opaque(Arc<str>),
    /// Basic and manual scaling: 0, 1, ….
    Number(u32),
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opaque(id) => f.write_str(id),
            Self::Number(n) => write!(f, "{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y27_reserved_version_names_are_refused() {
        for bad in ["default", "latest", "ah-x", "A", "-a", "a-", "", "a_b", "a-dot-b"] {
            assert!(bad.parse::<VersionId>().is_err(), "{bad}");
        }
        for good in ["v1", "123", "a--b", "ahx"] {
            assert!(good.parse::<VersionId>().is_ok(), "{good}");
        }
    }

    #[test]
    fn y24_a_pair_has_63_characters_together() {
        let service: ServiceId = "s".repeat(40).parse().expect("valid");
        assert!(VersionKey::new(service.clone(), "v".repeat(23).parse().expect("valid")).is_ok());
        assert!(VersionKey::new(service, "v".repeat(24).parse().expect("valid")).is_err());
    }

    #[test]
    fn y3_project_ids() {
        for good in ["demo", "s~demo", "example.com:demo", "s~example.com:demo"] {
            assert!(good.parse::<AppId>().is_ok(), "{good}");
        }
        for bad in ["", "Demo", "-demo", "demo-", "a~b~c", "~x", "x:"] {
            assert!(bad.parse::<AppId>().is_err(), "{bad}");
        }
    }
}
