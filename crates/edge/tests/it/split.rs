//! Several versions and several apps: which one answers, and what the client is told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edge::Options;
use model::dispatch::{DispatchRule, HostPattern, PathPattern};
use model::ids::{AppId, VersionId, VersionKey};
use model::ingress::Ingress;
use model::pool::Endpoint;
use model::route::split::{Who, explain};
use model::table::{Estate, Naming, RoutingTable, Service, Version};
use model::traffic::{ShardBy, TrafficSplit};

use crate::app;
use crate::node::{Answer, Client, Node, config, files, folder, options, script, table};

fn split(by: ShardBy, parts: &[(&str, u16)]) -> TrafficSplit {
    TrafficSplit::new(Some(by), parts.iter().map(|(version, share)| (version.parse().expect("a name"), *share)).collect()).expect("a split")
}

/// Folders of versions, each with a file that says which it is.
struct Roots(BTreeMap<&'static str, (tempfile::TempDir, PathBuf)>);

impl Roots {
    fn new() -> Self {
        Self(["v1", "v2", "v3"].map(|version| (version, folder(&[("s/v.txt", version.as_bytes())]))).into())
    }

    fn service(&self, app: &str, service: &str, split: TrafficSplit) -> Service {
        let version = |(version, (_, root)): (&&str, &(tempfile::TempDir, PathBuf))| {
            let mut config = config("nodejs22", vec![files("/s", "s"), script("/.*")]);
            config.key = VersionKey::new(service.parse().expect("a name"), version.parse().expect("a name")).expect("short");
            (config.key.version.clone(), Arc::new(Version::new(app.parse().expect("an id"), config, root.clone(), 1)))
        };
        Service { versions: self.0.iter().map(version).collect(), split, ingress: Ingress::All }
    }

    /// Services `default` and `api`.
    fn table(&self, default: TrafficSplit) -> RoutingTable {
        let mut table = table(config("nodejs22", vec![]), Path::new("/nowhere"));
        let api = self.service("demo", "api", TrafficSplit::all("v3".parse().expect("a name")));
        table.services = [("default", self.service("demo", "default", default)), ("api", api)]
            .map(|(name, service)| (name.parse().expect("a name"), service))
            .into();
        table
    }
}

fn trusting() -> Options {
    Options { trusted_proxies: "127.0.0.0/8".parse().expect("networks"), ..options() }
}

fn ask(client: &mut Client, host: &str, path: &str, headers: &str) -> Answer {
    client.write(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").as_bytes());
    client.answer(false)
}

/// Which version a static file comes from.
fn version(client: &mut Client, host: &str, headers: &str) -> String {
    let answer = ask(client, host, "/s/v.txt", headers);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// Whether caches are told that the cookie decides.
fn varies(answer: &Answer) -> bool {
    answer.header("vary").is_some_and(|names| names.split(',').any(|name| name.trim() == "Cookie"))
}

/// An app that sets the cookies that `/set/COOKIES` names.
fn dynamic() -> Endpoint {
    let serve = |received: &app::Received, wire: &mut app::Wire| {
        let path = received.line.split(' ').nth(1).unwrap_or_default();
        match path.strip_prefix("/set/") {
            Some(cookie) => wire.answer(&format!("200 OK\r\nCache-Control: public, max-age=60\r\nSet-Cookie: {cookie}"), "x"),
            None => wire.answer("200 OK\r\nCache-Control: public, max-age=60", "x"),
        }
        true
    };
    app::http(serve).0
}

#[test]
fn t5_hosts_that_name_a_version_or_instance_bypass_the_split() {
    let roots = Roots::new();
    let by_cookie = split(ShardBy::Cookie, &[("v1", 500), ("v2", 500)]);
    let node = Node::files(options(), roots.table(by_cookie));
    let mut client = node.connect();
    for bucket in [0, 499, 500, 999] {
        let cookie = format!("Cookie: GOOGAPPUID={bucket}\r\n");
        let mut got = |host: &str| version(&mut client, host, &cookie);
        let drawn = if bucket < 500 { "v1" } else { "v2" };
        assert_eq!(got("localhost"), drawn);
        assert_eq!(got("default.localhost"), drawn);
        assert_eq!(got("nosuch.localhost"), drawn, "soft routing leads to the default service, whose split holds");
        assert_eq!(got("v1.localhost"), "v1");
        assert_eq!(got("v2-dot-default.localhost"), "v2");
        assert_eq!(got("v3-dot-default-dot-demo.uc.r.localhost"), "v3", "a version without traffic");
        assert_eq!(got("api.localhost"), "v3", "another service");
    }
    // Hosts that name a version set no cookie either.
    for host in ["v1.localhost", "api.localhost"] {
        let answer = ask(&mut client, host, "/s/v.txt", "");
        assert_eq!((answer.header("set-cookie"), varies(&answer)), (None, false), "{host}");
    }
}

#[test]
fn t5_a_dispatch_rule_leads_to_a_service_and_its_split() {
    let roots = Roots::new();
    let mut table = roots.table(split(ShardBy::Cookie, &[("v1", 500), ("v2", 500)]));
    let service = "default".parse().expect("a name");
    let path = PathPattern::Prefix("/s/".into());
    table.dispatch.push(DispatchRule { written: "*/s/*".into(), host: HostPattern::Any, path, service, line: 1 });
    let node = Node::files(options(), table);
    let mut client = node.connect();
    assert_eq!(version(&mut client, "api.localhost", "Cookie: GOOGAPPUID=999\r\n"), "v2");
    assert_eq!(version(&mut client, "v3.api.localhost", "Cookie: GOOGAPPUID=999\r\n"), "v3");
}

#[test]
fn t4_addresses_keep_their_version_and_a_change_moves_the_fewest() {
    let roots = Roots::new();
    let before = split(ShardBy::Ip, &[("v1", 600), ("v2", 200), ("v3", 200)]);
    let after = before.change_to(split(ShardBy::Ip, &[("v1", 500), ("v3", 500)]));
    let node = Node::files(trusting(), roots.table(before.clone()));
    let mut client = node.connect();
    let v4 = (0..300_u32).map(|n| IpAddr::from(Ipv4Addr::from_bits(0xcb00_7100 + n * 7)));
    let v6 = (0..300_u128).map(|n| IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n << 64 | 9)));
    let mut first = BTreeMap::new();
    for address in v4.chain(v6) {
        let header = format!("X-Forwarded-For: {address}\r\n");
        let got = version(&mut client, "localhost", &header);
        assert_eq!(Some(got.as_str()), explain(&before, Who::Ip(address)).version.as_ref().map(VersionId::as_str), "{address}");
        first.insert(address, got);
    }
    for (want, version) in [(0.6, "v1"), (0.2, "v2"), (0.2, "v3")] {
        let count = u32::try_from(first.values().filter(|got| *got == version).count()).expect("few");
        let share = f64::from(count) / 600.0;
        assert!((share - want).abs() < 0.1, "{version}: {share}");
    }
    node.show(roots.table(after.clone()));
    for (address, was) in &first {
        let got = version(&mut client, "localhost", &format!("X-Forwarded-For: {address}\r\n"));
        assert_eq!(Some(got.as_str()), explain(&after, Who::Ip(*address)).version.as_ref().map(VersionId::as_str), "{address}");
        assert!(got == *was || got == "v3", "{address} moved from {was} to {got}");
        assert!(was != "v3" || got == "v3", "{address} was at a version that only gains");
    }
    // Another address of the same network, and the same one through another proxy.
    assert_eq!(
        version(&mut client, "localhost", "X-Forwarded-For: 2001:db8:0:1::1\r\n"),
        version(&mut client, "localhost", "X-Forwarded-For: 2001:db8:0:1:ffff::7, 127.0.0.9\r\n")
    );
}

#[test]
fn t10_only_trusted_proxies_are_asked_for_the_address() {
    let roots = Roots::new();
    let by_ip = split(ShardBy::Ip, &[("v1", 500), ("v2", 500)]);
    let node = Node::files(options(), roots.table(by_ip.clone()));
    let own = explain(&by_ip, Who::Ip(IpAddr::from([127, 0, 0, 1]))).version.expect("a version");
    let mut client = node.connect();
    for n in 0..50 {
        assert_eq!(version(&mut client, "localhost", &format!("X-Forwarded-For: 203.0.113.{n}\r\n")), own.as_str());
    }
}

#[test]
fn t10_a_cookie_keeps_the_client_at_its_version() {
    let roots = Roots::new();
    let by_cookie = split(ShardBy::Cookie, &[("v1", 500), ("v2", 500)]);
    let node = Node::start(options(), roots.table(by_cookie.clone()), Ok(dynamic()));
    let mut client = node.connect();
    let mut asked = 0;
    let mut record = |node: &Node| {
        asked += 1;
        node.journal.wait(asked)[asked - 1].version.clone().expect("a version").version
    };
    for path in ["/s/v.txt", "/"] {
        for nonsense in ["", "Cookie: GOOGAPPUID=v2\r\n", "Cookie: GOOGAPPUID=1000\r\n"] {
            let answer = ask(&mut client, "localhost", path, nonsense);
            let drawn = record(&node);
            let cookie = answer.header("set-cookie").expect("a cookie");
            let bucket = cookie.strip_prefix("GOOGAPPUID=").and_then(|rest| rest.strip_suffix("; Path=/; Max-Age=31536000; SameSite=Lax"));
            let bucket: u16 = bucket.and_then(|bucket| bucket.parse().ok()).unwrap_or_else(|| panic!("a bucket: {cookie}"));
            assert_eq!(by_cookie.owner(bucket), &drawn);
            assert!(answer.header("cache-control").expect("said").contains("private"), "nobody else's (H17): {answer:?}");
            for _ in 0..3 {
                let again = ask(&mut client, "localhost", path, &format!("Cookie: a=b; GOOGAPPUID={bucket}\r\n"));
                assert_eq!((record(&node), again.header("set-cookie")), (drawn.clone(), None));
            }
        }
    }
}

#[test]
fn t10_what_the_app_says_about_the_cookie_wins() {
    let roots = Roots::new();
    let node = Node::start(options(), roots.table(split(ShardBy::Cookie, &[("v1", 500), ("v2", 500)])), Ok(dynamic()));
    let mut client = node.connect();
    let answer = ask(&mut client, "localhost", "/set/GOOGAPPUID=7", "");
    assert_eq!(answer.header("set-cookie").as_deref(), Some("GOOGAPPUID=7"));
    let answer = ask(&mut client, "localhost", "/set/other=7", "");
    assert!(answer.header("set-cookie").expect("both").starts_with("other=7, GOOGAPPUID="));
    let answer = ask(&mut client, "localhost", "/set/GOOGAPPUID=7", "Cookie: GOOGAPPUID=3\r\n");
    assert_eq!(answer.header("set-cookie").as_deref(), Some("GOOGAPPUID=7"));
}

#[test]
fn t10_caches_are_told_that_a_cookie_decides() {
    let roots = Roots::new();
    let by_cookie = split(ShardBy::Cookie, &[("v1", 500), ("v2", 500)]);
    let node = Node::start(options(), roots.table(by_cookie), Ok(dynamic()));
    let mut client = node.connect();
    let kept = ask(&mut client, "localhost", "/s/v.txt", "Cookie: GOOGAPPUID=3\r\n");
    assert_eq!((varies(&kept), kept.header("set-cookie")), (true, None));
    assert!(kept.header("cache-control").expect("said").contains("public"), "{kept:?}");
    // Row H17: what an app says about caching passes unchanged.
    let own = ask(&mut client, "localhost", "/", "Cookie: GOOGAPPUID=3\r\n");
    assert_eq!((varies(&own), own.header("cache-control").as_deref()), (false, Some("public, max-age=60")));
    // Without a split by cookie nothing changes.
    for other in [
        split(ShardBy::Ip, &[("v1", 500), ("v2", 500)]),
        split(ShardBy::Random, &[("v1", 500), ("v2", 500)]),
        split(ShardBy::Cookie, &[("v1", 1000)]),
    ] {
        node.show(roots.table(other));
        for path in ["/", "/s/v.txt"] {
            let answer = ask(&mut client, "localhost", path, "");
            assert_eq!((varies(&answer), answer.header("set-cookie")), (false, None), "{path}");
        }
    }
}

#[test]
fn t4_a_random_split_draws_for_each_request() {
    let roots = Roots::new();
    let node = Node::files(options(), roots.table(split(ShardBy::Random, &[("v1", 500), ("v2", 500)])));
    let mut client = node.connect();
    let first = (0..2_000).filter(|_| version(&mut client, "localhost", "Cookie: GOOGAPPUID=3\r\n") == "v1").count();
    // Six standard deviations.
    assert!((866..=1_134).contains(&first), "{first} of 2000");
}

#[test]
fn t5_each_project_has_its_own_hosts_and_split() {
    let roots = Roots::new();
    let hosted = |app: &str, split: TrafficSplit, mapped: &[&str]| {
        let mut table = roots.table(split);
        table.app = app.parse::<AppId>().expect("an id");
        table.naming = Naming::hosted(&table.app, "uc", "apps.test", None, mapped.iter().map(|&name| name.to_owned()).collect());
        Arc::new(table)
    };
    let shop = hosted("shop", split(ShardBy::Cookie, &[("v1", 500), ("v2", 500)]), &["shop.example", "*.shop.example"]);
    let blog = hosted("blog", TrafficSplit::all("v3".parse().expect("a name")), &[]);
    let node = Node::files(options(), roots.table(TrafficSplit::all("v1".parse().expect("a name"))));
    node.show_all(Estate::build(2, [shop, blog], None));
    let mut client = node.connect();
    let cookie = "Cookie: GOOGAPPUID=999\r\n";
    for (host, want) in [
        ("shop.uc.r.apps.test", "v2"),
        ("shop.apps.test:8080", "v2"),
        ("v1-dot-shop.uc.r.apps.test", "v1"),
        ("v1-dot-default-dot-shop.uc.r.apps.test", "v1"),
        ("api-dot-shop.uc.r.apps.test", "v3"),
        ("blog.uc.r.apps.test", "v3"),
        ("shop.example", "v2"),
        ("v1.shop.example", "v1"),
        ("api.shop.example", "v3"),
    ] {
        assert_eq!(version(&mut client, host, cookie), want, "{host}");
    }
    for (host, text) in [
        ("ghost.uc.r.apps.test", "There is no project `ghost` on this server."),
        ("localhost", "No app of this server answers to the host `localhost`."),
        ("127.0.0.1", "No app of this server answers to the host `127.0.0.1`."),
    ] {
        let answer = ask(&mut client, host, "/s/v.txt", "");
        assert_eq!(answer.status, 404);
        assert!(answer.text().contains(text), "{}", answer.text());
    }
}

#[test]
fn t4_split_changes_under_load_lose_no_request() {
    let roots = Roots::new();
    let node = Node::files(trusting(), roots.table(TrafficSplit::all("v1".parse().expect("a name"))));
    let over = AtomicBool::new(false);
    let asked: usize = std::thread::scope(|scope| {
        let load = |thread: u8| {
            let (node, over) = (&node, &over);
            move || {
                let mut client = node.connect();
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    let got = version(&mut client, "localhost", &format!("X-Forwarded-For: 203.0.{thread}.{}\r\n", count % 256));
                    assert!(["v1", "v2"].contains(&got.as_str()), "{got}");
                    count += 1;
                }
                count
            }
        };
        let threads: Vec<_> = (0..3).map(|thread| scope.spawn(load(thread))).collect();
        let mut now = TrafficSplit::all("v1".parse().expect("a name"));
        for share in (1..=99).chain((1..=99).rev()) {
            now = now.change_to(split(ShardBy::Ip, &[("v1", 1000 - share * 10), ("v2", share * 10)]));
            node.show(roots.table(now.clone()));
            // The table is in force with the next request.
            let address = IpAddr::from([198, 51, 100, 1]);
            let got = version(&mut node.connect(), "localhost", &format!("X-Forwarded-For: {address}\r\n"));
            assert_eq!(explain(&now, Who::Ip(address)).version.expect("a version").as_str(), got);
        }
        over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("no request is lost")).sum()
    });
    assert!(asked > 0);
}
