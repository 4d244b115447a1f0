//! The bundled examples, and an app from elsewhere.

use testkit::{App, Node, Python, Request};

use crate::apps::encode;
use crate::{command, node, workspace};

/// A copy, so that two tests never see each other's processes.
fn example(name: &str) -> App {
    App::copy_of(&workspace().join("examples").join(name))
}

/// The example's runtime is made to fit the Python of this machine.
fn with_this_python(app: &App, file: &str) {
    let text = std::fs::read_to_string(app.join(file)).expect("file");
    app.write(file, text.replace("python311", &Python::Three.runtime()));
}

fn try_guestbook(node: &Node) {
    assert!(node.get("/").expect(200).text().contains("Nobody has written anything yet"));
    assert!(node.get("/static/style.css").expect(200).header("cache-control").is_some_and(|value| value.contains("max-age=86400")));
    node.get("/favicon.ico").expect(200);
    node.get("/sign").expect(302);
    let user = crate::login::sign_in(node, "ange@example.com", false);
    let signed = node.send(&Request::post("/sign", format!("text={}", encode("Grüße <b>"))).header("Cookie", &user));
    assert_eq!(signed.status, 303, "{signed:?}");
    let page = node.send(&Request::get("/").header("Cookie", &user)).expect(200).text();
    assert!(page.contains("Grüße &lt;b&gt;") && page.contains("ange"), "{page}");
    node.send(&Request::post("/clear", "").header("Cookie", &user)).expect(401);
    let admin = crate::login::sign_in(node, "root@example.com", true);
    node.send(&Request::post("/clear", "").header("Cookie", &admin)).expect(303);
    assert!(node.get("/").expect(200).text().contains("Nobody has written anything yet"));
    node.get("/no/such/page").expect(404);
}

#[test]
fn guestbook_on_python_2() {
    try_guestbook(&node().app(&example("guestbook")).start());
}

#[test]
fn guestbook_on_python_3() {
    let app = example("guestbook");
    with_this_python(&app, "python3.yaml");
    try_guestbook(&node().file(&app, "python3.yaml").start());
}

#[test]
fn hello_flask() {
    let app = example("hello-flask");
    with_this_python(&app, "app.yaml");
    let node = node().app(&app).start();
    let page = node.get("/?name=J%C3%BCrgen").expect(200).text();
    assert!(page.contains("Hello, Jürgen!") && page.contains("from ZZ"), "{page}");
    node.get("/static/style.css").expect(200);
    drop(node);
    // The second start finds the packages: nothing is installed any more.
    let again = crate::node().app(&app).env("PIP_INDEX_URL", "http://127.0.0.1:9/simple").start();
    again.get("/").expect(200);
}

#[test]
fn hello_node() {
    let node = node().app(&example("hello-node")).start();
    let page = node.get("/?name=you").expect(200).text();
    assert!(page.starts_with("Hello, you! This is default on Node.js"), "{page}");
    node.get("/public/robots.txt").expect(200);
    node.get("/missing").expect(404);
}

#[test]
fn two_services() {
    let app = example("two-services");
    with_this_python(&app, "web/app.yaml");
    with_this_python(&app, "api/api.yaml");
    let node = node().file(&app, "web/app.yaml").file(&app, "api/api.yaml").start();
    assert!(node.get("/").expect(200).text().contains("<h1>Two services</h1>"));
    assert_eq!(node.get("/api/planets").expect(200).json()[2], "Earth");
    assert_eq!(node.send(&Request::get("/").host("api.localhost")).expect(200).json()["service"], "api");
    assert_eq!(node.send(&Request::get("/").host("data.localhost")).expect(200).json()["service"], "api");
    node.get("/static/list.js").expect(200);
}

#[test]
fn every_example_is_free_of_mistakes() {
    for paths in [
        vec!["guestbook"],
        vec!["guestbook/python3.yaml"],
        vec!["hello-flask"],
        vec!["hello-node"],
        vec!["hello-cgi"],
        vec!["hello-django"],
        vec!["hello-express"],
        vec!["hello-fastapi"],
        vec!["hello-go"],
        vec!["hello-java"],
        vec!["hello-php"],
        vec!["hello-ruby"],
        vec!["two-services/web/app.yaml", "two-services/api/api.yaml"],
    ] {
        let folder = workspace().join("examples");
        let full: Vec<String> = paths.iter().map(|path| folder.join(path).display().to_string()).collect();
        let finished = command(std::iter::once("check").chain(full.iter().map(String::as_str)));
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{paths:?}: {finished:?}");
    }
}

#[test]
fn httpbin_from_pypi() {
    let python = Python::Three;
    let app = App::with_yaml(&python.yaml("")).file("main.py", "from httpbin import app\n").file("requirements.txt", "httpbin==0.10.2\n");
    let node = node().app(&app).start();
    let got = node.send(&Request::get("/get?a=b").header("X-Custom", "yes")).expect(200).json();
    assert_eq!((got["args"]["a"].as_str(), got["headers"]["X-Custom"].as_str()), (Some("b"), Some("yes")));
    assert_eq!(node.send(&Request::post("/post", "a=1&b=2")).expect(200).json()["form"]["b"], "2");
    for status in [204, 301, 404, 418, 503] {
        assert_eq!(node.get(&format!("/status/{status}")).status, status);
    }
    assert_eq!(node.get("/stream-bytes/5000?seed=1").expect(200).body.len(), 5_000);
    assert_eq!(node.get("/stream/3").expect(200).text().lines().count(), 3);
    assert_eq!(node.get("/redirect-to?url=%2Fget").expect(302).header("location"), Some("/get"));
    assert_eq!(node.get("/cookies/set?a=b").expect(302).all("set-cookie").len(), 1);
    let unicode = node.get("/encoding/utf8").expect(200).text();
    assert!(unicode.contains("STARGΛ̊TE"), "{unicode}");
    let zipped = node.send(&Request::get("/html").header("Accept-Encoding", "gzip")).expect(200);
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    let put =
        node.send(&Request::new("PUT", "/anything").header("Content-Type", "application/json").body("{\"x\": [1]}")).expect(200).json();
    assert_eq!((put["json"]["x"][0].as_i64(), put["method"].as_str()), (Some(1), Some("PUT")));
}
