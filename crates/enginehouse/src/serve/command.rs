//! `enginehouse reload` and `enginehouse upgrade`: signals for the server that has a data folder.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use super::args::folder;
use crate::ui::{GREEN, Ui};

/// How long a new process may take: it starts instances before it takes over.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often the lock is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// `enginehouse reload`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "EXIT STATUS\n    0  the server was told\n    1  no server has the folder\n    2  wrong usage")]
pub(crate) struct Reload {
    /// The server's data folder [default: $STATE_DIRECTORY, or a folder in the user's state directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What the server tells of its inside from now on, on its standard error: off, debug, or fleet=trace,edge=debug; an empty text leaves that
    /// to ENGINEHOUSE_LOG again
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    log: Option<String>,
}

/// Reads a filter, of which its own text is kept.
fn filter(text: &str) -> Result<String, String> {
    crate::inside::read(text).map(|_| text.trim().to_owned())
}

/// `enginehouse upgrade`
#[derive(Debug, Clone, Args)]
#[command(
    after_long_help = "Put the new binary in the place of the old one first. If the new process does not come up, the old one goes on.\n\nEXIT STATUS\n    0  the new process has taken over\n    1  it has not; the server's log says why\n    2  wrong usage"
)]
pub(crate) struct Upgrade {
    /// The server's data folder [default: $STATE_DIRECTORY, or a folder in the user's state directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs `enginehouse reload`.
pub(crate) fn reload(ui: &Ui, asked: &Reload) -> ExitCode {
    told(ui, || {
        let dir = folder(asked.data.as_ref())?;
        let pid = master(&dir)?;
        if let Some(log) = &asked.log {
            let file = dir.join(crate::inside::FILE);
            std::fs::write(&file, format!("{log}\n")).with_context(|| format!("cannot write {}", file.display()))?;
        }
        kill_process(pid, Signal::HUP).with_context(|| format!("cannot signal process {}", pid.as_raw_nonzero()))?;
        Ok(format!("process {} reads its settings again", pid.as_raw_nonzero()))
    })
}

/// Runs `enginehouse upgrade`.
pub(crate) fn upgrade(ui: &Ui, asked: &Upgrade) -> ExitCode {
    told(ui, || {
        let dir = folder(asked.data.as_ref())?;
        let old = master(&dir)?;
        kill_process(old, Signal::USR2).with_context(|| format!("cannot signal process {}", old.as_raw_nonzero()))?;
        let task = ui.wait("a new process starts");
        let until = Instant::now() + PATIENCE;
        loop {
            // While the folder changes hands, nobody may have it for a moment.
            match master(&dir) {
                Ok(now) if now != old => {
                    drop(task);
                    return Ok(format!("process {} has taken over from {}", now.as_raw_nonzero(), old.as_raw_nonzero()));
                }
                _ if Instant::now() > until => bail!("process {} has not handed over; the server's log says why", old.as_raw_nonzero()),
                _ => std::thread::sleep(LOOK),
            }
        }
    })
}

fn told(ui: &Ui, act: impl FnOnce() -> anyhow::Result<String>) -> ExitCode {
    match act() {
        Ok(text) => {
            ui.status(&format!("{GREEN}{text}{GREEN:#}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            ui.error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The process that has a data folder.
fn master(dir: &Path) -> anyhow::Result<Pid> {
    let path = dir.join("lock");
    let nobody = || format!("no server runs on {}; say which with --data DIR", dir.display());
    let file = File::open(&path).with_context(nobody)?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        Ok(()) => bail!(nobody()),
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.trim().parse().ok().and_then(Pid::from_raw).with_context(nobody)
}
