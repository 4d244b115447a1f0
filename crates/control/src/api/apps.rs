//! `apps`: the settings of an app.

use model::ids::AppId;
use serde_json::{Map, Value, json};
use store::control::App;

use super::ask::Ask;
use super::schema::{APPLICATION, REPAIR_APPLICATION_REQUEST};
use super::{Answer, Answered, Api};
use crate::status::{FieldViolation, Status};

/// What can be set when an app is made.
const SETTABLE: [&str; 9] = [
    "authDomain",
    "databaseType",
    "defaultCookieExpiration",
    "dispatchRules",
    "featureSettings",
    "iap",
    "serviceAccount",
    "servingStatus",
    "sslPolicy",
];

/// Dispatch rules of an app (discovery document).
const MOST_RULES: usize = 20;
/// Characters of a rule's domain and path together.
const LONGEST_RULE: usize = 100;

impl Api {
    /// What an app is, as clients see it.
    pub(crate) fn shown_app(&self, app: &App) -> Value {
        let mut body = app.fields.clone();
        body.remove("id");
        if let Some(iap) = body.get_mut("iap").and_then(Value::as_object_mut) {
            // Only its digest may be seen, which whoever set it knows to compare.
            iap.remove("oauth2ClientSecret");
        }
        let defaults = [
            ("authDomain", json!("gmail.com")),
            ("servingStatus", json!("SERVING")),
            ("featureSettings", json!({"splitHealthChecks": true, "useContainerOptimizedOs": true})),
            ("serviceAccount", json!(app.id.service_account())),
            ("databaseType", json!("CLOUD_DATASTORE_COMPATIBILITY")),
            ("sslPolicy", json!("DEFAULT")),
        ];
        for (name, value) in defaults {
            body.entry(name).or_insert(value);
        }
        let told = [
            ("name", json!(format!("apps/{}", app.id))),
            ("id", json!(app.id)),
            ("locationId", json!(app.location)),
            ("codeBucket", json!(self.settings().code_bucket(&app.id))),
            ("defaultBucket", json!(format!("{}.{}", app.id.project().replace(':', "."), self.settings().domain))),
            ("defaultHostname", json!(format!("{}{}", self.settings().host(&app.id, &[]), self.settings().port))),
            ("gcrDomain", json!("us.gcr.io")),
        ];
        body.extend(told.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(body)
    }

    pub(crate) fn app(&self, app: &AppId) -> Answered {
        let app = self.store().read(|view| view.app(app.as_str()))?;
        Ok(Answer::Resource(self.shown_app(&app), &APPLICATION))
    }

    pub(crate) fn create_app(&self, ask: &Ask) -> Answered {
        let mut body = ask.message(&APPLICATION, "application")?;
        let Some(Value::String(id)) = body.remove("id") else {
            return Err(Status::field("application.id", "An application needs an id: the project that it belongs to."));
        };
        let id: AppId = id.parse().map_err(|error: model::ids::NameError| Status::field("application.id", error.0))?;
        let region = &self.settings().region;
        let location = match body.remove("locationId") {
            Some(Value::String(location)) if !location.is_empty() => location,
            _ => region.clone(),
        };
        if location != *region {
            let message = format!("The location `{location}` is not served here; this server's region is `{region}`.");
            return Err(Status::field("application.locationId", message));
        }
        body.retain(|name, _| SETTABLE.contains(&name.as_str()));
        self.check_app(&id, &body)?;
        seal(&mut body);
        self.worker.create_app(&ask.caller.actor(), &id, &location, body).map(running)
    }

    pub(crate) fn patch_app(&self, app: &AppId, ask: &Ask) -> Answered {
        let mask = ask.mask(&APPLICATION, true)?;
        if let Some(path) = mask.beyond(&SETTABLE) {
            let message = format!("The field `{path}` of an application cannot be changed.");
            return Err(Status::invalid(message.clone()).with_violations(&[FieldViolation::new("updateMask", message)]));
        }
        let body = ask.message(&APPLICATION, "application")?;
        let mut fields = self.store().read(|view| view.app(app.as_str()))?.fields;
        mask.apply(&body, &mut fields);
        self.check_app(app, &fields)?;
        seal(&mut fields);
        self.worker.patch_app(&ask.caller.actor(), app, fields).map(running)
    }

    pub(crate) fn repair_app(&self, app: &AppId, ask: &Ask) -> Answered {
        ask.message(&REPAIR_APPLICATION_REQUEST, "request")?;
        self.store().read(|view| view.app(app.as_str()))?;
        self.worker.repair_app(&ask.caller.actor(), app).map(running)
    }

    fn check_app(&self, app: &AppId, fields: &Map<String, Value>) -> Result<(), Status> {
        let mut wrong = Vec::new();
        let rules = fields.get("dispatchRules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if rules.len() > MOST_RULES {
            wrong.push(FieldViolation::new(
                "application.dispatchRules",
                format!("{} rules; an application has at most {MOST_RULES}", rules.len()),
            ));
        }
        for (at, rule) in rules.iter().enumerate() {
            let path = format!("application.dispatchRules[{at}]");
            wrong.extend(self.check_rule(app, rule, &path)?);
        }
        match fields.get("servingStatus").and_then(Value::as_str) {
            None | Some("SERVING" | "USER_DISABLED" | "UNSPECIFIED") => {}
            Some(status) => {
                let why = format!("`{status}` cannot be set; an application is SERVING or USER_DISABLED");
                wrong.push(FieldViolation::new("application.servingStatus", why));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Status::fields(&wrong)) }
    }

    fn check_rule(&self, app: &AppId, rule: &Value, at: &str) -> Result<Option<FieldViolation>, Status> {
        let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
        let (domain, path, service) = (text("domain"), text("path"), text("service"));
        let wrong = |field: &str, why: String| Ok(Some(FieldViolation::new(format!("{at}.{field}"), why)));
        let stars = |text: &str| text.matches('*').count();
        if stars(domain) > 1 || (stars(domain) == 1 && !domain.starts_with('*')) {
            return wrong("domain", format!("`{domain}` has a `*` elsewhere than at its beginning"));
        }
        if !path.starts_with('/') && path != "*" {
            return wrong("path", format!("`{path}` does not begin with `/`"));
        }
        if stars(path) > 1 || (stars(path) == 1 && !path.ends_with('*')) {
            return wrong("path", format!("`{path}` has a `*` elsewhere than at its end"));
        }
        if domain.len() + path.len() > LONGEST_RULE {
            return wrong(
                "path",
                format!("domain and path have {} characters together; {LONGEST_RULE} are allowed", domain.len() + path.len()),
            );
        }
        if self.store().read(|view| view.find_service(app, service))?.is_none() {
            return wrong("service", format!("there is no service `{service}`; deploy it first"));
        }
        Ok(None)
    }
}

/// Whether a PATCH changes nothing but dispatch rules, which belong to a deployment.
pub(crate) fn only_routes(ask: &Ask) -> bool {
    ask.mask(&APPLICATION, true).is_ok_and(|mask| mask.beyond(&["dispatchRules"]).is_none())
}

/// Of the client secret only what proves it is kept.
fn seal(fields: &mut Map<String, Value>) {
    let Some(iap) = fields.get_mut("iap").and_then(Value::as_object_mut) else { return };
    if let Some(Value::String(secret)) = iap.remove("oauth2ClientSecret") {
        let digest = store::files::Sha256::of_bytes(secret.as_bytes());
        iap.insert("oauth2ClientSecretSha256".to_owned(), digest.to_string().into());
    }
}

/// The operation that a change became.
pub(super) fn running(operation: store::control::Operation) -> Answer {
    Answer::Running(Box::new(operation))
}
