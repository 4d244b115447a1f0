//! The two stubs that stay: outside the namespaces the *keeper*, which the house knows and signals; inside them the first process, which passes
//! signals on and waits for orphans, as the first process of any system must.

use std::ffi::c_int;
use std::io::{Read as _, Write as _};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::sys::{self, Signals};

/// Passed on to the app.
const PASSED_ON: [c_int; 8] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCONT, libc::SIGWINCH];

/// What both stubs wait for.
pub(crate) fn signals() -> Signals {
    let mut all = vec![libc::SIGCHLD];
    all.extend(PASSED_ON);
    Signals::of(&all)
}

/// Waits for the first process inside, passing signals on to it, and ends as the app ended.
pub(crate) fn keep(inside: Pid, heard: OwnedFd) -> ExitCode {
    let signals = signals();
    let status = loop {
        let signal = signals.wait();
        if signal != libc::SIGCHLD {
            pass_on(signal, |signal| rustix::process::kill_process(inside, signal));
        } else if let Ok(Some((_, status))) = rustix::process::waitpid(Some(inside), WaitOptions::NOHANG) {
            break status;
        }
    };
    let mut told = [0; 4];
    // Nothing is told if the first process itself was killed.
    let raw = std::fs::File::from(heard).read_exact(&mut told).map_or(status.as_raw(), |()| i32::from_ne_bytes(told));
    end_as(ExitStatus::from_raw(raw))
}

/// Lets go of what only the app should hold: a socket that a stub holds too looks alive when the app is dead.
pub(crate) fn let_go(keep: &[RawFd]) {
    if let Ok(null) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    for &descriptor in keep {
        sys::close(descriptor);
    }
}

/// Whether the keeper is gone already: nobody reads the pipe.
pub(crate) fn is_orphan(told: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(told, PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut asked, Some(&now)).is_ok() && asked[0].revents().contains(PollFlags::ERR)
}

/// The first process's whole life: waits for `app`, or for everybody whom it leaves behind if they shall `linger`. When it returns, the kernel
/// ends everything inside.
pub(crate) fn attend(app: Pid, told: &OwnedFd, linger: bool) -> ExitCode {
    outlive(app, linger, |status| {
        let _ = rustix::io::write(told, &status.to_ne_bytes());
    });
    ExitCode::SUCCESS
}

/// The same without a keeper that could be told: a signal ends as shells report it.
pub(crate) fn attend_alone(app: Pid) -> ExitCode {
    let mut raw = 0;
    outlive(app, false, |status| raw = status);
    let status = ExitStatus::from_raw(raw);
    let code = status.code().or_else(|| Some(128 + status.signal()?)).and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

/// Passes signals on and waits for orphans until the app ends, or until nobody is left; `ended` hears how the app ended.
fn outlive(app: Pid, linger: bool, mut ended: impl FnMut(i32)) {
    let signals = signals();
    loop {
        let signal = signals.wait();
        if signal != libc::SIGCHLD {
            // The app leads a group of its own, unless it has not come that far or has moved on.
            pass_on(signal, |signal| {
                rustix::process::kill_process_group(app, signal).or_else(|_| rustix::process::kill_process(app, signal))
            });
            continue;
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((child, status))) if child == app => {
                    ended(status.as_raw());
                    if !linger {
                        return;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                // Nobody is left.
                Err(_) => return,
            }
        }
    }
}

fn pass_on(signal: c_int, send: impl FnOnce(Signal) -> rustix::io::Result<()>) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        let _ = send(signal);
    }
}

/// Ends this process as another one ended.
fn end_as(status: ExitStatus) -> ExitCode {
    let _ = std::io::stderr().flush();
    let Some(signal) = status.signal() else {
        return ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
    };
    sys::reset(signal);
    Signals::of(&[]).block();
    if let Some(signal) = Signal::from_named_raw(signal) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
    // A signal that does not end a process; then as shells report it.
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}
