//! What may be done in which state, in the words that clients know (reference/adminapi/semantics.md).

use model::ids::{AppId, ServiceId, VersionId, VersionKey};
use model::migrate::Migration;
use model::scaling::Scaling;
use model::traffic::TrafficSplit;
use store::control::{Change, Page, Service, ServingStatus, StoreError, View};

use super::task::Task;
use crate::status::Status;
use crate::version;

/// `apps/A/services/S`.
pub(super) fn service_name(app: &AppId, service: &ServiceId) -> String {
    format!("apps/{app}/services/{service}")
}

/// `apps/A/services/S/versions/V`.
pub(super) fn version_name(app: &AppId, service: &ServiceId, version: &VersionId) -> String {
    format!("apps/{app}/services/{service}/versions/{version}")
}

/// Whether a version may be deployed: the first service is `default`, and there is a limit to versions.
pub(super) fn may_deploy(view: &View<'_>, app: &AppId, key: &VersionKey, most: Option<u64>) -> Result<(), Status> {
    view.app(app.as_str())?;
    let (service, version) = (&key.service, &key.version);
    if !service.is_default() && view.find_service(app, "default")?.is_none() {
        return Err(Status::invalid(format!(
            "The first service (module) you upload to a new application must be the 'default' service (module). Please upload a version of the \
             'default' service (module) before uploading a version for the '{service}' service (module)."
        )));
    }
    let Some(most) = most else { return Ok(()) };
    if view.find_version(app, service, version.as_str())?.is_none() && view.count_versions(app)? >= most {
        return Err(Status::invalid(format!(
            "Your app may not have more than {most} versions. Please delete one of the existing versions before trying to create a new version."
        )));
    }
    Ok(())
}

/// Whether a version may be deleted: it is not the last one, has no traffic, and no migration needs it.
pub(super) fn may_delete(view: &View<'_>, app: &AppId, key: &VersionKey) -> Result<(), Status> {
    let service = view.service(app, &key.service)?;
    view.version(app, &key.service, &key.version)?;
    let two = Page { after: None, limit: 2 };
    if view.versions(app, &key.service, &two)?.len() == 1 {
        return Err(Status::invalid(
            "Cannot delete the final version of a service (module). Please delete the whole service (module) in order to delete this version.",
        ));
    }
    if service.split.share(key.version.as_str()) > 0 {
        return Err(Status::invalid(
            "Cannot delete a version with a non-zero traffic allocation. Please update your traffic split to remove the allocation for this \
             version and try again.",
        ));
    }
    if let Some((operation, migration)) = migration(view, app, &service)?
        && (*migration.target() == key.version || migration.from().share(key.version.as_str()) > 0)
    {
        let target = version_name(app, &key.service, &key.version);
        return Err(StoreError::Busy { target, holder: operation.name() }.into());
    }
    Ok(())
}

/// The migration of a service that is under way.
pub(super) fn migration(view: &View<'_>, app: &AppId, service: &Service) -> Result<Option<(store::control::Operation, Migration)>, Status> {
    let Some(operation) = view.holder(&service_name(app, &service.id))? else { return Ok(None) };
    match serde_json::from_value(operation.work.clone()) {
        Ok(Task::Migrate { migration, .. }) => Ok(Some((operation, *migration))),
        _ => Ok(None),
    }
}

/// Whether every version of a split is there and serves.
pub(super) fn may_split(view: &View<'_>, app: &AppId, service: &ServiceId, split: &TrafficSplit) -> Result<(), Status> {
    for (version, _) in split.parts() {
        let name = version_name(app, service, version);
        let Some(found) = view.find_version(app, service, version.as_str())? else {
            let text = format!("Traffic cannot be given to version `{name}`, which does not exist.");
            return Err(Status::field(format!("service.split.allocations[{version}]"), text));
        };
        if found.status == ServingStatus::Stopped {
            let text = format!("Traffic cannot be given to version `{name}`, which is stopped; start it first (servingStatus=SERVING).");
            return Err(Status::field(format!("service.split.allocations[{version}]"), text));
        }
    }
    Ok(())
}

/// Whether a version may be started and stopped.
pub(super) fn may_stop(config: &model::config::VersionConfig) -> Result<(), Status> {
    if matches!(config.scaling, Scaling::Automatic(_)) {
        let text = "Serving status cannot be changed for Automatic Scaling versions; only versions with basic or manual scaling are started and stopped.";
        return Err(Status::field("version.servingStatus", text));
    }
    Ok(())
}

/// What a stored version is.
pub(super) fn config(change: &Change<'_>, app: &AppId, key: &VersionKey) -> Result<model::config::VersionConfig, Status> {
    let stored = change.version(app, &key.service, &key.version)?;
    version::lower(key, &stored.spec).map_err(|violations| Status::fields(&violations))
}
