//! Which walls stand around instances: what the user asked for, what the machine can build, and the plan for each instance.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use model::rpc::Doors;
use model::runtime::Language;
use model::sched::Memory;
use sandbox::limits::{Allowance, Group, Limits, Means};
use sandbox::probe::{FIRST_UID, LAST_UID, PRETEND_MISSING, Report, State, Wall};
use sandbox::{Bind, Births, Plan};

use crate::Options;
use crate::fleet::House;
use crate::google;
use crate::launch::{LAUNCHER, PROBE};
use crate::pool::Deployment;
use crate::prepare::{Launch, Prepared};
use crate::process_env;

/// `--isolation`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Every wall that this machine can build; those that it cannot are named.
    #[default]
    Auto,
    /// Every wall, or nothing starts.
    Strict,
    /// Instances are containers of an OCI runtime.
    Oci,
    /// No walls.
    None,
}

/// A folder of the machine that instances see: `--share DIR` or `--share DIR:rw`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Where it is, here and for them.
    pub path: PathBuf,
    /// Whether they may write there.
    pub writable: bool,
}

impl std::str::FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (path, writable) = text.strip_suffix(":rw").map_or((text, false), |path| (path, true));
        let path = std::path::absolute(path).map_err(|_| "write --share DIR or --share DIR:rw".to_owned())?;
        Ok(Self { path, writable })
    }
}

/// Most processes and threads of one instance.
const PROCESSES: u64 = 512;

/// What the house knows about its walls.
#[derive(Debug)]
pub(crate) struct Ground {
    isolation: Isolation,
    /// Nothing was looked for if no walls are wanted.
    report: Option<Report>,
    /// The program that runs containers, if they are wanted.
    runtime: Option<PathBuf>,
    /// Started so far.
    instances: AtomicU32,
}

impl Ground {
    /// Waits until it is known what can be built.
    pub(crate) fn of(survey: Survey, options: &Options) -> io::Result<Self> {
        let mut report = survey.report()?;
        if let Some(report) = &mut report {
            keep_user_if_needed(report, &options.cache);
        }
        let runtime = if options.isolation == Isolation::Oci { sandbox::oci::runtime() } else { None };
        let ground = Self { isolation: options.isolation, report, runtime, instances: AtomicU32::new(0) };
        match options.isolation {
            Isolation::Strict => {
                let missing: Vec<_> =
                    ground.report.iter().flat_map(Report::missing).map(|state| format!("\n  {}", sentence(state))).collect();
                if !missing.is_empty() {
                    return Err(io::Error::other(format!("--isolation strict needs every wall, but there is{}", missing.concat())));
                }
            }
            Isolation::Oci if ground.runtime.is_none() => {
                let text = "--isolation oci needs a container runtime, but neither runc nor crun is on the search path; \
                            install one (`apt install runc`), or use --isolation auto";
                return Err(io::Error::other(text));
            }
            Isolation::Auto | Isolation::None | Isolation::Oci => {}
        }
        Ok(ground)
    }

    /// Who the next instance is, if the house may choose: under `strict` somebody of its own, as far as the range goes.
    fn uid(&self) -> Option<u32> {
        let may = self.report.as_ref().is_some_and(|report| report.may_choose_user);
        let next = || FIRST_UID + 1 + self.instances.fetch_add(1, Ordering::Relaxed) % (LAST_UID - FIRST_UID);
        may.then(|| if self.isolation == Isolation::Strict { next() } else { FIRST_UID })
    }

    /// A folder for temporary files, where `/tmp` is not the instance's own.
    pub(crate) fn scratch(&self, mark: &str, home: &Path) -> io::Result<Option<Scratch>> {
        let Some(report) = self.report.as_ref().filter(|report| !report.walls.namespaces && self.runtime.is_none()) else {
            return Ok(None);
        };
        let folder = std::env::temp_dir().join(format!("enginehouse-tmp-{mark}"));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let scratch = Scratch { folder };
        if report.may_choose_user {
            for folder in [&scratch.folder, home] {
                std::os::unix::fs::chown(folder, Some(FIRST_UID), Some(FIRST_UID))?;
            }
        }
        Ok(Some(scratch))
    }

    /// Whether instances may share what a zygote lives in. Not where they cannot get a `/tmp` of their own (it takes namespaces and seccomp), in
    /// containers, or where each is to be alone.
    pub(crate) fn may_fork(&self) -> bool {
        match self.isolation {
            Isolation::Auto => self.report.as_ref().is_some_and(|report| report.walls.namespaces && report.walls.seccomp),
            Isolation::None => true,
            Isolation::Strict | Isolation::Oci => false,
        }
    }

    /// What runs containers, if instances are some.
    pub(crate) fn runtime(&self) -> Option<&Path> {
        self.runtime.as_deref()
    }

    /// How instances are limited; without walls they are only measured.
    pub(crate) fn limits(&self) -> Limits {
        let pretended = std::env::var(PRETEND_MISSING).unwrap_or_default();
        Limits::find(self.report.is_none() || pretended.split(',').any(|one| one.trim() == "cgroup"))
    }

    /// What was found.
    pub(crate) fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }
}

/// Without namespaces nothing can be shown to another user that this user cannot reach by itself: then instances stay who the house is.
fn keep_user_if_needed(report: &mut Report, cache: &Path) {
    if report.walls.namespaces || !report.may_choose_user {
        return;
    }
    let closed =
        cache.ancestors().filter_map(|folder| Some((folder, std::fs::metadata(folder).ok()?))).find(|(_, known)| known.mode() & 0o1 == 0);
    let Some((folder, _)) = closed else { return };
    report.may_choose_user = false;
    report.states.retain(|state| state.wall != Wall::User);
    report.states.push(State {
        wall: Wall::User,
        stands: false,
        how: "instances are root, without any capability".into(),
        cause: format!("there are no namespaces, and nobody but root may enter {}", folder.display()),
        remedy: "set XDG_CACHE_HOME to a folder that everybody may enter, or start the house as an ordinary user".into(),
    });
}

/// What a process of its own finds out about the walls of this machine. It takes longer than most of a start, so whoever starts may begin it early
/// and do something else meanwhile.
#[derive(Debug)]
pub struct Survey {
    /// Nothing is looked for if no walls are wanted. An error waits until somebody wants to know.
    process: Option<io::Result<Child>>,
}

impl Survey {
    /// Begins.
    pub fn begin(isolation: Isolation) -> Self {
        Self::by(Path::new(LAUNCHER), isolation)
    }

    pub(crate) fn by(launcher: &Path, isolation: Isolation) -> Self {
        Self { process: (isolation != Isolation::None).then(|| probe(launcher)) }
    }

    /// Waits for what was found.
    pub(crate) fn report(mut self) -> io::Result<Option<Report>> {
        self.process.take().map(|process| read(process?)).transpose()
    }
}

impl Drop for Survey {
    /// The process outlives nobody, also if the start was given up.
    fn drop(&mut self) {
        if let Some(Ok(process)) = self.process.take() {
            let _ = process.wait_with_output();
        }
    }
}

/// Lets a throw-away process try every wall.
pub(crate) fn ask(launcher: &Path) -> io::Result<Report> {
    read(probe(launcher)?)
}

fn probe(launcher: &Path) -> io::Result<Child> {
    Command::new(launcher).arg(PROBE).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

fn read(process: Child) -> io::Result<Report> {
    let output = process.wait_with_output()?;
    serde_json::from_slice(&output.stdout).map_err(|_| io::Error::other(format!("looking for walls ended with {}", output.status)))
}

/// The group in which one instance is limited and measured.
pub(crate) fn group(house: &House, deployment: &Deployment, mark: &str) -> std::io::Result<Group> {
    let config = &deployment.version.config;
    // Between soft and hard limit App Engine lets an instance finish its request; the kernel steps in at the hard one.
    let allowance = Allowance { memory: Memory::of(config).hard(), mhz: config.class.cpu_mhz(), processes: PROCESSES };
    house.limits.group(mark, &allowance)
}

/// Where an instance sees the app's files: where the user has them, if it sees only what it is shown.
pub(crate) fn folder<'a>(house: &House, deployment: &'a Deployment) -> &'a Path {
    let shown = house.ground.report().is_some_and(|report| report.walls.namespaces) || house.ground.runtime().is_some();
    if shown { &deployment.version.root } else { deployment.folder() }
}

/// A folder for the temporary files of one instance; removed with it.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// The variable that tells programs.
    pub(crate) fn variable(&self) -> (OsString, OsString) {
        ("TMPDIR".into(), self.folder.clone().into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The walls around one instance; `None` if it has none.
pub(crate) fn plan(
    house: &House,
    deployment: &Deployment,
    port: Option<u16>,
    group: Option<&Group>,
    scratch: Option<&Scratch>,
) -> Option<Plan> {
    let report = house.ground.report()?;
    let config = &deployment.version.config;
    let memory = Memory::of(config);
    let looked = house.limits.means() == Means::Look;
    let home = process_env::home(house, deployment);
    let mut binds = system(&deployment.prepared);
    let seen = folder(house, deployment);
    binds.push(Bind::shown_at(deployment.folder(), seen));
    binds.push(Bind::write(&home));
    binds.extend(scratch.map(|scratch| Bind::write(&scratch.folder)));
    for share in &house.options.shares {
        binds.push(if share.writable { Bind::write(&share.path) } else { Bind::shown_at(&share.path, &share.path) });
    }
    let api = google::wanted(house, config);
    binds.extend(api.map(|api| Bind::read(&api.bundle)));
    let names = if api.is_some() { house.names.admin_file() } else { house.names.file() };
    binds.push(Bind { target: "/etc/hosts".into(), ..Bind::read(names) });
    binds.retain(|bind| bind.source.exists());
    Some(Plan {
        walls: report.walls,
        uid: house.ground.uid(),
        binds,
        dir: seen.to_owned(),
        home,
        port,
        tmp_bytes: memory.soft(),
        processes: report.walls.namespaces.then_some(PROCESSES),
        // Java reserves far more than it uses; it is told its limit instead (`-Xmx`).
        data_bytes: (looked && config.runtime.language() != Language::Java).then_some(2 * memory.soft()),
        groups: group.map(Group::doors).unwrap_or_default(),
        keep: Vec::new(),
        hosts: Vec::new(),
        linger: false,
        births: None,
    })
}

/// Google's names for the metadata server and the services, where they lead somewhere.
pub(crate) fn hosts(doors: Option<&Arc<dyn Doors>>) -> Vec<String> {
    let address = doors.and_then(|doors| doors.names());
    address.map(|address| format!("{address} metadata.google.internal metadata appengine.googleapis.internal")).into_iter().collect()
}

/// Google's name for the Admin API, where it can lead to ours.
pub(crate) fn admin_host(options: &Options) -> Option<String> {
    let api = options.admin_api.as_ref().filter(|api| api.address.port() == google::AdminApi::PORT)?;
    Some(format!("{} {}", api.address.ip(), google::AdminApi::NAME))
}

/// The walls around a zygote, which all instances that it forks share.
pub(crate) fn for_many(mut plan: Plan) -> Plan {
    /// So many instances at their limit; the kernel counts all of a user together.
    const INSTANCES: u64 = 4;
    plan.births = Some(Births { tmp_bytes: plan.tmp_bytes, processes: plan.processes });
    plan.processes = plan.processes.map(|most| most * INSTANCES);
    plan.linger = true;
    plan
}

/// Programs and packages outside the system's own folders.
fn system(prepared: &Prepared) -> Vec<Bind> {
    let mut wanted: BTreeSet<_> = prepared.layers().map(Path::to_owned).collect();
    match &prepared.launch {
        Launch::Agent(agent) => {
            wanted.extend(agent.paths.iter().cloned());
            // Its package is found by looking into the folder above.
            wanted.insert(agent.folder.parent().unwrap_or(&agent.folder).to_owned());
            add_interpreter(&mut wanted, &agent.python);
        }
        Launch::Command(command) => {
            if let Some(environment) = &command.environment {
                wanted.insert(environment.clone());
                add_interpreter(&mut wanted, &environment.join("bin/python"));
            }
            add_search_path(&mut wanted);
        }
        Launch::None => {}
    }
    let covered =
        |path: &Path| ["/usr", "/bin", "/sbin", "/lib", "/opt", "/nix/store", "/gnu/store"].iter().any(|top| path.starts_with(top));
    wanted.retain(|path| !covered(path) && !is_too_much(path));
    let outermost: Vec<_> = wanted.iter().filter(|path| !wanted.iter().any(|other| other != *path && path.starts_with(other))).collect();
    outermost.into_iter().map(Bind::read).collect()
}

/// A virtual environment and the installation behind it: every folder that the links of `bin/python` lead through.
fn add_interpreter(wanted: &mut BTreeSet<PathBuf>, python: &Path) {
    let mut path = python.to_owned();
    // As many links as the kernel follows.
    for _ in 0..40 {
        if let Some(prefix) = prefix_of(&path) {
            wanted.insert(prefix.to_owned());
        }
        let Ok(to) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("/")).join(to);
    }
    if let Some(prefix) = std::fs::canonicalize(python).ok().as_deref().and_then(prefix_of) {
        wanted.insert(prefix.to_owned());
    }
}

/// `/opt/node` of `/opt/node/bin/node`.
fn prefix_of(program: &Path) -> Option<&Path> {
    let bin = program.parent()?;
    let prefix = bin.parent()?;
    if is_too_much(prefix) { Some(bin) } else { Some(prefix) }
}

/// Folders of the search path; of those that pyenv, rbenv and the like fill with stand-ins, the whole installation; and what the tools of the
/// languages are links to.
fn add_search_path(wanted: &mut BTreeSet<PathBuf>) {
    const TOOLS: [&str; 12] = ["node", "npm", "npx", "yarn", "pnpm", "go", "java", "php", "composer", "ruby", "bundle", "gunicorn"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path).filter(|folder| folder.is_absolute() && folder.is_dir()) {
        for tool in TOOLS {
            let program = folder.join(tool);
            if program.is_symlink() || (program.is_file() && !folder.ends_with("shims")) {
                add_interpreter(wanted, &program);
            }
        }
        let whole = if folder.ends_with("shims") { folder.parent().map(Path::to_owned) } else { None };
        wanted.insert(whole.unwrap_or(folder));
    }
}

/// Folders that hold far more than programs: the owner's home and what is above it.
fn is_too_much(path: &Path) -> bool {
    let home = std::env::home_dir().unwrap_or_default();
    home.starts_with(path) || path == home.join(".local") || path == home.join(".cargo") || path == Path::new("/")
}

/// Which walls are wanted and which stand, for people; empty if all is as it should be.
pub(crate) fn complaints(ground: &Ground) -> Vec<String> {
    match (ground.isolation, &ground.report) {
        (Isolation::None, _) | (_, None) => {
            vec!["--isolation none: instances can read and change whatever you can; use it for development only".into()]
        }
        (_, Some(report)) => report.missing().map(sentence).collect(),
    }
}

/// What is missing, why, what follows, and what to do.
fn sentence(state: &State) -> String {
    format!("no {}: {}; {}; to mend it: {}", state.wall, state.cause, state.how, state.remedy)
}
