//! `logservice` (row S10): lines that an app flushes, and reads of its own log, which the journal writes (`store::log`). Python 3 has no such API any more;
//! there, lines on stdout and stderr are the log.

mod records;
mod tested;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use model::ids::AppId;
use model::journal::{Entry, Output, Severity, Stream};
use model::pool::Boxed;
use serde_json::json;
use store::log::Reader;

use self::records::{Query, Under};
use self::tested::Tested;
use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::proto::logservice as pb;
use crate::proto::remote_api::rpc_error::Code;
use crate::visits::Visits;

/// Request logs that are returned if no number is named, and at most.
const USUAL: usize = 20;
const MOST: usize = 1000;
/// Request ids that are looked for in one call.
const MOST_IDS: usize = 1000;

/// Takes entries of an app.
pub type Journal = Arc<dyn Fn(&AppId, Entry) + Send + Sync>;
/// Where an app's log is.
pub type Folder = Arc<dyn Fn(&AppId) -> PathBuf + Send + Sync>;

/// The service.
pub struct Logs {
    journal: Journal,
    folder: Folder,
    visits: Arc<Visits>,
    tested: Tested,
}

impl Logs {
    /// Writes to a journal and reads what it wrote.
    pub fn new(journal: Journal, folder: Folder, visits: Arc<Visits>) -> Self {
        Self { journal, folder, visits, tested: Tested::default() }
    }

    fn flush(&self, message: Bytes, context: &Context) -> Answer {
        let asked: pb::FlushRequest = read(message)?;
        let group: pb::UserAppLogGroup = read(asked.logs.unwrap_or_default())?;
        if let Some(ticket) = context.ticket.as_deref() {
            self.tested.flushed(context.app(), ticket, &group.log_line);
        }
        for line in group.log_line {
            let at = u64::try_from(line.timestamp_usec).ok().map(Duration::from_micros);
            let fields = line.source_location.map(|place| {
                let place = json!({ "file": place.file, "line": place.line, "function": place.function_name });
                json!({ "logging.googleapis.com/sourceLocation": place }).to_string()
            });
            let text = String::from_utf8_lossy(&line.message).into_owned();
            self.say(context, at.map_or(context.now, |since| UNIX_EPOCH + since), severity(line.level), text, fields);
        }
        Ok(Bytes::new())
    }

    fn say(&self, context: &Context, at: SystemTime, severity: Severity, text: String, fields: Option<String>) {
        let trace = context.visit.as_ref().map(|visit| format!("{:032x}", visit.trace));
        let output = Output {
            at,
            version: context.caller.version.config.key.clone(),
            instance: context.caller.instance.clone(),
            stream: Stream::Stderr,
            severity,
            text,
            trace,
            fields,
        };
        (self.journal)(context.app(), Entry::Output(Box::new(output)));
    }

    async fn read(&self, message: Bytes, context: &Context) -> Answer {
        let asked: pb::LogReadRequest = read(message)?;
        let mut query = Query::of(&asked, context.app(), context.testing)?;
        let told = if context.testing { self.tested.find(context.app(), &query) } else { Vec::new() };
        if let Some(since) = self.tested.since(context.app()) {
            query.not_before(since);
        }
        let under = if query.incomplete { self.under_way(context) } else { Vec::new() };
        let folder = (self.folder)(context.app());
        let (app, limit) = (context.app().clone(), query.count);
        let found = tokio::task::spawn_blocking(move || {
            // Nothing was logged yet: there is no folder.
            let reader = Reader::open(&folder).ok();
            records::find(reader.as_ref(), &app, &query, under, told)
        });
        let broken = |why: String| Failure::app(pb::ErrorCode::StorageError, format!("The log cannot be read: {why}"));
        let mut found = found.await.map_err(|error| broken(error.to_string()))?.map_err(|error| broken(error.to_string()))?;
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        let answer = pb::LogReadResponse {
            offset: last.and_then(|log| log.offset.clone()),
            last_end_time: last.map(|log| log.end_time),
            log: found,
        };
        Ok(write(&answer))
    }

    fn under_way(&self, context: &Context) -> Vec<Under> {
        let all = self.visits.of(context.app()).into_iter();
        all.map(|(caller, visit)| Under { key: caller.version.config.key.clone(), instance: caller.instance, visit }).collect()
    }

    async fn answer(&self, method: &str, message: Bytes, context: &Context) -> Answer {
        match method {
            "Flush" => self.flush(message, context),
            "SetStatus" => {
                let asked: pb::SetStatusRequest = read(message)?;
                self.say(context, context.now, Severity::Notice, format!("status: {}", asked.status), None);
                Ok(Bytes::new())
            }
            "Read" => self.read(message, context).await,
            "Usage" => Err(Failure::Rpc(Code::CapabilityDisabled, "How much an app logs is not counted here.".into())),
            _ if context.testing => self.tested.hook(method, message, context),
            _ => Err(Failure::no_call("logservice", method)),
        }
    }
}

impl Service for Logs {
    fn card(&self) -> &'static Card {
        &card::LOGSERVICE
    }

    /// The journal stays, for people; what an app reads of it begins anew.
    fn clear(&self) {
        self.tested.clear(self.visits.apps().into_iter(), SystemTime::now());
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(self.answer(method, message, context))
    }
}

/// The SDK's five levels.
const LEVELS: [Severity; 5] = [Severity::Debug, Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];

fn severity(level: i64) -> Severity {
    usize::try_from(level).ok().and_then(|level| LEVELS.get(level)).copied().unwrap_or(if level < 0 {
        Severity::Debug
    } else {
        Severity::Critical
    })
}

fn level(severity: Severity) -> i32 {
    match severity {
        Severity::Default | Severity::Debug => 0,
        Severity::Info | Severity::Notice => 1,
        Severity::Warning => 2,
        Severity::Error => 3,
        Severity::Critical | Severity::Alert | Severity::Emergency => 4,
    }
}
