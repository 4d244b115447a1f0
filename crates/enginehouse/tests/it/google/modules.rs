//! The Modules API of Google's pre-release SDK, which asks the Admin API (`APPENGINE_MODULES_USE_ADMIN_API`).

use std::process::Command;

use testkit::{App, Python, ServeNode};

use super::clients::{run, sdk, text};

#[test]
fn m4_the_sdk_asks_the_admin_api() {
    let home = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "appengine.googleapis.com".to_owned()]).expect("a certificate");
    let (chain, key) = (home.path().join("chain.pem"), home.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let (chain, key) = (chain.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    let tls = ["--project", "shop", "--admin-tls-cert", chain, "--admin-tls-key", key];
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), tls);
    let (url, token) = (format!("https://localhost:{}", server.admin().port()), server.owner_token());
    let main = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'served']\n";
    let manual = "manual_scaling:\n  instances: 1\n";
    for (service, version, scaling) in [("default", "v1", ""), ("api", "v1", manual), ("api", "a1", manual)] {
        let app = App::with_yaml(&Python::Three.yaml(&format!("service: {service}\n{scaling}"))).file("main.py", main);
        let path = app.path().to_str().expect("UTF-8").to_owned();
        let promote = if version == "a1" { "--no-promote" } else { "--promote" };
        let flags = ["--server", &url, "--token", &token, "--ca", chain, "--project", "shop", "--version", version, promote, "-q"];
        let deployed = crate::command(["deploy", path.as_str()].into_iter().chain(flags));
        assert_eq!(deployed.code, Some(0), "{deployed:?}");
    }
    let script = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/google/modules.py");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", sdk()).arg(script).arg(server.admin().port().to_string()).args([chain, &token]);
    assert_eq!(text(&run(&mut command).stdout).lines().last(), Some("ok"), "{}", server.log());
}
