//! Tries the limits of whatever this machine offers, and says how it went: `cargo run -p sandbox --example limits`. Meant for machines that
//! cannot run the tests, such as a virtual one with nothing but a kernel of the other cgroup version (docs/decisions/261-cgroup2-machine.md).

use std::io::Write as _;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox::limits::{Allowance, Group, Limits};

/// Long enough for an emulated processor.
const PATIENCE: Duration = Duration::from_mins(2);

fn main() -> ExitCode {
    // What the limited process does is this program again, in the group before it begins.
    let mut args = std::env::args().skip(1);
    if let (Some(deed), Some(doors)) = (args.next(), args.next()) {
        for door in doors.split(':') {
            std::fs::write(door, "0").expect("the group lets it in");
        }
        return act(&deed);
    }
    let limits = Arc::new(Limits::find(false));
    tell(&format!("limits by {:?}", limits.means()));
    let mut bad = 0;
    let mut check = |name: &str, how: Result<String, String>| {
        bad += u8::from(how.is_err());
        let (word, text) = how.map_or_else(|text| ("FAILED", text), |text| ("ok", text));
        tell(&format!("{word:6} {name}: {text}"));
    };
    let allowance = Allowance { memory: 64 << 20, mhz: 600, processes: 20 };
    let group = |name: &str| limits.group(name, &allowance).map_err(|error| error.to_string());
    check("memory", group("memory").and_then(|group| memory(&group)));
    check("usage", group("usage").and_then(|group| usage(&group)));
    check("processes", group("processes").and_then(|group| processes(&group)));
    check("kill", group("kill").and_then(|group| kill(&group)));
    let fast = Allowance { mhz: 2400, ..allowance };
    check("cpu", group("slow").and_then(|slow| limits.group("fast", &fast).map_err(|e| e.to_string()).and_then(|fast| cpu(&slow, &fast))));
    drop(limits);
    ExitCode::from(bad)
}

fn act(deed: &str) -> ExitCode {
    match deed {
        "hog" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1 << 20]);
            }
        }
        "hold" => {
            let held = std::hint::black_box(vec![1_u8; 32 << 20]);
            std::thread::sleep(PATIENCE);
            drop(held);
        }
        "fork" => {
            let born: Vec<Child> =
                std::iter::from_fn(|| Command::new("/proc/self/exe").args(["sleep", "/dev/null"]).spawn().ok()).take(100).collect();
            tell(&format!("{} processes", born.len()));
            let few = born.len() < 20;
            for mut one in born {
                let _ = one.kill();
                let _ = one.wait();
            }
            return ExitCode::from(u8::from(!few));
        }
        "spin" => loop {
            std::hint::spin_loop();
        },
        _ => std::thread::sleep(PATIENCE),
    }
    ExitCode::SUCCESS
}

fn start(deed: &str, group: &Group) -> Result<Child, String> {
    let doors: Vec<String> = group.doors().iter().map(|door| door.display().to_string()).collect();
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Command::new(own).args([deed, &doors.join(":")]).spawn().map_err(|error| error.to_string())
}

/// The kernel ends it at the limit, and says so.
fn memory(group: &Group) -> Result<String, String> {
    use std::os::unix::process::ExitStatusExt as _;
    let status = start("hog", group)?.wait().map_err(|error| error.to_string())?;
    let kills = group.oom_kills();
    let said = format!("ended with {status}, {kills} counted as out of memory");
    if status.signal() == Some(9) && kills > 0 { Ok(said) } else { Err(said) }
}

fn usage(group: &Group) -> Result<String, String> {
    let mut child = start("hold", group)?;
    let seen = eventually(|| (group.usage().memory >= 32 << 20).then(|| group.usage()));
    let _ = child.kill();
    let _ = child.wait();
    let seen = seen.ok_or("32 MB are never seen")?;
    let said = format!("{} MB, {} ms of CPU", seen.memory >> 20, seen.cpu.as_millis());
    if seen.memory < 48 << 20 { Ok(said) } else { Err(said) }
}

fn processes(group: &Group) -> Result<String, String> {
    let status = start("fork", group)?.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok("fewer than the limit of 20 could be started".into()) } else { Err(status.to_string()) }
}

fn kill(group: &Group) -> Result<String, String> {
    let mut child = start("sleep", group)?;
    let joined = || group.doors().iter().all(|door| std::fs::read_to_string(door).is_ok_and(|members| !members.is_empty()));
    eventually(|| joined().then_some(())).ok_or("it never joined")?;
    group.kill();
    eventually(|| child.try_wait().ok().flatten()).map(|status| status.to_string()).ok_or_else(|| "it lives".into())
}

/// Two that want all of one processor get it as 600 to 2400.
fn cpu(slow: &Group, fast: &Group) -> Result<String, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut children = Vec::new();
    for _ in 0..cores {
        children.push(start("spin", slow)?);
        children.push(start("spin", fast)?);
    }
    std::thread::sleep(Duration::from_secs(8));
    let (little, much) = (slow.usage().cpu.as_secs_f64(), fast.usage().cpu.as_secs_f64());
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    let said = format!("{little:.1} s to 600 MHz, {much:.1} s to 2400 MHz");
    if (2.5..6.0).contains(&(much / little)) { Ok(said) } else { Err(said) }
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    None
}

fn tell(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
