//! The server that takes the apps' mail: how it is named, and the conversation with it (RFC 5321), which tells for each recipient what came of it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use rustls::CertificateError;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::urlfetch::Trust;

/// How long a server may take for one answer (RFC 5321 §4.5.3.2 asks for minutes; the end of the data gets them).
const ANSWER: Duration = Duration::from_mins(2);
const ACCEPTANCE: Duration = Duration::from_mins(10);
/// Bytes of one answer.
const MOST_ANSWER: u64 = 64 << 10;

/// When the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// From the first byte (`smtps:`).
    Always,
    /// After STARTTLS, or not at all (`smtp+starttls:`).
    Required,
    /// After STARTTLS if the server offers it (`smtp:`). A password is only told to this machine without it.
    Offered,
    /// Never (`smtp+plain:`). A password is only told to this machine.
    Never,
}

/// A server.
#[derive(Clone, PartialEq, Eq)]
pub struct Relay {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub security: Security,
    /// Who we are there, and by which word.
    login: Option<(String, String)>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password: this may be logged.
        f.debug_struct("Relay")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

impl FromStr for Relay {
    type Err = String;

    /// `smtp://[USER[:PASSWORD]@]HOST[:PORT]`. Mistakes are told without the text, which may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write smtp://HOST:PORT, smtp+starttls://USER:PASSWORD@HOST:PORT or smtps://USER:PASSWORD@HOST:PORT".to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let (security, usual) = match scheme {
            "smtp" => (Security::Offered, 25),
            "smtp+plain" => (Security::Never, 25),
            "smtp+starttls" => (Security::Required, 587),
            "smtps" => (Security::Always, 465),
            _ => return Err(wrong()),
        };
        let rest = rest.trim_end_matches('/');
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (place, usual),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(wrong());
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| wrong());
        let login = match login {
            Some(login) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                Some((decode(user)?, decode(password)?))
            }
            None => None,
        };
        Ok(Self { host: host.to_owned(), port, security, login })
    }
}

impl Relay {
    /// With another password, one that no list of processes shows.
    #[must_use]
    pub fn with_password(mut self, password: String) -> Self {
        if let Some((_, known)) = &mut self.login {
            *known = password;
        }
        self
    }

    fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// What a server said: `550`, `5.1.1 no such user`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} {text}")]
pub struct Said {
    /// The code.
    pub code: u16,
    /// The text, lines joined.
    pub text: String,
}

impl Said {
    /// Asking again is of no use.
    pub fn is_final(&self) -> bool {
        self.code >= 500
    }
}

/// Why a conversation came to nothing; whatever it is, it may be tried again, but for a final word.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The connection.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// The server does not answer.
    #[error("the mail server does not answer in time")]
    Late,
    /// The server does not want it.
    #[error("the mail server says: {0}")]
    Refused(Said),
    /// It cannot be worked with as it is: it would have to be told a password in the clear, cannot be trusted, does not know us. Whoever keeps the
    /// house mends that, so messages wait.
    #[error("{0}")]
    Unfit(String),
}

/// What came of a message, for each recipient.
pub type Outcome = Vec<(String, Result<(), Said>)>;

/// Hands a message over.
///
/// # Errors
/// If it did not come to the recipients.
pub(crate) async fn hand_over(relay: &Relay, trust: &Arc<Trust>, from: &str, to: &[String], message: &[u8]) -> Result<Outcome, Trouble> {
    let stream = timed(ANSWER, async { Ok(TcpStream::connect((relay.host.as_str(), relay.port)).await?) }).await?;
    let _ = stream.set_nodelay(true);
    // Who has no name that everybody knows gives an address (RFC 5321 §4.1.4).
    let hello = &match stream.local_addr()?.ip().to_canonical() {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    if relay.security == Security::Always {
        let stream = secure(relay, trust, stream, true).await?;
        let mut talk = Talk::new(stream);
        talk.greeted().await?;
        let offers = talk.hello(hello).await?;
        return talk.deliver(relay, &offers, true, from, to, message).await;
    }
    let mut talk = Talk::new(stream);
    talk.greeted().await?;
    let offers = talk.hello(hello).await?;
    if relay.security != Security::Never && offers.iter().any(|offer| offer == "STARTTLS") {
        known(talk.ask("STARTTLS", 220, ANSWER).await)?;
        if !talk.0.buffer().is_empty() {
            return Err(Trouble::Unfit("the mail server speaks before TLS begins".into()));
        }
        // Without a password and without a wish, any certificate is better than none at all.
        let validate = relay.security == Security::Required || relay.login.is_some();
        let mut talk = Talk::new(secure(relay, trust, talk.0.into_inner(), validate).await?);
        let offers = talk.hello(hello).await?;
        return talk.deliver(relay, &offers, true, from, to, message).await;
    }
    if relay.security == Security::Required {
        return Err(Trouble::Unfit("the mail server does not offer STARTTLS".into()));
    }
    talk.deliver(relay, &offers, false, from, to, message).await
}

async fn timed<T>(limit: Duration, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    tokio::time::timeout(limit, work).await.map_err(|_| Trouble::Late)?
}

async fn secure(
    relay: &Relay,
    trust: &Arc<Trust>,
    stream: TcpStream,
    validate: bool,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Trouble> {
    let (trust, trust_file) = (Arc::clone(trust), trust.bundle().map(Path::to_owned));
    let config =
        tokio::task::spawn_blocking(move || trust.config(validate)).await.map_err(|_| Trouble::Unfit("TLS cannot be set up".into()))?;
    let name = ServerName::try_from(relay.host.clone()).map_err(|_| Trouble::Unfit("the mail server's name fits no certificate".into()))?;
    let connector = tokio_rustls::TlsConnector::from(config.map_err(Trouble::Unfit)?);
    timed(ANSWER, async { connector.connect(name, stream).await.map_err(|error| distrusted(relay, trust_file.as_deref(), &error)) }).await
}

/// What people can mend about a handshake that failed.
fn distrusted(relay: &Relay, bundle: Option<&Path>, error: &io::Error) -> Trouble {
    let Some(rustls::Error::InvalidCertificate(why)) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
        return Trouble::Unfit(format!("TLS with the mail server {} fails: {error}", relay.host));
    };
    let bundle = bundle.map(|file| format!(" ({})", file.display())).unwrap_or_default();
    let remedy = match why {
        CertificateError::UnknownIssuer => format!(
            "its authority is not among those of this machine{bundle}; name a file that has it in SSL_CERT_FILE, or get a certificate that is known"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name; write that name in --smtp-url".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired; renew it on the mail server".to_owned(),
        other => other.to_string(),
    };
    Trouble::Unfit(format!("the certificate of the mail server {} is not good: {remedy}", relay.host))
}

/// What a server refuses before it has heard of a message concerns no message.
fn known<T>(said: Result<T, Trouble>) -> Result<T, Trouble> {
    said.map_err(|trouble| match trouble {
        Trouble::Refused(said) => Trouble::Unfit(format!("the mail server does not work with us: {said}")),
        other => other,
    })
}

struct Talk<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    async fn greeted(&mut self) -> Result<(), Trouble> {
        known(wanted(self.heard(ANSWER).await?, 220)).map(drop)
    }

    /// What the server offers, in capitals.
    async fn hello(&mut self, name: &str) -> Result<Vec<String>, Trouble> {
        let said = self.say(&format!("EHLO {name}"), ANSWER).await?;
        if said.code == 250 {
            return Ok(said.text.lines().skip(1).map(str::to_ascii_uppercase).collect());
        }
        known(self.ask(&format!("HELO {name}"), 250, ANSWER).await)?;
        Ok(Vec::new())
    }

    async fn log_in(&mut self, relay: &Relay, offers: &[String], encrypted: bool) -> Result<(), Trouble> {
        let Some((user, password)) = &relay.login else { return Ok(()) };
        if !encrypted && !relay.is_here() {
            return Err(Trouble::Unfit("the mail server offers no TLS, and its password is not sent without".into()));
        }
        let ways: Vec<&str> = offers.iter().filter_map(|offer| offer.strip_prefix("AUTH ")).flat_map(str::split_whitespace).collect();
        let taken = if ways.contains(&"PLAIN") {
            let word = STANDARD.encode(format!("\0{user}\0{password}"));
            self.ask(&format!("AUTH PLAIN {word}"), 235, ANSWER).await
        } else if ways.contains(&"LOGIN") {
            self.ask("AUTH LOGIN", 334, ANSWER).await?;
            self.ask(&STANDARD.encode(user), 334, ANSWER).await?;
            self.ask(&STANDARD.encode(password), 235, ANSWER).await
        } else {
            let offered = if ways.is_empty() { "offers no AUTH".to_owned() } else { format!("offers {} alone", ways.join(", ")) };
            return Err(Trouble::Unfit(format!("the mail server {offered}, and a password is only told by PLAIN or LOGIN")));
        };
        taken.map(drop).map_err(|trouble| match trouble {
            Trouble::Refused(said) => Trouble::Unfit(format!("the mail server does not take the user and password of --smtp-url: {said}")),
            other => other,
        })
    }

    async fn deliver(
        mut self,
        relay: &Relay,
        offers: &[String],
        encrypted: bool,
        from: &str,
        to: &[String],
        message: &[u8],
    ) -> Result<Outcome, Trouble> {
        self.log_in(relay, offers, encrypted).await?;
        self.ask(&format!("MAIL FROM:<{from}>"), 250, ANSWER).await?;
        let mut outcome = Outcome::new();
        for one in to {
            let said = self.say(&format!("RCPT TO:<{one}>"), ANSWER).await?;
            outcome.push((one.clone(), if matches!(said.code, 250 | 251) { Ok(()) } else { Err(said) }));
        }
        if outcome.iter().any(|(_, said)| said.is_ok()) {
            self.ask("DATA", 354, ANSWER).await?;
            let data = stuffed(message);
            timed(ACCEPTANCE, async { Ok(self.0.write_all(&data).await?) }).await?;
            wanted(self.heard(ACCEPTANCE).await?, 250)?;
        }
        // It is delivered; how the server says goodbye does not matter.
        let _ = self.say("QUIT", Duration::from_secs(2)).await;
        Ok(outcome)
    }

    async fn ask(&mut self, line: &str, code: u16, limit: Duration) -> Result<Said, Trouble> {
        wanted(self.say(line, limit).await?, code)
    }

    async fn say(&mut self, line: &str, limit: Duration) -> Result<Said, Trouble> {
        timed(limit, async {
            self.0.write_all(format!("{line}\r\n").as_bytes()).await?;
            Ok(self.0.flush().await?)
        })
        .await?;
        self.heard(limit).await
    }

    async fn heard(&mut self, limit: Duration) -> Result<Said, Trouble> {
        timed(limit, async {
            let strange = || io::Error::new(io::ErrorKind::InvalidData, "the mail server does not speak SMTP");
            let mut lines = (&mut self.0).take(MOST_ANSWER);
            let mut text = String::new();
            loop {
                let mut line = Vec::new();
                if lines.read_until(b'\n', &mut line).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end();
                let code: u16 =
                    line.get(..3).and_then(|code| code.parse().ok()).filter(|code| (200..600).contains(code)).ok_or_else(strange)?;
                text.extend(line.get(4..).unwrap_or_default().chars().filter(|c| !c.is_control()));
                if line.as_bytes().get(3) != Some(&b'-') {
                    return Ok(Said { code, text });
                }
                text.push('\n');
            }
        })
        .await
    }
}

fn wanted(said: Said, code: u16) -> Result<Said, Trouble> {
    if said.code == code { Ok(said) } else { Err(Trouble::Refused(said)) }
}

/// The message with dots doubled at the beginning of lines, every line ended by CRLF, and the end (RFC 5321 §4.5.2).
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    let body = message.strip_suffix(b"\n").unwrap_or(message);
    for line in body.split(|b| *b == b'\n') {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        // A lone CR is a line's end to some servers.
        out.extend(line.strip_suffix(b"\r").unwrap_or(line).iter().map(|b| if *b == b'\r' { b' ' } else { *b }));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_relays_are_named() {
        let read = |text: &str| text.parse::<Relay>().map(|relay| (relay.host, relay.port, relay.security, relay.login));
        assert_eq!(read("smtp://localhost"), Ok(("localhost".into(), 25, Security::Offered, None)));
        let login = Some(("me@x".to_owned(), "a:b/c".to_owned()));
        assert_eq!(read("smtps://me%40x:a:b%2Fc@mail.example"), Ok(("mail.example".into(), 465, Security::Always, login)));
        assert_eq!(read("smtp+starttls://[::1]:2525/"), Ok(("::1".into(), 2525, Security::Required, None)));
        for bad in ["", "localhost:25", "http://x", "smtp://", "smtp://x:y", "smtp://u:secret@"] {
            let error = bad.parse::<Relay>().expect_err("bad");
            assert!(!error.contains("secret"), "{bad}");
        }
        let relay: Relay = "smtp://me:secret@localhost".parse().expect("a relay");
        assert!(!format!("{relay:?}").contains("secret"));
    }

    #[test]
    fn s4_dots_are_doubled() {
        let of = |text: &str| String::from_utf8(stuffed(text.as_bytes())).expect("text");
        assert_eq!(of("a\r\n.\r\n..b\n\rc\r\n"), "a\r\n..\r\n...b\r\n c\r\n.\r\n");
        assert_eq!(of("a"), "a\r\n.\r\n");
        assert_eq!(of("a\r\n.\rQUIT\r\n"), "a\r\n.. QUIT\r\n.\r\n");
        assert_eq!(of(""), "\r\n.\r\n");
    }
}
