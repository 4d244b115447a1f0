//! The slices' ground in a server: apps and documents of its store, logs in its folder.

use std::collections::BTreeMap;

use http::Method;
use model::ids::{AppId, VersionKey};
use serde_json::Value;
use store::Store;
use store::control::{Actor, Page};
use store::log::Reader;

use super::{Document, Ground, Kind};
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
        let app = id(app)?;
        Ok(self.store.change(&self.actor, |change| change.put_document(&app, kind, name, body))?)
    }

    fn remove(&self, app: &str, kind: Kind, name: &str) -> Result<bool, Status> {
        let app = id(app)?;
        Ok(self.store.change(&self.actor, |change| change.delete_document(&app, kind, name))?)
    }

    fn cron(&self, app: &str, job: &str, verb: Option<&str>) -> Result<Option<Value>, Status> {
        let Some(ward) = self.wards.iter().find(|ward| ward.collection() == "cron") else { return Ok(None) };
        let question = Question {
            app: id(app)?,
            method: if verb.is_some() { Method::POST } else { Method::GET },
            path: vec!["cron".to_owned(), job.to_owned()],
            verb: verb.map(str::to_owned),
            query: BTreeMap::new(),
            body: Value::Object(serde_json::Map::new()),
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
