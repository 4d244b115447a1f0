//! What is wrong with a file: one [`Diagnostic`] for each mistake, collected in a [`Report`] that never stops at the first.

use crate::code::{Code, Severity};
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

/// All diagnostics of a run.
#[derive(Debug, Default)]
pub struct Report {
    list: Vec<Diagnostic>,
    /// Set while a file that broke off in the middle is read: what is missing may stand in the part that could not be read.
    pub(crate) partial: bool,
}

impl Report {
    /// Adds a diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Adds a diagnostic about something that is absent, unless the file broke off.
    pub fn push_missing(&mut self, diagnostic: Diagnostic) {
        if !self.partial {
            self.list.push(diagnostic);
        }
    }

    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(Diagnostic::is_error)
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|d| d.is_error()).count()
    }

    /// The diagnostics in the order of files and places.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|d| d.primary.as_ref().map(|label| (label.span.file, label.span.start)));
        self.list.dedup();
        self.list
    }
}
