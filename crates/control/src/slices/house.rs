//! The slices' ground in a server: apps and documents of its store, logs in its folder.

use http::Method;
use model::ids::{AppId, VersionKey};
use serde_json::Value;
use store::Store;
use store::control::{Actor, Page};
use store::log::Reader;

use super::{Document, Ground, Inquiry, Kind};
use crate::api::Settings;
use crate::status::Status;
use crate::ward::{Question, Wards};

/// Runtimes whose requests carry the lines that were logged meanwhile.
const OLDEST: [&str; 5] = ["python27", "java8", "go111", "php55", "python"];

/// A server.
pub(crate) struct House<'a> {
    /// Its state.
    pub(crate) store: &'a Store,
    /// What is told about it.
    pub(crate) settings: &'a Settings,
    /// Who asks, for the audit log.
    pub(crate) actor: Actor,
    /// Who runs what is configured.
    pub(crate) wards: &'a Wards,
}

impl House<'_> {
    /// The app, if there is one of that name.
    fn app(&self, app: &str) -> Result<Option<store::control::App>, Status> {
        Ok(self.store.read(|view| view.find_app(app))?)
    }

    /// Whoever sends tasks follows the new configuration before the client hears that it is in force.
    fn refresh(&self, app: &str, kind: Kind) -> Result<(), Status> {
        if kind == Kind::Queue {
            self.ward(app, Inquiry { verb: Some("refresh"), ..Inquiry::new(&Method::POST, &["queues"]) })?;
        }
        Ok(())
    }
}

/// The id of an app that is known to exist.
fn id(app: &str) -> Result<AppId, Status> {
    app.parse().map_err(|_| Status::not_found(format!("Could not find Application \"{app}\".")))
}

impl Ground for House<'_> {
    fn region(&self, app: &str) -> Result<Option<String>, Status> {
        Ok(self.app(app)?.map(|app| app.location))
    }

    fn host(&self, app: &str) -> Result<Option<String>, Status> {
        Ok(self.app(app)?.map(|app| self.settings.host(&app.id, &[])))
    }

    fn documents(&self, app: &str, kind: Kind) -> Result<Vec<Document>, Status> {
        let app = id(app)?;
        Ok(self.store.read(|view| view.documents(&app, kind, &Page::all()))?)
    }

    fn document(&self, app: &str, kind: Kind, name: &str) -> Result<Option<Document>, Status> {
        let app = id(app)?;
        Ok(self.store.read(|view| view.find_document(&app, kind, name))?)
    }

    fn put(&self, app: &str, kind: Kind, name: &str, body: &Value) -> Result<Document, Status> {
        let own = id(app)?;
        let document = self.store.change(&self.actor, |change| change.put_document(&own, kind, name, body))?;
        self.refresh(app, kind)?;
        Ok(document)
    }

    fn remove(&self, app: &str, kind: Kind, name: &str) -> Result<bool, Status> {
        let own = id(app)?;
        let was = self.store.change(&self.actor, |change| change.delete_document(&own, kind, name))?;
        self.refresh(app, kind)?;
        Ok(was)
    }

    fn ward(&self, app: &str, inquiry: Inquiry<'_>) -> Result<Option<Value>, Status> {
        let Some(ward) = self.wards.iter().find(|ward| Some(&ward.collection()) == inquiry.path.first()) else { return Ok(None) };
        let question = Question {
            app: id(app)?,
            method: inquiry.method.clone(),
            path: inquiry.path.iter().map(|&part| part.to_owned()).collect(),
            verb: inquiry.verb.map(str::to_owned),
            query: inquiry.query,
            body: inquiry.body,
            actor: self.actor.clone(),
        };
        ward.answer(&question).map(Some)
    }

    fn has_own_lines(&self, app: &str, version: &VersionKey) -> bool {
        let Ok(app) = id(app) else { return false };
        let found = self.store.read(|view| view.find_version(&app, &version.service, version.version.as_str()));
        // A version that is gone had one of today's runtimes, most likely.
        found.ok().flatten().is_none_or(|found| !OLDEST.contains(&found.spec["runtime"].as_str().unwrap_or_default()))
    }

    fn log(&self, app: &str) -> Option<Reader> {
        let app = app.parse().ok()?;
        Reader::open(&store::app_folder(self.store.dir(), &app).join(store::log::FOLDER)).ok()
    }
}
