//! cron.yaml (rows S2, H13, Y18): jobs run by themselves, when somebody asks, again when they fail, and after a crash.

use testkit::{App, Finished, Node, Python, Request, ServeNode};

use crate::{command, node, on_both};

/// Remembers how it is asked; `/fails` fails.
const WITNESS: &str = r"
seen = []


def app(environ, start_response):
    path = environ['PATH_INFO']
    names = ['REQUEST_METHOD', 'QUERY_STRING', 'HTTP_X_APPENGINE_CRON', 'HTTP_X_APPENGINE_USER_IP', 'HTTP_USER_AGENT', 'HTTP_HOST']
    if path != '/seen':
        seen.append(' '.join([path] + [environ.get(name, '-') for name in names]))
    start_response('503 Not now' if path == '/fails' else '200 OK', [('Content-Type', 'text/plain')])
    return ['\n'.join(seen).encode('ascii')] if path == '/seen' else [b'x' * 100000]
";

const CRON: &str = "cron:\n- description: tidies up\n  url: /task/tidy?n=1\n  schedule: every 24 hours\n- url: /fails\n  schedule: every day 00:00\n  \
                    timezone: Europe/Berlin\n  retry_parameters:\n    job_retry_limit: 2\n    min_backoff_seconds: 0.1\n";

fn app(python: Python) -> App {
    let script = python.script();
    let handlers = format!("handlers:\n- url: /task/.*\n  script: {script}\n  login: admin\n- url: /.*\n  script: {script}\n");
    let yaml = format!("{}automatic_scaling:\n  max_instances: 1\n{handlers}", python.head());
    App::with_yaml(&yaml).file("main.py", WITNESS).file("cron.yaml", CRON)
}

/// `enginehouse cron …`, which must succeed.
fn cron<'a>(flags: &[&'a str], asked: &[&'a str]) -> Finished {
    let finished = command(["cron"].into_iter().chain(asked.iter().copied()).chain(flags.iter().copied()));
    assert_eq!(finished.code, Some(0), "{asked:?}: {finished:?}");
    finished
}

fn described(flags: &[&str], job: &str) -> serde_json::Value {
    serde_json::from_str(&cron(flags, &["describe", job, "--format", "json"]).stdout).expect("JSON")
}

fn runs(text: &str, path: &str) -> usize {
    text.lines().filter(|line| line.starts_with(path)).count()
}

#[test]
fn s2_h13_y18_jobs_are_requests_of_the_house() {
    on_both(|python| {
        let (app, home) = (app(python), tempfile::tempdir().expect("a folder"));
        let storage = home.path().join("storage").to_str().expect("UTF-8").to_owned();
        let start = || node().app(&app).args(["--storage", &storage]).start();
        let mut running: Node = start();
        let flags = ["--storage", storage.as_str()];
        let listed = cron(&flags, &["list"]).stdout;
        assert!(listed.contains("task-tidy") && listed.contains("every 24 hours") && listed.contains("ENABLED"), "{listed}");
        cron(&flags, &["run", "/task/tidy?n=1"]);
        let seen = running.eventually(&Request::get("/seen"), |answer| runs(&answer.text(), "/task/tidy") == 1).text();
        let port = running.address().port();
        let wanted = format!("/task/tidy GET n=1 true 0.1.0.1 AppEngine-Google; (+http://code.google.com/appengine) localhost:{port}");
        assert_eq!(seen, wanted, "{python:?}");
        // Nobody else is taken for cron.
        let outside = Request::get("/task/tidy").header("X-Appengine-Cron", "true").header("X-AppEngine_Cron", "true");
        running.send(&outside).expect(302);
        running.send(&Request::get("/open").header("X-Appengine-Cron", "true")).expect(200);
        let seen = running.get("/seen").text();
        assert!(seen.contains("/open GET - - 127.0.0.1") || seen.contains("/open GET  - 127.0.0.1"), "{seen}");
        // Twice again, and no more.
        cron(&flags, &["run", "fails"]);
        running.wait_line("the last failure", |line| line.contains("the cron job fails (/fails) was answered with status 503"));
        running.eventually(&Request::get("/seen"), |answer| runs(&answer.text(), "/fails") == 3);
        let told = loop {
            let told = described(&flags, "fails");
            if told["failures"] == 3 {
                break told;
            }
        };
        assert!(told["last"]["status"] == 503 && told["next"].as_str().is_some_and(|next| next.ends_with("00Z")), "{told}");
        assert_eq!(described(&flags, "task-tidy")["last"]["status"], 200);
        cron(&flags, &["pause", "task-tidy"]);
        assert_eq!(running.stop().code(), Some(0));
        // What was paused rests after a restart too.
        let mut running = start();
        assert_eq!(described(&flags, "task-tidy")["state"], "PAUSED");
        cron(&flags, &["resume", "task-tidy"]);
        assert_eq!(described(&flags, "task-tidy")["state"], "ENABLED");
        app.write("cron.yaml", CRON.replace("/task/tidy?n=1", "/task/other"));
        running.wait_line("the reload", |line| line.contains("cron.yaml"));
        assert_eq!(described(&flags, "task-other")["state"], "ENABLED");
        let missing = command(["cron", "run", "task-tidy", "--storage", &storage]);
        assert!(missing.code != Some(0) && missing.stderr.contains("no cron job `task-tidy`"), "{missing:?}");
        running.stop();
    });
}

#[test]
fn s2_jobs_of_a_server_outlive_it() {
    let app = app(Python::Two);
    let mut server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), ["--project", "shop"]);
    server.deploy("shop", &app, &["--version", "v1"]);
    server.deploy_folder("shop", &app.join("cron.yaml"), &[]);
    let host = "shop.local.r.localhost";
    let flags = |server: &ServeNode| {
        ["--server".to_owned(), server.admin_url(), "--token".into(), server.owner_token(), "--project".into(), "shop".into()]
    };
    let names = |server: &ServeNode| -> Vec<(String, String)> {
        let all = server.done("GET", "/enginehouse/v1/apps/shop/cron", "");
        let jobs = all["jobs"].as_array().expect("jobs").iter();
        jobs.map(|job| (job["name"].as_str().unwrap_or_default().to_owned(), job["url"].as_str().unwrap_or_default().to_owned())).collect()
    };
    let jobs = names(&server);
    let tidy = jobs.iter().find(|(_, url)| url == "/task/tidy?n=1").expect("deployed").0.clone();
    let own = flags(&server);
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    cron(&own, &["run", "/task/tidy?n=1"]);
    server.eventually(host, "/seen", |answer| runs(&answer.text(), "/task/tidy GET n=1 true 0.1.0.1") == 1);
    cron(&own, &["pause", "/fails"]);
    let scheduler = format!("/v1/projects/shop/locations/local/jobs/{tidy}");
    server.done("POST", &format!("{scheduler}:run"), "{}");
    server.eventually(host, "/seen", |answer| runs(&answer.text(), "/task/tidy GET n=1 true") == 2);
    let told = loop {
        let told = server.done("GET", &scheduler, "");
        if told["status"] == serde_json::json!({}) {
            break told;
        }
    };
    assert!(told["lastAttemptTime"].is_string() && told["scheduleTime"].is_string(), "{told}");
    let place = "/v1beta1/projects/shop/locations/local/jobs";
    let told = server.done("GET", &format!("{place}?legacyAppEngineCron=true"), "");
    let states: Vec<_> = told["jobs"].as_array().expect("jobs").iter().map(|job| job["state"].clone()).collect();
    assert!(states.contains(&"PAUSED".into()) && states.contains(&"ENABLED".into()), "{told}");
    // The server is away when both jobs' time comes: the one that rests does not run, the other one once.
    server.kill();
    let file = walk(&server.data()).into_iter().find(|path| path.ends_with("cron.json")).expect("the state of jobs");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect("read")).expect("JSON");
    for job in state.as_object_mut().expect("jobs").values_mut() {
        job["kept"]["scheduled"] = 1_000_000.into();
    }
    std::fs::write(&file, state.to_string()).expect("written");
    server.restart();
    server.eventually(host, "/seen", |answer| runs(&answer.text(), "/task/tidy GET n=1 true") == 1);
    let now = server.done("GET", &format!("/enginehouse/v1/apps/shop/cron/{tidy}"), "");
    assert!(now["last"]["status"] == 200 || now["state"] == "RUNNING", "{now}");
    let seen = server.get(host, "/seen").text();
    assert_eq!((runs(&seen, "/task/tidy"), runs(&seen, "/fails")), (1, 0), "{seen}");
    // The process that takes over runs the jobs from then on.
    server.upgrade();
    assert_eq!(names(&server), jobs);
    server.done("POST", &format!("/enginehouse/v1/apps/shop/cron/{tidy}:run"), "{}");
    server.eventually(host, "/seen", |answer| runs(&answer.text(), "/task/tidy GET n=1 true") == 1);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .flat_map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { walk(&entry.path()) } else { vec![entry.path()] })
        .collect()
}

/// Says in the folder of `FOLDER` when it begins and ends, and ends as soon as it may; `/at` at once.
const SLOW: &str = r"
import os
import time


def note(text):
    handle = os.open(os.path.join(os.environ['FOLDER'], 'notes'), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (text + chr(10)).encode('ascii'))
    os.close(handle)


def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/at':
        note('at %d' % (time.time() // 60))
    elif path == '/long':
        note('begun %s %s' % (path, environ.get('HTTP_X_APPENGINE_CRON', '-')))
        until = time.time() + 300
        while not os.path.exists(os.path.join(os.environ['FOLDER'], 'go')) and time.time() < until:
            time.sleep(0.01)
        note('ended ' + path)
    start_response('200 OK', [])
    return []
";

/// An app whose jobs take as long as the test wants, and the folder that it shares with the test.
struct Slow {
    app: App,
    shared: tempfile::TempDir,
}

impl Slow {
    fn new(python: Python, cron: &str) -> Self {
        let shared = tempfile::tempdir().expect("a folder");
        let extra = format!("automatic_scaling:\n  max_instances: 1\nenv_variables:\n  FOLDER: {}\n", shared.path().display());
        let app = crate::apps::app(python, &extra, SLOW).file("cron.yaml", cron);
        Self { app, shared }
    }

    fn server(&self) -> ServeNode {
        let share = format!("{}:rw", self.shared.path().display());
        let args = ["--project", "shop", "--share", &share, "--grace", "1", "--patience", "300"];
        let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), args);
        server.deploy("shop", &self.app, &["--version", "v1"]);
        server.deploy_folder("shop", &self.app.join("cron.yaml"), &[]);
        self.until("the job is known", || only_job(&server)["name"].is_string());
        server
    }

    fn go(&self) {
        std::fs::write(self.shared.path().join("go"), "").expect("written");
    }

    fn notes(&self) -> String {
        std::fs::read_to_string(self.shared.path().join("notes")).unwrap_or_default()
    }

    fn count(&self, line: &str) -> usize {
        runs(&self.notes(), line)
    }

    #[track_caller]
    fn until(&self, what: &str, is: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !is() {
            assert!(begun.elapsed().as_secs() < 180, "{what}: {}", self.notes());
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }
}

/// The only job of the app, as it is told.
fn only_job(server: &ServeNode) -> serde_json::Value {
    server.done("GET", "/enginehouse/v1/apps/shop/cron", "")["jobs"][0].clone()
}

fn run_url(job: &serde_json::Value) -> String {
    format!("/enginehouse/v1/apps/shop/cron/{}:run", job["name"].as_str().expect("a name"))
}

#[test]
fn s2_a_job_that_runs_over_a_hand_over_is_neither_lost_nor_run_twice() {
    on_both(|python| {
        let slow = Slow::new(python, "cron:\n- url: /long\n  schedule: every 24 hours\n");
        let mut server = slow.server();
        let run = run_url(&only_job(&server));
        server.done("POST", &run, "{}");
        slow.until("the job begins", || slow.count("begun /long true") == 1);
        let heir = server.begin_upgrade();
        slow.until("the new process knows the job", || only_job(&server)["state"] == "RUNNING");
        let refused = server.api("POST", &run, "{}");
        assert!(refused.status == 400 && refused.text().contains("runs already"), "{python:?}: {}", refused.text());
        slow.go();
        server.node().handed_over(heir);
        slow.until("its end is known", || only_job(&server)["last"]["status"] == 200);
        let told = only_job(&server);
        assert_eq!((told["state"].as_str(), slow.count("begun"), slow.count("ended")), (Some("ENABLED"), 1, 1), "{python:?}: {told}");
        server.done("POST", &run, "{}");
        slow.until("it runs again", || slow.count("ended") == 2);
    });
}

#[test]
fn s2_the_job_of_a_process_that_died_after_its_hand_over_is_tried_again() {
    let retry = "  retry_parameters:\n    job_retry_limit: 1\n    min_backoff_seconds: 0.1\n";
    let slow = Slow::new(Python::Two, &format!("cron:\n- url: /long\n  schedule: every 24 hours\n{retry}"));
    let mut server = slow.server();
    server.done("POST", &run_url(&only_job(&server)), "{}");
    slow.until("the job begins", || slow.count("begun") == 1);
    let heir = server.begin_upgrade();
    server.node().kill_predecessor(heir);
    slow.until("it begins again", || slow.count("begun") == 2);
    slow.go();
    slow.until("its end is known", || only_job(&server)["last"]["status"] == 200);
    assert_eq!(slow.count("ended"), 1);
}

#[test]
fn s2_a_turn_that_comes_during_hand_overs_runs_once() {
    let slow = Slow::new(Python::Two, "cron:\n- url: /at\n  schedule: every 1 minutes synchronized\n");
    let mut server = slow.server();
    // One process after the other, until a turn came among them.
    let begun = std::time::Instant::now();
    while slow.count("at ") == 0 {
        assert!(begun.elapsed().as_secs() < 180, "no turn came:\n{}", server.log());
        server.upgrade();
    }
    server.upgrade();
    let notes = slow.notes();
    let minutes: std::collections::BTreeSet<&str> = notes.lines().collect();
    assert_eq!(minutes.len(), notes.lines().count(), "twice in a minute: {notes}");
}

#[test]
fn h13_a_job_has_the_time_that_it_is_given_and_is_tried_again() {
    on_both(|python| {
        let retry = "  retry_parameters:\n    job_retry_limit: 1\n    min_backoff_seconds: 0.1\n";
        let slow = Slow::new(python, &format!("cron:\n- url: /long\n  schedule: every 24 hours\n  attempt_deadline: 2s\n{retry}"));
        let home = tempfile::tempdir().expect("a folder");
        let storage = home.path().join("storage").to_str().expect("UTF-8").to_owned();
        let running = node().app(&slow.app).args(["--storage", &storage, "--patience", "300"]).share(slow.shared.path()).start();
        let flags = ["--storage", storage.as_str()];
        cron(&flags, &["run", "/long"]);
        slow.until("both tries begin", || slow.count("begun /long true") == 2);
        running.wait_line("the first failure", |line| line.contains("the cron job long (/long) was answered with status 500"));
        slow.until("the second failure", || described(&flags, "long")["failures"] == 2);
        let told = described(&flags, "long");
        assert!(told["last"]["status"] == 500 && slow.count("ended") == 0, "{python:?}: {told}");
    });
}
