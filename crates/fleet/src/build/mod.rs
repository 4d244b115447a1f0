//! What production does with an app's sources before it starts them (docs: "application startup" of each runtime; Google's buildpacks): packages
//! are installed, sources compiled. Never in the user's folder: each build has a place of its own in the cache, named by everything that its result
//! depends on, so that a second start builds nothing.

mod go;
mod jar;
mod java;
mod node;
mod php;
mod ruby;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use model::brief::hex;
use model::config::VersionConfig;
use model::runtime::Language;
use model::table::Version;

use crate::cache::{self, Held};
use crate::fleet::House;
use crate::prepare::{CommandLaunch, Launch, PrepareError, Prepared, Progress, Summary};
use crate::stage::{self, Staged};
use crate::tools;
use crate::work::{self, Work};

/// Rises when builds are made differently.
const FORMAT: &str = "1";

/// How the app is run.
struct Plan {
    /// The shell command.
    line: String,
    /// The app's files, with what was built.
    files: Arc<Staged>,
    held: Vec<Arc<Held>>,
    /// Folders of programs that come first.
    programs: Vec<PathBuf>,
    /// Variables besides the documented ones.
    env: Vec<(&'static str, OsString)>,
    notes: Vec<String>,
}

/// One version that is being prepared.
struct Site<'a> {
    house: &'a House,
    version: &'a Version,
    files: &'a Arc<Staged>,
    progress: &'a dyn Progress,
    /// The version of the runtime's tool; empty if there is none.
    tool: String,
}

/// Everything for one version that is run by a command and not written in Python.
pub(crate) fn prepare(
    house: &House,
    version: &Arc<Version>,
    files: &Arc<Staged>,
    progress: &dyn Progress,
) -> Result<Prepared, PrepareError> {
    let config = &version.config;
    let mut summary = Summary::default();
    tools::describe(&house.options, &config.runtime, &mut summary);
    let tool = summary.interpreter.as_ref().map(|found| found.version.clone()).unwrap_or_default();
    let site = Site { house, version, files, progress, tool };
    let plan = match config.runtime.language() {
        Language::Node => node::plan(&site),
        Language::Go => go::plan(&site),
        Language::Java => java::plan(&site),
        Language::Php => php::plan(&site),
        Language::Ruby => ruby::plan(&site),
        Language::Python27 | Language::Python3 => Err(PrepareError("Python has a way of its own".into())),
    }?;
    tools::check_command(&config.runtime, &plan.line, &plan.programs)?;
    summary.entrypoint.clone_from(&plan.line);
    summary.notes.extend(plan.notes);
    let env = plan.env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let launch = CommandLaunch { line: plan.line, environment: None, programs: plan.programs, env };
    Ok(Prepared { summary, files: Some(plan.files), held: plan.held, launch: Launch::Command(launch) })
}

impl Site<'_> {
    fn config(&self) -> &VersionConfig {
        &self.version.config
    }

    fn root(&self) -> &Path {
        self.files.root()
    }

    fn has(&self, name: &str) -> bool {
        self.root().join(name).is_file()
    }

    /// A plan that builds nothing.
    fn plain(&self, line: String) -> Plan {
        Plan { line, files: Arc::clone(self.files), held: Vec::new(), programs: Vec::new(), env: Vec::new(), notes: Vec::new() }
    }

    /// The command of app.yaml, or what production takes without one.
    fn line(&self, default: impl FnOnce() -> Result<String, PrepareError>) -> Result<String, PrepareError> {
        self.config().entrypoint.clone().map_or_else(default, Ok)
    }

    /// A program that this build cannot do without.
    fn need(&self, program: &str, what_for: &str) -> Result<PathBuf, PrepareError> {
        tools::need(&self.config().runtime, program, what_for)
    }

    fn key(&self, what: &str) -> Key {
        let mut key = Key(Context::new(&SHA256));
        key.add(FORMAT.as_bytes());
        key.add(what.as_bytes());
        key.add(self.tool.as_bytes());
        key
    }

    /// A folder of the cache that `make` fills, from the files `named` alone or from all.
    fn layer(&self, name: &str, make: impl Fn(&Bench<'_>) -> Result<(), PrepareError>) -> Result<Arc<Held>, PrepareError> {
        let dir = self.house.options.cache.join("builds").join(name);
        let held = cache::provide(&dir, self.progress, || {
            make(&Bench::new(self, dir.clone(), name)?)?;
            // The folder itself gets one file more.
            let inner = fs::read_dir(&dir).and_then(|mut all| all.try_for_each(|entry| stage::close_all(&entry?.path())));
            inner.map_err(|e| PrepareError(format!("cannot make {}: {e}", dir.display())))
        })?;
        Ok(Arc::new(held))
    }

    /// The app's files as they are after `make` worked in a copy of them.
    fn tree(&self, key: &str, make: impl Fn(&Bench<'_>) -> Result<(), PrepareError>) -> Result<Arc<Staged>, PrepareError> {
        self.files.built(key, self.progress, |folder| {
            self.files.copy_to(folder).map_err(|e| PrepareError(format!("cannot copy the app to {}: {e}", folder.display())))?;
            make(&Bench::new(self, folder.to_owned(), key)?)
        })
    }

    /// The app's files with the entries `names` of a layer among them.
    fn with(&self, layer: &Held, names: &[&str]) -> Result<Arc<Staged>, PrepareError> {
        let name = layer.dir().file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.files.built(&name, self.progress, |folder| {
            let all = names.iter().map(|name| (layer.dir().join(name), folder.join(name)));
            let linked = self
                .files
                .link_to(folder, names)
                .and_then(|()| all.filter(|(from, _)| from.exists()).try_for_each(|(from, to)| stage::link_all(&from, &to)));
            linked.map_err(|e| PrepareError(format!("cannot put what was built into {}: {e}", folder.display())))
        })
    }
}

/// A name that changes with everything that changes the result.
struct Key(Context);

impl Key {
    fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// The content of those files that exist.
    fn files(&mut self, root: &Path, names: &[&str]) {
        for name in names {
            if let Ok(content) = fs::read(root.join(name)) {
                self.add(name.as_bytes());
                self.add(&content);
            }
        }
    }

    fn name(self, what: &str) -> String {
        format!("{what}-{}", hex(&self.0.finish().as_ref()[..12]))
    }
}

/// Where a build works, and where its output is kept.
struct Bench<'a> {
    site: &'a Site<'a>,
    dir: PathBuf,
    log: File,
    log_file: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(site: &'a Site<'a>, dir: PathBuf, name: &str) -> Result<Self, PrepareError> {
        let log_file = site.house.options.cache.join("builds").join(format!("{name}.log"));
        let cannot = |e: std::io::Error| PrepareError(format!("cannot write {}: {e}", log_file.display()));
        fs::create_dir_all(log_file.parent().unwrap_or(&log_file)).map_err(cannot)?;
        let log = File::create(&log_file).map_err(cannot)?;
        Ok(Self { site, dir, log, log_file })
    }

    /// Puts those of the app's files here that exist.
    fn bring(&self, names: &[&str]) -> Result<(), PrepareError> {
        for name in names {
            let from = self.site.root().join(name);
            if from.is_file() {
                let text = fs::read(&from).and_then(|text| fs::write(self.dir.join(name), text));
                text.map_err(|e| PrepareError(format!("cannot copy {}: {e}", from.display())))?;
            }
        }
        Ok(())
    }

    /// Runs one command here.
    fn run(&self, what: &str, program: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<(), PrepareError> {
        self.run_in(&self.dir, what, program, args, env)
    }

    fn run_in(&self, dir: &Path, what: &str, program: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<(), PrepareError> {
        // Of the house's own variables these would lead a build astray; the others configure proxies, indexes and caches.
        const ASTRAY: [&str; 6] = ["NODE_ENV", "PORT", "BUNDLE_GEMFILE", "RUBYOPT", "GOFLAGS", "CLASSPATH"];
        self.site.progress.step(what);
        let mut own = vec![("X_GOOGLE_TARGET_PLATFORM", "gae"), ("GOOGLE_RUNTIME", self.site.config().runtime.as_str()), ("CI", "true")];
        own.extend(env);
        let work = Work {
            program,
            args: args.iter().map(Into::into).collect(),
            env: work::surroundings(&ASTRAY, &own),
            dir,
            log: Some(&self.log),
        };
        work::run(self.site.house, work, &mut work::narrate(self.site.progress)).map_err(|lines| {
            PrepareError(format!(
                "{what} failed; all of its output is in {}, the last of it:\n  {}",
                self.log_file.display(),
                lines.join("\n  ")
            ))
        })
    }
}
