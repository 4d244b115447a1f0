//! The CGI/WSGI environ of a request, as `key\0value\0` pairs for the agent (docs/design/agent-protocol.md; rows H4, H5).

use http::{HeaderMap, Method};

use crate::handler::Script;
use crate::headers::request::Facts;
use crate::table::Version;

/// What the environ is made of.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The version that is called.
    pub version: &'a Version,
    /// The facts.
    pub facts: &'a Facts<'a>,
    /// Method.
    pub method: &'a Method,
    /// Authority as the client named it, with port.
    pub authority: &'a str,
    /// Port that the request came in on, used if the authority names none.
    pub port: u16,
    /// Decoded path.
    pub path: &'a [u8],
    /// Raw path.
    pub raw_path: &'a str,
    /// Raw query.
    pub query: Option<&'a str>,
    /// `HTTP/1.1`.
    pub protocol: &'static str,
    /// Headers after [`crate::headers::request::clean`]; those of [`crate::headers::request::add`] are *not* among them.
    pub headers: &'a HeaderMap,
    /// Length of the body, 0 for none.
    pub content_length: u64,
    /// The script after expansion, if the handler names one.
    pub script: Option<&'a str>,
    /// What kind of script it is.
    pub kind: &'a Script,
}

/// Appends the pairs to `out`, `enginehouse.*` keys included.
pub fn write(out: &mut Vec<u8>, call: &Call<'_>) {
    let _ = (out, call);
}
