//! Google's own clients, unmodified, against a server of ours: gcloud, the generated clients for Python and Node.js, googleapis, and what Terraform
//! sends.

mod clients;
mod cloudtasks;
mod gcloud;
mod libraries;
mod modules;
mod recorded;
mod terraform;

use testkit::{Connection, Request, Response, ServeNode};

pub(crate) use clients::{installed, run as done};

/// A server with the app `demo`.
fn server() -> ServeNode {
    ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "demo"])
}

/// Puts a file into the app's bucket for deployments.
#[track_caller]
fn upload(server: &ServeNode, name: &str, content: &str) {
    let target = format!("/upload/storage/v1/b/staging.demo.localhost/o?uploadType=media&name={name}");
    send(server, "POST", &target, "text/plain", content.as_bytes()).expect(200);
}

/// A request with the owner's token.
#[track_caller]
fn send(server: &ServeNode, method: &str, target: &str, kind: &str, body: &[u8]) -> Response {
    let token = server.owner_token();
    let request = Request::new(method, target).header("Authorization", &format!("Bearer {token}")).header("Content-Type", kind);
    Connection::open(server.admin()).send(&request.body(body))
}
