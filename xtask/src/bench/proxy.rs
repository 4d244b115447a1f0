//! The front end beside nginx and haproxy: the same load in turn on each, round after round.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::load::{Load, Run};
use super::peers::{Ports, Site, app_yaml};
use super::process::{Server, free_port, get, spent_ns, thread_ns, tree};
use super::{Options, median};

const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

/// A server under test.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    pub(crate) ports: Ports,
    /// Measure the whole process tree (nginx forks its worker) or the process alone (ours: the instances are not the front end).
    tree: bool,
    _upstream: Option<Server>,
}

impl Contender {
    fn pids(&self) -> Vec<u32> {
        if self.tree { tree(self.server.pid()) } else { vec![self.server.pid()] }
    }
}

/// Which load is put on which port.
struct Scene {
    path: &'static str,
    connections: u32,
    close: bool,
    streams: Option<u32>,
    scheme: &'static str,
}

/// nginx that passes everything on and does nothing else: what the sockets alone cost.
const BARE: &str = "nginx, none of the work";

/// Another build of ours, which tells what a change has gained.
const OTHER: &str = "enginehouse, --against";

const PLAIN: Scene = Scene { path: "/app/hello", connections: 64, close: false, streams: None, scheme: "http" };

pub(crate) fn proxied(options: &Options) -> Result<Vec<String>> {
    contest(options, &["nginx", "haproxy", "enginehouse", BARE], &PLAIN)
}

pub(crate) fn static_1k(options: &Options) -> Result<Vec<String>> {
    contest(options, &["nginx", "enginehouse"], &Scene { path: "/static/1k.html", ..PLAIN })
}

pub(crate) fn static_100k(options: &Options) -> Result<Vec<String>> {
    contest(options, &["nginx", "enginehouse"], &Scene { path: "/static/100k.html", ..PLAIN })
}

pub(crate) fn static_10m(options: &Options) -> Result<Vec<String>> {
    contest(options, &["nginx", "enginehouse"], &Scene { path: "/static/10m.bin", connections: 8, ..PLAIN })
}

pub(crate) fn tls(options: &Options) -> Result<Vec<String>> {
    contest(options, &["nginx", "haproxy", "enginehouse", BARE], &Scene { scheme: "https", ..PLAIN })
}

pub(crate) fn handshake(options: &Options) -> Result<Vec<String>> {
    contest(options, &["nginx", "haproxy", "enginehouse"], &Scene { scheme: "https", close: true, connections: 1, ..PLAIN })
}

pub(crate) fn h2(options: &Options) -> Result<Vec<String>> {
    contest(options, &["nginx", "haproxy", "enginehouse"], &Scene { connections: 8, streams: Some(8), ..PLAIN })
}

/// Starts the named servers, plays the rounds, and renders a table.
fn contest(options: &Options, names: &[&'static str], scene: &Scene) -> Result<Vec<String>> {
    let site = site(options)?;
    let mut contenders = Vec::new();
    for name in names {
        contenders.push(start(options, &site, name)?);
    }
    if let Some(other) = &options.against {
        let options = Options { enginehouse: other.clone(), ..options.clone() };
        contenders.push(Contender { name: OTHER, ..ours(&options, &site)? });
    }
    play(options, &contenders, scene)
}

/// 10 and 1,000 handlers in front of the same file, both ours.
pub(crate) fn handlers(options: &Options) -> Result<Vec<String>> {
    let mut contenders = Vec::new();
    for (name, count) in [("10 handlers", 10), ("1000 handlers", 1_000)] {
        let site = Site { dir: options.dir.join(format!("site-{count}")) };
        fs::create_dir_all(site.dir.join("app"))?;
        let full = self::site(options)?;
        if !site.dir.join("app/static").exists() {
            std::os::unix::fs::symlink(full.dir.join("app/static"), site.dir.join("app/static"))?;
        }
        fs::copy(full.dir.join("app/upstream.sh"), site.dir.join("app/upstream.sh"))?;
        fs::write(site.dir.join("app/app.yaml"), app_yaml(count))?;
        let mut contender = start(options, &site, "enginehouse")?;
        contender.name = name;
        contenders.push(contender);
    }
    play(options, &contenders, &Scene { path: "/app/hello", ..PLAIN })
}

fn play(options: &Options, contenders: &[Contender], scene: &Scene) -> Result<Vec<String>> {
    let mut figures: Vec<Vec<(Run, f64)>> = vec![Vec::new(); contenders.len()];
    // Round 0 warms up and is not counted.
    for round in 0..=options.rounds {
        let seconds = if round == 0 { 1 } else { options.seconds };
        let measured =
            if options.together { at_once(contenders, scene, seconds)? } else { in_turn(contenders, scene, seconds, round as usize)? };
        if round > 0 {
            for (which, figure) in measured {
                figures[which].push(figure);
            }
        }
    }
    Ok(table(contenders, &figures))
}

/// What each contender, by its place, was measured at.
type Round = Vec<(usize, (Run, f64))>;

/// One after the other. The order rotates, so that nobody always runs after the same neighbour.
fn in_turn(contenders: &[Contender], scene: &Scene, seconds: u32, round: usize) -> Result<Round> {
    let order = (0..contenders.len()).map(|turn| (turn + round) % contenders.len());
    order.map(|which| Ok((which, measure(&contenders[which], scene, seconds)?))).collect()
}

/// All at the same time, so that whatever else the machine does falls on all of them alike.
fn at_once(contenders: &[Contender], scene: &Scene, seconds: u32) -> Result<Round> {
    std::thread::scope(|scope| {
        let loads: Vec<_> = contenders.iter().map(|contender| scope.spawn(|| measure(contender, scene, seconds))).collect();
        let ended = loads.into_iter().map(|load| load.join().unwrap_or_else(|_| bail!("a load generator failed")));
        ended.enumerate().map(|(which, figure)| Ok((which, figure?))).collect()
    })
}

fn measure(contender: &Contender, scene: &Scene, seconds: u32) -> Result<(Run, f64)> {
    let port = match (scene.scheme, scene.streams) {
        ("https", _) => contender.ports.tls,
        (_, Some(_)) => contender.ports.h2c,
        _ => contender.ports.http,
    };
    let load = Load {
        url: format!("{}://127.0.0.1:{port}{}", scene.scheme, scene.path),
        host: None,
        connections: scene.connections,
        seconds,
        close: scene.close,
        streams: scene.streams,
    };
    let pids = contender.pids();
    let before = thread_ns(&pids);
    let run = load.run(LOAD_CORE)?;
    let spent = spent_ns(&before, &pids);
    #[allow(clippy::cast_precision_loss, reason = "figures, not accounts")]
    let each = spent as f64 / 1_000.0 / run.requests as f64;
    Ok((run, each))
}

fn table(contenders: &[Contender], figures: &[Vec<(Run, f64)>]) -> Vec<String> {
    let mut lines =
        vec!["| server | CPU µs/request | ratio (min–max) | requests/s | p50 µs | errors |".to_owned(), "|-|-|-|-|-|-|".to_owned()];
    for (contender, own) in contenders.iter().zip(figures) {
        let ratios: Vec<f64> = own.iter().zip(&figures[0]).map(|((_, mine), (_, first))| mine / first).collect();
        let (low, high) = ratios.iter().fold((f64::MAX, 0.0_f64), |(l, h), r| (l.min(*r), h.max(*r)));
        lines.push(format!(
            "| {} | {:.1} | {:.3} ({low:.2}–{high:.2}) | {:.0} | {:.0} | {} |",
            contender.name,
            median(&own.iter().map(|(_, cpu)| *cpu).collect::<Vec<_>>()),
            median(&ratios),
            median(&own.iter().map(|(run, _)| run.rate).collect::<Vec<_>>()),
            median(&own.iter().map(|(run, _)| run.p50_us).collect::<Vec<_>>()),
            own.iter().map(|(run, _)| run.errors).sum::<u64>(),
        ));
    }
    lines
}

/// The files of the benchmark and a certificate, made once.
pub(crate) fn site(options: &Options) -> Result<Site> {
    let dir = options.dir.join("site");
    fs::create_dir_all(dir.join("tmp"))?;
    if !dir.join("cert.pem").exists() {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365"])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-keyout",
                "key.pem",
                "-out",
                "cert.pem",
            ])
            .current_dir(&dir)
            .output()
            .context("running openssl")?;
        if !made.status.success() {
            bail!("openssl: {}", String::from_utf8_lossy(&made.stderr));
        }
    }
    Site::create(&dir)
}

/// Starts one server on core 0.
pub(crate) fn start(options: &Options, site: &Site, name: &'static str) -> Result<Contender> {
    if name == "enginehouse" {
        return ours(options, site);
    }
    let ports = Ports { http: free_port()?, tls: free_port()?, h2c: free_port()? };
    let up = free_port()?;
    let (command, env) = site.upstream_command(up);
    let mut upstream = Server::start("upstream", "1", &command, &env, &options.dir.join(format!("{name}-upstream.log")))?;
    upstream.wait_ready(up, Duration::from_secs(10))?;
    let command = match name {
        "nginx" => site.nginx(ports, up)?,
        BARE => site.bare_nginx(ports, up)?,
        _ => site.haproxy(ports, up)?,
    };
    let mut server = Server::start(name, SERVER_CORE, &command, &[], &options.dir.join(format!("{name}.log")))?;
    server.wait_ready(ports.http, Duration::from_secs(10))?;
    Ok(Contender { name, server, ports, tree: true, _upstream: Some(upstream) })
}

fn ours(options: &Options, site: &Site) -> Result<Contender> {
    let file = |name: &str| options.dir.join("site").join(name).display().to_string();
    let tls = free_port()?;
    let flags = ["--tls-port", &tls.to_string(), "--tls-cert", &file("cert.pem"), "--tls-key", &file("key.pem")].map(str::to_owned);
    let (server, port) = run_app(options, &site.dir.join("app"), &flags)?;
    let status = get(port, "localhost", "/app/hello")?;
    if status != 200 {
        bail!("the app answers {status}; see {}", options.dir.display());
    }
    Ok(Contender { name: "enginehouse", server, ports: Ports { http: port, tls, h2c: port }, tree: false, _upstream: None })
}

/// Starts `enginehouse run` with one thread on core 0 and without a request log (the peers write none either); returns its port.
pub(crate) fn run_app(options: &Options, app: &Path, more: &[String]) -> Result<(Server, u16)> {
    run_app_within(options, app, more, Duration::from_secs(10))
}

/// The same for an app that needs longer.
pub(crate) fn run_app_within(options: &Options, app: &Path, more: &[String], limit: Duration) -> Result<(Server, u16)> {
    let unique = free_port()?;
    let ready: PathBuf = options.dir.join(format!("ready-{unique}.json"));
    let storage = options.dir.join(format!("storage-{unique}"));
    let mut command = vec![options.enginehouse.display().to_string(), "run".into(), app.display().to_string()];
    // The front end is measured; the upstream, which stands in for an app, keeps its files beside the site.
    for flag in ["--port", "0", "--no-reload", "-qq", "--threads", "1", "--isolation", "none", "--ready-file"] {
        command.push(flag.into());
    }
    command.push(ready.display().to_string());
    command.extend(["--storage".into(), storage.display().to_string()]);
    command.extend_from_slice(more);
    let server = Server::start("enginehouse", SERVER_CORE, &command, &[], &options.dir.join(format!("enginehouse-{unique}.log")))?;
    let begun = std::time::Instant::now();
    while begun.elapsed() < limit {
        if let Ok(text) = fs::read_to_string(&ready) {
            let json: serde_json::Value = serde_json::from_str(&text)?;
            let url = json["http"].as_str().context("the ready file names a URL")?.trim_end_matches('/');
            let port = url.rsplit(':').next().and_then(|p| p.parse().ok()).context("the URL ends in a port")?;
            fs::remove_file(&ready)?;
            return Ok((server, port));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("enginehouse was not ready within {limit:?}; see {}", options.dir.join(format!("enginehouse-{unique}.log")).display())
}
