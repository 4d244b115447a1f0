//! `capability_service`: which services work. Known capabilities are those of the SDK; of what is not known nothing can be said.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use model::pool::Boxed;

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::proto::capability::{
    CapabilityConfig, IsEnabledRequest, IsEnabledResponse, capability_config::Status, is_enabled_response::SummaryStatus,
};

/// What can be asked about besides `*`, the whole package.
const PARTS: [(&str, &[&str]); 2] = [("datastore_v3", &["read", "write"]), ("mail", &["Send"])];
/// What is known and does not work here.
const ABSENT: [&str; 8] = ["blobstore", "channel", "datastore_v3", "file", "images", "remote_socket", "search", "xmpp"];

/// The service. Everything that exists is enabled, unless a test says otherwise.
#[derive(Debug, Default)]
pub struct Capabilities {
    /// The services that there are.
    present: Vec<&'static str>,
    /// Services that count as disabled.
    disabled: Mutex<BTreeMap<String, bool>>,
}

impl Capabilities {
    /// Speaks about these services.
    pub fn new(present: impl IntoIterator<Item = &'static str>) -> Self {
        Self { present: present.into_iter().collect(), disabled: Mutex::default() }
    }

    /// Test mode: a service counts as disabled, or as enabled again.
    pub fn disable(&self, package: &str, disabled: bool) {
        self.disabled.lock().unwrap_or_else(PoisonError::into_inner).insert(package.to_owned(), disabled);
    }

    /// What is known of a part of a package.
    fn status(&self, package: &str, capability: &str) -> Status {
        let present = self.present.contains(&package);
        if !present && !ABSENT.contains(&package) {
            return Status::Unknown;
        }
        let part = capability == "*" || PARTS.iter().any(|(name, parts)| *name == package && parts.contains(&capability));
        if !part {
            return Status::Unknown;
        }
        let said = self.disabled.lock().unwrap_or_else(PoisonError::into_inner).get(package).copied();
        if said.unwrap_or(!present) { Status::Disabled } else { Status::Enabled }
    }

    fn answer(&self, asked: &IsEnabledRequest) -> IsEnabledResponse {
        // Methods are asked about as parts of their package; each that exists works when the package does.
        let call = |_: &String| ("*".to_owned(), self.status(&asked.package, "*"));
        let capability = |name: &String| (name.clone(), self.status(&asked.package, name));
        let mut all: Vec<(String, Status)> = asked.capability.iter().map(capability).chain(asked.call.iter().map(call)).collect();
        if all.is_empty() {
            all.push(("*".into(), self.status(&asked.package, "*")));
        }
        // Of several the worst counts; what is not known is worse than what is known not to work (the SDK's order).
        let worst = all.iter().map(|(_, status)| *status).max_by_key(|status| *status as i32).unwrap_or(Status::Unknown);
        let summary = match worst {
            Status::Enabled => SummaryStatus::Enabled,
            Status::Scheduled => SummaryStatus::ScheduledNow,
            Status::Disabled => SummaryStatus::Disabled,
            Status::Unknown => SummaryStatus::Unknown,
        };
        let config = |(capability, status): (String, Status)| CapabilityConfig {
            package: asked.package.clone(),
            capability,
            status: Some(status.into()),
            ..CapabilityConfig::default()
        };
        let listed = asked.capability.len();
        IsEnabledResponse {
            summary_status: Some(summary.into()),
            time_until_scheduled: None,
            config: all.into_iter().take(listed).map(config).collect(),
        }
    }
}

impl Service for Capabilities {
    fn name(&self) -> &'static str {
        "capability_service"
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, _: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            if method != "IsEnabled" {
                return Err(Failure::no_call("capability_service", method));
            }
            Ok(write(&self.answer(&read(message)?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(all: &Capabilities, package: &str, capability: &[&str], call: &[&str]) -> (SummaryStatus, usize) {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let answer = all.answer(&IsEnabledRequest { package: package.into(), capability: own(capability), call: own(call) });
        (answer.summary_status(), answer.config.len())
    }

    #[test]
    fn capabilities_are_enabled_disabled_or_unknown() {
        let all = Capabilities::new(["memcache", "mail"]);
        assert_eq!(summary(&all, "memcache", &["*"], &[]), (SummaryStatus::Enabled, 1));
        assert_eq!(summary(&all, "memcache", &[], &["Get", "Set"]), (SummaryStatus::Enabled, 0));
        assert_eq!(summary(&all, "mail", &["Send", "*"], &[]), (SummaryStatus::Enabled, 2));
        assert_eq!(summary(&all, "datastore_v3", &["write"], &[]), (SummaryStatus::Disabled, 1));
        assert_eq!(summary(&all, "xmpp", &["*"], &[]), (SummaryStatus::Disabled, 1));
        assert_eq!(summary(&all, "nothing", &["*"], &[]), (SummaryStatus::Unknown, 1));
        assert_eq!(summary(&all, "memcache", &["*", "nothing"], &[]), (SummaryStatus::Unknown, 2));
        all.disable("memcache", true);
        assert_eq!(summary(&all, "memcache", &["*"], &["Get"]), (SummaryStatus::Disabled, 1));
        all.disable("memcache", false);
        assert_eq!(summary(&all, "memcache", &[], &[]), (SummaryStatus::Enabled, 0));
    }
}
