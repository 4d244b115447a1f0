//! A request to the server of somebody else: names are resolved once, and one of the addresses found is connected to, if the wall lets it through.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use model::pool::Boxed;
use model::proxy::Proxies;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::inflate;
use super::plan::{MOST_ANSWER, Plan};
use super::tls::Trust;
use super::wall;
use crate::call::Failure;
use crate::proto::urlfetch::ErrorCode;
use crate::socket::Socket;

/// Addresses of a name that are tried.
const TRIED: usize = 6;
/// How long one of several addresses is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Header fields of an answer, and bytes of them.
const FIELDS: usize = 1000;
const HEAD: usize = 256 << 10;

/// The system's resolver, or a test's.
pub trait Resolver: Send + Sync {
    /// The addresses of a name.
    fn resolve(&self, name: &str) -> Boxed<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's.
#[derive(Debug, Default)]
pub struct System;

impl Resolver for System {
    fn resolve(&self, name: &str) -> Boxed<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        // On a thread of tokio's for what blocks.
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) })
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// There is more of the body.
    pub(crate) cut: bool,
    /// Bytes of the body on the wire.
    pub(crate) received: usize,
}

/// The way out.
pub(crate) struct Outer {
    pub(crate) resolver: Box<dyn Resolver>,
    pub(crate) allowed: Proxies,
    pub(crate) trust: Trust,
}

impl Outer {
    /// Asks, and takes the answer in.
    pub(crate) async fn ask(self: Arc<Self>, plan: Plan) -> Result<Reply, Failure> {
        let stream = self.connect(&plan).await?;
        if !plan.address.https {
            return exchange(stream, &plan).await;
        }
        let (this, validate) = (Arc::clone(&self), plan.validate);
        let config = tokio::task::spawn_blocking(move || this.trust.config(validate)).await;
        let config = config.map_err(|_| Failure::app(ErrorCode::UnspecifiedError, "TLS cannot be set up"))?;
        let config = config.map_err(|text| Failure::app(ErrorCode::SslCertificateError, text))?;
        let name = ServerName::try_from(plan.address.bare_host().to_owned());
        let name = name.map_err(|_| Failure::app(ErrorCode::InvalidUrl, "the host is no name that a certificate can have"))?;
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.map_err(|error| no_tls(&error))?;
        exchange(stream, &plan).await
    }

    async fn connect(&self, plan: &Plan) -> Result<TcpStream, Failure> {
        let (host, port) =
            plan.proxy.as_ref().map_or((plan.address.bare_host(), plan.address.port()), |(host, port)| (host.as_str(), *port));
        // A test has named the proxy; nobody else can.
        let found = if plan.proxy.is_some() { self.resolved(host).await? } else { self.addresses(host).await? };
        let mut last = "it has no address".to_owned();
        for (index, address) in found.iter().enumerate() {
            let patience = if index + 1 < found.len() { PATIENCE } else { Duration::from_mins(10) };
            match tokio::time::timeout(patience, TcpStream::connect(SocketAddr::new(*address, port))).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) if is_ours(&error) => return Err(Failure::app(ErrorCode::InternalTransientError, error.to_string())),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = "it does not answer".into(),
            }
        }
        Err(Failure::app(ErrorCode::ConnectionError, format!("cannot connect to {}: {last}", plan.address.authority())))
    }

    /// The addresses that may be connected to, in the resolver's order. They are what is connected to: the name is not looked up again.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        let found = self.resolved(host).await?;
        let Some(first) = found.first().copied() else { return Err(unknown(host, "it has no address")) };
        let open: Vec<_> = found.into_iter().filter(|address| wall::check(*address, &self.allowed).is_ok()).take(TRIED).collect();
        match wall::check(first, &self.allowed) {
            Err(refused) if open.is_empty() => {
                let text =
                    format!("{host} is {}; the owner of this server can open it with --urlfetch-allow {}", refused.0, first.to_canonical());
                Err(Failure::app(ErrorCode::FetchError, text))
            }
            _ => Ok(open),
        }
    }

    /// The addresses of a host, whatever they are.
    async fn resolved(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        match host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.resolver.resolve(host).await.map_err(|error| unknown(host, &error.to_string())),
        }
    }
}

fn unknown(host: &str, why: &str) -> Failure {
    Failure::app(ErrorCode::DnsError, format!("cannot find {host}: {why}"))
}

/// Whether it is this machine that has nothing left.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}

fn no_tls(error: &io::Error) -> Failure {
    let tls = error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
    Failure::app(if tls { ErrorCode::SslCertificateError } else { ErrorCode::Closed }, error.to_string())
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, plan: &Plan) -> Result<Reply, Failure> {
    let mut builder = http1::Builder::new();
    builder.title_case_headers(true).max_headers(FIELDS).max_buf_size(HEAD);
    let (mut sender, connection) = builder.handshake(Socket(stream)).await.map_err(|error| broken(&error))?;
    // Aborted when this ends, however it ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request(plan)?).await.map_err(|error| broken(&error))?;
    let (parts, body) = response.into_parts();
    if parts.status.as_u16() >= 600 || parts.status.is_informational() {
        return Err(Failure::app(ErrorCode::FetchError, format!("the server answers with the unknown status {}", parts.status.as_u16())));
    }
    let (body, cut) = collect(body).await?;
    finish(Reply { status: parts.status, headers: parts.headers, received: body.len(), body, cut }, plan).await
}

fn request(plan: &Plan) -> Result<Request<Full<Bytes>>, Failure> {
    let bad = || Failure::app(ErrorCode::InvalidUrl, "the URL cannot be asked for");
    let mut request = Request::new(Full::new(plan.payload.clone().unwrap_or_default()));
    *request.method_mut() = plan.method.clone();
    let target = match &plan.proxy {
        Some(_) => format!("http://{}{}", plan.address.authority(), plan.address.target).parse(),
        None => plan.address.target.parse(),
    };
    *request.uri_mut() = target.map_err(|_| bad())?;
    *request.headers_mut() = plan.headers.clone();
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(plan.address.authority()).map_err(|_| bad())?);
    if !plan.raw {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(request)
}

async fn collect(mut body: Incoming) -> Result<(Bytes, bool), Failure> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        let room = MOST_ANSWER - all.len();
        all.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return Ok((all.freeze(), true));
        }
    }
    Ok((all.freeze(), false))
}

/// Takes the encoding off that the app did not ask for, and tells the length that the body now has (the SDK does the same).
pub(crate) async fn finish(mut reply: Reply, plan: &Plan) -> Result<Reply, Failure> {
    let gzip = reply.headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
    if plan.method == Method::HEAD {
        return Ok(reply);
    }
    if gzip && !plan.raw && !reply.body.is_empty() {
        let (body, cut) = (std::mem::take(&mut reply.body), reply.cut);
        // 32 MiB take a moment; others' fetches go on meanwhile.
        let unpacked = tokio::task::spawn_blocking(move || inflate::gunzip(&body, cut, MOST_ANSWER)).await;
        let unpacked = unpacked.map_err(|_| Failure::app(ErrorCode::UnspecifiedError, "unpacking the answer broke off"))?;
        let unpacked = unpacked.map_err(|error| Failure::app(ErrorCode::MalformedReply, format!("the answer is no gzip: {error}")))?;
        (reply.body, reply.cut) = (unpacked.0.into(), unpacked.1 || cut);
    }
    if gzip && !plan.raw {
        reply.headers.remove(CONTENT_ENCODING);
    }
    if reply.headers.contains_key(CONTENT_LENGTH) {
        reply.headers.insert(CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
    }
    Ok(reply)
}

/// What went wrong between us and the server.
fn broken(error: &hyper::Error) -> Failure {
    let kind = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let code = if error.is_parse_too_large() {
        ErrorCode::ResponseTooLarge
    } else if error.is_parse() || matches!(kind, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)) {
        ErrorCode::MalformedReply
    } else if error.is_user() {
        ErrorCode::FetchError
    } else {
        // Before, or in the midst of the answer.
        ErrorCode::Closed
    };
    Failure::app(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::proto::urlfetch as pb;

    /// Answers with the next of its answers each time it is asked.
    struct Turncoat(Vec<Vec<IpAddr>>, Arc<AtomicUsize>);

    impl Resolver for Turncoat {
        fn resolve(&self, _: &str) -> Boxed<'static, io::Result<Vec<IpAddr>>> {
            let answer = self.0[self.1.fetch_add(1, Ordering::SeqCst)].clone();
            Box::pin(async move { Ok(answer) })
        }
    }

    /// What a fetch from `http://turncoat.example` comes to, and how often the name was looked up. A server listens on 127.0.0.2, which is open.
    fn fetched(answers: &[&[&str]]) -> (Result<u16, Failure>, usize) {
        let asked = Arc::new(AtomicUsize::new(0));
        let read = |all: &&[&str]| all.iter().map(|one| one.parse().expect("an address")).collect();
        let resolver = Turncoat(answers.iter().map(read).collect(), Arc::clone(&asked));
        let allowed = "127.0.0.2".parse().expect("a network");
        let outer = Arc::new(Outer { resolver: Box::new(resolver), allowed, trust: Trust::new(None) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let reply = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.2:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("a visitor");
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 204 Nothing\r\n\r\n").await;
            });
            let url = format!("http://turncoat.example:{port}/").into();
            let request = pb::UrlFetchRequest { method: Some(1), url: Some(url), ..pb::UrlFetchRequest::default() };
            outer.ask(Plan::read(request, "s~shop").expect("a plan")).await
        });
        (reply.map(|reply| reply.status.as_u16()), asked.load(Ordering::SeqCst))
    }

    #[test]
    fn s6_a_name_that_changes_its_mind_leads_nowhere_else() {
        // What is judged is what is connected to: there is no second look-up that could say something else.
        assert_eq!(fetched(&[&["127.0.0.2"], &["127.0.0.1"]]), (Ok(204), 1));
        // Closed addresses among open ones are not tried.
        assert_eq!(fetched(&[&["127.0.0.1", "169.254.169.254", "127.0.0.2"]]), (Ok(204), 1));
        for closed in [["127.0.0.1"], ["10.0.0.1"], ["::ffff:127.0.0.1"], ["::1"]] {
            assert!(matches!(fetched(&[&closed]).0, Err(Failure::Application(2, _))), "{closed:?}");
        }
        assert!(matches!(fetched(&[&[]]).0, Err(Failure::Application(7, _))));
    }
}
