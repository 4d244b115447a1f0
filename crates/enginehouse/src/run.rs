//! `enginehouse run`: starts the works, goes through changes and signals one by one, and stops.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::cli::Run;
use crate::stop::{Phase, Stop};
use crate::ui::{DIM, Ui};
use crate::watch::{Scope, Watcher};
use crate::wire::Works;

/// The exit code of a process that was told twice, as shells report an interrupt.
const INTERRUPTED: u8 = 130;

/// Runs the command.
pub(crate) fn run(ui: &Ui, asked: &Run) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ui.error(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(serve(ui, asked));
    // Threads that still install packages have lost their processes; nobody waits for them.
    runtime.shutdown_background();
    match ended {
        Ok(Phase::Forced) => ExitCode::from(INTERRUPTED),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Serves until it is told to stop; returns how urgently it was told.
async fn serve(ui: &Ui, asked: &Run) -> anyhow::Result<Phase> {
    let stop = Stop::listen().context("cannot listen for signals")?;
    let mut works = Works::start(ui, asked)?;
    works.tell_services();
    let outcome = until_told(ui, asked, &mut works, &stop).await;
    let phase = end(ui, &mut works, &stop, outcome.is_err()).await;
    works.close();
    outcome.map(|()| phase)
}

/// Works until a signal comes, or something fails. The ready file exists as long as this lasts.
async fn until_told(ui: &Ui, asked: &Run, works: &mut Works, stop: &Stop) -> anyhow::Result<()> {
    let ready = asked.ready_file.as_deref().map(|file| works.addresses().write(file)).transpose()?;
    let outcome = tokio::select! {
        biased;
        () = stop.reached(Phase::Draining) => Ok(()),
        ended = work(ui, asked, works) => ended,
    };
    drop(ready);
    outcome
}

/// Prepares the versions, then follows changes; ends only if something fails.
async fn work(ui: &Ui, asked: &Run, works: &mut Works) -> anyhow::Result<()> {
    let (sender, mut changes) = unbounded_channel();
    let watcher = if asked.no_reload { None } else { watch(ui, works.scope(), sender.clone()) };
    match works.prepare().await {
        // Test programs want the services; the app that comes with them may be a stub (Go's aetest writes one that does not build).
        Err(error) if asked.test_mode => ui.warning(&format!("{error:#}; API calls are answered all the same")),
        prepared => prepared?,
    }
    ui.status(&format!("{DIM}Ctrl-C stops{DIM:#}"));
    while let Some(mut changed) = changes.recv().await {
        // What came in while packages were being installed is handled at once.
        while let Ok(more) = changes.try_recv() {
            changed.extend(more);
        }
        let scope = works.reload(changed).await;
        if let Some(watcher) = &watcher {
            watcher.look_at(scope);
        }
    }
    drop(sender);
    Ok(())
}

/// Starts to watch. An app whose changes are not noticed is served all the same.
fn watch(ui: &Ui, scope: Scope, sender: UnboundedSender<BTreeSet<PathBuf>>) -> Option<Watcher> {
    match Watcher::start(scope, sender) {
        Ok((watcher, whole)) => {
            if !whole {
                ui.warning("the app has more folders than can be watched; changes in some of them are not noticed (see fs.inotify.max_user_watches)");
            }
            Some(watcher)
        }
        Err(error) => {
            ui.warning(&format!("changes are not noticed: {error:#}"));
            None
        }
    }
}

/// Drains, or ends at once when told again.
async fn end(ui: &Ui, works: &mut Works, stop: &Stop, failed: bool) -> Phase {
    if failed {
        works.halt().await;
        return Phase::Draining;
    }
    ui.status(&format!("{DIM}stopping; Ctrl-C again stops at once{DIM:#}"));
    tokio::select! {
        biased;
        () = stop.reached(Phase::Forced) => {
            works.halt().await;
            Phase::Forced
        }
        () = works.drain() => Phase::Draining,
    }
}
