//! mail: what can be asked for on the command line, the thread that delivers, and what commands are told.
#![allow(clippy::doc_markdown, reason = "the texts are shown in a terminal, where backquotes mean what is typed")]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::Args;
use control::status::{Code, Status};
use control::ward::{Question, Ward};
use http::Method;
use model::ids::AppId;
use rustls::ServerConfig;
use serde_json::{Value, json};
use services::mail::address::Mailbox;
use services::mail::drawer::Slip;
use services::mail::office::{Notices, Office, Senders, Settings};
use services::mail::relay::Relay;
use services::outside::Outside;

use crate::client::system_bundle;
use crate::serve::args::Address;

/// How mail comes and goes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct Mailing {
    /// The mail server that takes what apps send: smtp://HOST[:PORT], smtp+starttls://USER@HOST, smtps://USER:PASSWORD@HOST, or smtp+plain://HOST
    /// without TLS; also in the
    /// variable ENGINEHOUSE_SMTP_URL [default: mail is kept, see `enginehouse mail`]
    #[arg(long, value_name = "URL", value_parser = relay)]
    smtp_url: Option<Relay>,
    /// A file with the password for the mail server
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    smtp_password_file: Option<PathBuf>,
    /// An address where other mail servers bring mail for apps (ADDRESS:PORT, :PORT)
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    mail_listen: Option<SocketAddr>,
    /// A domain whose mail is for apps, besides APP.appspotmail.com and their own hosts: anything@APP.NAME, or anything@NAME if there is only
    /// one app; may be repeated
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    mail_domain: Vec<String>,
    /// Who may send mail besides the app's own addresses: person@example.com, @example.com, or *; may be repeated [default: with `run` anybody]
    #[arg(long, value_name = "ADDRESS", hide_short_help = true)]
    mail_sender: Vec<String>,
    /// The certificate chain in PEM form that other mail servers are shown [default: that of --tls-cert or --tls, or one of our own]
    #[arg(long, value_name = "FILE", requires = "mail_tls_key", hide_short_help = true)]
    mail_tls_cert: Option<PathBuf>,
    /// The private key in PEM form for --mail-tls-cert
    #[arg(long, value_name = "FILE", requires = "mail_tls_cert", hide_short_help = true)]
    mail_tls_key: Option<PathBuf>,
    /// Set by [`Self::secured`].
    #[arg(skip)]
    tls: Option<MailTls>,
    /// Who gets what apps send to their administrators; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = mailbox, hide_short_help = true)]
    mail_admin: Vec<Mailbox>,
    /// Write the mail that apps send into the log, too, with its text
    #[arg(long, hide_short_help = true)]
    log_mail: bool,
}

/// What other mail servers are shown after STARTTLS.
#[derive(Debug, Clone)]
pub(crate) struct MailTls {
    certificate: edge::Certificate,
    vault: Arc<edge::Vault>,
    names: Vec<String>,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl MailTls {
    /// Reads the certificate again, for the connections that follow.
    pub(crate) fn renew(&self) -> anyhow::Result<()> {
        self.config.store(edge::without_protocol(&self.certificate, &self.vault, &self.names)?);
        Ok(())
    }
}

fn relay(text: &str) -> Result<Relay, String> {
    Relay::from_str(text)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse::<Address>().map(|address| address.0)
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    Mailbox::read(text).ok_or_else(|| format!("`{text}` is no address: write person@example.com"))
}

impl Mailing {
    /// With the certificate of the listener, if there is one: its own, that of the front end, or one that is made once and kept in `home`; and those of
    /// custom domains, for whoever asks for them by name.
    pub(crate) fn secured(mut self, front: Option<edge::Certificate>, home: &Path, vault: &Arc<edge::Vault>) -> anyhow::Result<Self> {
        if self.mail_listen.is_none() {
            return Ok(self);
        }
        let own = self.mail_tls_cert.clone().zip(self.mail_tls_key.clone());
        let made = || edge::Certificate::SelfSigned { directory: home.join("mail-tls") };
        let certificate = own.map(|(chain, key)| edge::Certificate::Files { chain, key }).or(front).unwrap_or_else(made);
        let names = self.mail_domain.clone();
        let config = edge::without_protocol(&certificate, vault, &names).context("the certificate for mail cannot be used")?;
        self.tls = Some(MailTls { certificate, vault: Arc::clone(vault), names, config: Arc::new(ArcSwap::new(config)) });
        Ok(self)
    }

    /// See [`MailTls`].
    pub(crate) fn tls(&self) -> Option<&MailTls> {
        self.tls.as_ref()
    }

    /// The mail server, with its password.
    fn relay(&self) -> io::Result<Option<Relay>> {
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let named = std::env::var("ENGINEHOUSE_SMTP_URL").ok().filter(|url| !url.is_empty());
        let relay = match (&self.smtp_url, named) {
            (Some(relay), _) => relay.clone(),
            (None, Some(url)) => relay(&url).map_err(|why| wrong(format!("ENGINEHOUSE_SMTP_URL: {why}")))?,
            (None, None) => return Ok(None),
        };
        let Some(file) = &self.smtp_password_file else { return Ok(Some(relay)) };
        let password = std::fs::read_to_string(file).map_err(|error| wrong(format!("{} cannot be read: {error}", file.display())))?;
        Ok(Some(relay.with_password(password.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

/// The office, with a thread of its own. `development`: whoever is named may send.
pub(crate) fn start(
    asked: Mailing,
    development: bool,
    folder: &Arc<dyn Fn(&AppId) -> PathBuf + Send + Sync>,
    notices: Notices,
    outside: &Arc<Outside>,
) -> io::Result<Arc<Office>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_name("mail").build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name("mail".into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    let relay = asked.relay()?;
    let senders = if development && asked.mail_sender.is_empty() { Senders::Anyone } else { Senders::Listed(asked.mail_sender) };
    let folder = Arc::clone(folder);
    let settings = Settings {
        folder: Box::new(move |app| folder(app)),
        relay,
        bundle: system_bundle(),
        senders,
        admins: asked.mail_admin,
        domains: asked.mail_domain.iter().map(|domain| domain.trim_matches('.').to_ascii_lowercase()).collect(),
        listen: asked.mail_listen,
        tls: asked.tls.map(|tls| tls.config),
        notices,
        show_body: asked.log_mail,
        runtime: handle,
    };
    Ok(Office::new(settings, Arc::clone(outside)))
}

/// `mail` and `mail/ID` over the admin port and the Admin API.
pub(crate) struct MailWard(pub(crate) Arc<Office>);

impl Ward for MailWard {
    fn collection(&self) -> &'static str {
        "mail"
    }

    fn answer(&self, question: &Question) -> Result<Value, Status> {
        let drawer = self.0.drawer(&question.app);
        let unreadable = |error: io::Error| Status::new(Code::Unavailable, format!("The app's mail cannot be read: {error}."));
        match (&question.method, question.parts()) {
            (&Method::GET, (parts, None)) => match parts.as_slice() {
                [] => {
                    let (size, before) = question.page(100, 1000)?;
                    let found = drawer.list(size + 1, before).map_err(unreadable)?;
                    let next = found.get(size).and(found.get(size.saturating_sub(1))).map(|slip| slip.id.clone());
                    let mail: Vec<Value> = found.iter().take(size).map(shown).collect();
                    Ok(json!({"mail": mail, "nextPageToken": next.unwrap_or_default()}))
                }
                [id] => {
                    let nothing = || Status::not_found(format!("There is no mail {id}."));
                    let slip = drawer.slip(id).map_err(unreadable)?.ok_or_else(nothing)?;
                    let mut value = shown(&slip);
                    value["content"] = String::from_utf8_lossy(&drawer.message(id).map_err(unreadable)?).into_owned().into();
                    Ok(value)
                }
                _ => Err(question.missing()),
            },
            (&Method::POST, (parts, Some("clear"))) if parts.is_empty() => {
                drawer.clear().map_err(unreadable)?;
                Ok(json!({}))
            }
            _ => Err(question.missing()),
        }
    }
}

fn shown(slip: &Slip) -> Value {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(slip.time).unwrap_or(i64::MAX)).map(|time| time.to_string());
    json!({
        "id": slip.id,
        "way": slip.way,
        "state": slip.state,
        "time": time.unwrap_or_default(),
        "from": slip.from,
        "to": slip.to,
        "pending": slip.pending,
        "subject": slip.subject,
        "size": slip.size,
        "tries": slip.tries,
        "note": slip.note,
        "about": slip.about,
    })
}
