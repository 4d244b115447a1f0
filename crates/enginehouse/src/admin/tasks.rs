//! `enginehouse tasks`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::ask::Asking;
use super::exit;
use super::output::{self, Column, Listing, Showing, bytes, or_dash, time};
use crate::client::place::Place;
use crate::client::settings::Session;
use crate::client::{EXIT_STATUS, Outcome, segment};
use crate::ui::{DIM, GREEN, Ui};

/// Tasks that are listed unless --limit says otherwise.
const SHOWN: usize = 100;

/// `enginehouse tasks`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Tasks {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List the tasks of a queue, the next one first; 100 unless --limit says otherwise
    List {
        /// The queue
        #[arg(long, default_value = "default", value_name = "QUEUE")]
        queue: String,
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        place: Place,
    },
    /// Show all that is known about a task
    Describe {
        /// Its name
        task: String,
        /// Its queue
        #[arg(long, default_value = "default", value_name = "QUEUE")]
        queue: String,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        place: Place,
    },
    /// Run a task now, even if its queue stands still or its time has not come
    Run {
        /// Its name
        task: String,
        /// Its queue
        #[arg(long, default_value = "default", value_name = "QUEUE")]
        queue: String,
        #[command(flatten)]
        place: Place,
    },
    /// Remove tasks
    Delete {
        /// Their names
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
        /// Their queue
        #[arg(long, default_value = "default", value_name = "QUEUE")]
        queue: String,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        place: Place,
    },
}

const COLUMNS: [Column; 8] = [
    ("NAME", "name", or_dash),
    ("ETA", "eta", time),
    ("METHOD", "method", or_dash),
    ("URL", "url", or_dash),
    ("TAG", "tag", or_dash),
    ("RETRIES", "retries", or_dash),
    ("LAST STATUS", "lastTry.status", or_dash),
    ("BYTES", "bytes", bytes),
];

/// Runs the command.
pub(crate) fn tasks(ui: &Ui, asked: &Tasks) -> ExitCode {
    let done = match &asked.what {
        What::List { queue, listing, place } => place.open(ui).and_then(|session| {
            let limit = listing.limit.unwrap_or(SHOWN);
            let rows = session.client.list(&path(&session, queue), "tasks", Some(limit))?;
            output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no task waits in {queue}{DIM:#}"));
            Ok(())
        }),
        What::Describe { task, queue, showing, place } => place.open(ui).and_then(|session| {
            output::show(ui, &session.client.get(&one(&session, queue, task))?, showing);
            Ok(())
        }),
        What::Run { task, queue, place } => place.open(ui).and_then(|session| {
            session.client.post(&format!("{}:run", one(&session, queue, task)), &json!({}))?;
            ui.status(&format!("{GREEN}✓{GREEN:#} the task {task} runs now"));
            Ok(())
        }),
        What::Delete { tasks, queue, asking, place } => place.open(ui).and_then(|session| delete(&session, queue, tasks, *asking)),
    };
    exit(ui, done)
}

fn path(session: &Session, queue: &str) -> String {
    format!("{}/queues/{}/tasks", session.app.own(), segment(queue))
}

fn one(session: &Session, queue: &str, task: &str) -> String {
    format!("{}/{}", path(session, queue), segment(task))
}

fn delete(session: &Session, queue: &str, tasks: &[String], asking: Asking) -> Outcome<()> {
    let ui = &session.ui;
    ui.status(&format!("These tasks of the queue {queue} are removed:"));
    for task in tasks {
        let found = session.client.get(&one(session, queue, task))?;
        ui.status(&format!("  {task}  {DIM}{} due {}{DIM:#}", output::text(&found["url"]), time(&found["eta"])));
    }
    asking.confirm(ui, "Do you want to continue")?;
    for task in tasks {
        session.client.delete(&one(session, queue, task))?;
        ui.status(&format!("{GREEN}✓{GREEN:#} the task {task} is removed"));
    }
    Ok(())
}
