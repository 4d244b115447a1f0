//! `inbound_services:` (row Y21).

use std::collections::BTreeSet;

use model::config::InboundService;

use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{self, Fields};

const INBOUND: [(&str, InboundService); 9] = [
    ("mail", InboundService::Mail),
    ("mail_bounce", InboundService::MailBounce),
    ("xmpp_message", InboundService::XmppMessage),
    ("xmpp_subscribe", InboundService::XmppSubscribe),
    ("xmpp_presence", InboundService::XmppPresence),
    ("xmpp_error", InboundService::XmppError),
    ("channel_presence", InboundService::ChannelPresence),
    ("rest", InboundService::Rest),
    ("warmup", InboundService::Warmup),
];

/// Reads the list; naming one twice is harmless.
pub(super) fn read(app: &Fields<'_>, report: &mut Report) -> BTreeSet<InboundService> {
    let mut services = BTreeSet::new();
    for item in app.list("inbound_services", report).unwrap_or_default() {
        let Some(found) = fields::text(item, "inbound_services", report) else { continue };
        if let Some((_, service)) = INBOUND.iter().find(|(name, _)| *name == found.value) {
            services.insert(*service);
        } else {
            let names = || INBOUND.iter().map(|(name, _)| *name);
            let help = fields::suggestion(&found.value, names())
                .unwrap_or_else(|| format!("the inbound services are {}", fields::one_of(names())));
            let message = format!("there is no inbound service `{}`", found.value);
            report.push(Diagnostic::new(&code::A0014, found.span, message).help(help));
        }
    }
    services
}
