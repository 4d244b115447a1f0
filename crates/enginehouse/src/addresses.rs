//! Under which names an app answers, and how people and programs are told.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::ids::ServiceId;
use model::table::Naming;
use serde::Serialize;

/// The domain whose names every browser resolves to this machine (RFC 6761 §6.3).
const LOCAL: &str = "localhost";

/// URLs of a running app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Addresses {
    /// The default service.
    pub(crate) http: String,
    /// The default service by https, if there is a TLS listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) https: Option<String>,
    /// The admin port, if it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<String>,
    /// Where test programs call services, in test mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api: Option<String>,
    /// Each service.
    pub(crate) services: BTreeMap<ServiceId, String>,
}

impl Addresses {
    /// The URLs of `services` behind these listeners.
    pub(crate) fn new<'s>(
        http: SocketAddr,
        https: Option<SocketAddr>,
        admin: Option<SocketAddr>,
        services: impl Iterator<Item = &'s ServiceId>,
    ) -> Self {
        let of = |service: &ServiceId| {
            if service.is_default() { format!("http://{}", authority(http)) } else { format!("http://{service}.{LOCAL}:{}", http.port()) }
        };
        Self {
            http: format!("http://{}", authority(http)),
            https: https.map(|address| format!("https://{}", authority(address))),
            admin: admin.map(|address| format!("http://{}", authority(address))),
            api: None,
            services: services.map(|service| (service.clone(), of(service))).collect(),
        }
    }

    /// Writes the ready file in one step, so that whoever sees it sees all of it.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<ReadyFile> {
        let write = || -> std::io::Result<()> {
            let draft = file.with_extension(format!("{}.draft", std::process::id()));
            let mut out = std::fs::File::create(&draft)?;
            serde_json::to_writer(&mut out, self)?;
            out.write_all(b"\n")?;
            std::fs::rename(&draft, file)
        };
        write().with_context(|| format!("cannot write the ready file {}", file.display()))?;
        Ok(ReadyFile(file.to_path_buf()))
    }
}

/// The ready file, removed on drop: where it exists, the app answers.
#[derive(Debug)]
pub(crate) struct ReadyFile(PathBuf);

impl Drop for ReadyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Host and port as a browser takes them: a loopback or unspecified address is `localhost`.
fn authority(address: SocketAddr) -> String {
    let ip = address.ip();
    if ip.is_loopback() || ip.is_unspecified() { format!("{LOCAL}:{}", address.port()) } else { address.to_string() }
}

/// Most names of an app that its instances find in `/etc/hosts`: each look-up reads them all.
pub(crate) const MOST_NAMES: usize = 1_000;

/// The address at which programs of this machine reach a listener.
pub(crate) fn local(listening: SocketAddr) -> IpAddr {
    let ip = listening.ip();
    if ip.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { ip }
}

/// The host names of an app that listens here.
pub(crate) fn naming(address: SocketAddr, allowed: &[String]) -> Naming {
    Naming {
        domains: vec![LOCAL.to_owned()],
        allowed: allowed.iter().map(|name| name.to_ascii_lowercase()).collect(),
        addresses: !address.ip().is_loopback(),
        default_hostname: authority(address),
        ..Naming::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_a_url() {
        let services: Vec<ServiceId> = ["default", "api"].iter().map(|name| name.parse().expect("valid")).collect();
        let addresses = Addresses::new("127.0.0.1:8080".parse().expect("address"), None, None, services.iter());
        let text = serde_json::to_string(&addresses).expect("JSON");
        assert_eq!(
            text,
            r#"{"http":"http://localhost:8080","services":{"api":"http://api.localhost:8080","default":"http://localhost:8080"}}"#
        );
    }
}
