//! `enginehouse serve`: what can be asked.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use etcetera::BaseStrategy as _;
use model::ids::AppId;
use model::proxy::Proxies;
use model::signin::SignIn;
use store::control::Role;

use crate::cli::seconds;
use crate::flags::{Serving, Tls};

/// `enginehouse serve`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
EXAMPLES
    enginehouse serve --project shop                     an empty server for one app on this machine
    enginehouse serve --data /var/lib/enginehouse --domain apps.example.org --listen 0.0.0.0:80
    enginehouse serve --port 0 --ready-file up.json      any free ports; up.json tells which

Hosts are PROJECT.REGION.r.DOMAIN, SERVICE-dot-PROJECT.REGION.r.DOMAIN and so on. The first start writes a token with all rights to DATA/owner-token.

SIGNALS
    SIGTERM  finish the requests under way, then end; twice: end at once
    SIGHUP   read certificates again (enginehouse reload)
    SIGUSR2  start this binary anew and hand the sockets over (enginehouse upgrade)

EXIT STATUS
    0  stopped by SIGTERM or Ctrl-C, every request answered, or handed over
    1  the server could not be started; the message says why
    2  wrong usage
  130  stopped at once by a second signal")]
pub(crate) struct Serve {
    /// Where everything is kept [default: $STATE_DIRECTORY, or a folder in the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Make this app if it does not exist yet; may be repeated
    #[arg(long, short = 'A', value_name = "ID")]
    pub(crate) project: Vec<AppId>,
    /// Write {"http": URL, "admin": URL, "storage": URL} to this file once every listener answers; removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Where copies of apps, installed packages and builds are kept; may be deleted whenever nothing runs [default: $CACHE_DIRECTORY, or DATA/cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// An address to listen on for http: ADDRESS:PORT, :PORT for all addresses, or PORT for this machine alone; port 0 takes any free one; may be repeated
    #[arg(help_heading = "Addresses", long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Vec<Address>,
    /// The address of the Admin API, of /metrics and /healthz
    #[arg(help_heading = "Addresses", long, value_name = "ADDRESS", default_value = "127.0.0.1:8085")]
    pub(crate) admin: Address,
    /// Let the admin port speak https, with a certificate of our own that is made once and kept in DATA/admin-tls
    #[arg(help_heading = "Addresses", long, value_enum, value_name = "KIND", conflicts_with = "admin_tls_cert")]
    pub(crate) admin_tls: Option<Tls>,
    /// The certificate chain in PEM form for the admin port, which then speaks https
    #[arg(help_heading = "Addresses", long, value_name = "FILE", requires = "admin_tls_key")]
    pub(crate) admin_tls_cert: Option<PathBuf>,
    /// The private key in PEM form for the admin port
    #[arg(help_heading = "Addresses", long, value_name = "FILE", requires = "admin_tls_cert")]
    pub(crate) admin_tls_key: Option<PathBuf>,
    /// The domain whose names lead here
    #[arg(help_heading = "Addresses", long, value_name = "NAME", default_value = "localhost", value_parser = domain)]
    pub(crate) domain: String,
    /// An address under which the world reaches this server, for the DNS records of custom domains; may be repeated [default: those of --listen]
    #[arg(help_heading = "Addresses", long, value_name = "ADDRESS", hide_short_help = true)]
    pub(crate) public_address: Vec<IpAddr>,
    /// The region that stands in host names, `local` in PROJECT.local.r.DOMAIN
    #[arg(help_heading = "Addresses", long, value_name = "ID", default_value = "local", value_parser = region)]
    pub(crate) region: String,
    /// Clients in this network are inside, besides this machine itself: services with an ingress setting take their requests; may be repeated
    #[arg(help_heading = "Addresses", long, value_name = "CIDR", hide_short_help = true)]
    pub(crate) internal: Vec<Proxies>,
    /// Who may sign in to apps where no OpenID provider is named: whoever has got a link (`enginehouse sign-in`), or anybody as anybody, administrators
    /// too, which is for a machine of your own
    #[arg(help_heading = "Sign-in", long, value_enum, default_value_t = OwnSignIn::Links, value_name = "WAY", conflicts_with = "oidc_issuer")]
    pub(crate) sign_in: OwnSignIn,
    /// An address to listen on for https; may be repeated [default: 127.0.0.1:8443, if there is a certificate or an authority]
    #[arg(help_heading = "Addresses", long, value_name = "ADDRESS")]
    pub(crate) listen_tls: Vec<Address>,
    /// Order certificates for custom domains, and renew them, from the authority with this ACME directory, whose terms are agreed to [default: Let's Encrypt, if
    /// there is --acme-email]
    #[arg(help_heading = "Addresses", long, value_name = "URL")]
    pub(crate) acme_directory: Option<String>,
    /// Whom the authority may write to
    #[arg(help_heading = "Addresses", long, value_name = "ADDRESS")]
    pub(crate) acme_email: Option<String>,
    /// Certificates in PEM form by which the authority itself is known, if the system does not know it
    #[arg(help_heading = "Addresses", long, value_name = "FILE", hide_short_help = true)]
    pub(crate) acme_ca: Option<PathBuf>,
    /// How the authority is convinced that a name leads here: it asks port 80 (http), or shakes hands with port 443 (tls)
    #[arg(help_heading = "Addresses", long, value_enum, default_value_t = super::tls::Proof::Http, value_name = "WAY", hide_short_help = true)]
    pub(crate) acme_proof: super::tls::Proof,
    /// How long after a first failure a certificate is ordered again; later failures double it, up to a day
    #[arg(help_heading = "Addresses", long, default_value = "60", value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub(crate) acme_retry: Duration,
    /// What the Server header says
    #[arg(help_heading = "Addresses", long, value_name = "TEXT", default_value = "Enginehouse")]
    pub(crate) server_header: String,
    /// What an app may do to itself over the Admin API with its own service account: viewer, deployer or admin
    #[arg(help_heading = "Instances", long, default_value = "deployer", value_name = "ROLE", value_parser = account_role, hide_short_help = true)]
    pub(crate) service_account_role: Role,
    /// How long requests may go on after SIGTERM
    #[arg(help_heading = "Instances", long, default_value = "30", value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub(crate) grace: Duration,
    #[command(flatten)]
    pub(crate) serving: Serving,
}

/// `--sign-in`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OwnSignIn {
    /// Whoever has a link of `enginehouse sign-in`
    Links,
    /// Anybody, without a password
    Open,
}

impl Serve {
    /// Who signs users in.
    pub(crate) fn who_signs_in(&self) -> anyhow::Result<SignIn> {
        let own = || match self.sign_in {
            OwnSignIn::Links => SignIn::Links,
            OwnSignIn::Open => SignIn::Open,
        };
        Ok(self.serving.sign_in()?.map_or_else(own, |provider| SignIn::Provider(provider)))
    }

    /// How certificates of custom domains are ordered, if they are.
    pub(crate) fn acme(&self) -> Option<super::tls::Settings> {
        const USUAL: &str = "https://acme-v02.api.letsencrypt.org/directory";
        let directory = self.acme_directory.clone().or_else(|| self.acme_email.as_ref().map(|_| USUAL.to_owned()))?;
        Some(super::tls::Settings {
            directory,
            email: self.acme_email.clone(),
            ca: self.acme_ca.clone(),
            retry: self.acme_retry,
            proof: self.acme_proof,
        })
    }

    /// The certificate of the admin port, if it speaks https.
    pub(crate) fn admin_certificate(&self, data: &std::path::Path) -> Option<edge::Certificate> {
        match (&self.admin_tls_cert, &self.admin_tls_key, self.admin_tls) {
            (Some(chain), Some(key), _) => Some(edge::Certificate::Files { chain: chain.clone(), key: key.clone() }),
            (_, _, Some(Tls::SelfSigned)) => Some(edge::Certificate::SelfSigned { directory: data.join("admin-tls") }),
            _ => None,
        }
    }

    /// Where the DNS has to lead to, as far as that was said.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        if !self.public_address.is_empty() {
            return self.public_address.clone();
        }
        let reached = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback();
        self.listen.iter().map(|address| address.0.ip()).filter(reached).collect()
    }

    /// Where everything is kept.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        folder(self.data.as_ref())
    }

    /// Where copies and environments are kept.
    pub(crate) fn cache(&self, data: &std::path::Path) -> PathBuf {
        let named = || std::env::var_os("CACHE_DIRECTORY").map(PathBuf::from);
        self.cache.clone().or_else(named).unwrap_or_else(|| data.join("cache"))
    }
}

/// The data folder that a command means: as asked, as systemd says, or the user's own.
pub(crate) fn folder(asked: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(asked) = asked {
        return Ok(asked.clone());
    }
    if let Some(given) = std::env::var_os("STATE_DIRECTORY").filter(|given| !given.is_empty()) {
        return Ok(given.into());
    }
    let base = etcetera::choose_base_strategy().context("your home directory is unknown; say where to keep state with --data DIR")?;
    let state = base.state_dir().unwrap_or_else(|| base.data_dir());
    Ok(state.join("enginehouse/server"))
}

/// An address as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no address: write 127.0.0.1:8080, [::1]:8080, :8080 for all addresses, or 8080 for this machine alone");
        let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let ip = match host {
            "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => {
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                bare.parse().map_err(|_| wrong())?
            }
        };
        Ok(Self((ip, port).into()))
    }
}

/// Reads what service accounts may do. What concerns other apps is nobody's but the owner's.
fn account_role(text: &str) -> Result<Role, String> {
    match text.parse()? {
        Role::Owner => Err("service accounts belong to their apps and can own nothing else; write viewer, deployer or admin".into()),
        role => Ok(role),
    }
}

/// Reads a domain, without a dot at either end.
fn domain(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.split('.').all(good) { Ok(name) } else { Err(format!("`{text}` is no domain; write apps.example.org")) }
}

/// Reads a region's short name.
fn region(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if good { Ok(text.to_owned()) } else { Err(format!("`{text}` is no region: lower case letters and digits, as in `uc`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.0.to_string());
        for (text, wanted) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            (":80", "0.0.0.0:80"),
            ("*:80", "0.0.0.0:80"),
            ("8080", "127.0.0.1:8080"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::]:443", "[::]:443"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(wanted), "{text}");
        }
        for bad in ["", "x", "example.org:80", "1.2.3.4", ":99999"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn domains_and_regions_are_checked() {
        assert_eq!(domain("Apps.Example.org").as_deref(), Ok("apps.example.org"));
        assert!(domain("a..b").is_err() && domain(".a").is_err() && domain("a_b").is_err() && domain("").is_err());
        assert!(region("uc").is_ok() && region("UC").is_err() && region("a.b").is_err());
    }
}
