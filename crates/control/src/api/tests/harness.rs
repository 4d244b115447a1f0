//! A store in a temporary folder, an API over it, and a client with a token.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::engine::{Engine, InstanceReport, NotReady, Stage};
use model::ids::{AppId, InstanceId, ServiceId, VersionId, VersionKey};
use model::pool::Boxed;
use model::table::Estate;
use model::traffic::TrafficSplit;
use serde_json::{Map, Value, json};
use store::Store;
use store::control::{Actor, Begin, Change, Lock, NewVersion, Operation, OperationId, Outcome, Role, Service, ServingStatus, Version};
use store::files::Manifest;

use crate::Bound;
use crate::api::{Api, Door, Settings, Worker};
use crate::status::{Code, Status};
use crate::work::{ServiceChange, Steer};

/// An API that listens.
pub(super) struct House {
    pub(super) store: Store,
    pub(super) address: SocketAddr,
    pub(super) token: String,
    _admin: crate::Admin,
    _folder: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// `error.status: error.message`.
    #[track_caller]
    pub(super) fn error(&self) -> String {
        let error = &self.json()["error"];
        assert_eq!(error["code"].as_u64(), Some(u64::from(self.status)), "{error}");
        format!("{}: {}", error["status"].as_str().unwrap_or_default(), error["message"].as_str().unwrap_or_default())
    }
}

impl House {
    /// With the app `demo`.
    pub(super) fn new() -> Self {
        let house = Self::empty();
        house.ok("POST", "/v1/apps", &json!({"id": "demo"}));
        house
    }

    pub(super) fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("data")).expect("a store");
        let token = store.owner_token().expect("an owner").reveal().to_owned();
        let settings = Settings {
            domain: "localhost".into(),
            region: "local".into(),
            port: ":8080".into(),
            https: false,
            addresses: vec![[192, 0, 2, 7].into(), "2001:db8::7".parse().expect("an address")],
        };
        let worker = Arc::new(Direct { store: store.clone() });
        let api = Api::new(store.clone(), worker, Arc::new(Idle), settings);
        let bound = Bound::new(0).expect("a port");
        let address = bound.address();
        let admin = bound.open(Door::new(Arc::new(api))).expect("a thread");
        Self { store, address, token, _admin: admin, _folder: folder }
    }

    /// A version of `demo` with one file; the first one of a service gets all traffic.
    pub(super) fn deploy(&self, service: &str, id: &str, more: Value) {
        let mut body = json!({"id": id, "runtime": "python312", "deployment": {"files": {"main.py": {"sha1Sum": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}}}});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.ok("POST", &format!("/v1/apps/demo/services/{service}/versions"), &body);
    }

    /// A request whose answer must be 200.
    #[track_caller]
    pub(super) fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.ask(method, path, &body.to_string());
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.body);
        reply.json()
    }

    #[track_caller]
    pub(super) fn get(&self, path: &str) -> Value {
        let reply = self.ask("GET", path, "");
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.json()
    }

    #[track_caller]
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        self.ask_with(method, path, &[("Authorization", &format!("Bearer {}", self.token))], body.as_bytes())
    }

    #[track_caller]
    pub(super) fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut text =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n", self.address, body.len());
        for (name, value) in headers {
            text = format!("{text}{name}: {value}\r\n");
        }
        text.push_str("\r\n");
        let mut socket = TcpStream::connect(self.address).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
        socket.write_all(text.as_bytes()).and_then(|()| socket.write_all(body)).expect("written");
        let mut reply = Vec::new();
        socket.read_to_end(&mut reply).expect("an answer");
        // A compressed body is looked at by nobody.
        let reply = String::from_utf8_lossy(&reply);
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// A token.
    pub(super) fn token(&self, role: Role, app: Option<&str>, scopes: &[&str]) -> String {
        let app: Option<AppId> = app.map(|app| app.parse().expect("an id"));
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let made = self.store.change(&Actor::house(), |change| change.create_token(role.as_str(), role, app.as_ref(), &scopes));
        made.expect("a token").1.reveal().to_owned()
    }
}

/// Runs nothing but one instance of each version.
struct Idle;

impl Engine for Idle {
    fn make_ready(&self, _: Arc<model::table::Version>, _: Arc<dyn Fn(Stage) + Send + Sync>) -> Boxed<'static, Result<(), NotReady>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn warm(&self, _: &AppId, _: &VersionKey, _: u32) -> Boxed<'static, Result<(), NotReady>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn publish(&self, _: Arc<Estate>) -> Boxed<'static, ()> {
        Box::pin(std::future::ready(()))
    }
    fn instances(&self, _: &AppId, version: &VersionKey) -> Vec<InstanceReport> {
        let id = if version.version.as_str().starts_with('m') { InstanceId::Number(0) } else { InstanceId::Opaque("e4b565394caa".into()) };
        vec![InstanceReport {
            id,
            started: SystemTime::UNIX_EPOCH,
            ready: true,
            leaving: false,
            resident: false,
            requests: 7,
            errors: 1,
            qps: 0.5,
            latency_ms: 12,
            memory: 1 << 20,
            why: "a request waited".into(),
        }]
    }
    fn end(&self, _: &AppId, _: &VersionKey, _: &InstanceId) -> bool {
        true
    }
}

/// Carries changes out at once, in the transaction that begins them.
struct Direct {
    store: Store,
}

impl Direct {
    fn run(
        &self,
        actor: &Actor,
        app: &AppId,
        method: &'static str,
        target: String,
        act: impl FnOnce(&mut Change<'_>) -> Result<Value, Status>,
    ) -> Result<Operation, Status> {
        self.store.change(actor, |change| {
            let begin = Begin { app: app.clone(), method, target, work: Value::Null, lock: Lock::Target };
            let operation = change.begin(begin)?;
            let response = act(change)?;
            Ok(change.finish(app, operation.id, &Outcome::Done(response))?)
        })
    }
}

fn any(kind: &str) -> Value {
    json!({"@type": format!("type.googleapis.com/google.appengine.v1.{kind}")})
}

fn empty() -> Value {
    json!({"@type": "type.googleapis.com/google.protobuf.Empty"})
}

impl Worker for Direct {
    fn create_app(&self, actor: &Actor, app: &AppId, location: &str, fields: Map<String, Value>) -> Result<Operation, Status> {
        self.store.change(actor, |change| {
            change.create_app(app, location, fields)?;
            let method = "google.appengine.v1.Applications.CreateApplication";
            let operation =
                change.begin(Begin { app: app.clone(), method, target: format!("apps/{app}"), work: Value::Null, lock: Lock::Target })?;
            Ok(change.finish(app, operation.id, &Outcome::Done(any("Application")))?)
        })
    }
    fn patch_app(&self, actor: &Actor, app: &AppId, fields: Map<String, Value>) -> Result<Operation, Status> {
        self.run(actor, app, "google.appengine.v1.Applications.UpdateApplication", format!("apps/{app}"), |change| {
            change.put_app(app, fields)?;
            Ok(any("Application"))
        })
    }
    fn repair_app(&self, actor: &Actor, app: &AppId) -> Result<Operation, Status> {
        self.run(actor, app, "google.appengine.v1.Applications.RepairApplication", format!("apps/{app}"), |_| Ok(any("Application")))
    }
    fn create_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId, spec: Value) -> Result<Operation, Status> {
        let target = format!("apps/{app}/services/{service}/versions/{id}");
        self.run(actor, app, "google.appengine.v1.Versions.CreateVersion", target, |change| {
            let manifest = change.put_manifest(&Manifest::default())?;
            if change.find_service(app, service.as_str())?.is_none() {
                let now = change.now();
                change.put_service(
                    "services.create",
                    Service {
                        app: app.clone(),
                        id: service.clone(),
                        split: TrafficSplit::all(id.clone()),
                        labels: std::collections::BTreeMap::default(),
                        network: None,
                        migration: None,
                        created: now,
                        rev: 0,
                    },
                )?;
            }
            let status = ServingStatus::Serving;
            change.put_version(NewVersion {
                app: app.clone(),
                service: service.clone(),
                id: id.clone(),
                spec,
                manifest,
                status,
                deployment: change.rev(),
            })?;
            Ok(any("Version"))
        })
    }
    fn patch_version(&self, actor: &Actor, seen: &Version, spec: Value) -> Result<Operation, Status> {
        self.run(actor, &seen.app, "google.appengine.v1.Versions.UpdateVersion", seen.name(), |change| {
            let mut version = change.version(&seen.app, &seen.service, &seen.id)?;
            version.status = if spec["servingStatus"] == "STOPPED" { ServingStatus::Stopped } else { ServingStatus::Serving };
            version.spec = spec;
            change.patch_version(version)?;
            Ok(any("Version"))
        })
    }
    fn delete_version(&self, actor: &Actor, app: &AppId, service: &ServiceId, id: &VersionId) -> Result<Operation, Status> {
        let target = format!("apps/{app}/services/{service}/versions/{id}");
        self.run(actor, app, "google.appengine.v1.Versions.DeleteVersion", target, |change| {
            change.delete_version(app, service, id)?;
            Ok(empty())
        })
    }
    fn patch_service(&self, actor: &Actor, app: &AppId, service: &ServiceId, asked: ServiceChange) -> Result<Operation, Status> {
        self.run(actor, app, "google.appengine.v1.Services.UpdateService", format!("apps/{app}/services/{service}"), |change| {
            let old = change.service(app, service)?;
            let split = asked.split.map_or(old.split.clone(), |split| old.split.change_to(split));
            let network = asked.network.unwrap_or_else(|| old.network.clone());
            let labels = asked.labels.unwrap_or_else(|| old.labels.clone());
            change.put_service("services.patch", Service { split, network, labels, ..old })?;
            Ok(any("Service"))
        })
    }
    fn delete_service(&self, actor: &Actor, app: &AppId, service: &ServiceId) -> Result<Operation, Status> {
        self.run(actor, app, "google.appengine.v1.Services.DeleteService", format!("apps/{app}/services/{service}"), |change| {
            change.delete_service(app, service)?;
            Ok(empty())
        })
    }
    fn steer(&self, _: &Actor, _: &AppId, service: &ServiceId, _: Steer) -> Result<Operation, Status> {
        Err(Status::new(Code::FailedPrecondition, format!("No migration of service `{service}` is under way.")))
    }
    fn delete_instance(
        &self,
        actor: &Actor,
        app: &AppId,
        service: &ServiceId,
        version: &VersionId,
        instance: &InstanceId,
    ) -> Result<Operation, Status> {
        let target = format!("apps/{app}/services/{service}/versions/{version}/instances/{instance}");
        self.run(actor, app, "google.appengine.v1.Instances.DeleteInstance", target, |_| Ok(empty()))
    }
    fn create_domain(&self, actor: &Actor, app: &AppId, id: &str, body: &Value, take: bool) -> Result<Operation, Status> {
        self.run(
            actor,
            app,
            "google.appengine.v1.DomainMappings.CreateDomainMapping",
            format!("apps/{app}/domainMappings/{id}"),
            |change| {
                change.create_domain(app, id, body, take)?;
                Ok(any("DomainMapping"))
            },
        )
    }
    fn patch_domain(&self, actor: &Actor, app: &AppId, id: &str, body: &Value) -> Result<Operation, Status> {
        self.run(
            actor,
            app,
            "google.appengine.v1.DomainMappings.UpdateDomainMapping",
            format!("apps/{app}/domainMappings/{id}"),
            |change| {
                change.put_domain(app, id, body)?;
                Ok(any("DomainMapping"))
            },
        )
    }
    fn delete_domain(&self, actor: &Actor, app: &AppId, id: &str) -> Result<Operation, Status> {
        self.run(
            actor,
            app,
            "google.appengine.v1.DomainMappings.DeleteDomainMapping",
            format!("apps/{app}/domainMappings/{id}"),
            |change| {
                change.delete_domain(app, id)?;
                Ok(empty())
            },
        )
    }
    fn wait(&self, app: &AppId, id: OperationId, _: Duration) -> Boxed<'_, Result<Operation, Status>> {
        let found = self.store.read(|view| view.operation(app, &id.to_string())).map_err(Status::from);
        Box::pin(std::future::ready(found))
    }
}
