//! `apps.services.versions.instances`: what runs. Asked of the engine, kept nowhere.

use model::engine::InstanceReport;
use model::ids::{AppId, InstanceId, ServiceId, VersionId, VersionKey};
use serde_json::{Value, json};

use super::apps::running;
use super::ask::Ask;
use super::page::Paging;
use super::schema::{INSTANCE, LIST_INSTANCES_RESPONSE};
use super::{Answer, Answered, Api, second};
use crate::status::{Code, Status};

fn shown(name: &str, report: &InstanceReport) -> Value {
    let number = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
    let liveness = match (report.leaving, report.ready) {
        (true, _) => "DRAINING",
        (false, true) => "HEALTHY",
        (false, false) => "UNKNOWN",
    };
    json!({
        "name": name,
        "id": report.id.to_string(),
        "appEngineRelease": concat!("enginehouse/", env!("CARGO_PKG_VERSION")),
        "availability": if report.resident { "RESIDENT" } else { "DYNAMIC" },
        "averageLatency": report.latency_ms,
        "errors": number(report.errors),
        "memoryUsage": report.memory.to_string(),
        "qps": (f64::from(report.qps) * 1000.0).round() / 1000.0,
        "requests": number(report.requests),
        "startTime": second(report.started),
        "vmLiveness": liveness,
    })
}

impl Api {
    fn reports(&self, app: &AppId, service: &ServiceId, version: &VersionId) -> Result<Vec<InstanceReport>, Status> {
        self.find_version(app, service, version)?;
        let key = VersionKey { service: service.clone(), version: version.clone() };
        let mut reports = self.engine.instances(app, &key);
        reports.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(reports)
    }

    fn report(&self, app: &AppId, service: &ServiceId, version: &VersionId, id: &InstanceId) -> Result<(String, InstanceReport), Status> {
        let name = format!("apps/{app}/services/{service}/versions/{version}/instances/{id}");
        // An opaque id may consist of digits.
        let found = self.reports(app, service, version)?.into_iter().find(|report| report.id.to_string() == id.to_string());
        let found = found.ok_or_else(|| Status::not_found(format!("Instance `{name}` was not found.")))?;
        Ok((name, found))
    }

    pub(crate) fn instances(&self, app: &AppId, service: &ServiceId, version: &VersionId, ask: &Ask) -> Answered {
        let paging = Paging::read(&ask.query, &format!("instances of {app}/{service}/{version}"))?;
        let reports = self.reports(app, service, version)?;
        let (page, next) = paging.slice(reports, |report| report.id.to_string());
        let parent = format!("apps/{app}/services/{service}/versions/{version}/instances");
        let instances: Vec<Value> = page.iter().map(|report| shown(&format!("{parent}/{}", report.id), report)).collect();
        Ok(Answer::Resource(json!({"instances": instances, "nextPageToken": next}), &LIST_INSTANCES_RESPONSE))
    }

    pub(crate) fn instance(&self, app: &AppId, service: &ServiceId, version: &VersionId, id: &InstanceId) -> Answered {
        let (name, report) = self.report(app, service, version, id)?;
        Ok(Answer::Resource(shown(&name, &report), &INSTANCE))
    }

    pub(crate) fn delete_instance(&self, app: &AppId, service: &ServiceId, version: &VersionId, id: &InstanceId, ask: &Ask) -> Answered {
        let (_, report) = self.report(app, service, version, id)?;
        self.worker.delete_instance(&ask.caller.actor(), app, service, version, &report.id).map(running)
    }

    pub(crate) fn debug_instance(&self, app: &AppId, service: &ServiceId, version: &VersionId, id: &InstanceId) -> Answered {
        self.report(app, service, version, id)?;
        Err(Status::new(
            Code::FailedPrecondition,
            "Instances can be debugged in the flexible environment only; this version runs in the standard environment, where instances have no \
             virtual machine to log in to. Its log is in `enginehouse logs`.",
        ))
    }
}
