//! The curl commands of "Migrating and splitting traffic with the Admin API" (documents 002 and 004), as they are printed: only the server's address,
//! the token, the project and the operation's name are put in.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use testkit::{DEADLINE, ServeNode};

use super::shop;

const GET: &str =
    r#"curl -H "Authorization: Bearer [MY_ACCESS_TOKEN]" https://appengine.googleapis.com/v1/apps/[MY_PROJECT_ID]/services/default"#;
const MOVE: &str = r#"curl -X PATCH -H "Content-Type: application/json" -d "{ 'split': { 'allocations': { 'v2': '1' } } }" -H "Authorization: Bearer [MY_ACCESS_TOKEN]" https://appengine.googleapis.com/v1/apps/[MY_PROJECT_ID]/services/default/?updateMask=split"#;
const SPLIT: &str = r#"curl -X PATCH -H "Content-Type: application/json" -d "{ 'split': { 'shardBy': 'IP', 'allocations': { 'v1': '0.6', 'v2': '0.2', 'v3': '0.2' } } }" -H "Authorization: Bearer [MY_ACCESS_TOKEN]" https://appengine.googleapis.com/v1/apps/[MY_PROJECT_ID]/services/default/?updateMask=split"#;
/// Printed as `PATCH …/?updateMask=split&migrateTraffic=true {"split": …}`, without a curl command.
const MIGRATE: &str = r#"curl -X PATCH -H "Content-Type: application/json" -d '{"split": { "shardBy": "IP", "allocations": { "v2": "1" } } }' -H "Authorization: Bearer [MY_ACCESS_TOKEN]" "https://appengine.googleapis.com/v1/apps/[MY_PROJECT_ID]/services/default/?updateMask=split&migrateTraffic=true""#;
const POLL: &str = r#"curl -H "Authorization: Bearer [MY_ACCESS_TOKEN]" https://appengine.googleapis.com/v1/apps/[MY_PROJECT_ID]/operations/bdda402c-77a9-4c6d-b022-f2f69ba78420"#;
const DELETE: &str = r#"curl -X DELETE -H "Authorization: Bearer [MY_ACCESS_TOKEN]" https://appengine.googleapis.com/v1/apps/[MY_PROJECT_ID]/services/default/versions/v1"#;

/// Runs a command as a reader of the document would.
#[track_caller]
fn run(server: &ServeNode, printed: &str, operation: &str) -> Value {
    let command = printed
        .replace("[MY_ACCESS_TOKEN]", &server.owner_token())
        .replace("[MY_PROJECT_ID]", "shop")
        .replace("https://appengine.googleapis.com", &server.admin_url())
        .replace("bdda402c-77a9-4c6d-b022-f2f69ba78420", operation);
    let output = Command::new("sh").args(["-c", &command]).output().expect("curl is installed");
    assert!(output.status.success(), "{printed}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// Polls an operation with the document's command until it is done.
#[track_caller]
fn done(server: &ServeNode, started: &Value) -> Value {
    let name = started["name"].as_str().unwrap_or_else(|| panic!("no operation: {started}"));
    let id = name.strip_prefix("apps/shop/operations/").expect("the documented name");
    let until = Instant::now() + DEADLINE;
    loop {
        let operation = run(server, POLL, id);
        assert_eq!(operation["name"], name);
        if operation["done"] == true {
            assert!(operation.get("error").is_none(), "{operation}");
            return operation;
        }
        assert!(Instant::now() < until, "the operation does not end: {operation}");
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}

fn split(server: &ServeNode) -> Value {
    let service = run(server, GET, "");
    assert_eq!((&service["name"], &service["id"]), (&json!("apps/shop/services/default"), &json!("default")));
    service["split"].clone()
}

#[test]
fn t2_the_documents_flows_run_as_printed() {
    let server = shop(&["v1", "v2", "v3"]);
    // "Verify that 100 % of the traffic goes to v1", and move it.
    assert_eq!(split(&server), json!({"allocations": {"v1": 1}}));
    let moved = run(&server, MOVE, "");
    let metadata = &moved["metadata"];
    assert_eq!(metadata["@type"], "type.googleapis.com/google.appengine.v1.OperationMetadataV1");
    assert!(metadata["method"].as_str().is_some_and(|method| method.ends_with("google.appengine.v1.Services.UpdateService")), "{moved}");
    assert_eq!(metadata["target"], "apps/shop/services/default");
    done(&server, &moved);
    assert_eq!(split(&server), json!({"allocations": {"v2": 1}}));
    assert_eq!(server.get("shop.local.r.localhost", "/").expect(200).text(), "v2");
    // Split it between three.
    done(&server, &run(&server, SPLIT, ""));
    assert_eq!(split(&server), json!({"allocations": {"v1": 0.6, "v2": 0.2, "v3": 0.2}, "shardBy": "IP"}));
    // Migrate it step by step, watching the operation.
    let migrated = done(&server, &run(&server, MIGRATE, ""));
    assert_eq!(migrated["response"]["@type"], "type.googleapis.com/google.appengine.v1.Service");
    assert_eq!(split(&server)["allocations"], json!({"v2": 1}));
    // Delete what was faulty.
    done(&server, &run(&server, DELETE, ""));
    assert_eq!(run(&server, DELETE, "")["error"]["status"], "NOT_FOUND");
    server.get("v2-dot-shop.local.r.localhost", "/").expect(200);
}
