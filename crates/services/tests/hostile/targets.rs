//! What is done with hostile bytes: each target takes any bytes, makes calls of them in the name of one app, and panics if a promise is broken. The fuzz
//! targets of `fuzz/` and the tests of this crate run the same functions.

#[path = "outside.rs"]
mod outside;
#[path = "texts.rs"]
mod texts;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use model::config::VersionConfig;
use model::ids::{AppId, InstanceId, VersionKey};
use model::pool::Boxed;
use model::route::host::Style;
use model::runtime::Runtime;
use model::scaling::{Manual, Scaling};
use model::table::Version;
use prost::Message;
use services::call::{Answer, Caller, Context, Failure, envelope as wrap, read};
use services::capability::Capabilities;
use services::card::ALL;
use services::identity::{self, Identity};
use services::logservice::Logs;
use services::mail::Mail;
use services::mail::office::{self, Office, Senders};
use services::memcache::Memcache;
use services::modules::Modules;
use services::outside::Outside;
use services::proto::remote_api::rpc_error::Code;
use services::proto::{memcache as pb, remote_api, taskqueue as tq, urlfetch as uf};
use services::registry::Registry;
use services::system::System;
use services::taskqueue::{FileQueues, QueueFile, Steer, TaskQueue};
use services::urlfetch::address::Address;
use services::urlfetch::{self, Resolver, UrlFetch, wall};
use services::user::Users;
use store::access::AccessKey;
use tokio::runtime::Handle;

/// A target: its name, which is its folder in `fuzz/corpus` too, and what it does.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    ("envelope", envelope),
    ("memcache", memcache),
    ("user", user),
    ("capability_service", capability),
    ("test_mode", test_mode),
    ("taskqueue", taskqueue),
    ("modules", modules),
    ("system", system),
    ("logservice", logservice),
    ("app_identity_service", app_identity),
    ("mail", mail),
    ("urlfetch", urlfetch),
    ("smtp", smtp),
    ("mail_message", mail_message),
    ("tokens", tokens),
    ("metadata", metadata),
];

/// Nobody but the app that it belongs to may see this.
const SECRET: &[u8] = b"the secret of another app";

/// The body of a request: the envelope and all that is in it.
pub(crate) fn envelope(bytes: &[u8]) {
    lasting_house(false, |house| {
        let answer = match read::<remote_api::Request>(Bytes::copy_from_slice(bytes)) {
            Ok(call) => house.call(&call.service_name, &call.method, call.request),
            Err(failure) => Err(failure),
        };
        judge(answer);
    });
}

/// Targets that call one service each.
macro_rules! services {
    ($($target:ident $name:literal),*) => {$(
        pub(crate) fn $target(bytes: &[u8]) {
            messages($name, bytes, false);
        }
    )*};
}

services!(
    memcache "memcache",
    user "user",
    capability "capability_service",
    taskqueue "taskqueue",
    modules "modules",
    system "system",
    logservice "logservice",
    app_identity "app_identity_service",
    mail "mail",
    urlfetch "urlfetch"
);

/// A conversation with a server that brings mail.
pub(crate) fn smtp(bytes: &[u8]) {
    texts::smtp(bytes);
}

/// A message that came.
pub(crate) fn mail_message(bytes: &[u8]) {
    texts::incoming(bytes);
}

/// Tokens, and the keys of those who sign them.
pub(crate) fn tokens(bytes: &[u8]) {
    texts::tokens(bytes);
}

/// A question to the metadata server.
pub(crate) fn metadata(bytes: &[u8]) {
    texts::metadata(bytes);
}

/// The service that the first byte chooses, with the methods that only tests have.
pub(crate) fn test_mode(bytes: &[u8]) {
    if let [first, rest @ ..] = bytes {
        messages(ALL[usize::from(*first) % ALL.len()].name, rest, true);
    }
}

/// Calls of one service, one after the other: a method, two bytes of length, a message, and so on.
fn messages(service: &str, bytes: &[u8], testing: bool) {
    let methods: Vec<&str> = ALL.iter().filter(|card| card.name == service).flat_map(|card| card.all()).collect();
    let work = |house: &House| {
        let mut rest = bytes;
        while let [method, low, high, tail @ ..] = rest {
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
            let (message, next) = tail.split_at(length);
            if let Some(method) = methods.get(usize::from(*method) % methods.len().max(1)) {
                judge(house.call(service, method, Bytes::copy_from_slice(message)));
            }
            rest = next;
        }
    };
    match service {
        "memcache" | "user" | "capability_service" => house(testing, work),
        _ => lasting_house(testing, work),
    }
}

/// Calls of one method in the name of an app; what holds of every answer holds of these.
pub(crate) fn calls(service: &str, method: &str, messages: impl IntoIterator<Item = Vec<u8>>, testing: bool) -> Vec<Answer> {
    lasting_house(testing, |house| {
        let call = |message: Vec<u8>| {
            let answer = house.call(service, method, message.into());
            judge(answer.clone());
            answer
        };
        messages.into_iter().map(call).collect()
    })
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
    house.keep();
    work(&house);
    if !testing {
        house.look();
    }
}

/// Works in the house that has everything, and keeps things on the disk: one for all inputs, because it takes long to build; and one for those of tests.
fn lasting_house<T>(testing: bool, work: impl FnOnce(&House) -> T) -> T {
    static LASTING: LazyLock<Mutex<House>> = LazyLock::new(|| Mutex::new(lasting(false)));
    static TESTING: LazyLock<Mutex<House>> = LazyLock::new(|| Mutex::new(lasting(true)));
    let house = if testing { &TESTING } else { &LASTING };
    let house = house.lock().unwrap_or_else(PoisonError::into_inner);
    house.keep();
    let worked = work(&house);
    if testing {
        return worked;
    }
    house.look();
    let asked = tq::TaskQueueQueryTasksRequest { queue_name: "default".into(), max_rows: Some(10), ..Default::default() };
    let found = house.ask(&house.other, "taskqueue", "QueryTasks", asked.encode_to_vec().into()).expect("the other app is served");
    let found = tq::TaskQueueQueryTasksResponse::decode(found).expect("an answer");
    assert_eq!(found.task.first().map(tq::task_queue_query_tasks_response::Task::body), Some(SECRET), "another app's tasks were touched");
    worked
}

fn lasting(testing: bool) -> House {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let registry = registry(&folder(if testing { "testing" } else { "lasting" }), runtime.handle());
    let house = House { runtime, registry, own: Context { testing, ..context("mallory") }, other: context("alice") };
    let (queue, task) = (Bytes::from_static(b"default"), Bytes::from_static(b"kept"));
    let mut add = tq::TaskQueueAddRequest { queue_name: queue, task_name: task, eta_usec: 1, ..Default::default() };
    (add.url, add.body) = (Some("/work".into()), Some(Bytes::from_static(SECRET)));
    let bulk = tq::TaskQueueBulkAddRequest { add_request: vec![add] };
    house.ask(&house.other, "taskqueue", "BulkAdd", bulk.encode_to_vec().into()).expect("added");
    house
}

/// A folder of this process. Those of processes that have ended are removed.
pub(crate) fn folder(name: &str) -> PathBuf {
    const START: &str = "enginehouse-hostile-";
    let all = std::env::temp_dir();
    for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let ended = |id: &str| id.parse::<u32>().is_ok_and(|id| !PathBuf::from(format!("/proc/{id}")).exists());
        if name.to_str().and_then(|name| name.strip_prefix(START)).is_some_and(ended) {
            let _ = std::fs::remove_dir_all(path);
        }
    }
    let own = all.join(format!("{START}{}", std::process::id())).join(name);
    std::fs::create_dir_all(&own).expect("a folder");
    own
}

/// All services of a house, with nothing behind them: nothing is served, no name is found, no mail leaves.
pub(crate) fn registry(folder: &Path, runtime: &Handle) -> Registry {
    let folder = folder.to_owned();
    let outside = outside::around(["mallory", "alice", "shop", "neighbour"].map(|app| caller(app).version));
    let apps: services::taskqueue::Folder = Arc::new(move |app| folder.join(app.as_str()));
    let tasks = services::taskqueue::House::new(Arc::clone(&apps), Arc::new(Queues), Arc::clone(&outside), runtime.clone());
    let logs = Logs::new(Arc::new(|_, _| {}), Arc::clone(&apps), Arc::default());
    let fetching =
        urlfetch::Settings { allow: std::iter::empty().collect(), bundle: None, resolver: Box::new(Nowhere), runtime: runtime.clone() };
    let registry = Registry::default()
        .with(Arc::new(Memcache::new(1 << 20)))
        .with(Arc::new(Users::default()))
        .with(Arc::new(TaskQueue(tasks)))
        .with(Arc::new(Modules::new(Arc::clone(&outside), Style::default())))
        .with(Arc::new(System::new(Arc::clone(&outside))))
        .with(Arc::new(logs))
        .with(identity(&apps, &outside))
        .with(Arc::new(Mail::new(office(&apps, &outside, runtime))))
        .with(Arc::new(UrlFetch::new(fetching, outside)));
    let capabilities = Capabilities::new(registry.names());
    registry.with(Arc::new(capabilities))
}

fn identity(apps: &services::taskqueue::Folder, outside: &Arc<Outside>) -> Arc<Identity> {
    let settings = identity::Settings {
        folder: Arc::clone(apps),
        signer: Arc::new(|| Ok(AccessKey::new(&[7; 32]))),
        bucket_domain: "appspot.example".into(),
        bucket: None,
        account: None,
    };
    Arc::new(Identity::new(settings, Arc::clone(outside)))
}

fn office(apps: &services::taskqueue::Folder, outside: &Arc<Outside>, runtime: &Handle) -> Arc<Office> {
    let apps = Arc::clone(apps);
    let settings = office::Settings {
        folder: Box::new(move |app| apps(app)),
        relay: None,
        bundle: None,
        senders: Senders::Anyone,
        admins: Vec::new(),
        domains: vec!["mail.example".into()],
        listen: None,
        tls: None,
        notices: Box::new(|_, _, _| {}),
        show_body: false,
        runtime: runtime.clone(),
    };
    Office::new(settings, Arc::clone(outside))
}

/// Knows no name.
struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(&self, _: &str) -> Boxed<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Err(io::Error::other("there are no names here")) })
    }
}

/// Whether a fetch would leave this machine: nobody on the internet has asked for this test.
fn leaves(method: &str, message: &[u8]) -> bool {
    let public = |host: &str| host.parse::<IpAddr>().is_ok_and(|ip| wall::check(ip, &std::iter::empty().collect()).is_ok());
    if method == "SetHttpProxy" {
        return uf::SetHttpProxyRequest::decode(message).is_ok_and(|proxy| proxy.http_proxy_host != "127.0.0.1");
    }
    let Ok(asked) = uf::UrlFetchRequest::decode(message) else { return false };
    Address::read(asked.url()).is_ok_and(|address| public(address.bare_host()))
}

/// The queues of every app.
struct Queues;

impl QueueFile for Queues {
    fn read(&self, _: &AppId) -> FileQueues {
        FileQueues::default()
    }
    fn steer(&self, _: &AppId, _: &str, _: &Steer) -> Result<bool, String> {
        Ok(false)
    }
    fn apps(&self) -> Vec<AppId> {
        Vec::new()
    }
}

impl House {
    /// The other app keeps something.
    fn keep(&self) {
        let item = pb::set_request::Item { key: "k".into(), value: Bytes::from_static(SECRET), ..Default::default() };
        let set = pb::SetRequest { item: vec![item], ..Default::default() };
        self.ask(&self.other, "memcache", "Set", set.encode_to_vec().into()).expect("set");
    }

    /// It still has what it kept.
    fn look(&self) {
        let asked = pb::GetRequest { key: vec!["k".into()], ..Default::default() };
        let found = self.ask(&self.other, "memcache", "Get", asked.encode_to_vec().into()).expect("the other app is served");
        let found = pb::GetResponse::decode(found).expect("an answer");
        assert_eq!(found.item.first().map(|item| &item.value[..]), Some(SECRET), "another app's data were touched");
    }

    fn call(&self, service: &str, method: &str, message: Bytes) -> Answer {
        if service == "urlfetch" && leaves(method, &message) {
            return Err(Failure::Rpc(Code::Cancelled, "not from here".into()));
        }
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
    Context {
        caller: caller(app),
        visit: None,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_123),
        ticket: None,
        testing: false,
    }
}

/// An instance of `app`.
pub(crate) fn caller(app: &str) -> Caller {
    let key = VersionKey::new("default".parse().expect("valid"), "v1".parse().expect("valid")).expect("short");
    let mut config = VersionConfig::new(key, Runtime::parse("python312").expect("known"), Vec::new());
    config.app_engine_apis = true;
    config.scaling = Scaling::Manual(Manual { instances: 2 });
    let version = Version::new(app.parse().expect("an id"), config, "/nowhere".into(), 1);
    Caller { version: Arc::new(version), instance: InstanceId::Number(0), seat: Arc::default() }
}
