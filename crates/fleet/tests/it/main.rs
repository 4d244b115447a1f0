//! The fleet with real processes.

mod agent;
mod entrypoint;
mod environments;
mod orphans;
mod staging;
mod support;
