//! What an app may choose from: locations, runtimes, domains.

use model::ids::AppId;
use serde_json::{Value, json};
use store::control::Page;

use super::ask::Ask;
use super::page::Paging;
use super::schema::{LIST_AUTHORIZED_DOMAINS_RESPONSE, LIST_LOCATIONS_RESPONSE, LIST_RUNTIMES_RESPONSE, LOCATION};
use super::{Answer, Answered, Api};
use crate::status::Status;

/// Runtimes that the fleet can run, with their names for people.
const RUNTIMES: [(&str, &str); 22] = [
    ("go121", "Go 1.21"),
    ("go122", "Go 1.22"),
    ("go123", "Go 1.23"),
    ("go124", "Go 1.24"),
    ("java17", "Java 17"),
    ("java21", "Java 21"),
    ("nodejs18", "Node.js 18"),
    ("nodejs20", "Node.js 20"),
    ("nodejs22", "Node.js 22"),
    ("nodejs24", "Node.js 24"),
    ("php82", "PHP 8.2"),
    ("php83", "PHP 8.3"),
    ("php84", "PHP 8.4"),
    ("python27", "Python 2.7"),
    ("python39", "Python 3.9"),
    ("python310", "Python 3.10"),
    ("python311", "Python 3.11"),
    ("python312", "Python 3.12"),
    ("python313", "Python 3.13"),
    ("python314", "Python 3.14"),
    ("ruby33", "Ruby 3.3"),
    ("ruby34", "Ruby 3.4"),
];

impl Api {
    fn shown_location(&self, app: &AppId) -> Value {
        let region = &self.settings().region;
        json!({
            "name": format!("apps/{app}/locations/{region}"),
            "locationId": region,
            "displayName": region,
            // gcloud reads the region out of the first label.
            "labels": {"cloud.googleapis.com/region": region},
            "metadata": {
                "@type": "type.googleapis.com/google.appengine.v1.LocationMetadata",
                "standardEnvironmentAvailable": true,
            },
        })
    }

    /// The app need not be there: who makes one asks where it could be.
    pub(crate) fn locations(&self, app: &AppId, ask: &Ask) -> Answered {
        let paging = Paging::read(&ask.query, "locations")?;
        let (locations, next) = paging.slice(vec![self.shown_location(app)], |_| "only".to_owned());
        Ok(Answer::Resource(json!({"locations": locations, "nextPageToken": next}), &LIST_LOCATIONS_RESPONSE))
    }

    pub(crate) fn location(&self, app: &AppId, id: &str) -> Answered {
        let region = &self.settings().region;
        if id != region {
            return Err(Status::not_found(format!("Location `{id}` was not found; this server's region is `{region}`.")));
        }
        Ok(Answer::Resource(self.shown_location(app), &LOCATION))
    }

    pub(crate) fn runtimes(&self, app: &AppId, ask: &Ask) -> Answered {
        self.store().read(|view| view.app(app.as_str()))?;
        let standard = match ask.query.get("environment").unwrap_or_default().to_ascii_uppercase().as_str() {
            "" | "STANDARD" | "1" | "ENVIRONMENT_UNSPECIFIED" | "0" => true,
            "FLEXIBLE" | "2" => false,
            other => return Err(Status::field("environment", format!("Invalid value at 'environment' (TYPE_ENUM), \"{other}\""))),
        };
        let shown =
            |(name, display): &(&str, &str)| json!({"name": name, "displayName": display, "stage": "GA", "environment": "STANDARD"});
        let runtimes: Vec<Value> = if standard { RUNTIMES.iter().map(shown).collect() } else { Vec::new() };
        Ok(Answer::Resource(json!({"runtimes": runtimes}), &LIST_RUNTIMES_RESPONSE))
    }

    /// The names that lead to the app: whoever administers it has shown by mapping them that they are theirs.
    pub(crate) fn authorized_domains(&self, app: &AppId, ask: &Ask) -> Answered {
        let domains = self.store().read(|view| view.app(app.as_str()).and_then(|_| view.domains(app, &Page::all())))?;
        let paging = Paging::read(&ask.query, &format!("authorized domains of {app}"))?;
        let (page, next) = paging.slice(domains, |domain| domain.id.clone());
        let shown: Vec<Value> =
            page.iter().map(|domain| json!({"name": format!("apps/{app}/authorizedDomains/{}", domain.id), "id": domain.id})).collect();
        Ok(Answer::Resource(json!({"domains": shown, "nextPageToken": next}), &LIST_AUTHORIZED_DOMAINS_RESPONSE))
    }
}
