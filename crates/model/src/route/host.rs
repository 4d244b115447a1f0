//! Host and path → service, version and instance. The `-dot-` grammar of host names lives only here.

use std::sync::Arc;

use crate::dispatch::DispatchRule;
use crate::ids::{ServiceId, VersionId};
use crate::table::{RoutingTable, Version};

/// Where a request goes.
#[derive(Debug, Clone)]
pub struct Aim<'t> {
    /// The service.
    pub service: &'t ServiceId,
    /// Its version.
    pub version: &'t Arc<Version>,
    /// The host named the version, so traffic splitting does not apply.
    pub named: bool,
    /// The instance that the host named.
    pub instance: Option<u32>,
    /// Which rule led here, for logs and `explain`.
    pub why: Why<'t>,
}

/// Why a request goes where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why<'t> {
    /// The host named the service.
    Host,
    /// A rule of dispatch.yaml.
    Dispatch(&'t DispatchRule),
    /// The host names no service: the default one.
    Default,
    /// The host or rule names a service or version that does not exist: the default one (soft routing).
    Soft,
}

/// Why a request goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AimError {
    /// 400: the host is no host.
    #[error("The Host header `{0}` is not a host name.")]
    Malformed(String),
    /// 400: a name that this app does not answer to (protection against DNS rebinding).
    #[error("The host `{0}` is not one of this app's names; start with `--allow-host {0}` to serve it.")]
    NotAllowed(String),
    /// 404: the version has no instance of this number.
    #[error("There is no instance {1} of `{0}`.")]
    NoInstance(String, u32),
    /// 404: the app has no service at all.
    #[error("This app has no service that could answer.")]
    NoService,
}

/// Aims. `host` as [`super::path::authority`] gives it, `path` decoded.
///
/// # Errors
/// See [`AimError`].
pub fn aim<'t>(table: &'t RoutingTable, _host: &str, _path: &[u8]) -> Result<Aim<'t>, AimError> {
    let (service, versions) =
        table.services.get_key_value("default").or_else(|| table.services.iter().next()).ok_or(AimError::NoService)?;
    let version: &VersionId = &versions.serving;
    let version = versions.versions.get(version).ok_or(AimError::NoService)?;
    Ok(Aim { service, version, named: false, instance: None, why: Why::Default })
}
