//! Speaking to a certificate authority (ACME, RFC 8555): an account, an order, the proof over http or by TLS that a name is ours, the certificate.

use std::fmt;
use std::time::{Duration, Instant};

use edge::Vault;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::HeaderMap;

use super::Bell;
use super::jws::{Key, base64url};
use super::orders::Settings;

/// One request may take so long.
const REQUEST: Duration = Duration::from_secs(30);
/// The authority may take so long to look, and to issue.
const PATIENCE: Duration = Duration::from_mins(3);
/// Longest answer: a chain of certificates is a few kilobytes.
const LONGEST: u64 = 1 << 20;
/// A nonce may be used up or too old (RFC 8555, 6.5).
const NONCES: usize = 5;

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Trouble {
    /// The last part of `urn:ietf:params:acme:error:…`, or empty.
    pub(super) kind: String,
    /// For people.
    pub(super) text: String,
    /// Not before so long.
    pub(super) after: Option<Duration>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Trouble {
    /// It is not the authority's doing.
    pub(super) fn here(text: impl Into<String>) -> Self {
        Self { kind: String::new(), text: text.into(), after: None }
    }

    /// What an authority says is wrong (RFC 7807).
    fn told(problem: &Value, after: Option<Duration>) -> Self {
        let kind = problem["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default().to_owned();
        // Details of one name may be inside.
        let detail = problem["subproblems"][0]["detail"].as_str().or(problem["detail"].as_str()).unwrap_or("the authority gives no reason");
        Self { text: format!("{detail} ({kind})"), kind, after }
    }
}

type Result<T> = std::result::Result<T, Trouble>;

/// How an authority is convinced that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Proof {
    /// `http-01`: it asks port 80 of the name.
    Http,
    /// `tls-alpn-01` (RFC 8737): it shakes hands with port 443 of the name.
    Tls,
}

impl Proof {
    fn challenge(self) -> &'static str {
        match self {
            Self::Http => "http-01",
            Self::Tls => "tls-alpn-01",
        }
    }

    fn way(self) -> &'static str {
        match self {
            Self::Http => "over http",
            Self::Tls => "by TLS",
        }
    }
}

/// An account that is kept.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// The key in PKCS#8 form.
    pub(super) key: Vec<u8>,
    /// The account's address.
    pub(super) id: String,
}

/// What was issued, in PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// An authority and our account there.
#[derive(Debug)]
pub(super) struct Authority {
    agent: Agent,
    key: Key,
    account: String,
    directory: Value,
    nonce: Option<String>,
    proof: Proof,
}

struct Reply {
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    fn location(&self) -> String {
        self.headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }
}

/// `Retry-After` in seconds; dates are not worth a parser.
fn after(headers: &HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

impl Authority {
    /// Opens the account, or goes on with the one that was kept. The second of the pair is to be kept, if there is one.
    pub(super) fn open(agent: Agent, settings: &Settings, kept: Option<&Account>) -> Result<(Self, Option<Account>)> {
        let (directory, email, proof) = (settings.directory.as_str(), settings.email.as_deref(), settings.proof);
        let unreachable = |error: ureq::Error| Trouble::here(format!("{directory} cannot be reached: {error}"));
        let mut answer = agent.get(directory).call().map_err(unreachable)?;
        let directory_of = answer.body_mut().with_config().limit(LONGEST).read_to_string().map_err(unreachable)?;
        let directory: Value = serde_json::from_str(&directory_of)
            .map_err(|_| Trouble::here(format!("{directory} is no directory of an authority (ACME)")))?;
        let no_key = || Trouble::here("no key can be drawn");
        if let Some(kept) = kept {
            let key = Key::read(&kept.key).ok_or_else(|| Trouble::here("the account's key cannot be read"))?;
            return Ok((Self { agent, key, account: kept.id.clone(), directory, nonce: None, proof }, None));
        }
        let (key, drawn) = Key::draw().ok_or_else(no_key)?;
        let mut authority = Self { agent, key, account: String::new(), directory, nonce: None, proof };
        let contact: Vec<String> = email.map(|email| format!("mailto:{email}")).into_iter().collect();
        let wanted = json!({ "termsOfServiceAgreed": true, "contact": contact });
        let url = authority.place("newAccount")?;
        let reply = authority.post(&url, Some(&wanted))?;
        authority.account = reply.location();
        let account = Account { key: drawn, id: authority.account.clone() };
        Ok((authority, Some(account)))
    }

    fn place(&self, name: &str) -> Result<String> {
        self.directory[name].as_str().map(str::to_owned).ok_or_else(|| Trouble::here(format!("the authority's directory has no `{name}`")))
    }

    /// Orders a certificate for one name and proves that the name is ours, which the front end says on its own: who asks any of its
    /// addresses for the name hears the words that are in the vault.
    pub(super) fn order(&mut self, name: &str, vault: &Vault, bell: &Bell) -> Result<Issued> {
        let url = self.place("newOrder")?;
        let reply = self.post(&url, Some(&json!({ "identifiers": [{ "type": "dns", "value": name }] })))?;
        let (order, place) = (reply.json(), reply.location());
        for authorization in order["authorizations"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.prove(name, authorization, vault, bell)?;
        }
        let key = rcgen::KeyPair::generate().map_err(|error| Trouble::here(error.to_string()))?;
        let request = rcgen::CertificateParams::new(vec![name.to_owned()]).and_then(|mut request| {
            request.distinguished_name = rcgen::DistinguishedName::new();
            request.serialize_request(&key)
        });
        let request = request.map_err(|error| Trouble::here(error.to_string()))?;
        let finalize = order["finalize"].as_str().ok_or_else(|| Trouble::here("the order cannot be finished"))?;
        self.post(finalize, Some(&json!({ "csr": base64url(request.der()) })))?;
        let order = self.settled(&place, bell, &["pending", "ready", "processing"])?;
        let certificate = order["certificate"].as_str().filter(|_| order["status"] == "valid");
        let Some(certificate) = certificate else { return Err(Trouble::told(&order["error"], None)) };
        let chain = self.post(certificate, None)?.text;
        Ok(Issued { chain, key: key.serialize_pem() })
    }

    fn prove(&mut self, name: &str, authorization: &str, vault: &Vault, bell: &Bell) -> Result<()> {
        let known = self.post(authorization, None)?.json();
        if known["status"] == "valid" {
            return Ok(());
        }
        let proof = self.proof;
        let offered = known["challenges"].as_array().into_iter().flatten().find(|challenge| challenge["type"] == proof.challenge());
        let Some((url, token)) = offered.and_then(|challenge| Some((challenge["url"].as_str()?, challenge["token"].as_str()?))) else {
            let text = format!("the authority takes no proof {} for this name (a wildcard needs one in the DNS)", proof.way());
            return Err(Trouble { kind: "unsupportedIdentifier".into(), text, after: None });
        };
        match proof {
            Proof::Http => vault.say(token, &self.key.words(token)),
            Proof::Tls => {
                let (chain, key) = certificate_of_proof(name, &self.key.digest(token)).map_err(|error| Trouble::here(error.to_string()))?;
                vault.prove(name, &chain, &key).map_err(Trouble::here)?;
            }
        }
        let proven = self.post(url, Some(&json!({}))).and_then(|_| self.settled(authorization, bell, &["pending", "processing"]));
        match proof {
            Proof::Http => vault.forget(token),
            Proof::Tls => vault.proven(name),
        }
        let proven = proven?;
        if proven["status"] == "valid" {
            return Ok(());
        }
        let failed = proven["challenges"].as_array().into_iter().flatten().find(|challenge| challenge["error"].is_object());
        Err(Trouble::told(failed.map_or(&proven["error"], |challenge| &challenge["error"]), None))
    }

    /// What becomes of an order or a proof.
    fn settled(&mut self, url: &str, bell: &Bell, open: &[&str]) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(250);
        loop {
            let reply = self.post(url, None)?;
            let known = reply.json();
            if !open.iter().any(|status| known["status"] == *status) {
                return Ok(known);
            }
            if Instant::now() > until {
                return Err(Trouble::here("the authority did not come to a decision"));
            }
            if !bell.pause(after(&reply.headers).unwrap_or(pause).min(Duration::from_secs(30))) {
                return Err(Trouble::here("the server stops"));
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// A signed request.
    fn post(&mut self, url: &str, payload: Option<&Value>) -> Result<Reply> {
        for _ in 0..NONCES {
            let nonce = self.nonce()?;
            let account = Some(self.account.as_str()).filter(|account| !account.is_empty());
            let message = self.key.sign(url, &nonce, account, payload).ok_or_else(|| Trouble::here("nothing can be signed"))?;
            let unreachable = |error: ureq::Error| Trouble::here(format!("{url} cannot be reached: {error}"));
            let request = self.agent.post(url).content_type("application/jose+json");
            let mut answer = request.send(message.to_string()).map_err(unreachable)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            self.nonce = headers.get("replay-nonce").and_then(|value| value.to_str().ok()).map(str::to_owned);
            let text = answer.body_mut().with_config().limit(LONGEST).read_to_string().map_err(unreachable)?;
            let reply = Reply { headers, text };
            if status.is_success() {
                return Ok(reply);
            }
            let trouble = Trouble::told(&reply.json(), after(&reply.headers));
            if trouble.kind != "badNonce" {
                return Err(trouble);
            }
        }
        Err(Trouble::here("the authority refuses every nonce"))
    }

    fn nonce(&mut self) -> Result<String> {
        if let Some(nonce) = self.nonce.take() {
            return Ok(nonce);
        }
        let url = self.place("newNonce")?;
        let answer = self.agent.head(&url).call().map_err(|error| Trouble::here(format!("{url} cannot be reached: {error}")))?;
        let nonce = answer.headers().get("replay-nonce").and_then(|value| value.to_str().ok());
        nonce.map(str::to_owned).ok_or_else(|| Trouble::here("the authority gives no nonce"))
    }
}

/// A certificate of our own for a name, with the digest that an authority looks for (RFC 8737, 3).
fn certificate_of_proof(name: &str, digest: &[u8]) -> std::result::Result<(String, String), rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut wanted = rcgen::CertificateParams::new(vec![name.to_owned()])?;
    wanted.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
    Ok((wanted.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// What speaks to authorities.
pub(super) fn agent(tls: Option<ureq::tls::TlsConfig>) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(REQUEST))
        .user_agent(concat!("enginehouse/", env!("CARGO_PKG_VERSION")));
    if let Some(tls) = tls {
        config = config.tls_config(tls);
    }
    config.build().new_agent()
}
