//! The result for people: totals, and how things went over time.

use std::fmt::Write as _;
use std::time::Duration;

use model::sim::{Histogram, Step, What};
use model::time::Tick;

use super::variants::{entries, kind};
use super::{Run, Scene};
use crate::ui::{BOLD, DIM, GREEN, RED, YELLOW};

/// Lines of the table over time, unless `--step` says otherwise.
const ROWS: usize = 24;
/// Decisions that are printed; the JSON has more.
const DECISIONS: usize = 200;

/// Everything that is printed.
pub(super) fn lay_out(scene: &Scene<'_>, runs: &[Run]) -> String {
    let mut out = String::new();
    setting(&mut out, scene);
    for run in runs {
        head(&mut out, run);
        if runs.len() == 1 {
            steps(&mut out, scene, run);
            totals(&mut out, run);
        }
        if scene.asked.decisions {
            decisions(&mut out, run);
        }
    }
    if runs.len() > 1 {
        comparison(&mut out, runs);
    }
    out
}

fn setting(out: &mut String, scene: &Scene<'_>) {
    let asked = scene.asked;
    let load = match (&asked.trace, &asked.rps) {
        (Some(path), _) => path.display().to_string(),
        (None, rps) => format!("{} requests/s", rps.as_deref().unwrap_or_default()),
    };
    let service = if scene.from_trace { "as the trace says".to_owned() } else { scene.service.to_string() };
    let cpu = asked.cpu * 100.0;
    let _ = write!(
        out,
        "{DIM}load {load}, {}; a request takes {service}, {cpu:.0} % of it CPU; a start takes {}",
        span(scene.long),
        asked.start_ms
    );
    if asked.warmup_ms != model::sim::Delay::Fixed(Duration::ZERO) {
        let _ = write!(out, " and the first request {} more", asked.warmup_ms);
    }
    let _ = writeln!(out, "; seed {}{DIM:#}", asked.seed);
}

fn head(out: &mut String, run: &Run) {
    let config = &run.variant.config;
    let said: Vec<String> = entries(&config.scaling).into_iter().map(|(key, value)| format!("{key} {value}")).collect();
    let said = if said.is_empty() { "defaults".to_owned() } else { said.join(", ") };
    let _ = writeln!(out, "\n{BOLD}{}{BOLD:#}  {}, {} {DIM}({said}){DIM:#}", run.variant.name, config.class.name(), kind(&config.scaling));
}

fn steps(out: &mut String, scene: &Scene<'_>, run: &Run) {
    let each = if scene.asked.step.is_some() { 1 } else { run.report.steps.len().div_ceil(ROWS) };
    let mut spent = 0.0;
    let mut rows = vec![
        ["", "", "", "", "instances", "", "", "", "pending", "", "", "", "", "", ""].map(str::to_owned),
        ["time", "req/s", "answered/s", "rejected", "most", "starting", "idle", "busy", "p50", "p95", "p99", "max", "queue", "CPU", "cost"]
            .map(str::to_owned),
    ];
    for step in run.report.joined(each) {
        spent += step.hours() * run.price;
        let wait = |share| millis(step.waits.quantile(share));
        let number = |of: u64| format!("{:.1}", step.mean(of));
        rows.push([
            clock(step.at),
            format!("{:.1}", step.rate(step.arrived)),
            format!("{:.1}", step.rate(step.answered)),
            step.rejected.to_string(),
            step.most.to_string(),
            number(step.starting),
            number(step.idle),
            number(step.busy),
            wait(0.5),
            wait(0.95),
            wait(0.99),
            millis(step.waits.max()),
            step.queue.to_string(),
            format!("{:.0} %", step.utilization() * 100.0),
            money(spent),
        ]);
    }
    grid(out, &rows, 2, false);
    out.push('\n');
}

/// Columns that are as wide as their widest cell, to the right but for `names` in the first. Cells that stand for nothing are dim; rejected requests are red.
fn grid<const N: usize>(out: &mut String, rows: &[[String; N]], heads: usize, names: bool) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for (n, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column > 0 { "  " } else { "" };
            let pad = " ".repeat(width - cell.chars().count());
            let title = rows.get(heads - 1).map_or("", |titles| titles[column].as_str());
            let cell = match cell.as_str() {
                "" => String::new(),
                _ if n < heads => format!("{DIM}{cell}{DIM:#}"),
                "0" | "0.0" | "0 ms" | "0 %" | "-" => format!("{DIM}{cell}{DIM:#}"),
                _ if title == "rejected" => format!("{RED}{cell}{RED:#}"),
                _ => cell.to_owned(),
            };
            line.push_str(gap);
            let (before, after) = if names && column == 0 { ("", pad.as_str()) } else { (pad.as_str(), "") };
            line.extend([before, &cell, after]);
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn totals(out: &mut String, run: &Run) {
    let total = run.report.total();
    let style = if total.rejected + total.cut > 0 { RED } else { GREEN };
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "{BOLD}{name:<15}{BOLD:#} {text}");
    };
    let cut = if total.cut > 0 { format!(", {} cut off", total.cut) } else { String::new() };
    line("requests", &format!("{} came, {} answered, {style}{} rejected{cut}{style:#}", total.arrived, total.answered, total.rejected));
    line("throughput", &format!("{:.2} answers/s over {}", total.rate(total.answered), span(total.long)));
    line("pending", &percentiles(&total.waits));
    line("latency", &percentiles(&total.latencies));
    let mean = total.mean(total.starting + total.idle + total.busy);
    line("instances", &format!("{mean:.2} on average, {} at most; {} started, {} stopped", total.most, total.starts, total.stops));
    line("cold starts", &format!("{} requests were the first of their instance", total.cold));
    line("CPU", &format!("{:.0} % of what ready instances had", total.utilization() * 100.0));
    line("instance hours", &format!("{:.3} {DIM}(as App Engine counts them: {:.3}){DIM:#}", total.hours(), run.report.billed_hours));
    let billed = money(run.report.billed_hours * run.price);
    let price = format!("at ${} for an hour of {}", run.price, run.variant.config.class.name());
    line("cost", &format!("{} {price} {DIM}(as App Engine counts: {billed}){DIM:#}", money(total.hours() * run.price)));
}

fn percentiles(times: &Histogram) -> String {
    let of = |share| millis(times.quantile(share));
    format!("p50 {}, p95 {}, p99 {}, max {}", of(0.5), of(0.95), of(0.99), millis(times.max()))
}

fn comparison(out: &mut String, runs: &[Run]) {
    let mut rows = vec![
        [
            "",
            "answered",
            "rejected",
            "pending p50",
            "p95",
            "p99",
            "max",
            "latency p95",
            "instances",
            "most",
            "starts",
            "cold",
            "CPU",
            "hours",
            "cost",
            "billed",
        ]
        .map(str::to_owned),
    ];
    for run in runs {
        let total: Step = run.report.total();
        let wait = |share| millis(total.waits.quantile(share));
        rows.push([
            run.variant.name.clone(),
            total.answered.to_string(),
            (total.rejected + total.cut).to_string(),
            wait(0.5),
            wait(0.95),
            wait(0.99),
            millis(total.waits.max()),
            millis(total.latencies.quantile(0.95)),
            format!("{:.2}", total.mean(total.starting + total.idle + total.busy)),
            total.most.to_string(),
            total.starts.to_string(),
            total.cold.to_string(),
            format!("{:.0} %", total.utilization() * 100.0),
            format!("{:.3}", total.hours()),
            money(total.hours() * run.price),
            money(run.report.billed_hours * run.price),
        ]);
    }
    out.push('\n');
    grid(out, &rows, 1, true);
    let _ = writeln!(out, "{DIM}billed: as App Engine counts instance hours, up to 15 minutes after an instance's last request{DIM:#}");
}

fn decisions(out: &mut String, run: &Run) {
    let all = &run.report.decisions;
    let _ = writeln!(out, "\n{BOLD}decisions{BOLD:#}");
    for one in all.iter().take(DECISIONS) {
        let (style, what) = match one.what {
            What::Start => (GREEN, "start"),
            What::Stop => (YELLOW, "stop "),
        };
        let short: String = one.instance.to_string().chars().take(8).collect();
        let at = one.at.since(Tick(0)).as_secs_f64();
        let _ = writeln!(out, "  {at:>10.3} s  {style}{what}{style:#} {short:<8} {DIM}{}{DIM:#}", one.why);
    }
    let more = all.len().saturating_sub(DECISIONS) as u64 + run.report.more_decisions;
    if more > 0 {
        let _ = writeln!(out, "  {DIM}and {more} more; --format json has up to 10,000{DIM:#}");
    }
    out.push('\n');
}

/// `0:01:30`, or with milliseconds where steps are shorter than a second.
fn clock(at: Tick) -> String {
    let seconds = at.0 / 1_000_000;
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let part = at.0 / 1_000 % 1_000;
    let part = if part > 0 { format!(".{part:03}") } else { String::new() };
    format!("{hours}:{minutes:02}:{rest:02}{part}")
}

/// `0 ms`, `3.2 ms`, `412 ms`, `2.4 s`.
fn millis(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        _ if time.is_zero() => "0 ms".into(),
        ..10.0 => format!("{ms:.1} ms"),
        ..1_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

/// `$0.0042`, `$1.20`.
fn money(dollars: f64) -> String {
    if dollars == 0.0 {
        "0".into()
    } else if dollars < 0.1 {
        format!("${dollars:.4}")
    } else {
        format!("${dollars:.2}")
    }
}

/// `90 s`, `10 min`, `1.5 h`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..120.0 => format!("{} s", (seconds * 10.0).round() / 10.0),
        ..7_200.0 => format!("{} min", (seconds / 6.0).round() / 10.0),
        _ => format!("{} h", (seconds / 360.0).round() / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(clock(Tick(5_405_000_000)), "1:30:05");
        assert_eq!(clock(Tick(500_000)), "0:00:00.500");
        assert_eq!(
            [0, 3_200, 412_000, 2_400_000].map(|micros| millis(Duration::from_micros(micros))),
            ["0 ms", "3.2 ms", "412 ms", "2.4 s"]
        );
        assert_eq!([0.0, 0.00421, 1.2].map(money), ["0", "$0.0042", "$1.20"]);
        assert_eq!([90, 600, 5_400, 86_400].map(|s| span(Duration::from_secs(s))), ["90 s", "10 min", "90 min", "24 h"]);
    }
}
