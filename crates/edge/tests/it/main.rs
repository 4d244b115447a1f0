//! The data plane through real sockets: raw bytes in front, fake instances behind.

mod app;
mod node;
mod smoke;
