//! What many versions and apps cost: time to make them, nanoseconds to find one and to split: `cargo run --release -p xtask --example estate_bench`.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, header};
use model::config::VersionConfig;
use model::firewall::Firewall;
use model::handler::{Handler, HandlerKind, Script};
use model::ids::{AppId, VersionId, VersionKey};
use model::ingress::Ingress;
use model::pattern::{Anchor, Pattern};
use model::route::{host, split};
use model::runtime::Runtime;
use model::table::{Estate, Naming, RoutingTable, Service, Version};
use model::traffic::{ShardBy, TrafficSplit};

fn handler(source: &str) -> Handler {
    Handler::new(Pattern::new(source, Anchor::Whole).expect("compiles"), HandlerKind::Script(Script::Auto))
}

/// Resident memory in kilobytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Nanoseconds that this thread has run.
fn cpu() -> u128 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default().split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn version(app: &AppId, service: &str, number: usize) -> (VersionId, Arc<Version>) {
    let key = VersionKey::new(service.parse().expect("a name"), format!("v{number}").parse().expect("a name")).expect("short");
    // Each with patterns of its own, as apps have them.
    let handlers = vec![handler(&format!("/{service}-{number}/(.*)")), handler("/static/(.*)"), handler("/.*")];
    let config = VersionConfig::new(key.clone(), Runtime::parse("python312").expect("a runtime"), handlers);
    (key.version, Arc::new(Version::new(app.clone(), config, "/srv".into(), 1)))
}

fn table(app: usize, services: usize, versions: usize) -> Arc<RoutingTable> {
    let app: AppId = format!("app{app}").parse().expect("an id");
    let service = |n: usize| {
        let name = if n == 0 { "default".to_owned() } else { format!("service{n}") };
        let versions: BTreeMap<_, _> = (0..versions).map(|number| version(&app, &name, number)).collect();
        let split = TrafficSplit::all(versions.keys().next().expect("a version").clone());
        (name.parse().expect("a name"), Service { versions, split, ingress: Ingress::All })
    };
    let naming = Naming::hosted(&app, "uc", "apps.test", None, vec![format!("www.{app}.example")]);
    let services = (0..services).map(service).collect();
    Arc::new(RoutingTable { generation: 1, app, naming, services, dispatch: Vec::new(), firewall: Firewall::default() })
}

fn time<T>(name: &str, mut step: impl FnMut() -> T) {
    const ROUNDS: u32 = 400_000;
    for _ in 0..1_000 {
        black_box(step());
    }
    // The best of several runs, in CPU time: the machine may be busy.
    let each = (0..5).map(|_| {
        let start = cpu();
        for _ in 0..ROUNDS {
            black_box(step());
        }
        (cpu() - start) / u128::from(ROUNDS)
    });
    println!("  {name:44} {:>6} ns", each.min().unwrap_or_default());
}

fn aim(estate: &Estate, authority: &str) -> bool {
    let Ok(found) = estate.find(black_box(authority)) else { return false };
    host::aim_at(found.table, &found.host, found.by, b"/some/page").is_ok()
}

fn main() {
    for (apps, services, versions) in [(1, 1, 1), (1, 1_000, 10), (1_000, 1, 1), (10, 100, 10)] {
        let (before, start) = (resident(), Instant::now());
        let tables: Vec<_> = (0..apps).map(|app| table(app, services, versions)).collect();
        let made = start.elapsed().as_millis();
        let start = Instant::now();
        let estate = Estate::build(1, tables, None);
        let indexed = start.elapsed().as_micros();
        let held = resident().saturating_sub(before) / 1024;
        println!("{apps} apps × {services} services × {versions} versions: made in {made} ms, indexed in {indexed} µs, {held} MB");
        let (app, service, version) = (apps / 2, services / 2, versions / 2);
        let service = if service == 0 { "default".to_owned() } else { format!("service{service}") };
        for authority in [
            format!("app{app}.uc.r.apps.test"),
            format!("v{version}-dot-{service}-dot-app{app}.uc.r.apps.test"),
            format!("www.app{app}.example"),
        ] {
            assert!(aim(&estate, &authority), "{authority}");
            time(&authority, || aim(&estate, &authority));
        }
        let sole = Estate::of((**estate.apps.values().next().expect("an app")).clone());
        time("(enginehouse run: apps.test)", || aim(&sole, "apps.test"));
    }
    let (headers, client): (HeaderMap, IpAddr) = (
        [(header::USER_AGENT, "x"), (header::ACCEPT, "*/*"), (header::COOKIE, "session=0123456789abcdef; GOOGAPPUID=512; theme=dark")]
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .into_iter()
            .collect(),
        IpAddr::from([203, 0, 113, 9]),
    );
    println!("a split of three");
    for by in [ShardBy::Ip, ShardBy::Cookie, ShardBy::Random] {
        let parts = [("v1", 600), ("v2", 200), ("v3", 200)].map(|(version, share)| (version.parse().expect("a name"), share));
        let of_three = TrafficSplit::new(Some(by), parts.into()).expect("a split");
        time(&format!("{by:?}"), || split::pick(&of_three, black_box(client), &headers, || black_box(7)).version.as_str().len());
    }
    let before: Vec<_> = (0..1_000).map(|n| (format!("v{n}").parse::<VersionId>().expect("a name"), 1)).collect();
    let of_many = TrafficSplit::new(Some(ShardBy::Cookie), before.into_iter().collect()).expect("a split");
    let start = Instant::now();
    let changed = of_many.change_to(
        TrafficSplit::new(Some(ShardBy::Cookie), [("v1", 500), ("v7", 500)].map(|(v, n)| (v.parse().expect("a name"), n)).into())
            .expect("a split"),
    );
    println!("a change from a thousand versions to two: {} µs", start.elapsed().as_micros());
    black_box(changed);
}
