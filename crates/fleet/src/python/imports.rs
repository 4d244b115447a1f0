//! Which modules an app's sources import: a cheap look at the lines, not a parser. It may see an import in a text, which costs a package that
//! nobody needs; it does not see `__import__("x")`, for which `libraries:` is there.

use std::collections::BTreeSet;
use std::path::Path;

use model::config::SkipFiles;

/// Folders that hold other people's code, where an import inside a function or a `try` is often for a platform that the app does not use.
const VENDORED: [&str; 8] = ["lib", "libs", "vendor", "vendored", "third_party", "site-packages", "external", "packages"];
/// Folders that never hold an app's code.
const FOREIGN: [&str; 5] = ["node_modules", "__pycache__", "venv", "env", "virtualenv"];
/// Enough for any app that production accepts (10,000 files).
const MOST_FILES: usize = 20_000;
const LARGEST_FILE: u64 = 2 * 1024 * 1024;

/// Every imported module: `from a.b import c` gives `a.b` and `a.b.c`. Modules that the app itself has at its root are left out.
pub(crate) fn of(root: &Path, skip: &SkipFiles) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let walk = walkdir::WalkDir::new(root).into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(entry.file_type().is_dir() && (name.starts_with('.') || FOREIGN.contains(&&*name)))
    });
    for entry in walk.filter_map(Result::ok).take(MOST_FILES) {
        let path = entry.path();
        let is_source = entry.file_type().is_file() && path.extension().is_some_and(|extension| extension == "py");
        let Some(relative) = path.strip_prefix(root).ok().filter(|_| is_source) else { continue };
        let small = entry.metadata().is_ok_and(|metadata| metadata.len() <= LARGEST_FILE);
        if small
            && !skip.skips(&relative.to_string_lossy())
            && let Ok(text) = std::fs::read(path)
        {
            let vendored = relative.components().any(|part| VENDORED.contains(&&*part.as_os_str().to_string_lossy()));
            scan(&String::from_utf8_lossy(&text), vendored, &mut found);
        }
    }
    found.retain(|name| !is_own(root, name.split('.').next().unwrap_or(name)));
    found
}

fn is_own(root: &Path, module: &str) -> bool {
    root.join(module).join("__init__.py").is_file() || root.join(format!("{module}.py")).is_file()
}

fn scan(text: &str, only_top_level: bool, found: &mut BTreeSet<String>) {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let statement = line.trim_start();
        let indented = statement.len() != line.len();
        if (only_top_level && indented) || !(statement.starts_with("import ") || statement.starts_with("from ")) {
            continue;
        }
        let mut whole = uncommented(statement).to_owned();
        while (whole.contains('(') && !whole.contains(')')) || whole.ends_with('\\') {
            let Some(next) = lines.next() else { break };
            whole = format!("{} {}", whole.trim_end_matches('\\'), uncommented(next.trim()));
        }
        // `try: import x` and `import a; import b` on one line are rare; the first statement counts.
        read(whole.split(';').next().unwrap_or_default(), found);
    }
}

fn uncommented(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim_end()
}

fn read(statement: &str, found: &mut BTreeSet<String>) {
    let names = |list: &str| -> Vec<String> {
        let list = list.replace(['(', ')'], " ");
        list.split(',').filter_map(|item| item.split_whitespace().next().map(str::to_owned)).collect()
    };
    if let Some(list) = statement.strip_prefix("import ") {
        found.extend(names(list));
    } else if let Some((module, list)) = statement.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) {
        let module = module.trim();
        if !module.starts_with('.') {
            found.extend(names(list).into_iter().filter(|name| name != "*").map(|name| format!("{module}.{name}")));
            found.insert(module.to_owned());
        }
    }
}

/// Whether `module` or something below it is imported.
pub(crate) fn uses(imports: &BTreeSet<String>, module: &str) -> bool {
    imports.iter().any(|name| name == module || name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str, only_top_level: bool) -> Vec<String> {
        let mut found = BTreeSet::new();
        scan(text, only_top_level, &mut found);
        found.into_iter().collect()
    }

    #[test]
    fn every_form_of_import_is_seen() {
        let text = "import os, webapp2 as w  # x\nfrom a.b import (c,\n    d as e,  # note\n)\nfrom x \\\n  import y\nfrom . import z\nfrom q import *\n  import late\n";
        assert_eq!(scanned(text, false), ["a.b", "a.b.c", "a.b.d", "late", "os", "q", "webapp2", "x", "x.y"]);
    }

    #[test]
    fn other_peoples_code_counts_at_the_top_level_only() {
        assert_eq!(scanned("import six\ntry:\n    from google.appengine.api import urlfetch\nexcept ImportError: pass\n", true), ["six"]);
    }

    #[test]
    fn modules_of_the_app_itself_are_its_own() {
        let app = tempfile::tempdir().expect("a folder");
        std::fs::write(app.path().join("main.py"), "import webapp2\nimport helper.deep\nimport jinja2").expect("written");
        std::fs::create_dir_all(app.path().join("helper")).expect("made");
        std::fs::write(app.path().join("helper/__init__.py"), "").expect("written");
        std::fs::write(app.path().join("jinja2.py"), "").expect("written");
        let found = of(app.path(), &SkipFiles(Vec::new()));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["webapp2"]);
    }
}
