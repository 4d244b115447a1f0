//! `enginehouse versions`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ask::Asking;
use super::output::{self, Column, Listing, Showing, bytes, or_dash, percent, state, time};
use super::{Named, carry_out, exit, share};
use crate::client::settings::{Remote, Session, open};
use crate::client::{EXIT_STATUS, Failure, Outcome};
use crate::ui::{DIM, Ui};

/// `enginehouse versions`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Versions {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List versions and their traffic
    List {
        /// Only of this service
        #[arg(long, short)]
        service: Option<String>,
        /// Leave out versions without traffic
        #[arg(long)]
        hide_no_traffic: bool,
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show all that is known about a version
    Describe {
        /// VERSION or SERVICE/VERSION
        version: Named,
        /// The service of the version [default: default]
        #[arg(long, short)]
        service: Option<String>,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let stopped versions serve again
    Start(Several),
    /// Stop versions: their instances end, and nothing starts new ones
    Stop(Several),
    /// Delete versions for good
    Delete(Several),
    /// Tell what differs between two versions: settings and files
    Diff {
        /// VERSION or SERVICE/VERSION
        old: Named,
        /// VERSION or SERVICE/VERSION
        new: Named,
        /// The service of the versions [default: default]
        #[arg(long, short)]
        service: Option<String>,
        /// How it is printed: text or json
        #[arg(long, default_value = "text", value_parser = ["text", "json"], value_name = "FORMAT")]
        format: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Clone, Args)]
struct Several {
    /// VERSION or SERVICE/VERSION; may be repeated
    #[arg(required = true, value_name = "VERSION")]
    versions: Vec<Named>,
    /// The service of the versions [default: default]
    #[arg(long, short)]
    service: Option<String>,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    remote: Remote,
}

const COLUMNS: [Column; 8] = [
    ("SERVICE", "service", or_dash),
    ("VERSION", "id", or_dash),
    ("TRAFFIC", "trafficAllocation", percent),
    ("STATUS", "servingStatus", state),
    ("RUNTIME", "runtime", or_dash),
    ("SIZE", "diskUsageBytes", bytes),
    ("DEPLOYED", "createTime", time),
    ("BY", "createdBy", or_dash),
];

/// Runs the command.
pub(crate) fn versions(ui: &Ui, asked: &Versions) -> ExitCode {
    let done = match &asked.what {
        What::List { service, hide_no_traffic, listing, remote } => list(ui, remote, service.as_deref(), *hide_no_traffic, listing),
        What::Describe { version, service, showing, remote } => open(ui, remote).and_then(|session| {
            let found = fetch(&session, version, service.as_deref())?;
            output::show(ui, &found, showing);
            Ok(())
        }),
        What::Start(several) => serving(ui, several, "SERVING"),
        What::Stop(several) => serving(ui, several, "STOPPED"),
        What::Delete(several) => delete(ui, several),
        What::Diff { old, new, service, format, remote } => open(ui, remote).and_then(|session| {
            let (before, after) = (fetch(&session, old, service.as_deref())?, fetch(&session, new, service.as_deref())?);
            super::diff::print(ui, &before, &after, format == "json");
            Ok(())
        }),
    };
    exit(ui, done)
}

/// All that is known about a version; if it is in another service, that is said.
fn fetch(session: &Session, named: &Named, flag: Option<&str>) -> Outcome<Value> {
    let service = named.service(flag);
    match session.client.get(&format!("{}?view=FULL", session.app.version(service, &named.version))) {
        Err(failure) if failure.is_missing() && named.service.is_none() && flag.is_none() => Err(hint(session, &named.version, failure)),
        other => other,
    }
}

/// Adds to a 404 of the default service where such a version is.
fn hint(session: &Session, version: &str, failure: Failure) -> Failure {
    let Failure::Answer(mut status) = failure else { return failure };
    let services = session.client.list(&format!("{}/services", session.app.path()), "services", Some(20)).unwrap_or_default();
    let ids = services.iter().filter_map(|service| service["id"].as_str()).filter(|id| *id != "default");
    if let Some(id) = ids.into_iter().find(|id| session.client.get(&session.app.version(id, version)).is_ok()) {
        let _ = write!(status.message, "\n  There is one in the service {id}: write {id}/{version}.");
    }
    Failure::Answer(status)
}

fn list(ui: &Ui, remote: &Remote, service: Option<&str>, hide: bool, listing: &Listing) -> Outcome<()> {
    let session = open(ui, remote)?;
    let services = match service {
        Some(id) => vec![session.client.get(&session.app.service(id))?],
        None => session.client.list(&format!("{}/services", session.app.path()), "services", None)?,
    };
    let all = session.client.each(&services, |client, service| {
        let id = service["id"].as_str().unwrap_or_default();
        client.list(&format!("{}/versions", session.app.service(id)), "versions", None)
    })?;
    let mut rows = Vec::new();
    for (service, mut versions) in services.iter().zip(all) {
        let id = service["id"].as_str().unwrap_or_default();
        versions.sort_by(|a, b| a["createTime"].as_str().cmp(&b["createTime"].as_str()));
        for mut version in versions {
            let traffic = share(service, version["id"].as_str().unwrap_or_default());
            if hide && traffic <= 0.0 {
                continue;
            }
            version["service"] = id.into();
            version["trafficAllocation"] = traffic.into();
            rows.push(version);
        }
    }
    let nothing = format!("{DIM}{} has no versions; `enginehouse deploy` makes one{DIM:#}", session.app.id);
    output::list(ui, rows, &COLUMNS, listing, &nothing);
    Ok(())
}

/// A version, its service, and what the service gives it.
struct Target {
    service: String,
    version: String,
    found: Value,
    share: f64,
}

/// Looks at all versions before any is touched.
fn targets(session: &Session, several: &Several) -> Outcome<Vec<Target>> {
    let mut all = Vec::new();
    for named in &several.versions {
        let service = named.service(several.service.as_deref()).to_owned();
        let found = fetch(session, named, several.service.as_deref())?;
        let owner = session.client.get(&session.app.service(&service))?;
        all.push(Target { share: share(&owner, &named.version), service, version: named.version.clone(), found });
    }
    Ok(all)
}

fn plan(ui: &Ui, what: &str, targets: &[Target]) {
    ui.status(&format!("{what}:"));
    for target in targets {
        let traffic = if target.share > 0.0 { format!(", {} of the traffic", percent(&target.share.into())) } else { String::new() };
        let status = target.found["servingStatus"].as_str().unwrap_or("SERVING");
        ui.status(&format!("  {}/{}  {DIM}{status}{traffic}{DIM:#}", target.service, target.version));
    }
}

fn serving(ui: &Ui, several: &Several, status: &str) -> Outcome<()> {
    let session = open(ui, &several.remote)?;
    let targets = targets(&session, several)?;
    let (verb, doing, done) = if status == "SERVING" { ("start", "starting", "serves") } else { ("stop", "stopping", "is stopped") };
    plan(ui, &format!("These versions are to {verb}"), &targets);
    if status == "STOPPED" && targets.iter().any(|target| target.share > 0.0) {
        ui.warning("a stopped version answers its share of the traffic with errors");
    }
    several.asking.confirm(ui, "Do you want to continue")?;
    for target in &targets {
        let path = format!("{}?updateMask=servingStatus", session.app.version(&target.service, &target.version));
        let started = session.client.patch(&path, &json!({"servingStatus": status}))?;
        let name = format!("{}/{}", target.service, target.version);
        carry_out(&session, &format!("{doing} {name}"), &format!("{name} {done}"), started)?;
    }
    Ok(())
}

fn delete(ui: &Ui, several: &Several) -> Outcome<()> {
    let session = open(ui, &several.remote)?;
    let targets = targets(&session, several)?;
    plan(ui, "These versions are to be deleted, with their files", &targets);
    if let Some(target) = targets.iter().find(|target| target.share > 0.0) {
        let (service, version) = (&target.service, &target.version);
        return Err(Failure::Here(format!(
            "{service}/{version} has traffic, so it cannot be deleted; `enginehouse traffic set --service {service} OTHER` gives it to another one"
        )));
    }
    several.asking.confirm(ui, "Do you want to continue")?;
    for target in &targets {
        let started = session.client.delete(&session.app.version(&target.service, &target.version))?;
        let name = format!("{}/{}", target.service, target.version);
        carry_out(&session, &format!("deleting {name}"), &format!("{name} is deleted"), started)?;
    }
    Ok(())
}
