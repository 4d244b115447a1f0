//! The result as one JSON document; `docs/guide/simulate.md` describes it.

use std::collections::BTreeMap;
use std::time::Duration;

use model::sim::{Histogram, Step, What};
use serde::Serialize;

use super::variants::{entries, kind};
use super::{Run, Scene};

#[derive(Serialize)]
struct Document<'a> {
    load: Load<'a>,
    seed: u64,
    duration_s: f64,
    step_s: f64,
    start_ms: String,
    warmup_ms: String,
    service_ms: Option<String>,
    cpu_share: f64,
    runs: Vec<Variant<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Load<'a> {
    Rps(&'a str),
    Trace(String),
}

#[derive(Serialize)]
struct Variant<'a> {
    name: &'a str,
    service: String,
    scaling: String,
    settings: BTreeMap<String, String>,
    instance_class: &'static str,
    price_per_instance_hour: f64,
    totals: Totals,
    steps: Vec<Row>,
    decisions: Vec<Decision<'a>>,
    decisions_left_out: u64,
}

#[derive(Serialize)]
struct Totals {
    requests: u64,
    answered: u64,
    rejected: u64,
    cut_off: u64,
    cold_requests: u64,
    throughput_per_s: f64,
    pending_ms: Percentiles,
    latency_ms: Percentiles,
    instances: Instances,
    starts: u64,
    stops: u64,
    cpu_utilization: f64,
    instance_hours: f64,
    cost: f64,
    billed_instance_hours: f64,
    billed_cost: f64,
}

#[derive(Serialize)]
struct Instances {
    mean: f64,
    max: usize,
    starting: f64,
    idle: f64,
    busy: f64,
}

#[derive(Serialize)]
struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

#[derive(Serialize)]
struct Row {
    at_s: f64,
    duration_s: f64,
    requests_per_s: f64,
    answered_per_s: f64,
    rejected: u64,
    pending_max: usize,
    pending_ms: Percentiles,
    instances: Instances,
    starts: u64,
    stops: u64,
    cpu_utilization: f64,
    cost: f64,
}

#[derive(Serialize)]
struct Decision<'a> {
    at_s: f64,
    what: &'static str,
    instance: String,
    why: &'a str,
}

/// The document, with a line end.
pub(super) fn write(scene: &Scene<'_>, runs: &[Run]) -> String {
    let asked = scene.asked;
    let delay = |delay: model::sim::Delay| delay.to_string().trim_end_matches(" ms").to_owned();
    let document = Document {
        load: match (&asked.trace, &asked.rps) {
            (Some(path), _) => Load::Trace(path.display().to_string()),
            (None, rps) => Load::Rps(rps.as_deref().unwrap_or_default()),
        },
        seed: asked.seed,
        duration_s: scene.long.as_secs_f64(),
        step_s: scene.step.as_secs_f64(),
        start_ms: delay(asked.start_ms),
        warmup_ms: delay(asked.warmup_ms),
        service_ms: (!scene.from_trace).then(|| delay(scene.service)),
        cpu_share: asked.cpu,
        runs: runs.iter().map(variant).collect(),
    };
    // Strings and numbers always serialise.
    format!("{}\n", serde_json::to_string_pretty(&document).unwrap_or_default())
}

fn variant(run: &Run) -> Variant<'_> {
    let config = &run.variant.config;
    let mut spent = 0.0;
    let mut row = |step: &Step| {
        spent += step.hours() * run.price;
        Row {
            at_s: round(Duration::from_micros(step.at.0).as_secs_f64()),
            duration_s: round(step.long.as_secs_f64()),
            requests_per_s: round(step.rate(step.arrived)),
            answered_per_s: round(step.rate(step.answered)),
            rejected: step.rejected,
            pending_max: step.queue,
            pending_ms: percentiles(&step.waits),
            instances: instances(step),
            starts: step.starts,
            stops: step.stops,
            cpu_utilization: round(step.utilization()),
            cost: fine(spent),
        }
    };
    Variant {
        name: &run.variant.name,
        service: config.key.service.to_string(),
        scaling: kind(&config.scaling),
        settings: entries(&config.scaling),
        instance_class: config.class.name(),
        price_per_instance_hour: run.price,
        totals: totals(run),
        steps: run.report.steps.iter().map(&mut row).collect(),
        decisions: run.report.decisions.iter().map(decision).collect(),
        decisions_left_out: run.report.more_decisions,
    }
}

fn totals(run: &Run) -> Totals {
    let total = run.report.total();
    Totals {
        requests: total.arrived,
        answered: total.answered,
        rejected: total.rejected,
        cut_off: total.cut,
        cold_requests: total.cold,
        throughput_per_s: round(total.rate(total.answered)),
        pending_ms: percentiles(&total.waits),
        latency_ms: percentiles(&total.latencies),
        instances: instances(&total),
        starts: total.starts,
        stops: total.stops,
        cpu_utilization: round(total.utilization()),
        instance_hours: fine(total.hours()),
        cost: fine(total.hours() * run.price),
        billed_instance_hours: fine(run.report.billed_hours),
        billed_cost: fine(run.report.billed_hours * run.price),
    }
}

fn instances(step: &Step) -> Instances {
    let mean = |of| round(step.mean(of));
    Instances {
        mean: mean(step.starting + step.idle + step.busy),
        max: step.most,
        starting: mean(step.starting),
        idle: mean(step.idle),
        busy: mean(step.busy),
    }
}

fn percentiles(times: &Histogram) -> Percentiles {
    let ms = |time: Duration| round(time.as_secs_f64() * 1e3);
    Percentiles { p50: ms(times.quantile(0.5)), p95: ms(times.quantile(0.95)), p99: ms(times.quantile(0.99)), max: ms(times.max()) }
}

fn decision(decision: &model::sim::Decision) -> Decision<'_> {
    Decision {
        at_s: Duration::from_micros(decision.at.0).as_secs_f64(),
        what: match decision.what {
            What::Start => "start",
            What::Stop => "stop",
        },
        instance: decision.instance.to_string(),
        why: &decision.why,
    }
}

/// Three places are enough for anybody.
fn round(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// Hours and dollars of a minute are small.
fn fine(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}
