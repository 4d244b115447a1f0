//! `enginehouse gcloud-env`: what an unmodified gcloud needs to speak to a server of ours.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::fmt::Write as _;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use etcetera::BaseStrategy as _;

use crate::client::settings::{self, Remote};
use crate::client::{EXIT_STATUS, Failure, Outcome, Settings};
use crate::ui::{DIM, Ui};

/// The APIs that the server speaks, by gcloud's names for them.
const APIS: [&str; 7] = ["APPENGINE", "STORAGE", "SERVICEUSAGE", "CLOUDTASKS", "CLOUDSCHEDULER", "DATASTORE", "LOGGING"];

/// What keeps gcloud from speaking to anybody else.
const QUIET: [(&str, &str); 4] = [
    ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true"),
    ("CLOUDSDK_CORE_SURVEY_DISABLE_PROMPTS", "true"),
    ("CLOUDSDK_CORE_CHECK_GCE_METADATA", "false"),
    ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true"),
];

const ENDPOINT: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_";
const TOKEN_FILE: &str = "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE";
const PROJECT: &str = "CLOUDSDK_CORE_PROJECT";
const CA_FILE: &str = "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE";

/// `enginehouse gcloud-env`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = after_help())]
pub(crate) struct GcloudEnv {
    #[command(flatten)]
    remote: Remote,
    /// The shell that reads it [default: as $SHELL says]
    #[arg(long, value_enum, value_name = "SHELL")]
    shell: Option<Shell>,
    /// Print what takes the variables away again
    #[arg(long)]
    unset: bool,
}

fn after_help() -> String {
    format!(
        "\
EXAMPLES
    eval \"$(enginehouse gcloud-env --project shop)\"        sh, bash, zsh
    enginehouse gcloud-env --project shop | source          fish
    gcloud app deploy
    eval \"$(enginehouse gcloud-env --unset)\"               gcloud speaks to Google again

The token is written to a file that only you can read; its place is printed, the token is not.

{EXIT_STATUS}"
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// sh, bash, zsh and their kin
    Sh,
    /// fish
    Fish,
}

/// Runs the command.
pub(crate) fn gcloud_env(ui: &Ui, asked: &GcloudEnv) -> ExitCode {
    match print(ui, asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(ui),
    }
}

fn print(ui: &Ui, asked: &GcloudEnv) -> Outcome<()> {
    let shell = asked.shell.unwrap_or_else(usual_shell);
    if asked.unset {
        ui.data(&shell.unset());
        return Ok(());
    }
    let (client, settings) = settings::connect(ui, &asked.remote)?;
    let Some(token) = settings.token.as_deref() else {
        let text =
            "there is no token for this server; give --token-file FILE or ENGINEHOUSE_TOKEN, or on the server's own machine --data DIR";
        return Err(Failure::Usage(text.into()));
    };
    let project = match settings.asked_project.clone().or_else(|| settings.usual_project.clone()) {
        Some(project) => project,
        None => settings::only_app(&client)?,
    };
    let file = write_token(&settings, token)?;
    let file = file.to_str().ok_or_else(|| Failure::Here(format!("{} is no name that gcloud could read", file.display())))?;
    ui.data(&shell.set(&variables(&settings, &project, file)));
    if std::io::stdout().is_terminal() {
        ui.status(&format!("{DIM}{}{DIM:#}", shell.hint()));
    }
    Ok(())
}

/// Names and values, in the order in which they are printed.
fn variables(settings: &Settings, project: &str, token_file: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        // gcloud refuses an address that does not end with a slash.
        APIS.iter().map(|api| (format!("{ENDPOINT}{api}"), format!("{}/", settings.server.trim_end_matches('/')))).collect();
    all.push((TOKEN_FILE.into(), token_file.into()));
    all.push((PROJECT.into(), project.into()));
    if let Some(ca) = settings.ca.as_ref().and_then(|ca| std::path::absolute(ca).ok()) {
        all.push((CA_FILE.into(), ca.display().to_string()));
    }
    all.extend(QUIET.map(|(name, value)| (name.into(), value.into())));
    all
}

fn usual_shell() -> Shell {
    let is_fish = std::env::var("SHELL").is_ok_and(|shell| shell.rsplit('/').next() == Some("fish"));
    if is_fish { Shell::Fish } else { Shell::Sh }
}

impl Shell {
    fn set(self, variables: &[(String, String)]) -> String {
        variables.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = match self {
                Self::Sh => writeln!(text, "export {name}='{}'", value.replace('\'', r"'\''")),
                Self::Fish => writeln!(text, "set -gx {name} '{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
            };
            text
        })
    }

    fn unset(self) -> String {
        let apis = APIS.iter().map(|api| format!("{ENDPOINT}{api}"));
        let others = [TOKEN_FILE, PROJECT, CA_FILE].into_iter().chain(QUIET.map(|(name, _)| name)).map(str::to_owned);
        apis.chain(others).fold(String::new(), |mut text, name| {
            let _ = match self {
                Self::Sh => writeln!(text, "unset {name}"),
                Self::Fish => writeln!(text, "set -e {name}"),
            };
            text
        })
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Sh => "# for this shell: eval \"$(enginehouse gcloud-env …)\"",
            Self::Fish => "# for this shell: enginehouse gcloud-env … | source",
        }
    }
}

/// Puts the token where gcloud reads it, one file for each server.
fn write_token(settings: &Settings, token: &str) -> Outcome<PathBuf> {
    let base = etcetera::choose_base_strategy()
        .map_err(|_| Failure::Here("your home directory is unknown, so the token cannot be kept; set XDG_STATE_HOME".to_owned()))?;
    let folder = base.state_dir().unwrap_or_else(|| base.data_dir()).join("enginehouse").join("gcloud");
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
    let server = settings.server.split_once("://").map_or(settings.server.as_str(), |(_, rest)| rest);
    let file = folder.join(format!("{}.token", server.chars().map(plain).collect::<String>()));
    let failed = |error: std::io::Error| Failure::Here(format!("{} cannot be written: {error}", file.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
    // Beside it and then in its place: gcloud never reads half a token, and nobody else any of it.
    let draft = file.with_extension(format!("{}.new", std::process::id()));
    let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    out.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
    out.write_all(token.as_bytes()).map_err(failed)?;
    fs::rename(&draft, &file).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_the_shell() {
        let one = [("NAME".to_owned(), r"it's a\b $x".to_owned())];
        assert_eq!(Shell::Sh.set(&one), "export NAME='it'\\''s a\\b $x'\n");
        assert_eq!(Shell::Fish.set(&one), "set -gx NAME 'it\\'s a\\\\b $x'\n");
    }

    #[test]
    fn what_is_set_is_taken_away() {
        let settings = Settings {
            server: "https://admin.example.org".into(),
            token: None,
            ca: Some("/etc/ca.pem".into()),
            asked_project: None,
            usual_project: None,
        };
        let set = variables(&settings, "shop", "/t");
        assert!(set.iter().filter(|(name, _)| name.starts_with(ENDPOINT)).all(|(_, value)| value == "https://admin.example.org/"));
        let unset = Shell::Sh.unset();
        for (name, _) in &set {
            assert!(unset.lines().any(|line| line == format!("unset {name}")), "{name}");
        }
    }
}
