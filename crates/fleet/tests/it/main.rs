//! The fleet with real processes.

mod entrypoint;
mod support;
