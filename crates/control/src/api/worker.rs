//! What the API asks of whoever carries changes out. State first, then what follows from it: each of these begins an operation in one transaction
//! and returns its row; the driver goes on from there, also after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use model::ids::{AppId, InstanceId, ServiceId, VersionId};
use model::migrate::guard::Guard;
use model::pool::Boxed;
use model::traffic::TrafficSplit;
use serde_json::{Map, Value};
use store::control::{Actor, Operation, OperationId};

use crate::status::Status;

/// How traffic moves to a new split.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradual {
    /// How long it takes; `None` = as usual.
    pub over: Option<Duration>,
    /// What ends it early.
    pub guard: Guard,
}

/// What a PATCH of a service changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceChange {
    /// The split that is asked for.
    pub split: Option<TrafficSplit>,
    /// Step by step, and not at once.
    pub gradual: Option<Gradual>,
    /// All labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// `networkSettings`; `Some(None)` removes them.
    pub network: Option<Option<Value>>,
}

/// What to do with a migration that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Stay where it is.
    Pause,
    /// Go on.
    Resume,
    /// Go back to the split before.
    Abort,
}

/// Carries changes out.
pub trait Worker: Send + Sync {
    /// Makes an app. `fields` are those of the Admin API's `Application` that can be set.
    fn create_app(&self, actor: &Actor, app: &AppId, location: &str, fields: Map<String, Value>) -> Result<Operation, Status>;

    /// Replaces an app's fields.
    fn patch_app(&self, actor: &Actor, app: &AppId, fields: Map<String, Value>) -> Result<Operation, Status>;

    /// Makes what an app should have and lost.
    fn repair_app(&self, actor: &Actor, app: &AppId) -> Result<Operation, Status>;

    /// Deploys a version: `spec` is the Admin API's `Version` in canonical form, `deployment` included.
    fn create_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId, spec: Value) -> Result<Operation, Status>;

    /// Replaces a version's settings (without `deployment`), or starts or stops it (`servingStatus` of `spec`).
    fn patch_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId, spec: Value) -> Result<Operation, Status>;

    /// Removes a version.
    fn delete_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId) -> Result<Operation, Status>;

    /// Changes a service.
    fn patch_service(&self, actor: &Actor, app: &AppId, service: &ServiceId, change: ServiceChange) -> Result<Operation, Status>;

    /// Removes a service with all its versions.
    fn delete_service(&self, actor: &Actor, app: &AppId, service: &ServiceId) -> Result<Operation, Status>;

    /// Pauses, resumes or aborts the migration of a service; returns the operation of the migration.
    fn steer(&self, actor: &Actor, app: &AppId, service: &ServiceId, steer: Steer) -> Result<Operation, Status>;

    /// Ends an instance.
    fn delete_instance(
        &self,
        actor: &Actor,
        app: &AppId,
        service: &ServiceId,
        version: &VersionId,
        instance: &InstanceId,
    ) -> Result<Operation, Status>;

    /// Maps a domain. With `take`, another app's mapping of it gives way.
    fn create_domain(&self, actor: &Actor, app: &AppId, id: &str, body: &Value, take: bool) -> Result<Operation, Status>;

    /// Replaces a mapping.
    fn patch_domain(&self, actor: &Actor, app: &AppId, id: &str, body: &Value) -> Result<Operation, Status>;

    /// Removes a mapping.
    fn delete_domain(&self, actor: &Actor, app: &AppId, id: &str) -> Result<Operation, Status>;

    /// Waits until an operation is over, at most so long; returns how it is then.
    fn wait(&self, app: &AppId, id: OperationId, patience: Duration) -> Boxed<'_, Result<Operation, Status>>;
}
