//! Whoever carries changes out, as the API asks for it.

use std::time::Duration;

use model::ids::{AppId, InstanceId, ServiceId, VersionId};
use model::pool::Boxed;
use serde_json::{Map, Value};
use store::control::{Actor, Operation, OperationId};

use super::worker::{ServiceChange, Steer, Worker};
use crate::status::Status;
use crate::work::{self, House};

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

    fn patch_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId, spec: Value) -> Result<Operation, Status> {
        Self::patch_version(self, actor, app, service, id, spec)
    }

    fn delete_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId) -> Result<Operation, Status> {
        Self::delete_version(self, actor, app, service, id)
    }

    fn patch_service(&self, actor: &Actor, app: &AppId, service: &ServiceId, change: ServiceChange) -> Result<Operation, Status> {
        let gradual = change.gradual.map(|gradual| work::Gradual { over: gradual.over, guard: gradual.guard });
        let change = work::ServiceChange { split: change.split, gradual, labels: change.labels, network: change.network };
        Self::patch_service(self, actor, app, service, change)
    }

    fn delete_service(&self, actor: &Actor, app: &AppId, service: &ServiceId) -> Result<Operation, Status> {
        Self::delete_service(self, actor, app, service)
    }

    fn steer(&self, actor: &Actor, app: &AppId, service: &ServiceId, steer: Steer) -> Result<Operation, Status> {
        let steer = match steer {
            Steer::Pause => work::Steer::Pause,
            Steer::Resume => work::Steer::Resume,
            Steer::Abort => work::Steer::Abort,
        };
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
