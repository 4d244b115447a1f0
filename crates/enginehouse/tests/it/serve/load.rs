//! No request is lost, whatever is changed under load.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;
use testkit::http1::{Connection, Request};
use testkit::{Python, ServeNode};

use super::{shop, telling};

/// Clients that ask without a pause while `act` is at work. Each answer must be 200; which versions answered, and how often, is returned.
#[track_caller]
fn under_load(server: &mut ServeNode, host: &str, act: impl FnOnce(&mut ServeNode)) -> BTreeMap<String, usize> {
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
                        let answer = connection.send(&request);
                        asked.fetch_add(1, Ordering::Relaxed);
                        if answer.status == 200 && answer.complete {
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
    assert!(failed.is_empty(), "{} of {} requests were lost: {:?}\n{}", failed.len(), asked, &failed[..1], server.node().everything());
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

/// How many splits follow each other, and how many deployments; `ENGINEHOUSE_SPLITS=100 ENGINEHOUSE_DEPLOYMENTS=10` for the long run.
fn times(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn t4_each_split_is_kept_from_its_answer_on() {
    let mut server = shop();
    let warm = "inbound_services:\n- warmup\n";
    for version in ["v1", "v2"] {
        server.deploy("shop", &telling(Python::Three, warm, "shop"), &["--version", version]);
    }
    let (splits, deployments) = (times("ENGINEHOUSE_SPLITS", 30), times("ENGINEHOUSE_DEPLOYMENTS", 1));
    under_load(&mut server, "shop.localhost", |server| {
        for round in 0..splits {
            let version = ["v1", "v2"][round % 2];
            server.split("shop", "default", "COOKIE", &json!({version: 1}));
            // From the operation's end on no request goes anywhere else.
            for _ in 0..5 {
                assert_eq!(server.get("shop.localhost", "/").expect(200).text(), format!("shop {version}"), "round {round}");
            }
        }
        for round in 0..deployments {
            server.deploy("shop", &telling(Python::Three, warm, "shop"), &["--version", &format!("d{round}")]);
            assert_eq!(server.get("shop.localhost", "/").expect(200).text(), format!("shop d{round}"));
        }
    });
}
