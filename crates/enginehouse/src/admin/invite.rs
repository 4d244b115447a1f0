//! `enginehouse sign-in`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{exit, output};
use crate::client::settings::{Remote, open};
use crate::client::{EXIT_STATUS, Outcome};
use crate::ui::{DIM, Ui};

/// `enginehouse sign-in`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = format!("\
EXAMPLES
    enginehouse sign-in ann@example.org --project shop            a link for a user of the app
    enginehouse sign-in ann@example.org --project shop --admin    for one who may see handlers with login: admin

Whoever opens the link is that user of the app, on each of its hosts, for a day: send it to nobody else. Where the app is reached
by another name or by https, only the link's path counts.

{EXIT_STATUS}"))]
pub(crate) struct SignIn {
    /// Whom the link signs in
    email: String,
    /// As an administrator of the app
    #[arg(long)]
    admin: bool,
    /// How long the link is good, up to a week
    #[arg(long, value_name = "MINUTES", default_value_t = 15)]
    minutes: u64,
    #[command(flatten)]
    remote: Remote,
}

/// Runs the command.
pub(crate) fn sign_in(ui: &Ui, asked: &SignIn) -> ExitCode {
    exit(ui, make(ui, asked))
}

fn make(ui: &Ui, asked: &SignIn) -> Outcome<()> {
    let session = open(ui, &asked.remote)?;
    let body = json!({"email": asked.email, "admin": asked.admin, "minutes": asked.minutes});
    let made = session.client.post(&format!("{}/signIns", session.app.own()), &body)?;
    let role = if asked.admin { ", an administrator" } else { "" };
    ui.status(&format!("{DIM}signs in {}{role}; good for {} minutes{DIM:#}", output::text(&made["email"]), asked.minutes));
    ui.data(&format!("{}\n", output::text(&made["url"])));
    Ok(())
}
