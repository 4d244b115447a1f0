//! `enginehouse mail`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ask::Asking;
use super::exit;
use super::output::{self, Column, Listing, bytes, or_dash, state, time};
use crate::client::place::Place;
use crate::client::{EXIT_STATUS, Outcome};
use crate::ui::{DIM, Ui};

/// `enginehouse mail`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = format!("\
EXAMPLES
    enginehouse mail list                       what the app of this folder, or of a server, has sent and got
    enginehouse mail show 1767225600000-1f-0    a message, as it travels

{EXIT_STATUS}"))]
pub(crate) struct Mail {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List what an app has sent and got, the newest first
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        place: Place,
    },
    /// Show a message as it travels, and what has come of it
    Show {
        /// Its id
        mail: String,
        /// Only the message
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Throw all messages of an app away, also those that are still to be delivered
    Clear {
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        place: Place,
    },
}

const COLUMNS: [Column; 7] = [
    ("MAIL", "id", or_dash),
    ("TIME", "time", time),
    ("WAY", "way", or_dash),
    ("FROM", "from", or_dash),
    ("TO", "to", people),
    ("SUBJECT", "subject", or_dash),
    ("STATE", "state", state),
];

fn people(value: &Value) -> String {
    let all: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match all.as_slice() {
        [] => "-".to_owned(),
        [first, rest @ ..] if rest.len() > 1 => format!("{first} and {} more", rest.len()),
        all => all.join(", "),
    }
}

/// Runs the command.
pub(crate) fn mail(ui: &Ui, asked: &Mail) -> ExitCode {
    let done = match &asked.what {
        What::List { listing, place } => list(ui, place, listing),
        What::Show { mail, raw, place } => show(ui, place, mail, *raw),
        What::Clear { asking, place } => clear(ui, place, *asking),
    };
    exit(ui, done)
}

fn list(ui: &Ui, place: &Place, listing: &Listing) -> Outcome<()> {
    let session = place.open(ui)?;
    let rows = session.client.list(&format!("{}/mail", session.app.own()), "mail", listing.limit)?;
    output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no mail{DIM:#}"));
    Ok(())
}

fn show(ui: &Ui, place: &Place, mail: &str, raw: bool) -> Outcome<()> {
    let session = place.open(ui)?;
    let found = session.client.get(&format!("{}/mail/{}", session.app.own(), crate::client::segment(mail)))?;
    if !raw {
        let note = output::text(&found["note"]);
        let said = if note.is_empty() { String::new() } else { format!(": {note}") };
        ui.status(&format!(
            "{DIM}{} {} to {}, {}, {}{said}{DIM:#}",
            output::text(&found["way"]),
            output::text(&found["state"]),
            people(&found["to"]),
            time(&found["time"]),
            bytes(&found["size"])
        ));
    }
    ui.data(&found["content"].as_str().unwrap_or_default().replace("\r\n", "\n"));
    Ok(())
}

fn clear(ui: &Ui, place: &Place, asking: Asking) -> Outcome<()> {
    let session = place.open(ui)?;
    asking.confirm(ui, &format!("All mail of {} is thrown away. Do you want to continue", session.app.id))?;
    session.client.post(&format!("{}/mail:clear", session.app.own()), &json!({}))?;
    ui.status("cleared");
    Ok(())
}
