//! The account's key and what it signs: JSON Web Signatures with ES256 (RFC 7515, RFC 7518), as ACME wants them.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// An account's key. Not printed for debugging.
pub(super) struct Key {
    pair: EcdsaKeyPair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl Key {
    /// A new one, and its PKCS#8 form to be kept.
    pub(super) fn draw() -> Option<(Self, Vec<u8>)> {
        let kept = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).ok()?;
        Some((Self::read(kept.as_ref())?, kept.as_ref().to_vec()))
    }

    /// One that was kept.
    pub(super) fn read(kept: &[u8]) -> Option<Self> {
        Some(Self { pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, kept).ok()? })
    }

    /// Its public half (RFC 7517). The point is stored uncompressed: a byte 4, then both coordinates of 32 bytes.
    fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let half = |from: usize| base64url(point.get(from..from + 32).unwrap_or_default());
        json!({ "crv": "P-256", "kty": "EC", "x": half(1), "y": half(33) })
    }

    /// What an authority looks for at a name: the token and the key's thumbprint (RFC 7638: members in the order of their names).
    pub(super) fn words(&self, token: &str) -> String {
        let public = self.public();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, public["x"], public["y"]);
        format!("{token}.{}", base64url(digest(&SHA256, text.as_bytes()).as_ref()))
    }

    /// The digest of those words, for a proof by TLS.
    pub(super) fn digest(&self, token: &str) -> Vec<u8> {
        digest(&SHA256, self.words(token).as_bytes()).as_ref().to_vec()
    }

    /// A signed message. `account` names the key once the authority knows it; `payload` is absent where something is only to be read.
    pub(super) fn sign(&self, url: &str, nonce: &str, account: Option<&str>, payload: Option<&Value>) -> Option<Value> {
        let mut head = json!({ "alg": "ES256", "nonce": nonce, "url": url });
        match account {
            Some(account) => head["kid"] = account.into(),
            None => head["jwk"] = self.public(),
        }
        let head = base64url(head.to_string().as_bytes());
        let payload = payload.map_or_else(String::new, |payload| base64url(payload.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), format!("{head}.{payload}").as_bytes()).ok()?;
        Some(json!({ "protected": head, "payload": payload, "signature": base64url(signature.as_ref()) }))
    }
}

/// Base 64 with `-` and `_` and no padding (RFC 4648, 5).
pub(super) fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|index| u32::from(piece.get(index).copied().unwrap_or_default()));
        let group = a << 16 | b << 8 | c;
        for place in 0..=piece.len() {
            text.push(char::from(LETTERS[(group >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_rfc_4648_does() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn a_key_is_kept_and_signs() {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
        let (key, kept) = Key::draw().expect("drawn");
        let again = Key::read(&kept).expect("read");
        assert_eq!(key.words("token"), again.words("token"));
        let message = again.sign("https://a/", "nonce", None, None).expect("signed");
        assert_eq!(message["payload"], "");
        // The signature is 64 bytes in 86 letters; that it is good is for whoever has the public half.
        assert_eq!(message["signature"].as_str().map(str::len), Some(86));
        let signed = again.pair.sign(&SystemRandom::new(), b"text").expect("signed");
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref()).verify(b"text", signed.as_ref()).expect("good");
        assert_eq!(format!("{key:?}"), "Key(hidden)");
    }
}
