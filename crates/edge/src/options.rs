//! How an edge is set up: addresses, certificates, limits and timeouts. Every bound is listed in docs/reference/limits.md.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::ingress::Inside;
use model::proxy::Proxies;
use model::signin::SignIn;
use model::trace::Sampler;

use crate::vault::Vault;

/// Everything that an edge needs to know before it binds.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// Further names for self-signed certificates, `shop.localhost`: clients do not take `*.localhost` for them.
    pub names: Vec<String>,
    /// The `Server` header (row H22).
    pub server_name: String,
    /// Readable fault pages with tracebacks.
    pub development: bool,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How large things may be.
    pub limits: Limits,
    /// A MaxMind-format database (row H6).
    pub geoip: Option<PathBuf>,
    /// Peers whose `X-Forwarded-*` and trace headers are believed.
    pub trusted_proxies: Proxies,
    /// Whose requests services with `ingress` settings take.
    pub inside: Inside,
    /// Key of the sign-in cookie; cookies of another key are void. At least 32 random bytes.
    pub login_secret: Vec<u8>,
    /// Who signs users in.
    pub sign_in: SignIn,
    /// How many threads serve; 0 means one per processor.
    pub threads: usize,
    /// How long a request may wait for an instance before it is over quota.
    pub patience: Duration,
    /// How often a cached static file is compared with the disk. Zero compares at every request.
    pub revalidate: Duration,
    /// Requests are followed in traces, those that this chooses; it needs a journal that wants records.
    pub sampler: Option<Sampler>,
    /// Certificates by host name, for all listeners that speak TLS.
    pub vault: Arc<Vault>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            names: Vec::new(),
            server_name: "Enginehouse".into(),
            development: false,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            geoip: None,
            trusted_proxies: Proxies::default(),
            inside: Inside::default(),
            login_secret: Vec::new(),
            sign_in: SignIn::default(),
            threads: 0,
            patience: Duration::from_mins(1),
            revalidate: Duration::from_millis(250),
            sampler: None,
            vault: Arc::default(),
        }
    }
}

/// One address to listen on.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Address; port 0 asks for any.
    pub address: SocketAddr,
    /// The certificate, if it speaks TLS.
    pub tls: Option<Certificate>,
    /// Sockets that listen already, handed over by another process or by systemd; the address is then theirs, and nothing is bound.
    pub given: Vec<Arc<TcpListener>>,
}

impl Listener {
    /// A cleartext listener.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, given: Vec::new() }
    }

    /// One that speaks TLS.
    pub fn secure(address: SocketAddr, certificate: Certificate) -> Self {
        Self { tls: Some(certificate), ..Self::plain(address) }
    }

    /// The same on sockets that listen already.
    #[must_use]
    pub fn on(self, given: Vec<Arc<TcpListener>>) -> Self {
        Self { given, ..self }
    }
}

/// Where a TLS listener has its certificate from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// None of its own: those of [`Options::vault`] alone; a handshake for another name fails.
    Vault,
    /// PEM files.
    Files {
        /// The chain, leaf first.
        chain: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// A certificate for `localhost` that is made on first use and kept in this directory.
    SelfSigned {
        /// Where `certificate.pem` and `key.pem` are kept.
        directory: PathBuf,
    },
}

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request head to its last; also the first request of a connection must have begun by then.
    pub head: Duration,
    /// A keep-alive connection without a request.
    pub idle: Duration,
    /// Waiting for the client to send body or take response without at least [`Limits::min_rate`].
    pub stall: Duration,
    /// An idle connection gives its buffers back after this long.
    pub nap: Duration,
    /// After the last response: how long unread bytes of the client are taken in, so that it can read that response.
    pub linger: Duration,
    /// Connecting to an instance.
    pub connect: Duration,
    /// Overrides the request deadline of every scaling type (row H25); for tests.
    pub deadline: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(20),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(30),
            nap: Duration::from_millis(500),
            linger: Duration::from_secs(2),
            connect: Duration::from_secs(5),
            deadline: None,
        }
    }
}

impl Timeouts {
    /// The step of the coarse clock: fine enough for the shortest timeout, never finer than 5 ms nor coarser than 250 ms.
    pub(crate) fn step(&self) -> Duration {
        let all = [self.handshake, self.head, self.idle, self.stall, self.nap, self.linger, self.connect];
        let shortest = all.into_iter().chain(self.deadline).min().unwrap_or(self.idle);
        (shortest / 4).clamp(Duration::from_millis(5), Duration::from_millis(250))
    }
}

/// How large and how many things may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address.
    pub connections_per_address: usize,
    /// Bytes of a request line.
    pub request_line: usize,
    /// Bytes of a request head.
    pub head_bytes: usize,
    /// Header fields of a request.
    pub head_fields: usize,
    /// Bytes of a request body (row H25).
    pub request_body: u64,
    /// Bytes of a response body (row H25).
    pub response_body: u64,
    /// Bytes a second that a client must send or take while we wait for it.
    pub min_rate: u64,
    /// Streams that an HTTP/2 client may have open.
    pub h2_streams: u32,
    /// Streams that an HTTP/2 client may reset before they were served (rapid reset).
    pub h2_pending_resets: usize,
    /// Streams that we may reset because of the client's mistakes.
    pub h2_local_resets: usize,
    /// Idle connections kept to one instance by one thread: more than the 80 requests that an automatically scaled instance may have at once, so that
    /// each finds a connection.
    pub idle_per_instance: usize,
    /// Bytes of static files kept in memory by the whole process.
    pub asset_cache: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 4_096,
            request_line: 16 * 1024,
            head_bytes: 64 * 1024,
            head_fields: 100,
            request_body: 32 * 1024 * 1024,
            response_body: 32 * 1024 * 1024,
            min_rate: 240,
            h2_streams: 128,
            h2_pending_resets: 32,
            h2_local_resets: 128,
            idle_per_instance: 128,
            asset_cache: 128 * 1024 * 1024,
        }
    }
}
