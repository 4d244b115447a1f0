//! Python: which interpreter, which packages, and how the agent is told what to serve.

pub(crate) mod agent;
mod environment;
pub(crate) mod find;
mod imports;
mod libraries;
mod pip;
mod sdk;

use std::path::Path;
use std::sync::Arc;

use environment::Recipe;
use find::Word;
use model::config::VersionConfig;
use model::handler::{HandlerKind, Script};
use model::pattern::Pattern;
use model::runtime::Language;
use model::table::Version;

use crate::fleet::House;
use crate::prepare::{AgentLaunch, CommandLaunch, Launch, PrepareError, Prepared, Progress, Summary};
use crate::stage::Staged;

/// Everything for one Python version.
pub(crate) fn prepare(house: &House, version: &Arc<Version>, files: &Staged, progress: &dyn Progress) -> Result<Prepared, PrepareError> {
    if version.root.to_str().is_none() {
        // Python itself could cope; the agent's settings are JSON, which cannot.
        return Err(PrepareError(format!("the app's folder {} has a name that is not UTF-8; rename it", version.root.display())));
    }
    let found = find::interpreter(&house.options, &version.config.runtime)?;
    let summary = Summary { interpreter: Some(found.python.interpreter()), notes: found.notes, ..Summary::default() };
    match version.config.runtime.language() {
        Language::Python27 => first_generation(house, version, files, &found.python, summary, progress),
        _ => second_generation(house, version, files, &found.python, summary, progress),
    }
}

/// python27: the agent, with those libraries and that much of the SDK that the sources ask for.
fn first_generation(
    house: &House,
    version: &Version,
    files: &Staged,
    python: &Word,
    mut summary: Summary,
    progress: &dyn Progress,
) -> Result<Prepared, PrepareError> {
    let config = &version.config;
    let mut imported = imports::of(files.root(), &config.skip_files);
    imported.extend(named(config).filter_map(module_of));
    let sdk = sdk::is_needed(&imported);
    let modern = python.major >= 3;
    if sdk && !modern {
        // The SDK's own modules import these.
        imported.extend(["webapp2", "webob", "yaml", "six"].map(str::to_owned));
    }
    let mut needs = libraries::needs(&config.libraries, &imported, python.major);
    if sdk && modern {
        needs.packages.push("appengine-python-standard".into());
    }
    summary.notes.append(&mut needs.notes);
    let (mut paths, mut held) = (Vec::new(), Vec::new());
    let mut interpreter = python.executable.clone();
    if modern || !needs.packages.is_empty() {
        let recipe = Recipe { python, files, requirements: None, packages: needs.packages };
        let environment = environment::provide(house, &recipe, progress)?;
        let dir = environment.dir().to_owned();
        held.push(Arc::new(environment));
        if modern {
            interpreter = dir.join("bin/python");
        } else {
            paths.push(dir.join("site"));
        }
        summary.environment = Some(dir);
    }
    if !modern && (sdk || !needs.sdk.is_empty()) {
        let (folders, sdk) = sdk::provide(house, python, &needs.sdk, progress)?;
        paths.extend(folders);
        held.push(Arc::new(sdk));
    }
    summary.entrypoint = scripts(&version.config);
    let (folder, agent) = agent::unpack(house, python, progress)?;
    held.push(Arc::new(agent));
    let launch = Launch::Agent(AgentLaunch { python: interpreter, folder, paths, script: String::new() });
    Ok(Prepared { summary, files: None, held, launch })
}

/// The scripts that the handlers name.
fn named(config: &VersionConfig) -> impl Iterator<Item = &str> {
    config.handlers.iter().filter_map(|handler| match &handler.kind {
        HandlerKind::Script(Script::Wsgi(script) | Script::Cgi(script)) => Some(script.source()),
        _ => None,
    })
}

/// The module that a script names: builtins name the SDK's, as objects or as files below `$PYTHON_LIB`.
fn module_of(script: &str) -> Option<String> {
    match script.strip_prefix("$PYTHON_LIB/") {
        Some(file) => Some(file.strip_suffix(".py")?.replace('/', ".")),
        None => script.rsplit_once('.').filter(|(module, _)| !module.contains(['/', '\\'])).map(|(module, _)| module.to_owned()),
    }
}

/// The first few scripts, for people.
fn scripts(config: &VersionConfig) -> String {
    let mut named: Vec<_> = named(config).collect();
    named.sort_unstable();
    named.dedup();
    let more = if named.len() > 3 { ", …" } else { "" };
    named.truncate(3);
    named.join(", ") + more
}

/// python3x: a virtual environment with the app's requirements; its `entrypoint`, or `main:app` by the agent.
fn second_generation(
    house: &House,
    version: &Version,
    files: &Staged,
    python: &Word,
    mut summary: Summary,
    progress: &dyn Progress,
) -> Result<Prepared, PrepareError> {
    let root = files.root();
    let requirements = Some(root.join("requirements.txt")).filter(|file| file.is_file());
    if requirements.is_none() {
        summary.notes.extend(unread(root));
    }
    let mut packages = Vec::new();
    let entrypoint = version.config.entrypoint.as_deref();
    if entrypoint.is_some_and(|line| names(line, "gunicorn")) && !requirements.as_deref().is_some_and(|file| lists(file, "gunicorn")) {
        summary.notes.push("`entrypoint` uses gunicorn, which requirements.txt does not list; it is installed besides".into());
        packages.push("gunicorn".to_owned());
    }
    if entrypoint.is_none() && !has_main(root) {
        if only_files(&version.config) {
            summary.notes.push("there is no main.py: only static files are served".into());
            return Ok(Prepared { summary, files: None, held: Vec::new(), launch: Launch::None });
        }
        check_main(version)?;
    }
    let environment = environment::provide(house, &Recipe { python, files, requirements, packages }, progress)?;
    let dir = environment.dir().to_owned();
    let mut held = vec![Arc::new(environment)];
    summary.environment = Some(dir.clone());
    let launch = if let Some(line) = entrypoint {
        line.clone_into(&mut summary.entrypoint);
        Launch::Command(CommandLaunch { line: line.to_owned(), environment: Some(dir), programs: Vec::new(), env: Vec::new() })
    } else {
        "main:app".clone_into(&mut summary.entrypoint);
        let (folder, agent) = agent::unpack(house, python, progress)?;
        held.push(Arc::new(agent));
        Launch::Agent(AgentLaunch { python: dir.join("bin/python"), folder, paths: Vec::new(), script: summary.entrypoint.clone() })
    };
    Ok(Prepared { summary, files: None, held, launch })
}

/// Without an entrypoint production serves `app` of main.py; handlers may name other objects (`script: api.app`), then it is not needed.
fn check_main(version: &Version) -> Result<(), PrepareError> {
    let auto = version.config.handlers.iter().any(|handler| matches!(handler.kind, HandlerKind::Script(Script::Auto)));
    if !auto {
        return Ok(());
    }
    Err(PrepareError(format!(
        "there is no main.py in {}; without `entrypoint:` the object `app` in main.py is served. Add main.py, or an entrypoint such as \
         `entrypoint: gunicorn -b :$PORT mysite.wsgi`",
        version.root.display()
    )))
}

fn has_main(root: &Path) -> bool {
    root.join("main.py").is_file() || root.join("main/__init__.py").is_file()
}

/// Whether an app has static files and no code: its one script handler is the one that newer runtimes have behind all others. App Engine takes such
/// apps.
fn only_files(config: &VersionConfig) -> bool {
    let mut scripts = config.handlers.iter().filter(|handler| matches!(handler.kind, HandlerKind::Script(_)));
    let implicit = scripts.next().is_some_and(|only| only.url == Pattern::everything());
    implicit && scripts.next().is_none() && config.handlers.len() > 1
}

/// What to say about other ways to list packages.
fn unread(root: &Path) -> Option<String> {
    let ways = [
        ("Pipfile", "pipenv requirements > requirements.txt"),
        ("poetry.lock", "poetry export --output requirements.txt"),
        ("uv.lock", "uv export --no-dev --output-file requirements.txt"),
        ("pdm.lock", "pdm export --prod --output requirements.txt"),
    ];
    let (file, way) = ways.into_iter().find(|(name, _)| root.join(name).is_file())?;
    Some(format!("{file} is not read; packages come from requirements.txt, which this app does not have: `{way}` writes it"))
}

/// Whether a shell command contains `word` as a word of its own, or as the last part of a path.
fn names(line: &str, word: &str) -> bool {
    line.split(|c: char| c.is_whitespace() || "/;&|()'\"".contains(c)).any(|part| part == word)
}

/// Whether a requirements file, or one that it includes, lists `package`.
fn lists(file: &Path, package: &str) -> bool {
    environment::closure(file).iter().any(|(_, content)| {
        let text = String::from_utf8_lossy(content).to_ascii_lowercase();
        text.lines().any(|line| {
            line.trim().strip_prefix(package).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || "-_.".contains(c)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y6_scripts_of_builtins_are_modules_of_the_sdk() {
        let modules = [
            "$PYTHON_LIB/google/appengine/ext/deferred/handler.py",
            "google.appengine.ext.deferred.application",
            "main.app",
            "cgi/x.py",
            r"\1.app",
        ];
        let found: Vec<_> = modules.into_iter().filter_map(module_of).collect();
        assert_eq!(found, ["google.appengine.ext.deferred.handler", "google.appengine.ext.deferred", "main"]);
        assert!(sdk::is_needed(&found.into_iter().collect()));
    }

    #[test]
    fn gunicorn_is_recognised_as_a_word() {
        assert!(names("exec gunicorn -b :$PORT main:app", "gunicorn") && names("./venv/bin/gunicorn x", "gunicorn"));
        assert!(!names("gunicornish", "gunicorn"));
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("requirements.txt");
        for (text, listed) in
            [("Gunicorn==20\n", true), ("gunicorn[gevent]>=19", true), ("gunicorn-extras\n", false), ("# gunicorn\n", false)]
        {
            std::fs::write(&file, text).expect("written");
            assert_eq!(lists(&file, "gunicorn"), listed, "{text}");
        }
    }
}
