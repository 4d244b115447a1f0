//! Splits as the documents write them (rows T1, T2, T7, T8).

use serde_json::json;

use super::harness::House;

#[test]
fn t2_t7_the_documents_bodies_move_and_split_traffic() {
    let house = House::new();
    for version in ["v1", "v2", "v3"] {
        house.deploy("default", version, json!({}));
    }
    assert_eq!(house.get("/v1/apps/demo/services/default")["split"], json!({"allocations": {"v1": 1}}));
    let path = "/v1/apps/demo/services/default/?updateMask=split";
    // curl -d without -H says that it sends a form.
    let headers = [("Authorization", format!("Bearer {}", house.token)), ("Content-Type", "application/x-www-form-urlencoded".into())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let moved = house.ask_with("PATCH", path, &headers, b"{ 'split': { 'allocations': { 'v2': '1' } } }");
    assert_eq!(moved.status, 200, "{}", moved.body);
    let operation = moved.json();
    assert!(operation["name"].as_str().is_some_and(|name| name.starts_with("apps/demo/operations/")), "{operation}");
    let metadata = &operation["metadata"];
    assert_eq!(metadata["@type"], "type.googleapis.com/google.appengine.v1.OperationMetadataV1");
    assert_eq!(metadata["method"], "google.appengine.v1.Services.UpdateService");
    assert_eq!(metadata["target"], "apps/demo/services/default");
    assert_eq!(metadata["user"], "owner");
    assert!(
        metadata["insertTime"].as_str().is_some_and(|time| time.len() == "2015-05-29T17:25:30.413Z".len() && time.ends_with('Z')),
        "{metadata}"
    );
    let name = operation["name"].as_str().expect("a name");
    assert_eq!(house.get(&format!("/v1/{name}"))["done"], true);
    assert_eq!(house.get("/v1/apps/demo/services/default")["split"], json!({"allocations": {"v2": 1}}));

    let body = "{ 'split': { 'shardBy': 'IP', 'allocations': { 'v1': '0.6', 'v2': '0.2', 'v3': '0.2' } } }";
    assert_eq!(house.ask("PATCH", path, body).status, 200);
    let split = &house.get("/v1/apps/demo/services/default")["split"];
    assert_eq!(*split, json!({"allocations": {"v1": 0.6, "v2": 0.2, "v3": 0.2}, "shardBy": "IP"}));
}

#[test]
fn t1_bad_splits_and_masks_are_refused_with_their_paths() {
    let house = House::new();
    house.deploy("default", "v1", json!({}));
    house.deploy("default", "v2", json!({"manualScaling": {"instances": 1}}));
    let path = |query: &str| format!("/v1/apps/demo/services/default?{query}");
    for (query, body, message) in [
        ("", "{}", "The update mask is required: say which fields are to change, such as updateMask=networkSettings."),
        ("updateMask=splits", "{}", "Invalid update mask: `splits` is not a field of Service."),
        ("updateMask=name", "{}", "The field `name` of a service cannot be changed."),
        ("updateMask=split", "{'split': {'allocations': {'v9': 1}}}", "Version `v9` of service `default` was not found; deploy it first."),
        ("updateMask=split", "{'split': {'allocations': {'v1': 0.5}}}", "The allocations must add up to 1; they are 0.5."),
        (
            "updateMask=split",
            "{'split': {'allocation': {}}}",
            "Invalid JSON payload received. Unknown name \"allocation\" at 'service.split': Cannot find field.",
        ),
        ("updateMask=split&migrateTraffic=", "{}", "Invalid value at 'migrate_traffic' (TYPE_BOOL), \"\""),
        (
            "updateMask=split&migrateTraffic=true",
            "{'split': {'allocations': {'v1': 1}}}",
            "Gradual traffic migration (migrateTraffic=true) needs `split.shardBy`: IP, COOKIE or RANDOM.",
        ),
        (
            "updateMask=split&migrateTraffic=true",
            "{'split': {'shardBy': 'ip', 'allocations': {'v2': 1}}}",
            "Traffic cannot be migrated gradually to version `v2`: it has manual scaling, and automatic scaling is needed.",
        ),
        (
            "updateMask=split&migrateTraffic=true",
            "{'split': {'shardBy': 2, 'allocations': {'v1': 1}}}",
            "Traffic cannot be migrated gradually to version `v1`: warmup requests are not enabled. Add `inbound_services: [warmup]` to its app.yaml and deploy it again.",
        ),
        ("updateMask=split", "{bad", "Invalid JSON payload received. Expected : between key:value pair.\n{bad\n    ^"),
    ] {
        let reply = house.ask("PATCH", &path(query), body);
        assert_eq!(reply.error(), format!("INVALID_ARGUMENT: {message}"), "{query} {body}");
        assert_eq!(reply.json()["error"]["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest", "{}", reply.body);
    }
    house.ok("PATCH", "/v1/apps/demo/services/default/versions/v2?updateMask=servingStatus", &json!({"servingStatus": "STOPPED"}));
    let refused = house.ask("PATCH", &path("updateMask=split"), "{'split': {'allocations': {'v2': 1}}}").error();
    assert_eq!(refused, "FAILED_PRECONDITION: Version `v2` of service `default` is stopped and cannot take traffic; start it first.");
}

#[test]
fn t8_a_version_with_traffic_is_not_deleted_and_one_without_is() {
    let house = House::new();
    house.deploy("default", "v1", json!({}));
    let version = |id: &str| format!("/v1/apps/demo/services/default/versions/{id}");
    let last = house.ask("DELETE", &version("v1"), "").error();
    assert!(last.starts_with("INVALID_ARGUMENT: Cannot delete the final version of a service (module)."), "{last}");
    house.deploy("default", "v2", json!({}));
    let busy = house.ask("DELETE", &version("v1"), "").error();
    assert!(busy.starts_with("INVALID_ARGUMENT: Cannot delete a version with a non-zero traffic allocation."), "{busy}");
    house.ok(
        "PATCH",
        "/v1/apps/demo/services/default?updateMask=split",
        &json!({"split": {"allocations": {"v2": 1.0}, "shardBy": "UNSPECIFIED"}}),
    );
    let gone = house.ok("DELETE", &version("v1"), &json!({}));
    assert_eq!(gone["response"]["@type"], "type.googleapis.com/google.protobuf.Empty");
    assert_eq!(house.ask("GET", &version("v1"), "").error(), "NOT_FOUND: Version `apps/demo/services/default/versions/v1` was not found.");
}
