//! Configuration files (app.yaml and its companions) → `model` values and diagnostics.
//!
//! This crate exists for purity: it reads files and nothing else; the same text always gives the same result.
//! Reading goes in steps: text → spanned tree ([`yaml`]) → as written → merged with includes and builtins → `model` values with every default.
#![warn(missing_docs)]

pub mod code;
pub mod diagnostic;
pub mod load;
pub mod render;
pub mod source;

pub use code::{Code, Severity};
pub use diagnostic::{Diagnostic, Label};
pub use load::{Loaded, LoadedService, Options, load_app};
pub use source::{FileId, Position, Source, Sources, Span};

/// Whether `name` can be an environment variable of an app (row Y9).
///
/// # Errors
/// A text for people if it cannot.
pub fn check_env_name(name: &str) -> Result<(), String> {
    let fits =
        !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !fits {
        return Err(format!("`{name}` is not the name of a variable: letters, digits and underscores, not beginning with a digit"));
    }
    if name.starts_with("GAE") {
        return Err(format!("`{name}` is reserved: names that begin with `GAE` belong to the system"));
    }
    Ok(())
}
