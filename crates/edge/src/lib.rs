//! The data plane: HTTP/1.1, HTTP/2 and TLS in front, instances behind. A crate of its own because hyper and rustls are heavy, and because it
//! must go on serving while everything else is broken. It decides nothing: rules live in `model`, and each file here only carries them out.
//!
//! In the order in which a request meets them: `listen` → `conn` (`secure`, `link`) → `engine` (`guard`) or `multiplex` → `walk` → `assets` or `forward` → `gzip` → `visit`.
#![warn(missing_docs)]

mod answer;
mod assets;
mod body;
mod conn;
mod core;
mod draws;
mod engine;
mod errands;
mod fault;
mod forward;
mod geo;
mod guard;
mod gzip;
mod hosts;
mod house;
mod internal;
mod invite;
mod link;
mod listen;
mod login;
mod multiplex;
mod options;
mod pace;
mod page;
mod provider;
mod running;
mod secure;
mod socket;
mod sweep;
mod tls;
mod upload;
mod vault;
mod visit;
mod walk;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use http::HeaderValue;
use model::journal::Journal;
use model::pool::Pool;
use model::table::Estate;

pub use invite::Invitations;
pub use options::{Certificate, Limits, Listener, Options, Timeouts};
pub use running::{Pulse, Running};
pub use tls::{only_http1, without_protocol};
pub use vault::{Named, Vault};

/// Why the edge cannot start; the text says how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on.
    #[error("{}", listen_text(*address, source))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("the TLS certificate or key `{}` cannot be used: {why}", path.display())]
    Certificate {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The geographic database cannot be used.
    #[error("the GeoIP database `{}` cannot be read: {why}; a MaxMind-format file (.mmdb) is wanted", path.display())]
    Geo {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No address was given.
    #[error("there is no address to listen on")]
    NoListener,
    /// The system refused something else.
    #[error("the server cannot start: {0}")]
    System(#[source] io::Error),
}

fn listen_text(address: SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "port {} on {} is in use by another program; stop it, or choose another port with `--port`",
                address.port(),
                address.ip()
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {} needs privileges that this process does not have; choose one above 1023 with `--port`", address.port())
        }
        io::ErrorKind::AddrNotAvailable => format!("{} is not an address of this machine; choose another with `--host`", address.ip()),
        _ => format!("cannot listen on {address}: {source}"),
    }
}

/// A bound data plane that does not serve yet.
#[derive(Debug)]
pub struct Edge {
    options: Options,
    sockets: Vec<Bound>,
    cores: usize,
    places: geo::Places,
}

#[derive(Debug)]
struct Bound {
    address: SocketAddr,
    tls: Option<Secured>,
    listeners: Vec<std::net::TcpListener>,
}

/// The TLS settings of a listener, which may be read again while it listens.
type Secured = Arc<ArcSwap<rustls::ServerConfig>>;

impl Edge {
    /// Takes the addresses, reads certificates and databases. Nothing is accepted before [`Edge::start`].
    ///
    /// # Errors
    /// Whatever a person must mend first.
    pub fn bind(options: Options) -> Result<Self, BindError> {
        let cores = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        if options.listeners.is_empty() {
            return Err(BindError::NoListener);
        }
        let places = geo::Places::open(options.geoip.as_deref())?;
        let mut sockets = Vec::new();
        for listener in &options.listeners {
            let tls = listener.tls.as_ref().map(|certificate| tls::configure(certificate, &options)).transpose()?;
            let tls = tls.map(|config| Arc::new(ArcSwap::new(config)));
            let (address, listeners) =
                if listener.given.is_empty() { listen::bind(listener.address, cores)? } else { listen::adopt(listener, cores)? };
            sockets.push(Bound { address, tls, listeners });
        }
        Ok(Self { options, sockets, cores, places })
    }

    /// The addresses, in the order of [`Options::listeners`], with the ports that were given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|bound| bound.address).collect()
    }

    /// The sockets of each listener, for a process that is to go on with them.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn sockets(&self) -> io::Result<Vec<Vec<std::net::TcpListener>>> {
        let of = |bound: &Bound| bound.listeners.iter().map(std::net::TcpListener::try_clone).collect();
        self.sockets.iter().map(of).collect()
    }

    /// Begins to serve. Each new snapshot in `estate` takes effect with the next request.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn start(self, estate: Arc<ArcSwap<Estate>>, pool: Arc<dyn Pool>, journal: Arc<dyn Journal>) -> Result<Running, BindError> {
        let running = self.hold(estate, pool, journal)?;
        running.serve();
        Ok(running)
    }

    /// The same, but nothing is accepted before [`Running::serve`]: connections wait in the kernel's queue.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn hold(self, estate: Arc<ArcSwap<Estate>>, pool: Arc<dyn Pool>, journal: Arc<dyn Journal>) -> Result<Running, BindError> {
        let port = |tls: bool| self.sockets.iter().find(|bound| bound.tls.is_some() == tls).map_or(0, |bound| bound.address.port());
        let secured = self.options.listeners.iter().zip(&self.sockets);
        let secured = secured.filter_map(|(listener, bound)| Some((listener.tls.clone()?, bound.tls.clone()?))).collect();
        let limits = &self.options.limits;
        let house = Arc::new(house::House {
            bounds: guard::Bounds { line: limits.request_line, bytes: limits.head_bytes, fields: limits.head_fields },
            pacing: link::Pacing::new(&self.options),
            estate,
            pool,
            journal,
            places: self.places,
            seal: login::Seal::new(&self.options.login_secret, self.options.sign_in.realm()),
            server: HeaderValue::try_from(&self.options.server_name).unwrap_or(HeaderValue::from_static("Enginehouse")),
            census: listen::Census::new(limits.connections, limits.connections_per_address),
            shelf: assets::Shelf::new(limits.asset_cache),
            http_port: port(false),
            https_port: port(true),
            draining: AtomicBool::new(false),
            secured,
            options: self.options,
        });
        running::start(&house, self.sockets, self.cores)
    }
}
