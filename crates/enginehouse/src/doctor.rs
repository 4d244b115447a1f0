//! `enginehouse doctor`: what this machine can do for instances, and what is to be done about the rest.

use std::process::ExitCode;
use std::sync::Arc;

use fleet::doctor::Tool;
use fleet::{Report, State};
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
                LogFormat::Json => ui.data(&json(&report, &tools)),
                LogFormat::Text => ui.data(&text(&report, &tools)),
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

fn text(report: &Report, tools: &[Tool]) -> String {
    let walls: String = report.states.iter().map(wall).collect();
    let languages: String = tools.iter().map(language).collect();
    let verdict = match report.missing().count() {
        0 => format!("{GREEN}Every wall stands; --isolation strict can be used.{GREEN:#}"),
        missing => format!("{} missing: --isolation auto does without, --isolation strict does not start.", count(missing, "wall")),
    };
    format!("{BOLD}Walls around instances{BOLD:#}\n{walls}\n{BOLD}Languages{BOLD:#}\n{languages}\n{verdict}\n")
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

fn json(report: &Report, tools: &[Tool]) -> String {
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
    format!("{:#}\n", serde_json::json!({ "ok": ok, "walls": report.states, "tools": tools }))
}
