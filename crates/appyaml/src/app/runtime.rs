//! `runtime`, and what depends on it: `api_version`, `threadsafe`, `libraries`, and what marks the flexible environment (rows Y4, Y25).

use model::runtime::{Language, Runtime};

use super::{RawApp, libraries};
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, Spanned, near};

/// Names to suggest for a runtime that is none.
const EXAMPLES: [&str; 16] = [
    "python27",
    "python39",
    "python310",
    "python311",
    "python312",
    "python313",
    "nodejs20",
    "nodejs22",
    "go122",
    "go123",
    "java17",
    "java21",
    "php83",
    "php84",
    "ruby33",
    "ruby34",
];

/// Runtimes that were shut down.
const RETIRED: [(&str, &str); 11] = [
    ("python", "python27"),
    ("python25", "python27"),
    ("python-compat", "python27"),
    ("go", "go122"),
    ("go1", "go122"),
    ("php", "php83"),
    ("php5", "php83"),
    ("php55", "php83"),
    ("java", "java21"),
    ("java7", "java21"),
    ("java8", "java21"),
];

/// Reports a file of the flexible environment, once and with nothing else; `true` if it is one.
pub(super) fn refuse_flexible(app: &Fields<'_>, report: &mut Report) -> bool {
    let quiet = &mut Report::default();
    let env = app.text("env", quiet).filter(|env| matches!(env.value.as_str(), "flex" | "flexible" | "2"));
    let vm = app.boolean("vm", quiet).filter(|vm| vm.value);
    let runtime = app.text("runtime", quiet).filter(|runtime| matches!(runtime.value.as_str(), "custom" | "vm"));
    let mark = env.and(app.key("env")).or(vm.and(app.key("vm"))).or(runtime.and(app.key("runtime"))).or_else(|| flexible_key(app));
    let Some(mark) = mark else { return false };
    let value = app.text(&mark.text, quiet).map(|found| found.value.to_lowercase()).unwrap_or_default();
    let message = if value.is_empty() {
        format!("this file is for the flexible environment: only it has `{}`", mark.text)
    } else {
        format!("this file is for the flexible environment (`{}: {value}`)", mark.text)
    };
    let help = "Enginehouse runs standard environment apps, such as `runtime: python312`";
    report.push(Diagnostic::new(&code::A0201, mark.span, message).help(help));
    true
}

/// A key that only the flexible environment knows, in a file whose runtime is not one of the standard environment.
fn flexible_key<'n>(app: &Fields<'n>) -> Option<&'n crate::yaml::Key> {
    let runtime = app.text("runtime", &mut Report::default());
    let standard = runtime.is_some_and(|runtime| Runtime::parse(&runtime.value).is_some());
    let keys = ["runtime_config", "resources", "beta_settings", "readiness_check", "liveness_check", "health_check", "vm_settings"];
    (!standard && app.key("env").is_none()).then(|| keys.iter().find_map(|key| app.key(key))).flatten()
}

/// Reads `env` and `runtime`.
pub(super) fn read(app: &Fields<'_>, report: &mut Report) -> Option<Spanned<Runtime>> {
    app.word("env", &[("standard", ()), ("1", ()), ("flex", ()), ("flexible", ()), ("2", ())], report);
    app.boolean("vm", report);
    app.require("runtime", "for example `runtime: python312`", report);
    let name = app.text("runtime", report)?;
    let text = name.value.as_str();
    let retired = RETIRED.iter().find(|(old, _)| *old == text).map(|(_, new)| *new);
    let old_go = text.strip_prefix("go1.").and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|minor| minor < 11);
    if let Some(new) = retired.or(old_go.then_some("go122")) {
        let message = format!("the runtime `{text}` was retired");
        let help = format!("move the app to `{new}` or newer");
        report.push(Diagnostic::new(&code::A0203, name.span, message).help(help));
        return None;
    }
    if let Some(runtime) = Runtime::parse(text) {
        return Some(Spanned { value: runtime, span: name.span });
    }
    let help = if Runtime::parse(&text.to_lowercase()).is_some() {
        format!("did you mean `{}`?", text.to_lowercase())
    } else {
        match near(text, EXAMPLES) {
            Some(best) => format!("did you mean `{best}`?"),
            None if matches!(text, "nodejs" | "ruby") => {
                format!("write the version too, such as `{}`", if text == "ruby" { "ruby33" } else { "nodejs22" })
            }
            None => "the runtimes are python27, python3x, nodejsNN, goNNN, javaNN, phpNN and rubyNN".to_owned(),
        }
    };
    report.push(Diagnostic::new(&code::A0202, name.span, format!("there is no runtime `{text}`")).help(help));
    None
}

/// Checks what the runtime asks for and what it does not have.
pub(super) fn check(raw: &RawApp, app: &Fields<'_>, report: &mut Report) {
    let Some(runtime) = &raw.runtime else { return };
    if runtime.value.language() == Language::Python27 {
        check_python27(app, report);
        return;
    }
    let name = runtime.value.as_str();
    if let Some(key) = app.key("libraries").filter(|_| app.get("libraries").is_some()) {
        libraries::refuse(key.span, name, report);
    }
    let mut without_effect = |key: &str, help: &str| {
        if let Some(key) = app.key(key).filter(|_| app.get(key).is_some()) {
            let message = format!("`{}` has no effect on {name}", key.text);
            report.push(Diagnostic::new(&code::A0019, key.span, message).help(help));
        }
    };
    without_effect("builtins", "the handlers of builtins are Python 2 code; let the app serve their paths itself");
    if raw.threadsafe.as_ref().is_some_and(|threadsafe| !threadsafe.value) {
        without_effect("threadsafe", "set `max_concurrent_requests: 1` to have one request at a time");
    }
    if runtime.value.language() != Language::Go {
        without_effect("main", "it names the package of a Go app");
    }
}

fn check_python27(app: &Fields<'_>, report: &mut Report) {
    app.require("api_version", "write `api_version: 1`", report);
    if let Some(found) = app.text("api_version", report).filter(|found| found.value != "1") {
        let message = format!("python27 has the API version `1`, not `{}`", found.value);
        report.push(Diagnostic::new(&code::A0210, found.span, message).help("write `api_version: 1`"));
    }
    let help = "write `threadsafe: true` if every script is a WSGI application, `threadsafe: false` otherwise";
    app.require("threadsafe", help, report);
    if let Some(main) = app.key("main").filter(|_| app.get("main").is_some()) {
        let message = "`main` has no effect on python27";
        report.push(Diagnostic::new(&code::A0019, main.span, message).help("it names the package of a Go app"));
    }
}
