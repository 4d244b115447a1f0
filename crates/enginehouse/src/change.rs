//! What a change of files means for a service: nothing, a new routing table, or a new deployment. Pure; the watcher and the loader feed it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use appyaml::LoadedService;
use model::config::VersionConfig;
use model::deploy::{Part, part};
use model::handler::{HandlerKind, Origin};

/// What has to be done about a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// The service is not concerned.
    Nothing,
    /// The front end must look again: static files, error pages, handlers' details.
    Table,
    /// Running instances are out of date.
    Deployment,
}

/// Weighs the changed files, and the two readings of the configuration, for one service.
pub(crate) fn effect(old: &LoadedService, new: &LoadedService, changed: &BTreeSet<PathBuf>, configuration: &BTreeSet<PathBuf>) -> Effect {
    if old.root != new.root || for_instances(&old.config) != for_instances(&new.config) {
        return Effect::Deployment;
    }
    let from_configuration = if old.config == new.config { Effect::Nothing } else { Effect::Table };
    let from_files = changed.iter().filter(|path| !configuration.contains(*path)).map(|path| of_file(new, path)).max();
    from_configuration.max(from_files.unwrap_or(Effect::Nothing))
}

/// The configuration without what only the front end uses.
fn for_instances(config: &VersionConfig) -> VersionConfig {
    let mut config = config.clone();
    config.error_pages.clear();
    config.default_expiration = model::time::Expiration::DEFAULT;
    for handler in &mut config.handlers {
        handler.origin = Origin::default();
        if let HandlerKind::Static(files) = &mut handler.kind {
            files.expiration = None;
            files.mime_type = None;
            files.http_headers.clear();
        }
    }
    config
}

fn of_file(service: &LoadedService, path: &Path) -> Effect {
    let Some(relative) = path.strip_prefix(&service.root).ok().and_then(Path::to_str) else { return Effect::Nothing };
    match part(&service.config, relative) {
        Part::Skipped => Effect::Nothing,
        Part::Static => Effect::Table,
        Part::Code if service.config.error_pages.iter().any(|page| page.file == relative) => Effect::Table,
        Part::Code => Effect::Deployment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "runtime: python27\napi_version: 1\nthreadsafe: true\nhandlers:\n- url: /s\n  static_dir: s\n- url: /r\n  static_dir: r\n  \
                        application_readable: true\n- url: /f\n  static_files: f.txt\n  upload: f\\.txt\n- url: /.*\n  script: main.app\nerror_handlers:\n- file: \
                        sorry.html\n";

    fn load(root: &Path, yaml: &str) -> (LoadedService, BTreeSet<PathBuf>) {
        std::fs::write(root.join("app.yaml"), yaml).expect("file");
        std::fs::write(root.join("sorry.html"), "sorry").expect("file");
        let mut loaded = appyaml::load_app(&[root.to_path_buf()], &appyaml::Options::default());
        (loaded.services.pop().expect("one service"), loaded.files_read)
    }

    #[test]
    fn y16_static_files_are_no_matter_for_instances_unless_readable() {
        let home = tempfile::tempdir().expect("folder");
        let (service, files) = load(home.path(), YAML);
        for (name, wanted) in [
            ("s/a.css", Effect::Table),
            ("s/deep/a.css", Effect::Table),
            ("sx/a.css", Effect::Deployment),
            ("r/a.txt", Effect::Deployment),
            ("f.txt", Effect::Table),
            ("sorry.html", Effect::Table),
            ("main.py", Effect::Deployment),
            ("templates/a.html", Effect::Deployment),
            (".hidden", Effect::Nothing),
            ("app.yaml", Effect::Nothing),
        ] {
            let changed = BTreeSet::from([home.path().join(name)]);
            assert_eq!(effect(&service, &service, &changed, &files), wanted, "{name}");
        }
        assert_eq!(effect(&service, &service, &BTreeSet::from(["/elsewhere/main.py".into()]), &files), Effect::Nothing);
    }

    #[test]
    fn configuration_is_compared_by_what_it_says() {
        let home = tempfile::tempdir().expect("folder");
        let (old, _) = load(home.path(), YAML);
        for (yaml, wanted) in [
            (YAML.to_owned(), Effect::Nothing),
            (format!("# a comment\n{YAML}"), Effect::Table),
            (YAML.replace("static_dir: s\n", "static_dir: s\n  expiration: 1d\n"), Effect::Table),
            (format!("{YAML}default_expiration: 1d\n"), Effect::Table),
            (format!("{YAML}env_variables:\n  A: b\n"), Effect::Deployment),
            (YAML.replace("main.app", "other.app"), Effect::Deployment),
            (YAML.replace("  application_readable: true\n", ""), Effect::Deployment),
        ] {
            let (new, files) = load(home.path(), &yaml);
            assert_eq!(effect(&old, &new, &BTreeSet::new(), &files), wanted, "{yaml}");
        }
    }
}
