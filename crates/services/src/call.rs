//! One call: who calls, what is asked, and how it can fail.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use model::ids::InstanceId;
use model::pool::Boxed;
use model::rpc::Visit;
use model::table::Version;
use prost::{Message, Name};

use crate::card::Card;
use crate::presence::{self, Fault};
use crate::proto::remote_api::{ApplicationError, Response, RpcError, rpc_error::Code};
use crate::system::Seat;

/// Which instance calls: the listener that it called at knows.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its version, and so its app.
    pub version: Arc<Version>,
    /// Its id.
    pub instance: InstanceId,
    /// What is known of it while it runs.
    pub seat: Arc<Seat>,
}

/// What a service knows besides the message.
#[derive(Debug, Clone)]
pub struct Context {
    /// Which instance calls.
    pub caller: Caller,
    /// In which request; none under `--test-mode` and in background threads.
    pub visit: Option<Arc<Visit>>,
    /// When the call came in.
    pub now: SystemTime,
    /// What stood in the place of the ticket, under `--test-mode`: tests tell of requests by it.
    pub ticket: Option<String>,
    /// Under `--test-mode`: methods that only tests need exist, and any app id means this app.
    pub testing: bool,
}

impl Context {
    /// The app whose data the call is about.
    pub fn app(&self) -> &model::ids::AppId {
        &self.caller.version.app
    }

    /// Whether an app id in a message means the app itself, with or without a partition (`s~shop`, `dev~shop`).
    pub fn is_own(&self, app: &str) -> bool {
        self.testing || app.rsplit('~').next() == Some(self.app().project())
    }
}

/// Why a call failed (reference/services-rpc.md §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It did not get as far as the service.
    Rpc(Code, String),
    /// The service refused: its own code, and a text for the developer.
    Application(i32, String),
}

impl Failure {
    /// The service refused with one of its own codes.
    pub fn app(code: impl Into<i32>, detail: impl Into<String>) -> Self {
        Self::Application(code.into(), detail.into())
    }

    /// There is no such call.
    pub fn no_call(service: &str, method: &str) -> Self {
        Self::Rpc(Code::CallNotFound, format!("The API package '{service}' or call '{method}()' was not found."))
    }
}

/// What a service answers.
pub type Answer = Result<Bytes, Failure>;

/// A service.
pub trait Service: Send + Sync {
    /// What it is called, and what it can be asked.
    fn card(&self) -> &'static Card;

    /// The largest message that it takes.
    fn most(&self) -> usize {
        1 << 20
    }

    /// Test mode: forgets everything, settings of tests too.
    fn clear(&self) {}

    /// Answers one call. The message may hold anything.
    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer>;
}

/// Reads the message of a call.
///
/// # Errors
/// `PARSE_ERROR` if it is none of this type, or lacks a required field; `REQUEST_TOO_LARGE` if it would take too much memory.
pub fn read<M: Message + Name + Default>(message: Bytes) -> Result<M, Failure> {
    let malformed = |why: &dyn std::fmt::Display| Failure::Rpc(Code::ParseError, format!("The request is malformed: {why}"));
    match presence::fault::<M>(&message) {
        None => M::decode(message).map_err(|error| malformed(&error)),
        Some(Fault::Missing(field)) => Err(malformed(&format_args!("{field} is required and missing"))),
        // prost would make of two bytes a part of some hundred.
        Some(Fault::TooMany) => {
            Err(Failure::Rpc(Code::RequestTooLarge, "The request has too many parts; send several requests instead.".into()))
        }
    }
}

/// Writes the message of an answer.
pub fn write<M: Message>(message: &M) -> Bytes {
    message.encode_to_vec().into()
}

/// The envelope of an answer. Never an `exception`: Python 3 takes one for success.
pub fn envelope(answer: Answer) -> Bytes {
    let mut response = Response::default();
    match answer {
        Ok(message) => response.response = Some(message),
        Err(Failure::Application(code, detail)) => response.application_error = Some(ApplicationError { code, detail }),
        Err(Failure::Rpc(code, detail)) => response.rpc_error = Some(RpcError { code: code.into(), detail: Some(detail) }),
    }
    write(&response)
}

/// Whether a message has a field. `proto2` knows required fields, and `prost` takes an absent one for its default.
pub fn has_field(message: &Bytes, number: u32) -> bool {
    let mut rest = message.clone();
    while let Ok((found, wire)) = prost::encoding::decode_key(&mut rest) {
        if found == number {
            return true;
        }
        if prost::encoding::skip_field(wire, found, &mut rest, prost::encoding::DecodeContext::default()).is_err() {
            return false;
        }
    }
    false
}
