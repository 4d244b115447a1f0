//! The collector removes what nobody needs and nothing else, whatever came before.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use store::Store;
use store::control::{Page, StoreError};
use store::files::Grace;

use crate::scene::{BUCKET, actor, check, deploy, id, open, upload};

const AT_ONCE: Grace = Grace { files: Duration::ZERO, staged: Duration::ZERO, uploads: Duration::ZERO };

#[derive(Debug, Clone)]
enum Step {
    Upload(u8, u8),
    Remove(u8),
    Deploy(u8, Vec<(u8, u8)>),
    Delete(u8),
    Collect,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let files = prop::collection::vec((0..4_u8, 0..6_u8), 1..4);
    prop_oneof![
        (0..4_u8, 0..6_u8).prop_map(|(name, text)| Step::Upload(name, text)),
        (0..4_u8).prop_map(Step::Remove),
        (0..3_u8, files).prop_map(|(version, files)| Step::Deploy(version, files)),
        (1..3_u8).prop_map(Step::Delete),
        Just(Step::Collect),
        Just(Step::Reopen),
    ]
}

fn text(number: u8) -> String {
    format!("text {number}")
}

fn act(store: &mut Store, dir: &Path, step: &Step) {
    match step {
        Step::Upload(name, number) => upload(store, &format!("o{name}"), &text(*number)).expect("uploaded"),
        Step::Remove(name) => {
            store.change(&actor(), |change| change.delete_object(BUCKET, &format!("o{name}"))).expect("removed");
        }
        Step::Deploy(version, files) => {
            let files: Vec<(String, String)> = files.iter().map(|(path, number)| (format!("d{path}/f"), text(*number))).collect();
            let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            deploy(store, "default", &format!("v{version}"), &files).expect("deployed");
        }
        Step::Delete(version) => {
            let deleted = store.change(&actor(), |change| change.delete_version(&id("demo"), &id("default"), &id(&format!("v{version}"))));
            assert!(matches!(deleted, Ok(_) | Err(StoreError::Missing(_))));
        }
        Step::Collect => {
            store.collect(&AT_ONCE).expect("collected");
        }
        Step::Reopen => {
            store.release();
            *store = open(dir);
        }
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).expect("readable").map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// What is on the disk: contents, and folders of versions.
fn on_disk(dir: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let prefixes = names(&dir.join("files"));
    let content =
        prefixes.iter().flat_map(|prefix| names(&dir.join("files").join(prefix)).into_iter().map(move |rest| format!("{prefix}{rest}")));
    (content.collect(), names(&dir.join("versions")))
}

fn needed(store: &Store) -> (BTreeSet<String>, BTreeSet<String>) {
    store
        .read(|view| {
            let objects = view.objects(BUCKET, "", &Page::all())?;
            let mut content: BTreeSet<String> = objects.iter().map(|object| object.sha256.to_string()).collect();
            let manifests = view.manifests_in_use()?;
            for hash in &manifests {
                content.extend(view.manifest(hash)?.files().values().map(|file| file.sha256.to_string()));
            }
            Ok::<_, StoreError>((content, manifests.iter().map(ToString::to_string).collect()))
        })
        .expect("read")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn only_what_nobody_needs_is_removed(steps in prop::collection::vec(step(), 1..25)) {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("data");
        let mut store = open(&dir);
        deploy(&store, "default", "v0", &[("d0/f", "text 0")]).expect("deployed");
        for step in &steps {
            act(&mut store, &dir, step);
            check(&store);
        }
        // Objects of deployments that no version has go at once here; manifests are marked in one round and go in the next.
        for _ in 0..3 {
            store.collect(&AT_ONCE).expect("collected");
        }
        check(&store);
        prop_assert_eq!(on_disk(&dir), needed(&store));
        let used: BTreeSet<String> = needed(&store).0;
        prop_assert!(store.read(|view| view.objects(BUCKET, "", &Page::all())).expect("read").iter().all(|o| used.contains(&o.sha256.to_string())));
    }
}

#[test]
fn files_in_use_survive_a_collector_that_never_rests() {
    let home = tempfile::tempdir().expect("a folder");
    let dir = home.path().join("data");
    let store = open(&dir);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                store.collect(&Grace { uploads: Duration::from_hours(1), staged: Duration::from_hours(1), ..AT_ONCE }).expect("collected");
                // Room for the others between two rounds.
                store.check().expect("checked");
            }
        });
        let deployed = scope.spawn(|| {
            for n in 0..6 {
                // Content that has no name yet may be removed, as this collector gives no time; a version that exists has all of it.
                while deploy(&store, "default", &format!("v{}", n % 5), &[("a/b", &format!("text {n}")), ("c", "x")]).is_err() {
                    let left = store.read(|view| view.running_operations()).expect("read");
                    for one in left {
                        let done = store::control::Outcome::Done(serde_json::json!({}));
                        store.change(&actor(), |change| change.finish(&one.app, one.id, &done)).expect("finished");
                    }
                }
                check(&store);
            }
        });
        let joined = deployed.join();
        over.store(true, Ordering::SeqCst);
        collector.join().expect("the collector went on");
        joined.expect("every version is whole");
    });
}

#[test]
fn nothing_young_is_removed() {
    let home = tempfile::tempdir().expect("a folder");
    let dir = home.path().join("data");
    let store = open(&dir);
    store.put_bytes(b"not named yet", &store::files::Expected::default()).expect("written");
    let before = on_disk(&dir);
    let collected = store.collect(&Grace::default()).expect("collected");
    assert_eq!(collected, store::files::Collected::default());
    assert_eq!(on_disk(&dir), before);
}
