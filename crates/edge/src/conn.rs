//! One connection: handshake, first bytes, then HTTP/1 or HTTP/2 until it ends. A slow, idle or closing connection is dealt with here.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use model::headers::request::{Client, Forwarded};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::body::Body;
use crate::core::Core;
use crate::guard::wire::{Opening, Wire};
use crate::link::{Link, Verdict};
use crate::listen::Seat;
use crate::plain::{Plain, Watch, Watchable};
use crate::sweep::Alarm;
use crate::walk::walk;

/// The other end of a connection.
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// The port that it came in on.
    pub(crate) port: u16,
    /// It is a proxy whose words are believed.
    pub(crate) trusted: bool,
    pub(crate) client: Client,
    pub(crate) forwarded: Forwarded,
}

/// Serves a connection to its end.
pub(crate) async fn serve(core: Rc<Core>, socket: TcpStream, from: SocketAddr, port: u16, tls: Option<TlsAcceptor>, seat: Seat) {
    let ip = from.ip().to_canonical();
    let peer = Rc::new(Peer {
        ip,
        port,
        trusted: core.house.options.trusted_proxies.contains(&ip),
        client: Client::new(ip, tls.is_some(), core.house.geo(ip)),
        forwarded: Forwarded::default(),
    });
    let link = Link::new(core.house.pacing, core.sweep.now());
    core.adopt(&link);
    // Best effort: without it small responses only wait longer.
    let _ = socket.set_nodelay(true);
    match tls {
        None => talk(core, Plain(Rc::new(socket)), link, peer, true).await,
        // Boxed, as HTTP/2 is: a future is as large as its largest branch, and an idle cleartext connection should not pay for TLS.
        Some(acceptor) => Box::pin(secure(core, acceptor, socket, link, peer)).await,
    }
    drop(seat);
}

/// The handshake, and what ALPN agreed on.
async fn secure(core: Rc<Core>, acceptor: TlsAcceptor, socket: TcpStream, link: Rc<Link>, peer: Rc<Peer>) {
    let most = core.house.options.timeouts.handshake;
    let Some(Ok(stream)) = core.sweep.within(most, acceptor.accept(socket)).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(multiplexed(core.clone(), Wire::new(stream, core, link.clone()), link, peer)).await;
    } else {
        talk(core, stream, link, peer, false).await;
    }
}

/// HTTP/1, or HTTP/2 with prior knowledge if `fresh` bytes say so.
async fn talk<S>(core: Rc<Core>, socket: S, link: Rc<Link>, peer: Rc<Peer>, mut fresh: bool)
where
    S: Watchable + 'static,
{
    let mut wire = Wire::new(socket, core.clone(), link.clone());
    loop {
        let opening = std::future::poll_fn(|cx| {
            link.listen(cx);
            if link.draining() { Poll::Ready(Opening::Closed) } else { wire.poll_opening(cx, fresh) }
        })
        .await;
        match opening {
            Opening::Closed => return,
            Opening::Http2 => return Box::pin(multiplexed(core, wire, link, peer)).await,
            Opening::Http1 => {}
        }
        fresh = false;
        let Some(back) = Box::pin(plain(&core, wire, &link, &peer)).await else { return };
        wire = back;
        if link.verdict() != Verdict::Nap || !wire.sound() || link.draining() {
            return Box::pin(wire.linger()).await;
        }
        link.resume();
        wire.shrink();
    }
}

/// HTTP/1 requests until the connection is idle for a while or over. The socket, unless there is nothing more to be done with it.
async fn plain<S>(core: &Rc<Core>, wire: Wire<S>, link: &Rc<Link>, peer: &Rc<Peer>) -> Option<Wire<S>>
where
    S: Watchable + 'static,
{
    let bounds = core.house.bounds;
    let watch = wire.socket().watch();
    let service = Door { core: core.clone(), link: link.clone(), peer: peer.clone(), slots: None };
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        .header_read_timeout(None)
        // hyper would look for the client's leaving with a read, and set 8 KiB aside for it at every request.
        .half_close(S::Watch::BY_OURSELVES)
        .max_headers(bounds.fields + 1)
        // The guard has bounded the head; hyper must hold it and what came with it.
        .max_buf_size(bounds.bytes + 64 * 1024)
        .serve_connection(wire, service);
    let mut told = false;
    let end = std::future::poll_fn(|cx| {
        link.listen(cx);
        if link.verdict() == Verdict::Close {
            return Poll::Ready(false);
        }
        if link.draining() && !told {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match connection.poll_without_shutdown(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if link.busy() && !link.reading() && watch.left(cx) => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    end.then(|| connection.into_parts().io)
}

/// HTTP/2 until the connection is over.
async fn multiplexed<S>(core: Rc<Core>, mut wire: Wire<S>, link: Rc<Link>, peer: Rc<Peer>)
where
    S: Watchable + 'static,
{
    link.multiplex();
    wire.open();
    let limits = &core.house.options.limits;
    let slots = Slots::default();
    let service = Door { core: core.clone(), link: link.clone(), peer, slots: Some(slots.clone()) };
    let mut connection = std::pin::pin!(
        http2::Builder::new(slots)
            .auto_date_header(false)
            .max_concurrent_streams(limits.h2_streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(limits.h2_pending_resets)
            .max_local_error_reset_streams(limits.h2_local_resets)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(64 * 1024)
            .serve_connection(wire, service)
    );
    // Rings when a client that was told GOAWAY has had time to answer.
    let mut parting: Option<Rc<Alarm>> = None;
    let mut told = false;
    std::future::poll_fn(|cx| {
        link.listen(cx);
        let close = link.verdict() == Verdict::Close;
        if close && link.stuck() {
            return Poll::Ready(());
        }
        if (link.draining() || close) && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        if told && !link.busy() {
            let alarm = parting.get_or_insert_with(|| core.sweep.alarm(core.house.options.timeouts.linger));
            if alarm.poll(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

/// Where requests enter the house.
struct Door {
    core: Rc<Core>,
    link: Rc<Link>,
    peer: Rc<Peer>,
    slots: Option<Slots>,
}

/// A request being answered.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>;

impl Service<Request<Incoming>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let (core, link, peer) = (self.core.clone(), self.link.clone(), self.peer.clone());
        let stall = self.slots.as_ref().map(|slots| slots.fill(&core));
        Box::pin(walk(core, link, peer, request, stall))
    }
}

/// Runs HTTP/2 streams on the core. Each stream gets an alarm that ends it when its client stops taking the response: hyper waits for window
/// for ever.
#[derive(Clone, Default)]
struct Slots(Rc<RefCell<Option<Rc<Alarm>>>>);

impl Slots {
    /// hyper calls the service first and hands its future over right after: the alarm of the one belongs to the other.
    fn fill(&self, core: &Rc<Core>) -> Rc<Alarm> {
        let alarm = core.sweep.alarm(core.house.options.timeouts.stall);
        alarm.set(None);
        self.0.replace(Some(alarm.clone()));
        alarm
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Slots {
    fn execute(&self, future: F) {
        let alarm = self.0.take();
        tokio::task::spawn_local(Stream { future: Box::pin(future), alarm });
    }
}

struct Stream<F> {
    future: Pin<Box<F>>,
    alarm: Option<Rc<Alarm>>,
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(alarm) = &self.alarm
            && alarm.poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        self.future.as_mut().poll(cx).map(|_| ())
    }
}

/// The TLS settings of a listener as an acceptor.
pub(crate) fn acceptor(config: &Arc<rustls::ServerConfig>) -> TlsAcceptor {
    TlsAcceptor::from(config.clone())
}
