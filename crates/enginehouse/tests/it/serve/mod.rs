//! `enginehouse serve`: the server that stays up.

mod admin;
mod examples;
mod ingress;
mod kills;
mod load;
mod neighbours;
mod projects;
mod sign_in;
mod traffic;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use testkit::http1::{Connection, Request};
use testkit::{App, Python, ServeNode};

/// A fresh server.
fn server() -> ServeNode {
    ServeNode::start(env!("CARGO_BIN_EXE_enginehouse"))
}

/// A fresh server with an app called `shop`.
fn shop() -> ServeNode {
    ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "-q"])
}

/// An app that answers with its version, and with what it is told to say.
fn telling(python: Python, extra: &str, said: &str) -> App {
    let main = format!(
        "import os\n\n\ndef app(environ, start_response):\n    version = os.environ.get('GAE_VERSION') or environ['CURRENT_VERSION_ID'].split('.')[0]\n    \
         start_response('200 OK', [('X-Version', version)])\n    return [('{said} ' + version).encode()]\n"
    );
    crate::apps::app(python, extra, &main)
}

#[test]
fn a_fresh_folder_needs_no_configuration() {
    let mut server = server();
    server.get("shop.local.r.localhost", "/").expect(404);
    assert_eq!(server.node().stop().code(), Some(0));
    assert!(!server.node().ready_file().exists(), "where it exists, the server answers");
}

#[test]
fn a_killed_server_starts_again() {
    let mut server = server();
    server.kill();
    server.restart();
    server.get("shop.local.r.localhost", "/").expect(404);
}

#[test]
fn a_new_process_takes_over_without_a_refused_connection() {
    let mut server = server();
    let (address, done) = (server.http(), AtomicBool::new(false));
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // A connection of its own each time, so that each must be accepted by somebody.
                    let mut connection = Connection::open(address);
                    connection.send(&Request::get("/").host("shop.local.r.localhost")).expect(404);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            server.upgrade();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(asked.into_inner() > 3);
    assert!(server.node().ready_file().exists());
    server.node().stop();
    assert!(!server.node().ready_file().exists());
}

#[test]
fn sighup_reads_settings_again() {
    let mut server = server();
    let reload = ["reload", "--data", server.data().to_str().expect("UTF-8")].map(ToOwned::to_owned);
    assert_eq!(crate::command(reload.iter().map(String::as_str)).code, Some(0));
    server.node().wait_line("the reload", |line| line.contains("were read again"));
    server.get("shop.local.r.localhost", "/").expect(404);
}

#[test]
fn commands_for_a_server_say_if_there_is_none() {
    let home = tempfile::tempdir().expect("a folder");
    for command in ["reload", "upgrade"] {
        let finished = crate::command([command, "--data", home.path().to_str().expect("UTF-8")]);
        assert!(finished.code == Some(1) && finished.stderr.contains("no server runs on"), "{finished:?}");
    }
}
