//! Who signs in to the apps of a server (rows S3, Y18): whoever has a link for the app, or, if its owner wants so, anybody.

use testkit::http1::{Connection, Request, Response};
use testkit::{App, Python, ServeNode};

use crate::apps::encode;

/// Tells who is signed in, by the SDK.
const WHO: &str = "import os\n\n\ndef app(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
                   return [('%s %s' % (environ.get('USER_EMAIL') or environ.get('HTTP_X_APPENGINE_USER_EMAIL'), \
                   environ.get('USER_IS_ADMIN') or environ.get('HTTP_X_APPENGINE_USER_IS_ADMIN'))).encode()]\n";

fn app(python: Python) -> App {
    let script = python.script();
    let handlers = format!("handlers:\n- url: /admin\n  script: {script}\n  login: admin\n- url: /.*\n  script: {script}\n");
    App::with_yaml(&format!("{}{handlers}", python.head())).file("main.py", WHO)
}

fn start(more: &[&str]) -> ServeNode {
    let own = ["--project", "shop", "--project", "bank", "-q"];
    let server = ServeNode::with(env!("CARGO_BIN_EXE_enginehouse"), own.iter().chain(more).copied());
    server.deploy("shop", &app(Python::Two), &["--version", "v1"]);
    server.deploy("bank", &app(Python::Three), &["--version", "v1"]);
    server
}

fn send(server: &ServeNode, request: &Request) -> Response {
    Connection::open(server.http()).send(request)
}

fn get(server: &ServeNode, host: &str, path: &str, cookie: &str) -> Response {
    send(server, &Request::get(path).host(host).header("Cookie", cookie))
}

/// Sends the form of the sign-in page as a browser does.
fn enter(server: &ServeNode, host: &str, page: &Response, fields: &str) -> Response {
    let text = page.text();
    let token = text.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token in the form");
    let cookie = page.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie for the form").to_owned();
    let form = format!("{fields}&action=Login&continue=%2Fadmin&token={token}");
    let origin = format!("http://{host}");
    send(server, &Request::post("/_ah/login", form).host(host).header("Origin", &origin).header("Cookie", &cookie))
}

fn signed_in(answer: &Response) -> Option<String> {
    let cookies = answer.all("set-cookie");
    cookies
        .iter()
        .filter_map(|cookie| cookie.split(';').next())
        .find(|cookie| cookie.starts_with("enginehouse_login="))
        .map(ToOwned::to_owned)
}

fn link(server: &ServeNode, more: &[&str]) -> testkit::Finished {
    let (url, token) = (server.admin_url(), server.owner_token());
    let own = ["sign-in", "ann@example.org", "--server", &url, "--token", &token, "--project", "shop"];
    crate::command(own.iter().chain(more).copied())
}

#[test]
fn s3_nobody_makes_himself_an_administrator_of_a_server() {
    let server = start(&[]);
    let host = "shop.localhost";
    let page = get(&server, host, "/_ah/login?continue=%2Fadmin", "");
    assert_eq!(page.status, 403, "{page:?}");
    let answer = enter(&server, host, &page, "email=eve%40example.org&admin=True");
    assert_eq!((answer.status, signed_in(&answer)), (403, None), "{answer:?}");
    get(&server, host, "/admin", "").expect(302);
    // The owner lets Ann in.
    let made = link(&server, &["--admin"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let url = made.stdout.trim();
    let path = &url[url.find("/_ah/login?link=").expect("a link")..];
    assert!(url.starts_with("http://shop."), "{url}");
    let page = get(&server, host, path, "").expect(200);
    let linked = format!("link={}", path.split_once('=').expect("a value").1);
    let cookie = signed_in(&enter(&server, host, &page, &linked)).expect("signed in");
    assert_eq!(get(&server, host, "/admin", &cookie).expect(200).text(), "ann@example.org 1");
    // She is nobody's administrator elsewhere, with the link or with what she got for it.
    let other = "bank.localhost";
    get(&server, other, "/admin", &cookie).expect(302);
    get(&server, other, path, "").expect(403);
    let plain = link(&server, &[]);
    let page = get(&server, host, &plain.stdout.trim()[plain.stdout.find("/_ah").expect("a link")..], "").expect(200);
    assert!(page.text().contains("ann@example.org") && !page.text().contains("administrator"), "{page:?}");
}

#[test]
fn s3_a_server_on_a_machine_of_ones_own_may_be_open() {
    let server = start(&["--sign-in", "open"]);
    let host = "bank.localhost";
    let page = get(&server, host, "/_ah/login", "").expect(200);
    let cookie = signed_in(&enter(&server, host, &page, &format!("email={}&admin=True", encode("eve@example.org")))).expect("signed in");
    assert_eq!(get(&server, host, "/admin", &cookie).expect(200).text(), "eve@example.org 1");
    let refused = link(&server, &[]);
    assert!(refused.code == Some(6) && refused.stderr.contains("--sign-in open"), "{refused:?}");
}
