//! `enginehouse simulate`: what a scaling block does under a load, before anything is deployed. The scheduler is the real one; the instances are
//! imagined by `model::sim`. Here files are read, progress is shown and results are laid out.

mod args;
mod json;
mod svg;
mod table;
mod trace;
mod variants;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use model::ids::ServiceId;
use model::scaling::InstanceClass;
use model::sched::{Cap, Settings};
use model::sim::profile::{Mistake, Profile};
use model::sim::{Arrival, Delay, MOST_ARRIVALS, Report, Setup, Simulation, price};

pub(crate) use args::Simulate;
use args::{Format, check_step};
use trace::Trace;
use variants::Variant;

use crate::ui::{BOLD, RED, Ui};

/// Runs the command.
pub(crate) fn simulate(ui: &Ui, asked: &Simulate) -> ExitCode {
    match try_simulate(ui, asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            // What shows places in files brings its own `error:` for each.
            match text.rsplit_once('\n') {
                Some((findings, last)) => {
                    ui.block(&format!("{findings}\n"));
                    ui.error(last);
                }
                None => ui.error(&text),
            }
            ExitCode::FAILURE
        }
    }
}

/// Where requests come from.
enum Load {
    Profile(Profile),
    Trace(Trace),
}

/// One configuration and what became of it.
pub(crate) struct Run {
    pub(crate) variant: Variant,
    pub(crate) report: Report,
    /// Dollars for an hour of one instance.
    pub(crate) price: f64,
}

/// What all runs have in common.
pub(crate) struct Scene<'a> {
    pub(crate) asked: &'a Simulate,
    pub(crate) service: Delay,
    /// Whether the trace said how long requests take.
    pub(crate) from_trace: bool,
    pub(crate) long: Duration,
    pub(crate) step: Duration,
}

fn try_simulate(ui: &Ui, asked: &Simulate) -> Result<(), String> {
    let variants = variants::read(&asked.paths, asked.service.as_deref(), &asked.set)?;
    let service = variants.first().map_or_else(ServiceId::default_service, |first| first.config.key.service.clone());
    let load = load(ui, asked, &service)?;
    let long = match &load {
        Load::Profile(profile) => profile.long(),
        Load::Trace(trace) => trace.long(),
    };
    let step = asked.step.unwrap_or_else(|| readable(long, asked.format));
    check_step(step, long)?;
    let from_trace =
        matches!(&load, Load::Trace(trace) if asked.service_ms.is_none() && trace.arrivals.iter().any(|one| one.service.is_some()));
    let scene = Scene { asked, service: asked.service_ms.unwrap_or(Delay::Fixed(Duration::from_millis(100))), from_trace, long, step };
    let mut runs = Vec::new();
    for variant in variants {
        runs.push(run(ui, &scene, &load, variant)?);
    }
    match asked.format {
        Format::Table => ui.data(&table::lay_out(&scene, &runs)),
        Format::Json => ui.data(&json::write(&scene, &runs)),
    }
    if let Some(path) = &asked.svg {
        let text = svg::draw(&scene, &runs);
        std::fs::write(path, text).map_err(|error| format!("cannot write the chart {}: {error}", path.display()))?;
        ui.status(&format!("the chart is in {BOLD}{}{BOLD:#}", path.display()));
    }
    Ok(())
}

fn load(ui: &Ui, asked: &Simulate, service: &ServiceId) -> Result<Load, String> {
    if let Some(path) = &asked.trace {
        let task = ui.wait(&format!("reading {}", path.display()));
        let trace = Trace::read(path, service)?;
        drop(task);
        if trace.unsorted {
            ui.status(&format!("{}: not in order of time; sorted", path.display()));
        }
        return Ok(Load::Trace(trace));
    }
    let text = asked.rps.as_deref().unwrap_or_default();
    let profile = Profile::parse(text, asked.rest).map_err(|mistake| point(text, &mistake))?;
    #[allow(clippy::cast_precision_loss, reason = "five million")]
    let most = MOST_ARRIVALS as f64;
    if profile.expected() > most {
        let expected = profile.expected() / 1e6;
        return Err(format!(
            "--rps {text} makes {expected:.1} million requests, {:.0} million are the most; shorten it or lower the rate",
            most / 1e6
        ));
    }
    Ok(Load::Profile(profile))
}

/// Shows the place in the profile.
fn point(text: &str, mistake: &Mistake) -> String {
    let before = text.get(..mistake.at).unwrap_or_default().chars().count();
    let marked = text.get(mistake.at..(mistake.at + mistake.len).min(text.len())).unwrap_or_default().chars().count().max(1);
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (pad, mark) = (" ".repeat(before), "^".repeat(marked));
    format!("  --rps {shown}\n        {pad}{RED}{mark}{RED:#}\nthe profile is wrong: {}", mistake.what)
}

/// Steps of which a table has about twenty and a chart about two hundred.
fn readable(long: Duration, format: Format) -> Duration {
    const NICE: [u64; 18] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400];
    let wished = match format {
        Format::Table => long.as_secs_f64() / 240.0,
        Format::Json => long.as_secs_f64() / 60.0,
    };
    let nice = NICE.into_iter().map(Duration::from_secs).find(|nice| nice.as_secs_f64() >= wished);
    nice.unwrap_or(Duration::from_hours(24)).min(long.max(Duration::from_secs(1)))
}

fn run(ui: &Ui, scene: &Scene<'_>, load: &Load, variant: Variant) -> Result<Run, String> {
    let setup = setup(scene, &variant);
    let whom = format!("simulating {}", variant.name);
    let report = match load {
        Load::Profile(profile) => drive(ui, &whom, setup, profile.arrivals(scene.asked.arrivals.spacing(), scene.asked.seed)),
        Load::Trace(trace) => {
            let own = scene.from_trace;
            drive(ui, &whom, setup, trace.arrivals.iter().map(move |one| Arrival { service: one.service.filter(|_| own), ..*one }))
        }
    };
    let report = report.map_err(|stuck| format!("{}: {stuck}", variant.name))?;
    let price = scene.asked.price * price::multiple(variant.config.class);
    Ok(Run { variant, report, price })
}

fn setup(scene: &Scene<'_>, variant: &Variant) -> Setup {
    let asked = scene.asked;
    let stop = Duration::from_millis(100);
    let class: InstanceClass = variant.config.class;
    let mut settings = Settings::of(&variant.config);
    if let Some(instances) = asked.max_instances {
        settings.cap = Cap { instances, why: "as --max-instances says".into() };
    }
    Setup {
        settings,
        class,
        measured_on: variant.measured_on,
        start: asked.start_ms,
        warmup: asked.warmup_ms,
        stop,
        service: scene.service,
        cpu: asked.cpu,
        patience: asked.patience,
        long: scene.long,
        step: scene.step,
        seed: asked.seed,
    }
}

/// Turns between two looks at the clock.
const TURNS: u32 = 20_000;
/// A simulation that takes longer shows how far it is.
const PATIENCE: Duration = Duration::from_millis(500);
/// Where there is no terminal, a line now and then does.
const NEWS: Duration = Duration::from_secs(10);

fn drive(ui: &Ui, whom: &str, setup: Setup, arrivals: impl Iterator<Item = Arrival>) -> Result<Report, model::sim::Stuck> {
    let begun = Instant::now();
    let mut said = begun;
    let mut task = None;
    let mut simulation = Simulation::new(setup, arrivals);
    while !simulation.advance(TURNS)? {
        if begun.elapsed() < PATIENCE {
            continue;
        }
        let task = task.get_or_insert_with(|| ui.wait(whom));
        let state = format!("{:.0} %, {} instances", simulation.progress() * 100.0, simulation.instances());
        task.detail(&state);
        if !ui.is_interactive() && said.elapsed() > NEWS {
            said = Instant::now();
            ui.status(&format!("{whom}: {state}"));
        }
    }
    Ok(simulation.finish())
}
