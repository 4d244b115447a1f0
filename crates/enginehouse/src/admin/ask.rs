//! Asking before something changes.

use std::io::BufRead as _;

use clap::Args;

use crate::client::{Failure, Outcome};
use crate::ui::{BOLD, Ui};

/// The flag of every command that changes something.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Asking {
    /// Do not ask, go on as if you had said yes
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl Asking {
    /// Asks whether to go on; everything but yes is an error. Whoever pipes answers is asked too, so that `yes |` works.
    pub(crate) fn confirm(self, ui: &Ui, question: &str) -> Outcome<()> {
        if self.quiet {
            return Ok(());
        }
        ui.block(&format!("{BOLD}{question}{BOLD:#} (Y/n)? "));
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line)? == 0 {
            return Err(Failure::Declined("\nNobody answered, so nothing was done; --quiet goes on without asking.".to_owned()));
        }
        match line.trim().to_ascii_lowercase().as_str() {
            "" | "y" | "yes" => Ok(()),
            _ => Err(Failure::Declined("Nothing was done.".to_owned())),
        }
    }
}
