//! javaNN: a jar that brings its own server, built by Maven or Gradle where their files are there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Plan, Site, jar};
use crate::prepare::PrepareError;
use crate::stage::Staged;

pub(super) fn plan(site: &Site<'_>) -> Result<Plan, PrepareError> {
    let entrypoint = site.config().entrypoint.is_some();
    if !entrypoint
        && let Some(file) = ["WEB-INF/appengine-web.xml", "src/main/webapp/WEB-INF/appengine-web.xml"].iter().find(|f| site.has(f))
    {
        return Err(PrepareError(format!(
            "this app is configured by {file}, which production serves with Google's own Jetty; that server is not to be had. Package the app as a \
             jar that brings a server along (an embedded Jetty or Tomcat, Spring Boot) and say `entrypoint: java -jar FILE.jar`"
        )));
    }
    let (files, notes) = build(site)?;
    let line = site.line(|| {
        let jar = the_jar(files.root())?;
        Ok(format!("java -jar {}", jar.display()))
    })?;
    let mut plan = site.plain(line);
    plan.files = files;
    plan.notes = notes;
    Ok(plan)
}

/// Builds sources, if there are any that say how.
fn build(site: &Site<'_>) -> Result<(Arc<Staged>, Vec<String>), PrepareError> {
    let gradle_file = ["build.gradle", "build.gradle.kts"].iter().any(|name| site.has(name));
    let (tool, wrapper, args): (_, _, &[&str]) = if site.has("pom.xml") {
        ("mvn", "mvnw", &["--batch-mode", "-DskipTests", "clean", "package"])
    } else if gradle_file {
        ("gradle", "gradlew", &["--console=plain", "--no-daemon", "clean", "assemble"])
    } else {
        return Ok((Arc::clone(site.files), Vec::new()));
    };
    let own = site.has(wrapper);
    let program = if own { Ok("/bin/sh".into()) } else { site.need(tool, "building the app") };
    let program: PathBuf = match program {
        Ok(program) => program,
        // What was built before is deployed with the rest.
        Err(_) if site.config().entrypoint.is_some() || the_jar(site.root()).is_ok() => {
            return Ok((Arc::clone(site.files), vec![format!("{tool} is not installed: what was built before is run")]));
        }
        Err(error) => return Err(error),
    };
    let mut key = site.key("java build");
    key.add(tool.as_bytes());
    key.add(site.files.content().as_bytes());
    let wrapper = format!("./{wrapper}");
    let args: Vec<&str> = own.then_some(wrapper.as_str()).into_iter().chain(args.iter().copied()).collect();
    let what = format!("building with {}", if own { &wrapper } else { tool });
    let files = site.tree(&key.name("java"), |bench| bench.run(&what, &program, &args, &[]))?;
    Ok((files, Vec::new()))
}

/// The one jar that can be run, relative to the app.
fn the_jar(root: &Path) -> Result<PathBuf, PrepareError> {
    let mut found = Vec::new();
    for folder in ["", "target", "build/libs"] {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let jars =
            entries.into_iter().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|extension| extension == "jar"));
        found.extend(jars.filter(|path| jar::main_class(path).is_some()));
        if !found.is_empty() {
            break;
        }
    }
    found.sort();
    let names: Vec<String> = found.iter().map(|path| path.strip_prefix(root).unwrap_or(path).display().to_string()).collect();
    match &*names {
        [one] => Ok(one.into()),
        [] => {
            let main = root.join("Main.java").is_file();
            let hint = if main { "java Main.java" } else { "java -jar app.jar" };
            Err(PrepareError(format!(
                "there is no jar with a Main-Class in the app's folder, in target or in build/libs; put one there, or write for example \
                 `entrypoint: {hint}` in app.yaml"
            )))
        }
        _ => Err(PrepareError(format!(
            "several jars can be run ({}); choose one with `entrypoint: java -jar {}`",
            names.join(", "),
            names[0]
        ))),
    }
}
