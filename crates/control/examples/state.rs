//! What 10,000 versions in 1,000 services cost: `cargo run --release -p control --example state [SERVICES] [VERSIONS-OF-EACH]`.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::Bound;
use control::api::{Api, Door};
use control::work::{House, Keep, ServiceChange, Settings};
use model::engine::{Engine, InstanceReport, NotReady, Stage};
use model::ids::{AppId, InstanceId, ServiceId, VersionId, VersionKey};
use model::pool::Boxed;
use model::table::{Estate, Naming, Version};
use model::traffic::{ShardBy, TrafficSplit};
use serde_json::{Map, json};
use store::Store;
use store::control::{Actor, NewVersion, Page, Service, ServingStatus, StoreError};
use store::files::{Expected, Manifest, ManifestFile};

/// An engine that does nothing.
struct Idle;

impl Engine for Idle {
    fn make_ready(&self, _: Arc<Version>, _: Arc<dyn Fn(Stage) + Send + Sync>) -> Boxed<'static, Result<(), NotReady>> {
        Box::pin(async { Ok(()) })
    }
    fn warm(&self, _: &AppId, _: &VersionKey, _: u32) -> Boxed<'static, Result<(), NotReady>> {
        Box::pin(async { Ok(()) })
    }
    fn publish(&self, _: Arc<Estate>) -> Boxed<'static, ()> {
        Box::pin(async {})
    }
    fn instances(&self, _: &AppId, _: &VersionKey) -> Vec<InstanceReport> {
        Vec::new()
    }
    fn end(&self, _: &AppId, _: &VersionKey, _: &InstanceId) -> bool {
        false
    }
}

fn name(at: usize) -> String {
    if at == 0 { "default".to_owned() } else { format!("s{at:04}") }
}

/// Fills an app by a transaction for each service.
fn fill(store: &Store, actor: &Actor, services: usize, versions: usize) -> Result<(), StoreError> {
    let app: AppId = "demo".parse().expect("an id");
    store.change(actor, |change| change.create_app(&app, "local", Map::new()).map(drop))?;
    let text = b"runtime: python312\n";
    let blob = store.put_bytes(text, &Expected::default())?;
    let entry = ManifestFile { sha256: blob.sha256, size: blob.size, mime: None };
    let files = (0..10).map(|at| (format!("lib/f{at}.py"), entry.clone())).chain([("app.yaml".to_owned(), entry.clone())]);
    let manifest = Manifest::new(files.collect()).expect("good paths");
    store.materialise(&manifest)?;
    for at in 0..services {
        store.change(actor, |change| {
            let hash = change.put_manifest(&manifest)?;
            let service: ServiceId = name(at).parse().expect("an id");
            let (split, created, rev) = (TrafficSplit::all("v0".parse().expect("an id")), change.now(), change.rev());
            let (labels, id) = (BTreeMap::new(), service.clone());
            change.put_service("services.create", Service { app: app.clone(), id, split, labels, network: None, migration: None, created, rev })?;
            for number in 0..versions {
                let id: VersionId = format!("v{number}").parse().expect("an id");
                let files: Map<_, _> = (0..10).map(|at| (format!("lib/f{at}.py"), json!({ "sha1Sum": blob.sha1, "sourceUrl": "gs://b/o" }))).collect();
                let handlers: Vec<_> = (0..10).map(|at| json!({ "urlRegex": format!("/a{at}/.*"), "script": { "scriptPath": "auto" } })).collect();
                let spec = json!({ "id": id, "runtime": "python312", "handlers": handlers, "envVariables": { "A": "b" }, "deployment": { "files": files } });
                let (app, service, status, deployment) = (app.clone(), service.clone(), ServingStatus::Serving, change.rev());
                change.put_version(NewVersion { app, service, id, spec, manifest: hash, status, deployment })?;
            }
            Ok::<_, StoreError>(())
        })?;
    }
    Ok(())
}

/// The median of several times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn house(store: Store) -> House {
    let settings = Settings {
        naming: Arc::new(|_, _| Naming::default()),
        buckets: Arc::new(|_| Vec::new()),
        watch: None,
        fallback: None,
        most_versions: None,
        keep: Keep::default(),
    };
    House::new(store, Arc::new(Idle), settings, tokio::runtime::Handle::current())
}

/// The answers of the Admin API over one connection: the median of 21 times, and how many bytes each has.
fn asked(address: SocketAddr, token: &str, path: &str) -> (Duration, usize) {
    let mut socket = TcpStream::connect(address).expect("it listens");
    let mut read = BufReader::new(socket.try_clone().expect("a handle"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut length = 0;
    let times = (0..21).map(|_| {
        let begun = Instant::now();
        socket.write_all(request.as_bytes()).expect("sent");
        let mut line = String::new();
        read.read_line(&mut line).expect("an answer");
        assert!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
        while line != "\r\n" {
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.trim().parse().expect("a length");
            }
            line.clear();
            read.read_line(&mut line).expect("a head");
        }
        read.read_exact(&mut vec![0; length]).expect("a body");
        begun.elapsed()
    });
    (median(times.collect()), length)
}

/// What the pages of lists cost a client of the Admin API.
fn answers(house: &House, store: &Store) {
    let settings = control::api::Settings {
        domain: "localhost".into(),
        region: "local".into(),
        port: String::new(),
        https: false,
        addresses: Vec::new(),
    };
    let api = Api::new(store.clone(), Arc::new(house.clone()), Arc::new(Idle), settings);
    let bound = Bound::new(0).expect("a port");
    let address = bound.address();
    let _admin = bound.open(Door::new(Arc::new(api))).expect("a thread");
    let token = store.owner_token().expect("an owner");
    for path in
        ["services?pageSize=100", "services?pageSize=1000", "services/default/versions?pageSize=100", "services/default/versions?view=FULL"]
    {
        let (time, length) = asked(address, token.reveal(), &format!("/v1/apps/demo/{path}"));
        println!("GET {path}: {time:.2?}, {length} bytes");
    }
}

/// Hundredths of a second that this process has run.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2)).into_iter().flatten();
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn argument(at: usize, usual: usize) -> usize {
    std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (services, versions) = (argument(1, 1000), argument(2, 10));
    let dir = std::env::temp_dir().join(format!("enginehouse-state-{}", std::process::id()));
    let actor = Actor { name: "bench".to_owned(), token: None };
    let app: AppId = "demo".parse().expect("an id");
    let begun = Instant::now();
    {
        let store = Store::open(&dir).expect("opens");
        fill(&store, &actor, services, versions).expect("filled");
    }
    println!("{services} services of {versions} versions written in {:.1?}", begun.elapsed());
    let (begun, spent) = (Instant::now(), cpu());
    let store = Store::open(&dir).expect("opens");
    println!("open: {:.1?}", begun.elapsed());
    let house = house(store.clone());
    house.publish().await.expect("published");
    println!("open and everything in force: {:.1?}, {} ms of CPU", begun.elapsed(), (cpu() - spent) * 10);
    house.start().await.expect("starts");
    let middle: ServiceId = name(services / 2).parse().expect("an id");
    let pages = (0..21).map(|_| {
        let begun = Instant::now();
        let page = Page { after: Some(name(services / 2)), limit: 100 };
        let found = store.read(|view| view.services(&app, &page)).expect("read");
        assert!(!found.is_empty());
        begun.elapsed()
    });
    println!("a page of 100 services: {:.2?}", median(pages.collect()));
    let pages = (0..21).map(|_| {
        let begun = Instant::now();
        store.read(|view| view.versions(&app, &middle, &Page { after: None, limit: 100 })).expect("read");
        begun.elapsed()
    });
    println!("a page of {} versions: {:.2?}", versions.min(100), median(pages.collect()));
    answers(&house, &store);
    let mut times = Vec::new();
    let spent = cpu();
    for round in 0..21_u16 {
        let parts = BTreeMap::from([("v0".parse().expect("an id"), 500 + 10 * round), ("v1".parse().expect("an id"), 500 - 10 * round)]);
        let split = TrafficSplit::new(Some(ShardBy::Ip), parts).expect("a split");
        let asked = ServiceChange { split: Some(split), ..ServiceChange::default() };
        let begun = Instant::now();
        let operation = house.patch_service(&actor, &app, &middle, asked).expect("begun");
        let done = house.wait(&app, operation.id, Duration::from_mins(1)).await.expect("known");
        assert!(done.ended.is_some());
        times.push(begun.elapsed());
    }
    println!("a split changed, in force, its operation over: {:.2?}, {} ms of CPU for 21", median(times), (cpu() - spent) * 10);
    let begun = Instant::now();
    house.collect().await.expect("collected");
    println!("a round of the collector: {:.1?}", begun.elapsed());
    house.stop().await;
    let _ = std::fs::remove_dir_all(&dir);
}
