//! Versions: deployed, changed, started, stopped, deleted; and instances ended.

use model::config::VersionConfig;
use model::ids::{AppId, InstanceId, ServiceId, VersionId, VersionKey};
use model::scaling::Scaling;
use serde_json::Value;
use store::control::{Actor, Begin, Lock, Operation, ServingStatus, Version};

use super::rules::{self, version_name};
use super::sources::{self, Source};
use super::task::{Deploy, Task, empty, instance_id, resource};
use super::{House, Quick, to_value};
use crate::status::{Code, Status};
use crate::version::lower;

impl House {
    /// Deploys a version: `spec` is the Admin API's `Version` in canonical form, `deployment` included. What serves goes on until the new one could.
    ///
    /// # Errors
    /// Everything that is wrong with `spec`, a file that was not uploaded, or a state in which it may not be deployed.
    pub fn create_version(
        &self,
        actor: &Actor,
        app: &AppId,
        service: &ServiceId,
        id: &VersionId,
        spec: Value,
    ) -> Result<Operation, Status> {
        let key = key(service, id)?;
        lower(&key, &spec).map_err(|violations| Status::fields(&violations))?;
        let most = self.0.settings.most_versions;
        let operation = self.0.store.change(actor, |change| {
            rules::may_deploy(change, app, &key, most)?;
            let source = sources::find(change, &spec)?;
            let (manifest, zip) = match &source {
                Source::Files(manifest) => (Some(manifest.hash()), None),
                Source::Zip(archive) => (None, Some(*archive)),
            };
            let deploy =
                Deploy { service: service.clone(), version: id.clone(), spec, deployment: change.rev(), manifest, zip, patch: false };
            let begun = change.begin(Begin {
                app: app.clone(),
                method: "google.appengine.v1.Versions.CreateVersion",
                target: version_name(app, service, id),
                work: to_value(&Task::Deploy(Box::new(deploy)))?,
                lock: Lock::Target,
            })?;
            if let Source::Files(manifest) = &source {
                change.put_manifest(manifest)?;
            }
            Ok::<_, Status>(begun)
        })?;
        self.launch(&operation, false);
        Ok(operation)
    }

    /// Replaces a version's settings (`spec` without `deployment`), or starts or stops it (`servingStatus` of `spec`). `spec` was made of what was
    /// `seen`.
    ///
    /// # Errors
    /// Everything that is wrong with `spec`, or a state in which it may not be changed; ABORTED if somebody else has changed the version since it
    /// was seen.
    pub fn patch_version(&self, actor: &Actor, seen: &Version, spec: Value) -> Result<Operation, Status> {
        let (app, service, id) = (&seen.app, &seen.service, &seen.id);
        let key = key(service, id)?;
        let config = lower(&key, &spec).map_err(|violations| Status::fields(&violations))?;
        let operation = self.0.store.change(actor, |change| {
            let old = change.version(app, service, id)?;
            if old.rev != seen.rev {
                let text = format!("Version `{}` was changed by somebody else in the meantime.", old.name());
                return Err(Status::new(Code::Aborted, text));
            }
            let (spec, asked) = without_status(spec)?;
            let status = asked.unwrap_or(old.status);
            if status != old.status {
                rules::may_stop(&config)?;
            }
            let same = lower(&key, &old.spec).is_ok_and(|before| before == config);
            let target = version_name(app, service, id);
            let method = "google.appengine.v1.Versions.UpdateVersion";
            let begun = change.begin(Begin { app: app.clone(), method, target: target.clone(), work: Value::Null, lock: Lock::Target })?;
            // A number of instances is changed without touching those that stay.
            let resized = old.status == status && lower(&key, &old.spec).is_ok_and(|before| is_resized(&before, &config));
            let task = if status == ServingStatus::Stopped || resized || (same && old.status == status) {
                change.patch_version(Version { spec, status, ..old })?;
                Task::Settle { response: resource("Version", &target) }
            } else {
                // Instances that run keep their settings, so others take their place: once they are ready, as after a deployment.
                let (service, version, manifest) = (service.clone(), id.clone(), Some(old.manifest));
                let spec = with_status(spec, status);
                Task::Deploy(Box::new(Deploy { service, version, spec, deployment: change.rev(), manifest, zip: None, patch: true }))
            };
            change.progress(begun.id, &to_value(&task)?, "")?;
            change.operation(app, &begun.id.to_string()).map_err(Status::from)
        })?;
        self.launch(&operation, false);
        Ok(operation)
    }

    /// Removes a version; requests that it has are finished.
    ///
    /// # Errors
    /// If it has traffic, is the last one of its service, or is needed by a migration.
    pub fn delete_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId) -> Result<Operation, Status> {
        let key = key(service, id)?;
        let quick = of_version(app, service, id, "google.appengine.v1.Versions.DeleteVersion");
        self.quick(actor, quick, |change| {
            rules::may_delete(change, app, &key)?;
            change.delete_version(app, service, id)?;
            Ok(empty())
        })
    }

    /// Ends an instance; its requests are finished, and the scheduler may start another one.
    ///
    /// # Errors
    /// If there is no such instance.
    pub fn delete_instance(
        &self,
        actor: &Actor,
        app: &AppId,
        service: &ServiceId,
        version: &VersionId,
        instance: &InstanceId,
    ) -> Result<Operation, Status> {
        let key = key(service, version)?;
        let target = format!("{}/instances/{instance}", version_name(app, service, version));
        self.0.store.read(|view| view.version(app, service, version))?;
        if !self.0.engine.instances(app, &key).iter().any(|known| known.id == *instance) {
            return Err(Status::not_found(format!("Instance `{target}` was not found.")));
        }
        let task = Task::End { service: service.clone(), version: version.clone(), instance: instance.to_string() };
        let operation = self.0.store.change(actor, |change| {
            let work = to_value(&task)?;
            let method = "google.appengine.v1.Instances.DeleteInstance";
            let begun = change.begin(Begin { app: app.clone(), method, target: target.clone(), work, lock: Lock::Target })?;
            change.note(Some(app.as_str()), "instances.delete", &target, None, None)?;
            Ok::<_, Status>(begun)
        })?;
        self.launch(&operation, false);
        Ok(operation)
    }

    pub(super) fn end_instance(
        &self,
        operation: &Operation,
        service: &ServiceId,
        version: &VersionId,
        instance: &str,
    ) -> Result<Value, Status> {
        let key = key(service, version)?;
        // One that is gone is what was asked for.
        self.0.engine.end(&operation.app, &key, &instance_id(instance));
        Ok(empty())
    }
}

/// Whether two configurations differ in the number of instances of manual scaling, and in nothing else.
fn is_resized(before: &VersionConfig, after: &VersionConfig) -> bool {
    let (Scaling::Manual(_), Scaling::Manual(_)) = (&before.scaling, &after.scaling) else { return false };
    VersionConfig { scaling: after.scaling.clone(), ..before.clone() } == *after
}

pub(super) fn key(service: &ServiceId, version: &VersionId) -> Result<VersionKey, Status> {
    VersionKey::new(service.clone(), version.clone()).map_err(|error| Status::field("version.id", error.to_string()))
}

/// Takes `servingStatus` out of a spec: the state has it in a place of its own.
pub(super) fn without_status(mut spec: Value) -> Result<(Value, Option<ServingStatus>), Status> {
    let text = spec.as_object_mut().and_then(|all| all.remove("servingStatus"));
    let status = match text.as_ref().and_then(Value::as_str) {
        None | Some("SERVING_STATUS_UNSPECIFIED") => None,
        Some(text) => Some(text.parse().map_err(|error: String| Status::field("version.servingStatus", error))?),
    };
    Ok((spec, status))
}

fn with_status(mut spec: Value, status: ServingStatus) -> Value {
    if let Some(all) = spec.as_object_mut() {
        all.insert("servingStatus".to_owned(), status.as_str().into());
    }
    spec
}

fn of_version<'a>(app: &'a AppId, service: &ServiceId, id: &VersionId, method: &'static str) -> Quick<'a> {
    Quick { app, method, target: version_name(app, service, id), lock: Lock::Target }
}
