//! The tools of the other languages: found on the search path, asked for their version, compared with what the runtime asks for.

use std::path::PathBuf;

use model::runtime::{Language, Runtime};

use crate::Options;
use crate::memory::{self, Memory};
use crate::prepare::{Interpreter, Summary};

/// The program of a language and how it tells its version on stdout.
pub(crate) fn tool(language: Language) -> Option<(&'static str, &'static [&'static str])> {
    match language {
        Language::Node => Some(("node", &["--version"])),
        Language::Go => Some(("go", &["version"])),
        Language::Java => Some(("java", &["--version"])),
        Language::Php => Some(("php", &["--version"])),
        Language::Ruby => Some(("ruby", &["--version"])),
        Language::Python27 | Language::Python3 => None,
    }
}

/// Names the tool in the summary. An entrypoint may do without (a compiled binary), so its absence is no error here.
pub(crate) fn describe(options: &Options, runtime: &Runtime, summary: &mut Summary) {
    let Some((name, args)) = tool(runtime.language()) else { return };
    let Some(path) = on_path(name) else { return };
    let mut memory = Memory::load(&options.cache);
    let known: Option<String> = memory.recall(&path);
    let version = known.or_else(|| {
        let version = version_in(&memory::listen(&path, args).ok()?)?;
        memory.keep(&path, &version);
        memory.store(&options.cache);
        Some(version)
    });
    let Some(version) = version else { return };
    if !fits(&version, runtime.digits()) {
        summary.notes.push(format!("runtime {runtime} runs on {name} {version}"));
    }
    summary.interpreter = Some(Interpreter { path, version });
}

/// A program of the search path, and its own word about its version.
pub(crate) fn look(name: &str, args: &[&str]) -> Option<Interpreter> {
    let path = on_path(name)?;
    let version = version_in(&memory::listen(&path, args).ok()?)?;
    Some(Interpreter { path, version })
}

/// The first program called `name` on the search path.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The first thing in a text that looks like a version: `v22.3.0`, `go version go1.22.1 linux`, `openjdk 21.0.2 2024-01-16`.
fn version_in(text: &str) -> Option<String> {
    let words = text.split_whitespace().map(|word| word.trim_start_matches(|c: char| c.is_ascii_alphabetic()));
    let mut versions = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    versions.next().map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned())
}

/// Whether `version` is what the digits of a runtime's name ask for: `22` of nodejs22, `122` of go122, `83` of php83, `1.11` of go1.11.
fn fits(version: &str, digits: &str) -> bool {
    let digits = digits.replace('.', "");
    let mut numbers = version.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    digits.is_empty() || digits == major || digits == format!("{major}{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_print() {
        for (text, version) in [
            ("v22.3.0\n", "22.3.0"),
            ("go version go1.22.1 linux/amd64", "1.22.1"),
            ("openjdk 21.0.2 2024-01-16\n", "21.0.2"),
            ("PHP 8.3.4 (cli) (built: Mar)", "8.3.4"),
            ("ruby 3.3.0p0 (2023-12-25)", "3.3.0p0"),
        ] {
            assert_eq!(version_in(text).as_deref(), Some(version));
        }
        assert_eq!(version_in("no such thing"), None);
    }

    #[test]
    fn versions_are_compared_with_the_runtimes_digits() {
        for (version, digits, same) in
            [("22.3.0", "22", true), ("1.22.1", "122", true), ("8.3.4", "83", true), ("18.19.0", "22", false), ("1.2", "", true)]
        {
            assert_eq!(fits(version, digits), same, "{version} {digits}");
        }
    }
}
