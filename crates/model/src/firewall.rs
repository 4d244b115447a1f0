//! Who may connect at all: dos.yaml's blacklist and firewall rules.

use std::net::IpAddr;

use ipnet::IpNet;

/// Ordered rules; the first whose range holds the address decides, otherwise it is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firewall {
    /// Rules, most important first.
    pub rules: Vec<FirewallRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallRule {
    /// Let in or turned away.
    pub allow: bool,
    /// Whom it concerns.
    pub source: IpNet,
    /// The owner's note.
    pub description: String,
}

impl Firewall {
    /// The rule that turns `address` away, if any.
    pub fn denies(&self, address: IpAddr) -> Option<&FirewallRule> {
        let address = address.to_canonical();
        self.rules.iter().find(|rule| rule.source.contains(&address)).filter(|rule| !rule.allow)
    }
}
