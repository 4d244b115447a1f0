//! Google's Admin API inside instances: apps whose Modules API asks `https://appengine.googleapis.com` find the house under that name, and know it by
//! a certificate that they trust. Only those: to all others the name is Google's (docs/decisions/370-google-admin-api-name.md).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use model::config::VersionConfig;

use crate::fleet::House;
use crate::prepare::{Launch, PrepareError};

/// By which apps say that their Modules API asks the Admin API: the SDK 1.3.0b0's variable, and that of its successors.
const SWITCHES: [&str; 2] = ["APPENGINE_MODULES_USE_ADMIN_API", "MODULES_USE_ADMIN_API"];
/// What names a file of authorities to OpenSSL and Go, to requests, curl, httplib2 and gRPC instead of their own.
const INSTEAD: [&str; 5] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPLIB2_CA_CERTS", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"];
/// The same for clients that have none of the machine's authorities anyway, or add these to their own.
const BESIDES: [&str; 2] = ["HTTPLIB2_CA_CERTS", "NODE_EXTRA_CA_CERTS"];

/// Where the house answers as the Admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminApi {
    /// A loopback address; the name itself can only lead there if the port is [`AdminApi::PORT`].
    pub address: SocketAddr,
    /// The authority of its certificate and the machine's own ones, in PEM form.
    pub authorities: Arc<str>,
    /// The file for them, which everybody may read. It is written when a version asks for it.
    pub bundle: PathBuf,
    /// The machine's own ones are in there.
    pub whole: bool,
}

impl AdminApi {
    /// The name that it has at Google.
    pub const NAME: &str = "appengine.googleapis.com";
    /// The port that belongs to `https:`.
    pub const PORT: u16 = 443;
}

/// The Admin API, if the version asks for it.
pub(crate) fn wanted<'h>(house: &'h House, config: &VersionConfig) -> Option<&'h AdminApi> {
    let value = |name: &str| house.options.env.get(name).or_else(|| config.env.get(name));
    let asked = SWITCHES.iter().any(|name| value(name).is_some_and(|value| value.eq_ignore_ascii_case("true")));
    house.options.admin_api.as_ref().filter(|_| asked && !config.runtime.is_first_generation())
}

/// Writes the file of authorities, if the version needs it.
pub(crate) fn provide(house: &House, config: &VersionConfig) -> Result<(), PrepareError> {
    let Some(api) = wanted(house, config) else { return Ok(()) };
    let write = || -> io::Result<()> {
        let draft = api.bundle.with_extension(format!("{}.new", std::process::id()));
        fs::create_dir_all(api.bundle.parent().unwrap_or(&api.bundle))?;
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&draft)?;
        file.write_all(api.authorities.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &api.bundle)
    };
    let there = fs::metadata(&api.bundle).is_ok_and(|known| known.len() == api.authorities.len() as u64);
    if there { Ok(()) } else { write().map_err(|error| PrepareError(format!("cannot write {}: {error}", api.bundle.display()))) }
}

/// How its certificate is known.
pub(crate) fn variables(api: &AdminApi) -> impl Iterator<Item = (OsString, OsString)> {
    let instead = INSTEAD.iter().filter(|_| api.whole);
    instead.chain(&BESIDES).map(|name| ((*name).into(), api.bundle.clone().into()))
}

/// Whether instances find the name in their own `/etc/hosts`.
fn is_named(house: &House, api: &AdminApi) -> bool {
    let shown = house.ground.report().is_some_and(|report| report.walls.namespaces) || house.ground.runtime().is_some();
    shown && api.address.port() == AdminApi::PORT
}

/// What the agent has to turn round, where no file of names does it: name → address and port.
pub(crate) fn redirects(house: &House, config: &VersionConfig) -> BTreeMap<&'static str, (String, u16)> {
    let api = wanted(house, config).filter(|api| !is_named(house, api));
    api.map(|api| (AdminApi::NAME, (api.address.ip().to_string(), api.address.port()))).into_iter().collect()
}

/// What people should know of a version that asks for the Admin API and will not find it here.
pub(crate) fn note(house: &House, config: &VersionConfig, launch: &Launch) -> Option<String> {
    let api = wanted(house, config)?;
    if is_named(house, api) || matches!(launch, Launch::Agent(_) | Launch::None) {
        return None;
    }
    let (why, remedy) = if api.address.port() == AdminApi::PORT {
        ("instances have no /etc/hosts of their own without walls", "see `enginehouse doctor`, or leave `entrypoint` out")
    } else {
        (
            "this user may not listen on port 443",
            "start as root or with CAP_NET_BIND_SERVICE, allow it with `sysctl net.ipv4.ip_unprivileged_port_start=443`, or leave `entrypoint` out",
        )
    };
    Some(format!("its Modules API asks {}, which leads to Google and not here: {why}; to mend it: {remedy}", AdminApi::NAME))
}
