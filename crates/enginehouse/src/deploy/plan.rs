//! What a deployment would do, found out by asking the server.

use std::fmt::Write as _;

use appyaml::{Companion, Loaded};
use serde_json::Value;

use super::{Deploy, Part, configs};
use crate::admin::output::{percent, size};
use crate::admin::share;
use crate::check::count;
use crate::client::settings::Session;
use crate::client::{Failure, Outcome};
use crate::ui::{BOLD, CYAN, DIM};

/// What is on the server, and what becomes of it.
pub(super) struct Plan {
    /// The app; `None` if it has to be made first.
    pub(super) app: Option<Value>,
    /// For each part, in their order.
    pub(super) targets: Vec<Target>,
    /// The files that say something about the app as a whole.
    pub(super) configs: Vec<Companion>,
}

/// What becomes of a service.
pub(super) struct Target {
    /// The service as it is; `None` if it is new.
    pub(super) service: Option<Value>,
    /// There is a version of this name, which is replaced.
    pub(super) replaces: bool,
    /// The version that has all the traffic now.
    pub(super) previous: Option<String>,
    /// What happens to the traffic.
    pub(super) traffic: Traffic,
}

/// What happens to the traffic of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// The version has it all, or gets it because it is the first.
    Already,
    /// It stays where it is.
    Stays,
    /// All at once.
    Switches,
    /// Step by step.
    Migrates,
}

impl Plan {
    /// Asks the server.
    pub(super) fn make(session: &Session, asked: &Deploy, parts: &[Part], loaded: &Loaded) -> Outcome<Self> {
        let configs: Vec<Companion> = loaded.given.iter().copied().collect();
        if configs.contains(&Companion::Dos) {
            return Err(Failure::Usage(
                "dos.yaml is for `enginehouse run` only: a server has firewall rules instead, as production does".to_owned(),
            ));
        }
        let app = optional(session.client.get(&session.app.path()))?;
        if app.is_none() && !parts.iter().any(|part| part.id() == "default") {
            let id = &session.app.id;
            return Err(Failure::Here(format!("there is no app {id} on {}; deploy its default service first", session.client.server())));
        }
        let targets = parts.iter().map(|part| Target::make(session, asked, part, app.is_some())).collect::<Outcome<_>>()?;
        Ok(Self { app, targets, configs })
    }

    /// For people.
    pub(super) fn text(&self, session: &Session, parts: &[Part], loaded: &Loaded) -> String {
        let new = if self.app.is_none() { format!("  {DIM}does not exist yet and is made{DIM:#}") } else { String::new() };
        let mut text = format!("\n{BOLD}app{BOLD:#}      {}{new}\n", session.app.id);
        let _ = writeln!(text, "{BOLD}server{BOLD:#}   {}", session.client.server());
        for (part, target) in parts.iter().zip(&self.targets) {
            let bytes = size(part.files.bytes());
            let newness = if target.service.is_none() { format!("  {DIM}new{DIM:#}") } else { String::new() };
            let _ = writeln!(text, "{BOLD}service{BOLD:#}  {}{newness}", part.id());
            let _ = writeln!(text, "  version  {}  {DIM}{}{DIM:#}", part.version, part.service.config.runtime.as_str());
            let from = part.service.file.display();
            let _ = writeln!(text, "  files    {}, {bytes}  {DIM}{from}{DIM:#}", count(part.files.files.len(), "file"));
            if let Some(host) = self.host(part) {
                let _ = writeln!(text, "  target   {CYAN}{host}{CYAN:#}");
            }
            let _ = writeln!(text, "  traffic  {}", target.text(&part.version));
        }
        for kind in &self.configs {
            let _ = writeln!(text, "{BOLD}{:8}{BOLD:#} {}", kind.names()[0].trim_end_matches(".yaml"), configs::summary(*kind, loaded));
        }
        text
    }

    /// Where the service answers.
    pub(super) fn host(&self, part: &Part) -> Option<String> {
        let host = self.app.as_ref()?["defaultHostname"].as_str()?;
        Some(if part.id() == "default" { host.to_owned() } else { format!("{}-dot-{host}", part.id()) })
    }
}

impl Target {
    fn make(session: &Session, asked: &Deploy, part: &Part, app_exists: bool) -> Outcome<Self> {
        let (client, path) = (&session.client, session.app.service(part.id()));
        let service = if app_exists { optional(client.get(&path))? } else { None };
        let Some(service) = service else {
            return Ok(Self { service: None, replaces: false, previous: None, traffic: Traffic::Already });
        };
        // A name that is the time cannot be taken.
        let named = asked.version.is_some() || part.service.names_version;
        let replaces = named && optional(client.get(&session.app.version(part.id(), &part.version)))?.is_some();
        let allocations = service["split"]["allocations"].as_object().into_iter().flatten();
        let previous = allocations.filter(|(_, share)| share.as_f64().is_some_and(|share| share > 0.999)).map(|(id, _)| id.clone()).next();
        let traffic = match () {
            () if previous.as_ref() == Some(&part.version) => Traffic::Already,
            () if asked.no_promote => Traffic::Stays,
            () if asked.migrate => Traffic::Migrates,
            () => Traffic::Switches,
        };
        Ok(Self { service: Some(service), replaces, previous: previous.filter(|id| *id != part.version), traffic })
    }

    fn text(&self, version: &str) -> String {
        let now = self.service.as_ref().map_or(0.0, |service| share(service, version));
        let before = self.previous.as_ref().map(|id| format!(", from {id}")).unwrap_or_default();
        match self.traffic {
            Traffic::Already if self.replaces => "all, as now: the version is replaced".to_owned(),
            Traffic::Already => "all: it is the first version".to_owned(),
            Traffic::Stays if self.replaces => format!("stays as it is ({} for the version, which is replaced)", percent(&now.into())),
            Traffic::Stays => "stays where it is".to_owned(),
            Traffic::Switches => format!("all, as soon as it is ready{before}"),
            Traffic::Migrates => format!("all, step by step{before}"),
        }
    }
}

/// A resource that may not be there.
fn optional(found: Outcome<Value>) -> Outcome<Option<Value>> {
    match found {
        Err(failure) if failure.is_missing() => Ok(None),
        other => other.map(Some),
    }
}
