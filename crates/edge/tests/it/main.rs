//! The data plane through real sockets: raw bytes in front, fake instances behind.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod again;
mod agent;
mod app;
mod corpus;
mod drain;
mod files;
mod forward;
mod geo;
mod gzip;
mod h2;
mod lifecycle;
mod limits;
mod login;
mod node;
mod protocol;
mod smoke;
mod split;
mod tls;
