//! Environments: a folder of installed packages per (interpreter, requirements), made once and used by every app that asks for the same.
//!
//! A virtual environment cannot be moved (its scripts name its interpreter by path), so it is made where it stays, in a folder of the cache.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::find::Word;
use super::pip;
use crate::cache::{self, Held};
use crate::fleet::House;
use crate::prepare::{PrepareError, Progress};
use crate::stage::Staged;
use crate::work;

/// Rises when environments are made differently.
const FORMAT: &str = "1";

/// What an environment is made of.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    pub(crate) python: &'a Word,
    /// The app's files; requirements are read there.
    pub(crate) files: &'a Staged,
    /// `requirements.txt`, if the app has one and its runtime installs it.
    pub(crate) requirements: Option<PathBuf>,
    /// Packages besides, as pip writes them.
    pub(crate) packages: Vec<String>,
}

impl Recipe<'_> {
    /// A name that changes with anything that changes the result.
    fn key(&self) -> String {
        let mut hash = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(FORMAT.as_bytes());
        add(self.python.version.as_bytes());
        add(self.python.executable.as_os_str().as_encoded_bytes());
        if let Some(file) = &self.requirements {
            for (_, content) in closure(file) {
                add(&content);
            }
            if self.has_local() {
                add(self.files.content().as_bytes());
            }
        }
        for package in &self.packages {
            add(package.as_bytes());
        }
        model::brief::hex(&hash.finish().as_ref()[..12])
    }

    fn has_local(&self) -> bool {
        let all = self.requirements.iter().flat_map(|file| closure(file));
        all.into_iter().any(|(_, content)| String::from_utf8_lossy(&content).lines().any(is_local))
    }

    fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.requirements.is_none()
    }
}

/// A requirements file and all that it includes with `-r` and `-c`, each once.
pub(crate) fn closure(file: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![file.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = todo.pop() {
        // A file that is missing is pip's to complain about.
        let Some(content) = seen.insert(path.clone()).then(|| fs::read(&path).ok()).flatten() else { continue };
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        todo.extend(String::from_utf8_lossy(&content).lines().filter_map(included).map(|name| dir.join(name)));
        all.push((path, content));
    }
    all
}

fn included(line: &str) -> Option<String> {
    let line = line.trim();
    ["--requirement", "--constraint", "-r", "-c"].iter().find_map(|option| {
        let rest = line.strip_prefix(option)?.trim_start().trim_start_matches('=').trim();
        let name = rest.split(" #").next().unwrap_or(rest).trim();
        (!name.is_empty()).then(|| name.to_owned())
    })
}

/// Whether a requirement is a folder of the app (`./lib/mine`, `-e .`), whose content counts like the requirement itself.
fn is_local(line: &str) -> bool {
    let line = line.trim();
    let path = line.strip_prefix("-e").or_else(|| line.strip_prefix("--editable")).unwrap_or(line).trim();
    let path = path.strip_prefix("file:").unwrap_or(path);
    path.starts_with('.') || path.starts_with('/')
}

/// Gives the folder, making it first if nobody did yet.
pub(crate) fn provide(house: &House, recipe: &Recipe<'_>, progress: &dyn Progress) -> Result<Held, PrepareError> {
    let dir = house.options.cache.join("environments").join(recipe.key());
    cache::provide(&dir, progress, || make(house, recipe, &dir, progress))
}

fn make(house: &House, recipe: &Recipe<'_>, dir: &Path, progress: &dyn Progress) -> Result<(), PrepareError> {
    let cannot = |e: io::Error| PrepareError(format!("cannot make {}: {e}", dir.display()));
    if recipe.python.major >= 3 {
        virtual_environment(recipe.python, dir).map_err(cannot)?;
    }
    if recipe.is_empty() {
        return Ok(());
    }
    let python = &recipe.python.executable;
    let mut args = Vec::new();
    let runner = if recipe.python.major >= 3 {
        // The environment's interpreter runs the outer one's pip, so that no pip has to be installed first; what that one has installed does
        // not count.
        args.push(pip::locate(house, python)?.into());
        args.extend(["install", "--ignore-installed"].map(Into::into));
        dir.join("bin/python")
    } else {
        args.extend(["-m", "pip", "install", "--target"].map(Into::into));
        args.push(dir.join("site").into());
        python.clone()
    };
    args.extend(["--progress-bar", "off"].map(Into::into));
    // Building a requirement that is a folder of the app writes into that folder.
    let writable = recipe.has_local().then(|| dir.join("src"));
    if let Some(writable) = &writable {
        recipe.files.copy_to(writable).map_err(cannot)?;
    }
    let place = writable.as_deref().unwrap_or(recipe.files.root());
    if let Some(file) = &recipe.requirements {
        let file = file.strip_prefix(recipe.files.root()).map_or_else(|_| file.clone(), |name| place.join(name));
        args.extend(["-r".into(), file.into()]);
    }
    args.extend(recipe.packages.iter().map(Into::into));
    progress.step(&what(recipe));
    pip::run(house, &runner, args, place, &mut work::narrate(progress)).map_err(|lines| {
        let what = recipe.requirements.as_ref().map_or_else(|| recipe.packages.join(" "), |file| file.display().to_string());
        PrepareError(format!("pip could not install {what} for Python {}:\n  {}", recipe.python.version, lines.join("\n  ")))
    })
}

fn what(recipe: &Recipe<'_>) -> String {
    let mut parts = Vec::new();
    if let Some(file) = &recipe.requirements {
        parts.push(file.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    parts.extend(recipe.packages.iter().cloned());
    format!("installing {} for Python {}", parts.join(", "), recipe.python.version)
}

/// What `python -m venv --without-pip` makes (PEP 405), a hundred times faster.
fn virtual_environment(python: &Word, dir: &Path) -> io::Result<()> {
    let home = python.executable.parent().unwrap_or(Path::new("/usr/bin"));
    let bin = dir.join("bin");
    fs::create_dir_all(&bin)?;
    let versioned = format!("python{}.{}", python.major, python.minor);
    for name in ["python", "python3", &versioned] {
        std::os::unix::fs::symlink(&python.executable, bin.join(name))?;
    }
    fs::create_dir_all(dir.join("lib").join(&versioned).join("site-packages"))?;
    std::os::unix::fs::symlink("lib", dir.join("lib64"))?;
    let settings = format!("home = {}\ninclude-system-site-packages = false\nversion = {}\n", home.display(), python.version);
    fs::write(dir.join("pyvenv.cfg"), settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_requirements_count() {
        let app = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(app.path().join(name), text).expect("written");
        write("requirements.txt", "flask\n-r more.txt  # and\n--constraint=limits.txt\n");
        write("more.txt", "-r requirements.txt\nsix\n");
        write("limits.txt", "six<2\n");
        assert_eq!(closure(&app.path().join("requirements.txt")).len(), 3);
        let python = Word { major: 3, minor: 12, version: "3.12.1".into(), executable: "/usr/bin/python3".into() };
        let key = || {
            let requirements = Some(app.path().join("requirements.txt"));
            Recipe { python: &python, files: &Staged::unheld(app.path()), requirements, packages: Vec::new() }.key()
        };
        let before = key();
        assert_eq!(key(), before);
        write("limits.txt", "six<3\n");
        assert_ne!(key(), before);
    }
}
