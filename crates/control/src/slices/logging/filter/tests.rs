//! Filters as gcloud writes them.

use serde_json::json;

use super::*;

fn entry() -> Value {
    json!({
        "logName": "projects/demo/logs/appengine.googleapis.com%2Frequest_log",
        "resource": {"type": "gae_app", "labels": {"module_id": "default", "version_id": "v1", "project_id": "demo"}},
        "timestamp": "2026-11-22T04:00:00.500000Z",
        "insertId": "0000000100000010",
        "severity": "WARNING",
        "protoPayload": {"method": "GET", "status": 404, "resource": "/a?b", "line": [{"logMessage": "one"}, {"logMessage": "Two more"}]},
    })
}

#[track_caller]
fn check(filter: &str, wanted: bool) {
    let parsed = Filter::parse(filter).unwrap_or_else(|why| panic!("{filter}: {why}"));
    assert_eq!(parsed.wants(&entry()), wanted, "{filter}\n{parsed:?}");
}

#[test]
fn t9_what_gcloud_sends_is_understood() {
    let logs = |last: &str| {
        format!(
            "resource.type=\"gae_app\" AND resource.labels.module_id=\"default\" AND logName=(\"projects/demo/logs/appengine.googleapis.com%2Fstderr\" \
             OR \"projects/demo/logs/stderr\" OR \"projects/demo/logs/appengine.googleapis.com%2F{last}\")"
        )
    };
    check(&logs("request_log"), true);
    check(&logs("nginx.request"), false);
    check("severity>=WARNING AND resource.labels.version_id=\"v1\"", true);
    check("severity>=ERROR", false);
    check("timestamp>=\"2026-11-22T04:00:00.500000Z\" AND timestamp<\"2026-11-22T04:00:00.500001Z\"", true);
    check("((timestamp=\"2026-11-22T04:00:00.5Z\" AND insertId>\"000000010000000f\") OR timestamp>\"2026-11-22T04:00:00.5Z\")", true);
    check("((timestamp=\"2026-11-22T04:00:00.5Z\" AND insertId>\"0000000100000010\") OR timestamp>\"2026-11-22T04:00:00.5Z\")", false);
    check("timestamp<\"2026-11-22T04:00:00.000000+00:00\"", false);
}

#[test]
fn operators_and_their_precedence() {
    check("", true);
    check("severity=warning", true);
    check("NOT severity=warning", false);
    check("-severity=info", true);
    check("severity=INFO OR severity=WARNING AND resource.type=other", false);
    check("(severity=WARNING) (resource.type=gae_app)", true);
    check("protoPayload.status>=400 protoPayload.status<500", true);
    check("protoPayload.status=404.0", true);
    check("protoPayload.status!=404", false);
    check("protoPayload.missing!=1", false);
    check("protoPayload.missing:*", false);
    check("protoPayload.line.logMessage:more", true);
    check("protoPayload.resource=~\"^/a\\?b$\"", true);
    check("protoPayload.resource!~\"b$\"", false);
    check("log_name:request_log", true);
    check("log_id(\"appengine.googleapis.com/request_log\")", true);
    check("log_id(\"stdout\")", false);
    check("\"two MORE\"", true);
    check("nowhere", false);
    check("severity=WARNING -- a remark\n protoPayload.method=\"GET\"", true);
    check("timestamp>=\"2026-11-22\" AND timestamp<\"2026-11-23\"", true);
}

#[test]
fn what_cannot_be_read_is_refused() {
    for wrong in ["severity>=", "(a=b", "a=\"b", "a=~\"(\"", "a.", "= b", "a=b )", &"(".repeat(60), &"NOT ".repeat(60_000)] {
        assert!(Filter::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn bounds_follow_only_from_what_must_hold() {
    let bounds = |text: &str| Filter::parse(text).expect("read").bounds();
    let found = bounds("resource.labels.module_id=\"api\" AND severity>=ERROR AND timestamp>=\"1970-01-01T00:00:01Z\"");
    assert_eq!(found.service.as_ref().map(ServiceId::as_str), Some("api"));
    assert_eq!(found.level, Some(Severity::Error));
    assert_eq!(found.since, Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1)));
    assert_eq!(bounds("severity>=ERROR OR resource.labels.module_id=api"), Bounds::default());
    assert_eq!(bounds("NOT severity>=ERROR"), Bounds::default());
}
