//! How soon a start answers, and what an idle connection costs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::{cpu_ns, free_port, private_kib, tree};
use super::{Options, median, proxy};

const CONNECTIONS: u32 = 2_000;

/// Opens idle keep-alive connections (one request each) and divides the growth of private memory.
pub(crate) fn idle(options: &Options) -> Result<Vec<String>> {
    let site = proxy::site(options)?;
    let mut lines = vec!["| server | KiB per idle connection |".to_owned(), "|-|-|".to_owned()];
    let nginx = proxy::start(options, &site, "nginx")?;
    lines.push(format!("| nginx | {:.1} |", grow(nginx.ports.http, &tree(nginx.server.pid()))?));
    drop(nginx);
    let (server, port) = proxy::run_app(options, &site.dir.join("app"), &[])?;
    lines.push(format!("| enginehouse | {:.1} |", grow(port, &[server.pid()])?));
    Ok(lines)
}

fn grow(port: u16, pids: &[u32]) -> Result<f64> {
    let memory = || -> Result<u64> { pids.iter().map(|pid| private_kib(*pid)).sum() };
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(keep(port)?);
    }
    let before = memory()?;
    for _ in 0..CONNECTIONS {
        held.push(keep(port)?);
    }
    // Idle means idle for a while: servers may give buffers back a few seconds after the last request.
    std::thread::sleep(Duration::from_secs(6));
    let after = memory()?;
    #[allow(clippy::cast_precision_loss, reason = "a figure, not an account")]
    let each = after.saturating_sub(before) as f64 / f64::from(CONNECTIONS);
    Ok(each)
}

fn keep(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /static/1k.html HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut buffer = [0; 4096];
    let mut seen = 0;
    while seen < 1024 {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            bail!("the server closed an idle connection");
        }
        seen += n;
    }
    Ok(stream)
}

/// From the start of the process to the first static and the first WSGI answer, and the CPU that the latter took.
pub(crate) fn start(options: &Options) -> Result<Vec<String>> {
    let mut lines = vec!["| app | first answer | wall ms, median (min) | CPU ms, median |".to_owned(), "|-|-|-|-|".to_owned()];
    for (runtime, path) in [("python311", "/static/a.txt"), ("python311", "/"), ("python27", "/static/a.txt"), ("python27", "/")] {
        let app = options.dir.join(format!("start-{runtime}"));
        hello(&app, runtime)?;
        let runs = (0..options.rounds.max(5)).map(|_| first_answer(options, &app, path)).collect::<Result<Vec<_>>>()?;
        let wall: Vec<f64> = runs.iter().map(|(wall, _)| *wall).collect();
        let cpu: Vec<f64> = runs.iter().map(|(_, cpu)| *cpu).collect();
        let least = wall.iter().copied().fold(f64::MAX, f64::min);
        lines.push(format!("| {runtime} | `{path}` | {:.0} ({least:.0}) | {:.0} |", median(&wall), median(&cpu)));
    }
    Ok(lines)
}

/// Writes a trivial WSGI app with a static file.
pub(crate) fn hello(dir: &Path, runtime: &str) -> Result<()> {
    fs::create_dir_all(dir.join("static"))?;
    fs::write(dir.join("static/a.txt"), "a\n")?;
    let head =
        if runtime == "python27" { "runtime: python27\napi_version: 1\nthreadsafe: true\n" } else { &format!("runtime: {runtime}\n") };
    let script = if runtime == "python27" { "main.app" } else { "auto" };
    fs::write(dir.join("app.yaml"), format!("{head}handlers:\n- url: /static\n  static_dir: static\n- url: /.*\n  script: {script}\n"))?;
    fs::write(
        dir.join("main.py"),
        "def app(environ, start_response):\n    body = b'hello, world\\n'\n    start_response('200 OK', [('Content-Type', 'text/plain'), \
         ('Content-Length', str(len(body)))])\n    return [body]\n",
    )?;
    Ok(())
}

fn first_answer(options: &Options, app: &Path, path: &str) -> Result<(f64, f64)> {
    let port = free_port()?;
    let begun = Instant::now();
    let mut child = Command::new(&options.enginehouse)
        .arg("run")
        .arg(app)
        .args(["--port", &port.to_string(), "-qq", "--storage"])
        .arg(options.dir.join(format!("storage-start-{port}")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting enginehouse")?;
    let mut answered = None;
    while answered.is_none() && begun.elapsed() < Duration::from_mins(1) {
        answered = super::process::get(port, "localhost", path).ok().filter(|status| *status == 200);
        if answered.is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let wall = begun.elapsed();
    let cpu = cpu_ns(&tree(child.id()));
    let stop = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    child.wait()?;
    if answered.is_none() || !stop.success() {
        bail!("no answer within 60 s from {}", app.display());
    }
    #[allow(clippy::cast_precision_loss, reason = "a figure, not an account")]
    let cpu_ms = cpu as f64 / 1e6;
    Ok((wall.as_secs_f64() * 1e3, cpu_ms))
}
