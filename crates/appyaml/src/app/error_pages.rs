//! `error_handlers:` (row Y10). Whether the files exist is looked at when a folder is loaded.

use model::config::ErrorCode;

use super::handlers;
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, Spanned};

/// An entry of `error_handlers`, its file not yet looked for.
#[derive(Debug, Clone)]
pub(crate) struct RawErrorPage {
    pub(super) code: ErrorCode,
    pub(crate) file: Spanned<String>,
    pub(super) mime_type: Option<String>,
}

/// Reads the list; the first page for an error counts.
pub(super) fn read(app: &Fields<'_>, report: &mut Report) -> Vec<RawErrorPage> {
    let table = [
        ("default", ErrorCode::Default),
        ("over_quota", ErrorCode::OverQuota),
        ("dos_api_denial", ErrorCode::DosApiDenial),
        ("timeout", ErrorCode::Timeout),
    ];
    let mut pages: Vec<RawErrorPage> = Vec::new();
    for item in app.list("error_handlers", report).unwrap_or_default() {
        let Some(fields) = Fields::open(item, "an error handler", &["error_code", "file", "mime_type"], report) else { continue };
        fields.require("file", "for example `file: error.html`", report);
        let code = fields.word("error_code", &table, report);
        let refused = code.is_none() && fields.get("error_code").is_some();
        let mime_type = fields.filled("mime_type", report).map(|found| found.value);
        let file = fields.filled("file", report).and_then(|file| handlers::inside(&file, report));
        let Some(file) = file.filter(|_| !refused) else { continue };
        let code = code.map_or(ErrorCode::Default, |found| found.value);
        match pages.iter().find(|other| other.code == code) {
            Some(first) => {
                let message = "there is an error page for this error already";
                report.push(Diagnostic::new(&code::A0510, file.span, message).related(first.file.span, "this one is used"));
            }
            None => pages.push(RawErrorPage { code, file, mime_type }),
        }
    }
    pages
}
