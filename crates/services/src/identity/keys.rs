//! The RSA keys of an app's service account. Each is a file of its own, written whole and never changed; the newest signs. An older one goes on being
//! published until nobody can hold a signature of it that still counts.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
#[cfg(test)]
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
#[cfg(test)]
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::brief::hex;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

/// A key signs for so long.
pub(crate) const SIGNS: Duration = Duration::from_hours(30 * 24);
/// A key is published for so long, and its certificate is valid as long.
const PUBLISHED: Duration = Duration::from_hours(60 * 24);
/// The clocks of those who check may be behind.
const BEHIND: Duration = Duration::from_hours(1);

/// A key.
pub(crate) struct Key {
    name: String,
    made: SystemTime,
    pair: RsaKeyPair,
    certificate: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Key {
    /// Forty hexadecimal digits.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The X.509 certificate in PEM form.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
        signed.map_err(|_| "the key does not sign".to_owned())?;
        Ok(signature)
    }

    /// The public half as a JSON web key.
    #[cfg(test)]
    pub(crate) fn jwk(&self) -> Value {
        let (n, e) = numbers(self.pair.public_key().as_ref()).unwrap_or_default();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.name, "n": text(n), "e": text(e) })
    }
}

/// Modulus and exponent of `RSAPublicKey` (RFC 8017 §A.1.1), which is what the library hands out.
#[cfg(test)]
fn numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inner, _) = element(der, 0x30)?;
    let (n, rest) = element(inner, 0x02)?;
    let (e, _) = element(rest, 0x02)?;
    let bare = |number: &[u8]| number.iter().position(|b| *b != 0).unwrap_or(number.len());
    Some((&n[bare(n)..], &e[bare(e)..]))
}

/// The content of a DER element of this tag, and what follows it.
#[cfg(test)]
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first().filter(|(first, _)| **first == tag)?;
    debug_assert_eq!(first, tag);
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
        (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
    };
    rest.split_at_checked(length)
}

/// An app's keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    signing: Arc<Key>,
    /// Older ones that are still published, the newest first.
    older: Vec<Arc<Key>>,
}

impl Keys {
    /// Reads the keys in `folder`; makes a new one if none is young enough, and removes those that nobody needs any more. Blocks, for a second if a key
    /// is made.
    pub(crate) fn open(folder: &Path, account: &str, now: SystemTime) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut all = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Some((made, name)) = named(&path) else { continue };
            if now > made + PUBLISHED {
                // The other process of a hand-over may have been quicker.
                let _ = fs::remove_file(&path);
            } else if let Some(key) = fs::read(&path).ok().and_then(|text| read(&text, &name, made)) {
                all.push(Arc::new(key));
            }
        }
        all.sort_by(|one, other| (other.made, &other.name).cmp(&(one.made, &one.name)));
        if all.first().is_none_or(|newest| now > newest.made + SIGNS) {
            all.insert(0, Arc::new(make(folder, account, now)?));
        }
        let signing = all.remove(0);
        Ok(Self { signing, older: all })
    }

    /// A key that somebody else made, in PEM form; it never ages here.
    pub(crate) fn given(pem: &str, account: &str, now: SystemTime) -> Result<Self, String> {
        let wrong = |error: rcgen::Error| format!("there is no RSA private key in it ({error})");
        let pair = KeyPair::from_pem_and_sign_algo(pem, &PKCS_RSA_SHA256).map_err(wrong)?;
        let certificate = certificate(&pair, account, now).map_err(wrong)?;
        let der = pair.serialize_der();
        let signing = RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der));
        let signing = signing.map_err(|error| format!("the RSA key cannot be used ({error})"))?;
        let digest = digest(&SHA256, pair.public_key_raw());
        let name = hex(&digest.as_ref()[..20]);
        Ok(Self { signing: Arc::new(Key { name, made: now, pair: signing, certificate }), older: Vec::new() })
    }

    /// The key that signs.
    pub(crate) fn signing(&self) -> &Key {
        &self.signing
    }

    /// All that are published, the newest first.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&*self.signing).chain(self.older.iter().map(|key| &**key))
    }

    /// Whether the signing key is to be replaced.
    pub(crate) fn are_stale(&self, now: SystemTime) -> bool {
        now > self.signing.made + SIGNS
    }
}

/// `MADE-NAME.json`
fn named(path: &Path) -> Option<(SystemTime, String)> {
    let (made, name) = path.file_name()?.to_str()?.strip_suffix(".json")?.split_once('-')?;
    let made = UNIX_EPOCH.checked_add(Duration::from_secs(made.parse().ok()?))?;
    (name.len() == 40 && name.bytes().all(|b| b.is_ascii_hexdigit())).then(|| (made, name.to_owned()))
}

/// A file that is damaged is no key: the next one takes its place.
fn read(text: &[u8], name: &str, made: SystemTime) -> Option<Key> {
    let kept: Value = serde_json::from_slice(text).ok()?;
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(kept["key"].as_str()?).ok()?).ok()?;
    Some(Key { name: name.to_owned(), made, pair, certificate: kept["certificate"].as_str()?.to_owned() })
}

fn make(folder: &Path, account: &str, now: SystemTime) -> io::Result<Key> {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(io::Error::other)?;
    let certificate = certificate(&pair, account, now).map_err(io::Error::other)?;
    let mut random = [0; 20];
    SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("the system has no random numbers"))?;
    let name = hex(&random);
    let text = json!({ "key": STANDARD.encode(pair.serialize_der()), "certificate": certificate }).to_string();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    store::write_atomically(&folder.join(format!("{seconds}-{name}.json")), text.as_bytes())?;
    read(text.as_bytes(), &name, UNIX_EPOCH + Duration::from_secs(seconds)).ok_or_else(|| io::Error::other("a new key cannot be read"))
}

/// A self-signed certificate in PEM form.
fn certificate(pair: &KeyPair, account: &str, now: SystemTime) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, account.replace('@', "."));
    params.not_before = (now - BEHIND).into();
    params.not_after = (now + PUBLISHED).into();
    Ok(params.self_signed(pair)?.pem())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_keys_last_and_follow_each_other() {
        let home = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let open = |at| Keys::open(&home.path().join("identity"), "shop@example.org", at).expect("open");
        let first = open(now);
        assert_eq!(open(now).signing().name(), first.signing().name(), "kept");
        assert!(first.signing().certificate().starts_with("-----BEGIN CERTIFICATE-----"));
        let later = now + SIGNS + Duration::from_mins(1);
        assert!(first.are_stale(later) && !first.are_stale(now));
        let second = open(later);
        assert_ne!(second.signing().name(), first.signing().name());
        let published = |keys: &Keys| keys.published().map(|key| key.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(published(&second), [second.signing().name(), first.signing().name()]);
        let third = open(later + SIGNS + Duration::from_mins(1));
        assert_eq!(published(&third), [third.signing().name(), second.signing().name()], "the first is gone");
        assert_eq!(fs::read_dir(home.path().join("identity")).expect("there").count(), 2);
    }

    #[test]
    fn s7_a_key_from_elsewhere_signs() {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("made");
        let keys = Keys::given(&pair.serialize_pem(), "a@example.org", SystemTime::now()).expect("read");
        assert_eq!(keys.signing().name().len(), 40);
        assert!(keys.signing().sign(b"text").is_ok_and(|signature| signature.len() == 256));
        assert!(Keys::given("no key", "a@example.org", SystemTime::now()).is_err_and(|why| why.contains("RSA")));
        let other = KeyPair::generate().expect("an elliptic one").serialize_pem();
        assert!(Keys::given(&other, "a@example.org", SystemTime::now()).is_err());
    }

    #[test]
    fn s7_a_damaged_key_is_replaced() {
        let home = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let first = Keys::open(home.path(), "a@b", now).expect("made");
        let file = fs::read_dir(home.path()).expect("there").next().expect("one").expect("one").path();
        fs::write(&file, "{").expect("damaged");
        assert_ne!(Keys::open(home.path(), "a@b", now).expect("made").signing().name(), first.signing().name());
        assert!(!format!("{first:?}").contains("BEGIN"));
    }
}
