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
        let source = sources.get(primary.span.file);
        if source.text.is_empty() {
            group = group.element(Origin::path(source.name.as_str()));
        } else {
            let (same, other): (Vec<_>, Vec<_>) = diagnostic.related.iter().partition(|label| label.span.file == primary.span.file);
            let mut snippet = snippet(source).annotation(mark(AnnotationKind::Primary, primary, source));
            for label in same {
                snippet = snippet.annotation(mark(AnnotationKind::Context, label, source));
            }
            group = group.element(snippet);
            for label in other {
                let source = sources.get(label.span.file);
                group = group.element(self::snippet(source).annotation(mark(AnnotationKind::Context, label, source)));
            }
        }
    }
    match &diagnostic.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

fn snippet<'a>(source: &'a Source) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    Snippet::source(source.text.as_str()).path(source.name.as_str())
}

fn mark<'a>(kind: AnnotationKind, label: &'a Label, source: &Source) -> annotate_snippets::Annotation<'a> {
    let floor = |at: usize| (0..=at.min(source.text.len())).rev().find(|&at| source.text.is_char_boundary(at)).unwrap_or(0);
    let mark = kind.span(floor(label.span.start)..floor(label.span.end));
    if label.text.is_empty() { mark } else { mark.label(label.text.as_str()) }
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
