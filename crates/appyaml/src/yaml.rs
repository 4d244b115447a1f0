//! Text → a tree that knows where everything is written. What YAML has and App Engine's files have not (anchors, aliases, tags, several
//! documents) is refused here; how a scalar is *read* is decided later, by whoever knows its key ([`crate::scalar`]).
//!
//! No input makes this slow or deep: the size, the depth and the number of nodes are bounded before anything is built.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::source::{FileId, Sources, Span};

/// Most bytes of a file.
pub const MAX_BYTES: usize = 1 << 20;
/// Most levels of nesting.
pub const MAX_DEPTH: usize = 64;
/// Most values in a file; a file of [`MAX_BYTES`] that consists of nothing but dashes stays below a second and below 100 MB.
const MAX_NODES: usize = 200_000;

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Seq(Vec<Node>),
    /// A mapping, keys unique and in the file's order.
    Map(Vec<(Key, Node)>),
    /// Something that was refused already; whoever meets it says nothing more.
    Refused,
}

/// A single value as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text, without quotes and escapes.
    pub text: String,
    /// Whether it is unquoted, so that YAML may read it as something other than text.
    pub plain: bool,
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where.
    pub span: Span,
    /// Its text.
    pub text: String,
}

/// What a file holds.
#[derive(Debug)]
pub struct Tree {
    /// The document; `None` if there is none.
    pub root: Option<Node>,
    /// Whether the file broke off with a syntax error: what `root` lacks may stand in the rest.
    pub partial: bool,
}

/// Reads the document of a file.
pub fn parse(file: FileId, sources: &Sources, report: &mut Report) -> Tree {
    let text = sources.get(file).text.as_str();
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; a configuration file has at most {MAX_BYTES}", text.len());
        report.push(Diagnostic::new(&code::A0003, Sources::start(file), message));
        return Tree { root: None, partial: true };
    }
    Builder::new(file, text, report).run(text)
}

/// A collection that is still open.
struct Open {
    span: Span,
    flow: bool,
    refused: bool,
    value: Gathering,
}

enum Gathering {
    Seq(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, seen: HashMap<String, Span>, key: Option<PendingKey> },
}

enum PendingKey {
    Good(Key),
    Duplicate,
    Bad,
}

struct Builder<'a> {
    file: FileId,
    /// Byte offset of each character; empty if the text is ASCII and both are the same.
    offsets: Vec<usize>,
    text: &'a str,
    report: &'a mut Report,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn new(file: FileId, text: &'a str, report: &'a mut Report) -> Self {
        let offsets = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self { file, offsets, text, report, open: Vec::new(), root: None, documents: 0, nodes: 0 }
    }

    fn run(mut self, text: &str) -> Tree {
        for event in Parser::new_from_str(text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    self.syntax_error(&error);
                    return self.broken();
                }
            };
            let span = self.span(span);
            if self.nodes > MAX_NODES || self.open.len() >= MAX_DEPTH {
                let message = if self.nodes > MAX_NODES {
                    format!("the file has more than {MAX_NODES} values")
                } else {
                    format!("the file is nested more than {MAX_DEPTH} levels deep")
                };
                self.report.push(Diagnostic::new(&code::A0003, span, message));
                return self.broken();
            }
            if !self.event(event, span) {
                break;
            }
        }
        Tree { root: self.root, partial: false }
    }

    /// Takes one event; `false` ends the reading.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document begins here; each service has a file of its own";
                    self.report.push(
                        Diagnostic::new(&code::A0005, span, message).help("remove the `---` line, or move what follows into another file"),
                    );
                    return false;
                }
            }
            Event::Alias(_) => {
                self.refuse_anchor(span, "alias");
                self.add(Node { span, value: Value::Refused });
            }
            Event::Scalar(text, style, anchor, tag) => {
                if anchor > 0 {
                    self.refuse_anchor(span, "anchor");
                }
                let refused = self.refuses_tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let value = if refused { Value::Refused } else { Value::Scalar(Scalar { text: text.into_owned(), plain }) };
                let span = if style == ScalarStyle::Plain { self.trim(span) } else { span };
                self.add(Node { span, value });
            }
            Event::SequenceStart(anchor, tag) => self.begin(span, anchor, tag.as_deref(), Gathering::Seq(Vec::new())),
            Event::MappingStart(anchor, tag) => {
                self.begin(span, anchor, tag.as_deref(), Gathering::Map { entries: Vec::new(), seen: HashMap::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(Some(span)),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn begin(&mut self, span: Span, anchor: usize, tag: Option<&Tag>, value: Gathering) {
        if anchor > 0 {
            self.refuse_anchor(span, "anchor");
        }
        let refused = self.refuses_tag(tag, span);
        self.nodes += 1;
        self.open.push(Open { span, flow: span.end > span.start, refused, value });
    }

    fn end(&mut self, at: Option<Span>) {
        let Some(open) = self.open.pop() else { return };
        let last = match &open.value {
            Gathering::Seq(items) => items.last().map(|node| node.span.end),
            Gathering::Map { entries, .. } => entries.last().map(|(_, node)| node.span.end),
        };
        let end = match at {
            Some(at) if open.flow => at.end,
            _ => last.unwrap_or(open.span.end),
        };
        let value = match open.value {
            _ if open.refused => Value::Refused,
            Gathering::Seq(items) => Value::Seq(items),
            Gathering::Map { entries, .. } => Value::Map(entries),
        };
        self.add(Node { span: Span { end: end.max(open.span.start), ..open.span }, value });
    }

    /// Puts a finished node into the collection that is open, or makes it the document.
    fn add(&mut self, node: Node) {
        self.nodes += 1;
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.value {
            Gathering::Seq(items) => items.push(node),
            Gathering::Map { entries, seen, key } => match key.take() {
                Some(PendingKey::Good(key)) => entries.push((key, node)),
                Some(PendingKey::Duplicate | PendingKey::Bad) => {}
                None => *key = Some(Self::key(node, seen, self.report)),
            },
        }
    }

    fn key(node: Node, seen: &mut HashMap<String, Span>, report: &mut Report) -> PendingKey {
        let text = match node.value {
            Value::Scalar(scalar) => scalar.text,
            Value::Refused => return PendingKey::Bad,
            Value::Seq(_) | Value::Map(_) => {
                report.push(Diagnostic::new(&code::A0012, node.span, "a key must be a single value, not a list or a mapping"));
                return PendingKey::Bad;
            }
        };
        if let Some(first) = seen.get(&text) {
            let message = format!("`{text}` appears twice");
            report.push(Diagnostic::new(&code::A0009, node.span, message).label("the second time").related(*first, "the first time"));
            return PendingKey::Duplicate;
        }
        seen.insert(text.clone(), node.span);
        PendingKey::Good(Key { span: node.span, text })
    }

    fn refuse_anchor(&mut self, span: Span, what: &str) {
        let message =
            format!("App Engine's files have no YAML {}", if what == "alias" { "aliases (`*name`)" } else { "anchors (`&name`)" });
        self.report
            .push(Diagnostic::new(&code::A0007, span, message).help("write the value out, or put it in quotes if it is meant as text"));
    }

    /// Whether `tag` is one that means nothing here. `!!str` only says what quotes would say.
    fn refuses_tag(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        if tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "str" | "seq" | "map") {
            return false;
        }
        let message = format!(
            "App Engine's files have no YAML tags such as `{}{}`",
            if tag.is_yaml_core_schema() { "!!" } else { &tag.handle },
            tag.suffix
        );
        self.report
            .push(Diagnostic::new(&code::A0008, span, message).help("remove the tag, or put the value in quotes if it is meant as text"));
        true
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let at = self.byte(error.marker().index());
        let end = self.text[at..].chars().next().filter(|&c| c != '\n').map_or(at, |c| at + c.len_utf8());
        let line = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        let rest = self.text[line..].lines().next().unwrap_or_default();
        let indent = &rest[..rest.len() - rest.trim_start_matches([' ', '\t']).len()];
        let span = Span { file: self.file, start: at, end };
        if error.info().contains("unknown anchor") {
            self.refuse_anchor(span, "alias");
            return;
        }
        let diagnostic = if let Some(tab) = indent.find('\t') {
            let span = Span { file: self.file, start: line + tab, end: line + tab + 1 };
            Diagnostic::new(&code::A0004, span, "YAML does not allow tabs for indentation").label("a tab").help("indent with spaces")
        } else {
            let help = rest[indent.len()..]
                .trim_start_matches("- ")
                .split_once(": ")
                .map_or(rest[indent.len()..].trim_start_matches("- "), |(_, v)| v.trim_start());
            let help = help
                .chars()
                .next()
                .filter(|c| "*&%@`!{}[]|>".contains(*c))
                .map(|c| format!("a value that begins with `{c}` must be put in quotes"));
            Diagnostic::new(&code::A0004, span, format!("this is not YAML: {}", error.info())).maybe_help(help)
        };
        self.report.push(diagnostic);
    }

    /// Closes what is open, so that the part before the error can be looked at.
    fn broken(mut self) -> Tree {
        if let Some(Open { value: Gathering::Map { key: key @ Some(_), .. }, .. }) = self.open.last_mut() {
            *key = None;
        }
        while !self.open.is_empty() {
            self.end(None);
        }
        Tree { root: self.root, partial: true }
    }

    fn byte(&self, index: usize) -> usize {
        if self.offsets.is_empty() { index.min(self.text.len()) } else { self.offsets.get(index).copied().unwrap_or(self.text.len()) }
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let start = self.byte(span.start.index());
        Span { file: self.file, start, end: self.byte(span.end.index()).max(start) }
    }

    /// Plain scalars end before the white space that follows them.
    fn trim(&self, span: Span) -> Span {
        let text = self.text[span.range()].trim_end();
        Span { end: span.start + text.len(), ..span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render;

    fn dump(node: &Node, sources: &Sources, out: &mut String) {
        use std::fmt::Write as _;
        let text = &sources.get(node.span.file).text[node.span.range()];
        match &node.value {
            Value::Scalar(scalar) => write!(out, "{}<{text}>", scalar.text).expect("string"),
            Value::Seq(items) => {
                out.push('[');
                for item in items {
                    dump(item, sources, out);
                }
                out.push(']');
            }
            Value::Map(entries) => {
                out.push('{');
                for (key, value) in entries {
                    write!(out, "{}: ", key.text).expect("string");
                    dump(value, sources, out);
                    out.push(' ');
                }
                out.push('}');
            }
            Value::Refused => out.push('!'),
        }
    }

    fn read(text: &str) -> (String, Vec<Diagnostic>, bool) {
        let mut sources = Sources::default();
        let file = sources.add("app.yaml", "", text);
        let mut report = Report::default();
        let tree = parse(file, &sources, &mut report);
        let mut out = String::new();
        if let Some(root) = &tree.root {
            dump(root, &sources, &mut out);
        }
        let diagnostics = report.finish();
        render::text(&diagnostics, &sources, false);
        (out, diagnostics, tree.partial)
    }

    fn codes(text: &str) -> Vec<&'static str> {
        read(text).1.iter().map(|d| d.code.id).collect()
    }

    #[test]
    fn y1_spans_cover_exactly_what_is_written() {
        assert_eq!(read("é: ü  # c\nb:\n- x\n- 'y'\n- {k: \"v\"}\n").0, "{é: ü<ü> b: [x<x>y<'y'>{k: v<\"v\"> }] }");
    }

    #[test]
    fn y1_duplicate_keys_anchors_aliases_tags_and_documents_are_all_reported() {
        assert_eq!(codes("a: 1\na: 2\nb: &x 1\nc: *x\nd: !t 1\n---\ne: 1\n"), ["A0009", "A0007", "A0007", "A0008", "A0005"]);
    }

    #[test]
    fn y1_what_stands_before_a_syntax_error_is_kept() {
        let (tree, diagnostics, partial) = read("a: 1\nb:\n- x\n\t- y\n");
        assert!(partial);
        assert_eq!(diagnostics[0].code.id, "A0004");
        assert!(tree.starts_with("{a: 1<1> "), "{tree}");
    }

    #[test]
    fn y1_hostile_files_are_refused_quickly() {
        for unit in [
            "[", "{", "- ", "? ", "a: ", "{a: [", "- - ", "&a ", "!t ", "*a ", "\"", "'", "|\n", "> ", "\t", "#", "a\n", "%", "---\n",
            "-\n", "[a,", ": ", "\u{feff}", "a: b\n ", "x: |\n  ", "{?", "\\",
        ] {
            let text = unit.repeat(MAX_BYTES / unit.len());
            let (_, diagnostics, _) = read(&text);
            assert!(diagnostics.len() < MAX_BYTES, "{unit}");
        }
        let many: Vec<String> = (0..60_000).map(|n| format!("k{n}: v\n")).collect();
        read(&many.concat());
        assert_eq!(codes(&"x".repeat(MAX_BYTES + 1)), ["A0003"]);
        assert_eq!(codes(&"[".repeat(100)), ["A0003"]);
    }
}
