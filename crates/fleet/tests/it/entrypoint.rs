//! Apps that speak HTTP on `$PORT`.

use std::sync::Arc;
use std::time::Duration;

use model::pool::{Pool, Reject, Wanted};

use crate::support::{House, app_processes_with, config, eventually, is_alive, processes_with, wanted};

/// A server that answers its environment, and does what some paths say.
const SERVER: &str = r"
import http.server, os, sys, signal
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/die':
            os._exit(3)
        body = ' '.join(k + '=' + v for k, v in sorted(os.environ.items())).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        print('saw', self.path)
if __name__ == '__main__':
    http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()
";

/// The one process that serves, as the house numbers it: in a sandbox each app has the same number for itself.
fn server_of(marker: &str) -> i32 {
    let all = app_processes_with(&format!("MARKER={marker}"));
    let [pid] = all[..] else { panic!("not one process: {all:?}") };
    pid
}

fn server_config(marker: &str) -> model::config::VersionConfig {
    let mut config = config("python312", Some("python3 server.py"));
    config.env.insert("MARKER".into(), marker.into());
    config
}

#[tokio::test]
async fn an_entrypoint_is_started_on_demand_and_stopped_at_the_end() {
    let house = House::new(&[("server.py", SERVER)]);
    house.publish(server_config("on-demand"), 1);
    assert!(processes_with("MARKER=on-demand").is_empty(), "nothing runs before the first request");
    assert!(house.fleet.try_acquire(&wanted()).is_none());
    let answer = house.get("/").await;
    let pid = server_of("on-demand");
    assert!(answer.contains(" GAE_SERVICE=default ") && answer.contains(" GAE_VERSION=v1 "), "{answer}");
    assert!(!answer.contains("CARGO"), "the house's own environment leaks: {answer}");
    house.get("/again").await;
    assert_eq!(server_of("on-demand"), pid, "the same instance serves both");
    assert!(house.fleet.try_acquire(&wanted()).is_some());
    eventually("output reaches the journal", || house.log.text().contains("output Info saw /again")).await;
    house.fleet.stop(Duration::from_secs(5)).await;
    assert!(processes_with("MARKER=on-demand").is_empty());
    assert!(matches!(house.acquire().await, Err(Reject::Draining)));
}

#[tokio::test]
async fn an_instance_that_dies_is_replaced() {
    let house = House::new(&[("server.py", SERVER)]);
    house.publish(server_config("dies"), 1);
    house.get("/").await;
    let first = server_of("dies");
    house.get("/die").await;
    eventually("the death is noticed", || house.log.text().contains("exit status 3")).await;
    assert!(!is_alive(first));
    house.get("/").await;
    assert_ne!(first, server_of("dies"));
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn apps_that_do_not_start_say_why() {
    let house = House::new(&[("server.py", "import sys; sys.exit('no database here')")]);
    house.publish(server_config("fails"), 1);
    let Err(Reject::StartFailed(why)) = house.acquire().await else { panic!("it cannot start") };
    assert!(why.contains("no database here") && why.contains("exit status 1"), "{why}");
    let house = House::new(&[]);
    house.publish(config("nodejs22", Some("no-such-program --port $PORT")), 1);
    let Err(Reject::StartFailed(why)) = house.acquire().await else { panic!("it cannot start") };
    assert!(why.contains("not found"), "{why}");
}

#[tokio::test]
async fn apps_that_never_listen_are_given_up() {
    let house = House::with(&[], |options| options.start_limit = Duration::from_millis(300));
    let mut config = config("nodejs22", Some("echo garbage; exec sleep 1000"));
    config.env.insert("MARKER".into(), "never-listens".into());
    house.publish(config, 1);
    let Err(Reject::StartFailed(why)) = house.acquire().await else { panic!("it cannot start") };
    assert!(why.contains("nothing listened on $PORT") && why.contains("garbage"), "{why}");
    assert!(processes_with("MARKER=never-listens").is_empty());
}

#[tokio::test]
async fn slow_starters_are_waited_for() {
    let house = House::new(&[("server.py", SERVER)]);
    house.publish(config("python312", Some("sleep 0.7; exec python3 server.py")), 1);
    let mut lease = house.acquire().await.expect("it listens in the end");
    assert!(lease.cold && lease.waited >= Duration::from_millis(700), "{lease:?}");
    lease.outcome = model::pool::Outcome::Answered;
    drop(lease);
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn two_versions_that_start_together_get_ports_of_their_own() {
    let house = House::new(&[("server.py", SERVER)]);
    let mut versions = Vec::new();
    for service in ["default", "other"] {
        let mut config = server_config("ports");
        config.key.service = service.parse().expect("valid");
        let version = house.version(config, 1);
        let prepared = house.fleet.prepare(&version, &fleet::prepare::Quiet).expect("prepared");
        versions.push((version, prepared));
    }
    let other = Wanted { version: Arc::clone(&versions[1].0), instance: None };
    house.fleet.publish(versions);
    let patience = Duration::from_secs(30);
    let (one, two) = tokio::join!(house.fleet.acquire(wanted(), patience), house.fleet.acquire(other, patience));
    let (one, two) = (one.expect("an instance"), two.expect("an instance"));
    assert_ne!(one.instance.endpoint, two.instance.endpoint);
    assert_ne!(one.instance.serial, two.instance.serial);
    drop((one, two));
    // A version that is not published any more drains.
    house.fleet.publish(Vec::new());
    eventually("both go", || processes_with("MARKER=ports").is_empty()).await;
    assert!(matches!(house.acquire().await, Err(Reject::NotServing(_))));
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_reload_brings_new_code_and_drops_no_request() {
    let house = House::new(&[("server.py", SERVER)]);
    house.publish(server_config("reload-1"), 1);
    house.get("/").await;
    let old = server_of("reload-1");
    let lease = house.acquire().await.expect("an instance");
    house.publish(server_config("reload-2"), 2);
    let answer = house.get("/").await;
    assert!(answer.contains("MARKER=reload-2"), "{answer}");
    assert!(is_alive(old), "the old instance still has a request");
    drop(lease);
    eventually("the old instance goes", || processes_with("MARKER=reload-1").is_empty()).await;
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn nothing_is_left_of_instances_that_start_others() {
    let script = "(setsid sleep 1000 &); sleep 1000 & exec python3 server.py";
    let house = House::new(&[("server.py", SERVER)]);
    let mut config = config("python312", Some(script));
    config.env.insert("MARKER".into(), "family".into());
    house.publish(config, 1);
    house.get("/").await;
    assert_eq!(app_processes_with("MARKER=family").len(), 3);
    house.fleet.stop(Duration::from_secs(5)).await;
    assert!(processes_with("MARKER=family").is_empty());
}

#[tokio::test]
async fn node_without_an_entrypoint_runs_server_js() {
    let code = "require('http').createServer((q, s) => s.end('node ' + process.env.NODE_ENV)).listen(process.env.PORT, 'localhost')";
    let house = House::new(&[("server.js", code)]);
    house.publish(config("nodejs22", None), 1);
    let answer = house.get("/").await;
    assert!(answer.ends_with("node production"), "{answer}");
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn defaults_that_cannot_work_say_what_to_write() {
    let house = House::new(&[]);
    for (runtime, words) in [
        ("nodejs22", "server.js"),
        ("go122", "there are no .go files in the app's folder"),
        ("php83", "neither public/index.php nor index.php"),
        ("ruby33", "neither bin/rails nor config.ru"),
        ("java21", "there is no jar with a Main-Class"),
        ("python312", "there is no main.py"),
    ] {
        let error = house.fleet.prepare(&house.version(config(runtime, None), 1), &fleet::prepare::Quiet).expect_err("nothing to run");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn gunicorn_is_installed_if_the_entrypoint_needs_it() {
    let app =
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'by ' + environ['SERVER_SOFTWARE'].encode()]\n";
    let house = House::new(&[("main.py", app)]);
    let config = config("python312", Some("gunicorn -b :$PORT -w 2 main:app"));
    let version = house.version(config, 1);
    let prepared = house.fleet.prepare(&version, &fleet::prepare::Quiet).expect("installed");
    assert!(prepared.summary.notes.iter().any(|note| note.contains("gunicorn")), "{:?}", prepared.summary);
    house.fleet.publish(vec![(version, prepared)]);
    assert!(house.get("/").await.contains("by gunicorn/"));
    house.fleet.stop(Duration::from_secs(5)).await;
    assert!(crate::support::processes_in(house.dir.path()).is_empty());
}
