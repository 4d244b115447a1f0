//! Path → handler: one pass over all patterns, then the first match in order (row Y11).

use crate::handler::Handler;
use crate::pattern::Captures;

/// The handlers of a version, ready to be searched.
#[derive(Debug)]
pub struct HandlerSet {
    handlers: Vec<Handler>,
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
        Self { handlers }
    }

    /// All handlers in the order in which they are tried, implicit ones included.
    pub fn handlers(&self) -> &[Handler] {
        &self.handlers
    }

    /// The first handler that matches the decoded path.
    pub fn find(&self, path: &[u8]) -> Option<Matched<'_>> {
        self.find_from(0, path)
    }

    /// The first match behind handler `index`: where a static handler with `require_matching_file` falls through to.
    pub fn find_after(&self, index: usize, path: &[u8]) -> Option<Matched<'_>> {
        self.find_from(index + 1, path)
    }

    fn find_from(&self, start: usize, path: &[u8]) -> Option<Matched<'_>> {
        let rest = self.handlers.get(start..)?;
        let index = start + rest.iter().position(|handler| handler.url.is_match(path))?;
        Some(Matched { index, handler: &self.handlers[index] })
    }
}
