//! `apps.services`: traffic, labels, network settings.

use std::collections::BTreeMap;
use std::time::Duration;

use model::ids::{AppId, ServiceId, VersionId, VersionKey};
use model::migrate::{self, guard::Guard};
use model::traffic::{ShardBy, SplitError, TrafficSplit, WHOLE};
use serde_json::{Map, Value, json};
use store::control::{Service, ServingStatus, Version};

use super::apps::running;
use super::ask::Ask;
use super::page::Paging;
use super::schema::{LIST_SERVICES_RESPONSE, SERVICE};
use super::{Answer, Answered, Api};
use crate::status::{Code, FieldViolation, Status};
use crate::work::{Gradual, ServiceChange};

/// Labels of a service (discovery document).
const MOST_LABELS: usize = 32;
/// Characters of a label's name or value.
const LONGEST_LABEL: usize = 63;

/// A service as clients see it.
pub(crate) fn shown(service: &Service) -> Value {
    let mut shown = json!({"name": service.name(), "id": service.id, "split": shown_split(&service.split)});
    if !service.labels.is_empty() {
        shown["labels"] = json!(service.labels);
    }
    if let Some(network) = &service.network {
        shown["networkSettings"] = network.clone();
    }
    shown
}

/// A split as the documents print it: `{"v1": 1}`, `{"v1": 0.6, …}`.
pub(crate) fn shown_split(split: &TrafficSplit) -> Value {
    let share = |thousandths: u16| if thousandths == WHOLE { json!(1) } else { json!(f64::from(thousandths) / f64::from(WHOLE)) };
    let allocations: Map<String, Value> = split.parts().map(|(version, part)| (version.as_str().to_owned(), share(part))).collect();
    let mut shown = json!({"allocations": allocations});
    if let Some(by) = split.by() {
        shown["shardBy"] = match by {
            ShardBy::Ip => "IP",
            ShardBy::Cookie => "COOKIE",
            ShardBy::Random => "RANDOM",
        }
        .into();
    }
    shown
}

/// Reads a split in canonical form (row T1).
///
/// # Errors
/// 400 with the allocation that is wrong.
pub(crate) fn read_split(split: &Value) -> Result<TrafficSplit, Status> {
    let by = match split.get("shardBy").and_then(Value::as_str) {
        None | Some("UNSPECIFIED") => None,
        Some("IP") => Some(ShardBy::Ip),
        Some("COOKIE") => Some(ShardBy::Cookie),
        Some("RANDOM") => Some(ShardBy::Random),
        Some(other) => return Err(Status::field("service.split.shardBy", format!("`{other}` is none of IP, COOKIE, RANDOM."))),
    };
    let allocations = split.get("allocations").and_then(Value::as_object);
    let mut parts = BTreeMap::new();
    let several = allocations.is_some_and(|allocations| allocations.len() > 1);
    for (name, share) in allocations.into_iter().flatten() {
        let at = format!("service.split.allocations[{name:?}]");
        let version: VersionId = name.parse().map_err(|error: model::ids::NameError| Status::field(at.clone(), error.0))?;
        let share = share.as_f64().unwrap_or(f64::NAN);
        if !(share > 0.0 && share <= 1.0) {
            return Err(Status::field(at, SplitError::Share(version).to_string()));
        }
        // Clients compute 1 - 0.54: what is meant is the nearest thousandth; a hundredth has to be meant for IP.
        if by == Some(ShardBy::Ip) && several && (share * 100.0 - (share * 100.0).round()).abs() > 1e-9 {
            return Err(Status::field(at, SplitError::Precision(version).to_string()));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
        let thousandths = (share * f64::from(WHOLE)).round() as u16;
        parts.insert(version, thousandths);
    }
    TrafficSplit::new(by, parts).map_err(|error| Status::field("service.split.allocations", error.to_string()))
}

impl Api {
    pub(crate) fn services(&self, app: &AppId, ask: &Ask) -> Answered {
        let paging = Paging::read(&ask.query, &format!("services of {app}"))?;
        let page = paging.store();
        let mut found = self.store().read(|view| view.app(app.as_str()).and_then(|_| view.services(app, &page)))?;
        let next = paging.cut(&mut found, |service| service.id.as_str().to_owned());
        let services: Vec<Value> = found.iter().map(shown).collect();
        Ok(Answer::Resource(json!({"services": services, "nextPageToken": next}), &LIST_SERVICES_RESPONSE))
    }

    pub(crate) fn service(&self, app: &AppId, id: &str) -> Answered {
        Ok(Answer::Resource(shown(&self.find_service(app, id)?), &SERVICE))
    }

    /// A service of an app, which must both exist.
    pub(crate) fn find_service(&self, app: &AppId, id: &str) -> Result<Service, Status> {
        let found = self.store().read(|view| view.app(app.as_str()).and_then(|_| view.find_service(app, id)))?;
        found.ok_or_else(|| Status::not_found(format!("Service `apps/{app}/services/{id}` was not found.")))
    }

    pub(crate) fn patch_service(&self, app: &AppId, id: &ServiceId, ask: &Ask) -> Answered {
        let mask = ask.mask(&SERVICE, true)?;
        // Terraform names the id too, which stays as it is.
        if let Some(path) = mask.beyond(&["split", "labels", "networkSettings", "id"]) {
            let message = format!("The field `{path}` of a service cannot be changed.");
            return Err(Status::invalid(message.clone()).with_violations(&[FieldViolation::new("updateMask", message)]));
        }
        let migrate = ask.query.flag("migrateTraffic")?;
        let body = ask.message(&SERVICE, "service")?;
        let service = self.find_service(app, id.as_str())?;
        let mut change = ServiceChange::default();
        if mask.touches("split") {
            let split = patched(&mask, &body, shown_split(&service.split), "split");
            let split = read_split(&split)?;
            self.check_split(app, id, &split, migrate)?;
            change.gradual = if migrate { Some(gradual(ask)?) } else { None };
            change.split = Some(split);
        } else if migrate {
            return Err(Status::field("migrateTraffic", "migrateTraffic=true needs updateMask=split and the split to migrate to."));
        }
        if mask.touches("labels") {
            let labels = patched(&mask, &body, json!(service.labels), "labels");
            change.labels = Some(read_labels(&labels)?);
        }
        if mask.touches("networkSettings") {
            let network = patched(&mask, &body, service.network.clone().unwrap_or_else(|| json!({})), "networkSettings");
            change.network = Some(Some(network).filter(|network| network.as_object().is_some_and(|map| !map.is_empty())));
        }
        self.worker.patch_service(&ask.caller.actor(), app, id, change).map(running)
    }

    /// Every version must exist and run.
    pub(crate) fn check_running(&self, app: &AppId, id: &ServiceId, split: &TrafficSplit) -> Result<Vec<Version>, Status> {
        let mut versions = Vec::new();
        for (name, _) in split.parts() {
            let at = format!("service.split.allocations[{:?}]", name.as_str());
            let Some(version) = self.store().read(|view| view.find_version(app, id, name.as_str()))? else {
                return Err(Status::field(at, format!("Version `{name}` of service `{id}` was not found; deploy it first.")));
            };
            if version.status == ServingStatus::Stopped {
                let message = format!("Version `{name}` of service `{id}` is stopped and cannot take traffic; start it first.");
                return Err(Status::new(Code::FailedPrecondition, message.clone()).with_violations(&[FieldViolation::new(at, message)]));
            }
            versions.push(version);
        }
        Ok(versions)
    }

    /// A gradual migration has conditions of its own (row T3).
    fn check_split(&self, app: &AppId, id: &ServiceId, split: &TrafficSplit, migrate: bool) -> Result<(), Status> {
        let versions = self.check_running(app, id, split)?;
        if migrate { versions.iter().try_for_each(|version| check_migration(version, id, split)) } else { Ok(()) }
    }

    pub(crate) fn delete_service(&self, app: &AppId, id: &ServiceId, ask: &Ask) -> Answered {
        self.find_service(app, id.as_str())?;
        if id.is_default() {
            return Err(Status::invalid("The default service (module) may not be deleted."));
        }
        self.worker.delete_service(&ask.caller.actor(), app, id).map(running)
    }
}

fn check_migration(version: &Version, service: &ServiceId, split: &TrafficSplit) -> Result<(), Status> {
    let key = VersionKey { service: service.clone(), version: version.id.clone() };
    let config = crate::version::lower(&key, &version.spec).map_err(|wrong| Status::fields(&wrong))?;
    migrate::check(split, &config).map_err(|refused| {
        let field = match refused {
            migrate::Refusal::NoShardBy => "service.split.shardBy",
            _ => "service.split.allocations",
        };
        Status::field(field, refused.to_string())
    })
}

/// What a field is after the mask's paths in it were replaced.
fn patched(mask: &super::mask::UpdateMask, body: &Map<String, Value>, now: Value, field: &str) -> Value {
    let mut into = Map::from_iter([(field.to_owned(), now)]);
    mask.apply(body, &mut into);
    into.remove(field).unwrap_or_else(|| json!({}))
}

/// Our own parameters of a migration: `migrateOver=60s`, `abortIf=error-rate>1%,p99>2x`.
fn gradual(ask: &Ask) -> Result<Gradual, Status> {
    let over = match ask.query.get("migrateOver").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => match crate::version::parse_seconds(text).filter(|over| *over <= Duration::from_hours(24)) {
            Some(over) => Some(over),
            None => {
                return Err(Status::field("migrateOver", format!("`{text}` is not a duration up to 24 hours; write for example \"60s\".")));
            }
        },
    };
    let guard = ask.query.get("abortIf").unwrap_or_default();
    let guard: Guard = guard.parse().map_err(|error: migrate::guard::GuardError| Status::field("abortIf", error.to_string()))?;
    Ok(Gradual { over, guard })
}

fn read_labels(labels: &Value) -> Result<BTreeMap<String, String>, Status> {
    let mut read = BTreeMap::new();
    for (name, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let at = || format!("service.labels[{name:?}]");
        let fits = |text: &str| {
            let good = |c: char| c.is_lowercase() || c.is_numeric() || c == '_' || c == '-' || (c.is_alphabetic() && !c.is_uppercase());
            text.chars().count() <= LONGEST_LABEL && text.chars().all(good)
        };
        if name.is_empty() || !fits(name) || !fits(value) || !name.starts_with(|c: char| c.is_alphabetic()) {
            let why =
                format!("A label has lower-case letters, digits, `_` and `-`, at most {LONGEST_LABEL}, and its name begins with a letter.");
            return Err(Status::field(at(), why));
        }
        read.insert(name.clone(), value.to_owned());
    }
    if read.len() > MOST_LABELS {
        return Err(Status::field("service.labels", format!("{} labels; a service has at most {MOST_LABELS}.", read.len())));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(value: &Value) -> Result<Value, String> {
        read_split(value).map(|split| shown_split(&split)).map_err(|status| status.message)
    }

    #[test]
    fn t1_splits_as_clients_compute_them() {
        assert_eq!(split(&json!({"allocations": {"v2": 1.0}})), Ok(json!({"allocations": {"v2": 1}})));
        assert_eq!(
            split(&json!({"shardBy": "IP", "allocations": {"a": 0.07, "b": 0.459_999_999_999_999_96, "c": 0.47}})),
            Ok(json!({"shardBy": "IP", "allocations": {"a": 0.07, "b": 0.46, "c": 0.47}}))
        );
        assert_eq!(
            split(&json!({"shardBy": "COOKIE", "allocations": {"a": 0.077, "b": 0.462, "c": 0.461_000_000_000_000_13}})),
            Ok(json!({"shardBy": "COOKIE", "allocations": {"a": 0.077, "b": 0.462, "c": 0.461}}))
        );
        assert_eq!(split(&json!({"shardBy": "UNSPECIFIED", "allocations": {"a": 1}})), Ok(json!({"allocations": {"a": 1}})));
    }

    #[test]
    fn t4_splits_that_cannot_be_kept_are_refused() {
        for (value, message) in [
            (json!({}), "The traffic split must give traffic to at least one version."),
            (json!({"allocations": {"a": 0.5}}), "The allocations must add up to 1; they are 0.5."),
            (json!({"allocations": {"a": 0, "b": 1}}), "The allocation of version `a` must be greater than 0 and at most 1."),
            (json!({"allocations": {"a": 1.5}}), "The allocation of version `a` must be greater than 0 and at most 1."),
            (json!({"allocations": {"a": -1}}), "The allocation of version `a` must be greater than 0 and at most 1."),
            (
                json!({"shardBy": "IP", "allocations": {"a": 0.333, "b": 0.667}}),
                "The allocation of version `a` has more than two decimals, which splitting by IP address cannot keep; three are possible by COOKIE.",
            ),
        ] {
            assert_eq!(split(&value), Err(message.to_owned()));
        }
        assert!(split(&json!({"allocations": {"A": 1}})).is_err());
    }

    #[test]
    fn t9_labels_have_limits() {
        assert!(read_labels(&json!({"team": "a-1_b", "größe": ""})).is_ok());
        for bad in [json!({"": "x"}), json!({"Team": "x"}), json!({"1": "x"}), json!({"a": "B"}), json!({"a".repeat(64): "x"})] {
            assert!(read_labels(&bad).is_err(), "{bad}");
        }
    }
}
