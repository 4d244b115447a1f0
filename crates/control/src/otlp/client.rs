//! One POST to the collector on a connection of its own: batches are seconds apart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::config::{Config, Protocol};
use crate::socket::Socket;

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Sent {
    Taken,
    /// Another attempt may succeed.
    Later(String),
    Refused(String),
}

/// Sends batches.
pub(super) struct Client {
    tls: Option<TlsConnector>,
}

/// Where systems keep the certificates that they trust.
const BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

impl Client {
    /// Reads the trusted certificates, if the collector speaks TLS.
    pub(super) fn new(config: &Config) -> io::Result<Self> {
        if config.endpoint.scheme_str() != Some("https") {
            return Ok(Self { tls: None });
        }
        let bundle = match (&config.certificate, std::env::var_os("SSL_CERT_FILE")) {
            (Some(file), _) => file.clone(),
            (None, Some(file)) => file.into(),
            (None, None) => BUNDLES.iter().map(PathBuf::from).find(|file| file.is_file()).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    "no certificates of the system were found; name a file in OTEL_EXPORTER_OTLP_CERTIFICATE",
                )
            })?,
        };
        let roots = roots(&bundle)?;
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(tls))) })
    }

    pub(super) async fn post(&self, config: &Config, body: Bytes) -> Sent {
        match tokio::time::timeout(config.timeout, self.attempt(config, body)).await {
            Ok(Ok(status)) if status.is_success() => Sent::Taken,
            // The specification names the statuses after which a client tries again.
            Ok(Ok(status)) if matches!(status.as_u16(), 429 | 502 | 503 | 504) => Sent::Later(format!("it answers {status}")),
            Ok(Ok(status)) => Sent::Refused(format!("it answers {status}")),
            Ok(Err(why)) => Sent::Later(why),
            Err(_) => Sent::Later(format!("no answer within {} s", config.timeout.as_secs_f32())),
        }
    }

    async fn attempt(&self, config: &Config, body: Bytes) -> Result<StatusCode, String> {
        let uri = &config.endpoint;
        let host = uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((bare, port)).await.map_err(|error| error.to_string())?;
        let request = request(config, body).map_err(|error| error.to_string())?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some(tls) => {
                let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
                let stream = tls.connect(name, stream).await.map_err(|error| error.to_string())?;
                exchange(stream, request).await
            }
        }
    }
}

fn roots(bundle: &Path) -> io::Result<RootCertStore> {
    let unreadable =
        |error: &dyn std::fmt::Display| io::Error::other(format!("the certificates in {} cannot be read: {error}", bundle.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(bundle).map_err(|error| unreadable(&error))? {
        // One odd certificate among a hundred is no reason to trust none.
        let _ = roots.add(certificate.map_err(|error| unreadable(&error))?);
    }
    Ok(roots)
}

fn request(config: &Config, body: Bytes) -> http::Result<Request<Full<Bytes>>> {
    let uri = &config.endpoint;
    let kind = match config.protocol {
        Protocol::Protobuf => "application/x-protobuf",
        Protocol::Json => "application/json",
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::post(path).body(Full::new(body))?;
    let headers = request.headers_mut();
    // A user and a password in the URL are nobody else's business; headers carry keys.
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or(authority);
    headers.insert(HOST, HeaderValue::from_str(host)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("enginehouse/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in &config.headers {
        headers.insert(name.clone(), value.clone());
    }
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(Socket(stream)).await.map_err(|error| error.to_string())?;
    let driving = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map(|answer| answer.status()).map_err(|error| error.to_string());
    // The body of the answer says nothing that is acted on.
    driving.abort();
    answer
}
