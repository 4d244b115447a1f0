//! The binary: the command line and the wiring. The only crate that sees all others.

mod cli;
mod journal;
mod stop;
mod ui;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::ui::Ui;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new(cli.color);
    match cli.command {
        Command::Run(_) | Command::Check(_) | Command::Explain(_) => ui.error("not built yet"),
    }
    ExitCode::FAILURE
}
