//! Host → app, service, version, instance on a server with several apps.

use std::sync::Arc;

use model::ids::AppId;
use model::route::host::{AimError, Why, aim_at, owns};
use model::table::{Estate, Naming, RoutingTable, Service};
use model::traffic::{ShardBy, TrafficSplit};
use proptest::prelude::*;

use crate::fixture::{config, manual, rule, service, table};

fn app(id: &str, services: Vec<Service>, mapped: &[&str], rules: &[(&str, &str)]) -> Arc<RoutingTable> {
    let app: AppId = id.parse().expect("an app");
    let naming = Naming::hosted(&app, "uc", "apps.test", Some(8080), mapped.iter().map(|&name| name.into()).collect());
    let dispatch = rules.iter().map(|(url, service)| rule(url, service)).collect();
    Arc::new(RoutingTable { app, naming, ..table(services, dispatch) })
}

fn of(service: &str, version: &str) -> model::config::VersionConfig {
    config(service, version, "python39")
}

fn halves(mut service: Service, by: ShardBy) -> Service {
    let parts = service.versions.keys().take(2).map(|version| (version.clone(), 500)).collect();
    service.split = TrafficSplit::new(Some(by), parts).expect("a split");
    service
}

/// Apps `shop` and `blog` and `example.com:intra`.
fn tables() -> Vec<Arc<RoutingTable>> {
    let shop = vec![
        halves(service(vec![of("default", "v1"), of("default", "v2"), of("default", "v3")]), ShardBy::Ip),
        service(vec![manual(of("api", "m1"), 3), of("api", "v1"), of("api", "1")]),
        service(vec![of("blog", "b1")]),
    ];
    let blog = vec![service(vec![of("default", "b1")]), service(vec![of("admin", "a1")])];
    vec![
        app(
            "shop",
            shop,
            &["shop.example", "www.shop.example", "*.shop.example"],
            &[("static.example.net/*", "api"), ("*/tasks/*", "api")],
        ),
        app(
            "s~blog",
            blog,
            &["*.blog.shop.example", "blog.example"],
            &[("shop.example/*", "admin"), ("blog.example/admin/*", "admin"), ("news.example/*", "admin")],
        ),
        app("example.com:intra", vec![service(vec![of("default", "i1")])], &[], &[]),
    ]
}

/// `app/service/version[#instance] [named] [split] (why)`, or the error.
fn told(estate: &Estate, host: &str, path: &str) -> String {
    let found = match estate.find(host) {
        Ok(found) => found,
        Err(error) => return format!("{} {error}", error.status().as_u16()),
    };
    match aim_at(found.table, &found.host, found.by, path.as_bytes()) {
        Ok(aim) => {
            let instance = aim.instance.map(|n| format!("#{n}")).unwrap_or_default();
            let why = match aim.why {
                Why::Host => "host",
                Why::Dispatch(_) => "dispatch",
                Why::Default => "default",
                Why::Soft => "soft",
            };
            let named = if aim.named { " named" } else { "" };
            let split = if aim.split.is_some() { " split" } else { "" };
            format!("{}/{}{instance} {why}{named}{split}", found.table.app.project(), aim.version.config.key)
        }
        Err(error) => format!("{} {error}", error.status().as_u16()),
    }
}

#[track_caller]
fn check(estate: &Estate, rows: &[(&str, &str, &str)]) {
    for (host, path, want) in rows {
        assert_eq!(told(estate, host, path), *want, "{host}{path}");
    }
}

#[test]
fn t5_several_apps_share_a_domain() {
    let estate = Estate::build(1, tables(), None);
    check(
        &estate,
        &[
            ("shop.uc.r.apps.test:8080", "/", "shop/default/v1 default split"),
            ("SHOP.uc.R.Apps.Test.", "/", "shop/default/v1 default split"),
            ("shop.apps.test", "/", "shop/default/v1 default split"),
            ("api-dot-shop.uc.r.apps.test", "/", "shop/api/m1 host"),
            ("api-dot-shop.apps.test", "/", "shop/api/m1 host"),
            ("api.shop.uc.r.apps.test", "/", "shop/api/m1 host"),
            ("api.shop.apps.test", "/", "shop/api/m1 host"),
            ("v1-dot-api-dot-shop.uc.r.apps.test", "/", "shop/api/v1 host named"),
            ("v1.api.shop.uc.r.apps.test", "/", "shop/api/v1 host named"),
            ("v2-dot-shop.uc.r.apps.test", "/", "shop/default/v2 host named"),
            ("v2-dot-default-dot-shop.uc.r.apps.test", "/", "shop/default/v2 host named"),
            ("default-dot-shop.uc.r.apps.test", "/", "shop/default/v1 host split"),
            ("2-dot-m1-dot-api-dot-shop.uc.r.apps.test", "/", "shop/api/m1#2 host named"),
            ("2.m1.api.shop.apps.test", "/", "shop/api/m1#2 host named"),
            ("2-dot-api-dot-shop.uc.r.apps.test", "/", "shop/api/m1#2 host"),
            ("b1-dot-blog.ew.r.apps.test", "/", "blog/default/b1 host named"),
            ("admin-dot-blog.apps.test", "/", "blog/admin/a1 host"),
            ("intra.uc.r.apps.test", "/", "example.com:intra/default/i1 default"),
            // A service of another app's name is the service only before its own project.
            ("blog.apps.test", "/", "blog/default/b1 default"),
            ("blog-dot-shop.apps.test", "/", "shop/blog/b1 host"),
            // What names nothing goes to the default service.
            ("nosuch-dot-shop.uc.r.apps.test", "/", "shop/default/v1 soft split"),
            ("3-dot-m1-dot-api-dot-shop.uc.r.apps.test", "/", "shop/default/v1 soft split"),
            ("a.b.c.d.shop.apps.test", "/", "shop/default/v1 soft split"),
        ],
    );
}

#[test]
fn y27_a_number_is_a_version_before_it_is_an_instance_in_every_app() {
    let estate = Estate::build(1, tables(), None);
    check(
        &estate,
        &[
            ("1-dot-api-dot-shop.apps.test", "/", "shop/api/1 host named"),
            ("0-dot-api-dot-shop.apps.test", "/", "shop/api/m1#0 host"),
            ("1-dot-m1-dot-api-dot-shop.apps.test", "/", "shop/api/m1#1 host named"),
        ],
    );
}

#[test]
fn t5_a_project_that_does_not_exist_is_told() {
    let estate = Estate::build(1, tables(), None);
    check(
        &estate,
        &[
            ("ghost.uc.r.apps.test", "/", "404 There is no project `ghost` on this server."),
            ("api-dot-ghost.apps.test", "/", "404 There is no project `ghost` on this server."),
            ("apps.test", "/", "404 No app of this server answers to the host `apps.test`."),
            ("elsewhere.example", "/", "404 No app of this server answers to the host `elsewhere.example`."),
            ("192.0.2.1:80", "/", "404 No app of this server answers to the host `192.0.2.1`."),
            ("xapps.test", "/", "404 No app of this server answers to the host `xapps.test`."),
            ("", "/", "404 No app of this server answers to the host ``."),
        ],
    );
    assert!(matches!(estate.find("a b"), Err(AimError::Malformed(_))));
    check(&Estate::default(), &[("localhost", "/", "404 No app of this server answers to the host `localhost`.")]);
}

#[test]
fn t5_one_app_or_a_fallback_needs_no_project() {
    let shop: AppId = "shop".parse().expect("an app");
    let (sole, fallback) = (Estate::build(1, tables().into_iter().take(1), None), Estate::build(1, tables(), Some(&shop)));
    for estate in [&sole, &fallback] {
        check(
            estate,
            &[
                ("apps.test", "/", "shop/default/v1 default split"),
                ("api.apps.test", "/", "shop/api/m1 host"),
                ("v1-dot-api.apps.test", "/", "shop/api/v1 host named"),
                ("shop.apps.test", "/", "shop/default/v1 default split"),
                ("nosuch.apps.test", "/", "shop/default/v1 soft split"),
                ("192.0.2.1", "/", "shop/default/v1 default split"),
                ("", "/", "shop/default/v1 default split"),
                ("ghost.uc.r.apps.test", "/", "404 There is no project `ghost` on this server."),
                ("elsewhere.example", "/", "404 No app of this server answers to the host `elsewhere.example`."),
            ],
        );
    }
    check(&fallback, &[("blog.apps.test", "/", "blog/default/b1 default")]);
    check(&sole, &[("blog.apps.test", "/", "shop/blog/b1 host")]);
}

#[test]
fn t5_custom_domains_lead_to_their_apps() {
    let estate = Estate::build(1, tables(), None);
    check(
        &estate,
        &[
            ("shop.example", "/", "shop/default/v1 default split"),
            ("WWW.shop.example:443", "/", "shop/default/v1 default split"),
            ("api.shop.example", "/", "shop/api/m1 host"),
            ("v1-dot-api.shop.example", "/", "shop/api/v1 host named"),
            ("nosuch.shop.example", "/", "shop/default/v1 soft split"),
            // The longest name that somebody has wins.
            ("admin.blog.shop.example", "/", "blog/admin/a1 host"),
            ("blog.shop.example", "/", "shop/blog/b1 host"),
            ("blog.example", "/", "blog/default/b1 default"),
            ("www.blog.example", "/", "404 No app of this server answers to the host `www.blog.example`."),
        ],
    );
}

#[test]
fn t5_dispatch_rules_hold_for_their_own_app() {
    let estate = Estate::build(1, tables(), None);
    check(
        &estate,
        &[
            ("shop.uc.r.apps.test", "/tasks/a", "shop/api/m1 dispatch"),
            ("v2-dot-shop.uc.r.apps.test", "/tasks/a", "shop/default/v2 host named"),
            ("blog.uc.r.apps.test", "/tasks/a", "blog/default/b1 default"),
            ("static.example.net", "/x", "shop/api/m1 dispatch"),
            ("news.example", "/x", "blog/admin/a1 dispatch"),
            ("blog.example", "/admin/x", "blog/admin/a1 dispatch"),
            // A rule takes no domain from the app that it is mapped to.
            ("shop.example", "/x", "shop/default/v1 default split"),
        ],
    );
}

#[test]
fn y19_a_sign_in_never_leads_to_another_app_of_the_server() {
    let estate = Estate::build(1, tables(), None);
    let here = "shop.uc.r.apps.test:8080";
    let found = estate.find(here).expect("an app");
    for (host, want) in [
        ("shop.apps.test", true),
        ("v1-dot-api-dot-shop.uc.r.apps.test", true),
        ("api.shop.example", true),
        ("shop.example", true),
        ("blog.apps.test", false),
        ("blog.example", false),
        ("apps.test", false),
        ("elsewhere.example", false),
    ] {
        assert_eq!(owns(found.table, found.by, host, here), want, "{host}");
    }
}

proptest! {
    #[test]
    fn finding_never_panics(host in r"[a-z0-9.\[\]:\-]{0,20}(-dot-|\.)?(api|shop|blog|uc\.r)?(\.apps\.test|\.shop\.example)?(:[0-9]{0,6})?") {
        let shop: AppId = "shop".parse().expect("an app");
        for estate in [Estate::build(1, tables(), None), Estate::build(1, tables(), Some(&shop))] {
            if let Ok(found) = estate.find(&host)
                && let Ok(aim) = aim_at(found.table, &found.host, found.by, b"/")
            {
                prop_assert!(found.table.services.contains_key(aim.service));
                prop_assert!(aim.split.is_none() || !aim.named && aim.instance.is_none());
            }
        }
    }
}
