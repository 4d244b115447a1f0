//! Handlers that an earlier one hides (A0112). Only certain cases are reported: an earlier pattern that is a plain prefix followed by
//! "anything", and a repeated pattern.

use std::collections::HashMap;

use model::handler::HandlerKind;
use model::handler::{Handler, StaticSource};

/// Prefixes are looked at up to this length.
const MAX_PREFIX: usize = 1_000;

/// For each handler that is never reached, the index of the one that hides it.
pub(super) fn hidden(handlers: &[Handler]) -> Vec<(usize, usize)> {
    // Looked up, not compared pair by pair: the cost of thousands of handlers must not grow with their square.
    let mut patterns: HashMap<&str, usize> = HashMap::new();
    let mut covers: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (at, handler) in handlers.iter().enumerate() {
        let literal = literal_prefix(&handler.written);
        // Every path begins with a slash, whatever the pattern looks like.
        let prefixes = ["", "/"].into_iter().chain((1..=literal.len()).filter_map(|end| literal.get(..end)));
        let by_cover = prefixes.filter_map(|prefix| covers.get(prefix).copied()).min();
        let hider = patterns.get(handler.url.source()).copied().into_iter().chain(by_cover).min();
        if let Some(hider) = hider {
            found.push((at, hider));
        }
        if !falls_through(handler) {
            patterns.entry(handler.url.source()).or_insert(at);
            if let Some(cover) = cover(handler) {
                covers.entry(cover).or_insert(at);
            }
        }
    }
    found
}

/// Whether a request may pass the handler although its pattern matches.
fn falls_through(handler: &Handler) -> bool {
    matches!(&handler.kind, HandlerKind::Static(files) if files.require_matching_file)
}

/// The prefix such that the handler takes every path that begins with it.
fn cover(handler: &Handler) -> Option<String> {
    if let HandlerKind::Static(files) = &handler.kind
        && matches!(files.source, StaticSource::Dir(_))
    {
        let prefix = handler.written.trim_end_matches('/');
        return (literal_prefix(prefix).len() == prefix.len()).then(|| format!("{prefix}/"));
    }
    let text = handler.written.strip_suffix('$').unwrap_or(&handler.written);
    let head = text.strip_suffix(".*").or_else(|| text.strip_suffix("(.*)"))?;
    (literal_prefix(head).len() == head.len()).then(|| head.to_owned())
}

/// The characters that every match of `pattern` begins with, as far as they can be read off.
fn literal_prefix(pattern: &str) -> String {
    if pattern.contains('|') || pattern.contains("(?") {
        return String::new();
    }
    let mut out = String::new();
    for c in pattern.chars().take(MAX_PREFIX) {
        match c {
            '*' | '?' | '{' => {
                out.pop();
                return out;
            }
            '.' | '[' | ']' | '(' | ')' | '+' | '^' | '$' | '\\' | '}' => return out,
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::parse;

    /// The lines of the handlers that are never reached.
    fn hidden(urls: &[&str]) -> Vec<usize> {
        let handlers = urls.iter().map(|line| format!("- {{{line}}}\n")).collect::<Vec<_>>().concat();
        let parsed = parse::app_yaml("app.yaml", &format!("runtime: python312\nhandlers:\n{handlers}"), &BTreeMap::new());
        let shadowed = parsed.diagnostics.iter().filter(|d| d.code.id == "A0112").filter_map(|d| d.primary.as_ref());
        shadowed.map(|label| parsed.sources.line(label.span) as usize - 3).collect()
    }

    #[test]
    fn y11_handlers_behind_a_plain_prefix_or_the_same_pattern_are_never_reached() {
        assert_eq!(hidden(&["url: /.*, script: auto", "url: /a, static_dir: a"]), [1]);
        assert_eq!(hidden(&["url: /, static_dir: a", "url: '(/x|/y)', script: auto"]), [1]);
        assert_eq!(hidden(&["url: /a, static_dir: a", "url: /a/b, script: auto", "url: /a, script: auto", "url: /ab, script: auto"]), [1]);
        assert_eq!(hidden(&["url: '/a(.*)', script: auto", "url: '/ab?c', script: auto", "url: '/b?a', script: auto"]), [1]);
        assert_eq!(hidden(&["url: '/x', script: auto", "url: '/x', static_dir: x", "url: '/x', script: auto"]), [2]);
    }

    #[test]
    fn y11_whoever_may_still_be_reached_is_not_reported() {
        assert!(hidden(&["url: /.*, static_dir: a, require_matching_file: true", "url: /a, script: auto"]).is_empty());
        assert!(hidden(&["url: '/(a|b).*', script: auto", "url: /a, script: auto"]).is_empty());
        assert!(hidden(&["url: /a/.*, script: auto", "url: '/a|/b', script: auto", "url: '/a', script: auto"]).is_empty());
    }
}
