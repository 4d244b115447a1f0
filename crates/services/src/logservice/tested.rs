//! Requests that only tests know of (`--test-mode`): their test programs tell when one began, what it logged and how it ended, and then the code under
//! test reads that. The methods are those of the SDK's `logservice_stub.py`; what was told is kept in memory and forgotten by `/clear`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use model::ids::AppId;

use super::records::{Query, combined, micros};
use crate::call::{Answer, Context, Failure, read};
use crate::proto::logservice as pb;

/// Requests that are kept; the oldest goes first.
const MOST: usize = 10_000;
/// Lines of each.
const LINES: usize = 1000;
/// What the stub calls a version that was not named.
const NO_VERSION: &str = "NO-VERSION";

/// What was told of all apps.
#[derive(Default)]
pub(super) struct Tested(Mutex<BTreeMap<AppId, Told>>);

#[derive(Default)]
struct Told {
    /// The oldest first.
    requests: VecDeque<One>,
    last: u64,
    /// Before this nothing is read of the journal either.
    cleared: Option<SystemTime>,
}

struct One {
    number: u64,
    /// By what it is told about while it runs; none once it has ended.
    under: Option<Bytes>,
    /// Without `combined`, which follows from the rest.
    log: pb::RequestLog,
}

impl Tested {
    fn all(&self) -> MutexGuard<'_, BTreeMap<AppId, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the methods of `LogStubService`.
    pub(super) fn hook(&self, method: &str, message: Bytes, context: &Context) -> Answer {
        let mut all = self.all();
        let told = all.entry(context.app().clone()).or_default();
        match method {
            "StartRequestLog" => told.start(read(message)?, context.now),
            "EndRequestLog" => told.end(&read(message)?, context.now),
            "AddRequestInfo" => told.add(read::<pb::AddRequestInfoRequest>(message)?.request_log.unwrap_or_default()),
            "AddAppLogLine" => {
                let asked: pb::AddAppLogLineRequest = read(message)?;
                told.line(&asked.request_id.unwrap_or_default(), asked.log_line.into_iter());
            }
            _ => return Err(Failure::no_call("logservice", method)),
        }
        Ok(Bytes::new())
    }

    /// Lines that were flushed with the word of a request that a test began.
    pub(super) fn flushed(&self, app: &AppId, ticket: &str, lines: &[pb::UserAppLogLine]) {
        let line = |line: &pb::UserAppLogLine| pb::LogLine {
            time: line.timestamp_usec,
            level: i32::try_from(line.level).unwrap_or(i32::MAX),
            log_message: String::from_utf8_lossy(&line.message).into_owned(),
            source_location: None,
        };
        if let Some(told) = self.all().get_mut(app) {
            told.line(ticket.as_bytes(), lines.iter().map(line));
        }
    }

    /// What matches, the newest first, or in the order in which it is named.
    pub(super) fn find(&self, app: &AppId, query: &Query) -> Vec<pb::RequestLog> {
        let all = self.all();
        let Some(told) = all.get(app) else { return Vec::new() };
        if !query.ids.is_empty() {
            let of = |id: &String| told.requests.iter().find(|one| one.log.request_id == id.as_bytes());
            return query.ids.iter().filter_map(of).map(|one| one.shown(query)).collect();
        }
        let found = told.requests.iter().rev().filter(|one| query.wants_told(one.number, &one.log));
        found.take(query.count.saturating_add(1)).map(|one| one.shown(query)).collect()
    }

    /// Since when the log of an app is read.
    pub(super) fn since(&self, app: &AppId) -> Option<SystemTime> {
        self.all().get(app).and_then(|told| told.cleared)
    }

    /// Forgets everything, of the apps that are told.
    pub(super) fn clear(&self, apps: impl Iterator<Item = AppId>, now: SystemTime) {
        let mut all = self.all();
        for app in apps {
            all.entry(app).or_default();
        }
        for told in all.values_mut() {
            *told = Told { cleared: Some(now), ..Told::default() };
        }
    }
}

impl Told {
    fn start(&mut self, asked: pb::StartRequestLogRequest, now: SystemTime) {
        let text = |text: Option<String>| text.unwrap_or_default();
        let major = |version: String| version.split('.').next().unwrap_or_default().to_owned();
        let log = pb::RequestLog {
            request_id: asked.user_request_id.unwrap_or_default(),
            ip: text(asked.ip),
            app_id: text(asked.app_id),
            version_id: asked.version_id.map_or_else(|| NO_VERSION.to_owned(), major),
            module_id: Some(asked.module.filter(|module| !module.is_empty()).unwrap_or_else(|| "default".into())),
            nickname: Some(text(asked.nickname)),
            user_agent: Some(text(asked.user_agent)),
            host: Some(text(asked.host)),
            method: text(asked.method),
            resource: text(asked.resource),
            http_version: text(asked.http_version),
            start_time: asked.start_time.filter(|time| *time != 0).unwrap_or_else(|| micros(now)),
            finished: Some(false),
            ..pb::RequestLog::default()
        };
        self.put(asked.request_id, log);
    }

    /// The stub leaves the latency alone: a request that only a test told of took no time that anybody measured.
    fn end(&mut self, asked: &pb::EndRequestLogRequest, now: SystemTime) {
        let Some(one) = self.under(&asked.request_id) else { return };
        one.under = None;
        one.log.status = asked.status;
        one.log.response_size = asked.response_size.unwrap_or(0).into();
        one.log.end_time = micros(now);
        one.log.finished = Some(true);
    }

    fn add(&mut self, log: pb::RequestLog) {
        let kept = pb::RequestLog {
            module_id: Some(log.module_id().to_owned()),
            finished: Some(log.finished()),
            nickname: Some(log.nickname().to_owned()),
            user_agent: Some(log.user_agent().to_owned()),
            host: Some(log.host().to_owned()),
            line: Vec::new(),
            offset: None,
            ..log
        };
        self.put(kept.request_id.clone(), kept);
    }

    fn put(&mut self, under: Bytes, log: pb::RequestLog) {
        if let Some(before) = self.under(&under) {
            before.under = None;
        }
        if self.requests.len() >= MOST {
            self.requests.pop_front();
        }
        self.last += 1;
        self.requests.push_back(One { number: self.last, under: Some(under), log });
    }

    fn under(&mut self, word: &[u8]) -> Option<&mut One> {
        self.requests.iter_mut().rev().find(|one| one.under.as_deref() == Some(word))
    }

    fn line(&mut self, word: &[u8], lines: impl Iterator<Item = pb::LogLine>) {
        let Some(one) = self.under(word) else { return };
        let room = LINES.saturating_sub(one.log.line.len());
        one.log.line.extend(lines.take(room).map(|line| pb::LogLine { source_location: None, ..line }));
    }
}

impl One {
    fn shown(&self, query: &Query) -> pb::RequestLog {
        let mut log = self.log.clone();
        if !query.lines {
            log.line.clear();
        }
        log.combined = combined(&log);
        // What the stub keeps is what it shows.
        log.referrer = None;
        log.offset = Some(Query::behind_told(self.number));
        log
    }
}
