//! `enginehouse token`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::ask::Asking;
use super::exit;
use super::output::{self, Column, Listing, or_dash, time};
use crate::client::settings::{Remote, connect};
use crate::client::{EXIT_STATUS, Outcome, segment};
use crate::ui::{DIM, GREEN, Ui};

/// `enginehouse token`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Make a token; it is shown once, on the standard output, and kept by the server as a hash only
    Create {
        /// What it is for, such as the name of who gets it
        name: String,
        /// What it may do
        #[arg(long, value_enum, default_value_t = Role::Deployer)]
        role: Role,
        /// Only for this app [default: all apps]
        #[arg(long, value_name = "ID")]
        app: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List tokens; their secrets are not known any more
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Take tokens out of force at once
    Revoke {
        /// The id of the token, as `list` shows it; may be repeated
        #[arg(required = true, value_name = "ID")]
        tokens: Vec<String>,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
}

/// What a token may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Read
    Viewer,
    /// Deploy and move traffic too
    Deployer,
    /// Everything in an app: firewall, domains, deleting services
    Admin,
    /// Everything on the server: apps and tokens too
    Owner,
}

const COLUMNS: [Column; 6] = [
    ("ID", "id", or_dash),
    ("NAME", "name", or_dash),
    ("ROLE", "role", or_dash),
    ("APPS", "apps", or_dash),
    ("CREATED", "createTime", time),
    ("LAST USED", "lastUseTime", time),
];

/// Runs the command.
pub(crate) fn token(ui: &Ui, asked: &Token) -> ExitCode {
    let done = match &asked.what {
        What::Create { name, role, app, remote } => create(ui, remote, name, *role, app.as_deref()),
        What::List { listing, remote } => connect(ui, remote).and_then(|(client, _)| {
            let rows = client.list("/enginehouse/v1/tokens", "tokens", None)?;
            output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no tokens{DIM:#}"));
            Ok(())
        }),
        What::Revoke { tokens, asking, remote } => revoke(ui, remote, tokens, *asking),
    };
    exit(ui, done)
}

fn create(ui: &Ui, remote: &Remote, name: &str, role: Role, app: Option<&str>) -> Outcome<()> {
    let (client, _) = connect(ui, remote)?;
    let role = role.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let made = client.post("/enginehouse/v1/tokens", &json!({"name": name, "role": role, "apps": app.iter().collect::<Vec<_>>()}))?;
    ui.data(&format!("{}\n", made["token"].as_str().unwrap_or_default()));
    ui.status(&format!(
        "{DIM}Keep it: it is not shown again. `enginehouse token revoke {}` takes it back.{DIM:#}",
        output::text(&made["id"])
    ));
    Ok(())
}

fn revoke(ui: &Ui, remote: &Remote, tokens: &[String], asking: Asking) -> Outcome<()> {
    let (client, _) = connect(ui, remote)?;
    ui.status(&format!("These tokens are to be taken out of force: {}", tokens.join(", ")));
    asking.confirm(ui, "Do you want to continue")?;
    for token in tokens {
        client.delete(&format!("/enginehouse/v1/tokens/{}", segment(token)))?;
        ui.status(&format!("{GREEN}✓{GREEN:#} {token} is revoked"));
    }
    Ok(())
}
