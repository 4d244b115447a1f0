//! `enginehouse serve`: starts the works, or goes on with those of the process before it, waits for signals, and stops or hands over.

pub(crate) mod args;
mod command;
mod engine;
mod fleets;
mod handover;
mod invite;
mod jobs;
mod journal;
mod notify;
mod plane;
mod ready;
mod slot;
mod sockets;
mod tls;
mod watched;
mod works;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use model::journal::Severity;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use args::{Serve, folder};
pub(crate) use command::{Reload, Upgrade, reload, upgrade};
pub(crate) use journal::{AppJournal, Taps};

use crate::stop::{Phase, Stop};
use crate::ui::{DIM, Ui};
use handover::{Heir, Predecessor};
use notify::Notify;
use ready::ReadyFile;
use sockets::Given;
use works::Works;

/// The exit code of a process that was told twice, as shells report an interrupt.
const INTERRUPTED: u8 = 130;
/// How often it is looked for what nobody needs any more.
const TIDY: Duration = Duration::from_mins(1);

/// Runs the command.
pub(crate) fn serve(ui: &Ui, asked: &Serve) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ui.error(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(Server::run(ui, asked));
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

/// A server and what tells it what to do.
struct Server<'a> {
    ui: &'a Ui,
    stop: Stop,
    reload: Signal,
    upgrade: Signal,
    notify: Notify,
    works: Works,
    ready: Option<ReadyFile>,
}

impl<'a> Server<'a> {
    /// Serves until it is told to stop, or has handed over; returns how urgently it was told.
    async fn run(ui: &'a Ui, asked: &Serve) -> anyhow::Result<Phase> {
        let program = handover::program();
        // First, as it lets standard input go; and before signals, of which the old process sends none.
        let (predecessor, given) = match Predecessor::find()? {
            Some((predecessor, given)) => (Some(predecessor), given),
            None => (None, Given::from_systemd()?),
        };
        let listening = "cannot listen for signals";
        let stop = Stop::listen().context(listening)?;
        let reload = signal(SignalKind::hangup()).context(listening)?;
        let upgrade = signal(SignalKind::user_defined2()).context(listening)?;
        let first = asked.folder().is_ok_and(|folder| !folder.join("owner-token").exists());
        let works = Works::start(ui, asked, given, predecessor.is_some())?;
        let mut server = Self { ui, stop, reload, upgrade, notify: Notify::from_env(), works, ready: None };
        let told = server.stop.clone();
        let opened = tokio::select! {
            biased;
            () = told.reached(Phase::Draining) => Ok(()),
            opened = server.open(asked, predecessor, first) => opened,
        };
        let handed = match opened {
            Ok(()) => server.wait(&program).await,
            Err(error) => {
                server.works.halt().await;
                server.works.close();
                return Err(error);
            }
        };
        let phase = server.end(handed).await;
        server.works.close();
        Ok(phase)
    }

    /// Opens the control plane, and says that the server answers.
    async fn open(&mut self, asked: &Serve, predecessor: Option<Predecessor>, first: bool) -> anyhow::Result<()> {
        if let Some(predecessor) = predecessor {
            self.works.publish().await?;
            self.works.warm(&predecessor.warm).await;
            self.works.serve();
            let (mut predecessor, yours) = blocking(move || {
                let mut predecessor = predecessor;
                let yours = predecessor.ready();
                Ok((predecessor, yours))
            })
            .await?;
            // If the old process is gone, the state is free, and somebody has to go on; if it changed its mind, it still has the state.
            self.works.take_over().await.map_err(|error| yours.err().unwrap_or(error))?;
            self.ready = asked.ready_file.as_deref().map(|file| self.works.urls().write(file)).transpose()?;
            let _ = predecessor.taken();
            self.works.notice(Severity::Info, "took over from the process before this one");
        } else {
            self.works.publish().await?;
            self.works.serve();
            self.works.open().await?;
            self.works.tell(first);
            self.ready = asked.ready_file.as_deref().map(|file| self.works.urls().write(file)).transpose()?;
        }
        self.notify.ready("serving");
        Ok(())
    }

    /// Does what signals say until one says that this process is to end; true if another one goes on.
    async fn wait(&mut self, program: &std::path::Path) -> bool {
        let mut pulse = tokio::time::interval(self.notify.pulse().unwrap_or(TIDY));
        let mut tidy = tokio::time::interval(TIDY);
        loop {
            tokio::select! {
                biased;
                () = self.stop.reached(Phase::Draining) => return false,
                Some(()) = self.reload.recv() => {
                    self.notify.reloading();
                    self.works.reload().await;
                    self.notify.ready("serving");
                }
                Some(()) = self.upgrade.recv() => {
                    if self.hand_over(program).await {
                        return true;
                    }
                }
                _ = pulse.tick() => {
                    if self.works.is_whole() {
                        self.notify.alive();
                    }
                }
                _ = tidy.tick() => self.works.tidy(),
            }
        }
    }

    /// Starts a new process that goes on with everything; tells whether it does.
    async fn hand_over(&mut self, program: &std::path::Path) -> bool {
        self.works.notice(Severity::Info, format!("{} is started to take over", program.display()));
        match self.try_hand_over(program).await {
            Ok(pid) => {
                self.works.notice(Severity::Info, format!("process {pid} has taken over"));
                self.notify.successor(pid);
                if let Some(ready) = self.ready.take() {
                    ready.leave();
                }
                true
            }
            Err(error) => {
                self.works.notice(Severity::Error, format!("the new process did not take over: {error:#}; this one goes on"));
                false
            }
        }
    }

    async fn try_hand_over(&mut self, program: &std::path::Path) -> anyhow::Result<u32> {
        let sockets = self.works.sockets().context("nothing is listened on")?.try_clone()?;
        let (program, warm) = (program.to_owned(), self.works.running());
        let heir = blocking(move || Heir::raise(&program, &sockets, warm)).await?;
        self.works.let_go().await;
        let taken = blocking(move || {
            let mut heir = heir;
            heir.succeed().map(|()| heir.pid())
        })
        .await;
        match taken {
            Ok(pid) => Ok(pid),
            Err(error) => {
                self.works.take_over().await.context("and the state could not be taken back")?;
                Err(error)
            }
        }
    }

    /// Drains, or ends at once when told again.
    async fn end(&mut self, handed: bool) -> Phase {
        if !handed {
            self.ready = None;
            self.notify.stopping();
            self.ui.status(&format!("{DIM}stopping; a second signal stops at once{DIM:#}"));
        }
        let urgent = if handed { Phase::Draining } else { Phase::Forced };
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.reached(urgent) => {
                self.works.halt().await;
                Phase::Forced
            }
            () = self.works.drain(handed) => Phase::Draining,
        }
    }
}

/// Does something that blocks on a thread that may.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(act).await.context("a thread broke off")?
}
