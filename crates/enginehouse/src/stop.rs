//! Ctrl-C and SIGTERM: the first asks everything to drain, the second ends at once. SIGHUP is left alone, so that `nohup` works; where it is not
//! ignored it ends this process, and the fleet's warden ends the rest.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nobody asked.
    Running,
    /// Asked once: finish what is under way.
    Draining,
    /// Asked twice: end now.
    Forced,
}

/// Tells the phase. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<Phase>);

impl Stop {
    /// Listens for the signals; must be called inside a runtime, before anything is started that a signal should stop.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(Phase::Running);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                let next = if *sender.borrow() == Phase::Running { Phase::Draining } else { Phase::Forced };
                if sender.send(next).is_err() {
                    return;
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Waits until at least `phase` is reached.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        // An error means that the listener is gone, and with it the runtime: nothing is left to wait for.
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }
}
