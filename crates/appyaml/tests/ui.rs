//! Whole files with many mistakes at once, and exactly what people get to see: `ui/NAME.yaml` → `ui/NAME.stderr`. The name's first part says
//! which file it is. Accept changes with `UPDATE_GOLDEN=1 cargo test -p appyaml`.

use std::collections::BTreeMap;
use std::path::Path;

use appyaml::{parse, render};

#[test]
fn y1_all_mistakes_of_a_file_are_shown_at_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let include = "handlers:\n- url: /lib/.*\n  script: lib.py\nruntime: python27\n";
    let includes = BTreeMap::from([("lib/include.yaml".to_owned(), include.to_owned())]);
    let mut wrong = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("readable").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "yaml"));
    files.sort();
    assert!(files.len() >= 8, "{} files", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.file_stem().expect("named").to_string_lossy().into_owned();
        let kind = name.split('-').next().unwrap_or_default();
        let file = format!("{kind}.yaml");
        let (diagnostics, sources) = match kind {
            "app" => {
                let parsed = parse::app_yaml(&file, &text, &includes);
                (parsed.diagnostics, parsed.sources)
            }
            "dispatch" => {
                let parsed = parse::dispatch_yaml(&file, &text);
                (parsed.diagnostics, parsed.sources)
            }
            "cron" => {
                let parsed = parse::cron_yaml(&file, &text);
                (parsed.diagnostics, parsed.sources)
            }
            "queue" => {
                let parsed = parse::queue_yaml(&file, &text);
                (parsed.diagnostics, parsed.sources)
            }
            "index" => {
                let parsed = parse::index_yaml(&file, &text);
                (parsed.diagnostics, parsed.sources)
            }
            "dos" => {
                let parsed = parse::dos_yaml(&file, &text);
                (parsed.diagnostics, parsed.sources)
            }
            other => panic!("{other} is no kind of file"),
        };
        let shown = render::text(&diagnostics, &sources, false);
        let golden = path.with_extension("stderr");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &shown).expect("writable");
        }
        if std::fs::read_to_string(&golden).ok().as_deref() != Some(&shown) {
            wrong.push(format!("{name}:\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "differs from its golden file:\n{}", wrong.join("\n"));
}
