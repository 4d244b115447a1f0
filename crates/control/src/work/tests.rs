//! The whole life of versions, over a real store and an engine that does what it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use model::engine::{InstanceReport, NotReady, Stage};
use model::ids::{InstanceId, ServiceId, VersionId};
use model::migrate::guard::Guard;
use model::pool::Boxed;
use model::table::Version;
use model::traffic::{ShardBy, TrafficSplit};
use serde_json::{Map, json};
use store::control::Page;
use store::files::Expected;

use super::*;

/// An engine whose versions are ready at once, unless it is told otherwise.
#[derive(Default)]
struct Double {
    broken: AtomicBool,
    stuck: AtomicBool,
    made: Mutex<Vec<Arc<Version>>>,
    published: Mutex<Vec<Arc<Estate>>>,
    warmed: AtomicUsize,
    ended: AtomicUsize,
}

impl Engine for Double {
    fn make_ready(&self, version: Arc<Version>, told: Arc<dyn Fn(Stage) + Send + Sync>) -> Boxed<'static, Result<(), NotReady>> {
        let (broken, stuck) = (self.broken.load(Ordering::SeqCst), self.stuck.load(Ordering::SeqCst));
        assert!(version.root.join("app.yaml").exists());
        locked(&self.made).push(version);
        Box::pin(async move {
            told(Stage::Booting);
            if stuck {
                std::future::pending::<()>().await;
            }
            if broken { Err(NotReady { message: "It crashed.".to_owned(), log: vec!["ImportError: x".to_owned()] }) } else { Ok(()) }
        })
    }

    fn warm(&self, _: &AppId, _: &VersionKey, _: u32) -> Boxed<'static, Result<(), NotReady>> {
        self.warmed.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, estate: Arc<Estate>) -> Boxed<'static, ()> {
        locked(&self.published).push(estate);
        Box::pin(async {})
    }

    fn instances(&self, _: &AppId, _: &VersionKey) -> Vec<InstanceReport> {
        vec![InstanceReport {
            id: InstanceId::Number(0),
            started: SystemTime::UNIX_EPOCH,
            ready: true,
            leaving: false,
            resident: true,
            requests: 0,
            errors: 0,
            qps: 0.0,
            latency_ms: 0,
            memory: 0,
            why: String::new(),
        }]
    }

    fn end(&self, _: &AppId, _: &VersionKey, _: &InstanceId) -> bool {
        self.ended.fetch_add(1, Ordering::SeqCst);
        true
    }
}

struct Scene {
    home: tempfile::TempDir,
    engine: Arc<Double>,
    house: House,
}

fn id<T: std::str::FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().expect("valid")
}

fn ann() -> Actor {
    Actor { name: "ann".to_owned(), token: None }
}

fn settings() -> Settings {
    Settings {
        naming: Arc::new(|_, _| Naming::default()),
        buckets: Arc::new(|app| vec![format!("staging.{app}.localhost")]),
        watch: None,
        fallback: None,
        most_versions: None,
        keep: Keep::default(),
    }
}

impl Scene {
    async fn new() -> Self {
        Self::with(settings()).await
    }

    async fn with(settings: Settings) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let engine = Arc::new(Double::default());
        let store = Store::open(&home.path().join("data")).expect("opens");
        let house = House::new(store, Arc::clone(&engine) as Arc<dyn Engine>, settings, Handle::current());
        house.start().await.expect("starts");
        let scene = Self { home, engine, house };
        let operation = scene.house.create_app(&ann(), &id("demo"), "local", Map::new()).expect("begun");
        scene.done(&operation).await;
        scene
    }

    /// Another process after this one was ended.
    async fn restart(self) -> Self {
        self.house.stop().await;
        let Self { home, engine, house } = self;
        house.store().release();
        drop(house);
        engine.stuck.store(false, Ordering::SeqCst);
        let store = Store::open(&home.path().join("data")).expect("opens again");
        let house = House::new(store, Arc::clone(&engine) as Arc<dyn Engine>, settings(), Handle::current());
        house.start().await.expect("starts");
        Self { home, engine, house }
    }

    async fn over(&self, operation: &Operation) -> Operation {
        self.house.wait(&operation.app, operation.id, Duration::from_mins(1)).await.expect("known")
    }

    async fn done(&self, operation: &Operation) -> Value {
        match self.over(operation).await.outcome {
            Some(Outcome::Done(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    async fn failed(&self, operation: &Operation) -> Failure {
        match self.over(operation).await.outcome {
            Some(Outcome::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    fn upload(&self, name: &str, text: &str) -> String {
        let blob = self.house.store().put_bytes(text.as_bytes(), &Expected::default()).expect("written");
        let put = self
            .house
            .store()
            .change(&ann(), |change| change.put_object("staging.demo.localhost", name, &blob.sha256, "text/plain", &json!({})));
        put.expect("named");
        blob.sha1.to_string()
    }

    fn create(&self, service: &str, version: &str, more: &Value) -> Result<Operation, Status> {
        let sha1 = self.upload("file", &format!("runtime: python312 # {service} {version}"));
        let url = "https://storage.googleapis.com/staging.demo.localhost/file";
        let mut spec = json!({ "id": version, "runtime": "python312", "deployment": { "files": { "app.yaml": { "sha1Sum": sha1, "sourceUrl": url } } } });
        let both = spec.as_object_mut().expect("an object");
        both.extend(more.as_object().cloned().unwrap_or_default());
        self.house.create_version(&ann(), &id("demo"), &id(service), &id(version), spec)
    }

    async fn deployed(&self, service: &str, version: &str, more: &Value) {
        let operation = self.create(service, version, more).expect("begun");
        self.done(&operation).await;
    }

    fn split(&self, by: Option<ShardBy>, parts: &[(&str, u16)], gradual: Option<Gradual>) -> Result<Operation, Status> {
        let parts = parts.iter().map(|(version, share)| (id(version), *share)).collect();
        let split = TrafficSplit::new(by, parts).expect("adds up");
        let asked = ServiceChange { split: Some(split), gradual, ..ServiceChange::default() };
        self.house.patch_service(&ann(), &id("demo"), &id("default"), asked)
    }

    /// The split in force.
    fn in_force(&self) -> BTreeMap<String, u16> {
        let estate = self.house.estate();
        let service = &estate.apps[&id::<AppId>("demo")].services[&ServiceId::default_service()];
        service.split.parts().map(|(version, share)| (version.to_string(), share)).collect()
    }
}

fn warm() -> Value {
    json!({ "inboundServices": ["INBOUND_SERVICE_WARMUP"] })
}

fn gradual(over: Duration) -> Gradual {
    Gradual { over: Some(over), guard: Guard::default() }
}

fn shares(all: &[(&str, u16)]) -> BTreeMap<String, u16> {
    all.iter().map(|(version, share)| ((*version).to_owned(), *share)).collect()
}

#[tokio::test]
async fn t8_a_version_is_deployed_split_and_deleted() {
    let scene = Scene::new().await;
    let refused = scene.create("api", "v1", &json!({})).expect_err("default comes first");
    assert!(refused.message.starts_with("The first service (module) you upload to a new application must be the 'default' service"));
    let first = scene.create("default", "v1", &json!({})).expect("begun");
    let busy = scene.create("default", "v1", &json!({}));
    let response = scene.done(&first).await;
    assert_eq!(response["name"], "apps/demo/services/default/versions/v1");
    if let Err(busy) = busy {
        assert!(busy.code == Code::Aborted && busy.message.contains("already in progress"), "{busy}");
    }
    assert_eq!(scene.in_force(), shares(&[("v1", 1000)]));
    scene.deployed("default", "v2", &json!({})).await;
    assert_eq!(scene.in_force(), shares(&[("v1", 1000)]), "later versions get nothing until they are promoted");
    let made = Arc::clone(locked(&scene.engine.made).last().expect("made ready"));
    let estate = scene.house.estate();
    let published = &estate.apps[&id::<AppId>("demo")].services[&ServiceId::default_service()].versions[&id::<VersionId>("v2")];
    assert!(Arc::ptr_eq(&made, published), "what was made ready is what is published");
    let operation = scene.split(Some(ShardBy::Ip), &[("v1", 400), ("v2", 600)], None).expect("begun");
    scene.done(&operation).await;
    assert_eq!(scene.in_force(), shares(&[("v1", 400), ("v2", 600)]));
    let delete = |version: &str| scene.house.delete_version(&ann(), &id("demo"), &id("default"), &id(version));
    let text = delete("v1").expect_err("it has traffic").message;
    assert!(text.starts_with("Cannot delete a version with a non-zero traffic allocation."));
    assert_eq!(delete("v9").expect_err("unknown").code, Code::NotFound);
    let operation = scene.split(None, &[("v2", 1000)], None).expect("begun");
    scene.done(&operation).await;
    let operation = delete("v1").expect("begun");
    assert_eq!(scene.done(&operation).await["@type"], "type.googleapis.com/google.protobuf.Empty");
    assert!(delete("v2").expect_err("the last one").message.starts_with("Cannot delete the final version of a service (module)."));
    let text = scene.split(None, &[("v1", 1000)], None).expect_err("gone").message;
    assert!(text.contains("does not exist"), "{text}");
}

#[tokio::test]
async fn t9_what_serves_goes_on_when_a_deployment_fails() {
    let scene = Scene::new().await;
    scene.deployed("default", "v1", &json!({})).await;
    let before = scene.house.store().read(|view| view.version(&id("demo"), &id("default"), &id("v1"))).expect("there");
    scene.engine.broken.store(true, Ordering::SeqCst);
    for version in ["v1", "v2"] {
        let operation = scene.create("default", version, &json!({ "envVariables": { "A": "b" } })).expect("begun");
        let failure = scene.failed(&operation).await;
        assert_eq!(failure.code, 9);
        assert!(failure.message.contains("It crashed.") && failure.message.contains("ImportError"), "{failure:?}");
    }
    let after = scene.house.store().read(|view| view.versions(&id("demo"), &id("default"), &Page::all())).expect("read");
    assert_eq!(after, [before]);
}

#[tokio::test]
async fn t9_deploying_an_id_again_replaces_it_and_keeps_its_share() {
    let scene = Scene::new().await;
    scene.deployed("default", "v1", &json!({})).await;
    scene.deployed("default", "v2", &json!({})).await;
    let operation = scene.split(Some(ShardBy::Cookie), &[("v1", 123), ("v2", 877)], None).expect("begun");
    scene.done(&operation).await;
    scene.deployed("default", "v1", &json!({ "envVariables": { "A": "b" } })).await;
    assert_eq!(scene.in_force(), shares(&[("v1", 123), ("v2", 877)]));
    let estate = scene.house.estate();
    let version = &estate.apps[&id::<AppId>("demo")].services[&ServiceId::default_service()].versions[&id::<VersionId>("v1")];
    assert_eq!(version.config.env.get("A").map(String::as_str), Some("b"));
}

#[tokio::test]
async fn t3_a_migration_moves_traffic_step_by_step() {
    let scene = Scene::new().await;
    scene.deployed("default", "v1", &json!({})).await;
    scene.deployed("default", "v2", &json!({})).await;
    let text = scene.split(Some(ShardBy::Ip), &[("v2", 1000)], Some(gradual(Duration::ZERO))).expect_err("no warmup").message;
    assert!(text.contains("warmup"), "{text}");
    scene.deployed("default", "v2", &warm()).await;
    let operation = scene.split(Some(ShardBy::Ip), &[("v2", 1000)], Some(gradual(Duration::ZERO))).expect("begun");
    assert_eq!(scene.done(&operation).await["name"], "apps/demo/services/default");
    assert_eq!(scene.in_force(), shares(&[("v2", 1000)]));
    let seen: Vec<u16> = locked(&scene.engine.published)
        .iter()
        .filter_map(|estate| estate.apps.get("demo")?.services.get("default").map(|service| service.split.share("v2")))
        .collect();
    assert!(seen.is_sorted() && [10, 50, 250, 1000].iter().all(|share| seen.contains(share)), "{seen:?}");
    let service = scene.house.store().read(|view| view.service(&id("demo"), &id("default"))).expect("there");
    assert_eq!(service.migration, None);
    let over = scene.over(&operation).await;
    assert!(over.extra["migration"]["events"].as_array().is_some_and(|events| events.len() >= 6), "{over:?}");
}

#[tokio::test]
async fn t3_a_migration_is_paused_locked_and_aborted() {
    let scene = Scene::new().await;
    scene.deployed("default", "v1", &json!({})).await;
    scene.deployed("default", "v2", &warm()).await;
    let slow = Some(gradual(Duration::from_hours(1)));
    let operation = scene.split(Some(ShardBy::Ip), &[("v2", 1000)], slow).expect("begun");
    let busy = scene.split(None, &[("v1", 1000)], None).expect_err("it migrates");
    let said =
        "Cannot operate on apps/demo/services/default because an operation is already in progress for apps/demo/services/default by ";
    assert_eq!(busy.message, format!("{said}{}.", operation.name()));
    let labels = ServiceChange { labels: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])), ..ServiceChange::default() };
    let labelled = scene.house.patch_service(&ann(), &id("demo"), &id("default"), labels).expect("labels may change meanwhile");
    scene.done(&labelled).await;
    assert_eq!(
        scene.house.delete_version(&ann(), &id("demo"), &id("default"), &id("v1")).expect_err("it has traffic").code,
        Code::InvalidArgument
    );
    let steer = |steer| scene.house.steer(&ann(), &id("demo"), &id("default"), steer);
    assert_eq!(steer(Steer::Pause).expect("paused").id, operation.id);
    steer(Steer::Abort).expect("aborted");
    let failure = scene.failed(&operation).await;
    assert!(failure.code == 10 && failure.message.contains("aborted by ann"), "{failure:?}");
    assert_eq!(scene.in_force(), shares(&[("v1", 1000)]));
    assert_eq!(steer(Steer::Abort).expect_err("over").code, Code::FailedPrecondition);
    let service = scene.house.store().read(|view| view.service(&id("demo"), &id("default"))).expect("there");
    assert_eq!((service.labels.len(), service.migration), (1, None));
}

#[tokio::test]
async fn t7_operations_go_on_after_a_restart() {
    let scene = Scene::new().await;
    scene.deployed("default", "v1", &json!({})).await;
    scene.deployed("default", "v2", &warm()).await;
    let slow = Some(gradual(Duration::from_hours(1)));
    let migration = scene.split(Some(ShardBy::Ip), &[("v2", 1000)], slow).expect("begun");
    scene.engine.stuck.store(true, Ordering::SeqCst);
    let deployment = scene.create("default", "v3", &json!({})).expect("begun");
    let scene = scene.restart().await;
    assert_eq!(scene.done(&deployment).await["name"], "apps/demo/services/default/versions/v3");
    let running = scene.house.wait(&migration.app, migration.id, Duration::ZERO).await.expect("known");
    assert_eq!(running.outcome, None);
    scene.house.steer(&ann(), &id("demo"), &id("default"), Steer::Abort).expect("aborted");
    scene.failed(&migration).await;
    assert_eq!(scene.in_force(), shares(&[("v1", 1000)]));
}

#[tokio::test]
async fn t9_versions_are_stopped_and_started() {
    let scene = Scene::new().await;
    scene.deployed("default", "v1", &json!({})).await;
    scene.deployed("default", "v2", &json!({ "manualScaling": { "instances": 1 } })).await;
    let set = |version: &str, status: &str, more: Value| {
        let mut spec = json!({ "id": version, "runtime": "python312", "servingStatus": status });
        spec.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        let seen = scene.house.store().read(|view| view.version(&id("demo"), &id("default"), &id(version))).expect("it is there");
        scene.house.patch_version(&ann(), &seen, spec)
    };
    let text = set("v1", "STOPPED", json!({})).expect_err("automatic").message;
    assert!(text.contains("Serving status cannot be changed for Automatic Scaling versions"), "{text}");
    let manual = json!({ "manualScaling": { "instances": 1 } });
    let held = || {
        let estate = scene.house.estate();
        Arc::clone(&estate.apps[&id::<AppId>("demo")].services[&ServiceId::default_service()].versions[&id::<VersionId>("v2")])
    };
    let first = held();
    let operation = set("v2", "STOPPED", manual.clone()).expect("begun");
    scene.done(&operation).await;
    assert!(held().stopped && !first.stopped);
    assert!(scene.split(None, &[("v2", 1000)], None).expect_err("stopped").message.contains("is stopped"));
    let operation = set("v2", "SERVING", manual).expect("begun");
    scene.done(&operation).await;
    assert!(!held().stopped && held().deployment > first.deployment);
    assert!(Arc::ptr_eq(&held(), locked(&scene.engine.made).last().expect("made ready")), "others were ready first");
    let started = held().deployment;
    let operation = set("v2", "SERVING", json!({ "manualScaling": { "instances": 3 } })).expect("begun");
    scene.done(&operation).await;
    assert_eq!(held().config.scaling, model::scaling::Scaling::Manual(model::scaling::Manual { instances: 3 }));
    assert_eq!(held().deployment, started, "instances that run stay");
    let kept = scene.house.store().read(|view| view.deployment(&id("demo"), &id("default"), &id("v2"))).expect("read");
    assert!(kept.is_some_and(|kept| kept["files"]["app.yaml"].is_object()));
    let operation = scene.split(None, &[("v2", 1000)], None).expect("begun");
    scene.done(&operation).await;
    let operation = scene.house.delete_instance(&ann(), &id("demo"), &id("default"), &id("v2"), &InstanceId::Number(0)).expect("begun");
    scene.done(&operation).await;
    assert_eq!(scene.engine.ended.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn t9_two_apps_cannot_have_one_host_name() {
    let scene = Scene::new().await;
    let create = |app: &str| scene.house.create_app(&ann(), &id(app), "local", serde_json::Map::new());
    let status = create("example.com:demo").expect_err("`demo` is there");
    assert!(status.code == Code::AlreadyExists && status.message.contains("host names of the project `demo`"), "{}", status.message);
    create("example.com:other").expect("nobody has its name");
    assert!(create("example.org:other").is_err());
}

#[tokio::test]
async fn t9_no_change_of_a_version_is_lost_to_another() {
    let scene = Scene::new().await;
    scene.deployed("default", "v1", &json!({ "manualScaling": { "instances": 1 } })).await;
    let seen = scene.house.store().read(|view| view.version(&id("demo"), &id("default"), &id("v1"))).expect("it is there");
    let spec = |instances: u32| json!({ "id": "v1", "runtime": "python312", "manualScaling": { "instances": instances } });
    let operation = scene.house.patch_version(&ann(), &seen, spec(2)).expect("begun");
    scene.done(&operation).await;
    // Made of what was there before the other change.
    let status = scene.house.patch_version(&ann(), &seen, spec(3)).expect_err("it was changed");
    assert!(status.code == Code::Aborted && status.message.contains("changed by somebody else"), "{}", status.message);
}

#[tokio::test]
async fn t9_services_are_deleted_but_not_the_default_one() {
    let scene = Scene::with(Settings { most_versions: Some(2), ..settings() }).await;
    scene.deployed("default", "v1", &json!({})).await;
    scene.deployed("api", "v1", &json!({})).await;
    let text = scene.create("api", "v2", &json!({})).expect_err("too many").message;
    assert!(text.starts_with("Your app may not have more than 2 versions."), "{text}");
    let delete = |service: &str| scene.house.delete_service(&ann(), &id("demo"), &id(service));
    assert!(delete("default").expect_err("needed").message.contains("may not be deleted"));
    let operation = delete("api").expect("begun");
    scene.done(&operation).await;
    assert_eq!(scene.house.estate().apps[&id::<AppId>("demo")].services.len(), 1);
}

#[tokio::test]
async fn t9_a_deployment_names_files_that_were_uploaded() {
    let scene = Scene::new().await;
    let create = |deployment: Value| {
        let spec = json!({ "id": "v1", "runtime": "python312", "deployment": deployment });
        scene.house.create_version(&ann(), &id("demo"), &id("default"), &id("v1"), spec).expect_err("refused").message
    };
    assert!(create(json!({})).contains("needs its files"));
    assert!(create(json!({ "files": { "a": { "sourceUrl": "https://storage.googleapis.com/b/o" } } })).contains("upload it first"));
    assert!(create(json!({ "files": { "a": { "sha1Sum": "da39a3ee5e6b4b0d3255bfef95601890afd80709" } } })).contains("SHA-1 da39"));
    assert!(create(json!({ "files": { "../a": { "sha1Sum": scene.upload("x", "x") } } })).contains("`..`"));
    assert!(create(json!({ "zip": { "sourceUrl": "gs://b/o" } })).contains("upload it first"));
    assert!(create(json!({ "container": { "image": "x" } })).contains("flexible"));
}

#[tokio::test]
async fn t9_only_what_changed_is_published() {
    let scene = Scene::new().await;
    scene.deployed("default", "v1", &json!({})).await;
    scene.deployed("api", "v1", &json!({})).await;
    scene.house.settled().await;
    let published = || locked(&scene.engine.published).len();
    let (before, held) = (published(), scene.house.estate());
    scene.house.store().change(&ann(), |change| change.create_token("ci", store::control::Role::Viewer, None, &[])).expect("made");
    scene.house.settled().await;
    assert_eq!(published(), before, "a token changes nothing that is served");
    scene.deployed("api", "v2", &json!({})).await;
    let now = scene.house.estate();
    let version = |estate: &Estate| {
        Arc::clone(&estate.apps[&id::<AppId>("demo")].services[&ServiceId::default_service()].versions[&id::<VersionId>("v1")])
    };
    assert!(Arc::ptr_eq(&version(&held), &version(&now)), "another service's versions are not made anew");
    let disabled = json!({ "servingStatus": "USER_DISABLED" }).as_object().cloned().expect("an object");
    let operation = scene.house.patch_app(&ann(), &id("demo"), disabled).expect("begun");
    scene.done(&operation).await;
    let estate = scene.house.estate();
    assert!(estate.apps[&id::<AppId>("demo")].firewall.denies("192.0.2.1".parse().expect("an address")).is_some());
}

#[tokio::test]
async fn t9_an_archive_is_deployed() {
    let scene = Scene::new().await;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, text) in [("app.yaml", "runtime: python312"), ("lib/a.py", "x = 1")] {
        zip.start_file(path, zip::write::SimpleFileOptions::default()).expect("begun");
        std::io::Write::write_all(&mut zip, text.as_bytes()).expect("written");
    }
    let bytes = zip.finish().expect("finished").into_inner();
    let deploy = |bytes: &[u8]| {
        let blob = scene.house.store().put_bytes(bytes, &Expected::default()).expect("written");
        let put =
            |change: &mut Change<'_>| change.put_object("staging.demo.localhost", "a.zip", &blob.sha256, "application/zip", &json!({}));
        scene.house.store().change(&ann(), put).expect("named");
        let spec =
            json!({ "id": "v1", "runtime": "python312", "deployment": { "zip": { "sourceUrl": "gs://staging.demo.localhost/a.zip" } } });
        scene.house.create_version(&ann(), &id("demo"), &id("default"), &id("v1"), spec).expect("begun")
    };
    let operation = deploy(b"no archive");
    let failure = scene.failed(&operation).await;
    assert!(failure.code == 3 && failure.message.contains("cannot be read"), "{failure:?}");
    let operation = deploy(&bytes);
    scene.done(&operation).await;
    let made = Arc::clone(locked(&scene.engine.made).last().expect("made ready"));
    assert_eq!(std::fs::read_to_string(made.root.join("lib/a.py")).expect("there"), "x = 1");
}
