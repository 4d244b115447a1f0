//! Finding an interpreter: the user's choice, then the search path, then pyenv. Nothing is believed until it has said its version itself.

use std::path::{Path, PathBuf};

use model::runtime::{Language, Runtime};
use serde::{Deserialize, Serialize};

use crate::Options;
use crate::memory::{self, Memory};
use crate::prepare::{Interpreter, PrepareError};

/// An interpreter and what should be said about it.
pub(crate) struct Found {
    pub(crate) python: Word,
    pub(crate) notes: Vec<String>,
}

/// What an interpreter says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Word {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) version: String,
    pub(crate) executable: PathBuf,
}

/// Prints version and path.
const PROBE: &str = "import sys; sys.stdout.write('%d|%d|%s|%s' % (sys.version_info[0], sys.version_info[1], \
                     '.'.join(map(str, sys.version_info[:3])), sys.executable))";

/// The interpreter for `runtime`.
pub(crate) fn interpreter(options: &Options, runtime: &Runtime) -> Result<Found, PrepareError> {
    let mut search = Search { memory: Memory::load(&options.cache), tried: Vec::new() };
    let found = search.run(options, runtime);
    search.memory.store(&options.cache);
    found
}

struct Search {
    memory: Memory,
    /// Where nothing suitable was, for the message.
    tried: Vec<String>,
}

impl Search {
    fn run(&mut self, options: &Options, runtime: &Runtime) -> Result<Found, PrepareError> {
        let choices = || options.pythons.iter().rev();
        let own = choices().find(|choice| choice.runtime.as_deref() == Some(runtime.as_str()));
        if let Some(choice) = own.or_else(|| choices().find(|choice| choice.runtime.is_none())) {
            return self.chosen(&choice.path, runtime);
        }
        let wanted = runtime.python_version().unwrap_or_else(|| "3".into());
        let exact = self.named(&wanted).or_else(|| self.pyenv(&wanted));
        if let Some(word) = exact {
            return Ok(Found::plain(word));
        }
        if runtime.language() == Language::Python3
            && let Some(word) = self.named("3").or_else(|| self.pyenv("3"))
        {
            let note = format!("no Python {wanted} was found: {} stands in for it", word.version);
            return Ok(Found { notes: vec![note], ..Found::plain(word) });
        }
        Err(self.nothing(runtime, &wanted))
    }

    /// `--python`: taken as given, as long as it runs and its generation fits or was asked for.
    fn chosen(&mut self, path: &Path, runtime: &Runtime) -> Result<Found, PrepareError> {
        let bad = |why: &str| PrepareError(format!("--python {}: {why}", path.display()));
        let path = if path.components().count() == 1 {
            on_path(&path.to_string_lossy()).into_iter().next().ok_or_else(|| bad("no such program on PATH"))?
        } else {
            std::path::absolute(path).map_err(|e| bad(&e.to_string()))?
        };
        let word = self.ask(&path).map_err(|why| bad(&why))?;
        let wanted = runtime.python_version().unwrap_or_else(|| "3".into());
        if word.major == 2 && runtime.language() == Language::Python3 {
            return Err(bad(&format!("this is Python {}, but {runtime} needs Python 3", word.version)));
        }
        let fits = word.meets(&wanted);
        let notes = if fits { Vec::new() } else { vec![format!("{runtime} runs on Python {}, as --python says", word.version)] };
        Ok(Found { notes, ..Found::plain(word) })
    }

    /// `pythonX.Y`, `pythonX` and `python` on the search path, as long as they are what their names promise.
    fn named(&mut self, wanted: &str) -> Option<Word> {
        let major = wanted.split('.').next().unwrap_or(wanted);
        let mut names = vec![format!("python{wanted}"), format!("python{major}"), "python".into()];
        names.dedup();
        for name in names {
            for path in on_path(&name) {
                match self.ask(&path) {
                    Ok(word) if word.meets(wanted) => return Some(word),
                    Ok(word) => self.tried.push(format!("{} (is {})", path.display(), word.version)),
                    Err(why) => self.tried.push(format!("{} ({why})", path.display())),
                }
            }
            self.tried.push(format!("{name} on PATH"));
        }
        None
    }

    /// The newest suitable version that pyenv built.
    fn pyenv(&mut self, wanted: &str) -> Option<Word> {
        let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".pyenv")))?;
        let versions = root.join("versions");
        for dir in built(&versions, wanted) {
            let path = dir.join("bin/python");
            match self.ask(&path) {
                Ok(word) if word.meets(wanted) => return Some(word),
                Ok(_) => {}
                Err(why) => self.tried.push(format!("{} ({why})", path.display())),
            }
        }
        self.tried.push(format!("{wanted} in {}", versions.display()));
        None
    }

    /// What the program at `path` says, remembered by its time of change.
    fn ask(&mut self, path: &Path) -> Result<Word, String> {
        if let Some(word) = self.memory.recall(path).filter(|word: &Word| word.executable.is_file()) {
            return Ok(word);
        }
        let text = memory::listen(path, &["-E", "-s", "-S", "-c", PROBE])?;
        let word = parse(&text).ok_or_else(|| "is not a Python interpreter".to_owned())?;
        self.memory.keep(path, &word);
        Ok(word)
    }

    fn nothing(&self, runtime: &Runtime, wanted: &str) -> PrepareError {
        let advice = if runtime.language() == Language::Python27 {
            "install Python 2.7 (`pyenv install 2.7.18` builds it), or, if the app's code also runs on Python 3, start with `--python python27=python3`"
                .to_owned()
        } else {
            format!(
                "install Python {wanted} (`apt install python3`, or `pyenv install {wanted}`), or name an interpreter with `--python PATH`"
            )
        };
        PrepareError(format!("no interpreter for runtime {runtime} was found; searched: {}. To mend it, {advice}", self.tried.join(", ")))
    }
}

impl Found {
    fn plain(word: Word) -> Self {
        Self { python: word, notes: Vec::new() }
    }
}

impl Word {
    pub(crate) fn interpreter(&self) -> Interpreter {
        Interpreter { path: self.executable.clone(), version: self.version.clone() }
    }

    /// Whether it is the version `wanted`, `2.7` or `3.12` or just `3`.
    fn meets(&self, wanted: &str) -> bool {
        match wanted.split_once('.') {
            Some((major, minor)) => self.major.to_string() == major && self.minor.to_string() == minor,
            None => self.major.to_string() == wanted,
        }
    }
}

/// Folders named after a version that begins with `wanted`, the newest first.
fn built(versions: &Path, wanted: &str) -> Vec<PathBuf> {
    let numbers = |text: &str| -> Option<Vec<u32>> { text.split('.').map(|part| part.parse().ok()).collect() };
    let wanted = numbers(wanted).unwrap_or_default();
    let entries = std::fs::read_dir(versions).into_iter().flatten().filter_map(Result::ok);
    let named = entries.filter_map(|entry| Some((numbers(entry.file_name().to_str()?)?, entry.path())));
    let mut found: Vec<_> = named.filter(|(version, _)| version.starts_with(&wanted)).collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Every program called `name` on the search path, less pyenv's shims: those are scripts that start whatever the current folder asks for, and
/// print an error if it asks for something else; pyenv's versions are looked at by themselves.
fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).filter(|path| path.is_file());
    found.filter(|path| !path.parent().is_some_and(is_shims)).collect()
}

fn is_shims(dir: &Path) -> bool {
    dir.ends_with("shims") && dir.components().any(|part| part.as_os_str().to_string_lossy().contains("pyenv"))
}

fn parse(text: &str) -> Option<Word> {
    let mut parts = text.splitn(4, '|');
    let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (version, executable) = (parts.next()?.to_owned(), parts.next()?);
    (!executable.is_empty()).then(|| Word { major, minor, version, executable: outside(executable.into()) })
}

/// The interpreter behind a virtual environment, on which ours are built: one inside another is not looked through by Python before 3.11.
fn outside(executable: PathBuf) -> PathBuf {
    let inside = executable.parent().and_then(Path::parent).is_some_and(|home| home.join("pyvenv.cfg").is_file());
    if inside { executable.canonicalize().unwrap_or(executable) } else { executable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_build_comes_first() {
        let versions = tempfile::tempdir().expect("a folder");
        for name in ["3.9.18", "3.12.1", "3.12.10", "3.1.5", "2.7.18", "pypy3.9-7.3.9", "3.12-dev"] {
            std::fs::create_dir(versions.path().join(name)).expect("made");
        }
        let names = |wanted| -> Vec<_> {
            let found = built(versions.path(), wanted);
            found.iter().map(|path| path.file_name().expect("named").to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names("3.12"), ["3.12.10", "3.12.1"]);
        assert_eq!(names("3.1"), ["3.1.5"]);
        assert_eq!(names("3").first().map(String::as_str), Some("3.12.10"));
    }

    #[test]
    fn nothing_found_says_what_was_searched_and_what_to_install() {
        let search =
            Search { memory: Memory::default(), tried: vec!["python2.7 on PATH".into(), "2.7 in /home/ann/.pyenv/versions".into()] };
        let runtime = Runtime::parse("python27").expect("known");
        let text = search.nothing(&runtime, "2.7").to_string();
        for part in ["runtime python27", "python2.7 on PATH", "pyenv install 2.7.18", "--python python27=python3"] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }
}
