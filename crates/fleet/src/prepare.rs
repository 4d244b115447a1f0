//! From a version's configuration to "this is how an instance is started": interpreter, environment, entrypoint. May take long (it may install
//! packages) and blocks: call it from a thread that may.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::handler::HandlerKind;
use model::runtime::Language;
use model::table::Version;

use crate::cache::Held;
use crate::stage::{self, Staged};
use crate::{Fleet, build, python};

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
    /// Other folders of programs that come first.
    pub(crate) programs: Vec<PathBuf>,
    /// Variables besides the documented ones; the app's own win.
    pub(crate) env: Vec<(String, OsString)>,
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
        crate::google::provide(self.house(), config)?;
        let mut prepared = self.prepare_code(version, &staged, progress)?;
        prepared.summary.notes.extend(staged.notes.iter().cloned());
        prepared.summary.notes.extend(crate::google::note(self.house(), config, &prepared.launch));
        prepared.files.get_or_insert(staged);
        Ok(prepared)
    }

    fn prepare_code(&self, version: &Arc<Version>, staged: &Arc<Staged>, progress: &dyn Progress) -> Result<Prepared, PrepareError> {
        match version.config.runtime.language() {
            Language::Python27 | Language::Python3 => python::prepare(self.house(), version, staged, progress),
            _ => build::prepare(self.house(), version, staged, progress),
        }
    }
}
