//! `.gcloudignore`: which files are not uploaded, in the grammar of `.gitignore` with `#!include:FILE`. As with `gcloud`, a folder that is left out
//! takes everything in it along, and newer runtimes have a list of their own where there is no such file.

use std::path::Path;

use model::runtime::{Language, Runtime};
use regex::Regex;

use crate::client::{Failure, Outcome};

/// The file's name.
pub(super) const NAME: &str = ".gcloudignore";
/// A file that includes itself must not go on for ever; `gcloud` allows one level.
const MOST_INCLUDES: usize = 8;

/// The lines in order; the last that matches decides.
#[derive(Debug, Default)]
pub(super) struct Ignore(Vec<Line>);

#[derive(Debug)]
struct Line {
    pattern: Regex,
    keeps: bool,
    folders_only: bool,
}

impl Ignore {
    /// The file of the app, or what stands in for it with this runtime.
    pub(super) fn of_app(root: &Path, runtime: &Runtime) -> Outcome<Self> {
        let mut ignore = Self::default();
        match std::fs::read_to_string(root.join(NAME)) {
            Ok(text) => ignore.read(&text, root, NAME, 0)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if !runtime.is_first_generation() {
                    ignore.read(&default_lines(root, runtime), root, NAME, 0)?;
                }
            }
            Err(error) => return Err(Failure::Here(format!("{} cannot be read: {error}", root.join(NAME).display()))),
        }
        Ok(ignore)
    }

    fn read(&mut self, text: &str, root: &Path, name: &str, depth: usize) -> Outcome<()> {
        for (number, line) in text.lines().enumerate() {
            if let Some(include) = line.strip_prefix("#!include:") {
                let file = root.join(include.trim());
                if depth >= MOST_INCLUDES {
                    return Err(Failure::Here(format!("{name} includes files that include others, and so on")));
                }
                let text = std::fs::read_to_string(&file)
                    .map_err(|error| Failure::Here(format!("{name}:{}: {} cannot be read: {error}", number + 1, file.display())))?;
                self.read(&text, root, include.trim(), depth + 1)?;
            } else if let Some(line) = parse(line).map_err(|why| Failure::Here(format!("{name}:{}: {why}", number + 1)))? {
                self.0.push(line);
            }
        }
        Ok(())
    }

    /// Whether a file or folder is left out, its folders not being.
    pub(super) fn skips(&self, path: &str, is_folder: bool) -> bool {
        let hit = self.0.iter().rev().find(|line| (is_folder || !line.folders_only) && line.pattern.is_match(path));
        hit.is_some_and(|line| !line.keeps)
    }
}

/// What `gcloud` writes into a `.gcloudignore` that it makes. `target/` of Java is not among it: it holds what this house runs.
fn default_lines(root: &Path, runtime: &Runtime) -> String {
    let mut lines = String::from(".gcloudignore\n.git\n.gitignore\n");
    if root.join(".gitignore").is_file() {
        lines += "#!include:.gitignore\n";
    }
    lines += match runtime.language() {
        Language::Python27 | Language::Python3 => "__pycache__/\n/setup.cfg\n",
        Language::Node => "node_modules/\n",
        Language::Php => "/vendor/\n",
        Language::Go => "*.exe\n*.exe~\n*.dll\n*.so\n*.dylib\n*.test\n*.out\n",
        _ => "",
    };
    lines
}

/// Reads a line; `None` for blank ones and comments.
fn parse(line: &str) -> Result<Option<Line>, String> {
    let mut text = line.trim_end_matches(['\r', '\n']);
    while text.ends_with(' ') && !text.ends_with("\\ ") {
        text = &text[..text.len() - 1];
    }
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (keeps, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
    let (folders_only, text) = text.strip_suffix('/').map_or((false, text), |rest| (true, rest));
    let (anchored, text) = match text.strip_prefix('/') {
        Some(rest) => (true, rest),
        None => (text.contains('/'), text),
    };
    let mut pattern = String::from(if anchored { "^" } else { "^(?:.*/)?" });
    translate(text, &mut pattern);
    pattern.push('$');
    let pattern = Regex::new(&format!("(?s){pattern}")).map_err(|_| format!("`{line}` is no pattern"))?;
    Ok(Some(Line { pattern, keeps, folders_only }))
}

/// A glob as a regular expression: `*` and `?` stay in one folder, `**` does not.
fn translate(glob: &str, pattern: &mut String) {
    let mut rest = glob;
    while let Some(c) = rest.chars().next() {
        let before = rest;
        rest = &rest[c.len_utf8()..];
        match c {
            '*' if before.starts_with("**/") && (before.len() == glob.len() || pattern.ends_with('/')) => {
                pattern.push_str("(?:.*/)?");
                rest = &before[3..];
            }
            '*' if before == "**" && pattern.ends_with('/') => {
                pattern.push_str(".+");
                rest = "";
            }
            '*' => {
                pattern.push_str("[^/]*");
                rest = rest.trim_start_matches('*');
            }
            '?' => pattern.push_str("[^/]"),
            '[' => match set(rest) {
                Some((class, after)) => {
                    pattern.push_str(&class);
                    rest = after;
                }
                None => pattern.push_str("\\["),
            },
            '\\' => {
                let mut escaped = rest.chars();
                if let Some(c) = escaped.next() {
                    pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                    rest = escaped.as_str();
                }
            }
            other => pattern.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
}

/// What follows a `[`: the class, and what comes after it.
fn set(text: &str) -> Option<(String, &str)> {
    let negated = text.starts_with(['!', '^']);
    let inner = if negated { &text[1..] } else { text };
    // A `]` in the first place is one of the characters.
    let end = inner.char_indices().skip(1).find(|(_, c)| *c == ']').map(|(at, _)| at)?;
    let members: String = inner[..end]
        .chars()
        .map(|c| if c == '-' { "-".to_owned() } else { regex::escape(&c.to_string()).replace('&', "\\&").replace('~', "\\~") })
        .collect();
    let sign = if negated { "^/" } else { "" };
    Some((format!("[{sign}{members}]"), &inner[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignore(text: &str) -> Ignore {
        let mut ignore = Ignore::default();
        ignore.read(text, Path::new("/nowhere"), NAME, 0).expect("patterns");
        ignore
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        let cases = [
            ("*.pyc", "a.pyc", true),
            ("*.pyc", "x/y/a.pyc", true),
            ("*.pyc", "a.py", false),
            ("/a", "a", true),
            ("/a", "x/a", false),
            ("a/b", "a/b", true),
            ("a/b", "x/a/b", false),
            ("**/b", "x/y/b", true),
            ("**/b", "b", true),
            ("a/**", "a/x/y", true),
            ("a/**", "a", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a*b", "a/b", false),
            ("a?b", "axb", true),
            ("a?b", "a/b", false),
            ("[ab].txt", "a.txt", true),
            ("[!ab].txt", "c.txt", true),
            ("[!ab].txt", "a.txt", false),
            ("[a-c]", "b", true),
            ("[]]", "]", true),
            ("[", "[", true),
            ("\\#x", "#x", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("größe", "größe", true),
            ("a.b", "axb", false),
        ];
        for (pattern, path, skipped) in cases {
            assert_eq!(ignore(pattern).skips(path, false), skipped, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_line_that_matches_decides() {
        let ignore = ignore("# comment\n\n*\n!*.py\n!keep/\nx.py\n");
        assert!(ignore.skips("a.txt", false));
        assert!(!ignore.skips("a.py", false));
        assert!(ignore.skips("x.py", false));
        assert!(!ignore.skips("keep", true) && ignore.skips("keep", false), "a slash at the end means folders");
    }

    #[test]
    fn newer_runtimes_have_a_list_of_their_own() {
        let dir = tempfile::tempdir().expect("folder");
        let of = |runtime: &str| Ignore::of_app(dir.path(), &Runtime::parse(runtime).expect("known")).expect("read");
        let python = of("python312");
        assert!(python.skips("a/__pycache__", true) && python.skips(".git", true) && !python.skips(".env", false));
        assert!(!of("python27").skips(".git", true), "there skip_files decide");
        std::fs::write(dir.path().join(".gitignore"), "*.log\n").expect("written");
        assert!(of("nodejs22").skips("a.log", false) && of("nodejs22").skips("node_modules", true));
        std::fs::write(dir.path().join(NAME), "#!include:.gitignore\n*.tmp\n").expect("written");
        let own = of("python27");
        assert!(own.skips("a.log", false) && own.skips("a.tmp", false) && !own.skips(".git", true));
        std::fs::write(dir.path().join(NAME), "#!include:missing\n").expect("written");
        assert!(Ignore::of_app(dir.path(), &Runtime::parse("python27").expect("known")).is_err());
    }
}
