//! The three kinds of scaling and the instance class, both ways (rows Y22, Y29–Y31).

use std::time::Duration;

use model::scaling::{Automatic, Basic, InstanceClass, Manual, Scaling};
use serde_json::{Map, Value, json};

use super::fields::{Object, Report};
use super::seconds;

const KINDS: [&str; 3] = ["automaticScaling", "basicScaling", "manualScaling"];

/// Most instances of any kind (document 003, `max_instances`).
const MOST: u32 = 2_147_483_647;

/// Reads the one kind that is there; automatic with the documents' defaults if there is none.
pub(super) fn lower(version: &Object<'_>, report: &mut Report) -> Scaling {
    let present: Vec<&str> = KINDS.into_iter().filter(|kind| version.get(kind).is_some()).collect();
    if let [first, second, ..] = present[..] {
        report.push(version.at(second), format!("`{first}` and `{second}` exclude each other"));
    }
    let Some(kind) = present.first() else { return Scaling::default() };
    let Some(object) = version.object(kind, report) else { return Scaling::default() };
    match *kind {
        "automaticScaling" => Scaling::Automatic(automatic(&object, report)),
        "basicScaling" => Scaling::Basic(basic(&object, report)),
        _ => {
            let instances = object.integer("instances", 1..=MOST, report);
            if object.get("instances").is_none_or(|value| value.as_u64() == Some(0)) {
                report.push(object.at("instances"), "manual scaling needs the number of instances");
            }
            Scaling::Manual(Manual { instances: instances.unwrap_or(1) })
        }
    }
}

fn automatic(object: &Object<'_>, report: &mut Report) -> Automatic {
    let defaults = Automatic::default();
    let standard = object.object("standardSchedulerSettings", report);
    let integer = |name, most, report: &mut Report| standard.as_ref().and_then(|standard| standard.integer(name, 1..=most, report));
    let number = |name, report: &mut Report| standard.as_ref().and_then(|standard| standard.number(name, 0.5..=0.95, report));
    let automatic = Automatic {
        max_instances: integer("maxInstances", MOST, report),
        min_instances: integer("minInstances", 1_000, report).unwrap_or(0),
        max_idle_instances: object.integer("maxIdleInstances", 1..=1_000, report),
        min_idle_instances: object.integer("minIdleInstances", 1..=1_000, report),
        target_cpu_utilization: number("targetCpuUtilization", report).unwrap_or(defaults.target_cpu_utilization),
        target_throughput_utilization: number("targetThroughputUtilization", report).unwrap_or(defaults.target_throughput_utilization),
        max_concurrent_requests: object.integer("maxConcurrentRequests", 1..=80, report).unwrap_or(defaults.max_concurrent_requests),
        min_pending_latency: object.duration("minPendingLatency", report),
        max_pending_latency: object.duration("maxPendingLatency", report),
    };
    let mut ordered = |wrong: bool, path: String, least: &str, most: &str| {
        if wrong {
            report.push(path, format!("`{least}` is larger than `{most}`"));
        }
    };
    let above = |least: u32, most: Option<u32>| most.is_some_and(|most| least > most);
    let path = object.at("standardSchedulerSettings.minInstances");
    ordered(above(automatic.min_instances, automatic.max_instances), path, "minInstances", "maxInstances");
    let idle = above(automatic.min_idle_instances.unwrap_or(0), automatic.max_idle_instances);
    ordered(idle, object.at("minIdleInstances"), "minIdleInstances", "maxIdleInstances");
    let pending = matches!((automatic.min_pending_latency, automatic.max_pending_latency), (Some(least), Some(most)) if least > most);
    ordered(pending, object.at("minPendingLatency"), "minPendingLatency", "maxPendingLatency");
    automatic
}

fn basic(object: &Object<'_>, report: &mut Report) -> Basic {
    let most = object.integer("maxInstances", 1..=MOST, report);
    if object.get("maxInstances").is_none_or(|value| value.as_u64() == Some(0)) {
        report.push(object.at("maxInstances"), "basic scaling needs the most instances that there may be");
    }
    // Document 003: 5 minutes.
    let idle_timeout = object.duration("idleTimeout", report).unwrap_or(Duration::from_mins(5));
    Basic { max_instances: most.unwrap_or(1), idle_timeout }
}

/// The class that the version names if it goes with its scaling; F1 or B2 otherwise (decision 221).
pub(super) fn class(version: &Object<'_>, scaling: &Scaling, report: &mut Report) -> InstanceClass {
    let automatic = matches!(scaling, Scaling::Automatic(_));
    let default = if automatic { InstanceClass::F1 } else { InstanceClass::B2 };
    let Some(name) = version.text("instanceClass", report) else { return default };
    let known = InstanceClass::parse(&name.to_ascii_uppercase());
    match known {
        Some(class) if class.is_automatic() == automatic => return class,
        Some(_) if automatic => {
            report.push(version.at("instanceClass"), format!("`{name}` needs basicScaling or manualScaling; choose F1, F2, F4 or F4_1G"));
        }
        Some(_) => report.push(version.at("instanceClass"), format!("`{name}` needs automaticScaling; choose B1, B2, B4, B4_1G or B8")),
        None => {
            let names = InstanceClass::ALL.map(InstanceClass::name).join(", ");
            report.push(version.at("instanceClass"), format!("there is no instance class `{name}`; there are {names}"));
        }
    }
    default
}

/// Writes what differs from the defaults.
pub(super) fn raise(scaling: &Scaling, class: InstanceClass, version: &mut Map<String, Value>) {
    match scaling {
        Scaling::Automatic(automatic) => {
            let written = raise_automatic(automatic);
            if !written.is_empty() {
                version.insert("automaticScaling".into(), Value::Object(written));
            }
            if class != InstanceClass::F1 {
                version.insert("instanceClass".into(), class.name().into());
            }
        }
        Scaling::Basic(basic) => {
            let written = json!({"maxInstances": basic.max_instances, "idleTimeout": seconds(basic.idle_timeout)});
            version.insert("basicScaling".into(), written);
            version.insert("instanceClass".into(), class.name().into());
        }
        Scaling::Manual(manual) => {
            version.insert("manualScaling".into(), json!({"instances": manual.instances}));
            version.insert("instanceClass".into(), class.name().into());
        }
    }
}

fn raise_automatic(automatic: &Automatic) -> Map<String, Value> {
    let defaults = Automatic::default();
    let mut standard = Map::new();
    if let Some(most) = automatic.max_instances {
        standard.insert("maxInstances".into(), most.into());
    }
    if automatic.min_instances > 0 {
        standard.insert("minInstances".into(), automatic.min_instances.into());
    }
    let targets = [
        ("targetCpuUtilization", automatic.target_cpu_utilization, defaults.target_cpu_utilization),
        ("targetThroughputUtilization", automatic.target_throughput_utilization, defaults.target_throughput_utilization),
    ];
    for (name, value, default) in targets {
        if value.to_bits() != default.to_bits() {
            standard.insert(name.into(), value.into());
        }
    }
    let mut written = Map::new();
    if !standard.is_empty() {
        written.insert("standardSchedulerSettings".into(), Value::Object(standard));
    }
    for (name, count) in [("maxIdleInstances", automatic.max_idle_instances), ("minIdleInstances", automatic.min_idle_instances)] {
        if let Some(count) = count.filter(|count| *count > 0) {
            written.insert(name.into(), count.into());
        }
    }
    if automatic.max_concurrent_requests != defaults.max_concurrent_requests {
        written.insert("maxConcurrentRequests".into(), automatic.max_concurrent_requests.into());
    }
    for (name, latency) in [("minPendingLatency", automatic.min_pending_latency), ("maxPendingLatency", automatic.max_pending_latency)] {
        if let Some(latency) = latency {
            written.insert(name.into(), seconds(latency).into());
        }
    }
    written
}
