//! `enginehouse operations`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::exit;
use super::output::{self, Column, Listing, Showing, or_dash, state, time};
use crate::client::settings::{Remote, Session, open};
use crate::client::{EXIT_STATUS, Outcome, finish};
use crate::ui::{DIM, Ui};

/// `enginehouse operations`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Operations {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List what was ordered and what became of it, the newest first
    List {
        /// Only what still goes on
        #[arg(long)]
        pending: bool,
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show all that is known about an operation
    Describe {
        /// Its id
        operation: String,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Wait until an operation is done
    Wait {
        /// Its id
        operation: String,
        /// Give up after so many seconds
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        remote: Remote,
    },
}

const COLUMNS: [Column; 6] = [
    ("OPERATION", "id", or_dash),
    ("METHOD", "metadata.method", method),
    ("TARGET", "metadata.target", target),
    ("STATUS", "status", state),
    ("STARTED", "metadata.insertTime", time),
    ("BY", "metadata.user", or_dash),
];

/// `google.appengine.v1.Versions.CreateVersion` without what is always the same.
fn method(value: &Value) -> String {
    let text = output::text(value);
    or_dash(&text.rsplit('.').next().unwrap_or_default().into())
}

/// `apps/demo/services/default/versions/v1` as `default/v1`.
fn target(value: &Value) -> String {
    let text = output::text(value);
    let names: Vec<&str> = text.split('/').skip(3).step_by(2).collect();
    if names.is_empty() { or_dash(value) } else { names.join("/") }
}

/// Runs the command.
pub(crate) fn operations(ui: &Ui, asked: &Operations) -> ExitCode {
    let done = match &asked.what {
        What::List { pending, listing, remote } => list(ui, remote, *pending, listing),
        What::Describe { operation, showing, remote } => open(ui, remote).and_then(|session| {
            output::show(ui, &session.client.get(&session.app.operation(operation))?, showing);
            Ok(())
        }),
        What::Wait { operation, timeout, showing, remote } => {
            open(ui, remote).and_then(|session| wait(&session, operation, *timeout, showing))
        }
    };
    exit(ui, done)
}

fn list(ui: &Ui, remote: &Remote, pending: bool, listing: &Listing) -> Outcome<()> {
    let session = open(ui, remote)?;
    let filter = if pending { "?filter=done%3Afalse" } else { "" };
    let mut rows = session.client.list(&format!("{}/operations{filter}", session.app.path()), "operations", None)?;
    for row in &mut rows {
        let id = row["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default().to_owned();
        let status = match (row["done"].as_bool(), row.get("error")) {
            (_, Some(_)) => "FAILED",
            (Some(true), None) => "DONE",
            _ => "RUNNING",
        };
        row["id"] = id.into();
        row["status"] = status.into();
    }
    rows.sort_by(|a, b| b["metadata"]["insertTime"].as_str().cmp(&a["metadata"]["insertTime"].as_str()));
    output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no operations{DIM:#}"));
    Ok(())
}

fn wait(session: &Session, operation: &str, timeout: Option<u64>, showing: &Showing) -> Outcome<()> {
    let found = session.client.get(&session.app.operation(operation))?;
    let task = session.ui.wait(&format!("waiting for {operation}"));
    let done = finish(&session.client, found, timeout.map(Duration::from_secs), &mut |operation: &Value| {
        if let Some(said) = operation["metadata"]["ephemeralMessage"].as_str() {
            task.detail(said);
        }
    })?;
    drop(task);
    output::show(&session.ui, &done, showing);
    Ok(())
}
