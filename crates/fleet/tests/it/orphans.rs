//! Nothing is left behind, however the house ends.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fleet::PythonChoice;
use fleet::prepare::Quiet;
use model::config::{Library, VersionConfig};

use crate::support::{House, app_processes_with, config, eventually, processes_in, processes_with};

/// Set for the process that plays the house in the tests below, to the marker of its instances.
const ROLE: &str = "FLEET_TEST_HOUSE";

const SERVER: &str = "
import http.server, os
http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), http.server.SimpleHTTPRequestHandler).serve_forever()
";

fn family(marker: &str) -> VersionConfig {
    let mut config = config("python312", Some("(setsid sleep 1000 &); sleep 1000 & exec python3 server.py"));
    config.env.insert("MARKER".into(), marker.into());
    config
}

/// Runs as its own process, started by the next test; by itself it does nothing.
#[tokio::test]
async fn the_house_that_will_be_killed() {
    let Ok(marker) = std::env::var(ROLE) else { return };
    let house = House::new(&[("server.py", SERVER)]);
    house.publish(family(&marker), 1);
    house.get("/").await;
    println!("\nfolder {}", house.dir.path().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_house_that_is_killed_leaves_nothing() {
    let marker = format!("killed-{}", std::process::id());
    let mut house = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "orphans::the_house_that_will_be_killed", "--nocapture"])
        .env(ROLE, &marker)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(house.stdout.take().expect("piped")).lines();
    let folder = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("folder ").map(PathBuf::from)).expect("it serves");
    let variable = format!("MARKER={marker}");
    assert_eq!(app_processes_with(&variable).len(), 3);
    house.kill().expect("killed");
    house.wait().expect("reaped");
    eventually("all of its processes are gone", || processes_with(&variable).is_empty()).await;
    std::fs::remove_dir_all(folder).expect("removed");
}

/// An interpreter that says it is Python 2.7 and installs packages forever.
fn slow_python(house_dir: &std::path::Path) -> PathBuf {
    let path = house_dir.join("slow-python");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in\n*pip*) touch $0.installs; sleep 1000 & exec sleep 1000;;\n*) printf '2|7|2.7.18|%s' {};;\nesac\n",
        path.display()
    );
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    path
}

#[tokio::test]
async fn stopping_ends_installations_too() {
    let tools = tempfile::tempdir().expect("a folder");
    let python = slow_python(tools.path());
    let house = House::with(&[("main.py", "import six")], |options| options.pythons.push(PythonChoice { runtime: None, path: python }));
    let mut config = config("python27", None);
    config.libraries.push(Library { name: "six".into(), version: "1.12.0".into() });
    let version = house.version(config.clone(), 1);
    let fleet = Arc::clone(&house.fleet);
    let preparing = std::thread::spawn(move || fleet.prepare(&version, &Quiet));
    eventually("pip runs", || tools.path().join("slow-python.installs").is_file()).await;
    house.fleet.stop(Duration::from_secs(5)).await;
    let error = preparing.join().expect("no panic").expect_err("it was stopped");
    assert!(error.to_string().contains("SIGKILL"), "{error}");
    assert!(processes_in(house.dir.path()).is_empty());
    let error = house.fleet.prepare(&house.version(config, 2), &Quiet).expect_err("too late");
    assert!(error.to_string().contains("closing"), "{error}");
}

#[tokio::test]
async fn stop_cuts_off_instances_that_do_not_want_to_end() {
    let house = House::new(&[("server.py", &format!("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVER}"))]);
    let mut config = config("python312", Some("python3 server.py"));
    config.env.insert("MARKER".into(), "stubborn".into());
    house.publish(config, 1);
    house.get("/").await;
    // A request under way holds its instance until the grace is over, and SIGTERM does nothing.
    let lease = house.acquire().await.expect("an instance");
    let begun = std::time::Instant::now();
    house.fleet.stop(Duration::from_millis(200)).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(processes_with("MARKER=stubborn").is_empty());
    drop(lease);
}
