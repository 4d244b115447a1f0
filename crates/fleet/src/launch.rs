//! What our own binary does when it is started as a launcher or as the warden, before it is anything else.
//!
//! `std` offers no safe hook between fork and exec, so every child starts as our own binary, which arranges its surroundings (session, parent
//! death signal, limits) through safe system calls and then *becomes* the real command by exec: no process stays, at the cost of one more exec
//! (docs/decisions/030-launcher-and-warden.md).

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Resource, Rlimit, Signal};

use sandbox::Plan;

use crate::warden;

/// First argument of a launcher: `__launch PARENT -- COMMAND ARG…`.
pub(crate) const LAUNCH: &str = "__launch";
/// First argument of the warden: `__warden DIR`.
pub(crate) const WARDEN: &str = "__warden";
/// First argument of the process that finds out which walls can be built: `__probe`.
pub(crate) const PROBE: &str = "__probe";
/// First argument of the first process of a container: `__init COMMAND ARG…`.
pub(crate) const INIT: &str = "__init";
/// Our own binary. Not a path that an upgrade might replace while we run.
pub(crate) const LAUNCHER: &str = "/proc/self/exe";
/// The variable that says that the command is a container runtime.
pub(crate) const CONTAINER: &str = "ENGINEHOUSE_CONTAINER";
/// The variable with the plan of the walls, for the launcher's eyes only.
pub(crate) const WALLS: &str = "ENGINEHOUSE_WALLS";

/// Most open files of an instance. Not the hard limit, which may be a million: Python 2.7's `subprocess` closes each possible one.
const OPEN_FILES: u64 = 8_192;

/// Acts as launcher or warden if the arguments say so. `main` calls this before anything else and returns the code if there is one.
pub fn intercept() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let role = args.next()?;
    if role == LAUNCH {
        Some(launch(args))
    } else if role == WARDEN {
        warden::keep(args.next().as_deref());
        Some(ExitCode::SUCCESS)
    } else if role == INIT {
        Some(sandbox::oci::attend(args))
    } else if role == PROBE {
        Some(sandbox::probe::print())
    } else {
        None
    }
}

/// Arranges the surroundings and becomes the command. Returns only if that failed.
fn launch(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = args.next();
    let Some(program) = args.nth(1) else { return ExitCode::from(2) };
    if arrange(parent.as_deref()).is_none() {
        return ExitCode::from(1);
    }
    match std::env::var(WALLS).ok().map(|text| serde_json::from_str::<Plan>(&text)) {
        None => {}
        Some(Ok(plan)) => return sandbox::enter(&plan, &program, args, WALLS),
        Some(Err(error)) => {
            say(&format!("the plan of the sandbox cannot be read: {error}"));
            return ExitCode::from(1);
        }
    }
    if std::env::var_os(CONTAINER).is_some() {
        sandbox::oci::offer_input();
    }
    let error = Command::new(&program).args(args).exec();
    say(&format!("{}: {}", program.display(), plainly(&error)));
    ExitCode::from(127)
}

/// `None` if the house is gone already.
fn arrange(parent: Option<&OsStr>) -> Option<()> {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The house may have died before the signal was ordered; then nobody would ever send it.
    let expected: i32 = parent?.to_str()?.parse().ok()?;
    if rustix::process::getppid().map(Pid::as_raw_nonzero).map(i32::from) != Some(expected) {
        return None;
    }
    // From here on this process leads its own session: Ctrl-C at the terminal reaches the house alone, and the house can end all of it.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_no_new_privs(true);
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let files = rustix::process::getrlimit(Resource::Nofile);
    let current = Some(files.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES)));
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current, maximum: files.maximum });
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Some(())
}

fn plainly(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "command not found".into(),
        std::io::ErrorKind::PermissionDenied => "not executable".into(),
        _ => error.to_string(),
    }
}

/// To stderr, which the house reads as the instance's output.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}
