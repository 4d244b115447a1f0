//! `enginehouse logs`: reads the log that `run` keeps in the app's storage folder, while it grows or afterwards.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use store::log::{Filter, Found, Id, Reader};

use crate::app::Source;
use crate::cli::{LogFormat, Logs};
use crate::show;
use crate::ui::{DIM, Ui};
use crate::wishes::Wishes;

/// How often a log that is followed is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Entries that are shown if nobody says how many.
const NEWEST: usize = 200;
const NEWEST_FOLLOWED: usize = 10;

/// Runs the command.
pub(crate) fn logs(ui: &Ui, asked: &Logs) -> ExitCode {
    match show_log(ui, asked) {
        Ok(()) => ExitCode::SUCCESS,
        // `enginehouse logs | head` is no failure.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn show_log(ui: &Ui, asked: &Logs) -> anyhow::Result<()> {
    let reader = open(ui, asked)?;
    let filter = filter(&reader, asked)?;
    let limit = asked.limit.unwrap_or(if asked.follow { NEWEST_FOLLOWED } else { NEWEST });
    let last = match limit {
        0 => print_all(reader.forward(filter.clone(), None), asked.format, None)?,
        limit => print_newest(&reader, &filter, limit, asked.format)?,
    };
    if asked.follow {
        follow(&reader, filter, last, asked.format)?;
    }
    Ok(())
}

/// Finds the log. Someone who follows may come before the first entry, though not before the storage.
fn open(ui: &Ui, asked: &Logs) -> anyhow::Result<Reader> {
    let storage = storage(asked)?;
    if !storage.is_dir() {
        bail!("there is no storage folder {}: the app has not run yet, or elsewhere (see --project and --storage)", storage.display());
    }
    let dir = storage.join(store::log::FOLDER);
    let missing = !dir.is_dir();
    if missing && asked.follow {
        ui.status(&format!("{DIM}nothing is logged yet in {}{DIM:#}", dir.display()));
        while !dir.is_dir() {
            std::thread::sleep(LOOK);
        }
    }
    let nothing = || format!("nothing is logged in {}; `enginehouse run` logs there unless it is told --log-limit 0", dir.display());
    let reader = Reader::open(&dir).with_context(nothing)?;
    if reader.is_empty() && !asked.follow {
        bail!(nothing());
    }
    Ok(reader)
}

fn storage(asked: &Logs) -> anyhow::Result<PathBuf> {
    if let Some(storage) = &asked.storage {
        return Ok(storage.clone());
    }
    if let Some(project) = &asked.project {
        return crate::storage::default_folder(project);
    }
    let options = appyaml::Options::default();
    let loaded = Source { paths: asked.target.paths.clone(), options, wishes: Wishes::default() }.read();
    if loaded.services.is_empty() {
        let places: Vec<_> = asked.target.paths.iter().map(|path| shown(path)).collect();
        bail!("there is no app in {}; name its folder, its --project or its --storage", places.join(", "));
    }
    crate::storage::default_folder(&crate::app::id(&loaded))
}

fn shown(path: &Path) -> String {
    if path == Path::new(".") { "this folder".to_owned() } else { path.display().to_string() }
}

fn filter(reader: &Reader, asked: &Logs) -> anyhow::Result<Filter> {
    let trace = match &asked.request {
        // A trace may be named instead of a log id; both are 32 hexadecimal digits.
        Some(request) => reader.trace_of(request)?.or_else(|| Some(request.clone())),
        None => None,
    };
    Ok(Filter {
        service: asked.service.clone(),
        version: asked.version.clone(),
        instance: asked.instance.clone(),
        level: asked.level,
        request: asked.request.clone(),
        trace,
        since: asked.since,
        until: asked.until,
    })
}

/// Prints the newest entries, the oldest of them first; the last of them.
fn print_newest(reader: &Reader, filter: &Filter, limit: usize, format: LogFormat) -> anyhow::Result<Option<Id>> {
    // The end is marked first: what comes while this is printed belongs to who follows.
    let mark = reader.newest_first(Filter::default(), None).next().transpose()?.map(|found| found.id);
    let mut newest = reader.newest_first(filter.clone(), None).take(limit).collect::<io::Result<Vec<Found>>>()?;
    newest.reverse();
    let last = newest.last().map(|found| found.id);
    print_all(newest.into_iter().map(Ok), format, None)?;
    Ok(last.max(mark))
}

/// Prints what comes, as long as something does; the last that was seen.
fn print_all(entries: impl Iterator<Item = io::Result<Found>>, format: LogFormat, mut last: Option<Id>) -> anyhow::Result<Option<Id>> {
    let mut out = anstream::stdout().lock();
    let mut text = String::new();
    for found in entries {
        let found = found?;
        last = Some(found.id);
        write_entry(&found, format, &mut text);
        if text.len() > 32 * 1024 {
            out.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(last)
}

fn follow(reader: &Reader, filter: Filter, last: Option<Id>, format: LogFormat) -> anyhow::Result<()> {
    let mut entries = reader.forward(filter, last);
    loop {
        print_all(entries.by_ref(), format, None)?;
        std::thread::sleep(LOOK);
    }
}

fn write_entry(found: &Found, format: LogFormat, text: &mut String) {
    match format {
        LogFormat::Text => {
            let _ = write!(text, "{DIM}{}{DIM:#} ", time(found.at));
            show::plain(&found.entry, text);
        }
        // What is on the disk is an object; its id goes in front.
        LogFormat::Json => {
            let _ = writeln!(text, "{{\"id\":\"{}\",{}", found.id, found.json.strip_prefix('{').unwrap_or("}"));
        }
    }
}

/// `2026-01-31 12:00:00.123`, in UTC.
fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| "-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}
