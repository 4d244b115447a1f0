//! What apps change about their own versions from inside (the Modules API): the same state, operation and audit row as a PATCH of the Admin API, in
//! the app's own name, but in force at once. Instances that run stay; those that are new start beside them (decision 310).

use model::ids::{AppId, VersionKey};
use model::pool::Boxed;
use model::steer::{Change, Refused, Steer};
use serde_json::json;
use store::control::{Actor, Begin, Lock, Operation, ServingStatus, StoreError, Version};

use super::rules::version_name;
use super::task::{Task, resource};
use super::{House, to_value};
use crate::status::Status;
use crate::version::lower;

/// How long an app waits until its change is in force; it will be, whether somebody waits or not.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Why nothing was changed.
enum Halt {
    Refused(Refused),
    Status(Status),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Status(error.into())
    }
}

impl From<Status> for Halt {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl Steer for House {
    fn steer(&self, app: &AppId, version: &VersionKey, change: Change) -> Boxed<'static, Result<(), Refused>> {
        let (house, app, key) = (self.clone(), app.clone(), version.clone());
        Box::pin(async move {
            let (steering, owner) = (house.clone(), app.clone());
            let begun = house.0.runtime.spawn_blocking(move || steering.steer_version(&owner, &key, change)).await;
            let operation = begun.map_err(|_| Refused::NotNow("the change broke off".into()))??;
            // On the house's own runtime, whose timers it needs.
            let waiting = house.clone();
            let _ = house.0.runtime.spawn(async move { waiting.wait(&app, operation.id, PATIENCE).await.map(drop) }).await;
            Ok(())
        })
    }
}

impl House {
    /// Begins a change that an app asked for. Blocks for a transaction.
    fn steer_version(&self, app: &AppId, key: &VersionKey, asked: Change) -> Result<Operation, Refused> {
        let actor = Actor { name: format!("apps/{app}"), token: None };
        let begun = self.0.store.change(&actor, |change| {
            let Some(old) = change.find_version(app, &key.service, key.version.as_str())? else {
                return Err(Halt::Refused(Refused::Missing(key.clone())));
            };
            let config = lower(key, &old.spec).map_err(|violations| Status::fields(&violations))?;
            asked.check(key, &config.scaling, old.status == ServingStatus::Stopped).map_err(Halt::Refused)?;
            let target = version_name(app, &key.service, &key.version);
            let method = "google.appengine.v1.Versions.UpdateVersion";
            let task = to_value(&Task::Settle { response: resource("Version", &target) })?;
            let begun = change.begin(Begin { app: app.clone(), method, target, work: task, lock: Lock::Target })?;
            change.patch_version(changed(old, asked))?;
            change.operation(app, &begun.id.to_string()).map_err(Halt::from)
        });
        let operation = begun.map_err(|halt| match halt {
            Halt::Refused(why) => why,
            Halt::Status(status) => Refused::NotNow(status.message),
        })?;
        self.launch(&operation, false);
        Ok(operation)
    }
}

fn changed(mut version: Version, asked: Change) -> Version {
    match asked {
        Change::Instances(instances) => version.spec["manualScaling"]["instances"] = json!(instances),
        Change::Serving(true) => version.status = ServingStatus::Serving,
        Change::Serving(false) => version.status = ServingStatus::Stopped,
    }
    version
}
