//! The warden: one small process that outlives the house by a moment, so that nothing of it is left behind even if the house is killed.
//!
//! The parent death signal reaches only direct children; what *they* started (gunicorn's workers, `npm`'s node) would go on. The house tells the
//! warden through a pipe which sessions exist, the pipe ends with the house, and the warden then kills what is left.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal};

use crate::launch::WARDEN;

/// The variable that marks every process of an instance, so that even those that left its session are found.
pub(crate) const MARK: &str = "ENGINEHOUSE_INSTANCE";

/// The house's end of the pipe, and its own list of sessions.
#[derive(Debug)]
pub(crate) struct Warden {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    child: Child,
    pipe: Option<ChildStdin>,
    sessions: BTreeMap<i32, String>,
}

impl Warden {
    /// Starts the process. `dir` is removed by it at the end.
    pub(crate) fn start(launcher: &Path, dir: &Path) -> io::Result<Self> {
        let mut child = Command::new(launcher)
            .arg0("enginehouse")
            .arg(WARDEN)
            .arg(dir)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { inner: Mutex::new(Inner { child, pipe, sessions: BTreeMap::new() }) })
    }

    /// A session was started whose processes carry `mark`.
    pub(crate) fn watch(&self, leader: u32, mark: &str) {
        let Ok(leader) = i32::try_from(leader) else { return };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sessions.insert(leader, mark.to_owned());
        inner.tell(&format!("+{leader} {mark}\n"));
    }

    /// The session's leader is gone: ends the rest of it.
    pub(crate) fn end(&self, leader: u32) {
        let Ok(leader) = i32::try_from(leader) else { return };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mark) = inner.sessions.remove(&leader) else { return };
        sweep(&BTreeMap::from([(leader, mark)]));
        inner.tell(&format!("-{leader}\n"));
    }

    /// Ends the sessions with this mark; who waits for their leaders strikes them off.
    pub(crate) fn end_marked(&self, mark: &str) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        sweep(&inner.sessions.iter().filter(|(_, marked)| *marked == mark).map(|(leader, mark)| (*leader, mark.clone())).collect());
    }

    /// Ends every session now, and the warden itself: when this returns, no process of the house is left.
    pub(crate) fn dismiss(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        sweep(&inner.sessions);
        inner.pipe = None;
        let _ = inner.child.wait();
    }
}

impl Inner {
    fn tell(&mut self, line: &str) {
        // A warden that somebody killed is no reason to stop: the house still ends its sessions itself.
        let written = self.pipe.as_mut().map(|pipe| pipe.write_all(line.as_bytes()));
        if matches!(written, Some(Err(_))) {
            self.pipe = None;
        }
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// The warden's whole life: reads sessions until the house is gone, then ends those that are left and removes the sockets' directory.
pub(crate) fn keep(dir: Option<&OsStr>) {
    // Out of the terminal's reach: Ctrl-C is for the house.
    let _ = rustix::process::setsid();
    let mut sessions = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line.split_at_checked(1) {
            Some(("+", rest)) => {
                if let Some((leader, mark)) = rest.split_once(' ')
                    && let Ok(leader) = leader.parse::<i32>()
                {
                    sessions.insert(leader, mark.to_owned());
                }
            }
            Some(("-", rest)) => {
                rest.parse::<i32>().ok().and_then(|leader| sessions.remove(&leader));
            }
            _ => {}
        }
    }
    sweep(&sessions);
    if let Some(dir) = dir {
        let _ = std::fs::remove_dir_all(PathBuf::from(dir));
    }
}

/// Kills every process of the sessions: the groups first, then whoever left the group but not the session, then whoever carries the mark.
/// Repeats until a look around finds nobody, because a process may fork between the look and the kill.
fn sweep(sessions: &BTreeMap<i32, String>) {
    if sessions.is_empty() {
        return;
    }
    for leader in sessions.keys() {
        if let Some(group) = Pid::from_raw(*leader) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
    for _ in 0..10 {
        let left = stragglers(sessions);
        if left.is_empty() {
            return;
        }
        for pid in left {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::yield_now();
    }
}

fn stragglers(sessions: &BTreeMap<i32, String>) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| belongs(pid, sessions)).filter_map(Pid::from_raw).collect()
}

fn belongs(pid: i32, sessions: &BTreeMap<i32, String>) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // `pid (name) state ppid pgrp session …`; the name may contain anything, so what counts follows the last `)`.
    let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let state = fields.next().unwrap_or_default();
    if matches!(state, "Z" | "X" | "") {
        return false;
    }
    let session = fields.nth(2).and_then(|field| field.parse::<i32>().ok());
    if session.is_some_and(|session| sessions.contains_key(&session)) {
        return true;
    }
    let Ok(environ) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
    let mut variables = environ.split(|&byte| byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='));
    variables.any(|(name, value)| name == MARK && sessions.values().any(|mark| mark == value))
}
