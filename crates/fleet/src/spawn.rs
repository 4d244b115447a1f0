//! Starting processes: every child of the house goes through here.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, mpsc};

use sandbox::Plan;
use tokio::sync::oneshot;

use crate::launch::{LAUNCH, WALLS};
use crate::process::Process;
use crate::warden::{MARK, Warden};

/// What to start.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    /// The whole environment; nothing of the house's own leaks.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) dir: PathBuf,
    /// Descriptor 0; `/dev/null` if absent.
    pub(crate) stdin: Option<OwnedFd>,
    /// Marks every process of the instance.
    pub(crate) mark: String,
    /// The walls around it; none for what works on the house's own behalf.
    pub(crate) walls: Option<Plan>,
}

impl Spec {
    /// The command that starts the launcher, which then becomes the program.
    pub(crate) fn command(self, launcher: &Path) -> std::process::Command {
        let mut command = std::process::Command::new(launcher);
        command.arg0("enginehouse").arg(LAUNCH).arg(std::process::id().to_string()).arg("--").arg(self.program).args(self.args);
        command.env_clear().envs(self.env).env(MARK, &self.mark).current_dir(self.dir);
        // A plan is plain data; it always has a text.
        if let Some(plan) = self.walls.and_then(|plan| serde_json::to_string(&plan).ok()) {
            command.env(WALLS, plan);
        }
        command.stdin(self.stdin.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

struct Job {
    spec: Spec,
    reply: oneshot::Sender<io::Result<Process>>,
}

/// A thread that starts processes. It must live as long as they do: the kernel sends the parent death signal when the *thread* that forked ends,
/// so a worker of a pool would take its instances along when it is retired.
#[derive(Debug)]
pub(crate) struct Spawner {
    jobs: mpsc::Sender<Job>,
}

impl Spawner {
    pub(crate) fn start(launcher: PathBuf, warden: Arc<Warden>, runtime: tokio::runtime::Handle) -> io::Result<Self> {
        let (jobs, orders) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("fleet-spawner".into()).spawn(move || {
            let _context = runtime.enter();
            for Job { spec, reply } in orders {
                let _ = reply.send(spawn(spec, &launcher, &warden));
            }
        })?;
        Ok(Self { jobs })
    }

    pub(crate) async fn spawn(&self, spec: Spec) -> io::Result<Process> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the house is closing");
        self.jobs.send(Job { spec, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn spawn(spec: Spec, launcher: &Path, warden: &Warden) -> io::Result<Process> {
    let mark = spec.mark.clone();
    let (program, folder) = (spec.program.clone(), spec.dir.clone());
    let child = tokio::process::Command::from(spec.command(launcher)).spawn()?;
    tracing::debug!(?program, ?folder, mark, pid = child.id(), "a process was started");
    if let Some(pid) = child.id() {
        warden.watch(pid, &mark);
    }
    Ok(Process::spawned(child))
}
