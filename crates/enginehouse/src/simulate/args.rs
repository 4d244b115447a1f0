//! The command line of `enginehouse simulate`.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use model::sim::profile::{Spacing, time};
use model::sim::{Delay, MOST_STEPS};

/// `enginehouse simulate`
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("load").required(true).args(["rps", "trace"])))]
#[command(after_long_help = "\
THE LOAD
    --rps PROFILE is requests per second over time: parts separated by commas, each RATExTIME (or RATE/TIME).
        5                    5 a second for 10 minutes (see --for; the last part may leave out its time)
        10x5m,100x1m,10x5m   steps: quiet, a burst of a minute, quiet
        0..100/60s           a ramp from 0 to 100 in a minute
        20~80/24h            a wave from 20 up to 80 and back: a day
        100x5m,0x20m         a zero shows how instances leave
    TIME is such as 500ms, 90s, 5m, 1h30m or 7d.
    --trace FILE is one arrival a line (`-` reads stdin), in any order, of any of these kinds:
        12.5                 seconds; also since 1970, or 2026-01-31T12:00:00.5Z
        12.5,80              and how many milliseconds it took; a first line of names may say which column is which:
                             `time` and `service_ms`
        {\"time\": 12.5, \"service_ms\": 80}
        {\"type\":\"request\",…}  the log of `enginehouse run --log-format json`: requests of this service that reached an instance
        {\"timestamp\":\"…\",\"httpRequest\":{\"latency\":\"0.08s\"}}  entries exported from Cloud Logging

WHAT IS IMAGINED
    A start takes --start-ms, and the first request of an instance takes --warmup-ms longer unless a warmup or start request came
    before it. A request takes --service-ms at an instance that does nothing else; --cpu of that is CPU time, and requests that
    together want more CPU than their instance has wait for each other. Everything else is the scheduler that serves real apps.

EXAMPLES
    enginehouse simulate app.yaml --rps 10x5m,100x1m,10x5m
    enginehouse simulate app.yaml --rps 0..200/10m --set max_concurrent_requests=40 --set min_idle_instances=2 --svg out.svg
    enginehouse simulate app.yaml --trace requests.log --set instance_class=F2
    enginehouse simulate before.yaml after.yaml --rps 20~80/24h --service-ms 50..400 --format json

EXIT STATUS
    0  simulated
    1  a file or the configuration is wrong, or the simulation cannot go on; the message says why
    2  wrong usage")]
pub(crate) struct Simulate {
    /// app.yaml files or app folders; several are simulated under the same load and compared
    #[arg(value_name = "APP.yaml", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// The load as requests per second over time: 5 or 10x5m,0..100/60s (see --help)
    #[arg(long, value_name = "PROFILE")]
    pub(crate) rps: Option<String>,
    /// The load as a file of arrivals: numbers, CSV, JSON lines or our own JSON log; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// How long a profile's last part lasts if it does not say
    #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "10m", conflicts_with = "trace")]
    pub(crate) rest: Duration,
    /// Whether the requests of a profile come independently of each other or like a clock
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Arrivals::Poisson, conflicts_with = "trace")]
    pub(crate) arrivals: Arrivals,
    /// From the start of an instance until it takes requests: 300, or 200..900 for a median and a 99th percentile
    #[arg(long, value_name = "MS", value_parser = Delay::parse_ms, default_value = "300")]
    pub(crate) start_ms: Delay,
    /// How much longer the first request of an instance takes, which a warmup or start request takes over
    #[arg(long, value_name = "MS", value_parser = Delay::parse_ms, default_value = "0")]
    pub(crate) warmup_ms: Delay,
    /// How long a request takes: 100, or 50..200 for a median and a 99th percentile (lognormal) [default: what the trace says, or 100]
    #[arg(long, value_name = "MS", value_parser = Delay::parse_ms)]
    pub(crate) service_ms: Option<Delay>,
    /// Which part of that is CPU time of the instance's class, in percent
    #[arg(long, value_name = "PERCENT", value_parser = percent, default_value = "30")]
    pub(crate) cpu: f64,
    /// How long a request may wait for an instance, as `run --patience`
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "1m")]
    pub(crate) patience: Duration,
    /// Also simulate with this setting changed, and compare: max_instances=5, basic_scaling.idle_timeout=2m, instance_class=F2; several separated by
    /// commas are one variant
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub(crate) set: Vec<String>,
    /// Most instances that the computer bears, as `run --max-instances` [default: no limit but that of the file]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_instances: Option<u32>,
    /// Which service, if the path has several
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Dollars for an hour of an F1 or B1 instance; larger classes cost their multiple [default: App Engine's list price in us-central1]
    #[arg(long, value_name = "DOLLARS", value_parser = dollars, default_value_t = model::sim::price::BASE)]
    pub(crate) price: f64,
    /// The seed of every draw; the same seed gives the same numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How much time one line of the result covers [default: what gives a readable table]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) step: Option<Duration>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Also draw the result: requests, instances, pending latency and cost over time
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Also list what the scheduler decided, when and why
    #[arg(long)]
    pub(crate) decisions: bool,
}

/// `--arrivals`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// As strangers send them.
    Poisson,
    /// Evenly spaced.
    Even,
}

impl Arrivals {
    pub(crate) fn spacing(self) -> Spacing {
        match self {
            Self::Poisson => Spacing::Poisson,
            Self::Even => Spacing::Even,
        }
    }
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One document.
    Json,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim_end_matches('%').parse().ok().filter(|percent: &f64| (0.0..=100.0).contains(percent));
    number.map(|percent| percent / 100.0).ok_or_else(|| format!("`{text}` is not a number from 0 to 100"))
}

fn dollars(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim_start_matches('$').parse().ok().filter(|price: &f64| (0.0..=1e6).contains(price));
    number.ok_or_else(|| format!("`{text}` is not a price in dollars, such as 0.05"))
}

/// Refuses steps that are too fine for the load.
pub(crate) fn check_step(step: Duration, long: Duration) -> Result<(), String> {
    let least = long / u32::try_from(MOST_STEPS).unwrap_or(u32::MAX);
    if step >= least && step >= Duration::from_millis(1) {
        return Ok(());
    }
    Err(format!("--step {step:?} is too fine for a load of {long:?}: at most {MOST_STEPS} steps, and none below 1 ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_prices_are_checked() {
        assert_eq!(percent("30"), Ok(0.3));
        assert_eq!(percent("0%"), Ok(0.0));
        assert_eq!(dollars("$0.05"), Ok(0.05));
        for bad in ["-1", "101", "NaN", "x", ""] {
            assert!(percent(bad).is_err(), "{bad}");
        }
        for bad in ["-1", "NaN", "inf", "x"] {
            assert!(dollars(bad).is_err(), "{bad}");
        }
    }
}
