//! The commands that speak to a server, before a double that does what a test says.

mod deploying;
pub(crate) mod double;
mod real;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::expect;
use serde_json::{Value, json};
use testkit::Finished;

use double::{Asked, Double};

/// Runs a command with a home of its own and this on its standard input.
#[track_caller]
pub(crate) fn ask(home: &Path, url: &str, args: &[&str], input: &str) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enginehouse"));
    command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home).env("TZ", "UTC");
    if !url.is_empty() {
        command.env("ENGINEHOUSE_SERVER", url);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    // A command that asks nothing may be gone already.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let done = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Finished { code: done.status.code(), stdout: text(&done.stdout), stderr: text(&done.stderr) }
}

/// Runs a command before a double, about the app `demo`.
#[track_caller]
fn run(double: &Double, args: &[&str], input: &str) -> Finished {
    let home = tempfile::tempdir().expect("a folder");
    let args: Vec<&str> = args.iter().copied().chain(["--project", "demo", "--token", "secret"]).collect();
    ask(home.path(), &double.url(), &args, input)
}

fn error(code: u16, message: &str) -> (u16, Value) {
    (code, json!({"error": {"code": code, "message": message, "status": "X"}}))
}

/// An app with two versions.
fn shop(asked: &Asked) -> (u16, Value) {
    let version = |id: &str, day: u8| {
        json!({"id": id, "name": format!("apps/demo/services/default/versions/{id}"), "runtime": "python312", "servingStatus": "SERVING",
            "createTime": format!("2026-01-{day:02}T10:00:00.123Z"), "createdBy": "ann@example.org", "diskUsageBytes": "4200000"})
    };
    let service =
        json!({"id": "default", "name": "apps/demo/services/default", "split": {"allocations": {"v1": 0.6, "v2": 0.4}, "shardBy": "IP"}});
    let done = json!({"name": "apps/demo/operations/op1", "done": true, "metadata": {}, "response": {}});
    match asked.what().as_str() {
        "GET /v1/apps/demo/services" => (200, json!({"services": [service]})),
        "GET /v1/apps/demo/services/default" => (200, service),
        "GET /v1/apps/demo/services/default/versions" if asked.path.contains("pageToken=more") => {
            (200, json!({"versions": [version("v1", 1)]}))
        }
        "GET /v1/apps/demo/services/default/versions" => (200, json!({"versions": [version("v2", 2)], "nextPageToken": "more"})),
        "GET /v1/apps/demo/services/default/versions/v1" => (200, version("v1", 1)),
        "GET /v1/apps/demo/services/default/versions/v3" => (200, version("v3", 3)),
        what if !what.starts_with("GET") => (200, done),
        what => error(404, &format!("There is no {what}.")),
    }
}

#[test]
fn t9_versions_are_listed_in_every_format() {
    let double = Double::start(shop);
    let printed = |format: &str| {
        let done = run(&double, &["versions", "list", "--format", format], "");
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout
    };
    expect![[r"
        SERVICE  VERSION  TRAFFIC  STATUS   RUNTIME    SIZE    DEPLOYED              BY
        default  v1          60 %  SERVING  python312  4.2 MB  2026-01-01T10:00:00Z  ann@example.org
        default  v2          40 %  SERVING  python312  4.2 MB  2026-01-02T10:00:00Z  ann@example.org
    "]]
    .assert_eq(&printed("table"));
    assert_eq!(printed("value(id,trafficAllocation)"), "v1\t0.6\nv2\t0.4\n");
    assert_eq!(printed("csv(id,createdBy)"), "id,createdBy\nv1,ann@example.org\nv2,ann@example.org\n");
    let listed: Value = serde_json::from_str(&printed("json")).expect("JSON");
    assert_eq!(listed[1]["id"], "v2");
    assert!(printed("yaml").starts_with("---\ncreateTime: "), "{}", printed("yaml"));
    assert!(double.asked().iter().all(|asked| asked.token == "secret"));
}

#[test]
fn t4_nothing_changes_without_a_yes() {
    let double = Double::start(shop);
    for (input, hint) in [("n\n", "Nothing was done"), ("", "--quiet")] {
        let done = run(&double, &["traffic", "set", "v1=1", "v2=3", "--by", "cookie"], input);
        assert_eq!(done.code, Some(7), "{done:?}");
        assert!(done.stderr.contains("v1     60 % → 25 %") && done.stderr.contains(hint), "{}", done.stderr);
    }
    assert_eq!(double.mutations().len(), 0);
    for (input, flag) in [("\n", None), ("y\n", None), ("", Some("--quiet"))] {
        let args: Vec<&str> = ["traffic", "set", "v1=1", "v2=3", "--by", "cookie"].into_iter().chain(flag).collect();
        let done = run(&double, &args, input);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let sent = double.mutations();
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0].path, "/v1/apps/demo/services/default?updateMask=split");
    assert_eq!(sent[0].body, json!({"split": {"allocations": {"v1": 0.25, "v2": 0.75}, "shardBy": "COOKIE"}}));
}

#[test]
fn t8_a_version_with_traffic_is_not_deleted() {
    let double = Double::start(shop);
    let done = run(&double, &["versions", "delete", "v1", "--quiet"], "");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("enginehouse traffic set"), "{}", done.stderr);
    let done = run(&double, &["versions", "delete", "v3", "--quiet"], "");
    assert_eq!(done.code, Some(0), "{done:?}");
    let deleted: Vec<String> = double.mutations().iter().map(Asked::what).collect();
    assert_eq!(deleted, ["DELETE /v1/apps/demo/services/default/versions/v3"]);
}

#[test]
fn failures_have_their_exit_status_and_a_way_out() {
    let cases = [
        (error(401, "Request had invalid authentication credentials."), 4, "owner-token"),
        (error(403, "The caller does not have permission"), 4, "enginehouse token create"),
        (error(404, "Could not find Application \"demo\"."), 5, "Could not find"),
        (error(409, "already in progress"), 6, "already in progress"),
        (
            (
                400,
                json!({"error": {"message": "Bad.", "details": [{"fieldViolations": [{"field": "split.allocations", "description": "sum"}]}]}}),
            ),
            6,
            "split.allocations: sum",
        ),
        ((500, json!("<h1>oops</h1>")), 1, "oops"),
        ((200, json!("no JSON")), 1, "is it an Admin API?"),
    ];
    for (answer, code, text) in cases {
        let double = Double::start(move |_| answer.clone());
        let done = run(&double, &["services", "describe", "default"], "");
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!(done.stderr.contains(text) && done.stdout.is_empty(), "{text}: {done:?}");
        assert!(!done.stderr.contains("secret"), "{}", done.stderr);
    }
    let home = tempfile::tempdir().expect("a folder");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let done = ask(home.path(), &format!("http://{free}"), &["services", "list", "-A", "demo"], "");
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(done.stderr.contains("connection refused") && done.stderr.contains("enginehouse serve"), "{}", done.stderr);
    let done = ask(home.path(), "localhost:1", &["services", "list", "-A", "demo"], "");
    assert_eq!(done.code, Some(2), "{done:?}");
}

#[test]
fn what_changes_nothing_is_asked_again_while_the_server_is_busy() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let double = Double::start(move |asked| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => error(503, "busy"),
        _ => shop(asked),
    });
    let done = run(&double, &["services", "list", "--format", "value(id)"], "");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "default\n"), "{done:?}");
    assert_eq!(double.asked().len(), 2);
    let busy = Double::start(|asked| if asked.method == "GET" { shop(asked) } else { error(503, "busy") });
    let done = run(&busy, &["traffic", "set", "v1", "-q"], "");
    assert_eq!((done.code, busy.mutations().len()), (Some(1), 1), "a change is never sent twice: {done:?}");
}

#[test]
fn what_is_remembered_is_kept_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let double = Double::start(shop);
    let home = tempfile::tempdir().expect("a folder");
    let plain = |args: &[&str], input: &str| ask(home.path(), "", args, input);
    for (key, value, input) in [("server", double.url(), ""), ("project", "demo".to_owned(), ""), ("token", "-".to_owned(), "hidden\n")] {
        let done = plain(&["config", "set", key, &value], input);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let shown = plain(&["config", "show"], "");
    assert!(shown.stdout.contains("demo") && !shown.stdout.contains("hidden"), "{shown:?}");
    let file = home.path().join(".config/enginehouse/config.json");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let done = plain(&["services", "list", "--format", "value(id)"], "");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "default\n"), "{done:?}");
    assert_eq!(double.asked().last().map(|asked| asked.token.clone()).as_deref(), Some("hidden"));
    let other = Double::start(shop);
    assert_eq!(ask(home.path(), &other.url(), &["services", "list"], "").code, Some(0));
    assert!(other.asked().iter().all(|asked| asked.token.is_empty()), "the token is for the remembered server only");
    assert_eq!(plain(&["config", "unset", "server"], "").code, Some(0));
    assert!(!std::fs::read_to_string(&file).expect("there").contains("hidden"));
}

#[test]
fn shells_get_completions() {
    let home = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let done = ask(home.path(), "", &["completions", shell], "");
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.contains("enginehouse") && done.stdout.contains("rollback"), "{shell}");
    }
}
