//! Sign-in, access and secure (rows Y18–Y20, H23).

use testkit::{App, Connection, Node, Python, Request, Response};

use crate::apps::{ECHO, encode};
use crate::{node, on_both, serve};

/// Fills in the sign-in form as a browser does, and returns the answer.
#[track_caller]
fn fill_in(node: &Node, email: &str, admin: bool, on: &str) -> Response {
    let host = format!("localhost:{}", node.address().port());
    let page = node.send(&Request::get("/_ah/login?continue=%2F").host(&host)).expect(200);
    let text = page.text();
    let token = text.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token in the form");
    let cookie = page.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie for the form").to_owned();
    let admin = if admin { "&admin=True" } else { "" };
    let form = format!("email={}{admin}&action=Login&continue={}&token={token}", encode(email), encode(on));
    let origin = format!("http://{host}");
    node.send(&Request::post("/_ah/login", form).host(&host).header("Origin", &origin).header("Cookie", &cookie))
}

/// Signs in and returns the cookie header.
#[track_caller]
pub(crate) fn sign_in(node: &Node, email: &str, admin: bool) -> String {
    let answer = fill_in(node, email, admin, "/");
    assert_eq!(answer.status / 100, 3, "{answer:?}");
    let cookies = answer.all("set-cookie");
    let login = cookies
        .iter()
        .filter_map(|cookie| cookie.split(';').next())
        .find(|cookie| !cookie.starts_with("enginehouse_form") && !cookie.ends_with('='));
    login.unwrap_or_else(|| panic!("no cookie: {answer:?}")).to_owned()
}

fn app(python: Python) -> App {
    let script = python.script();
    App::with_yaml(&format!(
        "{}handlers:\n\
         - url: /user\n  script: {script}\n  login: required\n\
         - url: /admin\n  script: {script}\n  login: admin\n\
         - url: /strict\n  script: {script}\n  login: required\n  auth_fail_action: unauthorized\n\
         - url: /files\n  static_dir: files\n  login: required\n\
         - url: /.*\n  script: {script}\n",
        python.head()
    ))
    .file("main.py", ECHO)
    .file("files/a.txt", "for users")
}

#[test]
fn y18_login_decides_who_comes_in() {
    on_both(|python| {
        let node = serve(&app(python));
        let user = sign_in(&node, "u@example.com", false);
        let admin = sign_in(&node, "a@example.com", true);
        let status = |path: &str, cookie: Option<&String>| {
            let request = cookie.into_iter().fold(Request::get(path), |request, cookie| request.header("Cookie", cookie));
            node.send(&request).status
        };
        for (path, nobody, as_user, as_admin) in [
            ("/x", 200, 200, 200),
            ("/user", 302, 200, 200),
            ("/admin", 302, 401, 200),
            ("/files/a.txt", 302, 200, 200),
            ("/strict", 401, 200, 200),
        ] {
            assert_eq!((status(path, None), status(path, Some(&user)), status(path, Some(&admin))), (nobody, as_user, as_admin), "{path}");
        }
    });
}

#[test]
fn y18_a_forged_cookie_or_header_is_nobody() {
    on_both(|python| {
        let node = serve(&app(python));
        let cookie = sign_in(&node, "u@example.com", false);
        let (name, value) = cookie.split_once('=').expect("a name and a value");
        let mut forged = vec![
            format!("{name}=admin@example.com:True:1"),
            format!("dev_appserver_login=\"admin@example.com:True:1\""),
            format!("{name}={value}x"),
        ];
        forged.push(format!("{name}={}", value.chars().rev().collect::<String>()));
        for cookie in forged {
            node.send(&Request::get("/user").header("Cookie", &cookie)).expect(302);
        }
        for header in [
            "X-AppEngine-Fake-Is-Admin",
            "X-AppEngine-Fake-Logged-In",
            "X-AppEngine-Cron",
            "X-AppEngine-QueueName",
            "X-Appengine-User-Is-Admin",
        ] {
            node.send(&Request::get("/admin").header(header, "1")).expect(302);
        }
    });
}

#[test]
fn y19_redirect_leads_to_the_sign_in_page_and_back() {
    on_both(|python| {
        let node = serve(&app(python));
        let host = format!("localhost:{}", node.address().port());
        let answer = node.send(&Request::get("/user?a=b%20c").host(&host)).expect(302);
        let location = answer.header("location").expect("a location");
        assert!(location.contains("/_ah/login?continue="), "{location}");
        let back = location.split("continue=").nth(1).expect("where to go on");
        assert!(back.contains("/user%3Fa%3Db"), "{back}");
        // The form goes on to where it came from.
        let signed = fill_in(&node, "u@example.com", false, &format!("http://{host}/user?a=b%20c"));
        assert!(signed.header("location").is_some_and(|to| to.ends_with("/user?a=b%20c")), "{signed:?}");
        assert!(node.get("/strict").expect(401).text().to_lowercase().contains("login"));
    });
}

#[test]
fn y19_sign_in_goes_on_to_own_hosts_only() {
    let node = serve(&app(Python::Two));
    for foreign in ["https://evil.example.org/", "//evil.example.org/", "/\\evil.example.org", "javascript:alert(1)"] {
        let answer = fill_in(&node, "u@example.com", false, foreign);
        let location = answer.header("location").unwrap_or_default();
        assert!(!location.contains("evil") && !location.contains("javascript"), "{foreign}: {answer:?}");
    }
}

#[test]
fn y19_a_form_of_another_site_signs_nobody_in() {
    let node = serve(&app(Python::Two));
    let form = "email=u%40example.com&action=Login&continue=%2F";
    let host = format!("localhost:{}", node.address().port());
    for origin in ["https://evil.example.org", "null", &format!("http://{host}")] {
        node.send(&Request::post("/_ah/login", form).host(&host).header("Origin", origin)).expect(403);
    }
}

#[test]
fn y19_signing_out_takes_the_cookie_away() {
    let node = serve(&app(Python::Two));
    let cookie = sign_in(&node, "u@example.com", false);
    let answer = node.send(&Request::get("/_ah/logout?continue=%2F").header("Cookie", &cookie));
    assert_eq!(answer.status / 100, 3, "{answer:?}");
    let gone = answer.header("set-cookie").expect("a cookie");
    let name = cookie.split('=').next().expect("a name");
    assert!(gone.starts_with(&format!("{name}=;")) && gone.contains("Max-Age=0"), "{gone}");
}

#[test]
fn y20_secure_redirects_between_the_schemes() {
    on_both(|python| {
        let script = python.script();
        let app = App::with_yaml(&format!(
            "{}handlers:\n\
             - url: /always\n  script: {script}\n  secure: always\n\
             - url: /moved\n  script: {script}\n  secure: always\n  redirect_http_response_code: 301\n\
             - url: /never\n  script: {script}\n  secure: never\n\
             - url: /.*\n  script: {script}\n  secure: optional\n",
            python.head()
        ))
        .file("main.py", ECHO);
        // The development server without https ignores it.
        let plain = serve(&app);
        plain.get("/always?a=b").expect(200);
        drop(plain);
        let node = node().app(&app).args(["--tls", "self-signed", "--tls-port", "0"]).start();
        let https = node.https().expect("a TLS listener");
        let (http_host, tls_host) = (format!("localhost:{}", node.address().port()), format!("localhost:{}", https.port()));
        let always = node.send(&Request::get("/always?a=b").host(&http_host)).expect(302);
        assert_eq!(always.header("location"), Some(format!("https://{tls_host}/always?a=b").as_str()));
        assert_eq!(node.send(&Request::get("/moved").host(&http_host)).status, 301);
        let secure = |path: &str| Connection::open_tls(https).send(&Request::get(path).host(&tls_host));
        secure("/always").expect(200);
        let never = secure("/never?a=b").expect(302);
        assert_eq!(never.header("location"), Some(format!("http://{http_host}/never").as_str()));
        node.get("/never?a=b").expect(200);
        secure("/x").expect(200);
        node.get("/x").expect(200);
    });
}

#[test]
fn h23_admins_see_what_a_request_cost_and_nobody_caches_it() {
    on_both(|python| {
        let node = serve(&app(python));
        let admin = sign_in(&node, "a@example.com", true);
        let user = sign_in(&node, "u@example.com", false);
        let of = |cookie: &str| node.send(&Request::get("/user").header("Cookie", cookie)).expect(200);
        let answer = of(&admin);
        assert!(answer.header("x-appengine-estimated-cpm-us-dollars").is_some(), "{answer:?}");
        assert!(answer.header("x-appengine-resource-usage").is_some(), "{answer:?}");
        assert!(answer.header("cache-control").is_some_and(|value| value.contains("no-cache") || value.contains("private")), "{answer:?}");
        assert!(of(&user).header("x-appengine-estimated-cpm-us-dollars").is_none());
    });
}
