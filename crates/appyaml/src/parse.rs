//! One text at a time, from memory: what tests and tools use. No file is opened.

use std::collections::BTreeMap;

use model::config::VersionConfig;
use model::cron::CronJob;
use model::dispatch::DispatchRule;
use model::firewall::Firewall;
use model::index::Index;
use model::queue::Queues;

use crate::app;
use crate::companion;
use crate::diagnostic::{Diagnostic, Report};
use crate::disk::MemoryIncludes;
use crate::source::Sources;

/// What a text says.
#[derive(Debug)]
pub struct Parsed<T> {
    /// The value; `None` if too little is known, and not to be used if there are errors.
    pub value: Option<T>,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that `diagnostics` point into.
    pub sources: Sources,
}

impl<T> Parsed<T> {
    /// The value, if there is no error.
    pub fn ok(self) -> Option<T> {
        if self.is_ok() { self.value } else { None }
    }

    /// Whether there is no error; warnings may be.
    pub fn is_ok(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// app.yaml, with the files that it may include by their paths relative to the app folder.
pub fn app_yaml(name: &str, text: &str, includes: &BTreeMap<String, String>) -> Parsed<VersionConfig> {
    let mut sources = Sources::default();
    let mut report = Report::default();
    let file = sources.add(name, name, text.strip_prefix('\u{feff}').unwrap_or(text));
    let value = app::read(file, &sources, &mut report)
        .and_then(|raw| raw.resolve(&mut MemoryIncludes(includes), &BTreeMap::new(), &mut sources, &mut report));
    Parsed { value, diagnostics: report.finish(), sources }
}

fn one<T>(name: &str, text: &str, read: impl FnOnce(crate::source::FileId, &Sources, &mut Report) -> T) -> Parsed<T> {
    let mut sources = Sources::default();
    let mut report = Report::default();
    let file = sources.add(name, name, text.strip_prefix('\u{feff}').unwrap_or(text));
    let value = Some(read(file, &sources, &mut report));
    Parsed { value, diagnostics: report.finish(), sources }
}

/// dispatch.yaml; which services exist is not known here.
pub fn dispatch_yaml(name: &str, text: &str) -> Parsed<Vec<DispatchRule>> {
    one(name, text, |file, sources, report| companion::dispatch::read(file, sources, None, report))
}

/// cron.yaml.
pub fn cron_yaml(name: &str, text: &str) -> Parsed<Vec<CronJob>> {
    one(name, text, companion::cron::read)
}

/// queue.yaml.
pub fn queue_yaml(name: &str, text: &str) -> Parsed<Queues> {
    one(name, text, companion::queue::read)
}

/// index.yaml.
pub fn index_yaml(name: &str, text: &str) -> Parsed<Vec<Index>> {
    one(name, text, companion::index::read)
}

/// dos.yaml.
pub fn dos_yaml(name: &str, text: &str) -> Parsed<Firewall> {
    one(name, text, companion::dos::read)
}

/// An include file by itself; the files that it includes in turn are not followed.
pub fn include_yaml(name: &str, text: &str) -> Parsed<()> {
    one(name, text, app::check_include)
}
