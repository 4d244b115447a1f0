//! gcloud itself, where it is installed. Its conversations are in `recorded.rs` too, so that they are tested everywhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use testkit::{App, ServeNode};

use super::clients::text;

/// gcloud on this machine: $GCLOUD, or the one on the path.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("GCLOUD").map(PathBuf::from);
    let on_path = || std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join("gcloud")).find(|file| file.is_file());
    named.or_else(on_path)
}

/// A gcloud that knows nothing but our server.
struct Gcloud<'a> {
    program: PathBuf,
    server: &'a ServeNode,
    home: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl<'a> Gcloud<'a> {
    /// As `enginehouse gcloud-env` sets it up; `None` if there is no gcloud here.
    fn new(server: &'a ServeNode) -> Option<Self> {
        let Some(program) = program() else {
            testkit::node::say("gcloud is not installed: its recorded conversations are tested, itself it is not");
            return None;
        };
        let home = tempfile::tempdir().expect("a folder");
        let url = server.admin_url();
        let output = Command::new(env!("CARGO_BIN_EXE_enginehouse"))
            .args(["gcloud-env", "--shell", "sh", "--server", &url, "--project", "demo", "--data"])
            .arg(server.data())
            .env("XDG_STATE_HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path())
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        assert!(!printed.contains(&server.owner_token()), "the token itself is not shown");
        let variables = printed.lines().map(|line| {
            let (name, value) = line.strip_prefix("export ").and_then(|line| line.split_once('=')).expect("export NAME='VALUE'");
            (name.to_owned(), value.trim_matches('\'').to_owned())
        });
        let variables = variables.collect();
        Some(Self { program, server, home, variables })
    }

    fn output(&self, folder: &Path, args: &[&str]) -> Output {
        Command::new(&self.program)
            .args(args)
            .current_dir(folder)
            .env("CLOUDSDK_CONFIG", self.home.path().join("config"))
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("gcloud runs")
    }

    /// Runs a command, which must succeed; what it printed on both streams.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        let args: Vec<&str> = line.split(' ').collect();
        let output = self.output(self.home.path(), &args);
        assert!(output.status.success(), "gcloud {line}:\n{}{}", text(&output.stderr), text(&output.stdout));
        text(&output.stdout) + &text(&output.stderr)
    }

    /// Runs a command and reads its answer.
    #[track_caller]
    fn json(&self, line: &str) -> Value {
        let mut args: Vec<&str> = line.split(' ').collect();
        args.push("--format=json");
        let output = self.output(self.home.path(), &args);
        assert!(output.status.success(), "gcloud {line}:\n{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("gcloud {line}: {}", text(&output.stdout)))
    }

    /// Runs a command, which must fail; what it says.
    #[track_caller]
    fn fails(&self, line: &str) -> String {
        let args: Vec<&str> = line.split(' ').collect();
        let output = self.output(self.home.path(), &args);
        assert!(!output.status.success(), "gcloud {line} succeeds: {}", text(&output.stdout));
        text(&output.stderr)
    }

    #[track_caller]
    fn deploy(&self, app: &App, args: &[&str]) -> String {
        let output = self.output(app.path(), &[&["app", "deploy"], args].concat());
        assert!(output.status.success(), "gcloud app deploy {args:?}:\n{}\n{}", text(&output.stderr), self.server.log());
        text(&output.stderr)
    }
}

/// An app of static files, which needs no instance to be ready.
fn page(content: &str) -> App {
    let yaml = "runtime: python27\napi_version: 1\nthreadsafe: true\nhandlers:\n- url: /\n  static_files: static/index.html\n  upload: static/index.html\n- url: /static\n  static_dir: static\n";
    App::with_yaml(yaml).file("static/index.html", content)
}

#[test]
fn t9_gcloud_deploys_and_moves_traffic() {
    let server = super::server();
    let Some(gcloud) = Gcloud::new(&server) else { return };
    let told = gcloud.deploy(&page("one"), &["app.yaml", "--version=v1", "--quiet"]);
    assert!(told.contains("Deployed service [default]"), "{told}");
    let get = |host: &str| server.get(host, "/static/index.html").text();
    assert_eq!(get("demo.local.r.localhost"), "one");
    gcloud.deploy(&page("two"), &["--version=v2", "--no-promote"]);
    assert_eq!((get("demo.local.r.localhost").as_str(), get("v2-dot-demo.local.r.localhost").as_str()), ("one", "two"));
    let versions = gcloud.json("app versions list");
    let shares: Vec<_> = versions.as_array().into_iter().flatten().map(|one| json!([one["id"], one["traffic_split"]])).collect();
    assert_eq!(shares, [json!(["v1", 1.0]), json!(["v2", 0.0])]);
    gcloud.run("app services set-traffic default --splits v1=.75,v2=.25 --split-by cookie");
    let split = gcloud.json("app services describe default")["split"].clone();
    assert_eq!(split, json!({"allocations": {"v1": 0.75, "v2": 0.25}, "shardBy": "COOKIE"}));
    assert!(gcloud.fails("app versions delete v1").contains("traffic"));
    gcloud.run("app services set-traffic default --splits v2=1");
    gcloud.run("app versions delete v1 --service default");
    assert_eq!(gcloud.json("app versions list").as_array().map(Vec::len), Some(1));
    assert_eq!(get("demo.local.r.localhost"), "two");
    let operations = gcloud.json("app operations list");
    assert!(operations.as_array().is_some_and(|all| all.len() >= 5), "{operations}");
    assert!(gcloud.run("app browse --no-launch-browser").contains("demo.local.r.localhost"));
}

#[test]
fn t9_gcloud_deploys_configuration_files_twice() {
    let server = super::server();
    let Some(gcloud) = Gcloud::new(&server) else { return };
    let app = page("one")
        .file(
            "cron.yaml",
            "cron:\n- description: daily\n  url: /tasks/summary\n  schedule: every 24 hours\n  retry_parameters:\n    job_retry_limit: 3\n",
        )
        .file("queue.yaml", "queue:\n- name: default\n  rate: 1/s\n- name: mail\n  rate: 20/s\n  bucket_size: 40\n  target: v2.worker\n")
        .file("index.yaml", "indexes:\n- kind: Cat\n  properties:\n  - name: name\n  - name: age\n    direction: desc\n")
        .file("dispatch.yaml", "dispatch:\n- url: \"*/favicon.ico\"\n  service: default\n");
    gcloud.deploy(&app, &["app.yaml", "cron.yaml", "queue.yaml", "index.yaml", "dispatch.yaml"]);
    let region = "local";
    let jobs = format!("/v1beta1/projects/demo/locations/{region}/jobs?legacyAppEngineCron=true");
    let before = server.done("GET", &jobs, "");
    assert_eq!(before["jobs"].as_array().map(Vec::len), Some(1), "{before}");
    let rules = server.done("GET", "/v1/apps/demo", "")["dispatchRules"].clone();
    assert_eq!(rules, json!([{"domain": "*", "path": "/favicon.ico", "service": "default"}]));
    // The same again changes nothing: gcloud compares what is there with what it would send.
    let rev = |server: &ServeNode| server.done("GET", "/enginehouse/v1/server", "")["revision"].clone();
    let was = rev(&server);
    gcloud.deploy(&app, &["cron.yaml", "queue.yaml", "index.yaml"]);
    assert_eq!(rev(&server), was, "{}", server.log());
    app.write("cron.yaml", "cron:\n- url: /other\n  schedule: every 2 hours\n");
    gcloud.deploy(&app, &["cron.yaml"]);
    let after = server.done("GET", &jobs, "");
    assert_eq!(after["jobs"][0]["appEngineHttpTarget"]["relativeUri"], "/other", "{after}");
    assert_eq!(after["jobs"].as_array().map(Vec::len), Some(1));
}

#[test]
fn t9_gcloud_looks_after_an_app() {
    let server = super::server();
    let Some(gcloud) = Gcloud::new(&server) else { return };
    gcloud.deploy(&page("one"), &["--version=v1"]);
    assert_eq!(gcloud.json("app describe")["id"], "demo");
    assert!(gcloud.json("app regions list").as_array().is_some_and(|all| !all.is_empty()));
    gcloud.run("app update --ssl-policy TLS_VERSION_1_2");
    gcloud.run("app services update default --ingress internal-only");
    gcloud.run("app firewall-rules create 100 --action deny --source-range 192.0.2.0/24 --description no");
    gcloud.run("app firewall-rules update 100 --action allow");
    assert_eq!(gcloud.json("app firewall-rules describe 100")["action"], "ALLOW");
    assert_eq!(gcloud.json("app firewall-rules test-ip 192.0.2.7").as_array().map(Vec::len), Some(2));
    gcloud.run("app firewall-rules delete 100");
    gcloud.run("app domain-mappings create shop.example.org --certificate-management manual");
    assert_eq!(gcloud.json("app domain-mappings list")[0]["id"], "shop.example.org");
    gcloud.run("app domain-mappings delete shop.example.org");
    assert_eq!(gcloud.json("app ssl-certificates list"), json!([]));
    assert_eq!(gcloud.json("app instances list"), json!([]));
    let host = "demo.local.r.localhost";
    server.get(host, "/?from=gcloud");
    server.eventually(host, "/", |_| gcloud.run("app logs read --limit=50").contains("GET /?from=gcloud HTTP/1.1"));
    assert!(gcloud.fails("app versions describe v9 --service default").contains("not found"));
}

#[test]
fn s1_gcloud_looks_after_queues_and_tasks() {
    let server = super::server();
    let Some(gcloud) = Gcloud::new(&server) else { return };
    gcloud.deploy(&page("one"), &["--version=v1"]);
    gcloud.run("tasks queues create mail --location=local --max-concurrent-dispatches=3");
    gcloud.run("tasks queues pause mail --location=local");
    assert_eq!(gcloud.json("tasks queues describe mail --location=local")["state"], "PAUSED");
    let made = gcloud.json("tasks create-app-engine-task one --queue=mail --location=local --relative-uri=/static/index.html --method=GET");
    assert!(made["name"].as_str().is_some_and(|name| name.ends_with("/queues/mail/tasks/one")), "{made}");
    gcloud.run(
        "tasks create-app-engine-task two --queue=mail --location=local --body-content=hello --header=X-Own:yes --routing=service:default",
    );
    let listed = gcloud.json("tasks list --queue=mail --location=local");
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    let told = gcloud.json("tasks describe two --queue=mail --location=local");
    assert_eq!((&told["appEngineHttpRequest"]["httpMethod"], &told["view"]), (&"POST".into(), &"BASIC".into()), "{told}");
    gcloud.run("tasks run one --queue=mail --location=local");
    gcloud.run("tasks delete two --queue=mail --location=local");
    assert!(gcloud.fails("tasks describe two --queue=mail --location=local").contains("NOT_FOUND"));
    gcloud.run("tasks queues purge mail --location=local");
    gcloud.run("tasks queues resume mail --location=local");
    gcloud.run("tasks queues delete mail --location=local");
}

#[test]
fn t9_gcloud_makes_an_app_and_stops_starts_and_deletes_what_is_in_it() {
    let server = super::server();
    let Some(gcloud) = Gcloud::new(&server) else { return };
    gcloud.run("app create --region=local --project=second");
    assert_eq!(gcloud.json("app describe --project=second")["id"], "second");
    gcloud.deploy(&page("one"), &["--version=v1"]);
    let manual = "service: api\nmanual_scaling:\n  instances: 1\n";
    let main = "import os\n\n\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'api']\n";
    let api = crate::apps::app(testkit::Python::Three, manual, main);
    gcloud.deploy(&api, &["--version=a1"]);
    let host = "api-dot-demo.local.r.localhost";
    server.get(host, "/").expect(200);
    gcloud.run("app versions stop a1 --service api");
    assert_eq!(gcloud.json("app versions describe a1 --service api")["servingStatus"], "STOPPED");
    server.get(host, "/").expect(404);
    gcloud.run("app versions start a1 --service api");
    server.eventually(host, "/", |answer| answer.status == 200);
    let instances = gcloud.json("app instances list --service api");
    let id = instances[0]["id"].as_str().expect("an instance");
    assert_eq!(gcloud.json(&format!("app instances describe {id} --service api --version a1"))["id"], *id);
    gcloud.run(&format!("app instances delete {id} --service api --version a1"));
    gcloud.run("app services delete api");
    let services = gcloud.json("app services list");
    assert_eq!(services.as_array().map(Vec::len), Some(1), "{services}");
    // Nothing of it is left; the default service answers in its place.
    assert_eq!(server.get(host, "/static/index.html").expect(200).text(), "one");
    assert!(gcloud.fails("app services delete default").contains("may not be deleted"));
}
