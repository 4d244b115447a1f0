//! Which entries are wanted.

use std::time::SystemTime;

use model::ids::{ServiceId, VersionId};
use model::journal::{Entry, Severity};

/// What an entry must be like; an empty filter lets all through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Of this service.
    pub service: Option<ServiceId>,
    /// Of this version.
    pub version: Option<VersionId>,
    /// Of the instance whose id begins so.
    pub instance: Option<String>,
    /// At least so grave.
    pub level: Option<Severity>,
    /// The request with this log id, and what belongs to its trace.
    pub request: Option<String>,
    /// The trace of that request ([`super::Reader::trace_of`]).
    pub trace: Option<String>,
    /// Not older.
    pub since: Option<SystemTime>,
    /// Not newer.
    pub until: Option<SystemTime>,
}

impl Filter {
    /// Whether an entry of this time is wanted.
    pub fn wants(&self, at: SystemTime, entry: &Entry) -> bool {
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at <= until)
            && self.level.is_none_or(|level| entry.severity() >= level)
            && self.wants_place(entry)
            && self.wants_request(entry)
    }

    fn wants_place(&self, entry: &Entry) -> bool {
        let version = entry.version();
        let same_service = self.service.as_ref().is_none_or(|wanted| version.is_some_and(|key| key.service == *wanted));
        let same_version = self.version.as_ref().is_none_or(|wanted| version.is_some_and(|key| key.version == *wanted));
        let begins = |wanted: &String| entry.instance().is_some_and(|id| id.to_string().starts_with(wanted.as_str()));
        same_service && same_version && self.instance.as_ref().is_none_or(begins)
    }

    fn wants_request(&self, entry: &Entry) -> bool {
        let Some(wanted) = &self.request else { return true };
        match entry {
            Entry::Request(request) => {
                let trace = || request.trace.map(|trace| format!("{trace:032x}"));
                request.log_id == *wanted || self.trace.is_some() && trace() == self.trace
            }
            Entry::Output(line) => line.trace.is_some() && line.trace == self.trace,
            Entry::Notice { .. } => false,
        }
    }
}
