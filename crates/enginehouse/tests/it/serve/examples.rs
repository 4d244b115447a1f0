//! The bundled examples on a server, as the guide says: `enginehouse deploy` in their folder, then the address that it prints.

use testkit::http1::{Connection, Request, Response};
use testkit::{App, Python, ServeNode};

use crate::workspace;

/// A copy of an example, whose Python 3 is the one of this machine.
fn example(name: &str, files: &[&str]) -> App {
    let app = App::copy_of(&workspace().join("examples").join(name));
    for file in files {
        let text = std::fs::read_to_string(app.join(file)).expect("file");
        app.write(file, text.replace("python311", &Python::Three.runtime()));
    }
    app
}

/// An example that was deployed: its server, and the host of the address that the command printed.
struct Deployed {
    server: ServeNode,
    host: String,
}

impl Deployed {
    /// Deploys these files of the example to an app that does not exist yet.
    #[track_caller]
    fn new(app: &App, files: &[&str]) -> Self {
        let server = super::server();
        let paths: Vec<String> = files.iter().map(|file| app.join(file).display().to_string()).collect();
        let (url, token) = (server.admin_url(), server.owner_token());
        let own = ["deploy", "--server", &url, "--token", &token, "--project", "example", "--quiet"];
        let finished = crate::command(own.into_iter().chain(paths.iter().map(String::as_str)));
        assert_eq!(finished.code, Some(0), "{}\n{}\n{}", finished.stdout, finished.stderr, server.log());
        // A browser asks what stands there.
        let printed = finished.stdout.lines().next().expect("an address").to_owned();
        let host = printed.strip_prefix("http://").and_then(|rest| rest.split([':', '/']).next()).expect("an address").to_owned();
        Self { server, host }
    }

    /// The example with an app.yaml of its own.
    #[track_caller]
    fn whole(name: &str) -> Self {
        let app = example(name, &["app.yaml"]);
        Self::new(&app, &["app.yaml"])
    }

    #[track_caller]
    fn get(&self, target: &str) -> Response {
        self.ask(&Request::get(target))
    }

    #[track_caller]
    fn ask(&self, request: &Request) -> Response {
        Connection::open(self.server.http()).send(&request.clone().host(&self.host)).expect(200)
    }

    #[track_caller]
    fn greets(&self, runs_on: &str) {
        let text = self.get("/?name=J%C3%BCrgen").text();
        assert!(text.contains("Jürgen") && text.contains(runs_on), "{text}");
    }
}

#[track_caller]
fn guestbook(file: &str) {
    let deployed = Deployed::new(&example("guestbook", &["python3.yaml"]), &[file]);
    assert!(deployed.get("/").text().contains("Nobody has written anything yet"));
    assert!(deployed.get("/static/style.css").header("cache-control").is_some_and(|value| value.contains("max-age=86400")));
}

#[test]
fn guestbook_on_python_2() {
    guestbook("app.yaml");
}

#[test]
fn guestbook_on_python_3() {
    guestbook("python3.yaml");
}

#[test]
fn hello_cgi() {
    assert_eq!(Deployed::whole("hello-cgi").get("/?name=you").text(), "Hello, you! This is default by CGI.\n");
}

#[test]
fn hello_flask() {
    let deployed = Deployed::whole("hello-flask");
    deployed.greets("Hello");
    deployed.get("/static/style.css");
}

#[test]
fn hello_django() {
    Deployed::whole("hello-django").greets("on Django");
}

#[test]
fn hello_fastapi() {
    assert_eq!(Deployed::whole("hello-fastapi").get("/?name=you").json()["hello"], "you");
}

#[test]
fn hello_node() {
    Deployed::whole("hello-node").greets("on Node.js");
}

#[test]
fn hello_express() {
    Deployed::whole("hello-express").greets("on Express");
}

#[test]
fn hello_go() {
    Deployed::whole("hello-go").greets("on go1");
}

#[test]
fn hello_java() {
    Deployed::whole("hello-java").greets("on Java");
}

#[test]
fn hello_php() {
    Deployed::whole("hello-php").greets("on PHP 8");
}

#[test]
fn hello_ruby() {
    Deployed::whole("hello-ruby").greets("on Ruby");
}

#[test]
fn two_services() {
    let app = example("two-services", &["web/app.yaml", "api/api.yaml"]);
    let deployed = Deployed::new(&app, &["web/app.yaml", "api/api.yaml", "web/dispatch.yaml"]);
    assert!(deployed.get("/").text().contains("<h1>Two services</h1>"));
    // The rule for paths leads to the other service, and so does its own name.
    assert_eq!(deployed.get("/api/planets").json()[2], "Earth");
    let named = Request::get("/").host(&format!("api-dot-{}", deployed.host));
    assert_eq!(Connection::open(deployed.server.http()).send(&named).expect(200).json()["service"], "api");
}
