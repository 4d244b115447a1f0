//! Waiting for operations of the server.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Client, Failure, Outcome, Status};

/// The first waits are short, because most operations are; then a person does not notice the difference.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
/// A server may be started anew meanwhile; the operation goes on with it.
const GONE: Duration = Duration::from_secs(30);

/// Who wants to know how far an operation is.
pub(crate) trait Watch {
    /// It was looked at.
    fn seen(&mut self, operation: &Value);
}

impl<F: FnMut(&Value)> Watch for F {
    fn seen(&mut self, operation: &Value) {
        self(operation);
    }
}

/// Waits until an operation, as a call answered it, is done; the operation then. Its failure is an error.
pub(crate) fn finish(client: &Client, started: Value, patience: Option<Duration>, watch: &mut dyn Watch) -> Outcome<Value> {
    let mut operation = started;
    let begun = Instant::now();
    let mut wait = FIRST;
    loop {
        watch.seen(&operation);
        if operation["done"].as_bool() == Some(true) {
            return match operation.get("error") {
                Some(error) if !error.is_null() => Err(Failure::Operation(Box::new(Status::of_operation(error)))),
                _ => Ok(operation),
            };
        }
        let name = operation["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(Failure::Here("the server's answer is no operation; is it an Admin API?".to_owned()));
        }
        if patience.is_some_and(|patience| begun.elapsed() >= patience) {
            let id = name.rsplit('/').next().unwrap_or_default();
            return Err(Failure::Here(format!("the operation {id} still goes on; `enginehouse operations wait {id}` waits for it")));
        }
        std::thread::sleep(wait);
        wait = (wait * 3 / 2).min(LONGEST);
        operation = look(client, &format!("/v1/{name}"))?;
    }
}

fn look(client: &Client, path: &str) -> Outcome<Value> {
    let begun = Instant::now();
    loop {
        match client.get(path) {
            Err(Failure::Unreachable { .. }) if begun.elapsed() < GONE => {}
            other => return other,
        }
    }
}

/// What an operation that is done resulted in.
pub(crate) fn response(operation: &Value) -> &Value {
    &operation["response"]
}
