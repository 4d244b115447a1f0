//! What Google's API has no words for.

use serde_json::{Value, json};
use store::control::Role;

use super::harness::House;

#[test]
fn t6_tokens_are_made_listed_and_revoked() {
    let house = House::new();
    let made = house.ok("POST", "/enginehouse/v1/tokens", &json!({"name": "ci", "role": "deployer", "apps": ["demo"]}));
    let (text, id) = (made["token"].as_str().expect("a token").to_owned(), made["id"].as_str().expect("an id").to_owned());
    let with = |token: &str, method: &str, path: &str| house.ask_with(method, path, &[("Authorization", &format!("Bearer {token}"))], b"");
    let info = with(&text, "GET", "/enginehouse/v1/tokeninfo").json();
    assert_eq!((&info["role"], &info["apps"], info.get("token")), (&json!("deployer"), &json!(["demo"]), None));
    assert_eq!(with(&text, "GET", "/enginehouse/v1/tokens").status, 403);
    let listed = house.get("/enginehouse/v1/tokens");
    assert_eq!(listed["tokens"].as_array().map(Vec::len), Some(2), "{listed}");
    assert!(!listed.to_string().contains(&text));
    house.ok("DELETE", &format!("/enginehouse/v1/tokens/{id}"), &json!({}));
    assert_eq!(with(&text, "GET", "/v1/apps/demo").status, 401);
    // Nobody gives what they do not have.
    let admin = house.token(Role::Admin, Some("demo"), &[]);
    let create = |body: Value| {
        house
            .ask_with("POST", "/enginehouse/v1/tokens", &[("Authorization", &format!("Bearer {admin}"))], body.to_string().as_bytes())
            .status
    };
    assert_eq!(create(json!({"name": "x", "role": "viewer"})), 200);
    assert_eq!(create(json!({"name": "x", "role": "owner", "apps": ["demo"]})), 403);
    assert_eq!(create(json!({"name": "x", "role": "viewer", "apps": ["other"]})), 403);
    assert_eq!(create(json!({"name": "x", "role": "king"})), 400);
}

#[test]
fn t9_every_change_is_in_the_audit_log() {
    let house = House::new();
    house.deploy("default", "v1", json!({"envVariables": {"PASSWORD": "hush"}}));
    house.deploy("default", "v2", json!({}));
    house.ok("PATCH", "/v1/apps/demo/services/default?updateMask=split", &json!({"split": {"allocations": {"v2": 1}}}));
    let log = house.get("/enginehouse/v1/apps/demo/audit");
    let newest = &log["entries"][0];
    assert_eq!(
        (&newest["user"], &newest["action"], &newest["target"]),
        (&json!("owner"), &json!("services.patch"), &json!("apps/demo/services/default"))
    );
    assert!(newest["operation"].is_string() && newest["before"]["split"] != newest["after"]["split"], "{newest}");
    assert!(!log.to_string().contains("hush"));
    assert_eq!(house.get("/enginehouse/v1/audit?app=demo")["entries"], log["entries"]);
}

#[test]
fn t10_explain_splits_and_rollback() {
    let house = House::new();
    house.deploy("default", "v1", json!({}));
    house.deploy("default", "v2", json!({}));
    let own = "/enginehouse/v1/apps/demo/services/default";
    let nothing = house.ask("POST", &format!("{own}:rollback"), "").error();
    assert!(nothing.starts_with("FAILED_PRECONDITION: The traffic of service `default` has not been changed yet"), "{nothing}");
    let patch = "/v1/apps/demo/services/default?updateMask=split";
    house.ok("PATCH", patch, &json!({"split": {"shardBy": "COOKIE", "allocations": {"v1": 0.5, "v2": 0.5}}}));
    let explained = house.get(&format!("{own}/traffic:explain?cookie=999"));
    assert_eq!((&explained["bucket"], &explained["version"]), (&json!(999), &json!("v2")), "{explained}");
    assert_eq!(house.ask("GET", &format!("{own}/traffic:explain"), "").status, 400);
    assert_eq!(house.ask("GET", &format!("{own}/traffic:explain?ip=x"), "").status, 400);
    let splits = house.get(&format!("{own}/splits"));
    let shown: Vec<&Value> = splits["splits"].as_array().expect("splits").iter().map(|split| &split["split"]["allocations"]).collect();
    assert_eq!(shown, [&json!({"v1": 0.5, "v2": 0.5}), &json!({"v1": 1})]);
    // However much else is done in between.
    let other =
        |change: &mut store::control::Change<'_>| (0..12_000).try_for_each(|_| change.note(Some("demo"), "other", "apps/demo", None, None));
    house.store.change::<_, store::control::StoreError>(&store::control::Actor::house(), other).expect("noted");
    house.ok("POST", &format!("{own}:rollback"), &json!({}));
    assert_eq!(house.get("/v1/apps/demo/services/default")["split"]["allocations"], json!({"v1": 1}));
    assert_eq!(house.ask("POST", &format!("{own}/migration:pause"), "").status, 400);
}

#[test]
fn t9_versions_are_compared() {
    let house = House::new();
    house.deploy("default", "v1", json!({"envVariables": {"A": "1"}, "instanceClass": "F2"}));
    house.deploy("default", "v2", json!({"envVariables": {"A": "2"}}));
    let diff = house.get("/enginehouse/v1/apps/demo/services/default/versions:diff?from=v1&to=v2");
    assert_eq!(
        diff["settings"],
        json!([{"path": "envVariables.A", "from": "(hidden)", "to": "(hidden)"}, {"path": "instanceClass", "from": "F2", "to": null}])
    );
    assert_eq!(house.ask("GET", "/enginehouse/v1/apps/demo/services/default/versions:diff?from=v1", "").status, 400);
}

#[test]
fn t9_many_files_come_in_one_stream() {
    let house = House::new();
    let sums = json!({"sha1": ["da39a3ee5e6b4b0d3255bfef95601890afd80709", "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"]});
    let missing = "/enginehouse/v1/apps/demo/files:missing";
    assert_eq!(house.ok("POST", missing, &sums)["missing"], sums["sha1"]);
    let upload = |body: &str| house.ask("POST", "/enginehouse/v1/apps/demo/files:upload", body);
    let stream = "da39a3ee5e6b4b0d3255bfef95601890afd80709 0\n0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33 3\nfoo";
    assert_eq!(upload(stream).json(), json!({"files": 2}));
    assert_eq!(house.ok("POST", missing, &sums)["missing"], json!([]));
    assert_eq!(upload("0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33 3\nbar").status, 400);
    assert_eq!(upload("0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33 3\nfo").status, 400);
    assert_eq!(upload(&"x".repeat(200)).status, 400);
    let viewer = house.token(Role::Viewer, None, &[]);
    let refused = house.ask_with(
        "POST",
        "/enginehouse/v1/apps/demo/files:upload",
        &[("Authorization", &format!("Bearer {viewer}"))],
        stream.as_bytes(),
    );
    assert_eq!(refused.status, 403);
}
