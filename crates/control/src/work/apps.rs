//! Apps and domain mappings: changes that are in force as soon as they are written.

use model::ids::AppId;
use model::route::host::label_of;
use serde_json::{Map, Value, json};
use store::control::{Actor, Change, Lock, Operation, Page};

use super::task::{empty, resource};
use super::{House, Quick};
use crate::status::{Code, Status};

impl House {
    /// Makes an app. `fields` are those of the Admin API's `Application` that can be set.
    ///
    /// # Errors
    /// If there is one already.
    pub fn create_app(&self, actor: &Actor, app: &AppId, location: &str, fields: Map<String, Value>) -> Result<Operation, Status> {
        self.quick(actor, of_app(app, "google.appengine.v1.Applications.CreateApplication"), |change| {
            // Two apps cannot have one host name: the one that came first would get the other's requests.
            let label = label_of(app);
            if let Some(other) = change.apps(&Page::all())?.iter().find(|other| other.id != *app && label_of(&other.id) == label) {
                let text = format!(
                    "The project `{app}` would answer to `{label}.…`, the host names of the project `{}` on this server. Choose another id.",
                    other.id
                );
                return Err(Status::new(Code::AlreadyExists, text));
            }
            change.create_app(app, location, fields)?;
            self.ensure_buckets(change, app, location)?;
            Ok(resource("Application", &format!("apps/{app}")))
        })
    }

    /// Replaces an app's fields.
    ///
    /// # Errors
    /// If there is no such app.
    pub fn patch_app(&self, actor: &Actor, app: &AppId, fields: Map<String, Value>) -> Result<Operation, Status> {
        self.quick(actor, of_app(app, "google.appengine.v1.Applications.UpdateApplication"), |change| {
            change.put_app(app, fields)?;
            Ok(resource("Application", &format!("apps/{app}")))
        })
    }

    /// Makes what an app should have and lost.
    ///
    /// # Errors
    /// If there is no such app.
    pub fn repair_app(&self, actor: &Actor, app: &AppId) -> Result<Operation, Status> {
        self.quick(actor, of_app(app, "google.appengine.v1.Applications.RepairApplication"), |change| {
            let location = change.app(app.as_str())?.location;
            self.ensure_buckets(change, app, &location)?;
            Ok(resource("Application", &format!("apps/{app}")))
        })
    }

    fn ensure_buckets(&self, change: &mut Change<'_>, app: &AppId, location: &str) -> Result<(), Status> {
        for name in (self.0.settings.buckets)(app) {
            if change.find_bucket(&name)?.is_none() {
                change.create_bucket(&name, Some(app), location, &json!({}))?;
            }
        }
        Ok(())
    }

    /// Maps a domain. With `take`, another app's mapping of it gives way.
    ///
    /// # Errors
    /// If it is mapped already.
    pub fn create_domain(&self, actor: &Actor, app: &AppId, id: &str, body: &Value, take: bool) -> Result<Operation, Status> {
        self.quick(actor, of_domain(app, id, "google.appengine.v1.DomainMappings.CreateDomainMapping"), |change| {
            change.app(app.as_str())?;
            change.create_domain(app, id, body, take)?;
            Ok(resource("DomainMapping", &format!("apps/{app}/domainMappings/{id}")))
        })
    }

    /// Replaces a mapping.
    ///
    /// # Errors
    /// If there is no such mapping.
    pub fn patch_domain(&self, actor: &Actor, app: &AppId, id: &str, body: &Value) -> Result<Operation, Status> {
        self.quick(actor, of_domain(app, id, "google.appengine.v1.DomainMappings.UpdateDomainMapping"), |change| {
            change.put_domain(app, id, body)?;
            Ok(resource("DomainMapping", &format!("apps/{app}/domainMappings/{id}")))
        })
    }

    /// Removes a mapping.
    ///
    /// # Errors
    /// If there is no such mapping.
    pub fn delete_domain(&self, actor: &Actor, app: &AppId, id: &str) -> Result<Operation, Status> {
        self.quick(actor, of_domain(app, id, "google.appengine.v1.DomainMappings.DeleteDomainMapping"), |change| {
            change.delete_domain(app, id)?;
            Ok(empty())
        })
    }
}

fn of_app<'a>(app: &'a AppId, method: &'static str) -> Quick<'a> {
    Quick { app, method, target: format!("apps/{app}"), lock: Lock::Target }
}

fn of_domain<'a>(app: &'a AppId, id: &str, method: &'static str) -> Quick<'a> {
    Quick { app, method, target: format!("apps/{app}/domainMappings/{id}"), lock: Lock::Target }
}
