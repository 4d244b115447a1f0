//! Certificates by host name, which change while the house serves, and the words by which an authority is convinced that a name is ours.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Where an authority looks for its words (RFC 8555, 8.3).
pub(crate) const PLACE: &str = "/.well-known/acme-challenge/";

/// The protocol of an authority that wants to see a proof (RFC 8737, 3).
pub(crate) const PROOF: &[u8] = b"acme-tls/1";

/// A certificate for some host names.
#[derive(Clone)]
pub struct Named {
    /// Which names, in lower case; `*.example.com` is any one label below.
    pub names: Vec<String>,
    /// The chain in PEM, leaf first.
    pub chain: String,
    /// The private key in PEM.
    pub key: String,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What is known now. One for all listeners; cheap to read, replaced as a whole.
#[derive(Default)]
pub struct Vault {
    certificates: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
    words: ArcSwap<HashMap<String, String>>,
    /// By name: what convinces an authority that asks by TLS.
    proofs: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("names", &self.certificates.load().len()).finish_non_exhaustive()
    }
}

impl Vault {
    /// From now on handshakes get these. Returns what cannot be used, and why; of two for one name the later one counts.
    pub fn put(&self, all: &[Named]) -> Vec<(String, String)> {
        let mut certificates = HashMap::new();
        let mut useless = Vec::new();
        for named in all {
            match certified(&named.chain, &named.key) {
                Ok(key) => certificates.extend(named.names.iter().map(|name| (name.clone(), Arc::clone(&key)))),
                Err(why) => useless.push((named.names.join(", "), why)),
            }
        }
        self.certificates.store(Arc::new(certificates));
        useless
    }

    /// From now on who asks for a token below `/.well-known/acme-challenge/` gets these words.
    pub fn say(&self, token: &str, words: &str) {
        self.words.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(token.to_owned(), words.to_owned());
            known
        });
    }

    /// The words for a token are not needed any more.
    pub fn forget(&self, token: &str) {
        self.words.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.remove(token);
            known
        });
    }

    /// The words that this path asks for.
    pub(crate) fn words(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PLACE)?;
        self.words.load().get(token).cloned()
    }

    /// From now on who asks by TLS for a proof of this name (`tls-alpn-01`, RFC 8737) is shown this certificate.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn prove(&self, name: &str, chain: &str, key: &str) -> Result<(), String> {
        let (chain, key) = read(chain, key)?;
        // The library does not know the critical extension that makes a certificate a proof, so it cannot compare the two.
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
        let proof = Arc::new(CertifiedKey::new(chain, key));
        self.proofs.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(name.to_owned(), Arc::clone(&proof));
            known
        });
        Ok(())
    }

    /// The proof of a name is not needed any more.
    pub fn proven(&self, name: &str) {
        self.proofs.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.remove(name);
            known
        });
    }

    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let certificates = self.certificates.load();
        if let Some(found) = certificates.get(name) {
            return Some(Arc::clone(found));
        }
        let (_, above) = name.split_once('.')?;
        certificates.get(&format!("*.{above}")).map(Arc::clone)
    }
}

/// A chain and its key as they are.
fn read(chain: &str, key: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("there is no certificate (`-----BEGIN CERTIFICATE-----`)".into());
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("the private key: {error}"))?;
    Ok((chain, key))
}

/// A chain and its key, if they go together.
pub(crate) fn certified(chain: &str, key: &str) -> Result<Arc<CertifiedKey>, String> {
    let (chain, key) = read(chain, key)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = CertifiedKey::from_der(chain, key, &provider)
        .map_err(|error| format!("the key and the certificate do not go together: {error}"))?;
    Ok(Arc::new(key))
}

/// Chooses by the name that the client wants (SNI, RFC 6066); who wants none that is known gets the listener's own certificate.
#[derive(Debug)]
pub(crate) struct Chooser {
    pub(crate) vault: Arc<Vault>,
    pub(crate) own: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Who wants nothing but a proof gets one or nothing; browsers never do.
        if hello.alpn().is_some_and(|mut protocols| protocols.next() == Some(PROOF) && protocols.next().is_none()) {
            return self.vault.proofs.load().get(hello.server_name()?).cloned();
        }
        // rustls gives names in lower case.
        hello.server_name().and_then(|name| self.vault.find(name)).or_else(|| self.own.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Named {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names.clone()).expect("made");
        Named { names, chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    #[test]
    fn names_are_found_exactly_or_one_label_below_a_star() {
        let vault = Vault::default();
        let (exact, star) = (named(&["www.example.com"]), named(&["*.example.com", "example.org"]));
        assert_eq!(vault.put(&[exact.clone(), star.clone()]), []);
        let is = |name: &str, named: &Named| {
            vault.find(name).is_some_and(|found| found.cert == certified(&named.chain, &named.key).expect("good").cert)
        };
        assert!(is("www.example.com", &exact) && is("shop.example.com", &star) && is("example.org", &star));
        for unknown in ["example.com", "a.b.example.com", "www.example.org", "com", ""] {
            assert!(vault.find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_and_hurts_no_other() {
        let vault = Vault::default();
        let (good, other) = (named(&["good.example"]), named(&["other.example"]));
        let mixed = Named { key: other.key, ..named(&["mixed.example"]) };
        let empty = Named { chain: String::new(), ..named(&["empty.example"]) };
        let useless = vault.put(&[mixed, good, empty]);
        assert_eq!(useless.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["mixed.example", "empty.example"]);
        assert!(vault.find("good.example").is_some() && vault.find("mixed.example").is_none());
    }

    #[test]
    fn words_are_given_for_known_tokens_alone() {
        let vault = Vault::default();
        vault.say("token", "token.thumbprint");
        assert_eq!(vault.words("/.well-known/acme-challenge/token").as_deref(), Some("token.thumbprint"));
        assert_eq!(vault.words("/.well-known/acme-challenge/other"), None);
        vault.forget("token");
        assert_eq!(vault.words("/.well-known/acme-challenge/token"), None);
    }
}
