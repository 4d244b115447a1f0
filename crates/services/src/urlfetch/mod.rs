//! urlfetch (rows S6, M5, H14): requests to other servers, and to apps of this house.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::errand::{Answer as Answered, Errand};
use model::gate::Caller;
use model::ids::AppId;
use model::pool::Boxed;
use model::proxy::Proxies;
use model::route::host::owns;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub mod address;
pub mod inflate;
pub mod plan;
pub mod wall;

mod outer;
mod tls;

pub use outer::{Resolver, System};

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::outside::Outside;
use crate::proto::remote_api::rpc_error::Code;
use crate::proto::urlfetch::{self as pb, ErrorCode};
use address::Address;
use outer::{Outer, Reply};
use plan::{MOST_ANSWER, MOST_REQUEST, Plan, REDIRECTS};
pub(crate) use tls::Trust;

/// Fetches of one app that are under way at a time; others wait, as long as their deadlines let them. Each may hold 32 MiB.
const AT_ONCE: usize = 128;
/// What apps see as the address of fetches (docs, "Understanding firewalls": URL Fetch comes from 0.1.0.40).
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(0, 1, 0, 40));
const INBOUND_APPID: HeaderName = HeaderName::from_static("x-appengine-inbound-appid");

/// What it is started with.
pub struct Settings {
    /// Networks that apps may reach besides the internet.
    pub allow: Proxies,
    /// PEM file of the authorities whose certificates are good.
    pub bundle: Option<PathBuf>,
    /// Who resolves names.
    pub resolver: Box<dyn Resolver>,
    /// Where fetches run. Not on the thread that answers calls: TLS takes its time.
    pub runtime: Handle,
}

/// The service.
pub struct UrlFetch {
    outside: Arc<Outside>,
    outer: Arc<Outer>,
    runtime: Handle,
    places: Mutex<HashMap<AppId, Arc<Semaphore>>>,
    /// Test mode: the proxy that tests have named for plain http.
    proxy: Mutex<Option<(String, u16)>>,
}

impl Service for UrlFetch {
    fn card(&self) -> &'static Card {
        &card::URLFETCH
    }

    fn most(&self) -> usize {
        // A payload that is too large has an error of its own.
        50 << 20
    }

    fn clear(&self) {
        *self.proxy.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            if method == "SetHttpProxy" && context.testing {
                let asked: pb::SetHttpProxyRequest = read(message)?;
                let port = u16::try_from(asked.http_proxy_port).unwrap_or(0);
                *self.proxy.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked.http_proxy_host, port));
                return Ok(Bytes::new());
            }
            if method != "Fetch" {
                return Err(Failure::no_call("urlfetch", method));
            }
            let size = message.len();
            let plan = Plan::read(read(message)?, &long_id(context.app()))?;
            if size > MOST_REQUEST + (64 << 10) {
                return Err(Failure::Rpc(Code::RequestTooLarge, "The request is larger than 10 MiB.".into()));
            }
            let deadline = plan.deadline;
            let late = || Failure::app(ErrorCode::DeadlineExceeded, format!("{} s are over", deadline.as_secs_f64()));
            let response = tokio::time::timeout(deadline, self.fetch(plan, context.app())).await.map_err(|_| late())??;
            Ok(write(&response))
        })
    }
}

/// `s~shop` (reference: what `User-Agent` says of the app).
fn long_id(app: &AppId) -> String {
    if app.as_str().contains('~') { app.to_string() } else { format!("s~{app}") }
}

impl UrlFetch {
    /// The service.
    pub fn new(settings: Settings, outside: Arc<Outside>) -> Self {
        let Settings { allow, bundle, resolver, runtime } = settings;
        let outer = Arc::new(Outer { resolver, allowed: allow, trust: Trust::new(bundle) });
        Self { outside, outer, runtime, places: Mutex::default(), proxy: Mutex::default() }
    }

    async fn fetch(&self, mut plan: Plan, app: &AppId) -> Result<pb::UrlFetchResponse, Failure> {
        let place = self.place(app);
        let _place = place.acquire().await;
        let (asked, sent) = (plan.address.clone(), plan.payload.as_ref().map_or(0, Bytes::len));
        for _ in 0..=REDIRECTS {
            let reply = match self.own(&plan, app) {
                Some(errand) => self.errand(errand, &plan).await?,
                None => self.go_out(Plan { proxy: self.proxy(&plan.address), ..plan.clone() }).await?,
            };
            match plan.next(reply.status, &reply.headers)? {
                Some(next) => plan = next,
                None => return Ok(response(reply, (plan.address != asked).then_some(&plan.address), sent)),
            }
        }
        Err(Failure::app(ErrorCode::TooManyRedirects, "too many redirects"))
    }

    fn place(&self, app: &AppId) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(app) {
            return Arc::clone(place);
        }
        Arc::clone(places.entry(app.clone()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
    }

    /// As in the SDK's stub: neither for https nor for this machine itself.
    fn proxy(&self, address: &Address) -> Option<(String, u16)> {
        let here = address.host == "localhost" || address.bare_host().parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let proxy = self.proxy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        proxy.filter(|_| !address.https && !here)
    }

    async fn go_out(&self, plan: Plan) -> Result<Reply, Failure> {
        // A set of one, so that dropping this ends it.
        let mut running = JoinSet::new();
        running.spawn_on(Arc::clone(&self.outer).ask(plan), &self.runtime);
        match running.join_next().await {
            Some(Ok(reply)) => reply,
            _ => Err(Failure::app(ErrorCode::UnspecifiedError, "the fetch broke off")),
        }
    }

    /// The request, if the address is one of this house's apps.
    fn own(&self, plan: &Plan, app: &AppId) -> Option<Errand> {
        let (authority, address) = (plan.address.authority(), &plan.address);
        let estate = self.outside.estate()?;
        let found = estate.find(&authority).ok()?;
        if !owns(found.table, found.by, &authority, "") || !self.is_front(address, &found.table.naming.default_hostname) {
            return None;
        }
        let mut trusted = HeaderMap::new();
        // docs: not where redirects are followed, which might lead out of the house.
        if !plan.follow {
            trusted.insert(INBOUND_APPID, HeaderValue::try_from(app.project()).ok()?);
        }
        Some(Errand {
            app: found.table.app.clone(),
            authority: authority.clone(),
            caller: Caller::External,
            source: SOURCE,
            https: address.https,
            method: plan.method.clone(),
            target: address.target.clone(),
            headers: plan.headers.clone(),
            trusted,
            body: plan.payload.clone().unwrap_or_default(),
            deadline: None,
            most: MOST_ANSWER,
        })
    }

    /// Whether the port is the front end's: one that it listens on, the one in the app's host name, or, for names that are not this machine's alone, the
    /// scheme's own, behind which a proxy may stand.
    fn is_front(&self, address: &Address, hostname: &str) -> bool {
        let port = address.port();
        let here = address.bare_host().parse::<IpAddr>().is_ok() || address.host == "localhost" || address.host.ends_with(".localhost");
        let named = hostname.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        self.outside.listens(address.https, port) || named == Some(port) || (!here && port == if address.https { 443 } else { 80 })
    }

    async fn errand(&self, errand: Errand, plan: &Plan) -> Result<Reply, Failure> {
        let answered = self.outside.run(errand).await;
        let answered = answered.map_err(|unanswered| Failure::app(ErrorCode::InternalTransientError, unanswered.to_string()))?;
        let Answered { status, headers, body, cut, .. } = answered;
        outer::finish(Reply { status, headers, received: body.len(), body, cut }, plan).await
    }
}

fn response(reply: Reply, last: Option<&Address>, sent: usize) -> pb::UrlFetchResponse {
    let header = |(name, value): (&HeaderName, &HeaderValue)| pb::url_fetch_response::Header {
        key: Bytes::copy_from_slice(name.as_str().as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    let count = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    let received = count(reply.received);
    pb::UrlFetchResponse {
        status_code: reply.status.as_u16().into(),
        header: reply.headers.iter().map(header).collect(),
        content_was_truncated: Some(reply.cut),
        external_bytes_sent: Some(count(sent)),
        external_bytes_received: Some(received),
        final_url: last.map(ToString::to_string),
        api_cpu_milliseconds: Some(0),
        api_bytes_sent: Some(count(sent)),
        api_bytes_received: Some(count(reply.body.len())),
        content: Some(reply.body),
    }
}
