//! Configuration files (app.yaml and its companions) → `model` values and diagnostics.
//!
//! This crate exists for purity: it reads files and nothing else; the same text always gives the same result.
//! Reading goes in steps: text → spanned tree ([`yaml`]) → as written → merged with includes and builtins → `model` values with every default.
#![warn(missing_docs)]

mod app;
pub mod code;
mod companion;
pub mod diagnostic;
mod disk;
mod fields;
pub mod load;
pub mod parse;
pub mod render;
pub mod rules;
mod scalar;
pub mod source;
pub mod yaml;

pub use code::{Code, Severity};
pub use companion::Companion;
pub use diagnostic::{Diagnostic, Label};
pub use load::{Loaded, LoadedService, Options, load_app};
pub use parse::Parsed;
pub use source::{FileId, Position, Source, Sources, Span};

/// Whether `name` can be an environment variable of an app (row Y9).
///
/// # Errors
/// A text for people if it cannot.
pub fn check_env_name(name: &str) -> Result<(), String> {
    match app::env::refusal(name) {
        None => Ok(()),
        Some(refusal) => Err(app::env::complaint(name, &refusal)),
    }
}
