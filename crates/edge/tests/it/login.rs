//! Signing in and out (rows Y18, Y19, H11).

use std::path::Path;
use std::time::{Duration, SystemTime};

use model::handler::{AuthFail, Login};
use model::signin::SignIn;
use model::user::User;

use crate::app;
use crate::node::{Answer, Node, config, options, script, table};

fn node() -> Node {
    let (endpoint, _) = app::http(|received, wire| {
        let header = |name| received.header(name).unwrap_or_else(|| "-".into());
        let text =
            format!("{} {} {}", header("x-appengine-user-email"), header("x-appengine-user-is-admin"), header("x-appengine-user-id"));
        wire.answer("200 OK", text);
        true
    });
    let mut required = script("/required");
    required.login = Login::Required;
    let mut admin = script("/admin");
    admin.login = Login::Admin;
    let mut plain = script("/plain");
    plain.login = Login::Required;
    plain.auth_fail = AuthFail::Unauthorized;
    let routes = table(config("nodejs22", vec![required, admin, plain, script("/.*")]), Path::new("/nowhere"));
    Node::start(options(), routes, Ok(endpoint))
}

fn of_links() -> Node {
    let (endpoint, _) = app::http(|received, wire| {
        wire.answer("200 OK", received.header("x-appengine-user-email").unwrap_or_else(|| "-".into()));
        true
    });
    let mut admin = script("/admin");
    admin.login = Login::Admin;
    let routes = table(config("nodejs22", vec![admin, script("/.*")]), Path::new("/nowhere"));
    Node::start(edge::Options { sign_in: SignIn::Links, ..options() }, routes, Ok(endpoint))
}

fn get(node: &Node, path: &str, cookie: &str) -> Answer {
    node.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"))
}

fn post(node: &Node, form: &str, headers: &str) -> Answer {
    let length = form.len();
    node.send(&format!(
        "POST /_ah/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{form}"
    ))
}

/// The form's token, from the page and from the cookie.
fn token(page: &Answer) -> String {
    let text = page.text();
    let at = text.find("name=\"token\" value=\"").expect("a token") + 20;
    let token = text[at..at + 32].to_owned();
    assert!(
        page.header("set-cookie")
            .is_some_and(|cookie| cookie.contains(&format!("enginehouse_form={token}; ")) && cookie.contains("HttpOnly; SameSite=Lax"))
    );
    token
}

fn sign_in(node: &Node, email: &str, admin: bool) -> String {
    let token = token(&node.get("/_ah/login"));
    let form = format!("email={email}&{}continue=/&token={token}&action=Login", if admin { "admin=True&" } else { "" });
    let answer = post(node, &form, &format!("Cookie: enginehouse_form={token}\r\nOrigin: http://localhost\r\n"));
    assert_eq!(answer.status, 302, "{answer:?}");
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
    cookie.split(';').next().expect("a value").to_owned()
}

#[test]
fn y18_y19_a_visitor_is_sent_to_sign_in_and_back() {
    let node = node();
    let answer = node.get("/required?x=1");
    assert_eq!(answer.status, 302);
    let location = answer.header("location").expect("a place");
    assert_eq!(location, "http://localhost/_ah/login?continue=http%3A//localhost/required%3Fx%3D1");
    let page = node.get(location.strip_prefix("http://localhost").expect("ours"));
    assert_eq!(page.status, 200);
    assert!(page.text().contains("value=\"http://localhost/required?x=1\""), "{}", page.text());
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    let answer = get(&node, "/plain", "");
    assert_eq!((answer.status, answer.text().as_str()), (401, "Login required to view page."));
}

#[test]
fn h11_a_signed_in_user_is_named_to_the_app() {
    let node = node();
    let cookie = sign_in(&node, "ange%40example.com", false);
    assert!(get(&node, "/required", &cookie).text().starts_with("ange@example.com 0 1"));
    assert_eq!(get(&node, "/open", &cookie).text(), "- - -", "only handlers with login name the user");
    let refused = get(&node, "/admin", &cookie);
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("ange@example.com is not authorized"));
    let admin = sign_in(&node, "root@example.com", true);
    let answer = get(&node, "/admin", &admin);
    assert!(answer.text().starts_with("root@example.com 1"));
    assert!(answer.header("x-appengine-resource-usage").is_some(), "H23");
    assert_eq!(node.journal.wait(6).iter().filter(|record| record.user.is_some()).count(), 4);
}

#[test]
fn y18_nobody_is_signed_in_from_elsewhere() {
    let node = node();
    let token = token(&node.get("/_ah/login"));
    let form = format!("email=a@b.c&continue=/&token={token}&action=Login");
    let cookie = format!("Cookie: enginehouse_form={token}\r\n");
    for headers in [
        String::new(),
        "Cookie: enginehouse_form=0123456789abcdef0123456789abcdef\r\n".into(),
        format!("{cookie}Origin: http://evil.example\r\n"),
        format!("{cookie}Origin: null\r\n"),
        format!("{cookie}Sec-Fetch-Site: cross-site\r\n"),
    ] {
        let answer = post(&node, &form, &headers);
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{headers}");
    }
    assert_eq!(post(&node, &form, &cookie).status, 302, "a script that holds the token may");
    // A GET signs nobody in, whatever it says.
    let page = node.get("/_ah/login?email=a@b.c&admin=True&action=Login&continue=/");
    assert_eq!(page.status, 200);
    assert!(!page.header("set-cookie").expect("a form cookie").contains("enginehouse_login"));
    assert!(page.text().contains("value=\"a@b.c\"") && page.text().contains(" checked"));
}

#[test]
fn y19_continue_leads_nowhere_else() {
    let node = node();
    let at = |to: &str| node.get(&format!("/_ah/logout?continue={to}")).header("location");
    assert_eq!(at("/x%3Fy").as_deref(), Some("/x?y"));
    assert_eq!(at("http://localhost/x").as_deref(), Some("http://localhost/x"));
    for elsewhere in
        ["http://evil.example/", "//evil.example", "/%5Cevil.example", "javascript:alert(1)", "http://localhost@evil.example/", "%0d%0aX:1"]
    {
        assert_eq!(at(elsewhere).as_deref(), Some("/"), "{elsewhere}");
    }
}

#[test]
fn y18_signing_out_forgets_the_user() {
    let node = node();
    let answer = node.get("/_ah/logout");
    assert_eq!(answer.status, 302);
    assert!(answer.header("set-cookie").is_some_and(|cookie| cookie.starts_with("enginehouse_login=; ") && cookie.contains("Max-Age=0")));
}

#[test]
fn y18_pages_escape_what_they_are_given() {
    let node = node();
    let page = node.get("/_ah/login?email=%22%3E%3Cscript%3E&continue=%22%3E%3Cscript%3E");
    assert!(!page.text().contains("<script>"), "{}", page.text());
    let forged = get(&node, "/required", "enginehouse_login=YUBiLmMAMQA5OTk5OTk5OTk5.AAAA");
    assert_eq!(forged.status, 302);
}

#[test]
fn y18_without_a_link_nobody_signs_in() {
    let node = of_links();
    let page = node.get("/_ah/login");
    assert!(page.status == 403 && !page.text().contains("name=\"email\""), "{page:?}");
    let form_token = token(&page);
    let form = format!("email=eve@example.com&admin=True&continue=/&token={form_token}&action=Login");
    let answer = post(&node, &form, &format!("Cookie: enginehouse_form={form_token}\r\nOrigin: http://localhost\r\n"));
    assert!(answer.status == 403 && !format!("{answer:?}").contains("enginehouse_login="), "{answer:?}");
    // Nor does what another server, or a page that asks for no password, has said.
    let open = sign_in(&self::node(), "eve@example.com", true);
    assert_eq!(get(&node, "/admin", &open).status, 302);
}

#[test]
fn y18_a_link_signs_in_once_its_form_is_sent() {
    let (node, now) = (of_links(), SystemTime::now());
    let user = User::new("ann@example.com", true).expect("an address");
    let links = edge::Invitations::new(&options().login_secret);
    let app = table(config("nodejs22", Vec::new()), Path::new("/nowhere")).app;
    let soon = now + Duration::from_mins(1);
    let good = links.path(&app, &user, soon);
    let page = node.get(&good);
    assert!(page.status == 200 && page.text().contains("<strong>ann@example.com</strong>, as an administrator"), "{page:?}");
    assert!(!format!("{page:?}").contains("enginehouse_login="), "a GET signs nobody in");
    let form_token = token(&page);
    let enter = |path: &str, headers: &str| {
        let link = path.strip_prefix("/_ah/login?").expect("the page's path");
        post(&node, &format!("{link}&continue=/admin&token={form_token}&action=Login"), headers)
    };
    let own = format!("Cookie: enginehouse_form={form_token}\r\nOrigin: http://localhost\r\n");
    let foreign = format!("Cookie: enginehouse_form={form_token}\r\nOrigin: http://evil.example\r\n");
    assert_eq!(enter(&good, &foreign).status, 403);
    for wrong in [
        links.path(&app, &user, now),
        links.path(&"bank".parse().expect("an id"), &user, soon),
        edge::Invitations::new(&[8; 32]).path(&app, &user, soon),
    ] {
        assert_eq!(node.get(&wrong).status, 403);
        assert_eq!(enter(&wrong, &own).status, 403);
    }
    let answer = enter(&good, &own);
    assert!(answer.status == 302 && answer.header("location").as_deref() == Some("/admin"), "{answer:?}");
    let cookie = answer.header("set-cookie").expect("a cookie").split(';').next().expect("a value").to_owned();
    assert_eq!(get(&node, "/admin", &cookie).text(), "ann@example.com");
}
