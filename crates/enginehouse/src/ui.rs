//! The only place that prints. Data (findings, explanations, the log) goes to stdout, status (what was found, progress, complaints) to stderr.
//!
//! Colours follow `--color`, `NO_COLOR` and whether the stream is a terminal; the text is written with escapes and `anstream` takes them out.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Colour;

/// Grey, for what matters less.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Bold.
pub(crate) const BOLD: Style = Style::new().bold();
/// For what went well.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// For what wants attention.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// For what failed.
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
/// For addresses.
pub(crate) const CYAN: Style = AnsiColor::Cyan.on_default();

/// The printer. Cheap to clone; all clones share the progress lines.
#[derive(Clone)]
pub(crate) struct Ui {
    progress: Arc<MultiProgress>,
    interactive: bool,
}

impl Ui {
    /// Sets the colour choice for the whole process.
    pub(crate) fn new(colour: Colour) -> Self {
        match colour {
            Colour::Auto => {}
            Colour::Always => anstream::ColorChoice::Always.write_global(),
            Colour::Never => anstream::ColorChoice::Never.write_global(),
        }
        let interactive = std::io::stderr().is_terminal();
        let target = if interactive { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { progress: Arc::new(MultiProgress::with_draw_target(target)), interactive }
    }

    /// Writes data to stdout; a closed pipe is not an error.
    pub(crate) fn data(&self, text: &str) {
        self.progress.suspend(|| {
            let mut out = anstream::stdout().lock();
            let _ = out.write_all(text.as_bytes());
            let _ = out.flush();
        });
    }

    /// Writes one line of status to stderr.
    pub(crate) fn status(&self, text: &str) {
        self.progress.suspend(|| {
            let mut out = anstream::stderr().lock();
            let _ = writeln!(out, "{text}");
        });
    }

    /// Writes text to stderr that brings its own line ends.
    pub(crate) fn block(&self, text: &str) {
        self.progress.suspend(|| {
            let _ = anstream::stderr().lock().write_all(text.as_bytes());
        });
    }

    /// One line that begins with `error:`.
    pub(crate) fn error(&self, text: &str) {
        self.status(&format!("{RED}error{RED:#}: {text}"));
    }

    /// One line that begins with `warning:`.
    pub(crate) fn warning(&self, text: &str) {
        self.status(&format!("{YELLOW}warning{YELLOW:#}: {text}"));
    }

    /// Whether somebody watches.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// The same for what is not worth a line: a spinner on a terminal, otherwise nothing.
    pub(crate) fn wait(&self, text: &str) -> Task {
        if self.interactive { self.task(text) } else { Task { ui: self.clone(), bar: None } }
    }

    /// Shows that something takes its time: a spinner on a terminal, otherwise a line at the beginning and one at the end.
    pub(crate) fn task(&self, text: &str) -> Task {
        if !self.interactive {
            self.status(text);
            return Task { ui: self.clone(), bar: None };
        }
        let bar = self.progress.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.set_message(text.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Task { ui: self.clone(), bar: Some(bar) }
    }
}

/// Something under way. Dropping it takes its line away.
pub(crate) struct Task {
    ui: Ui,
    bar: Option<ProgressBar>,
}

impl Task {
    /// What is being done now.
    pub(crate) fn step(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.ui.status(text),
        }
    }

    /// A detail of what is being done now: shown on a terminal only, in place of the one before.
    pub(crate) fn detail(&self, text: &str) {
        if let Some(bar) = &self.bar {
            let said = bar.message();
            let step = said.split('\n').next().unwrap_or_default();
            bar.set_message(format!("{step}\n  {DIM}{text}{DIM:#}"));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
