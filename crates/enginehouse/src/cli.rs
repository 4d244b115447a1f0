//! The command line: what can be asked, and the help texts. What is done about it lives in the modules named after the commands.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use model::ids::{AppId, ServiceId, VersionId};
use model::journal::Severity;

use crate::flags::Serving;
use crate::wishes::Wishes;

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
    /// Serve an app for tests, with the flags of dev_appserver.py
    #[command(name = "dev-appserver")]
    DevAppserver(crate::dev_appserver::DevAppserver),
    /// Serve many apps in production: versions, traffic, the Admin API
    Serve(Box<crate::serve::Serve>),
    /// Let a server read its certificates and its state again
    Reload(crate::serve::Reload),
    /// Let a new binary take over from a running server, without a refused connection
    Upgrade(crate::serve::Upgrade),
    /// Validate all configuration files and report every mistake at once
    Check(Check),
    /// Read the log of an app, while it runs or afterwards
    Logs(Box<Logs>),
    /// Examine this machine: which walls it can build around instances, which languages it has
    Doctor(Doctor),
    /// Tell what a URL meets on its way to the app, or what a diagnostic such as A0107 means
    Explain(Explain),
    /// Show what a scaling block does under a load: instances, pending latency and cost, without serving anything
    Simulate(Box<crate::simulate::Simulate>),
    /// Bring an app, or its configuration, onto a server
    Deploy(Box<crate::deploy::Deploy>),
    /// Look after the apps of a server
    Apps(Box<crate::admin::apps::Apps>),
    /// Look after the services of an app
    Services(Box<crate::admin::services::Services>),
    /// Look after the versions of services: list, start, stop, delete, compare
    Versions(Box<crate::admin::versions::Versions>),
    /// Look at running instances, and end them
    Instances(Box<crate::admin::instances::Instances>),
    /// Say which versions get the traffic of a service
    Traffic(Box<crate::admin::traffic::Traffic>),
    /// Say whose requests an app takes
    Firewall(Box<crate::admin::firewall::Firewall>),
    /// Let domains of your own lead to an app
    Domains(Box<crate::admin::domains::Domains>),
    /// Look after the cron jobs of an app: when they run, how they ran, run them now
    Cron(Box<crate::admin::cron::Cron>),
    /// Look after task queues: list, pause, resume, purge
    Queues(Box<crate::admin::queues::Queues>),
    /// Look after tasks: list, run now, delete
    Tasks(Box<crate::admin::tasks::Tasks>),
    /// Look at what a server was ordered to do
    Operations(Box<crate::admin::operations::Operations>),
    /// Read the mail that an app has sent and got
    Mail(Box<crate::admin::mail::Mail>),
    /// Read who changed what
    Audit(Box<crate::admin::audit::Audit>),
    /// Make a link by which somebody signs in to an app of a server that has no sign-in provider
    SignIn(Box<crate::admin::invite::SignIn>),
    /// Make tokens for people and programs, and take them back
    Token(Box<crate::admin::tokens::Token>),
    /// Remember the server and the app that commands are about
    Config(crate::client::config::Config),
    /// Print the variables with which gcloud speaks to a server
    GcloudEnv(crate::gcloud_env::GcloudEnv),
    /// Print what a shell needs to complete commands and flags
    Completions(crate::completions::Completions),
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
    enginehouse run                                 the app of this folder on http://localhost:8080
    enginehouse run app.yaml api/api.yaml           two services; also http://api.localhost:8080
    enginehouse run --port 0 --ready-file up.json   any free port; up.json tells which
    enginehouse run --tls self-signed               also https://localhost:8443
    enginehouse run --isolation strict              every wall around instances, or no start

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
    /// Where the app's state is kept [default: a folder per app in the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) storage: Option<PathBuf>,
    /// Empty the app's storage first
    #[arg(long)]
    pub(crate) clear: bool,
    /// Do not watch the files of the app for changes
    #[arg(long)]
    pub(crate) no_reload: bool,
    /// Write {"http": URL, "admin": URL, "services": {NAME: URL}} to this file once every listener answers; removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// The address to listen on
    #[arg(help_heading = "Addresses", long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) host: IpAddr,
    /// The port to listen on; 0 takes any free one
    #[arg(help_heading = "Addresses", long, short, default_value_t = 8080, value_name = "PORT")]
    pub(crate) port: u16,
    /// Also answer under this host name (`*.example.org` for one label below it, `**.example.org` for any number, `*` for any name)
    #[arg(help_heading = "Addresses", long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// The port for https; 0 takes any free one [default: 8443, or any free port with --port 0]
    #[arg(help_heading = "Addresses", long, value_name = "PORT")]
    pub(crate) tls_port: Option<u16>,
    /// Set a variable in the environment of every service, over `env_variables`
    #[arg(help_heading = "Instances", long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env_var: Vec<(String, String)>,
    /// Answer for an app that takes longer than this, instead of after the documented deadline of its scaling type
    #[arg(help_heading = "Instances", long, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub(crate) deadline: Option<Duration>,
    /// The port for metrics and health, on the loopback only; 0 takes any free one, `off` none [default: 8000, or any free one if that is taken or with --port 0]
    #[arg(help_heading = "Logs and metrics", long, value_name = "PORT", value_parser = admin_port)]
    pub(crate) admin_port: Option<AdminPort>,
    #[command(flatten)]
    pub(crate) serving: Serving,
    /// For tests: API calls need no ticket and may name any app, methods that only tests need exist, and GET /quit on the admin port ends the server
    #[arg(help_heading = "Tests", long)]
    pub(crate) test_mode: bool,
    /// The port of the loopback at which test programs call services; 0 takes any free one [default: 0]
    #[arg(help_heading = "Tests", long, value_name = "PORT", requires = "test_mode")]
    pub(crate) api_port: Option<u16>,
    /// What `dev-appserver` was asked for besides.
    #[arg(skip)]
    pub(crate) wishes: Wishes,
}

/// `--admin-port`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdminPort {
    /// Closed.
    Off,
    /// This one.
    Port(u16),
}

/// `--log-format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One object a line.
    Json,
}

/// `enginehouse logs`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
EXAMPLES
    enginehouse logs                             the newest entries of the app of this folder
    enginehouse logs --follow --level warning    what goes wrong from now on
    enginehouse logs --since 10m --service api   the last ten minutes of a service
    enginehouse logs --request ID                a request, and the lines of its trace
    enginehouse logs --limit 0 --format json     everything, one object a line

TIMES are RFC 3339 (2026-01-31T12:00:00Z) or so long ago (30s, 10m, 2h, 1d).

EXIT STATUS
    0  the log was read, even if no entry matches
    1  there is no log; the message says where it was looked for
    2  wrong usage")]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The project id [default: `application:` of app.yaml, or demo]
    #[arg(long, short = 'A', value_name = "ID")]
    pub(crate) project: Option<AppId>,
    /// Where the app's state is kept [default: a folder per app in the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) storage: Option<PathBuf>,
    /// Wait for further entries
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only of this service
    #[arg(long, short, value_name = "SERVICE")]
    pub(crate) service: Option<ServiceId>,
    /// Only of this version
    #[arg(long, short, value_name = "VERSION")]
    pub(crate) version: Option<VersionId>,
    /// Only of instances whose id begins so
    #[arg(long, short, value_name = "ID")]
    pub(crate) instance: Option<String>,
    /// Only what is at least so grave: debug, info, notice, warning, error, critical, alert, emergency
    #[arg(long, short, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) level: Option<Severity>,
    /// Only the request with this log id or trace, and the lines of its trace
    #[arg(long, short, value_name = "ID")]
    pub(crate) request: Option<String>,
    /// Only what is not older
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<SystemTime>,
    /// Only what is not newer
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<SystemTime>,
    /// How many of the newest entries to show; 0 shows all [default: 200, or 10 with --follow]
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub(crate) limit: Option<usize>,
    /// How entries are printed: for people, or as one JSON object a line
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) format: LogFormat,
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

/// `enginehouse doctor`
#[derive(Debug, Clone, Args)]
#[command(
    after_long_help = "EXIT STATUS\n    0  every wall stands\n    1  a wall is missing, or the machine could not be examined\n    2  wrong usage"
)]
pub(crate) struct Doctor {
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
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a number of seconds above 0 and below 86400");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if number > 0.0 && number < 86_400.0 { Ok(Duration::from_secs_f64(number)) } else { Err(wrong()) }
}

/// Reads a port, or `off`.
fn admin_port(text: &str) -> Result<AdminPort, String> {
    if text == "off" {
        return Ok(AdminPort::Off);
    }
    text.parse().map(AdminPort::Port).map_err(|_| format!("`{text}` is neither a port nor `off`"))
}

/// Reads a number of bytes: `500K`, `64MB`, `2GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size: write a number of bytes, or 64M, or 2G");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match text[digits..].trim_start().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

fn severity(text: &str) -> Result<Severity, String> {
    Severity::parse(text).ok_or_else(|| {
        let names: Vec<String> = Severity::ALL.iter().map(|level| level.name().to_lowercase()).collect();
        format!("`{text}` is none of {}", names.join(", "))
    })
}

/// Reads a point in time, or how long ago it was.
fn moment(text: &str) -> Result<SystemTime, String> {
    let wrong = || format!("`{text}` is neither a time (2026-01-31T12:00:00Z) nor so long ago (30s, 10m, 2h, 1d)");
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.into());
    }
    let split = text.len() - text.chars().next_back().map_or(0, char::len_utf8);
    let unit = match &text[split..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let ago = text[..split].parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
    SystemTime::now().checked_sub(Duration::from_secs(ago)).ok_or_else(wrong)
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
    fn sizes_and_times_are_read() {
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("1 gib"), Ok(1 << 30));
        assert_eq!(size("0"), Ok(0));
        for bad in ["", "M", "-1", "1T", "99999999999G", "1.5M"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(moment("1970-01-01T00:00:09Z"), Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(9)));
        assert!(moment("10m").is_ok_and(|at| at.elapsed().is_ok_and(|ago| ago >= Duration::from_mins(10))));
        for bad in ["", "x", "10", "m", "10µ", "99999999999999999999d", "2026-01-31"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
        assert_eq!(severity("Warning"), Ok(Severity::Warning));
        assert!(severity("loud").is_err());
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
