//! The engine room: what scheduling costs a request, what idle versions cost, and how soon a version without instances answers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::{Server, cpu_ns, cpu_ns_of_all_threads, free_port, private_kib, tree};
use super::{Options, median, proxy, worker};

/// CPU that the scheduler and its shell cost a request at 64 concurrent requests.
pub(crate) fn scheduling(options: &Options) -> Result<Vec<String>> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--package", "fleet", "--example", "leases"])
        .current_dir(options.root())
        .status()?;
    if !built.success() {
        bail!("the example `leases` did not build");
    }
    let program = options.root().join("target/release/examples/leases");
    let mut cases: Vec<(String, Vec<f64>, f64)> = Vec::new();
    for _ in 0..options.rounds {
        let output = Command::new(&program).output().with_context(|| format!("running {}", program.display()))?;
        if !output.status.success() {
            bail!("leases: {}", String::from_utf8_lossy(&output.stderr));
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let one: serde_json::Value = serde_json::from_str(line).with_context(|| format!("leases says {line}"))?;
            let name = one["case"].as_str().context("a case")?.to_owned();
            let (cpu, queued) = (one["cpu_us"].as_f64().context("CPU")?, one["queued_percent"].as_f64().context("a share")?);
            match cases.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, figures, _)) => figures.push(cpu),
                None => cases.push((name, vec![cpu], queued)),
            }
        }
    }
    let mut lines = vec!["| case | CPU µs/request (min–max) | of the requests waited |".to_owned(), "|-|-|-|".to_owned()];
    for (name, figures, queued) in cases {
        let (least, most) = (figures.iter().copied().fold(f64::MAX, f64::min), figures.iter().copied().fold(0.0, f64::max));
        lines.push(format!("| {name} | {:.2} ({least:.2}–{most:.2}) | {queued:.0} % |", median(&figures)));
    }
    Ok(lines)
}

/// Versions that are registered and never asked.
const VERSIONS: usize = 1_000;
/// How long they are watched.
const WATCHED: Duration = Duration::from_secs(30);

/// What 1,000 idle versions cost: private memory of all processes over a server with one version, and CPU while nothing happens.
pub(crate) fn idle_versions(options: &Options) -> Result<Vec<String>> {
    let mut lines = vec![
        "| versions | private MB of all processes | CPU ms in 30 s | answer of the last version, ms |".to_owned(),
        "|-|-|-|-|".to_owned(),
    ];
    let mut figures = Vec::new();
    for count in [1, VERSIONS] {
        let files = services(options, count)?;
        let more: Vec<String> = files[1..].iter().map(|file| file.display().to_string()).collect();
        let (server, port) = proxy::run_app_within(options, &files[0], &more, Duration::from_mins(10))?;
        // Static files answer before versions are prepared; a script's answer means that all of them are.
        let last = format!("s{}.localhost", count - 1);
        let begun = Instant::now();
        let host = if count == 1 { "localhost" } else { last.as_str() };
        ask(port, host, Duration::from_mins(10))?;
        let first = begun.elapsed();
        std::thread::sleep(Duration::from_secs(10));
        let pids = tree(server.pid());
        let memory: u64 = pids.iter().filter_map(|pid| private_kib(*pid).ok()).sum();
        let before = (cpu_ns(&pids), cpu_ns_of_all_threads(&pids));
        std::thread::sleep(WATCHED);
        let spent = (cpu_ns(&pids).saturating_sub(before.0)).max(cpu_ns_of_all_threads(&pids).saturating_sub(before.1));
        #[allow(clippy::cast_precision_loss, reason = "figures, not accounts")]
        let (mb, ms) = (memory as f64 / 1024.0, spent as f64 / 1e6);
        lines.push(format!("| {count} | {mb:.1} | {ms:.1} | {:.0} |", first.as_secs_f64() * 1e3));
        figures.push((mb, ms));
    }
    if let [one, many] = figures[..] {
        lines.push(format!("| difference | {:.1} | {:.1} | |", many.0 - one.0, many.1 - one.1));
    }
    Ok(lines)
}

/// One app with so many services, each a trivial WSGI app.
fn services(options: &Options, count: usize) -> Result<Vec<PathBuf>> {
    let dir = options.dir.join(format!("services-{count}"));
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("main.py"), FLASKLESS)?;
    let mut files = Vec::new();
    for n in 0..count {
        let service = if n == 0 { String::new() } else { format!("service: s{n}\n") };
        let file = dir.join(if n == 0 { "app.yaml".to_owned() } else { format!("s{n}.yaml") });
        fs::write(&file, format!("runtime: python311\n{service}handlers:\n- url: /.*\n  script: auto\n"))?;
        files.push(file);
    }
    Ok(files)
}

const FLASKLESS: &str =
    "def app(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'1']\n";

/// Counts its requests, so that an answer of `1` comes from a process that has answered nothing before.
const FLASK: &str = "import itertools\nfrom flask import Flask\n\napp = Flask(__name__)\nseen = itertools.count(1)\n\n\n@app.route('/')\ndef home():\n    return str(next(seen))\n";
/// An idle instance ends after this; then the version has none.
const IDLE: Duration = Duration::from_secs(1);

/// From the request to its first byte for a Flask app without instances, beside a fresh start of gunicorn with the same app and interpreter.
pub(crate) fn cold_start(options: &Options) -> Result<Vec<String>> {
    let app = options.dir.join("cold-flask");
    fs::create_dir_all(&app)?;
    fs::write(app.join("main.py"), FLASK)?;
    fs::write(app.join("requirements.txt"), "Flask>=2.2,<4\n")?;
    // Basic scaling is what goes to zero within a second; it asks for /_ah/start before the first request, which counts here.
    let idle = IDLE.as_secs();
    fs::write(app.join("app.yaml"), format!("runtime: python311\nbasic_scaling:\n  max_instances: 1\n  idle_timeout: {idle}s\n"))?;
    let (python, packages) = worker::packages(options, "python3.11", "gunicorn-flask", "gunicorn Flask>=2.2,<4")?;
    let (server, port) = proxy::run_app_within(options, &app, &[], Duration::from_mins(5))?;
    // The first starts are not what is measured: they install packages and teach the zygote what to import.
    for _ in 0..3 {
        ask(port, "localhost", Duration::from_mins(5))?;
        std::thread::sleep(IDLE + Duration::from_secs(2));
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds.max(10) {
        std::thread::sleep(IDLE + Duration::from_secs(1));
        ours.push(from_zero(&server, port)?);
        theirs.push(fresh_gunicorn(options, &app, &python, &packages)?);
    }
    let mut lines =
        vec!["| start | first byte ms, median (min–max) | CPU ms, median | ratio, median of rounds |".to_owned(), "|-|-|-|-|".to_owned()];
    let ratios =
        |pick: fn(&(f64, f64)) -> f64| median(&ours.iter().zip(&theirs).map(|(own, other)| pick(other) / pick(own)).collect::<Vec<_>>());
    for (name, figures, ratio) in [("fresh gunicorn, 1 worker", &theirs, 1.0), ("enginehouse, from zero", &ours, ratios(|one| one.0))] {
        let wall: Vec<f64> = figures.iter().map(|(wall, _)| *wall).collect();
        let cpu: Vec<f64> = figures.iter().map(|(_, cpu)| *cpu).collect();
        let (least, most) = (wall.iter().copied().fold(f64::MAX, f64::min), wall.iter().copied().fold(0.0, f64::max));
        lines.push(format!("| {name} | {:.1} ({least:.1}–{most:.1}) | {:.1} | {ratio:.1} |", median(&wall), median(&cpu)));
    }
    Ok(lines)
}

/// One request to a version that has no instance; milliseconds to its first byte, and of CPU of the whole house.
fn from_zero(server: &Server, port: u16) -> Result<(f64, f64)> {
    let before = cpu_ns(&tree(server.pid()));
    let begun = Instant::now();
    let (first, body) = first_byte(port, "localhost")?;
    let wall = first.duration_since(begun);
    let spent = cpu_ns(&tree(server.pid())).saturating_sub(before);
    if body != "1" {
        bail!("the instance had answered before (it says {body:?}): nothing was started");
    }
    #[allow(clippy::cast_precision_loss, reason = "figures, not accounts")]
    Ok((wall.as_secs_f64() * 1e3, spent as f64 / 1e6))
}

/// From the start of the process to the first byte.
fn fresh_gunicorn(options: &Options, app: &Path, python: &Path, packages: &Path) -> Result<(f64, f64)> {
    let port = free_port()?;
    let bind = format!("127.0.0.1:{port}");
    let words = ["-c", "from gunicorn.app.wsgiapp import run; run()", "--workers", "1", "--threads", "8", "--bind", &bind, "main:app"];
    let command: Vec<String> = [python.display().to_string()].into_iter().chain(words.map(str::to_owned)).collect();
    let env = vec![("PYTHONPATH".to_owned(), format!("{}:{}", packages.display(), app.display()))];
    let begun = Instant::now();
    let server = Server::start("gunicorn", "0", &command, &env, &options.dir.join("cold-gunicorn.log"))?;
    while begun.elapsed() < Duration::from_secs(30) {
        if let Ok((first, body)) = first_byte(port, "localhost") {
            if body != "1" {
                bail!("gunicorn answered {body:?}");
            }
            #[allow(clippy::cast_precision_loss, reason = "figures, not accounts")]
            let cpu = cpu_ns(&tree(server.pid())) as f64 / 1e6;
            return Ok((first.duration_since(begun).as_secs_f64() * 1e3, cpu));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("gunicorn did not answer within 30 s; see {}", options.dir.join("cold-gunicorn.log").display())
}

/// Asks until a 200 comes.
fn ask(port: u16, host: &str, limit: Duration) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if super::process::get(port, host, "/").is_ok_and(|status| status == 200) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("no answer from {host} within {limit:?}")
}

/// A GET on a connection of its own: when the first byte came, and the body.
fn first_byte(port: u16, host: &str) -> Result<(Instant, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = vec![0];
    stream.read_exact(&mut answer)?;
    let first = Instant::now();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").context("an HTTP answer")?;
    if !head.contains(" 200 ") {
        bail!("the answer is {}", head.lines().next().unwrap_or_default());
    }
    Ok((first, body.trim().to_owned()))
}
