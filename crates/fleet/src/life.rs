//! The life of one instance: start the process, wait until it listens, watch it, end it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::ids::InstanceId;
use model::journal::{Severity, Stream, Turn};
use model::pool::{Endpoint, Instance, Lifecycle};
use model::rpc::{Door, Residents, Stay};
use model::sched::{Event, Serial};
use model::table::Version;
use rustix::process::Signal;
use sandbox::Plan;
use sandbox::limits::Group;
use tokio::sync::oneshot;

use crate::container::{self, Container};
use crate::fleet::House;
use crate::lifecycle;
use crate::meter;
use crate::output::{self, Source, Tail};
use crate::pool::{Deployment, VersionPool};
use crate::prepare::Launch;
use crate::process::Process;
use crate::process_env;
use crate::spawn::Spec;
use crate::walls::{self, Scratch};

/// How long the pipes may stay open after the process is gone before its last lines are taken as they are.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long it is waited for the end of a process whose pipes or socket have closed: they close a moment before it counts as ended.
const LAST_LOOK: Duration = Duration::from_millis(5);

/// Which instance, of what, and what it is asked first.
pub(crate) struct Birth {
    pub(crate) serial: Serial,
    pub(crate) id: InstanceId,
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) hello: Option<Lifecycle>,
}

/// From start to end; the pool hears of each turn.
pub(crate) async fn live(pool: Arc<VersionPool>, birth: Birth, mut stop: oneshot::Receiver<Ending>) {
    let begun = Instant::now();
    let Birth { serial, id, deployment, hello } = birth;
    let why = match Running::start(&pool, serial, &id, &deployment).await {
        Err(why) => why,
        Ok(mut running) => {
            let ready = tokio::select! {
                ready = running.listening(pool.house.options.start_limit) => ready.map_err(Ended::Failed),
                ending = &mut stop => Err(Ended::Asked(ending.unwrap_or_default(), None)),
            };
            let ended = match ready {
                Ok(endpoint) => {
                    let instance =
                        Arc::new(Instance { serial: serial.0, id, version: pool.key.clone(), endpoint, door: running.calls(&deployment) });
                    if let Some(door) = &instance.door {
                        door.belongs_to(&instance);
                    }
                    let greeted = tokio::select! {
                        greeted = lifecycle::greet(&pool, &deployment.version, &instance, hello) => greeted.map_err(Ended::Failed),
                        status = running.process.wait() => Err(Ended::Died(status)),
                        ending = &mut stop => Err(Ended::Asked(ending.unwrap_or_default(), Some(Arc::clone(&instance)))),
                    };
                    match greeted {
                        Ok(()) => {
                            pool.house.journal.turn(&pool.key, Turn::Ready { after: begun.elapsed() });
                            pool.note(Severity::Info, format!("instance {} is ready after {:.0?}", instance.id, begun.elapsed()));
                            pool.ready(Arc::clone(&instance));
                            tokio::select! {
                                status = running.process.wait() => Ended::Died(status),
                                ending = &mut stop => match running.gone().await {
                                    Some(status) => Ended::Unheard(status, instance),
                                    None => Ended::Asked(ending.unwrap_or_default(), Some(instance)),
                                },
                            }
                        }
                        Err(ended) => ended,
                    }
                }
                Err(ended) => ended,
            };
            if running.starved() {
                // The kernel was quicker than the meter: the scheduler still has to say why, even if it has given the instance up meanwhile.
                let cpu = running.group.as_ref().map(|group| group.usage().cpu).unwrap_or_default();
                pool.tell(Event::Sample { instance: serial, cpu, memory: meter::beyond(&pool) });
            }
            running.end(ended, &pool, &deployment.version).await
        }
    };
    tracing::debug!(version = %pool.key, serial = serial.0, lived = ?begun.elapsed(), why = why.lines().next(), "an instance ended");
    pool.exited(serial, why);
}

/// How an instance is told to end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ending {
    /// It is asked for `/_ah/stop` first.
    pub(crate) farewell: bool,
    /// How long all of it may take.
    pub(crate) grace: Duration,
}

/// Why an instance ends.
enum Ended {
    /// By itself.
    Died(io::Result<ExitStatus>),
    /// By itself, but the scheduler had given it up before it heard of that: broken connections came first.
    Unheard(io::Result<ExitStatus>, Arc<Instance>),
    /// It never took requests.
    Failed(String),
    /// It was told to; the instance is known once it listens.
    Asked(Ending, Option<Arc<Instance>>),
}

/// A process and what it holds.
struct Running {
    process: Process,
    listens: Listens,
    tail: Tail,
    readers: Vec<tokio::task::JoinHandle<()>>,
    /// In which it is limited and measured.
    group: Option<Arc<Group>>,
    _port: Option<Port>,
    container: Option<Container>,
    door: Option<Arc<dyn Door>>,
    /// Where it counts as at home.
    _stays: Vec<Stay>,
    _scratch: Option<Scratch>,
}

/// How the front end reaches it.
enum Listens {
    /// From the first moment: the socket was bound for it.
    Socket(PathBuf),
    /// As soon as somebody listens there.
    Port(u16),
}

impl Running {
    async fn start(pool: &Arc<VersionPool>, serial: Serial, id: &InstanceId, deployment: &Deployment) -> Result<Self, String> {
        let house = &pool.house;
        let cannot = |what: &str, error: io::Error| format!("{what}: {error}");
        let folder = deployment.folder();
        if !folder.is_dir() {
            return Err(format!("{} is gone; the cache must not be emptied while an app runs. Start again", folder.display()));
        }
        let home = process_env::home(house, deployment);
        std::fs::create_dir_all(&home).map_err(|e| cannot("cannot make the folder for HOME", e))?;
        let (listens, stdin, port) = match &deployment.prepared.launch {
            Launch::Agent(_) => {
                let (path, socket) = house.socket(serial).map_err(|e| cannot("cannot make the instance's socket", e))?;
                (Listens::Socket(path), Some(socket), None)
            }
            Launch::Command(_) => {
                let port = house.ports.take().map_err(|e| cannot("no free port", e))?;
                (Listens::Port(port.number), None, Some(port))
            }
            Launch::None => return Err("this version runs no code".into()),
        };
        let group = walls::group(house, deployment, &house.mark(serial)).map(Arc::new);
        if let Err(error) = &group {
            pool.note(Severity::Warning, format!("instance {id} runs without limits: {error}"));
        }
        let group = group.ok();
        let scratch =
            house.ground.scratch(&house.mark(serial), &home).map_err(|e| cannot("cannot make a folder for temporary files", e))?;
        let door = door(house, deployment, id)?;
        let newborn = Newborn { serial, id, deployment, group: group.as_deref(), door: door.as_ref().map(|door| door.address()) };
        let forked = match &stdin {
            Some(listener) => pool.nest.fork(pool, &newborn, listener).await,
            None => None,
        };
        let (mut process, container) = if let Some(process) = forked {
            (process, None)
        } else {
            let port = port.as_ref().map(|port| port.number);
            let born = newborn.spawn(house, stdin, port, scratch.as_ref()).await;
            born.map_err(|e| cannot("the process could not be started", e))?
        };
        let groups = group.as_ref().map(|group| group.doors()).unwrap_or_default();
        let residents = Residents { instance: id.clone(), pid: process.pid(), groups };
        let stays = door.iter().chain(process.origin_door()).map(|door| Stay::new(door, residents.clone())).collect();
        let tail = Tail::default();
        let source = Source::new(pool.key.clone(), id.clone(), Arc::clone(&house.journal), tail.clone());
        let mut readers = Vec::new();
        readers.extend(process.stdout.take().map(|pipe| tokio::spawn(output::read(pipe, Arc::clone(&source), Stream::Stdout))));
        readers.extend(process.stderr.take().map(|pipe| tokio::spawn(output::read(pipe, source, Stream::Stderr))));
        if let Some(group) = &group {
            // The launcher has joined it already if there is something to join.
            if container.is_none() {
                let _ = group.add(process.pid());
            }
            house.meter.watch(pool, serial, group, pool.busy(serial));
        }
        Ok(Self { process, listens, tail, readers, group, _port: port, container, door, _stays: stays, _scratch: scratch })
    }

    /// The door for requests, which need tickets only if the version calls bundled services.
    fn calls(&self, deployment: &Deployment) -> Option<Arc<dyn Door>> {
        self.door.clone().filter(|_| deployment.version.config.app_engine_apis)
    }

    /// Waits until the front end may connect.
    async fn listening(&mut self, limit: Duration) -> Result<Endpoint, String> {
        let port = match &self.listens {
            Listens::Socket(path) => return Ok(Endpoint::Agent(path.clone())),
            Listens::Port(port) => *port,
        };
        let found = tokio::select! {
            found = tokio::time::timeout(limit, answering(port)) => found.ok(),
            status = self.process.wait() => {
                self.last_words().await;
                let how = status.map_or_else(|e| e.to_string(), describe);
                return Err(self.tail.after(&format!("the process ended before it listened on $PORT ({how})")));
            }
        };
        found.map(Endpoint::Http).ok_or_else(|| {
            let what = format!("nothing listened on $PORT ({port}) within {} s; the app must listen there", limit.as_secs());
            self.tail.after(&what)
        })
    }

    /// How the process ended, if it has. A moment is granted: what it held is closed before it counts as ended.
    async fn gone(&mut self) -> Option<io::Result<ExitStatus>> {
        tokio::time::timeout(LAST_LOOK, self.process.wait()).await.ok()
    }

    /// Brings the process and everything it started to an end, and says what happened.
    async fn end(mut self, ended: Ended, pool: &VersionPool, version: &Arc<Version>) -> String {
        let house = &pool.house;
        let mut force = house.force.subscribe();
        let why = match ended {
            Ended::Died(status) => {
                self.last_words().await;
                let how = self.how(status);
                self.tail.after(&how)
            }
            Ended::Unheard(status, instance) => {
                self.last_words().await;
                let how = self.how(status);
                pool.note(Severity::Error, format!("instance {} is gone: {how}", instance.id));
                self.tail.after(&how)
            }
            Ended::Failed(why) => why,
            Ended::Asked(Ending { farewell, grace }, instance) => {
                let until = tokio::time::Instant::now() + grace;
                let leave = async {
                    if let (true, Some(instance)) = (farewell, instance) {
                        tokio::select! {
                            () = lifecycle::part(house, version, &instance, grace) => {}
                            _ = self.process.wait() => {}
                        }
                    }
                    self.process.signal(Signal::TERM);
                    let _ = self.process.wait().await;
                };
                tokio::select! {
                    _ = tokio::time::timeout_at(until, leave) => {}
                    _ = force.wait_for(|&force| force) => {}
                }
                "stopped".into()
            }
        };
        self.process.signal(Signal::KILL);
        let _ = self.process.wait().await;
        let (pid, warden) = (self.process.pid(), Arc::clone(&house.warden));
        let (group, container) = (self.group.take(), self.container.take());
        // Looking through /proc for what left the group blocks for a millisecond or two.
        let _ = tokio::task::spawn_blocking(move || {
            if let Some(group) = &group {
                group.kill();
            }
            warden.end(pid);
            drop(container);
        })
        .await;
        if let Listens::Socket(path) = &self.listens {
            let _ = std::fs::remove_file(path);
        }
        self.last_words().await;
        why
    }

    /// How the process ended, for people.
    fn how(&self, status: io::Result<ExitStatus>) -> String {
        if self.starved() {
            return "ended by the kernel at the hard memory limit".into();
        }
        status.map_or_else(|e| e.to_string(), describe)
    }

    /// Whether the kernel has ended one of its processes because memory ran out.
    fn starved(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.oom_kills() > 0)
    }

    /// Waits a little for the pipes to run dry.
    async fn last_words(&mut self) {
        let readers = std::mem::take(&mut self.readers);
        let _ = tokio::time::timeout(LAST_WORDS, async {
            for reader in readers {
                let _ = reader.await;
            }
        })
        .await;
    }
}

/// Where the instance will ask for its metadata, and call bundled services.
pub(crate) fn door(house: &House, deployment: &Deployment, id: &InstanceId) -> Result<Option<Arc<dyn Door>>, String> {
    let doors = house.options.doors.as_ref();
    doors.map(|doors| doors.open(&deployment.version, id)).transpose()
}

/// An instance that is about to be.
pub(crate) struct Newborn<'a> {
    pub(crate) serial: Serial,
    pub(crate) id: &'a InstanceId,
    pub(crate) deployment: &'a Deployment,
    /// Where it is limited and measured.
    pub(crate) group: Option<&'a Group>,
    /// Where it calls bundled services.
    pub(crate) door: Option<SocketAddr>,
}

impl Newborn<'_> {
    /// Starts a process of its own for it, as opposed to one that a zygote forks.
    async fn spawn(
        &self,
        house: &House,
        stdin: Option<OwnedFd>,
        port: Option<u16>,
        scratch: Option<&Scratch>,
    ) -> io::Result<(Process, Option<Container>)> {
        let deployment = self.deployment;
        let (program, args) = command(&deployment.prepared.launch);
        let mut env = process_env::of(house, deployment, self.id, port);
        env.extend(scratch.map(Scratch::variable));
        env.extend(process_env::calls(self.deployment, self.door));
        let walls = walls::plan(house, deployment, port, self.group, scratch);
        let spec = Spec { program, args, env, dir: directory(deployment, walls.as_ref()), stdin, mark: house.mark(self.serial), walls };
        let (spec, container) = contained(house, spec, &process_env::home(house, deployment), self.group)?;
        Ok((house.spawner.spawn(spec).await?, container))
    }
}

/// Where a process is started. The house itself need not be able to enter the app's folder; the sandbox goes there by itself.
pub(crate) fn directory(deployment: &Deployment, walls: Option<&Plan>) -> PathBuf {
    if walls.is_some() { "/".into() } else { deployment.folder().to_owned() }
}

/// The same order for a container, if instances are containers.
fn contained(house: &House, mut spec: Spec, home: &Path, group: Option<&Group>) -> io::Result<(Spec, Option<Container>)> {
    let (Some(runtime), Some(plan)) = (house.ground.runtime(), spec.walls.take_if(|_| house.ground.runtime().is_some())) else {
        return Ok((spec, None));
    };
    if let Some(uid) = plan.uid {
        std::os::unix::fs::chown(home, Some(uid), Some(uid))?;
    }
    let cgroup = group.and_then(Group::place);
    let (spec, container) = container::enclose(house, runtime.to_owned(), spec, &plan, cgroup.as_deref())?;
    Ok((spec, Some(container)))
}

pub(crate) fn command(launch: &Launch) -> (OsString, Vec<OsString>) {
    match launch {
        Launch::Agent(agent) => (agent.python.clone().into(), vec![agent.folder.clone().into()]),
        Launch::Command(command) => ("/bin/sh".into(), vec!["-c".into(), as_one_process(&command.line).into()]),
        Launch::None => (OsString::new(), Vec::new()),
    }
}

/// A simple command replaces the shell, so that no process waits for it. Anything that the shell must interpret further is left as it is:
/// `exec cd site && node .` would fail.
fn as_one_process(line: &str) -> String {
    const BUILTINS: [&str; 12] = [".", "cd", "eval", "exec", "exit", "export", "if", "set", "source", "ulimit", "umask", "while"];
    let first = line.split_whitespace().next().unwrap_or_default();
    let compound = line.contains(['&', '|', ';', '<', '>', '(', ')', '{', '}', '\n', '`', '!']);
    if compound || first.contains('=') || BUILTINS.contains(&first) { line.to_owned() } else { format!("exec {line}") }
}

/// The address at which `port` accepts connections, tried more and more rarely. Node listens on `::1` alone if it was told `localhost`.
async fn answering(port: u16) -> SocketAddr {
    let mut pause = Duration::from_millis(1);
    loop {
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))] {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return address;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// How a process ended, for people.
pub(crate) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(127), _) => "exit status 127: command not found".into(),
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "killed by SIGKILL, perhaps because memory ran out".into(),
        (None, Some(11)) => "crashed with SIGSEGV".into(),
        (None, Some(6)) => "aborted with SIGABRT".into(),
        (None, Some(15)) => "ended by SIGTERM".into(),
        (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    }
}

impl House {
    /// A socket that listens already, for descriptor 0 of an agent.
    fn socket(&self, serial: Serial) -> io::Result<(PathBuf, OwnedFd)> {
        let path = self.run_dir.join(format!("{:x}", serial.0));
        let listener = UnixListener::bind(&path)?;
        Ok((path, listener.into()))
    }
}

/// Ports that were handed out and may not be listened on yet, so that two instances that start together do not get the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports(Arc<Mutex<BTreeSet<u16>>>);

/// A port in use by one instance.
pub(crate) struct Port {
    number: u16,
    all: Ports,
}

impl Ports {
    fn take(&self) -> io::Result<Port> {
        for _ in 0..100 {
            let number = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
                return Ok(Port { number, all: self.clone() });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_simple_commands_replace_the_shell() {
        assert_eq!(as_one_process("gunicorn -b :$PORT main:app"), "exec gunicorn -b :$PORT main:app");
        for line in ["cd site && node .", "PORT=1 node .", "cd x", "a; b", "export A=1"] {
            assert_eq!(as_one_process(line), line);
        }
    }
}
