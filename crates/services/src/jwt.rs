//! JSON web tokens (RFC 7519): ours are signed here, those of others are checked against their key sets (RFC 7517). No `none`, no shared secrets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::identity::Key;

/// Longer tokens are not read.
const MOST: usize = 64 * 1024;
/// Clocks may differ by so much.
const SKEW: Duration = Duration::from_mins(1);

/// Base64 as tokens and addresses have it (RFC 4648 §5), without padding.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Base64 as headers have it (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Signs claims with an app's key (RS256).
///
/// # Errors
/// If the key refuses.
pub(crate) fn sign(key: &Key, claims: &Map<String, Value>) -> Result<String, String> {
    let header = json!({ "alg": "RS256", "kid": key.name(), "typ": "JWT" });
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(header.to_string()), part(Value::Object(claims.clone()).to_string()));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// What a token must be to count.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who must have made it.
    pub issuer: &'a str,
    /// For whom it must be made.
    pub audience: &'a str,
    /// The random text that the request for it named, if there was one.
    pub nonce: Option<&'a str>,
    /// When.
    pub now: SystemTime,
}

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is none.
    #[error("it is not a JSON web token")]
    Malformed,
    /// No key of the set has signed it; a newer set may have.
    #[error("it is signed with the key `{0}`, which the provider does not publish")]
    UnknownKey(String),
    /// Its signature is of a kind that is not taken.
    #[error("its signature is of the kind `{0}`, which is not taken")]
    Algorithm(String),
    /// The signature is wrong.
    #[error("its signature is wrong")]
    Signature,
    /// It was made by somebody else, for somebody else, for another request or for another time.
    #[error("its claim `{0}` is wrong or missing")]
    Claim(&'static str),
}

/// Checks a token against a key set, and returns its claims.
///
/// # Errors
/// Why it does not count.
pub fn verify(token: &str, keys: &Value, expected: &Expected<'_>) -> Result<Map<String, Value>, Wrong> {
    let (signed, tag) = token.rsplit_once('.').filter(|_| token.len() <= MOST).ok_or(Wrong::Malformed)?;
    let (head, body) = signed.split_once('.').ok_or(Wrong::Malformed)?;
    let (head, claims) = (object(head)?, object(body)?);
    let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| Wrong::Malformed)?;
    let algorithm = head.get("alg").and_then(Value::as_str).ok_or(Wrong::Malformed)?;
    if head.contains_key("crit") {
        // RFC 7515 §4.1.11: what is critical must be understood.
        return Err(Wrong::Algorithm("crit".into()));
    }
    let id = head.get("kid").and_then(Value::as_str);
    let all = keys.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut fitting = all.iter().filter(|key| fits(key, id, algorithm)).peekable();
    if kind_of(algorithm).is_none() {
        return Err(Wrong::Algorithm(algorithm.to_owned()));
    }
    if fitting.peek().is_none() {
        return Err(Wrong::UnknownKey(id.unwrap_or_default().to_owned()));
    }
    if !fitting.any(|key| is_signed(key, algorithm, signed.as_bytes(), &tag)) {
        return Err(Wrong::Signature);
    }
    check(&claims, expected)?;
    Ok(claims)
}

fn object(part: &str) -> Result<Map<String, Value>, Wrong> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Wrong::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Wrong::Malformed)
}

/// The key type of an algorithm that is taken.
fn kind_of(algorithm: &str) -> Option<&'static str> {
    match algorithm {
        "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" => Some("RSA"),
        "ES256" | "ES384" => Some("EC"),
        "EdDSA" => Some("OKP"),
        _ => None,
    }
}

/// Whether a key may have made a signature: by its name if one was given, by its type, by its declared use.
fn fits(key: &Value, id: Option<&str>, algorithm: &str) -> bool {
    let says = |name: &str| key.get(name).and_then(Value::as_str);
    id.is_none_or(|id| says("kid").is_none_or(|own| own == id))
        && says("kty").is_some()
        && says("kty") == kind_of(algorithm)
        && says("use").is_none_or(|used| used == "sig")
        && says("alg").is_none_or(|own| own == algorithm)
}

fn is_signed(key: &Value, algorithm: &str, message: &[u8], tag: &[u8]) -> bool {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok();
    let verified = match kind_of(algorithm) {
        Some("RSA") => {
            let Some((n, e)) = part("n").zip(part("e")) else { return false };
            let rule = match algorithm {
                "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                _ => &signature::RSA_PSS_2048_8192_SHA512,
            };
            return RsaPublicKeyComponents { n, e }.verify(rule, message, tag).is_ok();
        }
        Some("EC") => {
            let Some((x, y)) = part("x").zip(part("y")) else { return false };
            // SEC 1 §2.3.3: a point that is not compressed.
            let point = [&[4], &x[..], &y[..]].concat();
            let curve = key.get("crv").and_then(Value::as_str);
            let rule = match (algorithm, curve) {
                ("ES256", Some("P-256")) => &signature::ECDSA_P256_SHA256_FIXED,
                ("ES384", Some("P-384")) => &signature::ECDSA_P384_SHA384_FIXED,
                _ => return false,
            };
            UnparsedPublicKey::new(rule, point).verify(message, tag)
        }
        _ => {
            let Some(x) = part("x").filter(|_| key.get("crv").and_then(Value::as_str) == Some("Ed25519")) else { return false };
            let parsed = ParsedPublicKey::new(&signature::ED25519, x);
            return parsed.is_ok_and(|parsed| parsed.verify_sig(message, tag).is_ok());
        }
    };
    verified.is_ok()
}

/// OpenID Connect Core §3.1.3.7.
fn check(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), Wrong> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(Wrong::Claim("iss"));
    }
    let several = match claims.get("aud") {
        Some(Value::String(one)) if one == expected.audience => false,
        Some(Value::Array(all)) if all.iter().any(|one| one == expected.audience) => all.len() > 1,
        _ => return Err(Wrong::Claim("aud")),
    };
    if text("azp").map_or(several, |azp| azp != expected.audience) {
        return Err(Wrong::Claim("azp"));
    }
    let now = expected.now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let skew = SKEW.as_secs_f64();
    let number = |name: &str| claims.get(name).and_then(Value::as_f64);
    if number("exp").is_none_or(|until| until + skew <= now) {
        return Err(Wrong::Claim("exp"));
    }
    if number("nbf").is_some_and(|from| from - skew > now) {
        return Err(Wrong::Claim("nbf"));
    }
    if number("iat").is_none_or(|made| made - skew > now) {
        return Err(Wrong::Claim("iat"));
    }
    match expected.nonce {
        Some(nonce) if text("nonce") != Some(nonce) => Err(Wrong::Claim("nonce")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Keys;

    fn signed(claims: &Value) -> (String, Value) {
        let home = tempfile::tempdir().expect("a folder");
        let keys = Keys::open(home.path(), "shop@example.org", SystemTime::now()).expect("made");
        let key = keys.signing();
        (sign(key, claims.as_object().expect("an object")).expect("signed"), json!({ "keys": [key.jwk()] }))
    }

    fn good() -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later").as_secs();
        json!({ "iss": "https://issuer.test", "aud": "client", "exp": now + 60, "iat": now, "nonce": "n", "email": "ann@example.org" })
    }

    fn expected() -> Expected<'static> {
        Expected { issuer: "https://issuer.test", audience: "client", nonce: Some("n"), now: SystemTime::now() }
    }

    #[test]
    fn s3_what_is_signed_can_be_verified() {
        let (token, keys) = signed(&good());
        assert_eq!(verify(&token, &keys, &expected()).expect("good")["email"], "ann@example.org");
        let late = Expected { now: SystemTime::now() + Duration::from_mins(3), ..expected() };
        assert_eq!(verify(&token, &keys, &late), Err(Wrong::Claim("exp")));
        assert_eq!(verify(&token, &json!({ "keys": [] }), &expected()), Err(Wrong::UnknownKey(token_key(&token))));
        let (other, _) = signed(&good());
        assert_eq!(verify(&other, &keys, &expected()), Err(Wrong::UnknownKey(token_key(&other))));
        let parts: Vec<&str> = token.split('.').collect();
        let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(good().to_string().replace("ann", "eve")), parts[2]);
        assert_eq!(verify(&forged, &keys, &expected()), Err(Wrong::Signature));
    }

    fn token_key(token: &str) -> String {
        object(token.split('.').next().expect("a head")).expect("an object")["kid"].as_str().expect("a name").to_owned()
    }

    #[test]
    fn s3_claims_of_others_do_not_count() {
        for (claim, value) in [
            ("iss", json!("https://other.test")),
            ("aud", json!("other")),
            ("aud", json!(["other"])),
            ("azp", json!("other")),
            ("exp", json!(5)),
            ("exp", json!("soon")),
            ("nbf", json!(1e12)),
            ("iat", Value::Null),
            ("nonce", json!("m")),
        ] {
            let mut claims = good();
            claims[claim] = value;
            let (token, keys) = signed(&claims);
            assert_eq!(verify(&token, &keys, &expected()), Err(Wrong::Claim(claim)), "{claims}");
        }
        let mut several = good();
        several["aud"] = json!(["client", "other"]);
        let (token, keys) = signed(&several);
        assert_eq!(verify(&token, &keys, &expected()), Err(Wrong::Claim("azp")), "one of several must say that it is meant");
    }

    #[test]
    fn s3_unsigned_tokens_do_not_count() {
        let (token, keys) = signed(&good());
        let body = token.split('.').nth(1).expect("a body");
        for algorithm in ["none", "HS256", "RS1"] {
            let head = URL_SAFE_NO_PAD.encode(json!({ "alg": algorithm }).to_string());
            let bare = format!("{head}.{body}.");
            assert_eq!(verify(&bare, &keys, &expected()), Err(Wrong::Algorithm(algorithm.into())));
        }
        for bad in ["", ".", "..", "a.b.c", "e30.e30", "e30.e30."] {
            assert!(verify(bad, &keys, &expected()).is_err(), "{bad}");
        }
    }
}
