//! The admin port, and what a running server is told.

use std::path::Path;

use serde_json::Value;
use testkit::{Finished, Python, ServeNode};

use super::telling;

/// `enginehouse apps create` on the https of the admin port, believing the certificates in a file.
fn create(server: &ServeNode, id: &str, ca: Option<&Path>) -> Finished {
    let (url, token) = (format!("https://localhost:{}", server.admin().port()), server.owner_token());
    let ca = ca.map(|ca| ca.to_str().expect("UTF-8").to_owned());
    let ca: Vec<&str> = ca.iter().flat_map(|ca| ["--ca", ca]).collect();
    crate::command(["apps", "create", id, "--server", &url, "--token", &token, "-q"].into_iter().chain(ca))
}

#[test]
fn t6_the_admin_port_speaks_https() {
    let mut server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--admin-tls", "self-signed"]);
    let own = server.data().join("admin-tls/certificate.pem");
    let created = create(&server, "shop", Some(&own));
    assert_eq!(created.code, Some(0), "{created:?}");
    let stranger = create(&server, "other", None);
    assert!(stranger.code == Some(3) && stranger.stderr.contains("certificate"), "a certificate that nobody knows: {stranger:?}");
    // A whole deployment, whose uploads follow links of the server's own.
    let app = telling(Python::Three, "", "shop");
    let (url, token) = (format!("https://localhost:{}", server.admin().port()), server.owner_token());
    let (ca, path) = (own.to_str().expect("UTF-8"), app.path().to_str().expect("UTF-8"));
    let deployed = crate::command(["deploy", path, "--server", &url, "--token", &token, "--ca", ca, "--project", "shop", "-q"]);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    server.get("shop.localhost", "/").expect(200);
    // Another certificate in its place is shown after a reload.
    let before = std::fs::read(&own).expect("a certificate");
    std::fs::remove_dir_all(server.data().join("admin-tls")).expect("it is there");
    reload(&server, &[]);
    server.node().wait_line("the reload", |line| line.contains("were read again"));
    assert_ne!(std::fs::read(&own).expect("a certificate"), before);
    let created = create(&server, "other", Some(&own));
    assert_eq!(created.code, Some(0), "{created:?}");
}

#[track_caller]
fn reload(server: &ServeNode, further: &[&str]) {
    let data = server.data();
    let finished = crate::command(["reload", "--data", data.to_str().expect("UTF-8")].into_iter().chain(further.iter().copied()));
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn a_reload_changes_what_the_server_tells_of_its_inside() {
    let mut server = super::server();
    reload(&server, &["--log", "control=trace,enginehouse=debug"]);
    server.node().wait_line("the reload", |line| line.contains("log's filter (`control=trace,enginehouse=debug`)"));
    let wrong = crate::command(["reload", "--data", server.data().to_str().expect("UTF-8"), "--log", "fleet=loud"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    // It is remembered, and taken back.
    server.kill();
    server.restart();
    reload(&server, &[]);
    server.node().wait_line("the reload", |line| line.contains("log's filter (`control=trace"));
    reload(&server, &["--log", ""]);
    server.node().wait_line("the reload", |line| line.contains("log's filter (`off`)"));
}

#[test]
fn the_live_log_says_whose_a_line_is() {
    let mut server = super::shop();
    server.deploy("shop", &telling(Python::Three, "", "shop"), &["--version", "v1"]);
    server.get("shop.localhost", "/no-such-thing").expect(200);
    let line = server.node().wait_line("an entry of the app", |line| line.contains("\"app\":\"shop\""));
    let entry: Value = serde_json::from_str(&line).expect("an object a line");
    assert_eq!(entry["app"], "shop");
}
