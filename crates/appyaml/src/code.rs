//! The registry of diagnostics: one code for each kind of mistake, with the text that `enginehouse explain CODE` and the reference page print.
//!
//! Codes are never reused. A0xx: files and YAML; A01xx handlers; A02xx the rest of app.yaml; A03xx scaling; A04xx includes, builtins and
//! libraries; A05xx the app as a whole; A06xx dispatch.yaml; A07xx cron.yaml; A08xx queue.yaml; A09xx index.yaml and dos.yaml.

use std::fmt::Write as _;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The files cannot be used.
    Error,
    /// They can, but probably do not do what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One kind of mistake.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `A0107`.
    pub id: &'static str,
    /// A line that names the mistake.
    pub title: &'static str,
    /// Error or warning, always the same for one code.
    pub severity: Severity,
    /// What it means.
    pub what: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// Which file the example is.
    pub example_file: &'static str,
    /// A file that has the mistake.
    pub example: &'static str,
}

impl Code {
    /// The page about this code, in Markdown.
    pub fn page(&self) -> String {
        let mut page = format!("## {}: {}\n\n*{}*\n\n", self.id, self.title, self.severity.as_str());
        let _ = write!(page, "### What\n\n{}\n\n### Why\n\n{}\n", self.what, self.why);
        if !self.example.is_empty() {
            let _ = write!(page, "\n### Example\n\n`{}`:\n\n```yaml\n{}\n```\n", self.example_file, self.example.trim_end());
        }
        page
    }
}

/// Declares the codes of one group and their list.
macro_rules! codes {
    ($($id:ident $severity:ident $title:literal what $what:literal why $why:literal $(=> $file:literal $example:literal)?)+) => {
        $(
            #[doc = $title]
            pub static $id: $crate::code::Code = $crate::code::Code {
                id: stringify!($id),
                title: $title,
                severity: $crate::code::Severity::$severity,
                what: $what,
                why: $why,
                example_file: concat!($($file)?),
                example: concat!($($example)?),
            };
        )+
        /// Every code of this group.
        pub(super) static GROUP: &[&$crate::code::Code] = &[$(&$id),+];
    };
}
use codes;

mod app;
mod companions;
mod folder;
mod handlers;
mod merge;
mod scaling;
mod yaml;

pub use app::*;
pub use companions::*;
pub use folder::*;
pub use handlers::*;
pub use merge::*;
pub use scaling::*;
pub use yaml::*;

/// Every code, in order.
pub fn all() -> impl Iterator<Item = &'static Code> {
    [yaml::GROUP, handlers::GROUP, app::GROUP, scaling::GROUP, merge::GROUP, folder::GROUP, companions::GROUP]
        .into_iter()
        .flatten()
        .copied()
}

/// The code of that name, in either case.
pub fn find(id: &str) -> Option<&'static Code> {
    all().find(|code| code.id.eq_ignore_ascii_case(id))
}

/// The reference page of all diagnostics, docs/reference/diagnostics.md.
pub fn reference() -> String {
    let mut page = String::from(
        "# Diagnostics\n\nWhat `enginehouse check` and `enginehouse run` say about configuration files. `enginehouse explain CODE` prints one of \
         these sections.\n\n| code | severity | |\n|---|---|---|\n",
    );
    for code in all() {
        let _ = writeln!(page, "| {} | {} | {} |", code.id, code.severity.as_str(), code.title);
    }
    for code in all() {
        let _ = write!(page, "\n{}", code.page());
    }
    page
}
