//! nodejsNN: packages by the manager whose lock file is there, the build script, `npm start` or `node server.js`.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Bench, Plan, Site};
use crate::cache::Held;
use crate::prepare::PrepareError;
use crate::stage::Staged;

/// Scripts of npm's life cycle that run with an installation, and may need any file of the app.
const HOOKS: [&str; 6] = ["preinstall", "install", "postinstall", "prepare", "preprepare", "postprepare"];
/// What an installation is made from.
const INPUTS: [&str; 10] = [
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "bun.lock",
    "bun.lockb",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
];

pub(super) fn plan(site: &Site<'_>) -> Result<Plan, PrepareError> {
    let package = Package::read(site.root())?;
    let line = site.line(|| default_command(site, package.as_ref()))?;
    let mut plan = site.plain(line);
    let Some(package) = package.filter(Package::needs_work) else { return Ok(plan) };
    let manager = Manager::of(site)?;
    let build = package.build_script();
    if build.is_none() && !package.needs_sources() {
        let layer = install(site, &manager, false)?;
        plan.files = site.with(&layer, &["node_modules"])?;
        plan.held.push(layer);
    } else {
        plan.files = build_tree(site, &manager, &package, build)?;
    }
    Ok(plan)
}

/// The packages alone, from package.json and the lock file.
fn install(site: &Site<'_>, manager: &Manager<'_>, development: bool) -> Result<Arc<Held>, PrepareError> {
    let mut key = site.key(if development { "node packages, all" } else { "node packages" });
    key.files(site.root(), &INPUTS);
    site.layer(&key.name("node"), |bench| {
        bench.bring(&INPUTS)?;
        manager.install(bench, development)
    })
}

/// Packages and build script in a copy of the app, whose files may all matter.
fn build_tree(site: &Site<'_>, manager: &Manager<'_>, package: &Package, build: Option<&str>) -> Result<Arc<Staged>, PrepareError> {
    // Packages that need nothing but their list are installed once for all states of the sources.
    let layer = if package.needs_sources() { None } else { Some(install(site, manager, true)?) };
    let mut key = site.key("node build");
    key.add(site.files.content().as_bytes());
    site.tree(&key.name("node"), |bench| {
        match &layer {
            Some(layer) => {
                let (from, to) = (layer.dir().join("node_modules"), bench.dir.join("node_modules"));
                let linked = if from.is_dir() { crate::stage::copy_all(&from, &to) } else { Ok(()) };
                linked.map_err(|e| PrepareError(format!("cannot copy {}: {e}", from.display())))?;
            }
            None => manager.install(bench, build.is_some())?,
        }
        let Some(script) = build else { return Ok(()) };
        bench.run(&format!("running the script `{script}` of package.json"), &manager.program, &["run", script], &[])?;
        manager.prune(bench)
    })
}

/// What production runs without an entrypoint.
fn default_command(site: &Site<'_>, package: Option<&Package>) -> Result<String, PrepareError> {
    if package.is_some_and(|package| package.script("start").is_some()) {
        Ok("npm start".into())
    } else if site.has("server.js") {
        Ok("node server.js".into())
    } else {
        let text = "neither a `start` script in package.json nor a server.js was found; add one of them, or an `entrypoint:` to app.yaml";
        Err(PrepareError(text.into()))
    }
}

/// package.json
struct Package(Value);

impl Package {
    fn read(root: &Path) -> Result<Option<Self>, PrepareError> {
        let Ok(text) = std::fs::read(root.join("package.json")) else { return Ok(None) };
        let wrong = |e: serde_json::Error| PrepareError(format!("package.json is not JSON: {e}"));
        serde_json::from_slice(&text).map(|value| Some(Self(value))).map_err(wrong)
    }

    fn script(&self, name: &str) -> Option<&str> {
        self.0.get("scripts")?.get(name)?.as_str()
    }

    /// The first of these that is there; an empty `gcp-build` means that nothing is to be built.
    fn build_script(&self) -> Option<&str> {
        let name = ["apphosting:build", "gcp-build", "build"].into_iter().find(|name| self.script(name).is_some())?;
        self.script(name).filter(|script| !script.trim().is_empty()).map(|_| name)
    }

    fn requirements(&self) -> impl Iterator<Item = &str> {
        let lists = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];
        let lists = lists.into_iter().filter_map(|list| self.0.get(list)?.as_object());
        lists.flat_map(|list| list.values().filter_map(Value::as_str))
    }

    fn needs_work(&self) -> bool {
        self.requirements().next().is_some() || self.build_script().is_some() || self.needs_sources()
    }

    /// Whether an installation needs more than the lists of packages.
    fn needs_sources(&self) -> bool {
        let local = |spec: &str| ["file:", "link:", "portal:", "workspace:", ".", "/"].iter().any(|start| spec.starts_with(start));
        let hooked = HOOKS.iter().any(|hook| self.script(hook).is_some());
        hooked || self.0.get("workspaces").is_some() || self.requirements().any(local)
    }
}

/// Who installs.
struct Manager<'a> {
    name: &'static str,
    program: std::path::PathBuf,
    locked: bool,
    site: &'a Site<'a>,
}

impl<'a> Manager<'a> {
    /// By the lock file, in the order of production's builders.
    fn of(site: &'a Site<'a>) -> Result<Self, PrepareError> {
        let locks = [("yarn.lock", "yarn"), ("pnpm-lock.yaml", "pnpm"), ("bun.lock", "bun"), ("bun.lockb", "bun")];
        let (name, locked) = match locks.iter().find(|(file, _)| site.has(file)) {
            Some((_, name)) => (*name, true),
            None => ("npm", site.has("package-lock.json") || site.has("npm-shrinkwrap.json")),
        };
        let program = site.need(name, "the packages of package.json")?;
        Ok(Self { name, program, locked, site })
    }

    fn install(&self, bench: &Bench<'_>, development: bool) -> Result<(), PrepareError> {
        let args: &[&str] = match (self.name, self.locked, development) {
            ("npm", true, true) => &["ci", "--include=dev", "--no-audit", "--no-fund"],
            ("npm", true, false) => &["ci", "--omit=dev", "--no-audit", "--no-fund"],
            ("npm", false, true) => &["install", "--include=dev", "--no-audit", "--no-fund"],
            ("npm", false, false) => &["install", "--omit=dev", "--no-audit", "--no-fund"],
            ("pnpm", _, true) => &["install", "--frozen-lockfile", "--config.node-linker=hoisted"],
            ("pnpm", _, false) => &["install", "--frozen-lockfile", "--prod", "--config.node-linker=hoisted"],
            ("bun", _, true) => &["install", "--frozen-lockfile"],
            ("bun", _, false) => &["install", "--frozen-lockfile", "--production"],
            // The options of yarn 1, which production's builders use unless .yarnrc.yml says otherwise.
            _ if self.site.has(".yarnrc.yml") => &["install", "--immutable"],
            (_, _, true) => &["install", "--frozen-lockfile", "--non-interactive", "--production=false"],
            (_, _, false) => &["install", "--frozen-lockfile", "--non-interactive", "--production=true"],
        };
        bench.run(&format!("installing package.json with {}", self.name), &self.program, args, &[("npm_config_update_notifier", "false")])
    }

    /// Takes away what only the build needed.
    fn prune(&self, bench: &Bench<'_>) -> Result<(), PrepareError> {
        let args: &[&str] = match self.name {
            "npm" => &["prune", "--omit=dev", "--no-audit", "--no-fund"],
            "pnpm" => &["prune", "--prod"],
            "yarn" if !self.site.has(".yarnrc.yml") => &["install", "--ignore-scripts", "--prefer-offline", "--production=true"],
            _ => return Ok(()),
        };
        bench.run("removing the packages that only the build needed", &self.program, args, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(text: &str) -> Package {
        Package(serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn the_build_script_follows_the_documented_order() {
        for (scripts, wanted) in [
            (r#"{"build": "b", "gcp-build": "g", "apphosting:build": "a"}"#, Some("apphosting:build")),
            (r#"{"build": "b", "gcp-build": "g"}"#, Some("gcp-build")),
            (r#"{"build": "b", "gcp-build": ""}"#, None),
            (r#"{"build": "b"}"#, Some("build")),
            (r#"{"start": "s"}"#, None),
        ] {
            assert_eq!(package(&format!(r#"{{"scripts": {scripts}}}"#)).build_script(), wanted, "{scripts}");
        }
    }

    #[test]
    fn sources_count_only_where_an_installation_may_use_them() {
        for (text, wanted) in [
            (r#"{"dependencies": {"express": "^4"}}"#, false),
            (r#"{"dependencies": {"mine": "file:./mine"}}"#, true),
            (r#"{"workspaces": ["a"]}"#, true),
            (r#"{"scripts": {"postinstall": "x"}}"#, true),
            (r#"{"scripts": {"start": "x"}}"#, false),
        ] {
            assert_eq!(package(text).needs_sources(), wanted, "{text}");
        }
        assert!(!package(r#"{"name": "x", "scripts": {"start": "x"}}"#).needs_work());
    }
}
