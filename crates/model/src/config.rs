//! What one version *is* once every default is filled in. Built only by `appyaml` (from files) and by the Admin API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::gate::{Caller, Internal};
use crate::handler::Handler;
use crate::ids::{AppId, VersionKey};
use crate::pattern::{Anchor, Pattern};
use crate::runtime::Runtime;
use crate::scaling::{InstanceClass, Scaling};
use crate::time::Expiration;

/// One version of a service, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionConfig {
    /// Service and version.
    pub key: VersionKey,
    /// `application:` of the file, superseded by `--project` (row Y3).
    pub application: Option<AppId>,
    /// The runtime.
    pub runtime: Runtime,
    /// `threadsafe` of python27; true for newer runtimes.
    pub threadsafe: bool,
    /// The command of `entrypoint:`, run by a shell with `$PORT`.
    pub entrypoint: Option<String>,
    /// `main:` of Go.
    pub main: Option<String>,
    /// `env_variables`.
    pub env: BTreeMap<String, String>,
    /// All handlers in the order in which they are tried, builtins and includes merged in (rows Y6, Y7, Y11).
    pub handlers: Vec<Handler>,
    /// `error_handlers`.
    pub error_pages: Vec<ErrorPage>,
    /// `inbound_services`.
    pub inbound: BTreeSet<InboundService>,
    /// Scaling.
    pub scaling: Scaling,
    /// Instance class, always of the kind that goes with `scaling`.
    pub class: InstanceClass,
    /// `libraries` of python27, with `latest` resolved.
    pub libraries: Vec<Library>,
    /// Files that are not part of the app (row Y26).
    pub skip_files: SkipFiles,
    /// `default_expiration`.
    pub default_expiration: Expiration,
    /// `auto_id_policy` (row Y5).
    pub auto_id_policy: AutoIdPolicy,
    /// `vpc_access_connector.name` (row Y28).
    pub vpc_connector: Option<String>,
    /// `app_engine_apis: true`, or a first-generation runtime.
    pub app_engine_apis: bool,
    /// The builtins that are on, by name, for the services that stand behind them.
    pub builtins: BTreeSet<String>,
}

impl VersionConfig {
    /// A version whose file says nothing but its runtime and handlers: everything else as the documents' defaults.
    pub fn new(key: VersionKey, runtime: Runtime, handlers: Vec<Handler>) -> Self {
        Self {
            key,
            application: None,
            threadsafe: true,
            entrypoint: None,
            main: None,
            env: BTreeMap::new(),
            handlers,
            error_pages: Vec::new(),
            inbound: BTreeSet::new(),
            scaling: Scaling::default(),
            class: InstanceClass::F1,
            libraries: Vec::new(),
            skip_files: SkipFiles::default(),
            default_expiration: Expiration::DEFAULT,
            auto_id_policy: AutoIdPolicy::Default,
            vpc_connector: None,
            app_engine_apis: runtime.is_first_generation(),
            builtins: BTreeSet::new(),
            runtime,
        }
    }

    /// The most requests that one instance of this version takes at once: 1 without `threadsafe`, otherwise `max_concurrent_requests`
    /// (basic and manual scaling know no such setting; production's default of 10 stands in).
    pub fn concurrency(&self) -> u32 {
        match &self.scaling {
            _ if !self.threadsafe => 1,
            Scaling::Automatic(automatic) => automatic.max_concurrent_requests,
            Scaling::Basic(_) | Scaling::Manual(_) => 10,
        }
    }

    /// How long one request may take (row H25; docs: "how instances are managed"). Counted from the moment an instance has it: what a request
    /// waits before has its own bound, what an instance loads for it is part of it.
    pub fn deadline(&self, caller: Caller) -> Duration {
        let patient = matches!(caller, Caller::Internal(Internal::Cron | Internal::TaskQueue));
        match self.scaling {
            Scaling::Automatic(_) if self.runtime.is_first_generation() && !patient => Duration::from_mins(1),
            Scaling::Automatic(_) => Duration::from_mins(10),
            Scaling::Basic(_) | Scaling::Manual(_) => Duration::from_hours(24),
        }
    }
}

/// One entry of `error_handlers` (row Y10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    /// When it is shown.
    pub code: ErrorCode,
    /// The file, relative to the app, under 10 KB.
    pub file: String,
    /// Its type; by extension if absent.
    pub mime_type: Option<String>,
}

/// `error_code` of an error page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Whatever has no page of its own.
    Default,
    /// No capacity for the request.
    OverQuota,
    /// The client's address is blocked.
    DosApiDenial,
    /// The request's deadline passed.
    Timeout,
}

/// `inbound_services` (row Y21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants are the SDK's own names")]
pub enum InboundService {
    Mail,
    MailBounce,
    XmppMessage,
    XmppSubscribe,
    XmppPresence,
    XmppError,
    ChannelPresence,
    Rest,
    Warmup,
}

/// One entry of `libraries` (row Y23).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Library {
    /// The SDK's name for it, `webapp2`.
    pub name: String,
    /// An exact version.
    pub version: String,
}

/// `auto_id_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AutoIdPolicy {
    /// Large, well-spread ids that a 64-bit float holds exactly.
    #[default]
    Default,
    /// Small consecutive ids.
    Legacy,
}

/// The patterns of `skip_files`, each matched from the start of a path relative to the app (row Y26).
#[derive(Debug, Clone, PartialEq)]
pub struct SkipFiles(pub Vec<Pattern>);

impl Default for SkipFiles {
    /// The documented five.
    fn default() -> Self {
        // Compiled once: 34 KB, which each of a thousand versions would have again.
        static COMPILED: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
            let compile = |source: &&str| Pattern::new(source, Anchor::Start).expect("the documents' patterns compile");
            SkipFiles::DEFAULTS.iter().map(compile).collect()
        });
        Self(COMPILED.clone())
    }
}

impl SkipFiles {
    /// The documented five defaults.
    pub const DEFAULTS: [&'static str; 5] = [r"^(.*/)?#.*#$", r"^(.*/)?.*~$", r"^(.*/)?.*\.py[co]$", r"^(.*/)?.*/RCS/.*$", r"^(.*/)?\..*$"];

    /// Whether the file or directory at `path` (relative, `/` separators; a directory without trailing slash) is left out. A file is also
    /// left out if one of its parent directories is, with or without a trailing slash.
    pub fn skips(&self, path: &str) -> bool {
        // A pattern that gives up hides the file: what is skipped must not be served by accident.
        let hit = |path: &str| self.0.iter().any(|pattern| pattern.try_match(path.as_bytes()).unwrap_or(true));
        hit(path) || path.match_indices('/').any(|(at, _)| hit(&path[..at]) || hit(&path[..=at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{Basic, Manual};

    #[test]
    fn h25_deadlines_follow_scaling_generation_and_caller() {
        let config = |runtime: &str, scaling: Scaling| {
            let key = VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
            VersionConfig { scaling, ..VersionConfig::new(key, Runtime::parse(runtime).expect("known"), Vec::new()) }
        };
        let minutes = |runtime, scaling: &Scaling, caller| config(runtime, scaling.clone()).deadline(caller).as_secs() / 60;
        let automatic = Scaling::default();
        assert_eq!(minutes("python27", &automatic, Caller::External), 1);
        assert_eq!(minutes("python27", &automatic, Caller::Internal(Internal::Warmup)), 1);
        assert_eq!(minutes("python312", &automatic, Caller::External), 10);
        for who in [Internal::Cron, Internal::TaskQueue] {
            assert_eq!(minutes("python27", &automatic, Caller::Internal(who)), 10);
        }
        let basic = Scaling::Basic(Basic { max_instances: 1, idle_timeout: Duration::from_mins(5) });
        for scaling in [basic, Scaling::Manual(Manual { instances: 1 })] {
            for caller in [Caller::External, Caller::Internal(Internal::Start), Caller::Internal(Internal::Cron)] {
                assert_eq!(minutes("python27", &scaling, caller), 24 * 60);
            }
        }
    }
}
