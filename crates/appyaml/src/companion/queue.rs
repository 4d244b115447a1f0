//! queue.yaml.

use std::collections::HashMap;
use std::time::Duration;

use model::queue::{Queue, QueueAccess, QueueMode, QueueRetry, Queues};

use super::{Companion, items, target};
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, Spanned, malformed};
use crate::source::{FileId, Sources, Span};
use crate::yaml::Node;

/// Most characters of a queue's name.
const MAX_NAME: usize = 499;

/// Most tasks that a bucket holds (queue.yaml reference).
const MAX_BUCKET: u32 = 500;

const PUSH_ONLY: [&str; 4] = ["rate", "bucket_size", "max_concurrent_requests", "target"];

/// Reads the queues; `default` is added if the file does not name it.
pub(crate) fn read(file: FileId, sources: &Sources, report: &mut Report) -> Queues {
    let more = ["total_storage_limit", "resume_paused_queues"];
    items(file, sources, ("queue.yaml", Companion::Queue, &more), report, |fields, list, report| {
        let mut names: HashMap<String, Span> = HashMap::new();
        let mut queues = Vec::new();
        for item in list {
            let Some((span, queue)) = queue(item, report) else { continue };
            if let Some(first) = names.get(&queue.name) {
                let message = format!("the queue `{}` is named twice", queue.name);
                report.push(Diagnostic::new(&code::A0801, span, message).related(*first, "the first time"));
                continue;
            }
            names.insert(queue.name.clone(), span);
            queues.push(queue);
        }
        let keep_paused = fields.boolean("resume_paused_queues", report).is_some_and(|resume| !resume.value);
        if !names.contains_key("default") {
            queues.push(push_queue("default"));
        }
        Queues { total_storage_limit: storage(fields, report), keep_paused, queues }
    })
}

fn push_queue(name: &str) -> Queue {
    Queue { name: name.to_owned(), mode: QueueMode::DEFAULT_PUSH, retry: QueueRetry::default(), target: None, acl: Vec::new() }
}

fn queue(item: &Node, report: &mut Report) -> Option<(Span, Queue)> {
    let known = ["name", "rate", "mode", "bucket_size", "max_concurrent_requests", "retry_parameters", "acl", "target"];
    let fields = Fields::open(item, "a queue", &known, report)?;
    fields.require("name", "for example `name: default`", report);
    let name = fields.text("name", report).and_then(|name| {
        let fits = name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && (1..=MAX_NAME).contains(&name.value.len());
        if !fits {
            let message = format!("`{}` cannot name a queue", crate::fields::short(&name.value));
            malformed(name.span, message, format!("letters, digits and hyphens, at most {MAX_NAME}"), report);
        }
        fits.then_some(name)
    });
    let pull = fields.word("mode", &[("push", false), ("pull", true)], report).is_some_and(|found| found.value);
    if pull {
        refuse_push_settings(&fields, report);
    }
    let push = push(&fields, report);
    let retry = fields.get("retry_parameters").and_then(|node| retry(node, report)).unwrap_or_default();
    let target = target::read(&fields, report);
    let acl = fields.list("acl", report).unwrap_or_default().iter().flat_map(|item| access(item, report)).collect();
    let name = name?;
    Some((name.span, Queue { name: name.value, mode: if pull { QueueMode::Pull } else { push }, retry, target, acl }))
}

fn refuse_push_settings(fields: &Fields<'_>, report: &mut Report) {
    for key in PUSH_ONLY.into_iter().filter_map(|name| fields.key(name)) {
        let message = format!("`{}` has no meaning for a pull queue", key.text);
        report.push(Diagnostic::new(&code::A0802, key.span, message).help("remove it, or write `mode: push`"));
    }
}

fn push(fields: &Fields<'_>, report: &mut Report) -> QueueMode {
    let rate = fields.text("rate", report).and_then(|rate| {
        let parsed = parse_rate(&rate.value);
        if parsed.is_none() {
            let message = format!("`{}` is not a rate", rate.value);
            malformed(rate.span, message, "write `0`, or a number with `/s`, `/m`, `/h` or `/d`, such as `5/s`", report);
        }
        parsed
    });
    let bucket = fields.integer("bucket_size", 0..=MAX_BUCKET, report);
    let concurrent = fields.integer("max_concurrent_requests", 0..=u32::MAX, report);
    QueueMode::Push {
        per_second: rate.unwrap_or(5.0),
        bucket_size: bucket.map_or(5, |found| found.value),
        max_concurrent_requests: concurrent.map(|found| found.value),
    }
}

/// A decimal number: digits with at most one point. No exponent, no sign.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.starts_with(|c: char| c.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn parse_rate(text: &str) -> Option<f64> {
    if text == "0" {
        return Some(0.0);
    }
    let (number, unit) = text.split_once('/')?;
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Some(decimal(number)? / seconds)
}

/// `1h`, `3.5d`: a number and a unit.
pub(super) fn age(fields: &Fields<'_>, name: &str, report: &mut Report) -> Option<Duration> {
    let found = fields.text(name, report)?;
    let parsed = found.value.char_indices().last().and_then(|(at, unit)| {
        let scale = match unit {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3_600.0,
            'd' => 86_400.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(decimal(&found.value[..at])? * scale).ok()
    });
    if parsed.is_none() {
        let message = format!("`{name}` takes a number with s, m, h or d, not `{}`", found.value);
        malformed(found.span, message, "write for example `2d`", report);
    }
    parsed
}

/// The waits between retries.
pub(super) struct Backoff {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

/// Reads both waits; if only one is given and lies beyond the other's default, the other follows it, as with the SDK.
pub(super) fn backoff(fields: &Fields<'_>, defaults: &Backoff, report: &mut Report) -> Backoff {
    let mut read = |name| {
        let seconds: Option<Spanned<f64>> = fields.number(name, 0.0..=f64::INFINITY, report);
        seconds.and_then(|found| Duration::try_from_secs_f64(found.value).ok().map(|value| Spanned { value, span: found.span }))
    };
    let (min, max) = (read("min_backoff_seconds"), read("max_backoff_seconds"));
    if let (Some(min), Some(max)) = (&min, &max)
        && min.value > max.value
    {
        let message = "`min_backoff_seconds` is larger than `max_backoff_seconds`";
        report.push(Diagnostic::new(&code::A0302, min.span, message).label("the minimum").related(max.span, "the maximum"));
    }
    match (min.map(|found| found.value), max.map(|found| found.value)) {
        (Some(min), None) => Backoff { min, max: defaults.max.max(min) },
        (None, Some(max)) => Backoff { min: defaults.min.min(max), max },
        (min, max) => Backoff { min: min.unwrap_or(defaults.min), max: max.unwrap_or(defaults.max) },
    }
}

fn retry(node: &Node, report: &mut Report) -> Option<QueueRetry> {
    let known = ["task_retry_limit", "task_age_limit", "min_backoff_seconds", "max_backoff_seconds", "max_doublings"];
    let fields = Fields::open(node, "retry_parameters", &known, report)?;
    let defaults = QueueRetry::default();
    let backoff = backoff(&fields, &Backoff { min: defaults.min_backoff, max: defaults.max_backoff }, report);
    let doublings = fields.integer("max_doublings", 0..=u32::MAX, report);
    Some(QueueRetry {
        limit: fields.integer("task_retry_limit", 0..=u32::MAX, report).map(|found| found.value),
        age_limit: age(&fields, "task_age_limit", report),
        min_backoff: backoff.min,
        max_backoff: backoff.max,
        max_doublings: doublings.map_or(defaults.max_doublings, |found| found.value),
    })
}

/// `120M`, in bytes.
fn storage(fields: &Fields<'_>, report: &mut Report) -> Option<u64> {
    let found = fields.text("total_storage_limit", report)?;
    let text = found.value.trim();
    let unit = text.find(|c: char| c.is_ascii_uppercase()).unwrap_or(text.len());
    let scale: Option<u64> = match &text[unit..] {
        "" | "B" => Some(1),
        "K" => Some(1 << 10),
        "M" => Some(1 << 20),
        "G" => Some(1 << 30),
        "T" => Some(1 << 40),
        _ => None,
    };
    #[allow(clippy::cast_precision_loss, reason = "a power of two")]
    let bytes = decimal(&text[..unit]).zip(scale).map(|(number, scale)| number * scale as f64).filter(|bytes| *bytes < 1e18);
    if bytes.is_none() {
        let message = format!("`{}` is not an amount of storage", found.value);
        malformed(found.span, message, "a number with B, K, M, G or T, such as `120M`", report);
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1e18, a fraction of a byte does not matter")]
    bytes.map(|bytes| bytes as u64)
}

fn access(item: &Node, report: &mut Report) -> Vec<QueueAccess> {
    let Some(fields) = Fields::open(item, "an item of acl", &["user_email", "writer_email"], report) else { return Vec::new() };
    let mut read = |name, writer| fields.filled(name, report).map(|found| QueueAccess { email: found.value, writer });
    [read("user_email", false), read("writer_email", true)].into_iter().flatten().collect()
}
