//! Which services there are, and what is said about those that are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::call::{Answer, Context, Failure, Service};
use crate::proto::remote_api::rpc_error::Code;

/// What App Engine itself has switched off (reference/services.md).
const GONE: [&str; 4] = ["channel", "file", "remote_socket", "xmpp"];
/// What Enginehouse does not have yet.
const LATER: [&str; 5] = ["blobstore", "datastore_v3", "datastore_v4", "images", "search"];

/// The services of a house.
#[derive(Default, Clone)]
pub struct Registry {
    services: BTreeMap<&'static str, Arc<dyn Service>>,
}

impl Registry {
    /// Adds one.
    #[must_use]
    pub fn with(mut self, service: Arc<dyn Service>) -> Self {
        self.services.insert(service.card().name, service);
        self
    }

    /// Passes a call on.
    ///
    /// # Errors
    /// What the service says, or why there is none.
    pub async fn call(&self, service: &str, method: &str, message: Bytes, context: &Context) -> Answer {
        let Some(found) = self.services.get(service) else { return Err(absent(service, method)) };
        if !found.card().has(method, context.testing) {
            return Err(Failure::no_call(service, method));
        }
        if message.len() > found.most() {
            let text = format!("The request to API call {service}.{method}() was too large.");
            return Err(Failure::Rpc(Code::RequestTooLarge, text));
        }
        found.call(method, message, context).await
    }

    /// Test mode: the named service forgets everything, or all do. A name that is none is nobody's.
    pub fn clear(&self, service: Option<&str>) {
        for (name, found) in &self.services {
            if service.is_none_or(|wanted| wanted == *name) {
                found.clear();
            }
        }
    }

    /// The names of the services that work.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.services.keys().copied()
    }

    /// Whether a service works.
    pub fn has(&self, service: &str) -> bool {
        self.services.contains_key(service)
    }
}

fn absent(service: &str, method: &str) -> Failure {
    if GONE.contains(&service) {
        return Failure::Rpc(Code::FeatureDisabled, format!("App Engine has shut down the service '{service}'; it is not available."));
    }
    if LATER.contains(&service) {
        return Failure::Rpc(Code::CapabilityDisabled, format!("The service '{service}' is not available on Enginehouse yet."));
    }
    Failure::no_call(service, method)
}
