//! `app_identity_service` (row S7): who the app is, and proofs of it. Its keys are RSA with self-signed certificates, one file each in the app's folder;
//! its access tokens count at the house's own Admin API and nowhere else (docs/decisions/330-app-identity.md, 331-access-tokens.md).

mod keys;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use model::ids::AppId;
use model::pool::Boxed;
use serde_json::{Map, Value, json};
use store::access::{Access, AccessKey, LASTS};

pub(crate) use self::keys::{Key, Keys};
use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::jwt;
use crate::outside::Outside;
use crate::proto::app_identity as pb;

/// The largest blob that is signed.
const MOST_BLOB: usize = 8 * 1024;
/// How long clients may keep certificates. A key is published twice as long as it signs.
const CACHED: Duration = Duration::from_hours(1);
/// The scope of tokens that name none.
pub const USUAL_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Scopes that are no addresses (OpenID Connect Core §5.4, RFC 6749 §3.3).
const WORDS: [&str; 6] = ["openid", "email", "profile", "cloud-platform", "appengine.admin", "cloud-platform.read-only"];

/// Where an app keeps what is its own.
pub type Folder = Arc<dyn Fn(&AppId) -> PathBuf + Send + Sync>;
/// The key of access tokens, as soon as there is one.
pub type Signer = Arc<dyn Fn() -> Result<AccessKey, String> + Send + Sync>;

/// What identities are made with.
#[derive(Clone)]
pub struct Settings {
    /// Where an app keeps its keys.
    pub folder: Folder,
    /// Signs access tokens.
    pub signer: Signer,
    /// What follows the app's name in that of its default bucket.
    pub bucket_domain: String,
    /// The default bucket, if it is to have another name.
    pub bucket: Option<String>,
    /// The service account of every app, if it is to be another one than its own.
    pub account: Option<Account>,
}

/// A service account from elsewhere.
#[derive(Clone)]
pub struct Account {
    email: String,
    keys: Keys,
}

impl Account {
    /// The account of this address, with the private key in a PEM file. Blocks.
    ///
    /// # Errors
    /// A text for people, if there is no RSA key in the file.
    pub fn open(email: &str, file: &Path, now: SystemTime) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        let keys = Keys::given(&text, email, now).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self { email: email.to_owned(), keys })
    }
}

impl Settings {
    /// The default bucket of an app.
    fn bucket(&self, app: &AppId) -> String {
        self.bucket.clone().unwrap_or_else(|| format!("{}.{}", app.project().replace(':', "."), self.bucket_domain))
    }

    /// The service account of an app.
    fn account(&self, app: &AppId) -> String {
        self.account.as_ref().map_or_else(|| app.service_account(), |account| account.email.clone())
    }
}

/// The identities of all apps.
pub struct Identity {
    settings: Settings,
    outside: Arc<Outside>,
    keys: Mutex<BTreeMap<AppId, Keys>>,
    /// Test mode: the default buckets that tests have named.
    buckets: Mutex<BTreeMap<AppId, String>>,
}

impl Identity {
    /// Identities; nothing is made before it is asked for.
    pub fn new(settings: Settings, outside: Arc<Outside>) -> Self {
        Self { settings, outside, keys: Mutex::default(), buckets: Mutex::default() }
    }

    /// The keys of an app.
    pub(crate) async fn keys(&self, app: &AppId, now: SystemTime) -> Result<Keys, String> {
        if let Some(account) = &self.settings.account {
            return Ok(account.keys.clone());
        }
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(app).cloned();
        if let Some(known) = known.filter(|known| !known.are_stale(now)) {
            return Ok(known);
        }
        let (folder, account) = ((self.settings.folder)(app).join("identity"), app.service_account());
        let opened = tokio::task::spawn_blocking(move || Keys::open(&folder, &account, now)).await;
        let opened = opened.map_err(|_| "making a key broke off".to_owned())?;
        let opened = opened.map_err(|error| format!("the app's keys cannot be read or made: {error}"))?;
        // Two calls may have made one each; both are published, and the first is kept for signing.
        let mut all = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(app) {
            Some(known) if !known.are_stale(now) => Ok(known.clone()),
            _ => {
                all.insert(app.clone(), opened.clone());
                Ok(opened)
            }
        }
    }

    /// The service account of an app.
    pub(crate) fn account(&self, app: &AppId) -> String {
        self.settings.account(app)
    }

    /// Those that are published, read again: another process may have made one.
    async fn published(&self, app: &AppId, now: SystemTime) -> Result<Keys, String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
        self.keys(app, now).await
    }

    /// Certificates by the names of their keys, of any app of the house.
    pub(crate) async fn certificates(&self, account: &str, now: SystemTime) -> Option<Map<String, Value>> {
        let estate = self.outside.estate()?;
        let app = estate.apps.keys().find(|app| self.settings.account(app) == account)?.clone();
        drop(estate);
        let keys = self.published(&app, now).await.ok()?;
        Some(keys.published().map(|key| (key.name().to_owned(), key.certificate().into())).collect())
    }

    /// An access token of an app, and how long it lasts.
    pub(crate) fn token(&self, app: &AppId, scopes: Vec<String>, now: SystemTime) -> Result<(String, SystemTime), String> {
        let expires = now + LASTS;
        let key = (self.settings.signer)()?;
        Ok((key.mint(&Access { app: app.clone(), scopes, expires }), expires))
    }

    /// An OpenID token of an app for somebody.
    pub(crate) async fn id_token(&self, app: &AppId, audience: &str, now: SystemTime) -> Result<String, String> {
        let keys = self.keys(app, now).await?;
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let account = self.settings.account(app);
        let claims = json!({
            "iss": account, "sub": app.number().to_string(), "azp": account, "aud": audience, "email": account, "email_verified": true,
            "iat": seconds(now), "exp": seconds(now + LASTS),
        });
        jwt::sign(keys.signing(), claims.as_object().unwrap_or(&Map::new()))
    }

    async fn answer(&self, method: &str, message: Bytes, context: &Context) -> Answer {
        let app = context.app();
        if self.outside.estate().is_some_and(|estate| !estate.apps.contains_key(app)) {
            return Err(Failure::app(pb::ErrorCode::NotAValidApp, format!("There is no app `{app}` any more.")));
        }
        let failed = |why: String| Failure::app(pb::ErrorCode::UnknownError, why);
        Ok(match method {
            "SignForApp" => {
                let asked: pb::SignForAppRequest = read(message)?;
                let blob = asked.bytes_to_sign.unwrap_or_default();
                if blob.len() > MOST_BLOB {
                    let text = format!("The blob has {} bytes; at most {MOST_BLOB} are signed. Sign a digest of it instead.", blob.len());
                    return Err(Failure::app(pb::ErrorCode::BlobTooLarge, text));
                }
                let keys = self.keys(app, context.now).await.map_err(failed)?;
                let signature = keys.signing().sign(&blob).map_err(failed)?;
                write(&pb::SignForAppResponse { key_name: Some(keys.signing().name().to_owned()), signature_bytes: Some(signature.into()) })
            }
            "GetPublicCertificatesForApp" => {
                let _: pb::GetPublicCertificateForAppRequest = read(message)?;
                let keys = self.published(app, context.now).await.map_err(failed)?;
                let one = |key: &Key| pb::PublicCertificate {
                    key_name: Some(key.name().to_owned()),
                    x509_certificate_pem: Some(key.certificate().to_owned()),
                };
                write(&pb::GetPublicCertificateForAppResponse {
                    public_certificate_list: keys.published().map(one).collect(),
                    max_client_cache_time_in_second: i64::try_from(CACHED.as_secs()).ok(),
                })
            }
            "GetServiceAccountName" => {
                let _: pb::GetServiceAccountNameRequest = read(message)?;
                write(&pb::GetServiceAccountNameResponse { service_account_name: Some(self.settings.account(app)) })
            }
            "GetDefaultGcsBucketName" => {
                let _: pb::GetDefaultGcsBucketNameRequest = read(message)?;
                let named = self.buckets.lock().unwrap_or_else(PoisonError::into_inner).get(app).cloned();
                let name = named.unwrap_or_else(|| self.settings.bucket(app));
                write(&pb::GetDefaultGcsBucketNameResponse { default_gcs_bucket_name: Some(name) })
            }
            "GetAccessToken" => self.access(read(message)?, context)?,
            "SetDefaultGcsBucketName" if context.testing => {
                let asked: pb::SetDefaultGcsBucketNameRequest = read(message)?;
                let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
                match asked.default_gcs_bucket_name.filter(|name| !name.is_empty()) {
                    Some(name) => drop(buckets.insert(app.clone(), name)),
                    None => drop(buckets.remove(app)),
                }
                Bytes::new()
            }
            _ => return Err(Failure::no_call("app_identity_service", method)),
        })
    }

    fn access(&self, asked: pb::GetAccessTokenRequest, context: &Context) -> Answer {
        let own = self.settings.account(context.app());
        if asked.service_account_id.is_some() {
            let text = "Service accounts have no numbers here; name the account, or none for the app's own.";
            return Err(Failure::app(pb::ErrorCode::NotImplemented, text));
        }
        if let Some(other) = asked.service_account_name.filter(|name| *name != own && name != "default") {
            let text = format!("The app may not act as `{other}`; its service account is `{own}`.");
            return Err(Failure::app(pb::ErrorCode::NotAllowed, text));
        }
        if asked.scope.is_empty() {
            return Err(Failure::app(pb::ErrorCode::UnknownScope, "No scope is named."));
        }
        check_scopes(&asked.scope).map_err(|text| Failure::app(pb::ErrorCode::UnknownScope, text))?;
        let made = self.token(context.app(), asked.scope, context.now);
        let (token, expires) = made.map_err(|why| Failure::app(pb::ErrorCode::UnknownError, why))?;
        let expiration_time = expires.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok());
        Ok(write(&pb::GetAccessTokenResponse { access_token: Some(token), expiration_time }))
    }
}

/// Whether these can be scopes: addresses, or one of the few words that stand for some.
pub(crate) fn check_scopes(scopes: &[String]) -> Result<(), String> {
    /// Together they stand in a header.
    const MOST: usize = 4096;
    let good = |scope: &String| {
        let token = scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        token && (WORDS.contains(&scope.as_str()) || scope.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()))
    };
    if let Some(bad) = scopes.iter().find(|scope| !good(scope)) {
        let bad: String = bad.chars().take(200).collect();
        return Err(format!("`{bad}` is no scope: an address such as {USUAL_SCOPE} is wanted, or one of {}.", WORDS.join(", ")));
    }
    if scopes.iter().map(String::len).sum::<usize>() > MOST { Err("The scopes are too long.".into()) } else { Ok(()) }
}

impl Service for Identity {
    fn card(&self) -> &'static Card {
        &card::APP_IDENTITY
    }

    /// Keys stay: what was signed with them is good.
    fn clear(&self) {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(self.answer(method, message, context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_scopes_are_addresses_or_known_words() {
        let check = |scope: &str| check_scopes(&[scope.to_owned()]).is_ok();
        for good in [USUAL_SCOPE, "email", "https://example.org/any"] {
            assert!(check(good), "{good}");
        }
        for bad in ["", "nothing", "https://", "http://x", "https://a b", "https://a\"b", "https://a\n"] {
            assert!(!check(bad), "{bad}");
        }
        assert!(check_scopes(&vec![USUAL_SCOPE.to_owned(); 1000]).is_err());
    }
}
