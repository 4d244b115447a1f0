//! What Prometheus reads after requests, reloads and turns.

use std::collections::BTreeSet;
use std::time::Duration;

use model::config::VersionConfig;
use model::handler::{Handler, HandlerKind, Script};
use model::pattern::{Anchor, Pattern};
use model::runtime::Runtime;
use model::sched::End;

use super::*;
use crate::{Counter, State};

fn handler(url: &str) -> Handler {
    Handler::new(Pattern::new(url, Anchor::Whole).expect("a pattern"), HandlerKind::Script(Script::Auto))
}

fn key() -> VersionKey {
    VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short")
}

fn app() -> AppId {
    "demo".parse().expect("an id")
}

fn version(urls: &[&str]) -> Arc<Version> {
    let runtime = Runtime::parse("python312").expect("known");
    let config = VersionConfig::new(key(), runtime, urls.iter().map(|url| handler(url)).collect());
    Arc::new(Version::new(app(), config, "/nowhere".into(), 1))
}

struct Still;

impl Subject for Still {
    fn census(&self) -> Vec<((AppId, VersionKey), Census)> {
        let census = Census { idle: 1, pending: 3, ..Census::default() };
        vec![((app(), key()), census), ((app(), key()), census)]
    }
    fn state(&self) -> State {
        State::Serving
    }
    fn preparing(&self) -> BTreeSet<(AppId, VersionKey)> {
        BTreeSet::new()
    }
    fn missing_walls(&self) -> Vec<String> {
        Vec::new()
    }
    fn counters(&self) -> Vec<Counter> {
        vec![Counter { name: "enginehouse_log_lost_total", help: "Lost.", label: Some(("where", "disk")), value: 7 }]
    }
}

fn count(metrics: &Metrics, version: Option<&Arc<Version>>, url: &str, status: u16) {
    let handler = version.and_then(|version| version.handlers().handlers().iter().position(|handler| handler.written == url));
    let took = Duration::from_millis(3);
    metrics.tally(&Tally { version, handler, status, bytes: 10, took, pending: Some(Duration::ZERO), cold: false });
}

#[track_caller]
fn has(page: &str, line: &str) {
    assert!(page.lines().any(|one| one == line), "no `{line}` in\n{page}");
}

#[test]
fn requests_are_counted_by_pattern_over_threads_and_reloads() {
    let metrics = Metrics::default();
    let old = version(&["/a", "/b", "/a"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| count(&metrics, Some(&old), "/a", 200)));
        }
    });
    drop(old);
    let new = version(&["/b", "/a"]);
    count(&metrics, Some(&new), "/a", 503);
    count(&metrics, Some(&new), "/a", 0);
    count(&metrics, Some(&new), "nothing", 404);
    count(&metrics, None, "", 400);
    let page = metrics.page(&Still);
    has(&page, r#"enginehouse_requests_total{app="demo",service="default",version="v1",handler="/a",class="2xx"} 40"#);
    has(&page, r#"enginehouse_requests_total{app="demo",service="default",version="v1",handler="/a",class="5xx"} 1"#);
    has(&page, r#"enginehouse_requests_total{app="demo",service="default",version="v1",handler="/a",class="none"} 1"#);
    has(&page, r#"enginehouse_requests_total{app="demo",service="default",version="v1",handler="none",class="4xx"} 1"#);
    has(&page, r#"enginehouse_requests_total{app="",service="",version="",handler="none",class="4xx"} 1"#);
    has(&page, r#"enginehouse_request_duration_seconds_bucket{app="demo",service="default",version="v1",handler="/a",le="0.005"} 42"#);
    has(&page, r#"enginehouse_instances{app="demo",service="default",version="v1",state="idle"} 2"#);
    has(&page, r#"enginehouse_pending_requests{app="demo",service="default",version="v1"} 6"#);
    has(&page, r#"enginehouse_log_lost_total{where="disk"} 7"#);
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        assert!(seen.insert(line.rsplit_once(' ').expect("a value").0), "twice: {line}");
    }
}

#[test]
fn the_number_of_series_is_bounded() {
    let metrics = Metrics::default();
    for round in 0..5 {
        let urls: Vec<String> = (0..300).map(|number| format!("/{round}/{number}")).collect();
        let version = version(&urls.iter().map(String::as_str).collect::<Vec<_>>());
        for url in &urls {
            count(&metrics, Some(&version), url, 200);
        }
    }
    let page = metrics.page(&Still);
    let handlers = page.lines().filter(|line| line.starts_with("enginehouse_requests_total{")).count();
    assert!(handlers <= HANDLERS + 3, "{handlers}");
    let total: u64 = page
        .lines()
        .filter(|line| line.starts_with("enginehouse_requests_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(total, 1_500);
}

#[test]
fn turns_of_instances_are_counted_by_reason() {
    let metrics = Metrics::default();
    for turn in [
        Turn::Started,
        Turn::Ready { after: Duration::from_millis(20) },
        Turn::Stopped(End::Idle(Duration::from_mins(15))),
        Turn::Started,
        Turn::Died,
    ] {
        metrics.turn(&app(), &key(), turn);
    }
    let page = metrics.page(&Still);
    has(&page, r#"enginehouse_instance_starts_total{app="demo",service="default",version="v1"} 2"#);
    has(&page, r#"enginehouse_instance_ends_total{app="demo",service="default",version="v1",reason="died"} 1"#);
    has(&page, r#"enginehouse_instance_ends_total{app="demo",service="default",version="v1",reason="idle"} 1"#);
    has(&page, r#"enginehouse_instance_start_seconds_bucket{app="demo",service="default",version="v1",le="0.025"} 1"#);
}
