//! What is wrong with a file: one [`Diagnostic`] for each mistake, collected in a [`Report`] that never stops at the first.

use crate::code::{self, Code, Severity};
use crate::source::Span;

/// A place, and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// A few words; may be empty for the primary place.
    pub text: String,
}

/// One mistake, or one warning.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Which kind of mistake.
    pub code: &'static Code,
    /// What is wrong, in the file's own words; lower case, no final period.
    pub message: String,
    /// Where; `None` if no file is concerned (a folder without app.yaml).
    pub primary: Option<Label>,
    /// Other places that take part.
    pub related: Vec<Label>,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic at one place.
    pub fn new(code: &'static Code, span: Span, message: impl Into<String>) -> Self {
        let primary = Some(Label { span, text: String::new() });
        Self { code, message: message.into(), primary, related: Vec::new(), help: None }
    }

    /// A diagnostic that concerns no text.
    pub fn general(code: &'static Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), primary: None, related: Vec::new(), help: None }
    }

    /// Says a few words under the primary place.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(primary) = &mut self.primary {
            primary.text = text.into();
        }
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn related(mut self, span: Span, text: impl Into<String>) -> Self {
        self.related.push(Label { span, text: text.into() });
        self
    }

    /// Says how to mend it.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Says how to mend it, if that is known.
    #[must_use]
    pub fn maybe_help(mut self, text: Option<String>) -> Self {
        self.help = text.or(self.help);
        self
    }

    /// Error or warning.
    pub fn severity(&self) -> Severity {
        self.code.severity
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity() == Severity::Error
    }
}

/// Most errors, and most warnings, of a run; a hostile file could have one in every character.
const MAX_EACH: usize = 500;

/// Most characters of a message; values from the file stand in them.
const MAX_MESSAGE: usize = 400;

/// All diagnostics of a run.
#[derive(Debug, Default)]
pub struct Report {
    list: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    /// Set while a file that broke off in the middle is read: what is missing may stand in the part that could not be read.
    pub(crate) partial: bool,
}

impl Report {
    /// Adds a diagnostic.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        let count = if diagnostic.is_error() { &mut self.errors } else { &mut self.warnings };
        *count += 1;
        if *count > MAX_EACH {
            return;
        }
        diagnostic.message = printable(&diagnostic.message);
        diagnostic.help = diagnostic.help.as_deref().map(printable);
        for label in diagnostic.primary.iter_mut().chain(&mut diagnostic.related) {
            label.text = printable(&label.text);
        }
        self.list.push(diagnostic);
    }

    /// Adds a diagnostic about something that is absent, unless the file broke off.
    pub fn push_missing(&mut self, diagnostic: Diagnostic) {
        if !self.partial {
            self.push(diagnostic);
        }
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Whether further errors will not be shown, so that no work need go into them.
    pub(crate) fn is_full(&self) -> bool {
        self.errors > MAX_EACH
    }

    /// The diagnostics in the order of files and places.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|d| d.primary.as_ref().map(|label| (label.span.file, label.span.start)));
        self.list.dedup();
        let more = self.errors.saturating_sub(MAX_EACH) + self.warnings.saturating_sub(MAX_EACH);
        if more > 0 {
            self.list.push(Diagnostic::general(&code::A0020, format!("{more} more mistakes are not shown")));
        }
        self.list
    }
}

/// A text of a few lines at most, without characters that a terminal would act on.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_MESSAGE));
    for (n, c) in text.chars().enumerate() {
        if n == MAX_MESSAGE {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    #[test]
    fn y1_messages_are_printable_and_bounded() {
        let mut report = Report::default();
        let span = Sources::start(Sources::default().add("", "", ""));
        report.push(Diagnostic::new(&code::A0015, span, format!("`\u{1b}[2J{}`", "x".repeat(9_999))));
        for _ in 0..2_000 {
            report.push(Diagnostic::new(&code::A0015, span, "again"));
            report.push(Diagnostic::new(&code::A0017, span, "again"));
        }
        assert_eq!(report.errors(), 2_001);
        let list = report.finish();
        assert!(list[0].message.starts_with("`\\u{1b}[2J"));
        assert_eq!(list.last().map(|d| d.message.as_str()), Some("3001 more mistakes are not shown"));
    }
}
