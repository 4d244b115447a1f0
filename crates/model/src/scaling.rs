//! Scaling settings and instance classes (rows Y22, Y29–Y31), after defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How instances of a version come and go.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// `automatic_scaling`, the default.
    Automatic(Automatic),
    /// `basic_scaling`.
    Basic(Basic),
    /// `manual_scaling`.
    Manual(Manual),
}

impl Default for Scaling {
    fn default() -> Self {
        Self::Automatic(Automatic::default())
    }
}

/// `automatic_scaling`. `None` stands for `automatic` or "no limit".
#[derive(Debug, Clone, PartialEq)]
pub struct Automatic {
    /// Most instances; `None` = no limit (0 in the file).
    pub max_instances: Option<u32>,
    /// Fewest instances, 0–1000.
    pub min_instances: u32,
    /// Most idle instances, 1–1000; `None` = automatic.
    pub max_idle_instances: Option<u32>,
    /// Idle instances kept beyond what the load needs; `None` = automatic.
    pub min_idle_instances: Option<u32>,
    /// 0.5–0.95.
    pub target_cpu_utilization: f64,
    /// 0.5–0.95.
    pub target_throughput_utilization: f64,
    /// Requests that one instance takes at once, 1–80.
    pub max_concurrent_requests: u32,
    /// A pending request younger than this starts no instance; `None` = automatic.
    pub min_pending_latency: Option<Duration>,
    /// A pending request older than this starts one; `None` = automatic.
    pub max_pending_latency: Option<Duration>,
}

impl Default for Automatic {
    /// Document 003: the defaults of each element.
    fn default() -> Self {
        Self {
            max_instances: None,
            min_instances: 0,
            max_idle_instances: None,
            min_idle_instances: None,
            target_cpu_utilization: 0.6,
            target_throughput_utilization: 0.6,
            max_concurrent_requests: 10,
            min_pending_latency: None,
            max_pending_latency: None,
        }
    }
}

/// `basic_scaling`.
#[derive(Debug, Clone, PartialEq)]
pub struct Basic {
    /// Most instances, at least 1.
    pub max_instances: u32,
    /// An instance that had no request for this long is stopped; 5 minutes by default.
    pub idle_timeout: Duration,
}

/// `manual_scaling`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manual {
    /// How many run, at least 1.
    pub instances: u32,
}

/// `instance_class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are the documents' own names")]
#[allow(non_camel_case_types, reason = "F4_1G is the documents' spelling")]
pub enum InstanceClass {
    F1,
    F2,
    F4,
    F4_1G,
    B1,
    B2,
    B4,
    B4_1G,
    B8,
}

impl InstanceClass {
    /// Every class, in the documents' order.
    pub const ALL: [Self; 9] = [Self::F1, Self::F2, Self::F4, Self::F4_1G, Self::B1, Self::B2, Self::B4, Self::B4_1G, Self::B8];

    /// The class by its name, exactly as written in the documents.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F1 => "F1",
            Self::F2 => "F2",
            Self::F4 => "F4",
            Self::F4_1G => "F4_1G",
            Self::B1 => "B1",
            Self::B2 => "B2",
            Self::B4 => "B4",
            Self::B4_1G => "B4_1G",
            Self::B8 => "B8",
        }
    }

    /// Whether it goes with automatic scaling (F…) or with basic and manual scaling (B…).
    pub fn is_automatic(self) -> bool {
        matches!(self, Self::F1 | Self::F2 | Self::F4 | Self::F4_1G)
    }

    /// Memory in MB: today's table, or the older one that first-generation runtimes were written for.
    pub fn memory_mb(self, first_generation: bool) -> u32 {
        let old = match self {
            Self::F1 | Self::B1 => 128,
            Self::F2 | Self::B2 => 256,
            Self::F4 | Self::B4 => 512,
            Self::F4_1G | Self::B4_1G | Self::B8 => 1024,
        };
        if first_generation { old } else { old * 3 }
    }

    /// CPU in MHz, a relative share and not a clock.
    pub fn cpu_mhz(self) -> u32 {
        match self {
            Self::F1 | Self::B1 => 600,
            Self::F2 | Self::B2 => 1_200,
            Self::F4 | Self::F4_1G | Self::B4 | Self::B4_1G => 2_400,
            Self::B8 => 4_800,
        }
    }
}
