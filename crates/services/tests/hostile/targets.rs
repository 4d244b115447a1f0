//! What is done with hostile bytes: each target takes any bytes, makes calls of them in the name of one app, and panics if a promise is broken. The fuzz
//! targets of `fuzz/` and the tests of this crate run the same functions.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use model::config::VersionConfig;
use model::ids::{InstanceId, VersionKey};
use model::runtime::Runtime;
use model::table::Version;
use prost::Message;
use services::call::{Answer, Caller, Context, Failure, envelope as wrap, read};
use services::capability::Capabilities;
use services::memcache::Memcache;
use services::proto::{memcache as pb, remote_api};
use services::registry::Registry;
use services::user::Users;

/// A target: its name, which is its folder in `fuzz/corpus` too, and what it does.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: &[Target] =
    &[("envelope", envelope), ("memcache", memcache), ("user", user), ("capability_service", capability), ("test_mode", test_mode)];

/// The methods of each service, tests' own included. New ones are added at the end: the first byte of an input chooses.
pub(crate) const METHODS: &[(&str, &[&str])] = &[
    (
        "memcache",
        &[
            "Get",
            "Set",
            "Delete",
            "Increment",
            "BatchIncrement",
            "FlushAll",
            "Stats",
            "SetClock",
            "AdvanceClock",
            "SetMaxSize",
            "GetLruChainLength",
        ],
    ),
    ("user", &["CreateLoginURL", "CreateLogoutURL", "GetOAuthUser"]),
    ("capability_service", &["IsEnabled"]),
];

/// Nobody but the app that it belongs to may see this.
const SECRET: &[u8] = b"the secret of another app";

/// The body of a request: the envelope and all that is in it.
pub(crate) fn envelope(bytes: &[u8]) {
    house(false, |house| {
        let answer = match read::<remote_api::Request>(Bytes::copy_from_slice(bytes)) {
            Ok(call) => house.call(&call.service_name, &call.method, call.request),
            Err(failure) => Err(failure),
        };
        judge(answer);
    });
}

/// memcache.
pub(crate) fn memcache(bytes: &[u8]) {
    messages("memcache", bytes, false);
}

/// user.
pub(crate) fn user(bytes: &[u8]) {
    messages("user", bytes, false);
}

/// `capability_service`.
pub(crate) fn capability(bytes: &[u8]) {
    messages("capability_service", bytes, false);
}

/// The service that the first byte chooses, with the methods that only tests have.
pub(crate) fn test_mode(bytes: &[u8]) {
    if let [first, rest @ ..] = bytes {
        messages(METHODS[usize::from(*first) % METHODS.len()].0, rest, true);
    }
}

/// Calls of one service, one after the other: a method, two bytes of length, a message, and so on.
fn messages(service: &str, bytes: &[u8], testing: bool) {
    let methods = METHODS.iter().find(|(name, _)| *name == service).map_or(&[][..], |(_, methods)| methods);
    house(testing, |house| {
        let mut rest = bytes;
        while let [method, low, high, tail @ ..] = rest {
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
            let (message, next) = tail.split_at(length);
            if let Some(method) = methods.get(usize::from(*method) % methods.len().max(1)) {
                judge(house.call(service, method, Bytes::copy_from_slice(message)));
            }
            rest = next;
        }
    });
}

/// The services, and two apps that use them.
struct House {
    runtime: tokio::runtime::Runtime,
    registry: Registry,
    own: Context,
    other: Context,
}

/// Works in a fresh house, and looks whether the other app has still got what it had. In test mode there is no other app.
fn house(testing: bool, work: impl FnOnce(&House)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let registry = Registry::default()
        .with(Arc::new(Memcache::new(1 << 20)))
        .with(Arc::new(Users::default()))
        .with(Arc::new(Capabilities::new(["memcache", "user"])));
    let house = House { runtime, registry, own: Context { testing, ..context("mallory") }, other: context("alice") };
    let item = pb::set_request::Item { key: "k".into(), value: Bytes::from_static(SECRET), ..Default::default() };
    house
        .ask(&house.other, "memcache", "Set", pb::SetRequest { item: vec![item], ..Default::default() }.encode_to_vec().into())
        .expect("set");
    work(&house);
    if testing {
        return;
    }
    let asked = pb::GetRequest { key: vec!["k".into()], ..Default::default() };
    let found = house.ask(&house.other, "memcache", "Get", asked.encode_to_vec().into()).expect("the other app is served");
    let found = pb::GetResponse::decode(found).expect("an answer");
    assert_eq!(found.item.first().map(|item| &item.value[..]), Some(SECRET), "another app's data were touched");
}

impl House {
    fn call(&self, service: &str, method: &str, message: Bytes) -> Answer {
        self.ask(&self.own, service, method, message)
    }

    fn ask(&self, context: &Context, service: &str, method: &str, message: Bytes) -> Answer {
        let call = async { tokio::time::timeout(Duration::from_mins(1), self.registry.call(service, method, message, context)).await };
        self.runtime.block_on(call).expect("a call ends")
    }
}

/// What holds of every answer.
fn judge(answer: Answer) {
    let (refused, answered) = match &answer {
        Ok(bytes) => (None, bytes.clone()),
        Err(Failure::Rpc(_, detail) | Failure::Application(_, detail)) => (Some(detail.clone()), Bytes::new()),
    };
    if let Some(detail) = &refused {
        assert!(!detail.is_empty() && detail.len() < 4096, "an error says what is wrong, and not too much: {detail}");
    }
    let wrapped = wrap(answer);
    for seen in [&answered, &wrapped] {
        assert!(!seen.windows(SECRET.len()).any(|part| part == SECRET), "another app's data leaked");
    }
    let envelope = remote_api::Response::decode(wrapped).expect("an envelope");
    let parts = [envelope.response.is_some(), envelope.application_error.is_some(), envelope.rpc_error.is_some()];
    assert_eq!(parts.iter().filter(|there| **there).count(), 1, "an envelope has one thing in it");
}

/// A call of an instance of `app`. The hooks of tests are open: they may not hurt others either.
pub(crate) fn context(app: &str) -> Context {
    Context { caller: caller(app), visit: None, now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_123), testing: false }
}

/// An instance of `app`.
pub(crate) fn caller(app: &str) -> Caller {
    let key = VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
    let mut config = VersionConfig::new(key, Runtime::parse("python312").expect("known"), Vec::new());
    config.app_engine_apis = true;
    let version = Version::new(app.parse().expect("an id"), config, "/nowhere".into(), 1);
    Caller { version: Arc::new(version), instance: InstanceId::Number(0), seat: Arc::default() }
}
