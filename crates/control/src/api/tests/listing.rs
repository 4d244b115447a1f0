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
