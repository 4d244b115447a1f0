//! The agent: its files, carried inside the binary, and the settings that an instance gets (docs/design/agent-protocol.md).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use model::config::VersionConfig;
use model::handler::{HandlerKind, Script, StaticSource};
use model::ids::InstanceId;
use serde::Serialize;

use super::find::Word;
use super::pip;
use crate::cache::{self, Held};
use crate::fleet::House;
use crate::pool::Deployment;
use crate::prepare::{AgentLaunch, PrepareError, Progress};
use crate::walls;

// `FILES: &[(&str, &[u8])]`: path below runtimes/python/enginehouse_agent, and content.
include!(concat!(env!("OUT_DIR"), "/agent_files.rs"));

/// The folder's name, which is also the package's.
const FOLDER: &str = "enginehouse_agent";

/// Unpacks the agent for one version of Python and compiles it, unless a run of the same binary already did, and returns its folder. Instances
/// write no `.pyc` files, so without this each would compile the agent again, a tenth of a second.
pub(crate) fn unpack(house: &House, python: &Word, progress: &dyn Progress) -> Result<(PathBuf, Held), PrepareError> {
    let mut hash = Context::new(&SHA256);
    for (name, content) in FILES {
        hash.update(name.as_bytes());
        hash.update(&[0]);
        hash.update(&content.len().to_be_bytes());
        hash.update(content);
    }
    let name = format!("{}-{}", model::brief::hex(&hash.finish().as_ref()[..8]), python.version);
    let home = house.options.cache.join("agents").join(name);
    let folder = home.join(FOLDER);
    let held = cache::provide(&home, progress, || {
        write(&folder).map_err(|e| PrepareError(format!("cannot unpack the Python agent into {}: {e}", home.display())))?;
        let args = ["-m", "compileall", "-q"].map(Into::into).into_iter().chain([folder.clone().into()]).collect();
        // Uncompiled it works as well; and what is wrong with this Python shows when the first instance starts.
        let _ = pip::run(house, &python.executable, args, &home, &mut |_| {});
        Ok(())
    })?;
    Ok((folder, held))
}

fn write(folder: &Path) -> std::io::Result<()> {
    for (name, content) in FILES {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(path, content)?;
    }
    Ok(())
}

/// Modules of `google.appengine` that the agent has itself, found in its own files. Not `api.modules`, most of which only the SDK has: what the agent
/// has of it is for apps whose imports do not show.
pub(crate) fn stand_ins() -> Vec<String> {
    let modules = FILES.iter().filter_map(|(name, _)| name.strip_prefix("appengine/")?.strip_suffix(".py"));
    let modules = modules.filter(|name| *name != "api/modules");
    let names = modules.map(|name| name.strip_suffix("/__init__").unwrap_or(name)).filter(|name| *name != "__init__");
    names.map(|name| format!("google.appengine.{}", name.replace('/', "."))).collect()
}

#[derive(Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
struct Config<'a> {
    runtime: &'a str,
    root: &'a Path,
    /// What `root` is called in tracebacks.
    shown: &'a Path,
    paths: &'a [PathBuf],
    threadsafe: bool,
    concurrency: u32,
    development: bool,
    hidden: Vec<String>,
    skipped: Vec<&'a str>,
    environ: BTreeMap<&'static str, String>,
    names: BTreeMap<&'static str, (String, u16)>,
    script: &'a str,
    scripts: Vec<&'a str>,
    zygote: bool,
    learn: bool,
}

/// The variable that holds the settings.
pub(crate) const VARIABLE: &str = "ENGINEHOUSE_AGENT";

/// What a process of the agent is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// An instance, started afresh.
    Alone,
    /// What forks instances.
    Zygote,
    /// An instance, forked.
    Forked {
        /// It reports which modules it imports.
        learn: bool,
    },
}

/// The value of `ENGINEHOUSE_AGENT` for one instance.
pub(crate) fn config(house: &House, deployment: &Deployment, launch: &AgentLaunch, id: &InstanceId, role: Role) -> String {
    let version = &deployment.version;
    let config = &version.config;
    let settings = Config {
        runtime: config.runtime.as_str(),
        root: walls::folder(house, deployment),
        shown: &version.root,
        paths: &launch.paths,
        threadsafe: config.threadsafe,
        concurrency: config.concurrency(),
        development: house.options.development,
        hidden: hidden(deployment),
        skipped: config.skip_files.0.iter().map(model::pattern::Pattern::source).collect(),
        environ: environ(house, deployment, id),
        names: crate::google::redirects(house, config),
        script: &launch.script,
        scripts: scripts(config),
        zygote: role == Role::Zygote,
        learn: role == Role::Forked { learn: true },
    };
    serde_json::to_string(&settings).unwrap_or_default()
}

/// WSGI objects that handlers name without groups: what a warm-up request can import. A CGI script would be run, not only loaded.
fn scripts(config: &VersionConfig) -> Vec<&str> {
    let mut scripts: Vec<&str> = Vec::new();
    for handler in &config.handlers {
        if let HandlerKind::Script(Script::Wsgi(template)) = &handler.kind
            && !template.has_references()
            && !scripts.contains(&template.source())
        {
            scripts.push(template.source());
        }
    }
    scripts
}

/// Constant environ entries of every request (reference: the production dump and the SDK's request handler).
fn environ(house: &House, deployment: &Deployment, id: &InstanceId) -> BTreeMap<&'static str, String> {
    let development = house.options.development;
    let version = &deployment.version;
    let config = &version.config;
    let mut environ = BTreeMap::new();
    // SDK code asks whether this begins with "Devel"; second-generation apps see it too (deferred does).
    environ.insert("SERVER_SOFTWARE", if development { "Development/2.0" } else { "Google App Engine/1.9.88" }.to_owned());
    if !config.runtime.is_first_generation() {
        return environ;
    }
    let app = house.options.app.as_str();
    let partition = if development { "dev~" } else { "s~" };
    environ.insert("APPLICATION_ID", if app.contains('~') { app.to_owned() } else { format!("{partition}{app}") });
    environ.insert("APPENGINE_RUNTIME", config.runtime.as_str().to_owned());
    environ.insert("AUTH_DOMAIN", "gmail.com".to_owned());
    environ.insert("CURRENT_MODULE_ID", config.key.service.to_string());
    environ.insert("CURRENT_VERSION_ID", format!("{}.{}", config.key.version, version.deployment));
    environ.insert("DATACENTER", "us1".to_owned());
    environ.insert("INSTANCE_ID", id.to_string());
    environ.insert("TZ", "UTC".to_owned());
    if matches!(id, InstanceId::Number(_)) {
        // dev_appserver: `manual:m1`, only under manual and basic scaling.
        environ.insert("BACKEND_ID", format!("{}:{}", config.key.service, config.key.version));
    }
    environ
}

/// Patterns of static files, which app code may not read unless the handler says so (row Y16), as Python's `re` reads them.
fn hidden(deployment: &Deployment) -> Vec<String> {
    let handlers = deployment.version.config.handlers.iter();
    let files = handlers.filter_map(|handler| match &handler.kind {
        HandlerKind::Static(files) if !files.application_readable => Some(&files.source),
        _ => None,
    });
    let patterns = files.map(|source| match source {
        StaticSource::Dir(dir) => format!("{}/", escape(dir)),
        StaticSource::Files { upload, .. } => upload.source().to_owned(),
    });
    // Many handlers share one; an environment variable holds 128 KiB at most.
    patterns.collect::<BTreeSet<_>>().into_iter().collect()
}

/// `text` as a pattern that matches just it, in both Pythons.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '/' && c != '_' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y16_directories_are_matched_literally() {
        assert_eq!(escape("static/v1.0 (old)"), r"static/v1\.0\ \(old\)");
    }
}
