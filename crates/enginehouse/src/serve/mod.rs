//! `enginehouse serve`: starts the works, waits for signals, and stops.

mod args;
mod engine;
mod fleets;
mod journal;
mod ready;
mod slot;
mod watched;
mod works;

use std::process::ExitCode;

use anyhow::Context as _;

pub(crate) use args::{Serve, folder};

use crate::stop::{Phase, Stop};
use crate::ui::{DIM, Ui};
use works::Works;

/// The exit code of a process that was told twice, as shells report an interrupt.
const INTERRUPTED: u8 = 130;

/// Runs the command.
pub(crate) fn serve(ui: &Ui, asked: &Serve) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ui.error(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(until_told(ui, asked));
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
async fn until_told(ui: &Ui, asked: &Serve) -> anyhow::Result<Phase> {
    let stop = Stop::listen().context("cannot listen for signals")?;
    let mut works = Works::start(ui, asked)?;
    works.tell();
    let ready = asked.ready_file.as_deref().map(|file| works.urls().write(file)).transpose()?;
    stop.reached(Phase::Draining).await;
    drop(ready);
    let phase = end(ui, &mut works, &stop).await;
    works.close();
    Ok(phase)
}

/// Drains, or ends at once when told again.
async fn end(ui: &Ui, works: &mut Works, stop: &Stop) -> Phase {
    ui.status(&format!("{DIM}stopping; a second signal stops at once{DIM:#}"));
    tokio::select! {
        biased;
        () = stop.reached(Phase::Forced) => {
            works.halt().await;
            Phase::Forced
        }
        () = works.drain() => Phase::Draining,
    }
}
