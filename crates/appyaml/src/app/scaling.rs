//! The three scaling blocks and the instance class (rows Y22, Y29–Y31).

use std::time::Duration;

use model::scaling::{Automatic, Basic, InstanceClass, Manual, Scaling};

use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, Spanned, malformed, near, one_of};
use crate::source::Span;

const BLOCKS: [&str; 3] = ["automatic_scaling", "basic_scaling", "manual_scaling"];

const AUTOMATIC: [&str; 9] = [
    "max_instances",
    "min_instances",
    "max_idle_instances",
    "min_idle_instances",
    "target_cpu_utilization",
    "target_throughput_utilization",
    "max_concurrent_requests",
    "min_pending_latency",
    "max_pending_latency",
];

/// Keys of `automatic_scaling` that only the flexible environment knows.
const FLEXIBLE: [&str; 5] = ["min_num_instances", "max_num_instances", "cool_down_period_sec", "cpu_utilization", "custom_metrics"];

/// `automatic_scaling.max_instances` (document 003).
const MAX_INSTANCES: u32 = 2_147_483_647;

/// Reads whichever block is present; the first one, if there are several.
pub(super) fn read(app: &Fields<'_>, report: &mut Report) -> Option<Spanned<Scaling>> {
    let present: Vec<_> = BLOCKS.iter().filter(|name| app.get(name).is_some()).filter_map(|name| app.key(name)).collect();
    if let [first, second, ..] = present[..] {
        let message = format!("`{}` and `{}` exclude each other", first.text, second.text);
        report.push(Diagnostic::new(&code::A0301, second.span, message).related(first.span, "the other kind").help("keep one of them"));
    }
    let mut chosen = None;
    for key in present {
        let node = app.get(&key.text)?;
        let scaling = match key.text.as_str() {
            "automatic_scaling" => automatic(node, report).map(Scaling::Automatic),
            "basic_scaling" => basic(node, report).map(Scaling::Basic),
            _ => manual(node, report).map(Scaling::Manual),
        };
        chosen = chosen.or(scaling.map(|value| Spanned { value, span: key.span }));
    }
    chosen
}

fn automatic(node: &crate::yaml::Node, report: &mut Report) -> Option<Automatic> {
    let fields = Fields::open_any(node, "automatic_scaling", report)?;
    for (key, _) in fields.entries().iter().filter(|(key, _)| !AUTOMATIC.contains(&key.text.as_str())) {
        let help = if FLEXIBLE.contains(&key.text.as_str()) {
            "this key belongs to the flexible environment".to_owned()
        } else {
            near(&key.text, AUTOMATIC)
                .map_or_else(|| format!("it may have {}", one_of(AUTOMATIC)), |best| format!("did you mean `{best}`?"))
        };
        report.push(Diagnostic::new(&code::A0011, key.span, format!("automatic_scaling has no key `{}`", key.text)).help(help));
    }
    let defaults = Automatic::default();
    let max = fields.integer("max_instances", 0..=MAX_INSTANCES, report);
    let min = fields.integer("min_instances", 0..=1_000, report);
    let max_idle = count_or_automatic(&fields, "max_idle_instances", 1, report);
    let min_idle = count_or_automatic(&fields, "min_idle_instances", 0, report);
    let min_pending = latency(&fields, "min_pending_latency", report);
    let max_pending = latency(&fields, "max_pending_latency", report);
    ordered(min.as_ref(), max.as_ref().filter(|max| max.value > 0), ["min_instances", "max_instances"], report);
    ordered(min_idle.as_ref(), max_idle.as_ref(), ["min_idle_instances", "max_idle_instances"], report);
    ordered(min_pending.as_ref(), max_pending.as_ref(), ["min_pending_latency", "max_pending_latency"], report);
    let value = |found: Option<Spanned<u32>>| found.map(|found| found.value);
    let utilization = |name, default, report: &mut Report| fields.number(name, 0.5..=0.95, report).map_or(default, |found| found.value);
    Some(Automatic {
        max_instances: value(max).filter(|&max| max > 0),
        min_instances: value(min).unwrap_or(defaults.min_instances),
        max_idle_instances: value(max_idle),
        min_idle_instances: value(min_idle),
        target_cpu_utilization: utilization("target_cpu_utilization", defaults.target_cpu_utilization, report),
        target_throughput_utilization: utilization("target_throughput_utilization", defaults.target_throughput_utilization, report),
        max_concurrent_requests: value(fields.integer("max_concurrent_requests", 1..=80, report))
            .unwrap_or(defaults.max_concurrent_requests),
        min_pending_latency: min_pending.map(|found| found.value),
        max_pending_latency: max_pending.map(|found| found.value),
    })
}

fn count_or_automatic(fields: &Fields<'_>, name: &str, least: u32, report: &mut Report) -> Option<Spanned<u32>> {
    if fields.text(name, &mut Report::default())?.value == "automatic" {
        return None;
    }
    fields.integer(name, least..=1_000, report)
}

/// `30ms`, `1.5s` or `automatic`.
fn latency(fields: &Fields<'_>, name: &str, report: &mut Report) -> Option<Spanned<Duration>> {
    let found = fields.text(name, report)?;
    if found.value == "automatic" {
        return None;
    }
    if let Some(value) = parse_latency(&found.value) {
        Some(Spanned { value, span: found.span })
    } else {
        let message = format!("`{name}` takes a time or `automatic`, not `{}`", found.value);
        malformed(found.span, message, "write for example `30ms`, `1s` or `1.5s`", report);
        None
    }
}

fn parse_latency(text: &str) -> Option<Duration> {
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(digits) = text.strip_suffix("ms") {
        return all_digits(digits).then(|| digits.parse().ok().map(Duration::from_millis)).flatten();
    }
    let seconds = text.strip_suffix('s')?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if !all_digits(whole) || !all_digits(fraction) || fraction.len() > 3 {
        return None;
    }
    let millis: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(millis).map(Duration::from_millis)
}

fn ordered<T: PartialOrd>(min: Option<&Spanned<T>>, max: Option<&Spanned<T>>, names: [&str; 2], report: &mut Report) {
    if let (Some(min), Some(max)) = (min, max)
        && min.value > max.value
    {
        let message = format!("`{}` is larger than `{}`", names[0], names[1]);
        report.push(Diagnostic::new(&code::A0302, min.span, message).label("the minimum").related(max.span, "the maximum"));
    }
}

fn basic(node: &crate::yaml::Node, report: &mut Report) -> Option<Basic> {
    let fields = Fields::open(node, "basic_scaling", &["max_instances", "idle_timeout"], report)?;
    fields.require("max_instances", "for example `max_instances: 5`", report);
    let max = fields.integer("max_instances", 1..=u32::MAX, report);
    let idle = fields.text("idle_timeout", report).and_then(|found| {
        let parsed = parse_idle(&found.value);
        if parsed.is_none() {
            let message = format!("`idle_timeout` takes minutes or seconds, not `{}`", found.value);
            malformed(found.span, message, "write for example `10m` or `90s`", report);
        }
        parsed
    });
    // Document 003: 5 minutes.
    Some(Basic { max_instances: max?.value, idle_timeout: idle.unwrap_or(Duration::from_mins(5)) })
}

fn parse_idle(text: &str) -> Option<Duration> {
    let (digits, scale) = match text.strip_suffix('m') {
        Some(digits) => (digits, 60),
        None => (text.strip_suffix('s')?, 1),
    };
    let number: u64 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    number.checked_mul(scale).map(Duration::from_secs)
}

fn manual(node: &crate::yaml::Node, report: &mut Report) -> Option<Manual> {
    let fields = Fields::open(node, "manual_scaling", &["instances"], report)?;
    fields.require("instances", "for example `instances: 2`", report);
    Some(Manual { instances: fields.integer("instances", 1..=u32::MAX, report)?.value })
}

/// `manual_scaling` of an include file: only the number counts.
pub(super) fn of_include(include: &Fields<'_>, report: &mut Report) -> Option<Spanned<u32>> {
    let manual = manual(include.get("manual_scaling")?, report)?;
    let span = include.key("manual_scaling")?.span;
    Some(Spanned { value: manual.instances, span })
}

/// Reads `instance_class`.
pub(super) fn class(app: &Fields<'_>, report: &mut Report) -> Option<Spanned<InstanceClass>> {
    let table: Vec<(&str, InstanceClass)> = InstanceClass::ALL.into_iter().map(|class| (class.name(), class)).collect();
    app.word("instance_class", &table, report)
}

/// The class that a version gets: the one it names, if it goes with the scaling; F1 or B2 otherwise.
pub(super) fn paired(class: Option<Spanned<InstanceClass>>, scaling: &Scaling, block: Option<Span>, report: &mut Report) -> InstanceClass {
    let automatic = matches!(scaling, Scaling::Automatic(_));
    let default = if automatic { InstanceClass::F1 } else { InstanceClass::B2 };
    let Some(class) = class else { return default };
    if class.value.is_automatic() == automatic {
        return class.value;
    }
    let name = class.value.name();
    let (message, help) = if automatic {
        (format!("`{name}` needs basic or manual scaling"), "add `basic_scaling` or `manual_scaling`, or choose F1, F2, F4 or F4_1G")
    } else {
        (format!("`{name}` needs automatic scaling"), "choose B1, B2, B4, B4_1G or B8, or remove the scaling block")
    };
    let mut diagnostic = Diagnostic::new(&code::A0303, class.span, message).help(help);
    if let Some(block) = block {
        diagnostic = diagnostic.related(block, "the scaling");
    }
    report.push(diagnostic);
    default
}
