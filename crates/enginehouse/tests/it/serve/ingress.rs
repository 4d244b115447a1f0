//! Services that take requests from inside alone.

use testkit::http1::{Connection, Request};
use testkit::{Python, ServeNode};

use super::telling;

/// Asks the service `default` as a client with this address of a proxy's saying, or directly.
fn status(server: &ServeNode, host: &str, client: Option<&str>) -> u16 {
    let request = Request::get("/").host(host);
    let request = client.map_or_else(|| request.clone(), |client| request.clone().header("X-Forwarded-For", client));
    Connection::open(server.http()).send(&request).status
}

#[track_caller]
fn set(server: &ServeNode, ingress: &str) {
    let (url, token) = (server.admin_url(), server.owner_token());
    let own = ["services", "update", "default", "--ingress", ingress, "--server", &url, "--token", &token, "--project", "shop", "-q"];
    let finished = crate::command(own);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn t9_ingress_settings_are_kept() {
    let args = ["--project", "shop", "--trusted-proxy", "127.0.0.0/8", "--internal", "10.0.0.0/8"];
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), args);
    server.deploy("shop", &telling(Python::Three, "", "shop"), &["--version", "v1"]);
    let (outside, inside) = (Some("203.0.113.9"), Some("10.1.2.3"));
    for (ingress, wanted) in [
        ("internal-only", [200, 200, 403]),
        ("internal-and-cloud-load-balancing", [200, 200, 200]),
        ("internal-only", [200, 200, 403]),
        ("all", [200, 200, 200]),
    ] {
        set(&server, ingress);
        // In force with the answer, under each name of the service.
        for host in ["shop.localhost", "v1-dot-shop.localhost"] {
            assert_eq!([None, inside, outside].map(|client| status(&server, host, client)), wanted, "{ingress} {host}");
        }
    }
}

#[test]
fn t9_an_unknown_proxy_on_this_machine_opens_nothing() {
    let server = super::shop();
    server.deploy("shop", &telling(Python::Three, "", "shop"), &["--version", "v1"]);
    for ingress in ["internal-only", "internal-and-cloud-load-balancing"] {
        set(&server, ingress);
        assert_eq!([None, Some("127.0.0.1")].map(|client| status(&server, "shop.localhost", client)), [200, 403], "{ingress}");
    }
}
