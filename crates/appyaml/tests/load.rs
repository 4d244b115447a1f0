//! Whole app folders on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use appyaml::{Loaded, Options, load_app, render};
use model::handler::{HandlerKind, Script, StaticSource};

/// An app folder with these files.
struct App(tempfile::TempDir);

impl App {
    fn new(files: &[(&str, &str)]) -> Self {
        let app = Self(tempfile::tempdir().expect("a folder"));
        for (name, text) in files {
            app.write(name, text.as_bytes());
        }
        app
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("has one")).expect("can be made");
        fs::write(path, bytes).expect("writable");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, names: &[&str]) -> Loaded {
        self.load_with(names, &Options::default())
    }

    fn load_with(&self, names: &[&str], options: &Options) -> Loaded {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.path(name)).collect();
        load_app(&paths, options)
    }
}

#[track_caller]
fn codes(loaded: &Loaded, expected: &[&str]) {
    let found: Vec<&str> = loaded.diagnostics.iter().map(|d| d.code.id).collect();
    assert_eq!(found, expected, "{}", render::text(&loaded.diagnostics, &loaded.sources, false));
}

const HELLO: &str = "runtime: python312\n";
const PYTHON27: &str = "runtime: python27\napi_version: 1\nthreadsafe: true\nhandlers:\n- url: /.*\n  script: main.app\n";

#[test]
fn y24_a_folder_is_its_app_yaml_and_all_its_companions() {
    let app = App::new(&[
        ("app.yaml", HELLO),
        ("dispatch.yaml", "dispatch:\n- url: \"*/x/*\"\n  service: default\n"),
        ("cron.yaml", "cron:\n- url: /t\n  schedule: every 5 minutes\n"),
        ("queue.yaml", "queue:\n- name: mail\n  rate: 1/s\n"),
        ("index.yaml", "indexes:\n- kind: A\n  properties:\n  - name: x\n"),
        ("dos.yaml", "blacklist:\n- subnet: 192.0.2.0/24\n  description: noisy\n"),
    ]);
    let loaded = app.load(&[""]);
    codes(&loaded, &[]);
    assert!(loaded.is_ok());
    assert_eq!(loaded.services.len(), 1);
    assert_eq!(loaded.services[0].config.key.to_string(), "default/dev");
    assert_eq!(loaded.services[0].root, app.path(""));
    assert_eq!((loaded.dispatch.len(), loaded.cron.len(), loaded.indexes.len()), (1, 1, 1));
    let queues: Vec<&str> = loaded.queues.queues.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(queues, ["mail", "default"]);
    assert!(loaded.firewall.denies("192.0.2.7".parse().expect("an address")).is_some());
    assert!(loaded.firewall.denies("198.51.100.7".parse().expect("an address")).is_none());
    assert_eq!(loaded.files_read.len(), 6);
}

#[test]
fn y24_several_services_with_the_default_service_first() {
    let app = App::new(&[
        ("worker/worker.yaml", "runtime: python312\nservice: worker\n"),
        ("app.yaml", HELLO),
        ("dispatch.yaml", "dispatch:\n- url: \"*/w/*\"\n  service: worker\n- url: \"*/b/*\"\n  service: backend\n"),
    ]);
    let loaded = app.load(&["worker/worker.yaml", "app.yaml"]);
    codes(&loaded, &["A0603"]);
    let names: Vec<&str> = loaded.services.iter().map(|service| service.config.key.service.as_str()).collect();
    assert_eq!(names, ["default", "worker"]);
    assert_eq!(loaded.services[1].root, app.path("worker"));
    assert_eq!(loaded.dispatch.len(), 2);
}

#[test]
fn y24_the_default_service_must_exist_and_no_service_twice() {
    let app = App::new(&[
        ("a.yaml", "runtime: python312\nservice: a\n"),
        ("b.yaml", "runtime: python312\nservice: b\n"),
        ("b2.yaml", "runtime: python312\nmodule: b\n"),
        ("app.yaml", HELLO),
    ]);
    codes(&app.load(&["a.yaml", "b.yaml"]), &["A0503"]);
    codes(&app.load(&["a.yaml"]), &["A0505"]);
    codes(&app.load(&["app.yaml", "b.yaml", "b2.yaml"]), &["A0504"]);
    codes(&app.load(&["app.yaml", "app.yaml"]), &[]);
    let twice = app.load(&["app.yaml", "b.yaml", "b2.yaml"]);
    assert_eq!(twice.diagnostics[0].related.len(), 1);
}

#[test]
fn y24_a_service_with_mistakes_is_left_out_and_the_others_stay() {
    let app = App::new(&[("app.yaml", HELLO), ("bad.yaml", "runtime: python312\nservice: bad\ncolour: red\n")]);
    let loaded = app.load(&["app.yaml", "bad.yaml"]);
    codes(&loaded, &["A0011"]);
    assert!(!loaded.is_ok());
    assert_eq!(loaded.services.len(), 1);
}

#[test]
fn y1_missing_files_folders_and_other_encodings_have_clear_messages() {
    let app = App::new(&[("empty/other.yaml", "runtime: python312\n"), ("nul.yaml", "a\0b: c\n"), ("list/app.yaml", "- a\n")]);
    app.write("utf16.yaml", b"\xff\xfer\0u\0n\0");
    app.write("latin1.yaml", b"runtime: python312\n# \xe9\n");
    let loaded = app.load(&["nowhere.yaml", "empty", "utf16.yaml", "latin1.yaml", "nul.yaml", "list"]);
    let messages: Vec<String> = loaded
        .diagnostics
        .iter()
        .map(|d| format!("{} {} ({})", d.code.id, d.message, d.help.clone().unwrap_or_default()))
        .map(|message| message.replace(&app.path("").display().to_string(), "/app/"))
        .collect();
    expect_test::expect![[r#"
        [
            "A0001 cannot read /app/nowhere.yaml: it does not exist ()",
            "A0501 there is no app.yaml in /app/empty (give service files by name, such as `/app/empty/other.yaml`)",
            "A0002 /app/utf16.yaml is not UTF-8 text: it is UTF-16 (save it as UTF-8)",
            "A0002 /app/latin1.yaml is not UTF-8 text: line 2 has bytes that are none (save it as UTF-8)",
            "A0002 /app/nul.yaml is not UTF-8 text: it has zero bytes, like UTF-16 or a binary file (save it as UTF-8)",
            "A0010 the file is not a mapping of keys to values (a line of it looks like `runtime: python312`)",
        ]
    "#]]
    .assert_debug_eq(&messages);
    assert!(loaded.services.is_empty());
}

#[cfg(unix)]
#[test]
fn y1_a_pipe_or_a_loop_of_links_does_not_block() {
    let app = App::new(&[("app.yaml", HELLO)]);
    std::os::unix::fs::symlink(app.path("loop.yaml"), app.path("loop.yaml")).expect("a link");
    std::os::unix::fs::symlink("/dev/zero", app.path("zero.yaml")).expect("a link");
    codes(&app.load(&["loop.yaml", "zero.yaml"]), &["A0001", "A0001"]);
}

#[test]
fn y3_the_project_of_the_command_line_wins() {
    let app = App::new(&[
        ("app.yaml", "application: shop\nruntime: python312\n"),
        ("b.yaml", "application: other\nservice: b\nruntime: python312\n"),
    ]);
    let loaded = app.load(&["b.yaml", "app.yaml"]);
    assert_eq!(loaded.app.as_ref().map(model::ids::AppId::as_str), Some("shop"));
    codes(&loaded, &["A0208", "A0509", "A0208"]);
    let options = Options { project: Some("mine".parse().expect("valid")), ..Options::default() };
    let loaded = app.load_with(&["b.yaml", "app.yaml"], &options);
    assert_eq!(loaded.app.as_ref().map(model::ids::AppId::as_str), Some("mine"));
    codes(&loaded, &["A0208", "A0208"]);
}

#[test]
fn y9_variables_of_the_command_line_win() {
    let app = App::new(&[("app.yaml", "runtime: python312\nenv_variables:\n  A: file\n  B: file\n")]);
    let options = Options { env: BTreeMap::from([("A".to_owned(), "line".to_owned())]), ..Options::default() };
    let loaded = app.load_with(&[""], &options);
    assert_eq!(loaded.services[0].config.env["A"], "line");
    assert_eq!(loaded.services[0].config.env["B"], "file");
    assert!(appyaml::check_env_name("GAE_X").is_err() && appyaml::check_env_name("1").is_err() && appyaml::check_env_name("_a1").is_ok());
}

#[test]
fn y4_another_runtime_decides_what_handlers_are() {
    let app = App::new(&[("app.yaml", "runtime: python312\nhandlers:\n- url: /a\n  script: auto\n")]);
    let options = Options { runtime: model::runtime::Runtime::parse("python27"), ..Options::default() };
    let (own, other) = (app.load(&[""]), app.load_with(&[""], &options));
    let told = |loaded: &appyaml::Loaded| {
        let config = &loaded.services[0].config;
        (config.runtime.as_str().to_owned(), config.threadsafe, config.app_engine_apis)
    };
    assert_eq!(told(&own), ("python312".into(), true, false));
    assert_eq!(told(&other), ("python27".into(), false, true), "{:?}", other.diagnostics);
}

#[test]
fn y10_error_pages_exist_and_are_small() {
    let text = format!(
        "{PYTHON27}error_handlers:\n- file: ./ok.html\n- error_code: timeout\n  file: big.html\n- error_code: over_quota\n  file: gone.html\n"
    );
    let app = App::new(&[("app.yaml", &text), ("ok.html", "sorry")]);
    app.write("big.html", &vec![b'x'; 10 * 1024]);
    codes(&app.load(&[""]), &["A0507", "A0506"]);
    app.write("big.html", &vec![b'x'; 10 * 1024 - 1]);
    app.write("gone.html", b"back");
    let loaded = app.load(&[""]);
    codes(&loaded, &[]);
    assert_eq!(loaded.services[0].config.error_pages[0].file, "ok.html");
}

#[test]
fn y14_y15_static_sources_that_are_missing_are_warned_about() {
    let app = App::new(&[(
        "app.yaml",
        "runtime: python312\nhandlers:\n- url: /a\n  static_dir: a/\n- url: /b\n  static_files: b.txt\n  upload: b.txt\n- url: /(.*)\n  static_files: \\1\n  upload: .*\n",
    )]);
    codes(&app.load(&[""]), &["A0508", "A0508"]);
    app.write("a/x", b"");
    app.write("b.txt", b"");
    let loaded = app.load(&[""]);
    codes(&loaded, &[]);
    let HandlerKind::Static(files) = &loaded.services[0].config.handlers[0].kind else { panic!("static") };
    assert_eq!(files.source, StaticSource::Dir("a".into()));
}

#[test]
fn y7_includes_are_found_from_the_app_folder_and_beside_the_includer() {
    let app = App::new(&[
        ("app.yaml", &format!("{PYTHON27}includes:\n- lib\n- sub/one.yaml\n")),
        ("lib/include.yaml", "handlers:\n- url: /lib\n  script: lib.app\nincludes:\n- beside.yaml\n"),
        ("lib/beside.yaml", "handlers:\n- url: /beside\n  script: lib.beside\n"),
        (
            "sub/one.yaml",
            "handlers:\n- url: /one\n  script: one.app\n- url: /last\n  script: one.last\n  position: tail\nincludes:\n- lib\n- two.yaml\n",
        ),
        // In the app folder and beside the includer: the app folder comes first (document 003).
        ("two.yaml", "handlers:\n- url: /root\n  script: two.root\n"),
        ("sub/two.yaml", "handlers:\n- url: /sub\n  script: two.sub\n"),
    ]);
    let loaded = app.load(&[""]);
    codes(&loaded, &["A0112"]);
    let urls: Vec<&str> = loaded.services[0].config.handlers.iter().map(|handler| handler.written.as_str()).collect();
    assert_eq!(urls, ["/lib", "/beside", "/one", "/root", "/.*", "/last"]);
    assert_eq!(loaded.files_read.len(), 5);
    assert!(loaded.services[0].config.handlers[0].origin.file.ends_with("lib/include.yaml"));
}

#[test]
fn y7_an_absolute_include_and_a_cycle() {
    let app =
        App::new(&[("lib.yaml", "includes:\n- lib.yaml\n- app-lib.yaml\n"), ("app-lib.yaml", "handlers:\n- url: /x\n  script: x.app\n")]);
    let lib = app.path("lib.yaml");
    app.write("app.yaml", format!("{PYTHON27}includes:\n- {}\n", lib.display()).as_bytes());
    let loaded = app.load(&[""]);
    codes(&loaded, &[]);
    assert_eq!(loaded.services[0].config.handlers.len(), 2);
}

#[test]
fn y1_companions_are_known_by_name_and_by_content() {
    let app = App::new(&[
        ("app.yaml", HELLO),
        ("my-routes.yaml", "dispatch:\n- url: \"*/x\"\n  service: default\n"),
        ("dispatch.yaml", "dispatch: []\n"),
    ]);
    assert_eq!(app.load(&["app.yaml", "my-routes.yaml"]).dispatch.len(), 1);
    codes(&app.load(&["app.yaml", "my-routes.yaml", "dispatch.yaml"]), &["A0502"]);
    assert_eq!(app.load(&["app.yaml"]).dispatch.len(), 0);
}

#[test]
fn y25_newer_runtimes_send_the_rest_to_their_entry_point() {
    let app = App::new(&[("app.yaml", "runtime: nodejs22\nhandlers:\n- url: /a\n  script: auto\n  secure: always\n")]);
    let loaded = app.load(&[""]);
    let handlers = &loaded.services[0].config.handlers;
    assert_eq!(handlers.len(), 2);
    assert_eq!(handlers[1].kind, HandlerKind::Script(Script::Auto));
    assert_eq!(handlers[1].origin.line, 0);
    assert!(handlers[1].url.is_match(b"/anything"));
}

#[test]
fn y1_names_of_files_are_as_the_user_wrote_them() {
    let loaded = load_app(&[PathBuf::from("./does-not-exist")], &Options::default());
    assert_eq!(loaded.diagnostics[0].message, "cannot read does-not-exist: it does not exist");
    let here = load_app(&[], &Options::default());
    assert_eq!(here.diagnostics[0].message, "there is no app.yaml in the current folder");
    assert!(Path::new("Cargo.toml").is_file());
}
