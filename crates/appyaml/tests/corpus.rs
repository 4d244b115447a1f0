//! Real files of public projects (`conformance/corpus/config`, 292 of them): each parses, or is refused for reasons that `corpus.refused` lists
//! line by line; a reason that no longer holds fails as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use appyaml::parse;
use appyaml::{Diagnostic, Sources};

/// Where the files are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/corpus/config")
}

/// What a file of this kind says.
fn read(name: &str, kind: &str, text: &str) -> (Vec<Diagnostic>, Sources) {
    macro_rules! both {
        ($parsed:expr) => {{
            let parsed = $parsed;
            (parsed.diagnostics, parsed.sources)
        }};
    }
    match kind {
        "app" => both!(parse::app_yaml(name, text, &BTreeMap::new())),
        "include" => both!(parse::include_yaml(name, text)),
        "dispatch" => both!(parse::dispatch_yaml(name, text)),
        "cron" => both!(parse::cron_yaml(name, text)),
        "queue" => both!(parse::queue_yaml(name, text)),
        "index" => both!(parse::index_yaml(name, text)),
        "dos" => both!(parse::dos_yaml(name, text)),
        other => panic!("{name} is of kind {other}"),
    }
}

#[test]
fn y1_every_real_file_parses_or_is_refused_for_a_listed_reason() {
    let manifest = std::fs::read_to_string(folder().join("manifest.csv")).expect("readable");
    let mut found = BTreeSet::new();
    let mut files = 0;
    for line in manifest.lines().skip(1) {
        let mut columns = line.split(',');
        let (name, kind) = (columns.next().expect("a file"), columns.next().expect("a kind"));
        let text = std::fs::read_to_string(folder().join(name)).expect("readable");
        let (diagnostics, sources) = read(name, kind, &text);
        files += 1;
        for error in diagnostics.iter().filter(|d| d.is_error()) {
            let line = error.primary.as_ref().map_or(0, |label| sources.line(label.span));
            found.insert(format!("{name}:{line} {}", error.code.id));
        }
    }
    assert_eq!(files, 292);
    let listed = include_str!("corpus.refused").lines().filter(|line| !line.starts_with('#'));
    let listed: BTreeSet<String> = listed.map(|line| line.split(" — ").next().unwrap_or_default().to_owned()).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(new.is_empty() && gone.is_empty(), "refused but not listed: {new:#?}\nlisted but not refused: {gone:#?}");
}

/// The cases of yaml-test-suite, whatever they are, neither hang nor panic, as any of our files.
#[test]
fn y1_no_case_of_the_yaml_test_suite_hangs_or_panics() {
    let suite = folder().join("../yaml-test-suite");
    let mut files = 0;
    for entry in
        std::fs::read_dir(suite).expect("readable").flatten().filter(|entry| entry.path().extension().is_some_and(|ext| ext == "yaml"))
    {
        let text = std::fs::read_to_string(entry.path()).expect("readable");
        let unescaped = text.replace('␣', " ").replace('»', "\t").replace('↵', "").replace('⇔', "\u{feff}");
        for kind in ["app", "include", "dispatch", "cron", "queue", "index", "dos"] {
            for text in [&text, &unescaped] {
                let (diagnostics, sources) = read("case.yaml", kind, text);
                appyaml::render::json(&diagnostics, &sources);
                appyaml::render::text(&diagnostics, &sources, true);
            }
        }
        files += 1;
    }
    assert!(files >= 350, "{files} cases");
}
