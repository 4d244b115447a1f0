//! `apps.domainMappings`: names of one's own that lead to an app.

use std::net::IpAddr;

use model::ids::AppId;
use serde_json::{Map, Value, json};
use store::control::Domain;

use super::apps::running;
use super::ask::Ask;
use super::page::Paging;
use super::schema::{DOMAIN_MAPPING, LIST_DOMAIN_MAPPINGS_RESPONSE};
use super::{Answer, Answered, Api};
use crate::status::{FieldViolation, Status};

impl Api {
    /// A mapping as clients see it.
    pub(crate) fn shown_domain(&self, domain: &Domain) -> Value {
        let mut shown = domain.body.clone();
        if !shown.is_object() {
            shown = json!({});
        }
        shown["name"] = format!("apps/{}/domainMappings/{}", domain.app, domain.id).into();
        shown["id"] = domain.id.as_str().into();
        shown["resourceRecords"] = self.records(&domain.app, &domain.id);
        shown
    }

    /// What the domain's owner has to put into the DNS: an alias of the app's own name, or, where a zone begins and no alias may stand (RFC 1034
    /// §3.6.2), addresses as far as they are known.
    fn records(&self, app: &AppId, id: &str) -> Value {
        let bare = bare_of(id);
        if bare == id && !self.settings().addresses.is_empty() {
            let record = |address: &IpAddr| json!({"type": if address.is_ipv4() { "A" } else { "AAAA" }, "rrdata": address.to_string()});
            return self.settings().addresses.iter().map(record).collect();
        }
        let name = id.strip_suffix(bare).map_or("", |name| name.trim_end_matches('.'));
        json!([{"name": name, "type": "CNAME", "rrdata": format!("{}.", self.settings().host(app, &[]))}])
    }

    pub(crate) fn domains(&self, app: &AppId, ask: &Ask) -> Answered {
        let paging = Paging::read(&ask.query, &format!("domains of {app}"))?;
        let page = paging.store();
        let mut found = self.store().read(|view| view.app(app.as_str()).and_then(|_| view.domains(app, &page)))?;
        let next = paging.cut(&mut found, |domain| domain.id.clone());
        let shown: Vec<Value> = found.iter().map(|domain| self.shown_domain(domain)).collect();
        Ok(Answer::Resource(json!({"domainMappings": shown, "nextPageToken": next}), &LIST_DOMAIN_MAPPINGS_RESPONSE))
    }

    fn find_domain(&self, app: &AppId, id: &str) -> Result<Domain, Status> {
        let id = id.to_ascii_lowercase();
        Ok(self.store().read(|view| view.app(app.as_str()).and_then(|_| view.domain(app, &id)))?)
    }

    pub(crate) fn domain(&self, app: &AppId, id: &str) -> Answered {
        Ok(Answer::Resource(self.shown_domain(&self.find_domain(app, id)?), &DOMAIN_MAPPING))
    }

    pub(crate) fn create_domain(&self, app: &AppId, ask: &Ask) -> Answered {
        self.store().read(|view| view.app(app.as_str()))?;
        let (mut query, body) = (ask.query.get("overrideStrategy"), super::lenient::parse(&ask.body)?);
        // Terraform has it in the body.
        let mut body = body;
        let inner = body.as_object_mut().and_then(|body| body.remove("overrideStrategy"));
        query = query.or_else(|| inner.as_ref().and_then(Value::as_str));
        let take = match query.unwrap_or_default().to_ascii_uppercase().as_str() {
            "" | "STRICT" | "1" | "0" | "UNSPECIFIED_DOMAIN_OVERRIDE_STRATEGY" => false,
            "OVERRIDE" | "2" => true,
            other => {
                return Err(Status::field("overrideStrategy", format!("Invalid value at 'override_strategy' (TYPE_ENUM), \"{other}\"")));
            }
        };
        let mut body = DOMAIN_MAPPING.read(&body, "domain_mapping")?;
        let id = body.remove("id").and_then(|id| id.as_str().map(str::to_ascii_lowercase)).unwrap_or_default();
        self.check_name(&id)?;
        if let Some(Value::Object(ssl)) = body.get_mut("sslSettings") {
            // As Google's front end does it: a certificate of one's own unless it is asked to make one.
            ssl.entry("sslManagementType").or_insert_with(|| "AUTOMATIC".into());
        } else {
            body.insert("sslSettings".into(), json!({"sslManagementType": "AUTOMATIC"}));
        }
        self.check_certificate(app, &body)?;
        let taken = self.store().read(|view| view.all_domains())?.into_iter().find(|domain| domain.id == id);
        if let Some(other) = taken {
            // Taking a name away from another app takes a token that may administer both.
            ask.caller.check(super::auth::Deed::Administer, Some(other.app.as_str())).map_err(|refused| {
                let exists = format!("Domain '{id}' is already mapped to an application.");
                if take { refused } else { Status::new(crate::status::Code::AlreadyExists, exists) }
            })?;
        }
        self.worker.create_domain(&ask.caller.actor(), app, &id, &Value::Object(body), take).map(running)
    }

    fn check_name(&self, id: &str) -> Result<(), Status> {
        let refuse = |why: &str| Err(Status::field("domainMapping.id", format!("`{id}` cannot be mapped: {why}.")));
        let bare = id.strip_prefix("*.").unwrap_or(id);
        let label = |label: &str| {
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            (1..=63).contains(&label.len()) && label.chars().all(good) && !label.starts_with('-') && !label.ends_with('-')
        };
        if id.is_empty() || id.len() > 253 || !bare.contains('.') || !bare.split('.').all(label) {
            return refuse("it is not a domain name, such as `www.example.org` (names with other letters in their xn-- form)");
        }
        if bare.split('.').next_back().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
            return refuse("it is an IP address");
        }
        let own = format!("{}.r.{}", self.settings().region, self.settings().domain);
        if bare == self.settings().domain || bare == own || bare.ends_with(&format!(".{own}")) {
            return refuse("names below this server's own domain belong to its apps already");
        }
        Ok(())
    }

    /// A certificate that is named must be there.
    fn check_certificate(&self, app: &AppId, body: &Map<String, Value>) -> Result<(), Status> {
        let id = body.get("sslSettings").and_then(|ssl| ssl.get("certificateId")).and_then(Value::as_str).unwrap_or_default();
        if id.is_empty() || self.store().read(|view| view.certificate(app, id)).is_ok() {
            return Ok(());
        }
        Err(Status::field("domainMapping.sslSettings.certificateId", format!("Certificate `{id}` was not found; create it first.")))
    }

    pub(crate) fn patch_domain(&self, app: &AppId, id: &str, ask: &Ask) -> Answered {
        let mask = ask.mask(&DOMAIN_MAPPING, true)?;
        if let Some(path) = mask.beyond(&["sslSettings.certificateId", "sslSettings.sslManagementType", "sslSettings"]) {
            let message = format!("The field `{path}` of a domain mapping cannot be changed.");
            return Err(Status::invalid(message.clone()).with_violations(&[FieldViolation::new("updateMask", message)]));
        }
        let body = ask.message(&DOMAIN_MAPPING, "domain_mapping")?;
        let domain = self.find_domain(app, id)?;
        let mut new = domain.body.as_object().cloned().unwrap_or_default();
        mask.apply(&body, &mut new);
        self.check_certificate(app, &new)?;
        self.worker.patch_domain(&ask.caller.actor(), app, &domain.id, &Value::Object(new)).map(running)
    }

    pub(crate) fn delete_domain(&self, app: &AppId, id: &str, ask: &Ask) -> Answered {
        let domain = self.find_domain(app, id)?;
        self.worker.delete_domain(&ask.caller.actor(), app, &domain.id).map(running)
    }
}

/// The domain that somebody registered: the last two labels, or three where countries sell names below `co.uk` and the like.
fn bare_of(id: &str) -> &str {
    let labels: Vec<&str> = id.split('.').collect();
    let [.., second, top] = labels.as_slice() else { return id };
    let shared = top.len() == 2 && matches!(*second, "ac" | "co" | "com" | "edu" | "gov" | "net" | "or" | "org" | "ne" | "me");
    let kept = if shared { 3 } else { 2 };
    let dropped: usize = labels.iter().rev().skip(kept).map(|label| label.len() + 1).sum();
    &id[dropped..]
}
