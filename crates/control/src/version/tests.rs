//! What clients send is read, and what is written is read back the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::config::{AutoIdPolicy, ErrorCode, ErrorPage, InboundService, SkipFiles, VersionConfig};
use model::handler::{AuthFail, Handler, HandlerKind, Login, RedirectCode, Script, Secure, StaticFiles, StaticSource};
use model::ids::VersionKey;
use model::pattern::{Anchor, Pattern, Template};
use model::runtime::Runtime;
use model::scaling::{Automatic, Basic, InstanceClass, Manual, Scaling};
use model::time::Expiration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{lower, parse_seconds, raise, seconds};

fn key() -> VersionKey {
    VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short")
}

fn violations(version: &Value) -> Vec<String> {
    match lower(&key(), version) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.into_iter().map(|violation| format!("{}: {}", violation.field, violation.description)).collect(),
    }
}

#[test]
fn t9_what_gcloud_sends_is_read() {
    let sent = json!({
        "id": "v1", "runtime": "python27", "runtimeApiVersion": "1", "threadsafe": true, "entrypoint": {"shell": ""},
        "inboundServices": ["INBOUND_SERVICE_WARMUP"], "libraries": [{"name": "webapp2", "version": "2.5.2"}],
        "defaultExpiration": "363600s", "betaSettings": {"auto_id_policy": "legacy", "no-cache": "true"},
        "automaticScaling": {"minIdleInstances": 0, "minPendingLatency": "0.03s", "standardSchedulerSettings": {"maxInstances": 5, "targetCpuUtilization": 0.75}},
        "errorHandlers": [{"errorCode": "ERROR_CODE_OVER_QUOTA", "staticFile": "quota.html"}],
        "deployment": {"files": {"main.py": {"sha1Sum": "aa", "sourceUrl": "https://storage.googleapis.com/b/aa"}}},
        "handlers": [
            {"urlRegex": "/_ah/queue/deferred", "login": "LOGIN_ADMIN", "securityLevel": "SECURE_OPTIONAL", "script": {"scriptPath": "google.appengine.ext.deferred.application"}},
            {"urlRegex": "/static/(.*)", "securityLevel": "SECURE_OPTIONAL", "staticFiles": {"path": "static/\\1", "uploadPathRegex": "static/.*", "expiration": "60s"}},
            {"urlRegex": "/(.*\\.png)", "securityLevel": "SECURE_ALWAYS", "redirectHttpResponseCode": "REDIRECT_HTTP_RESPONSE_CODE_307", "staticFiles": {"path": "img/\\1", "uploadPathRegex": "img/.*\\.png$"}},
            {"urlRegex": "/.*", "securityLevel": "SECURE_OPTIONAL", "script": {"scriptPath": "main.app"}}
        ]
    });
    let config = lower(&key(), &sent).expect("a good version");
    assert_eq!(config.default_expiration, Expiration(363_600));
    assert_eq!(config.auto_id_policy, AutoIdPolicy::Legacy);
    assert_eq!(config.builtins, BTreeSet::from(["deferred".to_owned()]));
    assert!(config.libraries.iter().any(|library| library.name == "webapp2" && library.version == "2.5.2"));
    let Scaling::Automatic(automatic) = &config.scaling else { panic!("{:?}", config.scaling) };
    assert_eq!(automatic.min_pending_latency, Some(Duration::from_millis(30)));
    assert_eq!((automatic.min_idle_instances, automatic.max_instances), (None, Some(5)));
    let kinds: Vec<_> = config.handlers.iter().map(|handler| &handler.kind).collect();
    assert!(matches!(kinds[1], HandlerKind::Static(files) if files.source == StaticSource::Dir("static".into())));
    assert!(matches!(kinds[2], HandlerKind::Static(files) if matches!(files.source, StaticSource::Files { .. })));
    assert_eq!((config.handlers[2].secure, config.handlers[2].redirect), (Secure::Always, RedirectCode::TemporaryRedirect));
}

#[test]
fn t9_the_least_version_has_the_documents_defaults() {
    let config = lower(&key(), &json!({"runtime": "python312"})).expect("a good version");
    assert_eq!(
        config,
        VersionConfig { skip_files: SkipFiles(Vec::new()), ..VersionConfig::new(key(), config.runtime.clone(), config.handlers.clone()) }
    );
    assert_eq!(config.handlers.len(), 1);
    let basic = lower(&key(), &json!({"runtime": "python312", "basicScaling": {"maxInstances": 3}})).expect("a good version");
    assert_eq!(basic.class, InstanceClass::B2);
    assert_eq!(basic.scaling, Scaling::Basic(Basic { max_instances: 3, idle_timeout: Duration::from_mins(5) }));
}

#[test]
fn t9_every_mistake_has_its_path() {
    let bad = json!({
        "runtime": "python27", "env": "flex", "threadsafe": true, "instanceClass": "B1", "envVariables": {"GAE_X": "1"},
        "automaticScaling": {"maxConcurrentRequests": 81, "minPendingLatency": "2s", "maxPendingLatency": "1s"}, "basicScaling": {},
        "errorHandlers": [{}], "libraries": [{"name": "nosuch", "version": "1"}], "inboundServices": ["INBOUND_SERVICE_RAIN"],
        "handlers": [
            {"urlRegex": "/a(", "script": {"scriptPath": "x.app"}},
            {"urlRegex": "/b", "script": {"scriptPath": "x.py"}},
            {"urlRegex": "/c", "staticFiles": {"path": "../c", "uploadPathRegex": "c", "httpHeaders": {"Host": "x"}}},
            {"urlRegex": "/d", "script": {"scriptPath": "\\1.app"}},
            {"urlRegex": "/e"}
        ]
    });
    let found = violations(&bad);
    for path in [
        "version.env: `flex`",
        "version.basicScaling: `automaticScaling` and",
        "version.automaticScaling.maxConcurrentRequests: must be a whole number from 1 to 80, not 81",
        "version.automaticScaling.minPendingLatency: `minPendingLatency` is larger",
        "version.instanceClass: `B1` needs basicScaling",
        "version.handlers[0].urlRegex: this pattern cannot be used",
        "version.handlers[1].script.scriptPath: `x.py` is a CGI script",
        "version.handlers[2].staticFiles.path: `../c` leaves the app",
        "version.handlers[2].staticFiles.httpHeaders[\"Host\"]: `Host` may not be set",
        "version.handlers[3].script.scriptPath: `\\1` refers to a group",
        "version.handlers[4]: this handler neither",
        "version.libraries[0]: python27 has no library `nosuch`",
        "version.errorHandlers[0].staticFile: an error page needs",
        "version.envVariables[\"GAE_X\"]: `GAE_X` is reserved",
        "version.inboundServices[0]: there is no inbound service",
    ] {
        assert!(found.iter().any(|line| line.starts_with(path)), "{path} is not in {found:#?}");
    }
    assert_eq!(violations(&json!([]))[0], "version: must be an object");
    assert!(violations(&json!({}))[0].starts_with("version.runtime: "));
    assert!(violations(&json!({"runtime": "python312", "manualScaling": {}}))[0].starts_with("version.manualScaling.instances: "));
}

#[test]
fn t9_durations_are_read_as_protobuf_writes_them() {
    for (text, duration) in [
        ("0s", Duration::ZERO),
        ("600s", Duration::from_mins(10)),
        ("0.03s", Duration::from_millis(30)),
        ("1.000000001s", Duration::new(1, 1)),
    ] {
        assert_eq!(parse_seconds(text), Some(duration), "{text}");
        assert_eq!(seconds(duration), text);
    }
    for bad in ["", "s", "1", "-1s", "1.s", ".5s", "1e3s", "1.0000000001s", "9999999999999s", "1m", "+1s"] {
        assert_eq!(parse_seconds(bad), None, "{bad}");
    }
}

fn template(text: &str, url: &Pattern) -> Template {
    Template::new(text, url.groups()).expect("a template")
}

fn handler() -> impl Strategy<Value = Handler> {
    let kind = prop_oneof![
        Just(("/x/(.*)", 0)),
        Just(("/(.*\\.css)", 1)),
        Just(("/dir/(.*)", 2)),
        Just(("/(a|b)/run", 3)),
        Just(("/all/(.*)", 4)),
    ];
    let secure = prop_oneof![Just(Secure::Optional), Just(Secure::Never), Just(Secure::Always)];
    let login = prop_oneof![Just(Login::Optional), Just(Login::Admin), Just(Login::Required)];
    let redirect = prop_oneof![Just(RedirectCode::Found), Just(RedirectCode::SeeOther), Just(RedirectCode::MovedPermanently)];
    let files = (any::<bool>(), any::<bool>(), proptest::option::of(0_u64..100_000), proptest::option::of(Just("text/x-thing".to_owned())));
    (kind, secure, login, redirect, any::<bool>(), files).prop_map(|((url, kind), secure, login, redirect, unauthorized, files)| {
        let url = Pattern::new(url, Anchor::Whole).expect("a pattern");
        let source = match kind {
            1 => StaticSource::Files {
                path: template(r"css/\1", &url),
                upload: Pattern::new(r"css/.*\.css$", Anchor::Start).expect("a pattern"),
            },
            2 => StaticSource::Dir("a/dir".into()),
            _ => StaticSource::Dir(String::new()),
        };
        let http_headers =
            if files.0 { vec![(http::HeaderName::from_static("x-a"), http::HeaderValue::from_static("b"))] } else { Vec::new() };
        let made = StaticFiles {
            source,
            mime_type: files.3,
            expiration: files.2.map(Expiration),
            http_headers,
            require_matching_file: files.0,
            application_readable: files.1,
        };
        let written = if matches!(made.source, StaticSource::Dir(_)) { url.source().trim_end_matches("/(.*)") } else { url.source() };
        let (written, kind) = match kind {
            0 => (url.source(), HandlerKind::Script(Script::Wsgi(template("main.app", &url)))),
            3 => (url.source(), HandlerKind::Script(Script::Wsgi(template(r"\1.app", &url)))),
            _ => (written, HandlerKind::Static(Box::new(made))),
        };
        let auth_fail = if unauthorized { AuthFail::Unauthorized } else { AuthFail::Redirect };
        Handler { written: written.to_owned(), secure, login, redirect, auth_fail, ..Handler::new(url.clone(), kind) }
    })
}

fn scaling() -> impl Strategy<Value = (Scaling, InstanceClass)> {
    let millis = || proptest::option::of((0_u64..100).prop_map(Duration::from_millis));
    let count = || proptest::option::of(1_u32..100);
    let automatic = (count(), 0_u32..2, count(), proptest::option::of(Just(1_u32)), 1_u32..=80, millis(), 50_u32..=95);
    let automatic = automatic.prop_map(|(max, min, max_idle, min_idle, concurrent, pending, target)| {
        let automatic = Automatic {
            max_instances: max,
            min_instances: min,
            max_idle_instances: max_idle,
            min_idle_instances: min_idle,
            target_cpu_utilization: f64::from(target) / 100.0,
            max_concurrent_requests: concurrent,
            min_pending_latency: pending,
            max_pending_latency: pending.map(|pending| pending * 2),
            ..Automatic::default()
        };
        (Scaling::Automatic(automatic), InstanceClass::F4_1G)
    });
    let basic = (1_u32..9, 1_u64..900).prop_map(|(max_instances, idle)| {
        (Scaling::Basic(Basic { max_instances, idle_timeout: Duration::from_secs(idle) }), InstanceClass::B2)
    });
    prop_oneof![automatic, basic, (1_u32..9).prop_map(|instances| (Scaling::Manual(Manual { instances }), InstanceClass::B8))]
}

fn config() -> impl Strategy<Value = VersionConfig> {
    let runtime = prop_oneof![Just("python27"), Just("python312"), Just("nodejs22")];
    let env = proptest::collection::btree_map("[A-F][A-Z_]{0,5}", "[ -~]{0,9}", 0..4);
    let rest = (any::<bool>(), any::<bool>(), proptest::option::of(Just("gunicorn -b :$PORT main:app".to_owned())), 0_u64..99_999);
    (runtime, proptest::collection::vec(handler(), 1..5), scaling(), env, rest).prop_map(
        |(runtime, handlers, (scaling, class), env, rest)| {
            let runtime = Runtime::parse(runtime).expect("known");
            let python27 = runtime.as_str() == "python27";
            let mut handlers = handlers;
            if !python27 {
                for handler in &mut handlers {
                    if let HandlerKind::Script(script) = &mut handler.kind {
                        *script = Script::Auto;
                    }
                }
                handlers.push(Handler::new(Pattern::everything(), HandlerKind::Script(Script::Auto)));
            }
            VersionConfig {
                threadsafe: !python27 || rest.0,
                entrypoint: rest.2,
                env: env.into_iter().collect::<BTreeMap<_, _>>(),
                error_pages: vec![ErrorPage { code: ErrorCode::Timeout, file: "late.html".into(), mime_type: None }],
                inbound: if rest.1 { BTreeSet::from([InboundService::Warmup, InboundService::Mail]) } else { BTreeSet::new() },
                scaling,
                class,
                libraries: if python27 { appyaml::rules::libraries(Vec::new()) } else { Vec::new() },
                skip_files: SkipFiles(Vec::new()),
                default_expiration: Expiration(rest.3),
                auto_id_policy: if rest.1 { AutoIdPolicy::Legacy } else { AutoIdPolicy::Default },
                vpc_connector: rest.0.then(|| "projects/p/locations/r/connectors/c".to_owned()),
                app_engine_apis: python27 || rest.1,
                ..VersionConfig::new(key(), runtime, handlers)
            }
        },
    )
}

proptest! {
    #[test]
    fn t9_what_is_written_is_read_back(config in config()) {
        let raised = raise(&config);
        prop_assert_eq!(lower(&key(), &raised), Ok(config), "{}", raised);
    }

    #[test]
    fn t9_no_json_can_panic_the_reader(text in "[a-zA-Z{}\\[\\]\":,0-9. ]{0,200}") {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = lower(&key(), &value);
        }
    }
}
