//! Changes of files while requests come in.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use testkit::{App, Python, Request};

use crate::apps::{ECHO, echo};
use crate::{node, on_both, serve, serve_sharing};

/// An app that tells its version of the code.
fn versioned(version: &str) -> String {
    ECHO.replace("VERSION = '1'", &format!("VERSION = '{version}'"))
}

#[test]
fn a_change_of_code_is_served_without_dropping_a_request() {
    on_both(|python| {
        let app = echo(python);
        let node = serve(&app);
        let pid = node.get("/").expect(200).json()["pid"].clone();
        let stop = AtomicBool::new(false);
        let served = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut connection = node.connect();
                    while !stop.load(Ordering::Relaxed) {
                        // Nothing but 200, on connections that stay open.
                        let answer = connection.send(&Request::get("/"));
                        if answer.status != 200 {
                            stop.store(true, Ordering::Relaxed);
                        }
                        answer.expect(200);
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for version in ["2", "3"] {
                app.write("main.py", versioned(version));
                let answer = node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.json()["version"] == version);
                assert_ne!(answer.json()["pid"], pid);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(served.load(Ordering::Relaxed) > 10);
    });
}

#[test]
fn a_request_in_flight_is_finished_by_the_old_instance() {
    on_both(|python| {
        let slow = "import threading\nimport time\nimport os\n\nVERSION = '1'\n\n\ndef app(environ, start_response):\n    if environ['PATH_INFO'] == '/slow':\n        while not os.path.exists(environ['QUERY_STRING']):\n            time.sleep(0.005)\n    start_response('200 OK', [])\n    return [VERSION.encode('ascii')]\n";
        let app = crate::apps::app(python, "", slow);
        let (node, shared) = serve_sharing(&app);
        let signal = shared.path().join("go-on");
        let path = format!("/slow?{}", signal.display());
        assert_eq!(node.get("/").expect(200).text(), "1");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| node.get(&path).expect(200).text());
            app.write("main.py", slow.replace("VERSION = '1'", "VERSION = '2'"));
            node.eventually(&Request::get("/"), |answer| answer.text() == "2");
            std::fs::write(&signal, "").expect("file");
            assert_eq!(waiting.join().expect("the request ends"), "1");
        });
    });
}

#[test]
fn a_change_of_static_files_restarts_nothing() {
    on_both(|python| {
        let app =
            App::with_yaml(&format!("{}handlers:\n- url: /s\n  static_dir: s\n- url: /.*\n  script: {}\n", python.head(), python.script()))
                .file("main.py", ECHO)
                .file("s/a.txt", "one");
        let node = serve(&app);
        let pid = node.get("/").expect(200).json()["pid"].clone();
        assert_eq!(node.get("/s/a.txt").expect(200).text(), "one");
        app.write("s/a.txt", "two");
        app.write("s/b.txt", "new");
        node.eventually(&Request::get("/s/a.txt"), |answer| answer.text() == "two");
        node.eventually(&Request::get("/s/b.txt"), |answer| answer.status == 200);
        node.wait_line("the notice", |line| line.contains("\"notice\"") && line.contains("a.txt"));
        assert_eq!(node.get("/").expect(200).json()["pid"], pid);
    });
}

#[test]
fn a_change_of_configuration_is_served() {
    on_both(|python| {
        let app = echo(python);
        let node = serve(&app);
        node.get("/x").expect(200);
        app.write("app.yaml", python.yaml("env_variables:\n  NEW: there"));
        node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.json()["os"]["NEW"] == "there");
        app.write(
            "app.yaml",
            format!("{}handlers:\n- url: /x\n  static_dir: none\n- url: /.*\n  script: {}\n", python.head(), python.script()),
        );
        node.eventually(&Request::get("/x/y"), |answer| answer.status == 404);
        node.get("/x").expect(200);
    });
}

#[test]
fn a_mistake_in_the_configuration_keeps_the_old_version() {
    on_both(|python| {
        let app = echo(python);
        let node = serve(&app);
        let pid = node.get("/").expect(200).json()["pid"].clone();
        app.write("app.yaml", "runtime: python27\nhandlers: [\n");
        node.wait_line("the complaint", |line| line.contains("previous configuration"));
        assert!(node.everything().contains("app.yaml"), "{}", node.everything());
        assert_eq!(node.get("/").expect(200).json()["pid"], pid);
        app.write("app.yaml", python.yaml("env_variables:\n  NEW: there"));
        node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.json()["os"]["NEW"] == "there");
    });
}

#[test]
fn code_that_changed_beside_a_mistake_is_served_once_the_mistake_is_mended() {
    let python = Python::Three;
    let app = echo(python);
    let node = serve(&app);
    node.get("/").expect(200);
    app.write("app.yaml", "runtime: [\n");
    node.wait_line("the complaint", |line| line.contains("previous configuration"));
    app.write("main.py", versioned("2"));
    let complaints = |node: &testkit::Node| node.everything().matches("previous configuration").count();
    let until = std::time::Instant::now() + testkit::DEADLINE;
    while complaints(&node) < 2 {
        assert!(std::time::Instant::now() < until, "{}", node.everything());
        std::thread::park_timeout(Duration::from_millis(5));
    }
    // The configuration is what it was before, so nothing but the code is new.
    app.write("app.yaml", python.yaml(""));
    node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.json()["version"] == "2");
}

#[test]
fn code_that_cannot_be_imported_is_told_and_mended() {
    on_both(|python| {
        let app = echo(python);
        let node = serve(&app);
        node.get("/").expect(200);
        app.write("main.py", "def app(:\n");
        let answer = node.eventually(&Request::get("/"), |answer| answer.status != 200);
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("SyntaxError"), "{}", answer.text());
        app.write("main.py", versioned("2"));
        node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.json()["version"] == "2");
    });
}

#[test]
fn packages_that_cannot_be_installed_keep_the_old_deployment() {
    let python = Python::Three;
    let app = echo(python);
    let home = tempfile::tempdir().expect("folder");
    let node = node()
        .app(&app)
        .env("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        .env("PIP_RETRIES", "0")
        .env("XDG_CACHE_HOME", home.path())
        .start();
    let pid = node.get("/").expect(200).json()["pid"].clone();
    app.write("requirements.txt", "no-such-package-for-enginehouse==1\n");
    node.wait_line("the complaint", |line| line.contains("previous deployment") && line.contains("no-such-package-for-enginehouse"));
    assert_eq!(node.get("/").expect(200).json()["pid"], pid);
    // Mended, and changed meanwhile.
    app.write("main.py", versioned("2"));
    app.remove("requirements.txt");
    node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.json()["version"] == "2");
}

#[test]
fn only_the_service_whose_files_changed_is_restarted() {
    let python = Python::Three;
    let app = App::new()
        .file("web/app.yaml", python.yaml(""))
        .file("web/main.py", ECHO)
        .file("api/api.yaml", python.yaml("service: api"))
        .file("api/main.py", ECHO);
    let node = node().file(&app, "web/app.yaml").file(&app, "api/api.yaml").start();
    let web = node.get("/").expect(200).json()["pid"].clone();
    app.write("api/main.py", versioned("2"));
    node.eventually(&Request::get("/").host("api.localhost"), |answer| answer.status == 200 && answer.json()["version"] == "2");
    assert_eq!(node.get("/").expect(200).json()["pid"], web);
}

#[test]
fn what_does_not_belong_to_the_app_restarts_nothing() {
    let app = echo(Python::Three)
        .file("node_modules/a.js", "1")
        .file(".git/HEAD", "x")
        .file("env/pyvenv.cfg", "home = /usr")
        .file("env/x.py", "");
    let node = serve(&app);
    let pid = node.get("/").expect(200).json()["pid"].clone();
    for file in ["node_modules/a.js", ".git/HEAD", "env/x.py", "__pycache__/main.pyc", "main.py~"] {
        app.write(file, "changed");
    }
    // A change that counts comes after those that do not.
    app.write("other.py", "");
    node.wait_line("the notice", |line| line.contains("reloaded") && line.contains("other.py"));
    let notices = node.everything().lines().filter(|line| line.contains("\"notice\"") && line.contains("reloaded")).count();
    assert_eq!(notices, 1, "{}", node.everything());
    node.eventually(&Request::get("/"), |answer| answer.json()["pid"] != pid);
}

#[test]
fn no_reload_does_not_look() {
    let app = echo(Python::Three);
    let looks = |node: &testkit::Node| {
        let files = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).expect("the process runs").flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| target.to_string_lossy().contains("inotify"))
    };
    let node = serve(&app);
    node.wait_line("that it is prepared", |line| line.contains("Ctrl-C stops"));
    assert!(looks(&node));
    drop(node);
    let node = crate::node().app(&app).arg("--no-reload").start();
    node.wait_line("that it is prepared", |line| line.contains("Ctrl-C stops"));
    assert!(!looks(&node));
}
