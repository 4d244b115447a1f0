//! Host and path → service, version, instance.

use model::route::host::{AimError, By, Host, Why, aim};
use model::table::RoutingTable;
use proptest::prelude::*;

use crate::fixture::{config, rule, service, shop, table};

/// `service/version[#instance] (why)`.
fn told(table: &RoutingTable, host: &str, path: &str) -> String {
    match aim(table, host, path.as_bytes()) {
        Ok(aim) => {
            let instance = aim.instance.map(|n| format!("#{n}")).unwrap_or_default();
            let why = match aim.why {
                Why::Host => "host",
                Why::Dispatch(_) => "dispatch",
                Why::Default => "default",
                Why::Soft => "soft",
            };
            let named = if aim.named { " named" } else { "" };
            format!("{}{instance} {why}{named}", aim.version.config.key)
        }
        Err(error) => format!("{}", error.status().as_u16()),
    }
}

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    let table = shop();
    for (host, want) in rows {
        assert_eq!(told(&table, host, "/"), *want, "{host}");
    }
}

#[test]
fn y24_hosts_name_services_and_versions() {
    check(&[
        ("localhost", "default/v1 default"),
        ("localhost:8080", "default/v1 default"),
        ("LOCALHOST.:8080", "default/v1 default"),
        ("shop.example.org", "default/v1 default"),
        ("api.localhost", "api/m1 host"),
        ("API.Localhost:1", "api/m1 host"),
        ("v1.api.localhost", "api/v1 host named"),
        ("v1-dot-api.localhost", "api/v1 host named"),
        ("v1-dot-api-dot-shop.localhost", "api/v1 host named"),
        ("api-dot-shop.localhost", "api/m1 host"),
        ("api.shop.example.org", "api/m1 host"),
        ("v1.api.shop.example.org", "api/v1 host named"),
        ("v2.localhost", "default/v2 host named"),
        ("v2-dot-shop.localhost", "default/v2 host named"),
        ("v2.default.localhost", "default/v2 host named"),
        ("v2-dot-default-dot-shop.uc.r.localhost", "default/v2 host named"),
        ("shop.uc.r.localhost", "default/v1 default"),
        ("shop.localhost", "default/v1 default"),
        ("api-dot-shop.ew.r.shop.example.org", "api/m1 host"),
    ]);
}

#[test]
fn y31_hosts_number_instances() {
    check(&[
        ("2.m1.api.localhost", "api/m1#2 host named"),
        ("0-dot-m1-dot-api-dot-shop.uc.r.localhost", "api/m1#0 host named"),
        ("2.api.localhost", "api/m1#2 host"),
        // Beyond what the version has, or automatic scaling: production's soft routing.
        ("3.m1.api.localhost", "default/v1 soft"),
        ("0.v1.api.localhost", "default/v1 soft"),
        ("0.localhost", "default/v1 soft"),
        ("02.m1.api.localhost", "default/v1 soft"),
    ]);
}

#[test]
fn y27_a_number_is_a_version_before_it_is_an_instance() {
    check(&[("1.api.localhost", "api/1 host named"), ("2.api.localhost", "api/m1#2 host")]);
}

#[test]
fn y24_names_that_do_not_exist_go_to_default() {
    check(&[
        ("nosuch.localhost", "default/v1 soft"),
        ("v1.nosuch.localhost", "default/v1 soft"),
        ("v9.api.localhost", "default/v1 soft"),
        ("a.b.c.d.e.localhost", "default/v1 soft"),
        ("nosuch-dot-shop.uc.r.localhost", "default/v1 soft"),
    ]);
}

#[test]
fn t5_a_service_of_the_apps_own_name_is_meant_before_the_app() {
    let table = table(vec![service(vec![config("default", "v1", "python39")]), service(vec![config("shop", "s1", "python39")])], vec![]);
    assert_eq!(told(&table, "shop.localhost", "/"), "shop/s1 host");
    assert_eq!(told(&table, "s1.shop.localhost", "/"), "shop/s1 host named");
    assert_eq!(told(&table, "shop.uc.r.localhost", "/"), "default/v1 default");
    assert_eq!(told(&table, "shop-dot-shop.uc.r.localhost", "/"), "shop/s1 host");
}

#[test]
fn y24_an_app_without_default_service_answers_with_another() {
    let table = table(vec![service(vec![config("api", "v1", "python39")])], vec![]);
    assert_eq!(told(&table, "localhost", "/"), "api/v1 default");
    assert_eq!(told(&crate::fixture::table(vec![], vec![]), "localhost", "/"), "404");
}

#[test]
fn dispatch_rules_apply_to_hosts_that_name_no_version() {
    let table = shop();
    for (host, path, want) in [
        ("localhost", "/tasks/a", "api/m1 dispatch"),
        ("localhost", "/tasks", "default/v1 default"),
        ("127.0.0.1:8080", "/tasks/", "api/m1 dispatch"),
        ("v2.localhost", "/tasks/a", "default/v2 host named"),
        ("2.m1.api.localhost", "/tasks/a", "api/m1#2 host named"),
        ("admin.example.com:443", "/", "api/m1 dispatch"),
        ("ADMIN.example.com", "/", "api/m1 dispatch"),
        ("a.cdn.example.com", "/x", "default/v1 dispatch"),
        ("a.cdn.example.com", "/y", "default/v1 default"),
        ("b.example.com", "/", "400"),
        ("localhost", "/gone", "default/v1 soft"),
        ("localhost", "/_ah/tasks/x", "default/v1 default"),
    ] {
        assert_eq!(told(&table, host, path), want, "{host}{path}");
    }
}

#[test]
fn foreign_hosts_are_refused_and_the_message_says_how_to_allow_them() {
    let mut table = shop();
    let error = aim(&table, "Evil.Example:80", b"/").expect_err("foreign");
    assert_eq!(
        error.to_string(),
        "The host `evil.example` is not one of this app's names; start with `--allow-host evil.example` to serve it."
    );
    for (host, want) in
        [("xlocalhost", "400"), ("localhost.evil.example", "400"), ("192.168.1.5", "400"), ("127.0.0.1", "default/v1 default")]
    {
        assert_eq!(told(&table, host, "/"), want, "{host}");
    }
    table.naming.addresses = true;
    assert_eq!(told(&table, "192.168.1.5:80", "/"), "default/v1 default");
    table.naming.allowed = vec!["*".into()];
    assert_eq!(told(&table, "evil.example", "/"), "default/v1 default");
}

#[test]
fn y19_a_sign_in_leads_back_only_to_what_is_ours() {
    let mut table = shop();
    table.naming.allowed = vec!["*".into(), "own.example".into()];
    table.naming.addresses = true;
    for (host, want) in [
        ("localhost:1", true),
        ("api.localhost", true),
        ("own.example", true),
        ("admin.example.com", true),
        ("127.0.0.1:9", true),
        ("[::1]", true),
        ("evil.example", false),
        ("a.cdn.example.com", false),
        ("203.0.113.1", false),
        ("x@localhost", false),
        ("", false),
    ] {
        assert_eq!(model::route::host::owns(&table, By::Any, host, "localhost:8080"), want, "{host}");
    }
    assert!(model::route::host::owns(&table, By::Any, "Strange.example:2", "strange.example"), "where the page itself is");
}

#[test]
fn malformed_hosts_are_refused() {
    for bad in [
        "a b",
        "a/b",
        "user@localhost",
        "localhost:",
        "localhost:99999",
        "localhost:8o",
        "[::1",
        "[::1]x",
        "[localhost]",
        "::1",
        "a..localhost",
        ".localhost",
        "localhost\u{e9}",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3",
        "localhost:80:80",
        "lo%63alhost",
        "a,localhost",
    ] {
        let parsed = Host::parse(bad);
        if bad == "localhost:" {
            // RFC 3986 §3.2.3 allows an empty port.
            assert!(parsed.is_ok());
        } else {
            assert!(matches!(parsed, Err(AimError::Malformed(_))), "{bad}: {parsed:?}");
        }
    }
    assert!(Host::parse(&"a".repeat(254)).is_err());
    let (host, port) = Host::parse("[::FFFF:127.0.0.1]:81").expect("an address");
    assert_eq!((host, port), (Host::Address("127.0.0.1".parse().expect("an address")), Some(81)));
}

#[test]
fn dangling_names_are_told_all_at_once() {
    let shop = shop();
    let wrong = RoutingTable::build(1, shop.app, shop.naming, shop.services, shop.dispatch, shop.firewall).expect_err("ghost");
    let texts: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["dispatch.yaml:3: `*/gone` goes to service `ghost`, which does not exist"]);
    assert!(rule("*/a", "b").path.matches(b"/a"));
}

proptest! {
    #[test]
    fn aiming_never_panics(host in r"[a-z0-9.\[\]:@%*\-_\u{e9}]{0,30}(-dot-|\.)?(api|localhost|shop|uc\.r)?(\.localhost)?(:[0-9]{0,6})?", path in "/[a-z/_]{0,10}") {
        let table = shop();
        if let Ok(aim) = aim(&table, &host, path.as_bytes()) {
            prop_assert!(table.services.contains_key(aim.service));
            prop_assert!(aim.instance.is_none_or(|n| n < 3));
        }
    }
}
