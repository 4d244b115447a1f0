//! Python: which interpreter, which packages, and how the agent is told what to serve.

pub(crate) mod agent;
mod find;

use std::sync::Arc;

use model::runtime::Language;
use model::table::Version;

use crate::fleet::House;
use crate::prepare::{AgentLaunch, CommandLaunch, Launch, PrepareError, Prepared, Progress, Summary};

/// Everything for one Python version.
pub(crate) fn prepare(house: &House, version: &Arc<Version>, _progress: &dyn Progress) -> Result<Prepared, PrepareError> {
    let config = &version.config;
    let found = find::interpreter(&house.options, &config.runtime)?;
    let mut summary = Summary { interpreter: Some(found.interpreter.clone()), notes: found.notes, ..Summary::default() };
    let entrypoint = config.entrypoint.clone().filter(|_| config.runtime.language() == Language::Python3);
    let launch = if let Some(line) = entrypoint {
        summary.entrypoint.clone_from(&line);
        Launch::Command(CommandLaunch { line, environment: None })
    } else {
        let script = "main:app".to_owned();
        summary.entrypoint.clone_from(&script);
        let folder = agent::unpack(&house.options.cache)?;
        Launch::Agent(AgentLaunch { python: found.interpreter.path, folder, paths: Vec::new(), script })
    };
    Ok(Prepared { summary, launch })
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes a whole file or nothing of it.
pub(crate) fn write_whole(path: &std::path::Path, content: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    std::fs::write(&fresh, content)?;
    std::fs::rename(&fresh, path)
}
