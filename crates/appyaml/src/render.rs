//! Diagnostics for people (with the lines of the file and carets) and for programs (JSON).

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::code::Severity;
use crate::diagnostic::{Diagnostic, Label};
use crate::source::{Source, Sources};

/// All diagnostics as text, each with the lines it points at; empty if there are none.
pub fn text(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&renderer.render(&[group(diagnostic, sources)]));
        out.push_str("\n\n");
    }
    out
}

fn group<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
    let level = match diagnostic.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.id));
    if let Some(primary) = &diagnostic.primary {
        let mut labels = vec![(AnnotationKind::Primary, primary)];
        labels.extend(diagnostic.related.iter().map(|label| (AnnotationKind::Context, label)));
        let (same, other): (Vec<_>, Vec<_>) = labels.into_iter().partition(|(_, label)| label.span.file == primary.span.file);
        let source = sources.get(primary.span.file);
        group = place_in(group, source, &same);
        for label in other {
            group = place_in(group, sources.get(label.1.span.file), &[label]);
        }
    }
    match &diagnostic.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

/// Longer lines are named, but not shown.
const MAX_LINE: usize = 2_000;

/// Shows the lines, or only names the place if there is nothing to see or too much.
fn place_in<'a>(group: Group<'a>, source: &'a Source, labels: &[(AnnotationKind, &'a Label)]) -> Group<'a> {
    let snippet = snippet(source, labels);
    match (snippet, labels.first()) {
        (Some(snippet), _) => group.element(snippet),
        (None, Some((_, label))) if !source.text.is_empty() => {
            let at = source.position(label.span.start);
            group.element(Origin::path(source.name.as_str()).line(at.line as usize).char_column(at.column as usize))
        }
        (None, _) => group.element(Origin::path(source.name.as_str())),
    }
}

type Snip<'a> = Snippet<'a, annotate_snippets::Annotation<'a>>;

/// The lines that the labels touch; the renderer leaves out what lies between. It never sees the whole of a large file.
fn snippet<'a>(source: &'a Source, labels: &[(AnnotationKind, &'a Label)]) -> Option<Snip<'a>> {
    let text = source.text.as_str();
    let floor = |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let first = labels.iter().map(|(_, label)| floor(label.span.start)).min().unwrap_or(0);
    let last = labels.iter().map(|(_, label)| floor(label.span.end)).max().unwrap_or(0).max(first);
    let start = text[..first].rfind('\n').map_or(0, |at| at + 1);
    let end = text[last..].find('\n').map_or(text.len(), |at| last + at);
    let shown = &text[start..end];
    if shown.is_empty() && text.is_empty() || shown.lines().any(|line| line.len() > MAX_LINE) {
        return None;
    }
    let line = source.position(start).line as usize;
    let marks = labels.iter().map(|(kind, label)| {
        let mark = kind.span(floor(label.span.start) - start..floor(label.span.end.max(label.span.start)) - start);
        if label.text.is_empty() { mark } else { mark.label(label.text.as_str()) }
    });
    Some(Snippet::source(shown).line_start(line).path(source.name.as_str()).annotations(marks))
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    diagnostics: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'static str,
    severity: &'static str,
    message: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
    help: Option<&'a str>,
    related: Vec<Related<'a>>,
}

#[derive(Serialize, Default)]
struct Place<'a> {
    file: Option<&'a str>,
    line: Option<u32>,
    column: Option<u32>,
    end_line: Option<u32>,
    end_column: Option<u32>,
}

#[derive(Serialize)]
struct Related<'a> {
    message: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
}

fn place<'a>(label: &Label, sources: &'a Sources) -> Place<'a> {
    let source = sources.get(label.span.file);
    let (start, end) = (source.position(label.span.start), source.position(label.span.end));
    Place {
        file: Some(&source.name),
        line: Some(start.line),
        column: Some(start.column),
        end_line: Some(end.line),
        end_column: Some(end.column),
    }
}

/// All diagnostics as one JSON object: `{"ok": bool, "diagnostics": [{"code", "severity", "message", "file", "line", "column", "end_line",
/// "end_column", "help", "related": […]}]}`. Lines and columns count from 1, columns in characters, the end is exclusive; what concerns no file
/// has nulls there. `ok` is false if there is an error.
pub fn json(diagnostics: &[Diagnostic], sources: &Sources) -> String {
    let entries = diagnostics.iter().map(|diagnostic| Entry {
        code: diagnostic.code.id,
        severity: diagnostic.severity().as_str(),
        message: &diagnostic.message,
        place: diagnostic.primary.as_ref().map(|label| place(label, sources)).unwrap_or_default(),
        help: diagnostic.help.as_deref(),
        related: diagnostic.related.iter().map(|label| Related { message: &label.text, place: place(label, sources) }).collect(),
    });
    let answer = Answer { ok: !diagnostics.iter().any(Diagnostic::is_error), diagnostics: entries.collect() };
    serde_json::to_string(&answer).expect("strings and numbers always serialise")
}
