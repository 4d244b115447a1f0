//! No request is lost, whatever is changed under load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Instant;

use serde_json::json;
use testkit::http1::{Connection, Request};
use testkit::{Python, ServeNode};

use super::{shop, telling};

/// Which versions may answer, change by change.
#[derive(Default)]
struct Rules {
    /// By change: the answers that its split allows.
    allowed: RwLock<Vec<BTreeSet<String>>>,
    /// How many changes are in force for sure: their operations are over.
    settled: AtomicUsize,
}

impl Rules {
    /// What is in force at the beginning.
    fn first(allowed: &[&str]) -> Self {
        let rules = Self::default();
        rules.during(allowed, || ());
        rules
    }

    /// Changes what may answer. While `act` is at work the answers of before are right too; afterwards they are not.
    fn during(&self, allowed: &[&str], act: impl FnOnce()) {
        let change = {
            let mut all = self.allowed.write().expect("whole");
            all.push(allowed.iter().map(|text| (*text).to_owned()).collect());
            all.len()
        };
        act();
        self.settled.store(change, Ordering::SeqCst);
    }

    /// How many changes a request that begins now has behind it.
    fn now(&self) -> usize {
        self.settled.load(Ordering::SeqCst)
    }

    /// Whether a request that began behind so many changes, and is over now, may have got this answer: one of the splits that were in force
    /// while it was under way allows it.
    fn allow(&self, behind: usize, answer: &str) -> bool {
        let all = self.allowed.read().expect("whole");
        all.is_empty() || all[behind.saturating_sub(1)..].iter().any(|allowed| allowed.contains(answer))
    }
}

/// Clients that ask without a pause while `act` is at work. Each answer must be 200; which versions answered, and how often, is returned.
#[track_caller]
fn under_load(server: &mut ServeNode, host: &str, act: impl FnOnce(&mut ServeNode)) -> BTreeMap<String, usize> {
    under_rules(server, host, &Rules::default(), act)
}

/// The same, and each answer must be one that the rules allow.
#[track_caller]
fn under_rules(server: &mut ServeNode, host: &str, rules: &Rules, act: impl FnOnce(&mut ServeNode)) -> BTreeMap<String, usize> {
    let (address, done) = (server.http(), AtomicBool::new(false));
    let (answers, failed) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    let (asked, begun) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let request = Request::get("/").host(host);
                while !done.load(Ordering::Relaxed) {
                    // A connection for each few requests: both new and kept ones see what happens.
                    let mut connection = Connection::open(address);
                    for _ in 0..5 {
                        let behind = rules.now();
                        let answer = connection.send(&request);
                        asked.fetch_add(1, Ordering::Relaxed);
                        if answer.status == 200 && answer.complete && rules.allow(behind, &answer.text()) {
                            *answers.lock().expect("whole").entry(answer.text()).or_insert(0) += 1;
                        } else {
                            failed.lock().expect("whole").push(format!("{answer:?}"));
                        }
                        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                            break;
                        }
                    }
                }
            });
        }
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(server)));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = acted {
            std::panic::resume_unwind(panic);
        }
    });
    let (failed, asked) = (failed.into_inner().expect("whole"), asked.into_inner());
    testkit::node::say(&format!("{asked} requests, {} a second", asked / usize::try_from(begun.elapsed().as_secs().max(1)).unwrap_or(1)));
    assert!(
        failed.is_empty(),
        "{} of {} requests were lost, or led astray: {:?}\n{}",
        failed.len(),
        asked,
        &failed[..1],
        server.node().everything()
    );
    answers.into_inner().expect("whole")
}

#[test]
fn t4_t8_nothing_is_lost_while_versions_come_share_and_go() {
    let mut server = shop();
    let warm = "inbound_services:\n- warmup\n";
    server.deploy("shop", &telling(Python::Three, warm, "shop"), &["--version", "v1"]);
    let answers = under_load(&mut server, "shop.localhost", |server| {
        server.deploy("shop", &telling(Python::Three, warm, "shop"), &["--version", "v2"]);
        server.split("shop", "default", "RANDOM", &json!({"v1": 0.5, "v2": 0.5}));
        server.split("shop", "default", "RANDOM", &json!({"v2": 1}));
        server.done("DELETE", "/v1/apps/shop/services/default/versions/v1", "");
        // The same name again: its instances are replaced in place.
        server.deploy("shop", &telling(Python::Three, warm, "again"), &["--version", "v2"]);
        server.eventually("shop.localhost", "/", |answer| answer.text() == "again v2");
    });
    assert_eq!(answers.keys().map(String::as_str).collect::<Vec<_>>(), ["again v2", "shop v1", "shop v2"]);
}

#[test]
fn t3_nothing_is_lost_while_traffic_migrates() {
    let mut server = shop();
    let warm = "inbound_services:\n- warmup\n";
    server.deploy("shop", &telling(Python::Three, warm, "shop"), &["--version", "v1"]);
    server.deploy("shop", &telling(Python::Three, warm, "shop"), &["--version", "v2", "--no-promote"]);
    under_load(&mut server, "shop.localhost", |server| {
        let body = json!({"split": {"shardBy": "IP", "allocations": {"v2": 1}}}).to_string();
        server.done("PATCH", "/v1/apps/shop/services/default?updateMask=split&migrateTraffic=true&migrateOver=5s", &body);
        server.eventually("shop.localhost", "/", |answer| answer.text() == "shop v2");
    });
}

#[test]
fn t9_nothing_is_lost_while_a_version_stops() {
    let mut server = shop();
    let manual = "manual_scaling:\n  instances: 1\n";
    server.deploy("shop", &telling(Python::Three, manual, "shop"), &["--version", "v1"]);
    under_load(&mut server, "shop.localhost", |server| {
        server.deploy("shop", &telling(Python::Three, manual, "shop"), &["--version", "v2"]);
        let stopped = json!({"servingStatus": "STOPPED"}).to_string();
        server.done("PATCH", "/v1/apps/shop/services/default/versions/v1?updateMask=servingStatus", &stopped);
    });
    assert_eq!(server.get("shop.localhost", "/").expect(200).text(), "shop v2");
}

#[test]
fn a_hand_over_under_load_loses_nothing() {
    let mut server = shop();
    server.deploy("shop", &telling(Python::Three, "", "shop"), &["--version", "v1"]);
    let answers = under_load(&mut server, "shop.localhost", |server| {
        server.upgrade();
        server.get("shop.localhost", "/").expect(200);
        server.upgrade();
    });
    assert_eq!(answers.len(), 1);
    // The new process has the state.
    server.deploy("shop", &telling(Python::Three, "", "new"), &["--version", "v2"]);
    assert_eq!(server.get("shop.localhost", "/").expect(200).text(), "new v2");
}

#[test]
fn a_hand_over_loses_nothing_of_http2() {
    let mut server = shop();
    server.deploy("shop", &telling(Python::Three, "", "shop"), &["--version", "v1"]);
    let (address, done) = (server.http(), AtomicBool::new(false));
    let kept = std::thread::scope(|scope| {
        let ask = || testkit::h2::keep_asking(address, &Request::get("/").host("shop.localhost"), 8, || done.load(Ordering::Relaxed));
        let asking: Vec<_> = (0..2).map(|_| scope.spawn(ask)).collect();
        for _ in 0..2 {
            server.upgrade();
            server.get("shop.localhost", "/").expect(200);
        }
        done.store(true, Ordering::Relaxed);
        asking.into_iter().map(|asking| asking.join().expect("it ends")).collect::<Vec<_>>()
    });
    for kept in kept {
        assert!(kept.lost.is_empty(), "of {} requests {} were lost: {:?}", kept.responses.len(), kept.lost.len(), kept.lost);
        let bad = kept.responses.iter().find(|answer| answer.status != 200 || !answer.complete || answer.text() != "shop v1");
        assert!(bad.is_none(), "{bad:?}");
        // The old processes said goodbye, the client came back.
        assert!(kept.connections >= 3, "{} connections, {} answers", kept.connections, kept.responses.len());
    }
}

/// How many splits follow each other, and how many deployments; `ENGINEHOUSE_SPLITS=100 ENGINEHOUSE_DEPLOYMENTS=10` for the long run.
fn times(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn t4_every_request_under_load_meets_a_split_in_force() {
    let mut server = shop();
    let warm = "inbound_services:\n- warmup\n";
    for version in ["v1", "v2", "v3"] {
        server.deploy("shop", &telling(Python::Three, warm, "shop"), &["--version", version]);
    }
    let (splits, deployments) = (times("ENGINEHOUSE_SPLITS", 30), times("ENGINEHOUSE_DEPLOYMENTS", 2));
    let rules = Rules::first(&["shop v3"]);
    under_rules(&mut server, "shop.localhost", &rules, |server| {
        for round in 0..splits {
            // From one version to another, to two, and back to one that had nothing: who is outside changes each time.
            let (shares, allowed): (_, &[&str]) = match round % 4 {
                0 => (json!({"v1": 1}), &["shop v1"]),
                1 => (json!({"v2": 0.5, "v3": 0.5}), &["shop v2", "shop v3"]),
                2 => (json!({"v2": 1}), &["shop v2"]),
                _ => (json!({"v1": 0.3, "v3": 0.7}), &["shop v1", "shop v3"]),
            };
            rules.during(allowed, || server.split("shop", "default", ["COOKIE", "RANDOM", "IP"][round % 3], &shares));
        }
        for round in 0..deployments {
            let version = format!("d{round}");
            rules.during(&[&format!("shop {version}")], || {
                server.deploy("shop", &telling(Python::Three, warm, "shop"), &["--version", &version]);
            });
        }
    });
}

#[test]
fn t4_an_answer_of_a_split_that_is_over_is_noticed() {
    let rules = Rules::first(&["v1"]);
    let early = rules.now();
    rules.during(&["v2"], || assert!(rules.allow(early, "v1") && rules.allow(early, "v2") && !rules.allow(early, "v3")));
    assert!(rules.allow(early, "v1"), "it began before the change");
    assert!(!rules.allow(rules.now(), "v1"), "it began after the change");
}
