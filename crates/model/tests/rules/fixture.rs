//! Apps to ask about.

use std::path::PathBuf;
use std::sync::Arc;

use model::config::VersionConfig;
use model::dispatch::{DispatchRule, HostPattern, PathPattern};
use model::firewall::Firewall;
use model::handler::{Handler, HandlerKind, Origin, Script, StaticFiles, StaticSource};
use model::ids::VersionKey;
use model::ingress::Ingress;
use model::pattern::{Anchor, Pattern, Template};
use model::runtime::Runtime;
use model::scaling::{InstanceClass, Manual, Scaling};
use model::table::{Naming, RoutingTable, Service, Version};
use model::traffic::TrafficSplit;

pub(crate) fn key(service: &str, version: &str) -> VersionKey {
    VersionKey::new(service.parse().expect("a service"), version.parse().expect("a version")).expect("short enough")
}

pub(crate) fn config(service: &str, version: &str, runtime: &str) -> VersionConfig {
    VersionConfig::new(key(service, version), Runtime::parse(runtime).expect("a runtime"), vec![script("/.*", "main.app")])
}

pub(crate) fn handler(url: &str, kind: HandlerKind) -> Handler {
    Handler {
        origin: Origin { file: "app.yaml".into(), line: 7 },
        ..Handler::new(Pattern::new(url, Anchor::Whole).expect("compiles"), kind)
    }
}

#[allow(clippy::case_sensitive_file_extension_comparisons, reason = "the SDK's own rule")]
pub(crate) fn script(url: &str, script: &str) -> Handler {
    let groups = Pattern::new(url, Anchor::Whole).expect("compiles").groups();
    let template = Template::new(script, groups).expect("groups exist");
    let kind = if script == "auto" {
        Script::Auto
    } else if script.contains('/') || script.ends_with(".py") {
        Script::Cgi(template)
    } else {
        Script::Wsgi(template)
    };
    handler(url, HandlerKind::Script(kind))
}

pub(crate) fn static_of(source: StaticSource) -> StaticFiles {
    StaticFiles {
        source,
        mime_type: None,
        expiration: None,
        http_headers: Vec::new(),
        require_matching_file: false,
        application_readable: false,
    }
}

pub(crate) fn static_dir(url: &str, dir: &str) -> Handler {
    let mut made = handler(&format!("{url}/(.*)"), HandlerKind::Static(Box::new(static_of(StaticSource::Dir(dir.to_owned())))));
    url.clone_into(&mut made.written);
    made
}

pub(crate) fn static_files(url: &str, files: &str, upload: &str) -> Handler {
    let groups = Pattern::new(url, Anchor::Whole).expect("compiles").groups();
    let path = Template::new(files, groups).expect("groups exist");
    let upload = Pattern::new(upload, Anchor::Start).expect("compiles");
    handler(url, HandlerKind::Static(Box::new(static_of(StaticSource::Files { path, upload }))))
}

pub(crate) fn version(config: VersionConfig) -> Version {
    Version::new("s~shop".parse().expect("an app"), config, PathBuf::from("/srv/app"), 370)
}

pub(crate) fn manual(mut config: VersionConfig, instances: u32) -> VersionConfig {
    config.scaling = Scaling::Manual(Manual { instances });
    config.class = InstanceClass::B2;
    config
}

/// A service whose first version serves.
pub(crate) fn service(versions: Vec<VersionConfig>) -> Service {
    let split = TrafficSplit::all(versions[0].key.version.clone());
    let versions = versions.into_iter().map(|config| (config.key.version.clone(), Arc::new(version(config)))).collect();
    Service { versions, split, ingress: Ingress::All }
}

pub(crate) fn rule(url: &str, service: &str) -> DispatchRule {
    let (host, path) = url.split_at(url.find('/').expect("a path"));
    let host = match host.strip_prefix('*') {
        Some("") => HostPattern::Any,
        Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
        None => HostPattern::Exact(host.to_owned()),
    };
    let path = path.strip_suffix('*').map_or_else(|| PathPattern::Exact(path.to_owned()), |prefix| PathPattern::Prefix(prefix.to_owned()));
    DispatchRule { written: url.to_owned(), host, path, service: service.parse().expect("a service"), line: 3 }
}

pub(crate) fn table(services: Vec<Service>, dispatch: Vec<DispatchRule>) -> RoutingTable {
    let services =
        services.into_iter().map(|service| (service.versions[service.split.main()].config.key.service.clone(), service)).collect();
    RoutingTable {
        generation: 1,
        app: "s~shop".parse().expect("an app"),
        naming: Naming {
            domains: vec!["localhost".into(), "shop.example.org".into()],
            allowed: Vec::new(),
            addresses: false,
            default_hostname: "localhost:8080".into(),
            ..Naming::default()
        },
        services,
        dispatch,
        firewall: Firewall::default(),
    }
}

/// default (v1, v2), api (v1, 7, manual m1 with 3 instances), of python27.
pub(crate) fn shop() -> RoutingTable {
    let of = |service: &str, version: &str| config(service, version, "python27");
    table(
        vec![
            service(vec![of("default", "v1"), of("default", "v2")]),
            service(vec![manual(of("api", "m1"), 3), of("api", "v1"), of("api", "1")]),
        ],
        vec![rule("*/tasks/*", "api"), rule("admin.example.com/*", "api"), rule("*.cdn.example.com/x", "default"), rule("*/gone", "ghost")],
    )
}
