//! Servers of somebody else, good and bad ones: what they do is in the path that they are asked for.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use testkit::DEADLINE;

/// A server until it is dropped.
pub(crate) struct Elsewhere {
    pub(crate) address: SocketAddr,
    visits: Arc<AtomicUsize>,
}

impl Elsewhere {
    /// Speaks http.
    pub(crate) fn http(ip: &str) -> Self {
        Self::start(ip, None)
    }

    /// Speaks https with this certificate.
    pub(crate) fn https(ip: &str, chain: &str, key: &str) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(|one| one.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let config = config.with_no_client_auth().with_single_cert(chain, key).expect("a pair");
        Self::start(ip, Some(Arc::new(config)))
    }

    fn start(ip: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a port");
        let (address, visits) = (listener.local_addr().expect("an address"), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&visits);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The drop knocks with nothing to say.
                if Arc::strong_count(&counted) == 1 {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
                let tls = tls.clone();
                std::thread::spawn(move || match tls {
                    None => serve(BufReader::new(stream)),
                    Some(config) => {
                        let session = ServerConnection::new(config).expect("a session");
                        serve(BufReader::new(StreamOwned::new(session, stream)))
                    }
                });
            }
        });
        Self { address, visits }
    }

    /// `HOST:PORT/PATH`, with the scheme.
    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    /// Connections that came.
    pub(crate) fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.visits = Arc::default();
        let _ = TcpStream::connect(self.address);
    }
}

/// One request; whoever hangs up early is nobody's mistake.
fn serve<S: Read + Write>(mut stream: BufReader<S>) -> Option<()> {
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let target = head.first()?.split(' ').nth(1)?.to_owned();
    let stream = stream.get_mut();
    answer(stream, &target, &head, &body)?;
    stream.flush().ok()
}

fn answer(stream: &mut impl Write, target: &str, head: &[String], body: &[u8]) -> Option<()> {
    let (path, rest) = target.split_at(target[1..].find(['/', '?']).map_or(target.len(), |at| at + 1));
    let mut send = |bytes: &[u8]| stream.write_all(bytes).ok();
    match path {
        "/echo" => {
            let mut text = head.join("\n").into_bytes();
            text.extend_from_slice(b"\n\n");
            text.extend_from_slice(body);
            send(format!("HTTP/1.1 200 OK\r\nX-One: 1\r\nX-Two: a\r\nX-Two: b\r\nContent-Length: {}\r\n\r\n", text.len()).as_bytes())?;
            if head[0].starts_with("HEAD ") { Some(()) } else { send(&text) }
        }
        "/status" => send(format!("HTTP/1.1 {} Whatever\r\nContent-Length: 0\r\n\r\n", &rest[1..]).as_bytes()),
        // `/to/STATUS?LOCATION`
        "/to" => {
            let (status, location) = rest[1..].split_once('?')?;
            send(format!("HTTP/1.1 {status} There\r\nLocation: {location}\r\nContent-Length: 5\r\n\r\nthere").as_bytes())
        }
        // `/loop/3` → `/loop/2` → `/loop/1` → `/loop/0`
        "/loop" => match rest[1..].parse::<u32>().ok()? {
            0 => send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend"),
            left => send(format!("HTTP/1.1 302 There\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", left - 1).as_bytes()),
        },
        "/nowhere" => send(b"HTTP/1.1 302 There\r\nContent-Length: 0\r\n\r\n"),
        "/gzip" => {
            let packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x4b\x4c\x4a\x06\x00\xc2\x41\x24\x35\x03\x00\x00\x00";
            send(format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", packed.len()).as_bytes())?;
            send(packed)
        }
        "/notgzip" => send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"),
        "/close" => Some(()),
        "/half" => send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        "/garbage" => send(b"This is no HTTP at all\r\n\r\n"),
        "/badchunk" => send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n"),
        "/old" => send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"),
        "/manyheads" => {
            send(b"HTTP/1.1 200 OK\r\n")?;
            let line = format!("X-Long: {}\r\n", "x".repeat(1000));
            (0..500).try_for_each(|_| send(line.as_bytes()))?;
            send(b"Content-Length: 0\r\n\r\n")
        }
        // `/bytes/COUNT`
        "/bytes" => {
            let count: usize = rest[1..].parse().ok()?;
            send(format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n").as_bytes())?;
            send(&vec![b'x'; count])
        }
        // Nothing, for as long as the other side waits.
        "/slow" => {
            std::thread::park_timeout(DEADLINE);
            Some(())
        }
        _ => send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    }
}
