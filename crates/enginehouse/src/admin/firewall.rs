//! `enginehouse firewall`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use super::ask::Asking;
use super::exit;
use super::output::{self, Column, Listing, or_dash, state};
use crate::client::settings::{Remote, Session, open};
use crate::client::{EXIT_STATUS, Failure, Outcome, segment};
use crate::ui::{BOLD, DIM, GREEN, Ui};

/// The priority of the rule that every app has, and which comes last.
const DEFAULT: &str = "2147483647";

/// `enginehouse firewall`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Firewall {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List the rules in the order in which they are tried
    List {
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Add a rule
    Create {
        /// Its place: the lowest number is tried first
        priority: u32,
        #[command(flatten)]
        rule: Rule,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
    /// Change a rule
    Update {
        /// The priority of the rule, or `default` for the last one
        priority: String,
        #[command(flatten)]
        rule: Rule,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove rules
    Delete {
        /// The priority of the rule; may be repeated
        #[arg(required = true, value_name = "PRIORITY")]
        priorities: Vec<String>,
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        remote: Remote,
    },
    /// Tell which rule an address meets
    Test {
        /// The address
        address: std::net::IpAddr,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Clone, Args)]
struct Rule {
    /// Whether requests are let in
    #[arg(long, value_enum)]
    action: Option<Action>,
    /// Whose requests: an address, a subnet such as 192.0.2.0/24, or `*`
    #[arg(long, value_name = "RANGE")]
    source_range: Option<String>,
    /// A note
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    Allow,
    Deny,
}

impl Rule {
    fn body(&self) -> Map<String, Value> {
        let action = self.action.map(|action| match action {
            Action::Allow => "ALLOW".to_owned(),
            Action::Deny => "DENY".to_owned(),
        });
        let fields = [("action", action), ("sourceRange", self.source_range.clone()), ("description", self.description.clone())];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
    }
}

const COLUMNS: [Column; 4] = [
    ("PRIORITY", "priority", or_dash),
    ("ACTION", "action", state),
    ("SOURCE RANGE", "sourceRange", or_dash),
    ("DESCRIPTION", "description", or_dash),
];

/// Runs the command.
pub(crate) fn firewall(ui: &Ui, asked: &Firewall) -> ExitCode {
    let done = match &asked.what {
        What::List { listing, remote } => open(ui, remote).and_then(|session| {
            let rows = session.client.list(&rules(&session), "ingressRules", None)?;
            output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}no rules{DIM:#}"));
            Ok(())
        }),
        What::Create { priority, rule, asking, remote } => open(ui, remote).and_then(|session| create(&session, *priority, rule, *asking)),
        What::Update { priority, rule, asking, remote } => open(ui, remote).and_then(|session| update(&session, priority, rule, *asking)),
        What::Delete { priorities, asking, remote } => open(ui, remote).and_then(|session| delete(&session, priorities, *asking)),
        What::Test { address, remote } => open(ui, remote).and_then(|session| test(&session, &address.to_string())),
    };
    exit(ui, done)
}

fn rules(session: &Session) -> String {
    format!("{}/firewall/ingressRules", session.app.path())
}

fn rule(session: &Session, priority: &str) -> String {
    let priority = if priority == "default" { DEFAULT } else { priority };
    format!("{}/{}", rules(session), segment(priority))
}

fn create(session: &Session, priority: u32, rule: &Rule, asking: Asking) -> Outcome<()> {
    let mut body = rule.body();
    if !body.contains_key("action") || !body.contains_key("sourceRange") {
        return Err(Failure::Usage("a rule needs --action allow|deny and --source-range RANGE".to_owned()));
    }
    session.ui.status(&format!("A rule is to be added, with the priority {priority}: {}", output::text(&Value::Object(body.clone()))));
    asking.confirm(&session.ui, "Do you want to continue")?;
    body.insert("priority".into(), priority.into());
    session.client.post(&rules(session), &Value::Object(body))?;
    session.ui.status(&format!("{GREEN}✓{GREEN:#} the rule {priority} is in force"));
    Ok(())
}

fn update(session: &Session, priority: &str, change: &Rule, asking: Asking) -> Outcome<()> {
    let body = change.body();
    if body.is_empty() {
        return Err(Failure::Usage("say what is to change: --action, --source-range or --description".to_owned()));
    }
    let path = rule(session, priority);
    let old = session.client.get(&path)?;
    session.ui.status(&format!("The rule {priority} is to change:"));
    for (field, new) in &body {
        session.ui.status(&format!("  {field}  {DIM}{}{DIM:#} → {}", output::text(&old[field]), output::text(new)));
    }
    asking.confirm(&session.ui, "Do you want to continue")?;
    let mask = body.keys().cloned().collect::<Vec<_>>().join(",");
    session.client.patch(&format!("{path}?updateMask={mask}"), &Value::Object(body))?;
    session.ui.status(&format!("{GREEN}✓{GREEN:#} the rule {priority} is in force"));
    Ok(())
}

fn delete(session: &Session, priorities: &[String], asking: Asking) -> Outcome<()> {
    session.ui.status("These rules are to be removed:");
    for priority in priorities {
        let old = session.client.get(&rule(session, priority))?;
        session.ui.status(&format!("  {priority}  {DIM}{} {}{DIM:#}", output::text(&old["action"]), output::text(&old["sourceRange"])));
    }
    asking.confirm(&session.ui, "Do you want to continue")?;
    for priority in priorities {
        session.client.delete(&rule(session, priority))?;
        session.ui.status(&format!("{GREEN}✓{GREEN:#} the rule {priority} is removed"));
    }
    Ok(())
}

fn test(session: &Session, address: &str) -> Outcome<()> {
    let met = session.client.list(&format!("{}?matchingAddress={}", rules(session), segment(address)), "ingressRules", None)?;
    let Some(first) = met.first() else { return Err(Failure::Here(format!("no rule is for {address}"))) };
    let verdict = if first["action"] == "DENY" { "is turned away" } else { "is let in" };
    let (priority, range) = (output::text(&first["priority"]), output::text(&first["sourceRange"]));
    session.ui.data(&format!("{BOLD}{address} {verdict}{BOLD:#} by the rule {priority} ({range})\n"));
    Ok(())
}
