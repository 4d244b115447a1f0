//! Includes and builtins (rows Y6, Y7): depth first, for each file its own handlers, then its builtins, then its includes. What they add goes
//! before app.yaml's handlers, except for `position: tail`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use model::config::SkipFiles;
use model::pattern::Pattern;
use model::runtime::Language;

use super::builtins::{self, Builtin};
use super::handlers::RawHandler;
use super::{INCLUDE_KEYS, RawApp, Shared, read_shared, scaling};
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, Spanned, near, one_of};
use crate::source::{FileId, Sources, Span};
use crate::yaml;

/// Most files that one app includes.
const MAX_INCLUDES: usize = 200;

/// Where include files come from.
pub(crate) trait Includes {
    /// Finds the file that `includer` names as `written`, and adds its text to `sources`.
    fn find(&mut self, written: &Spanned<String>, includer: FileId, sources: &mut Sources, report: &mut Report) -> FoundInclude;
}

/// The answer of [`Includes::find`].
pub(crate) enum FoundInclude {
    /// Its text, and a path that is the same however the file is named.
    File(FileId, PathBuf),
    /// Nowhere.
    Missing,
    /// It is there but cannot be read; reported already.
    Refused,
}

/// app.yaml's shared part with everything merged in.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) handlers: Vec<RawHandler>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) skip_files: Option<Vec<Pattern>>,
    /// The largest `manual_scaling.instances` of the include files.
    pub(super) instances: Option<Spanned<u32>>,
    pub(super) builtins: BTreeSet<String>,
}

/// What the traversal gathers.
struct Gathering<'a> {
    includes: &'a mut dyn Includes,
    sources: &'a mut Sources,
    report: &'a mut Report,
    python27: bool,
    handlers: Vec<RawHandler>,
    env: Vec<(String, String)>,
    skip_files: Vec<Pattern>,
    instances: Option<Spanned<u32>>,
    on: BTreeSet<&'static str>,
    off: BTreeSet<&'static str>,
    taken: BTreeSet<PathBuf>,
}

/// Follows all builtins and includes of app.yaml.
pub(super) fn merge(raw: &RawApp, includes: &mut dyn Includes, sources: &mut Sources, report: &mut Report) -> Merged {
    let python27 = raw.runtime.as_ref().is_some_and(|runtime| runtime.value.language() == Language::Python27);
    let mut all = Gathering {
        includes,
        sources,
        report,
        python27,
        handlers: Vec::new(),
        env: Vec::new(),
        skip_files: Vec::new(),
        instances: None,
        on: BTreeSet::new(),
        off: BTreeSet::new(),
        taken: BTreeSet::new(),
    };
    all.follow(&raw.shared, raw.file);
    let (tail, mut handlers): (Vec<_>, Vec<_>) = all.handlers.into_iter().partition(|handler| handler.tail);
    handlers.extend(raw.shared.handlers.iter().cloned());
    handlers.extend(tail);
    // Measured: an include file's variables win over app.yaml's, a later file's over an earlier one's.
    let env = raw.shared.env.iter().cloned().chain(all.env).collect();
    let skip_files = match &raw.shared.skip_files {
        Some(own) => Some(own.iter().cloned().chain(all.skip_files).collect()),
        None if all.skip_files.is_empty() => None,
        None => Some(SkipFiles::default().0.into_iter().chain(all.skip_files).collect()),
    };
    Merged { handlers, env, skip_files, instances: all.instances, builtins: all.on.into_iter().map(str::to_owned).collect() }
}

impl Gathering<'_> {
    fn follow(&mut self, shared: &Shared, file: FileId) {
        // A switch that is off counts before anything of its file is included.
        self.off.extend(shared.builtins.iter().filter(|switch| !switch.value.on).map(|switch| switch.value.name));
        for switch in shared.builtins.iter().filter(|switch| switch.value.on) {
            if let Some(builtin) = builtins::BUILTINS.iter().find(|builtin| builtin.name == switch.value.name) {
                self.switch_on(builtin, switch.span);
            }
        }
        for include in &shared.includes {
            match builtins::of_include(&include.value) {
                Some(builtin) => self.switch_on(builtin, include.span),
                None => self.include(include, file),
            }
        }
    }

    fn switch_on(&mut self, builtin: &'static Builtin, span: Span) {
        if !self.python27 || self.off.contains(builtin.name) || !self.on.insert(builtin.name) {
            return;
        }
        let handler =
            builtin.handler.and_then(|(url, script, admin)| RawHandler::of_builtin(builtin.name, url, script, admin, builtin.tail, span));
        self.handlers.extend(handler);
    }

    fn include(&mut self, written: &Spanned<String>, includer: FileId) {
        if self.taken.len() >= MAX_INCLUDES {
            let message = format!("more than {MAX_INCLUDES} included files");
            self.report.push(Diagnostic::new(&code::A0003, written.span, message));
            return;
        }
        match self.includes.find(written, includer, self.sources, self.report) {
            FoundInclude::File(file, path) => {
                if self.taken.insert(path) {
                    self.read(file);
                }
            }
            FoundInclude::Refused => {}
            FoundInclude::Missing => {
                let message = format!("the included file `{}` cannot be found", written.value);
                let help = "paths are tried from the current folder, from the app folder, and from the folder of this file; of a folder, its include.yaml is read";
                self.report.push(Diagnostic::new(&code::A0401, written.span, message).help(help));
            }
        }
    }

    /// Takes in one include file. An empty one is harmless.
    fn read(&mut self, file: FileId) {
        let tree = yaml::parse(file, self.sources, self.report);
        let empty = tree.root.as_ref().is_none_or(crate::fields::is_null);
        if empty {
            return;
        }
        self.report.partial = tree.partial;
        let shared = self.read_document(&tree, file);
        self.report.partial = false;
        let Some(shared) = shared else { return };
        self.handlers.extend(shared.handlers.iter().cloned());
        self.env.extend(shared.env.iter().cloned());
        self.skip_files.extend(shared.skip_files.iter().flatten().cloned());
        self.follow(&shared, file);
    }

    fn read_document(&mut self, tree: &yaml::Tree, file: FileId) -> Option<Shared> {
        let (shared, instances) = read_document(tree, file, self.report)?;
        if let Some(instances) = instances
            && self.instances.as_ref().is_none_or(|other| instances.value > other.value)
        {
            self.instances = Some(instances);
        }
        Some(shared)
    }
}

/// Reads an include file without following what it includes.
fn read_document(tree: &yaml::Tree, file: FileId, report: &mut Report) -> Option<(Shared, Option<Spanned<u32>>)> {
    let root = super::document(tree, file, report)?;
    let fields = Fields::open_any(root, "an include file", report)?;
    for (key, _) in fields.entries().iter().filter(|(key, _)| !INCLUDE_KEYS.contains(&key.text.as_str())) {
        let help = match near(&key.text, INCLUDE_KEYS) {
            Some(best) => format!("did you mean `{best}`?"),
            None if super::KNOWN.contains(&key.text.as_str()) => "move it to app.yaml".to_owned(),
            None => {
                format!("it may have {}", one_of(INCLUDE_KEYS.into_iter().filter(|key| !key.contains("vm") && !key.contains("beta"))))
            }
        };
        let message = format!("an include file has no key `{}`", key.text);
        report.push(Diagnostic::new(&code::A0402, key.span, message).help(help));
    }
    let instances = scaling::of_include(&fields, report);
    Some((read_shared(&fields, report), instances))
}

/// Checks an include file by itself.
pub(crate) fn check_include(file: FileId, sources: &Sources, report: &mut Report) {
    let tree = yaml::parse(file, sources, report);
    report.partial = tree.partial;
    let empty = tree.root.as_ref().is_none_or(crate::fields::is_null);
    if !empty {
        read_document(&tree, file, report);
    }
    report.partial = false;
}
