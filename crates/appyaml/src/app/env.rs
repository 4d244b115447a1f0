//! `env_variables:` (row Y9).

use super::warn_reading;
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{self, Fields};

/// What is wrong with a name.
pub(crate) enum Refusal {
    /// It begins with `GAE`.
    Reserved,
    /// No program could read it.
    Malformed,
}

/// Whether `name` can be a variable of an app.
pub(crate) fn refusal(name: &str) -> Option<Refusal> {
    let head = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !head || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Some(Refusal::Malformed);
    }
    // Document 003: "environment variables with the prefix GAE are reserved". Google lets one through: it switches python27 from URL Fetch to sockets.
    (name.starts_with("GAE") && name != "GAE_USE_SOCKETS_HTTPLIB").then_some(Refusal::Reserved)
}

/// What is wrong with a name, for people.
pub(crate) fn complaint(name: &str, refusal: &Refusal) -> String {
    match refusal {
        Refusal::Reserved => format!("`{name}` is reserved: names that begin with `GAE` belong to the system"),
        Refusal::Malformed => {
            format!("`{name}` is not the name of a variable: letters, digits and underscores, not beginning with a digit")
        }
    }
}

/// Reads the mapping, in the file's order.
pub(super) fn read(app: &Fields<'_>, report: &mut Report) -> Vec<(String, String)> {
    let Some(node) = app.get("env_variables") else { return Vec::new() };
    let mut variables = Vec::new();
    for (key, node) in fields::map(node, "env_variables", report).unwrap_or_default() {
        if let Some(refusal) = refusal(&key.text) {
            let code = if matches!(refusal, Refusal::Reserved) { &code::A0205 } else { &code::A0206 };
            report.push(Diagnostic::new(code, key.span, complaint(&key.text, &refusal)));
            continue;
        }
        let Some(value) = fields::text(node, &key.text, report) else { continue };
        if value.value.contains('\0') {
            report.push(Diagnostic::new(&code::A0015, value.span, "the value of a variable cannot have a zero byte"));
            continue;
        }
        warn_reading(node, report);
        variables.push((key.text.clone(), value.value));
    }
    variables
}
