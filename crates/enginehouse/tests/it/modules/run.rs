//! During `run`: changes last until the run ends or the scaling in app.yaml changes.

use testkit::{App, Node, Python, Request};

use super::{add, asks, plain};
use crate::{node, on_both};

/// A service of each kind of scaling.
fn three(python: Python) -> App {
    let app = add(App::new(), python, "web", "default", "version: v1\nautomatic_scaling:\n  max_instances: 2\n");
    let app = add(app, python, "api", "api", "version: v1\nmanual_scaling:\n  instances: 2\n");
    add(app, python, "jobs", "jobs", "version: j1\nbasic_scaling:\n  max_instances: 3\n")
}

fn start(app: &App) -> Node {
    let node = node().file(app, "web/app.yaml").file(app, "api/app.yaml").file(app, "jobs/app.yaml");
    node.args(["--patience", "300"]).start()
}

fn eval(node: &Node, host: &str, expression: &str) -> String {
    plain(&node.send(&Request::get(&asks(expression)).host(host)).expect(200).text())
}

#[test]
fn m1_an_instance_knows_its_names() {
    on_both(|python| {
        let node = start(&three(python));
        let who = |host: &str| eval(&node, host, "whoami()");
        let opaque = who("localhost");
        let id = opaque.strip_prefix("default v1 ").unwrap_or_else(|| panic!("{python:?}: {opaque}"));
        assert!(id.len() >= 8 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{python:?}: {id}");
        assert_eq!(who("1.v1.api.localhost"), "api v1 1", "{python:?}");
        assert_eq!(who("jobs.localhost"), "jobs j1 0", "{python:?}");
    });
}

#[test]
fn m3_what_there_is_and_what_there_is_not() {
    on_both(|python| {
        let node = start(&three(python));
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, "localhost", expression), wanted, "{python:?}: {expression}");
        check("list(modules.get_modules())", "['api', 'default', 'jobs']");
        check("list(modules.get_versions()), list(modules.get_versions('jobs'))", "(['v1'], ['j1'])");
        check("modules.get_versions('nothing')", "raises InvalidModuleError");
        check("modules.get_default_version(), modules.get_default_version('jobs')", "('v1', 'j1')");
        check("modules.get_default_version('nothing')", "raises InvalidModuleError");
        check("modules.get_num_instances('api'), modules.get_num_instances('api', 'v1')", "(2, 2)");
        for other in ["", "'jobs'", "'nothing'", "'api', 'v7'"] {
            check(&format!("modules.get_num_instances({other})"), "raises InvalidVersionError");
        }
        for other in ["1", "1, 'jobs'", "1, 'nothing'", "1, 'api', 'v7'"] {
            check(&format!("modules.set_num_instances({other})"), "raises InvalidVersionError");
        }
        check("modules.set_num_instances('2', 'api')", "raises TypeError");
        check("modules.set_num_instances(0, 'api')", "raises Error");
        check("modules.set_num_instances(1000000, 'api')", "raises Error");
        check("raw('modules', 'SetNumInstances', module='api', instances=-1)", "3");
        for call in ["stop_version()", "start_version('default', 'v1')", "stop_version('nothing')", "start_version('api', 'v7')"] {
            check(&format!("modules.{call}"), "raises InvalidVersionError");
        }
        check("raw('modules', 'StartModule', module='api', version='v1')", "5");
        check("modules.start_version('api', 'v1')", "None");
    });
}

#[test]
fn m2_m5_hostnames_are_fetched_from_another_instance() {
    on_both(|python| {
        let node = start(&three(python));
        let port = node.address().port();
        let name = |arguments: &str| eval(&node, "localhost", &format!("modules.get_hostname({arguments})"));
        assert_eq!(name(""), format!("v1.default.localhost:{port}"));
        assert_eq!(name("'api'"), format!("v1.api.localhost:{port}"), "the caller's version, where there is one of its name");
        assert_eq!(name("'jobs'"), format!("jobs.localhost:{port}"), "the default version otherwise");
        assert_eq!(name("'jobs', 'j1'"), format!("j1.jobs.localhost:{port}"));
        assert_eq!(name("'api', None, 1"), format!("1.v1.api.localhost:{port}"));
        assert_eq!(name("'jobs', None, '2'"), format!("2.j1.jobs.localhost:{port}"));
        for (arguments, error) in [
            ("'nothing'", "InvalidModuleError"),
            ("'api', 'v7'", "InvalidModuleError"),
            ("'api', 'v1', 2", "InvalidInstancesError"),
            ("'api', 'v1', '01'", "InvalidInstancesError"),
            ("'api', 'v1', 'x'", "InvalidInstancesError"),
            ("'default', 'v1', 0", "InvalidInstancesError"),
            ("'api', 'v1', 1.5", "TypeError"),
        ] {
            assert_eq!(name(arguments), format!("raises {error}"), "{python:?}: {arguments}");
        }
        let fetched = |arguments: &str| eval(&node, "localhost", &format!("who(modules.get_hostname({arguments}))"));
        assert_eq!(fetched("'api', None, 1"), "api v1 1", "{python:?}");
        assert_eq!(fetched("'api', None, '0'"), "api v1 0", "{python:?}");
        assert_eq!(fetched("'jobs'"), "jobs j1 0", "{python:?}");
        for way in ["who", "fetched"] {
            for (arguments, wanted) in [("'api', None, 1", "api v1 1"), ("'jobs', 'j1'", "jobs j1 0")] {
                let answer = eval(&node, "localhost", &format!("{way}(modules.get_hostname({arguments}))"));
                assert_eq!(answer, wanted, "{python:?}: {way}");
            }
        }
        assert_eq!(eval(&node, "localhost", "address(modules.get_hostname('api', None, 1))"), "127.0.0.1", "{python:?}");
        let back = eval(&node, "api.localhost", "who(modules.get_hostname('default'))");
        assert!(back.starts_with("default v1 "), "{python:?}: {back}");
    });
}

#[test]
fn m3_instances_are_added_and_taken_away() {
    on_both(|python| {
        let app = three(python);
        let node = start(&app);
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, "localhost", expression), wanted, "{python:?}: {expression}");
        check("who(modules.get_hostname('api', None, 0))", "api v1 0");
        check("modules.set_num_instances(3, 'api'), modules.get_num_instances('api')", "(None, 3)");
        check("who(modules.get_hostname('api', None, 2))", "api v1 2");
        check("modules.set_num_instances_async(1, 'api').get_result(), modules.get_num_instances('api')", "(None, 1)");
        check("modules.get_hostname('api', None, 1)", "raises InvalidInstancesError");
        check("who(modules.get_hostname('api', None, 0))", "api v1 0");
        // Code that changes starts instances anew; what was asked for stays.
        app.write("api/more.py", "x = 1\n");
        node.wait_line("the reload", |line| line.contains("reloaded api/v1"));
        check("modules.get_num_instances('api')", "1");
        let yaml = std::fs::read_to_string(app.join("api/app.yaml")).expect("read");
        app.write("api/app.yaml", yaml.replace("instances: 2", "instances: 4"));
        node.eventually(&Request::get(&asks("modules.get_num_instances('api')")).host("localhost"), |answer| answer.text() == "4");
        check("who(modules.get_hostname('api', None, 3))", "api v1 3");
    });
}

#[test]
fn m3_versions_stop_and_start() {
    on_both(|python| {
        let node = start(&three(python));
        let check = |expression: &str, wanted: &str| assert_eq!(eval(&node, "localhost", expression), wanted, "{python:?}: {expression}");
        for (service, version) in [("api", "v1"), ("jobs", "j1")] {
            let host = format!("{service}.localhost");
            assert_eq!(eval(&node, &host, "modules.get_current_module_name()"), service);
            check(&format!("modules.stop_version('{service}', '{version}')"), "None");
            node.send(&Request::get("/").host(&host)).expect(404);
            check(&format!("raw('modules', 'StopModule', module='{service}', version='{version}')"), "5");
            check(&format!("modules.stop_version_async('{service}', '{version}').get_result()"), "None");
            check(&format!("list(modules.get_versions('{service}'))"), &format!("['{version}']"));
            check(&format!("modules.start_version_async('{service}', '{version}').get_result()"), "None");
            assert_eq!(eval(&node, &host, "modules.get_current_module_name()"), service, "{python:?}");
        }
        // One that stops itself still answers the request that it has.
        assert_eq!(eval(&node, "api.localhost", "modules.stop_version()"), "None", "{python:?}");
        node.send(&Request::get("/").host("api.localhost")).expect(404);
    });
}
