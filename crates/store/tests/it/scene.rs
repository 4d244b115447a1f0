//! A store with an app in it, and what must hold of it whatever happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use model::ids::{AppId, ServiceId, VersionId};
use model::traffic::TrafficSplit;
use serde_json::{Map, json};
use store::Store;
use store::control::{Actor, Begin, Lock, NewVersion, Outcome, Page, Service, ServingStatus, StoreError};
use store::files::{Expected, Manifest, ManifestFile};

pub(crate) const BUCKET: &str = "staging.demo";

pub(crate) fn id<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a good name")
}

pub(crate) fn actor() -> Actor {
    Actor { name: "ann".to_owned(), token: None }
}

/// Opens a store, with the app `demo` and its bucket.
pub(crate) fn open(dir: &Path) -> Store {
    let store = Store::open(dir).expect("opens");
    let made = store.change(&actor(), |change| {
        if change.find_app("demo")?.is_none() {
            change.create_app(&id("demo"), "local", Map::new())?;
            change.create_bucket(BUCKET, Some(&id("demo")), "local", &json!({}))?;
        }
        Ok::<_, StoreError>(())
    });
    made.expect("there");
    store
}

/// Uploads text under a name.
pub(crate) fn upload(store: &Store, name: &str, text: &str) -> Result<(), StoreError> {
    let blob = store.put_bytes(text.as_bytes(), &Expected::default())?;
    store.change(&actor(), |change| change.put_object(BUCKET, name, &blob.sha256, "text/plain", &json!({})))?;
    Ok(())
}

/// Deploys a version with these files, by the steps of the driver.
pub(crate) fn deploy(store: &Store, service: &str, version: &str, files: &[(&str, &str)]) -> Result<(), StoreError> {
    let mut all = BTreeMap::new();
    for (path, text) in files {
        let blob = store.put_bytes(text.as_bytes(), &Expected::default())?;
        all.insert((*path).to_owned(), ManifestFile { sha256: blob.sha256, size: blob.size, mime: None });
    }
    let manifest = Manifest::new(all).expect("good paths");
    let (app, service): (AppId, ServiceId) = (id("demo"), id(service));
    let operation = store.change(&actor(), |change| {
        let target = format!("apps/demo/services/{service}/versions/{version}");
        let begun = change.begin(Begin { app: app.clone(), method: "create", target, work: json!(1), lock: Lock::Target })?;
        change.put_manifest(&manifest)?;
        Ok::<_, StoreError>(begun)
    })?;
    store.materialise(&manifest)?;
    store.change(&actor(), |change| {
        change.as_part_of(operation.id);
        if change.find_service(&app, service.as_str())?.is_none() {
            let (split, created, rev) = (TrafficSplit::all(id(version)), change.now(), change.rev());
            let (app, id) = (app.clone(), service.clone());
            let new = Service { app, id, split, labels: BTreeMap::new(), network: None, migration: None, created, rev };
            change.put_service("services.create", new)?;
        }
        let (spec, status, deployment) = (json!({ "deployment": { "n": version } }), ServingStatus::Serving, change.rev());
        let (app, manifest) = (app.clone(), manifest.hash());
        change.put_version(NewVersion { app, service, id: id::<VersionId>(version), spec, manifest, status, deployment })?;
        change.finish(&operation.app, operation.id, &Outcome::Done(json!({})))?;
        Ok(())
    })
}

/// Everything that is named is there and whole.
pub(crate) fn check(store: &Store) {
    assert_eq!(store.check().expect("checked"), Vec::<String>::new());
    assert_eq!(store.restore_folders().expect("restored"), Vec::<String>::new());
    let app: AppId = id("demo");
    store
        .read(|view| {
            for object in view.objects(BUCKET, "", &Page::all())? {
                let bytes = fs::read(store.blob_path(&object.sha256)).expect("an object has its bytes");
                assert_eq!(bytes.len() as u64, object.size);
            }
            for service in view.services(&app, &Page::all())? {
                let versions = view.versions(&app, &service.id, &Page::all())?;
                for (version, _) in service.split.parts() {
                    assert!(versions.iter().any(|known| known.id == *version), "{} serves {version}", service.id);
                }
                for version in versions {
                    let manifest = view.manifest(&version.manifest)?;
                    assert_eq!(manifest.size(), version.disk);
                    assert!(view.deployment(&app, &service.id, &version.id)?.is_some());
                    for (path, file) in manifest.files() {
                        let found = fs::metadata(store.folder(&version.manifest).join(path)).expect("a version has its files");
                        assert_eq!(found.len(), file.size);
                    }
                }
            }
            Ok::<_, StoreError>(())
        })
        .expect("read");
}
