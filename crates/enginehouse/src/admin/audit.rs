//! `enginehouse audit`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::exit;
use super::output::{self, Column, Listing, or_dash, time};
use crate::client::settings::{Remote, open};
use crate::client::{EXIT_STATUS, Outcome};
use crate::ui::{DIM, Ui};

/// Entries that are shown if nobody says how many.
const NEWEST: usize = 50;

/// `enginehouse audit`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = format!("\
EXAMPLES
    enginehouse audit                      the last 50 changes
    enginehouse audit --format json        with what was before and after
    enginehouse audit --limit 100000 --format 'csv(time,user,action,target)'

{EXIT_STATUS}"))]
pub(crate) struct Audit {
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    remote: Remote,
}

const COLUMNS: [Column; 5] = [
    ("TIME", "time", time),
    ("WHO", "user", or_dash),
    ("DID", "action", or_dash),
    ("TO", "target", target),
    ("OPERATION", "operation", or_dash),
];

/// `apps/demo/services/default` as `default`.
fn target(value: &Value) -> String {
    let text = output::text(value);
    let names: Vec<&str> = text.split('/').skip(3).step_by(2).collect();
    if names.is_empty() { or_dash(value) } else { names.join("/") }
}

/// Runs the command.
pub(crate) fn audit(ui: &Ui, asked: &Audit) -> ExitCode {
    exit(ui, list(ui, asked))
}

fn list(ui: &Ui, asked: &Audit) -> Outcome<()> {
    let session = open(ui, &asked.remote)?;
    let limit = asked.listing.limit.unwrap_or(NEWEST);
    let rows = session.client.list(&format!("{}/audit", session.app.own()), "entries", Some(limit))?;
    output::list(ui, rows, &COLUMNS, &asked.listing, &format!("{DIM}nothing was changed yet{DIM:#}"));
    Ok(())
}
