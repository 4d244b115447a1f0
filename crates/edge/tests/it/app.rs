//! Fake instances: an HTTP server and an agent, each a closure per request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::pool::Endpoint;

/// What an HTTP instance received.
#[derive(Debug, Clone, Default)]
pub struct Received {
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl Received {
    /// All values of a header, joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// An instance's connection: its reader and writer.
pub struct Wire {
    pub reader: BufReader<TcpStream>,
}

impl Wire {
    /// Reads a body by its framing.
    pub fn body(&mut self, received: &Received) -> Vec<u8> {
        let mut body = Vec::new();
        if let Some(length) = received.header("content-length") {
            body.resize(length.parse().expect("a number"), 0);
            self.reader.read_exact(&mut body).expect("a body");
        } else if received.header("transfer-encoding").is_some() {
            while let Some(part) = self.chunk() {
                body.extend(part);
            }
        }
        body
    }

    /// One chunk; `None` at the end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a chunk size");
        let mut part = vec![0; usize::from_str_radix(line.trim(), 16).expect("a chunk size") + 2];
        self.reader.read_exact(&mut part).expect("a chunk");
        part.truncate(part.len() - 2);
        (!part.is_empty()).then_some(part)
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.reader.get_mut().write_all(bytes.as_ref());
    }

    /// Answers with a body of known length.
    pub fn answer(&mut self, head: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.write([format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat());
    }
}

/// An HTTP instance. `serve` is called for each request; false closes the connection.
pub fn http(serve: impl Fn(&Received, &mut Wire) -> bool + Send + Sync + 'static) -> (Endpoint, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let endpoint = Endpoint::Http(listener.local_addr().expect("bound"));
    let (serve, connections) = (Arc::new(serve), Arc::new(AtomicUsize::new(0)));
    let count = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::SeqCst);
            let serve = serve.clone();
            std::thread::spawn(move || {
                let mut wire = Wire { reader: BufReader::new(stream) };
                while let Some(received) = request(&mut wire.reader) {
                    if !serve(&received, &mut wire) {
                        return;
                    }
                }
            });
        }
    });
    (endpoint, connections)
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut received = Received::default();
    if reader.read_line(&mut received.line).ok()? == 0 {
        return None;
    }
    received.line.truncate(received.line.trim_end().len());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some(received) };
        received.headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// What an agent received.
#[derive(Debug, Clone, Default)]
pub struct Environ {
    pub flags: u8,
    pub pairs: Vec<(String, String)>,
}

impl Environ {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// An agent's connection.
pub struct Agent {
    pub stream: UnixStream,
}

impl Agent {
    /// The next frame.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut prefix = [0; 5];
        self.stream.read_exact(&mut prefix).ok()?;
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        let mut payload = vec![0; usize::try_from(length).expect("fits")];
        self.stream.read_exact(&mut payload).ok()?;
        Some((prefix[0], payload))
    }

    /// The request's body.
    pub fn body(&mut self, environ: &Environ) -> Vec<u8> {
        let mut body = Vec::new();
        if environ.flags & 1 == 0 {
            return body;
        }
        loop {
            let (kind, part) = self.frame().expect("a piece of body");
            assert_eq!(kind, b'B');
            if part.is_empty() {
                return body;
            }
            body.extend(part);
        }
    }

    pub fn send(&mut self, frames: &[(u8, &[u8])]) {
        let mut all = Vec::new();
        for (kind, payload) in frames {
            all.push(*kind);
            all.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
            all.extend(*payload);
        }
        let _ = self.stream.write_all(&all);
    }
}

/// The end of a request: outcome, 3 ms of CPU, detail.
pub fn end(outcome: u8, detail: &str) -> Vec<u8> {
    [&[b'0' + outcome][..], &3000_u64.to_be_bytes(), detail.as_bytes()].concat()
}

/// An agent. `serve` is called for each request; false closes the connection.
pub fn agent(directory: &std::path::Path, serve: impl Fn(&Environ, &mut Agent) -> bool + Send + Sync + 'static) -> Endpoint {
    let path = directory.join("agent.sock");
    let listener = UnixListener::bind(&path).expect("binds");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || {
                let mut agent = Agent { stream };
                while let Some((kind, payload)) = agent.frame() {
                    assert_eq!(kind, b'R');
                    let mut parts = payload[1..].split(|&b| b == 0).map(|part| String::from_utf8_lossy(part).into_owned());
                    let mut environ = Environ { flags: payload[0], pairs: Vec::new() };
                    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                        environ.pairs.push((key, value));
                    }
                    if !serve(&environ, &mut agent) {
                        return;
                    }
                }
            });
        }
    });
    Endpoint::Agent(path)
}
