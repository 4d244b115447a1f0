//! The questions that are asked of a provider. Answers are small; nothing is followed elsewhere but what it publishes.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::Agent;

use crate::client::trust;

/// One question may take so long.
const REQUEST: Duration = Duration::from_secs(10);
/// Longest answer.
const LONGEST: u64 = 1 << 20;
/// Addresses may lead on so often.
const REDIRECTS: u32 = 3;

/// A client's secret. It does not appear when it is printed for debugging.
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Asks.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
}

/// Whether secrets may be sent there: over TLS, or not beyond this machine.
pub(super) fn is_safe(address: &str) -> bool {
    let Ok(uri) = address.parse::<ureq::http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let plain = uri.query().is_none() || uri.scheme_str().is_some();
    match uri.scheme_str() {
        Some("https") => !host.is_empty() && plain,
        Some("http") => ["localhost", "127.0.0.1", "[::1]"].contains(&host) || host.ends_with(".localhost"),
        _ => false,
    }
}

impl Client {
    /// A client that believes the certificates in `ca`, or those of the system.
    pub(super) fn new(issuer: &str, ca: Option<&Path>) -> Result<Self, String> {
        let config = Agent::config_builder().timeout_global(Some(REQUEST)).http_status_as_error(false).max_redirects(REDIRECTS);
        let config = if issuer.starts_with("https:") || ca.is_some() {
            config.tls_config(trust::tls(ca).map_err(|failure| failure.text())?)
        } else {
            config
        };
        Ok(Self { agent: config.build().into() })
    }

    /// What stands there, read with an access token if it needs one.
    pub(super) fn json(&self, address: &str, token: Option<&str>) -> Result<Value, String> {
        let request = self.agent.get(address).header("Accept", "application/json");
        let request = token.into_iter().fold(request, |request, token| request.header("Authorization", format!("Bearer {token}")));
        let mut response = request.call().map_err(|error| format!("{address}: {error}"))?;
        if !response.status().is_success() {
            return Err(format!("{address} answers with status {}", response.status().as_u16()));
        }
        let text = response.body_mut().with_config().limit(LONGEST).read_to_vec().map_err(|error| format!("{address}: {error}"))?;
        serde_json::from_slice(&text).map_err(|_| format!("{address} answers with something that is no JSON"))
    }

    /// Redeems a code. A refusal is an answer too; it has an `error`.
    pub(super) fn redeem(
        &self,
        address: &str,
        parameters: &[(&str, &str)],
        client_id: &str,
        secret: Option<&Secret>,
        basic: bool,
    ) -> Result<Value, String> {
        let mut form: Vec<(&str, &str)> = parameters.to_vec();
        let mut request = self.agent.post(address).header("Accept", "application/json");
        match secret {
            // RFC 6749 §2.3.1: both halves are encoded as in a form first.
            Some(secret) if basic => {
                let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let both = format!("{}:{}", encode(client_id), encode(&secret.0));
                request = request.header("Authorization", format!("Basic {}", services::jwt::base64(both.as_bytes())));
            }
            Some(secret) => form.extend([("client_id", client_id), ("client_secret", secret.0.as_str())]),
            None => form.push(("client_id", client_id)),
        }
        let mut response = request.send_form(form).map_err(|error| format!("{address}: {error}"))?;
        let text = response.body_mut().with_config().limit(LONGEST).read_to_vec().map_err(|error| format!("{address}: {error}"))?;
        serde_json::from_slice(&text).map_err(|_| format!("{address} answers with status {} and no JSON", response.status().as_u16()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_here() {
        for good in ["https://accounts.example.org", "http://localhost:1/x", "http://127.0.0.1:4444", "http://idp.localhost"] {
            assert!(is_safe(good), "{good}");
        }
        for bad in ["http://accounts.example.org", "ftp://a", "a", "", "http://127.0.0.1.example.org", "//a"] {
            assert!(!is_safe(bad), "{bad}");
        }
        assert!(!format!("{:?}", Secret::new("hush".into())).contains("hush"));
    }
}
