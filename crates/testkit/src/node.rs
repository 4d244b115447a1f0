//! The real binary as a child process: started with a port of the system's choice, awaited by its ready file, stopped and checked on drop.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::http1::{Connection, Request, Response};
use crate::process::{self, Process};
use crate::{App, DEADLINE};

/// Names the environment variable that marks a node and whatever inherits from it.
const MARK: &str = "ENGINEHOUSE_TEST_NODE";
/// A node that was asked to stop must be gone after this long.
const STOPS_WITHIN: Duration = Duration::from_mins(1);

/// Processes of a node that has ended must be gone after this long.
const VANISHES_WITHIN: Duration = Duration::from_secs(2);

/// What a node is started with.
pub struct Builder {
    binary: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    removed: Vec<OsString>,
    folders: Vec<PathBuf>,
    apps: Vec<App>,
    log_format: &'static str,
    uid: Option<u32>,
    /// Capabilities that root does without, as setpriv(1) calls them.
    lacking: Option<&'static str>,
    /// What the binary is asked to do, and where it is to listen.
    command: Vec<OsString>,
}

impl Builder {
    /// A node of the binary at this path (`env!("CARGO_BIN_EXE_enginehouse")`).
    pub fn new(binary: &str) -> Self {
        Self {
            binary: binary.into(),
            args: Vec::new(),
            env: Vec::new(),
            removed: Vec::new(),
            folders: Vec::new(),
            apps: Vec::new(),
            log_format: "json",
            uid: None,
            lacking: None,
            command: ["run", "--port", "0"].map(OsString::from).into(),
        }
    }

    /// Another command that serves until it is told to stop, in place of `run --port 0`.
    #[must_use]
    pub fn serving<A: Into<OsString>>(mut self, command: impl IntoIterator<Item = A>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// Serves the folder of an app, which stays as long as the node does.
    #[must_use]
    pub fn app(mut self, app: &App) -> Self {
        self.apps.push(app.clone());
        self.path(app.path())
    }

    /// Serves a service file of an app, which stays as long as the node does.
    #[must_use]
    pub fn file(mut self, app: &App, name: &str) -> Self {
        self.apps.push(app.clone());
        self.path(&app.join(name))
    }

    /// Logs for people instead of as JSON.
    #[must_use]
    pub fn text_log(mut self) -> Self {
        self.log_format = "text";
        self
    }

    /// Serves a folder or a service file.
    #[must_use]
    pub fn path(mut self, path: &Path) -> Self {
        self.folders.push(if path.is_dir() { path.to_path_buf() } else { path.parent().unwrap_or(path).to_path_buf() });
        self.args.push(path.into());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<'a>(self, args: impl IntoIterator<Item = &'a str>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Starts it as another user, with a home and a cache of its own and nothing but the system's programs. Needs root.
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Starts it without capabilities that root has (`-sys_ptrace`), as in a container. Needs root.
    #[must_use]
    pub fn lacking(mut self, capabilities: &'static str) -> Self {
        self.lacking = Some(capabilities);
        self
    }

    /// Lets instances write to a folder, as `--share DIR:rw` does.
    #[must_use]
    pub fn share(self, folder: &Path) -> Self {
        let mut shared = folder.as_os_str().to_owned();
        shared.push(":rw");
        self.arg("--share").arg(shared)
    }

    /// Sets a variable in the environment of the node.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Takes a variable out of the environment of the node.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.removed.push(name.into());
        self
    }

    /// Where the node's cache is.
    pub fn cache(&self) -> PathBuf {
        let own = self.env.iter().rev().find(|(name, _)| name == "XDG_CACHE_HOME").map(|(_, value)| PathBuf::from(value));
        own.unwrap_or_else(|| self.binary.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join("tmp/cache"))
    }

    fn command(&self, home: &Path, mark: &str) -> Command {
        let mut command = match self.lacking {
            None => Command::new(&self.binary),
            Some(capabilities) => {
                let mut command = Command::new("setpriv");
                command.args(["--bounding-set", capabilities, "--inh-caps", capabilities, "--"]).arg(&self.binary);
                command
            }
        };
        // Environments are shared between tests and runs: a package is installed once. State is never shared.
        command.env("XDG_CACHE_HOME", self.cache()).env("XDG_STATE_HOME", home.join("state")).env(MARK, mark);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        if let Some(uid) = self.uid {
            let own = |path: &Path| std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("the folder changes hands");
            own(home);
            for app in &self.apps {
                own(app.path());
            }
            let cache = home.join("cache");
            command.uid(uid).gid(uid).env("HOME", home).env("XDG_CACHE_HOME", cache).env("PATH", "/usr/local/bin:/usr/bin:/bin");
            command.env_remove("PYENV_ROOT").env_remove("XDG_RUNTIME_DIR").current_dir("/");
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        for name in &self.removed {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts `enginehouse run` (or what [`Self::serving`] says) and returns at once; [`Node::ready`] waits until it serves.
    pub fn spawn(self) -> Node {
        let home = tempfile::Builder::new().prefix("enginehouse-node-").tempdir().expect("a temporary folder");
        let mark = format!("{MARK}={}", home.path().display());
        let ready_file = home.path().join("ready.json");
        let mut command = self.command(home.path(), mark.split_once('=').expect("joined above").1);
        command.args(&self.command).args(["--log-format", self.log_format, "--ready-file"]).arg(&ready_file).args(&self.args);
        let cache = self.cache();
        let started = Instant::now();
        let mut child = command.spawn().expect("the binary starts");
        let lines = Arc::new(Lines::default());
        let readers = vec![
            follow(child.stdout.take().expect("piped"), Arc::clone(&lines), Channel::Log),
            follow(child.stderr.take().expect("piped"), Arc::clone(&lines), Channel::Status),
        ];
        let mut folders = self.folders;
        folders.push(home.path().to_path_buf());
        Node {
            child: Some(child),
            heir: None,
            home,
            mark,
            ready_file,
            started,
            lines,
            readers,
            folders,
            cache,
            _apps: self.apps,
            http: None,
            https: None,
            admin: None,
            services: BTreeMap::new(),
        }
    }

    /// Starts `enginehouse run` and waits until it serves.
    #[track_caller]
    pub fn start(self) -> Node {
        let mut node = self.spawn();
        node.ready();
        node
    }

    /// Starts `enginehouse COMMAND` with the arguments that follow, and waits for its end.
    #[track_caller]
    pub fn command_output(mut self, command: &str) -> Finished {
        self.args.insert(0, command.into());
        self.output()
    }

    /// Starts a command (the first argument) and waits for its end.
    #[track_caller]
    pub fn output(self) -> Finished {
        let home = tempfile::Builder::new().prefix("enginehouse-node-").tempdir().expect("a temporary folder");
        let mut child = self.command(home.path(), &home.path().display().to_string()).args(&self.args).spawn().expect("the binary starts");
        let stdout = drain(child.stdout.take().expect("piped"));
        let stderr = drain(child.stderr.take().expect("piped"));
        let status = wait_until(&mut child, Instant::now() + DEADLINE);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let text = |reader: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&reader.join().expect("read")).into_owned();
        let finished = Finished { code: status.and_then(|status| status.code()), stdout: text(stdout), stderr: text(stderr) };
        assert!(status.is_some(), "the command does not end: {finished:?}");
        finished
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        all
    })
}

/// Waits for the end of a child; `None` if it does not come in time.
fn wait_until(child: &mut Child, until: Instant) -> Option<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().expect("the child can be asked") {
            return Some(status);
        }
        if Instant::now() > until {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// A command that came to its end.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// stdout: the log.
    Log,
    /// stderr: status.
    Status,
}

#[derive(Default)]
struct Lines {
    seen: Mutex<Vec<(Channel, String)>>,
    more: Condvar,
}

fn follow(stream: impl Read + Send + 'static, lines: Arc<Lines>, channel: Channel) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            lines.seen.lock().unwrap_or_else(PoisonError::into_inner).push((channel, String::from_utf8_lossy(&line).into_owned()));
            lines.more.notify_all();
        }
    })
}

/// A running node.
pub struct Node {
    child: Option<Child>,
    /// The process that took over from the child.
    heir: Option<Process>,
    home: TempDir,
    mark: String,
    ready_file: PathBuf,
    started: Instant,
    lines: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    folders: Vec<PathBuf>,
    cache: PathBuf,
    _apps: Vec<App>,
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    services: BTreeMap<String, String>,
}

impl Node {
    /// Waits until the node serves.
    #[track_caller]
    pub fn ready(&mut self) {
        let until = Instant::now() + DEADLINE;
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(&self.ready_file) {
                break text;
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().expect("the child can be asked")) {
                self.child = None;
                panic!("the node ended with {status} before it served:\n{}", self.everything());
            }
            assert!(Instant::now() < until, "the node is not ready in time:\n{}", self.everything());
            // The file appears by a rename; a poll every millisecond needs no second notification mechanism in the tests.
            std::thread::park_timeout(Duration::from_millis(1));
        };
        let ready: serde_json::Value = serde_json::from_str(&text).expect("the ready file is JSON");
        let url = ready["http"].as_str().expect("the ready file names the URL");
        self.http = Some(address(url));
        self.https = ready["https"].as_str().map(address);
        self.admin = ready["admin"].as_str().map(address);
        let services = ready["services"].as_object().into_iter().flatten();
        self.services = services.map(|(name, url)| (name.clone(), url.as_str().expect("a URL").to_owned())).collect();
    }

    /// When the process was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Where it listens.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.http.expect("the node is ready")
    }

    /// Where it listens for TLS, if it does.
    pub fn https(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Where its admin port is, if it has one.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The URL of each service, as the ready file says.
    pub fn services(&self) -> &BTreeMap<String, String> {
        &self.services
    }

    /// The folder with the node's ready file and state.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The file that tells that the node serves.
    pub fn ready_file(&self) -> &Path {
        &self.ready_file
    }

    /// The number of the process.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.heir.map_or_else(|| self.child.as_ref().expect("the node runs").id(), |heir| heir.pid)
    }

    /// The processes below it.
    pub fn children(&self) -> BTreeSet<Process> {
        process::descendants(self.pid())
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    /// Sends a request on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.connect().send(request)
    }

    /// GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    /// Sends bytes as they are on a connection of its own.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> Option<Response> {
        let mut connection = self.connect();
        let _ = connection.write(bytes);
        connection.read(false)
    }

    /// Everything that the node has written so far.
    pub fn everything(&self) -> String {
        self.lines.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().fold(String::new(), |all, (_, line)| all + line + "\n")
    }

    /// Waits for a line, on either stream, that `wanted` accepts, among all lines since the start.
    #[track_caller]
    pub fn wait_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + DEADLINE;
        let mut seen = self.lines.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut looked = 0;
        loop {
            if let Some((_, line)) = seen[looked..].iter().find(|(_, line)| wanted(line)) {
                return line.clone();
            }
            looked = seen.len();
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no line with {what} in time, only:\n{}",
                seen.iter().fold(String::new(), |all, (_, line)| all + line + "\n")
            );
            seen = self.lines.more.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the log entry of a request to this target.
    #[track_caller]
    pub fn wait_request(&self, target: &str) -> serde_json::Value {
        let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
        let line = self.wait_line(target, |line| parse(line).is_some_and(|entry| entry["type"] == "request" && entry["target"] == target));
        parse(&line).expect("parsed before")
    }

    /// Asks until `wanted` accepts the answer, for what happens in its own time (a reload).
    #[track_caller]
    pub fn eventually(&self, request: &Request, wanted: impl Fn(&Response) -> bool) -> Response {
        let until = Instant::now() + DEADLINE;
        loop {
            let response = self.send(request);
            if wanted(&response) {
                return response;
            }
            assert!(
                Instant::now() < until,
                "never the wanted answer, at last {}: {}\n{}",
                response.status,
                response.text(),
                self.everything()
            );
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process number");
        kill_process(pid, signal).expect("the signal is sent");
    }

    /// The process of this number has taken over: waits until the one before has ended, cleanly.
    #[track_caller]
    pub fn handed_over(&mut self, to: u32) {
        let old = self.heir.take();
        self.heir = process::find(to);
        assert!(self.heir.is_some(), "process {to} is gone:\n{}", self.everything());
        if let Some(old) = old {
            process::wait_gone(&BTreeSet::from([old]));
        } else if let Some(mut child) = self.child.take() {
            let status = wait_until(&mut child, Instant::now() + STOPS_WITHIN).expect("the old process ends");
            assert_eq!(status.code(), Some(0), "the old process ends cleanly:\n{}", self.everything());
        }
    }

    /// The process of this number has taken over; the one before, which has not ended yet, ends as a power cut would end it.
    #[track_caller]
    pub fn kill_predecessor(&mut self, to: u32) {
        let family = self.children();
        let mut child = self.child.take().expect("the old process is ours");
        self.heir = process::find(to);
        assert!(self.heir.is_some(), "process {to} is gone:\n{}", self.everything());
        let heirs = process::descendants(to);
        let _ = child.kill();
        let _ = child.wait();
        let own = family.into_iter().filter(|one| one.pid != to && !heirs.contains(one)).collect();
        process::wait_gone(&own);
    }

    /// Ends it as a power cut would, and waits until nothing of it is left.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut family = self.children();
        if let Some(heir) = self.heir.take() {
            family.insert(heir);
            let pid = i32::try_from(heir.pid).ok().and_then(Pid::from_raw).expect("a process number");
            let _ = kill_process(pid, Signal::KILL);
        } else {
            let mut child = self.child.take().expect("the node runs");
            let _ = child.kill();
            let _ = child.wait();
        }
        // The warden needs a moment for what the house left.
        process::wait_gone(&family);
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }

    /// Waits for the end and checks that nothing is left.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let family = self.children();
        if let Some(heir) = self.heir.take() {
            process::wait_gone(&BTreeSet::from([heir]));
            let left = self.left_behind(&family);
            assert!(left.is_empty(), "processes were left behind: {left:?}\n{}", self.everything());
            self.readers.drain(..).for_each(|reader| drop(reader.join()));
            // It is nobody's child here; how it ended is not known.
            return ExitStatus::default();
        }
        let mut child = self.child.take().expect("the node runs");
        let status = wait_until(&mut child, Instant::now() + STOPS_WITHIN);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let left = self.left_behind(&family);
        for reader in self.readers.drain(..) {
            if left.is_empty() {
                let _ = reader.join();
            }
        }
        assert!(left.is_empty(), "processes were left behind: {left:?}\n{}", self.everything());
        status.unwrap_or_else(|| panic!("the node does not stop within {STOPS_WITHIN:?}:\n{}", self.everything()))
    }

    /// What still runs of a node that has ended. What was killed needs a moment until the kernel has removed it.
    fn left_behind(&self, family: &BTreeSet<Process>) -> Vec<String> {
        let copies = copies_of(&self.folders, &self.cache);
        let folders: Vec<&Path> = self.folders.iter().chain(&copies).map(PathBuf::as_path).collect();
        let until = Instant::now() + VANISHES_WITHIN;
        loop {
            let mut left = process::alive(family);
            left.extend(process::marked(&self.mark, &folders));
            if left.is_empty() || Instant::now() > until {
                return left.into_iter().map(process::describe).collect();
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Stops it as Ctrl-C does.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::INT);
        self.wait()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.is_none() && self.heir.is_none() {
            return;
        }
        if std::thread::panicking() {
            say(&format!("--- what the node wrote:\n{}", self.everything()));
            if self.heir.is_some() {
                return self.kill();
            }
            let mut child = self.child.take().expect("checked above");
            let family = process::descendants(child.id());
            let _ = child.kill();
            let _ = child.wait();
            for one in process::alive(&family) {
                if let Some(pid) = i32::try_from(one.pid).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            return;
        }
        let status = self.stop();
        assert_eq!(status.code(), Some(0), "a node that is asked to stop ends cleanly:\n{}", self.everything());
    }
}

/// The copies of the apps' files that instances work in.
fn copies_of(folders: &[PathBuf], cache: &Path) -> Vec<PathBuf> {
    let home = cache.join("enginehouse/deployments");
    let indexes = std::fs::read_dir(home.join("index")).into_iter().flatten().flatten();
    let fitting = indexes.filter(|entry| {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        let index = serde_json::from_slice::<serde_json::Value>(&text).unwrap_or_default();
        let origin = Path::new(index["origin"].as_str().unwrap_or("/"));
        folders.iter().any(|folder| origin.starts_with(folder.canonicalize().unwrap_or_else(|_| folder.clone())))
    });
    // Copies are called after their index.
    let names: Vec<String> = fitting.map(|entry| entry.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()).collect();
    let all = std::fs::read_dir(&home).into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        names.iter().any(|whose| name.split('-').next() == Some(whose))
    };
    all.filter(ours).collect()
}

/// To the output that the test harness shows with a failure.
#[allow(clippy::print_stderr, reason = "the harness captures it")]
pub fn say(text: &str) {
    eprintln!("{text}");
}

fn address(url: &str) -> SocketAddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    let (name, port) = host.rsplit_once(':').expect("a URL with a port");
    let name = if name == "localhost" { "127.0.0.1" } else { name };
    format!("{name}:{port}").parse().expect("an address")
}
