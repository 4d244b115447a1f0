//! A good message for each method of each service: what hostile ones are made of.

use bytes::Bytes;
use prost::Message;
use services::proto::taskqueue as tq;
use services::proto::{app_identity, capability, logservice, mail, memcache as mc, modules, system, urlfetch as uf, user};

/// The message, with something in every field that matters.
///
/// # Panics
/// If there is none: a new method needs one.
pub(crate) fn sample(service: &str, method: &str) -> Vec<u8> {
    let found = match service {
        "memcache" => memcache(method),
        "taskqueue" => taskqueue(method).or_else(|| queues(method)),
        "logservice" => logs(method),
        "modules" => module(method),
        "mail" => mails(method),
        "app_identity_service" => identity(method),
        _ => others(service, method),
    };
    found.unwrap_or_else(|| panic!("{service}.{method} has no good message in tests/hostile/samples.rs"))
}

#[allow(clippy::unnecessary_wraps, reason = "it stands among those that find nothing")]
fn some(message: &impl Message) -> Option<Vec<u8>> {
    Some(message.encode_to_vec())
}

/// Nothing is asked besides.
#[allow(clippy::unnecessary_wraps, reason = "as above")]
fn empty() -> Option<Vec<u8>> {
    Some(Vec::new())
}

fn memcache(method: &str) -> Option<Vec<u8>> {
    let own = || Some(mc::AppOverride { app_id: "mallory".into() });
    let count = || mc::IncrementRequest { key: "n".into(), delta: Some(2), initial_value: Some(5), ..Default::default() };
    match method {
        "Get" => some(&mc::GetRequest { key: vec!["a".into(), "b".into()], for_cas: Some(true), r#override: own(), ..Default::default() }),
        "Set" => {
            let item = mc::set_request::Item {
                key: "a".into(),
                value: "1".into(),
                flags: Some(3),
                expiration_time: Some(9),
                ..Default::default()
            };
            some(&mc::SetRequest { item: vec![item.clone(), item], name_space: Some("other".into()), ..Default::default() })
        }
        "Delete" => {
            let item = mc::delete_request::Item { key: "a".into(), delete_time: Some(7) };
            some(&mc::DeleteRequest { item: vec![item], r#override: own(), ..Default::default() })
        }
        "Increment" => some(&count()),
        "BatchIncrement" => some(&mc::BatchIncrementRequest { item: vec![count(), count()], r#override: own(), ..Default::default() }),
        "FlushAll" => some(&mc::FlushRequest { r#override: own() }),
        "Stats" => some(&mc::StatsRequest { r#override: own(), ..Default::default() }),
        "SetClock" => some(&mc::SetClockRequest { clock_time_milliseconds: 1 << 40 }),
        "AdvanceClock" => some(&mc::AdvanceClockRequest { milliseconds: 1000 }),
        "SetMaxSize" => some(&mc::SetMaxSizeRequest { max_size_bytes: 100 }),
        "GetLruChainLength" => empty(),
        _ => None,
    }
}

fn taskqueue(method: &str) -> Option<Vec<u8>> {
    let (queue_name, task_name) = (Bytes::from_static(b"default"), Bytes::from_static(b"t"));
    match method {
        "Add" => some(&task("one")),
        "BulkAdd" => some(&tq::TaskQueueBulkAddRequest { add_request: vec![task("two"), task("three")] }),
        "Delete" | "DeleteTask" => some(&tq::TaskQueueDeleteRequest { queue_name, task_name: vec![task_name], ..Default::default() }),
        "ForceRun" => some(&tq::TaskQueueForceRunRequest { queue_name, task_name, ..Default::default() }),
        "QueryTasks" => {
            let (start_tag, max_rows) = (Some(Bytes::from_static(b"tag")), Some(5));
            some(&tq::TaskQueueQueryTasksRequest {
                queue_name,
                start_task_name: Some(task_name),
                start_tag,
                max_rows,
                ..Default::default()
            })
        }
        "FetchTask" => some(&tq::TaskQueueFetchTaskRequest { queue_name, task_name, ..Default::default() }),
        "QueryAndOwnTasks" => {
            some(&tq::TaskQueueQueryAndOwnTasksRequest { queue_name, lease_seconds: 60.0, max_tasks: 9, ..Default::default() })
        }
        "ModifyTaskLease" => some(&tq::TaskQueueModifyTaskLeaseRequest { queue_name, task_name, eta_usec: 1, lease_seconds: 1.0 }),
        "GetFilteredTasks" => some(&tq::GetFilteredTasksRequest { queue_names: vec!["default".into()], ..Default::default() }),
        "FlushQueue" => some(&tq::FlushQueueRequest { queue_name }),
        _ => None,
    }
}

fn queues(method: &str) -> Option<Vec<u8>> {
    let (app_id, queue_name) = (Bytes::from_static(b"s~mallory"), Bytes::from_static(b"default"));
    match method {
        "FetchQueues" => some(&tq::TaskQueueFetchQueuesRequest { max_rows: 9, ..Default::default() }),
        "FetchQueueStats" => some(&tq::TaskQueueFetchQueueStatsRequest { queue_name: vec![queue_name], ..Default::default() }),
        "UpdateQueue" => {
            let retry_parameters =
                Some(tq::TaskQueueRetryParameters { retry_limit: Some(3), age_limit_sec: Some(60), ..Default::default() });
            let queue_name = Bytes::from_static(b"made");
            some(&tq::TaskQueueUpdateQueueRequest {
                queue_name,
                bucket_refill_per_second: 1.5,
                bucket_capacity: 5,
                retry_parameters,
                ..Default::default()
            })
        }
        "PauseQueue" => some(&tq::TaskQueuePauseQueueRequest { app_id, queue_name, pause: false }),
        "PurgeQueue" => some(&tq::TaskQueuePurgeQueueRequest { queue_name, ..Default::default() }),
        "DeleteQueue" => some(&tq::TaskQueueDeleteQueueRequest { app_id, queue_name: "gone".into() }),
        "DeleteGroup" => some(&tq::TaskQueueDeleteGroupRequest { app_id: "s~other".into() }),
        "UpdateStorageLimit" => some(&tq::TaskQueueUpdateStorageLimitRequest { app_id, limit: 1 << 40 }),
        "GetQueues" | "GetQueueStateInfo" | "LoadQueueXml" | "PatchQueueYamlParser" => empty(),
        "SetTaskQueueClock" => some(&tq::SetTaskQueueClockRequest { clock_time_milliseconds: 1 << 40 }),
        "SetUpStub" => some(&tq::SetUpStubRequest { auto_task_running: Some(false), ..Default::default() }),
        _ => None,
    }
}

fn task(name: &'static str) -> tq::TaskQueueAddRequest {
    let header = tq::task_queue_add_request::Header { key: "X-Own".into(), value: "yes".into() };
    tq::TaskQueueAddRequest {
        queue_name: "default".into(),
        task_name: name.into(),
        eta_usec: 1_800_000_000_000_000,
        url: Some("/work?a=b".into()),
        header: vec![header],
        body: Some("body".into()),
        retry_parameters: Some(tq::TaskQueueRetryParameters::default()),
        ..Default::default()
    }
}

fn logs(method: &str) -> Option<Vec<u8>> {
    match method {
        "Flush" => {
            let line = logservice::UserAppLogLine { timestamp_usec: 1 << 50, level: 3, message: "a line".into(), ..Default::default() };
            let group = logservice::UserAppLogGroup { log_line: vec![line] };
            some(&logservice::FlushRequest { logs: Some(group.encode_to_vec().into()) })
        }
        "SetStatus" => some(&logservice::SetStatusRequest { status: "well".into() }),
        "Read" => some(&logservice::LogReadRequest {
            app_id: "mallory".into(),
            version_id: vec!["v1".into()],
            count: Some(3),
            minimum_log_level: Some(1),
            include_incomplete: Some(true),
            ..Default::default()
        }),
        "Usage" => empty(),
        "StartRequestLog" => {
            let (request_id, start_time) = ("aa".into(), Some(1 << 50));
            some(&logservice::StartRequestLogRequest { request_id, start_time, method: Some("GET".into()), ..Default::default() })
        }
        "EndRequestLog" => some(&logservice::EndRequestLogRequest { request_id: "aa".into(), status: 200, response_size: Some(7) }),
        "AddRequestInfo" => some(&logservice::AddRequestInfoRequest { request_log: None }),
        "AddAppLogLine" => some(&logservice::AddAppLogLineRequest { log_line: None, request_id: Some("aa".into()) }),
        _ => None,
    }
}

fn module(method: &str) -> Option<Vec<u8>> {
    let (module, version) = (Some("default".to_owned()), Some("v1".to_owned()));
    match method {
        "GetModules" => empty(),
        "GetVersions" => some(&modules::GetVersionsRequest { module }),
        "GetDefaultVersion" => some(&modules::GetDefaultVersionRequest { module }),
        "GetNumInstances" => some(&modules::GetNumInstancesRequest { module, version }),
        "SetNumInstances" => some(&modules::SetNumInstancesRequest { module, version, instances: 2 }),
        "StartModule" => some(&modules::StartModuleRequest { module: "default".into(), version: "v1".into() }),
        "StopModule" => some(&modules::StopModuleRequest { module, version }),
        "GetHostname" => some(&modules::GetHostnameRequest { module, version, instance: Some("0".into()) }),
        _ => None,
    }
}

fn mails(method: &str) -> Option<Vec<u8>> {
    match method {
        "Send" | "SendToAdmins" => {
            let part = mail::MailAttachment { file_name: Some("a.png".into()), data: Some("png".into()), content_id: Some("<a>".into()) };
            let header = mail::MailHeader { name: Some("References".into()), value: Some("<a@b>".into()) };
            some(&mail::MailMessage {
                sender: Some("Me <me@example.com>".into()),
                to: vec!["you@example.com, \"A, B\" <ab@example.com>".into()],
                subject: Some("Gr\u{fc}\u{df}e".into()),
                text_body: Some("text".into()),
                html_body: Some("<b>text</b>".into()),
                attachment: vec![part],
                header: vec![header],
                ..Default::default()
            })
        }
        "GetSentMessages" | "ClearSentMessages" | "GetLogMailBody" | "GetLogMailLevel" => empty(),
        "SetLogMailBody" => some(&mail::LogMailBody { log_mail_body: true }),
        "SetLogMailLevel" => some(&mail::LogMailLevel { log_mail_level: "INFO".into() }),
        _ => None,
    }
}

fn identity(method: &str) -> Option<Vec<u8>> {
    match method {
        "SignForApp" => some(&app_identity::SignForAppRequest { bytes_to_sign: Some("blob".into()) }),
        "GetPublicCertificatesForApp" | "GetServiceAccountName" | "GetDefaultGcsBucketName" => empty(),
        "SetDefaultGcsBucketName" => some(&app_identity::SetDefaultGcsBucketNameRequest { default_gcs_bucket_name: Some("bucket".into()) }),
        "GetAccessToken" => some(&app_identity::GetAccessTokenRequest {
            scope: vec!["https://www.googleapis.com/auth/cloud-platform".into()],
            ..Default::default()
        }),
        _ => None,
    }
}

fn others(service: &str, method: &str) -> Option<Vec<u8>> {
    match (service, method) {
        ("user", "CreateLoginURL") => some(&user::CreateLoginUrlRequest { destination_url: "/a?b=c".into(), ..Default::default() }),
        ("user", "CreateLogoutURL") => some(&user::CreateLogoutUrlRequest { destination_url: "/a".into(), ..Default::default() }),
        ("user", "GetOAuthUser") => some(&user::GetOAuthUserRequest { scope: Some("email".into()), ..Default::default() }),
        ("user", "SetOAuthUser") => some(&user::SetOAuthUserRequest { email: Some("a@b.example".into()), ..Default::default() }),
        ("capability_service", "IsEnabled") => {
            some(&capability::IsEnabledRequest { package: "mail".into(), capability: vec!["*".into()], call: vec!["Send".into()] })
        }
        ("capability_service", "SetCapabilityStatus") => {
            some(&capability::SetCapabilityStatusRequest { service_name: "mail".into(), call: "*".into(), status: 3 })
        }
        ("system", "GetSystemStats") => some(&system::GetSystemStatsRequest {}),
        ("system", "StartBackgroundRequest") => some(&system::StartBackgroundRequestRequest {}),
        ("urlfetch", "SetHttpProxy") => some(&uf::SetHttpProxyRequest { http_proxy_host: "127.0.0.1".into(), http_proxy_port: 1 }),
        ("urlfetch", "Fetch") => {
            let header = uf::url_fetch_request::Header { key: Some("X-Own".into()), value: Some("yes".into()) };
            some(&uf::UrlFetchRequest {
                method: Some(2),
                url: Some("http://user.example:8080/a?b=c#d".into()),
                header: vec![header],
                payload: Some("body".into()),
                deadline: Some(2.5),
                ..Default::default()
            })
        }
        _ => None,
    }
}
