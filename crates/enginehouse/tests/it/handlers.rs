//! Handlers, includes and the rest of app.yaml, end to end (rows Y2, Y6–Y16, Y24–Y27).

use testkit::{App, Python, Request};

use crate::apps::{ECHO, OBEY, app, echo};
use crate::{command, node, on_both, serve};

#[test]
fn y2_patterns_match_the_whole_path_and_groups_are_filled_in() {
    let main = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [__name__.encode('ascii')]\n";
    let app = App::with_yaml(&format!(
        "{}handlers:\n- url: /browse/(books|videos)\n  script: \\1.catalog.app\n- url: /d/\\d+\n  script: main.app\n- url: /files/(\\w+)\\.(txt|md)\n  static_files: texts/\\2/\\1.\\2\n  upload: texts/.*\n",
        Python::Two.head()
    ))
    .file("books/__init__.py", "")
    .file("books/catalog.py", main)
    .file("videos/__init__.py", "")
    .file("videos/catalog.py", main)
    .file("main.py", main)
    .file("texts/txt/a.txt", "a text");
    let node = serve(&app);
    assert_eq!(node.get("/browse/books").expect(200).text(), "books.catalog");
    assert_eq!(node.get("/browse/videos").expect(200).text(), "videos.catalog");
    assert_eq!(node.get("/d/42").expect(200).text(), "main");
    assert_eq!(node.get("/files/a.txt").expect(200).text(), "a text");
    for elsewhere in ["/browse/books/x", "/x/browse/books", "/browse/music", "/d/4x", "/d/", "/files/b.txt"] {
        node.get(elsewhere).expect(404);
    }
}

#[test]
fn y2_look_around_and_back_references_inside_a_pattern_work() {
    let app = App::with_yaml(&format!(
        "{}handlers:\n- url: /(?!private).*\\.html\n  script: main.app\n- url: /(a+)-\\1\n  script: main.app\n",
        Python::Two.head()
    ))
    .file("main.py", ECHO);
    let node = serve(&app);
    node.get("/page.html").expect(200);
    node.get("/private.html").expect(404);
    node.get("/aa-aa").expect(200);
    node.get("/aa-a").expect(404);
}

#[test]
fn y6_builtins_come_before_the_handlers_of_app_yaml() {
    let app = App::with_yaml(&format!("{}builtins:\n- deferred: on\nhandlers:\n- url: /.*\n  script: main.app\n", Python::Two.head()))
        .file("main.py", ECHO);
    let path = app.path().to_str().expect("UTF-8");
    let explained = command(["explain", "/_ah/queue/deferred", path]);
    assert!(explained.stdout.contains("deferred") && !explained.stdout.contains("main.app"), "{explained:?}");
    // The position of the clause is irrelevant, and `off` takes it away.
    app.write("app.yaml", format!("{}handlers:\n- url: /.*\n  script: main.app\nbuiltins:\n- deferred: off\n", Python::Two.head()));
    let explained = command(["explain", "/_ah/queue/deferred", path]);
    assert!(explained.stdout.contains("main.app"), "{explained:?}");
}

#[test]
fn y6_deferred_runs_the_sdks_own_handler_for_the_task_queue_only() {
    let app = App::with_yaml(&format!("{}builtins:\n- deferred: on\nhandlers:\n- url: /.*\n  script: main.app\n", Python::Two.head()))
        .file("main.py", ECHO);
    // The SDK has 53 MB, fetched once.
    let node = node().app(&app).args(["--patience", "110"]).start();
    let task = || Request::post("/_ah/queue/deferred", "x").header("X-AppEngine-TaskName", "forged");
    // `login: admin`: an outsider is sent to sign in, whatever headers are forged.
    node.send(&task()).expect(302);
    // An administrator comes in, but a forged header does not: the SDK's handler itself refuses what no task queue sent.
    let admin = crate::login::sign_in(&node, "a@example.com", true);
    node.send(&task().header("Cookie", &admin)).expect(403);
    let entry = node.wait_line("the answer", |line| line.contains("\"status\":403"));
    assert!(entry.contains("deferred"), "{entry}");
}

#[test]
fn y23_libraries_are_there() {
    let main = r"
import jinja2
import webapp2


class Home(webapp2.RequestHandler):
    def get(self):
        text = jinja2.Template('hello {{ name }} from {{ version }}').render(name=self.request.get('name'), version=jinja2.__version__)
        self.response.headers['Content-Type'] = 'text/plain'
        self.response.write(text)


app = webapp2.WSGIApplication([('/', Home)])
";
    let libraries = "libraries:\n- name: webapp2\n  version: latest\n- name: jinja2\n  version: \"2.6\"";
    let node = serve(&app(Python::Two, libraries, main));
    assert_eq!(node.get("/?name=you").expect(200).text(), "hello you from 2.6");
    assert!(!node.everything().contains("SDK"), "nothing of it is needed: {}", node.everything());
    let unknown = app(Python::Two, "libraries:\n- name: webapp3\n  version: latest", main);
    let check = command(["check", unknown.path().to_str().expect("UTF-8")]);
    assert!(check.code == Some(1) && check.stdout.contains("webapp2"), "{check:?}");
}

#[test]
fn y7_includes_bring_handlers_and_skip_files() {
    on_both(|python| {
        let script = python.script();
        let app =
            App::with_yaml(&format!("{}includes:\n- shared\n- more.yaml\nhandlers:\n- url: /.*\n  script: {script}\n", python.head()))
                .file("shared/include.yaml", "handlers:\n- url: /shared.txt\n  static_files: shared/a.txt\n  upload: shared/a.txt\n")
                .file("shared/a.txt", "shared")
                .file("more.yaml", "handlers:\n- url: /more\n  static_dir: more\nskip_files:\n- ^(.*/)?secret\\.txt$\n")
                .file("more/a.txt", "more")
                .file("more/secret.txt", "secret")
                .file("main.py", ECHO);
        let node = serve(&app);
        assert_eq!(node.get("/shared.txt").expect(200).text(), "shared");
        assert_eq!(node.get("/more/a.txt").expect(200).text(), "more");
        node.get("/more/secret.txt").expect(404);
        node.get("/other").expect(200);
    });
}

#[test]
fn y7_other_keys_in_an_include_are_errors() {
    let app = App::with_yaml(&format!("{}includes:\n- more.yaml\nhandlers:\n- url: /.*\n  script: main.app\n", Python::Two.head()))
        .file("more.yaml", "runtime: python27\n")
        .file("main.py", ECHO);
    let check = command(["check", app.path().to_str().expect("UTF-8")]);
    assert_eq!(check.code, Some(1));
    assert!(check.stdout.contains("more.yaml:1:1"), "{check:?}");
}

#[test]
fn y8_default_expiration_is_ten_minutes_unless_said() {
    let handlers = "handlers:\n- url: /a\n  static_dir: a\n- url: /b\n  static_dir: a\n  expiration: 1d 2h\n";
    let app = App::with_yaml(&format!("{}{handlers}", Python::Two.head())).file("a/x.txt", "x");
    let node = serve(&app);
    assert_eq!(node.get("/a/x.txt").expect(200).header("cache-control"), Some("public, max-age=600"));
    assert_eq!(node.get("/b/x.txt").expect(200).header("cache-control"), Some("public, max-age=93600"));
    drop(node);
    app.write("app.yaml", format!("{}default_expiration: \"4d 5h\"\n{handlers}", Python::Two.head()));
    let node = serve(&app);
    assert_eq!(node.get("/a/x.txt").expect(200).header("cache-control"), Some("public, max-age=363600"));
}

#[test]
fn y9_env_variables_reach_the_app_and_gae_is_reserved() {
    on_both(|python| {
        let node = serve(&app(python, "env_variables:\n  GREETING: \"höi\"\n  NUMBER: 7\n  DJANGO_SETTINGS_MODULE: 'my.settings'", ECHO));
        let os = &node.get("/").expect(200).json()["os"];
        assert_eq!(os["NUMBER"], "7");
        assert_eq!(os["DJANGO_SETTINGS_MODULE"], "my.settings");
        assert!(os["GREETING"].is_string());
        let refused = app(python, "env_variables:\n  GAE_X: 1", ECHO);
        let check = command(["check", refused.path().to_str().expect("UTF-8")]);
        assert!(check.code == Some(1) && check.stdout.contains("GAE"), "{check:?}");
    });
}

#[test]
fn y10_the_default_error_page_is_shown_for_a_crash() {
    on_both(|python| {
        let main = "def app(environ, start_response):\n    raise ValueError('boom')\n";
        let app = app(python, "error_handlers:\n- file: sorry.html\n- error_code: timeout\n  file: late.html", main)
            .file("sorry.html", "<p>sorry</p>")
            .file("late.html", "late");
        let node = serve(&app);
        let answer = node.get("/").expect(500);
        assert_eq!(answer.text(), "<p>sorry</p>");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
        // The page does not swallow the cause: the log has the traceback.
        let entry = node.wait_request("/");
        assert!(entry.to_string().contains("ValueError") && entry.to_string().contains("boom"), "{entry}");
    });
}

/// Sleeps when asked for `/slow`.
const SLEEPY: &str = r"
import time


def app(environ, start_response):
    if environ['PATH_INFO'] == '/slow':
        for _ in range(1000):
            time.sleep(0.02)
    start_response('200 OK', [])
    return [b'fine']
";

#[test]
fn y10_over_quota_is_shown_when_there_is_no_capacity() {
    on_both(|python| {
        let single = if python == Python::Two { "" } else { "  max_concurrent_requests: 1\n" };
        let extra = format!("automatic_scaling:\n  max_instances: 1\n{single}error_handlers:\n- error_code: over_quota\n  file: busy.html");
        let yaml = python.yaml(&extra).replace("threadsafe: true", "threadsafe: false");
        let app = App::with_yaml(&yaml).file("main.py", SLEEPY).file("busy.html", "busy");
        let mut node = node().app(&app).args(["--patience", "0.3"]).start();
        // The first instance may take longer to start than a request is patient.
        node.eventually(&Request::get("/"), |answer| answer.status == 200);
        let mut waiting = node.connect();
        waiting.write(&Request::get("/slow").bytes()).expect("sent");
        // Until the slow request has taken the one place there is.
        let answer = node.eventually(&Request::get("/"), |answer| answer.status != 200);
        assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
        node.signal(rustix::process::Signal::INT);
        node.wait_line("that it stops", |line| line.contains("stopping"));
        node.signal(rustix::process::Signal::INT);
        node.wait();
    });
}

#[test]
fn y10_timeout_is_shown_when_the_deadline_passes() {
    on_both(|python| {
        let app = app(python, "error_handlers:\n- error_code: timeout\n  file: late.html", SLEEPY).file("late.html", "late");
        let mut node = node().app(&app).args(["--deadline", "1"]).start();
        node.get("/").expect(200);
        let answer = node.get("/slow").expect(500);
        assert_eq!(answer.text(), "late");
        node.get("/").expect(200);
        node.signal(rustix::process::Signal::INT);
        node.wait_line("that it stops", |line| line.contains("stopping"));
        node.signal(rustix::process::Signal::INT);
        node.wait();
    });
}

#[test]
fn h25_a_deadline_can_be_caught_by_first_generation_code() {
    let main = r"
import time
from google.appengine.runtime import DeadlineExceededError


def app(environ, start_response):
    try:
        while environ['PATH_INFO'] == '/slow':
            time.sleep(0.02)
        start_response('200 OK', [])
        return [b'fine']
    except DeadlineExceededError:
        start_response('503 Too Late', [])
        return [b'caught in time']
";
    let node = node().app(&app(Python::Two, "", main)).args(["--deadline", "5"]).start();
    node.get("/").expect(200);
    assert_eq!(node.get("/slow").expect(503).text(), "caught in time");
    node.get("/").expect(200);
}

#[test]
fn y10_dos_api_denial_is_shown_to_blocked_addresses() {
    on_both(|python| {
        let app = app(python, "error_handlers:\n- error_code: dos_api_denial\n  file: denied.html", ECHO)
            .file("denied.html", "denied")
            .file("dos.yaml", "blacklist:\n- subnet: 127.0.0.0/8\n  description: everybody here\n");
        let node = serve(&app);
        assert_eq!(node.get("/").expect(403).text(), "denied");
    });
}

#[test]
fn y11_the_first_matching_handler_wins() {
    on_both(|python| {
        let script = python.script();
        let app = App::with_yaml(&format!(
            "{}handlers:\n- url: /a/first\\.txt\n  static_files: one.txt\n  upload: one.txt\n- url: /a/.*\n  static_files: two.txt\n  upload: two.txt\n- url: /.*\n  script: {script}\n",
            python.head()
        ))
        .file("one.txt", "one")
        .file("two.txt", "two")
        .file("main.py", ECHO);
        let node = serve(&app);
        assert_eq!(node.get("/a/first.txt").expect(200).text(), "one");
        assert_eq!(node.get("/a/second.txt").expect(200).text(), "two");
        assert_eq!(node.get("/b").expect(200).json()["environ"]["PATH_INFO"], "/b");
    });
}

#[test]
fn y12_a_path_that_no_handler_matches_is_404() {
    on_both(|python| {
        let app =
            App::with_yaml(&format!("{}handlers:\n- url: /only\n  script: {}\n", python.head(), python.script())).file("main.py", ECHO);
        let node = serve(&app);
        node.get("/only").expect(200);
        // Newer runtimes send what no handler matches to the app (docs/decisions/012-newer-runtimes-and-handlers.md).
        let elsewhere = if python == Python::Two { 404 } else { 200 };
        node.get("/only/").expect(elsewhere);
        node.get("/").expect(elsewhere);
    });
}

#[test]
fn y13_a_py_script_runs_as_cgi() {
    let script = r"
import os
import sys

body = sys.stdin.read(int(os.environ.get('CONTENT_LENGTH') or 0))
print('Status: 201 Made')
print('Content-Type: text/plain')
print('X-Method: ' + os.environ['REQUEST_METHOD'])
print('')
sys.stdout.write('cgi ' + os.environ['QUERY_STRING'] + ' ' + body)
";
    let app = App::with_yaml("runtime: python27\napi_version: 1\nthreadsafe: false\nhandlers:\n- url: /cgi\n  script: page.py\n- url: /deep\n  script: folder/page.py\n- url: /missing\n  script: nothing.py\n")
        .file("page.py", script)
        .file("folder/page.py", script);
    let node = serve(&app);
    let answer = node.send(&Request::post("/cgi?a=b", "body")).expect(201);
    assert_eq!(answer.text(), "cgi a=b body");
    assert_eq!(answer.header("x-method"), Some("POST"));
    node.get("/deep").expect(201);
    node.get("/missing").expect(404);
}

#[test]
fn y13_a_dotted_script_runs_as_wsgi() {
    let app = App::with_yaml(&format!("{}handlers:\n- url: /.*\n  script: pages.home.application\n", Python::Two.head()))
        .file("pages/__init__.py", "")
        .file("pages/home.py", "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'home']\n");
    assert_eq!(serve(&app).get("/").expect(200).text(), "home");
}

#[test]
fn y16_static_files_are_hidden_from_code_unless_readable() {
    let main = r"
import os
HERE = os.path.dirname(os.path.abspath(__file__))


def app(environ, start_response):
    try:
        with open(os.path.join(HERE, environ['QUERY_STRING'])) as f:
            body = f.read()
    except (IOError, OSError) as e:
        body = 'refused: %s' % e
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [body.encode('ascii')]
";
    let app = App::with_yaml(&format!(
        "{}handlers:\n- url: /hidden\n  static_dir: hidden\n- url: /open\n  static_dir: open\n  application_readable: true\n- url: /.*\n  script: main.app\n",
        Python::Two.head()
    ))
    .file("hidden/a.txt", "hidden")
    .file("open/a.txt", "open")
    .file("data.txt", "data")
    .file("main.py", main);
    let node = serve(&app);
    assert!(node.get("/x?hidden/a.txt").expect(200).text().starts_with("refused"));
    assert_eq!(node.get("/x?open/a.txt").expect(200).text(), "open");
    assert_eq!(node.get("/x?data.txt").expect(200).text(), "data");
    assert_eq!(node.get("/hidden/a.txt").expect(200).text(), "hidden");
}

#[test]
fn y24_service_and_module_name_the_service() {
    on_both(|python| {
        for word in ["service", "module"] {
            let node = serve(&app(python, &format!("{word}: default"), ECHO));
            let answer = node.get("/").expect(200).json();
            let name = match python {
                Python::Two => answer["os"]["CURRENT_MODULE_ID"].clone(),
                Python::Three => answer["os"]["GAE_SERVICE"].clone(),
            };
            assert_eq!(name, "default");
        }
        let both = app(python, "service: a\nmodule: b", ECHO);
        assert_eq!(command(["check", both.path().to_str().expect("UTF-8")]).code, Some(1));
        let long = app(python, &format!("service: {}\nversion: {}", "s".repeat(40), "v".repeat(24)), ECHO);
        assert_eq!(command(["check", long.path().to_str().expect("UTF-8")]).code, Some(1));
    });
}

#[test]
fn y25_the_runtime_decides_the_python() {
    on_both(|python| {
        let answer = serve(&echo(python)).get("/").expect(200).json();
        let expected = match python {
            Python::Two => "2.7".to_owned(),
            Python::Three => python.runtime().replace("python3", "3."),
        };
        assert_eq!(answer["python"], expected.as_str());
    });
}

#[test]
fn y25_threadsafe_is_required_of_python27_and_demands_wsgi() {
    let check = |yaml: &str| {
        let app = App::with_yaml(yaml).file("main.py", "");
        command(["check", app.path().to_str().expect("UTF-8")])
    };
    let missing = check("runtime: python27\napi_version: 1\nhandlers:\n- url: /.*\n  script: main.app\n");
    assert!(missing.code == Some(1) && missing.stdout.contains("threadsafe"), "{missing:?}");
    let cgi = check("runtime: python27\napi_version: 1\nthreadsafe: true\nhandlers:\n- url: /.*\n  script: main.py\n");
    assert!(cgi.code == Some(1) && cgi.stdout.contains("threadsafe"), "{cgi:?}");
}

#[test]
fn y25_without_threadsafe_requests_come_one_at_a_time() {
    let main = r"
import threading
import time

inside = [0]
most = [0]


def app(environ, start_response):
    inside[0] += 1
    most[0] = max(most[0], inside[0])
    time.sleep(0.05)
    inside[0] -= 1
    start_response('200 OK', [])
    return [str(most[0]).encode('ascii')]
";
    for (threadsafe, alone) in [("false", true), ("true", false)] {
        let yaml = format!(
            "runtime: python27\napi_version: 1\nthreadsafe: {threadsafe}\nautomatic_scaling:\n  max_instances: 1\nhandlers:\n- url: /.*\n  script: main.app\n"
        );
        let app = App::with_yaml(&yaml).file("main.py", main);
        let node = serve(&app);
        node.get("/").expect(200);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| node.get("/").expect(200));
            }
        });
        let most: u32 = node.get("/").expect(200).text().parse().expect("a number");
        assert_eq!(most == 1, alone, "threadsafe: {threadsafe}, {most} at once");
    }
}

#[test]
fn y26_skip_files_are_neither_served_nor_readable() {
    on_both(|python| {
        let extra = "skip_files:\n- ^notes/.*\n- ^(.*/)?.*\\.bak$";
        let yaml = format!(
            "{}{extra}\nhandlers:\n- url: /s\n  static_dir: s\n- url: /n\n  static_dir: notes\n- url: /.*\n  script: {}\n",
            python.head(),
            python.script()
        );
        let app = App::with_yaml(&yaml)
            .file("main.py", OBEY)
            .file("s/a.txt", "a")
            .file("s/b.bak", "b")
            .file("s/.hidden", "h")
            .file("notes/c.txt", "c");
        let node = serve(&app);
        node.get("/s/a.txt").expect(200);
        node.get("/s/b.bak").expect(404);
        node.get("/n/c.txt").expect(404);
        // A list of one's own replaces the defaults, which would skip it.
        node.get("/s/.hidden").expect(200);
    });
}

#[test]
fn y26_the_default_skips_dot_files() {
    let app = App::with_yaml(&format!("{}handlers:\n- url: /s\n  static_dir: s\n", Python::Two.head()))
        .file("s/.hidden", "h")
        .file("s/a.txt~", "backup")
        .file("s/x.pyc", "compiled")
        .file("s/a.txt", "a");
    let node = serve(&app);
    node.get("/s/a.txt").expect(200);
    for skipped in ["/s/.hidden", "/s/a.txt~", "/s/x.pyc"] {
        node.get(skipped).expect(404);
    }
}

#[test]
fn y27_the_version_is_told_to_the_app() {
    on_both(|python| {
        let answer = serve(&app(python, "version: spring-1", ECHO)).get("/").expect(200).json();
        let version = match python {
            Python::Two => answer["os"]["CURRENT_VERSION_ID"].as_str().and_then(|id| id.split('.').next()).map(str::to_owned),
            Python::Three => answer["os"]["GAE_VERSION"].as_str().map(str::to_owned),
        };
        assert_eq!(version.as_deref(), Some("spring-1"));
        for refused in ["default", "latest", "ah-x", "Upper", "a_b"] {
            let app = app(python, &format!("version: {refused}"), ECHO);
            assert_eq!(command(["check", app.path().to_str().expect("UTF-8")]).code, Some(1), "{refused}");
        }
    });
}
