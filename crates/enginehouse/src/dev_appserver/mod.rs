//! `enginehouse dev-appserver`: takes what `dev_appserver.py` takes and starts `run --test-mode`, so that test suites which start a development server
//! start this one. Decision 342.

mod flags;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser as _};

use crate::cli::{Cli, Command, Run};
use crate::ui::Ui;
use flags::{Taken, take};

/// `enginehouse dev-appserver`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = flags::HELP)]
pub(crate) struct DevAppserver {
    /// Flags and paths as `dev_appserver.py` takes them
    #[arg(value_name = "FLAGS AND PATHS", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// The arguments of this process; under the name `dev_appserver.py` (a link to the binary) it is that command.
pub(crate) fn arguments() -> Vec<OsString> {
    let mut all: Vec<OsString> = std::env::args_os().collect();
    let called = all.first().map(std::path::Path::new).and_then(|path| path.file_name()?.to_str());
    if called.is_some_and(|name| name.starts_with("dev_appserver")) {
        all.insert(1, "dev-appserver".into());
    }
    all
}

/// Runs the command.
pub(crate) fn dev_appserver(ui: &Ui, asked: &DevAppserver) -> ExitCode {
    let Taken { args, wishes, notes } = match take(&asked.args) {
        Ok(taken) => taken,
        Err(text) => {
            ui.error(&text);
            return ExitCode::from(2);
        }
    };
    for note in notes {
        ui.status(&format!("note: {note}"));
    }
    let line = ["enginehouse", "run", "--test-mode"].into_iter().map(str::to_owned).chain(args);
    match Cli::try_parse_from(line).map(|cli| cli.command) {
        Ok(Command::Run(asked)) => crate::run::run(ui, &Run { wishes, ..*asked }),
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            ui.block(&error.to_string());
            ExitCode::from(2)
        }
    }
}
