//! The flags that `run` and `serve` share, and what they set.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fleet::{Capacity, Preload, PythonChoice, Share};
use model::proxy::Proxies;

use crate::cli::{LogFormat, seconds, size};
use crate::printer::{Requests, Style};

/// How apps are served, wherever they come from.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serving {
    /// A MaxMind-format database that maps client addresses to places (X-Appengine-Country and so on)
    #[arg(long, value_name = "FILE")]
    geoip: Option<PathBuf>,
    /// How many threads serve requests [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Believe X-Forwarded-For, X-Forwarded-Proto and X-Cloud-Trace-Context of proxies in this network (10.0.0.0/8, 192.0.2.7); may be repeated
    #[arg(help_heading = "Addresses", long, value_name = "CIDR", hide_short_help = true)]
    trusted_proxy: Vec<Proxies>,
    /// Speak https too, with a certificate of our own that is made once and kept with the state
    #[arg(help_heading = "Addresses", long, value_enum, value_name = "KIND", conflicts_with = "tls_cert")]
    tls: Option<Tls>,
    /// The certificate chain in PEM form for https
    #[arg(help_heading = "Addresses", long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key in PEM form for https
    #[arg(help_heading = "Addresses", long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Never run more instances than this under automatic scaling, all versions together [default: 4 per core, at least 8]
    #[arg(help_heading = "Instances", long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_instances: Option<u32>,
    /// Which walls stand around instances: all that this machine can build, all or nothing, containers of an OCI runtime, or none
    #[arg(help_heading = "Instances", long, value_enum, default_value_t = Isolation::Auto, value_name = "MODE")]
    isolation: Isolation,
    /// Let instances see a folder of this machine under its own path; with :rw they may write there; may be repeated
    #[arg(help_heading = "Instances", long, value_name = "DIR[:rw]")]
    share: Vec<Share>,
    /// The Python interpreter to use, for all Python runtimes or for one; may be repeated
    #[arg(help_heading = "Instances", long, value_name = "[RUNTIME=]FILE")]
    python: Vec<PythonChoice>,
    /// What is imported ahead of new Python instances, which are then forked: installed packages alone, the app's own modules too, or
    /// nothing, and each is started afresh [default: `ENGINEHOUSE_PRELOAD` in `env_variables`, or libraries]
    #[arg(help_heading = "Instances", long, value_name = "app|libraries|none")]
    preload: Option<Preload>,
    /// How long a request may wait for an instance [default: 60]
    #[arg(help_heading = "Instances", long, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    patience: Option<Duration>,
    /// How long one step of an installation or a build may take
    #[arg(help_heading = "Instances", long, default_value = "600", value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    build_timeout: Duration,
    #[command(flatten)]
    pub(crate) fetching: crate::bundled::fetching::Fetching,
    /// Do not run the jobs of cron.yaml by themselves; `enginehouse cron run` still does
    #[arg(help_heading = "Instances", long, hide_short_help = true)]
    pub(crate) no_cron: bool,
    /// Do not send the tasks of push queues by themselves; `enginehouse tasks run` still does
    #[arg(help_heading = "Instances", long, hide_short_help = true)]
    pub(crate) no_tasks: bool,
    #[command(flatten)]
    pub(crate) mailing: crate::bundled::mailing::Mailing,
    /// How the log is printed: for people, or as one JSON object a line
    #[arg(help_heading = "Logs and metrics", long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// How much of an app's log is kept, for `enginehouse logs`; 0 keeps none
    #[arg(help_heading = "Logs and metrics", long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub(crate) log_limit: u64,
    /// Show only requests during which the app wrote something or failed; twice: neither show nor keep any requests
    #[arg(help_heading = "Logs and metrics", long, short, action = clap::ArgAction::Count)]
    pub(crate) quiet: u8,
    #[command(flatten)]
    oidc: crate::oidc::Flags,
}

impl Serving {
    /// Who signs users in, if it is not our own page.
    pub(crate) fn sign_in(&self) -> anyhow::Result<Option<Arc<crate::oidc::Provider>>> {
        self.oidc.provider()
    }

    /// Sets what concerns the instances of an app, which share `capacity` with those of the others.
    pub(crate) fn apply_to_fleet(&self, options: &mut fleet::Options, capacity: &Arc<Capacity>) {
        options.pythons.clone_from(&self.python);
        options.isolation = self.isolation.into();
        options.shares.clone_from(&self.share);
        options.build_limit = self.build_timeout;
        options.capacity = Arc::clone(capacity);
        options.preload = self.preload;
    }

    /// Begins to find out which walls can be built.
    pub(crate) fn survey(&self) -> fleet::Survey {
        fleet::Survey::begin(self.isolation.into())
    }

    /// How many instances there may be.
    pub(crate) fn capacity(&self) -> Arc<Capacity> {
        Arc::new(Capacity::new(self.max_instances))
    }

    /// Sets what concerns the front end.
    pub(crate) fn apply_to_edge(&self, options: &mut edge::Options) {
        options.geoip.clone_from(&self.geoip);
        options.threads = self.threads.map_or(0, usize::from);
        options.trusted_proxies = self.trusted_proxy.iter().cloned().collect();
        if let Some(patience) = self.patience {
            options.patience = patience;
        }
    }

    /// The certificate for all names, if there is one; one of our own is kept in the folder that `home` finds.
    pub(crate) fn certificate<E>(&self, home: impl FnOnce() -> Result<PathBuf, E>) -> Result<Option<edge::Certificate>, E> {
        Ok(match (&self.tls_cert, &self.tls_key, self.tls) {
            (Some(chain), Some(key), _) => Some(edge::Certificate::Files { chain: chain.clone(), key: key.clone() }),
            (_, _, Some(Tls::SelfSigned)) => Some(edge::Certificate::SelfSigned { directory: home()? }),
            _ => None,
        })
    }

    /// How the live log looks; of several `apps` each entry says whose it is.
    pub(crate) fn style(&self, apps: bool) -> Style {
        let requests = match self.quiet {
            0 => Requests::All,
            1 => Requests::Eventful,
            _ => Requests::None,
        };
        Style { format: self.log_format, requests, apps, level: None }
    }
}

/// `--isolation`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    /// Every wall that this machine can build; those that it cannot are named at start.
    Auto,
    /// Every wall; nothing starts if one is missing.
    Strict,
    /// Containers of runc or crun.
    Oci,
    /// No walls, for development only.
    None,
}

impl From<Isolation> for fleet::Isolation {
    fn from(asked: Isolation) -> Self {
        match asked {
            Isolation::Auto => Self::Auto,
            Isolation::Strict => Self::Strict,
            Isolation::Oci => Self::Oci,
            Isolation::None => Self::None,
        }
    }
}

/// `--tls`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tls {
    /// A certificate that no browser trusts.
    SelfSigned,
}
