//! Sign-in by a real OpenID provider (`oidc-provider` from npm) on this machine (rows S3, Y18).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use testkit::{App, Connection, Python, Request, Response, ServeNode};

use crate::apps::{ECHO, encode};
use crate::{node, on_both};

/// Where the provider's package is; installed once.
fn package() -> PathBuf {
    static THERE: OnceLock<PathBuf> = OnceLock::new();
    THERE
        .get_or_init(|| {
            let folder = crate::workspace().join("target/tmp/oidc-provider");
            let entry = folder.join("node_modules/oidc-provider/lib/index.js");
            if !entry.is_file() {
                std::fs::create_dir_all(&folder).expect("a folder");
                let mut npm = Command::new("npm");
                npm.args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(&folder).arg("oidc-provider@8");
                let status = npm.stdout(Stdio::null()).status().expect("npm is installed");
                assert!(status.success() && entry.is_file(), "oidc-provider is installed");
            }
            entry
        })
        .clone()
}

/// The provider as a child process.
struct Provider {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Provider {
    fn start() -> Self {
        let script = crate::workspace().join("crates/enginehouse/tests/it/oidc/provider.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(package()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("node is installed");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a port");
        Self { child, lines, port: line.trim().parse().expect("a port") }
    }

    fn issuer(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Lets it answer, now that it is known where browsers come back.
    fn open(&mut self, hosts: &[&str]) {
        let uris: Vec<String> = hosts.iter().map(|host| format!("http://{host}/_ah/login/callback")).collect();
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{}", uris.join(" ")).expect("written");
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            assert!(self.lines.read_line(&mut line).expect("a line") > 0, "the provider lives");
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Goes from page to page, as a browser would; names lead to this machine.
#[derive(Default)]
struct Browser {
    cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    fn send(&mut self, method: &str, url: &str, form: Option<&str>) -> Response {
        let rest = url.strip_prefix("http://").expect("an http address");
        let (host, target) = rest.split_once('/').map_or((rest, "/".to_owned()), |(host, rest)| (host, format!("/{rest}")));
        let port: u16 = host.rsplit(':').next().expect("a port").parse().expect("a port");
        let mine: Vec<String> =
            self.cookies.iter().filter(|((site, _), _)| site == host).map(|((_, name), value)| format!("{name}={value}")).collect();
        let mut request = Request::new(method, &target).host(host);
        if !mine.is_empty() {
            request = request.header("Cookie", &mine.join("; "));
        }
        if let Some(form) = form {
            request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form);
        }
        let answer = Connection::open(([127, 0, 0, 1], port).into()).send(&request);
        for cookie in answer.all("set-cookie") {
            let (name, value) = cookie.split(';').next().expect("a pair").split_once('=').expect("a pair");
            self.cookies.insert((host.to_owned(), name.to_owned()), value.to_owned());
        }
        answer
    }

    /// Follows redirects and fills in the provider's forms, until it is back on `home`.
    fn walk(&mut self, start: &str, email: &str, home: &str) -> Response {
        let mut url = start.to_owned();
        let mut answer = self.send("GET", &url, None);
        for _ in 0..20 {
            if let Some(location) = answer.header("location").filter(|_| answer.status / 100 == 3) {
                let site = url.split('/').take(3).collect::<Vec<_>>().join("/");
                url = if location.starts_with('/') { format!("{site}{location}") } else { location.to_owned() };
                answer = self.send("GET", &url, None);
            } else if url.contains("/interaction/") {
                let text = answer.text();
                let prompt = if text.contains("value=\"login\"") { "login" } else { "consent" };
                let form =
                    if prompt == "login" { format!("prompt=login&login={}&password=x", encode(email)) } else { "prompt=consent".into() };
                answer = self.send("POST", &url, Some(&form));
            } else {
                break;
            }
        }
        assert!(url.starts_with(&format!("http://{home}/")), "it ended at {url}: {answer:?}");
        answer
    }

    fn user(&self, host: &str) -> Option<&String> {
        self.cookies.get(&(host.to_owned(), "enginehouse_login".to_owned())).filter(|value| !value.is_empty())
    }
}

fn app(python: Python) -> App {
    let script = python.script();
    let handlers =
        format!("handlers:\n- url: /admin\n  script: {script}\n  login: admin\n- url: /.*\n  script: {script}\n  login: required\n");
    App::with_yaml(&format!("{}{handlers}", python.head())).file("main.py", ECHO)
}

fn flags(provider: &Provider, secret: &std::path::Path) -> Vec<String> {
    let issuer = provider.issuer();
    let secret = secret.to_str().expect("UTF-8");
    let flags = ["--oidc-issuer", &issuer, "--oidc-client-id", "house", "--oidc-client-secret-file", secret];
    let admins = ["--oidc-admin", "ann@example.org", "--oidc-admin-claim", "groups=admins"];
    flags.into_iter().chain(admins).map(str::to_owned).collect()
}

fn secret() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "s3cret").expect("written");
    file
}

#[test]
fn s3_a_provider_signs_users_in() {
    on_both(|python| {
        let (mut provider, secret) = (Provider::start(), secret());
        let flags = flags(&provider, secret.path());
        let node = node().app(&app(python)).args(flags.iter().map(String::as_str)).start();
        let host = format!("localhost:{}", node.address().port());
        provider.open(&[&host]);
        let page = format!("http://{host}/page?a=1");
        for (email, admin) in [("ann@example.org", true), ("boss@example.org", true), ("user@example.org", false)] {
            let mut browser = Browser::default();
            let answer = browser.walk(&page, email, &host).expect(200);
            assert!(answer.text().contains(email), "{python:?}: {}", answer.text());
            let status = browser.send("GET", &format!("http://{host}/admin"), None).status;
            assert_eq!(status, if admin { 200 } else { 401 }, "{python:?}: {email}");
            let out = browser.send("GET", &format!("http://{host}/_ah/logout?continue=/bye"), None).expect(302);
            assert_eq!((out.header("location"), browser.user(&host)), (Some("/bye"), None));
        }
        refusals(&host, &page);
        assert!(!node.everything().contains("s3cret"), "secrets stand in no log");
    });
}

fn refusals(host: &str, page: &str) {
    // An email that the provider itself doubts.
    let mut browser = Browser::default();
    let refused = browser.walk(page, "doubtful@example.org", host);
    assert!(refused.status == 403 && refused.text().contains("not verified") && browser.user(host).is_none(), "{refused:?}");
    // A callback that nobody began, and one of another browser.
    let callback = format!("http://{host}/_ah/login/callback");
    let mut victim = Browser::default();
    assert_eq!(victim.send("GET", &format!("{callback}?code=x&state=y"), None).status, 403);
    let begun = victim.send("GET", &format!("http://{host}/_ah/login"), None).expect(302);
    let state = begun.header("location").and_then(|to| to.split("state=").nth(1)?.split('&').next().map(str::to_owned)).expect("a state");
    let mut other = Browser::default();
    assert_eq!(other.send("GET", &format!("{callback}?code=x&state={state}"), None).status, 403);
    // A code that the provider does not know, and a refusal of its own.
    let bad = victim.send("GET", &format!("{callback}?code=x&state={state}"), None);
    assert!(bad.status == 403 && victim.user(host).is_none(), "{bad:?}");
    let denied = victim.send("GET", &format!("{callback}?error=access_denied&error_description=%3Cb%3E&state={state}"), None);
    assert!(denied.status == 403 && !denied.text().contains("<b>"), "{denied:?}");
    // Our own form signs nobody in any more.
    let posted = victim.send("POST", &format!("http://{host}/_ah/login"), Some("email=eve@example.org&admin=True&action=Login&continue=/"));
    assert!(posted.header("location").is_some_and(|to| to.contains("/auth?")) && victim.user(host).is_none(), "{posted:?}");
}

#[test]
fn s3_a_provider_signs_users_of_a_server_in_and_may_be_down() {
    let (mut provider, secret) = (Provider::start(), secret());
    let server = ServeNode::with(
        env!("CARGO_BIN_EXE_enginehouse"),
        flags(&provider, secret.path()).into_iter().chain(["--project".to_owned(), "shop".to_owned()]),
    );
    server.deploy("shop", &app(Python::Three), &["--version", "v1"]);
    let host = format!("shop.local.r.localhost:{}", server.http().port());
    // It does not answer yet.
    let mut browser = Browser::default();
    let down = browser.send("GET", &format!("http://{host}/_ah/login"), None);
    assert!(down.status == 502 && down.text().contains("cannot be asked"), "{down:?}");
    provider.open(&[&host]);
    let answer = browser.walk(&format!("http://{host}/page"), "ann@example.org", &host).expect(200);
    assert!(answer.text().contains("ann@example.org"), "{}", answer.text());
}

#[test]
fn s3_flags_of_the_provider_are_checked() {
    let app = app(Python::Three);
    let refused = |args: &[&str], wanted: &str| {
        let folder = app.path().to_str().expect("UTF-8");
        let finished = crate::command(["run", folder, "--port", "0"].into_iter().chain(args.iter().copied()));
        assert!(finished.code != Some(0) && finished.stderr.contains(wanted), "{finished:?}");
    };
    refused(&["--oidc-issuer", "http://idp.example.org", "--oidc-client-id", "x"], "https address");
    refused(&["--oidc-issuer", "https://idp.example.org"], "--oidc-client-id");
    refused(&["--oidc-issuer", "https://idp.example.org", "--oidc-client-id", "x", "--oidc-client-secret-file", "/nowhere"], "/nowhere");
}
