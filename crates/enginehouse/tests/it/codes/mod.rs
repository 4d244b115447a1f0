//! Every method and every error code of every service, raised by apps with the official SDKs on both Pythons (row M4). What there is to raise is asked of
//! the services' own cards: whoever adds a method or a code and no case fails the tests.

mod cases;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use services::card::{ALL, Card};
use services::proto::remote_api::rpc_error;
use testkit::{App, Connection, Node, Python, Request, Response, ServeNode};

use crate::fetch::elsewhere::Elsewhere;
use crate::node;
use cases::{CASES, Case, NEVER};

/// Where an app does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// In a run.
    Usual,
    /// In an instance of manual scaling.
    Instance,
    /// In a request with this bearer token.
    Bearing(&'static str),
    /// In a task.
    Task,
    /// In a run whose storage is broken.
    Broken,
    /// On a server.
    Server,
}

/// Which Pythons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Both,
    Two,
    Three,
}

impl Who {
    fn is(self, python: Python) -> bool {
        self == Self::Both || (self == Self::Two) == (python == Python::Two)
    }
}

/// The SDK's names of what is said before a service is asked (`_ExceptionsMap` of the SDKs' `apiproxy`).
const EXCEPTIONS: [(rpc_error::Code, &str); 9] = [
    (rpc_error::Code::CallNotFound, "CallNotFoundError"),
    (rpc_error::Code::ParseError, "ArgumentError"),
    (rpc_error::Code::SecurityViolation, "RPCFailedError"),
    (rpc_error::Code::OverQuota, "OverQuotaError"),
    (rpc_error::Code::RequestTooLarge, "RequestTooLargeError"),
    (rpc_error::Code::CapabilityDisabled, "CapabilityDisabledError"),
    (rpc_error::Code::FeatureDisabled, "FeatureNotEnabledError"),
    (rpc_error::Code::ResponseTooLarge, "ResponseTooLargeError"),
    (rpc_error::Code::DeadlineExceeded, "DeadlineExceededError"),
];

const QUEUES: &str = "queue:\n- name: default\n  rate: 100/s\n- name: slow\n  rate: 0\n- name: pull\n  mode: pull\n";

fn app(python: Python) -> App {
    let source = include_str!("app.py");
    let service = |app: App, name: &str, scaling: &str| {
        let yaml = python.head() + "service: " + name + "\nversion: v1\n" + scaling;
        match python {
            Python::Two => app
                .file(&format!("{name}/app.yaml"), format!("{yaml}handlers:\n- url: /.*\n  script: main.app\n"))
                .file(&format!("{name}/main.py"), source),
            Python::Three => {
                let wrapped = "from google.appengine.api import wrap_wsgi_app\napp = wrap_wsgi_app(app)\n";
                app.file(&format!("{name}/app.yaml"), format!("{yaml}app_engine_apis: true\n"))
                    .file(&format!("{name}/main.py"), format!("{source}\n\n{wrapped}"))
                    .file(&format!("{name}/requirements.txt"), "appengine-python-standard==3.1.0\nsetuptools<80\n")
            }
        }
    };
    let app = service(App::new(), "default", "automatic_scaling:\n  max_instances: 1\n");
    service(app, "api", "manual_scaling:\n  instances: 1\n").file("default/queue.yaml", QUEUES)
}

/// A service whose instance ends in the middle of its answer. On Python 3, whatever the app: the runtime of Python 2 sends answers whole.
fn half(app: App) -> App {
    let main = "import os\n\n\ndef app(environ, start_response):\n    start_response('200 OK', [('Content-Length', '1000000')])\n    \
        yield b'x' * 100000\n    os._exit(1)\n";
    let yaml = Python::Three.head() + "service: half\nversion: v1\n";
    app.file("half/app.yaml", yaml).file("half/main.py", main)
}

fn asks(expression: &str) -> String {
    "/?".to_owned() + &expression.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"))
}

/// An app on one Python, in all places.
struct Stage {
    there: Elsewhere,
    secure: Elsewhere,
    closed: String,
    usual: Node,
    broken: Node,
    server: ServeNode,
    token: String,
    _storage: tempfile::TempDir,
}

impl Stage {
    fn new(python: Python) -> Self {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
        let issuer = format!("http://{closed}");
        let app = half(app(python));
        let run = || node().file(&app, "default/app.yaml").file(&app, "api/app.yaml").args(["--patience", "300"]);
        let provider = ["--oidc-issuer", &issuer, "--oidc-client-id", "house"];
        let usual = run().file(&app, "half/app.yaml").args(["--urlfetch-allow", "127.0.0.0/8"]).args(provider).start();
        let storage = tempfile::tempdir().expect("a folder");
        let path = storage.path().join("storage");
        let broken = run().args(["--storage", path.to_str().expect("UTF-8")]).start();
        destroy(&path);
        let args = ["--project", "demo", "--patience", "300", "--mail-sender", "@example.com"];
        let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), args);
        let yaml = fs::read_to_string(app.join("default/app.yaml"))
            .expect("read")
            .replace("automatic_scaling:\n  max_instances: 1\n", "manual_scaling:\n  instances: 1\n");
        let manual =
            App::copy_of(&app.join("default")).file("app.yaml", yaml.replace("version: v1\n", "").replace("service: default\n", ""));
        server.deploy("demo", &manual, &["--version", "v1"]);
        let unknown = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
        let secure = Elsewhere::https("127.0.0.1", &unknown.cert.pem(), &unknown.signing_key.serialize_pem());
        let mut stage =
            Self { there: Elsewhere::http("127.0.0.1"), secure, closed, usual, broken, server, token: String::new(), _storage: storage };
        let scope = if python == Python::Two {
            "app_identity.get_access_token_uncached([SCOPE])[0]"
        } else {
            "ask('app_identity_service', 'GetAccessToken', scope=[SCOPE]).access_token"
        };
        let token = stage.usual.get(&asks(scope)).expect(200).json()["answer"].as_str().expect("a token").to_owned();
        token.trim_start_matches('u').trim_matches('\'').clone_into(&mut stage.token);
        stage
    }

    /// What came of a case.
    fn outcome(&self, case: &Case) -> Value {
        let Case(place, _, service, method, _, what) = case;
        let expression = match what.strip_prefix('=') {
            Some(expression) => expression.to_owned(),
            None => format!("ask('{service}', '{method}', {what})"),
        };
        let fill = |text: &str| {
            let (there, secure) = (self.there.url("http", ""), self.secure.url("https", ""));
            text.replace("{there}", &there).replace("{secure}", &secure).replace("{closed}", &self.closed).replace("{token}", &self.token)
        };
        let request = Request::get(&asks(&fill(&expression)));
        let json = |response: Response| response.expect(200).json();
        match place {
            Where::Usual => json(self.usual.send(&request.host("localhost"))),
            Where::Instance => json(self.usual.send(&request.host("0.v1.api.localhost"))),
            Where::Bearing(token) => {
                json(self.usual.send(&request.host("localhost").header("Authorization", &format!("Bearer {}", fill(token)))))
            }
            Where::Broken => json(self.broken.send(&request.host("localhost"))),
            Where::Server => json(Connection::open(self.server.http()).send(&request.host("demo.local.r.localhost"))),
            Where::Task => {
                json(self.usual.send(&request.host("localhost")));
                let worked = Request::get(&asks("calls.extend(worked)")).host("localhost");
                json(self.usual.eventually(&worked, |answer| answer.json()["calls"] != serde_json::json!([])))
            }
        }
    }
}

/// Makes what services keep on the disk unreadable, also for who may do everything.
fn destroy(storage: &Path) {
    for file in ["identity", "mail"] {
        let _ = fs::remove_dir_all(storage.join(file));
        fs::write(storage.join(file), "in the way").expect("written");
    }
    for folder in ["tasks.db", "logs/7fffffff.jsonl"] {
        let _ = fs::remove_file(storage.join(folder));
        fs::create_dir_all(storage.join(folder)).expect("made");
    }
}

fn card(service: &str) -> Option<&'static Card> {
    ALL.into_iter().find(|card| card.name == service)
}

/// How an app sees a code: its number, or the name of an exception.
fn seen(service: &str, code: &str) -> Value {
    if code == "OK" {
        return 0.into();
    }
    let numbered = card(service).and_then(|card| card.codes().find(|(_, name)| *name == code));
    numbered.map_or_else(|| code.into(), |(number, _)| number.into())
}

fn raise_all(python: Python) {
    let stage = Stage::new(python);
    let mut wrong = String::new();
    for case in CASES.iter().filter(|case| case.1.is(python)) {
        let Case(place, _, service, method, code, what) = case;
        let wanted = serde_json::json!([service, method, seen(service, code)]);
        // What depends on who comes first is tried again.
        let tries = if *place == Where::Server { 20 } else { 1 };
        let mut outcomes = (0..tries).map(|_| stage.outcome(case));
        let mut last = Value::Null;
        let raised = outcomes.any(|outcome| {
            let found = outcome["calls"].as_array().is_some_and(|calls| calls.contains(&wanted));
            last = outcome;
            found
        });
        if !raised {
            let _ = writeln!(wrong, "{service}.{method} {code} at {place:?} by {what}: {last}");
        }
    }
    assert!(wrong.is_empty(), "{python:?}:\n{wrong}");
}

#[test]
fn m4_every_method_and_error_code_on_python_2() {
    raise_all(Python::Two);
}

#[test]
fn m4_every_method_and_error_code_on_python_3() {
    raise_all(Python::Three);
}

/// Why a code is never raised, or a method not answered.
fn never(service: &str, what: &str) -> Option<&'static str> {
    let fits = |name: &str| name == what || (name.ends_with('_') && what.starts_with(name));
    NEVER.iter().find(|(of, name, _)| *of == service && fits(name)).map(|(_, _, why)| *why)
}

/// Whether an app of each Python that can does it.
fn is_raised(service: &str, fits: impl Fn(&Case) -> bool) -> bool {
    let by = |who: Who| CASES.iter().any(|case| case.2 == service && case.1 == who && fits(case));
    // The SDK of Python 3 has no logservice any more, and the one of Python 2 does not know the newest fields.
    by(Who::Both) || (by(Who::Two) && (by(Who::Three) || service == "logservice")) || (by(Who::Three) && service == "taskqueue")
}

#[test]
fn m4_no_method_and_no_code_is_forgotten() {
    let mut wrong = Vec::new();
    for card in ALL {
        for method in card.methods {
            let answered = is_raised(card.name, |case| case.3 == *method && case.4 == "OK");
            if answered == never(card.name, method).is_some() {
                wrong.push(format!("{}.{method}: has it a case, or a reason?", card.name));
            }
        }
        for (_, code) in card.codes() {
            let raised = is_raised(card.name, |case| case.4 == code && card.methods.contains(&case.3));
            let excused = NEVER.iter().any(|(of, name, _)| *of == card.name && *name == code);
            if raised == (excused || (!raised && never(card.name, code).is_some())) {
                wrong.push(format!("{}: {code}: has it a case, or a reason?", card.name));
            }
        }
    }
    for number in 0..=100 {
        let Ok(code) = rpc_error::Code::try_from(number) else { continue };
        let name = EXCEPTIONS.iter().find(|(of, _)| *of == code).map(|(_, name)| *name);
        let raised = name.is_some_and(|name| CASES.iter().any(|case| case.4 == name));
        if raised == never("rpc", code.as_str_name()).is_some() {
            wrong.push(format!("{}: has it a case, or a reason?", code.as_str_name()));
        }
    }
    assert!(wrong.is_empty(), "add them to crates/enginehouse/tests/it/codes/cases.rs:\n{}", wrong.join("\n"));
}

/// `docs/reference/error-codes.md`
fn document() -> String {
    let mut text = "# Error codes of the bundled services\n\n\
        What each method answers, and what it refuses with: `cargo test m4_every_method_and_error_code` drives each of these through the running server, by\n\
        apps with the official SDKs on Python 2.7 and Python 3. This page is made of `crates/enginehouse/tests/it/codes/cases.rs` (`UPDATE_GOLDEN=1 cargo test\n\
        m4_the_page_of_error_codes`); a method or a code without a case or a reason fails the tests.\n"
        .to_owned();
    for card in ALL {
        let _ = write!(text, "\n## {}\n\n| method | raised by apps |\n|---|---|\n", card.name);
        for method in card.methods {
            let mut codes: BTreeSet<(i32, String)> = BTreeSet::new();
            for Case(_, who, _, _, code, _) in CASES.iter().filter(|case| case.2 == card.name && case.3 == *method) {
                let number = seen(card.name, code).as_i64().and_then(|number| i32::try_from(number).ok());
                let only = match who {
                    Who::Both => "",
                    Who::Two => " (2.7)",
                    Who::Three => " (3)",
                };
                match number {
                    Some(0) => codes.insert((0, format!("answers{only}"))),
                    Some(number) => codes.insert((number, format!("{number} {code}{only}"))),
                    None => codes.insert((i32::MAX, format!("{code}{only}"))),
                };
            }
            let codes: Vec<String> = codes.into_iter().map(|(_, text)| text).collect();
            let _ = writeln!(text, "| `{method}` | {} |", codes.join(", "));
        }
        let reasons: Vec<&(&str, &str, &str)> = NEVER.iter().filter(|(of, ..)| *of == card.name).collect();
        if !reasons.is_empty() {
            let _ = write!(text, "\nNever raised here:\n\n| code | why |\n|---|---|\n");
            for (_, name, why) in reasons {
                let star = if name.ends_with('_') { "…" } else { "" };
                let _ = writeln!(text, "| {name}{star} | {why} |");
            }
        }
    }
    let _ = write!(text, "\n## Before a service is asked\n\n| `rpc_error` | in the SDKs | raised by |\n|---|---|---|\n");
    for (code, name) in EXCEPTIONS {
        let by: Vec<String> = CASES.iter().filter(|case| case.4 == name).map(|case| format!("`{}.{}`", case.2, case.3)).collect();
        if !by.is_empty() {
            let _ = writeln!(text, "| {} | `{name}` | {} |", code.as_str_name(), by.join(", "));
        }
    }
    let _ = write!(text, "\nNever raised here:\n\n| `rpc_error` | why |\n|---|---|\n");
    for (_, name, why) in NEVER.iter().filter(|(of, ..)| *of == "rpc") {
        let _ = writeln!(text, "| {name} | {why} |");
    }
    text
}

#[test]
fn m4_the_page_of_error_codes_is_made_of_the_cases() {
    let file = crate::workspace().join("docs/reference/error-codes.md");
    let wanted = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &wanted).expect("written");
    }
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), wanted, "make it anew with UPDATE_GOLDEN=1");
}
