//! Pages of the house's own: faults and sign-in. No scripts, nothing from elsewhere, everything escaped.

use std::fmt::Write;

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};

/// Text that may stand between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:4rem auto;padding:0 1rem;color:#222;background:#fff}\
h1{font-size:1.4rem}pre{background:#f4f4f4;padding:1rem;overflow:auto;font-size:.85rem;border-radius:.3rem}\
label{display:block;margin:.8rem 0}input[type=email]{font:inherit;padding:.4rem;width:100%;box-sizing:border-box}\
button{font:inherit;padding:.4rem 1.2rem;margin-right:.5rem}small{color:#666}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre{background:#2a2a2a}small{color:#999}}";

/// What our pages may do: nothing but their own style, and forms to where they came from.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A whole page; `body` is HTML.
pub(crate) fn html(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>\n{body}</main></body></html>\n",
        title = escape(title)
    )
}

/// The headers of such a page.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    headers
}

/// The page of a fault.
pub(crate) fn fault(status: http::StatusCode, text: &str, detail: Option<&str>) -> String {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let mut body = format!("<p>{}</p>\n", escape(text));
    if let Some(detail) = detail {
        let _ = writeln!(body, "<pre>{}</pre>", escape(detail));
    }
    html(&title, &body)
}
