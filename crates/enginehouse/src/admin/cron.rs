//! `enginehouse cron`: the jobs of an app, in `run` as on a server.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit;
use super::output::{self, Column, Listing, Showing, or_dash};
use crate::client::place::Place;
use crate::client::settings::Session;
use crate::client::{EXIT_STATUS, Outcome, segment};
use crate::ui::{DIM, GREEN, Ui};

/// `enginehouse cron`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Cron {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List the jobs: when they run next, and how they ran last
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        place: Place,
    },
    /// Show all that is known about a job
    Describe {
        /// Its name, or its path if no other job has it
        job: String,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        place: Place,
    },
    /// Run a job now, whatever its schedule says; its next turn stays
    Run {
        /// Its name, or its path if no other job has it
        job: String,
        #[command(flatten)]
        place: Place,
    },
    /// Let jobs rest
    Pause {
        /// Their names or paths
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Let jobs that rest run again, from their next turn on
    Resume {
        /// Their names or paths
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
}

const COLUMNS: [Column; 7] = [
    ("NAME", "name", or_dash),
    ("URL", "url", or_dash),
    ("SCHEDULE", "schedule", or_dash),
    ("TARGET", "target", or_dash),
    ("STATE", "state", or_dash),
    ("NEXT", "next", or_dash),
    ("LAST", "last", last),
];

/// `200 2026-01-31T12:00:00Z`
fn last(run: &Value) -> String {
    if run.is_null() {
        return "-".into();
    }
    let came = if run["status"].is_null() { "failed".into() } else { output::text(&run["status"]) };
    format!("{came} {}", output::text(&run["time"]))
}

/// Runs the command.
pub(crate) fn cron(ui: &Ui, asked: &Cron) -> ExitCode {
    let done = match &asked.what {
        What::List { listing, place } => place.open(ui).and_then(|session| {
            let rows = session.client.list(&all(&session), "jobs", None)?;
            output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no cron jobs{DIM:#}"));
            Ok(())
        }),
        What::Describe { job, showing, place } => place.open(ui).and_then(|session| {
            output::show(ui, &session.client.get(&one(&session, job))?, showing);
            Ok(())
        }),
        What::Run { job, place } => place.open(ui).and_then(|session| each(&session, std::slice::from_ref(job), "run", "started")),
        What::Pause { jobs, place } => place.open(ui).and_then(|session| each(&session, jobs, "pause", "rests")),
        What::Resume { jobs, place } => place.open(ui).and_then(|session| each(&session, jobs, "resume", "runs again")),
    };
    exit(ui, done)
}

fn all(session: &Session) -> String {
    format!("{}/cron", session.app.own())
}

fn one(session: &Session, job: &str) -> String {
    format!("{}/{}", all(session), segment(job))
}

fn each(session: &Session, jobs: &[String], verb: &str, said: &str) -> Outcome<()> {
    for job in jobs {
        let now = session.client.post(&format!("{}:{verb}", one(session, job)), &json!({}))?;
        let next = now["next"].as_str().map_or_else(String::new, |next| format!("; it runs next at {next}"));
        session.ui.status(&format!("{GREEN}✓{GREEN:#} {} {said}{next}", output::text(&now["name"])));
    }
    Ok(())
}
