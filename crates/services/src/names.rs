//! The names under which Google's servers are known: `metadata.google.internal` at port 80, `appengine.googleapis.internal` at 10001. Instances that see a
//! `/etc/hosts` of their own find them at one loopback address of the house, where the connection alone says who asks (docs/decisions/333-whose-connection.md).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

/// Where the metadata server is expected, and where the services are.
const PORTS: [u16; 2] = [80, 10001];
/// Addresses that are tried.
const TRIES: usize = 8;

/// The address, and what listens there.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) address: Ipv4Addr,
    pub(crate) listeners: Vec<TcpListener>,
}

/// Takes an address that nobody else has. An ordinary user may not have port 80; then there are no names.
pub(crate) fn take() -> io::Result<Names> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let mut draw = [0; 3];
        SystemRandom::new().fill(&mut draw).map_err(|_| io::Error::other("the system has no random numbers"))?;
        // Away from 127.0.0.1 and from what systems use themselves (127.0.0.53, 127.0.1.1), and never .0 or .255.
        let address = Ipv4Addr::new(127, 64 + draw[0] % 64, draw[1], 1 + draw[2] % 254);
        let bound: io::Result<Vec<TcpListener>> = PORTS.iter().map(|port| listen((address, *port).into())).collect();
        match bound {
            Ok(listeners) => return Ok(Names { address, listeners }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
