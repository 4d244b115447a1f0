//! What a user wants remembered between commands, and `enginehouse config`.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};

use super::{Failure, Outcome};
use crate::ui::{DIM, Ui};

/// What is remembered. The token is for this server alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Remembered {
    /// The address of the Admin API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// The app that commands are about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    /// What the server knows you by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// The certificates to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

/// `enginehouse config`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
EXAMPLES
    enginehouse config set server https://admin.example.org
    enginehouse config set token - < token.txt     not seen in the shell's history
    enginehouse config set project shop
    enginehouse config show

Flags and the variables ENGINEHOUSE_SERVER, ENGINEHOUSE_PROJECT, ENGINEHOUSE_TOKEN, ENGINEHOUSE_TOKEN_FILE and ENGINEHOUSE_CA
come before what is remembered. The token is sent to the remembered server only.")]
pub(crate) struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Tell what is remembered, and where
    Show,
    /// Remember something for later commands
    Set {
        /// What
        #[arg(value_enum)]
        key: Key,
        /// The value; `-` reads it from the standard input
        value: String,
    },
    /// Forget something
    Unset {
        /// What
        #[arg(value_enum)]
        key: Key,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Key {
    /// The address of the Admin API
    Server,
    /// The app that commands are about
    Project,
    /// What the server knows you by
    Token,
    /// A PEM file with the certificates to trust
    Ca,
}

/// Runs the command.
pub(crate) fn config(ui: &Ui, asked: &Config) -> ExitCode {
    let done = match &asked.what {
        What::Show => show(ui),
        What::Set { key, value } => value_of(value).and_then(|value| change(ui, *key, Some(value))),
        What::Unset { key } => change(ui, *key, None),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(ui),
    }
}

fn value_of(written: &str) -> Outcome<String> {
    if written != "-" {
        return Ok(written.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().lock().take(64 << 10).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

fn show(ui: &Ui) -> Outcome<()> {
    let file = file()?;
    let remembered = read()?;
    let ca = remembered.ca.as_ref().map(|file| file.display().to_string());
    let token = remembered.token.as_ref().map(|_| "(set)".to_owned());
    for (name, value) in [("server", remembered.server), ("project", remembered.project), ("token", token), ("ca", ca)] {
        ui.data(&format!("{name:8} {}\n", value.unwrap_or_else(|| format!("{DIM}-{DIM:#}"))));
    }
    ui.status(&format!("{DIM}in {}{DIM:#}", file.display()));
    Ok(())
}

fn change(ui: &Ui, key: Key, value: Option<String>) -> Outcome<()> {
    let mut remembered = read()?;
    match key {
        Key::Server => {
            let server = value.map(|value| super::settings::server(&value)).transpose()?;
            if server != remembered.server && remembered.token.take().is_some() {
                ui.warning("the token was for the other server, so it is forgotten");
            }
            remembered.server = server;
        }
        Key::Project => remembered.project = value,
        Key::Token => {
            if value.as_ref().is_some_and(|value| value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic())) {
                return Err(Failure::Usage("this is no token: a token has letters, digits and signs, no blanks".to_owned()));
            }
            remembered.token = value;
        }
        Key::Ca => remembered.ca = value.map(|value| std::path::absolute(value).map_err(Failure::from)).transpose()?,
    }
    write(&file()?, &remembered)
}

fn file() -> Outcome<PathBuf> {
    let base = etcetera::choose_base_strategy()
        .map_err(|_| Failure::Here("your home directory is unknown, so nothing can be remembered; set XDG_CONFIG_HOME".to_owned()))?;
    Ok(base.config_dir().join("enginehouse").join("config.json"))
}

/// What is remembered; nothing if there is no file or no home.
pub(super) fn read() -> Outcome<Remembered> {
    let Ok(file) = file() else { return Ok(Remembered::default()) };
    match fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Failure::Here(format!("{} is not as `enginehouse config` writes it: {error}", file.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Remembered::default()),
        Err(error) => Err(Failure::Here(format!("{} cannot be read: {error}", file.display()))),
    }
}

fn write(file: &Path, remembered: &Remembered) -> Outcome<()> {
    let failed = |error: std::io::Error| Failure::Here(format!("{} cannot be written: {error}", file.display()));
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let text = serde_json::to_string_pretty(remembered).map_err(|error| Failure::Here(error.to_string()))?;
    // Beside it and then in its place, so that a file with a token is never half written nor readable for others.
    let draft = file.with_extension(format!("{}.new", std::process::id()));
    let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    out.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
    out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
    fs::rename(&draft, file).map_err(failed)
}
