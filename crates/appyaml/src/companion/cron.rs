//! cron.yaml.

use std::time::Duration;

use jiff::tz::TimeZone;
use model::cron::{CronJob, CronRetry, Schedule};

use super::queue::Backoff;
use super::{Companion, items, queue, target};
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, malformed, suggestion};
use crate::source::{FileId, Sources};
use crate::yaml::Node;

/// Most characters of a description.
const MAX_DESCRIPTION: usize = 499;

/// The waits of a job that has `retry_parameters` but names none: Cloud Scheduler's, which took over App Engine's cron.
const DEFAULT_BACKOFF: Backoff = Backoff { min: Duration::from_secs(5), max: Duration::from_hours(1) };

/// Cloud Scheduler's number of doublings.
const DEFAULT_DOUBLINGS: u32 = 5;

/// Reads the jobs.
pub(crate) fn read(file: FileId, sources: &Sources, report: &mut Report) -> Vec<CronJob> {
    items(file, sources, ("cron.yaml", Companion::Cron, &[]), report, |_, list, report| {
        list.iter().filter_map(|item| job(item, report)).collect()
    })
}

fn job(item: &Node, report: &mut Report) -> Option<CronJob> {
    let known = ["url", "schedule", "timezone", "description", "retry_parameters", "target", "attempt_deadline"];
    let fields = Fields::open(item, "a cron job", &known, report)?;
    fields.require("url", "for example `url: /tasks/summary`", report);
    fields.require("schedule", "for example `schedule: every 24 hours`", report);
    let url = fields.text("url", report).and_then(|url| {
        if url.value.starts_with('/') && !url.value.contains('\n') {
            return Some(url.value);
        }
        malformed(
            url.span,
            format!("`{}` is not a path: it must begin with `/`", url.value),
            format!("write `/{}`", url.value.trim()),
            report,
        );
        None
    });
    let description = fields.text("description", report);
    if let Some(long) = description.as_ref().filter(|found| found.value.chars().count() > MAX_DESCRIPTION) {
        malformed(long.span, format!("the description is longer than {MAX_DESCRIPTION} characters"), "shorten it", report);
    }
    let schedule = schedule(&fields, report);
    let timezone = timezone(&fields, report);
    let attempt_deadline = queue::age(&fields, "attempt_deadline", report);
    let target = target::read(&fields, report);
    let retry = fields.get("retry_parameters").and_then(|node| retry(node, report));
    // Only now may what is missing end it: every mistake has been reported.
    let (written, schedule) = schedule?;
    Some(CronJob {
        target,
        retry,
        url: url?,
        description: description.map(|found| found.value).unwrap_or_default(),
        written,
        schedule,
        timezone: timezone?,
        attempt_deadline,
    })
}

fn schedule(fields: &Fields<'_>, report: &mut Report) -> Option<(String, Schedule)> {
    let found = fields.text("schedule", report)?;
    match Schedule::parse(&found.value) {
        Ok(schedule) => Some((found.value, schedule)),
        Err(error) => {
            let exact = found.value.len() == found.span.end - found.span.start;
            let span = if exact { found.span.inside(error.span) } else { found.span };
            let lower = found.value.to_lowercase();
            let help = if lower != found.value && Schedule::parse(&lower).is_ok() {
                format!("write it in lower case: `{lower}`")
            } else {
                "for example `every 5 minutes`, `every monday 09:00`, `1st,third tue of month 17:00`".to_owned()
            };
            let message = format!("this schedule cannot be read: {}", error.message);
            report.push(Diagnostic::new(&code::A0701, span, message).help(help));
            None
        }
    }
}

fn timezone(fields: &Fields<'_>, report: &mut Report) -> Option<String> {
    if fields.get("timezone").is_none() {
        return Some("UTC".to_owned());
    }
    let found = fields.text("timezone", report)?;
    if TimeZone::get(&found.value).is_ok_and(|zone| zone.iana_name() == Some(&found.value)) {
        return Some(found.value);
    }
    let message = format!("there is no time zone `{}`", found.value);
    // Hundreds of names are compared; a file with many mistakes gets on without.
    let names: Vec<String> = match report.errors() {
        0..=20 => jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect(),
        _ => Vec::new(),
    };
    let help = suggestion(&found.value, names.iter().map(String::as_str)).unwrap_or_else(|| "for example `Europe/Berlin`".to_owned());
    report.push(Diagnostic::new(&code::A0702, found.span, message).help(help));
    None
}

fn retry(node: &Node, report: &mut Report) -> Option<CronRetry> {
    let known = ["job_retry_limit", "job_age_limit", "min_backoff_seconds", "max_backoff_seconds", "max_doublings"];
    let fields = Fields::open(node, "retry_parameters", &known, report)?;
    let backoff = queue::backoff(&fields, &DEFAULT_BACKOFF, report);
    Some(CronRetry {
        limit: fields.integer("job_retry_limit", 0..=u32::MAX, report).map(|found| found.value),
        age_limit: queue::age(&fields, "job_age_limit", report),
        min_backoff: backoff.min,
        max_backoff: backoff.max,
        max_doublings: fields.integer("max_doublings", 0..=u32::MAX, report).map_or(DEFAULT_DOUBLINGS, |found| found.value),
    })
}
