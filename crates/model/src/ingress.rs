//! Where the traffic of a service may come from: `networkSettings.ingressTrafficAllowed` (decision 350).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::proxy::Proxies;

/// Whose requests a service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ingress {
    /// Everybody's.
    #[default]
    All,
    /// Those from inside, and those that came through a proxy that is trusted.
    InternalAndBalanced,
    /// Those from inside.
    Internal,
}

impl Ingress {
    /// By its name in the Admin API; whatever is not known restricts nothing there either.
    pub fn parse(name: &str) -> Self {
        match name {
            "INGRESS_TRAFFIC_ALLOWED_INTERNAL_ONLY" => Self::Internal,
            "INGRESS_TRAFFIC_ALLOWED_INTERNAL_AND_LB" => Self::InternalAndBalanced,
            _ => Self::All,
        }
    }

    /// Whether a request that came this way is taken.
    pub fn admits(self, way: Way) -> bool {
        match self {
            Self::All => true,
            Self::InternalAndBalanced => way != Way::Outside,
            Self::Internal => way == Way::Inside,
        }
    }
}

/// The way a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The house's own, or from a client whose address is inside.
    Inside,
    /// From outside, through a trusted proxy.
    Balanced,
    /// From outside.
    Outside,
}

/// The networks that are inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside(Proxies);

impl Default for Inside {
    /// This machine alone.
    fn default() -> Self {
        Self::and(Vec::new())
    }
}

impl Inside {
    /// This machine, and these networks.
    pub fn and(further: Vec<Proxies>) -> Self {
        let loopback = [IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8)), IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128))];
        Self(further.into_iter().chain([Proxies::of(loopback)]).collect())
    }

    /// The way of a client's request: its address, whether a trusted proxy said so, and whether somebody who is not trusted did. Whoever stands
    /// behind an unknown proxy is not inside, only because the proxy is.
    pub fn way(&self, client: IpAddr, balanced: bool, hearsay: bool) -> Way {
        match (self.0.trust(client) && !hearsay, balanced) {
            (true, _) => Way::Inside,
            (false, true) => Way::Balanced,
            (false, false) => Way::Outside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_who_is_let_in() {
        use Ingress::{All, Internal, InternalAndBalanced};
        let inside = Inside::and(vec!["10.0.0.0/8".parse().expect("a network")]);
        for (client, balanced, hearsay, wanted) in [
            ("127.0.0.1", false, false, [true, true, true]),
            ("::1", false, false, [true, true, true]),
            ("::ffff:10.1.2.3", false, false, [true, true, true]),
            ("203.0.113.9", false, false, [true, false, false]),
            ("203.0.113.9", true, false, [true, true, false]),
            // A colleague whose request went through the balancer.
            ("10.1.2.3", true, false, [true, true, true]),
            // Somebody's proxy on this machine, of which nobody told us.
            ("127.0.0.1", false, true, [true, false, false]),
        ] {
            let way = inside.way(client.parse().expect("an address"), balanced, hearsay);
            assert_eq!([All, InternalAndBalanced, Internal].map(|ingress| ingress.admits(way)), wanted, "{client} {balanced} {hearsay}");
        }
        assert_eq!(Inside::default().way(IpAddr::from([10, 1, 2, 3]), false, false), Way::Outside);
    }

    #[test]
    fn t9_names_of_the_admin_api() {
        assert_eq!(Ingress::parse("INGRESS_TRAFFIC_ALLOWED_INTERNAL_ONLY"), Ingress::Internal);
        assert_eq!(Ingress::parse("INGRESS_TRAFFIC_ALLOWED_INTERNAL_AND_LB"), Ingress::InternalAndBalanced);
        assert_eq!(Ingress::parse("INGRESS_TRAFFIC_ALLOWED_ALL"), Ingress::All);
    }
}
