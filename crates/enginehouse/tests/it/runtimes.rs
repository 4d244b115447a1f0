//! One real sample for each runtime, run from its folder as it is; and what builds do: cached, never in the user's folder, with their output kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use testkit::{App, Builder, Finished, Node, Python, Request};

use crate::{node, workspace};

fn example(name: &str) -> App {
    App::copy_of(&workspace().join("examples").join(name))
}

/// Every file of a folder with its content and time of change.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let found = std::fs::symlink_metadata(&path).expect("exists");
        if found.is_dir() {
            all.extend(snapshot(&path));
        }
        let content = if found.is_file() { std::fs::read(&path).expect("readable") } else { Vec::new() };
        all.insert(path, (content, found.modified().expect("known")));
    }
    all
}

/// Starts an app, lets `try_it` ask, and checks that its folder is as it was.
fn leaves_no_trace(app: &App, try_it: impl Fn(&Node)) {
    let before = snapshot(app.path());
    let node = node().app(app).start();
    try_it(&node);
    drop(node);
    let after = snapshot(app.path());
    let names = |all: &BTreeMap<PathBuf, _>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "files came or went");
    assert_eq!(before, after);
}

/// Asks an example for its greeting.
fn greets(node: &Node, runs_on: &str) {
    let text = node.get("/?name=J%C3%BCrgen").expect(200).text();
    assert!(text.contains("Jürgen") && text.contains("default") && text.contains(runs_on), "{text}");
    node.get("/no/such/page").expect(404);
}

#[test]
fn y25_php_with_its_front_controller() {
    leaves_no_trace(&example("hello-php"), |node| {
        greets(node, "on PHP 8");
        node.get("/static/style.css").expect(200);
        node.get("/?name=logged").expect(200);
        node.wait_line("PHP's log", |line| line.contains("greeting logged"));
    });
}

#[test]
fn y25_ruby_with_rack() {
    leaves_no_trace(&example("hello-ruby"), |node| greets(node, "on Ruby"));
}

#[test]
fn y25_go_is_compiled_once() {
    let app = example("hello-go");
    leaves_no_trace(&app, |node| greets(node, "on go1"));
    let again = node().app(&app).start();
    greets(&again, "on go1");
    assert!(!again.everything().contains("compiling"), "{}", again.everything());
}

#[test]
fn y25_java_from_source() {
    leaves_no_trace(&example("hello-java"), |node| greets(node, "on Java"));
}

#[test]
fn y25_express_with_its_packages() {
    let app = example("hello-express");
    leaves_no_trace(&app, |node| {
        greets(node, "on Express");
        node.get("/public/robots.txt").expect(200);
    });
    // The second start finds the packages: nothing is installed any more, and nothing could be.
    let again = node().app(&app).env("npm_config_registry", "http://127.0.0.1:9/").start();
    greets(&again, "on Express");
    assert!(!again.everything().contains("installing"), "{}", again.everything());
    assert!(!app.join("node_modules").exists());
}

#[test]
fn y25_django() {
    leaves_no_trace(&with_this_python(example("hello-django")), |node| greets(node, "on Django"));
}

#[test]
fn y25_fastapi_by_its_entrypoint() {
    leaves_no_trace(&with_this_python(example("hello-fastapi")), |node| {
        let greeting = node.get("/?name=J%C3%BCrgen").expect(200).json();
        assert_eq!((greeting["hello"].as_str(), greeting["service"].as_str()), (Some("Jürgen"), Some("default")));
    });
}

#[test]
fn y25_python27_by_cgi() {
    leaves_no_trace(&example("hello-cgi"), |node| {
        assert_eq!(node.get("/?name=you").expect(200).text(), "Hello, you! This is default by CGI.\n");
    });
}

/// The example's runtime is made to fit the Python of this machine.
fn with_this_python(app: App) -> App {
    let text = std::fs::read_to_string(app.join("app.yaml")).expect("file");
    app.write("app.yaml", text.replace("python311", &Python::Three.runtime()));
    app
}

/// The documented variables, whatever the runtime.
fn check_documented(env: &serde_json::Value, runtime: &str) {
    for (name, value) in [
        ("GAE_APPLICATION", "s~shop"),
        ("GAE_ENV", "standard"),
        ("GAE_MEMORY_MB", "768"),
        ("GAE_RUNTIME", runtime),
        ("GAE_SERVICE", "default"),
        ("GAE_VERSION", "v7"),
        ("GOOGLE_CLOUD_PROJECT", "shop"),
        ("NODE_ENV", "production"),
        ("OWN", "mine"),
    ] {
        assert_eq!(env[name], value, "{name} on {runtime}: {env}");
    }
    for name in ["GAE_DEPLOYMENT_ID", "GAE_INSTANCE", "PORT"] {
        assert!(env[name].as_str().is_some_and(|value| !value.is_empty()), "{name} on {runtime}: {env}");
    }
    assert!(env.get("ENGINEHOUSE_SECRET_OF_THE_HOUSE").is_none(), "{env}");
}

const HEAD: &str = "service: default\nversion: v7\ninstance_class: F2\nenv_variables:\n  OWN: mine\nhandlers:\n- url: /assets\n  static_dir: assets\n- url: /.*\n  script: auto\n";

/// Prints its environment and what it sees of its files, as JSON.
const NODE: &str = "
const fs = require('fs');
require('http').createServer((request, response) => {
  response.end(JSON.stringify({env: process.env, files: fs.readdirSync('.').sort(), cwd: process.cwd()}));
}).listen(process.env.PORT);
";
const PHP: &str = "<?php
header('Content-Type: application/json');
$files = array_values(array_diff(scandir('.'), ['.', '..']));
sort($files);
$env = getenv();
echo json_encode(['env' => $env, 'files' => $files, 'cwd' => getcwd(), 'script' => $_SERVER['SCRIPT_NAME'], 'uri' => $_SERVER['REQUEST_URI']]);
";
const RUBY: &str = "
require 'json'
run lambda { |env| [200, {}, [JSON.generate({env: ENV.to_h, files: Dir.children('.').sort, cwd: Dir.pwd})]] }
";
const GO: &str = "
package main

import (
	\"encoding/json\"
	\"net/http\"
	\"os\"
	\"strings\"
)

func main() {
	http.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) {
		env := map[string]string{}
		for _, pair := range os.Environ() {
			parts := strings.SplitN(pair, \"=\", 2)
			env[parts[0]] = parts[1]
		}
		files := []string{}
		entries, _ := os.ReadDir(\".\")
		for _, entry := range entries {
			files = append(files, entry.Name())
		}
		cwd, _ := os.Getwd()
		json.NewEncoder(w).Encode(map[string]interface{}{\"env\": env, \"files\": files, \"cwd\": cwd})
	})
	http.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil)
}
";

/// An app that tells what it sees, with files that it should not see.
fn telling(runtime: &str, files: &[(&str, &str)]) -> App {
    let app = App::with_yaml(&format!("runtime: {runtime}\n{HEAD}"));
    let app = files.iter().fold(app, |app, (name, text)| app.file(name, text));
    app.file("assets/a.css", "a {}").file(".hidden", "secret").file("old~", "backup")
}

fn sees(runtime: &str, files: &[(&str, &str)]) -> serde_json::Value {
    let app = telling(runtime, files);
    let node = node().app(&app).args(["--project", "shop"]).env("ENGINEHOUSE_SECRET_OF_THE_HOUSE", "x").start();
    let seen = node.get("/what").expect(200).json();
    check_documented(&seen["env"], runtime);
    let mut wanted: Vec<&str> = files.iter().map(|(name, _)| *name).chain(["app.yaml"]).collect();
    wanted.sort_unstable();
    assert_eq!(seen["files"], serde_json::json!(wanted), "{runtime}");
    node.get("/assets/a.css").expect(200);
    seen
}

#[test]
fn y9_y16_y26_node_sees_the_documented_environment_and_only_its_code() {
    sees("nodejs22", &[("server.js", NODE)]);
}

#[test]
fn y9_y16_y26_php_sees_the_documented_environment_and_only_its_code() {
    let seen = sees("php83", &[("index.php", PHP)]);
    assert_eq!((seen["script"].as_str(), seen["uri"].as_str()), (Some("/index.php"), Some("/what")));
}

#[test]
fn y9_y16_y26_ruby_sees_the_documented_environment_and_only_its_code() {
    let seen = sees("ruby33", &[("config.ru", RUBY)]);
    assert_eq!(seen["env"]["RACK_ENV"], "production");
}

#[test]
fn y9_y16_y26_go_sees_the_documented_environment_and_only_its_code() {
    // Without go.mod, as the first apps for this runtime were.
    sees("go119", &[("main.go", GO)]);
}

#[test]
fn y22_java_gets_a_heap_that_fits_its_class() {
    let main = "
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
public class Main {
    public static void main(String[] args) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(System.getenv(\"PORT\"))), 0);
        server.createContext(\"/\", exchange -> {
            byte[] body = Long.toString(Runtime.getRuntime().maxMemory() >> 20).getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
";
    let app = App::with_yaml("runtime: java21\ninstance_class: F2\nentrypoint: java Main.java\n").file("Main.java", main);
    let heap: u32 = node().app(&app).start().get("/").expect(200).text().parse().expect("a number");
    assert!((400..=540).contains(&heap), "{heap} MB");
}

#[test]
fn y25_java_is_built_by_the_apps_own_maven_and_its_jar_is_found() {
    let main = std::fs::read_to_string(workspace().join("examples/hello-java/Main.java")).expect("file");
    let wrapper = "mkdir -p target/classes && javac -d target/classes src/Main.java && echo \"built with $*\" \\\n\
                   && jar cfe target/app.jar Main -C target/classes . && jar cf target/plain.jar -C target/classes .\n";
    let app = App::with_yaml("runtime: java21\n").file("src/Main.java", main).file("mvnw", wrapper).file("pom.xml", "<project/>");
    leaves_no_trace(&app, |node| greets(node, "on Java"));
    let node = node().app(&app).start();
    node.wait_line("the command", |line| line.contains("java -jar target/app.jar"));
    greets(&node, "on Java");
}

/// A node whose cache is its own.
fn fresh(app: &App, cache: &Path) -> Builder {
    node().app(app).env("XDG_CACHE_HOME", cache)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Waits for the end of a node that cannot start its app.
fn fails(builder: Builder) -> Finished {
    builder.arg("--port").arg("0").command_output("run")
}

#[test]
fn a_build_script_runs_in_a_copy_and_a_change_runs_it_again() {
    let package = r#"{"scripts": {"build": "node build.js", "start": "node dist/app.js"}}"#;
    let build = "const fs = require('fs'); fs.mkdirSync('dist'); fs.copyFileSync('app.js', 'dist/app.js'); console.log('built it');\n";
    let app = App::with_yaml("runtime: nodejs22\n")
        .file("package.json", package)
        .file("build.js", build)
        .file("app.js", "require('http').createServer((q, r) => r.end('one')).listen(process.env.PORT);\n");
    leaves_no_trace(&app, |node| assert_eq!(node.get("/").expect(200).text(), "one"));
    let node = node().app(&app).start();
    assert_eq!(node.get("/").expect(200).text(), "one");
    assert!(!node.everything().contains("running the script"), "{}", node.everything());
    app.write("app.js", "require('http').createServer((q, r) => r.end('two')).listen(process.env.PORT);\n");
    node.eventually(&Request::get("/"), |response| response.text() == "two");
    assert!(node.everything().contains("running the script `build` of package.json"), "{}", node.everything());
}

#[test]
fn a_build_that_fails_shows_its_words_and_where_the_rest_is() {
    let cache = folder();
    let app =
        App::with_yaml("runtime: go122\n").file("main.go", "package main\n\nfunc main() { nonsense() }\n").file("go.mod", "module x\n");
    let finished = fails(fresh(&app, cache.path()));
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("undefined: nonsense") && finished.stderr.contains("all of its output is in "), "{finished:?}");
    let named = finished.stderr.split("all of its output is in ").nth(1).and_then(|rest| rest.split(',').next()).expect("a file is named");
    assert!(std::fs::read_to_string(named).expect("the file exists").contains("undefined: nonsense"));
    app.write(
        "main.go",
        "package main\n\nimport (\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc main() { http.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil) }\n",
    );
    fresh(&app, cache.path()).start().get("/").expect(404);
}

#[test]
fn a_build_that_takes_too_long_is_ended() {
    let cache = folder();
    let app = App::with_yaml("runtime: nodejs22\n").file("server.js", NODE).file("package.json", r#"{"scripts": {"build": "sleep 600"}}"#);
    let finished = fails(fresh(&app, cache.path()).args(["--build-timeout", "0.5"]));
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("which is as long as it may take (--build-timeout)"), "{finished:?}");
}

#[test]
fn a_missing_toolchain_is_named_with_what_to_install() {
    for (runtime, name, content, words) in [
        ("go122", "main.go", "package main\n", ["`go`", "install Go 1.22: `apt install golang-go`, `brew install go`"]),
        ("php83", "index.php", "<?php\n", ["`php`", "install PHP 8.3: `apt install php-cli`, `brew install php`"]),
        ("ruby33", "config.ru", "run nil\n", ["`rackup`", "`apt install ruby-rack`"]),
        ("nodejs22", "server.js", "", ["`node`", "install Node.js 22: `apt install nodejs`, `brew install node`"]),
        ("nodejs22", "package.json", "{\"dependencies\": {\"x\": \"1\"}, \"scripts\": {\"start\": \"x\"}}", ["`npm`", "`apt install npm`"]),
        ("php83", "composer.json", "{}", ["`composer`", "`apt install composer`"]),
    ] {
        let cache = folder();
        let app = App::with_yaml(&format!("runtime: {runtime}\n")).file(name, content);
        let finished = fails(fresh(&app, cache.path()).env("PATH", cache.path().join("empty")));
        assert_eq!(finished.code, Some(1), "{runtime}: {finished:?}");
        for word in words {
            assert!(finished.stderr.contains(word), "{runtime}: `{word}` is missing: {}", finished.stderr);
        }
    }
    let app = App::with_yaml("runtime: java21\nentrypoint: java Main.java\n").file("Main.java", "");
    let finished = fails(node().app(&app).env("PATH", "/nowhere"));
    assert!(finished.stderr.contains("install Java 21: `apt install default-jdk-headless`"), "{finished:?}");
}

#[test]
fn a_legacy_java_app_is_told_what_to_do() {
    let app = App::with_yaml("runtime: java21\n").file("WEB-INF/appengine-web.xml", "<appengine-web-app/>");
    let finished = fails(node().app(&app));
    assert!(finished.stderr.contains("configured by WEB-INF/appengine-web.xml") && finished.stderr.contains("java -jar"), "{finished:?}");
}

#[test]
fn a_house_that_is_killed_while_it_builds_leaves_nothing_half_made() {
    let cache = folder();
    let marker = cache.path().join("go-on");
    let build = format!(
        "const fs = require('fs'); fs.writeFileSync('half', 'x'); console.log('half way');\nwhile (!fs.existsSync('{}')) {{ Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20); }}\nfs.writeFileSync('whole', 'y');\n",
        marker.display()
    );
    let app = App::with_yaml("runtime: nodejs22\n")
        .file("package.json", r#"{"scripts": {"build": "node build.js", "start": "node app.js"}}"#)
        .file("build.js", build)
        .file("app.js", "require('http').createServer((q, r) => r.end(require('fs').readdirSync('.').join())).listen(process.env.PORT);\n");
    let mut first = fresh(&app, cache.path()).spawn();
    first.ready();
    let half = || walk(cache.path()).into_iter().any(|path| path.ends_with("half"));
    let until = std::time::Instant::now() + testkit::DEADLINE;
    while !half() {
        assert!(std::time::Instant::now() < until, "the build never began:\n{}", first.everything());
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    first.signal(rustix::process::Signal::KILL);
    // Nothing of the build is left behind either: `wait` looks.
    first.wait();
    std::fs::write(&marker, "").expect("written");
    let again = fresh(&app, cache.path()).start();
    let files = again.get("/").expect(200).text();
    assert!(files.contains("half") && files.contains("whole"), "{files}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(walk(&path));
        }
        all.push(path);
    }
    all
}

#[test]
fn composer_installs_a_package_that_lies_in_the_app() {
    let composer = r#"{"repositories": [{"packagist.org": false}, {"type": "path", "url": "lib/greeting", "options": {"symlink": false}}],
        "require": {"own/greeting": "*"}, "autoload": {"psr-4": {"App\\": "src/"}}}"#;
    let package = r#"{"name": "own/greeting", "version": "1.0.0", "autoload": {"psr-4": {"Greeting\\": "src/"}}}"#;
    let app = App::with_yaml("runtime: php83\n")
        .file("composer.json", composer)
        .file("lib/greeting/composer.json", package)
        .file("lib/greeting/src/Text.php", "<?php\nnamespace Greeting;\nclass Text { const HELLO = 'hello from a package'; }\n")
        .file("src/Page.php", "<?php\nnamespace App;\nclass Page { static function show() { echo \\Greeting\\Text::HELLO; } }\n")
        .file("public/index.php", "<?php\nrequire __DIR__ . '/../vendor/autoload.php';\nApp\\Page::show();\n");
    leaves_no_trace(&app, |node| assert_eq!(node.get("/any/path").expect(200).text(), "hello from a package"));
    let again = node().app(&app).start();
    again.get("/").expect(200);
    assert!(!again.everything().contains("installing"), "{}", again.everything());
}

#[test]
fn bundler_installs_a_gem_that_lies_in_the_app() {
    let gemspec = "Gem::Specification.new do |s|\n  s.name = 'greeting'\n  s.version = '1.0.0'\n  s.summary = 'x'\n  s.authors = ['x']\n  s.files = ['lib/greeting.rb']\nend\n";
    let server = "require 'greeting'\nrequire 'socket'\nserver = TCPServer.new('127.0.0.1', ENV['PORT'].to_i)\nloop do\n  client = server.accept\n  \
                  while (line = client.gets) && line != \"\\r\\n\" do end\n  client.write \"HTTP/1.1 200 OK\\r\\nContent-Length: #{Greeting::TEXT.size}\\r\\nConnection: close\\r\\n\\r\\n#{Greeting::TEXT}\"\n  client.close\nend\n";
    let app = App::with_yaml("runtime: ruby33\nentrypoint: bundle exec ruby app.rb\n")
        .file("Gemfile", "gem 'greeting', path: 'gems/greeting'\n")
        .file("gems/greeting/greeting.gemspec", gemspec)
        .file("gems/greeting/lib/greeting.rb", "module Greeting\n  TEXT = 'hello from a gem'\nend\n")
        .file("app.rb", server);
    leaves_no_trace(&app, |node| assert_eq!(node.get("/").expect(200).text(), "hello from a gem"));
}

#[test]
fn go_compiles_the_package_that_main_names() {
    let main = "package main\n\nimport (\n\t\"net/http\"\n\t\"os\"\n\t\"example.com/x/greeting\"\n)\n\nfunc main() {\n\thttp.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(greeting.Text)) })\n\thttp.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil)\n}\n";
    let app = App::with_yaml("runtime: go122\nmain: ./cmd/web\n")
        .file("go.mod", "module example.com/x\n\ngo 1.19\n")
        .file("greeting/greeting.go", "package greeting\n\nconst Text = \"hello from cmd/web\"\n")
        .file("cmd/web/main.go", main);
    leaves_no_trace(&app, |node| assert_eq!(node.get("/").expect(200).text(), "hello from cmd/web"));
}
