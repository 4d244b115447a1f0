//! `libraries:` of python27 (row Y23): the names and versions that the SDK 1.9.88 knew, `latest`, and what each needs besides.

use model::config::Library;

use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, Spanned, near};
use crate::source::Span;
use crate::yaml::Node;

struct Known {
    name: &'static str,
    versions: &'static [&'static str],
    latest: &'static str,
    /// The version that is there without being asked for.
    always: Option<&'static str>,
}

const fn known(name: &'static str, versions: &'static [&'static str], latest: &'static str) -> Known {
    Known { name, versions, latest, always: None }
}

const fn always(name: &'static str, versions: &'static [&'static str], latest: &'static str, always: &'static str) -> Known {
    Known { name, versions, latest, always: Some(always) }
}

/// Every library of python27, by name without regard to case.
const LIBRARIES: [Known; 32] = [
    known("clearsilver", &["0.10.5"], "0.10.5"),
    known("click", &["6.6"], "6.6"),
    known("crcmod", &["1.7"], "1.7"),
    known("django", &["1.2", "1.3", "1.4", "1.5", "1.9", "1.11"], "1.4"),
    known("endpoints", &["1.0"], "1.0"),
    known("enum", &["0.9.23"], "0.9.23"),
    known("flask", &["0.12"], "0.12"),
    known("futures", &["3.0.5"], "3.0.5"),
    known("grpcio", &["1.0.0"], "1.0.0"),
    known("itsdangerous", &["0.24"], "0.24"),
    known("jinja2", &["2.6"], "2.6"),
    known("lxml", &["2.3", "2.3.5", "3.7.3"], "3.7.3"),
    known("markupsafe", &["0.15", "0.23"], "0.15"),
    known("matplotlib", &["1.2.0"], "1.2.0"),
    known("mysqlclient", &["1.4.4"], "1.4.4"),
    known("MySQLdb", &["1.2.4b4", "1.2.4", "1.2.5"], "1.2.5"),
    known("numpy", &["1.6.1"], "1.6.1"),
    known("PIL", &["1.1.7"], "1.1.7"),
    known("protobuf", &["3.0.0"], "3.0.0"),
    always("protorpc", &["1.0"], "1.0", "1.0"),
    known("psycopg2", &["2.8.3"], "2.8.3"),
    known("PyAMF", &["0.6.1", "0.7.2"], "0.6.1"),
    known("pycrypto", &["2.3", "2.6", "2.6.1"], "2.6"),
    always("pytz", &["2016.4", "2017.2", "2017.3"], "2017.3", "2017.3"),
    known("setuptools", &["0.6c11", "36.6.0"], "36.6.0"),
    always("six", &["1.9.0", "1.12.0"], "1.12.0", "1.12.0"),
    known("ssl", &["2.7", "2.7.11", "2.7.16"], "2.7.11"),
    known("ujson", &["1.35"], "1.35"),
    always("webapp2", &["2.3", "2.5.1", "2.5.2"], "2.5.2", "2.3"),
    always("webob", &["1.1.1", "1.2.3"], "1.2.3", "1.1.1"),
    always("werkzeug", &["0.11.10"], "0.11.10", "0.11.10"),
    always("yaml", &["3.10"], "3.10", "3.10"),
];

/// What a library needs: the SDK adds these when the app names the first one.
const NEEDS: [(&str, &[&str]); 6] = [
    ("django 1.11", &["pytz 2017.2"]),
    ("flask", &["click 6.6", "itsdangerous 0.24", "jinja2 2.6", "werkzeug 0.11.10"]),
    ("jinja2", &["markupsafe 0.15", "setuptools 0.6c11"]),
    ("matplotlib", &["numpy 1.6.1"]),
    ("protobuf", &["six 1.12.0"]),
    ("grpcio", &["protobuf 3.0.0", "enum 0.9.23", "futures 3.0.5", "six 1.12.0", "setuptools 36.6.0"]),
];

fn find(name: &str) -> Option<&'static Known> {
    LIBRARIES.iter().find(|known| known.name == name)
}

/// Reads the list: exact versions, each name once.
pub(super) fn read(items: &[Node], report: &mut Report) -> Vec<Spanned<Library>> {
    let mut libraries: Vec<Spanned<Library>> = Vec::new();
    for item in items {
        let Some(library) = read_one(item, report) else { continue };
        if let Some(first) = libraries.iter().find(|other| other.value.name == library.value.name) {
            let message = format!("the library `{}` is named twice", library.value.name);
            report.push(Diagnostic::new(&code::A0408, library.span, message).related(first.span, "the first time"));
            continue;
        }
        libraries.push(library);
    }
    libraries
}

fn read_one(item: &Node, report: &mut Report) -> Option<Spanned<Library>> {
    let fields = Fields::open(item, "a library", &["name", "version"], report)?;
    fields.require("name", "for example `name: webapp2`", report);
    fields.require("version", "for example `version: latest`", report);
    let name = fields.text("name", report)?;
    let Some(known) = find(&name.value) else {
        let help = near(&name.value, LIBRARIES.iter().map(|known| known.name)).map_or_else(
            || "put libraries of your own into a folder of the app and call `vendor.add` in appengine_config.py".to_owned(),
            |best| format!("did you mean `{best}`?"),
        );
        report.push(Diagnostic::new(&code::A0406, name.span, format!("python27 has no library `{}`", name.value)).help(help));
        return None;
    };
    let version = fields.text("version", report)?;
    let exact = exact_version(known, &version, report)?;
    Some(Spanned { value: Library { name: name.value, version: exact }, span: name.span })
}

fn exact_version(known: &Known, version: &Spanned<String>, report: &mut Report) -> Option<String> {
    match exact(known, &version.value) {
        Ok(version) => Some(version.to_owned()),
        Err((message, help)) => {
            report.push(Diagnostic::new(&code::A0407, version.span, message).help(help));
            None
        }
    }
}

/// The version that `written` stands for, or what is wrong with it and how to mend it.
fn exact<'k>(known: &'k Known, written: &str) -> Result<&'k str, (String, String)> {
    if written == "latest" {
        return Ok(known.latest);
    }
    if let Some(version) = known.versions.iter().find(|version| **version == written) {
        return Ok(version);
    }
    let versions: Vec<String> = known.versions.iter().map(|version| format!("\"{version}\"")).collect();
    let message = format!("{} has no version \"{written}\"", known.name);
    Err((message, format!("use {} or \"latest\"", versions.join(", "))))
}

/// A library of python27 by name and version, `latest` resolved.
///
/// # Errors
/// A text for people if there is none.
pub(crate) fn checked(name: &str, version: &str) -> Result<Library, String> {
    let known = find(name).ok_or_else(|| format!("python27 has no library `{name}`"))?;
    let exact = exact(known, version).map_err(|(message, help)| format!("{message}; {help}"))?;
    Ok(Library { name: name.to_owned(), version: exact.to_owned() })
}

/// The libraries that the app gets: what it named, what those need, and what is always there.
pub(crate) fn complete(named: Vec<Library>) -> Vec<Library> {
    let mut all = named;
    let mut at = 0;
    while let Some(library) = all.get(at) {
        let exact = format!("{} {}", library.name, library.version);
        let needs = NEEDS.iter().find(|(what, _)| *what == library.name || *what == exact).map_or(&[][..], |(_, needs)| needs);
        for need in needs {
            add(&mut all, need.split_once(' '));
        }
        at += 1;
    }
    for known in &LIBRARIES {
        add(&mut all, known.always.map(|version| (known.name, version)));
    }
    all
}

fn add(all: &mut Vec<Library>, library: Option<(&str, &str)>) {
    let Some((name, version)) = library else { return };
    if !all.iter().any(|other| other.name == name) {
        all.push(Library { name: name.into(), version: version.into() });
    }
}

/// Reports `libraries` of a runtime that has none.
pub(super) fn refuse(key: Span, runtime: &str, report: &mut Report) {
    let message = format!("`libraries` are for python27 only, not for {runtime}");
    report.push(Diagnostic::new(&code::A0409, key, message).help("name them in requirements.txt instead"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y23_what_a_library_needs_comes_along_but_never_replaces_what_the_app_named() {
        let named = [("flask", "0.12"), ("markupsafe", "0.23"), ("webapp2", "2.5.2")]
            .map(|(name, version)| Library { name: name.into(), version: version.into() })
            .to_vec();
        let all: Vec<String> = complete(named).iter().map(|library| format!("{}={}", library.name, library.version)).collect();
        expect_test::expect![[r#"
            "flask=0.12 markupsafe=0.23 webapp2=2.5.2 click=6.6 itsdangerous=0.24 jinja2=2.6 werkzeug=0.11.10 setuptools=0.6c11 protorpc=1.0 pytz=2017.3 six=1.12.0 webob=1.1.1 yaml=3.10"
        "#]]
        .assert_debug_eq(&all.join(" "));
    }

    #[test]
    fn y23_latest_is_one_of_the_versions() {
        for known in &LIBRARIES {
            assert!(known.versions.contains(&known.latest), "{}", known.name);
            assert!(known.always.is_none_or(|version| known.versions.contains(&version)), "{}", known.name);
        }
    }
}
