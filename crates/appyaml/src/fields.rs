//! Reading one mapping: which keys it may have, and each key as the type that it needs. Every refusal is reported and reads as absent.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::scalar::{self, Reading};
use crate::source::Span;
use crate::yaml::{Key, Node, Value};

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// A text that may be long, cut for a message.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The candidate that `word` was probably meant to be.
pub(crate) fn near<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // The comparison takes time and memory in proportion to both lengths, and no key is that long.
    if word.len() > 100 {
        return None;
    }
    let normal = word.to_lowercase().replace('-', "_");
    let (distance, best) = candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&normal, &candidate.to_lowercase().replace('-', "_")), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    let close = distance <= 1.max(best.chars().count().min(normal.chars().count()) / 3);
    // A word of one or two letters is near to everything.
    (close && (normal.chars().count() > 2 || distance == 0)).then_some(best)
}

/// `did you mean …`, if something is near.
pub(crate) fn suggestion<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    near(word, candidates).map(|best| format!("did you mean `{best}`?"))
}

/// `a, b or c`, each in backquotes.
pub(crate) fn one_of<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("`{item}`")).collect();
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => items.concat(),
    }
}

/// What a node is, for messages.
fn shape(node: &Node) -> &'static str {
    match node.value {
        Value::Scalar(_) => "a single value",
        Value::Seq(_) => "a list",
        Value::Map(_) => "a mapping",
        Value::Refused => "nothing",
    }
}

/// The first line of what a node covers is enough to point at.
fn head(node: &Node) -> Span {
    match &node.value {
        Value::Map(entries) => entries.first().map_or(node.span, |(key, _)| key.span),
        Value::Seq(items) => items.first().map_or(node.span, head),
        _ => node.span,
    }
}

pub(crate) fn wrong_type(node: &Node, name: &str, wanted: &str, report: &mut Report) {
    if node.value != Value::Refused {
        let message = format!("`{name}` takes {wanted}, not {}", shape(node));
        report.push(Diagnostic::new(&code::A0012, head(node), message));
    }
}

pub(crate) fn is_null(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar::read(scalar) == Reading::Null)
}

/// A single value as text, as the SDK's `str()` makes it.
pub(crate) fn text(node: &Node, name: &str, report: &mut Report) -> Option<Spanned<String>> {
    if let Value::Scalar(scalar) = &node.value {
        Some(Spanned { value: scalar::as_text(scalar), span: node.span })
    } else {
        wrong_type(node, name, "a single value", report);
        None
    }
}

/// The entries of a mapping.
pub(crate) fn map<'n>(node: &'n Node, name: &str, report: &mut Report) -> Option<&'n [(Key, Node)]> {
    if let Value::Map(entries) = &node.value {
        Some(entries)
    } else {
        wrong_type(node, name, "a mapping", report);
        None
    }
}

/// One mapping.
pub(crate) struct Fields<'n> {
    entries: &'n [(Key, Node)],
    /// What the mapping is: `a handler`.
    pub(crate) what: &'static str,
    /// Where it begins.
    pub(crate) span: Span,
}

impl<'n> Fields<'n> {
    /// Opens `node` as a mapping with the keys `known`; others are reported.
    pub(crate) fn open(node: &'n Node, what: &'static str, known: &[&str], report: &mut Report) -> Option<Self> {
        let fields = Self::open_any(node, what, report)?;
        fields.refuse_unknown(known, report);
        Some(fields)
    }

    /// Opens `node` as a mapping with whatever keys.
    pub(crate) fn open_any(node: &'n Node, what: &'static str, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Self { entries, what, span: head(node) }),
            Value::Refused => None,
            _ => {
                let message = format!("{what} is a mapping of keys to values, not {}", shape(node));
                report.push(Diagnostic::new(&code::A0012, head(node), message));
                None
            }
        }
    }

    /// A mapping without entries.
    pub(crate) fn empty(what: &'static str, span: Span) -> Self {
        Self { entries: &[], what, span }
    }

    fn refuse_unknown(&self, known: &[&str], report: &mut Report) {
        for (key, _) in self.entries {
            if known.contains(&key.text.as_str()) {
                continue;
            }
            if report.is_full() {
                break;
            }
            let help = suggestion(&key.text, known.iter().copied()).unwrap_or_else(|| match known.len() {
                0..=8 => format!("{} may have {}", self.what, one_of(known)),
                _ => "remove it, or put a `#` before it".into(),
            });
            let message = format!("{} has no key `{}`", self.what, key.text);
            report.push(Diagnostic::new(&code::A0011, key.span, message).help(help));
        }
    }

    /// All keys and values.
    pub(crate) fn entries(&self) -> &'n [(Key, Node)] {
        self.entries
    }

    /// The key, whatever its value.
    pub(crate) fn key(&self, name: &str) -> Option<&'n Key> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(key, _)| key)
    }

    /// The value of a key; a null counts as absent, as with the SDK.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node).filter(|node| !is_null(node))
    }

    /// Reports a missing key.
    pub(crate) fn require(&self, name: &str, help: &str, report: &mut Report) {
        // A misspelt key was reported already, with this one as the suggestion.
        let misspelt = || self.entries.iter().any(|(key, _)| key.text != name && near(&key.text, [name]).is_some());
        if self.get(name).is_none() && (self.key(name).is_some() || !misspelt()) {
            let message = format!("{} needs `{name}`", self.what);
            let span = self.key(name).map_or(self.span, |key| key.span);
            report.push_missing(Diagnostic::new(&code::A0013, span, message).help(help));
        }
    }

    /// A text.
    pub(crate) fn text(&self, name: &str, report: &mut Report) -> Option<Spanned<String>> {
        text(self.get(name)?, name, report)
    }

    /// A text that may not be empty.
    pub(crate) fn filled(&self, name: &str, report: &mut Report) -> Option<Spanned<String>> {
        let found = self.text(name, report)?;
        if found.value.is_empty() {
            report.push(Diagnostic::new(&code::A0015, found.span, format!("`{name}` is empty")));
            return None;
        }
        Some(found)
    }

    /// The items of a list.
    pub(crate) fn list(&self, name: &str, report: &mut Report) -> Option<&'n [Node]> {
        let node = self.get(name)?;
        if let Value::Seq(items) = &node.value {
            return Some(items);
        }
        if node.value != Value::Refused {
            let message = format!("`{name}` takes a list, not {}", shape(node));
            let help = format!("put each item on a line of its own that begins with `- ` below `{name}:`");
            report.push(Diagnostic::new(&code::A0012, head(node), message).help(help));
        }
        None
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, name: &str, table: &[(&str, T)], report: &mut Report) -> Option<Spanned<T>> {
        let found = self.text(name, report)?;
        if let Some((_, value)) = table.iter().find(|(word, _)| *word == found.value) {
            return Some(Spanned { value: *value, span: found.span });
        }
        let words = || table.iter().map(|(word, _)| *word);
        let written = match self.get(name).map(|node| &node.value) {
            Some(Value::Scalar(scalar)) => scalar.text.as_str(),
            _ => found.value.as_str(),
        };
        let message = format!("`{name}` is {}, not `{written}`", one_of(words()));
        report.push(Diagnostic::new(&code::A0014, found.span, message).maybe_help(suggestion(&found.value, words())));
        None
    }

    /// A boolean: YAML's, or a number (the SDK's conversion). Quoted text is refused, because the SDK reads every text, `"false"` too, as true.
    pub(crate) fn boolean(&self, name: &str, report: &mut Report) -> Option<Spanned<bool>> {
        let node = self.get(name)?;
        let reading = if let Value::Scalar(scalar) = &node.value {
            scalar::read(scalar)
        } else {
            wrong_type(node, name, "`true` or `false`", report);
            return None;
        };
        let value = match reading {
            Reading::Bool(value) => value,
            Reading::Int(digits) => digits != "0",
            _ => {
                let found = text(node, name, report)?;
                let quoted = matches!(&node.value, Value::Scalar(scalar) if !scalar.plain);
                let what = if quoted { "the text " } else { "" };
                let message = format!("`{name}` is `true` or `false`, not {what}`{}`", found.value);
                let help = quoted.then(|| "write it without quotes".to_owned());
                report.push(Diagnostic::new(&code::A0014, node.span, message).maybe_help(help));
                return None;
            }
        };
        Some(Spanned { value, span: node.span })
    }

    /// A whole number within bounds.
    pub(crate) fn integer(&self, name: &str, range: RangeInclusive<u32>, report: &mut Report) -> Option<Spanned<u32>> {
        let found = self.text(name, report)?;
        let digits = found.value.strip_prefix('-').unwrap_or(&found.value);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            let message = format!("`{name}` takes a whole number, not `{}`", found.value);
            report.push(Diagnostic::new(&code::A0015, found.span, message));
            return None;
        }
        if let Some(value) = found.value.parse::<u32>().ok().filter(|n| range.contains(n)) {
            Some(Spanned { value, span: found.span })
        } else {
            let bounds = if *range.end() == u32::MAX {
                format!("at least {}", range.start())
            } else {
                format!("from {} to {}", range.start(), range.end())
            };
            report.push(Diagnostic::new(&code::A0016, found.span, format!("`{name}` is {bounds}, not {}", found.value)));
            None
        }
    }

    /// A number within bounds.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<f64>, report: &mut Report) -> Option<Spanned<f64>> {
        let found = self.text(name, report)?;
        let Ok(value) = found.value.parse::<f64>() else {
            report.push(Diagnostic::new(&code::A0015, found.span, format!("`{name}` takes a number, not `{}`", found.value)));
            return None;
        };
        if range.contains(&value) {
            return Some(Spanned { value, span: found.span });
        }
        let bounds = if range.end().is_finite() {
            format!("from {} to {}", range.start(), range.end())
        } else {
            format!("at least {}", range.start())
        };
        report.push(Diagnostic::new(&code::A0016, found.span, format!("`{name}` is {bounds}, not {}", found.value)));
        None
    }
}

/// Reports a malformed value.
pub(crate) fn malformed(span: Span, message: impl Into<String>, help: impl Into<String>, report: &mut Report) {
    report.push(Diagnostic::new(&code::A0015, span, message).help(help));
}
