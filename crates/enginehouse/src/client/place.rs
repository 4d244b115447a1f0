//! Where a command about queues, jobs or mail finds its app: in a `run` on this machine, or on a server (decision 300).
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::path::{Path, PathBuf};

use clap::Args;
use model::ids::AppId;
use serde::{Deserialize, Serialize};

use super::settings::{Remote, Session, open};
use super::{App, Client, Failure, Outcome, Settings};
use crate::app::Source;
use crate::ui::{DIM, Ui};
use crate::wishes::Wishes;

/// The file in a storage folder that tells how the `run` that has the folder is asked.
const FILE: &str = "admin.json";

/// How a `run` is asked. Whoever can read the file may; instances and web pages cannot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The app.
    pub(crate) app: String,
    /// The admin port.
    pub(crate) url: String,
    /// What the admin port wants to hear.
    pub(crate) token: String,
}

/// The file of [`Ask`], removed on drop.
#[derive(Debug)]
pub(crate) struct AskFile(PathBuf);

impl Ask {
    /// Writes it into the storage folder.
    pub(crate) fn write(&self, storage: &Path) -> std::io::Result<AskFile> {
        let file = storage.join(FILE);
        store::write_atomically(&file, &serde_json::to_vec(self)?)?;
        Ok(AskFile(file))
    }

    fn read(storage: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(storage.join(FILE)).ok()?).ok()
    }

    fn client(self) -> Outcome<(Client, App)> {
        let settings = Settings { server: self.url, token: Some(self.token), ca: None, asked_project: None, usual_project: None };
        Ok((Client::new(&settings)?, App { id: self.app }))
    }
}

impl Drop for AskFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The flags of commands that work with `run` and with servers.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Place {
    /// The storage folder of a running `enginehouse run` [default: that of the app in this folder, or of --project, if it runs; otherwise a
    /// server is asked]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["server", "data", "token", "token_file", "ca"])]
    pub(crate) storage: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

impl Place {
    /// Finds the app.
    pub(crate) fn open(&self, ui: &Ui) -> Outcome<Session> {
        if let Some(storage) = &self.storage {
            let none = || Failure::Here(format!("no `enginehouse run` with an admin port has the storage folder {}", storage.display()));
            let (client, app) = Ask::read(storage).ok_or_else(none)?.client()?;
            return Ok(Session { ui: ui.clone(), client, app });
        }
        let remote = &self.remote;
        let server_is_named = remote.server.is_some()
            || remote.data.is_some()
            || remote.token.is_some()
            || remote.token_file.is_some()
            || std::env::var_os("ENGINEHOUSE_SERVER").is_some_and(|value| !value.is_empty());
        if !server_is_named && let Some(session) = self.running(ui) {
            ui.status(&format!("{DIM}{} on {}{DIM:#}", session.app.id, session.client.server()));
            return Ok(session);
        }
        open(ui, remote)
    }

    /// The `run` of the app that is meant, if it answers.
    fn running(&self, ui: &Ui) -> Option<Session> {
        let id: AppId = match &self.remote.project {
            Some(project) => project.parse().ok()?,
            None => app_here()?,
        };
        let ask = Ask::read(&crate::storage::default_folder(&id).ok()?)?;
        let (client, app) = ask.client().ok()?;
        // After a crash the file is still there.
        client.get("/enginehouse/v1/apps").ok()?;
        Some(Session { ui: ui.clone(), client, app })
    }
}

/// The id of the app in this folder.
fn app_here() -> Option<AppId> {
    let options = appyaml::Options::default();
    let loaded = Source { paths: vec![PathBuf::from(".")], options, wishes: Wishes::default() }.read();
    (!loaded.services.is_empty()).then(|| crate::app::id(&loaded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_tells_how_to_ask_and_goes_away() {
        let storage = tempfile::tempdir().expect("a folder");
        let ask = Ask { app: "demo".into(), url: "http://localhost:1".into(), token: "secret".into() };
        let file = ask.write(storage.path()).expect("written");
        let (client, app) = Ask::read(storage.path()).expect("there").client().expect("a client");
        assert_eq!((client.server(), app.own().as_str()), ("http://localhost:1", "/enginehouse/v1/apps/demo"));
        drop(file);
        assert!(Ask::read(storage.path()).is_none());
    }
}
