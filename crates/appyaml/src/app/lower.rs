//! As written → what the version *is*: every default filled in, everything that depends on the runtime decided.

use std::collections::BTreeMap;

use model::config::{ErrorPage, SkipFiles, VersionConfig};
use model::handler::{Handler, HandlerKind, Script};
use model::ids::{ServiceId, VersionId, VersionKey};
use model::pattern::Pattern;
use model::runtime::{Language, Runtime};
use model::scaling::{Manual, Scaling};
use model::time::Expiration;

use super::handlers::{self, RawHandler, Setting};
use super::merge::{self, Includes, Merged};
use super::{RawApp, Written, libraries, scaling, shadow};
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::source::Sources;

/// More handlers than this are refused by Google's App Engine.
const MANY_HANDLERS: usize = 100;

/// The version of a service that names none.
pub(crate) const DEFAULT_VERSION: &str = "dev";

impl RawApp {
    /// Merges includes and builtins in and fills every default. `None` if the runtime or the names are unknown.
    pub(crate) fn resolve(
        self,
        includes: &mut dyn Includes,
        env: &BTreeMap<String, String>,
        sources: &mut Sources,
        report: &mut Report,
    ) -> Option<VersionConfig> {
        report.partial = false;
        let merged = merge::merge(&self, includes, sources, report);
        report.partial = self.partial;
        let config = self.lower(merged, env, sources, report);
        report.partial = false;
        config
    }

    fn lower(self, merged: Merged, env: &BTreeMap<String, String>, sources: &Sources, report: &mut Report) -> Option<VersionConfig> {
        let key = self.key(report);
        let scaling = self.scaling(&merged);
        let block = self.scaling.as_ref().map(|found| found.span);
        let class = scaling::paired(self.class.clone(), &scaling, block, report);
        let runtime = self.runtime.as_ref()?.value.clone();
        let handlers = self.handlers(&merged.handlers, &runtime, sources, report);
        let python27 = runtime.language() == Language::Python27;
        let first_generation = runtime.is_first_generation();
        let skip_files = merged.skip_files.map_or_else(SkipFiles::default, SkipFiles);
        Some(VersionConfig {
            key: key?,
            application: self.application.map(|found| found.value),
            threadsafe: !python27 || self.threadsafe.is_some_and(|found| found.value),
            entrypoint: self.entrypoint,
            main: self.main,
            env: merged.env.into_iter().chain(env.iter().map(|(k, v)| (k.clone(), v.clone()))).collect(),
            handlers,
            error_pages: self
                .error_pages
                .into_iter()
                .map(|page| ErrorPage { code: page.code, file: page.file.value, mime_type: page.mime_type })
                .collect(),
            inbound: self.inbound,
            scaling,
            class,
            libraries: if python27 {
                libraries::complete(self.libraries.into_iter().map(|found| found.value).collect())
            } else {
                Vec::new()
            },
            skip_files,
            default_expiration: self.default_expiration.unwrap_or(Expiration::DEFAULT),
            auto_id_policy: self.auto_id_policy,
            vpc_connector: self.vpc_connector,
            app_engine_apis: self.app_engine_apis || first_generation,
            builtins: merged.builtins,
            runtime,
        })
    }

    fn key(&self, report: &mut Report) -> Option<VersionKey> {
        let service = self.service.as_ref().map_or_else(ServiceId::default_service, |found| found.value.clone());
        let version = match &self.version {
            Some(found) => found.value.clone(),
            None => DEFAULT_VERSION.parse::<VersionId>().ok()?,
        };
        match VersionKey::new(service, version) {
            Ok(key) => Some(key),
            Err(error) => {
                let (service, version) = (self.service.as_ref().map(|found| found.span), self.version.as_ref().map(|found| found.span));
                let mut diagnostic = Diagnostic::new(&code::A0207, version.or(service).unwrap_or(self.span), error.0);
                if let (Some(service), Some(_)) = (service, version) {
                    diagnostic = diagnostic.related(service, "the service");
                }
                report.push(diagnostic);
                None
            }
        }
    }

    /// The scaling, with the include files' `manual_scaling.instances` taken in: the largest number counts.
    fn scaling(&self, merged: &Merged) -> Scaling {
        match (self.scaling.as_ref().map(|found| &found.value), &merged.instances) {
            (Some(Scaling::Manual(own)), Some(included)) => Scaling::Manual(Manual { instances: own.instances.max(included.value) }),
            (None, Some(included)) => Scaling::Manual(Manual { instances: included.value }),
            (Some(own), _) => own.clone(),
            (None, None) => Scaling::default(),
        }
    }

    fn handlers(&self, raw: &[RawHandler], runtime: &Runtime, sources: &Sources, report: &mut Report) -> Vec<Handler> {
        let python27 = runtime.language() == Language::Python27;
        if raw.is_empty() && python27 {
            match self.handlers {
                Written::Present => {}
                Written::Empty(key) => {
                    report.push_missing(Diagnostic::new(&code::A0118, key, "this app has no handlers: every request gets 404"));
                }
                Written::Absent => {
                    let message = "app.yaml needs `handlers` for python27";
                    let help = "for example `handlers:` with an item `- url: /.*` and `script: main.app`";
                    report.push_missing(Diagnostic::new(&code::A0013, self.span, message).help(help));
                }
            }
        }
        if let Some(extra) = raw.get(MANY_HANDLERS) {
            let message = format!("{} handlers; Google's App Engine takes {MANY_HANDLERS}", raw.len());
            report.push(Diagnostic::new(&code::A0117, extra.span(), message).label("the 101st"));
        }
        let threadsafe = self.threadsafe.as_ref().filter(|found| found.value).map(|found| found.span);
        let setting = Setting { runtime, threadsafe };
        let lowered = raw.iter().map(|raw| (raw, handlers::lower(raw, setting, sources, report)));
        let (raw, mut handlers): (Vec<&RawHandler>, Vec<Handler>) = lowered.filter_map(|(raw, lowered)| Some((raw, lowered?))).unzip();
        for (late, early) in shadow::hidden(&handlers).into_iter().filter(|(late, _)| raw[*late].builtin.is_none()) {
            let message = format!("`{}` is never reached", handlers[late].written);
            let label = match raw[early].builtin {
                Some(name) => format!("the builtin `{name}` takes its requests"),
                None => "this one takes its requests".to_owned(),
            };
            let diagnostic = Diagnostic::new(&code::A0112, raw[late].span(), message).related(raw[early].span(), label);
            report.push(diagnostic.help("handlers are tried from top to bottom: move it up"));
        }
        if !python27 {
            handlers.push(entry_point());
        }
        handlers
    }
}

/// On newer runtimes whatever no handler takes goes to the app's entry point.
fn entry_point() -> Handler {
    Handler::new(Pattern::everything(), HandlerKind::Script(Script::Auto))
}
