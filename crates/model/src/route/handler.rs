//! Path → handler: one pass over all patterns, then the first match in order (row Y11).

use std::collections::BTreeSet;
use std::fmt;

use regex_automata::meta;
use regex_automata::{Anchored, Input, MatchKind};

use crate::handler::Handler;
use crate::pattern::Captures;

/// Most memory of the lazily built automaton, for each thread that searches: 64 KB a handler within these bounds. It holds only states that were
/// visited (`xtask/examples/route_bench.rs` measures them); the bound is for clients that visit on purpose what nobody visits.
const LAZY_STATES: (usize, usize) = (2 << 20, 64 << 20);
/// Largest automaton before the patterns are tried one by one instead; a thousand ordinary handlers take two megabytes.
const MAX_AUTOMATON: usize = 256 << 20;

/// The handlers of a version, ready to be searched.
pub struct HandlerSet {
    handlers: Vec<Handler>,
    /// All linear patterns at once; `None` if there are fewer than two or they are too large together.
    all: Option<meta::Regex>,
    /// Pattern of `all` → handler, each pattern once.
    linear: Vec<usize>,
    /// Handlers whose patterns need backtracking, in order.
    backtracking: Vec<usize>,
}

/// A handler that matched.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'t> {
    /// Its place in [`HandlerSet::handlers`].
    pub index: usize,
    /// The handler.
    pub handler: &'t Handler,
}

impl Matched<'_> {
    /// The groups of the match; computed here and not by [`HandlerSet::find`], because most handlers need none.
    pub fn captures(&self, path: &[u8]) -> Captures {
        self.handler.url.captures(path).unwrap_or_default()
    }
}

impl HandlerSet {
    /// Prepares `handlers`.
    pub fn new(handlers: Vec<Handler>) -> Self {
        let (linear, backtracking): (Vec<usize>, Vec<usize>) =
            (0..handlers.len()).partition(|&index| handlers[index].url.linear_source().is_some());
        // A pattern that stands there before never wins: `/.*` and the entry point behind it need no automaton.
        let mut seen = BTreeSet::new();
        let linear: Vec<usize> = linear.into_iter().filter(|&index| seen.insert(handlers[index].url.linear_source())).collect();
        let sources: Vec<&str> = linear.iter().filter_map(|&index| handlers[index].url.linear_source()).collect();
        let all = if sources.len() > 1 { compile(&sources) } else { None };
        Self { handlers, all, linear, backtracking }
    }

    /// All handlers in the order in which they are tried, implicit ones included.
    pub fn handlers(&self) -> &[Handler] {
        &self.handlers
    }

    /// The first handler that matches the decoded path.
    ///
    /// `None` also if a backtracking pattern gave up before a match was found: a later handler, with weaker protection perhaps, must not be
    /// reached by a path that was made to exhaust an earlier one.
    pub fn find(&self, path: &[u8]) -> Option<Matched<'_>> {
        let Some(all) = &self.all else { return self.find_from(0, path) };
        // Each pattern is anchored at both ends, and with leftmost-first semantics the earlier one wins: its id is the first match in order.
        let linear = all.search_half(&Input::new(path).anchored(Anchored::Yes)).map(|found| self.linear[found.pattern().as_usize()]);
        for &index in self.backtracking.iter().take_while(|&&index| linear.is_none_or(|winner| index < winner)) {
            if self.handlers[index].url.try_match(path).ok()? {
                return Some(self.matched(index));
            }
        }
        linear.map(|index| self.matched(index))
    }

    /// The first match behind handler `index`: where a static handler with `require_matching_file` falls through to.
    pub fn find_after(&self, index: usize, path: &[u8]) -> Option<Matched<'_>> {
        self.find_from(index.saturating_add(1), path)
    }

    /// One by one.
    fn find_from(&self, start: usize, path: &[u8]) -> Option<Matched<'_>> {
        for index in start..self.handlers.len() {
            if self.handlers[index].url.try_match(path).ok()? {
                return Some(self.matched(index));
            }
        }
        None
    }

    fn matched(&self, index: usize) -> Matched<'_> {
        Matched { index, handler: &self.handlers[index] }
    }
}

fn compile(sources: &[&str]) -> Option<meta::Regex> {
    let config = meta::Config::new()
        .match_kind(MatchKind::LeftmostFirst)
        .utf8_empty(false)
        .nfa_size_limit(Some(MAX_AUTOMATON))
        .hybrid_cache_capacity((sources.len() << 16).clamp(LAZY_STATES.0, LAZY_STATES.1))
        // A dense automaton explodes on patterns such as `/(.*)/x/.*` (30 of them: half a second).
        .dfa(false);
    let syntax = regex_automata::util::syntax::Config::new().utf8(false);
    meta::Regex::builder().configure(config).syntax(syntax).build_many(sources).ok()
}

impl fmt::Debug for HandlerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.handlers.iter().map(|handler| &handler.written)).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::handler::{HandlerKind, Script};
    use crate::pattern::{Anchor, Pattern};

    fn set(patterns: &[&str]) -> HandlerSet {
        let handler = |source: &&str| {
            Handler::new(
                Pattern::new(source, Anchor::Whole).unwrap_or_else(|error| panic!("{source}: {error}")),
                HandlerKind::Script(Script::Auto),
            )
        };
        HandlerSet::new(patterns.iter().map(handler).collect())
    }

    #[test]
    fn y11_the_first_match_wins() {
        let set = set(&["/a/.*", "/a/b", "/(?!c)[bc]", "/b|/c", "/c", ".*"]);
        let find = |path: &str| set.find(path.as_bytes()).map(|matched| matched.index);
        assert_eq!(find("/a/b"), Some(0));
        assert_eq!(find("/b"), Some(2));
        assert_eq!(find("/c"), Some(3));
        assert_eq!(find("/d"), Some(5));
        assert_eq!(find("/d\n"), None);
        assert_eq!(set.find_after(0, b"/a/b").map(|matched| matched.index), Some(1));
        assert_eq!(set.find_after(1, b"/a/b").map(|matched| matched.index), Some(5));
        assert_eq!(set.find_after(5, b"/a/b").map(|matched| matched.index), None);
        assert_eq!(set.find_after(usize::MAX - 1, b"/").map(|matched| matched.index), None);
        assert_eq!(set.find(b"/a/x").map(|matched| matched.captures(b"/a/x").0.len()), Some(1));
    }

    #[test]
    fn y11_a_path_that_exhausts_a_handler_reaches_no_later_one() {
        let set = set(&["/x", "/(?:(a|aa)(?!x))+b", "/.*"]);
        assert_eq!(set.find(format!("/{}b!", "a".repeat(5_000)).as_bytes()).map(|matched| matched.index), None);
        assert_eq!(set.find(b"/aab!").map(|matched| matched.index), Some(2));
        assert_eq!(set.find(b"/aab").map(|matched| matched.index), Some(1));
    }

    #[test]
    fn y11_few_handlers() {
        let twice = set(&["/.*", "/.*"]);
        assert!(twice.all.is_none());
        assert_eq!(twice.find(b"/").map(|matched| matched.index), Some(0));
        assert_eq!(twice.find_after(0, b"/").map(|matched| matched.index), Some(1));
        assert_eq!(set(&["/a", "/(?!b).*", "/a", "/.*"]).find(b"/b").map(|matched| matched.index), Some(3));
        assert!(set(&[]).find(b"/").is_none());
        assert_eq!(set(&["/a"]).find(b"/a").map(|matched| matched.index), Some(0));
        assert!(set(&["/a"]).find(b"/ab").is_none());
        assert!(set(&["/(?!a).*"]).find(b"/ab").is_none());
    }

    /// What the one pass must be equal to.
    fn naive(set: &HandlerSet, path: &[u8]) -> Option<usize> {
        set.handlers().iter().position(|handler| handler.url.is_match(path))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn y11_one_pass_equals_trying_in_order(
            patterns in proptest::collection::vec(
                prop_oneof![
                    6 => "/[ab]{0,3}(\\.\\*|\\(\\.\\*\\)|\\(a\\|b\\)|\\[ab\\]\\+|\\(a\\|ab\\)\\(c\\|bcd\\)|\\\\w\\+|a\\*\\?|\\$)?[a-c/]{0,2}",
                    1 => "/\\(\\?!a\\)[ab]{0,1}\\.\\*",
                    1 => "/\\(\\\\w\\)\\\\1\\.\\*",
                ],
                1..12,
            ),
            paths in proptest::collection::vec("/[abcd/\n\u{e9}]{0,6}", 1..12),
        ) {
            let sources: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let set = set(&sources);
            for path in &paths {
                prop_assert_eq!(set.find(path.as_bytes()).map(|matched| matched.index), naive(&set, path.as_bytes()), "{:?} {:?}", &sources, path);
            }
        }
    }
}
