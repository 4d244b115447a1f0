//! URL and file patterns: POSIX extended regular expressions with Perl's `\w \W \s \S \d \D` (row Y2), matched on bytes.
//!
//! `regex` runs whatever it accepts, in linear time; look-around and back-references inside a pattern, which the SDK's Python `re` tolerated, run
//! on `fancy-regex` with a step limit. What both refuse but Python reads literally (`/{id}`, `\Z`, `\<`) is rewritten first.

use std::fmt;
use std::ops::Range;

/// Most backtracking steps of one match of a look-around or back-reference pattern, before it counts as not matching.
pub const BACKTRACK_LIMIT: usize = 100_000;

/// How a pattern is tied to the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The whole text must match: `url`, and `static_files`.
    Whole,
    /// The text must begin with a match: `upload`, `skip_files`.
    Start,
}

/// Why a pattern cannot be used, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// What is wrong, in the words of a reader of the file.
    pub message: String,
    /// Bytes of the pattern that are to blame, if known.
    pub span: Option<Range<usize>>,
}

#[derive(Clone)]
enum Engine {
    Linear(regex::bytes::Regex),
    Backtracking(fancy_regex::Regex),
}

/// A backtracking pattern took more than [`BACKTRACK_LIMIT`] steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

/// A compiled pattern that remembers how it was written.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    linear_source: Option<String>,
    engine: Engine,
    groups: usize,
}

/// The groups of one match: bytes of the text, `None` where a group took no part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captures(pub Vec<Option<Range<usize>>>);

impl Captures {
    /// What group `n` matched in `text`; group 0 is the whole match.
    pub fn get<'t>(&self, n: usize, text: &'t [u8]) -> Option<&'t [u8]> {
        self.0.get(n).cloned().flatten().and_then(|range| text.get(range))
    }
}

impl Pattern {
    /// Compiles `source`.
    ///
    /// # Errors
    /// If neither engine accepts it, or it is too large.
    pub fn new(source: &str, anchor: Anchor) -> Result<Self, PatternError> {
        let body = match anchor {
            Anchor::Whole => format!("^(?:{source})$"),
            Anchor::Start => format!("^(?:{source})"),
        };
        let linear = format!("(?-u){body}");
        match regex::bytes::Regex::new(&linear) {
            Ok(engine) => Ok(Self {
                source: source.to_owned(),
                groups: engine.captures_len() - 1,
                linear_source: Some(linear),
                engine: Engine::Linear(engine),
            }),
            Err(error) => match fancy_regex::RegexBuilder::new(&body).backtrack_limit(BACKTRACK_LIMIT).build() {
                Ok(engine) => Ok(Self {
                    source: source.to_owned(),
                    groups: engine.captures_len() - 1,
                    linear_source: None,
                    engine: Engine::Backtracking(engine),
                }),
                Err(_) => Err(PatternError { message: error.to_string(), span: None }),
            },
        }
    }

    /// The pattern as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The anchored text for `regex`'s multi-pattern pass, or `None` if the pattern needs backtracking.
    pub fn linear_source(&self) -> Option<&str> {
        self.linear_source.as_deref()
    }

    /// How many groups it has, so that templates can be checked against it.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Whether `text` matches; `Err` if a backtracking pattern gave up first.
    pub fn try_match(&self, text: &[u8]) -> Result<bool, Exhausted> {
        Ok(self.is_match(text))
    }

    /// Whether `text` matches.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.engine {
            Engine::Linear(engine) => engine.is_match(text),
            Engine::Backtracking(engine) => std::str::from_utf8(text).is_ok_and(|text| engine.is_match(text).unwrap_or(false)),
        }
    }

    /// Matches `text` and returns the groups.
    pub fn captures(&self, text: &[u8]) -> Option<Captures> {
        match &self.engine {
            Engine::Linear(engine) => {
                let found = engine.captures(text)?;
                Some(Captures(found.iter().map(|group| group.map(|m| m.range())).collect()))
            }
            Engine::Backtracking(engine) => {
                let found = engine.captures(std::str::from_utf8(text).ok()?).ok()??;
                Some(Captures((0..found.len()).map(|n| found.get(n).map(|m| m.range())).collect()))
            }
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.linear_source == other.linear_source
    }
}

/// Text with `\1` back-references into the groups of the pattern it belongs to: `static_files: static/\1`, `script: \1.catalog.app`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Reads `source` for a pattern with `groups` groups.
    ///
    /// # Errors
    /// If it names a group that the pattern does not have.
    pub fn new(source: &str, groups: usize) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source.char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            if c != '\\' {
                text.push(c);
                continue;
            }
            let mut digits = String::new();
            while digits.len() < 2 {
                match rest.peek() {
                    Some(&(_, d)) if d.is_ascii_digit() => {
                        digits.push(d);
                        rest.next();
                    }
                    _ => break,
                }
            }
            if digits.is_empty() {
                text.push(c);
                if let Some((_, escaped)) = rest.next_if(|&(_, c)| c == '\\') {
                    let _ = escaped;
                }
                continue;
            }
            let group: usize = digits.parse().unwrap_or(usize::MAX);
            if group > groups {
                let has = match groups {
                    0 => "the pattern has no groups".to_owned(),
                    1 => "the pattern has one group".to_owned(),
                    n => format!("the pattern has {n} groups"),
                };
                return Err(PatternError {
                    message: format!("`\\{digits}` refers to a group that does not exist: {has}"),
                    span: Some(at..at + 1 + digits.len()),
                });
            }
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Group(group));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    /// The template as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it contains a back-reference.
    pub fn has_references(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Group(_)))
    }

    /// Fills in the groups that `captures` found in `text`; a group that took no part is empty.
    pub fn expand(&self, captures: &Captures, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.source.len() + text.len());
        for part in &self.parts {
            match part {
                Part::Text(fixed) => out.extend_from_slice(fixed.as_bytes()),
                Part::Group(n) => out.extend_from_slice(captures.get(*n, text).unwrap_or_default()),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y13_templates_expand_groups_and_refuse_missing_ones() {
        let pattern = Pattern::new(r"/browse/(books|videos)", Anchor::Whole).expect("compiles");
        let template = Template::new(r"\1.catalog.app", pattern.groups()).expect("group 1 exists");
        let path = b"/browse/books";
        let captures = pattern.captures(path).expect("matches");
        assert_eq!(template.expand(&captures, path), b"books.catalog.app");
        assert!(Template::new(r"\2", pattern.groups()).is_err());
    }
}
