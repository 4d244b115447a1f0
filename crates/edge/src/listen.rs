//! Sockets that listen: one per core and address, so that the kernel spreads connections and no lock is shared.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;

use socket2::{Domain, Protocol, Socket, Type};

use crate::BindError;
use crate::options::Listener;

/// Connections that the kernel keeps until we accept them.
const BACKLOG: i32 = 1024;

/// Binds `address` once per core; with port 0 all share the port that the first was given.
pub(crate) fn bind(address: SocketAddr, cores: usize) -> Result<(SocketAddr, Vec<std::net::TcpListener>), BindError> {
    let fail = |source| BindError::Listen { address, source };
    if address.port() != 0 {
        // SO_REUSEPORT would let us share a port with another server of the same user without a word; this bind does not.
        let probe = socket(address).map_err(fail)?;
        probe.bind(&address.into()).map_err(fail)?;
        probe.listen(1).map_err(fail)?;
    }
    let first = shared(address).map_err(fail)?;
    let address = first.local_addr().map_err(fail)?;
    let mut all = vec![first];
    for _ in 1..cores {
        all.push(shared(address).map_err(fail)?);
    }
    Ok((address, all))
}

/// Takes over sockets that listen already: at least one for each core, so that each hears the same.
pub(crate) fn adopt(listener: &Listener, cores: usize) -> Result<(SocketAddr, Vec<std::net::TcpListener>), BindError> {
    let fail = |source| BindError::Listen { address: listener.address, source };
    let mut all = Vec::new();
    for given in listener.given.iter().cycle().take(cores.max(listener.given.len())) {
        let socket = given.try_clone().map_err(fail)?;
        socket.set_nonblocking(true).map_err(fail)?;
        // Connections inherit it. Best effort, as systemd may have set it, or not.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
        all.push(socket);
    }
    let address = all.first().ok_or(BindError::NoListener)?.local_addr().map_err(fail)?;
    Ok((address, all))
}

fn socket(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn shared(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Connections inherit it. Without it small responses would wait.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    if address.ip().is_loopback() {
        // Connections inherit it. Their way is this machine's memory: an algorithm that paces (BBR) only costs timers there. Best effort.
        let _ = rustix::net::sockopt::set_tcp_congestion(&socket, "reno");
    }
    Ok(socket.into())
}

/// Counts connections, in all and per address. Locked once when a connection begins and once when it ends.
#[derive(Debug)]
pub(crate) struct Census {
    all: usize,
    each: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

impl Census {
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all, each, counts: Mutex::default() }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Lets a connection in, unless there are too many.
    fn enter(&self, ip: IpAddr) -> bool {
        let mut counts = self.counts();
        let Counts { all, each } = &mut *counts;
        let mine = each.get(&ip).copied().unwrap_or(0);
        if *all >= self.all || mine >= self.each {
            return false;
        }
        *all += 1;
        each.insert(ip, mine + 1);
        true
    }

    fn leave(&self, ip: IpAddr) {
        let mut counts = self.counts();
        counts.all = counts.all.saturating_sub(1);
        if let Some(mine) = counts.each.get_mut(&ip) {
            *mine -= 1;
            if *mine == 0 {
                counts.each.remove(&ip);
            }
        }
    }
}

/// A connection's place in the count.
pub(crate) struct Seat {
    house: Arc<crate::house::House>,
    ip: IpAddr,
}

impl Seat {
    pub(crate) fn take(house: &Arc<crate::house::House>, ip: IpAddr) -> Option<Self> {
        let ip = ip.to_canonical();
        house.census.enter(ip).then(|| Self { house: house.clone(), ip })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.house.census.leave(self.ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_per_address_and_in_all() {
        let census = Census::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().expect("ip"), "10.0.0.2".parse().expect("ip"));
        assert!(census.enter(a) && census.enter(a) && !census.enter(a));
        assert!(census.enter(b) && !census.enter(b));
        census.leave(a);
        assert!(census.enter(b));
        assert!(!census.enter(a), "three in all");
    }
}
