//! Our reading against the SDK's, case by case: `conformance/config_cases.json` holds 229 snippets with the verdict and the parse of SDK 1.9.88.
//! Used by the tests here and by `cargo xtask conformance`.

use std::collections::BTreeMap;
use std::time::Duration;

use appyaml::parse::{self, Parsed};
use model::config::{ErrorCode, SkipFiles, VersionConfig};
use model::cron::{CronJob, Schedule};
use model::dispatch::DispatchRule;
use model::handler::{Handler, HandlerKind, Script, StaticSource};
use model::queue::{QueueMode, Queues};
use model::scaling::Scaling;
use model::time::Expiration;
use serde_json::Value;

/// Where we differ from the SDK on purpose: the name of the case, and the row or document that asks for it.
pub(crate) const EXCEPTIONS: &[(&str, &str)] = &[
    ("no api_version", "Y4: `api_version` is required for python27"),
    ("api_version number", "Y4: `1` is the only version; `1.0` is another text"),
    ("handler url broken regex", "Y2, Y12: the SDK fails at the first request, we say so when the file is read"),
    ("http_headers allowed odd names", "the record read the header value `y` back as a boolean; the SDK itself sends `y`, and so do we"),
    ("env_variables GAE prefix", "Y9: names that begin with GAE are refused"),
    ("automatic_scaling max_instances=2147483648", "Y29: at most 2147483647"),
    ("automatic_scaling max_concurrent_requests=81", "Y29: at most 80"),
    ("automatic_scaling target_cpu_utilization=0.1", "Y29: 0.5 to 0.95"),
    ("automatic_scaling target_cpu_utilization=2", "Y29: 0.5 to 0.95"),
    (
        "service name aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "Y24: service and version have 63 characters together, and every version has a name",
    ),
    ("version 'default'", "Y27: `default` is reserved"),
    ("scalar document", "Y1: the SDK reads it as an empty configuration without a word"),
    ("list document", "Y1: the SDK reads it as an empty configuration without a word"),
    ("3w", "Y8: the SDK's own check of files refuses this period (case `expiration bad unit`); only its bare function reads 3"),
];

/// The cases.
pub(crate) fn cases() -> Vec<Value> {
    let text = include_str!("../../../../conformance/config_cases.json");
    serde_json::from_str(text).expect("the file of cases is JSON")
}

/// The exception for a case, if there is one.
pub(crate) fn exception(name: &str) -> Option<&'static str> {
    EXCEPTIONS.iter().find(|(other, _)| *other == name).map(|(_, why)| *why)
}

/// Compares one case; the text says how we differ.
pub(crate) fn compare(case: &Value) -> Result<(), String> {
    let input = &case["input"];
    let text = input.as_str().unwrap_or_default();
    let expected = &case["expected"];
    match case["kind"].as_str().unwrap_or_default() {
        "app_yaml" => {
            let empty = |name: &Value| Some((name.as_str()?.to_owned(), String::new()));
            let includes = expected["parsed"]["includes"].as_array().into_iter().flatten().filter_map(empty).collect();
            judged(parse::app_yaml("app.yaml", text, &includes), expected, app)
        }
        "includes" => {
            let files: BTreeMap<String, String> = strings(input);
            judged(parse::app_yaml("app.yaml", &files["app.yaml"], &files), expected, merged)
        }
        "parse_expiration" => {
            let ours = Expiration::parse(text).ok().map(|expiration| expiration.0);
            same("seconds", ours, expected["parsed"]["seconds"].as_u64())
        }
        "dispatch_yaml" => judged(parse::dispatch_yaml("dispatch.yaml", text), expected, |ours, theirs| dispatch(ours, theirs)),
        "queue_yaml" => judged(parse::queue_yaml("queue.yaml", text), expected, queues),
        "cron_yaml" => judged(parse::cron_yaml("cron.yaml", text), expected, |ours, theirs| cron(ours, theirs)),
        "cron_schedule" => schedule(input, expected),
        other => Err(format!("cases of kind {other} are not known")),
    }
}

fn judged<T>(parsed: Parsed<T>, expected: &Value, compare: impl FnOnce(&T, &Value) -> Result<(), String>) -> Result<(), String> {
    let errors: Vec<String> = parsed.diagnostics.iter().filter(|d| d.is_error()).map(|d| format!("{} {}", d.code.id, d.message)).collect();
    match (expected["ok"].as_bool().unwrap_or_default(), errors.is_empty()) {
        (true, false) => Err(format!("the SDK accepts it, we say: {}", errors.join("; "))),
        (false, true) => {
            Err(format!("the SDK refuses it: {}", expected["error"].as_str().unwrap_or_default().lines().next().unwrap_or_default()))
        }
        (false, false) => Ok(()),
        (true, true) => compare(&parsed.value.ok_or("no value")?, &expected["parsed"]),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "reads better at its many calls")]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, theirs: T) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{what}: {ours:?}, the SDK has {theirs:?}")) }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Everything that the SDK parsed is there, and nothing that it did not.
fn app(ours: &VersionConfig, theirs: &Value) -> Result<(), String> {
    const COMPARED: [&str; 24] = [
        "runtime",
        "api_version",
        "threadsafe",
        "application",
        "service",
        "version",
        "handlers",
        "env_variables",
        "default_expiration",
        "error_handlers",
        "instance_class",
        "libraries",
        "automatic_scaling",
        "basic_scaling",
        "manual_scaling",
        "auto_id_policy",
        "vpc_access_connector",
        "main",
        "skip_files",
        "builtins",
        // Accepted, with nothing to hold them.
        "includes",
        "admin_console",
        "inbound_services",
        "module",
    ];
    if let Some(key) = theirs.as_object().into_iter().flatten().map(|(key, _)| key).find(|key| !COMPARED.contains(&key.as_str())) {
        return Err(format!("the SDK has `{key}`, which is not compared"));
    }
    let or = |key: &str, default: &str| theirs.get(key).map_or(default.to_owned(), text);
    same("runtime", ours.runtime.as_str().to_owned(), or("runtime", ""))?;
    same("threadsafe", ours.threadsafe, theirs["threadsafe"].as_bool().unwrap_or_default())?;
    same("application", ours.application.as_ref().map(ToString::to_string), theirs.get("application").map(text))?;
    same("service", ours.key.service.to_string(), or("service", "default"))?;
    same("version", ours.key.version.to_string(), or("version", "dev"))?;
    same("env_variables", ours.env.clone(), strings(&theirs["env_variables"]))?;
    let expiration = theirs.get("default_expiration").map_or(Ok(Expiration::DEFAULT), |value| Expiration::parse(&text(value)));
    same("default_expiration", ours.default_expiration, expiration?)?;
    same("instance_class", ours.class.name().to_owned(), or("instance_class", if is_automatic(ours) { "F1" } else { "B2" }))?;
    same("auto_id_policy", format!("{:?}", ours.auto_id_policy).to_lowercase(), or("auto_id_policy", "default"))?;
    same("main", ours.main.clone(), theirs.get("main").map(text))?;
    same("vpc", ours.vpc_connector.clone(), theirs["vpc_access_connector"].get("name").map(text))?;
    skip_files(&ours.skip_files, theirs["skip_files"].as_str())?;
    handlers(&own_handlers(ours), list(&theirs["handlers"]))?;
    error_pages(ours, list(&theirs["error_handlers"]))?;
    for library in list(&theirs["libraries"]) {
        let (name, version) = (text(&library["name"]), text(&library["version"]));
        same("libraries", ours.libraries.iter().find(|ours| ours.name == name).map(|ours| ours.version.clone()), Some(version))?;
    }
    scaling(&ours.scaling, theirs)
}

/// Without what builtins add: the SDK's parse of one file comes before merging.
fn own_handlers(ours: &VersionConfig) -> Vec<&Handler> {
    ours.handlers.iter().filter(|handler| !handler.written.starts_with("/_ah/")).collect()
}

fn is_automatic(ours: &VersionConfig) -> bool {
    matches!(ours.scaling, Scaling::Automatic(_))
}

fn skip_files(ours: &SkipFiles, theirs: Option<&str>) -> Result<(), String> {
    const SDK_DEFAULT: &str = r"^(.*/)?((#.*#)|(.*~)|(.*\.py[co])|(.*/RCS/.*)|(\..*)|)$";
    let ours: Vec<&str> = ours.0.iter().map(model::pattern::Pattern::source).collect();
    let Some(theirs) = theirs else { return same("skip_files", ours, SkipFiles::DEFAULTS.to_vec()) };
    match theirs.strip_prefix(SDK_DEFAULT) {
        Some("") => same("skip_files", ours, SkipFiles::DEFAULTS.to_vec()),
        Some(added) => same("skip_files", ours, [&SkipFiles::DEFAULTS[..], &[added.trim_start_matches('|')]].concat()),
        None => same("skip_files", ours.join("|"), theirs.to_owned()),
    }
}

fn kind(handler: &Handler) -> (&'static str, String) {
    match &handler.kind {
        HandlerKind::Script(Script::Auto) => ("script", "auto".into()),
        HandlerKind::Script(Script::Nothing) => ("script", String::new()),
        HandlerKind::Script(Script::Wsgi(script) | Script::Cgi(script)) => ("script", script.source().into()),
        HandlerKind::Static(files) => match &files.source {
            StaticSource::Dir(dir) => ("static_dir", dir.clone()),
            StaticSource::Files { path, .. } => ("static_files", path.source().into()),
        },
    }
}

fn word(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

fn handlers(ours: &[&Handler], theirs: &[Value]) -> Result<(), String> {
    same("number of handlers", ours.len(), theirs.len())?;
    for (ours, theirs) in ours.iter().zip(theirs) {
        let (key, value) = kind(ours);
        same("url", ours.written.clone(), text(&theirs["url"]))?;
        same(key, Some(value), theirs.get(key).map(text))?;
        let or = |key: &str, default: &str| theirs.get(key).map_or(default.to_owned(), text);
        same("secure", word(ours.secure), or("secure", "optional"))?;
        same("login", word(ours.login), or("login", "optional"))?;
        same("auth_fail_action", word(ours.auth_fail), or("auth_fail_action", "redirect"))?;
        same("redirect", ours.redirect.status().as_u16().to_string(), or("redirect_http_response_code", "302"))?;
        if let HandlerKind::Static(files) = &ours.kind {
            let headers: BTreeMap<String, String> =
                files.http_headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
            let theirs_headers = strings(&theirs["http_headers"]).into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
            same("http_headers", headers, theirs_headers)?;
            same("mime_type", files.mime_type.clone(), theirs.get("mime_type").map(text))?;
            let expiration = theirs.get("expiration").map(|value| Expiration::parse(&text(value))).transpose()?;
            same("expiration", files.expiration, expiration)?;
        }
    }
    Ok(())
}

fn error_pages(ours: &VersionConfig, theirs: &[Value]) -> Result<(), String> {
    for page in theirs {
        let code = match page["error_code"].as_str() {
            Some("over_quota") => ErrorCode::OverQuota,
            Some("dos_api_denial") => ErrorCode::DosApiDenial,
            Some("timeout") => ErrorCode::Timeout,
            _ => ErrorCode::Default,
        };
        // Two pages for one error: the first counts, the second is warned about.
        let first = theirs
            .iter()
            .find(|other| text(&other["error_code"]).replace("default", "") == text(&page["error_code"]).replace("default", ""));
        let ours = ours.error_pages.iter().find(|ours| ours.code == code).map(|ours| (ours.file.clone(), ours.mime_type.clone()));
        same("error_handlers", ours, first.map(|page| (text(&page["file"]), page.get("mime_type").map(text))))?;
    }
    Ok(())
}

fn scaling(ours: &Scaling, theirs: &Value) -> Result<(), String> {
    let number = |value: &Value| text(value).parse::<f64>().ok();
    match ours {
        Scaling::Manual(manual) => same("instances", Some(f64::from(manual.instances)), number(&theirs["manual_scaling"]["instances"])),
        Scaling::Basic(basic) => {
            same("max_instances", Some(f64::from(basic.max_instances)), number(&theirs["basic_scaling"]["max_instances"]))
        }
        Scaling::Automatic(automatic) => {
            let theirs = &theirs["automatic_scaling"];
            let max = theirs.get("max_instances").and_then(number).filter(|max| *max > 0.0);
            same("max_instances", automatic.max_instances.map(f64::from), max)?;
            same("min_instances", f64::from(automatic.min_instances), theirs.get("min_instances").and_then(number).unwrap_or(0.0))?;
            let latency = |key: &str| {
                let text = theirs.get(key).map(text)?;
                if let Some(millis) = text.strip_suffix("ms") {
                    return millis.parse().ok().map(Duration::from_millis);
                }
                text.strip_suffix('s')?.parse().ok().map(Duration::from_secs_f64)
            };
            same("min_pending_latency", automatic.min_pending_latency, latency("min_pending_latency"))
        }
    }
}

/// The merged handlers as `[url, kind, value, login]`, variables and skipped files.
fn merged(ours: &VersionConfig, theirs: &Value) -> Result<(), String> {
    let row = |handler: &Handler| {
        let (key, value) = kind(handler);
        vec![handler.written.clone(), key.to_owned(), value, word(handler.login)]
    };
    let theirs_rows: Vec<Vec<String>> = list(&theirs["handlers"]).iter().map(|row| list(row).iter().map(text).collect()).collect();
    same("handlers", ours.handlers.iter().map(row).collect(), theirs_rows)?;
    same("env_variables", ours.env.clone(), strings(&theirs["env_variables"]))?;
    skip_files(&ours.skip_files, theirs["skip_files"].as_str())
}

fn dispatch(ours: &[DispatchRule], theirs: &Value) -> Result<(), String> {
    let ours = ours.iter().map(|rule| (rule.written.clone(), rule.service.to_string())).collect::<Vec<_>>();
    let service = |rule: &Value| rule.get("service").or_else(|| rule.get("module")).map(text).unwrap_or_default();
    same("dispatch", ours, list(&theirs["dispatch"]).iter().map(|rule| (text(&rule["url"]), service(rule))).collect())
}

fn queues(ours: &Queues, theirs: &Value) -> Result<(), String> {
    let limit = |text: &str| text.strip_suffix('M')?.parse::<u64>().ok().map(|n| n << 20);
    same("total_storage_limit", ours.total_storage_limit, theirs["total_storage_limit"].as_str().and_then(limit))?;
    for queue in list(&theirs["queue"]) {
        let name = text(&queue["name"]);
        let ours = ours.queues.iter().find(|ours| ours.name == name).ok_or_else(|| format!("no queue {name}"))?;
        let QueueMode::Push { per_second, .. } = ours.mode else { return Err("a pull queue".into()) };
        let rate = text(&queue["rate"]);
        let (number, unit) = rate.split_once('/').unwrap_or((&rate, "s"));
        let seconds = if unit == "d" { 86_400.0 } else { 1.0 };
        same("rate", per_second, number.parse::<f64>().unwrap_or_default() / seconds)?;
        same("target", ours.target.clone(), queue.get("target").map(text))?;
        let acl: Vec<String> = ours.acl.iter().map(|access| access.email.clone()).collect();
        let theirs_acl =
            list(&queue["acl"]).iter().filter_map(|item| item.get("user_email").or_else(|| item.get("writer_email")).map(text));
        same("acl", acl, theirs_acl.collect())?;
        let retry = &queue["retry_parameters"];
        if retry.is_object() {
            same("task_retry_limit", ours.retry.limit.map(u64::from), retry["task_retry_limit"].as_u64())?;
            same("max_doublings", Some(u64::from(ours.retry.max_doublings)), retry["max_doublings"].as_u64())?;
            same("min_backoff_seconds", Some(ours.retry.min_backoff.as_secs_f64()), retry["min_backoff_seconds"].as_f64())?;
            same("max_backoff_seconds", Some(ours.retry.max_backoff.as_secs_f64()), retry["max_backoff_seconds"].as_f64())?;
            let days =
                text(&retry["task_age_limit"]).trim_end_matches('d').parse::<u64>().ok().map(|days| Duration::from_secs(days * 86_400));
            same("task_age_limit", ours.retry.age_limit, days)?;
        }
    }
    Ok(())
}

fn cron(ours: &[CronJob], theirs: &Value) -> Result<(), String> {
    let theirs = list(&theirs["cron"]);
    same("number of jobs", ours.len(), theirs.len())?;
    for (ours, theirs) in ours.iter().zip(theirs) {
        same("url", ours.url.clone(), text(&theirs["url"]))?;
        same("description", ours.description.clone(), text(&theirs["description"]))?;
        same("timezone", ours.timezone.clone(), theirs.get("timezone").map_or("UTC".to_owned(), text))?;
        same("target", ours.target.clone(), theirs.get("target").map(|target| text(target).replace(':', ".")))?;
        same("schedule", Ok(ours.schedule.clone()), Schedule::parse(&text(&theirs["schedule"])))?;
        if let Some(retry) = theirs.get("retry_parameters") {
            let ours = ours.retry.as_ref().ok_or("no retry parameters")?;
            same("job_retry_limit", ours.limit.map(u64::from), retry["job_retry_limit"].as_u64())?;
            same("min_backoff_seconds", Some(ours.min_backoff.as_secs_f64()), retry["min_backoff_seconds"].as_f64())?;
            same("max_doublings", Some(u64::from(ours.max_doublings)), retry["max_doublings"].as_u64())?;
        }
    }
    Ok(())
}

/// The next runs of a schedule, through a whole cron.yaml.
fn schedule(input: &Value, expected: &Value) -> Result<(), String> {
    let zone = input["timezone"].as_str().map_or(String::new(), |zone| format!("  timezone: {zone}\n"));
    let file = format!("cron:\n- url: /t\n  schedule: {}\n{zone}", text(&input["schedule"]));
    judged(parse::cron_yaml("cron.yaml", &file), expected, |jobs, theirs| {
        let job = jobs.first().ok_or("no job")?;
        let zone = jiff::tz::TimeZone::get(&job.timezone).map_err(|error| error.to_string())?;
        let mut at: jiff::Timestamp = format!("{}Z", text(&input["after"])).parse().map_err(|error: jiff::Error| error.to_string())?;
        for theirs in list(theirs) {
            at = job.schedule.next_after(at, &zone).ok_or("never due")?;
            same("next run", at.to_string(), format!("{}Z", text(theirs)))?;
        }
        Ok(())
    })
}
