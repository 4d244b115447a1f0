//! `enginehouse dev-appserver` with flags as people give them to the SDK's server (row M4).

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use testkit::{App, Connection, DEADLINE, Python, Request};

use crate::mail::relay::Relay;
use crate::{command, node};

/// Evaluates the expression in the query; tasks leave their names in memcache.
const CALLER: &str = r"
import json
import logging
import os
from urllib import unquote
from google.appengine.api import apiproxy_stub_map, app_identity, mail, memcache, taskqueue
from google.appengine.api.taskqueue import taskqueue_service_pb


def force(name):
    request = taskqueue_service_pb.TaskQueueForceRunRequest()
    request.set_queue_name('default')
    request.set_task_name(name)
    response = taskqueue_service_pb.TaskQueueForceRunResponse()
    apiproxy_stub_map.MakeSyncCall('taskqueue', 'ForceRun', request, response)
    return response.result()


def read(name):
    return open(os.path.join(os.path.dirname(__file__), name)).read()


def app(environ, start_response):
    if environ['PATH_INFO'] == '/work':
        memcache.set(environ['HTTP_X_APPENGINE_TASKNAME'], 1)
        answer = ''
    else:
        try:
            answer = json.dumps(eval(unquote(environ['QUERY_STRING'])))
        except Exception as error:
            answer = 'raises %s %s' % (type(error).__name__, error)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [answer]
";

/// The server, ended as `aetest` ends it.
struct Dev {
    child: Child,
    stderr: Receiver<String>,
    told: Vec<String>,
    log: tempfile::NamedTempFile,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Dev {
    fn start(home: &Path, args: &[&str]) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_enginehouse"))
            .arg("dev-appserver")
            .args(["--port=0", "--api_port=0", "--admin_port=0"])
            .args(args)
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_CACHE_HOME", node().cache())
            .stdin(Stdio::null())
            .stdout(File::options().append(true).open(log.path()).expect("a file"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (sender, stderr) = channel();
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let nowhere: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut dev = Self { child, stderr, told: Vec::new(), log, http: nowhere, admin: nowhere };
        dev.http = dev.address("Starting module \"default\" running at: ");
        dev.admin = dev.address("Starting admin server at: ");
        dev.line("Ctrl-C stops");
        dev
    }

    #[track_caller]
    fn line(&mut self, begin: &str) -> String {
        loop {
            let line = self.stderr.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("there is no `{begin}` in time:\n{}", self.told.join("\n")));
            self.told.push(line.clone());
            if line.contains(begin) {
                return line;
            }
        }
    }

    #[track_caller]
    fn address(&mut self, begin: &str) -> SocketAddr {
        let line = self.line(begin);
        let url = line.rsplit("http://").next().expect("an address").replace("localhost", "127.0.0.1");
        url.parse().expect("an address")
    }

    fn eval(&self, expression: &str) -> String {
        let quoted = expression.bytes().fold(String::new(), |quoted, byte| quoted + &format!("%{byte:02X}"));
        Connection::open(self.http).send(&Request::get(&format!("/?{quoted}"))).expect(200).text()
    }

    /// Waits until the log on stdout says something; returns all of it.
    #[track_caller]
    fn logged(&self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let all = fs::read_to_string(self.log.path()).expect("readable");
            if all.contains(text) {
                return all;
            }
            assert!(Instant::now() < until, "the log does not say `{text}`:\n{all}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn quit(mut self) {
        Connection::open(self.admin).send(&Request::get("/quit")).expect(200);
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn app() -> App {
    let yaml = format!("{}handlers:\n- url: /static\n  static_dir: static\n- url: /.*\n  script: main.app\n", Python::Two.head());
    App::with_yaml(&yaml).file("main.py", CALLER).file("static/a.txt", "static").file("notes~", "skipped")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn m4_dev_appservers_flags_do_what_they_say() {
    let (home, app, relay) = (tempfile::tempdir().expect("a folder"), app(), Relay::start());
    let key = home.path().join("key.pem");
    let made = Command::new("openssl").args(["genrsa", "-out", path(&key), "2048"]).stderr(Stdio::null()).status();
    assert!(made.expect("openssl runs").success());
    let (port, key) = (format!("--smtp_port={}", relay.address.port()), format!("--appidentity_private_key_path={}", path(&key)));
    let (storage, logs) = (home.path().join("storage"), home.path().join("logs.db"));
    // What dev_appserver.py has left there is not ours to be upset about.
    fs::create_dir_all(&storage).expect("a folder");
    fs::write(storage.join("datastore.db"), "").expect("a file");
    let (storage_path, logs_path) = (format!("--storage_path={}", path(&storage)), format!("--logs_path={}", path(&logs)));
    let dev = Dev::start(
        home.path(),
        &[
            "--smtp_host=127.0.0.1",
            &port,
            "--smtp_user=me@example.org",
            "--smtp_password=geheim/wort",
            "--show_mail_body=yes",
            "--enable_task_running=no",
            "--default_gcs_bucket_name=own-bucket",
            "--appidentity_email_address=robot@example.org",
            &key,
            "--env_var=SAID=yes",
            "--jvm_flag=-Xmx1g",
            "--threadsafe_override=no",
            "--max_module_instances=default:1",
            "--log_level=error",
            "--allow_skipped_files=yes",
            &storage_path,
            &logs_path,
            "--clear_datastore=yes",
            "--specified_service_ports=default:1",
            path(app.path()),
        ],
    );
    assert!(
        dev.told.iter().any(|line| line.contains("note: --specified_service_ports: all services answer on one port")),
        "{:?}",
        dev.told
    );
    let check = |expression: &str, wanted: &str| assert_eq!(dev.eval(expression), wanted, "{expression}");
    check("[os.environ['SAID'], os.environ['JAVA_TOOL_OPTIONS'], environ['wsgi.multithread']]", r#"["yes", "-Xmx1g", false]"#);
    check(
        "[app_identity.get_default_gcs_bucket_name(), app_identity.get_service_account_name()]",
        r#"["own-bucket", "robot@example.org"]"#,
    );
    check("[len(app_identity.sign_blob('x')[1]), len(app_identity.get_public_certificates())]", "[256, 1]");
    check("[read('static/a.txt'), read('notes~')]", r#"["static", "skipped"]"#);
    check("mail.send_mail('a@example.org', 'b@example.org', 'Hello', 'a whole letter')", "null");
    let mail = relay.next();
    assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("a@example.org", ["b@example.org".to_owned()].as_slice()));
    assert!(mail.message.contains("a whole letter") && mail.login.is_some(), "{mail:?}");
    // Tasks wait until somebody runs them.
    check("[taskqueue.add(url='/work', name=name).name for name in ('held', 'forced')]", r#"["held", "forced"]"#);
    check("force('forced')", "0");
    let until = Instant::now() + DEADLINE;
    while dev.eval("memcache.get('forced')") != "1" {
        assert!(Instant::now() < until, "the task does not run");
    }
    check("[memcache.get('held'), taskqueue.Queue().fetch_statistics().tasks > 0]", "[null, true]");
    check("[logging.warning('only careful'), logging.error('really grave')] and None", "null");
    let log = dev.logged("really grave");
    assert!(log.contains("a whole letter") && !log.contains("only careful") && !log.contains("geheim"), "{log}");
    assert!(storage.join("enginehouse").is_dir() && home.path().join("logs.db.enginehouse/logs").is_dir());
    assert!(!dev.told.iter().any(|line| line.contains("geheim")));
    while let Ok(line) = dev.stderr.try_recv() {
        assert!(!line.contains("geheim"), "{line}");
    }
    dev.quit();
}

/// Another start of the same suite begins with nothing if it says so, and with what was there if it does not.
#[test]
fn m4_a_cleared_server_has_no_tasks() {
    let (home, app) = (tempfile::tempdir().expect("a folder"), app());
    let storage = format!("--datastore_path={}", path(&home.path().join("data")));
    let count = |flags: &[&str]| {
        let dev = Dev::start(home.path(), &[flags, &["--enable_task_running=no", &storage, path(app.path())]].concat());
        let count = dev.eval("taskqueue.Queue().fetch_statistics().tasks");
        dev.eval("taskqueue.add(url='/work').name");
        dev.quit();
        count
    };
    assert_eq!([count(&[]), count(&["--clear_datastore=no"]), count(&["--clear_datastore"])], ["0", "1", "0"]);
}

#[test]
fn m4_what_is_no_flag_is_refused() {
    let refused = command(["dev-appserver", "--nothing", "."]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--nothing is no flag of dev_appserver.py"), "{}", refused.stderr);
}
