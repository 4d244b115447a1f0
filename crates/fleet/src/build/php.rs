//! phpNN: composer's packages, and PHP's own server in front of the front controller.

use std::ffi::OsString;
use std::sync::Arc;

use serde_json::Value;

use super::{Bench, Plan, Site};
use crate::cache;
use crate::prepare::PrepareError;

/// What an installation is made from.
const INPUTS: [&str; 3] = ["composer.json", "composer.lock", "auth.json"];

/// Sends every request to the front controller, as production's server does, and tells it what that server would.
const ROUTER: &str = r"<?php
$_SERVER['SCRIPT_FILENAME'] = $_SERVER['DOCUMENT_ROOT'] . '/index.php';
$_SERVER['SCRIPT_NAME'] = $_SERVER['PHP_SELF'] = '/index.php';
unset($_SERVER['PATH_INFO']);
chdir($_SERVER['DOCUMENT_ROOT']);
require $_SERVER['SCRIPT_FILENAME'];
";

pub(super) fn plan(site: &Site<'_>) -> Result<Plan, PrepareError> {
    let mut plan = site.plain(String::new());
    if let Ok(text) = std::fs::read(site.root().join("composer.json")) {
        let composer: Value = serde_json::from_slice(&text).map_err(|e| PrepareError(format!("composer.json is not JSON: {e}")))?;
        install(site, &composer, &mut plan)?;
    }
    if let Some(line) = &site.config().entrypoint {
        line.clone_into(&mut plan.line);
        return Ok(plan);
    }
    let front = ["public/index.php", "index.php"].into_iter().find(|name| site.has(name));
    let front = front.ok_or_else(|| {
        PrepareError("neither public/index.php nor index.php was found; add one of them, or an `entrypoint:` to app.yaml".into())
    })?;
    serve(site, front, &mut plan)?;
    Ok(plan)
}

/// The command that serves, as one process with workers.
fn serve(site: &Site<'_>, front: &str, plan: &mut Plan) -> Result<(), PrepareError> {
    let mut key = site.key("php router");
    key.add(ROUTER.as_bytes());
    let dir = site.house.options.cache.join("builds").join(key.name("php-router"));
    let held = cache::provide(&dir, site.progress, || {
        std::fs::write(dir.join("router.php"), ROUTER).map_err(|e| PrepareError(format!("cannot write to {}: {e}", dir.display())))
    })?;
    let memory = site.config().class.memory_mb(false);
    let root = if front.starts_with("public/") { "public" } else { "." };
    let settings = [
        format!("memory_limit={memory}M"),
        "display_errors=0".into(),
        "log_errors=1".into(),
        "error_log=/dev/stderr".into(),
        "expose_php=0".into(),
        "variables_order=EGPCS".into(),
        "post_max_size=32M".into(),
        "upload_max_filesize=32M".into(),
        "max_execution_time=0".into(),
    ];
    let settings = settings.iter().map(|setting| format!("-d {setting}")).collect::<Vec<_>>().join(" ");
    plan.line = format!("php -q {settings} -S 127.0.0.1:$PORT -t {root} \"$ENGINEHOUSE_ROUTER\"");
    plan.env.push(("ENGINEHOUSE_ROUTER", dir.join("router.php").into()));
    // One worker takes one request; each has a quarter of the class's memory at least.
    let workers = (memory / 96).clamp(2, 16).min(site.config().concurrency().max(2));
    plan.env.push(("PHP_CLI_SERVER_WORKERS", OsString::from(workers.to_string())));
    plan.held.push(Arc::new(held));
    Ok(())
}

fn install(site: &Site<'_>, composer: &Value, plan: &mut Plan) -> Result<(), PrepareError> {
    let program = site.need("composer", "the packages of composer.json")?;
    let gcp_build = composer.pointer("/scripts/gcp-build").is_some();
    let run = |bench: &Bench<'_>, scripts: bool| {
        let mut args = vec!["install", "--no-dev", "--no-interaction", "--no-progress", "--prefer-dist"];
        args.extend((!scripts).then_some("--no-scripts"));
        let env = [("COMPOSER_ALLOW_SUPERUSER", "1"), ("COMPOSER_NO_INTERACTION", "1")];
        bench.run("installing composer.json", &program, &args, &env)?;
        if gcp_build {
            let args = ["run-script", "--no-dev", "--timeout=600", "gcp-build"];
            bench.run("running the script `gcp-build` of composer.json", &program, &args, &env)?;
        }
        Ok(())
    };
    if needs_sources(composer) {
        let mut key = site.key("php build");
        key.add(site.files.content().as_bytes());
        plan.files = site.tree(&key.name("php"), |bench| run(bench, true))?;
        return Ok(());
    }
    let mut key = site.key("php packages");
    key.files(site.root(), &INPUTS);
    let layer = site.layer(&key.name("php"), |bench| {
        bench.bring(&INPUTS)?;
        run(bench, false)
    })?;
    plan.files = site.with(&layer, &["vendor"])?;
    plan.held.push(layer);
    Ok(())
}

/// Whether an installation needs more than the list of packages: scripts, packages in folders, classes that are looked for.
fn needs_sources(composer: &Value) -> bool {
    let has = |pointer: &str| composer.pointer(pointer).is_some_and(|value| !value.as_object().is_some_and(serde_json::Map::is_empty));
    let looked_for = ["/autoload/classmap", "/autoload/files", "/config/optimize-autoloader", "/config/vendor-dir", "/scripts"];
    let folder = |list: &Value| {
        let mut all = list.as_array().into_iter().flatten().chain(list.as_object().into_iter().flat_map(serde_json::Map::values));
        all.any(|one| one.get("type").is_some_and(|kind| kind == "path" || kind == "artifact"))
    };
    looked_for.iter().any(|pointer| has(pointer)) || composer.get("repositories").is_some_and(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_count_only_where_composer_may_use_them() {
        for (text, wanted) in [
            (r#"{"require": {"slim/slim": "4"}, "autoload": {"psr-4": {"App\\": "src/"}}}"#, false),
            (r#"{"autoload": {"classmap": ["src"]}}"#, true),
            (r#"{"scripts": {"post-install-cmd": "x"}}"#, true),
            (r#"{"scripts": {}}"#, false),
            (r#"{"repositories": [{"type": "path", "url": "lib"}]}"#, true),
            (r#"{"repositories": {"a": {"type": "path", "url": "lib"}}}"#, true),
            (r#"{"repositories": [{"type": "vcs", "url": "x"}]}"#, false),
        ] {
            assert_eq!(needs_sources(&serde_json::from_str(text).expect("JSON")), wanted, "{text}");
        }
    }
}
