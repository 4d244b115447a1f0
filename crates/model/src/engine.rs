//! The seam between the control plane and whoever runs versions. `control` asks through this trait, the binary answers.

use std::sync::Arc;
use std::time::SystemTime;

use crate::ids::{AppId, InstanceId, VersionKey};
use crate::pool::Boxed;
use crate::table::{Estate, Version};

/// How far a deployment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The copy of its files is made.
    Copying,
    /// Packages are installed, or the app is built; what is printed meanwhile.
    Building(String),
    /// An instance starts.
    Booting,
    /// It is asked for `/_ah/warmup` or `/_ah/start`.
    Warming,
    /// It could serve.
    Ready,
}

/// Why a version could not be brought to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// For the operation's error: what is wrong and how to mend it.
    pub message: String,
    /// The last lines that the build or the app itself printed.
    pub log: Vec<String>,
}

/// One instance as the Admin API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceReport {
    /// Its id.
    pub id: InstanceId,
    /// When it was started.
    pub started: SystemTime,
    /// It takes requests.
    pub ready: bool,
    /// It is drained and will end.
    pub leaving: bool,
    /// Kept by `min_instances`, basic or manual scaling (RESIDENT), or started for load (DYNAMIC).
    pub resident: bool,
    /// Requests so far.
    pub requests: u64,
    /// Answers with a status of 500 or above, and requests that broke.
    pub errors: u64,
    /// Requests in the last minute, per second.
    pub qps: f32,
    /// Average of the last minute, in milliseconds.
    pub latency_ms: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Why it was started, as the scheduler said.
    pub why: String,
}

/// Runs versions for the control plane.
pub trait Engine: Send + Sync {
    /// Brings a version that may not be in any table yet to the point where it could serve: files copied, packages installed, built, one instance booted,
    /// warmed up and answering (with manual scaling: all of them). What serves is not touched.
    fn make_ready(&self, version: Arc<Version>, told: Arc<dyn Fn(Stage) + Send + Sync>) -> Boxed<'static, Result<(), NotReady>>;

    /// Starts (or keeps) at least `count` warmed instances of a version under automatic scaling for the next minutes, before a migration gives it more
    /// traffic. Resolves once they are ready.
    fn warm(&self, app: &AppId, version: &VersionKey, count: u32) -> Boxed<'static, Result<(), NotReady>>;

    /// Puts a snapshot in force: routing, and which versions run. Resolves once no request follows an older snapshot's routing any more.
    fn publish(&self, estate: Arc<Estate>) -> Boxed<'static, ()>;

    /// The instances of a version.
    fn instances(&self, app: &AppId, version: &VersionKey) -> Vec<InstanceReport>;

    /// Ends one instance politely; false if there is none of that id.
    fn end(&self, app: &AppId, version: &VersionKey, instance: &InstanceId) -> bool;
}
