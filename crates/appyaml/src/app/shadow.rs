//! Handlers that an earlier one hides (A0112). Only certain cases are reported: an earlier pattern that is a plain prefix followed by
//! "anything", and a repeated pattern.

use model::handler::HandlerKind;
use model::handler::{Handler, StaticSource};

/// For each handler that is never reached, the index of the one that hides it.
pub(super) fn hidden(handlers: &[Handler]) -> Vec<(usize, usize)> {
    let covers: Vec<Option<String>> = handlers.iter().map(cover).collect();
    let mut found = Vec::new();
    for (at, handler) in handlers.iter().enumerate() {
        let literal = literal_prefix(&handler.written);
        let hider = (0..at).find(|&earlier| {
            let same = handlers[earlier].url == handler.url && !falls_through(&handlers[earlier]);
            same || covers[earlier].as_deref().is_some_and(|cover| begins_with(&handler.written, &literal, cover))
        });
        if let Some(hider) = hider {
            found.push((at, hider));
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
    if falls_through(handler) {
        return None;
    }
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
    for c in pattern.chars() {
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

fn begins_with(written: &str, literal: &str, cover: &str) -> bool {
    // Every path begins with a slash, whatever the pattern looks like.
    cover.is_empty() || cover == "/" || literal.starts_with(cover) && !written.contains('|')
}
