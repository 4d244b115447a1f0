//! An HTTP/1.1 client that sends exactly what it is given and keeps what it gets: order, case and duplicates of headers included.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::DEADLINE;

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request with any method.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), host: "localhost".into(), headers: Vec::new(), body: None }
    }

    /// GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// POST with a form.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).header("Content-Type", "application/x-www-form-urlencoded").body(body)
    }

    /// The `Host` header; `localhost` if not said.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends a body with its length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if let Some(body) = &self.body {
            out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body.as_deref().unwrap_or_default());
        out
    }

    /// The same for HTTP/2.
    pub(crate) fn build(&self, scheme: &str) -> http::Request<Full<Bytes>> {
        let mut built = http::Request::builder().method(self.method.as_str()).uri(format!("{scheme}://{}{}", self.host, self.target));
        for (name, value) in &self.headers {
            built = built.header(name.to_ascii_lowercase(), value);
        }
        built.body(Full::new(Bytes::from(self.body.clone().unwrap_or_default()))).expect("a valid request")
    }
}

/// Headers in the order and spelling in which they came; values as latin-1.
pub type Headers = Vec<(String, String)>;

/// A response, complete.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// Its headers.
    pub headers: Headers,
    /// The body without transfer coding.
    pub body: Vec<u8>,
    /// The body came to its proper end.
    pub complete: bool,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.complete { "" } else { " (broken off)" };
        let text: String = self.text().chars().take(2_000).collect();
        write!(f, "{} {} {:?}{end}\n{text}", self.status, self.reason, self.headers)
    }
}

impl Response {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers of a name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, unpacked if it was asked for with gzip.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let mut plain = Vec::new();
        let packed = self.header("content-encoding") == Some("gzip");
        if packed {
            flate2::read::GzDecoder::new(&self.body[..]).read_to_end(&mut plain).expect("gzip");
        }
        let body = if packed { &plain } else { &self.body };
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }

    /// Fails unless the status is this one.
    #[track_caller]
    #[allow(clippy::return_self_not_must_use, reason = "the check is the point; the response is a by-product")]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection that may carry several requests.
pub struct Connection {
    stream: BufReader<Stream>,
}

impl Connection {
    /// Connects in clear text.
    pub fn open(address: SocketAddr) -> Self {
        Self { stream: BufReader::new(Stream::Plain(connect(address))) }
    }

    /// Connects with TLS, believing any certificate.
    pub fn open_tls(address: SocketAddr) -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(trusting(&[b"http/1.1"])), name).expect("a TLS session");
        Self { stream: BufReader::new(Stream::Tls(Box::new(StreamOwned::new(session, connect(address))))) }
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub fn send(&mut self, request: &Request) -> Response {
        // A server that refuses early may close before everything is written; its answer can be read nevertheless.
        let _ = self.write(&request.bytes());
        self.read(request.method == "HEAD").expect("a response")
    }

    /// Reads one response; `bodiless` for answers to HEAD. `None` if the connection ends before one begins.
    pub fn read(&mut self, bodiless: bool) -> Option<Response> {
        loop {
            let (status, reason, headers) = self.read_head()?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let mut response = Response { status, reason, headers, body: Vec::new(), complete: true };
            if !bodiless && status != 204 && status != 304 {
                self.read_body(&mut response);
            }
            return Some(response);
        }
    }

    /// Reads up to `most` further bytes as they come; empty at the end.
    pub fn read_some(&mut self, most: usize) -> Vec<u8> {
        let mut buffer = vec![0; most];
        let count = self.stream.read(&mut buffer).unwrap_or(0);
        buffer.truncate(count);
        buffer
    }

    /// Reads one line including its end.
    pub fn read_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).ok().filter(|&n| n > 0)?;
        Some(latin1(&line))
    }

    /// Reads the head of a response only, for tests that look at the body as it comes.
    pub fn read_head(&mut self) -> Option<(u16, String, Headers)> {
        let first = self.read_line()?;
        let mut words = first.trim_end().splitn(3, ' ');
        let status = words.nth(1)?.parse().ok()?;
        let reason = words.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                return Some((status, reason, headers));
            }
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads one chunk of a chunked body; empty at the end, `None` if the connection breaks.
    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.read_line()?;
        let size = usize::from_str_radix(line.trim_end().split(';').next()?, 16).ok()?;
        let mut data = vec![0; size];
        self.stream.read_exact(&mut data).ok()?;
        self.read_line()?;
        Some(data)
    }

    fn read_body(&mut self, response: &mut Response) {
        if response.all("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                match self.read_chunk() {
                    Some(chunk) if chunk.is_empty() => return,
                    Some(chunk) => response.body.extend_from_slice(&chunk),
                    None => {
                        response.complete = false;
                        return;
                    }
                }
            }
        }
        let length = response.header("content-length").and_then(|value| value.parse::<u64>().ok());
        let mut limited = Read::by_ref(&mut self.stream).take(length.unwrap_or(u64::MAX));
        let read = limited.read_to_end(&mut response.body);
        response.complete = read.is_ok() && length.is_none_or(|length| length == response.body.len() as u64);
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout is set");
    stream.set_write_timeout(Some(DEADLINE)).expect("timeout is set");
    stream.set_nodelay(true).expect("nodelay is set");
    stream
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// A TLS configuration that believes any certificate and offers `protocols`.
pub(crate) fn trusting(protocols: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions are known")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider.signature_verification_algorithms.supported_schemes())))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config
}

/// The certificate of a test server is made on the spot; nobody vouches for it.
#[derive(Debug)]
struct Trusting(Vec<SignatureScheme>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
