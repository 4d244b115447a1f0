//! What happens to request headers before an app sees them (rows H1–H3, H6–H14).

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::gate::Caller;
use crate::user::User;

/// Where the client's address lies (row H6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Geo {
    /// ISO 3166-1 alpha-2; `None` = `ZZ`.
    pub country: Option<String>,
    /// Region, lower case.
    pub region: Option<String>,
    /// City, lower case.
    pub city: Option<String>,
    /// `37.386051,-122.083851`.
    pub lat_long: Option<String>,
}

/// What is known of a client: made once a connection (and again if a trusted proxy forwards others' requests).
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub ip: IpAddr,
    /// It spoke TLS to us, or to the trusted proxy.
    pub https: bool,
    /// Where it is.
    pub geo: Geo,
    pub(crate) ip_value: HeaderValue,
}

impl Client {
    /// A client.
    pub fn new(ip: IpAddr, https: bool, geo: Geo) -> Self {
        let ip = ip.to_canonical();
        let ip_value = HeaderValue::try_from(ip.to_string()).unwrap_or(HeaderValue::from_static("0.0.0.0"));
        Self { ip, https, geo, ip_value }
    }
}

/// What a trusted proxy in front of us said; all empty when the peer is not trusted.
#[derive(Debug, Clone, Default)]
pub struct Forwarded {
    /// Its `X-Forwarded-For`, to be continued.
    pub chain: Option<HeaderValue>,
    /// Its `X-Cloud-Trace-Context`, to be continued.
    pub trace: Option<HeaderValue>,
}

/// The facts of a request that become headers or environ variables.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Who asks.
    pub caller: Caller,
    /// The client.
    pub client: &'a Client,
    /// What a trusted proxy said.
    pub forwarded: &'a Forwarded,
    /// 128 random bits of this request's trace; 64 of them are its span.
    pub trace: u128,
    /// Request log id, hex (row H10).
    pub log_id: &'a str,
    /// The API ticket.
    pub ticket: &'a str,
    /// Time left for the app.
    pub timeout: Duration,
    /// `X-Appengine-Default-Version-Hostname`.
    pub default_hostname: &'a str,
    /// The signed-in user.
    pub user: Option<&'a User>,
    /// The handler says `login: required` or `admin`, so the user headers are added (row H11).
    pub login: bool,
}

/// Takes away what no client may send (rows H1–H3): call before anything else reads the headers. Of internal callers only transfer headers are removed.
pub fn clean(_headers: &mut HeaderMap, _caller: Caller) {}

/// Adds what the house knows (rows H6–H11).
pub fn add(_headers: &mut HeaderMap, _facts: &Facts<'_>) {}
