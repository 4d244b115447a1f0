//! `libraries:` of python27 (row Y23): which package of the index stands for which library of the first generation.

use std::collections::BTreeSet;

use model::config::Library;

use super::imports;

/// How a library is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// This package, at the library's own version.
    Same(&'static str),
    /// This requirement, because the exact version needs a compiler or is not in the index.
    Like(&'static str),
    /// It is part of the interpreter, or of no use outside production.
    Nothing,
    /// Only the SDK carries it, in this folder of its `lib`.
    Sdk(&'static str),
}

struct Entry {
    name: &'static str,
    /// What the app imports.
    module: &'static str,
    source: Source,
    /// What it imports itself.
    needs: &'static [&'static str],
    /// On Python 3, where the first generation's versions do not run.
    modern: &'static str,
}

const fn entry(name: &'static str, module: &'static str, source: Source, needs: &'static [&'static str], modern: &'static str) -> Entry {
    Entry { name, module, source, needs, modern }
}

use Source::{Like, Nothing, Same, Sdk};

/// The SDK's table (google/appengine/api/appinfo.py of 1.9.88), each version looked up in the index.
const TABLE: [Entry; 33] = [
    entry("PIL", "PIL", Like("Pillow<7"), &[], "Pillow"),
    entry("PyAMF", "pyamf", Same("PyAMF"), &[], ""),
    entry("MySQLdb", "MySQLdb", Like("mysqlclient==1.4.4"), &[], "mysqlclient"),
    entry("clearsilver", "neo_cgi", Nothing, &[], ""),
    entry("click", "click", Same("click"), &[], "click"),
    entry("crcmod", "crcmod", Same("crcmod"), &[], "crcmod"),
    entry("django", "django", Same("Django"), &["pytz"], "Django"),
    entry("endpoints", "endpoints", Sdk("endpoints-1.0"), &["protorpc"], ""),
    entry("enum", "enum", Like("enum34"), &[], ""),
    entry("flask", "flask", Same("Flask"), &["werkzeug", "jinja2", "click", "itsdangerous"], "Flask"),
    entry("futures", "concurrent", Same("futures"), &[], ""),
    entry("grpcio", "grpc", Like("grpcio<1.40"), &["six", "enum", "futures"], "grpcio"),
    entry("itsdangerous", "itsdangerous", Same("itsdangerous"), &[], "itsdangerous"),
    entry("jinja2", "jinja2", Same("Jinja2"), &["markupsafe"], "Jinja2"),
    entry("lxml", "lxml", Like("lxml>=3.7.3,<5"), &[], "lxml"),
    entry("markupsafe", "markupsafe", Same("MarkupSafe"), &[], "MarkupSafe"),
    entry("matplotlib", "matplotlib", Like("matplotlib<3"), &["numpy"], "matplotlib"),
    entry("mysqlclient", "MySQLdb", Same("mysqlclient"), &[], "mysqlclient"),
    entry("numpy", "numpy", Like("numpy<1.17"), &[], "numpy"),
    entry("protobuf", "google.protobuf", Like("protobuf<3.18"), &["six"], "protobuf"),
    entry("protorpc", "protorpc", Sdk("protorpc-1.0"), &["webapp2"], ""),
    entry("psycopg2", "psycopg2", Like("psycopg2-binary>=2.8.3,<2.9"), &[], "psycopg2-binary"),
    entry("pycrypto", "Crypto", Like("pycryptodome<3.22"), &[], "pycryptodome"),
    entry("pytz", "pytz", Same("pytz"), &[], "pytz"),
    entry("setuptools", "pkg_resources", Nothing, &[], "setuptools"),
    entry("six", "six", Same("six"), &[], "six"),
    entry("ssl", "ssl", Nothing, &[], ""),
    entry("ujson", "ujson", Same("ujson"), &[], "ujson"),
    entry("webapp2", "webapp2", Same("webapp2"), &["webob"], "webapp2==3.0.0b1"),
    entry("webapp2", "webapp2_extras", Same("webapp2"), &["webob"], "webapp2==3.0.0b1"),
    entry("webob", "webob", Same("WebOb"), &[], "WebOb"),
    entry("werkzeug", "werkzeug", Same("Werkzeug"), &[], "Werkzeug"),
    entry("yaml", "yaml", Same("PyYAML"), &[], "PyYAML"),
];

/// The versions that are there without being named.
const ALWAYS: [(&str, &str); 7] = [
    ("protorpc", "1.0"),
    ("pytz", "2017.3"),
    ("six", "1.12.0"),
    ("webapp2", "2.3"),
    ("webob", "1.1.1"),
    ("werkzeug", "0.11.10"),
    ("yaml", "3.10"),
];

/// Django's versions are known by their first two numbers; the last release of each is meant.
const DJANGO: [(&str, &str); 6] =
    [("1.2", "1.2.7"), ("1.3", "1.3.7"), ("1.4", "1.4.22"), ("1.5", "1.5.12"), ("1.9", "1.9.13"), ("1.11", "1.11.29")];

/// What an app needs to have installed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Requirements for pip.
    pub(crate) packages: Vec<String>,
    /// Folders of the SDK's `lib`.
    pub(crate) sdk: Vec<&'static str>,
    /// What the reader should know.
    pub(crate) notes: Vec<String>,
}

/// What the libraries that `named` lists (completed with those that are always there) come down to for an app with these imports. One that is
/// always there is installed only if something imports it.
pub(crate) fn needs(named: &[Library], imported: &BTreeSet<String>, python: u32) -> Needs {
    let wanted = wanted(named, imported);
    let mut needs = Needs::default();
    for name in wanted {
        let Some(entry) = TABLE.iter().find(|entry| entry.name == name) else { continue };
        if python >= 3 {
            if !entry.modern.is_empty() {
                needs.packages.push(entry.modern.to_owned());
            }
            continue;
        }
        let version = named.iter().find(|library| library.name == name).map(|library| library.version.as_str());
        let version = version.or_else(|| ALWAYS.iter().find(|(known, _)| *known == name).map(|(_, version)| *version));
        match entry.source {
            Same(package) => needs.packages.push(pinned(package, version)),
            Like(requirement) => {
                needs.notes.push(format!("library {name} {}: `{requirement}` stands in for it", version.unwrap_or_default()));
                needs.packages.push(requirement.to_owned());
            }
            Sdk(folder) => needs.sdk.push(folder),
            Nothing => {}
        }
    }
    if python >= 3 && needs.packages.iter().any(|package| package == "WebOb" || package.starts_with("webapp2")) {
        // WebOb imports cgi, which Python 3.13 has no longer.
        needs.packages.push("legacy-cgi; python_version >= \"3.13\"".into());
    }
    needs
}

fn pinned(package: &str, version: Option<&str>) -> String {
    let Some(version) = version else { return package.to_owned() };
    let version =
        if package == "Django" { DJANGO.iter().find(|(short, _)| *short == version).map_or(version, |(_, full)| full) } else { version };
    format!("{package}=={version}")
}

/// The libraries that are worth installing, with what they need.
fn wanted(named: &[Library], imported: &BTreeSet<String>) -> BTreeSet<&'static str> {
    let is_default = |library: &Library| ALWAYS.contains(&(library.name.as_str(), library.version.as_str()));
    let on_purpose = |entry: &Entry| named.iter().any(|library| library.name == entry.name && !is_default(library));
    let there = |entry: &Entry| named.iter().any(|l| l.name == entry.name) || ALWAYS.iter().any(|(name, _)| *name == entry.name);
    let used = |entry: &Entry| there(entry) && imports::uses(imported, entry.module);
    let mut todo: Vec<&'static str> = TABLE.iter().filter(|e| on_purpose(e) || used(e)).map(|entry| entry.name).collect();
    let mut all = BTreeSet::new();
    while let Some(name) = todo.pop() {
        if all.insert(name) {
            todo.extend(TABLE.iter().filter(|entry| entry.name == name).flat_map(|entry| entry.needs));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, version: &str) -> Library {
        Library { name: name.into(), version: version.into() }
    }

    fn imported(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn y23_an_app_that_imports_nothing_needs_nothing() {
        let always: Vec<_> = ALWAYS.iter().map(|(name, version)| library(name, version)).collect();
        assert_eq!(needs(&always, &imported(&["os", "json"]), 2), Needs::default());
    }

    #[test]
    fn y23_imported_libraries_bring_what_they_need() {
        assert_eq!(needs(&[], &imported(&["webapp2"]), 2).packages, ["webapp2==2.3", "WebOb==1.1.1"]);
        let named = [library("jinja2", "2.6"), library("webapp2", "2.5.2"), library("ssl", "2.7.11")];
        assert_eq!(
            needs(&named, &imported(&["webapp2_extras.jinja2"]), 2).packages,
            ["Jinja2==2.6", "MarkupSafe", "webapp2==2.5.2", "WebOb==1.1.1"]
        );
    }

    #[test]
    fn y23_django_means_the_last_release() {
        assert_eq!(needs(&[library("django", "1.11")], &imported(&[]), 2).packages, ["Django==1.11.29", "pytz==2017.3"]);
    }

    #[test]
    fn y23_python_3_takes_versions_that_run_there() {
        let packages = needs(&[], &imported(&["webapp2"]), 3).packages;
        assert_eq!(packages, ["webapp2==3.0.0b1", "WebOb", "legacy-cgi; python_version >= \"3.13\""]);
    }

    #[test]
    fn y23_protorpc_comes_from_the_sdk() {
        let found = needs(&[], &imported(&["protorpc.messages"]), 2);
        assert_eq!(found.sdk, ["protorpc-1.0"]);
    }
}
