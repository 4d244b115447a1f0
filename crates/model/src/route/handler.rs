//! Path → handler: one pass over all patterns, then the first match in order (row Y11).

use std::fmt;

use regex_automata::meta;
use regex_automata::{Anchored, Input, MatchKind};

use crate::handler::Handler;
use crate::pattern::Captures;

/// Most memory of the lazily built automaton, per thread that searches. It holds only states that were visited: measured in
/// examples/route_bench.rs.
const LAZY_STATES: usize = 64 << 20;
/// Largest automaton before the patterns are tried one by one instead; a thousand ordinary handlers take two megabytes.
const MAX_AUTOMATON: usize = 256 << 20;

/// The handlers of a version, ready to be searched.
pub struct HandlerSet {
    handlers: Vec<Handler>,
    /// All linear patterns at once; `None` if there are fewer than two or they are too large together.
    all: Option<meta::Regex>,
    /// Pattern of `all` → handler.
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
        self.find_from(index + 1, path)
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
        .hybrid_cache_capacity(LAZY_STATES)
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
