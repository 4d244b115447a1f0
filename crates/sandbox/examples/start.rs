//! What the walls add to the start of a process (`/bin/echo`): `cargo run --release -p sandbox --example start [ROUNDS]`.
//!
//! One start of each kind in turn, so that whatever else the machine does meets them alike. Shown are the shortest and the middle time until the
//! program's first byte, and the CPU time of all processes that had a part in it, their end included.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use sandbox::probe::FIRST_UID;
use sandbox::{Bind, Births, Plan, Walls};

/// The variable with the plan, for the launcher's eyes only.
const PLAN: &str = "PLAN";
/// Forks and steps aside as instances do, and writes how long that took at best.
const ZYGOTE: &str = "
import os, sys, time
sys.path.insert(0, os.environ['AGENT'])
from enginehouse_agent import aside
for kind in ('a fork', 'a fork with its own /tmp'):
    times = []
    for _ in range(int(os.environ['ROUNDS'])):
        begun = time.time()
        pid = os.fork()
        if not pid:
            if kind != 'a fork':
                aside.step()
            os._exit(0)
        os.waitpid(pid, 0)
        times.append((time.time() - begun) * 1e3)
    times.sort()
    print('%-30s %8.2f %8.2f' % (kind, times[0], times[len(times) // 2]))
";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if let Ok(text) = std::env::var(PLAN) {
        let plan: Plan = serde_json::from_str(&text).expect("a plan");
        return sandbox::enter(&plan, &args.next().expect("a program"), args, PLAN);
    }
    let rounds = args.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(200);
    compare(rounds);
    births(rounds)
}

/// What one kind of start took.
#[derive(Default)]
struct Taken {
    times: Vec<Duration>,
    cpu_ms: f64,
}

fn compare(rounds: usize) {
    let only = |namespaces, landlock, seccomp| Some(Plan { walls: Walls { namespaces, landlock, seccomp }, ..plan() });
    let kinds = [
        ("no launcher", None),
        ("launcher without walls", only(false, false, false)),
        ("only namespaces", only(true, false, false)),
        ("only Landlock", only(false, true, false)),
        ("only seccomp", only(false, false, true)),
        ("every wall", only(true, true, true)),
    ];
    let mut taken: Vec<Taken> = kinds.iter().map(|_| Taken::default()).collect();
    for _ in 0..rounds {
        for ((_, plan), taken) in kinds.iter().zip(&mut taken) {
            let cpu = cpu_of_children();
            taken.times.push(start(plan.as_ref()));
            taken.cpu_ms += cpu_of_children() - cpu;
        }
    }
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{:30} {:>8} {:>8} {:>8}", "", "min ms", "median", "CPU ms");
    for ((name, _), mut taken) in kinds.into_iter().zip(taken) {
        taken.times.sort();
        let ms = |index: usize| taken.times[index].as_secs_f64() * 1e3;
        let cpu = taken.cpu_ms / f64::from(u32::try_from(rounds).unwrap_or(1));
        let _ = writeln!(out, "{name:30} {:8.2} {:8.2} {cpu:8.2}", ms(0), ms(rounds / 2));
    }
}

fn births(rounds: usize) -> ExitCode {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes/python").canonicalize().expect("the agent");
    let zygote = Plan {
        births: Some(Births { tmp_bytes: 384 << 20, processes: Some(512) }),
        linger: true,
        binds: vec![Bind::shown_at(&agent, &agent)],
        ..plan()
    };
    let mut command = command(&zygote);
    command.args(["/usr/bin/python3", "-c", ZYGOTE]).env("AGENT", agent).env("ROUNDS", rounds.to_string());
    let status = command.env("PYTHONDONTWRITEBYTECODE", "1").status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plan() -> Plan {
    Plan {
        walls: Walls { namespaces: true, landlock: true, seccomp: true },
        uid: rustix::process::geteuid().is_root().then_some(FIRST_UID),
        binds: Vec::new(),
        dir: PathBuf::from("/"),
        home: PathBuf::from("/tmp"),
        port: Some(8080),
        tmp_bytes: 384 << 20,
        processes: Some(512),
        data_bytes: None,
        groups: Vec::new(),
        keep: Vec::new(),
        linger: false,
        hosts: Vec::new(),
        births: None,
    }
}

/// This program as a launcher.
fn command(plan: &Plan) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.env(PLAN, serde_json::to_string(plan).expect("JSON"));
    command
}

/// How long one start took, to the first byte.
fn start(plan: Option<&Plan>) -> Duration {
    let mut command = match plan {
        None => Command::new("/bin/echo"),
        Some(plan) => {
            let mut command = command(plan);
            command.arg("/bin/echo");
            command
        }
    };
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut byte = [0];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("a byte");
    let taken = begun.elapsed();
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}");
    taken
}

/// Milliseconds of CPU of all processes that were waited for. The kernel shows whole ticks, whose errors cancel out over many starts.
fn cpu_of_children() -> f64 {
    const TICK_MS: f64 = 10.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(13) + ticks(14)) * TICK_MS
}
