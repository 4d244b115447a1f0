//! Files of the largest size, full of what is dear to read: reading stays in proportion to the size.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the test watches how long a hostile file takes")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use appyaml::{Parsed, parse, render};

/// Far above what any of them takes, even unoptimised on a busy machine; a cost that grows with the square takes hours.
const LONG: Duration = Duration::from_mins(1);

fn filled(head: &str, item: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    let mut n = 0;
    while text.len() < (1 << 20) - 2_000 {
        text.push_str(&item(n));
        n += 1;
    }
    text
}

#[track_caller]
fn ends<T>(what: &str, read: impl FnOnce() -> Parsed<T>) {
    let started = Instant::now();
    let parsed = read();
    let shown = render::text(&parsed.diagnostics, &parsed.sources, false).len() + render::json(&parsed.diagnostics, &parsed.sources).len();
    let summary = format!("{what}: {:?}, {} diagnostics, {shown} bytes", started.elapsed(), parsed.diagnostics.len());
    assert!(started.elapsed() < LONG && parsed.diagnostics.len() <= 1_001 && shown < 2_000_000, "{summary}");
}

#[test]
fn y1_the_largest_hostile_files_are_read_in_reasonable_time() {
    let app = |text: &str| parse::app_yaml("app.yaml", text, &BTreeMap::new());
    let handlers = "runtime: python312\nhandlers:\n";
    for (what, text) in [
        ("unknown keys", filled("", |n| format!("runtme{n}: x\n"))),
        ("a long key", format!("{}: x\n", "x".repeat(1_000))),
        ("a long value", format!("runtime: {}\n", "x".repeat(1_000_000))),
        ("one line", format!("{{runtime: python312, {}}}", filled("", |n| format!("k{n}: x, ")))),
        ("handlers", filled(handlers, |n| format!("- url: /a{n}\n  script: auto\n"))),
        ("hidden handlers", filled(handlers, |_| "- url: /.*\n  script: auto\n".into())),
        ("deep prefixes", filled(handlers, |n| format!("- url: /{}{n}\n  script: auto\n", "a/".repeat(400)))),
        ("nested groups", filled(handlers, |_| format!("- url: /{}a{}\n  script: auto\n", "(".repeat(400), ")".repeat(400)))),
        ("repetitions", filled(handlers, |n| format!("- url: /((a{{1000}}){{1000}}){n}\n  script: auto\n"))),
        ("broken patterns", filled(handlers, |_| "- url: /(a\n  script: auto\n".into())),
        ("variables", filled("runtime: python312\nenv_variables:\n", |n| format!("  A{n}: on\n"))),
        ("skipped files", filled("runtime: python312\nskip_files:\n", |n| format!("- ^a{n}$\n"))),
        ("libraries", filled("runtime: python27\nlibraries:\n", |_| "- name: djang\n  version: 1\n".into())),
    ] {
        ends(what, || app(&text));
    }
    let rules = filled("dispatch:\n", |n| format!("- url: \"*.a/x{n}*\"\n  service: a\n"));
    ends("rules", || parse::dispatch_yaml("dispatch.yaml", &rules));
    let jobs = filled("cron:\n", |n| format!("- url: /{n}\n  schedule: every day 09:00\n  timezone: Europe/Berln\n"));
    ends("jobs", || parse::cron_yaml("cron.yaml", &jobs));
    let queues = filled("queue:\n", |n| format!("- name: q{n}\n  rate: 5/s\n"));
    ends("queues", || parse::queue_yaml("queue.yaml", &queues));
    let indexes = filled("indexes:\n", |n| format!("- kind: k{n}\n"));
    ends("indexes", || parse::index_yaml("index.yaml", &indexes));
    let subnets = filled("blacklist:\n", |n| format!("- subnet: 10.0.{}.{}\n", n / 256 % 256, n % 256));
    ends("subnets", || parse::dos_yaml("dos.yaml", &subnets));
}
