//! What systemd is told, if it listens (`sd_notify(3)`): one datagram each time.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Speaks to whoever supervises us; to nobody, if nobody does.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often a sign of life is expected.
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says.
    pub(crate) fn from_env() -> Self {
        let to = std::env::var_os("NOTIFY_SOCKET").and_then(|name| open(&name));
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        // Another process may be meant; after an upgrade it is us.
        Self { to, watchdog: micros.map(Duration::from_micros) }
    }

    /// How often [`Self::alive`] is to be called, if at all: twice as often as expected.
    pub(crate) fn pulse(&self) -> Option<Duration> {
        self.to.as_ref().and(self.watchdog).map(|every| every / 2)
    }

    /// Everything answers.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// Settings are read again; [`Self::ready`] follows.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=finishing the requests under way");
    }

    /// Another process goes on.
    pub(crate) fn successor(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}"));
    }

    /// A sign of life.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) {
        if let Some((socket, to)) = &self.to {
            // A supervisor that went away is no reason to stop.
            let _ = socket.send_to_addr(text.as_bytes(), to);
        }
    }
}

fn open(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    Some((UnixDatagram::unbound().ok()?, address.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_hears_what_happens() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("bound");
        let notify = Notify { to: open(path.as_os_str()), watchdog: Some(Duration::from_secs(4)) };
        let heard = |tell: &dyn Fn(&Notify)| {
            tell(&notify);
            let mut text = [0; 256];
            let length = listener.recv(&mut text).expect("heard");
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        assert_eq!(heard(&|notify| notify.ready("fine")), "READY=1\nSTATUS=fine");
        assert!(heard(&Notify::reloading).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(heard(&|notify| notify.successor(7)), "MAINPID=7");
        assert_eq!((heard(&Notify::alive).as_str(), notify.pulse()), ("WATCHDOG=1", Some(Duration::from_secs(2))));
        assert!(heard(&Notify::stopping).starts_with("STOPPING=1"));
        Notify::default().stopping();
    }
}
