//! The immutable copy: what is in it, that it is made of links where nothing changed, and that it goes when nobody needs it.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleet::prepare::Quiet;
use fleet::{Prepared, Staged};
use model::config::{SkipFiles, VersionConfig};
use model::handler::{Handler, HandlerKind, StaticFiles, StaticSource};
use model::ids::VersionKey;
use model::pattern::{Anchor, Pattern, Template};

use crate::support::{House, config, eventually};

fn prepared(house: &House, config: VersionConfig) -> Prepared {
    house.fleet.prepare(&house.version(config, 1), &Quiet).expect("prepared")
}

fn files(prepared: &Prepared) -> Arc<Staged> {
    Arc::clone(prepared.files.as_ref().expect("has code"))
}

/// A version whose entrypoint needs nothing.
fn shell() -> VersionConfig {
    let mut config = config("nodejs22", Some("true"));
    config.skip_files = SkipFiles::default();
    config
}

fn static_handler(source: StaticSource, application_readable: bool) -> Handler {
    let files = StaticFiles {
        source,
        mime_type: None,
        expiration: None,
        http_headers: Vec::new(),
        require_matching_file: false,
        application_readable,
    };
    Handler { kind: HandlerKind::Static(Box::new(files)), ..config("nodejs22", None).handlers.remove(0) }
}

fn listing(root: &Path) -> BTreeSet<String> {
    let all = walk(root).into_iter().map(|path| path.strip_prefix(root).expect("below").display().to_string());
    all.collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let entry = entry.expect("readable");
        if entry.file_type().expect("known").is_dir() {
            all.extend(walk(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all
}

#[tokio::test]
async fn y16_y26_the_copy_has_the_code_and_nothing_else() {
    let house = House::new(&[
        ("main.py", "1"),
        ("s/hidden.css", "1"),
        ("r/seen.txt", "1"),
        ("deep/a.gif", "1"),
        ("deep/a.txt", "1"),
        (".secret", "1"),
        ("x.pyc", "1"),
        ("deep/main.py~", "1"),
        (".git/HEAD", "1"),
        ("venv/pyvenv.cfg", ""),
        ("venv/lib/a.py", "1"),
    ]);
    let mut config = shell();
    let upload = Pattern::new(r".*\.gif", Anchor::Start).expect("compiles");
    let path = Template::new("deep/a.gif", 0).expect("a template");
    config.handlers.insert(0, static_handler(StaticSource::Dir("s".into()), false));
    config.handlers.insert(0, static_handler(StaticSource::Dir("r".into()), true));
    config.handlers.insert(0, static_handler(StaticSource::Files { path, upload }, false));
    let root = files(&prepared(&house, config)).root().to_owned();
    assert_eq!(listing(&root), ["deep/a.txt", "main.py", "r/seen.txt"].map(str::to_owned).into());
    for path in ["", "deep", "main.py"] {
        let mode = std::fs::metadata(root.join(path)).expect("exists").permissions().mode();
        assert_eq!(mode & 0o222, 0, "{path} can be written to");
    }
    assert!(house.root().join("s/hidden.css").exists());
}

#[tokio::test]
async fn y26_own_skip_files_replace_the_defaults() {
    let house = House::new(&[("main.py", "1"), (".well", "1"), ("tests/a.py", "1"), (".git/HEAD", "1")]);
    let mut config = shell();
    config.skip_files = SkipFiles(vec![Pattern::new("^tests(/.*)?$", Anchor::Start).expect("compiles")]);
    let staged = files(&prepared(&house, config));
    assert_eq!(listing(staged.root()), [".well", "main.py"].map(str::to_owned).into());
}

#[tokio::test]
async fn what_did_not_change_is_linked_and_the_old_copy_goes() {
    let house = House::new(&[("a.txt", "1"), ("b/c.txt", "2")]);
    let first = files(&prepared(&house, shell()));
    assert_eq!(files(&prepared(&house, shell())).root(), first.root());
    // What was written this very moment may change again without showing it, and is not relied on.
    eventually("the files are no longer new", || {
        let found = std::fs::metadata(house.root().join("b/c.txt")).expect("exists");
        found.modified().expect("known").elapsed().is_ok_and(|age| age > Duration::from_millis(60))
    })
    .await;
    // One look at files that are old enough to be remembered.
    std::fs::write(house.root().join("a.txt"), "3").expect("written");
    let second = files(&prepared(&house, shell()));
    std::fs::write(house.root().join("a.txt"), "4").expect("written");
    let third = files(&prepared(&house, shell()));
    let inode = |staged: &Staged, name: &str| std::fs::metadata(staged.root().join(name)).expect("exists").ino();
    assert_eq!(inode(&second, "b/c.txt"), inode(&third, "b/c.txt"));
    assert_ne!(inode(&second, "a.txt"), inode(&third, "a.txt"));
    assert_eq!(std::fs::read_to_string(third.root().join("a.txt")).expect("read"), "4");
    assert_eq!(std::fs::read_to_string(first.root().join("a.txt")).expect("read"), "1");
    let old = first.root().to_owned();
    drop(first);
    eventually("the old copy is removed", || !old.exists()).await;
    assert!(second.root().exists() && third.root().exists());
}

#[tokio::test]
async fn services_of_one_folder_share_its_files() {
    let house = House::new(&[("a.txt", "1"), ("b/c.txt", "2")]);
    eventually("the files are no longer new", || {
        let found = std::fs::metadata(house.root().join("b/c.txt")).expect("exists");
        found.modified().expect("known").elapsed().is_ok_and(|age| age > Duration::from_millis(60))
    })
    .await;
    let of = |service: &str| {
        let mut config = shell();
        config.key = VersionKey::new(service.parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
        files(&prepared(&house, config))
    };
    let first = of("default");
    let second = of("other");
    std::fs::write(house.root().join("a.txt"), "3").expect("written");
    let third = of("another");
    let inode = |staged: &Staged, name: &str| std::fs::metadata(staged.root().join(name)).expect("exists").ino();
    assert_ne!(first.root(), second.root());
    assert_eq!(listing(second.root()), ["a.txt", "b/c.txt"].map(str::to_owned).into());
    for name in ["a.txt", "b/c.txt"] {
        assert_eq!(inode(&first, name), inode(&second, name), "{name}");
    }
    assert_eq!(inode(&first, "b/c.txt"), inode(&third, "b/c.txt"));
    assert_eq!(std::fs::read_to_string(third.root().join("a.txt")).expect("read"), "3");
}

#[tokio::test]
async fn links_stay_inside() {
    let house = House::new(&[("lib/a.py", "1"), ("deep/er/x", "1")]);
    let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, house.root().join(name)).expect("linked");
    link(Path::new("lib"), "inner");
    link(&house.root().join("lib/a.py"), "deep/er/absolute");
    link(Path::new("../../app/lib/a.py"), "deep/round");
    link(Path::new("/etc"), "outer");
    link(Path::new("../.."), "deep/up");
    link(Path::new("nothing"), "broken");
    let made = prepared(&house, shell());
    let root = files(&made).root().to_owned();
    for name in ["inner/a.py", "deep/er/absolute"] {
        assert_eq!(std::fs::read_to_string(root.join(name)).expect(name), "1");
        assert!(root.join(name).canonicalize().expect("exists").starts_with(&root), "{name}");
    }
    for name in ["outer", "deep/up", "broken"] {
        assert!(std::fs::symlink_metadata(root.join(name)).is_err(), "{name}");
    }
    assert!(made.summary.notes.iter().any(|note| note.contains("a link that leads to nothing in the app's folder")), "{made:?}");
}

#[tokio::test]
async fn special_files_are_left_out() {
    let house = House::new(&[("a.txt", "1")]);
    let _socket = std::os::unix::net::UnixListener::bind(house.root().join("socket")).expect("bound");
    assert_eq!(listing(files(&prepared(&house, shell())).root()), ["a.txt".to_owned()].into());
}
