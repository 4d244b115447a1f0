//! Nanoseconds that the rules take of one proxied request, step by step: `cargo run --release -p xtask --example walk_bench`.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use model::asset::{self, Entity};
use model::config::VersionConfig;
use model::environ::{self, Call};
use model::firewall::Firewall;
use model::gate::{self, Ask, Caller};
use model::handler::{Handler, HandlerKind, Script, StaticFiles, StaticSource};
use model::headers::request::{self, Client, Facts, Forwarded, Geo};
use model::headers::{gzip, response};
use model::ids::VersionKey;
use model::ingress::Ingress;
use model::pattern::{Anchor, Pattern};
use model::route::{host, path};
use model::runtime::Runtime;
use model::table::{Naming, RoutingTable, Service, Version};
use model::traffic::TrafficSplit;

fn handler(source: &str) -> Handler {
    Handler::new(Pattern::new(source, Anchor::Whole).expect("compiles"), HandlerKind::Script(Script::Auto))
}

fn table() -> RoutingTable {
    let key = VersionKey::new("default".parse().expect("a name"), "v1".parse().expect("a name")).expect("short");
    let mut handlers: Vec<Handler> = (0..29).map(|n| handler(&format!("/section{n}/(.*)"))).collect();
    handlers.push(handler("/.*"));
    let config = VersionConfig::new(key.clone(), Runtime::parse("python312").expect("a runtime"), handlers);
    let version = Arc::new(Version::new("demo".parse().expect("an id"), config, PathBuf::from("/srv"), 1));
    let service = Service {
        versions: BTreeMap::from([(key.version.clone(), version)]),
        split: TrafficSplit::all(key.version),
        ingress: Ingress::All,
    };
    RoutingTable {
        generation: 1,
        app: "demo".parse().expect("an app"),
        naming: Naming { domains: vec!["localhost".into()], default_hostname: "localhost:8080".into(), ..Naming::default() },
        services: BTreeMap::from([(key.service, service)]),
        dispatch: Vec::new(),
        firewall: Firewall::default(),
    }
}

fn map(lines: &[(header::HeaderName, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

/// Nanoseconds that this thread has run.
fn cpu() -> u128 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default().split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn time<T>(name: &str, mut step: impl FnMut() -> T) -> u128 {
    const ROUNDS: u32 = 400_000;
    for _ in 0..1_000 {
        black_box(step());
    }
    // The best of several runs, in CPU time: the machine may be busy.
    let each = (0..5)
        .map(|_| {
            let start = cpu();
            for _ in 0..ROUNDS {
                black_box(step());
            }
            (cpu() - start) / u128::from(ROUNDS)
        })
        .min()
        .unwrap_or_default();
    println!("{name:24} {each:>6} ns");
    each
}

/// What the rules take of a static request.
fn static_file() {
    let mut table = table();
    let service = table.services.values_mut().next().expect("a service");
    let mut config = service.versions.values().next().expect("a version").config.clone();
    let mut handler = handler("/static/(.*)");
    handler.kind = HandlerKind::Static(Box::new(StaticFiles {
        source: StaticSource::Dir("static".into()),
        mime_type: None,
        expiration: None,
        http_headers: Vec::new(),
        require_matching_file: false,
        application_readable: false,
    }));
    config.handlers.insert(0, handler);
    let version = Version::new("demo".parse().expect("an id"), config, PathBuf::from("/srv"), 1);
    let path = b"/static/js/vendor/jquery.min.js";
    let matched = version.handlers().find(path).expect("matches");
    let request = map(&[(header::USER_AGENT, "x"), (header::ACCEPT, "*/*")]);
    let entity = Entity { etag: "\"0123456789abcdef\"", modified: 1_717_000_000, length: 1_024 };
    time("asset::locate", || asset::locate(&version.config, &matched, path));
    time("asset::decide", || asset::decide(&Method::GET, &request, &entity, 1_717_243_200));
    let mime = asset::mime_type(&matched, "static/js/vendor/jquery.min.js");
    time("asset::headers", || asset::headers(&version.config, &matched, &entity, asset::Answer::Whole, &mime, 1_717_243_200));
}

fn main() {
    let table = table();
    let sent = map(&[
        (header::HOST, "localhost:8080"),
        (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"),
        (header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (header::ACCEPT_LANGUAGE, "en-US,en;q=0.9,de;q=0.8"),
        (header::CACHE_CONTROL, "max-age=0"),
        (header::COOKIE, "session=0123456789abcdef; theme=dark"),
        (header::CONNECTION, "keep-alive"),
    ]);
    let answered = map(&[
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_LENGTH, "1024"),
        (header::DATE, "Sat, 01 Jun 2024 12:00:00 GMT"),
        (header::SERVER, "gunicorn"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONNECTION, "keep-alive"),
    ]);
    let client = Client::new("203.0.113.9".parse().expect("an address"), false, Geo::default());
    let forwarded = Forwarded::default();
    let facts = Facts {
        caller: Caller::External,
        client: &client,
        forwarded: &forwarded,
        trace: 7,
        place: None,
        log_id: "5f00ff0123456789abcdef0123456789abcdef",
        ticket: "0123456789abcdef",
        timeout: Duration::from_mins(10),
        default_hostname: "localhost:8080",
        user: None,
        login: false,
    };
    let (raw, query) = ("/some/page/of/the/app", Some("a=b&c=d"));
    let decoded = raw.as_bytes();
    let aimed = host::aim(&table, "localhost:8080", decoded).expect("aims");
    let matched = aimed.version.handlers().find(decoded).expect("matches");
    let ask = Ask {
        caller: Caller::External,
        user: None,
        https: false,
        enforce_secure: false,
        authority: "localhost:8080",
        path: raw,
        query,
        http_port: 8080,
        https_port: 8443,
    };
    let (date, server) = (HeaderValue::from_static("Sat, 01 Jun 2024 12:00:00 GMT"), HeaderValue::from_static("Development/1.0"));
    let finish = response::Finish {
        method: &Method::GET,
        status: StatusCode::OK,
        date: &date,
        now: 1,
        server: Some(&server),
        length: None,
        gzip: true,
        stats: None,
    };

    let copies = time("(copy of the request)", || sent.clone()) + time("(copy of the response)", || answered.clone());
    let mut total = 0;
    total += time("path::read", || path::read(raw, query));
    total += time("host::aim", || host::aim(&table, "localhost:8080", decoded).is_ok());
    time("  version and service", || host::aim(&table, "v1-dot-default-dot-demo.uc.r.localhost", decoded).is_ok());
    total += time("handlers.find of 30", || aimed.version.handlers().find(decoded).is_some());
    total += time("gate::check", || gate::check(matched.handler, &ask));
    total += time("gzip::accepts", || gzip::accepts(&sent));
    let mut cleaned = sent.clone();
    request::clean(&mut cleaned, Caller::External);
    time("  request::clean", || {
        let mut headers = sent.clone();
        request::clean(&mut headers, Caller::External);
        headers
    });
    let with_requests = time("request::clean + add", || {
        let mut headers = sent.clone();
        request::clean(&mut headers, Caller::External);
        request::add(&mut headers, &facts);
        headers
    });
    let with_responses = time("response::finish", || {
        let mut headers = answered.clone();
        response::finish(&mut headers, &finish);
        headers
    });
    println!(
        "{:24} {:>6} ns without the copies",
        "all, to an HTTP instance",
        (total + with_requests + with_responses).saturating_sub(copies)
    );
    static_file();
    let call = Call {
        version: aimed.version,
        facts: &facts,
        method: &Method::GET,
        authority: "localhost:8080",
        port: 8080,
        path: decoded,
        raw_path: raw,
        query,
        protocol: "HTTP/1.1",
        headers: &cleaned,
        content_length: 0,
        script: None,
        kind: &Script::Auto,
    };
    let mut out = Vec::with_capacity(4_096);
    time("environ::write", || {
        out.clear();
        environ::write(&mut out, &call);
        out.len()
    });
}
