//! What a deployment does right now, and how long each part of it took.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Watch;
use crate::ui::{DIM, GREEN, RED, Task, Ui};

/// One part of the work: a spinner on a terminal, and in the end a line with its time.
pub(super) struct Stage {
    ui: Ui,
    name: &'static str,
    said: String,
    begun: Instant,
    task: Option<Task>,
}

impl Stage {
    /// Begins one.
    pub(super) fn begin(ui: &Ui, name: &'static str) -> Self {
        Self { ui: ui.clone(), name, said: String::new(), begun: Instant::now(), task: Some(ui.wait(name)) }
    }

    /// A detail for who watches.
    pub(super) fn detail(&self, text: &str) {
        if let Some(task) = &self.task {
            task.detail(text);
        }
    }

    /// It is done; what came out of it.
    pub(super) fn done(mut self, said: &str) {
        said.clone_into(&mut self.said);
        self.close(true);
    }

    fn close(&mut self, well: bool) {
        // Without a spinner before the line is written, the line would be written around it.
        if self.task.take().is_some() {
            let mark = if well { format!("{GREEN}✓{GREEN:#}") } else { format!("{RED}✗{RED:#}") };
            let (name, said, took) = (self.name, &self.said, took(self.begun.elapsed()));
            self.ui.status(&format!("{mark} {name:7} {said:40} {DIM}{took:>8}{DIM:#}"));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.close(false);
    }
}

/// `12 ms`, `1.3 s`
pub(super) fn took(time: Duration) -> String {
    match time.as_millis() {
        0..1000 => format!("{} ms", time.as_millis()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// The stages of an operation that makes a version, as the server tells them.
pub(super) struct Making {
    ui: Ui,
    stage: Option<Stage>,
    said: String,
}

impl Making {
    /// Begins with whatever the server does first.
    pub(super) fn begin(ui: &Ui) -> Self {
        Self { ui: ui.clone(), stage: Some(Stage::begin(ui, "create")), said: String::new() }
    }

    /// The version is there.
    pub(super) fn done(mut self, said: &str) {
        if let Some(stage) = self.stage.take() {
            stage.done(said);
        }
    }
}

impl Watch for Making {
    fn seen(&mut self, operation: &Value) {
        let message = operation["metadata"]["ephemeralMessage"].as_str().unwrap_or_default();
        if message.is_empty() || message == self.said {
            return;
        }
        message.clone_into(&mut self.said);
        let name = stage_of(message);
        if let Some(stage) = self.stage.take_if(|stage| stage.name != name) {
            stage.done("");
        }
        self.stage.get_or_insert_with(|| Stage::begin(&self.ui, name)).detail(message);
    }
}

/// The stage that a message of the server belongs to.
fn stage_of(message: &str) -> &'static str {
    const STAGES: [(&str, &str); 5] =
        [("Copying", "copy"), ("Unpacking", "copy"), ("Building", "build"), ("Starting", "boot"), ("Warming", "warm")];
    STAGES.iter().find(|(beginning, _)| message.starts_with(beginning)).map_or("ready", |(_, stage)| stage)
}
