//! The commands that look after apps on a server: clients of the Admin API, each resource in a module of its own.

pub(crate) mod apps;
pub(crate) mod ask;
pub(crate) mod audit;
pub(crate) mod cron;
mod diff;
pub(crate) mod domains;
pub(crate) mod firewall;
pub(crate) mod instances;
pub(crate) mod invite;
pub(crate) mod mail;
pub(crate) mod operations;
pub(crate) mod output;
pub(crate) mod queues;
pub(crate) mod services;
pub(crate) mod tasks;
pub(crate) mod tokens;
pub(crate) mod traffic;
pub(crate) mod versions;
mod yaml;

use std::process::ExitCode;

use serde_json::Value;

use crate::client::settings::Session;
use crate::client::{Outcome, finish};
use crate::ui::{GREEN, Ui};

/// The exit status of a command.
pub(crate) fn exit(ui: &Ui, outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(ui),
    }
}

/// Waits for what was ordered, with a spinner, and says that it is done.
pub(crate) fn carry_out(session: &Session, doing: &str, done: &str, started: Value) -> Outcome<Value> {
    let task = session.ui.wait(doing);
    let operation = finish(&session.client, started, None, &mut |operation: &Value| {
        if let Some(said) = operation["metadata"]["ephemeralMessage"].as_str().filter(|said| !said.is_empty()) {
            task.detail(said);
        }
    })?;
    drop(task);
    warn(&session.ui, &operation);
    session.ui.status(&format!("{GREEN}✓{GREEN:#} {done}"));
    Ok(operation)
}

/// Passes on what the server thinks of an operation.
pub(crate) fn warn(ui: &Ui, operation: &Value) {
    for warning in operation["metadata"]["warning"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        ui.warning(warning);
    }
}

/// A version as it is written on the command line: `VERSION`, of the service of the flag, or `SERVICE/VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// The service, if it is written.
    pub(crate) service: Option<String>,
    /// The version.
    pub(crate) version: String,
}

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, version) = text.split_once('/').map_or((None, text), |(service, version)| (Some(service), version));
        if version.is_empty() || version.contains('/') || service.is_some_and(str::is_empty) {
            return Err(format!("`{text}` is no version; write VERSION or SERVICE/VERSION"));
        }
        Ok(Self { service: service.map(str::to_owned), version: version.to_owned() })
    }
}

impl Named {
    /// The service, or that of the flag, or the default service.
    pub(crate) fn service<'s>(&'s self, flag: Option<&'s str>) -> &'s str {
        self.service.as_deref().or(flag).unwrap_or("default")
    }
}

/// The shares of a service's versions, as the API writes them.
pub(crate) fn share(service: &Value, version: &str) -> f64 {
    service["split"]["allocations"][version].as_f64().unwrap_or(0.0)
}
