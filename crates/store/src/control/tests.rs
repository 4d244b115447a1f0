//! The state as its callers see it.

use std::collections::BTreeMap;

use model::ids::{AppId, ServiceId, VersionId};
use model::traffic::TrafficSplit;
use serde_json::{Map, json};

use super::*;
use crate::files::{Expected, Manifest, ManifestFile, Sha256};

pub(crate) struct House {
    _home: tempfile::TempDir,
    pub(crate) store: Store,
}

fn id<T: std::str::FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().expect("valid")
}

fn actor() -> Actor {
    Actor { name: "ann".to_owned(), token: Some("t1".to_owned()) }
}

fn house() -> House {
    let home = tempfile::tempdir().expect("a folder");
    let store = Store::open(&home.path().join("data")).expect("opens");
    store.change(&actor(), |change| change.create_app(&id("demo"), "local", Map::new())).expect("made");
    House { _home: home, store }
}

impl House {
    fn manifest(&self, files: &[(&str, &str)]) -> Manifest {
        let entry = |(path, text): &(&str, &str)| {
            let blob = self.store.put_bytes(text.as_bytes(), &Expected::default()).expect("written");
            ((*path).to_owned(), ManifestFile { sha256: blob.sha256, size: blob.size, mime: None })
        };
        Manifest::new(files.iter().map(entry).collect()).expect("good paths")
    }

    fn deploy(&self, service: &str, version: &str, manifest: &Manifest) -> Version {
        let (app, service): (AppId, ServiceId) = (id("demo"), id(service));
        let deployed = self.store.change(&actor(), |change| {
            let manifest = change.put_manifest(manifest)?;
            if change.find_service(&app, service.as_str())?.is_none() {
                let split = TrafficSplit::all(id(version));
                let (labels, created) = (BTreeMap::new(), change.now());
                let rev = change.rev();
                let new = Service { app: app.clone(), id: service.clone(), split, labels, network: None, migration: None, created, rev };
                change.put_service("services.create", new)?;
            }
            let spec = json!({ "id": version, "runtime": "python312", "deployment": { "files": {} }, "envVariables": { "KEY": "hush" } });
            let status = ServingStatus::Serving;
            let deployment = change.rev();
            change.put_version(NewVersion {
                app: app.clone(),
                service: service.clone(),
                id: id(version),
                spec,
                manifest,
                status,
                deployment,
            })
        });
        deployed.expect("deployed")
    }
}

#[test]
fn a_version_is_given_back_as_it_was_sent() {
    let house = house();
    let manifest = house.manifest(&[("app.yaml", "runtime: python312"), ("a/b.txt", "b")]);
    let first = house.deploy("default", "v1", &manifest);
    let second = house.deploy("default", "v1", &manifest);
    assert!(second.deployment > first.deployment);
    assert_eq!(second.disk, 19);
    house
        .store
        .read(|view| {
            let (app, service, version) = (id("demo"), id("default"), id("v1"));
            let read = view.version(&app, &service, &version)?;
            assert_eq!(read.spec, json!({ "id": "v1", "runtime": "python312", "envVariables": { "KEY": "hush" } }));
            assert_eq!(view.deployment(&app, &service, &version)?, Some(json!({ "files": {} })));
            assert_eq!(view.manifest(&read.manifest)?, manifest);
            Ok::<_, StoreError>(())
        })
        .expect("read");
    let log = house.store.read(|view| view.audit(Some("demo"), &Page::all())).expect("read");
    let text = format!("{log:?}");
    assert!(text.contains("versions.create") && text.contains("(hidden)") && !text.contains("hush"), "{text}");
    assert_eq!(house.store.check().expect("checked"), Vec::<String>::new());
}

#[test]
fn a_failed_change_leaves_nothing() {
    let house = house();
    let rev = house.store.rev();
    let result = house.store.change(&actor(), |change| {
        change.create_app(&id("other"), "local", Map::new())?;
        Err::<(), _>(StoreError::Invalid("no".to_owned()))
    });
    assert!(result.is_err());
    assert_eq!(house.store.rev(), rev);
    assert!(house.store.read(|view| view.find_app("other")).expect("read").is_none());
    assert_eq!(house.store.read(|view| view.audit(Some("other"), &Page::all())).expect("read").len(), 0);
}

#[test]
fn a_running_operation_has_its_target_for_itself() {
    let house = house();
    let begin = |target: &str, whole| {
        let lock = if whole { Lock::Whole } else { Lock::Target };
        let begin = Begin { app: id("demo"), method: "m", target: target.to_owned(), work: json!({}), lock };
        house.store.change(&actor(), |change| change.begin(begin))
    };
    let version = "apps/demo/services/default/versions/v1";
    let first = begin(version, false).expect("begun");
    let text = begin(version, false).expect_err("busy").to_string();
    let said = format!("Cannot operate on {version} because an operation is already in progress for {version} by {}.", first.name());
    assert_eq!(text, said);
    begin("apps/demo/services/default", false).expect("a split may change meanwhile");
    assert!(matches!(begin("apps/demo/services/default", true), Err(StoreError::Busy { .. })));
    let whole = begin("apps/demo/services/other", true).expect("begun");
    assert!(matches!(begin("apps/demo/services/other/versions/v1", false), Err(StoreError::Busy { .. })));
    begin("apps/demo/services/other-2/versions/v1", false).expect("not below it");
    let finish = |operation: &Operation| {
        let outcome = Outcome::Failed(Failure { code: 13, message: "x".to_owned(), details: Vec::new() });
        house.store.change(&actor(), |change| change.finish(&operation.app, operation.id, &outcome)).expect("finished")
    };
    finish(&whole);
    begin("apps/demo/services/other/versions/v1", false).expect("free again");
    assert!(finish(&first).ended.is_some());
    assert_eq!(house.store.read(|view| view.running_operations()).expect("read").len(), 3);
    house.store.change(&actor(), |change| change.forget_operations(Duration::ZERO)).expect("forgotten");
    assert_eq!(house.store.read(|view| view.operations(&id("demo"), None, &Page::all())).expect("read").len(), 3);
}

#[test]
fn two_writers_of_one_state_cannot_both_win() {
    let house = house();
    let manifest = house.manifest(&[("app.yaml", "x")]);
    let version = house.deploy("default", "v1", &manifest);
    let stop = |version: Version| {
        house.store.change(&actor(), |change| change.patch_version(Version { status: ServingStatus::Stopped, ..version }))
    };
    stop(version.clone()).expect("first");
    assert!(matches!(stop(version), Err(StoreError::Stale(_))));
}

#[test]
fn the_owner_token_is_drawn_once() {
    let house = house();
    let owner = house.store.owner_token().expect("written");
    let token = house.store.authenticate(owner.reveal()).expect("asked").expect("known");
    assert_eq!((token.role, token.app.clone()), (Role::Owner, None));
    let wrong = format!("{}0", &owner.reveal()[..owner.reveal().len() - 1]);
    for bad in ["", "eh_", "eh__", "eh_x_y", &wrong, "Bearer"] {
        assert!(bad == owner.reveal() || house.store.authenticate(bad).expect("asked").is_none(), "{bad}");
    }
    assert!(house.store.change(&actor(), |change| change.revoke_token(&token.id)).is_err());
    let made = house.store.change(&actor(), |change| change.create_token("ci", Role::Deployer, Some(&id("demo")), &[]));
    let (ci, secret) = made.expect("made");
    assert!(house.store.authenticate(secret.reveal()).expect("asked").is_some());
    house.store.write_uses().expect("written");
    assert!(house.store.read(|view| view.token(&ci.id)).expect("read").used.is_some());
    house.store.change(&actor(), |change| change.revoke_token(&ci.id)).expect("revoked");
    assert!(house.store.authenticate(secret.reveal()).expect("asked").is_none());
    assert!(!format!("{secret:?}").contains(secret.reveal()));
}

#[test]
fn a_second_server_is_refused_and_a_new_one_takes_over() {
    let house = house();
    let dir = house.store.dir().to_owned();
    let error = Store::open(&dir).expect_err("in use").to_string();
    assert!(error.contains(&format!("by process {}", std::process::id())), "{error}");
    let new = Store::open_beside(&dir).expect("reads");
    assert!(!new.is_master() && new.read(|view| view.app("demo")).is_ok());
    let change = |store: &Store, app: &str| store.change(&actor(), |change| change.create_app(&id(app), "local", Map::new()));
    assert!(matches!(change(&new, "two"), Err(StoreError::HandedOver)));
    change(&house.store, "two").expect("the old one goes on");
    assert!(!new.take_over(Duration::ZERO).expect("asked"));
    house.store.release();
    assert!(new.take_over(Duration::from_secs(10)).expect("asked"));
    assert!(matches!(change(&house.store, "three"), Err(StoreError::HandedOver)));
    change(&new, "three").expect("the new one goes on");
    assert_eq!(house.store.read(|view| view.apps(&Page::all())).expect("still reads").len(), 3);
    assert_eq!(new.rev(), new.read(|view| view.rev()).expect("read"));
}

#[test]
fn newer_and_foreign_folders_are_left_alone() {
    let house = house();
    let dir = house.store.dir().to_owned();
    house.store.0.writer.lock().expect("whole").execute("UPDATE meta SET value = '99' WHERE name = 'schema'", []).expect("set");
    drop(house.store);
    assert!(matches!(Store::open(&dir), Err(OpenError::Newer { found: 99, .. })));
    let other = tempfile::tempdir().expect("a folder");
    std::fs::write(other.path().join("precious"), "x").expect("written");
    assert!(matches!(Store::open(other.path()), Err(OpenError::Foreign { .. })));
    assert_eq!(std::fs::read_dir(other.path()).expect("readable").count(), 1);
}

#[test]
fn objects_have_names_and_their_bytes_are_checked() {
    let house = house();
    let blob = house.store.put_bytes(b"hello", &Expected { size: Some(5), ..Expected::default() }).expect("written");
    assert!(house.store.put_bytes(b"hello", &Expected { size: Some(6), ..Expected::default() }).is_err());
    assert!(house.store.put_bytes(b"hello!", &Expected { sha1: Some(blob.sha1), ..Expected::default() }).is_err());
    let listed = house.store.change(&actor(), |change| {
        change.create_bucket("b", None, "local", &json!({}))?;
        for name in ["a", "ab", "b"] {
            change.put_object("b", name, &blob.sha256, "text/plain", &json!({}))?;
        }
        change.objects("b", "a", &Page { after: None, limit: 1 })
    });
    assert_eq!(listed.expect("listed").iter().map(|o| (o.name.as_str(), o.size)).collect::<Vec<_>>(), [("a", 5)]);
    let rest = house.store.read(|view| view.objects("b", "a", &Page { after: Some("a".to_owned()), limit: 0 })).expect("listed");
    assert_eq!(rest.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["ab"]);
    let found = house.store.read(|view| view.find_blob_by_sha1(&blob.sha1)).expect("asked");
    assert_eq!(found, Some(blob));
    let folder = house.store.materialise(&house.manifest(&[("x/y", "hello"), ("run.sh", "#!/bin/sh\n")])).expect("made");
    assert_eq!(std::fs::read(folder.join("x/y")).expect("there"), b"hello");
}

#[test]
fn a_service_goes_with_all_its_versions() {
    let house = house();
    let manifest = house.manifest(&[("app.yaml", "x")]);
    house.deploy("default", "v1", &manifest);
    house.deploy("api", "v1", &manifest);
    house.deploy("api", "v2", &manifest);
    let app: AppId = id("demo");
    house.store.change(&actor(), |change| change.delete_service(&app, &id("api"))).expect("deleted");
    let left =
        house.store.read(|view| Ok::<_, StoreError>((view.count_versions(&app)?, view.services(&app, &Page::all())?.len()))).expect("read");
    assert_eq!(left, (1, 1));
    let version: VersionId = id("v1");
    assert!(house.store.read(|view| view.deployment(&app, &id("api"), &version)).expect("read").is_none());
    assert_eq!(house.store.read(|view| view.manifests_in_use()).expect("read"), [manifest.hash()]);
    let _: Sha256 = manifest.hash();
}
