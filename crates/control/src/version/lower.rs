//! The Admin API's `Version` → what the version is.

use std::collections::{BTreeMap, BTreeSet};

use model::config::{AutoIdPolicy, InboundService, Library, SkipFiles, VersionConfig};
use model::handler::{Handler, HandlerKind, Script};
use model::ids::VersionKey;
use model::pattern::Pattern;
use model::runtime::{Language, Runtime};
use model::time::Expiration;
use serde_json::Value;

use super::fields::{Object, Report};
use super::handlers::{self, Setting};
use super::scaling;
use crate::status::FieldViolation;

pub(super) const INBOUND: [(&str, InboundService); 8] = [
    ("INBOUND_SERVICE_MAIL", InboundService::Mail),
    ("INBOUND_SERVICE_MAIL_BOUNCE", InboundService::MailBounce),
    ("INBOUND_SERVICE_XMPP_ERROR", InboundService::XmppError),
    ("INBOUND_SERVICE_XMPP_MESSAGE", InboundService::XmppMessage),
    ("INBOUND_SERVICE_XMPP_SUBSCRIBE", InboundService::XmppSubscribe),
    ("INBOUND_SERVICE_XMPP_PRESENCE", InboundService::XmppPresence),
    ("INBOUND_SERVICE_CHANNEL_PRESENCE", InboundService::ChannelPresence),
    ("INBOUND_SERVICE_WARMUP", InboundService::Warmup),
];

/// Most handlers of a version.
const MOST_HANDLERS: usize = 10_000;
/// Most mistakes that are told at once.
const MOST_MISTAKES: usize = 100;

/// Reads a `Version` in canonical form (lowerCamelCase names, enums by name), of whatever age: it is what clients sent and what the store keeps.
/// Every file that was deployed belongs to the version, so that there are no `skip_files`: clients leave files out before they send them.
///
/// # Errors
/// Everything that is wrong with it, each with its path from `version`.
pub fn lower(key: &VersionKey, version: &Value) -> Result<VersionConfig, Vec<FieldViolation>> {
    let mut report = Report::default();
    let config = Object::of(version, "version", &mut report).and_then(|version| read(key, &version, &mut report));
    report.0.truncate(MOST_MISTAKES);
    match config {
        Some(config) if report.0.is_empty() => Ok(config),
        _ => Err(report.0),
    }
}

fn read(key: &VersionKey, version: &Object<'_>, report: &mut Report) -> Option<VersionConfig> {
    refuse_flexible(version, report);
    let runtime = runtime(version, report);
    let scaling = scaling::lower(version, report);
    let class = scaling::class(version, &scaling, report);
    let python27 = runtime.as_ref().is_some_and(|runtime| runtime.language() == Language::Python27);
    let threadsafe = version.flag("threadsafe", report) || !python27;
    let handlers = handlers(version, Setting { python27, threadsafe: threadsafe && python27 }, runtime.is_some(), report);
    let builtins = if python27 { builtins(&handlers) } else { BTreeSet::new() };
    let libraries = libraries(version, python27, report);
    let error_pages = handlers::lower_errors(version, report);
    let env = env(version, "envVariables", report);
    env_names(version, "buildEnvVariables", report);
    let default_expiration =
        version.duration("defaultExpiration", report).map_or(Expiration::DEFAULT, |duration| Expiration(duration.as_secs()));
    let app_engine_apis = version.flag("appEngineApis", report);
    let vpc = version.object("vpcAccessConnector", report).and_then(|vpc| vpc.text("name", report).map(str::to_owned));
    let entrypoint = version.object("entrypoint", report).and_then(|entrypoint| entrypoint.text("shell", report).map(str::to_owned));
    let runtime = runtime?;
    Some(VersionConfig {
        key: key.clone(),
        application: None,
        threadsafe,
        entrypoint: entrypoint.map(|shell| shell.trim().to_owned()).filter(|shell| !shell.is_empty()),
        main: version.text("runtimeMainExecutablePath", report).map(str::to_owned),
        env,
        handlers,
        error_pages,
        inbound: inbound(version, report),
        scaling,
        class,
        libraries,
        skip_files: SkipFiles(Vec::new()),
        default_expiration,
        auto_id_policy: auto_id_policy(version, report),
        vpc_connector: vpc,
        app_engine_apis: app_engine_apis || runtime.is_first_generation(),
        builtins,
        runtime,
    })
}

/// Versions of the flexible environment say so in one of these ways.
fn refuse_flexible(version: &Object<'_>, report: &mut Report) {
    let why = "belongs to the flexible environment; Enginehouse runs versions of the standard environment, such as runtime \"python312\"";
    if let Some(env) = version.text("env", report)
        && !matches!(env.to_ascii_lowercase().as_str(), "standard" | "1")
    {
        report.push(version.at("env"), format!("`{env}` {why}"));
    }
    for name in ["vm", "flexibleRuntimeSettings", "resources"] {
        if version.says(name) {
            report.push(version.at(name), why);
        }
    }
    if let Some(deployment) = version.object("deployment", report)
        && deployment.says("container")
    {
        report.push(deployment.at("container"), why);
    }
}

fn runtime(version: &Object<'_>, report: &mut Report) -> Option<Runtime> {
    let Some(name) = version.text("runtime", report) else {
        report.push(version.at("runtime"), "a version needs its runtime, such as \"python312\"");
        return None;
    };
    let runtime = Runtime::parse(name);
    match &runtime {
        None => {
            let why =
                format!("there is no runtime `{name}`; the runtimes are python27, python3x, nodejsNN, goNNN, javaNN, phpNN and rubyNN");
            report.push(version.at("runtime"), why);
        }
        Some(runtime) if runtime.language() == Language::Python27 => {
            if let Some(api) = version.text("runtimeApiVersion", report).filter(|api| *api != "1") {
                report.push(version.at("runtimeApiVersion"), format!("python27 has the API version \"1\", not \"{api}\""));
            }
        }
        Some(_) => {}
    }
    runtime
}

fn handlers(version: &Object<'_>, setting: Setting, known: bool, report: &mut Report) -> Vec<Handler> {
    let items = version.list("handlers", report);
    if items.is_empty() && setting.python27 {
        report.push(
            version.at("handlers"),
            "a python27 version needs handlers, for example one with urlRegex \"/.*\" and scriptPath \"main.app\"",
        );
    }
    if items.len() > MOST_HANDLERS {
        report.push(version.at("handlers"), format!("{} handlers; a version has at most {MOST_HANDLERS}", items.len()));
        return Vec::new();
    }
    let mut handlers: Vec<Handler> = Vec::new();
    for (path, item) in items {
        let Some(object) = Object::of(item, &path, report) else { continue };
        handlers.extend(handlers::lower(&object, setting, report));
        if report.0.len() > MOST_MISTAKES {
            break;
        }
    }
    if known && !setting.python27 {
        // On newer runtimes whatever no handler takes goes to the app's entry point.
        handlers.push(Handler::new(Pattern::everything(), HandlerKind::Script(Script::Auto)));
    }
    handlers
}

/// Clients expand builtins into handlers; whose scripts they run tells which were on.
fn builtins(handlers: &[Handler]) -> BTreeSet<String> {
    let script = |handler: &Handler| match &handler.kind {
        HandlerKind::Script(Script::Wsgi(template)) => appyaml::rules::builtin_of_script(template.source()),
        _ => None,
    };
    handlers.iter().filter_map(script).map(str::to_owned).collect()
}

fn libraries(version: &Object<'_>, python27: bool, report: &mut Report) -> Vec<Library> {
    let items = version.list("libraries", report);
    if !python27 {
        if !items.is_empty() {
            report.push(version.at("libraries"), "libraries are for python27 only; name them in requirements.txt instead");
        }
        return Vec::new();
    }
    let mut named: Vec<Library> = Vec::new();
    for (path, item) in items {
        let Some(object) = Object::of(item, &path, report) else { continue };
        let name = object.text("name", report).unwrap_or_default();
        let version = object.text("version", report).unwrap_or("latest");
        match appyaml::rules::library(name, version) {
            Ok(library) if named.iter().any(|other| other.name == library.name) => {
                report.push(object.at("name"), format!("the library `{name}` is named twice"));
            }
            Ok(library) => named.push(library),
            Err(why) => report.push(path, why),
        }
    }
    appyaml::rules::libraries(named)
}

fn env_names<'v>(version: &Object<'v>, field: &str, report: &mut Report) -> Vec<(&'v str, &'v str)> {
    let mut good = Vec::new();
    for (name, value) in version.texts(field, report) {
        if let Err(why) = appyaml::check_env_name(name) {
            // Builds have switches of Google's own with this prefix (GOOGLE_…, GAE_…).
            if field == "envVariables" {
                report.push(version.at(&format!("{field}[{name:?}]")), why);
            }
        } else if value.contains('\0') {
            report.push(version.at(&format!("{field}[{name:?}]")), "the value of a variable cannot have a zero byte");
        } else {
            good.push((name, value));
        }
    }
    good
}

fn env(version: &Object<'_>, field: &str, report: &mut Report) -> BTreeMap<String, String> {
    env_names(version, field, report).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn inbound(version: &Object<'_>, report: &mut Report) -> BTreeSet<InboundService> {
    let mut services = BTreeSet::new();
    for (path, item) in version.list("inboundServices", report) {
        match INBOUND.iter().find(|(name, _)| item.as_str() == Some(*name)) {
            Some((_, service)) => {
                services.insert(*service);
            }
            None if item.as_str() == Some("INBOUND_SERVICE_UNSPECIFIED") => {}
            None => report.push(path, format!("there is no inbound service {item}")),
        }
    }
    services
}

/// gcloud sends it among the beta settings.
fn auto_id_policy(version: &Object<'_>, report: &mut Report) -> AutoIdPolicy {
    let settings = version.texts("betaSettings", report);
    match settings.iter().find(|(name, _)| *name == "auto_id_policy").map(|(_, value)| *value) {
        Some("legacy") => AutoIdPolicy::Legacy,
        _ => AutoIdPolicy::Default,
    }
}
