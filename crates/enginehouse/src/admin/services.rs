//! `enginehouse services`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::ask::Asking;
use super::output::{self, Column, Listing, Showing, or_dash, percent};
use super::{carry_out, exit};
use crate::client::settings::{Remote, open};
use crate::client::{EXIT_STATUS, Failure, Outcome};
use crate::ui::{DIM, Ui};

/// `enginehouse services`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Services {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List services and where their traffic goes
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show all that is known about a service
    Describe {
        /// The service
        service: String,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Delete services with all their versions
    Delete {
        /// The service; may be repeated
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
    /// Change who may reach a service, or its labels
    Update {
        /// The service [default: default]
        #[arg(default_value = "default")]
        service: String,
        /// Who may reach it
        #[arg(long, value_enum, value_name = "WHO", required_unless_present = "labels")]
        ingress: Option<Ingress>,
        /// All its labels: NAME=VALUE,…; an empty text removes them
        #[arg(long, value_name = "NAME=VALUE,…")]
        labels: Option<String>,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ingress {
    /// Everybody
    All,
    /// Other services and the machine's own network
    InternalOnly,
    /// The same and load balancers
    InternalAndCloudLoadBalancing,
}

impl Ingress {
    fn name(self) -> &'static str {
        match self {
            Self::All => "INGRESS_TRAFFIC_ALLOWED_ALL",
            Self::InternalOnly => "INGRESS_TRAFFIC_ALLOWED_INTERNAL_ONLY",
            Self::InternalAndCloudLoadBalancing => "INGRESS_TRAFFIC_ALLOWED_INTERNAL_AND_LB",
        }
    }
}

const COLUMNS: [Column; 4] = [
    ("SERVICE", "id", or_dash),
    ("TRAFFIC", "split.allocations", shares),
    ("BY", "split.shardBy", or_dash),
    ("INGRESS", "networkSettings.ingressTrafficAllowed", ingress),
];

/// `v1 60 %, v2 40 %`
pub(super) fn shares(allocations: &Value) -> String {
    let mut all: Vec<_> = allocations.as_object().into_iter().flatten().collect();
    all.sort_by(|a, b| b.1.as_f64().unwrap_or(0.0).total_cmp(&a.1.as_f64().unwrap_or(0.0)));
    let text = all.into_iter().map(|(version, share)| format!("{version} {}", percent(share))).collect::<Vec<_>>().join(", ");
    or_dash(&text.into())
}

fn ingress(value: &Value) -> String {
    let short = value.as_str().and_then(|name| name.strip_prefix("INGRESS_TRAFFIC_ALLOWED_")).unwrap_or("ALL");
    short.to_ascii_lowercase().replace('_', "-")
}

/// Runs the command.
pub(crate) fn services(ui: &Ui, asked: &Services) -> ExitCode {
    let done = match &asked.what {
        What::List { listing, remote } => list(ui, remote, listing),
        What::Describe { service, showing, remote } => open(ui, remote).and_then(|session| {
            output::show(ui, &session.client.get(&session.app.service(service))?, showing);
            Ok(())
        }),
        What::Delete { services, asking, remote } => delete(ui, remote, services, *asking),
        What::Update { service, ingress, labels, asking, remote } => update(ui, remote, service, *ingress, labels.as_deref(), *asking),
    };
    exit(ui, done)
}

fn list(ui: &Ui, remote: &Remote, listing: &Listing) -> Outcome<()> {
    let session = open(ui, remote)?;
    let limit = listing.limit.filter(|_| listing.sort_by.is_none());
    let rows = session.client.list(&format!("{}/services", session.app.path()), "services", limit)?;
    let nothing = format!("{DIM}{} has no services; `enginehouse deploy` makes one{DIM:#}", session.app.id);
    output::list(ui, rows, &COLUMNS, listing, &nothing);
    Ok(())
}

fn delete(ui: &Ui, remote: &Remote, services: &[String], asking: Asking) -> Outcome<()> {
    let session = open(ui, remote)?;
    let mut plan = String::from("These services are to be deleted, with all their versions and files:");
    for service in services {
        let found = session.client.get(&session.app.service(service))?;
        let versions = session.client.list(&format!("{}/versions", session.app.service(service)), "versions", None)?.len();
        let versions = crate::check::count(versions, "version");
        let _ = write!(plan, "\n  {service}  {DIM}{versions}; {}{DIM:#}", shares(&found["split"]["allocations"]));
    }
    ui.status(&plan);
    asking.confirm(ui, "Do you want to continue")?;
    for service in services {
        let started = session.client.delete(&session.app.service(service))?;
        carry_out(&session, &format!("deleting {service}"), &format!("{service} is deleted"), started)?;
    }
    Ok(())
}

fn update(ui: &Ui, remote: &Remote, service: &str, ingress: Option<Ingress>, labels: Option<&str>, asking: Asking) -> Outcome<()> {
    let labels = labels.map(read_labels).transpose()?;
    let session = open(ui, remote)?;
    let mut body = Map::new();
    let mut plan = format!("The service {service} is to change:");
    if let Some(ingress) = ingress {
        let _ = write!(plan, "\n  ingress  {}", ingress.name());
        body.insert("networkSettings".into(), json!({"ingressTrafficAllowed": ingress.name()}));
    }
    if let Some(labels) = labels {
        let _ = write!(plan, "\n  labels   {}", output::text(&labels));
        body.insert("labels".into(), labels);
    }
    ui.status(&plan);
    asking.confirm(ui, "Do you want to continue")?;
    let mask = body.keys().cloned().collect::<Vec<_>>().join(",");
    let started = session.client.patch(&format!("{}?updateMask={mask}", session.app.service(service)), &Value::Object(body))?;
    carry_out(&session, &format!("updating {service}"), &format!("{service} is updated"), started)?;
    Ok(())
}

fn read_labels(text: &str) -> Outcome<Value> {
    let mut map = Map::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Failure::Usage(format!("`{pair}` is no label; write --labels NAME=VALUE,NAME=VALUE")))?;
        map.insert(name.trim().to_owned(), value.trim().into());
    }
    Ok(Value::Object(map))
}
