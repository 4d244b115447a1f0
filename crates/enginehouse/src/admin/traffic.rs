//! `enginehouse traffic`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

mod plan;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::ask::Asking;
use super::output::{self, Column, Listing, or_dash, percent};
use super::{carry_out, exit};
use crate::client::settings::{Remote, Session, open};
use crate::client::{EXIT_STATUS, Failure, Outcome, segment};
use crate::ui::{BOLD, DIM, Ui};
use plan::{Share, Shares};

/// `enginehouse traffic`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct Traffic {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Show where the traffic of services goes
    Show {
        /// Only of this service
        #[arg(long, short)]
        service: Option<String>,
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Give a service's traffic to one version or split it between several
    #[command(after_help = "EXAMPLES\n    enginehouse traffic set v2                       all to v2, at once\n    \
        enginehouse traffic set v1=60 v2=20 v3=20        by the client's address\n    \
        enginehouse traffic set v1=99.5 v2=.5 --by cookie")]
    Set {
        /// VERSION, which gets everything, or VERSION=SHARE; shares are parts of their sum
        #[arg(required = true, value_name = "VERSION[=SHARE]")]
        shares: Vec<Share>,
        /// By what requests are given out [default: as now, or ip]
        #[arg(long, value_enum, value_name = "WHAT")]
        by: Option<By>,
        #[command(flatten)]
        change: Change,
    },
    /// Move a service's traffic to one version step by step; its instances are warmed before
    Migrate {
        /// The version that gets everything
        version: String,
        /// Stop and go back by itself if this comes true: error-rate>1%,p99>2x; the new version beside the old one
        #[arg(long, value_name = "CONDITION,…")]
        abort_if: Option<String>,
        /// How long it takes [default: as the server thinks fit]
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
        over: Option<u32>,
        /// Do not wait until it is done
        #[arg(long)]
        r#async: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Go back to the split before the last change
    Rollback {
        #[command(flatten)]
        change: Change,
    },
    /// Hold a migration where it is
    Pause(Step),
    /// Go on with a migration
    Resume(Step),
    /// End a migration and go back to the split before it
    Abort(Step),
    /// Tell which version a client gets, and why
    Explain {
        /// The client's address
        #[arg(long, value_name = "ADDRESS", required_unless_present = "cookie")]
        ip: Option<std::net::IpAddr>,
        /// The value of the client's cookie GOOGAPPUID
        #[arg(long, value_name = "VALUE")]
        cookie: Option<String>,
        /// The service
        #[arg(long, short, default_value = "default")]
        service: String,
        /// How it is printed: text, json or yaml
        #[arg(long, default_value = "text", value_parser = ["text", "json", "yaml"], value_name = "FORMAT")]
        format: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Clone, Args)]
struct Change {
    /// The service
    #[arg(long, short, default_value = "default")]
    service: String,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Args)]
struct Step {
    /// The service
    #[arg(long, short, default_value = "default")]
    service: String,
    #[command(flatten)]
    remote: Remote,
}

/// By what requests are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The client's address; shares in hundredths
    Ip,
    /// The cookie GOOGAPPUID; shares in thousandths
    Cookie,
    /// A draw for each request
    Random,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Ip => "IP",
            Self::Cookie => "COOKIE",
            Self::Random => "RANDOM",
        }
    }

    fn of(service: &Value) -> Option<Self> {
        [Self::Ip, Self::Cookie, Self::Random].into_iter().find(|by| service["split"]["shardBy"] == by.name())
    }
}

const COLUMNS: [Column; 4] =
    [("SERVICE", "service", or_dash), ("VERSION", "version", or_dash), ("TRAFFIC", "share", percent), ("BY", "shardBy", or_dash)];

/// Runs the command.
pub(crate) fn traffic(ui: &Ui, asked: &Traffic) -> ExitCode {
    let done = match &asked.what {
        What::Show { service, listing, remote } => show(ui, remote, service.as_deref(), listing),
        What::Set { shares, by, change } => set(ui, shares, *by, change),
        What::Migrate { version, abort_if, over, r#async, change } => {
            let over = over.map(|over| format!("&migrateOver={over}s")).unwrap_or_default();
            let guard = abort_if.as_ref().map(|conditions| format!("&abortIf={}", segment(conditions))).unwrap_or_default();
            migrate(ui, version, &(over + &guard), *r#async, change)
        }
        What::Rollback { change } => rollback(ui, change),
        What::Pause(step) => control(ui, step, "pause", "is paused; `enginehouse traffic resume` goes on, `abort` goes back"),
        What::Resume(step) => control(ui, step, "resume", "goes on"),
        What::Abort(step) => control(ui, step, "abort", "is ended; the split before it is in force"),
        What::Explain { ip, cookie, service, format, remote } => {
            let ip = ip.map(|ip| ip.to_string());
            explain(ui, remote, service, ip.as_deref(), cookie.as_deref(), format)
        }
    };
    exit(ui, done)
}

fn show(ui: &Ui, remote: &Remote, service: Option<&str>, listing: &Listing) -> Outcome<()> {
    let session = open(ui, remote)?;
    let services = match service {
        Some(id) => vec![session.client.get(&session.app.service(id))?],
        None => session.client.list(&format!("{}/services", session.app.path()), "services", None)?,
    };
    let mut rows = Vec::new();
    for service in &services {
        for (version, thousandths) in Shares::of(service).sorted() {
            let share = f64::from(thousandths) / 1000.0;
            rows.push(json!({"service": service["id"], "version": version, "share": share, "shardBy": service["split"]["shardBy"]}));
        }
    }
    output::list(ui, rows, &COLUMNS, listing, &format!("{DIM}{} has no services yet{DIM:#}", session.app.id));
    Ok(())
}

fn set(ui: &Ui, shares: &[Share], by: Option<By>, change: &Change) -> Outcome<()> {
    let session = open(ui, &change.remote)?;
    let service = session.client.get(&session.app.service(&change.service))?;
    let by = by.or_else(|| By::of(&service)).unwrap_or(By::Ip);
    let wanted = Shares::asked(shares, by)?;
    if wanted == Shares::of(&service) && (wanted.is_one() || By::of(&service) == Some(by)) {
        session.ui.status(&format!("{}: {}, as it is already", change.service, wanted.summary()));
        return Ok(());
    }
    session.ui.status(&plan::text(&change.service, &Shares::of(&service), &wanted, Some(by)));
    change.asking.confirm(ui, "Do you want to continue")?;
    put(&session, &change.service, &wanted, by)
}

fn put(session: &Session, service: &str, wanted: &Shares, by: By) -> Outcome<()> {
    // The server decides what a split of one version goes by; saying it would keep a cookie alive that nobody needs.
    let by = if wanted.is_one() { "UNSPECIFIED" } else { by.name() };
    let body = json!({"split": {"allocations": wanted.allocations(), "shardBy": by}});
    let started = session.client.patch(&format!("{}?updateMask=split", session.app.service(service)), &body)?;
    carry_out(session, "switching", &format!("{service}: {}", wanted.summary()), started)?;
    Ok(())
}

fn migrate(ui: &Ui, version: &str, how: &str, leave: bool, change: &Change) -> Outcome<()> {
    let session = open(ui, &change.remote)?;
    let service = session.client.get(&session.app.service(&change.service))?;
    let by = By::of(&service).unwrap_or(By::Ip);
    let wanted = Shares::all(version);
    session.ui.status(&plan::text(&change.service, &Shares::of(&service), &wanted, None));
    session.ui.status(&format!("{DIM}step by step, by {}{DIM:#}", by.name().to_lowercase()));
    change.asking.confirm(ui, "Do you want to continue")?;
    let body = json!({"split": {"allocations": wanted.allocations(), "shardBy": by.name()}});
    let path = format!("{}?updateMask=split&migrateTraffic=true{how}", session.app.service(&change.service));
    let started = session.client.patch(&path, &body)?;
    if leave {
        let id = started["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default().to_owned();
        ui.data(&format!("{id}\n"));
        ui.status(&format!("{DIM}`enginehouse operations wait {id}` waits; `enginehouse traffic show` tells how far it is{DIM:#}"));
        return Ok(());
    }
    carry_out(&session, "migrating", &format!("{}: {}", change.service, wanted.summary()), started)?;
    Ok(())
}

fn rollback(ui: &Ui, change: &Change) -> Outcome<()> {
    let session = open(ui, &change.remote)?;
    let service = session.client.get(&session.app.service(&change.service))?;
    let path = format!("{}/services/{}/splits", session.app.own(), segment(&change.service));
    let history = session.client.list(&path, "splits", Some(2))?;
    let Some(before) = history.get(1) else {
        return Err(Failure::Here(format!(
            "the traffic of {} has not been changed yet, so there is nothing to go back to",
            change.service
        )));
    };
    let wanted = Shares::of(before);
    let by = By::of(before);
    session.ui.status(&plan::text(&change.service, &Shares::of(&service), &wanted, by));
    change.asking.confirm(ui, "Do you want to continue")?;
    put(&session, &change.service, &wanted, by.unwrap_or(By::Ip))
}

fn control(ui: &Ui, step: &Step, what: &str, done: &str) -> Outcome<()> {
    let session = open(ui, &step.remote)?;
    session.client.post(&format!("{}/services/{}/migration:{what}", session.app.own(), segment(&step.service)), &json!({}))?;
    ui.status(&format!("The migration of {} {done}.", step.service));
    Ok(())
}

fn explain(ui: &Ui, remote: &Remote, service: &str, ip: Option<&str>, cookie: Option<&str>, format: &str) -> Outcome<()> {
    let session = open(ui, remote)?;
    let client = [("ip", ip), ("cookie", cookie)].into_iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value?))));
    let query = client.collect::<Vec<_>>().join("&");
    let path = format!("{}/services/{}/traffic:explain?{query}", session.app.own(), segment(service));
    let found = session.client.get(&path)?;
    match format {
        "json" => ui.data(&format!("{found:#}\n")),
        "yaml" => ui.data(&super::yaml::text(&found)),
        _ => {
            let version = found["version"].as_str().unwrap_or("-");
            ui.data(&format!("{BOLD}{service}/{version}{BOLD:#}  {}\n", found["why"].as_str().unwrap_or_default()));
        }
    }
    Ok(())
}
