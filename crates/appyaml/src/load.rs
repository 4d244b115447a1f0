//! The folder of an app, or several service files: everything that can be configured, read and checked together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use model::config::VersionConfig;
use model::cron::CronJob;
use model::dispatch::DispatchRule;
use model::firewall::Firewall;
use model::ids::AppId;
use model::index::Index;
use model::queue::Queues;

use crate::diagnostic::Diagnostic;
use crate::source::Sources;

/// What the command line adds to the files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--project`, which supersedes `application:`.
    pub project: Option<AppId>,
    /// `--env-var K=V`: added to the variables of every service, superseding the files'. Check names with [`crate::check_env_name`].
    pub env: BTreeMap<String, String>,
}

/// One service that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedService {
    /// What it is.
    pub config: VersionConfig,
    /// Its app.yaml.
    pub file: PathBuf,
    /// The app folder: where its paths begin.
    pub root: PathBuf,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// `--project`, or else `application:` of the default service, or of the first that says one.
    pub app: Option<AppId>,
    /// The services whose files are free of errors, the default service first, then as given.
    pub services: Vec<LoadedService>,
    /// dispatch.yaml.
    pub dispatch: Vec<DispatchRule>,
    /// dos.yaml.
    pub firewall: Firewall,
    /// cron.yaml.
    pub cron: Vec<CronJob>,
    /// queue.yaml.
    pub queues: Queues,
    /// index.yaml.
    pub indexes: Vec<Index>,
    /// All mistakes and warnings, in the order of files and places.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that `diagnostics` point into.
    pub sources: Sources,
    /// Every file that was read, includes too, for whoever watches them.
    pub files_read: BTreeSet<PathBuf>,
}

impl Loaded {
    /// Whether there is no error; warnings may be.
    pub fn is_ok(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads an app: `paths` are app folders (their app.yaml), service files, and optionally dispatch.yaml and its companions; none means the
/// current folder.
pub fn load_app(paths: &[PathBuf], options: &Options) -> Loaded {
    let _ = (paths, options);
    Loaded::default()
}
