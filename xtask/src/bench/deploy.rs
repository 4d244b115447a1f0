//! How long a deployment takes: an unchanged app of a thousand files, and a changed one until its new version answers.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::{Server, free_port};
use super::{Options, median};

const FILES: usize = 1_000;
const HOST: &str = "shop.local.r.localhost";

/// Wall clock of `enginehouse deploy` against a server that runs, and of the change that users see.
pub(crate) fn deploy(options: &Options) -> Result<Vec<String>> {
    let dir = options.dir.join(format!("deploy-{}", std::process::id()));
    let (http, admin) = (free_port()?, free_port()?);
    let data = dir.join("data");
    let app = dir.join("app");
    write_app(&app)?;
    let text = |path: &Path| path.display().to_string();
    let command = [
        text(&options.enginehouse),
        "serve".into(),
        "-qq".into(),
        "--project=shop".into(),
        format!("--data={}", data.display()),
        format!("--listen=127.0.0.1:{http}"),
        format!("--admin=127.0.0.1:{admin}"),
    ];
    let mut server = Server::start("enginehouse", "0,1", &command, &[], &dir.join("serve.log"))?;
    server.wait_ready(admin, Duration::from_secs(20))?;
    let run = || -> Result<f64> {
        let begun = Instant::now();
        let done = Command::new(&options.enginehouse)
            .args(["deploy", &text(&app), "--quiet", "--data", &text(&data), "--server", &format!("http://127.0.0.1:{admin}")])
            .args(["--version", &format!("v{}", next())])
            .env("HOME", &dir)
            .stdin(Stdio::null())
            .output()?;
        if !done.status.success() {
            bail!("the deployment failed: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    let first = run()?;
    // Sums are remembered once the files are older than the clock's grain.
    run()?;
    let rounds = options.rounds.max(5);
    let unchanged = (0..rounds).map(|_| run()).collect::<Result<Vec<_>>>()?;
    let mut changed = Vec::new();
    for round in 0..rounds {
        let says = format!("round {round}");
        fs::write(app.join("main.py"), main(&says))?;
        let begun = Instant::now();
        run()?;
        while !answer(http)?.ends_with(&says) {
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("the new version does not answer");
            }
        }
        changed.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    drop(server);
    fs::remove_dir_all(&dir)?;
    let line = |what: &str, values: &[f64]| {
        let most = values.iter().copied().fold(0.0, f64::max);
        format!("| {what} | {:.0} | {most:.0} |", median(values))
    };
    Ok(vec![
        "| deployment of an app of 1,000 files | ms, median | most |".to_owned(),
        "|-|-|-|".to_owned(),
        line("the first one: everything is sent", &[first]),
        line("unchanged: a new version, all traffic to it", &unchanged),
        line("a changed module, until the new version answers", &changed),
    ])
}

/// The number of the next version.
fn next() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn main(says: &str) -> String {
    format!("def app(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'{says}']\n")
}

fn write_app(app: &Path) -> Result<()> {
    fs::create_dir_all(app.join("data"))?;
    let minor = Command::new("python3").args(["-c", "import sys; print(sys.version_info[1])"]).output()?;
    let minor = String::from_utf8_lossy(&minor.stdout).trim().to_owned();
    fs::write(app.join("app.yaml"), format!("runtime: python3{minor}\nservice: default\n"))?;
    fs::write(app.join("main.py"), main("first"))?;
    for n in 0..FILES - 2 {
        fs::write(app.join(format!("data/{n}.txt")), format!("{n}\n").repeat(400))?;
    }
    Ok(())
}

/// The body of the app's answer.
fn answer(port: u16) -> Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).context("the server is gone")?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
