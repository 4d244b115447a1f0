//! What a request asks for, who may ask, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use model::config::VersionConfig;
use model::pool::Boxed;
use model::scaling::{Manual, Scaling};
use model::table::{Naming, RoutingTable};
use model::traffic::TrafficSplit;
use store::access::Access;

use super::*;

#[derive(Default)]
struct Steered(Mutex<Vec<(String, Change)>>);

impl Steer for Steered {
    fn steer(&self, _: &AppId, version: &VersionKey, change: Change) -> Boxed<'static, Result<(), Refused>> {
        self.0.lock().expect("whole").push((version.to_string(), change));
        let answer = if version.service.is_default() { Err(Refused::Scaling(version.clone())) } else { Ok(()) };
        Box::pin(std::future::ready(answer))
    }
}

fn table() -> Arc<RoutingTable> {
    let app: AppId = "shop".parse().expect("an id");
    let mut services = BTreeMap::new();
    for (service, version, scaling) in [("default", "v1", None), ("api", "a1", Some(Scaling::Manual(Manual { instances: 2 })))] {
        let json = json!({"runtime": "python312", "envVariables": {"SECRET": "x"}, "manualScaling": {"instances": 2}});
        let key = VersionKey::new(service.parse().expect("an id"), version.parse().expect("an id")).expect("short");
        let mut config: VersionConfig = crate::version::lower(&key, &json).expect("a version");
        config.scaling = scaling.unwrap_or(config.scaling);
        let version = Arc::new(Version::new(app.clone(), config, "/nowhere".into(), 1));
        let split = TrafficSplit::all(key.version.clone());
        let service = Service { versions: [(key.version.clone(), version)].into(), split, ingress: model::ingress::Ingress::default() };
        services.insert(key.service.clone(), service);
    }
    let naming = Naming { default_hostname: "localhost:8080".into(), ..Naming::default() };
    Arc::new(RoutingTable::build(1, app, naming, services, Vec::new(), model::firewall::Firewall::default()).expect("a table"))
}

struct Scene {
    within: Within,
    steered: Arc<Steered>,
    key: AccessKey,
}

impl Scene {
    fn new() -> Self {
        let (steered, key) = (Arc::new(Steered::default()), AccessKey::new(&[7; 32]));
        let within =
            Within::new("shop".parse().expect("an id"), "local".into(), Box::new(|| Some(table())), Arc::clone(&steered) as _, key.clone());
        Self { within, steered, key }
    }

    fn token(&self, app: &str, scopes: &[&str]) -> String {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let expires = SystemTime::now() + std::time::Duration::from_mins(1);
        self.key.mint(&Access { app: app.parse().expect("an id"), scopes, expires })
    }

    fn ask_with(&self, token: &str, method: &Method, target: &str, body: &str) -> Result<Value, Status> {
        let mut headers = HeaderMap::new();
        if !token.is_empty() {
            headers.insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(self.within.answer(method, &target.parse().expect("a target"), &headers, body.as_bytes()))
    }

    fn ask(&self, method: &Method, target: &str, body: &str) -> Result<Value, Status> {
        self.ask_with(&self.token("shop", &["https://www.googleapis.com/auth/cloud-platform"]), method, target, body)
    }

    #[track_caller]
    fn get(&self, target: &str) -> Value {
        self.ask(&Method::GET, target, "").expect("an answer")
    }
}

#[test]
fn m3_an_app_is_told_of_itself() {
    let scene = Scene::new();
    assert_eq!(scene.get("/v1/apps/shop")["defaultHostname"], "localhost:8080");
    let services = scene.get("/v1/apps/shop/services");
    assert_eq!(services["services"].as_array().map(Vec::len), Some(2));
    assert_eq!(scene.get("/v1beta/apps/shop/services/api")["split"], json!({"allocations": {"a1": 1}}));
    let full = scene.get("/v1/apps/shop/services/api/versions?view=FULL");
    let version = &full["versions"][0];
    let wanted = [("name", json!("apps/shop/services/api/versions/a1")), ("id", json!("a1")), ("servingStatus", json!("SERVING"))];
    for (field, value) in wanted {
        assert_eq!(version[field], value, "{version}");
    }
    assert_eq!((&version["manualScaling"]["instances"], &version["envVariables"]["SECRET"]), (&json!(2), &json!("x")));
    assert_eq!(scene.get("/v1/apps/shop/services/api/versions/a1").get("envVariables"), None);
    for nothing in
        ["/v1/apps/other", "/v1/apps/shop/services/x", "/v1/apps/shop/services/api/versions/x", "/v1/apps/shop/services/x/versions"]
    {
        assert_eq!(scene.ask(&Method::GET, nothing, "").expect_err("nothing").code, Code::NotFound, "{nothing}");
    }
    for unknown in ["/", "/v2/apps/shop", "/v1/apps", "/v1/apps/shop/firewall", "/v1/apps/shop/services/api/versions/a1/instances"] {
        assert_eq!(scene.ask(&Method::GET, unknown, "").expect_err("unknown").code, Code::Unimplemented, "{unknown}");
    }
}

#[test]
fn m3_an_app_changes_itself() {
    let scene = Scene::new();
    let at = "/v1/apps/shop/services/api/versions/a1";
    let done = scene.ask(&Method::PATCH, &format!("{at}?updateMask=manualScaling.instances"), r#"{"manualScaling":{"instances":3}}"#);
    assert_eq!(done.expect("done")["done"], true);
    scene.ask(&Method::PATCH, &format!("{at}?update_mask=serving_status"), r#"{"serving_status":"STOPPED"}"#).expect("done");
    let made = std::mem::take(&mut *scene.steered.0.lock().expect("whole"));
    assert_eq!(made, [("api/a1".to_owned(), Change::Instances(3)), ("api/a1".to_owned(), Change::Serving(false))]);
    let default = "/v1/apps/shop/services/default/versions/v1?updateMask=servingStatus";
    assert_eq!(scene.ask(&Method::PATCH, default, r#"{"servingStatus":"STOPPED"}"#).expect_err("automatic").code, Code::InvalidArgument);
    scene.steered.0.lock().expect("whole").clear();
    for (mask, body) in [
        ("", "{}"),
        ("?updateMask=", "{}"),
        ("?updateMask=envVariables", "{}"),
        ("?updateMask=servingStatus", "{"),
        ("?updateMask=servingStatus", "[1]"),
        ("?updateMask=servingStatus", r#"{"servingStatus":"x"}"#),
        ("?updateMask=manualScaling.instances", r#"{"manualScaling":{"instances":0}}"#),
        ("?updateMask=manualScaling.instances", r#"{"manualScaling":{"instances":1001}}"#),
        ("?updateMask=manualScaling.instances", r#"{"manualScaling":7}"#),
    ] {
        let refused = scene.ask(&Method::PATCH, &format!("{at}{mask}"), body).expect_err("refused");
        assert_eq!(refused.code, Code::InvalidArgument, "{mask} {body}");
    }
    assert!(scene.steered.0.lock().expect("whole").is_empty());
}

#[test]
fn m3_nobody_else_is_answered() {
    let scene = Scene::new();
    let codes: BTreeSet<&str> = [
        "",
        "x",
        "ehs_x.y",
        &AccessKey::new(&[8; 32]).mint(&Access {
            app: "shop".parse().expect("an id"),
            scopes: Vec::new(),
            expires: SystemTime::now() + std::time::Duration::from_mins(1),
        }),
    ]
    .iter()
    .map(|token| scene.ask_with(token, &Method::GET, "/v1/apps/shop", "").expect_err("a stranger").code.name())
    .collect();
    assert_eq!(codes, BTreeSet::from(["UNAUTHENTICATED"]));
    let refused = |token: &str, method: &Method| {
        let target = "/v1/apps/shop/services/api/versions/a1?updateMask=servingStatus";
        scene.ask_with(token, method, target, r#"{"servingStatus":"SERVING"}"#).expect_err("refused").code
    };
    assert_eq!(refused(&scene.token("other", &[]), &Method::GET), Code::PermissionDenied);
    let looking = scene.token("shop", &["https://www.googleapis.com/auth/appengine.admin"]);
    assert_eq!(refused(&looking, &Method::PATCH), Code::PermissionDenied);
    assert!(scene.ask_with(&looking, &Method::GET, "/v1/apps/shop", "").is_ok());
    assert_eq!(refused(&scene.token("shop", &["email"]), &Method::GET), Code::PermissionDenied);
    assert!(scene.steered.0.lock().expect("whole").is_empty());
}
