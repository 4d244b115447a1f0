//! From a version's configuration to "this is how an instance is started": interpreter, environment, entrypoint. May take long (it may install
//! packages) and blocks: call it from a thread that may.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::config::VersionConfig;
use model::handler::HandlerKind;
use model::runtime::Language;
use model::table::Version;

use crate::cache::Held;
use crate::stage::{self, Staged};
use crate::{Fleet, python, tools};

/// Hears what preparation is doing.
pub trait Progress: Sync {
    /// A step began, `installing 3 packages for python 3.12`.
    fn step(&self, text: &str);
    /// A line that an installer printed.
    fn line(&self, text: &str);
}

/// Nobody listens.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&self, _: &str) {}
    fn line(&self, _: &str) {}
}

/// Why a version cannot run here: what was looked for, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PrepareError(pub String);

/// How to start a version.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// For people.
    pub summary: Summary,
    /// The files that instances see; a version without code has none.
    pub files: Option<Arc<Staged>>,
    /// Other folders of the cache that instances need.
    pub(crate) held: Vec<Arc<Held>>,
    pub(crate) launch: Launch,
}

impl Prepared {
    /// Folders outside of [`Self::files`] that instances read: environments, the agent, what was built.
    pub fn layers(&self) -> impl Iterator<Item = &Path> {
        self.held.iter().map(|held| held.dir())
    }
}

/// What was found, to be printed at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The interpreter or tool, with its version.
    pub interpreter: Option<Interpreter>,
    /// What is run: the command, or the object that the agent serves; empty if nothing is.
    pub entrypoint: String,
    /// Where the packages are installed.
    pub environment: Option<PathBuf>,
    /// What the reader should know: a stand-in interpreter, a package that was added.
    pub notes: Vec<String>,
}

/// An interpreter that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Where.
    pub path: PathBuf,
    /// Its own word, `3.12.1`.
    pub version: String,
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.version, self.path.display())
    }
}

/// How a process is started.
#[derive(Debug, Clone)]
pub(crate) enum Launch {
    /// Only static files: no process at all.
    None,
    /// Python with our agent.
    Agent(AgentLaunch),
    /// A shell command that listens on `$PORT`.
    Command(CommandLaunch),
}

#[derive(Debug, Clone)]
pub(crate) struct AgentLaunch {
    pub(crate) python: PathBuf,
    /// The unpacked agent.
    pub(crate) folder: PathBuf,
    /// Further entries of `sys.path`.
    pub(crate) paths: Vec<PathBuf>,
    /// The object that answers when a handler names none.
    pub(crate) script: String,
}

#[derive(Debug, Clone)]
pub(crate) struct CommandLaunch {
    pub(crate) line: String,
    /// A virtual environment whose programs come first.
    pub(crate) environment: Option<PathBuf>,
}

impl Fleet {
    /// Finds or makes everything that an instance of `version` needs.
    ///
    /// # Errors
    /// If something is missing or cannot be installed; the text names what was searched and what to do.
    pub fn prepare(&self, version: &Arc<Version>, progress: &dyn Progress) -> Result<Prepared, PrepareError> {
        let config = &version.config;
        if !config.handlers.iter().any(|handler| matches!(handler.kind, HandlerKind::Script(_))) {
            return Ok(Prepared { summary: Summary::default(), files: None, held: Vec::new(), launch: Launch::None });
        }
        let staged = stage::provide(self.house(), version, progress)?;
        let mut prepared = self.prepare_code(version, &staged, progress)?;
        prepared.summary.notes.extend(staged.notes.iter().cloned());
        prepared.files = Some(staged);
        Ok(prepared)
    }

    fn prepare_code(&self, version: &Arc<Version>, staged: &Arc<Staged>, progress: &dyn Progress) -> Result<Prepared, PrepareError> {
        let config = &version.config;
        match config.runtime.language() {
            Language::Python27 | Language::Python3 => python::prepare(self.house(), version, staged, progress),
            _ => {
                let line = match &config.entrypoint {
                    Some(line) => line.clone(),
                    None => default_command(config, staged.root())?,
                };
                let mut summary = Summary { entrypoint: line.clone(), ..Summary::default() };
                tools::describe(&self.house().options, &config.runtime, &mut summary);
                Ok(Prepared { summary, files: None, held: Vec::new(), launch: Launch::Command(CommandLaunch { line, environment: None }) })
            }
        }
    }
}

/// What production runs when app.yaml has no `entrypoint` (docs: "application startup" of each runtime).
fn default_command(config: &VersionConfig, root: &Path) -> Result<String, PrepareError> {
    let has = |name: &str| root.join(name).is_file();
    let runtime = &config.runtime;
    let ask = |hint: &str| {
        Err(PrepareError(format!("runtime {runtime} needs an `entrypoint:` in app.yaml here; write for example `entrypoint: {hint}`")))
    };
    match runtime.language() {
        Language::Node => {
            if has_start_script(root) {
                need("npm", "Node.js (https://nodejs.org), which brings npm along", "npm start")
            } else if has("server.js") {
                need("node", "Node.js (https://nodejs.org)", "node server.js")
            } else {
                let text =
                    "neither a `start` script in package.json nor a server.js was found; add one of them, or an `entrypoint:` to app.yaml";
                Err(PrepareError(text.into()))
            }
        }
        Language::Ruby => {
            let bundle = if has("Gemfile") { "bundle exec " } else { "" };
            if has("bin/rails") {
                need("ruby", "Ruby (https://www.ruby-lang.org)", &format!("{bundle}bin/rails server --port $PORT"))
            } else if has("config.ru") {
                need("ruby", "Ruby (https://www.ruby-lang.org)", &format!("{bundle}rackup --port $PORT"))
            } else {
                ask("bundle exec ruby app.rb -p $PORT")
            }
        }
        Language::Go => ask("go run ."),
        Language::Java => ask("java -jar target/app.jar"),
        Language::Php => ask("php -S 127.0.0.1:$PORT index.php"),
        Language::Python27 | Language::Python3 => ask("gunicorn -b :$PORT main:app"),
    }
}

fn has_start_script(root: &Path) -> bool {
    let Ok(text) = std::fs::read(root.join("package.json")) else { return false };
    let Ok(package) = serde_json::from_slice::<serde_json::Value>(&text) else { return false };
    package.pointer("/scripts/start").is_some_and(serde_json::Value::is_string)
}

/// `command`, if `tool` is on the search path.
fn need(tool: &str, install: &str, command: &str) -> Result<String, PrepareError> {
    if tools::on_path(tool).is_some() {
        return Ok(command.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    Err(PrepareError(format!("`{command}` needs `{tool}`, which is not in any directory of PATH ({}); install {install}", path.display())))
}
