//! The generated clients. What they must see is checked in their own languages, in the scripts beside this file.

use std::path::PathBuf;
use std::process::Command;

use super::clients::{node, python, run, text};
use super::{server, upload};

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/google").join(name)
}

#[track_caller]
fn succeeds(command: &mut Command) {
    assert_eq!(text(&run(command).stdout).lines().last(), Some("ok"));
}

#[test]
fn t9_the_generated_python_client_works_over_rest() {
    let server = server();
    upload(&server, "gapic-1", "one");
    upload(&server, "gapic-2", "two");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", python()).arg(script("gapic.py")).arg(server.admin_url()).arg(server.owner_token());
    succeeds(&mut command);
    assert_eq!(server.get("demo.local.r.localhost", "/index.html").text(), "two");
}

#[test]
fn t9_the_generated_node_client_works_over_rest() {
    let server = server();
    upload(&server, "gapic-1", "one");
    upload(&server, "gapic-2", "two");
    let mut command = Command::new("node");
    let port = server.admin().port().to_string();
    command.env("CLIENTS", node()).arg(script("gapic.mjs")).args(["localhost", &port, &server.owner_token()]);
    succeeds(&mut command);
}

#[test]
fn t9_googleapis_for_node_works() {
    let server = server();
    let mut command = Command::new("node");
    command.env("CLIENTS", node()).arg(script("googleapis.mjs")).arg(server.admin_url()).arg(server.owner_token());
    succeeds(&mut command);
    assert_eq!(server.get("demo.local.r.localhost", "/index.html").text(), "page 2\n");
}
