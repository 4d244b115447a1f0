//! The system service: background threads, what the instance uses, and the shutdown hook, through the official SDKs.

use testkit::{App, Node, Python, Request};

use crate::modules::{add, asks, plain};
use crate::{node, on_both};

fn start(python: Python) -> Node {
    let app = add(App::new(), python, "web", "default", "version: v1\nautomatic_scaling:\n  max_instances: 1\n");
    let app = add(app, python, "api", "api", "version: v1\nmanual_scaling:\n  instances: 1\n");
    node().file(&app, "web/app.yaml").file(&app, "api/app.yaml").args(["--patience", "300"]).start()
}

fn ask(host: &str, expression: &str) -> Request {
    Request::get(&asks(expression)).host(host)
}

fn eval(node: &Node, host: &str, expression: &str) -> String {
    plain(&node.send(&ask(host, expression)).expect(200).text())
}

#[test]
fn background_threads_outlive_their_requests() {
    on_both(|python| {
        let node = start(python);
        let eventually = |expression: &str, wanted: &str| {
            node.eventually(&ask("api.localhost", expression), |answer| plain(&answer.text()) == wanted);
        };
        let start = |work: &str| eval(&node, "api.localhost", &format!("background_thread.start_new_background_thread({work}, []) > 0"));
        // The thread goes on after the answer, has calls of its own, and knows where it is.
        assert_eq!(start("lambda: (gate.wait(), said.append(whoami()), said.append(modules.get_num_instances()))"), "True", "{python:?}");
        assert_eq!(eval(&node, "api.localhost", "list(said), gate.set()"), "([], None)", "{python:?}");
        eventually("said", "['api v1 0', 1]");
        let threads =
            "(lambda thread: (thread.start(), thread.join()))(background_thread.BackgroundThread(target=said.append, args=['x']))";
        assert_eq!(eval(&node, "api.localhost", threads), "(None, None)", "{python:?}");
        eventually("said[2:]", "['x']");
        // One that raises leaves a line in the log, and its place to another.
        assert_eq!(start("lambda: undefined"), "True", "{python:?}");
        node.wait_line("the traceback", |line| line.contains("NameError"));
        assert_eq!(eval(&node, "localhost", "background_thread.start_new_background_thread(whoami, [])"), "raises FrontendsNotSupported");
        node.send(&Request::get("/_ah/background").host("api.localhost").header("X-AppEngine-BackgroundRequest", "x")).expect(200);
    });
}

#[test]
fn background_threads_are_limited() {
    on_both(|python| {
        let node = start(python);
        let thread = "background_thread.start_new_background_thread(gate.wait, []) > 0";
        for _ in 0..10 {
            assert_eq!(eval(&node, "api.localhost", thread), "True", "{python:?}");
        }
        assert_eq!(eval(&node, "api.localhost", thread), "raises BackgroundThreadLimitReachedError", "{python:?}");
        assert_eq!(eval(&node, "api.localhost", "gate.set()"), "None");
        node.eventually(&ask("api.localhost", thread), |answer| answer.text() == "True");
    });
}

#[test]
fn the_instance_is_told_what_it_uses() {
    on_both(|python| {
        let node = start(python);
        let memory = "(lambda used: (used.current() if callable(used.current) else used.current) > 5)(runtime.memory_usage())";
        node.eventually(&ask("api.localhost", memory), |answer| answer.text() == "True");
        let cpu = "(lambda used: (used.total() if callable(used.total) else used.total) > 10)(runtime.cpu_usage())";
        node.eventually(&ask("api.localhost", cpu), |answer| answer.text() == "True");
    });
}

#[test]
fn y31_the_shutdown_hook_of_the_sdk_runs() {
    on_both(|python| {
        let mut node = start(python);
        let hook = "runtime.set_shutdown_hook(lambda: __import__('sys').stderr.write('hooked %s\\n' % runtime.is_shutting_down()))";
        assert_eq!(eval(&node, "api.localhost", hook), "None", "{python:?}");
        assert_eq!(eval(&node, "api.localhost", "runtime.is_shutting_down()"), "False", "{python:?}");
        assert_eq!(node.stop().code(), Some(0));
        node.wait_line("what the hook says", |line| line.contains("hooked True"));
    });
}
