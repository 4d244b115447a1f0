//! A version on its way: its folder is made, it is brought to the point where it could serve, and only then is it in the state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::engine::{NotReady, Stage};
use model::table::Version;
use model::traffic::TrafficSplit;
use serde_json::{Value, json};
use store::control::{Change, NewVersion, Operation, Service, ServingStatus};
use store::files::{Manifest, Sha256};
use tokio::sync::watch;

use super::rules;
use super::task::{Deploy, Task, resource};
use super::versions::{key, without_status};
use super::{House, sources, to_value};
use crate::status::{Code, Status};
use crate::version::lower;

/// How often the stage is written down at most: each time is a transaction.
const TELL: Duration = Duration::from_millis(250);
/// Lines of the log that an operation's error repeats.
const LOG_LINES: usize = 40;

impl House {
    pub(super) async fn deploy(&self, operation: &Operation, mut task: Deploy) -> Result<Value, Status> {
        let (hash, manifest) = self.manifest(operation, &mut task).await?;
        let root = self.blocking(move |house| house.0.store.materialise(&manifest).map_err(Status::from)).await?;
        let key = key(&task.service, &task.version)?;
        let config = lower(&key, &task.spec).map_err(|violations| Status::fields(&violations))?;
        let version = Arc::new(Version::new(operation.app.clone(), config, root, task.deployment));
        let (spec, status) = without_status(task.spec.clone())?;
        let status = status.unwrap_or(ServingStatus::Serving);
        if status == ServingStatus::Serving {
            self.make_ready(operation, &version).await?;
        }
        self.0.publisher.adopt(&version);
        let most = self.0.settings.most_versions;
        let app = operation.app.clone();
        let name = operation.target.clone();
        let id = operation.id;
        let response = self
            .step(operation, move |change| {
                let deployment = task.deployment;
                if task.patch {
                    let old = change.version(&app, &task.service, &task.version)?;
                    change.patch_version(store::control::Version { spec, status, deployment, ..old })?;
                } else {
                    rules::may_deploy(change, &app, &key, most)?;
                    ensure_service(change, &app, &task)?;
                    let (service, id) = (task.service, task.version);
                    change.put_version(NewVersion { app, service, id, spec, manifest: hash, status, deployment })?;
                }
                let response = resource("Version", &name);
                change.progress(id, &to_value(&Task::Settle { response: response.clone() })?, "Switching")?;
                Ok(response)
            })
            .await?;
        self.settle(response).await
    }

    /// Its files; an archive is unpacked.
    async fn manifest(&self, operation: &Operation, task: &mut Deploy) -> Result<(Sha256, Manifest), Status> {
        if let Some(hash) = task.manifest {
            let manifest = self.blocking(move |house| house.0.store.read(|view| view.manifest(&hash)).map_err(Status::from)).await?;
            return Ok((hash, manifest));
        }
        let Some(archive) = task.zip else { return Err(Status::internal()) };
        let unpacked = self.blocking(move |house| sources::unpack(&house.0.store, &archive)).await?;
        task.manifest = Some(unpacked.hash());
        let (id, work, manifest) = (operation.id, to_value(&Task::Deploy(Box::new(task.clone())))?, unpacked.clone());
        let hash = self
            .step(operation, move |change| {
                change.progress(id, &work, "Unpacking")?;
                change.put_manifest(&manifest).map_err(Status::from)
            })
            .await?;
        Ok((hash, unpacked))
    }

    async fn make_ready(&self, operation: &Operation, version: &Arc<Version>) -> Result<(), Status> {
        let (tell, told) = watch::channel(String::new());
        let stage = move |stage: Stage| drop(tell.send(text(&stage)));
        let ready = self.0.engine.make_ready(Arc::clone(version), Arc::new(stage));
        let done = tokio::select! {
            biased;
            done = ready => done,
            () = self.repeat(operation, told) => Ok(()),
        };
        done.map_err(|not| failure(&not))
    }

    /// Writes the stage down whenever it changes. Goes on for ever.
    async fn repeat(&self, operation: &Operation, mut told: watch::Receiver<String>) {
        loop {
            if told.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let message = told.borrow_and_update().clone();
            let id = operation.id;
            let written = self.step(operation, move |change| change.tell(id, &message).map_err(Status::from)).await;
            if let Err(status) = written {
                tracing::warn!(operation = operation.name(), "cannot write how far an operation is: {status}");
            }
            tokio::time::sleep(TELL).await;
        }
    }
}

/// A service is born with its first version, which takes all its traffic.
fn ensure_service(change: &mut Change<'_>, app: &model::ids::AppId, task: &Deploy) -> Result<(), Status> {
    if change.find_service(app, task.service.as_str())?.is_some() {
        return Ok(());
    }
    let service = Service {
        app: app.clone(),
        id: task.service.clone(),
        split: TrafficSplit::all(task.version.clone()),
        labels: BTreeMap::new(),
        network: None,
        migration: None,
        created: change.now(),
        rev: change.rev(),
    };
    change.put_service("services.create", service)?;
    Ok(())
}

fn text(stage: &Stage) -> String {
    match stage {
        Stage::Copying => "Copying files".to_owned(),
        Stage::Building(line) if line.is_empty() => "Building".to_owned(),
        Stage::Building(line) => format!("Building: {line}"),
        Stage::Booting => "Starting an instance".to_owned(),
        Stage::Warming => "Warming it up".to_owned(),
        Stage::Ready => "Ready".to_owned(),
    }
}

/// What went wrong, with what the app itself printed.
fn failure(not: &NotReady) -> Status {
    let log = &not.log[not.log.len().saturating_sub(LOG_LINES)..];
    let message = if log.is_empty() { not.message.clone() } else { format!("{}\n\n{}", not.message, log.join("\n")) };
    let mut status = Status::new(Code::FailedPrecondition, message);
    status.details.push(json!({ "@type": "type.googleapis.com/google.rpc.DebugInfo", "stackEntries": log, "detail": not.message }));
    status
}
