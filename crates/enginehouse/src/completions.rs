//! `enginehouse completions`
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::ui::Ui;

/// `enginehouse completions`
#[derive(Debug, Clone, Args)]
#[command(after_help = "EXAMPLES
    bash   enginehouse completions bash > ~/.local/share/bash-completion/completions/enginehouse
    zsh    enginehouse completions zsh > \"${fpath[1]}/_enginehouse\"
    fish   enginehouse completions fish > ~/.config/fish/completions/enginehouse.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn completions(ui: &Ui, asked: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut Cli::command(), "enginehouse", &mut script);
    ui.data(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
