//! What differs between two versions.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::output::text;
use crate::ui::{BOLD, DIM, GREEN, RED, Ui, YELLOW};

/// What every version has of its own, and what is compared file by file.
const OWN: [&str; 8] = ["name", "id", "createTime", "createdBy", "diskUsageBytes", "versionUrl", "servingStatus", "deployment"];

/// One thing that differs: where, before, after.
type Change = (String, Value, Value);

/// Prints the differences; nothing to stdout if there are none.
pub(super) fn print(ui: &Ui, old: &Value, new: &Value, as_json: bool) {
    let (settings, files) = (settings(old, new), files(old, new));
    if as_json {
        let list = |changes: &[Change]| changes.iter().map(|(at, old, new)| json!({"path": at, "old": old, "new": new})).collect::<Value>();
        return ui.data(&format!("{:#}\n", json!({"settings": list(&settings), "files": list(&files)})));
    }
    if settings.is_empty() && files.is_empty() {
        return ui.status("The versions have the same settings and the same files.");
    }
    for (title, changes, is_file) in [("Settings", &settings, false), ("Files", &files, true)] {
        if changes.is_empty() {
            continue;
        }
        ui.data(&format!("{BOLD}{title}{BOLD:#}\n"));
        for (at, old, new) in changes {
            ui.data(&line(at, old, new, is_file));
        }
    }
}

fn line(at: &str, old: &Value, new: &Value, is_file: bool) -> String {
    let value = |value: &Value| if is_file { String::new() } else { format!("  {}", text(value)) };
    match (old, new) {
        (Value::Null, new) => format!("  {GREEN}+ {at}{GREEN:#}{}\n", value(new)),
        (old, Value::Null) => format!("  {RED}- {at}{RED:#}{DIM}{}{DIM:#}\n", value(old)),
        (old, new) if !is_file => format!("  {YELLOW}~ {at}{YELLOW:#}  {DIM}{}{DIM:#} → {}\n", text(old), text(new)),
        _ => format!("  {YELLOW}~ {at}{YELLOW:#}\n"),
    }
}

fn settings(old: &Value, new: &Value) -> Vec<Change> {
    let flat = |version: &Value| {
        let mut all = BTreeMap::new();
        for (key, value) in version.as_object().into_iter().flatten().filter(|(key, _)| !OWN.contains(&key.as_str())) {
            flatten(key, value, &mut all);
        }
        all
    };
    compare(flat(old), flat(new))
}

fn files(old: &Value, new: &Value) -> Vec<Change> {
    let sums = |version: &Value| {
        let empty = Map::new();
        let files = version["deployment"]["files"].as_object().unwrap_or(&empty);
        files.iter().map(|(name, file)| (name.clone(), file["sha1Sum"].clone())).collect()
    };
    compare(sums(old), sums(new))
}

/// Leaves of maps by path, of lists by place.
fn flatten(at: &str, value: &Value, all: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| flatten(&format!("{at}.{key}"), inner, all)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, inner)| flatten(&format!("{at}[{n}]"), inner, all)),
        other => drop(all.insert(at.to_owned(), other.clone())),
    }
}

fn compare(mut old: BTreeMap<String, Value>, new: BTreeMap<String, Value>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (at, new) in new {
        let old = old.remove(&at).unwrap_or_default();
        if old != new {
            changes.push((at, old, new));
        }
    }
    changes.extend(old.into_iter().map(|(at, old)| (at, old, Value::Null)));
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_files_are_compared_apart() {
        let old = json!({"id": "v1", "runtime": "python27", "envVariables": {"A": "1", "B": "2"},
            "deployment": {"files": {"a.py": {"sha1Sum": "1"}, "b.py": {"sha1Sum": "2"}}}});
        let new = json!({"id": "v2", "runtime": "python312", "envVariables": {"A": "1", "C": "3"},
            "deployment": {"files": {"a.py": {"sha1Sum": "1"}, "b.py": {"sha1Sum": "3"}, "c.py": {"sha1Sum": "4"}}}});
        let at = |changes: Vec<Change>| changes.into_iter().map(|change| change.0).collect::<Vec<_>>();
        assert_eq!(at(settings(&old, &new)), ["envVariables.B", "envVariables.C", "runtime"]);
        assert_eq!(at(files(&old, &new)), ["b.py", "c.py"]);
        assert_eq!(at(settings(&old, &old)), Vec::<String>::new());
    }
}
