//! Lines that are JSON objects (docs: "write structured logs"): what Cloud Logging's agent takes out of them, and what it leaves in.

use std::time::{Duration, SystemTime};

use model::journal::Severity;
use serde_json::{Map, Value};

/// A time that a line gives itself is believed if it lies this close to when it was read.
const BELIEVED: Duration = Duration::from_hours(24);

/// A structured line.
#[derive(Debug, PartialEq)]
pub(super) struct Structured {
    pub(super) at: Option<SystemTime>,
    pub(super) severity: Severity,
    pub(super) text: String,
    /// The trace without `projects/…/traces/`, in lower case.
    pub(super) trace: Option<String>,
    /// The remaining fields.
    pub(super) fields: Option<String>,
}

/// Fields that make an object a log entry. An object without any of them is just a line that happens to be JSON.
const MARKS: [&str; 5] = ["severity", "message", "httpRequest", "logging.googleapis.com/trace", "logging.googleapis.com/labels"];

/// Reads a line; `None` if it is plain text.
pub(super) fn read(line: &str, now: SystemTime) -> Option<Structured> {
    if !line.trim_start().starts_with('{') {
        return None;
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else { return None };
    if !MARKS.iter().any(|mark| fields.contains_key(*mark)) {
        return None;
    }
    let severity = take(&mut fields, "severity", severity).unwrap_or(Severity::Default);
    let trace = take(&mut fields, "logging.googleapis.com/trace", |value| trace(value.as_str()?));
    let at = time(&mut fields).filter(|at| near(*at, now));
    let text = take(&mut fields, "message", |value| value.as_str().map(str::to_owned)).or_else(|| request(&fields)).unwrap_or_default();
    let fields = (!fields.is_empty()).then(|| Value::Object(fields).to_string());
    Some(Structured { at, severity, text, trace, fields })
}

/// Takes a field out if it can be read, and leaves it in otherwise.
fn take<T>(fields: &mut Map<String, Value>, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
    let found = read(fields.get(name)?)?;
    fields.remove(name);
    Some(found)
}

/// By name, or by Cloud Logging's number, which is rounded down.
fn severity(value: &Value) -> Option<Severity> {
    if let Some(name) = value.as_str() {
        return Severity::parse(name.trim());
    }
    let number = usize::try_from(value.as_u64()?).ok()?;
    Some(Severity::ALL[(number / 100).min(Severity::ALL.len() - 1)])
}

/// `projects/P/traces/T`, or `T` alone.
fn trace(text: &str) -> Option<String> {
    let id = text.rsplit('/').next()?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_ascii_lowercase())
}

/// `time` in RFC 3339, `timestamp: {seconds, nanos}`, or `timestampSeconds` with `timestampNanos`.
fn time(fields: &mut Map<String, Value>) -> Option<SystemTime> {
    let pair = |seconds: Option<&Value>, nanos: Option<&Value>| {
        let nanos = nanos.and_then(Value::as_u64).and_then(|nanos| u32::try_from(nanos).ok()).filter(|nanos| *nanos < 1_000_000_000);
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds?.as_u64()?, nanos.unwrap_or(0)))
    };
    let written = take(fields, "time", |value| Some(SystemTime::from(value.as_str()?.parse::<jiff::Timestamp>().ok()?)));
    let object = || take_ref(fields, "timestamp", |value| pair(value.get("seconds"), value.get("nanos")));
    written.or_else(object).or_else(|| {
        let at = pair(fields.get("timestampSeconds"), fields.get("timestampNanos"))?;
        fields.remove("timestampSeconds");
        fields.remove("timestampNanos");
        Some(at)
    })
}

fn take_ref<T>(fields: &Map<String, Value>, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
    read(fields.get(name)?)
}

fn near(at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).unwrap_or_else(|ahead| ahead.duration()) <= BELIEVED
}

/// What stands in the place of a message: `GET /path 200` of `httpRequest`.
fn request(fields: &Map<String, Value>) -> Option<String> {
    let request = fields.get("httpRequest")?;
    let text = |name: &str| match request.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let parts: Vec<String> = ["requestMethod", "requestUrl", "status"].into_iter().filter_map(text).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[track_caller]
    fn check(line: &str) -> Structured {
        read(line, at(1_700_000_000)).expect("structured")
    }

    #[test]
    fn what_makes_an_object_an_entry() {
        for plain in ["", "text", "{", "[1]", "{}", r#"{"a":1}"#, r#"{"time":1,"msg":"pino"}"#, r#"{"severity":"#] {
            assert_eq!(read(plain, at(0)), None, "{plain}");
        }
        let entry = check(r#"{"message":"boom"}"#);
        assert_eq!((entry.severity, entry.text.as_str(), entry.fields), (Severity::Default, "boom", None));
    }

    #[test]
    fn severities_by_name_and_number() {
        for (written, wanted) in [("\"ERROR\"", Severity::Error), ("\"notice\"", Severity::Notice), ("450", Severity::Warning)] {
            assert_eq!(check(&format!(r#"{{"severity":{written},"message":"x"}}"#)).severity, wanted);
        }
        let odd = check(r#"{"severity":"loud","message":"x"}"#);
        assert_eq!((odd.severity, odd.fields.as_deref()), (Severity::Default, Some(r#"{"severity":"loud"}"#)));
        assert_eq!(check(r#"{"severity":99999,"message":"x"}"#).severity, Severity::Emergency);
    }

    #[test]
    fn traces_lose_their_project() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let entry = check(&format!(r#"{{"severity":"INFO","logging.googleapis.com/trace":"projects/p/traces/{id}","message":"m"}}"#));
        assert_eq!((entry.trace.as_deref(), entry.fields), (Some(id), None));
        let odd = check(r#"{"logging.googleapis.com/trace":"x","message":"m"}"#);
        assert!(odd.trace.is_none() && odd.fields.is_some());
    }

    #[test]
    fn times_are_believed_if_they_are_near() {
        for line in [
            r#"{"message":"m","time":"2023-11-14T22:13:10Z"}"#,
            r#"{"message":"m","timestamp":{"seconds":1699999990,"nanos":0}}"#,
            r#"{"message":"m","timestampSeconds":1699999990,"timestampNanos":0}"#,
        ] {
            assert_eq!(check(line).at, Some(at(1_699_999_990)), "{line}");
        }
        assert_eq!(check(r#"{"message":"m","time":"1999-01-01T00:00:00Z"}"#).at, None);
        assert_eq!(check(r#"{"message":"m","timestamp":{"seconds":18446744073709551615,"nanos":99999999999}}"#).at, None);
    }

    #[test]
    fn a_request_stands_for_a_message_and_the_rest_stays() {
        let entry = check(r#"{"httpRequest":{"requestMethod":"GET","requestUrl":"/x","status":200},"user":"ann"}"#);
        assert_eq!(entry.text, "GET /x 200");
        assert!(entry.fields.is_some_and(|fields| fields.contains("ann") && fields.contains("requestUrl")));
    }
}
