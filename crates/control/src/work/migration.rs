//! Gradual migrations: the machine ([`model::migrate`]) says what it wants, this does it and writes down how far it is before each step.

use std::time::{Duration, SystemTime};

use model::ids::{ServiceId, VersionKey};
use model::migrate::guard::Health;
use model::migrate::{Event, Migration, Millis, Outcome, Seen, Wants};
use serde_json::{Value, json};
use store::control::{Change, Operation, Service};
use tokio::sync::mpsc;

use super::rules::service_name;
use super::task::{Task, resource};
use super::versions::key;
use super::worker::Steer;
use super::{House, to_value};
use crate::status::{Code, Status};

fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

type Orders = mpsc::UnboundedReceiver<(Steer, String)>;

impl House {
    pub(super) async fn migrate(
        &self,
        operation: &Operation,
        service: ServiceId,
        mut migration: Migration,
        mut orders: Orders,
        again: bool,
    ) -> Result<Value, Status> {
        if again {
            migration.on(now(), Event::Restarted);
        }
        migration.on(now(), Event::Seen(Box::new(self.look(operation, &service, &migration)?)));
        loop {
            let event = match migration.wants(now()) {
                Wants::Nothing(outcome) => return self.over(operation, &service, outcome).await,
                Wants::Warm { version, instances } => {
                    let warm = self.0.engine.warm(&operation.app, &key(&service, &version)?, instances);
                    tokio::select! {
                        warmed = warm => match warmed {
                            Ok(()) => Event::Warmed,
                            Err(not) => Event::NotWarm(not.message),
                        },
                        Some(order) = orders.recv() => ordered(order),
                    }
                }
                Wants::Split(split) => {
                    let of = service.clone();
                    let app = operation.app.clone();
                    let shifted = self
                        .step(operation, move |change| {
                            let held = change.service(&app, &of)?;
                            change.put_service("services.migrate", Service { split, ..held }).map_err(Status::from)
                        })
                        .await;
                    shifted?;
                    self.settled().await;
                    Event::InForce
                }
                Wants::Look(within) => tokio::select! {
                    Some(order) = orders.recv() => ordered(order),
                    () = tokio::time::sleep(within) => Event::Seen(Box::new(self.look(operation, &service, &migration)?)),
                },
            };
            let before = migration.clone();
            migration.on(now(), event);
            self.write(operation, &service, &before, &migration).await?;
        }
    }

    /// Writes down how far it is, if that is anywhere new: counts alone are seen again after a restart.
    async fn write(&self, operation: &Operation, service: &ServiceId, before: &Migration, migration: &Migration) -> Result<(), Status> {
        let (was, is) = (before.progress(now()), migration.progress(now()));
        if was.text == is.text && before.notes().len() == migration.notes().len() {
            return Ok(());
        }
        let work = to_value(&Task::Migrate { service: service.clone(), migration: Box::new(migration.clone()) })?;
        let progress = json!({ "step": is.step.0, "steps": is.step.1, "share": f64::from(is.share) / 1000.0, "paused": is.paused });
        let notes = notes(migration);
        let id = operation.id;
        self.step(operation, move |change| {
            change.progress(id, &work, &is.text)?;
            change.put_extra(id, "migration", json!({ "progress": progress, "events": notes })).map_err(Status::from)
        })
        .await
    }

    async fn over(&self, operation: &Operation, service: &ServiceId, outcome: Outcome) -> Result<Value, Status> {
        let response = resource("Service", &service_name(&operation.app, service));
        let (app, of, id) = (operation.app.clone(), service.clone(), operation.id);
        let work = to_value(&Task::Settle { response: response.clone() })?;
        let done = outcome == Outcome::Done;
        self.step(operation, move |change: &mut Change<'_>| {
            let held = change.service(&app, &of)?;
            change.put_service("services.migrate", Service { migration: None, ..held })?;
            if done {
                change.progress(id, &work, "")?;
            }
            Ok(())
        })
        .await?;
        self.settled().await;
        match outcome {
            Outcome::Done => Ok(response),
            Outcome::Aborted { reason, reverted } => {
                let back = if reverted { " The traffic split from before is in force again." } else { "" };
                let reason = reason.trim_end_matches('.');
                Err(Status::new(Code::Aborted, format!("The traffic migration was aborted: {reason}.{back}")))
            }
        }
    }

    /// What runs and how it fares.
    fn look(&self, operation: &Operation, service: &ServiceId, migration: &Migration) -> Result<Seen, Status> {
        let app = &operation.app;
        let target = key(service, migration.target())?;
        let mut seen = Seen { new: self.health(operation, &target), new_instances: self.ready(operation, &target), ..Seen::default() };
        for (version, _) in migration.from().parts().filter(|(version, _)| *version != migration.target()) {
            let old = key(service, version)?;
            seen.old.add(&self.health(operation, &old));
            seen.old_instances += self.ready(operation, &old);
        }
        tracing::debug!(app = app.as_str(), "a migration looks: {seen:?}");
        Ok(seen)
    }

    fn ready(&self, operation: &Operation, version: &VersionKey) -> u32 {
        let instances = self.0.engine.instances(&operation.app, version);
        u32::try_from(instances.iter().filter(|it| it.ready && !it.leaving).count()).unwrap_or(u32::MAX)
    }

    fn health(&self, operation: &Operation, version: &VersionKey) -> Health {
        if let Some(watch) = &self.0.settings.watch {
            return watch.health(&operation.app, version);
        }
        let mut health = Health::default();
        for instance in self.0.engine.instances(&operation.app, version) {
            health.requests += instance.requests;
            health.errors += instance.errors;
        }
        health
    }
}

fn ordered((steer, by): (Steer, String)) -> Event {
    match steer {
        Steer::Pause => Event::Pause,
        Steer::Resume => Event::Resume,
        Steer::Abort => Event::Abort(format!("aborted by {by}")),
    }
}

fn notes(migration: &Migration) -> Vec<Value> {
    let at = |millis: Millis| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
    };
    migration.notes().iter().map(|note| json!({ "time": at(note.at), "text": note.text })).collect()
}
