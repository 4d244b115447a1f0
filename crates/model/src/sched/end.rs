//! Why instances are told to end: figures for people, kinds for metrics.

use std::fmt;
use std::time::Duration;

/// A reason to end an instance. Its text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nobody asked it for so long.
    Idle(Duration),
    /// More instances are idle than `max_idle_instances` allows.
    Surplus {
        /// How many are.
        idle: usize,
        /// How many may be.
        most: usize,
    },
    /// Over its memory after a request.
    SoftMemory,
    /// Far over its memory.
    HardMemory,
    /// It asked for it, by its answer.
    Replaced,
    /// Requests could not reach it any more.
    Unreachable,
    /// A new deployment takes over.
    Deployment,
    /// Manual scaling has so many instances now.
    Resized(u32),
    /// Somebody asked for its end.
    Asked,
    /// Everything ends.
    Closing,
}

impl End {
    /// The kind of reason, for metrics, whose labels must be few.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Idle(_) | Self::Surplus { .. } => "idle",
            Self::SoftMemory => "soft_memory",
            Self::HardMemory => "hard_memory",
            Self::Replaced => "replace",
            Self::Unreachable => "unreachable",
            Self::Deployment => "deployment",
            Self::Resized(_) => "resize",
            Self::Asked => "asked",
            Self::Closing => "shutdown",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle(time) => write!(to, "idle for {} s", time.as_secs()),
            Self::Surplus { idle, most } => write!(to, "{idle} idle instances > max_idle_instances {most}"),
            Self::SoftMemory => to.write_str("soft memory limit"),
            Self::HardMemory => to.write_str("hard memory limit"),
            Self::Replaced => to.write_str("it asked to be replaced"),
            Self::Unreachable => to.write_str("three requests in a row could not reach it"),
            Self::Deployment => to.write_str("a new deployment takes over"),
            Self::Resized(instances) => write!(to, "instances is {instances} now"),
            Self::Asked => to.write_str("somebody asked for its end"),
            Self::Closing => to.write_str("the house closes"),
        }
    }
}
