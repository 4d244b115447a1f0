//! What a test may ask for besides API calls (`--test-mode`), as at the SDK's `api_server.py`: `/clear[?stub=NAME]` forgets what services hold,
//! `/_ah/status` tells that the server answers, and `remote_api_stub` of the Python 2 SDK introduces itself with a GET.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::percent_decode_str;

use crate::call::{self, Answer, Failure};
use crate::proto::remote_api::rpc_error::Code;
use crate::registry::Registry;
use crate::server::plain;

/// Answers what is no call.
pub(crate) fn answer<B>(request: &Request<B>, app: &str, registry: &Registry) -> Response<Full<Bytes>> {
    match (request.uri().path(), request.method()) {
        // A page in a browser cannot do much with these, but it has no business here.
        _ if request.headers().contains_key(http::header::ORIGIN) => plain(StatusCode::FORBIDDEN, "Web pages have no business here.\n"),
        ("/clear", &(Method::GET | Method::POST)) => {
            let stubs = values(request.uri().query().unwrap_or_default(), "stub");
            for stub in &stubs {
                registry.clear(Some(stub));
            }
            if stubs.is_empty() {
                registry.clear(None);
            }
            plain(StatusCode::OK, "")
        }
        ("/_ah/status", &(Method::GET | Method::HEAD)) => plain(StatusCode::OK, status(registry)),
        ("/", &Method::GET) => {
            let token = values(request.uri().query().unwrap_or_default(), "rtok").pop().unwrap_or_else(|| "0".into());
            // YAML; the client compares the token with the one that it sent.
            let token: String = token.chars().filter(char::is_ascii_alphanumeric).collect();
            plain(StatusCode::OK, format!("{{app_id: {app}, rtok: '{token}'}}\n"))
        }
        _ => plain(StatusCode::NOT_FOUND, "API calls are POSTed to /rpc_http; in test mode there are /clear and /_ah/status too.\n"),
    }
}

/// The emulator is never there; `api_server.py` says so too.
fn status(registry: &Registry) -> String {
    let names: Vec<String> = registry.names().map(|name| format!("\"{name}\"")).collect();
    format!("{{\"datastore_emulator_host\": \"None\", \"services\": [{}]}}\n", names.join(", "))
}

/// The values of a name in a query.
fn values(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).collect()
}

/// The envelope of an answer for `remote_api_stub`, which does not know `rpc_error` and would take it for an empty success: it raises whatever
/// exception it is sent as a pickle. What we send names an exception of the SDK and a text.
pub(crate) fn envelope(answer: Answer) -> Bytes {
    let failed = match &answer {
        Err(Failure::Rpc(code, detail)) => Some(pickle(exception(*code), detail)),
        _ => None,
    };
    let plain = call::envelope(answer);
    let Some(pickle) = failed else { return plain };
    // Response.exception: field 2, bytes
    let mut bytes = Vec::with_capacity(plain.len() + pickle.len() + 8);
    prost::encoding::bytes::encode(2, &pickle.into_bytes(), &mut bytes);
    bytes.extend_from_slice(&plain);
    bytes.into()
}

/// The exception of `google.appengine.runtime.apiproxy_errors`.
fn exception(code: Code) -> &'static str {
    match code {
        Code::CallNotFound => "CallNotFoundError",
        Code::ParseError => "ArgumentError",
        Code::OverQuota => "OverQuotaError",
        Code::RequestTooLarge => "RequestTooLargeError",
        Code::CapabilityDisabled => "CapabilityDisabledError",
        Code::FeatureDisabled => "FeatureNotEnabledError",
        Code::ResponseTooLarge => "ResponseTooLargeError",
        Code::Cancelled => "CancelledError",
        Code::DeadlineExceeded => "DeadlineExceededError",
        Code::Unknown | Code::SecurityViolation | Code::BadRequest | Code::ReplayError => "RPCFailedError",
    }
}

/// `pickle.dumps(NAME(TEXT), 0)`: the class, its arguments, and the call.
fn pickle(name: &str, text: &str) -> String {
    let mut quoted = String::new();
    for byte in text.bytes() {
        match byte {
            b'\'' | b'\\' => write!(quoted, "\\{}", char::from(byte)),
            b' '..=b'~' => write!(quoted, "{}", char::from(byte)),
            _ => write!(quoted, "\\x{byte:02x}"),
        }
        .unwrap_or_default();
    }
    format!("cgoogle.appengine.runtime.apiproxy_errors\n{name}\n(S'{quoted}'\ntR.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pickle_cannot_be_broken_out_of() {
        assert_eq!(
            pickle("OverQuotaError", "it's\n'\\."),
            "cgoogle.appengine.runtime.apiproxy_errors\nOverQuotaError\n(S'it\\'s\\x0a\\'\\\\.'\ntR."
        );
    }

    #[test]
    fn values_of_a_query() {
        assert_eq!(values("stub=mail&x=1&stub=mem%63ache", "stub"), ["mail", "memcache"]);
        assert!(values("", "stub").is_empty() && values("stub", "stub").is_empty());
    }
}
