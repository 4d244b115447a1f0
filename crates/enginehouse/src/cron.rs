//! Cron wired: the jobs of cron.yaml in `run`, those in the state in `serve`, and what is told and taken of them below `/enginehouse/v1` (row S2,
//! docs/decisions/311-cron.md).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use control::status::{Code, Status};
use control::ward::{Question, Ward};
use http::Method;
use jiff::Timestamp;
use model::cron::{CronJob, CronRetry, Missed, Schedule};
use model::ids::AppId;
use serde_json::{Value, json};
use services::cron::{Cron, Job, NotRun, Report, Settings, Told};
use services::outside::Outside;
use store::control::{Actor, Document};

/// What cron is told by `run` or `serve`.
pub(crate) struct Ways {
    /// What becomes of runs that were missed while no process ran.
    pub(crate) missed: Missed,
    /// Jobs run by themselves.
    pub(crate) automatic: bool,
    /// Hears what went wrong.
    pub(crate) told: Told,
}

/// Pauses a job where the state keeps that, or lets it go on; false if there is none of that name.
type Pause = Box<dyn Fn(&AppId, &str, bool, &Actor) -> Result<bool, Status> + Send + Sync>;

/// Starts the thread of cron. It ends with the process.
pub(crate) fn start(outside: Arc<Outside>, folder: Arc<dyn Fn(&AppId) -> PathBuf + Send + Sync>, ways: Ways) -> io::Result<Arc<Cron>> {
    // A thread of its own: the state is written before a job runs, and API calls must not wait for the disk.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settings = Settings {
        folder: Box::new(move |app| folder(app)),
        missed: ways.missed,
        automatic: ways.automatic,
        told: ways.told,
        runtime: runtime.handle().clone(),
    };
    std::thread::Builder::new().name("cron".into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(Cron::new(outside, settings))
}

/// The jobs of cron.yaml. They have no names there: each is called after its path.
pub(crate) fn of_file(jobs: &[CronJob]) -> Vec<Job> {
    let mut taken: BTreeMap<String, u32> = BTreeMap::new();
    let one = |job: &CronJob| {
        let name = called(&job.url);
        let count = taken.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
        let name = if *count == 1 { name } else { format!("{name}-{count}") };
        Job { name, job: job.clone(), method: Method::GET, paused: None }
    };
    jobs.iter().map(one).collect()
}

/// `/tasks/daily?full=1` is `tasks-daily`.
fn called(url: &str) -> String {
    let path = url.split('?').next().unwrap_or_default();
    let words = path.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join("-");
    if name.is_empty() { "root".into() } else { name.chars().take(100).collect() }
}

/// A job of the state, in Cloud Scheduler's form; `None` if it is none for the app.
pub(crate) fn of_state(document: &Document) -> Option<Job> {
    let body = &document.body;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let target = &body["appEngineHttpTarget"];
    let routing = &target["appEngineRouting"];
    let (service, version) =
        (text(&routing["service"]).filter(|name| !name.is_empty()), text(&routing["version"]).filter(|name| !name.is_empty()));
    let aim = match (version, service) {
        (Some(version), service) => Some(format!("{version}.{}", service.unwrap_or_else(|| "default".into()))),
        // What cron.yaml leaves out is written as the default service.
        (None, service) => service.filter(|name| name != "default"),
    };
    let written = text(&body["schedule"])?;
    let retry = &body["retryConfig"];
    let duration = |value: &Value| seconds(value.as_str()?);
    let count = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok());
    let job = CronJob {
        url: text(&target["relativeUri"]).unwrap_or_else(|| "/".into()),
        description: text(&body["description"]).unwrap_or_default(),
        schedule: Schedule::parse(&written).ok()?,
        written,
        timezone: text(&body["timeZone"]).filter(|zone| !zone.is_empty()).unwrap_or_else(|| "UTC".into()),
        target: aim,
        retry: retry.is_object().then(|| CronRetry {
            limit: count(&retry["retryCount"]),
            age_limit: duration(&retry["maxRetryDuration"]).filter(|age| !age.is_zero()),
            // Cloud Scheduler's own defaults.
            min_backoff: duration(&retry["minBackoffDuration"]).unwrap_or(Duration::from_secs(5)),
            max_backoff: duration(&retry["maxBackoffDuration"]).unwrap_or(Duration::from_hours(1)),
            max_doublings: count(&retry["maxDoublings"]).unwrap_or(5),
        }),
        attempt_deadline: duration(&body["attemptDeadline"]),
    };
    let method = text(&target["httpMethod"]).and_then(|name| name.parse().ok()).unwrap_or(Method::GET);
    Some(Job { name: document.name.clone(), job, method, paused: Some(body["state"] == "PAUSED") })
}

/// `600s`, `0.1s`
fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

/// Tells of jobs, runs them, pauses them.
pub(crate) struct Desk {
    cron: Arc<Cron>,
    /// Said later, by whoever has a state; without, cron itself remembers.
    pause: OnceLock<Pause>,
}

impl Desk {
    pub(crate) fn new(cron: Arc<Cron>) -> Arc<Self> {
        Arc::new(Self { cron, pause: OnceLock::new() })
    }

    /// Pauses are kept there.
    pub(crate) fn pauses_in(&self, pause: Pause) {
        let _ = self.pause.set(pause);
    }

    /// The job of a name, or of a path that no other job has.
    fn find(&self, app: &AppId, asked: &str) -> Result<Report, Status> {
        let all = self.cron.list(app);
        if let Some(found) = all.iter().find(|report| report.job.name == asked) {
            return Ok(found.clone());
        }
        let mut same = all.into_iter().filter(|report| report.job.job.url == asked);
        match (same.next(), same.next()) {
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => Err(Status::invalid(format!("Several jobs ask for {asked}; say which by its name."))),
            (None, _) => Err(Status::not_found(format!("There is no cron job `{asked}`."))),
        }
    }

    fn run(&self, app: &AppId, name: &str) -> Result<(), Status> {
        self.cron.run(app, name).map_err(|why| match why {
            NotRun::Missing => Status::not_found(format!("There is no cron job `{name}`.")),
            NotRun::Running => Status::new(Code::FailedPrecondition, "The job runs already; only one run of a job is under way at a time."),
            NotRun::Closed => Status::new(Code::Unavailable, "Another process takes over; try again."),
        })
    }

    fn pause(&self, question: &Question, name: &str, paused: bool) -> Result<(), Status> {
        let known = match self.pause.get() {
            Some(pause) => pause(&question.app, name, paused, &question.actor)? && self.cron.pause(&question.app, name, paused),
            None => self.cron.pause(&question.app, name, paused),
        };
        if known { Ok(()) } else { Err(Status::not_found(format!("There is no cron job `{name}`."))) }
    }
}

impl Ward for Desk {
    fn collection(&self) -> &'static str {
        "cron"
    }

    fn answer(&self, question: &Question) -> Result<Value, Status> {
        let (parts, verb) = question.parts();
        let (get, post) = (question.method == Method::GET, question.method == Method::POST);
        match (parts.as_slice(), verb) {
            ([], None) if get => {
                // An app has at most 250: one page.
                let jobs: Vec<Value> = self.cron.list(&question.app).iter().map(shown).collect();
                Ok(json!({"jobs": jobs}))
            }
            ([name], None) if get => Ok(shown(&self.find(&question.app, name)?)),
            ([name], Some(verb @ ("run" | "pause" | "resume"))) if post => {
                let name = self.find(&question.app, name)?.job.name;
                match verb {
                    "run" => self.run(&question.app, &name)?,
                    verb => self.pause(question, &name, verb == "pause")?,
                }
                Ok(shown(&self.find(&question.app, &name)?))
            }
            _ => Err(question.missing()),
        }
    }
}

fn shown(report: &Report) -> Value {
    let (job, at) = (&report.job.job, |at: Timestamp| format!("{at:.0}"));
    let state = match (report.running, report.paused) {
        (true, _) => "RUNNING",
        (false, true) => "PAUSED",
        (false, false) => "ENABLED",
    };
    let mut shown = json!({
        "name": report.job.name,
        "url": job.url,
        "schedule": job.written,
        "timeZone": job.timezone,
        "target": job.target.as_deref().unwrap_or("default"),
        "state": state,
        "failures": report.failures,
    });
    let mut add = |name: &str, value: Option<Value>| {
        if let (Some(all), Some(value)) = (shown.as_object_mut(), value) {
            all.insert(name.to_owned(), value);
        }
    };
    add("description", Some(&job.description).filter(|text| !text.is_empty()).map(|text| json!(text)));
    add("next", report.due.map(|due| json!(at(due))));
    add("attemptDeadline", job.attempt_deadline.map(|time| json!(format!("{}s", time.as_secs_f64()))));
    add(
        "retry",
        job.retry.as_ref().map(|retry| {
            json!({
                "limit": retry.limit,
                "ageLimitSeconds": retry.age_limit.map(|age| age.as_secs()),
                "minBackoffSeconds": retry.min_backoff.as_secs_f64(),
                "maxBackoffSeconds": retry.max_backoff.as_secs_f64(),
                "maxDoublings": retry.max_doublings,
            })
        }),
    );
    add(
        "last",
        report.last.as_ref().map(|last| {
            let began = Timestamp::from_microsecond(last.began).map(at).unwrap_or_default();
            json!({"time": began, "milliseconds": last.took, "status": last.status, "error": last.error})
        }),
    );
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_jobs_of_a_file_are_called_after_their_paths() {
        let job = |url: &str| CronJob {
            url: url.into(),
            description: String::new(),
            written: "every 5 minutes".into(),
            schedule: Schedule::parse("every 5 minutes").expect("valid"),
            timezone: "UTC".into(),
            target: None,
            retry: None,
            attempt_deadline: None,
        };
        let names: Vec<String> =
            of_file(&[job("/tasks/daily?full=1"), job("/"), job("/tasks/daily")]).into_iter().map(|job| job.name).collect();
        assert_eq!(names, ["tasks-daily", "root", "tasks-daily-2"]);
    }

    #[test]
    fn s2_jobs_of_the_state_are_those_that_were_deployed() {
        let body = json!({
            "appEngineHttpTarget": {"appEngineRouting": {"service": "api", "version": "v1"}, "httpMethod": "GET", "relativeUri": "/x"},
            "schedule": "every day 10:00", "timeZone": "Europe/Berlin", "state": "PAUSED", "attemptDeadline": "0.5s",
            "retryConfig": {"retryCount": 3, "minBackoffDuration": "1s", "maxBackoffDuration": "60s", "maxDoublings": 2},
        });
        let epoch = std::time::SystemTime::UNIX_EPOCH;
        let job = of_state(&Document { name: "a".into(), body, created: epoch, updated: epoch }).expect("a job");
        assert_eq!((job.job.target.as_deref(), job.paused), (Some("v1.api"), Some(true)));
        assert_eq!(job.job.attempt_deadline, Some(Duration::from_millis(500)));
        assert_eq!(job.job.retry.map(|retry| (retry.limit, retry.max_backoff)), Some((Some(3), Duration::from_mins(1))));
    }
}
