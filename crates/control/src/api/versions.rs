//! `apps.services.versions`: deployed code and its settings.

use model::ids::{AppId, ServiceId, VersionId, VersionKey};
use model::scaling::Scaling;
use serde_json::{Map, Value, json};
use store::control::{Operation, ServingStatus, Version};

use super::apps::running;
use super::ask::Ask;
use super::mask::UpdateMask;
use super::page::Paging;
use super::schema::{LIST_VERSIONS_RESPONSE, VERSION};
use super::{Answer, Answered, Api, second};
use crate::status::{Code, FieldViolation, Status};
use crate::version::lower;

/// What only `view=FULL` shows (reference: api.md).
const FULL_ONLY: [&str; 9] = [
    "apiConfig",
    "buildEnvVariables",
    "defaultExpiration",
    "deployment",
    "envVariables",
    "errorHandlers",
    "handlers",
    "libraries",
    "nobuildFilesRegex",
];

/// What a PATCH may change (discovery document), and whether it needs basic or manual scaling.
const CHANGEABLE: [&str; 9] = [
    "instanceClass",
    "automaticScaling.minIdleInstances",
    "automaticScaling.maxIdleInstances",
    "automaticScaling.standardSchedulerSettings.maxInstances",
    "automaticScaling.standardSchedulerSettings.minInstances",
    "automaticScaling.standardSchedulerSettings.targetCpuUtilization",
    "automaticScaling.standardSchedulerSettings.targetThroughputUtilization",
    "manualScaling.instances",
    "servingStatus",
];

/// What is not part of the settings that a client sends.
const TOLD: [&str; 5] = ["name", "createTime", "createdBy", "diskUsageBytes", "versionUrl"];

impl Api {
    /// A version as clients see it.
    pub(crate) fn shown_version(&self, version: &Version, full: bool) -> Value {
        let mut body = completed(version.spec.as_object().cloned().unwrap_or_default(), full);
        let names: &[&str] =
            if version.service.is_default() { &[version.id.as_str()] } else { &[version.id.as_str(), version.service.as_str()] };
        let told = [
            ("name", json!(version.name())),
            ("id", json!(version.id)),
            ("servingStatus", json!(version.status.as_str())),
            ("createdBy", json!(version.creator)),
            ("createTime", json!(second(version.created))),
            ("diskUsageBytes", json!(version.disk.to_string())),
            ("versionUrl", json!(self.settings().url(&version.app, names))),
        ];
        body.extend(told.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(body)
    }

    pub(crate) fn versions(&self, app: &AppId, service: &ServiceId, ask: &Ask) -> Answered {
        let full = full(ask)?;
        self.find_service(app, service.as_str())?;
        let paging = Paging::read(&ask.query, &format!("versions of {app}/{service}"))?;
        let page = paging.store();
        let mut found = self.store().read(|view| view.versions(app, service, &page))?;
        let next = paging.cut(&mut found, |version| version.id.as_str().to_owned());
        let mut shown = Vec::with_capacity(found.len());
        for version in &found {
            shown.push(self.with_deployment(version, full)?);
        }
        Ok(Answer::Resource(json!({"versions": shown, "nextPageToken": next}), &LIST_VERSIONS_RESPONSE))
    }

    fn with_deployment(&self, version: &Version, full: bool) -> Result<Value, Status> {
        let mut shown = self.shown_version(version, full);
        if full && let Some(deployment) = self.store().read(|view| view.deployment(&version.app, &version.service, &version.id))? {
            shown["deployment"] = deployment;
        }
        Ok(shown)
    }

    /// A version, whose app and service must exist too.
    pub(crate) fn find_version(&self, app: &AppId, service: &ServiceId, id: &VersionId) -> Result<Version, Status> {
        self.find_service(app, service.as_str())?;
        Ok(self.store().read(|view| view.version(app, service, id))?)
    }

    pub(crate) fn version(&self, app: &AppId, service: &ServiceId, id: &VersionId, ask: &Ask) -> Answered {
        let full = full(ask)?;
        let version = self.find_version(app, service, id)?;
        Ok(Answer::Resource(self.with_deployment(&version, full)?, &VERSION))
    }

    pub(crate) fn create_version(&self, app: &AppId, service: &str, ask: &Ask) -> Answered {
        self.store().read(|view| view.app(app.as_str()))?;
        let mut body = ask.message(&VERSION, "version")?;
        let service: ServiceId = service.parse().map_err(|error: model::ids::NameError| Status::field("parent", error.0))?;
        let Some(id) = body.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()) else {
            return Err(Status::field("version.id", "A version needs an id, such as \"v1\"."));
        };
        let id: VersionId = id.parse().map_err(|error: model::ids::NameError| Status::field("version.id", error.0))?;
        let key = VersionKey::new(service.clone(), id.clone()).map_err(|error| Status::field("version.id", error.0))?;
        if !service.is_default() && self.store().read(|view| view.find_service(app, "default"))?.is_none() {
            let text = "The first service (module) you upload to a new application must be the 'default' service (module). Please upload a \
                        version of the 'default' service (module) before uploading a version for the";
            let message = format!("{text} '{service}' service (module).");
            return Err(Status::field("parent", message));
        }
        check_deployment(&body)?;
        let spec = Value::Object(without(body.clone(), &TOLD));
        lower(&key, &spec).map_err(|wrong| Status::fields(&wrong))?;
        body = without(body, &TOLD);
        self.worker.create_version(&ask.caller.actor(), app, &service, &id, Value::Object(body)).map(running)
    }

    pub(crate) fn patch_version(&self, app: &AppId, service: &ServiceId, id: &VersionId, ask: &Ask) -> Answered {
        let body = ask.message(&VERSION, "version")?;
        let mask = patch_mask(ask, &body)?;
        let mut seen = self.find_version(app, service, id)?;
        loop {
            let failed = match self.patch_seen(&seen, &mask, &body, ask) {
                Err(status) if status.code == Code::Aborted => status,
                other => return other.map(running),
            };
            // Somebody else changed another field meanwhile: both changes are meant. Any other reason to break off is the answer.
            let now = self.find_version(app, service, id)?;
            if now.rev == seen.rev {
                return Err(failed);
            }
            seen = now;
        }
    }

    /// Changes a version, unless it is not any more as it was seen.
    fn patch_seen(&self, version: &Version, mask: &UpdateMask, body: &Map<String, Value>, ask: &Ask) -> Result<Operation, Status> {
        let mut spec = version.spec.as_object().cloned().unwrap_or_default();
        spec.insert("servingStatus".into(), version.status.as_str().into());
        mask.apply(body, &mut spec);
        let key = VersionKey { service: version.service.clone(), version: version.id.clone() };
        let status = spec.get("servingStatus").and_then(Value::as_str).map(str::to_owned);
        let spec = Value::Object(spec);
        let config = lower(&key, &spec).map_err(|wrong| Status::fields(&wrong))?;
        check_kind(mask, &config.scaling)?;
        if mask.touches("servingStatus") {
            check_status(version, status.as_deref(), &config.scaling)?;
        }
        self.worker.patch_version(&ask.caller.actor(), version, spec)
    }

    pub(crate) fn delete_version(&self, app: &AppId, service: &ServiceId, id: &VersionId, ask: &Ask) -> Answered {
        let version = self.find_version(app, service, id)?;
        let holder = self.find_service(app, service.as_str())?;
        if self.store().read(|view| view.version_stamps(app, service))?.len() == 1 {
            return Err(Status::invalid(
                "Cannot delete the final version of a service (module). Please delete the whole service (module) in order to delete this version.",
            ));
        }
        if holder.split.share(version.id.as_str()) > 0 {
            return Err(Status::invalid(
                "Cannot delete a version with a non-zero traffic allocation. Please update your traffic split to remove the allocation for this \
                 version and try again.",
            ));
        }
        self.worker.delete_version(&ask.caller.actor(), app, service, id).map(running)
    }
}

/// Only instances that somebody asked for by number can be stopped and started (discovery document, `servingStatus`).
fn check_status(version: &Version, asked: Option<&str>, scaling: &Scaling) -> Result<(), Status> {
    let status = match asked {
        Some("SERVING") => ServingStatus::Serving,
        Some("STOPPED") => ServingStatus::Stopped,
        _ => return Err(Status::field("version.servingStatus", "The serving status is SERVING or STOPPED.")),
    };
    if status != version.status && matches!(scaling, Scaling::Automatic(_)) {
        let text = "Serving status cannot be changed for Automatic Scaling versions.";
        return Err(Status::field("version.servingStatus", text));
    }
    Ok(())
}

/// A version's settings as both views show them, with what clients leave out.
pub(crate) fn completed(mut body: Map<String, Value>, full: bool) -> Map<String, Value> {
    if !full {
        for field in FULL_ONLY {
            body.remove(field);
        }
    }
    let manual = body.contains_key("basicScaling") || body.contains_key("manualScaling");
    body.entry("env").or_insert_with(|| "standard".into());
    body.entry("instanceClass").or_insert_with(|| if manual { "B2" } else { "F1" }.into());
    if !manual {
        body.entry("automaticScaling").or_insert_with(|| json!({}));
    }
    body
}

/// `view=FULL`, `view=1`; BASIC otherwise.
fn full(ask: &Ask) -> Result<bool, Status> {
    match ask.query.get("view").unwrap_or_default().to_ascii_uppercase().as_str() {
        "" | "BASIC" | "0" => Ok(false),
        "FULL" | "1" => Ok(true),
        other => Err(Status::field("view", format!("Invalid value at 'view' (TYPE_ENUM), \"{other}\""))),
    }
}

fn without(mut body: Map<String, Value>, fields: &[&str]) -> Map<String, Value> {
    for field in fields {
        body.remove(*field);
    }
    body
}

/// A version has files, or a zip of them.
fn check_deployment(body: &Map<String, Value>) -> Result<(), Status> {
    let deployment = body.get("deployment").and_then(Value::as_object);
    let has =
        |name: &str| deployment.and_then(|deployment| deployment.get(name)).and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    match (has("files"), has("zip")) {
        (false, false) => Err(Status::field("version.deployment", "A version needs its code: `deployment.files` or `deployment.zip`.")),
        (true, true) => Err(Status::field("version.deployment.zip", "A version has `deployment.files` or `deployment.zip`, not both.")),
        _ => Ok(()),
    }
}

/// The mask of a PATCH; without one, every changeable field that the body has.
fn patch_mask(ask: &Ask, body: &Map<String, Value>) -> Result<UpdateMask, Status> {
    let mut mask = ask.mask(&VERSION, false)?;
    if mask.is_empty() {
        let there = |path: &&str| {
            path.split('.').try_fold(None, |at: Option<&Value>, part| at.map_or_else(|| body.get(part), |at| at.get(part)).map(Some))
        };
        let named: Vec<&str> = CHANGEABLE.iter().copied().filter(|path| there(path).is_some()).collect();
        mask = UpdateMask::parse(&named.join(","), &VERSION)?;
        if mask.is_empty() {
            return Err(Status::field("updateMask", "The update mask is empty, and so is the version: there is nothing to change."));
        }
    }
    // A whole block stands for what can be changed in it.
    let blocks = ["automaticScaling", "automaticScaling.standardSchedulerSettings", "manualScaling"];
    let beyond = mask.paths().find(|path| !blocks.contains(path) && !CHANGEABLE.contains(path)).map(str::to_owned);
    if let Some(path) = beyond {
        let message = format!("The field `{path}` of a version cannot be changed; deploy a new version instead.");
        return Err(Status::invalid(message.clone()).with_violations(&[FieldViolation::new("updateMask", message)]));
    }
    Ok(mask)
}

/// Scaling keeps its kind.
fn check_kind(mask: &UpdateMask, scaling: &Scaling) -> Result<(), Status> {
    let wrong = |field: &str, kind: &str| {
        Err(Status::field(format!("version.{field}"), format!("The version has {kind} scaling; deploy a new version to change that.")))
    };
    match scaling {
        Scaling::Automatic(_) if mask.touches("manualScaling") => wrong("manualScaling", "automatic"),
        Scaling::Basic(_) if mask.touches("manualScaling") || mask.touches("automaticScaling") => wrong("basicScaling", "basic"),
        Scaling::Manual(_) if mask.touches("automaticScaling") => wrong("automaticScaling", "manual"),
        _ => Ok(()),
    }
}
