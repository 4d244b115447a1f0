//! The data plane by itself, before one fixed instance: for profiles and measurements without an app.
//!
//! `plane HTTP_ADDRESS TLS_ADDRESS STATIC_FOLDER UPSTREAM`, where UPSTREAM is `host:port` or the path of an agent's socket. `/static/…` serves
//! files of the folder's `static`; everything else goes upstream, past thirty handlers that do not match.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use edge::{Certificate, Edge, Listener, Options};
use model::config::VersionConfig;
use model::firewall::Firewall;
use model::handler::{Handler, HandlerKind, Origin, Script, StaticFiles, StaticSource};
use model::ids::{InstanceId, VersionKey};
use model::ingress::Ingress;
use model::journal::{Entry, Journal};
use model::pattern::{Anchor, Pattern};
use model::pool::{Boxed, Endpoint, Instance, Keeper, Lease, Outcome, Pool, Reject, Wanted};
use model::runtime::Runtime;
use model::table::{Estate, Naming, RoutingTable, Service, Version};
use model::traffic::TrafficSplit;

#[derive(Debug)]
struct Forgetful;

impl Keeper for Forgetful {
    fn release(&self, _: u64, _: &Arc<Instance>, _: Outcome) {}
}

impl Journal for Forgetful {
    fn write(&self, _: Entry) {}

    fn wants_requests(&self) -> bool {
        false
    }
}

struct Fixed {
    instance: Arc<Instance>,
    keeper: Arc<Forgetful>,
}

impl Pool for Fixed {
    fn try_acquire(&self, _: &Wanted) -> Option<Lease> {
        Some(Lease {
            instance: self.instance.clone(),
            cold: false,
            waited: Duration::ZERO,
            pass: None,
            outcome: Outcome::Abandoned,
            request: 0,
            keeper: self.keeper.clone(),
        })
    }

    fn acquire(&self, wanted: Wanted, _: Duration) -> Boxed<'_, Result<Lease, Reject>> {
        Box::pin(async move { self.try_acquire(&wanted).ok_or(Reject::Draining) })
    }
}

fn handler(url: &str, kind: HandlerKind) -> Result<Handler, Box<dyn Error>> {
    Ok(Handler { origin: Origin { file: "app.yaml".into(), line: 1 }, ..Handler::new(Pattern::new(url, Anchor::Whole)?, kind) })
}

fn config(runtime: Runtime, key: VersionKey) -> Result<VersionConfig, Box<dyn Error>> {
    let files = StaticFiles {
        source: StaticSource::Dir("static".into()),
        mime_type: None,
        expiration: None,
        http_headers: Vec::new(),
        require_matching_file: false,
        application_readable: false,
    };
    let mut handlers = vec![handler("/static/(.*)", HandlerKind::Static(Box::new(files)))?];
    for n in 0..30 {
        handlers.push(handler(&format!("/section{n}/(edit|view)/[0-9]+"), HandlerKind::Script(Script::Auto))?);
    }
    handlers.push(handler("/.*", HandlerKind::Script(Script::Auto))?);
    Ok(VersionConfig::new(key, runtime, handlers))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [http, tls, folder, upstream] = &arguments[..] else { return Err("plane HTTP TLS FOLDER UPSTREAM".into()) };
    let endpoint = match upstream.parse() {
        Ok(address) => Endpoint::Http(address),
        Err(_) => Endpoint::Agent(PathBuf::from(upstream)),
    };
    let runtime = if matches!(endpoint, Endpoint::Http(_)) { "nodejs22" } else { "python312" };
    let runtime = Runtime::parse(runtime).ok_or("no runtime")?;
    let key = VersionKey::new("default".parse()?, "v1".parse()?)?;
    let version = Arc::new(Version::new("demo".parse()?, config(runtime, key.clone())?, folder.into(), 1));
    let service = Service {
        versions: BTreeMap::from([(key.version.clone(), version)]),
        split: TrafficSplit::all(key.version.clone()),
        ingress: Ingress::All,
    };
    let naming = Naming { domains: vec!["localhost".into()], default_hostname: "localhost".into(), ..Naming::default() };
    let services = BTreeMap::from([(key.service.clone(), service)]);
    let table = RoutingTable { generation: 1, app: "demo".parse()?, naming, services, dispatch: Vec::new(), firewall: Firewall::default() };
    let instance = Arc::new(Instance { serial: 1, id: InstanceId::Opaque("e4b565394caa".into()), version: key, endpoint, door: None });
    let certificate = Certificate::SelfSigned { directory: PathBuf::from(folder).join("tls") };
    let options = Options {
        listeners: vec![Listener::plain(http.parse()?), Listener::secure(tls.parse()?, certificate)],
        login_secret: vec![1; 32],
        threads: std::env::var("THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(0),
        ..Options::default()
    };
    let pool = Arc::new(Fixed { instance, keeper: Arc::new(Forgetful) });
    let _running = Edge::bind(options)?.start(Arc::new(ArcSwap::from_pointee(Estate::of(table))), pool, Arc::new(Forgetful))?;
    loop {
        std::thread::park();
    }
}
