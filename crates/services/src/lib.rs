//! Bundled services: what an app reaches through `google.appengine.api`. SDKs POST protocol buffers to `/rpc_http` of a listener that belongs to one
//! instance (docs: reference of the services' protocol in `docs/guide/bundled-services.md`).
//!
//! This crate exists for a heavy dependency (protocol buffers) and as a failure boundary: a service that fails must not hurt who serves. In reading order:
#![warn(missing_docs)]

pub mod call;
pub mod capability;
pub mod card;
pub mod cron;
pub mod identity;
pub mod jwt;
pub mod logservice;
pub mod mail;
pub mod memcache;
pub mod metadata;
pub mod modules;
pub mod outside;
pub mod registry;
pub mod server;
pub mod system;
pub mod taskqueue;
pub mod tickets;
pub mod urlfetch;
pub mod user;
pub mod visits;

mod names;
mod peer;
mod presence;
mod socket;
mod test_mode;

/// Messages, generated from `proto/`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod proto {
    pub mod app_identity {
        include!(concat!(env!("OUT_DIR"), "/app_identity.rs"));
    }
    pub mod capability {
        include!(concat!(env!("OUT_DIR"), "/capability.rs"));
    }
    pub mod logservice {
        include!(concat!(env!("OUT_DIR"), "/logservice.rs"));
    }
    pub mod memcache {
        include!(concat!(env!("OUT_DIR"), "/memcache.rs"));
    }
    pub mod modules {
        include!(concat!(env!("OUT_DIR"), "/modules.rs"));
    }
    pub mod remote_api {
        include!(concat!(env!("OUT_DIR"), "/remote_api.rs"));
    }
    pub mod system {
        include!(concat!(env!("OUT_DIR"), "/system.rs"));
    }
    pub mod stored_task {
        include!(concat!(env!("OUT_DIR"), "/stored_task.rs"));
    }
    pub mod taskqueue {
        include!(concat!(env!("OUT_DIR"), "/taskqueue.rs"));
    }
    pub mod mail {
        include!(concat!(env!("OUT_DIR"), "/mail.rs"));
    }
    pub mod urlfetch {
        include!(concat!(env!("OUT_DIR"), "/urlfetch.rs"));
    }
    pub mod user {
        include!(concat!(env!("OUT_DIR"), "/user.rs"));
    }
}
