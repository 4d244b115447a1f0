//! Nanoseconds and memory of finding a handler among 10 to 10,000: `cargo run --release -p xtask --example route_bench`.
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::hint::black_box;
use std::time::Instant;

use model::handler::{Handler, HandlerKind, Script};
use model::pattern::{Anchor, Pattern};
use model::route::handler::HandlerSet;
use testkit::process::resident;

fn handler(source: &str) -> Handler {
    Handler::new(Pattern::new(source, Anchor::Whole).expect("compiles"), HandlerKind::Script(Script::Auto))
}

type Shape = fn(usize) -> String;

fn main() {
    let ordinary: Shape = |n| match n % 4 {
        0 => format!("/section{n}/(.*)"),
        1 => format!("/section{n}/(edit|show|list)/[0-9]+"),
        2 => format!("/img{n}/.*\\.(png|gif|jpg)"),
        _ => format!("/page{n}"),
    };
    let wild: Shape = |n| if n % 2 == 0 { format!("/(.*)/svc{n}/.*") } else { format!("/([^/]+)/u{n}/edit") };
    println!(
        "{:8} {:>8} {:>10} {:>12} {:>12} {:>12} {:>12}",
        "shape", "handlers", "build ms", "last ns", "spread ns", "set MB", "states MB"
    );
    for (name, shape) in [("ordinary", ordinary), ("wild", wild)] {
        for count in [10, 100, 1_000, 10_000] {
            let before = resident(std::process::id());
            let start = Instant::now();
            let mut handlers: Vec<Handler> = (0..count - 1).map(|n| handler(&shape(n))).collect();
            handlers.push(handler("/.*"));
            let set = HandlerSet::new(handlers);
            let built = start.elapsed().as_millis();
            let held = resident(std::process::id());
            let last = time(&set, &["/some/path/that/only/the/last/one/takes".to_owned()]);
            let paths: Vec<String> = (0..200).map(|n| format!("/section{}/edit/{n}", n * 7 % count)).collect();
            let spread = time(&set, &paths);
            let states = resident(std::process::id()).saturating_sub(held) / 1024;
            println!("{name:8} {count:>8} {built:>10} {last:>12} {spread:>12} {:>12} {states:>12}", held.saturating_sub(before) / 1024);
        }
    }
}

fn time(set: &HandlerSet, paths: &[String]) -> u128 {
    for path in paths {
        black_box(set.find(path.as_bytes()));
    }
    let rounds = 200_000 / paths.len();
    let start = Instant::now();
    for _ in 0..rounds {
        for path in paths {
            black_box(set.find(black_box(path.as_bytes())));
        }
    }
    start.elapsed().as_nanos() / (rounds * paths.len()) as u128
}
