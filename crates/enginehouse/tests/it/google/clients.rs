//! The clients, installed once for all tests and all runs, below the target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PYTHON: &[&str] = &["google-cloud-appengine-admin>=1.9"];
/// The SDK that can ask the Admin API, and what it needs for that.
const SDK: &[&str] = &["appengine-python-standard==1.3.0b0", "google-api-python-client", "google-auth-httplib2", "setuptools<80"];
const TASKS: &[&str] = &["google-cloud-tasks>=2.19"];
const NODE: &[&str] = &["@google-cloud/appengine-admin", "googleapis"];

/// The folder with Python's packages, for PYTHONPATH.
pub(super) fn python() -> PathBuf {
    pip("python", PYTHON)
}

/// The folder with the pre-release SDK.
pub(super) fn sdk() -> PathBuf {
    pip("sdk", SDK)
}

/// The folder with Cloud Tasks' client.
pub(super) fn tasks() -> PathBuf {
    pip("tasks", TASKS)
}

fn pip(name: &str, packages: &[&str]) -> PathBuf {
    installed(name, |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(folder).args(packages);
        run(&mut pip);
    })
}

/// The folder with Node.js's packages.
pub(super) fn node() -> PathBuf {
    installed("node", |folder| {
        fs::write(folder.join("package.json"), "{\"private\": true}").expect("written");
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args(NODE)
            .current_dir(folder));
    })
}

/// A folder that `install` fills if nobody has done so before.
pub(crate) fn installed(name: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    fs::create_dir_all(&home).expect("a folder");
    let lock = File::create(home.join(format!("{name}.lock"))).expect("a lock");
    lock.lock().expect("locked");
    let (folder, done) = (home.join(name), home.join(format!("{name}.done")));
    if !done.is_file() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        install(&folder);
        fs::write(done, "").expect("written");
    }
    folder
}

/// Runs a program, which must succeed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}:\n{}{}", text(&output.stdout), text(&output.stderr));
    output
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
