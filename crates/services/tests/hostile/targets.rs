//! What is done with hostile bytes: each target takes any bytes, makes calls of them in the name of one app, and panics if a promise is broken. The fuzz
//! targets of `fuzz/` and the tests of this crate run the same functions.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use model::config::VersionConfig;
use model::ids::{AppId, InstanceId, VersionKey};
use model::route::host::Style;
use model::runtime::Runtime;
use model::table::Version;
use prost::Message;
use services::call::{Answer, Caller, Context, Failure, envelope as wrap, read};
use services::capability::Capabilities;
use services::logservice::Logs;
use services::memcache::Memcache;
use services::modules::Modules;
use services::outside::Outside;
use services::proto::{memcache as pb, remote_api, taskqueue as tq};
use services::registry::Registry;
use services::system::System;
use services::taskqueue::{FileQueues, QueueFile, Steer, TaskQueue};
use services::user::Users;

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
];

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
    ("capability_service", &["IsEnabled", "SetCapabilityStatus"]),
    (
        "taskqueue",
        &[
            "Add",
            "BulkAdd",
            "FetchQueues",
            "FetchQueueStats",
            "Delete",
            "ForceRun",
            "UpdateQueue",
            "PauseQueue",
            "PurgeQueue",
            "DeleteQueue",
            "DeleteGroup",
            "QueryTasks",
            "FetchTask",
            "QueryAndOwnTasks",
            "ModifyTaskLease",
            "UpdateStorageLimit",
            "GetFilteredTasks",
            "GetQueues",
            "FlushQueue",
            "DeleteTask",
        ],
    ),
    (
        "modules",
        &[
            "GetModules",
            "GetVersions",
            "GetDefaultVersion",
            "GetNumInstances",
            "SetNumInstances",
            "StartModule",
            "StopModule",
            "GetHostname",
        ],
    ),
    ("system", &["GetSystemStats", "StartBackgroundRequest"]),
    ("logservice", &["Flush", "SetStatus", "Read", "Usage"]),
];

/// Nobody but the app that it belongs to may see this.
const SECRET: &[u8] = b"the secret of another app";

/// The body of a request: the envelope and all that is in it.
pub(crate) fn envelope(bytes: &[u8]) {
    house(false, &|house| {
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

/// taskqueue.
pub(crate) fn taskqueue(bytes: &[u8]) {
    messages("taskqueue", bytes, false);
}

/// modules.
pub(crate) fn modules(bytes: &[u8]) {
    messages("modules", bytes, false);
}

/// system.
pub(crate) fn system(bytes: &[u8]) {
    messages("system", bytes, false);
}

/// logservice.
pub(crate) fn logservice(bytes: &[u8]) {
    messages("logservice", bytes, false);
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
    let lasting = matches!(service, "taskqueue" | "modules" | "system" | "logservice");
    let visit = if lasting { lasting_house } else { house };
    visit(testing, &|house| {
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
fn house(testing: bool, work: &dyn Fn(&House)) {
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

/// Works in the house that keeps things on the disk: one for all inputs, because it takes long to build.
fn lasting_house(_: bool, work: &dyn Fn(&House)) {
    static LASTING: LazyLock<House> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = std::env::temp_dir().join(format!("enginehouse-hostile-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let outside = Arc::new(Outside::default());
        let kept = folder.clone();
        let apps: services::taskqueue::Folder = Arc::new(move |app| kept.join(app.as_str()));
        let tasks = services::taskqueue::House::new(Arc::clone(&apps), Arc::new(Queues), Arc::clone(&outside), runtime.handle().clone());
        let registry = Registry::default()
            .with(Arc::new(TaskQueue(tasks)))
            .with(Arc::new(Modules::new(Arc::clone(&outside), Style::default())))
            .with(Arc::new(System::new(outside)))
            .with(Arc::new(Logs::new(Arc::new(|_, _| {}), Arc::new(move |app| folder.join(app.as_str())), Arc::default())));
        let house = House { runtime, registry, own: context("mallory"), other: context("alice") };
        let (queue, task) = (Bytes::from_static(b"default"), Bytes::from_static(b"kept"));
        let mut add = tq::TaskQueueAddRequest { queue_name: queue, task_name: task, eta_usec: 1, ..Default::default() };
        (add.url, add.body) = (Some("/work".into()), Some(Bytes::from_static(SECRET)));
        let bulk = tq::TaskQueueBulkAddRequest { add_request: vec![add] };
        house.ask(&house.other, "taskqueue", "BulkAdd", bulk.encode_to_vec().into()).expect("added");
        house
    });
    work(&LASTING);
    let asked = tq::TaskQueueQueryTasksRequest { queue_name: "default".into(), max_rows: Some(10), ..Default::default() };
    let found = LASTING.ask(&LASTING.other, "taskqueue", "QueryTasks", asked.encode_to_vec().into()).expect("the other app is served");
    let found = tq::TaskQueueQueryTasksResponse::decode(found).expect("an answer");
    assert_eq!(found.task.first().map(tq::task_queue_query_tasks_response::Task::body), Some(SECRET), "another app's tasks were touched");
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
