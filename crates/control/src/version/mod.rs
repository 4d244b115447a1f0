//! The Admin API's `Version` ↔ what a version *is*: [`lower`] reads the JSON that a client sent, [`raise`] writes the JSON that `gcloud app deploy`
//! would send for an app.yaml. `deployment`, names and times are not looked at here: they belong to whoever keeps files and versions.

mod fields;
mod handlers;
mod lower;
mod raise;
mod scaling;
#[cfg(test)]
mod tests;

pub use lower::lower;
pub use raise::raise;

pub use crate::status::FieldViolation;

/// `1.5s` as milliseconds would be written: seconds with as many decimals as they need.
pub(crate) fn seconds(duration: std::time::Duration) -> String {
    let (whole, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos == 0 {
        return format!("{whole}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{whole}.{}s", fraction.trim_end_matches('0'))
}

/// A google.protobuf.Duration that is not negative: `600s`, `0.03s`.
pub(crate) fn parse_seconds(text: &str) -> Option<std::time::Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    // The longest that protobuf knows: ten thousand years.
    if whole.is_empty() || whole.len() > 12 || fraction.len() > 9 || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    Some(std::time::Duration::new(whole.parse().ok()?, nanos))
}
