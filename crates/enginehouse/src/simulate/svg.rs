//! The result as a chart: one SVG document without scripts or outside references, light or dark as the viewer prefers.

use std::fmt::Write as _;
use std::time::Duration;

use model::sim::{Histogram, Step};

use super::{Run, Scene};

/// A line or area of a panel.
struct Series {
    name: String,
    /// Number of the colour.
    colour: usize,
    area: bool,
    dashed: bool,
    values: Vec<f64>,
}

/// One pair of axes.
struct Panel {
    title: &'static str,
    unit: Unit,
    /// Areas stand on each other.
    stacked: bool,
    series: Vec<Series>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    PerSecond,
    Count,
    Time,
    Percent,
    Dollars,
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const HIGH: f64 = 130.0;
const PITCH: f64 = 196.0;

/// Colours that differ for colour-blind eyes, too, on white and on black.
const LIGHT: [&str; 13] = [
    "#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#92400e", "#4338ca", "#0f766e", "#a21caf",
    "#64748b",
];
const DARK: [&str; 13] = [
    "#60a5fa", "#fbbf24", "#34d399", "#f87171", "#a78bfa", "#22d3ee", "#f472b6", "#a3e635", "#d6a26d", "#818cf8", "#5eead4", "#e879f9",
    "#94a3b8",
];
const BLUE: usize = 0;
const ORANGE: usize = 1;
const GREEN: usize = 2;
const RED: usize = 3;
const GREY: usize = 12;

/// The chart.
pub(super) fn draw(scene: &Scene<'_>, runs: &[Run]) -> String {
    let panels = if let [run] = runs { one(run) } else { several(runs) };
    let most = runs.iter().map(|run| run.report.total().long.as_secs_f64()).fold(1.0, f64::max);
    let (times, scale) = (starts(runs), Scale { most, step: scene.step.as_secs_f64() });
    #[allow(clippy::cast_precision_loss, reason = "a handful")]
    let high = TOP + PITCH * panels.len() as f64;
    let mut out = String::new();
    head(&mut out, high, scene, runs);
    let mut top = TOP;
    for panel in &panels {
        panel.draw(&mut out, top, &times, &scale);
        top += PITCH;
    }
    out.push_str("</svg>\n");
    out
}

/// Everything about one configuration.
fn one(run: &Run) -> Vec<Panel> {
    let steps = &run.report.steps;
    let of = |value: &dyn Fn(&Step) -> f64| steps.iter().map(value).collect::<Vec<_>>();
    let line = |name: &str, colour, values| Series { name: name.into(), colour, area: false, dashed: false, values };
    let area = |name: &str, colour, values| Series { area: true, ..line(name, colour, values) };
    let mut load =
        vec![area("came", GREY, of(&|step| step.rate(step.arrived))), line("answered", BLUE, of(&|step| step.rate(step.answered)))];
    if run.report.total().rejected > 0 {
        load.push(line("rejected", RED, of(&|step| step.rate(step.rejected))));
    }
    let instances = vec![
        area("busy", BLUE, of(&|step| step.mean(step.busy))),
        area("idle", GREEN, of(&|step| step.mean(step.idle))),
        area("starting", ORANGE, of(&|step| step.mean(step.starting))),
        area("leaving", GREY, of(&|step| step.mean(step.leaving))),
    ];
    let wait = |share: f64| of(&|step| seconds(&step.waits, share));
    let pending = vec![
        line("p50", GREEN, wait(0.5)),
        line("p95", BLUE, wait(0.95)),
        line("p99", ORANGE, wait(0.99)),
        Series { dashed: true, ..line("max", RED, of(&|step| step.waits.max().as_secs_f64())) },
    ];
    vec![
        Panel { title: "requests per second", unit: Unit::PerSecond, stacked: false, series: load },
        Panel { title: "instances", unit: Unit::Count, stacked: true, series: instances },
        Panel { title: "pending latency", unit: Unit::Time, stacked: false, series: pending },
        Panel {
            title: "CPU of ready instances",
            unit: Unit::Percent,
            stacked: false,
            series: vec![area("used", BLUE, of(&Step::utilization))],
        },
        Panel { title: "cost so far", unit: Unit::Dollars, stacked: false, series: vec![line("cost", BLUE, cost(run))] },
    ]
}

/// The same figure of every configuration in one panel.
fn several(runs: &[Run]) -> Vec<Panel> {
    let each = |value: &dyn Fn(&Step) -> f64| {
        let series = |(colour, run): (usize, &Run)| Series {
            name: run.variant.name.clone(),
            colour,
            area: false,
            dashed: false,
            values: run.report.steps.iter().map(value).collect(),
        };
        runs.iter().enumerate().map(series).collect::<Vec<_>>()
    };
    let mut load = each(&|step| step.rate(step.answered));
    let came = runs.first().map(|run| run.report.steps.iter().map(|step| step.rate(step.arrived)).collect()).unwrap_or_default();
    load.insert(0, Series { name: "came".into(), colour: GREY, area: true, dashed: false, values: came });
    let spent =
        |(colour, run): (usize, &Run)| Series { name: run.variant.name.clone(), colour, area: false, dashed: false, values: cost(run) };
    let mut panels = vec![
        Panel { title: "answers per second", unit: Unit::PerSecond, stacked: false, series: load },
        Panel {
            title: "instances",
            unit: Unit::Count,
            stacked: false,
            series: each(&|step| step.mean(step.starting + step.idle + step.busy)),
        },
        Panel { title: "pending latency, p95", unit: Unit::Time, stacked: false, series: each(&|step| seconds(&step.waits, 0.95)) },
        Panel { title: "pending latency, max", unit: Unit::Time, stacked: false, series: each(&|step| step.waits.max().as_secs_f64()) },
        Panel { title: "cost so far", unit: Unit::Dollars, stacked: false, series: runs.iter().enumerate().map(spent).collect() },
    ];
    if runs.iter().any(|run| run.report.total().rejected > 0) {
        let rejected = each(&|step| step.rate(step.rejected));
        panels.insert(1, Panel { title: "rejected per second", unit: Unit::PerSecond, stacked: false, series: rejected });
    }
    panels
}

fn seconds(times: &Histogram, share: f64) -> f64 {
    times.quantile(share).as_secs_f64()
}

fn cost(run: &Run) -> Vec<f64> {
    let mut spent = 0.0;
    let add = |step: &Step| {
        spent += step.hours() * run.price;
        spent
    };
    run.report.steps.iter().map(add).collect()
}

/// When the steps begin, of the run that has most of them.
fn starts(runs: &[Run]) -> Vec<f64> {
    let longest = runs.iter().max_by_key(|run| run.report.steps.len());
    longest.map(|run| run.report.steps.iter().map(|step| Duration::from_micros(step.at.0).as_secs_f64()).collect()).unwrap_or_default()
}

fn head(out: &mut String, high: f64, scene: &Scene<'_>, runs: &[Run]) {
    let load = match (&scene.asked.trace, &scene.asked.rps) {
        (Some(path), _) => path.display().to_string(),
        (None, rps) => format!("{} requests/s", rps.as_deref().unwrap_or_default()),
    };
    let whom = match runs {
        [run] => run.variant.name.clone(),
        _ => format!("{} configurations", runs.len()),
    };
    let title = cut(&format!("{whom} under {load}"), 90);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {high}\" width=\"{WIDTH}\" height=\"{high}\" role=\"img\" aria-label=\"{0}\">\n<title>{0}</title>\n<style>",
        escaped(&title)
    );
    let palette = |colours: &[&str]| colours.iter().enumerate().map(|(n, colour)| format!("--c{n}:{colour};")).collect::<Vec<_>>().concat();
    let _ = writeln!(out, "svg{{--back:#ffffff;--text:#1e293b;--soft:#64748b;--grid:#e2e8f0;{}}}", palette(&LIGHT));
    let _ = writeln!(
        out,
        "@media (prefers-color-scheme:dark){{svg{{--back:#0f172a;--text:#e2e8f0;--soft:#94a3b8;--grid:#334155;{}}}}}",
        palette(&DARK)
    );
    out.push_str(
        "text{font:12px system-ui,sans-serif;fill:var(--text)}.soft{fill:var(--soft)}.key{font:11px ui-monospace,monospace;fill:var(--soft)}.title{font-weight:600;font-size:13px}.head{font-weight:600;\
         font-size:16px}.grid{stroke:var(--grid)}.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.dash{stroke-dasharray:3 3}\n</style>\n",
    );
    let _ = writeln!(out, "<rect width=\"100%\" height=\"100%\" fill=\"var(--back)\"/>");
    let _ = writeln!(out, "<text class=\"head\" x=\"{LEFT}\" y=\"28\">{}</text>", escaped(&title));
}

/// Where times go on the x axis.
struct Scale {
    most: f64,
    step: f64,
}

impl Scale {
    fn x(&self, t: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (t / self.most).min(1.0)
    }

    /// The middle of the step that begins at `t`.
    fn middle(&self, t: f64) -> f64 {
        self.x(f64::midpoint(t, (t + self.step).min(self.most)))
    }
}

impl Panel {
    fn draw(&self, out: &mut String, top: f64, times: &[f64], scale: &Scale) {
        let (layers, highest) = self.layers();
        let most = nice(highest, self.unit);
        let y = |value: f64| top + HIGH - HIGH * (value / most).clamp(0.0, 1.0);
        let _ = writeln!(out, "<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>", top - 10.0, self.title);
        self.legend(out, top - 10.0);
        for n in 0..=4 {
            let value = most * f64::from(n) / 4.0;
            let at = y(value);
            let _ = writeln!(out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>", WIDTH - RIGHT);
            let label = self.unit.label(value, most);
            let _ = writeln!(out, "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 8.0, at + 4.0);
        }
        ticks(out, top, scale);
        // From the top of the stack down, so that lower areas cover what upper ones fill.
        for (series, values) in self.series.iter().zip(&layers).rev().filter(|(series, _)| series.area) {
            let points = path(values, times, scale, &y);
            let _ = writeln!(
                out,
                "<path d=\"{points} V{:.1} H{:.1} Z\" fill=\"var(--c{})\" fill-opacity=\"{}\"/>",
                top + HIGH,
                times.first().map_or(LEFT, |t| scale.middle(*t)),
                series.colour,
                if self.stacked { "1" } else { "0.25" }
            );
        }
        for (series, values) in self.series.iter().zip(&layers).filter(|(series, _)| !series.area) {
            let class = if series.dashed { "line dash" } else { "line" };
            let points = path(values, times, scale, &y);
            let _ = writeln!(out, "<path class=\"{class}\" d=\"{points}\" stroke=\"var(--c{})\"/>", series.colour);
        }
    }

    /// The heights to be drawn, and the greatest.
    fn layers(&self) -> (Vec<Vec<f64>>, f64) {
        let mut layers: Vec<Vec<f64>> = Vec::new();
        for series in &self.series {
            let below = layers.last().filter(|_| self.stacked);
            let sum = |(n, value): (usize, &f64)| value + below.and_then(|below| below.get(n)).copied().unwrap_or(0.0);
            let layer = series.values.iter().enumerate().map(sum).collect();
            layers.push(layer);
        }
        let highest = layers.iter().flatten().copied().fold(0.0, f64::max);
        (layers, highest)
    }

    fn legend(&self, out: &mut String, y: f64) {
        let mut x = WIDTH - RIGHT;
        let room = (WIDTH - LEFT - RIGHT - 170.0) / 7.0;
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most thirteen names")]
        let longest = ((room / self.series.len().max(1) as f64) as usize).saturating_sub(4).clamp(3, 40);
        for series in self.series.iter().rev() {
            let name = cut(&series.name, longest);
            let _ = writeln!(out, "<text class=\"key\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", escaped(&name));
            #[allow(clippy::cast_precision_loss, reason = "a short name")]
            let wide = name.chars().count() as f64 * 6.7;
            x -= wide + 16.0;
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" rx=\"2\" fill=\"var(--c{})\"><title>{}</title></rect>",
                x,
                y - 9.0,
                series.colour,
                escaped(&series.name)
            );
            x -= 14.0;
        }
    }
}

fn path(values: &[f64], times: &[f64], scale: &Scale, y: &dyn Fn(f64) -> f64) -> String {
    let mut out = String::new();
    for (n, (value, t)) in values.iter().zip(times).enumerate() {
        let _ = write!(out, "{}{:.1} {:.1}", if n == 0 { "M" } else { "L" }, scale.middle(*t), y(*value));
    }
    out
}

/// The x axis below a panel.
fn ticks(out: &mut String, top: f64, scale: &Scale) {
    const NICE: [f64; 22] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 21_600.0,
        43_200.0, 86_400.0, 259_200.0,
    ];
    let each = NICE.into_iter().find(|nice| scale.most / nice <= 10.0).unwrap_or(604_800.0);
    let mut t = 0.0;
    while t <= scale.most * 1.000_1 {
        let x = scale.x(t);
        let (from, to) = (top + HIGH, top + HIGH + 4.0);
        let _ = writeln!(out, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\"/>");
        let _ = writeln!(out, "<text class=\"soft\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", to + 14.0, moment(t, each));
        t += each;
    }
}

/// `30 s`, `5 min`, `1:30 h`, `2 d`.
fn moment(t: f64, each: f64) -> String {
    if t == 0.0 {
        return "0".into();
    }
    if each < 60.0 {
        return format!("{} s", (t * 10.0).round() / 10.0);
    }
    let minutes = (t / 60.0).round();
    let (hours, rest) = ((minutes / 60.0).floor(), minutes % 60.0);
    match each {
        ..3_600.0 if hours < 1.0 => format!("{minutes} min"),
        ..86_400.0 => format!("{hours}:{rest:02} h"),
        _ => format!("{} d", (hours / 24.0).round()),
    }
}

/// A round number at or above `most`.
fn nice(most: f64, unit: Unit) -> f64 {
    let least = match unit {
        Unit::Percent => return 1.0,
        Unit::Count => 4.0,
        Unit::PerSecond => 1.0,
        Unit::Time => 0.01,
        Unit::Dollars => 0.000_4,
    };
    let most = most.max(least);
    let power = 10f64.powf(most.log10().floor());
    [1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|round| *round >= most * 0.999_9)
        .unwrap_or(most)
}

impl Unit {
    fn label(self, value: f64, most: f64) -> String {
        // As many places as the lines of the grid need.
        let plain = |value: f64, most: f64| {
            let whole = |places: &usize| {
                let shifted = most / 4.0 * 10f64.powi(i32::try_from(*places).unwrap_or(0));
                (shifted - shifted.round()).abs() < 0.01
            };
            format!("{value:.0$}", (0..6).find(whole).unwrap_or(6))
        };
        match self {
            Self::PerSecond => format!("{}/s", plain(value, most)),
            Self::Count => plain(value, most),
            Self::Percent => format!("{:.0} %", value * 100.0),
            Self::Dollars => format!("${}", plain(value, most)),
            Self::Time if most < 1.0 => format!("{} ms", plain(value * 1e3, most * 1e3)),
            Self::Time => format!("{} s", plain(value, most)),
        }
    }
}

fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

/// Text that XML takes as text.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round_and_labelled() {
        assert!((nice(37.0, Unit::PerSecond) - 40.0).abs() < 1e-9 && (nice(0.0, Unit::Count) - 4.0).abs() < 1e-9);
        assert_eq!(Unit::Time.label(0.03, 0.12), "30 ms");
        assert_eq!(Unit::Time.label(1.5, 6.0), "1.5 s");
        assert_eq!(Unit::Dollars.label(0.05, 0.2), "$0.05");
        assert_eq!(
            [moment(30.0, 10.0), moment(300.0, 60.0), moment(5_400.0, 1_800.0), moment(172_800.0, 86_400.0)],
            ["30 s", "5 min", "1:30 h", "2 d"]
        );
    }

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(escaped("a<b>&\"\u{7}"), "a&lt;b&gt;&amp;&quot;\u{fffd}");
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
