//! What all cores share: the routing table, the pool, the journal, and what follows from the options.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use http::HeaderValue;
use model::headers::request::Geo;
use model::journal::Journal;
use model::pool::Pool;
use model::table::Estate;

use crate::Secured;
use crate::assets::Shelf;
use crate::geo::Places;
use crate::guard::Bounds;
use crate::link::Pacing;
use crate::listen::Census;
use crate::login::Seal;
use crate::options::{Certificate, Options};

/// The shared state.
pub(crate) struct House {
    pub(crate) options: Options,
    pub(crate) bounds: Bounds,
    pub(crate) pacing: Pacing,
    pub(crate) estate: Arc<ArcSwap<Estate>>,
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) places: Places,
    pub(crate) seal: Seal,
    pub(crate) server: HeaderValue,
    pub(crate) census: Census,
    pub(crate) shelf: Shelf,
    /// Ports of the first cleartext and the first TLS listener, for `secure` redirects; 0 if there is none.
    pub(crate) http_port: u16,
    pub(crate) https_port: u16,
    pub(crate) draining: AtomicBool,
    /// Where each TLS listener has its certificate from, and what it goes by.
    pub(crate) secured: Vec<(Certificate, Secured)>,
}

impl House {
    pub(crate) fn geo(&self, ip: IpAddr) -> Geo {
        self.places.find(ip)
    }
}
