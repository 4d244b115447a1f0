//! The tools of the other languages: found on the search path, asked for their version, compared with what the runtime asks for.

use std::path::PathBuf;

use model::runtime::{Language, Runtime};

use crate::Options;
use crate::memory::{self, Memory};
use crate::prepare::{Interpreter, PrepareError, Summary};

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
        summary.notes.push(format!("runtime {runtime} asks for {name} {}: {version} stands in for it", version_of(runtime)));
    }
    summary.interpreter = Some(Interpreter { path, version });
}

/// A program of the search path, and its own word about its version.
pub(crate) fn look(name: &str, args: &[&str]) -> Option<Interpreter> {
    let path = on_path(name)?;
    let version = version_in(&memory::listen(&path, args).ok()?)?;
    Some(Interpreter { path, version })
}

/// Where programs come from: name, what it is, package of Debian and Ubuntu, of Homebrew, where to read more.
const INSTALL: [(&str, &str, &str, &str, &str); 16] = [
    ("node", "Node.js", "nodejs", "node", "https://nodejs.org"),
    ("npm", "Node.js with npm", "npm", "node", "https://nodejs.org"),
    ("npx", "Node.js with npm", "npm", "node", "https://nodejs.org"),
    ("yarn", "Yarn", "yarnpkg", "yarn", "https://yarnpkg.com"),
    ("pnpm", "pnpm", "", "pnpm", "https://pnpm.io"),
    ("bun", "Bun", "", "bun", "https://bun.sh"),
    ("go", "Go", "golang-go", "go", "https://go.dev/dl"),
    ("java", "Java", "default-jdk-headless", "openjdk", "https://adoptium.net"),
    ("mvn", "Maven", "maven", "maven", "https://maven.apache.org"),
    ("gradle", "Gradle", "gradle", "gradle", "https://gradle.org"),
    ("php", "PHP", "php-cli", "php", "https://www.php.net"),
    ("composer", "Composer", "composer", "composer", "https://getcomposer.org"),
    ("ruby", "Ruby", "ruby", "ruby", "https://www.ruby-lang.org"),
    ("rake", "Ruby", "ruby", "ruby", "https://www.ruby-lang.org"),
    ("bundle", "Bundler", "bundler", "ruby", "https://bundler.io"),
    ("rackup", "Rack's rackup", "ruby-rack", "", "https://github.com/rack/rackup (`gem install rackup`)"),
];

/// `program`, or an error that says what to install.
pub(crate) fn need(runtime: &Runtime, program: &str, what_for: &str) -> Result<PathBuf, PrepareError> {
    on_path(program).ok_or_else(|| missing(runtime, program, what_for, &[]))
}

/// Whether the first program of a shell command, if it is one that we know, can be had; otherwise its absence shows when it is started.
pub(crate) fn check_command(runtime: &Runtime, line: &str, own: &[PathBuf]) -> Result<(), PrepareError> {
    let first = line.split_whitespace().find(|word| *word != "exec" && !word.contains('=')).unwrap_or_default();
    let known = INSTALL.iter().any(|(name, ..)| *name == first);
    let there = on_path(first).is_some() || own.iter().any(|folder| folder.join(first).is_file());
    if known && !there { Err(missing(runtime, first, &format!("`{line}`"), own)) } else { Ok(()) }
}

fn missing(runtime: &Runtime, program: &str, what_for: &str, own: &[PathBuf]) -> PrepareError {
    let (_, what, apt, brew, more) = INSTALL.iter().find(|(name, ..)| *name == program).copied().unwrap_or((program, program, "", "", ""));
    let version = Some(version_of(runtime))
        .filter(|version| !version.is_empty() && tool(runtime.language()).is_some_and(|(name, _)| name == program));
    let version = version.map_or_else(String::new, |version| format!(" {version}"));
    let ways = [("apt install", apt), ("brew install", brew)].into_iter().filter(|(_, package)| !package.is_empty());
    let mut ways: Vec<String> = ways.map(|(how, package)| format!("`{how} {package}`")).collect();
    ways.extend(Some(format!("see {more}")).filter(|_| !more.is_empty()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<_> = own.iter().map(|folder| folder.display().to_string()).chain([path.display().to_string()]).collect();
    PrepareError(format!(
        "runtime {runtime}: {what_for} needs `{program}`, which is in no directory of PATH ({}); install {what}{version}: {}",
        places.join(":"),
        ways.join(", ")
    ))
}

/// What the digits of a runtime's name mean: `22` of nodejs22, `1.22` of go122, `8.3` of php83, `3.3` of ruby33.
fn version_of(runtime: &Runtime) -> String {
    let digits = runtime.digits();
    match runtime.language() {
        Language::Go | Language::Php | Language::Ruby if !digits.contains('.') && digits.len() > 1 => {
            format!("{}.{}", &digits[..1], &digits[1..])
        }
        _ => digits.to_owned(),
    }
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
