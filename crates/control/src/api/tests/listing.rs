//! Lists that are long (row T9).

use std::collections::BTreeSet;

use serde_json::json;

use super::harness::House;

#[test]
fn t9_pages_add_up_to_the_list() {
    let house = House::new();
    for n in 0..25 {
        house.deploy("default", &format!("v{n:02}"), json!({}));
    }
    let (mut seen, mut token, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = house.get(&format!("/v1/apps/demo/services/default/versions?pageSize=10&pageToken={token}"));
        pages += 1;
        for version in page["versions"].as_array().expect("versions") {
            assert!(seen.insert(version["id"].as_str().expect("an id").to_owned()));
        }
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (25, 3));
    for list in ["services", "services/default/versions", "operations", "firewall/ingressRules", "domainMappings", "locations"] {
        let reply = house.ask("GET", &format!("/v1/apps/demo/{list}?pageToken=nonsense"), "");
        assert!(reply.error().starts_with("INVALID_ARGUMENT: The page token is not valid"), "{list}");
    }
    assert_eq!(house.ask("GET", "/v1/apps/demo/services?pageSize=-1", "").status, 400);
}

#[test]
fn t9_long_answers_are_compressed_for_whom_takes_it() {
    let house = House::new();
    for n in 0..20 {
        house.deploy("default", &format!("v{n}"), json!({}));
    }
    let bearer = format!("Bearer {}", house.token);
    let path = "/v1/apps/demo/services/default/versions";
    let plain = house.ask_with("GET", path, &[("Authorization", &bearer)], b"");
    let squeezed = house.ask_with("GET", path, &[("Authorization", &bearer), ("Accept-Encoding", "gzip, deflate")], b"");
    assert!(!plain.head.contains("content-encoding") && squeezed.head.contains("content-encoding: gzip"), "{}", squeezed.head);
    let length = |head: &str| head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).expect("a length");
    assert!(length(&squeezed.head) * 4 < length(&plain.head), "{} {}", squeezed.head, plain.head);
    let short = house.ask_with("GET", "/v1/apps/demo", &[("Authorization", &bearer), ("Accept-Encoding", "gzip")], b"");
    assert!(!short.head.contains("content-encoding"), "{}", short.head);
}
