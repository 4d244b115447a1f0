//! `enginehouse queues`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ask::Asking;
use super::exit;
use super::output::{self, Column, Listing, Showing, bytes, or_dash, state, time};
use crate::client::place::Place;
use crate::client::settings::Session;
use crate::client::{EXIT_STATUS, Outcome, segment};
use crate::ui::{DIM, GREEN, Ui};

/// `enginehouse queues`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Queues {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List the queues of an app, with how many tasks wait in each
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        place: Place,
    },
    /// Show all that is known about a queue
    Describe {
        /// Its name
        queue: String,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        place: Place,
    },
    /// Let a queue stand still; tasks can still be added
    Pause {
        /// Its name
        queue: String,
        #[command(flatten)]
        place: Place,
    },
    /// Let a queue go on
    Resume {
        /// Its name
        queue: String,
        #[command(flatten)]
        place: Place,
    },
    /// Remove all tasks of a queue
    Purge {
        /// Its name
        queue: String,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        place: Place,
    },
}

const COLUMNS: [Column; 9] = [
    ("NAME", "name", or_dash),
    ("MODE", "mode", or_dash),
    ("STATE", "state", state),
    ("TASKS", "tasks", or_dash),
    ("BYTES", "bytes", bytes),
    ("IN FLIGHT", "inFlight", or_dash),
    ("LAST MINUTE", "executedLastMinute", or_dash),
    ("RATE/S", "rate", or_dash),
    ("OLDEST ETA", "oldestEta", time),
];

/// Runs the command.
pub(crate) fn queues(ui: &Ui, asked: &Queues) -> ExitCode {
    let done = match &asked.what {
        What::List { listing, place } => place.open(ui).and_then(|session| {
            let rows = session.client.list(&format!("{}/queues", session.app.own()), "queues", None)?;
            output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no queue{DIM:#}"));
            Ok(())
        }),
        What::Describe { queue, showing, place } => place.open(ui).and_then(|session| {
            output::show(ui, &session.client.get(&path(&session, queue))?, showing);
            Ok(())
        }),
        What::Pause { queue, place } => turn(ui, place, queue, "pause", "stands still"),
        What::Resume { queue, place } => turn(ui, place, queue, "resume", "goes on"),
        What::Purge { queue, asking, place } => place.open(ui).and_then(|session| purge(&session, queue, *asking)),
    };
    exit(ui, done)
}

fn path(session: &Session, queue: &str) -> String {
    format!("{}/queues/{}", session.app.own(), segment(queue))
}

fn turn(ui: &Ui, place: &Place, queue: &str, verb: &str, done: &str) -> Outcome<()> {
    let session = place.open(ui)?;
    session.client.post(&format!("{}:{verb}", path(&session, queue)), &json!({}))?;
    ui.status(&format!("{GREEN}✓{GREEN:#} the queue {queue} {done}"));
    Ok(())
}

fn purge(session: &Session, queue: &str, asking: Asking) -> Outcome<()> {
    let found = session.client.get(&path(session, queue))?;
    let tasks = found["tasks"].as_u64().unwrap_or(0);
    session.ui.status(&format!("All tasks of the queue {queue} are removed: {tasks} now."));
    asking.confirm(&session.ui, "Do you want to continue")?;
    session.client.post(&format!("{}:purge", path(session, queue)), &Value::Object(serde_json::Map::new()))?;
    session.ui.status(&format!("{GREEN}✓{GREEN:#} the queue {queue} is empty"));
    Ok(())
}
