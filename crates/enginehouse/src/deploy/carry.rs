//! Carries a plan out: files, versions, traffic. Traffic is touched only after every version is ready, so that a failure changes nothing for users.

use std::collections::BTreeMap;
use std::time::Instant;

use appyaml::Loaded;
use serde_json::{Map, Value, json};

use super::plan::{Plan, Target, Traffic};
use super::stages::{Making, Stage, took};
use super::{Deploy, Part, configs, upload};
use crate::admin::output::size;
use crate::admin::{apps, warn};
use crate::check::count;
use crate::client::settings::Session;
use crate::client::{Failure, Outcome, Status, finish, response};
use crate::ui::{BOLD, CYAN, DIM, GREEN};

/// Does everything.
pub(super) fn out(session: &Session, asked: &Deploy, plan: &Plan, parts: &[Part], loaded: &Loaded) -> Outcome<()> {
    let begun = Instant::now();
    if plan.app.is_none() {
        apps::create(session, None)?;
    }
    let app = plan.app.clone().map_or_else(|| session.client.get(&session.app.path()), Ok)?;
    send(session, parts)?;
    let mut versions = Vec::new();
    for part in parts {
        versions.push(create(session, &app, part).map_err(|failure| explain(session, plan, part, failure))?);
    }
    for (part, target) in parts.iter().zip(&plan.targets) {
        switch(session, part, target)?;
    }
    for (part, target) in parts.iter().zip(&plan.targets) {
        if !asked.no_stop_previous_version {
            stop_previous(session, part, target)?;
        }
    }
    for kind in &plan.configs {
        let stage = Stage::begin(&session.ui, kind.names()[0].trim_end_matches(".yaml"));
        stage.done(&configs::put(session, *kind, loaded)?);
    }
    tell(session, plan, parts, &versions, begun);
    Ok(())
}

/// Sends what the server does not have, the files of all services at once.
fn send(session: &Session, parts: &[Part]) -> Outcome<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let pairs = parts.iter().flat_map(|part| part.sums.sums.iter().map(String::as_str).zip(&part.files.files));
    let files: BTreeMap<_, _> = pairs.collect();
    let stage = Stage::begin(&session.ui, "upload");
    let sent = upload::upload(&session.client, &session.app, &files, &stage)?;
    let said = match sent.files {
        0 => "nothing, the server has all files".to_owned(),
        files => format!("{}, {}", count(files, "file"), size(sent.bytes)),
    };
    stage.done(&said);
    Ok(())
}

/// Orders a version and waits until it could serve.
fn create(session: &Session, app: &Value, part: &Part) -> Outcome<Value> {
    let bucket = app["codeBucket"].as_str().unwrap_or_default().trim_start_matches("gs://");
    let files: Map<String, Value> = part
        .files
        .files
        .iter()
        .zip(&part.sums.sums)
        .map(|(file, sum)| {
            // What gcloud writes, whatever the server is called.
            (file.name.clone(), json!({"sha1Sum": sum, "sourceUrl": format!("https://storage.googleapis.com/{bucket}/{sum}")}))
        })
        .collect();
    let mut body = control::version::raise(&part.service.config);
    body["id"] = part.version.as_str().into();
    body["deployment"] = json!({"files": files});
    let mut making = Making::begin(&session.ui);
    let started = session.client.post(&format!("{}/versions", session.app.service(part.id())), &body)?;
    let done = finish(&session.client, started, None, &mut making)?;
    making.done(&format!("{}/{} is ready", part.id(), part.version));
    warn(&session.ui, &done);
    let made = response(&done);
    if made.get("versionUrl").is_some() { Ok(made.clone()) } else { session.client.get(&session.app.version(part.id(), &part.version)) }
}

/// Adds to a failure what it means for users.
fn explain(session: &Session, plan: &Plan, part: &Part, failure: Failure) -> Failure {
    let named = |mut status: Box<Status>| {
        status.message = format!("{}/{} could not be deployed: {}", part.id(), part.version, status.message);
        status
    };
    let failure = match failure {
        Failure::Operation(status) => Failure::Operation(named(status)),
        Failure::Answer(status) => Failure::Answer(named(status)),
        other => return other,
    };
    if plan.targets.iter().any(|target| target.service.is_some()) {
        session.ui.status(&format!("{DIM}What served before goes on serving; no traffic was moved.{DIM:#}"));
    }
    failure
}

fn switch(session: &Session, part: &Part, target: &Target) -> Outcome<()> {
    let (query, by) = match target.traffic {
        Traffic::Already | Traffic::Stays => return Ok(()),
        Traffic::Switches => ("updateMask=split", "UNSPECIFIED"),
        Traffic::Migrates => ("updateMask=split&migrateTraffic=true", "IP"),
    };
    let stage = Stage::begin(&session.ui, if target.traffic == Traffic::Migrates { "migrate" } else { "switch" });
    let body = json!({"split": {"allocations": {part.version.as_str(): 1.0}, "shardBy": by}});
    let started = session.client.patch(&format!("{}?{query}", session.app.service(part.id())), &body)?;
    let done = finish(&session.client, started, None, &mut |operation: &Value| {
        if let Some(said) = operation["metadata"]["ephemeralMessage"].as_str().filter(|said| !said.is_empty()) {
            stage.detail(said);
        }
    })?;
    stage.done(&format!("all traffic of {} to {}", part.id(), part.version));
    warn(&session.ui, &done);
    Ok(())
}

/// Instances of basic and manual scaling would go on for nobody.
fn stop_previous(session: &Session, part: &Part, target: &Target) -> Outcome<()> {
    let Some(previous) = target.previous.as_ref().filter(|_| matches!(target.traffic, Traffic::Switches | Traffic::Migrates)) else {
        return Ok(());
    };
    let path = session.app.version(part.id(), previous);
    let old = session.client.get(&path)?;
    let runs = ["basicScaling", "manualScaling"].iter().any(|scaling| old.get(scaling).is_some());
    if !runs || old["servingStatus"] == "STOPPED" {
        return Ok(());
    }
    let stage = Stage::begin(&session.ui, "stop");
    let started = session.client.patch(&format!("{path}?updateMask=servingStatus"), &json!({"servingStatus": "STOPPED"}))?;
    finish(&session.client, started, None, &mut |_: &Value| ())?;
    stage.done(&format!("{}/{previous} is stopped", part.id()));
    Ok(())
}

/// Where the app is now, and what one may do next.
fn tell(session: &Session, plan: &Plan, parts: &[Part], versions: &[Value], begun: Instant) {
    let ui = &session.ui;
    for ((part, target), version) in parts.iter().zip(&plan.targets).zip(versions) {
        let url = version["versionUrl"].as_str().unwrap_or_default();
        let shown = if target.traffic == Traffic::Stays { url.to_owned() } else { service_url(url, &part.version) };
        ui.data(&format!("{CYAN}{shown}{CYAN:#}\n"));
    }
    ui.status(&format!("{GREEN}✓{GREEN:#} {BOLD}deployed{BOLD:#} in {}", took(begun.elapsed())));
    for (part, target) in parts.iter().zip(&plan.targets) {
        let flag = if part.id() == "default" { String::new() } else { format!(" --service {}", part.id()) };
        let hint = match target.traffic {
            Traffic::Stays => format!("enginehouse traffic set {}{flag}  gives it the traffic", part.version),
            Traffic::Switches | Traffic::Migrates => format!("enginehouse traffic rollback{flag}  goes back"),
            Traffic::Already => continue,
        };
        ui.status(&format!("  {DIM}{hint}{DIM:#}"));
    }
}

/// The address of the service from that of a version: `https://VERSION-dot-SERVICE-dot-PROJECT…` without its first name.
fn service_url(url: &str, version: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.strip_prefix(&format!("{version}-dot-")).unwrap_or(rest)),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_service_is_that_of_its_version_without_it() {
        assert_eq!(service_url("https://v1-dot-demo.uc.r.x.org", "v1"), "https://demo.uc.r.x.org");
        assert_eq!(service_url("http://v1-dot-api-dot-demo.localhost:8080", "v1"), "http://api-dot-demo.localhost:8080");
        assert_eq!(service_url("", "v1"), "");
    }
}
