//! A fleet on a temporary folder, and small ways to look at it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet::{Fleet, Options, prepare::Quiet};
use model::config::{SkipFiles, VersionConfig};
use model::handler::{Handler, HandlerKind, Script};
use model::ids::VersionKey;
use model::journal::{Entry, Journal};
use model::pattern::{Anchor, Pattern};
use model::pool::{Endpoint, Lease, Outcome, Pool, Reject, Wanted};
use model::runtime::Runtime;
use model::table::Version;

/// Everything that was written down, as text.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Journal for Log {
    fn write(&self, entry: Entry) {
        let line = match entry {
            Entry::Request(_) => return,
            Entry::Output(line) => format!("output {:?} {}", line.severity, line.text),
            Entry::Notice { severity, text, .. } => format!("notice {severity:?} {text}"),
        };
        self.0.lock().expect("no panic").push(line);
    }
}

impl Log {
    pub(crate) fn text(&self) -> String {
        self.0.lock().expect("no panic").join("\n")
    }
}

/// An app folder, a fleet, and their journal.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) log: Arc<Log>,
    pub(crate) fleet: Arc<Fleet>,
}

pub(crate) fn config(runtime: &str, entrypoint: Option<&str>) -> VersionConfig {
    let handler = Handler::new(Pattern::new("/.*", Anchor::Whole).expect("compiles"), HandlerKind::Script(Script::Auto));
    let key = VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
    let mut config = VersionConfig::new(key, Runtime::parse(runtime).expect("known"), vec![handler]);
    config.entrypoint = entrypoint.map(str::to_owned);
    config.skip_files = SkipFiles(Vec::new());
    config
}

pub(crate) fn launcher() -> PathBuf {
    env!("CARGO_BIN_EXE_enginehouse-launch").into()
}

impl House {
    /// A house whose app consists of `files`.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        Self::with(files, |_| {})
    }

    pub(crate) fn with(files: &[(&str, &str)], change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("app")).expect("created");
        for (name, content) in files {
            let path = dir.path().join("app").join(name);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("created");
            std::fs::write(path, content).expect("written");
        }
        let log = Arc::new(Log::default());
        let mut options = Options::new(
            "demo".parse().expect("valid"),
            Arc::clone(&log) as _,
            dir.path().join("cache"),
            tokio::runtime::Handle::current(),
        );
        options.launcher = launcher();
        options.development = true;
        change(&mut options);
        let fleet = Fleet::new(options).expect("a fleet");
        Self { dir, log, fleet }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    pub(crate) fn version(&self, config: VersionConfig, deployment: u64) -> Arc<Version> {
        Arc::new(Version::new("demo".parse().expect("an id"), config, self.root(), deployment))
    }

    /// Prepares and publishes one version.
    pub(crate) fn publish(&self, config: VersionConfig, deployment: u64) {
        let version = self.version(config, deployment);
        let prepared = self.fleet.prepare(&version, &Quiet).expect("prepared");
        self.fleet.publish(vec![(version, prepared)]);
    }

    pub(crate) async fn acquire(&self) -> Result<Lease, Reject> {
        self.fleet.acquire(wanted(), Duration::from_secs(30)).await
    }

    /// One request through the pool to an HTTP instance; the whole answer.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut lease = self.acquire().await.unwrap_or_else(|why| panic!("no instance: {why:?}\n{}", self.log.text()));
        let Endpoint::Http(address) = lease.instance.endpoint else { panic!("not HTTP") };
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = tokio::task::spawn_blocking(move || talk(address, &request)).await.expect("no panic");
        lease.outcome = if answer.is_ok() { Outcome::Answered } else { Outcome::Broken };
        answer.unwrap_or_else(|e| format!("broken: {e}"))
    }
}

pub(crate) fn wanted() -> Wanted {
    let config = config("python312", None);
    Wanted { version: Arc::new(Version::new("demo".parse().expect("an id"), config, "/nowhere".into(), 1)), instance: None }
}

fn talk(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Waits until `holds`, looking often; panics with `what` after half a minute.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Live processes that carry `name=value` in their environment.
pub(crate) fn processes_with(variable: &str) -> Vec<i32> {
    processes().filter(|&pid| environ_of(pid).split('\0').any(|pair| pair == variable)).collect()
}

/// Those of them that run the app: not the sandbox's two stubs, which carry its environment too but are the launcher's program.
pub(crate) fn app_processes_with(variable: &str) -> Vec<i32> {
    let launcher = launcher().canonicalize().expect("it exists");
    let is_stub = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == launcher);
    processes_with(variable).into_iter().filter(|pid| !is_stub(pid)).collect()
}

/// Live processes, other than ours, that work in `dir` or below.
pub(crate) fn processes_in(dir: &Path) -> Vec<i32> {
    processes().filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir))).collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").expect("readable").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|&pid| is_alive(pid))
}

fn environ_of(pid: i32) -> String {
    std::fs::read(Path::new("/proc").join(pid.to_string()).join("environ"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// Exists and is no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// An interpreter on the search path that is no wrapper script of pyenv's.
pub(crate) fn python(version: &str) -> PathBuf {
    let path = std::env::var_os("PATH").expect("set");
    let candidates = std::env::split_paths(&path).map(|dir| dir.join(format!("python{version}")));
    candidates.into_iter().find(|path| path.is_file() && !path.to_string_lossy().contains("shims")).expect("there is one")
}
