//! The nouns and the rules of Enginehouse. Pure: no IO, no clock, no randomness, no async runtime; time and draws come in as arguments.
//!
//! This crate exists for purity: whatever decides, lives here, so that it can be tested without a socket. In reading order:
#![warn(missing_docs)]
// What `clippy.toml` beside this crate bans cannot be allowed in passing.
#![forbid(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod asset;
pub mod brief;
pub mod config;
pub mod cron;
pub mod deploy;
pub mod dispatch;
pub mod engine;
pub mod environ;
pub mod errand;
pub mod explain;
pub mod firewall;
pub mod gate;
pub mod handler;
pub mod headers;
pub mod ids;
pub mod index;
pub mod ingress;
pub mod journal;
pub mod migrate;
pub mod pattern;
pub mod pool;
pub mod proxy;
pub mod queue;
pub mod retry;
pub mod route;
pub mod rpc;
pub mod runtime;
pub mod scaling;
pub mod sched;
pub mod signin;
pub mod sim;
pub mod steer;
pub mod table;
pub mod taskqueue;
pub mod time;
pub mod trace;
pub mod traffic;
pub mod user;
