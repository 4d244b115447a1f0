//! `[version.]service` of queues, `[version:]service` of cron jobs.

use crate::diagnostic::Report;
use crate::fields::{Fields, malformed};

/// Reads `target`, with the separator that the file's own form has; both are taken in either file, `.` is what comes out.
pub(super) fn read(fields: &Fields<'_>, report: &mut Report) -> Option<String> {
    let found = fields.text("target", report)?;
    let parts: Vec<&str> = found.value.split(['.', ':']).collect();
    let fits = |part: &&str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part.len() <= 100
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if parts.len() <= 2 && parts.iter().all(fits) {
        return Some(parts.join("."));
    }
    let message = format!("`{}` is not the name of a service or version", found.value);
    malformed(found.span, message, "write `service` or `version.service`", report);
    None
}
