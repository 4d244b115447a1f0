//! One connection: handshake, first bytes, then HTTP/1 or HTTP/2 until it ends.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use model::headers::request::{Client, Forwarded};
use rustls::ServerConfig;
use tokio::net::TcpStream;

use crate::core::Core;
use crate::engine::{self, End, Opening, Wire};
use crate::hosts::Hosts;
use crate::link::Link;
use crate::listen::Seat;
use crate::multiplex;
use crate::secure;
use crate::socket::Socket;

/// The other end of a connection.
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// The port that it came in on.
    pub(crate) port: u16,
    /// It is a proxy whose words are believed.
    pub(crate) trusted: bool,
    pub(crate) client: Client,
    pub(crate) forwarded: Forwarded,
    pub(crate) hosts: Hosts,
}

/// Serves a connection to its end.
pub(crate) async fn serve(core: Rc<Core>, socket: TcpStream, from: SocketAddr, port: u16, tls: Option<Arc<ServerConfig>>, seat: Seat) {
    let ip = from.ip().to_canonical();
    let peer = Rc::new(Peer {
        ip,
        port,
        trusted: core.house.options.trusted_proxies.trust(ip),
        client: Client::new(ip, tls.is_some(), core.house.geo(ip)),
        forwarded: Forwarded::default(),
        hosts: Hosts::default(),
    });
    let link = Link::new(core.house.pacing, core.sweep.now());
    core.adopt(&link);
    match tls {
        None => talk(core, socket, link, peer, true).await,
        // Boxed, as HTTP/2 is: a future is as large as its largest branch, and an idle cleartext connection should not pay for TLS.
        Some(config) => Box::pin(shake_hands(core, config, socket, link, peer)).await,
    }
    drop(seat);
}

/// The handshake, and what ALPN agreed on.
async fn shake_hands(core: Rc<Core>, config: Arc<ServerConfig>, socket: TcpStream, link: Rc<Link>, peer: Rc<Peer>) {
    let most = core.house.options.timeouts.handshake;
    let stream = match core.sweep.within(most, secure::accept(config, socket)).await {
        Some(Ok(stream)) => stream,
        failed => {
            let why =
                failed.map_or_else(|| "it took too long".to_owned(), |failed| failed.err().map_or_else(String::new, |e| e.to_string()));
            tracing::debug!(client = %peer.ip, why, "the TLS handshake failed");
            return;
        }
    };
    if stream.protocol() == Some(b"h2") {
        Box::pin(multiplex::serve(core, stream, Bytes::new(), link, peer)).await;
    } else {
        talk(core, stream, link, peer, false).await;
    }
}

/// HTTP/1, or HTTP/2 with prior knowledge if `fresh` bytes say so.
async fn talk<S: Socket>(core: Rc<Core>, socket: S, link: Rc<Link>, peer: Rc<Peer>, mut fresh: bool) {
    let wire = Wire::new(socket, core.clone(), link.clone());
    loop {
        let opening = std::future::poll_fn(|cx| {
            link.listen(cx);
            if link.draining() { Poll::Ready(Opening::Closed) } else { wire.poll_opening(cx, fresh) }
        });
        match opening.await {
            Opening::Closed => return,
            Opening::Http2 => {
                let Some((socket, first)) = wire.open() else { return };
                return Box::pin(multiplex::serve(core, socket, first, link, peer)).await;
            }
            Opening::Http1 => fresh = false,
        }
        // Boxed: an idle connection should not pay for the request that it does not have.
        match Box::pin(engine::serve(&core, &wire, &link, &peer)).await {
            End::Gone => return,
            End::Linger => return Box::pin(wire.linger()).await,
            End::Nap => {
                link.resume();
                link.shrink();
                wire.shrink();
                peer.hosts.forget();
            }
        }
    }
}
