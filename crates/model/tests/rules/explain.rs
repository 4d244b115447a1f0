//! `explain` says what the data plane does, because it asks the same functions.

use expect_test::expect_file;
use http::Method;
use model::explain::{Explanation, Question, Target, explain, reference};
use model::gate::Verdict;
use model::handler::{Login, Secure};
use model::table::RoutingTable;
use model::user::User;

use crate::fixture::{config, rule, script, service, static_dir, table};

fn told(table: &RoutingTable, url: &str, user: Option<&User>) -> Explanation {
    explain(table, &Question { url, method: &Method::GET, user, enforce_secure: true })
}

fn app() -> RoutingTable {
    let mut config = config("default", "v1", "python27");
    let mut admin = script("/admin/(.*)", "admin.\\1.app");
    (admin.login, admin.secure) = (Login::Admin, Secure::Always);
    config.handlers = vec![static_dir("/img", "static"), admin, script("/cgi", "cgi/x.py")];
    table(vec![service(vec![config]), service(vec![crate::fixture::config("api", "v1", "python312")])], vec![rule("*/api/*", "api")])
}

#[test]
fn explain_tells_files_scripts_and_rules() {
    let table = app();
    let static_file = told(&table, "http://localhost:8080/img/a.png?x", None);
    let found = static_file.handler.expect("a handler");
    assert_eq!((found.index, found.url.as_str(), found.origin.line), (1, "/img", 7), "the implicit /_ah/start comes first");
    assert_eq!(found.target, Target::File { file: Some("static/a.png".into()), mime_type: Some("image/png".into()) });
    assert_eq!(static_file.aim.expect("aimed").why, "the host names no service");
    assert!(static_file.request.is_empty(), "no code runs");

    let posted = explain(&table, &Question { url: "/img/a.png", method: &Method::POST, user: None, enforce_secure: true });
    assert_eq!(posted.end.as_deref(), Some("405: static files take GET and HEAD"));

    let admin = User::new("a@b.c", true).expect("an email");
    let url = "https://v1.default.localhost/admin/users";
    let wsgi = told(&table, url, Some(&admin));
    assert_eq!(wsgi.handler.expect("a handler").target, Target::Wsgi("admin.users.app".into()));
    assert_eq!(wsgi.verdict, Some(Verdict::Pass));
    assert!(wsgi.request.iter().any(|line| line.row == "H11") && wsgi.request.iter().any(|line| line.row == "H1" && !line.added));
    assert!(wsgi.response.iter().any(|line| line.row == "H15" && !line.added));
    assert!(matches!(told(&table, url, None).verdict, Some(Verdict::LogIn { .. })));
    assert!(matches!(told(&table, "/admin/users", None).verdict, Some(Verdict::Redirect { .. })));

    let cgi = told(&table, "localhost/cgi", None);
    assert_eq!(cgi.handler.expect("a handler").target, Target::Cgi("cgi/x.py".into()));
    let dispatched = told(&table, "/api/x", None);
    let aim = dispatched.aim.expect("aimed");
    assert_eq!((aim.version.to_string().as_str(), aim.why.as_str()), ("api/v1", "dispatch.yaml:3 (*/api/*)"));
}

#[test]
fn explain_tells_early_ends() {
    let table = app();
    for (url, want) in [
        ("/a/../b?c", "302 to /b?c: the path has dot segments"),
        ("/%00", "400: The path has a NUL byte."),
        (
            "http://evil.example/",
            "400: The host `evil.example` is not one of this app's names; start with `--allow-host evil.example` to serve it.",
        ),
        ("/nothing", "404: no handler matches the path"),
    ] {
        assert_eq!(told(&table, url, None).end.as_deref(), Some(want), "{url}");
    }
}

#[test]
fn the_reference_of_headers_is_the_list_of_rules() {
    expect_file!["../../../../docs/reference/headers.md"].assert_eq(&reference());
}
