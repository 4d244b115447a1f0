//! What app.yaml's values may be, for whoever gets them another way: the Admin API's versions.

use http::{HeaderName, HeaderValue};
use model::config::Library;

use crate::app::{builtins, handlers, headers, libraries};

/// A header that a static handler may set (row Y17).
///
/// # Errors
/// A text for people if it may not.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    headers::checked(name, value)
}

/// The pattern of a handler's URL as far as its text goes (row Y12).
///
/// # Errors
/// A text for people: what is wrong and how to mend it.
pub fn url(text: &str) -> Result<(), String> {
    handlers::checked_url(text).map_err(|(message, help)| format!("{message}; {help}"))
}

/// A library of python27 by name and version, `latest` resolved (row Y23).
///
/// # Errors
/// A text for people if there is none.
pub fn library(name: &str, version: &str) -> Result<Library, String> {
    libraries::checked(name, version)
}

/// The libraries that a python27 app gets: what it named, what those need, and what is always there.
pub fn libraries(named: Vec<Library>) -> Vec<Library> {
    libraries::complete(named)
}

/// The builtin whose handler runs `script` (row Y6).
pub fn builtin_of_script(script: &str) -> Option<&'static str> {
    builtins::of_script(script)
}
