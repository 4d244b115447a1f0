//! The launcher's way in: builds the walls around itself and becomes the instance.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, Signal};

use crate::plan::Plan;
use crate::sys::{self, Side};
use crate::view::{self, At as _, Owners, Result};
use crate::{birth, filter, init, rules, user};

/// What the launcher becomes.
pub(crate) struct Order<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) command: Command,
    /// Shown when the command cannot be found.
    pub(crate) program: &'a OsStr,
    /// The way to whom the command's children call.
    pub(crate) midwife: Option<UnixStream>,
}

/// Exit code when a wall could not be built; the reason is on stderr.
const NO_WALL: u8 = 126;

/// Builds the walls of `plan` and becomes `program`, or its keeper. Returns when the program has ended, or could not be started.
///
/// Must be called by a process with a single thread, early in its life. `hidden` is a variable that the program does not see.
pub fn enter(plan: &Plan, program: &OsStr, args: impl IntoIterator<Item = OsString>, hidden: &str) -> ExitCode {
    let mut command = Command::new(program);
    command.args(args).env_remove(hidden);
    let order = Order { plan, command, program, midwife: None };
    let ended = join_groups(plan).and_then(|()| if plan.walls.namespaces { within(order) } else { become_command(order, own_ids(plan)) });
    match ended {
        Ok(code) => code,
        Err(why) => {
            say(&format!("the sandbox could not be made: {why}"));
            ExitCode::from(NO_WALL)
        }
    }
}

/// The ids of the instance.
pub(crate) fn own_ids(plan: &Plan) -> (u32, u32) {
    match plan.uid {
        Some(uid) => (uid, uid),
        None => (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()),
    }
}

/// Everything that is started from here on is counted.
fn join_groups(plan: &Plan) -> Result<()> {
    for file in &plan.groups {
        std::fs::write(file, "0").at(|| format!("joining {}", file.display()))?;
    }
    Ok(())
}

/// Forks into new namespaces; the parent keeps watch.
fn within(mut order: Order<'_>) -> Result<ExitCode> {
    let who = own_ids(order.plan);
    let owners = if order.plan.uid.is_some() { owners(order.plan, who) } else { Owners::default() };
    let (heard, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(|| "making a pipe".into())?;
    let mut zygote = None;
    if order.plan.births.is_some() && order.plan.walls.seccomp {
        let (ours, theirs) = UnixStream::pair().at(|| "making a socket".into())?;
        (zygote, order.midwife) = (Some(ours), Some(theirs));
    }
    // From here on signals wait until somebody asks for them.
    init::signals().block();
    match sys::fork(flags(order.plan)).at(|| "making namespaces".into())? {
        Side::Parent(child) => {
            drop((told, order.midwife));
            init::let_go(&order.plan.keep);
            if let Some(zygote) = zygote {
                attend_births(&zygote, order.plan, who)?;
            }
            Ok(init::keep(child, heard))
        }
        Side::Child => {
            drop((heard, zygote));
            first(order, who, &owners, told)
        }
    }
}

/// Starts the midwife beside the keeper, with whom she ends.
fn attend_births(zygote: &UnixStream, plan: &Plan, who: (u32, u32)) -> Result<()> {
    let keeper = rustix::process::getpid();
    if let Side::Child = sys::fork(0).at(|| "starting the midwife".into())? {
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        if rustix::process::getppid() == Some(keeper) {
            birth::serve(zygote, plan, who);
        }
        sys::exit(0);
    }
    Ok(())
}

/// What belongs to the owners of the app's files is shown as the instance's own. Where that cannot be done the files' modes decide.
fn owners(plan: &Plan, who: (u32, u32)) -> Owners {
    let mut owners = Owners::default();
    for source in plan.binds.iter().filter(|bind| bind.owned).map(|bind| &bind.source) {
        if let Some(ids) = view::owner_of(source)
            && ids.0 != who.0
            && !owners.contains_key(&ids)
            && let Ok(namespace) = user::ownership(ids, who)
        {
            owners.insert(ids, namespace);
        }
    }
    owners
}

/// The first process of the new namespaces: arranges them, starts the command, and stays to wait for it.
fn first(mut order: Order<'_>, who: (u32, u32), owners: &Owners, told: OwnedFd) -> Result<ExitCode> {
    furnish(order.plan, who, owners)?;
    // Only now: a change of user cancels it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(|| "ordering the end".into())?;
    if init::is_orphan(&told) {
        return Ok(ExitCode::FAILURE);
    }
    match sys::fork(0).at(|| "starting the command".into())? {
        Side::Parent(app) => {
            drop(order.midwife.take());
            init::let_go(&order.plan.keep);
            Ok(init::attend(app, &told, order.plan.linger))
        }
        Side::Child => {
            drop(told);
            let _ = rustix::process::setsid();
            become_command(order, who)
        }
    }
}

/// Makes the new namespaces a home: what is seen, who it is, and no rights to change either.
pub(crate) fn furnish(plan: &Plan, who: (u32, u32), owners: &Owners) -> Result<()> {
    if plan.uid.is_none() {
        user::map(std::path::Path::new("/proc/self"), who, who).at(|| "mapping the user".into())?;
    }
    view::build(plan, who, owners)?;
    rustix::system::sethostname(b"localhost").at(|| "naming the host".into())?;
    if let Some(uid) = plan.uid {
        user::own_pipes(uid);
        user::become_user(uid).at(|| format!("becoming user {uid}"))?;
        user::own_namespace(uid).at(|| "making a user namespace".into())?;
    }
    user::drop_capabilities().at(|| "giving up capabilities".into())
}

/// The namespaces of an instance.
pub(crate) fn flags(plan: &Plan) -> i32 {
    let own = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    if plan.uid.is_none() { own | libc::CLONE_NEWUSER } else { own }
}

/// The last steps, and the command itself. Returns only if that failed.
fn become_command(mut order: Order<'_>, who: (u32, u32)) -> Result<ExitCode> {
    let plan = order.plan;
    if !plan.walls.namespaces {
        if plan.uid.is_some() {
            user::become_user(who.0).at(|| format!("becoming user {}", who.0))?;
        }
        user::drop_capabilities().at(|| "giving up capabilities".into())?;
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    }
    limit(plan);
    rustix::process::chdir(&plan.dir).at(|| format!("entering {}", plan.dir.display()))?;
    sys::close_others(&plan.keep).at(|| "closing descriptors".into())?;
    rustix::thread::set_no_new_privs(true).at(|| "giving up new rights".into())?;
    if plan.walls.landlock {
        rules::restrict(plan)?;
    }
    if plan.walls.seccomp {
        if let Some(midwife) = &order.midwife {
            birth::announce(midwife)?;
        }
        filter::install(order.midwife.is_some())?;
    }
    sys::Signals::of(&[]).block();
    let error = order.command.exec();
    say(&format!("{}: {}", order.program.display(), plainly(&error)));
    Ok(ExitCode::from(127))
}

/// Limits of a process. Each is a wish: where the house may not set one, what the house has holds.
fn limit(plan: &Plan) {
    let set = |resource, most: u64| {
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        let _ = rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    };
    if let Some(most) = plan.processes {
        set(Resource::Nproc, most);
    }
    if let Some(most) = plan.data_bytes {
        set(Resource::Data, most);
    }
    // If the whole machine runs out of memory, instances go before the house.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

fn plainly(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "command not found".into(),
        std::io::ErrorKind::PermissionDenied => "not executable".into(),
        _ => error.to_string(),
    }
}

/// To stderr, which the house reads as the instance's output.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
