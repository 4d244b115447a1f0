//! app.yaml and the files it includes: as written ([`RawApp`]), merged ([`merge`]), and as a version ([`lower`]).

use std::collections::BTreeSet;

use model::config::{AutoIdPolicy, InboundService, Library};
use model::handler::StaticFiles;
use model::ids::{AppId, NameError, ServiceId, VersionId};
use model::pattern::{Anchor, Pattern};
use model::runtime::Runtime;
use model::scaling::{InstanceClass, Scaling};
use model::time::Expiration;

use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{self, Fields, Spanned, malformed};
use crate::scalar;
use crate::source::{FileId, Sources, Span};
use crate::yaml::{self, Node, Tree, Value};

pub(crate) mod builtins;
pub(crate) mod env;
mod error_pages;
pub(crate) mod handlers;
pub(crate) mod headers;
mod inbound;
pub(crate) mod libraries;
mod lower;
mod merge;
mod runtime;
mod scaling;
mod shadow;

pub(crate) use merge::{FoundInclude, Includes, check_include};

use builtins::Switch;
use error_pages::RawErrorPage;
use handlers::RawHandler;

/// Keys that mean something here.
const KNOWN: [&str; 28] = [
    "api_version",
    "app_engine_apis",
    "application",
    "auto_id_policy",
    "automatic_scaling",
    "basic_scaling",
    "builtins",
    "default_expiration",
    "entrypoint",
    "env",
    "env_variables",
    "error_handlers",
    "handlers",
    "inbound_services",
    "includes",
    "instance_class",
    "libraries",
    "main",
    "manual_scaling",
    "module",
    "project",
    "runtime",
    "service",
    "skip_files",
    "threadsafe",
    "version",
    "vm",
    "vpc_access_connector",
];

/// Keys that App Engine takes and that have nothing to act on here.
const WITHOUT_EFFECT: [&str; 25] = [
    "admin_console",
    "api_config",
    "app_engine_bundled_services",
    "backends",
    "beta_settings",
    "build_env_variables",
    "code_lock",
    "derived_file_type",
    "endpoints_api_service",
    "health_check",
    "liveness_check",
    "network",
    "nobuild_files",
    "pagespeed",
    "readiness_check",
    "resources",
    "runtime_channel",
    "runtime_config",
    "service_account",
    "source_language",
    "standard_websocket",
    "vm_health_check",
    "vm_settings",
    "vpc_access",
    "zones",
];

/// Keys of an include file.
const INCLUDE_KEYS: [&str; 10] = [
    "admin_console",
    "beta_settings",
    "builtins",
    "env_variables",
    "handlers",
    "includes",
    "manual_scaling",
    "skip_files",
    "vm",
    "vm_settings",
];

/// app.yaml as written: what is absent is `None`, every value has its place.
#[derive(Debug)]
pub(crate) struct RawApp {
    pub(crate) file: FileId,
    /// Where the first key is.
    pub(crate) span: Span,
    /// Whether the file broke off with a syntax error.
    partial: bool,
    pub(crate) application: Option<Spanned<AppId>>,
    pub(crate) service: Option<Spanned<ServiceId>>,
    pub(crate) version: Option<Spanned<VersionId>>,
    runtime: Option<Spanned<Runtime>>,
    threadsafe: Option<Spanned<bool>>,
    entrypoint: Option<String>,
    main: Option<String>,
    auto_id_policy: AutoIdPolicy,
    default_expiration: Option<Expiration>,
    inbound: BTreeSet<InboundService>,
    class: Option<Spanned<InstanceClass>>,
    scaling: Option<Spanned<Scaling>>,
    libraries: Vec<Spanned<Library>>,
    vpc_connector: Option<String>,
    app_engine_apis: bool,
    pub(crate) error_pages: Vec<RawErrorPage>,
    handlers: Written,
    /// Whether it is known which service the file describes.
    pub(crate) named: bool,
    shared: Shared,
}

impl RawApp {
    /// Puts another runtime in the place of the one that the file names.
    pub(crate) fn run_on(&mut self, runtime: Runtime) {
        let span = self.runtime.as_ref().map_or(self.span, |found| found.span);
        self.runtime = Some(Spanned { value: runtime, span });
    }

    /// The static handlers that the file itself has, and where they are written.
    pub(crate) fn static_handlers(&self) -> impl Iterator<Item = (&StaticFiles, Span)> {
        self.shared.handlers.iter().filter_map(|handler| Some((handler.files()?, handler.span())))
    }
}

/// Whether a list is there, whatever became of its items.
#[derive(Debug, Clone, Copy)]
enum Written {
    Absent,
    Empty(Span),
    Present,
}

fn written(app: &Fields<'_>, name: &str) -> Written {
    match (app.get(name), app.key(name)) {
        (Some(Node { value: Value::Seq(items), .. }), Some(key)) if items.is_empty() => Written::Empty(key.span),
        (Some(_), _) => Written::Present,
        (None, _) => Written::Absent,
    }
}

/// What app.yaml and include files both have.
#[derive(Debug, Default)]
struct Shared {
    handlers: Vec<RawHandler>,
    builtins: Vec<Spanned<Switch>>,
    includes: Vec<Spanned<String>>,
    env: Vec<(String, String)>,
    skip_files: Option<Vec<Pattern>>,
}

/// Opens the document of a file; reports everything that keeps it from being a mapping.
pub(crate) fn document<'t>(tree: &'t Tree, file: FileId, report: &mut Report) -> Option<&'t Node> {
    let Some(root) = &tree.root else {
        if !tree.partial {
            let message = "the file is empty";
            report.push(Diagnostic::new(&code::A0006, Sources::start(file), message));
        }
        return None;
    };
    match &root.value {
        Value::Map(_) => Some(root),
        Value::Refused => None,
        _ if fields::is_null(root) => {
            report.push_missing(Diagnostic::new(&code::A0006, root.span, "the file is empty"));
            None
        }
        _ => {
            let message = "the file is not a mapping of keys to values";
            report.push_missing(Diagnostic::new(&code::A0010, root.span, message).help("a line of it looks like `runtime: python312`"));
            None
        }
    }
}

/// Reads app.yaml as written. `None` if nothing more can be said about it (flexible environment, not a mapping).
pub(crate) fn read(file: FileId, sources: &Sources, report: &mut Report) -> Option<RawApp> {
    let tree = yaml::parse(file, sources, report);
    report.partial = tree.partial;
    let app = document(&tree, file, report).and_then(|root| read_root(root, file, tree.partial, report));
    report.partial = false;
    app
}

fn read_root(root: &Node, file: FileId, partial: bool, report: &mut Report) -> Option<RawApp> {
    let app = Fields::open_any(root, "app.yaml", report)?;
    if runtime::refuse_flexible(&app, report) {
        return None;
    }
    unknown_keys(&app, report);
    let shared = read_shared(&app, report);
    let service = service(&app, report);
    Some(RawApp {
        file,
        span: app.span,
        partial,
        application: application(&app, report),
        named: service.is_some() || (app.get("service").is_none() && app.get("module").is_none()),
        service,
        version: version(&app, report),
        runtime: runtime::read(&app, report),
        threadsafe: app.boolean("threadsafe", report),
        entrypoint: entrypoint(&app, report),
        main: main_package(&app, report),
        auto_id_policy: auto_id_policy(&app, report),
        default_expiration: handlers::expiration(&app, "default_expiration", report),
        inbound: inbound::read(&app, report),
        class: scaling::class(&app, report),
        scaling: scaling::read(&app, report),
        libraries: app.list("libraries", report).map(|items| libraries::read(items, report)).unwrap_or_default(),
        vpc_connector: vpc_connector(&app, report),
        app_engine_apis: app.boolean("app_engine_apis", report).is_some_and(|found| found.value),
        error_pages: error_pages::read(&app, report),
        handlers: written(&app, "handlers"),
        shared,
    })
    .inspect(|raw| {
        runtime::check(raw, &app, report);
        for handler in &raw.shared.handlers {
            if let Some(position) = handler.position {
                let message = "`position` is for included files only";
                report.push(Diagnostic::new(&code::A0114, position, message).help("in app.yaml, move the handler to where it belongs"));
            }
        }
    })
}

fn unknown_keys(app: &Fields<'_>, report: &mut Report) {
    for (key, _) in app.entries() {
        let name = key.text.as_str();
        if KNOWN.contains(&name) {
            continue;
        }
        if report.is_full() {
            break;
        }
        if WITHOUT_EFFECT.contains(&name) {
            report.push(Diagnostic::new(&code::A0019, key.span, format!("`{name}` has no effect here")));
            continue;
        }
        let synonym = match name {
            "environment" | "env_vars" | "environment_variables" | "envs" => Some("env_variables"),
            "command" | "cmd" | "start" => Some("entrypoint"),
            "scaling" => Some("automatic_scaling"),
            "routes" | "urls" => Some("handlers"),
            _ => None,
        };
        let help = synonym.map(|best| format!("did you mean `{best}`?")).or_else(|| fields::suggestion(name, KNOWN));
        let message = format!("app.yaml has no key `{name}`");
        report.push(Diagnostic::new(&code::A0011, key.span, message).maybe_help(help));
    }
}

/// What app.yaml and include files both have.
fn read_shared(fields: &Fields<'_>, report: &mut Report) -> Shared {
    Shared {
        handlers: fields.list("handlers", report).map(|items| handlers::read(items, report)).unwrap_or_default(),
        builtins: fields.list("builtins", report).map(|items| builtins::read(items, report)).unwrap_or_default(),
        includes: fields
            .list("includes", report)
            .map(|items| items.iter().filter_map(|item| fields::text(item, "includes", report)).collect())
            .unwrap_or_default(),
        env: env::read(fields, report),
        skip_files: skip_files(fields, report),
    }
}

fn name<T>(found: Option<Spanned<String>>, report: &mut Report) -> Option<Spanned<T>>
where
    T: std::str::FromStr<Err = NameError>,
{
    let found = found?;
    match found.value.parse() {
        Ok(value) => Some(Spanned { value, span: found.span }),
        Err(error) => {
            report.push(Diagnostic::new(&code::A0204, found.span, error.0));
            None
        }
    }
}

fn exclusive(app: &Fields<'_>, names: [&str; 2], report: &mut Report) {
    if let [Some(first), Some(second)] = names.map(|name| app.get(name).and_then(|_| app.key(name))) {
        let message = format!("`{}` and `{}` are two names for one setting", names[0], names[1]);
        let help = format!("remove `{}`", names[1]);
        report.push(Diagnostic::new(&code::A0018, second.span, message).related(first.span, "the other one").help(help));
    }
}

fn application(app: &Fields<'_>, report: &mut Report) -> Option<Spanned<AppId>> {
    exclusive(app, ["application", "project"], report);
    let key = ["application", "project"].into_iter().find(|name| app.get(name).is_some())?;
    let id = name(app.text(key, report), report);
    if let (Some(id), Some(place)) = (&id, app.key(key)) {
        let Spanned { value: id, .. }: &Spanned<AppId> = id;
        let message = format!("`{key}` is superseded by the command line");
        let help = format!("remove it and say `--project {id}`");
        report.push(Diagnostic::new(&code::A0208, place.span, message).help(help));
    }
    id
}

fn service(app: &Fields<'_>, report: &mut Report) -> Option<Spanned<ServiceId>> {
    exclusive(app, ["service", "module"], report);
    let key = if app.get("service").is_some() { "service" } else { "module" };
    name(app.text(key, report), report)
}

fn version(app: &Fields<'_>, report: &mut Report) -> Option<Spanned<VersionId>> {
    let version: Spanned<VersionId> = name(app.text("version", report), report)?;
    if version.value.as_str().starts_with(|c: char| c.is_ascii_digit()) {
        let message = format!("version `{}` begins with a digit, like the number of an instance", version.value);
        let help = format!("write for example `v{}`", version.value);
        report.push(Diagnostic::new(&code::A0209, version.span, message).help(help));
    }
    Some(version)
}

/// `entrypoint: COMMAND`, or the mapping `shell: COMMAND` that the flexible environment had.
fn entrypoint(app: &Fields<'_>, report: &mut Report) -> Option<String> {
    let node = app.get("entrypoint")?;
    let command = if matches!(node.value, Value::Map(_)) {
        Fields::open(node, "entrypoint", &["shell"], report)?.filled("shell", report)
    } else {
        app.filled("entrypoint", report)
    };
    command.map(|found| found.value.trim().to_owned())
}

/// `main: ./cmd/server` of Go apps, inside the app.
fn main_package(app: &Fields<'_>, report: &mut Report) -> Option<String> {
    let main = app.filled("main", report)?;
    handlers::inside(&main, report).map(|_| main.value)
}

fn auto_id_policy(app: &Fields<'_>, report: &mut Report) -> AutoIdPolicy {
    let table = [("default", AutoIdPolicy::Default), ("legacy", AutoIdPolicy::Legacy)];
    app.word("auto_id_policy", &table, report).map_or_else(AutoIdPolicy::default, |found| found.value)
}

fn vpc_connector(app: &Fields<'_>, report: &mut Report) -> Option<String> {
    let fields = Fields::open(app.get("vpc_access_connector")?, "vpc_access_connector", &["name", "egress_setting"], report)?;
    fields.require("name", "for example `name: projects/PROJECT/locations/REGION/connectors/CONNECTOR`", report);
    fields.word("egress_setting", &[("all-traffic", ()), ("private-ranges-only", ())], report);
    let name = fields.text("name", report)?;
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if name.value.split('/').all(part) {
        let message = "connectors are not available on this engine";
        let help = "the app reaches what the machine that it runs on reaches";
        report.push(Diagnostic::new(&code::A0211, name.span, message).help(help));
        return Some(name.value);
    }
    let message = format!("`{}` is not the name of a connector", name.value);
    malformed(name.span, message, "it looks like `projects/PROJECT/locations/REGION/connectors/CONNECTOR`", report);
    None
}

/// One pattern, or a list of them. A pattern over several lines is joined, as the SDK does.
fn skip_files(fields: &Fields<'_>, report: &mut Report) -> Option<Vec<Pattern>> {
    let node = fields.get("skip_files")?;
    let items = match &node.value {
        Value::Seq(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut patterns = Vec::new();
    for item in items {
        let Some(mut found) = fields::text(item, "skip_files", report) else { continue };
        if found.value.contains('\n') {
            found.value = found.value.lines().map(str::trim).collect();
        }
        if found.value.is_empty() {
            report.push(Diagnostic::new(&code::A0015, found.span, "an empty pattern would skip every file").help("remove it"));
            continue;
        }
        match Pattern::new(&found.value, Anchor::Start) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => handlers::broken(&found, &error, report),
        }
    }
    Some(patterns)
}

/// Warns about a value that YAML turns into something else than its text.
fn warn_reading(node: &Node, report: &mut Report) {
    if let Value::Scalar(scalar) = &node.value {
        let read = scalar::as_text(scalar);
        if read != scalar.text {
            let message = format!("the app sees `{read}`, because YAML reads `{}` so", scalar.text);
            let help = format!("put it in quotes to keep it: \"{}\"", scalar.text);
            report.push(Diagnostic::new(&code::A0017, node.span, message).help(help));
        }
    }
}
