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
