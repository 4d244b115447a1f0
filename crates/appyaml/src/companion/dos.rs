//! dos.yaml: the blacklist, as rules of the firewall.

use std::net::IpAddr;

use ipnet::IpNet;
use model::firewall::{Firewall, FirewallRule};

use super::{Companion, items};
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::Fields;
use crate::source::{FileId, Sources};
use crate::yaml::Node;

/// Reads the blacklist.
pub(crate) fn read(file: FileId, sources: &Sources, report: &mut Report) -> Firewall {
    items(file, sources, ("dos.yaml", Companion::Dos, &[]), report, |_, list, report| Firewall {
        rules: list.iter().filter_map(|item| rule(item, report)).collect(),
    })
}

fn rule(item: &Node, report: &mut Report) -> Option<FirewallRule> {
    let fields = Fields::open(item, "an item of blacklist", &["subnet", "description"], report)?;
    fields.require("subnet", "for example `subnet: 192.0.2.0/24`", report);
    let description = fields.text("description", report).map(|found| found.value).unwrap_or_default();
    let subnet = fields.text("subnet", report)?;
    let text = subnet.value.trim();
    let source = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(source) = source else {
        let message = format!("`{}` is not a subnet", subnet.value);
        let help = "write an address with a prefix length, such as `192.0.2.0/24` or `2001:db8::/32`";
        report.push(Diagnostic::new(&code::A0903, subnet.span, message).help(help));
        return None;
    };
    Some(FirewallRule { allow: false, source: source.trunc(), description })
}
