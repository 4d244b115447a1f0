//! dispatch.yaml: rules that send hosts and paths to services, first match wins.

use crate::ids::ServiceId;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchRule {
    /// `url:` as written, for messages.
    pub written: String,
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPattern,
    /// Where they go.
    pub service: ServiceId,
    /// 1-based line in dispatch.yaml.
    pub line: u32,
}

/// The host part of a rule; compared without port and without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// `*`
    Any,
    /// A whole name.
    Exact(String),
    /// `*suffix`; the text holds what follows the `*`.
    Suffix(String),
}

/// The path part of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// A whole path.
    Exact(String),
    /// `prefix*`; the text holds what precedes the `*`.
    Prefix(String),
}

impl HostPattern {
    /// Whether it matches a host without port, in lower case; the empty text stands for a host that is no name and meets only `*`.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name.eq_ignore_ascii_case(host),
            Self::Suffix(suffix) => {
                host.len() >= suffix.len() && host.is_char_boundary(host.len() - suffix.len()) && {
                    host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix) && !host.is_empty()
                }
            }
        }
    }
}

impl PathPattern {
    /// Whether it matches a decoded path; paths are compared with regard to case.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => whole.as_bytes() == path,
            Self::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
        }
    }
}
