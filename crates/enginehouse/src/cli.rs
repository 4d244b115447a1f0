//! The command line: what can be asked, and the help texts. What is done about it lives in the modules named after the commands.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fleet::PythonChoice;
use model::ids::AppId;

/// Runs App Engine standard apps exactly as production would.
#[derive(Debug, Parser)]
#[command(name = "enginehouse", version, about, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
#[command(
    after_help = "Begin with `enginehouse run` in a folder that has an app.yaml. Each command explains itself: `enginehouse run --help`."
)]
pub(crate) struct Cli {
    /// When to use colours; NO_COLOR and CLICOLOR_FORCE are honoured
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When the output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On terminals.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve an app on this machine until Ctrl-C
    Run(Box<Run>),
    /// Validate all configuration files and report every mistake at once
    Check(Check),
    /// Tell what a URL meets on its way to the app, or what a diagnostic such as A0107 means
    Explain(Explain),
}

/// Which app.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// An app folder (with app.yaml), or one or more service yaml files of one app; dispatch.yaml and dos.yaml beside them are used too
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
}

/// `enginehouse run`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
EXAMPLES
    enginehouse run                              the app of this folder on http://localhost:8080
    enginehouse run app.yaml api/api.yaml        two services: http://localhost:8080 and http://api.localhost:8080
    enginehouse run --port 0 --ready-file up.json   any free port; up.json tells which, once it answers
    enginehouse run --tls self-signed            also https://localhost:8443, so that `secure:` takes effect

EXIT STATUS
    0  stopped by Ctrl-C or SIGTERM, every request answered
    1  the app could not be started; the message says why
    2  wrong usage
  130  stopped at once by a second Ctrl-C")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The project id [default: `application:` of app.yaml, or demo]
    #[arg(long, short = 'A', value_name = "ID")]
    pub(crate) project: Option<AppId>,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) host: IpAddr,
    /// The port to listen on; 0 takes any free one
    #[arg(long, short, default_value_t = 8080, value_name = "PORT")]
    pub(crate) port: u16,
    /// Where the app's state is kept [default: a folder per app in the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) storage: Option<PathBuf>,
    /// Empty the app's storage first
    #[arg(long)]
    pub(crate) clear: bool,
    /// Do not watch the files of the app for changes
    #[arg(long)]
    pub(crate) no_reload: bool,
    /// Write {"http": URL, "services": {NAME: URL}} to this file once every listener answers; removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// How the log is printed: for people, or as one JSON object a line
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Log only requests during which the app wrote something or failed; twice: log no requests at all
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub(crate) quiet: u8,
    /// Set a variable in the environment of every service, over `env_variables`
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env_var: Vec<(String, String)>,
    /// Also answer under this host name (`*.example.org` for one label below it, `**.example.org` for any number, `*` for any name)
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// The Python interpreter to use, for all Python runtimes or for one; may be repeated
    #[arg(long, value_name = "[RUNTIME=]FILE")]
    pub(crate) python: Vec<PythonChoice>,
    /// The certificate chain in PEM form for https
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key in PEM form for https
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Speak https with a certificate of our own, made once and kept in the storage
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "tls_cert")]
    pub(crate) tls: Option<Tls>,
    /// The port for https; 0 takes any free one [default: 8443, or any free port with --port 0]
    #[arg(long, value_name = "PORT")]
    pub(crate) tls_port: Option<u16>,
    /// A MaxMind-format database that maps client addresses to places (X-Appengine-Country and so on)
    #[arg(long, value_name = "FILE")]
    pub(crate) geoip: Option<PathBuf>,
    /// Answer for an app that takes longer than this, instead of after the documented deadline of its scaling type
    #[arg(long, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub(crate) deadline: Option<Duration>,
    /// How long a request may wait for an instance
    #[arg(long, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub(crate) patience: Option<Duration>,
    /// Never run more instances than this under automatic scaling, all versions together [default: 4 per core, at least 8]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_instances: Option<u32>,
    /// How many threads serve requests [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

/// `--log-format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One object a line.
    Json,
}

/// `--tls`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tls {
    /// A certificate that no browser trusts.
    SelfSigned,
}

/// `enginehouse check`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "EXIT STATUS\n    0  no errors (there may be warnings)\n    1  errors\n    2  wrong usage")]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) format: LogFormat,
}

/// `enginehouse explain`
#[derive(Debug, Clone, Args)]
pub(crate) struct Explain {
    /// A URL (http://api.localhost:8080/users?x=1), a path (/users), or the code of a diagnostic (A0107)
    #[arg(value_name = "URL|CODE")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) target: Target,
    /// The project id [default: `application:` of app.yaml, or demo]
    #[arg(long, short = 'A', value_name = "ID")]
    pub(crate) project: Option<AppId>,
    /// The method of the request
    #[arg(long, short = 'X', default_value = "GET", value_name = "METHOD")]
    pub(crate) method: String,
    /// Also answer under this host name, as `run --allow-host`
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
}

/// Reads a positive number of seconds, with or without a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a number of seconds above 0 and below 86400");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if number > 0.0 && number < 86_400.0 { Ok(Duration::from_secs_f64(number)) } else { Err(wrong()) }
}

/// Reads `NAME=VALUE` under the rules of `env_variables` (row Y9).
fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    appyaml::check_env_name(name)?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_are_positive() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["0", "-1", "x", "NaN", "inf", "1e9", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn y9_variables_follow_the_rules_of_env_variables() {
        assert_eq!(variable("A_1=b=c"), Ok(("A_1".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        for bad in ["A", "=x", "1A=x", "A-B=x", "GAE_ENV=x"] {
            assert!(variable(bad).is_err(), "{bad}");
        }
    }
}
