//! `capability_service`: which services work. Known capabilities are those of the SDK; of what is not known nothing can be said.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use model::pool::Boxed;

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::proto::capability::{
    CapabilityConfig, IsEnabledRequest, IsEnabledResponse, SetCapabilityStatusRequest, capability_config::Status,
    is_enabled_response::SummaryStatus,
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
    /// What tests have said of packages and their parts.
    said: Mutex<BTreeMap<(String, String), Status>>,
}

impl Capabilities {
    /// Speaks about these services.
    pub fn new(present: impl IntoIterator<Item = &'static str>) -> Self {
        Self { present: present.into_iter().collect(), said: Mutex::default() }
    }

    /// Test mode: a package (`*`), or a part of it, counts as this from now on.
    pub fn say(&self, package: &str, capability: &str, status: Status) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert((package.to_owned(), capability.to_owned()), status);
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
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |part: &str| said.get(&(package.to_owned(), part.to_owned())).copied();
        of(capability).or_else(|| of("*")).unwrap_or(if present { Status::Enabled } else { Status::Disabled })
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
    fn card(&self) -> &'static Card {
        &card::CAPABILITY
    }

    fn clear(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(async move {
            match method {
                "IsEnabled" => Ok(write(&self.answer(&read(message)?))),
                "SetCapabilityStatus" if context.testing => {
                    let asked: SetCapabilityStatusRequest = read(message)?;
                    self.say(&asked.service_name, &asked.call, asked.status());
                    Ok(Bytes::new())
                }
                _ => Err(Failure::no_call("capability_service", method)),
            }
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
        all.say("memcache", "*", Status::Disabled);
        assert_eq!(summary(&all, "memcache", &["*"], &["Get"]), (SummaryStatus::Disabled, 1));
        all.clear();
        assert_eq!(summary(&all, "memcache", &[], &[]), (SummaryStatus::Enabled, 0));
    }
}
