//! The registry of diagnostics: every code keeps what it promises, and docs/reference/diagnostics.md is what it prints.

use std::collections::{BTreeMap, BTreeSet};

use appyaml::{Diagnostic, Severity, code, parse};

fn diagnostics(file: &str, text: &str) -> Vec<Diagnostic> {
    match file {
        "app.yaml" => parse::app_yaml(file, text, &BTreeMap::new()).diagnostics,
        "include.yaml" => parse::include_yaml(file, text).diagnostics,
        "dispatch.yaml" => parse::dispatch_yaml(file, text).diagnostics,
        "cron.yaml" => parse::cron_yaml(file, text).diagnostics,
        "queue.yaml" => parse::queue_yaml(file, text).diagnostics,
        "index.yaml" => parse::index_yaml(file, text).diagnostics,
        "dos.yaml" => parse::dos_yaml(file, text).diagnostics,
        other => panic!("examples are never {other}"),
    }
}

#[test]
fn y1_every_example_has_exactly_the_mistake_that_it_shows() {
    for code in code::all().filter(|code| !code.example.is_empty()) {
        let found = diagnostics(code.example_file, code.example);
        let ids: BTreeSet<&str> = found.iter().map(|d| d.code.id).collect();
        assert!(ids.contains(code.id), "{}: {ids:?}", code.id);
        let others: Vec<_> = found.iter().filter(|d| d.code.id != code.id && d.severity() == Severity::Error).collect();
        assert!(others.is_empty(), "{}: {others:?}", code.id);
    }
}

#[test]
fn y1_codes_are_unique_sorted_and_found_by_name() {
    let ids: Vec<&str> = code::all().map(|code| code.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert_eq!(code::find("a0107").map(|code| code.id), Some("A0107"));
    assert_eq!(code::find("A9999"), None);
}

/// Accept changes with `UPDATE_GOLDEN=1 cargo test -p appyaml`.
#[test]
fn y1_the_reference_page_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/diagnostics.md");
    let page = code::reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("has one")).expect("can be made");
        std::fs::write(&path, &page).expect("writable");
    }
    assert!(std::fs::read_to_string(&path).is_ok_and(|now| now == page), "run UPDATE_GOLDEN=1 cargo test -p appyaml");
}
