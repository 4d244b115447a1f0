//! What the API asks of whoever carries changes out. State first, then what follows from it: each of these begins an operation in one transaction
//! and returns its row; the driver goes on from there, also after a restart.

use std::time::Duration;

use model::ids::{AppId, InstanceId, ServiceId, VersionId};
use model::pool::Boxed;
use serde_json::{Map, Value};
use store::control::{Actor, Operation, OperationId, Version};

use crate::status::Status;
use crate::work::{House, ServiceChange, Steer};

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

    /// Replaces a version's settings (without `deployment`), or starts or stops it (`servingStatus` of `spec`): as it was `seen`, otherwise it is
    /// refused.
    fn patch_version(&self, actor: &Actor, seen: &Version, spec: Value) -> Result<Operation, Status>;

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

impl Worker for House {
    fn create_app(&self, actor: &Actor, app: &AppId, location: &str, fields: Map<String, Value>) -> Result<Operation, Status> {
        Self::create_app(self, actor, app, location, fields)
    }
    fn patch_app(&self, actor: &Actor, app: &AppId, fields: Map<String, Value>) -> Result<Operation, Status> {
        Self::patch_app(self, actor, app, fields)
    }
    fn repair_app(&self, actor: &Actor, app: &AppId) -> Result<Operation, Status> {
        Self::repair_app(self, actor, app)
    }
    fn create_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId, spec: Value) -> Result<Operation, Status> {
        Self::create_version(self, actor, app, service, id, spec)
    }
    fn patch_version(&self, actor: &Actor, seen: &Version, spec: Value) -> Result<Operation, Status> {
        Self::patch_version(self, actor, seen, spec)
    }
    fn delete_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId) -> Result<Operation, Status> {
        Self::delete_version(self, actor, app, service, id)
    }
    fn patch_service(&self, actor: &Actor, app: &AppId, service: &ServiceId, change: ServiceChange) -> Result<Operation, Status> {
        Self::patch_service(self, actor, app, service, change)
    }
    fn delete_service(&self, actor: &Actor, app: &AppId, service: &ServiceId) -> Result<Operation, Status> {
        Self::delete_service(self, actor, app, service)
    }
    fn steer(&self, actor: &Actor, app: &AppId, service: &ServiceId, steer: Steer) -> Result<Operation, Status> {
        Self::steer(self, actor, app, service, steer)
    }
    fn delete_instance(
        &self,
        actor: &Actor,
        app: &AppId,
        service: &ServiceId,
        version: &VersionId,
        instance: &InstanceId,
    ) -> Result<Operation, Status> {
        Self::delete_instance(self, actor, app, service, version, instance)
    }
    fn create_domain(&self, actor: &Actor, app: &AppId, id: &str, body: &Value, take: bool) -> Result<Operation, Status> {
        Self::create_domain(self, actor, app, id, body, take)
    }
    fn patch_domain(&self, actor: &Actor, app: &AppId, id: &str, body: &Value) -> Result<Operation, Status> {
        Self::patch_domain(self, actor, app, id, body)
    }
    fn delete_domain(&self, actor: &Actor, app: &AppId, id: &str) -> Result<Operation, Status> {
        Self::delete_domain(self, actor, app, id)
    }
    fn wait(&self, app: &AppId, id: OperationId, patience: Duration) -> Boxed<'_, Result<Operation, Status>> {
        let app = app.clone();
        Box::pin(async move { Self::wait(self, &app, id, patience).await })
    }
}
