//! The ready file: where it exists, every listener answers.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

/// Where a server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Urls {
    /// Requests for apps.
    pub(crate) http: String,
    /// The same by https, if there is a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) https: Option<String>,
    /// The Admin API.
    pub(crate) admin: String,
    /// The slice of Cloud Storage that deployments use.
    pub(crate) storage: String,
}

impl Urls {
    pub(crate) fn new(http: SocketAddr, https: Option<SocketAddr>, admin: SocketAddr, secured: bool) -> Self {
        let admin = format!("{}://{}", if secured { "https" } else { "http" }, authority(admin));
        Self {
            http: format!("http://{}", authority(http)),
            https: https.map(|address| format!("https://{}", authority(address))),
            storage: admin.clone(),
            admin,
        }
    }

    /// Writes the file in one step, so that whoever sees it sees all of it.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<ReadyFile> {
        let write = || -> std::io::Result<()> {
            let draft = file.with_extension(format!("{}.draft", std::process::id()));
            let mut out = std::fs::File::create(&draft)?;
            serde_json::to_writer(&mut out, self)?;
            out.write_all(b"\n")?;
            std::fs::rename(&draft, file)
        };
        write().with_context(|| format!("cannot write the ready file {}", file.display()))?;
        Ok(ReadyFile { path: Some(file.to_path_buf()) })
    }
}

/// The ready file, removed on drop.
#[derive(Debug)]
pub(crate) struct ReadyFile {
    path: Option<PathBuf>,
}

impl ReadyFile {
    /// Another process answers now, and has written it anew.
    pub(crate) fn leave(mut self) {
        self.path = None;
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Host and port as clients on this machine take them: an address of all or of the loopback is `localhost`.
pub(crate) fn authority(address: SocketAddr) -> String {
    let ip = address.ip();
    if ip.is_loopback() || ip.is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}
