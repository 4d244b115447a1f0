//! `enginehouse domains`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::ask::Asking;
use super::output::{self, Column, Listing, Showing, or_dash};
use super::{carry_out, exit};
use crate::client::settings::{Remote, Session, open};
use crate::client::{EXIT_STATUS, Outcome, response, segment};
use crate::ui::{BOLD, DIM, Ui};

/// `enginehouse domains`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Domains {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List the domains that lead to the app
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show all that is known about a domain
    Describe {
        /// Its name
        domain: String,
        #[command(flatten)]
        showing: Showing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a domain lead to the app, and tell which DNS records it needs
    Create {
        /// Its name
        domain: String,
        /// Whether the server gets certificates for it
        #[arg(long, value_enum, default_value_t = Certificates::Automatic)]
        certificates: Certificates,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let domains lead to the app no longer
    Delete {
        /// Its name; may be repeated
        #[arg(required = true, value_name = "DOMAIN")]
        domains: Vec<String>,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Certificates {
    /// By ACME, and renewed
    Automatic,
    /// None, or one that is uploaded
    Manual,
}

const COLUMNS: [Column; 3] = [
    ("DOMAIN", "id", or_dash),
    ("CERTIFICATES", "sslSettings.sslManagementType", or_dash),
    ("CERTIFICATE", "sslSettings.certificateId", or_dash),
];

/// Runs the command.
pub(crate) fn domains(ui: &Ui, asked: &Domains) -> ExitCode {
    let done = match &asked.what {
        What::List { listing, remote } => open(ui, remote).and_then(|session| {
            let rows = session.client.list(&all(&session), "domainMappings", None)?;
            output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no domains of its own{DIM:#}"));
            Ok(())
        }),
        What::Describe { domain, showing, remote } => open(ui, remote).and_then(|session| {
            output::show(ui, &session.client.get(&one(&session, domain))?, showing);
            Ok(())
        }),
        What::Create { domain, certificates, asking, remote } => {
            open(ui, remote).and_then(|session| create(&session, domain, *certificates, *asking))
        }
        What::Delete { domains, asking, remote } => open(ui, remote).and_then(|session| delete(&session, domains, *asking)),
    };
    exit(ui, done)
}

fn all(session: &Session) -> String {
    format!("{}/domainMappings", session.app.path())
}

fn one(session: &Session, domain: &str) -> String {
    format!("{}/{}", all(session), segment(domain))
}

fn create(session: &Session, domain: &str, certificates: Certificates, asking: Asking) -> Outcome<()> {
    session.ui.status(&format!("The domain {domain} is to lead to {}.", session.app.id));
    asking.confirm(&session.ui, "Do you want to continue")?;
    let kind = match certificates {
        Certificates::Automatic => "AUTOMATIC",
        Certificates::Manual => "MANUAL",
    };
    let started = session.client.post(&all(session), &json!({"id": domain, "sslSettings": {"sslManagementType": kind}}))?;
    let done = carry_out(session, &format!("mapping {domain}"), &format!("{domain} leads to {}", session.app.id), started)?;
    records(session, response(&done));
    Ok(())
}

fn records(session: &Session, mapping: &Value) {
    let records = mapping["resourceRecords"].as_array().map(Vec::as_slice).unwrap_or_default();
    if records.is_empty() {
        return;
    }
    session.ui.status(&format!("{BOLD}Your DNS should say:{BOLD:#}"));
    for record in records {
        let text = |field: &str| output::text(&record[field]);
        session.ui.data(&format!("{}\t{}\t{}\n", text("name"), text("type"), text("rrdata")));
    }
}

fn delete(session: &Session, domains: &[String], asking: Asking) -> Outcome<()> {
    session.ui.status(&format!("These domains are to lead to {} no longer: {}", session.app.id, domains.join(", ")));
    asking.confirm(&session.ui, "Do you want to continue")?;
    for domain in domains {
        let started = session.client.delete(&one(session, domain))?;
        carry_out(session, &format!("removing {domain}"), &format!("{domain} is removed"), started)?;
    }
    Ok(())
}
