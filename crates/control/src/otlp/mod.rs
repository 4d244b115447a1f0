//! Traces to an OpenTelemetry collector, over OTLP/HTTP. Made from the records of requests that are over, on threads of its own: nothing here costs a
//! request anything but the two times that its span wants, and those only while traces are wanted.

mod client;
mod config;
mod encode;
mod span;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use model::journal::Request;
use tokio::sync::mpsc::{Receiver, Sender, channel};

pub use config::{Config, ConfigError, Protocol};

use client::{Client, Sent};
use span::Span;

/// How long the last batch may take when the house closes.
const LAST: Duration = Duration::from_secs(3);
/// Attempts to send a batch, and the pause before the second, which doubles.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// What became of the spans.
#[derive(Debug, Default)]
pub struct Tallied {
    /// The collector has them.
    pub exported: AtomicU64,
    /// They were not sent: too many, or nobody took them.
    pub dropped: AtomicU64,
}

/// Takes spans and sends them in batches.
#[derive(Debug)]
pub struct Exporter {
    queue: Option<Sender<Vec<Span>>>,
    tallied: Arc<Tallied>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Starts the thread. `complain` is told, rarely, why spans cannot be sent.
    ///
    /// # Errors
    /// If the certificates cannot be read, or the system gives no thread.
    pub fn start(config: Config, complain: impl Fn(String) + Send + 'static) -> io::Result<Self> {
        let (queue, inbox) = channel(config.queue);
        let tallied = Arc::new(Tallied::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::new(&config)?;
        let post = Post { client, config, tallied: Arc::clone(&tallied), complain: Box::new(complain), silent: false };
        let thread = std::thread::Builder::new().name("otlp".into()).spawn(move || runtime.block_on(post.work(inbox)))?;
        Ok(Self { queue: Some(queue), tallied, thread: Some(thread) })
    }

    /// Takes the spans of a request, if its trace is wanted; drops them if too many wait.
    pub fn offer(&self, request: &Request) {
        let spans = span::of(request);
        let count = spans.len() as u64;
        let full = self.queue.as_ref().is_some_and(|queue| !spans.is_empty() && queue.try_send(spans).is_err());
        if full {
            self.tallied.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What became of the spans so far.
    pub fn tallied(&self) -> Arc<Tallied> {
        Arc::clone(&self.tallied)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The sending side.
struct Post {
    client: Client,
    config: Config,
    tallied: Arc<Tallied>,
    complain: Box<dyn Fn(String) + Send>,
    /// The collector's trouble was told already.
    silent: bool,
}

impl Post {
    async fn work(mut self, mut inbox: Receiver<Vec<Span>>) {
        while let Some(first) = inbox.recv().await {
            let (batch, open) = self.gather(first, &mut inbox).await;
            if open {
                self.send(&batch, ATTEMPTS).await;
                continue;
            }
            // The house closes: what is there goes out at once, or not at all.
            let mut rest = batch;
            while let Ok(more) = inbox.try_recv() {
                rest.extend(more);
            }
            if tokio::time::timeout(LAST, self.send(&rest, 1)).await.is_err() {
                self.tallied.dropped.fetch_add(rest.len() as u64, Ordering::Relaxed);
            }
            return;
        }
    }

    /// A full batch, or what came within the delay; and whether more may come.
    async fn gather(&self, first: Vec<Span>, inbox: &mut Receiver<Vec<Span>>) -> (Vec<Span>, bool) {
        let mut batch = first;
        let end = tokio::time::Instant::now() + self.config.delay;
        while batch.len() < self.config.batch {
            match tokio::time::timeout_at(end, inbox.recv()).await {
                Ok(Some(more)) => batch.extend(more),
                Ok(None) => return (batch, false),
                Err(_) => break,
            }
        }
        (batch, true)
    }

    async fn send(&mut self, batch: &[Span], attempts: u32) {
        let body = match self.config.protocol {
            Protocol::Protobuf => encode::protobuf(&self.config.resource, batch),
            Protocol::Json => encode::json(&self.config.resource, batch),
        };
        let mut pause = PAUSE;
        for attempt in 1..=attempts {
            match self.client.post(&self.config, body.clone()).await {
                Sent::Taken => {
                    tracing::debug!(spans = batch.len(), "a batch of spans was sent");
                    self.tallied.exported.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    self.silent = false;
                    return;
                }
                Sent::Later(why) if attempt < attempts => {
                    tracing::debug!(why, attempt, "a batch of spans is sent again");
                    tokio::time::sleep(pause).await;
                }
                Sent::Later(why) | Sent::Refused(why) => {
                    self.tallied.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.silent, true) {
                        (self.complain)(format!("traces cannot be sent to {}: {why}", self.config.endpoint));
                    }
                    return;
                }
            }
            pause *= 2;
        }
    }
}
