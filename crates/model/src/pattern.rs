//! URL and file patterns: POSIX extended regular expressions with Perl's `\w \W \s \S \d \D` (row Y2), matched on bytes.
//!
//! `regex` runs nearly all of them, in linear time; look-around and back-references inside a pattern, which the SDK's Python `re` tolerated, run
//! on `fancy-regex` with a step limit. Both are given a translation ([`translate`]), because they read `/{id}`, `\Z` or `\<` otherwise than Python.
//!
//! `$` is the very end: Python's also holds before a final newline, so that `/ok.txt%0A` found the handler of `/ok.txt`, which row Y2 (anchored at
//! both ends) rules out.

mod translate;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock, OnceLock};

use regex_automata::util::syntax;

use self::translate::{Dialect, Translated, translate};

/// Most backtracking steps of one match of a look-around or back-reference pattern, before it counts as not matching.
pub const BACKTRACK_LIMIT: usize = 100_000;

/// Longest pattern.
const MAX_SOURCE: usize = 10_000;
/// Most memory of a compiled pattern.
const MAX_COMPILED: usize = 1 << 20;
/// A pattern that is shorter and counts nothing stays far below that.
const SHORT: usize = 500;
const LOOK_BEHIND: &str = "what a look-behind looks for must have one length: `(?<=ab|cd)`, but not `(?<=a*)`";
const TOO_LARGE: &str = "the pattern takes more than 1 MB once compiled; make the numbers in its `{…}` smaller";

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
    /// Shared by all clones, with the memory that matching keeps: a thousand versions have the same `skip_files`.
    Linear(Arc<Linear>),
    Backtracking(Box<fancy_regex::Regex>),
}

/// A pattern for `regex`, compiled when it is first used: a server keeps the patterns of thousands of versions that nobody asks, and those of a version
/// that is asked are mostly searched all at once ([`crate::route::handler`]).
struct Linear {
    text: String,
    compiled: OnceLock<Option<regex::bytes::Regex>>,
}

impl Linear {
    fn compile(text: &str) -> Result<regex::bytes::Regex, regex::Error> {
        regex::bytes::RegexBuilder::new(text).size_limit(MAX_COMPILED).build()
    }

    /// Reads the pattern. What may turn out too large is compiled at once.
    fn new(text: String) -> Result<Self, regex::Error> {
        let small = text.len() <= SHORT && !text.contains('{');
        let compiled = if small && syntax::parse_with(&text, &syntax::Config::new().utf8(false)).is_ok() {
            OnceLock::new()
        } else {
            OnceLock::from(Some(Self::compile(&text)?))
        };
        Ok(Self { text, compiled })
    }

    /// `None` if it cannot be compiled after all: it matches nothing then.
    fn engine(&self) -> Option<&regex::bytes::Regex> {
        self.compiled.get_or_init(|| Self::compile(&self.text).ok()).as_ref()
    }
}

/// A backtracking pattern took more than [`BACKTRACK_LIMIT`] steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

/// A compiled pattern that remembers how it was written.
#[derive(Clone)]
pub struct Pattern {
    source: String,
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
        let fail = |message: &str| Err(PatternError { message: message.to_owned(), span: None });
        if source.len() > MAX_SOURCE {
            return fail("the pattern is longer than 10,000 bytes");
        }
        let end = if anchor == Anchor::Whole { r"\z" } else { "" };
        let linear = translate(source, Dialect::Linear);
        // Whether it needs backtracking is known even where the linear dialect cannot say something.
        if let Ok(Translated { body, groups, needs_backtracking: false }) = &linear {
            let text = format!(r"(?-u)\A{body}{end}");
            return match Linear::new(text) {
                Ok(linear) => Ok(Self { source: source.to_owned(), groups: *groups, engine: Engine::Linear(Arc::new(linear)) }),
                Err(regex::Error::CompiledTooBig(_)) => fail(TOO_LARGE),
                Err(error) => fail(&last_line(&error.to_string())),
            };
        }
        linear?;
        let Translated { body, groups, .. } = translate(source, Dialect::Backtracking)?;
        let text = format!(r"\A{body}{end}");
        let mut builder = fancy_regex::RegexBuilder::new(&text);
        match builder.bytes_mode(fancy_regex::BytesMode::Ascii).backtrack_limit(BACKTRACK_LIMIT).delegate_size_limit(MAX_COMPILED).build() {
            Ok(engine) => Ok(Self { source: source.to_owned(), groups, engine: Engine::Backtracking(Box::new(engine)) }),
            Err(fancy_regex::Error::CompileError(cause)) if cause.to_string().contains("ookbehind") => fail(LOOK_BEHIND),
            Err(error) => fail(&last_line(&error.to_string())),
        }
    }

    /// `/.*`, which nearly every version has, and newer runtimes once more behind all other handlers: compiled once for all of them.
    pub fn everything() -> Self {
        static COMPILED: LazyLock<Pattern> = LazyLock::new(|| Pattern::new("/.*", Anchor::Whole).expect("an ordinary pattern"));
        COMPILED.clone()
    }

    /// The pattern as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The anchored text for `regex`'s multi-pattern pass, or `None` if the pattern needs backtracking.
    pub fn linear_source(&self) -> Option<&str> {
        match &self.engine {
            Engine::Linear(linear) => Some(&linear.text),
            Engine::Backtracking(_) => None,
        }
    }

    /// How many groups it has, so that templates can be checked against it.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Whether `text` matches.
    ///
    /// # Errors
    /// If a backtracking pattern gave up first.
    pub fn try_match(&self, text: &[u8]) -> Result<bool, Exhausted> {
        match &self.engine {
            Engine::Linear(linear) => Ok(linear.engine().is_some_and(|engine| engine.is_match(text))),
            Engine::Backtracking(engine) => engine.is_match(text).map_err(|_| Exhausted),
        }
    }

    /// Whether `text` matches; a pattern that gives up does not.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.try_match(text).unwrap_or(false)
    }

    fn padded(&self, mut groups: Vec<Option<Range<usize>>>) -> Captures {
        groups.resize(self.groups + 1, None);
        Captures(groups)
    }

    /// Matches `text` and returns the groups.
    pub fn captures(&self, text: &[u8]) -> Option<Captures> {
        match &self.engine {
            Engine::Linear(linear) => {
                let found = linear.engine()?.captures(text)?;
                Some(self.padded(found.iter().map(|group| group.map(|m| m.range())).collect()))
            }
            Engine::Backtracking(engine) => {
                let found = engine.captures(text).ok()??;
                Some(self.padded((0..found.len()).map(|n| found.get(n).map(|m| m.start()..m.end())).collect()))
            }
        }
    }
}

/// The part of an engine's message that says something.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default();
    line.trim().trim_start_matches("error: ").to_owned()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.linear_source() == other.linear_source()
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
                // `\\\\` is one backslash, as in Python's `expand`.
                let _ = rest.next_if(|&(_, c)| c == '\\');
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
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&[u8]], other: &[&[u8]]) -> Pattern {
        let compiled = Pattern::new(pattern, Anchor::Whole).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for text in matching {
            assert!(compiled.is_match(text), "{pattern} should match {:?}", String::from_utf8_lossy(text));
            let whole = compiled.captures(text).expect("captures where it matches");
            assert_eq!(whole.get(0, text), Some(*text), "{pattern}");
        }
        for text in other {
            assert!(!compiled.is_match(text), "{pattern} should not match {:?}", String::from_utf8_lossy(text));
            assert_eq!(compiled.captures(text), None, "{pattern}");
        }
        compiled
    }

    #[test]
    fn y2_patterns_match_the_whole_path() {
        check("/a", &[b"/a"], &[b"/ab", b"/a/", b"x/a", b"/A", b"/a\n", b""]);
        check("/index.html$", &[b"/index.html"], &[b"/index.html\n"]);
        check("/a|/b", &[b"/a", b"/b"], &[b"/ab", b"/a/b", b"/ac"]);
        check("/(.*)", &[b"/", b"/x", b"/\xff\xfe", b"/\xc3\xa9"], &[b"/a\nb"]);
        check(".*", &[b"", b"/x"], &[b"\n"]);
    }

    #[test]
    fn y2_posix_and_perl_syntax() {
        check(r"/\d{2,3}-\w+\s\S\D\W", &[b"/12-a_Z xy-"], &[b"/1-a xy-", b"/12-\xc3\xa9 xy-"]);
        check("/[a-c-]+[^d-f]", &[b"/a-c-x", b"/a\xff"], &[b"/a-e", b"/x"]);
        check("/[]a]+[^]b]", &[b"/]a]c"], &[b"/]]]", b"/ab"]);
        check("/[[:alpha:][:digit:]_]+", &[b"/aZ9_"], &[b"/-", b"/:"]);
        check(r"/[\w.-]+[\]\\][\d-]", &[b"/a.-]1", b"/a\\-"], &[b"/a."]);
        check("/[a&&b~~c[]+[+--]", &[b"/a&&b~~c[,"], &[b"/a&&b~~c[d"]);
        check("/(?:a|b)+?c??", &[b"/abc", b"/a"], &[b"/"]);
        check(r"/favicon\.ico", &[b"/favicon.ico"], &[b"/faviconxico"]);
        check("/(?i)abc", &[b"/ABC", b"/abc"], &[b"/abd"]);
        check("/(?i:a)b", &[b"/Ab"], &[b"/AB"]);
        check("/a(?s).b", &[b"/a\nb"], &[]);
        check("/a b # not a comment", &[b"/a b # not a comment"], &[]);
        check("(?x)/a b # comment", &[b"/ab"], &[b"/a b"]);
    }

    #[test]
    fn y2_what_python_reads_literally() {
        check("/{id}", &[b"/{id}"], &[b"/id"]);
        check("/a{,3}", &[b"/", b"/aaa"], &[b"/aaaa", b"/a{,3}"]);
        check("/a{2}{", &[b"/aa{"], &[]);
        check("/a{}b{x}c}", &[b"/a{}b{x}c}"], &[]);
        check("/a{,}", &[b"/", b"/aaaaa"], &[]);
        check(r"/a\Z", &[b"/a"], &[b"/aZ", b"/a\n"]);
        check(r"/\<a\>", &[b"/<a>"], &[b"/a"]);
        check(r"/\_\-\/\q\é", &["/_-/qé".as_bytes()], &[b"/_-/q"]);
        check(r"/\x2E\056\0", &[b"/..\0"], &[b"/ab\0"]);
        check(r"/[\x41-\x43\b]+", &[b"/ABC\x08"], &[b"/D"]);
        check("/(?#note)a(?#two)+(?P<n>b)(c){0}", &[b"/ab", b"/aab"], &[]);
        check("/caf\u{e9}+", &["/caféé".as_bytes()], &[b"/caf\xc3\xa9\xa9"]);
        check("/[\u{e9}\u{e0}]x", &["/éx".as_bytes()], &[b"/\xc3x"]);
        check("/[^\u{e9}]x", &["/èx".as_bytes(), b"/ax"], &["/éx".as_bytes()]);
        check("/a]", &[b"/a]"], &[]);
    }

    #[test]
    fn y2_look_around_and_back_references_work() {
        let pattern = check("/(?!api/).*", &[b"/", b"/apix", b"/\xff\xfe"], &[b"/api/x"]);
        assert_eq!(pattern.linear_source(), None);
        check(r"/(\w)\1", &[b"/aa"], &[b"/ab", b"/a"]);
        check(r"/(?P<n>ab)-(?P=n)", &[b"/ab-ab"], &[b"/ab-ac"]);
        check(r"/a(?<=a)b(?<!a)c(?=d)d", &[b"/abcd"], &[]);
        check("/(?=.*x)caf\u{e9}.*", &["/caféx".as_bytes()], &["/café".as_bytes()]);
        check("/(a)?(?(1)b|c)", &[b"/ab", b"/c"], &[b"/ac", b"/b"]);
        let text = b"/\xc3\xa9-x";
        let captures = check("/(?!y)(.*)-(.)", &[text], &[]).captures(text).expect("matches");
        assert_eq!((captures.get(1, text), captures.get(2, text)), (Some(&b"\xc3\xa9"[..]), Some(&b"x"[..])));
    }

    #[test]
    fn y2_backtracking_is_bounded() {
        let pattern = Pattern::new(r"/(?:(a|aa)(?!x))+b", Anchor::Whole).expect("compiles");
        assert_eq!(pattern.try_match(format!("/{}b!", "a".repeat(5_000)).as_bytes()), Err(Exhausted));
    }

    #[track_caller]
    fn refused(pattern: &str, span: &str, message: &str) {
        let error = Pattern::new(pattern, Anchor::Whole).expect_err(pattern);
        assert!(error.message.contains(message), "{pattern}: {}", error.message);
        assert_eq!(error.span.map(|span| &pattern[span]).unwrap_or_default(), span, "{pattern}");
    }

    #[test]
    fn y2_mistakes_are_shown_where_they_are() {
        refused("/a++", "+", "repeats what is repeated already");
        refused("/a**b", "*", "repeats what is repeated already");
        refused("/(?!a)*b", "*", "look-around takes no characters");
        refused("/a{2}{3}", "{3}", "repeats what is repeated already");
        refused("*.html", "*", "nothing before `*` to repeat; write `\\*`");
        refused("/(|+)", "+", "nothing before");
        refused("/a(b", "(", "never closed");
        refused("/a)b", ")", "closes no group");
        refused("/[a", "[", "never closed");
        refused("/[b-a]", "b-a", "backwards");
        refused(r"/[\d-z]", r"\d-z", "range goes from one character");
        refused("/[[.ch.]]", "[.", "collating elements");
        refused("/[[=a=]]", "[=", "equivalence classes");
        refused("/[[:alhpa:]]", "[:alhpa:]", "no character class");
        refused(r"/a\", r"\", "lone");
        refused(r"/\1(a)", r"\1", "does not exist");
        refused(r"/\xZZ", r"\x", "hexadecimal");
        refused("/(?<n>a)", "(?<", "(?P<name>");
        refused("/(?>a)", "(?>", "no group that App Engine knows");
        refused("/(?P<n>a)(?P<n>b)", "(?P<n>", "two groups named");
        refused("/a{3,2}", "{3,2}", "larger than the second");
        refused("/a{99999999999}", "{99999999999}", "repeats too often");
        refused("/(((a{1000}){1000}){1000})", "", "more than 1 MB");
        refused("/a(?<=a*)b", "", "one length");
        refused(&"(".repeat(101), "(", "nested");
        refused(&format!("/{}", "a".repeat(10_000)), "", "longer than");
    }

    #[test]
    fn y26_the_default_skip_files_compile() {
        let skip = crate::config::SkipFiles::default();
        for skipped in ["#a#", "a~", "x/a.pyc", "x/RCS/y", ".git", ".git/config", "a/.b/c", "x/y/.hidden"] {
            assert!(skip.skips(skipped), "{skipped}");
        }
        for kept in ["a", "a.py", "a.pycx", "RCSx/a", "a~b"] {
            assert!(!skip.skips(kept), "{kept}");
        }
    }

    proptest! {
        #[test]
        fn y2_nothing_panics(source in r"[a-c/\\\[\](){}?*+.^$|\-:=!<>P0-3,x\u{e9}]{0,24}", text in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(pattern) = Pattern::new(&source, Anchor::Whole) {
                let matches = pattern.try_match(&text);
                let captures = pattern.captures(&text);
                if let Ok(matches) = matches {
                    prop_assert_eq!(matches, captures.is_some());
                }
                if let Some(captures) = captures {
                    prop_assert_eq!(captures.0.len(), pattern.groups() + 1);
                    prop_assert_eq!(captures.get(0, &text), Some(&text[..]));
                }
            } else if let Err(PatternError { span: Some(span), .. }) = Pattern::new(&source, Anchor::Whole) {
                prop_assert!(source.get(span).is_some());
            }
        }
    }

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
