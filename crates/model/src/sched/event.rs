//! What the scheduler is told.

use std::time::Duration;

use super::{ReqId, Serial, Settings};
use crate::pool::Outcome;
use crate::time::Tick;

/// Something happened. Events about instances or requests that the machine no longer knows are ignored.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A request wants an instance.
    Queued {
        /// Its number, chosen by the shell, never reused.
        req: ReqId,
        /// A numbered instance, if the host named one.
        aim: Option<u32>,
        /// How long it is willing to wait.
        patience: Duration,
    },
    /// A queued request's client left.
    Gone(ReqId),
    /// A request at an instance is over.
    Done {
        /// Which instance had it.
        at: Serial,
        /// How it ended.
        outcome: Outcome,
    },
    /// A started instance takes requests.
    Ready(Serial),
    /// An instance's process is gone, or could not be started at all.
    Exited {
        /// Which.
        instance: Serial,
        /// What happened, for the log and the error page.
        why: String,
    },
    /// What an instance has used, measured now and then.
    Sample {
        /// Which.
        instance: Serial,
        /// CPU time since its start, all its processes together.
        cpu: Duration,
        /// Bytes of memory, all its processes together, its `/tmp` included.
        memory: u64,
    },
    /// The version was published again: new requests go to new instances, old instances finish what they have.
    Reload(Settings),
    /// `set_num_instances`: manual scaling has so many instances from now on. Ignored under the other kinds.
    Resize(u32),
    /// So many instances are to be ready until then, whatever the load is: traffic is about to come. Under automatic scaling as many as there may
    /// be, under basic scaling by number; under manual scaling all of them are anyway.
    Keep {
        /// How many.
        least: u32,
        /// Until when.
        until: Tick,
    },
    /// Somebody wants this instance to end: it finishes what it has. Scaling decides whether another takes its place.
    End(Serial),
    /// The version is not routed to any more: who waits is still served, then everything drains.
    Leave,
    /// The house is closing: nothing is admitted any more, instances finish what they have.
    Drain,
    /// The time that [`super::Scheduler::deadline`] named has come. Also the first event of a machine: instances that are to run before the first
    /// request (manual scaling, `min_instances`, `min_idle_instances`) start with it.
    Tick,
}
