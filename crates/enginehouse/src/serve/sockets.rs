//! Sockets that listen already: handed over by the process before this one, or by systemd.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context as _;

/// The first descriptor that systemd hands over (`sd_listen_fds(3)`).
const FIRST: i32 = 3;

/// What is listened on without being bound.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// For apps: the sockets of each listener.
    pub(crate) http: Vec<Vec<Arc<TcpListener>>>,
    /// The same for TLS.
    pub(crate) https: Vec<Vec<Arc<TcpListener>>>,
    /// For the Admin API.
    pub(crate) admin: Option<TcpListener>,
}

impl Given {
    /// What systemd hands over, if it does. The socket named `admin` (`FileDescriptorName=`) is the Admin API's, one named `https` speaks TLS, all
    /// others are for apps by http.
    pub(crate) fn from_systemd() -> anyhow::Result<Self> {
        let mut given = Self::default();
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Ok(given);
        }
        let count = number("LISTEN_FDS").and_then(|count| i32::try_from(count).ok()).unwrap_or(0);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for descriptor in FIRST..FIRST + count {
            let socket = sandbox::inherited(descriptor).with_context(|| format!("systemd hands over no descriptor {descriptor}"))?;
            let name = names.next().unwrap_or_default();
            given.take(name, socket)?;
        }
        Ok(given)
    }

    fn take(&mut self, name: &str, socket: OwnedFd) -> anyhow::Result<()> {
        let listener = TcpListener::from(socket);
        listener.local_addr().with_context(|| format!("the socket `{name}` that systemd hands over is no TCP socket"))?;
        match name {
            "admin" => self.admin = Some(listener),
            "https" => self.https.push(vec![Arc::new(listener)]),
            _ => self.http.push(vec![Arc::new(listener)]),
        }
        Ok(())
    }
}

/// The sockets of a running server, to be handed over.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) http: Vec<Vec<TcpListener>>,
    pub(crate) https: Vec<Vec<TcpListener>>,
    pub(crate) admin: TcpListener,
}

impl Sockets {
    /// The same sockets once more.
    pub(crate) fn try_clone(&self) -> std::io::Result<Self> {
        let copy = |all: &[Vec<TcpListener>]| -> std::io::Result<Vec<Vec<TcpListener>>> {
            all.iter().map(|some| some.iter().map(TcpListener::try_clone).collect()).collect()
        };
        Ok(Self { http: copy(&self.http)?, https: copy(&self.https)?, admin: self.admin.try_clone()? })
    }
}
