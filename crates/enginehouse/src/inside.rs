//! What goes on inside, for whoever looks for a fault in the house itself: `tracing`, to stderr, if `ENGINEHOUSE_LOG` asks for it. Without
//! the variable nobody listens, and an event costs one look at a number.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::ui::Ui;

/// The variable: a level, or `fleet=trace,edge=debug`.
const VARIABLE: &str = "ENGINEHOUSE_LOG";

/// Listens, if asked to.
pub(crate) fn listen(ui: &Ui) {
    let Some(wanted) = std::env::var(VARIABLE).ok().filter(|wanted| !wanted.trim().is_empty()) else { return };
    match EnvFilter::try_new(&wanted) {
        Ok(filter) => {
            let out = ui.clone();
            let writer = move || Event { ui: out.clone(), text: Vec::new() };
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer).init();
        }
        Err(error) => ui.warning(&format!("{VARIABLE}={wanted} is ignored: {error}; write debug, or fleet=trace,edge=debug")),
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
