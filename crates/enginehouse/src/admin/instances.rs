//! `enginehouse instances`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::Asking;
use super::output::{self, Column, Listing, Showing, bytes, or_dash, time};
use super::{Named, carry_out, exit};
use crate::client::settings::{Remote, Session, open};
use crate::client::{EXIT_STATUS, Outcome, segment};
use crate::ui::{DIM, Ui};

/// `enginehouse instances`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Instances {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List running instances
    List {
        /// Only of this service
        #[arg(long, short)]
        service: Option<String>,
        /// Only of this version
        #[arg(long, short)]
        version: Option<String>,
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show all that is known about an instance
    Describe {
        /// Its id
        instance: String,
        /// Its version: VERSION, of the default service, or SERVICE/VERSION
        #[arg(long, short)]
        version: Named,
        /// Its service [default: default]
        #[arg(long, short)]
        service: Option<String>,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        remote: Remote,
    },
    /// End instances, each after the requests that it has; the scaling may start others
    Delete {
        /// Its id; may be repeated
        #[arg(required = true, value_name = "INSTANCE")]
        instances: Vec<String>,
        /// Their version: VERSION, of the default service, or SERVICE/VERSION
        #[arg(long, short)]
        version: Named,
        /// Their service [default: default]
        #[arg(long, short)]
        service: Option<String>,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
}

const COLUMNS: [Column; 11] = [
    ("SERVICE", "service", or_dash),
    ("VERSION", "version", or_dash),
    ("ID", "id", or_dash),
    ("KIND", "availability", or_dash),
    ("STATUS", "vmStatus", or_dash),
    ("REQUESTS", "requests", number),
    ("ERRORS", "errors", number),
    ("QPS", "qps", number),
    ("LATENCY MS", "averageLatency", number),
    ("MEMORY", "memoryUsage", bytes),
    ("STARTED", "startTime", time),
];

/// The API leaves zeros out.
fn number(value: &Value) -> String {
    match value {
        Value::Null => "0".to_owned(),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or(0.0)),
        other => output::text(other),
    }
}

/// Runs the command.
pub(crate) fn instances(ui: &Ui, asked: &Instances) -> ExitCode {
    let done = match &asked.what {
        What::List { service, version, listing, remote } => list(ui, remote, service.as_deref(), version.as_deref(), listing),
        What::Describe { instance, version, service, showing, remote } => open(ui, remote).and_then(|session| {
            output::show(ui, &session.client.get(&path(&session, version, service.as_deref(), instance))?, showing);
            Ok(())
        }),
        What::Delete { instances, version, service, asking, remote } => {
            open(ui, remote).and_then(|session| delete(&session, instances, version, service.as_deref(), *asking))
        }
    };
    exit(ui, done)
}

fn path(session: &Session, version: &Named, service: Option<&str>, instance: &str) -> String {
    format!("{}/instances/{}", session.app.version(version.service(service), &version.version), segment(instance))
}

fn list(ui: &Ui, remote: &Remote, service: Option<&str>, version: Option<&str>, listing: &Listing) -> Outcome<()> {
    let session = open(ui, remote)?;
    let services = match service {
        Some(id) => vec![id.to_owned()],
        None => ids(&session.client.list(&format!("{}/services", session.app.path()), "services", None)?),
    };
    let versions = session.client.each(&services, |client, service| {
        if let Some(id) = version {
            return Ok(vec![id.to_owned()]);
        }
        let mut all = client.list(&format!("{}/versions", session.app.service(service)), "versions", None)?;
        all.retain(|version| version["servingStatus"] != "STOPPED");
        Ok(ids(&all))
    })?;
    let pairs = services.iter().zip(versions).flat_map(|(service, versions)| versions.into_iter().map(move |version| (service, version)));
    let pairs: Vec<(&String, String)> = pairs.collect();
    let rows = session.client.each(&pairs, |client, (service, version)| {
        let mut found = match client.list(&format!("{}/instances", session.app.version(service, version)), "instances", None) {
            // Deleted meanwhile, or a version of another service.
            Err(failure) if failure.is_missing() => Vec::new(),
            other => other?,
        };
        for instance in &mut found {
            instance["service"] = service.as_str().into();
            instance["version"] = version.as_str().into();
        }
        Ok(found)
    })?;
    let rows = rows.into_iter().flatten().collect();
    output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no instance runs{DIM:#}"));
    Ok(())
}

fn ids(resources: &[Value]) -> Vec<String> {
    resources.iter().filter_map(|resource| resource["id"].as_str()).map(str::to_owned).collect()
}

fn delete(session: &Session, instances: &[String], version: &Named, service: Option<&str>, asking: Asking) -> Outcome<()> {
    let ui = &session.ui;
    ui.status(&format!("These instances of {}/{} are to end:", version.service(service), version.version));
    for instance in instances {
        let found = session.client.get(&path(session, version, service, instance))?;
        ui.status(&format!("  {instance}  {DIM}started {}, {} requests{DIM:#}", time(&found["startTime"]), number(&found["requests"])));
    }
    asking.confirm(ui, "Do you want to continue")?;
    for instance in instances {
        let started = session.client.delete(&path(session, version, service, instance))?;
        carry_out(session, &format!("ending {instance}"), &format!("{instance} has ended"), started)?;
    }
    Ok(())
}
