//! Hosts outside the app's domains: which of them are served, and which are the app's own.

use std::net::IpAddr;

use super::{By, Host, labels_below, last_label, mapped, project_label};
use crate::dispatch::{DispatchRule, HostPattern};
use crate::table::{Naming, RoutingTable};

/// Whether a host outside the app's domains may be served: an address of this machine, or a name that the owner listed.
pub(super) fn allowed(table: &RoutingTable, host: &Host<'_>) -> bool {
    match host {
        Host::None => true,
        Host::Address(address) => allows_address(&table.naming, *address),
        Host::Name(name) => {
            let own = table.naming.default_hostname.rsplit_once(':').map_or(table.naming.default_hostname.as_str(), |(name, _)| name);
            let listed = table.naming.allowed.iter().any(|pattern| allows(pattern, name));
            let dispatched = |rule: &DispatchRule| rule.host != HostPattern::Any && rule.host.matches(name);
            listed || own.eq_ignore_ascii_case(name) || table.dispatch.iter().any(dispatched)
        }
    }
}

/// Whether `authority` is a place of this app that a sign-in may lead back to, from a page at `here`: narrower than what is answered, because a server
/// that answers to every name (`--allow-host '*'`) or address does not own them all, and below a server's domain stand other apps too. `by` is how the
/// app was found for `here`.
pub fn owns(table: &RoutingTable, by: By, authority: &str, here: &str) -> bool {
    let Ok((host, _)) = Host::parse(authority) else { return false };
    if Host::parse(here).is_ok_and(|(here, _)| here == host) {
        return true;
    }
    match &host {
        Host::None => false,
        Host::Address(address) => address.is_loopback(),
        Host::Name(name) => {
            let listed = table.naming.allowed.iter().any(|pattern| pattern != "*" && allows(pattern, name));
            let dispatched = |rule: &DispatchRule| matches!(&rule.host, HostPattern::Exact(_)) && rule.host.matches(name);
            below_own(table, name, by) || mapped(table, name).is_some() || listed || table.dispatch.iter().any(dispatched)
        }
    }
}

/// Whether a name below the app's domains is the app's.
fn below_own(table: &RoutingTable, name: &str, by: By) -> bool {
    labels_below(table, name).is_some_and(|labels| by == By::Any || last_label(labels).0 == project_label(table))
}

/// DNS rebinding needs a name, so addresses are safe wherever the owner chose to be reachable by them.
fn allows_address(naming: &Naming, address: IpAddr) -> bool {
    let listed = |pattern: &String| {
        let bare = pattern.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(pattern);
        pattern == "*" || bare.parse::<IpAddr>().is_ok_and(|listed| listed.to_canonical() == address)
    };
    naming.addresses || address.is_loopback() || address.is_unspecified() || naming.allowed.iter().any(listed)
}

/// `name`, `*.name` (one label in its place), `**.name` (any number of labels), `*` (everything).
fn allows(pattern: &str, name: &str) -> bool {
    let below = |domain: &str| -> Option<usize> {
        let at = name.len().checked_sub(domain.len())?;
        let fits = name.get(at..)?.eq_ignore_ascii_case(domain);
        let labels = name.get(..at)?.strip_suffix('.')?;
        (fits && !labels.is_empty()).then(|| labels.split('.').count())
    };
    if pattern == "*" {
        true
    } else if let Some(domain) = pattern.strip_prefix("**.") {
        below(domain).is_some()
    } else if let Some(domain) = pattern.strip_prefix("*.") {
        below(domain) == Some(1)
    } else {
        pattern.strip_suffix('.').unwrap_or(pattern).eq_ignore_ascii_case(name)
    }
}
