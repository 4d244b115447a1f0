//! What a version is → the Admin API's `Version`, as `gcloud app deploy` writes it.

use model::config::{AutoIdPolicy, VersionConfig};
use model::handler::{Handler, HandlerKind, Script};
use model::runtime::Language;
use model::time::Expiration;
use serde_json::{Map, Value, json};

use super::{handlers, lower, scaling, seconds};

/// Writes a version without its `deployment`. What has the documents' default is left out, as clients of Google's do; `threadsafe`, `entrypoint`
/// and each handler's `securityLevel` are always there.
///
/// `skip_files` are not part of the form: whoever deploys leaves those files out.
pub fn raise(config: &VersionConfig) -> Value {
    let mut version = Map::new();
    let python27 = config.runtime.language() == Language::Python27;
    version.insert("id".into(), config.key.version.as_str().into());
    version.insert("runtime".into(), config.runtime.as_str().into());
    version.insert("env".into(), "standard".into());
    version.insert("threadsafe".into(), config.threadsafe.into());
    version.insert("entrypoint".into(), json!({"shell": config.entrypoint.as_deref().unwrap_or_default()}));
    if python27 {
        version.insert("runtimeApiVersion".into(), "1".into());
    }
    if let Some(main) = &config.main {
        version.insert("runtimeMainExecutablePath".into(), main.as_str().into());
    }
    scaling::raise(&config.scaling, config.class, &mut version);
    raise_lists(config, &mut version);
    if !config.env.is_empty() {
        version.insert("envVariables".into(), json!(config.env));
    }
    if config.default_expiration != Expiration::DEFAULT {
        version.insert("defaultExpiration".into(), seconds(config.default_expiration.duration()).into());
    }
    if config.auto_id_policy == AutoIdPolicy::Legacy {
        version.insert("betaSettings".into(), json!({"auto_id_policy": "legacy"}));
    }
    if let Some(name) = &config.vpc_connector {
        version.insert("vpcAccessConnector".into(), json!({"name": name}));
    }
    if config.app_engine_apis {
        version.insert("appEngineApis".into(), true.into());
    }
    Value::Object(version)
}

fn raise_lists(config: &VersionConfig, version: &mut Map<String, Value>) {
    let mut handlers: &[Handler] = &config.handlers;
    if let Some((last, rest)) = handlers.split_last()
        && config.runtime.language() != Language::Python27
        && is_entry_point(last)
    {
        handlers = rest;
    }
    let mut list = |name: &str, items: Vec<Value>| {
        if !items.is_empty() {
            version.insert(name.into(), Value::Array(items));
        }
    };
    list("handlers", handlers.iter().map(handlers::raise).collect());
    list("errorHandlers", config.error_pages.iter().map(handlers::raise_error).collect());
    // `rest` was never part of the Admin API.
    let inbound = lower::INBOUND.iter().filter(|(_, service)| config.inbound.contains(service)).map(|(name, _)| (*name).into());
    list("inboundServices", inbound.collect());
    list("libraries", config.libraries.iter().map(|library| json!({"name": library.name, "version": library.version})).collect());
}

/// The handler that newer runtimes have behind all others.
fn is_entry_point(handler: &Handler) -> bool {
    handler.origin.line == 0
        && matches!(handler.kind, HandlerKind::Script(Script::Auto))
        && *handler == Handler::new(handler.url.clone(), handler.kind.clone())
        && handler.url == model::pattern::Pattern::everything()
}
