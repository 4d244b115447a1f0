//! A client of the Admin API, for the commands: JSON in and out, errors in words for people. It never touches the server's folder.

pub(crate) mod config;
mod failure;
mod names;
mod operation;
pub(crate) mod place;
pub(crate) mod settings;
pub(crate) mod trust;

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use ureq::{Agent, AsSendBody, SendBody};

pub(crate) use failure::{EXIT_STATUS, Failure, Status};
pub(crate) use names::{App, segment};
pub(crate) use operation::{Watch, finish, response};
pub(crate) use settings::Settings;
pub(crate) use trust::{system_bundle, tls as trusted};

/// How often something that changes nothing is asked again, and how long after.
const AGAIN: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)];
/// Answers are lists and configurations, so this is generous.
const MOST_BYTES: u64 = 256 << 20;

/// How many questions are under way at once when there are many.
const AT_ONCE: usize = 16;

/// A result of a command.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Speaks to one server.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    server: String,
    token: Option<String>,
    /// The server has answered before: if it is gone now, it may be coming back.
    reached: AtomicBool,
}

impl Client {
    /// Makes ready; nothing is sent yet.
    pub(crate) fn new(settings: &Settings) -> Outcome<Self> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(10)))
            .user_agent(concat!("enginehouse/", env!("CARGO_PKG_VERSION")));
        if settings.server.starts_with("https:") {
            config = config.tls_config(trust::tls(settings.ca.as_deref())?);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            server: settings.server.trim_end_matches('/').to_owned(),
            token: settings.token.clone(),
            reached: AtomicBool::new(false),
        })
    }

    /// The address of the server, without a trailing slash.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Asks; tried again if the connection breaks or the server is busy.
    pub(crate) fn get(&self, path: &str) -> Outcome<Value> {
        let mut waits = AGAIN.iter();
        loop {
            let failure = match self.send(&Method::GET, path, None) {
                Err(failure) if self.may_pass(&failure) => failure,
                other => return other,
            };
            match waits.next() {
                Some(wait) => std::thread::sleep(*wait),
                None => return Err(failure),
            }
        }
    }

    fn may_pass(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Unreachable { .. } => self.reached.load(Ordering::Relaxed),
            Failure::Answer(status) => matches!(status.http, 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Asks for all pages of a list, until `limit` entries are there.
    pub(crate) fn list(&self, path: &str, key: &str, limit: Option<usize>) -> Outcome<Vec<Value>> {
        let mut all = Vec::new();
        let mut token = String::new();
        let join = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = match token.as_str() {
                "" => self.get(&format!("{path}{join}pageSize=1000"))?,
                token => self.get(&format!("{path}{join}pageSize=1000&pageToken={}", segment(token)))?,
            };
            if let Value::Array(entries) = &page[key] {
                all.extend(entries.iter().cloned());
            }
            let next = page["nextPageToken"].as_str().unwrap_or_default();
            if next.is_empty() || next == token || limit.is_some_and(|limit| all.len() >= limit) {
                all.truncate(limit.unwrap_or(usize::MAX));
                return Ok(all);
            }
            next.clone_into(&mut token);
        }
    }

    /// Asks about each of many things, several at once; the answers are in the things' order. The first failure ends it.
    pub(crate) fn each<T: Sync, R: Send>(&self, things: &[T], ask: impl Fn(&Self, &T) -> Outcome<R> + Sync) -> Outcome<Vec<R>> {
        let next = AtomicUsize::new(0);
        let answers = Mutex::new(Vec::with_capacity(things.len()));
        std::thread::scope(|scope| {
            for _ in 0..things.len().min(AT_ONCE) {
                scope.spawn(|| {
                    while let Some((at, thing)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, things.get(at)?))) {
                        let answer = ask(self, thing);
                        if answer.is_err() {
                            next.store(things.len(), Ordering::Relaxed);
                        }
                        answers.lock().unwrap_or_else(PoisonError::into_inner).push((at, answer));
                    }
                });
            }
        });
        let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Creates or orders something.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.send(&Method::POST, path, Some(body))
    }

    /// Changes something.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.send(&Method::PATCH, path, Some(body))
    }

    /// Removes something.
    pub(crate) fn delete(&self, path: &str) -> Outcome<Value> {
        self.send(&Method::DELETE, path, None)
    }

    /// Sends so many bytes as they are.
    pub(crate) fn post_bytes(&self, path: &str, kind: &str, length: u64, bytes: &mut dyn Read) -> Outcome<Value> {
        let request = self.request(&Method::POST, path).header("Content-Type", kind).header("Content-Length", length);
        self.run(&Method::POST, path, request, SendBody::from_reader(bytes))
    }

    fn send(&self, method: &Method, path: &str, body: Option<&Value>) -> Outcome<Value> {
        let request = self.request(method, path);
        match body {
            None => self.run(method, path, request, ()),
            Some(body) => self.run(method, path, request.header("Content-Type", "application/json"), body.to_string()),
        }
    }

    fn request(&self, method: &Method, path: &str) -> http::request::Builder {
        let request = http::Request::builder().method(method).uri(format!("{}{path}", self.server)).header("Accept", "application/json");
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn run(&self, method: &Method, path: &str, request: http::request::Builder, body: impl AsSendBody) -> Outcome<Value> {
        // What cannot stand in a header is the token; it is not to be shown.
        let request = request
            .body(body)
            .map_err(|_| Failure::Usage("the server's address or the token has characters that cannot be sent".into()))?;
        let answer = self.agent.run(request);
        let read = answer.and_then(|mut answer| {
            let bytes = answer.body_mut().with_config().limit(MOST_BYTES).read_to_vec()?;
            Ok((answer.status().as_u16(), bytes))
        });
        let (status, bytes) = read.map_err(|error| Failure::Unreachable { server: self.server.clone(), why: why(&error) })?;
        self.reached.store(true, Ordering::Relaxed);
        if !(200..300).contains(&status) {
            let asked = format!("{method} {}", path.split('?').next().unwrap_or(path));
            return Err(Failure::Answer(Box::new(Status { asked, server: self.server.clone(), ..Status::of_answer(status, &bytes) })));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|_| Failure::Here(format!("{} answers {method} {path}, but not with JSON; is it an Admin API?", self.server)))
    }
}

fn why(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound => "there is no such host".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        other => other.to_string(),
    }
}
