//! The walls around an instance: what it sees, what it may do, what it may use. A crate of its own because it is a failure boundary, and the only
//! place with `unsafe` code, all of it in [`sys`] (docs/decisions/120-own-sandbox.md).
//!
//! The house writes a [`Plan`]; the launcher, a short-lived process of our own binary, hands it to [`enter`], which builds the walls around itself
//! and becomes the instance.

mod birth;
mod enter;
mod etc;
mod filter;
mod init;
pub mod limits;
pub mod oci;
pub mod plan;
pub mod probe;
mod rules;
mod sys;
mod user;
mod view;

pub use enter::enter;
pub use plan::{Bind, Births, Plan, Walls};

/// A descriptor that this process was started with and that nothing of it owns yet, as systemd hands over sockets. It will not be inherited further.
///
/// # Errors
/// If there is no such descriptor, or it is one of the three standard ones.
pub fn inherited(descriptor: i32) -> std::io::Result<std::os::fd::OwnedFd> {
    sys::inherited(descriptor)
}
