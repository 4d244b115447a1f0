//! The first random number for keys costs some twenty milliseconds, in which the library listens to the processor's jitter. Who is going to serve needs
//! one before anything answers, so it is drawn while the app is read and the machine is looked at.

use std::thread::JoinHandle;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

/// Being gathered.
pub(crate) struct Entropy(Option<JoinHandle<()>>);

impl Entropy {
    /// Begins, on a thread of its own. Without one, whoever needs the first number waits for it.
    pub(crate) fn gather() -> Self {
        // A failure shows again where a number is used.
        let draw = || SystemRandom::new().fill(&mut [0]).unwrap_or(());
        Self(std::thread::Builder::new().name("entropy".into()).spawn(draw).ok())
    }
}

impl Drop for Entropy {
    /// At the end of the process the library frees what the thread may still be filling.
    fn drop(&mut self) {
        drop(self.0.take().map(JoinHandle::join));
    }
}
