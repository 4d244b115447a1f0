//! What each service can be asked and which errors it knows, in one place: the registry passes on nothing else, hostile messages are sent to all of it, and
//! the table of error codes (docs/reference/error-codes.md) is checked against it.

use crate::proto;

/// A service as its callers know it.
#[derive(Debug, Clone, Copy)]
pub struct Card {
    /// Its name in calls.
    pub name: &'static str,
    /// What apps ask. New ones are added at the end: the fuzz targets' inputs choose by number.
    pub methods: &'static [&'static str],
    /// What only `--test-mode` has besides.
    pub hooks: &'static [&'static str],
    /// The name of one of its error codes.
    pub code: fn(i32) -> Option<&'static str>,
}

/// No service has a larger error code.
const LARGEST: i32 = 20_000;

macro_rules! codes {
    ($code:ty) => {
        |code| <$code>::try_from(code).ok().map(|code| code.as_str_name())
    };
}

impl Card {
    /// Whether there is such a method; `testing` for those that tests have besides.
    pub fn has(&self, method: &str, testing: bool) -> bool {
        self.methods.contains(&method) || (testing && self.hooks.contains(&method))
    }

    /// All methods, those of tests last.
    pub fn all(&self) -> impl Iterator<Item = &'static str> {
        self.methods.iter().chain(self.hooks).copied()
    }

    /// The error codes; 0 is none.
    pub fn codes(&self) -> impl Iterator<Item = (i32, &'static str)> {
        let name = self.code;
        (1..=LARGEST).filter_map(move |code| Some((code, name(code)?)))
    }
}

/// All services.
pub const ALL: [&Card; 10] = [&MEMCACHE, &USER, &CAPABILITY, &TASKQUEUE, &MODULES, &SYSTEM, &LOGSERVICE, &APP_IDENTITY, &MAIL, &URLFETCH];

pub(crate) static MEMCACHE: Card = Card {
    name: "memcache",
    methods: &["Get", "Set", "Delete", "Increment", "BatchIncrement", "FlushAll", "Stats"],
    hooks: &["SetClock", "AdvanceClock", "SetMaxSize", "GetLruChainLength"],
    code: codes!(proto::memcache::ErrorCode),
};

pub(crate) static USER: Card = Card {
    name: "user",
    methods: &["CreateLoginURL", "CreateLogoutURL", "GetOAuthUser"],
    hooks: &["SetOAuthUser"],
    code: codes!(proto::user::ErrorCode),
};

pub(crate) static CAPABILITY: Card =
    Card { name: "capability_service", methods: &["IsEnabled"], hooks: &["SetCapabilityStatus"], code: |_| None };

pub(crate) static TASKQUEUE: Card = Card {
    name: "taskqueue",
    methods: &[
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
    ],
    hooks: &[
        "GetFilteredTasks",
        "GetQueues",
        "FlushQueue",
        "DeleteTask",
        "SetTaskQueueClock",
        "GetQueueStateInfo",
        "SetUpStub",
        "LoadQueueXml",
        "PatchQueueYamlParser",
    ],
    code: codes!(proto::taskqueue::task_queue_service_error::ErrorCode),
};

pub(crate) static MODULES: Card = Card {
    name: "modules",
    methods: &[
        "GetModules",
        "GetVersions",
        "GetDefaultVersion",
        "GetNumInstances",
        "SetNumInstances",
        "StartModule",
        "StopModule",
        "GetHostname",
    ],
    hooks: &[],
    code: codes!(proto::modules::ErrorCode),
};

pub(crate) static SYSTEM: Card =
    Card { name: "system", methods: &["GetSystemStats", "StartBackgroundRequest"], hooks: &[], code: codes!(proto::system::ErrorCode) };

pub(crate) static LOGSERVICE: Card = Card {
    name: "logservice",
    methods: &["Flush", "SetStatus", "Read", "Usage"],
    hooks: &["StartRequestLog", "EndRequestLog", "AddRequestInfo", "AddAppLogLine"],
    code: codes!(proto::logservice::ErrorCode),
};

pub(crate) static APP_IDENTITY: Card = Card {
    name: "app_identity_service",
    methods: &["SignForApp", "GetPublicCertificatesForApp", "GetServiceAccountName", "GetDefaultGcsBucketName", "GetAccessToken"],
    hooks: &["SetDefaultGcsBucketName"],
    code: codes!(proto::app_identity::ErrorCode),
};

pub(crate) static MAIL: Card = Card {
    name: "mail",
    methods: &["Send", "SendToAdmins"],
    hooks: &["GetSentMessages", "ClearSentMessages", "GetLogMailBody", "SetLogMailBody", "GetLogMailLevel", "SetLogMailLevel"],
    code: codes!(proto::mail::ErrorCode),
};

pub(crate) static URLFETCH: Card =
    Card { name: "urlfetch", methods: &["Fetch"], hooks: &["SetHttpProxy"], code: codes!(proto::urlfetch::ErrorCode) };
