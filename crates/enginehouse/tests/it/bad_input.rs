//! Apps and machines that are not as they should be: each has its clear message and status, and the server goes on.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use testkit::{App, Finished, Python, Request};

use crate::apps::{ECHO, OBEY, app, echo};
use crate::{node, on_both, serve};

/// `enginehouse run` that is expected to refuse.
#[track_caller]
fn refused(app: &App, args: &[&str]) -> Finished {
    let finished = node().arg("run").app(app).args(["--port", "0"]).args(args.iter().copied()).output();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    finished
}

#[test]
fn broken_yaml() {
    for yaml in [
        "runtime: [\n",
        "\tx: y\n",
        "",
        "just text\n",
        "- a\n- b\n",
        "runtime: python27\nruntime: python27\n",
        "a: &x b\nc: *x\n",
        "\u{feff}{{{\n",
        "a: \"\\xZZ\"\n",
    ] {
        let finished = refused(&App::with_yaml(yaml), &[]);
        assert!(finished.stderr.contains("app.yaml"), "{yaml:?}: {finished:?}");
    }
    let finished = refused(&App::new().file("app.yaml", [0xff, 0xfe, 0x00, 0x80]), &[]);
    assert!(finished.stderr.contains("app.yaml"), "{finished:?}");
}

#[test]
fn missing_files() {
    let finished = refused(&App::new(), &[]);
    assert!(finished.stderr.contains("app.yaml"), "{finished:?}");
    let finished = node().args(["run", "/no/such/folder"]).output();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("/no/such/folder"), "{finished:?}");
    let include = App::with_yaml(&Python::Two.yaml("includes:\n- nothing.yaml"));
    assert!(refused(&include, &[]).stderr.contains("nothing.yaml"));
    let tls = refused(&echo(Python::Two), &["--tls-cert", "/no/cert.pem", "--tls-key", "/no/key.pem"]);
    assert!(tls.stderr.contains("/no/cert.pem"), "{tls:?}");
}

#[test]
fn bad_patterns() {
    for url in ["/(a", "/[z-a]", "/a{2,1}", "/*+", "/\\1"] {
        let app = App::with_yaml(&format!("{}handlers:\n- url: {url}\n  script: main.app\n", Python::Two.head())).file("main.py", ECHO);
        let finished = refused(&app, &[]);
        assert!(finished.stderr.contains("app.yaml:5"), "{url}: {finished:?}");
    }
}

#[test]
fn unreadable_folders() {
    // Root reads everything; then there is nothing to refuse.
    let app = App::new().file("inner/app.yaml", Python::Two.yaml("")).file("inner/main.py", ECHO);
    let inner = app.join("inner");
    std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o000)).expect("mode is set");
    let readable = std::fs::read_dir(&inner).is_ok();
    let finished = if readable { None } else { Some(node().arg("run").path(&inner).args(["--port", "0"]).output()) };
    std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o755)).expect("mode is set");
    if let Some(finished) = finished {
        assert_eq!(finished.code, Some(1));
        assert!(finished.stderr.contains("inner"), "{finished:?}");
    }
    // A file where a folder is wanted, which even root cannot enter.
    let file = App::new().file("file", "");
    let storage = file.join("file/storage");
    let finished = refused(&echo(Python::Two), &["--storage", storage.to_str().expect("UTF-8")]);
    assert!(finished.stderr.contains("storage"), "{finished:?}");
}

#[test]
fn ports_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let app = echo(Python::Two);
    let finished = node().arg("run").app(&app).args(["--port", &port]).output();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains(&port) && finished.stderr.contains("--port"), "{finished:?}");
}

#[test]
fn missing_interpreters() {
    let finished = node().arg("run").app(&echo(Python::Two)).args(["--port", "0", "--python", "/no/python"]).output();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("/no/python"), "{finished:?}");
    let app = App::with_yaml("runtime: python399\nhandlers:\n- url: /.*\n  script: auto\n").file("main.py", ECHO);
    let finished = node()
        .arg("run")
        .app(&app)
        .args(["--port", "0"])
        .env("PATH", "/nowhere")
        .env("HOME", "/nowhere")
        .env("PYENV_ROOT", "/nowhere")
        .output();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("Python") && finished.stderr.contains("/nowhere"), "{finished:?}");
    let node_app = App::with_yaml("runtime: nodejs22\n").file("server.js", "");
    let finished = node().arg("run").app(&node_app).args(["--port", "0"]).env("PATH", "/nowhere").output();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("node"), "{finished:?}");
}

#[test]
fn packages_that_do_not_exist() {
    // An index that nobody serves, and a cache of its own: that of other tests must not help.
    let home = tempfile::tempdir().expect("folder");
    for (app, package) in [
        (app(Python::Two, "libraries:\n- name: markupsafe\n  version: latest", ECHO), "markupsafe"),
        (app(Python::Three, "", ECHO).file("requirements.txt", "no-such-package-for-enginehouse==1\n"), "no-such-package-for-enginehouse"),
    ] {
        let node = node().arg("run").app(&app).args(["--port", "0"]).env("XDG_CACHE_HOME", home.path());
        let finished = node.env("PIP_INDEX_URL", "http://127.0.0.1:9/simple").env("PIP_RETRIES", "0").output();
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.to_lowercase().contains(package), "{finished:?}");
    }
}

#[test]
fn apps_that_crash() {
    on_both(|python| {
        let main = r"
import os
import sys


def app(environ, start_response):
    what = environ['QUERY_STRING']
    if what == 'raise':
        raise ValueError('raised on purpose')
    if what == 'exit':
        sys.exit(3)
    if what == 'die':
        os._exit(3)
    if what == 'late':
        start_response('200 OK', [])
        return broken()
    start_response('200 OK', [])
    return [b'fine']


def broken():
    yield b'a' * 100
    raise ValueError('raised in the body')
";
        let node = serve(&app(python, "", main));
        let raised = node.get("/?raise").expect(500);
        assert!(raised.text().contains("ValueError") && raised.text().contains("raised on purpose"), "{}", raised.text());
        assert!(node.wait_request("/?raise").to_string().contains("raised on purpose"));
        assert_eq!(node.get("/?exit").status, 500);
        let late = node.get("/?late");
        assert!(late.status == 500 || !late.complete, "{late:?}");
        let died = node.get("/?die");
        assert!([500, 502, 503].contains(&died.status), "{died:?}");
        // Another instance takes over.
        node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.text() == "fine");
    });
}

#[test]
fn apps_that_cannot_be_imported() {
    on_both(|python| {
        for (main, said) in
            [("import no_such_module\n", "no_such_module"), ("app = \n", "SyntaxError"), ("x = 1\n", "app"), ("app = 5\n", "app")]
        {
            let node = serve(&app(python, "", main));
            let answer = node.get("/");
            assert_eq!(answer.status, 500, "{main}: {answer:?}");
            assert!(answer.text().contains(said), "{main}: {}", answer.text());
            assert_eq!(node.get("/").status, 500);
        }
    });
}

#[test]
fn apps_that_break_the_rules_of_wsgi() {
    on_both(|python| {
        for body in [
            "    return [b'no start']",
            "    start_response('fine', [])\n    return []",
            "    start_response('200 OK', [('A',)])\n    return []",
            "    start_response('200 OK', 5)\n    return []",
            "    start_response('200 OK', [])\n    return 5",
            "    start_response('200 OK', [])\n    return [5]",
            "    start_response('999 Odd', [])\n    return None",
        ] {
            let node = serve(&app(python, "", &format!("def app(environ, start_response):\n{body}\n")));
            let answer = node.get("/");
            assert!(answer.status == 500 || !answer.complete, "{body}: {answer:?}");
        }
        let node = serve(&app(python, "", OBEY));
        let split = node.get("/?header=X-A%3Ab%0d%0aSet-Cookie%3A%20evil%3D1&header=X-Good%3Afine");
        assert_eq!(split.header("set-cookie"), None, "{split:?}");
    });
}

#[test]
fn apps_that_print_garbage() {
    let garbage = r"
import socket
import sys
import os

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(('127.0.0.1', int(os.environ['PORT'])))
server.listen(16)
os.write(1, b'\xff\xfe\x00 garbage \x1b[2J\n' * 10)
while True:
    peer, _ = server.accept()
    data = peer.recv(65536)
    if b'?garbage' in data:
        peer.sendall(b'\x00\xff garbage without end')
    elif b'?nothing' in data:
        pass
    elif b'?half' in data:
        peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this')
    elif b'?head' in data:
        peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Len')
    elif b'?split' in data:
        peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!')
    else:
        peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine')
    peer.close()
";
    let python = Python::Three;
    let app = App::with_yaml(&format!("{}entrypoint: python3 serve.py\nhandlers:\n- url: /.*\n  script: auto\n", python.head()))
        .file("serve.py", garbage);
    let node = serve(&app);
    assert_eq!(node.get("/").expect(200).text(), "fine");
    for what in ["garbage", "nothing", "head", "split"] {
        let answer = node.get(&format!("/?{what}"));
        assert!([500, 502, 503].contains(&answer.status), "{what}: {answer:?}");
        node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.text() == "fine");
    }
    let half = node.raw(&Request::get("/?half").bytes());
    assert!(half.is_none_or(|answer| !answer.complete || answer.status >= 500));
    node.eventually(&Request::get("/"), |answer| answer.status == 200 && answer.text() == "fine");
}

#[test]
fn an_entrypoint_that_never_listens() {
    for (entrypoint, said) in
        [("python3 -c 'import sys; sys.exit(7)'", "7"), ("no-such-command-for-enginehouse", "no-such-command-for-enginehouse")]
    {
        let app = App::with_yaml(&format!(
            "{}entrypoint: {entrypoint}\nhandlers:\n- url: /.*\n  script: auto\n- url: /s\n  static_dir: s\n",
            Python::Three.head()
        ))
        .file("s/a.txt", "a");
        let node = serve(&app);
        let answer = node.get("/");
        assert!([500, 503].contains(&answer.status), "{answer:?}");
        assert!(node.everything().contains(said), "{}", node.everything());
    }
}
