//! `enginehouse apps`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::ask::Asking;
use super::output::{self, Column, Listing, Showing, or_dash, state};
use super::{carry_out, exit};
use crate::client::settings::{Remote, Session, connect, open};
use crate::client::{App, EXIT_STATUS, Outcome};
use crate::ui::{DIM, Ui};

/// `enginehouse apps`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Apps {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List the apps of the server
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Make an app
    Create {
        /// Its project id
        id: String,
        /// Where it is; the server's own region unless it is told otherwise
        #[arg(long, value_name = "REGION")]
        region: Option<String>,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show all that is known about an app
    Describe {
        /// Its project id [default: as with --project]
        id: Option<String>,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        remote: Remote,
    },
}

const COLUMNS: [Column; 4] =
    [("APP", "id", or_dash), ("STATUS", "servingStatus", state), ("LOCATION", "locationId", or_dash), ("HOST", "defaultHostname", or_dash)];

/// Runs the command.
pub(crate) fn apps(ui: &Ui, asked: &Apps) -> ExitCode {
    let done = match &asked.what {
        What::List { listing, remote } => list(ui, remote, listing),
        What::Create { id, region, asking, remote } => connect(ui, remote).and_then(|(client, _)| {
            let session = Session { ui: ui.clone(), client, app: App { id: id.clone() } };
            ui.status(&format!("The app {id} is to be made on {}.", session.client.server()));
            asking.confirm(ui, "Do you want to continue")?;
            create(&session, region.as_deref())
        }),
        What::Describe { id, showing, remote } => {
            let remote = Remote { project: id.clone().or_else(|| remote.project.clone()), ..remote.clone() };
            open(ui, &remote).and_then(|session| {
                output::show(ui, &session.client.get(&session.app.path())?, showing);
                Ok(())
            })
        }
    };
    exit(ui, done)
}

fn list(ui: &Ui, remote: &Remote, listing: &Listing) -> Outcome<()> {
    let (client, _) = connect(ui, remote)?;
    let rows = client.list("/enginehouse/v1/apps", "apps", None)?;
    output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no apps; `enginehouse apps create ID` makes one{DIM:#}"));
    Ok(())
}

/// Makes the session's app.
pub(crate) fn create(session: &Session, region: Option<&str>) -> Outcome<()> {
    let id = &session.app.id;
    let mut body = json!({"id": id});
    if let Some(region) = region {
        body["locationId"] = region.into();
    }
    let started = session.client.post("/v1/apps", &body)?;
    carry_out(session, &format!("making {id}"), &format!("the app {id} is made"), started)?;
    Ok(())
}
