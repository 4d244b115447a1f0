//! Proxies in front of the house whose words are believed, and what a chain of addresses says about the client (row H8).

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// The networks of trusted proxies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies(Vec<IpNet>);

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network: write for example 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32")]
pub struct NoNetwork(pub String);

impl FromStr for Proxies {
    type Err = NoNetwork;

    /// Networks or addresses with commas between them.
    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(text: &str) -> Result<IpNet, NoNetwork> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(|address| address.to_canonical().into()))
        .map_err(|_| NoNetwork(text.into()))
}

impl FromIterator<Self> for Proxies {
    fn from_iter<T: IntoIterator<Item = Self>>(several: T) -> Self {
        Self(several.into_iter().flat_map(|proxies| proxies.0).collect())
    }
}

impl Proxies {
    /// Those in these networks.
    pub fn of(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether what comes from `address` comes from one of them.
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client, by the lines of `X-Forwarded-For` that a trusted proxy sent, and the chain from the client on.
    ///
    /// Every proxy appends whom it was asked by. So the chain is read from its end, and the first address that is none of the proxies' is the client:
    /// what stands before it, the client may have made up. `None` if the chain says nothing.
    pub fn client<'c>(&self, lines: impl DoubleEndedIterator<Item = &'c str>) -> Option<(IpAddr, String)> {
        let mut chain: Vec<IpAddr> = Vec::new();
        for text in lines.rev().flat_map(|line| line.rsplit(',')).map(str::trim).filter(|text| !text.is_empty()) {
            let Some(address) = address(text) else { break };
            chain.push(address);
            if !self.trust(address) {
                break;
            }
        }
        let client = *chain.last()?;
        let texts: Vec<String> = chain.iter().rev().map(ToString::to_string).collect();
        Some((client, texts.join(", ")))
    }
}

/// An address, perhaps with a port as some proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &str, lines: &[&str]) -> Option<(String, String)> {
        let proxies: Proxies = proxies.parse().expect("networks");
        proxies.client(lines.iter().copied()).map(|(client, chain)| (client.to_string(), chain))
    }

    #[test]
    fn h8_the_client_is_whom_no_trusted_proxy_stands_for() {
        for (proxies, lines, want) in [
            ("10.0.0.0/8", &["203.0.113.9"][..], Some(("203.0.113.9", "203.0.113.9"))),
            ("10.0.0.0/8", &["203.0.113.9, 10.0.0.1"], Some(("203.0.113.9", "203.0.113.9, 10.0.0.1"))),
            ("10.0.0.0/8", &["203.0.113.9", "10.0.0.1", ""], Some(("203.0.113.9", "203.0.113.9, 10.0.0.1"))),
            // Made up by the client, to look like another one.
            ("10.0.0.0/8", &["198.51.100.1, 203.0.113.9, 10.0.0.1"], Some(("203.0.113.9", "203.0.113.9, 10.0.0.1"))),
            ("10.0.0.0/8", &["127.0.0.1", "203.0.113.9"], Some(("203.0.113.9", "203.0.113.9"))),
            ("10.0.0.0/8", &["10.0.0.2, 10.0.0.1"], Some(("10.0.0.2", "10.0.0.2, 10.0.0.1"))),
            ("", &["203.0.113.9:4711"], Some(("203.0.113.9", "203.0.113.9"))),
            ("", &["[2001:db8::1]:4711"], Some(("2001:db8::1", "2001:db8::1"))),
            ("", &["[2001:db8::1]"], Some(("2001:db8::1", "2001:db8::1"))),
            ("", &["::ffff:203.0.113.9"], Some(("203.0.113.9", "203.0.113.9"))),
            ("10.0.0.0/8", &["unknown, 10.0.0.1"], Some(("10.0.0.1", "10.0.0.1"))),
            ("", &["unknown"], None),
            ("", &[" , "], None),
            ("", &[], None),
        ] {
            let want = want.map(|(client, chain)| (client.to_owned(), chain.to_owned()));
            assert_eq!(client(proxies, lines), want, "{proxies} {lines:?}");
        }
    }

    #[test]
    fn h8_networks_are_read() {
        let proxies: Proxies = "10.0.0.0/8, 192.0.2.7,2001:db8::/32".parse().expect("networks");
        for (address, trusted) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(proxies.trust(address.parse().expect("an address")), trusted, "{address}");
        }
        assert!(!Proxies::default().trust(IpAddr::from([127, 0, 0, 1])));
        for bad in ["10.0.0.0/33", "localhost", "10.0.0"] {
            assert!(bad.parse::<Proxies>().is_err(), "{bad}");
        }
    }
}
