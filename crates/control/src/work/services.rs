//! Services: the split of their traffic, at once or step by step, labels and network settings; and migrations steered.

use model::ids::{AppId, ServiceId};
use model::migrate::guard::Guard;
use model::migrate::{Migration, Ramp};
use model::traffic::TrafficSplit;
use serde_json::json;
use store::control::{Actor, Begin, Change, Lock, Operation, Service};

use super::rules::{self, service_name};
use super::task::{Task, empty, resource};
use super::versions::key;
use super::worker::{Gradual, ServiceChange, Steer};
use super::{House, Quick, to_value};
use crate::status::{Code, Status};

impl House {
    /// Changes a service.
    ///
    /// # Errors
    /// If a version of the split is not there or does not serve, if it cannot be migrated to, or if a migration is under way.
    pub fn patch_service(&self, actor: &Actor, app: &AppId, service: &ServiceId, asked: ServiceChange) -> Result<Operation, Status> {
        let target = service_name(app, service);
        let operation = self.0.store.change(actor, |change| {
            let old = change.service(app, service)?;
            // What has nothing to do with traffic may change while traffic migrates.
            let lock = if asked.split.is_some() { Lock::Target } else { Lock::Nothing };
            let method = "google.appengine.v1.Services.UpdateService";
            let begun = change.begin(Begin { app: app.clone(), method, target: target.clone(), work: json!(null), lock })?;
            let mut new = Service { ..old.clone() };
            new.labels = asked.labels.unwrap_or(new.labels);
            new.network = asked.network.unwrap_or(new.network);
            let mut task = Task::Settle { response: resource("Service", &target) };
            if let Some(split) = asked.split {
                rules::may_split(change, app, service, &split)?;
                match asked.gradual {
                    None => new.split = old.split.change_to(split),
                    Some(gradual) => {
                        let migration = begin(change, &old, &split, gradual)?;
                        new.migration = Some(json!({ "operation": begun.name(), "target": migration.target(), "from": old.split }));
                        task = Task::Migrate { service: service.clone(), migration: Box::new(migration) };
                    }
                }
            }
            change.put_service("services.patch", new)?;
            change.progress(begun.id, &to_value(&task)?, "")?;
            change.operation(app, &begun.id.to_string()).map_err(Status::from)
        })?;
        self.launch(&operation, false);
        Ok(operation)
    }

    /// Removes a service with all its versions.
    ///
    /// # Errors
    /// If it is the default service, or something in it is worked on.
    pub fn delete_service(&self, actor: &Actor, app: &AppId, service: &ServiceId) -> Result<Operation, Status> {
        let method = "google.appengine.v1.Services.DeleteService";
        let quick = Quick { app, method, target: service_name(app, service), lock: Lock::Whole };
        self.quick(actor, quick, |change| {
            change.service(app, service)?;
            if service.is_default() {
                return Err(Status::invalid("The default service (module) may not be deleted."));
            }
            change.delete_service(app, service)?;
            Ok(empty())
        })
    }

    /// Pauses, resumes or aborts the migration of a service; returns the operation of the migration.
    ///
    /// # Errors
    /// If none is under way.
    pub fn steer(&self, actor: &Actor, app: &AppId, service: &ServiceId, steer: Steer) -> Result<Operation, Status> {
        let word = match steer {
            Steer::Pause => "pause",
            Steer::Resume => "resume",
            Steer::Abort => "abort",
        };
        let target = service_name(app, service);
        let operation = self.0.store.change(actor, |change| {
            let held = change.service(app, service)?;
            let Some((operation, _)) = rules::migration(change, app, &held)? else {
                let text = format!("No gradual traffic migration of `{target}` is under way.");
                return Err(Status::new(Code::FailedPrecondition, text));
            };
            change.as_part_of(operation.id);
            change.note(Some(app.as_str()), &format!("services.migration.{word}"), &target, None, None)?;
            Ok(operation)
        })?;
        if let Some(running) = super::locked(&self.0.running).get(&operation.id) {
            // A driver that does not listen any more has just ended the migration.
            let _ = running.steer.send((steer, actor.name.clone()));
        }
        Ok(operation)
    }
}

fn begin(change: &Change<'_>, service: &Service, asked: &TrafficSplit, gradual: Gradual) -> Result<Migration, Status> {
    let refused = |refusal: model::migrate::Refusal| Status::field("migrateTraffic", refusal.to_string());
    let only = asked.only().ok_or(model::migrate::Refusal::NotOne).map_err(refused)?;
    let config = rules::config(change, &service.app, &key(&service.id, only)?)?;
    let ramp = gradual.over.map_or_else(Ramp::default, Ramp::over);
    let guard: Guard = gradual.guard;
    Migration::begin(service.split.clone(), asked, &config, ramp, guard).map_err(refused)
}
