//! The walls around instances, one test for each, as whoever runs the tests and, if that is root, as an ordinary user too.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::Signal;
use serde_json::Value;
use testkit::process::resident;
use testkit::{App, Builder, Node, Python, Request, node::say};

use crate::apps::encode;

/// Tries what an intruder would try, and tells how it went.
const INTRUDER: &str = r"
import ctypes, errno, json, os, socket, subprocess, sys, tempfile, time

VERSION = '1'
KEPT = []
LIBC = ctypes.CDLL(None, use_errno=True)


def attempt(act):
    try:
        return {'done': True, 'value': act()}
    except OSError as error:
        return {'done': False, 'why': errno.errorcode.get(error.errno, str(error))}
    except Exception as error:
        return {'done': False, 'why': repr(error)}


def listen(port):
    with socket.socket() as s:
        s.bind(('127.0.0.1', port))


def call(number, *args):
    if LIBC.syscall(number, *args) < 0:
        raise OSError(ctypes.get_errno(), 'syscall')


def bomb():
    born = 0
    try:
        while born < 5000:
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
            born += 1
    except OSError:
        return born
    return born


def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for name in list(os.environ):
                del os.environ[name]
            os.execv(sys.executable, [sys.executable, '-c', 'import signal, time\nsignal.signal(15, 1)\nwhile True: time.sleep(60)'])
        os._exit(0)
    os.wait()


def hog():
    while True:
        KEPT.append(b'x' * (8 << 20))
        time.sleep(0.005)


def flood(megabytes):
    piece = (b'x' * 1023 + b'\n') * 64
    for _ in range(megabytes * 16):
        os.write(1, piece)


def fill(megabytes):
    with open('/tmp/full', 'wb') as file:
        for _ in range(megabytes):
            file.write(b'x' * (1 << 20))


def who():
    status = dict(line.split(':\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\t' in line)
    return {'uid': os.getuid(), 'caps': status['CapEff'].strip(), 'bounding': status['CapBnd'].strip(), 'nnp': status['NoNewPrivs'].strip(), 'seccomp': status['Seccomp'].strip(), 'home': os.environ['HOME'], 'pgid': os.getpgrp() == os.getpid(), 'port': os.environ.get('PORT')}


def files():
    found = {}
    for name in os.listdir('/proc/self/fd'):
        try:
            found[name] = os.readlink('/proc/self/fd/' + name)
        except OSError:
            pass
    return found


DEEDS = {
    'write': lambda path: open(path, 'a').close(),
    'read': lambda path: len(open(path, 'rb').read(100)),
    'list': os.listdir,
    'listen': lambda port: listen(int(port)),
    'processes': lambda _: [int(name) for name in os.listdir('/proc') if name.isdigit()],
    'kill': lambda pid: os.kill(int(pid), 9),
    'unshare': lambda flags: call(272, int(flags or '268435456')),
    'parent': lambda _: os.getppid(),
    'pid': lambda _: os.getpid(),
    'fill': lambda megabytes: fill(int(megabytes)),
    'room': lambda path: os.statvfs(path).f_blocks * os.statvfs(path).f_frsize,
    'ptrace': lambda _: call(101, 0, 0, 0, 0),
    'mount': lambda _: call(165, b'x', b'/tmp', b'tmpfs', 0, None),
    'clone3': lambda _: call(435, None, 0),
    'bomb': lambda _: bomb(),
    'daemon': lambda _: daemon(),
    'hog': lambda _: hog(),
    'flood': lambda megabytes: flood(int(megabytes)),
    'who': lambda _: who(),
    'files': lambda _: files(),
    'temporary': lambda _: tempfile.mkstemp()[1],
    'version': lambda _: VERSION,
}


def app(environ, start_response):
    name = environ['PATH_INFO'].strip('/')
    from urllib.parse import unquote
    answer = attempt(lambda: DEEDS[name](unquote(environ['QUERY_STRING'])))
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps(answer).encode()]
";

/// A user that exists nowhere else.
const NOBODY_ELSE: u32 = 61_001;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The binary where every user can start it.
pub(crate) fn binary() -> &'static str {
    static PLACE: OnceLock<String> = OnceLock::new();
    PLACE.get_or_init(|| {
        use std::os::unix::fs::PermissionsExt as _;
        let own = Path::new(env!("CARGO_BIN_EXE_enginehouse"));
        let open = |path: &Path| path.metadata().is_ok_and(|known| known.permissions().mode() & 0o1 == 1);
        if own.ancestors().all(open) {
            return own.display().to_string();
        }
        let place = std::env::temp_dir().join("enginehouse-under-test");
        std::fs::create_dir_all(&place).expect("a folder");
        let copy = place.join(format!("enginehouse-{}", std::process::id()));
        std::fs::copy(own, &copy).expect("copied");
        copy.display().to_string()
    })
}

fn intruder() -> App {
    App::with_yaml(&Python::Three.yaml("")).file("main.py", INTRUDER)
}

/// Runs a test as each user that it can be run as.
fn as_each(test: impl Fn(Builder)) {
    say("--- as the user of the tests");
    test(Builder::new(binary()));
    if is_root() {
        say("--- as an ordinary user");
        test(Builder::new(binary()).user(NOBODY_ELSE));
    }
}

/// Lets the app try something.
#[track_caller]
fn attempt(node: &Node, deed: &str, argument: impl std::fmt::Display) -> Value {
    node.get(&format!("/{deed}?{}", encode(&argument.to_string()))).expect(200).json()
}

/// It could not be done.
#[track_caller]
fn refused(node: &Node, deed: &str, argument: impl std::fmt::Display) -> String {
    let answer = attempt(node, deed, &argument);
    assert_eq!(answer["done"], false, "{deed} {argument}: {answer}\n{}", node.everything());
    answer["why"].as_str().unwrap_or_default().to_owned()
}

/// It could be done.
#[track_caller]
fn allowed(node: &Node, deed: &str, argument: impl std::fmt::Display) -> Value {
    let answer = attempt(node, deed, &argument);
    assert_eq!(answer["done"], true, "{deed} {argument}: {answer}\n{}", node.everything());
    answer["value"].clone()
}

/// Whether this machine can build a wall.
fn stands(wall: &str) -> bool {
    static REPORT: OnceLock<Value> = OnceLock::new();
    let report = REPORT.get_or_init(|| {
        let output = Builder::new(binary()).args(["doctor", "--format", "json"]).output();
        serde_json::from_str(&output.stdout).expect("JSON")
    });
    report["walls"].as_array().expect("a list").iter().any(|one| one["wall"] == wall && one["stands"] == true)
}

fn owners_home() -> PathBuf {
    std::env::home_dir().expect("a home")
}

#[test]
fn nothing_can_be_written_outside() {
    as_each(|builder| {
        let app = intruder();
        let other = tempfile::tempdir().expect("folder");
        let node = builder.app(&app).start();
        for path in ["/etc/x", "/usr/x", "/x", "/run/x", "/dev/x", "/proc/sys/kernel/hostname", "/opt/x"] {
            refused(&node, "write", path);
        }
        refused(&node, "write", app.join("x").display());
        refused(&node, "write", other.path().join("x").display());
        assert!(!app.join("x").exists() && std::fs::read_dir(other.path()).expect("folder").next().is_none());
        allowed(&node, "write", "/dev/null");
        let file = allowed(&node, "temporary", "");
        assert!(!Path::new(file.as_str().expect("a path")).exists(), "/tmp is the machine's");
        let home = allowed(&node, "who", "")["home"].as_str().expect("a path").to_owned();
        allowed(&node, "write", format!("{home}/x"));
    });
}

/// Lets one of several instances try something.
#[track_caller]
fn attempt_in(node: &Node, instance: u32, deed: &str, argument: &str) -> Value {
    let host = format!("{instance}.default.localhost");
    node.send(&Request::get(&format!("/{deed}?{}", encode(argument))).host(&host)).expect(200).json()
}

#[test]
fn forked_instances_share_no_tmp() {
    as_each(|builder| {
        let yaml = Python::Three.yaml("manual_scaling:\n  instances: 2");
        let node = builder.app(&App::with_yaml(&yaml).file("main.py", INTRUDER)).start();
        for instance in [0, 1] {
            let parent = attempt_in(&node, instance, "parent", "");
            assert!(parent["value"].as_u64() > Some(1), "instance {instance} was not forked: {parent}\n{}", node.everything());
        }
        for folder in ["/tmp", "/dev/shm"] {
            assert_eq!(attempt_in(&node, 0, "write", &format!("{folder}/mine"))["done"], true);
            // The app itself may be in /tmp.
            let seen = |instance| attempt_in(&node, instance, "list", folder)["value"].to_string();
            assert!(seen(0).contains("mine") && !seen(1).contains("mine"), "{} {}", seen(0), seen(1));
        }
        // As large as the instance class (B2: 768 MB), for each of them.
        if stands("signals") {
            for deed in ["parent", "pid"] {
                let other = attempt_in(&node, 0, deed, "")["value"].to_string();
                assert_eq!(attempt_in(&node, 1, "kill", &other)["why"], "EPERM", "{deed}");
            }
        }
        // Not filled: without cgroups what lies there counts as memory, and the meter may end the instance first.
        for instance in [0, 1] {
            assert_eq!(attempt_in(&node, instance, "room", "/tmp")["value"], 768 << 20, "instance {instance}");
            assert_eq!(attempt_in(&node, instance, "fill", "1")["done"], true);
        }
    });
}

#[test]
fn forked_instances_have_every_wall() {
    as_each(|builder| {
        let node = builder.app(&intruder()).start();
        assert!(allowed(&node, "parent", "").as_u64() > Some(1), "it was not forked: {}", node.everything());
        let who = allowed(&node, "who", "");
        for set in ["caps", "bounding"] {
            assert!(who[set].as_str().expect("a number").bytes().all(|digit| digit == b'0'), "{who}");
        }
        if cfg!(target_arch = "x86_64") {
            // What let it step aside is closed: into all namespaces at once, into each, into none.
            for flags in [0x1802_0000_u32, 0x1000_0000, 0x0002_0000, 0x4000_0000, 0] {
                assert_eq!(refused(&node, "unshare", flags), "EPERM", "{flags:x}");
            }
            assert_eq!(refused(&node, "mount", ""), "EPERM");
        }
    });
}

#[test]
fn the_owners_home_is_not_there() {
    as_each(|builder| {
        let node = builder.app(&intruder()).start();
        let home = owners_home();
        for path in [".ssh", ".bashrc", ".profile", ".config", ".netrc"] {
            refused(&node, "list", home.join(path).display());
            refused(&node, "read", home.join(path).display());
        }
        refused(&node, "read", "/etc/shadow");
        assert_ne!(allowed(&node, "who", "")["home"], home.to_str().expect("UTF-8"));
        let shared = node.home().join("state");
        refused(&node, "list", shared.display());
    });
}

#[test]
fn only_the_own_port_can_be_listened_on() {
    if !stands("ports") {
        return;
    }
    as_each(|builder| {
        let node = builder.app(&intruder()).start();
        for port in [0, 1024, 8081, 50_123] {
            let why = refused(&node, "listen", port);
            assert_eq!(why, "EACCES");
        }
    });
}

#[test]
fn other_processes_are_neither_seen_nor_reached() {
    as_each(|builder| {
        let node = builder.app(&intruder()).start();
        let seen = allowed(&node, "processes", "");
        assert!(seen.as_array().expect("a list").len() <= 3, "{seen}");
        for pid in [node.pid(), std::process::id()] {
            assert!(["ESRCH", "EPERM"].contains(&refused(&node, "kill", pid).as_str()));
        }
        // Its own first process, which nothing inside can end.
        attempt(&node, "kill", 1);
        allowed(&node, "version", "");
    });
}

#[test]
fn dangerous_system_calls_are_refused() {
    as_each(|builder| {
        let node = builder.app(&intruder()).start();
        // The numbers are x86-64's.
        if cfg!(target_arch = "x86_64") {
            for call in ["unshare", "ptrace", "mount"] {
                assert_eq!(refused(&node, call, ""), "EPERM", "{call}");
            }
            assert_eq!(refused(&node, "clone3", ""), "ENOSYS");
        }
        let who = allowed(&node, "who", "");
        assert_eq!((who["nnp"].as_str(), who["seccomp"].as_str()), (Some("1"), Some("2")), "{who}");
    });
}

#[test]
fn instances_are_nobody_special() {
    as_each(|builder| {
        let node = builder.app(&intruder()).start();
        let who = allowed(&node, "who", "");
        assert_ne!(who["uid"], 0, "{who}");
        for set in ["caps", "bounding"] {
            assert!(who[set].as_str().expect("a number").bytes().all(|digit| digit == b'0'), "{who}");
        }
        assert_eq!(who["pgid"], true, "it leads a process group of its own");
    });
}

#[test]
fn descriptors_of_the_house_are_not_inherited() {
    as_each(|builder| {
        let node = builder.app(&intruder()).start();
        let files = allowed(&node, "files", "");
        let files = files.as_object().expect("a table");
        let output: Vec<_> = ["0", "1", "2"].iter().map(|number| &files[*number]).collect();
        let house: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", node.pid()))
            .expect("readable")
            .filter_map(|entry| Some(std::fs::read_link(entry.ok()?.path()).ok()?.display().to_string()))
            .collect();
        for (number, what) in files.iter().filter(|(_, what)| !output.contains(what)) {
            let what = what.as_str().expect("text");
            // Pipes and sockets have numbers of their own; only one that came from the house is open there too.
            let shared = what.contains(":[") && house.iter().any(|one| one == what) && !what.starts_with("anon_inode");
            assert!(!shared, "{number} is {what}: {files:?}");
            assert!(what.contains(':') || ["/dev/", "/proc/"].iter().any(|start| what.starts_with(start)), "{number} is {what}: {files:?}");
        }
    });
}

#[test]
fn a_fork_bomb_ends_at_the_limit() {
    as_each(|builder| {
        // With less memory the bomb would meet that limit first.
        let app = App::with_yaml(&Python::Three.yaml("instance_class: F4_1G"))
            .file("main.py", INTRUDER)
            .file("other/app.yaml", Python::Three.yaml("service: other"))
            .file("other/main.py", INTRUDER);
        let node = builder.file(&app, "app.yaml").file(&app, "other/app.yaml").start();
        // Instances of one zygote share a limit four times as high where there are no cgroups; there memory may be the wall that holds.
        let bomb = node.send(&Request::post("/bomb?", "once"));
        if bomb.status == 200 {
            let born = bomb.json()["value"].as_u64().expect("a number");
            assert!((1..=2048).contains(&born), "{born}");
        } else {
            node.wait_line("App Engine's line", |line| line.contains("Exceeded hard memory limit"));
        }
        let answer = node.send(&Request::get("/version?").host("other.localhost")).expect(200).json();
        assert_eq!(answer["value"], "1", "the neighbour answers");
        // What is left of the bomb ends with the node, which looks for leftovers when it is dropped.
    });
}

#[test]
fn a_flood_of_log_lines_is_bounded() {
    as_each(|builder| {
        let node = builder.app(&intruder()).start();
        let before = resident(node.pid());
        allowed(&node, "flood", 1024);
        node.wait_line("that lines are dropped", |line| line.contains("lines dropped"));
        assert!(resident(node.pid()) < before + 100 * 1024, "the house's memory grows with the log");
        let logged = node.everything().len();
        assert!(logged < 64 << 20, "{logged} bytes were logged");
        let stored = on_disk(&node.home().join("state"));
        assert!((1..200 << 20).contains(&stored), "{stored} bytes are on the disk");
        allowed(&node, "version", "");
    });
}

/// Bytes of the files below a folder.
fn on_disk(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { on_disk(&entry.path()) } else { entry.metadata().map_or(0, |known| known.len()) }).sum()
}

#[test]
fn y22_a_memory_hog_is_ended_and_reported() {
    for missing in ["", "cgroup"] {
        as_each(|builder| {
            let node = builder.app(&intruder()).env("ENGINEHOUSE_PRETEND_MISSING", missing).start();
            let answer = node.send(&Request::post("/hog?", "once"));
            assert!(answer.status >= 500, "{answer:?}");
            let line = node.wait_line("App Engine's line", |line| line.contains("Exceeded hard memory limit of 384 MiB with"));
            assert!(line.contains("Consider setting a larger instance class in app.yaml."), "{line}");
            node.eventually(&Request::get("/version?"), |answer| answer.status == 200);
        });
    }
}

#[test]
fn who_ignores_sigterm_is_ended_all_the_same() {
    as_each(|builder| {
        let stubborn = INTRUDER.replace("VERSION = '1'", "VERSION = '1'\nctypes.CDLL(None).signal(15, ctypes.c_void_p(1))\nos.system('trap \"\" TERM HUP INT; (while :; do sleep 60; done) &')");
        let app = App::with_yaml(&Python::Three.yaml("")).file("main.py", stubborn);
        let mut node = builder.app(&app).start();
        allowed(&node, "version", "");
        allowed(&node, "daemon", "");
        node.signal(Signal::INT);
        node.wait_line("that it stops", |line| line.contains("stopping"));
        node.signal(Signal::INT);
        // Fails if anything is left.
        assert_eq!(node.wait().code(), Some(130));
    });
}

#[test]
fn nothing_outlives_its_version() {
    as_each(|builder| {
        let app = intruder();
        let node = builder.app(&app).start();
        allowed(&node, "daemon", "");
        let old = node.children();
        app.write("main.py", INTRUDER.replace("VERSION = '1'", "VERSION = '2'"));
        node.eventually(&Request::get("/version?"), |answer| answer.status == 200 && answer.json()["value"] == "2");
        let until = std::time::Instant::now() + testkit::DEADLINE;
        // The warden stays; the old instance with its daemon goes.
        while testkit::process::alive(&old).len() > 1 {
            let left: Vec<_> = testkit::process::alive(&old).into_iter().map(testkit::process::describe).collect();
            assert!(std::time::Instant::now() < until, "{left:?}");
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
    });
}

#[test]
fn shared_folders_are_seen() {
    as_each(|builder| {
        let shared = tempfile::tempdir().expect("folder");
        std::fs::write(shared.path().join("there.txt"), "x").expect("file");
        let app = intruder();
        let folder = shared.path().to_owned();
        if is_root() {
            std::os::unix::fs::chown(&folder, Some(NOBODY_ELSE), Some(NOBODY_ELSE)).expect("changed hands");
        }
        let read_only = builder.app(&app).args(["--share", folder.to_str().expect("UTF-8")]).start();
        allowed(&read_only, "read", folder.join("there.txt").display());
        refused(&read_only, "write", folder.join("new.txt").display());
        drop(read_only);
        let node = Builder::new(binary()).app(&app).share(&folder).start();
        allowed(&node, "write", folder.join("new.txt").display());
        assert!(folder.join("new.txt").exists());
    });
}

#[test]
fn without_namespaces_landlock_holds() {
    if !stands("files") {
        return;
    }
    as_each(|builder| {
        let other = tempfile::tempdir().expect("folder");
        let app = intruder();
        let node = builder.app(&app).env("ENGINEHOUSE_PRETEND_MISSING", "userns").start();
        node.wait_line("the missing wall", |line| line.contains("no namespaces") && line.contains("to mend it"));
        for path in ["/etc/x", "/usr/x", "/tmp/x"] {
            refused(&node, "write", path);
        }
        refused(&node, "write", other.path().join("x").display());
        refused(&node, "write", app.join("x").display());
        refused(&node, "list", owners_home().display());
        allowed(&node, "temporary", "");
        assert!(["EPERM", "ESRCH"].contains(&refused(&node, "kill", node.pid()).as_str()));
        assert!(allowed(&node, "who", "")["caps"].as_str().expect("a number").bytes().all(|digit| digit == b'0'));
    });
}

#[test]
fn every_missing_wall_is_named_once_and_strict_refuses() {
    as_each(|builder| {
        let node = builder.app(&intruder()).env("ENGINEHOUSE_PRETEND_MISSING", "userns,landlock,seccomp,cgroup").start();
        allowed(&node, "version", "");
        let said = node.everything();
        for wall in ["namespaces", "file rules", "port rule", "signal rule", "system call filter", "memory limit", "CPU share"] {
            assert_eq!(said.matches(&format!("no {wall}: ")).count(), 1, "{wall}: {said}");
        }
    });
    let app = intruder();
    let strict = Builder::new(binary()).arg("run").app(&app).args(["--port", "0", "--isolation", "strict"]);
    let refused = strict.env("ENGINEHOUSE_PRETEND_MISSING", "landlock").output();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("strict needs every wall") && refused.stderr.contains("file rules"), "{refused:?}");
}

#[test]
fn strict_runs_where_every_wall_stands() {
    let every = ["namespaces", "user", "files", "ports", "signals", "system-calls", "memory", "cpu", "processes"];
    if !every.into_iter().all(stands) {
        return;
    }
    let app = intruder();
    let node = Builder::new(binary()).app(&app).args(["--isolation", "strict"]).start();
    let first = allowed(&node, "who", "");
    app.write("main.py", INTRUDER.replace("VERSION = '1'", "VERSION = '2'"));
    node.eventually(&Request::get("/version?"), |answer| answer.status == 200 && answer.json()["value"] == "2");
    let second = allowed(&node, "who", "");
    assert_eq!(first["uid"] == second["uid"], !is_root(), "as root every instance is somebody else: {first} {second}");
}

#[test]
fn no_isolation_is_said_at_every_start() {
    let node = Builder::new(binary()).app(&intruder()).args(["--isolation", "none"]).start();
    node.wait_line("the warning", |line| line.contains("--isolation none"));
    allowed(&node, "version", "");
}

#[test]
fn doctor_names_walls_and_languages() {
    let json = Builder::new(binary()).args(["doctor", "--format", "json"]).env("ENGINEHOUSE_PRETEND_MISSING", "userns").output();
    assert_eq!(json.code, Some(1), "{json:?}");
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(report["ok"], false);
    let namespaces = report["walls"].as_array().expect("a list").iter().find(|one| one["wall"] == "namespaces").expect("there");
    assert!(namespaces["stands"] == false && namespaces["remedy"] != "" && namespaces["cause"] != "", "{namespaces}");
    let tools = report["tools"].as_array().expect("a list");
    assert!(tools.iter().any(|tool| tool["runtime"] == "python3" && tool["version"].is_string()), "{tools:?}");
    let text = Builder::new(binary()).arg("doctor").output();
    assert!(text.stdout.contains("Walls around instances") && text.stdout.contains("python27"), "{text:?}");
    assert_eq!(text.code == Some(0), text.stdout.contains("Every wall stands"), "{text:?}");
}

#[test]
fn oci_runs_instances_as_containers_or_says_what_is_missing() {
    let has_runtime = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun"].iter().any(|path| Path::new(path).is_file());
    if !has_runtime || !is_root() {
        let oci = Builder::new(binary()).arg("run").app(&intruder()).args(["--port", "0", "--isolation", "oci"]);
        let refused = oci.env("PATH", "/nowhere").output();
        assert!(has_runtime || (refused.code == Some(1) && refused.stderr.contains("apt install runc")), "{refused:?}");
        return;
    }
    let app = intruder();
    let node = Builder::new(binary()).app(&app).args(["--isolation", "oci"]).start();
    let who = allowed(&node, "who", "");
    assert!(who["uid"] != 0 && who["nnp"] == "1", "{who}");
    refused(&node, "write", app.join("x").display());
    refused(&node, "list", owners_home().join(".ssh").display());
    assert_eq!(refused(&node, "kill", node.pid()), "ESRCH");
    let home = who["home"].as_str().expect("a path").to_owned();
    allowed(&node, "write", format!("{home}/x"));
    // Dropping the node checks that the container ends with it.
}
