//! `enginehouse check`: every mistake of every configuration file at once.

use std::process::ExitCode;

use appyaml::{Diagnostic, Loaded, Severity, load_app, render};

use crate::cli::{Check, LogFormat};
use crate::ui::{BOLD, GREEN, Ui};

/// Runs the command.
pub(crate) fn check(ui: &Ui, asked: &Check) -> ExitCode {
    let loaded = load_app(&asked.target.paths, &appyaml::Options::default());
    match asked.format {
        LogFormat::Json => ui.data(&format!("{}\n", render::json(&loaded.diagnostics, &loaded.sources))),
        LogFormat::Text => {
            ui.data(&render::text(&loaded.diagnostics, &loaded.sources, true));
            ui.status(&summary(&loaded));
        }
    }
    if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn summary(loaded: &Loaded) -> String {
    let files = count(loaded.files_read.len(), "file");
    if loaded.diagnostics.is_empty() {
        return format!("{GREEN}{files} checked, no mistakes{GREEN:#}");
    }
    format!("{BOLD}{files} checked, {}{BOLD:#}; `enginehouse explain CODE` tells more", tally(&loaded.diagnostics))
}

/// `2 errors, 1 warning`
pub(crate) fn tally(diagnostics: &[Diagnostic]) -> String {
    let of = |severity| diagnostics.iter().filter(|one| one.severity() == severity).count();
    match (of(Severity::Error), of(Severity::Warning)) {
        (errors, 0) => count(errors, "error"),
        (0, warnings) => count(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

/// `1 file`, `2 files`
pub(crate) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
