//! What a version's configuration and its computer say about scheduling.

use std::time::Duration;

use super::memory::Memory;
use crate::config::{InboundService, VersionConfig};
use crate::scaling::Scaling;

/// What the machine goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How instances come and go.
    pub scaling: Scaling,
    /// Most requests that one instance takes at once.
    pub concurrency: u32,
    /// Most requests that wait.
    pub queue: usize,
    /// How long an instance that goes may finish its requests.
    pub drain: Duration,
    /// How long a process may take to end after it was told to, `/_ah/stop` included.
    pub grace: Duration,
    /// Instances that are started ahead of traffic are asked for `/_ah/warmup` (`inbound_services`).
    pub warmup: bool,
    /// Automatic scaling: an instance without requests for this long is stopped, where nothing asks for it to be kept.
    pub idle: Duration,
    /// Automatic scaling: most instances, whatever the file allows.
    pub cap: Cap,
    /// Automatic scaling: most instances that start at the same time.
    pub starts: u32,
    /// The memory of the instance class; nothing is judged without.
    pub memory: Option<Memory>,
    /// The CPU of the instance class, in cores.
    pub cores: f64,
}

/// What the computer can bear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// Most instances of the version.
    pub instances: u32,
    /// Where the number comes from, for the log: `2 cores`.
    pub why: String,
}

/// A class of 2.4 GHz is one core: the clocks of the documents are shares, not clocks (reference: "CPU is relative").
const MHZ_OF_A_CORE: f64 = 2_400.0;

impl Settings {
    /// The settings of a version, for a computer without limits. Requests may take ten minutes under automatic scaling (docs: "how instances are
    /// managed"), hence `drain`; an instance has thirty seconds to shut down under basic and manual scaling and about three under automatic.
    pub fn of(config: &VersionConfig) -> Self {
        let automatic = matches!(config.scaling, Scaling::Automatic(_));
        Self {
            scaling: config.scaling.clone(),
            concurrency: config.concurrency().max(1),
            queue: 1_000,
            drain: Duration::from_mins(10),
            grace: Duration::from_secs(if automatic { 3 } else { 30 }),
            warmup: automatic && config.inbound.contains(&InboundService::Warmup),
            idle: Duration::from_mins(15),
            cap: Cap { instances: u32::MAX, why: "no limit".into() },
            starts: 4,
            memory: Some(Memory::of(config)),
            cores: f64::from(config.class.cpu_mhz()) / MHZ_OF_A_CORE,
        }
    }
}
