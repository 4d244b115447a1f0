//! The real binary, real sockets, real Pythons. Tests are named by requirement row.

mod admin;
mod apps;
mod bad_input;
mod calls;
mod certificates;
mod client;
mod codes;
mod command;
mod cron;
mod deaths;
mod dev_appserver;
mod examples;
mod fetch;
mod google;
mod handlers;
mod headers;
mod hooks;
mod identity;
mod isolation;
mod lifecycle;
mod login;
mod logs;
mod logservice;
mod mail;
mod metrics;
mod modules;
mod oidc;
mod reload;
mod responses;
mod runtimes;
mod scaling;
mod serve;
mod services;
mod simulate;
mod statics;
mod stopping;
mod system;
mod tasks;
mod test_mode;
mod traces;
mod unseen;
mod zygote;

use std::path::{Path, PathBuf};

use testkit::{App, Builder, Node, Python};

/// A node of the binary under test, not yet started.
fn node() -> Builder {
    Builder::new(env!("CARGO_BIN_EXE_enginehouse"))
}

/// Starts an app.
#[track_caller]
fn serve(app: &App) -> Node {
    node().app(app).start()
}

/// Starts an app whose instances may write to a folder that the test sees too.
#[track_caller]
fn serve_sharing(app: &App) -> (Node, tempfile::TempDir) {
    let shared = tempfile::tempdir().expect("folder");
    let node = node().app(app).share(shared.path()).start();
    (node, shared)
}

/// `enginehouse COMMAND…` until its end.
#[track_caller]
fn command<'a>(args: impl IntoIterator<Item = &'a str>) -> testkit::Finished {
    node().args(args).output()
}

/// The workspace's folder.
fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("crates/enginehouse lies in the workspace").to_path_buf()
}

/// Runs a test on 2.7 and on 3.
fn on_both(test: impl Fn(Python)) {
    for python in testkit::BOTH {
        testkit::node::say(&format!("--- {}", python.runtime()));
        test(python);
    }
}
