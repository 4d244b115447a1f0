//! Several services on one port: host names and dispatch.yaml.

use testkit::{App, Node, Python, Request};

use crate::apps::ECHO;
use crate::{command, node, on_both};

/// A default service and an `api` service, each telling its name.
fn two(python: Python, dispatch: &str) -> App {
    let yaml = |service: &str| {
        let script = if python == Python::Two { format!("{service}.app") } else { "auto".into() };
        let name = if service == "web" { "default" } else { service };
        let entry = if python == Python::Three { "" } else { "automatic_scaling:\n  max_instances: 1\n" };
        format!("{}service: {name}\nversion: v1\n{entry}handlers:\n- url: /.*\n  script: {script}\n", python.head())
    };
    let main = |name: &str| {
        format!(
            "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{name} ' + environ['PATH_INFO'].encode('ascii')]\n"
        )
    };
    let app = App::new().file("web/app.yaml", yaml("web")).file("api/api.yaml", yaml("api"));
    let (web, api) = if python == Python::Two { ("web.py", "api.py") } else { ("main.py", "main.py") };
    let app = app.file(&format!("web/{web}"), main("web")).file(&format!("api/{api}"), main("api"));
    if dispatch.is_empty() { app } else { app.file("web/dispatch.yaml", dispatch) }
}

fn start(app: &App) -> Node {
    node().file(app, "web/app.yaml").file(app, "api/api.yaml").start()
}

fn who(node: &Node, host: &str, path: &str) -> String {
    node.send(&Request::get(path).host(host)).expect(200).text()
}

#[test]
fn y24_services_are_told_apart_by_host_names() {
    on_both(|python| {
        let node = start(&two(python, ""));
        assert_eq!(node.services().keys().collect::<Vec<_>>(), ["api", "default"]);
        assert!(node.services()["api"].starts_with("http://api.localhost:"));
        let port = node.address().port();
        for (host, service) in [
            ("localhost", "web"),
            ("127.0.0.1", "web"),
            ("api.localhost", "api"),
            ("API.localhost.", "api"),
            ("v1.api.localhost", "api"),
            ("v1-dot-api.localhost", "api"),
            ("api-dot-demo.localhost", "api"),
            ("v1-dot-api-dot-demo.localhost", "api"),
            ("v1-dot-api-dot-demo.ew.r.localhost", "api"),
            ("default.localhost", "web"),
            ("nothing.localhost", "web"),
        ] {
            assert_eq!(who(&node, host, "/x"), format!("{service} /x"), "{host}");
            assert_eq!(who(&node, &format!("{host}:{port}"), "/x"), format!("{service} /x"), "{host}:{port}");
        }
        node.send(&Request::get("/").host("evil.example.org")).expect(400);
    });
}

#[test]
fn dispatch_rules_send_hosts_and_paths_to_services() {
    on_both(|python| {
        let dispatch = "dispatch:\n- url: \"*/api/*\"\n  service: api\n- url: \"data.localhost/*\"\n  service: api\n- url: \"localhost/only\"\n  service: api\n- url: \"*/exact\"\n  service: api\n";
        let app = two(python, dispatch);
        let node = start(&app);
        for (host, path, service) in [
            ("localhost", "/", "web"),
            ("localhost", "/api/x", "api"),
            ("localhost", "/apix", "web"),
            ("localhost", "/only", "api"),
            ("127.0.0.1", "/only", "web"),
            ("data.localhost", "/anything", "api"),
            ("localhost", "/exact", "api"),
            ("localhost", "/exact/x", "web"),
            ("v1-dot-default.localhost", "/api/x", "web"),
        ] {
            assert_eq!(who(&node, host, path), format!("{service} {path}"), "{host}{path}");
        }
        let (web, api) = (app.join("web/app.yaml"), app.join("api/api.yaml"));
        let explained = command(["explain", "/api/x", web.to_str().expect("UTF-8"), api.to_str().expect("UTF-8")]);
        assert!(explained.stdout.contains("dispatch.yaml:2") && explained.stdout.contains("api/v1"), "{explained:?}");
    });
}

#[test]
fn two_files_for_one_service_are_an_error() {
    let app = App::new()
        .file("a.yaml", Python::Two.yaml("service: same\nversion: v1"))
        .file("b.yaml", Python::Two.yaml("service: same\nversion: v1"))
        .file("main.py", ECHO);
    let check = command(["check", app.join("a.yaml").to_str().expect("UTF-8"), app.join("b.yaml").to_str().expect("UTF-8")]);
    assert_eq!(check.code, Some(1), "{check:?}");
}
