//! What an operation still has to do, as its row keeps it: enough to go on after any crash. Each step may be done twice.

use model::ids::{InstanceId, ServiceId, VersionId};
use model::migrate::Migration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::files::Sha256;

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Task {
    /// The state is changed; it has to be put in force.
    Settle {
        /// What the operation answers.
        response: Value,
    },
    /// A version is to be made ready, and then to be in the state.
    Deploy(Box<Deploy>),
    /// Traffic moves step by step.
    Migrate {
        /// Of which service.
        service: ServiceId,
        /// The machine.
        migration: Box<Migration>,
    },
    /// An instance is to end.
    End {
        /// Whose it is.
        service: ServiceId,
        /// Whose it is.
        version: VersionId,
        /// Its id.
        instance: String,
    },
}

/// A version on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deploy {
    pub(crate) service: ServiceId,
    pub(crate) version: VersionId,
    /// The Admin API's `Version`, `deployment` included.
    pub(crate) spec: Value,
    /// The number of the deployment.
    pub(crate) deployment: u64,
    /// Its files; `None` = they are still packed.
    pub(crate) manifest: Option<Sha256>,
    /// The archive that they are packed in.
    pub(crate) zip: Option<Sha256>,
    /// Its settings change: who deployed it and when stays.
    pub(crate) patch: bool,
}

/// `google.protobuf.Empty`.
pub(crate) fn empty() -> Value {
    json!({ "@type": "type.googleapis.com/google.protobuf.Empty" })
}

/// A resource of the Admin API by its name; whoever shows the operation fills in the rest.
pub(crate) fn resource(kind: &str, name: &str) -> Value {
    json!({ "@type": format!("type.googleapis.com/google.appengine.v1.{kind}"), "name": name })
}

/// An instance's id as it was written.
pub(crate) fn instance_id(text: &str) -> InstanceId {
    text.parse().map_or_else(|_| InstanceId::Opaque(text.into()), InstanceId::Number)
}
