//! Whether a body is compressed (row H19).

use http::HeaderMap;

/// What the client's Accept-Encoding says about gzip; kept before the header is removed (row H3).
pub fn accepts(_request: &HeaderMap) -> bool {
    false
}

/// Whether a body of this content type is worth compressing.
pub fn compressible(_content_type: &str) -> bool {
    false
}
