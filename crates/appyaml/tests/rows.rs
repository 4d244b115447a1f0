//! One test for each row Y2–Y31: what a good file becomes, and what a bad one is told.

use std::collections::BTreeMap;
use std::time::Duration;

use appyaml::parse;
use model::config::{AutoIdPolicy, ErrorCode, InboundService, SkipFiles, VersionConfig};
use model::handler::{AuthFail, Handler, HandlerKind, Login, RedirectCode, Script, Secure, StaticFiles, StaticSource};
use model::runtime::Language;
use model::scaling::{InstanceClass, Scaling};
use model::time::Expiration;

const PYTHON27: &str = "runtime: python27\napi_version: 1\nthreadsafe: false\n";
const PYTHON3: &str = "runtime: python312\n";

/// The version of a file without errors.
#[track_caller]
fn good(text: &str) -> VersionConfig {
    let parsed = parse::app_yaml("app.yaml", text, &BTreeMap::new());
    let errors: Vec<_> = parsed.diagnostics.iter().filter(|d| d.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    parsed.value.expect("a version")
}

/// The codes that a file gets, warnings included.
fn codes(text: &str) -> Vec<&'static str> {
    parse::app_yaml("app.yaml", text, &BTreeMap::new()).diagnostics.iter().map(|d| d.code.id).collect()
}

/// The handlers of a python27 app.
fn handlers(yaml: &str) -> Vec<Handler> {
    good(&format!("{PYTHON27}handlers:\n{yaml}")).handlers
}

fn handler(yaml: &str) -> Handler {
    handlers(yaml).remove(0)
}

fn files(handler: &Handler) -> &StaticFiles {
    match &handler.kind {
        HandlerKind::Static(files) => files,
        HandlerKind::Script(script) => panic!("{script:?}"),
    }
}

/// What a handler with these lines is refused for.
fn refused(yaml: &str) -> Vec<&'static str> {
    codes(&format!("{PYTHON27}handlers:\n{yaml}"))
}

#[test]
fn y2_patterns_take_whole_paths_and_groups() {
    let found = handler("- url: /(.*\\.(gif|png))$\n  static_files: static/\\1\n  upload: static/.*\\.(gif|png)$\n");
    assert!(found.url.is_match(b"/a.gif") && !found.url.is_match(b"/a.gif/") && !found.url.is_match(b"x/a.gif"));
    let StaticSource::Files { path, upload } = &files(&found).source else { panic!("a pattern") };
    let captures = found.url.captures(b"/d/a.png").expect("matches");
    assert_eq!(path.expand(&captures, b"/d/a.png"), b"static/d/a.png");
    assert!(upload.is_match(b"static/x.gif") && !upload.is_match(b"other/x.gif"));
    assert_eq!(refused("- url: /(a\n  script: a.app\n"), ["A0105"]);
    assert_eq!(refused("- url: ^/a\n  script: a.app\n"), ["A0104"]);
}

#[test]
fn y3_the_project_in_the_file_is_warned_about() {
    let text = format!("application: s~example.com:shop\n{PYTHON3}");
    assert_eq!(good(&text).application.expect("there").as_str(), "s~example.com:shop");
    assert_eq!(codes(&text), ["A0208"]);
    assert_eq!(codes(&format!("application: a\nproject: a\n{PYTHON3}")), ["A0208", "A0018"]);
    assert_eq!(codes(&format!("application: My_App\n{PYTHON3}")), ["A0204"]);
}

#[test]
fn y4_python27_has_api_version_1_and_nothing_else() {
    let text = |line: &str| format!("runtime: python27\n{line}threadsafe: true\nhandlers:\n- url: /.*\n  script: main.app\n");
    assert!(codes(&text("api_version: 1\n")).is_empty());
    assert!(codes(&text("api_version: '1'\n")).is_empty());
    assert_eq!(codes(&text("")), ["A0013"]);
    assert_eq!(codes(&text("api_version: 2\n")), ["A0210"]);
    assert!(codes("runtime: python312\n").is_empty());
}

#[test]
fn y5_automatic_ids() {
    assert_eq!(good(PYTHON3).auto_id_policy, AutoIdPolicy::Default);
    assert_eq!(good(&format!("{PYTHON3}auto_id_policy: legacy\n")).auto_id_policy, AutoIdPolicy::Legacy);
    assert_eq!(codes(&format!("{PYTHON3}auto_id_policy: random\n")), ["A0014"]);
}

#[test]
fn y6_the_two_examples_of_the_document() {
    let urls = |config: &VersionConfig| config.handlers.iter().map(|handler| handler.written.clone()).collect::<Vec<_>>();
    let first = good(&format!("{PYTHON27}handlers:\n- url: /.*\n  script: main.app\nbuiltins:\n- appstats: on\n"));
    assert_eq!(urls(&first), ["/_ah/stats.*", "/.*"]);
    let second = "includes:\n- included.yaml\n";
    let included = "handlers:\n- url: /.*\n  script: main.app\nbuiltins:\n- appstats: on\n";
    let parsed = parse::app_yaml("app.yaml", &format!("{PYTHON27}{second}"), &BTreeMap::from([("included.yaml".into(), included.into())]));
    assert_eq!(urls(&parsed.ok().expect("fine")), ["/.*", "/_ah/stats.*"]);
    // An include of a builtin's own path is the same as the switch.
    let path = good(&format!("{PYTHON27}includes:\n- $PYTHON_LIB/google/appengine/ext/builtins/deferred/\n"));
    assert_eq!(urls(&path), ["/_ah/queue/deferred"]);
    assert_eq!(path.handlers[0].login, Login::Admin);
    assert!(path.builtins.contains("deferred"));
}

#[test]
fn y6_off_wins_over_a_later_on_and_the_tail_comes_last() {
    let text =
        format!("{PYTHON27}builtins:\n- deferred: off\n- django_wsgi: yes\nincludes:\n- a.yaml\nhandlers:\n- url: /x\n  script: x.app\n");
    let parsed = parse::app_yaml("app.yaml", &text, &BTreeMap::from([("a.yaml".into(), "builtins:\n- deferred: on\n".into())]));
    let urls: Vec<String> = parsed.ok().expect("fine").handlers.iter().map(|handler| handler.written.clone()).collect();
    assert_eq!(urls, ["/x", "/.*"]);
}

#[test]
fn y7_include_files_add_what_they_may_and_nothing_else() {
    let include = "skip_files:\n- ^tmp/\nenv_variables:\n  A: include\nmanual_scaling:\n  instances: 7\nadmin_console:\n  pages: []\n";
    let includes = BTreeMap::from([("lib/include.yaml".to_owned(), include.to_owned())]);
    let text = format!("{PYTHON3}includes:\n- lib\nenv_variables:\n  A: app\nmanual_scaling:\n  instances: 3\n");
    let config = parse::app_yaml("app.yaml", &text, &includes).ok().expect("fine");
    assert_eq!(config.env["A"], "include");
    assert!(matches!(&config.scaling, Scaling::Manual(manual) if manual.instances == 7));
    assert!(config.skip_files.skips("tmp/x") && config.skip_files.skips(".hidden"));
    let bad = BTreeMap::from([("lib/include.yaml".to_owned(), "libraries: []\n".to_owned())]);
    let found = parse::app_yaml("app.yaml", &text, &bad).diagnostics;
    assert_eq!(found.iter().map(|d| d.code.id).collect::<Vec<_>>(), ["A0402"]);
}

#[test]
fn y8_the_default_cache_period() {
    assert_eq!(good(PYTHON3).default_expiration, Expiration(600));
    assert_eq!(good(&format!("{PYTHON3}default_expiration: 4d 5h\n")).default_expiration, Expiration(4 * 86_400 + 5 * 3_600));
    assert_eq!(codes(&format!("{PYTHON3}default_expiration: 1.5h\n")), ["A0015"]);
}

#[test]
fn y9_variables_and_reserved_names() {
    let config = good(&format!("{PYTHON3}env_variables:\n  A: b\n  N: 5\n  QUOTED: \"0755\"\n"));
    let expected = [("A", "b"), ("N", "5"), ("QUOTED", "0755")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(config.env, BTreeMap::from(expected));
    assert_eq!(codes(&format!("{PYTHON3}env_variables:\n  GAEX: b\n  GAE_X: b\n  MY_GAE: b\n")), ["A0205", "A0205"]);
}

#[test]
fn y10_error_pages_by_code() {
    let config =
        good(&format!("{PYTHON3}error_handlers:\n- file: d.html\n- error_code: over_quota\n  file: q.html\n  mime_type: text/plain\n"));
    let pages: Vec<_> = config.error_pages.iter().map(|page| (page.code, page.file.as_str(), page.mime_type.as_deref())).collect();
    assert_eq!(pages, [(ErrorCode::Default, "d.html", None), (ErrorCode::OverQuota, "q.html", Some("text/plain"))]);
    assert_eq!(
        codes(&format!("{PYTHON3}error_handlers:\n- error_code: teapot\n  file: d.html\n- file: a\n- file: b\n")),
        ["A0014", "A0510"]
    );
    let outside = "error_handlers:\n- file: ../secret.html\n- error_code: timeout\n  file: /etc/hostname\n";
    assert_eq!(codes(&format!("{PYTHON3}{outside}")), ["A0116", "A0116"]);
}

#[test]
fn y11_python27_needs_handlers() {
    assert_eq!(codes(PYTHON27), ["A0013"]);
    assert_eq!(codes(&format!("{PYTHON27}handlers: []\n")), ["A0118"]);
    assert!(codes(&format!("{PYTHON27}builtins:\n- deferred: on\n")).is_empty());
    let many: Vec<String> = (0..101).map(|n| format!("- url: /u{n}\n  script: a.app\n")).collect();
    assert_eq!(refused(&many.concat()), ["A0117"]);
    assert_eq!(handlers(&many.concat()).len(), 101);
}

#[test]
fn y12_a_url_is_needed_and_begins_with_a_slash() {
    assert_eq!(refused("- script: a.app\n"), ["A0013"]);
    assert_eq!(refused("- url: x\n  script: a.app\n"), ["A0104"]);
    assert_eq!(refused("- ulr: /x\n  scrip: a.app\n"), ["A0011", "A0011"]);
    for url in ["/x$", ".*", "(/a|/b)", "\"/x \""] {
        assert!(refused(&format!("- url: {url}\n  script: a.app\n")).is_empty(), "{url}");
    }
}

#[test]
fn y13_scripts_are_cgi_or_wsgi_or_auto() {
    let kind = |script: &str| handler(&format!("- url: /(.*)\n  script: {script}\n")).kind;
    assert!(matches!(kind("home.app"), HandlerKind::Script(Script::Wsgi(_))));
    assert!(matches!(kind("home.py"), HandlerKind::Script(Script::Cgi(_))));
    assert!(matches!(kind("lib/home"), HandlerKind::Script(Script::Cgi(_))));
    assert!(matches!(kind("\\1.catalog.app"), HandlerKind::Script(Script::Wsgi(template)) if template.has_references()));
    assert_eq!(refused("- url: /.*\n  script: \\1.app\n"), ["A0106"]);
    let newer = good(&format!("{PYTHON3}handlers:\n- url: /.*\n  script: auto\n"));
    assert_eq!(newer.handlers[0].kind, HandlerKind::Script(Script::Auto));
}

#[test]
fn y14_static_dir_is_a_plain_prefix() {
    for url in ["/css", "/css/"] {
        let found = handler(&format!("- url: {url}\n  static_dir: ./styles/\n"));
        assert_eq!(files(&found).source, StaticSource::Dir("styles".into()));
        let captures = found.url.captures(b"/css/a/b.css").expect("matches");
        assert_eq!(captures.get(found.url.groups(), b"/css/a/b.css"), Some(&b"a/b.css"[..]));
        assert!(!found.url.is_match(b"/css") && !found.url.is_match(b"/cssx/a"));
    }
    assert_eq!(refused("- url: /(a|b)\n  static_dir: c\n"), ["A0107"]);
    assert!(refused("- url: /(?:a|b)\n  static_dir: c\n").is_empty());
    assert_eq!(refused("- url: /a\n  static_dir: ../c\n- url: /b\n  static_dir: /etc\n"), ["A0116", "A0116"]);
}

#[test]
fn y15_static_files_need_upload() {
    assert_eq!(refused("- url: /a\n  static_files: a\n"), ["A0108"]);
    assert_eq!(refused("- url: /a\n  static_files: \\1\n  upload: a\n"), ["A0106"]);
    assert_eq!(refused("- url: /a\n  static_files: a\n  upload: (\n"), ["A0105"]);
}

#[test]
fn y16_application_readable() {
    assert!(!files(&handler("- url: /a\n  static_dir: a\n")).application_readable);
    assert!(files(&handler("- url: /a\n  static_dir: a\n  application_readable: true\n")).application_readable);
    assert_eq!(refused("- url: /a\n  script: a.app\n  application_readable: true\n"), ["A0102"]);
}

#[test]
fn y17_expiration_type_and_headers() {
    let headers = "  http_headers:\n    Access-Control-Allow-Origin: '*'\n    X-Bar-Header: bar value\n    vary: Accept-Encoding\n";
    let found = handler(&format!("- url: /a\n  static_dir: a\n  expiration: 5m 30\n  mime_type: text/x\n{headers}"));
    let files = files(&found);
    assert_eq!((files.expiration, files.mime_type.as_deref()), (Some(Expiration(330)), Some("text/x")));
    let pairs: Vec<_> = files.http_headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
    assert_eq!(pairs, [("access-control-allow-origin", "*"), ("x-bar-header", "bar value"), ("vary", "Accept-Encoding")]);
    let header = |line: &str| refused(&format!("- url: /a\n  static_dir: a\n  http_headers:\n    {line}\n"));
    for (line, code) in [
        ("Content-Length: 1", "A0109"),
        ("Connection: close", "A0109"),
        ("X-AppEngine-Foo: a", "A0109"),
        ("Host: a", "A0109"),
        ("'a b': c", "A0109"),
        ("X-A: \"a\\nb\"", "A0110"),
    ] {
        assert_eq!(header(line), [code], "{line}");
    }
    assert_eq!(header(&format!("X-A: {}", "v".repeat(500))), ["A0110"]);
    assert!(header(&format!("Content-Security-Policy: {}", "v".repeat(10_240))).is_empty());
    assert_eq!(header(&format!("Content-Security-Policy: {}", "v".repeat(10_241))), ["A0110"]);
}

#[test]
fn y18_login() {
    for (word, login) in [("optional", Login::Optional), ("required", Login::Required), ("admin", Login::Admin)] {
        assert_eq!(handler(&format!("- url: /a\n  script: a.app\n  login: {word}\n")).login, login);
    }
    assert_eq!(handler("- url: /a\n  static_dir: a\n").login, Login::Optional);
    assert_eq!(refused("- url: /a\n  script: a.app\n  login: root\n"), ["A0014"]);
}

#[test]
fn y19_auth_fail_action() {
    assert_eq!(handler("- url: /a\n  script: a.app\n").auth_fail, AuthFail::Redirect);
    assert_eq!(handler("- url: /a\n  script: a.app\n  auth_fail_action: unauthorized\n").auth_fail, AuthFail::Unauthorized);
    assert_eq!(refused("- url: /a\n  script: a.app\n  auth_fail_action: cry\n"), ["A0014"]);
}

#[test]
fn y20_secure_and_its_redirect() {
    for (word, secure) in
        [("optional", Secure::Optional), ("never", Secure::Never), ("always", Secure::Always), ("default", Secure::Optional)]
    {
        assert_eq!(handler(&format!("- url: /a\n  script: a.app\n  secure: {word}\n")).secure, secure);
    }
    assert_eq!(handler("- url: /a\n  script: a.app\n").redirect, RedirectCode::Found);
    for code in [301, 302, 303, 307] {
        let found = handler(&format!("- url: /a\n  script: a.app\n  redirect_http_response_code: {code}\n"));
        assert_eq!(found.redirect.status(), code);
    }
    assert_eq!(refused("- url: /a\n  script: a.app\n  redirect_http_response_code: 308\n  secure: yes\n"), ["A0014", "A0014"]);
}

#[test]
fn y21_inbound_services() {
    let config = good(&format!("{PYTHON3}inbound_services:\n- mail\n- warmup\n- warmup\n"));
    assert_eq!(config.inbound.into_iter().collect::<Vec<_>>(), [InboundService::Mail, InboundService::Warmup]);
    assert_eq!(codes(&format!("{PYTHON3}inbound_services:\n- warm_up\n")), ["A0014"]);
}

#[test]
fn y22_instance_classes_go_with_their_scaling() {
    let basic = "basic_scaling:\n  max_instances: 2\n";
    assert_eq!(good(PYTHON3).class, InstanceClass::F1);
    assert_eq!(good(&format!("{PYTHON3}{basic}")).class, InstanceClass::B2);
    assert_eq!(good(&format!("{PYTHON3}instance_class: F4_1G\n")).class, InstanceClass::F4_1G);
    assert_eq!(good(&format!("{PYTHON3}{basic}instance_class: B8\n")).class, InstanceClass::B8);
    assert_eq!(codes(&format!("{PYTHON3}{basic}instance_class: F2\n")), ["A0303"]);
    assert_eq!(codes(&format!("{PYTHON3}manual_scaling:\n  instances: 1\ninstance_class: F1\n")), ["A0303"]);
    assert_eq!(codes(&format!("{PYTHON3}instance_class: B2\n")), ["A0303"]);
    assert_eq!(codes(&format!("{PYTHON3}instance_class: f1\n")), ["A0014"]);
}

#[test]
fn y23_libraries_of_python27() {
    let libraries = "libraries:\n- name: PIL\n  version: \"1.1.7\"\n- name: webob\n  version: latest\n- name: django\n  version: 1.11\n";
    let config = good(&format!("{PYTHON27}{libraries}handlers:\n- url: /.*\n  script: a.app\n"));
    let version = |name: &str| config.libraries.iter().find(|library| library.name == name).map(|library| library.version.as_str());
    assert_eq!((version("PIL"), version("webob"), version("django")), (Some("1.1.7"), Some("1.2.3"), Some("1.11")));
    // What django needs, and what is always there.
    assert_eq!((version("pytz"), version("webapp2"), version("lxml")), (Some("2017.2"), Some("2.3"), None));
    assert!(good(PYTHON3).libraries.is_empty());
}

#[test]
fn y24_services_and_modules() {
    assert_eq!(good(PYTHON3).key.to_string(), "default/dev");
    assert_eq!(good(&format!("{PYTHON3}service: api\nversion: v1\n")).key.to_string(), "api/v1");
    assert_eq!(good(&format!("{PYTHON3}module: api\n")).key.service.as_str(), "api");
    assert_eq!(codes(&format!("{PYTHON3}module: api\nservice: api\n")), ["A0018"]);
    for bad in ["-a", "a-", "A", "a_b", "a.b", "\"\""] {
        assert_eq!(codes(&format!("{PYTHON3}service: {bad}\n")), ["A0204"], "{bad}");
    }
    let (service, version) = ("s".repeat(40), "v".repeat(24));
    assert_eq!(codes(&format!("{PYTHON3}service: {service}\nversion: {version}\n")), ["A0207"]);
}

#[test]
fn y25_runtimes_and_threadsafe() {
    let wsgi = "handlers:\n- url: /.*\n  script: main.app\n";
    assert!(good(&format!("runtime: python27\napi_version: 1\nthreadsafe: on\n{wsgi}")).threadsafe);
    assert!(!good(&format!("{PYTHON27}{wsgi}")).threadsafe);
    assert_eq!(codes(&format!("runtime: python27\napi_version: 1\n{wsgi}")), ["A0013"]);
    assert_eq!(codes("runtime: python27\napi_version: 1\nthreadsafe: true\nhandlers:\n- url: /.*\n  script: main.py\n"), ["A0113"]);
    assert!(good(PYTHON3).threadsafe);
    for (name, language) in [
        ("nodejs22", Language::Node),
        ("go122", Language::Go),
        ("java21", Language::Java),
        ("php83", Language::Php),
        ("ruby33", Language::Ruby),
    ] {
        assert_eq!(good(&format!("runtime: {name}\n")).runtime.language(), language);
    }
    for (text, code) in [
        ("runtime: python28\n", "A0202"),
        ("runtime: Python312\n", "A0202"),
        ("runtime: nodejs\n", "A0202"),
        ("runtime: php55\n", "A0203"),
        ("runtime: go1.9\n", "A0203"),
        ("runtime: java8\n", "A0203"),
        ("service: a\n", "A0013"),
        ("runtime: python\nenv: flex\n", "A0201"),
        ("env: flexible\n", "A0201"),
        ("runtime: custom\n", "A0201"),
        ("vm: true\nruntime: python27\nunknown: 1\n", "A0201"),
        ("runtime: nodejs\nreadiness_check:\n  path: /x\n", "A0201"),
    ] {
        assert_eq!(codes(text), [code], "{text}");
    }
}

#[test]
fn y26_skipped_files() {
    let defaults = good(PYTHON3).skip_files;
    assert_eq!(defaults.0.iter().map(|pattern| pattern.source().to_owned()).collect::<Vec<_>>(), SkipFiles::DEFAULTS);
    let skips = |yaml: &str, path: &str| good(&format!("{PYTHON3}skip_files:{yaml}\n")).skip_files.skips(path);
    assert!(skips(" ^foo$", "foo") && !skips(" ^foo$", ".hidden"));
    assert!(skips("\n- logs/\n- ^(.*/)?.*\\.bak$", "a/b.bak"));
    assert!(skips(" |\n  ^a$|\n  ^b$", "b"));
    assert_eq!(codes(&format!("{PYTHON3}skip_files:\n- (\n- ''\n")), ["A0105", "A0015"]);
}

#[test]
fn y27_versions() {
    for bad in ["default", "latest", "ah-x", "V1", "v_1", "-v", "v-"] {
        assert_eq!(codes(&format!("{PYTHON3}version: {bad}\n")), ["A0204"], "{bad}");
    }
    assert_eq!(codes(&format!("{PYTHON3}version: 20150101t120000\n")), ["A0209"]);
    // YAML reads 007 as a number; the SDK makes text of it again.
    assert_eq!(good(&format!("{PYTHON3}version: 007\n")).key.version.as_str(), "7");
}

#[test]
fn y28_connectors_are_checked_and_not_available() {
    let connector = |name: &str| format!("{PYTHON3}vpc_access_connector:\n  name: {name}\n");
    let name = "projects/p/locations/us-central1/connectors/c";
    assert_eq!(good(&connector(name)).vpc_connector.as_deref(), Some(name));
    assert_eq!(codes(&connector(name)), ["A0211"]);
    assert_eq!(codes(&connector("Projects/P")), ["A0015"]);
    assert_eq!(codes(&format!("{PYTHON3}vpc_access_connector: {{}}\n")), ["A0013"]);
}

#[test]
fn y29_automatic_scaling() {
    let text = "automatic_scaling:\n  target_cpu_utilization: 0.65\n  min_instances: 5\n  max_instances: 100\n  min_pending_latency: 30ms\n  \
                max_pending_latency: automatic\n  max_concurrent_requests: 50\n  max_idle_instances: automatic\n  min_idle_instances: 2\n";
    let Scaling::Automatic(found) = good(&format!("{PYTHON3}{text}")).scaling else { panic!("automatic") };
    assert_eq!((found.max_instances, found.min_instances, found.max_concurrent_requests), (Some(100), 5, 50));
    assert_eq!((found.min_pending_latency, found.max_pending_latency), (Some(Duration::from_millis(30)), None));
    assert_eq!((found.max_idle_instances, found.min_idle_instances), (None, Some(2)));
    assert!((found.target_cpu_utilization - 0.65).abs() < 1e-9 && (found.target_throughput_utilization - 0.6).abs() < 1e-9);
    assert_eq!(good(PYTHON3).scaling, Scaling::default());
    for (line, code) in [
        ("max_instances: 2147483648", "A0016"),
        ("max_instances: -1", "A0016"),
        ("min_instances: 1001", "A0016"),
        ("min_instances: x", "A0015"),
        ("max_idle_instances: 0", "A0016"),
        ("max_idle_instances: 1001", "A0016"),
        ("min_idle_instances: many", "A0015"),
        ("target_cpu_utilization: 0.49", "A0016"),
        ("target_throughput_utilization: 0.96", "A0016"),
        ("max_concurrent_requests: 0", "A0016"),
        ("max_concurrent_requests: 81", "A0016"),
        ("min_pending_latency: 1.5ms", "A0015"),
        ("max_pending_latency: 30", "A0015"),
        ("max_instnces: 3", "A0011"),
    ] {
        assert_eq!(codes(&format!("{PYTHON3}automatic_scaling:\n  {line}\n")), [code], "{line}");
    }
    assert_eq!(codes(&format!("{PYTHON3}automatic_scaling:\n  min_pending_latency: 2s\n  max_pending_latency: 1s\n")), ["A0302"]);
    let off = good(&format!("{PYTHON3}automatic_scaling:\n  min_instances: 3\n  max_instances: 0\n"));
    assert!(matches!(off.scaling, Scaling::Automatic(automatic) if automatic.max_instances.is_none()));
}

#[test]
fn y30_basic_scaling() {
    let basic = |lines: &str| format!("{PYTHON3}basic_scaling:\n{lines}");
    let Scaling::Basic(found) = good(&basic("  max_instances: 11\n  idle_timeout: 10m\n")).scaling else { panic!("basic") };
    assert_eq!((found.max_instances, found.idle_timeout), (11, Duration::from_mins(10)));
    let Scaling::Basic(found) = good(&basic("  max_instances: 1\n")).scaling else { panic!("basic") };
    assert_eq!(found.idle_timeout, Duration::from_mins(5));
    assert_eq!(codes(&basic("  idle_timeout: 10m\n")), ["A0013"]);
    assert_eq!(codes(&basic("  max_instances: 0\n  idle_timeout: 1h\n")), ["A0016", "A0015"]);
}

#[test]
fn y31_manual_scaling() {
    assert!(
        matches!(good(&format!("{PYTHON3}manual_scaling:\n  instances: 5\n")).scaling, Scaling::Manual(manual) if manual.instances == 5)
    );
    assert_eq!(codes(&format!("{PYTHON3}manual_scaling:\n  instances: 0\n")), ["A0016"]);
    assert_eq!(codes(&format!("{PYTHON3}manual_scaling: {{}}\n")), ["A0013"]);
    assert_eq!(codes(&format!("{PYTHON3}manual_scaling:\n  instances: 1\nautomatic_scaling:\n  min_instances: 1\n")), ["A0301"]);
}

#[test]
fn y1_other_line_ends_and_a_byte_order_mark_are_fine() {
    let config =
        good("\u{feff}runtime: python312\r\nservice: api # comment\r\nenv_variables:\r\n  A: b c \r\n  B: |\r\n    two\r\n    lines\r\n");
    assert_eq!((config.key.service.as_str(), config.env["A"].as_str(), config.env["B"].as_str()), ("api", "b c", "two\nlines\n"));
    let parsed = parse::app_yaml("app.yaml", "runtime: python312\r\n\r\ncolour: red\r\n", &BTreeMap::new());
    let place = parsed.diagnostics[0].primary.as_ref().map(|label| parsed.sources.line(label.span));
    assert_eq!(place, Some(3));
}
