//! The Admin API of a running server: the documentation's commands as they are printed, and Google's own clients unmodified (rows T1–T3, T6–T9).

mod clients;
mod documents;

use testkit::{Python, ServeNode};

/// A server with the app `shop` and these versions of its default service, the first of which has the traffic; each takes warm-up requests.
fn shop(versions: &[&str]) -> ServeNode {
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop", "-q"]);
    let main = "import os\n\n\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return [os.environ['GAE_VERSION'].encode()]\n";
    let app = crate::apps::app(Python::Three, "inbound_services: [warmup]\n", main);
    for version in versions {
        server.deploy("shop", &app, &["--version", version, "--no-promote"]);
    }
    server
}
