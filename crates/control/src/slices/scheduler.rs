//! Cloud Scheduler's jobs, as far as cron.yaml becomes them: requests to the app on a schedule in App Engine's English. A job is kept as it was sent;
//! gcloud tells jobs apart by nothing but their fields, and replaces those that differ.

use http::Method;
use model::cron::Schedule;
use serde_json::{Map, Value, json};
use store::control::{Document, Kind};

use super::{Ask, Ground, Inquiry, Regional, mask, paging};
use crate::status::{Code, Status};

/// Jobs of one app (App Engine's limit for cron.yaml is 250).
const JOBS: usize = 250;
/// Fields of a job that are kept; what is told about its runs is not the client's to set.
const FIELDS: [&str; 9] = [
    "name",
    "description",
    "appEngineHttpTarget",
    "schedule",
    "timeZone",
    "retryConfig",
    "attemptDeadline",
    "legacyAppEngineCron",
    "state",
];
const TOLD: [&str; 5] = ["userUpdateTime", "status", "scheduleTime", "lastAttemptTime", "satisfiesPzs"];

pub(super) fn answer(ground: &dyn Ground, ask: &Ask<'_>) -> Result<Value, Status> {
    let (segments, verb) = ask.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (app, location, rest) = match super::regional(ground, ask, &parts, "jobs")? {
        Regional::Within { app, location, rest } => (app, location, rest),
        Regional::Answer(answer) => return Ok(answer),
    };
    let place = Place { ground, app, location };
    match (ask.method, rest, verb.as_deref()) {
        (&Method::GET, [], None) => place.list(ask),
        (&Method::POST, [], None) => place.create(ask),
        (&Method::GET, [job], None) => Ok(place.show(&place.find(job)?)),
        (&Method::PATCH, [job], None) => place.patch(ask, job),
        (&Method::DELETE, [job], None) => {
            place.find(job)?;
            ground.remove(app, Kind::Cron, job)?;
            Ok(json!({}))
        }
        (&Method::POST, [job], Some("pause")) => place.turn(job, "PAUSED"),
        (&Method::POST, [job], Some("resume")) => place.turn(job, "ENABLED"),
        (&Method::POST, [job], Some("run")) => place.run(job),
        _ => Err(ask.unknown()),
    }
}

struct Place<'a> {
    ground: &'a dyn Ground,
    app: &'a str,
    location: &'a str,
}

impl Place<'_> {
    fn list(&self, ask: &Ask<'_>) -> Result<Value, Status> {
        // With the flag cron.yaml's jobs are listed, without it all others.
        let legacy = ask.parameter("legacyAppEngineCron").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
        let all = self.ground.documents(self.app, Kind::Cron)?.into_iter();
        let wanted = all.filter(|job| job.body["legacyAppEngineCron"].as_bool().unwrap_or(false) == legacy);
        paging::page(ask, "jobs", wanted.map(|job| (job.name.clone(), self.show(&job))).collect())
    }

    fn find(&self, name: &str) -> Result<Document, Status> {
        let job = self.ground.document(self.app, Kind::Cron, name)?;
        job.ok_or_else(|| {
            Status::not_found(format!("The job projects/{}/locations/{}/jobs/{name} was not found.", self.app, self.location))
        })
    }

    fn show(&self, job: &Document) -> Value {
        let mut shown = job.body.clone();
        shown["name"] = json!(format!("projects/{}/locations/{}/jobs/{}", self.app, self.location, job.name));
        shown["userUpdateTime"] = json!(super::text(job.updated));
        // A job that is not known there yet has not run.
        if let Ok(Some(runs)) = self.ground.ward(self.app, Inquiry::new(&Method::GET, &["cron", &job.name])) {
            tell(&mut shown, &runs);
        }
        shown
    }

    fn run(&self, name: &str) -> Result<Value, Status> {
        let job = self.find(name)?;
        match self.ground.ward(self.app, Inquiry { verb: Some("run"), ..Inquiry::new(&Method::POST, &["cron", name]) })? {
            Some(_) => Ok(self.show(&job)),
            None => Err(super::beyond("Running a job at once")),
        }
    }

    fn create(&self, ask: &Ask<'_>) -> Result<Value, Status> {
        let mut job = fields(ask)?;
        check(&job)?;
        let all = self.ground.documents(self.app, Kind::Cron)?;
        if all.len() >= JOBS {
            return Err(Status::new(Code::ResourceExhausted, format!("An app has at most {JOBS} jobs.")));
        }
        let name = match job.remove("name") {
            Some(name) => self.own_name(&name)?,
            None => free_name(&job, &all),
        };
        if all.iter().any(|one| one.name == name) {
            let name = format!("projects/{}/locations/{}/jobs/{name}", self.app, self.location);
            return Err(Status::new(Code::AlreadyExists, format!("The job {name} already exists.")));
        }
        job.insert("state".into(), json!("ENABLED"));
        Ok(self.show(&self.ground.put(self.app, Kind::Cron, &name, &Value::Object(job))?))
    }

    /// The last part of a name that a client chose.
    fn own_name(&self, name: &Value) -> Result<String, Status> {
        let home = format!("projects/{}/locations/{}/jobs/", self.app, self.location);
        let own = name.as_str().and_then(|name| name.strip_prefix(&home)).filter(|own| is_name(own));
        own.map(str::to_owned)
            .ok_or_else(|| Status::field("job.name", format!("A job is called {home} and 1 to 500 letters, digits, - or _.")))
    }

    fn patch(&self, ask: &Ask<'_>, name: &str) -> Result<Value, Status> {
        let known = self.find(name)?;
        let Value::Object(mut job) = known.body else { return Err(Status::internal()) };
        let mut from = fields(ask)?;
        from.remove("name");
        mask::apply(ask.parameter("updateMask"), &mut job, &from, &FIELDS[1..8])?;
        check(&job)?;
        Ok(self.show(&self.ground.put(self.app, Kind::Cron, name, &Value::Object(job))?))
    }

    fn turn(&self, name: &str, state: &str) -> Result<Value, Status> {
        let mut body = self.find(name)?.body;
        body["state"] = json!(state);
        Ok(self.show(&self.ground.put(self.app, Kind::Cron, name, &body)?))
    }
}

/// Adds what the house tells of a job's runs (docs/guide/cron.md) in the API's own terms.
fn tell(shown: &mut Value, runs: &Value) {
    if runs["next"].is_string() {
        shown["scheduleTime"] = runs["next"].clone();
    }
    let last = &runs["last"];
    if last.is_object() {
        shown["lastAttemptTime"] = last["time"].clone();
        let good = last["status"].as_u64().is_some_and(|status| (200..300).contains(&status));
        // google.rpc: an empty status is success, 2 is UNKNOWN.
        shown["status"] = if good { json!({}) } else { json!({"code": 2}) };
    }
}

/// What a client may set of the body.
fn fields(ask: &Ask<'_>) -> Result<Map<String, Value>, Status> {
    let known: Vec<&str> = FIELDS.iter().chain(&TOLD).chain(&["pubsubTarget", "httpTarget"]).copied().collect();
    let mut fields = ask.object("job", &known)?;
    for other in ["pubsubTarget", "httpTarget"] {
        if fields.contains_key(other) {
            return Err(Status::field(format!("job.{other}"), "Jobs of this server ask the app: use appEngineHttpTarget."));
        }
    }
    fields.retain(|name, _| FIELDS.contains(&name.as_str()));
    Ok(fields)
}

fn check(job: &Map<String, Value>) -> Result<(), Status> {
    let text = |name: &str| job.get(name).and_then(Value::as_str);
    let schedule = text("schedule").unwrap_or_default();
    if let Err(why) = Schedule::parse(schedule) {
        return Err(Status::field(
            "job.schedule",
            format!("`{schedule}` is not a schedule of App Engine, such as `every 24 hours`: {why}"),
        ));
    }
    let zone = text("timeZone").unwrap_or("UTC");
    if jiff::tz::TimeZone::get(zone).is_err() {
        return Err(Status::field("job.timeZone", format!("`{zone}` is not the name of a time zone.")));
    }
    let uri = job.get("appEngineHttpTarget").and_then(|target| target["relativeUri"].as_str()).unwrap_or("/");
    if !uri.starts_with('/') || uri.len() > 2083 {
        return Err(Status::field("job.appEngineHttpTarget.relativeUri", "A relative URI begins with / and has at most 2,083 bytes."));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=500).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A name for a job of cron.yaml, which has none: made of what it does, so that the same file gives the same names.
fn free_name(job: &Map<String, Value>, taken: &[Document]) -> String {
    let text = Value::Object(job.clone()).to_string();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut number = 1;
    loop {
        let name = if number == 1 { format!("cron-{hash:016x}") } else { format!("cron-{hash:016x}-{number}") };
        if taken.iter().all(|one| one.name != name) {
            return name;
        }
        number += 1;
    }
}
