//! `capability_service`: which services work.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use model::pool::Boxed;

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::proto::capability::{IsEnabledRequest, IsEnabledResponse, is_enabled_response::SummaryStatus};

/// The service. Everything that exists is enabled, unless a test says otherwise.
#[derive(Debug, Default)]
pub struct Capabilities {
    /// Services that count as disabled.
    disabled: Mutex<BTreeMap<String, bool>>,
}

impl Capabilities {
    /// Test mode: a service counts as disabled, or as enabled again.
    pub fn disable(&self, package: &str, disabled: bool) {
        self.disabled.lock().unwrap_or_else(PoisonError::into_inner).insert(package.to_owned(), disabled);
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
            let asked: IsEnabledRequest = read(message)?;
            let disabled = self.disabled.lock().unwrap_or_else(PoisonError::into_inner).get(&asked.package).copied().unwrap_or(false);
            let status = if disabled { SummaryStatus::Disabled } else { SummaryStatus::Enabled };
            Ok(write(&IsEnabledResponse { summary_status: Some(status.into()), time_until_scheduled: None, config: Vec::new() }))
        })
    }
}
