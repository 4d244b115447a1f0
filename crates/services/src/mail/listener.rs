//! Where other mail servers bring mail to apps: a small SMTP server that never relays, and gives nobody more than a share of what it has.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::office::Office;
use super::session::{Collector, GREETING, Guard, LINE, Session, Step};

/// Connections, and those from one address.
const CONNECTIONS: usize = 128;
const FROM_ONE: usize = 16;
/// How long the other side may be silent, and how long a connection may last.
const SILENCE: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_mins(10);
/// Messages on their way in take no more memory than this, together.
const PIECE: usize = 64 << 10;
const PIECES: usize = (256 << 20) / PIECE;

/// The listener's state.
struct Post {
    office: Arc<Office>,
    pieces: Arc<Semaphore>,
    visitors: Mutex<HashMap<IpAddr, usize>>,
}

/// Takes mail until it is dropped.
pub(super) async fn listen(listener: TcpListener, office: Arc<Office>) {
    let post = Arc::new(Post { office, pieces: Arc::new(Semaphore::new(PIECES)), visitors: Mutex::default() });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let post = Arc::clone(&post);
                connections.spawn(async move {
                    let _ = tokio::time::timeout(LONGEST, post.welcome(stream, peer)).await;
                    drop(permit);
                });
            }
            // Out of descriptors: the next moment may have some again.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One of the places of an address.
struct Place<'p>(&'p Post, IpAddr);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut visitors = self.0.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = visitors.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                visitors.remove(&self.1);
            }
        }
    }
}

impl Post {
    fn place(&self, ip: IpAddr) -> Option<Place<'_>> {
        let mut visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        let count = visitors.entry(ip).or_default();
        if *count >= FROM_ONE {
            return None;
        }
        *count += 1;
        Some(Place(self, ip))
    }

    async fn welcome(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let ip = peer.ip().to_canonical();
        let _ = stream.set_nodelay(true);
        let mut stream = BufReader::new(stream);
        let Some(_place) = self.place(ip) else {
            return say(&mut stream, "421 4.7.0 Too many connections from your address").await;
        };
        say(&mut stream, GREETING).await?;
        let tls = self.office.settings.tls.as_ref().map(|tls| tls.load_full());
        let guard = if tls.is_some() { Guard::Offered } else { Guard::Never };
        match (self.converse(&mut stream, guard, ip).await?, tls) {
            (End::Secure, Some(tls)) => {
                // What came in the clear behind the command is not taken for what TLS protects.
                if !stream.buffer().is_empty() {
                    return Ok(());
                }
                let stream = secured(stream.into_inner(), tls).await?;
                self.converse(&mut BufReader::new(stream), Guard::Tls, ip).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    async fn converse<S: Wire>(&self, stream: &mut BufReader<S>, guard: Guard, ip: IpAddr) -> io::Result<End> {
        let mut session = Session::new(guard);
        loop {
            let step = match line(stream).await? {
                Line::End => return Ok(End::Closed),
                Line::Whole(line) => session.line(&line, |address| self.office.takes(address).is_some()),
                Line::Overlong => session.overlong(),
            };
            match step {
                Step::Say(said) => say(stream, &said).await?,
                Step::Close(said) => return say(stream, &said).await.map(|()| End::Closed),
                Step::Secure(said) => return say(stream, said).await.map(|()| End::Secure),
                Step::Data(said) => {
                    say(stream, said).await?;
                    let said = self.message(stream, &mut session, ip).await?;
                    say(stream, &said).await?;
                }
            }
        }
    }

    async fn message<S: Wire>(&self, stream: &mut BufReader<S>, session: &mut Session, ip: IpAddr) -> io::Result<String> {
        let (mut collector, mut held) = (Collector::default(), Vec::new());
        let mut room = true;
        loop {
            let bytes = patiently(stream.fill_buf()).await?;
            if bytes.is_empty() || collector.is_hopeless() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (taken, done) = collector.feed(bytes);
            stream.consume(taken);
            while room && held.len() * PIECE < collector.len() {
                match Arc::clone(&self.pieces).try_acquire_owned() {
                    Ok(piece) => held.push(piece),
                    Err(_) => room = false,
                }
            }
            if !room {
                collector = Collector::default();
                held.clear();
                drop(collector);
                // Nobody knows where the message would have ended.
                say(stream, "452 4.3.1 Too much mail at once; come again").await?;
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            if done {
                break;
            }
        }
        let Some(envelope) = session.take() else { return Ok("503 5.5.1 First MAIL FROM".into()) };
        if collector.is_too_large() {
            return Ok("552 5.3.4 The message is too large".into());
        }
        let date = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "+0000");
        let received = format!("Received: from {} ([{ip}]) by Enginehouse with {}; {date}\r\n", envelope.helo, envelope.with);
        let message = [received.as_bytes(), &collector.into_message()].concat();
        Ok(match self.office.take_in(&envelope.from, &envelope.to, message).await {
            Ok(()) => "250 2.0.0 The app gets it".into(),
            Err(_) => "451 4.3.0 It cannot be kept; come again".into(),
        })
    }
}

/// How a conversation ended.
enum End {
    Closed,
    /// TLS begins.
    Secure,
}

/// What bytes come over.
trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for S {}

async fn secured(stream: TcpStream, tls: Arc<ServerConfig>) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    patiently(async { TlsAcceptor::from(tls).accept(stream).await }).await
}

enum Line {
    Whole(Vec<u8>),
    Overlong,
    End,
}

async fn line<S: Wire>(stream: &mut BufReader<S>) -> io::Result<Line> {
    let mut found = Vec::new();
    patiently((&mut *stream).take(LINE as u64).read_until(b'\n', &mut found)).await?;
    if found.pop_if(|last| *last == b'\n').is_some() {
        found.pop_if(|last| *last == b'\r');
        return Ok(Line::Whole(found));
    }
    if found.len() < LINE {
        return Ok(Line::End);
    }
    // The rest of it, to a limit.
    let mut rest = Vec::new();
    patiently((&mut *stream).take(PIECE as u64).read_until(b'\n', &mut rest)).await?;
    Ok(if rest.last() == Some(&b'\n') { Line::Overlong } else { Line::End })
}

async fn say<S: Wire>(stream: &mut BufReader<S>, text: &str) -> io::Result<()> {
    patiently(async {
        stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        stream.flush().await
    })
    .await
}

async fn patiently<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(SILENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
