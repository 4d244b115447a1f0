//! Which files of an app are deployed: `skip_files` of the older runtimes, `.gcloudignore` otherwise, and what never belongs to an app.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use appyaml::LoadedService;
use model::config::{SkipFiles, VersionConfig};

use super::ignore::{self, Ignore};
use crate::client::{Failure, Outcome};

/// More than any app; what has so many is not an app's folder.
const MOST_FILES: usize = 100_000;
/// Folders of version control.
const NEVER: [&str; 3] = [".git", ".hg", ".svn"];

/// A file that belongs to the app.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its path in the app, with `/`.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// How it was when it was found.
    pub(super) meta: std::fs::Metadata,
}

/// The files of an app, and what the user should know about them.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Sorted by name.
    pub(super) files: Vec<Found>,
    /// Things that were left out and may surprise.
    pub(super) notes: Vec<String>,
}

impl Files {
    /// How many bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.meta.len()).sum()
    }
}

/// Which files are left out.
struct Rules<'a> {
    /// `None` if the app does not say and its runtime has no such rule.
    skip: Option<&'a SkipFiles>,
    ignore: Ignore,
    /// Nobody said what to leave out.
    has_no_list: bool,
}

impl<'a> Rules<'a> {
    fn of(config: &'a VersionConfig, root: &Path) -> Outcome<Self> {
        let has_list = root.join(ignore::NAME).is_file();
        let says = config.skip_files != SkipFiles::default();
        let skip = (says || (config.runtime.is_first_generation() && !has_list)).then_some(&config.skip_files);
        Ok(Self { skip, ignore: Ignore::of_app(root, &config.runtime)?, has_no_list: !has_list && !says })
    }

    fn skips(&self, name: &str, is_folder: bool) -> bool {
        let skipped = |skip: &SkipFiles| if is_folder { skip.skips(&format!("{name}/")) } else { skip.skips(name) };
        self.ignore.skips(name, is_folder) || self.skip.is_some_and(skipped)
    }
}

/// Looks through the folder of a service. Links are followed where they lead to something in it: an app that was fetched from elsewhere must not send
/// `~/.ssh` away (decision 130). Files that vanish meanwhile are as if they had never been.
pub(super) fn collect(service: &LoadedService) -> Outcome<Files> {
    let root = service.root.as_path();
    let rules = Rules::of(&service.config, root)?;
    let mut found = Files::default();
    let outside = RefCell::new(Vec::new());
    let wanted = |entry: &walkdir::DirEntry| {
        let Some(name) = relative(root, entry.path()) else { return true };
        if entry.path_is_symlink() && entry.path().canonicalize().is_ok_and(|target| !target.starts_with(root)) {
            if !rules.skips(&name, entry.file_type().is_dir()) {
                outside.borrow_mut().push(format!("{name}: a link that leads out of the app's folder; it is left out"));
            }
            return false;
        }
        !entry.file_type().is_dir() || !(rules.skips(&name, true) || is_foreign(entry, &rules))
    };
    let tree = walkdir::WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter().filter_entry(wanted);
    for entry in tree {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                refused(&error, root, &rules, &mut found.notes)?;
                continue;
            }
        };
        let Some(name) = relative(root, entry.path()) else { continue };
        if !entry.file_type().is_file() || rules.skips(&name, false) {
            continue;
        }
        let Ok(meta) = entry.metadata() else { continue };
        found.files.push(Found { name, path: entry.into_path(), meta });
        if found.files.len() > MOST_FILES {
            let where_ = root.display();
            return Err(Failure::Here(format!(
                "{where_} has more than {MOST_FILES} files; leave out what is not part of the app in .gcloudignore"
            )));
        }
    }
    found.notes.extend(outside.take());
    found.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// What cannot be read: nothing if it is left out anyway, a note for links that lead nowhere, otherwise an error.
fn refused(error: &walkdir::Error, root: &Path, rules: &Rules<'_>, notes: &mut Vec<String>) -> Outcome<()> {
    let path = error.path().unwrap_or(root);
    let name = relative(root, path).unwrap_or_default();
    let is_link = path.is_symlink();
    let is_gone = error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if !name.is_empty() && (rules.skips(&name, false) || rules.skips(&name, true) || (is_gone && !is_link)) {
        return Ok(());
    }
    if error.loop_ancestor().is_some() || (is_gone && is_link) {
        notes.push(format!("{name}: a link that leads {}; it is left out", if is_gone { "nowhere" } else { "into itself" }));
        return Ok(());
    }
    Err(Failure::Here(format!("{} cannot be read ({error}); make it readable, or name it in .gcloudignore", path.display())))
}

/// Version control, and virtual environments, which work only where they were made.
fn is_foreign(entry: &walkdir::DirEntry, rules: &Rules<'_>) -> bool {
    NEVER.iter().any(|name| entry.file_name() == *name) || (rules.has_no_list && entry.path().join("pyvenv.cfg").is_file())
}

/// A path in the app, as production writes it; `None` for the app itself.
fn relative(root: &Path, path: &Path) -> Option<String> {
    let inner = path.strip_prefix(root).ok()?;
    let names: Vec<_> = inner.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    (!names.is_empty()).then(|| names.join("/"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The names that are deployed of a folder with these files.
    fn deployed(yaml: &str, files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().expect("folder");
        for (name, text) in [("app.yaml", yaml)].iter().chain(files) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folder");
            fs::write(path, text).expect("written");
        }
        std::os::unix::fs::symlink("nowhere", dir.path().join("broken")).expect("linked");
        std::os::unix::fs::symlink(".", dir.path().join("loop")).expect("linked");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("passwd")).expect("linked");
        std::os::unix::fs::symlink("/etc", dir.path().join("etc")).expect("linked");
        std::os::unix::fs::symlink("app.yaml", dir.path().join("same.yaml")).expect("linked");
        let root = dir.path().canonicalize().expect("a folder");
        let loaded = appyaml::load_app(&[root], &appyaml::Options::default());
        assert!(loaded.is_ok(), "{:?}", loaded.diagnostics);
        collect(&loaded.services[0]).expect("collected").files.into_iter().map(|file| file.name).collect()
    }

    const TWO: &str = "runtime: python27\napi_version: 1\nthreadsafe: true\nhandlers:\n- url: /.*\n  script: main.app\n";
    const ODD: [(&str, &str); 6] =
        [("main.py", ""), ("main.pyc", ""), (".env", ""), (".git/HEAD", ""), ("venv/pyvenv.cfg", ""), ("lib/a/__pycache__/x", "")];

    #[test]
    fn y26_older_runtimes_leave_out_skip_files() {
        assert_eq!(deployed(TWO, &ODD), ["app.yaml", "lib/a/__pycache__/x", "main.py", "same.yaml"]);
        let own = format!("{TWO}skip_files:\n- ^lib/.*$\n");
        assert_eq!(deployed(&own, &ODD), [".env", "app.yaml", "main.py", "main.pyc", "same.yaml", "venv/pyvenv.cfg"]);
    }

    #[test]
    fn y26_newer_runtimes_follow_gcloudignore() {
        assert_eq!(deployed("runtime: python312\n", &ODD), [".env", "app.yaml", "main.py", "main.pyc", "same.yaml"]);
        let listed: Vec<_> = ODD.iter().copied().chain([(".gcloudignore", ".*\n!.env\nlib/\n")]).collect();
        assert_eq!(deployed("runtime: python312\n", &listed), [".env", "app.yaml", "main.py", "main.pyc", "same.yaml", "venv/pyvenv.cfg"]);
        assert_eq!(deployed(TWO, &listed), [".env", "app.yaml", "main.py", "main.pyc", "same.yaml", "venv/pyvenv.cfg"]);
    }
}
