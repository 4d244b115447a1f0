//! What the integration tests are built from: apps written to a temporary folder, the real binary as a child process, and HTTP clients that show
//! every byte. A failed expectation panics with what was seen, as tests do.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test helper fails by panicking")]

pub mod app;
pub mod geo;
pub mod h2;
pub mod http1;
pub mod node;
pub mod process;
pub mod python;
pub mod serve;

pub use app::App;
pub use http1::{Connection, Request, Response};
pub use node::{Builder, Finished, Node};
pub use python::{BOTH, Python};
pub use serve::ServeNode;

use std::time::Duration;

/// How long anything may take before a test fails: generous, for a machine with two slow cores that installs packages.
pub const DEADLINE: Duration = Duration::from_mins(2);
