//! `enginehouse doctor`: what this machine can do for instances, and what is to be done about the rest.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use fleet::doctor::Tool;
use fleet::{AdminApi, Report, State};
use model::ids::AppId;
use model::journal::{Entry, Journal};

use crate::check::count;
use crate::cli::{Doctor, LogFormat};
use crate::ui::{BOLD, DIM, GREEN, RED, Ui, YELLOW};

/// Nobody logs while the machine is looked at.
struct Silent;

impl Journal for Silent {
    fn write(&self, _: Entry) {}
}

/// Runs the command.
pub(crate) fn doctor(ui: &Ui, asked: &Doctor) -> ExitCode {
    match examine() {
        Ok((report, tools)) => {
            match asked.format {
                LogFormat::Json => ui.data(&json(&report, &tools, &names(&report))),
                LogFormat::Text => ui.data(&text(&report, &tools, &names(&report))),
            }
            if report.missing().next().is_none() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            ui.error(&format!("{error:#}"));
            ExitCode::from(1)
        }
    }
}

fn examine() -> anyhow::Result<(Report, Vec<Tool>)> {
    // Nothing runs on it; preparing needs one.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let app: AppId = "doctor".parse().map_err(|_| anyhow::anyhow!("no app id"))?;
    let options = fleet::Options::new(app, Arc::new(Silent), crate::storage::cache()?, runtime.handle().clone());
    Ok((fleet::doctor::walls(&options)?, fleet::doctor::tools(&options)))
}

/// A name of Google's servers that is to lead to the house inside instances.
struct Named {
    name: &'static str,
    port: u16,
    /// What stands in the way, and what is to be done about it.
    missing: Option<(String, &'static str)>,
    /// What there is without it.
    otherwise: &'static str,
}

/// Such a name takes a file of names of the instance's own, and a port that ordinary users may not have.
fn names(report: &Report) -> Vec<Named> {
    let find = |name, port, otherwise| {
        let walled = report.walls.namespaces;
        let missing = match TcpListener::bind((Ipv4Addr::new(127, 64, 0, 1), port)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some((
                format!("this user may not listen on port {port}"),
                "start as root or with CAP_NET_BIND_SERVICE, or allow it: sysctl net.ipv4.ip_unprivileged_port_start=80",
            )),
            _ if !walled => Some(("instances have no /etc/hosts of their own".into(), "see \"namespaces\" above")),
            _ => None,
        };
        Named { name, port, missing, otherwise }
    };
    vec![
        find("metadata.google.internal", 80, "libraries that read GCE_METADATA_HOST find the metadata server"),
        find(AdminApi::NAME, AdminApi::PORT, "Python 3 apps without `entrypoint` find the Admin API, if they ask for it"),
    ]
}

fn named(one: &Named) -> String {
    let place = format!("{}:{}", one.name, one.port);
    match &one.missing {
        None => format!("  {GREEN}works{GREEN:#}    {place:<30}instances that use it find this house\n"),
        Some((cause, remedy)) => format!(
            "  {YELLOW}not by name{YELLOW:#}  {place}; {}\n{:15}{DIM}because:{DIM:#} {cause}\n{:15}{DIM}to mend it:{DIM:#} {remedy}\n",
            one.otherwise, "", ""
        ),
    }
}

fn text(report: &Report, tools: &[Tool], names: &[Named]) -> String {
    let names: String = names.iter().map(named).collect();
    let walls: String = report.states.iter().map(wall).collect();
    let languages: String = tools.iter().map(language).collect();
    let verdict = match report.missing().count() {
        0 => format!("{GREEN}Every wall stands; --isolation strict can be used.{GREEN:#}"),
        missing => format!("{} missing: --isolation auto does without, --isolation strict does not start.", count(missing, "wall")),
    };
    format!(
        "{BOLD}Walls around instances{BOLD:#}\n{walls}\n{BOLD}Names inside instances{BOLD:#}\n{names}\n{BOLD}Languages{BOLD:#}\n{languages}\n{verdict}\n"
    )
}

fn language(tool: &Tool) -> String {
    match &tool.found {
        Some(found) => format!("  {GREEN}ok{GREEN:#}       {:<20}{found}\n", tool.runtime),
        None => format!("  {YELLOW}absent{YELLOW:#}   {:<20}no {}; {DIM}to get it: {}{DIM:#}\n", tool.runtime, tool.program, tool.remedy),
    }
}

fn wall(state: &State) -> String {
    let name = state.wall.name();
    if state.stands {
        return format!("  {GREEN}stands{GREEN:#}   {name:<20}{}\n", state.how);
    }
    format!(
        "  {RED}missing{RED:#}  {name:<20}{}\n{:31}{DIM}because:{DIM:#} {}\n{:31}{DIM}to mend it:{DIM:#} {}\n",
        state.how, "", state.cause, "", state.remedy
    )
}

fn json(report: &Report, tools: &[Tool], names: &[Named]) -> String {
    let names: Vec<_> = names
        .iter()
        .map(|one| {
            let (cause, remedy) = one.missing.as_ref().map_or(("", ""), |(cause, remedy)| (cause.as_str(), *remedy));
            serde_json::json!({ "name": one.name, "port": one.port, "works": one.missing.is_none(), "cause": cause, "remedy": remedy })
        })
        .collect();
    let tools: Vec<_> = tools
        .iter()
        .map(|tool| {
            let found = tool.found.as_ref();
            serde_json::json!({
                "runtime": tool.runtime,
                "program": tool.program,
                "path": found.map(|found| &found.path),
                "version": found.map(|found| &found.version),
                "remedy": if found.is_some() { "" } else { tool.remedy },
            })
        })
        .collect();
    let ok = report.missing().next().is_none();
    format!("{:#}\n", serde_json::json!({ "ok": ok, "walls": report.states, "names": names, "tools": tools }))
}
