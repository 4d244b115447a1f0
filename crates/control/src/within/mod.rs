//! The Admin API of one app that runs by itself (`enginehouse run`), as far as the app asks it about itself: the Modules API of the SDKs that use it
//! instead of `/rpc_http` (row M3). Same paths, same resources, same errors as the server's ([`crate::api`]); what needs a server's state is refused.
//! Reasons: docs/decisions/370-google-admin-api-name.md.

mod listen;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Method, Uri};
use model::ids::{AppId, VersionKey};
use model::steer::{Change, MOST_INSTANCES, Refused, Steer};
use model::table::{RoutingTable, Service, Version};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use store::access::AccessKey;

use crate::api::ask::Query;
use crate::api::{bearer, check_scopes, completed, shown_split, stranger};
use crate::status::{Code, Status};
use crate::version::raise;

/// Largest body of a request.
const MOST_BODY: usize = 1 << 20;

/// The app's routing as it is now.
pub type Tables = Box<dyn Fn() -> Option<Arc<RoutingTable>> + Send + Sync>;

/// The API.
pub struct Within {
    app: AppId,
    region: String,
    table: Tables,
    steer: Arc<dyn Steer>,
    key: AccessKey,
}

impl std::fmt::Debug for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Within").field("app", &self.app).finish_non_exhaustive()
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'p> {
    App,
    Services,
    Service(&'p str),
    Versions(&'p str),
    Version(&'p str, &'p str),
    Operation(&'p str),
}

impl Within {
    /// The API of `app`, which asks with tokens that `key` has signed.
    pub fn new(app: AppId, region: String, table: Tables, steer: Arc<dyn Steer>, key: AccessKey) -> Self {
        Self { app, region, table, steer, key }
    }

    /// Answers a request.
    async fn answer(&self, method: &Method, target: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Value, Status> {
        let looks = matches!(*method, Method::GET | Method::HEAD);
        self.admit(headers, looks)?;
        let missing = || {
            let text = "`enginehouse run` answers what the Modules API asks; `enginehouse serve` has the whole Admin API.";
            Status::new(Code::Unimplemented, format!("There is no method {method} {} here: {text}", target.path()))
        };
        let segments: Vec<String> =
            target.path().split('/').skip(1).map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (app, wanted) = read(&segments).ok_or_else(missing)?;
        let table = (self.table)().filter(|_| app == self.app.as_str());
        let table = table.ok_or_else(|| Status::not_found(format!("Could not find Application \"{app}\".")))?;
        let query = Query::parse(target.query().unwrap_or_default());
        match wanted {
            Wanted::Version(service, version) if *method == Method::PATCH => {
                let key = &self.find(&table, service, version)?.config.key;
                let changes = changes(query.get("updateMask").unwrap_or_default(), body)?;
                self.change(key, &changes).await
            }
            _ if !looks => Err(missing()),
            Wanted::App => Ok(self.shown(&table)),
            Wanted::Services => {
                let services = table.services.iter().map(|(id, service)| self.shown_service(id.as_str(), service));
                Ok(json!({"services": services.collect::<Vec<_>>()}))
            }
            Wanted::Service(id) => Ok(self.shown_service(id, self.service(&table, id)?)),
            Wanted::Versions(id) => {
                let full = is_full(&query);
                let versions = self.service(&table, id)?.versions.values();
                Ok(json!({"versions": versions.map(|version| self.shown_version(version, full)).collect::<Vec<_>>()}))
            }
            Wanted::Version(service, version) => Ok(self.shown_version(self.find(&table, service, version)?, is_full(&query))),
            // Changes are in force before they are answered.
            Wanted::Operation(id) => Ok(self.done(id, &json!({}))),
        }
    }

    /// The app itself, and nobody else.
    fn admit(&self, headers: &HeaderMap, looks: bool) -> Result<(), Status> {
        let access = self.key.open(bearer(headers)?, SystemTime::now()).ok_or_else(stranger)?;
        if access.app != self.app {
            return Err(Status::new(Code::PermissionDenied, "The caller does not have permission"));
        }
        check_scopes(&access.scopes, looks)
    }

    fn shown(&self, table: &RoutingTable) -> Value {
        json!({
            "name": format!("apps/{}", self.app),
            "id": self.app,
            "locationId": self.region,
            "authDomain": "gmail.com",
            "servingStatus": "SERVING",
            "serviceAccount": self.app.service_account(),
            "defaultHostname": table.naming.default_hostname,
        })
    }

    fn shown_service(&self, id: &str, service: &Service) -> Value {
        json!({"name": format!("apps/{}/services/{id}", self.app), "id": id, "split": shown_split(&service.split)})
    }

    fn shown_version(&self, version: &Version, full: bool) -> Value {
        let key = &version.config.key;
        let mut body = match raise(&version.config) {
            Value::Object(body) => completed(body, full),
            _ => Map::new(),
        };
        let status = if version.stopped { "STOPPED" } else { "SERVING" };
        body.insert("name".into(), name(&self.app, key).into());
        body.insert("servingStatus".into(), status.into());
        Value::Object(body)
    }

    fn service<'t>(&self, table: &'t RoutingTable, id: &str) -> Result<&'t Service, Status> {
        table.services.get(id).ok_or_else(|| Status::not_found(format!("Service `apps/{}/services/{id}` was not found.", self.app)))
    }

    fn find<'t>(&self, table: &'t RoutingTable, service: &str, version: &str) -> Result<&'t Version, Status> {
        let found = self.service(table, service)?.versions.get(version).map(AsRef::as_ref);
        found.ok_or_else(|| Status::not_found(format!("Version `apps/{}/services/{service}/versions/{version}` was not found.", self.app)))
    }

    async fn change(&self, key: &VersionKey, changes: &[Change]) -> Result<Value, Status> {
        for change in changes {
            match self.steer.steer(&self.app, key, *change).await {
                // As at Google's: it is what was asked for.
                Ok(()) | Err(Refused::Already(_)) => {}
                Err(why) => return Err(refused(&why)),
            }
        }
        let table = (self.table)().ok_or_else(|| Status::new(Code::Unavailable, "The app is not served any more."))?;
        let version = self.find(&table, key.service.as_str(), key.version.as_str())?;
        Ok(self.done("changed", &self.shown_version(version, true)))
    }

    /// An operation that has ended.
    fn done(&self, id: &str, response: &Value) -> Value {
        json!({"name": format!("apps/{}/operations/{id}", self.app), "done": true, "response": response})
    }
}

fn name(app: &AppId, key: &VersionKey) -> String {
    format!("apps/{app}/services/{}/versions/{}", key.service, key.version)
}

/// The app of a path, and what is asked of it.
fn read<'p>(segments: &[&'p str]) -> Option<(&'p str, Wanted<'p>)> {
    let (["v1" | "v1beta", "apps", app], rest) = segments.split_at_checked(3)? else { return None };
    let wanted = match *rest {
        [] => Wanted::App,
        ["services"] => Wanted::Services,
        ["services", service] => Wanted::Service(service),
        ["services", service, "versions"] => Wanted::Versions(service),
        ["services", service, "versions", version] => Wanted::Version(service, version),
        ["operations", id] => Wanted::Operation(id),
        _ => return None,
    };
    Some((app, wanted))
}

/// What a PATCH asks for.
fn changes(mask: &str, body: &[u8]) -> Result<Vec<Change>, Status> {
    let body: Value = serde_json::from_slice(body).map_err(|error| Status::invalid(format!("The body is not JSON: {error}.")))?;
    let either = |camel: &str, snake: &str| body.get(camel).or_else(|| body.get(snake)).cloned().unwrap_or_default();
    let mut changes = Vec::new();
    for path in mask.split(',').map(str::trim).filter(|path| !path.is_empty()) {
        changes.push(match path {
            "manualScaling.instances" | "manual_scaling.instances" | "manualScaling" | "manual_scaling" => {
                let count = &either("manualScaling", "manual_scaling")["instances"];
                let number = count.as_u64().or_else(|| count.as_str()?.parse().ok()).and_then(|number| u32::try_from(number).ok());
                let good = number.filter(|number| (1..=MOST_INSTANCES).contains(number));
                let text = || format!("The number of instances is 1 to {MOST_INSTANCES}, not {count}.");
                Change::Instances(good.ok_or_else(|| Status::field("version.manualScaling.instances", text()))?)
            }
            "servingStatus" | "serving_status" => match either("servingStatus", "serving_status").as_str() {
                Some("SERVING") => Change::Serving(true),
                Some("STOPPED") => Change::Serving(false),
                _ => return Err(Status::field("version.servingStatus", "A version is SERVING or STOPPED.")),
            },
            other => {
                let text = format!("`enginehouse run` changes manualScaling.instances and servingStatus; `{other}` is app.yaml's.");
                return Err(Status::field("updateMask", text));
            }
        });
    }
    if changes.is_empty() { Err(Status::field("updateMask", "The update mask is empty: there is nothing to change.")) } else { Ok(changes) }
}

fn refused(why: &Refused) -> Status {
    let code = match why {
        Refused::Missing(_) => Code::NotFound,
        Refused::Scaling(_) | Refused::Already(_) => Code::InvalidArgument,
        Refused::NotNow(_) => Code::Unavailable,
    };
    Status::new(code, format!("{why}."))
}

fn is_full(query: &Query) -> bool {
    query.get("view").is_some_and(|view| view.eq_ignore_ascii_case("FULL") || view == "1")
}
