//! `enginehouse deploy`: an app's files become versions on a server. Readable from top to bottom: what is there ([`collect`], [`hash`]), what is to
//! happen ([`plan`]), and that it happens ([`carry`]).
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

mod carry;
mod collect;
mod configs;
mod hash;
mod ignore;
mod plan;
mod stages;
mod upload;

use std::path::PathBuf;
use std::process::ExitCode;

use appyaml::{Companion, Diagnostic, Loaded, LoadedService, load_app, render};
use clap::Args;
use model::ids::VersionId;

use crate::admin::ask::Asking;
use crate::admin::exit;
use crate::check::{count, tally};
use crate::client::settings::{Remote, Session, Settings, connect, only_app};
use crate::client::{App, Client, EXIT_STATUS, Failure, Outcome};
use crate::ui::{DIM, Ui};
use collect::Files;
use hash::Sums;
use stages::Stage;

/// `enginehouse deploy`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = format!("\
EXAMPLES
    enginehouse deploy                              the app of this folder
    enginehouse deploy app.yaml api/api.yaml        two services
    enginehouse deploy --version v2 --no-promote    to look at before it gets traffic
    enginehouse deploy cron.yaml dispatch.yaml      configuration alone
    enginehouse deploy --dry-run                    what would happen

All traffic goes to the new version as soon as it is ready; until then the old one serves.
If anything fails, nothing changes. The address of the app is written to the standard output,
everything else to the standard error.

{EXIT_STATUS}"))]
#[allow(clippy::struct_excessive_bools, reason = "these are the flags of gcloud")]
pub(crate) struct Deploy {
    /// App folders, service files, cron.yaml, queue.yaml, dispatch.yaml, index.yaml
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// What the new versions are called [default: `version:` of app.yaml, or the time: 20260131t120000]
    #[arg(long, short, value_name = "VERSION")]
    version: Option<VersionId>,
    /// Leave the traffic where it is
    #[arg(long, overrides_with = "promote")]
    no_promote: bool,
    /// Give all traffic to the new versions [default]
    #[arg(long, overrides_with = "no_promote")]
    promote: bool,
    /// Move the traffic step by step, after warming up
    #[arg(long, conflicts_with = "no_promote")]
    migrate: bool,
    /// Let the version before go on running where its scaling is basic or manual
    #[arg(long, overrides_with = "stop_previous_version")]
    no_stop_previous_version: bool,
    /// Stop the version before where its scaling is basic or manual [default]
    #[arg(long, overrides_with = "no_stop_previous_version")]
    stop_previous_version: bool,
    /// Show what would happen, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    remote: Remote,
}

/// A service that is deployed, and its files.
struct Part {
    service: LoadedService,
    version: String,
    files: Files,
    sums: Sums,
}

/// Runs the command.
pub(crate) fn deploy(ui: &Ui, asked: &Deploy) -> ExitCode {
    exit(ui, go(ui, asked))
}

fn go(ui: &Ui, asked: &Deploy) -> Outcome<()> {
    let loaded = load(ui, asked)?;
    let (client, settings) = connect(ui, &asked.remote)?;
    let app = App { id: project(&client, &settings, &loaded)? };
    let session = Session { ui: ui.clone(), client, app };
    let parts = gather(ui, asked, &loaded)?;
    let plan = plan::Plan::make(&session, asked, &parts, &loaded)?;
    ui.status(&plan.text(&session, &parts, &loaded));
    if asked.dry_run {
        ui.status(&format!("{DIM}nothing was done (--dry-run){DIM:#}"));
        return Ok(());
    }
    asked.asking.confirm(ui, "Do you want to continue")?;
    carry::out(&session, asked, &plan, &parts, &loaded)
}

/// Reads all files, and tells every mistake at once.
fn load(ui: &Ui, asked: &Deploy) -> Outcome<Loaded> {
    let project = asked.remote.project.as_ref().map(|id| id.parse().map_err(|why| Failure::Usage(format!("--project {id}: {why}"))));
    let options = appyaml::Options { project: project.transpose()?, ..appyaml::Options::default() };
    let mut loaded = load_app(&asked.paths, &options);
    let concerns = |found: &Diagnostic| concerns(&loaded, found);
    let shown: Vec<Diagnostic> = loaded.diagnostics.iter().filter(|found| concerns(found)).cloned().collect();
    loaded.diagnostics = shown;
    if !loaded.diagnostics.is_empty() {
        ui.block(&render::text(&loaded.diagnostics, &loaded.sources, true));
    }
    if !loaded.is_ok() {
        ui.status(&format!("{}; nothing was deployed", tally(&loaded.diagnostics)));
        return Err(Failure::Told);
    }
    for service in &mut loaded.services {
        service.root = service.root.canonicalize().map_err(|error| Failure::Here(format!("{}: {error}", service.root.display())))?;
    }
    Ok(loaded)
}

/// Other services may be on the server, and files that were found beside what was asked for are not deployed.
fn concerns(loaded: &Loaded, found: &Diagnostic) -> bool {
    const OF_WHOLE_APPS: [&str; 3] = ["A0503", "A0505", "A0603"];
    let file = found.primary.as_ref().and_then(|label| loaded.sources.get(label.span.file).path.file_name());
    let companion = file.and_then(|name| Companion::of_name(&name.to_string_lossy()));
    !OF_WHOLE_APPS.contains(&found.code.id) && companion.is_none_or(|kind| loaded.given.contains(&kind))
}

/// The app: as asked, as app.yaml says, as remembered, or the only one of the server.
fn project(client: &Client, settings: &Settings, loaded: &Loaded) -> Outcome<String> {
    let said = settings.asked_project.clone().or_else(|| loaded.app.as_ref().map(ToString::to_string));
    said.or_else(|| settings.usual_project.clone()).map_or_else(|| only_app(client), Ok)
}

/// Finds and sums the files of every service.
fn gather(ui: &Ui, asked: &Deploy, loaded: &Loaded) -> Outcome<Vec<Part>> {
    let now = jiff::Zoned::now().strftime("%Y%m%dt%H%M%S").to_string();
    let memory = crate::storage::cache().ok().map(|cache| cache.join("sums"));
    let mut parts = Vec::new();
    for service in &loaded.services {
        let said = service.names_version.then(|| service.config.key.version.to_string());
        let version = asked.version.as_ref().map(ToString::to_string).or(said).unwrap_or_else(|| now.clone());
        let stage = Stage::begin(ui, "scan");
        let files = collect::collect(service)?;
        for note in &files.notes {
            ui.warning(note);
        }
        stage.done(&format!("{}, {}", count(files.files.len(), "file"), crate::admin::output::size(files.bytes())));
        let stage = Stage::begin(ui, "hash");
        let sums = hash::sum(&service.root, &files.files, memory.as_deref())?;
        stage.done(&format!("{} read, {} known", sums.read, files.files.len() - sums.read));
        parts.push(Part { service: service.clone(), version, files, sums });
    }
    Ok(parts)
}

impl Part {
    fn id(&self) -> &str {
        self.service.config.key.service.as_str()
    }
}
