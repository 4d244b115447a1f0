//! `apps.authorizedCertificates`: certificates of one's own. The private key goes in and never comes out.

mod x509;

use std::sync::Arc;
use std::time::SystemTime;

use model::ids::AppId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::{Map, Value, json};
use store::control::{Certificate, Domain, Page, PrivateKey};

use super::ask::Ask;
use super::page::Paging;
use super::schema::{AUTHORIZED_CERTIFICATE, LIST_AUTHORIZED_CERTIFICATES_RESPONSE};
use super::{Answer, Answered, Api, second};
use crate::status::{FieldViolation, Status};

/// Certificates of an app.
const MOST: usize = 100;

/// A pair that was checked: the key is that of the first certificate.
struct Pair {
    chain: String,
    key: String,
    facts: x509::Facts,
}

fn shown(certificate: &Certificate, mapped: Option<&[Domain]>) -> Value {
    let mut shown = json!({
        "name": certificate.resource(),
        "id": certificate.id,
        "displayName": certificate.name,
        "domainNames": certificate.domains,
    });
    // One that is to come has neither a chain nor an end.
    if !certificate.chain.is_empty() {
        shown["expireTime"] = second(certificate.expires).into();
    }
    if let Some(managed) = &certificate.managed {
        // What else stands there is for who orders it.
        for field in ["status", "lastRenewalTime"].into_iter().filter(|field| managed.get(field).is_some()) {
            shown["managedCertificate"][field] = managed[field].clone();
        }
    }
    if let Some(domains) = mapped {
        let uses = |domain: &&Domain| domain.body["sslSettings"]["certificateId"] == certificate.id.as_str();
        let names: Vec<String> =
            domains.iter().filter(uses).map(|domain| format!("apps/{}/domainMappings/{}", domain.app, domain.id)).collect();
        shown["domainMappingsCount"] = names.len().into();
        shown["visibleDomainMappings"] = json!(names);
        shown["certificateRawData"] = json!({"publicCertificate": certificate.chain});
    }
    shown
}

impl Api {
    fn find_certificate(&self, app: &AppId, id: &str) -> Result<Certificate, Status> {
        Ok(self.store().read(|view| view.app(app.as_str()).and_then(|_| view.certificate(app, id)))?)
    }

    /// What `view=FULL_CERTIFICATE` shows besides.
    fn mapped(&self, app: &AppId, ask: &Ask) -> Result<Option<Vec<Domain>>, Status> {
        match ask.query.get("view").unwrap_or_default().to_ascii_uppercase().as_str() {
            "" | "BASIC_CERTIFICATE" | "0" => Ok(None),
            "FULL_CERTIFICATE" | "1" => Ok(Some(self.store().read(|view| view.domains(app, &Page::all()))?)),
            other => Err(Status::field("view", format!("Invalid value at 'view' (TYPE_ENUM), \"{other}\""))),
        }
    }

    pub(crate) fn certificates(&self, app: &AppId, ask: &Ask) -> Answered {
        let paging = Paging::read(&ask.query, &format!("certificates of {app}"))?;
        let page = paging.store();
        let mut found = self.store().read(|view| view.app(app.as_str()).and_then(|_| view.certificates(app, &page)))?;
        let next = paging.cut(&mut found, |certificate| certificate.id.clone());
        let mapped = self.mapped(app, ask)?;
        let shown: Vec<Value> = found.iter().map(|certificate| shown(certificate, mapped.as_deref())).collect();
        Ok(Answer::Resource(json!({"certificates": shown, "nextPageToken": next}), &LIST_AUTHORIZED_CERTIFICATES_RESPONSE))
    }

    pub(crate) fn certificate(&self, app: &AppId, id: &str, ask: &Ask) -> Answered {
        let certificate = self.find_certificate(app, id)?;
        Ok(Answer::Resource(shown(&certificate, self.mapped(app, ask)?.as_deref()), &AUTHORIZED_CERTIFICATE))
    }

    pub(crate) fn create_certificate(&self, app: &AppId, ask: &Ask) -> Answered {
        let body = ask.message(&AUTHORIZED_CERTIFICATE, "certificate")?;
        self.store().read(|view| view.app(app.as_str()))?;
        let Some(pair) = read_pair(&body)? else {
            return Err(Status::field(
                "certificate.certificateRawData",
                "A certificate needs `publicCertificate` and `privateKey` in PEM form.",
            ));
        };
        let name = body.get("displayName").and_then(Value::as_str).unwrap_or_default().to_owned();
        let made = self.store().change(&ask.caller.actor(), |change| {
            if change.certificates(app, &Page::all())?.len() >= MOST {
                return Err(Status::new(
                    crate::status::Code::ResourceExhausted,
                    format!("An application has at most {MOST} certificates."),
                ));
            }
            let made = Certificate {
                app: app.clone(),
                id: change.free_certificate_id(app)?,
                name,
                chain: pair.chain,
                key: PrivateKey(pair.key),
                domains: pair.facts.names,
                expires: pair.facts.until,
                managed: None,
                created: change.now(),
            };
            change.put_certificate(&made)?;
            Ok::<_, Status>(made)
        })?;
        Ok(Answer::Resource(shown(&made, Some(&[])), &AUTHORIZED_CERTIFICATE))
    }

    pub(crate) fn patch_certificate(&self, app: &AppId, id: &str, ask: &Ask) -> Answered {
        let mask = ask.mask(&AUTHORIZED_CERTIFICATE, false)?;
        if let Some(path) = mask.beyond(&["displayName", "certificateRawData"]) {
            let message = format!("The field `{path}` of a certificate cannot be changed.");
            return Err(Status::invalid(message.clone()).with_violations(&[FieldViolation::new("updateMask", message)]));
        }
        let body = ask.message(&AUTHORIZED_CERTIFICATE, "certificate")?;
        let touches = |field: &str| if mask.is_empty() { body.contains_key(field) } else { mask.touches(field) };
        let pair = if touches("certificateRawData") { read_pair(&body)? } else { None };
        let mut certificate = self.find_certificate(app, id)?;
        if certificate.managed.is_some() && pair.is_some() {
            return Err(Status::field("certificate.certificateRawData", "This certificate is managed by the server, which renews it."));
        }
        if touches("displayName") {
            body.get("displayName").and_then(Value::as_str).unwrap_or_default().clone_into(&mut certificate.name);
        }
        if let Some(pair) = pair {
            (certificate.chain, certificate.key) = (pair.chain, PrivateKey(pair.key));
            (certificate.domains, certificate.expires) = (pair.facts.names, pair.facts.until);
        }
        self.store().change(&ask.caller.actor(), |change| change.put_certificate(&certificate))?;
        Ok(Answer::Resource(shown(&certificate, None), &AUTHORIZED_CERTIFICATE))
    }

    pub(crate) fn delete_certificate(&self, app: &AppId, id: &str, ask: &Ask) -> Answered {
        self.find_certificate(app, id)?;
        let domains = self.store().read(|view| view.domains(app, &Page::all()))?;
        if let Some(user) = domains.iter().find(|domain| domain.body["sslSettings"]["certificateId"] == id) {
            let message = format!("Certificate `{id}` is used by the domain mapping `{}`; give that another one first.", user.id);
            return Err(Status::new(crate::status::Code::FailedPrecondition, message));
        }
        self.store().change(&ask.caller.actor(), |change| change.delete_certificate(app, id))?;
        Ok(Answer::Empty)
    }
}

/// What the first certificate of a PEM chain says: for which names it is, and when it ends.
pub fn certificate_facts(chain: &str) -> Option<(Vec<String>, SystemTime)> {
    let first = CertificateDer::pem_slice_iter(chain.as_bytes()).next()?.ok()?;
    x509::facts(&first).map(|facts| (facts.names, facts.until))
}

/// The certificate and key of a body, which must belong together. The texts never repeat what was sent: it may be a key.
fn read_pair(body: &Map<String, Value>) -> Result<Option<Pair>, Status> {
    let raw = body.get("certificateRawData");
    let text = |name: &str| raw.and_then(|raw| raw.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (chain, key) = (text("publicCertificate"), text("privateKey"));
    if chain.is_empty() && key.is_empty() {
        return Ok(None);
    }
    let refuse = |field: &str, why: &str| Err(Status::field(format!("certificate.certificateRawData.{field}"), why));
    let parsed: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let Some(certificates) = parsed.ok().filter(|all| !all.is_empty()) else {
        return refuse("publicCertificate", "The certificate is not in PEM form: it begins with -----BEGIN CERTIFICATE-----.");
    };
    let Some(facts) = x509::facts(&certificates[0]) else {
        return refuse("publicCertificate", "The first certificate of the chain cannot be read.");
    };
    let Ok(der) = PrivateKeyDer::from_pem_slice(key.as_bytes()) else {
        return refuse(
            "privateKey",
            "The private key is not in PEM form, or is encrypted: it begins with -----BEGIN (RSA, EC or no word) PRIVATE KEY-----.",
        );
    };
    let Ok(signer) = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der) else {
        return refuse("privateKey", "The private key is of a kind that cannot be used; RSA, ECDSA and Ed25519 can.");
    };
    if CertifiedKey::new(certificates, Arc::clone(&signer)).keys_match()
        == Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch))
    {
        return refuse("privateKey", "The private key does not belong to the first certificate of the chain.");
    }
    Ok(Some(Pair { chain, key, facts }))
}
