//! kill -9 of the server, wherever it is: afterwards the state is either before or after, and it serves.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Python, ServeNode};

use super::{shop, telling};

/// How often the server is killed; `ENGINEHOUSE_KILLS=100` for the long run.
fn kills() -> u64 {
    std::env::var("ENGINEHOUSE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// A number below `most` that nobody would have chosen (Steele, Lea and Flood's `SplitMix64`).
fn draw(seed: u64, most: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % most
}

const SERVICE: &str = "/v1/apps/shop/services/default";

fn versions(server: &ServeNode) -> Vec<String> {
    let list = server.api("GET", &format!("{SERVICE}/versions?pageSize=100"), "").expect(200).json();
    let mut found: Vec<String> =
        list["versions"].as_array().into_iter().flatten().map(|one| one["id"].as_str().expect("an id").to_owned()).collect();
    found.sort();
    found
}

fn allocations(server: &ServeNode) -> Value {
    server.api("GET", SERVICE, "").expect(200).json()["split"]["allocations"].clone()
}

/// Every operation comes to its end.
fn settle(server: &ServeNode) {
    let list = server.api("GET", "/v1/apps/shop/operations?pageSize=100", "").expect(200).json();
    for operation in list["operations"].as_array().into_iter().flatten() {
        server.ended(operation.clone());
    }
}

#[test]
fn a_server_killed_anywhere_is_before_or_after() {
    let mut server = shop();
    let warm = "inbound_services:\n- warmup\n";
    server.deploy("shop", &telling(Python::Three, warm, "shop"), &["--version", "v0"]);
    let mut serving = "v0".to_owned();
    for round in 1..=kills() {
        let new = format!("v{round}");
        let before = versions(&server);
        // One of the three, begun and then cut off after a moment that differs each time.
        let what = draw(round, 3);
        let begun = match what {
            0 => server.begin_copy("shop", "default", &serving, &new).status,
            1 => {
                let copied = server.begin_copy("shop", "default", &serving, &new).expect(200).json();
                server.finished(copied);
                let body = json!({"split": {"shardBy": "IP", "allocations": {&new: 1}}}).to_string();
                server.api("PATCH", &format!("{SERVICE}?updateMask=split&migrateTraffic=true&migrateOver=1s"), &body).status
            }
            _ => {
                let copied = server.begin_copy("shop", "default", &serving, &new).expect(200).json();
                server.finished(copied);
                server.api("DELETE", &format!("{SERVICE}/versions/{new}"), "").status
            }
        };
        assert_eq!(begun, 200, "round {round}");
        // The one place where time itself is what is tried: when the end comes.
        std::thread::park_timeout(Duration::from_millis(draw(round * 7 + 1, 400)));
        server.kill();
        server.restart();
        let answer = server.get("shop.localhost", "/").expect(200).text();
        assert!(answer == format!("shop {serving}") || answer == format!("shop {new}"), "round {round}: {answer}");
        settle(&server);
        let (now, split) = (versions(&server), allocations(&server));
        let mut after = before.clone();
        after.push(new.clone());
        after.sort();
        assert!(now == before || now == after, "round {round}: {now:?} is neither {before:?} nor {after:?}");
        let taking = split.as_object().expect("a split");
        assert_eq!(taking.len(), 1, "round {round}: {split}");
        let taker = taking.keys().next().expect("one").clone();
        assert!(taker == serving || (what == 1 && taker == new), "round {round}: {split}");
        assert!(now.contains(&taker));
        serving = taker;
        assert_eq!(server.get("shop.localhost", "/").expect(200).text(), format!("shop {serving}"));
        // What is left over goes, so that the next round begins alike.
        for version in now.iter().filter(|version| **version != serving) {
            server.done("DELETE", &format!("{SERVICE}/versions/{version}"), "");
        }
    }
}
