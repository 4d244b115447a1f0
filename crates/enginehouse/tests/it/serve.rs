//! `enginehouse serve`: the server that stays up.

use testkit::ServeNode;

/// A fresh server.
fn server() -> ServeNode {
    ServeNode::start(env!("CARGO_BIN_EXE_enginehouse"))
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
