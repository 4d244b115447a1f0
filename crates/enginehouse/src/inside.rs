//! What goes on inside, for whoever looks for a fault in the house itself: `tracing`, to stderr, if `ENGINEHOUSE_LOG` asks for it. Without
//! the variable nobody listens, and an event costs one look at a number.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::ui::Ui;

/// The variable: a level, or `fleet=trace,edge=debug`.
const VARIABLE: &str = "ENGINEHOUSE_LOG";
/// The filter that lets nothing through.
const OFF: &str = "off";

/// What a server is told while it runs, in its data folder; it counts in place of the variable.
pub(crate) const FILE: &str = "log-filter";

/// Changes what is listened to.
static TUNE: OnceLock<Box<dyn Fn(EnvFilter) -> bool + Send + Sync>> = OnceLock::new();

/// Listens, if asked to, or once it is asked.
pub(crate) fn listen(ui: &Ui) {
    let wanted = asked();
    let filter = read(&wanted).unwrap_or_else(|error| {
        ui.warning(&format!("{VARIABLE}={wanted} is ignored: {error}"));
        EnvFilter::new(OFF)
    });
    let out = ui.clone();
    let writer = move || Event { ui: out.clone(), text: Vec::new() };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer).with_filter_reloading();
    let handle = builder.reload_handle();
    builder.init();
    let _ = TUNE.set(Box::new(move |filter| handle.reload(filter).is_ok()));
}

/// What the variable asks for.
fn asked() -> String {
    std::env::var(VARIABLE).ok().filter(|wanted| !wanted.trim().is_empty()).unwrap_or_else(|| OFF.to_owned())
}

/// Reads a filter.
pub(crate) fn read(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text.trim()).map_err(|error| format!("{error}; write debug, or fleet=trace,edge=debug, or off"))
}

/// Listens to what the file in a server's data folder says, or the variable without one; returns that.
pub(crate) fn tune(data: &Path) -> Result<String, String> {
    let file = data.join(FILE);
    let told = match std::fs::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(format!("{} cannot be read: {error}", file.display())),
        _ => asked(),
    };
    let filter = read(&told).map_err(|error| format!("{}: `{told}` is no filter: {error}", file.display()))?;
    match TUNE.get() {
        Some(tune) if tune(filter) => Ok(told),
        _ => Err("nobody listens".to_owned()),
    }
}

/// One event under way; it is printed whole, so that it does not break a line of progress.
struct Event {
    ui: Ui,
    text: Vec<u8>,
}

impl io::Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.ui.block(&String::from_utf8_lossy(&self.text));
        }
    }
}
