//! Header names that mean something to the house, and how to tell them from look-alikes (rows H1–H3, H15).
//!
//! All functions take names in lower case, as [`http::HeaderName`] keeps them.

/// What follows `x-appengine-` in the names that the house gives a meaning to (row H2: exactly these, and no other `X-Appengine-…`). Sorted.
///
/// Documents 001 and 003, and what the SDK's front ends set for apps or believe of each other, as far as public code and documents tell.
pub const APP_ENGINE: &[&str] = &[
    "api-host",
    "api-port",
    "api-ticket",
    "appserver-datacenter",
    "appserver-task-bns",
    "auth-domain",
    "backend-id",
    "backgroundrequest",
    "blobchunksize",
    "blobkey",
    "blobrange",
    "blobsize",
    "blobupload",
    "city",
    "citylatlong",
    "country",
    "cron",
    "current-namespace",
    "default-namespace",
    "default-version-hostname",
    "dev-request-id",
    "dev-request-type",
    "dev-script",
    "error-code",
    "estimated-cpm-us-dollars",
    "failfast",
    "fake-is-admin",
    "fake-logged-in",
    "federated-identity",
    "federated-provider",
    "gae-long-app-id",
    "gae-minor-version",
    "gae-module-name",
    "gae-module-version",
    "gae-partition",
    "gae-server-port",
    "gaia-authuser",
    "gaia-id",
    "gaia-session",
    "https",
    "id-hash",
    "inbound-appid",
    "inbound-user-email",
    "inbound-user-id",
    "inbound-user-is-admin",
    "module-yaml-path",
    "peer-username",
    "queuename",
    "region",
    "remote-addr",
    "request-id-hash",
    "request-log-id",
    "resource-usage",
    "server-name",
    "server-port",
    "server-protocol",
    "server-software",
    "tasketa",
    "taskexecutioncount",
    "taskname",
    "taskpreviousresponse",
    "taskretrycount",
    "taskretryreason",
    "timeout-ms",
    "trusted-ip-request",
    "upload-creation",
    "user-email",
    "user-id",
    "user-ip",
    "user-is-admin",
    "user-nickname",
    "user-organization",
];

/// Row H3: they concern the transfer between client and server.
pub const TRANSFER: &[&str] = &["accept-encoding", "connection", "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding"];

/// Other names that end at the next hop (RFC 9110 §7.6.1, §10.1.1, RFC 7540 §3.2.1).
pub const HOP: &[&str] = &["expect", "http2-settings", "proxy-connection", "upgrade"];

/// Written anew by the house (rows H7–H9).
pub const REWRITTEN: &[&str] = &["x-cloud-trace-context", "x-forwarded-for", "x-forwarded-proto"];

/// Row H15.
pub const RESPONSE: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "server",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a response header's name is in [`RESPONSE`].
pub fn is_response_transfer(name: &str) -> bool {
    // The first letters of the list.
    matches!(name.as_bytes().first(), Some(b'c' | b'd' | b'k' | b'p' | b's' | b't' | b'u')) && RESPONSE.contains(&name)
}

/// What apps tell the house in response headers; no client sees it.
pub const RESPONSE_INTERNAL: &[&str] = &[
    "x-appengine-blobkey",
    "x-appengine-blobrange",
    "x-appengine-error-code",
    "x-appengine-estimated-cpm-us-dollars",
    "x-appengine-resource-usage",
];

/// What an underscore may not imitate besides names of the house: names that decide what a request is (`Content_Length` would become
/// `CONTENT_LENGTH`'s twin in the environ).
const DECISIVE: &[&str] = &["authorization", "content-length", "content-type", "cookie", "forwarded", "host", "proxy", "x-forwarded-host"];

/// `X-Google-*` (row H1).
pub fn is_google(name: &str) -> bool {
    name.starts_with("x-google-")
}

/// Exactly an App Engine name (row H2).
pub fn is_app_engine(name: &str) -> bool {
    name.strip_prefix("x-appengine-").is_some_and(|rest| APP_ENGINE.binary_search(&rest).is_ok())
}

/// A name with `_` that would be the same environ variable as a name of the house or as one that decides what the request is (row H2).
pub fn is_look_alike(name: &str) -> bool {
    if memchr::memchr(b'_', name.as_bytes()).is_none() {
        return false;
    }
    let mut buffer = [0_u8; 64];
    // No name of the house is longer; only the prefix of a longer one matters.
    let length = name.len().min(buffer.len());
    for (to, from) in buffer.iter_mut().zip(name.bytes()) {
        *to = if from == b'_' { b'-' } else { from };
    }
    let Ok(folded) = std::str::from_utf8(&buffer[..length]) else { return true };
    if is_google(folded) {
        return true;
    }
    let exact = name.len() == length;
    exact && (is_app_engine(folded) || [TRANSFER, HOP, REWRITTEN, DECISIVE].iter().any(|list| list.contains(&folded)))
}

/// Whether a request header's name could be in any list or be a look-alike. Nearly all names that browsers send are told apart from those by
/// how they begin or how long they are; a test
/// holds this against the lists.
pub fn is_suspect(name: &str) -> bool {
    let short_cut = match name.as_bytes().first() {
        Some(b'x') => true,
        Some(b'a') => name.starts_with("accept-e"),
        Some(b'c' | b'k') => name.len() == "connection".len(),
        Some(b'e') => name.len() == "expect".len(),
        Some(b'h') => name.len() == "http2-settings".len(),
        Some(b'p') => name.starts_with("proxy"),
        Some(b't') => name.starts_with("te") || name.starts_with("tra"),
        Some(b'u') => name.len() == "upgrade".len(),
        _ => false,
    };
    // Without an early end: names are short, and so all of it is looked at in one step.
    #[allow(clippy::needless_bitwise_bool, reason = "see above")]
    let look_alike = || name.bytes().fold(false, |found, b| found | (b == b'_'));
    short_cut || look_alike()
}

/// What a client's Connection header may not take away, because it is the request itself.
pub fn is_end_to_end(name: &str) -> bool {
    DECISIVE.contains(&name) || name.starts_with("content-") || name == "cache-control" || name.starts_with("if-") || name == "range"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2_the_list_is_sorted() {
        assert!(APP_ENGINE.is_sorted());
    }

    #[test]
    fn h1_h2_h3_every_listed_name_is_suspect() {
        let app_engine = APP_ENGINE.iter().map(|rest| format!("x-appengine-{rest}"));
        let lists = [TRANSFER, HOP, REWRITTEN, &["proxy", "x-google-", "a_b"]].concat();
        for name in app_engine.chain(lists.into_iter().map(str::to_owned)) {
            assert!(is_suspect(&name), "{name}");
        }
        for name in ["accept", "accept-language", "cookie", "cache-control", "host", "user-agent", "content-type", "referer", "origin"] {
            assert!(!is_suspect(name), "{name}");
        }
    }

    #[test]
    fn h2_exact_names_and_look_alikes_only() {
        for name in ["x-appengine-country", "x-appengine-user-email", "x-appengine-citylatlong", "x-appengine-queuename"] {
            assert!(is_app_engine(name), "{name}");
        }
        for name in ["x-appengine-cntry", "x-appengine-", "x-appengine", "xappengine-country", "appengine-country", "x-appengine-country-x"]
        {
            assert!(!is_app_engine(name) && !is_look_alike(name), "{name}");
        }
        for name in [
            "x_appengine_user_email",
            "x-appengine_user-email",
            "x_google_x",
            "content_length",
            "x_forwarded_for",
            "transfer_encoding",
            "proxy_",
        ] {
            assert_eq!(is_look_alike(name), name != "proxy_", "{name}");
        }
        assert!(!is_look_alike("api_key") && !is_look_alike("x_appengine_cntry"));
        assert!(is_look_alike(&format!("x_google_{}", "a".repeat(100))));
        assert!(!is_look_alike(&format!("x_other_{}", "a".repeat(100))));
    }
}
