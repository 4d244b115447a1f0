//! goNNN: `go build` of `main:` or the app's folder.

use std::path::{Path, PathBuf};

use super::{Bench, Plan, Site};
use crate::prepare::PrepareError;

pub(super) fn plan(site: &Site<'_>) -> Result<Plan, PrepareError> {
    let package = package(site.config().main.as_deref())?;
    let folder = site.root().join(&package);
    if site.config().entrypoint.is_some() && (crate::tools::on_path("go").is_none() || !has_sources(&folder)) {
        // A program that was compiled elsewhere.
        let mut plan = site.line(|| Ok(String::new())).map(|line| site.plain(line))?;
        if has_sources(&folder) {
            plan.notes.push("go is not installed: nothing is compiled, `entrypoint` is run as it is".into());
        }
        return Ok(plan);
    }
    let go = site.need("go", "compiling the app")?;
    if !has_sources(&folder) {
        let what = folder.strip_prefix(site.root()).ok().filter(|rest| !rest.as_os_str().is_empty());
        let place = what.map_or_else(|| "the app's folder".to_owned(), |rest| rest.display().to_string());
        return Err(PrepareError(format!("there are no .go files in {place}; `main:` in app.yaml names the folder of package main")));
    }
    let mut key = site.key("go build");
    key.add(package.as_os_str().as_encoded_bytes());
    key.add(site.files.content().as_bytes());
    let layer = site.layer(&key.name("go"), |bench| compile(site, bench, &go, &package))?;
    let programs = layer.dir().join("bin");
    let line = site.line(|| Ok(quote(&programs.join("main"))))?;
    let mut plan = site.plain(line);
    plan.programs.push(programs);
    plan.held.push(layer);
    Ok(plan)
}

/// `main:` as a folder below the app's.
fn package(main: Option<&str>) -> Result<PathBuf, PrepareError> {
    let main = main.unwrap_or(".");
    let inside = Path::new(main).components().all(|part| matches!(part, std::path::Component::CurDir | std::path::Component::Normal(_)));
    if inside { Ok(main.into()) } else { Err(PrepareError(format!("`main: {main}` must be a folder below the one with go.mod"))) }
}

fn has_sources(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|extension| extension == "go"))
}

fn compile(site: &Site<'_>, bench: &Bench<'_>, go: &Path, package: &Path) -> Result<(), PrepareError> {
    let binary = bench.dir.join("bin/main").display().to_string();
    let what = format!("compiling {} with Go {}", site.config().key.service, site.tool);
    if site.has("go.mod") {
        let package = format!("./{}", package.display());
        return bench.run_in(site.root(), &what, go, &["build", "-o", &binary, &package], &[]);
    }
    // Without go.mod the app lies in a GOPATH of its own.
    let gopath = bench.dir.join("gopath");
    let sources = gopath.join("src/app");
    let copied = std::fs::create_dir_all(gopath.join("src")).and_then(|()| site.files.copy_to(&sources));
    copied.map_err(|e| PrepareError(format!("cannot copy the app to {}: {e}", sources.display())))?;
    let own = std::env::var("GOPATH").ok().or_else(|| Some(format!("{}/go", std::env::var("HOME").ok()?)));
    let path = own.map_or_else(|| gopath.display().to_string(), |own| format!("{}:{own}", gopath.display()));
    let env = [("GO111MODULE", "off"), ("GOPATH", path.as_str())];
    bench.run_in(&sources.join(package), &what, go, &["build", "-o", &binary, "."], &env)
}

/// For a shell.
fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_stays_below_the_app() {
        assert_eq!(package(None), Ok(".".into()));
        assert_eq!(package(Some("./cmd/web")), Ok("./cmd/web".into()));
        assert!(package(Some("../x")).is_err() && package(Some("/x")).is_err());
    }

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(quote(Path::new("/a/b-1.2")), "/a/b-1.2");
        assert_eq!(quote(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
