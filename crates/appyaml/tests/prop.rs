//! Whatever the bytes, reading ends, says something printable, and never panics.

use std::collections::BTreeMap;

use appyaml::{Diagnostic, Sources, parse, render};
use proptest::prelude::*;

/// Pieces of real files, put together at random: far likelier to reach deep places than random bytes.
const PIECES: [&str; 64] = [
    "runtime: ",
    "python27",
    "python312",
    "handlers:\n",
    "- url: ",
    "/.*",
    "/(.*)\\1",
    "  script: ",
    "main.app",
    "auto",
    "  static_dir: ",
    "  static_files: ",
    "  upload: ",
    "  login: ",
    "admin",
    "\n",
    "\n  ",
    "\n- ",
    ": ",
    "- ",
    "threadsafe: ",
    "true",
    "null",
    "~",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "|",
    ">",
    "&a ",
    "*a",
    "!t ",
    "!!str ",
    "---\n",
    "# c",
    "\t",
    "é",
    "\u{feff}",
    "\r",
    "env_variables:\n  ",
    "skip_files:\n- ",
    "^(a|b",
    "automatic_scaling:\n  min_instances: ",
    "99999999999999999999",
    "-1",
    "1:30",
    "0x",
    ".inf",
    "builtins:\n- deferred: ",
    "includes:\n- ",
    "dispatch:\n- url: \"*/x\"\n  service: ",
    "cron:\n- url: /t\n  schedule: ",
    "every 5 minutes",
    " from 10:00 to ",
    "queue:\n- name: ",
    "  rate: 5/",
    "libraries:\n- name: ",
    "  http_headers:\n    X-A: ",
    "error_handlers:\n- file: ",
    "blacklist:\n- subnet: ",
];

fn all(text: &str) {
    let check = |diagnostics: &[Diagnostic], sources: &Sources| {
        let json = render::json(diagnostics, sources);
        let shown = render::text(diagnostics, sources, false);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value["ok"], !diagnostics.iter().any(Diagnostic::is_error));
        for d in value["diagnostics"].as_array().expect("a list").iter().filter(|d| d["line"].is_u64()) {
            let place = |line: &str, column: &str| (d[line].as_u64().expect("a number"), d[column].as_u64().expect("a number"));
            assert!(place("line", "column") >= (1, 1) && place("line", "column") <= place("end_line", "end_column"), "{json}");
        }
        assert_eq!(shown.is_empty(), diagnostics.is_empty());
    };
    let app = parse::app_yaml("app.yaml", text, &BTreeMap::from([("lib".to_owned(), text.to_owned())]));
    check(&app.diagnostics, &app.sources);
    if app.is_ok() {
        assert!(app.value.is_some(), "no error, but nothing either: {text:?}");
    }
    {
        let parsed = parse::include_yaml("i.yaml", text);
        check(&parsed.diagnostics, &parsed.sources);
    }
    let dispatch = parse::dispatch_yaml("dispatch.yaml", text);
    check(&dispatch.diagnostics, &dispatch.sources);
    let cron = parse::cron_yaml("cron.yaml", text);
    check(&cron.diagnostics, &cron.sources);
    let queue = parse::queue_yaml("queue.yaml", text);
    check(&queue.diagnostics, &queue.sources);
    let index = parse::index_yaml("index.yaml", text);
    check(&index.diagnostics, &index.sources);
    let dos = parse::dos_yaml("dos.yaml", text);
    check(&dos.diagnostics, &dos.sources);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn y1_arbitrary_text_never_panics(text in ".{0,200}") {
        all(&text);
    }

    #[test]
    fn y1_pieces_of_files_never_panic(pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..40)) {
        all(&pieces.concat());
    }

    #[test]
    fn y1_a_real_file_with_a_few_bytes_changed_never_panics(
        at in proptest::collection::vec((0.0f64..1.0, proptest::sample::select(&PIECES[..])), 1..6),
        file in proptest::sample::select(&REAL[..]),
    ) {
        let mut text = file.to_owned();
        for (place, piece) in at {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "any place will do")]
            let mut at = (place * text.len() as f64) as usize;
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.insert_str(at, piece);
        }
        all(&text);
    }
}

const REAL: [&str; 5] = [
    include_str!("ui/app-many.yaml"),
    include_str!("ui/app-python27.yaml"),
    include_str!("ui/dispatch-many.yaml"),
    include_str!("ui/cron-many.yaml"),
    include_str!("ui/queue-many.yaml"),
];

#[test]
fn y1_random_bytes_from_disk_never_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for n in 0..200 {
        let mut bytes = Vec::new();
        for _ in 0..n {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push((seed >> 56) as u8);
        }
        let path = folder.path().join("app.yaml");
        std::fs::write(&path, &bytes).expect("writable");
        let loaded = appyaml::load_app(&[path], &appyaml::Options::default());
        assert!(!loaded.is_ok());
    }
}
