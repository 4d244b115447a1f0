//! dispatch.yaml.

use std::net::Ipv4Addr;

use model::dispatch::{DispatchRule, HostPattern, PathPattern};
use model::ids::ServiceId;

use super::{Companion, items};
use crate::code;
use crate::diagnostic::{Diagnostic, Report};
use crate::fields::{Fields, Spanned, suggestion};
use crate::source::{FileId, Sources, Span};
use crate::yaml::Node;

/// More rules than this are refused by Google's App Engine.
const MANY_RULES: usize = 20;

/// Reads the rules; `services` are the services of the app, if all are known.
pub(crate) fn read(file: FileId, sources: &Sources, services: Option<&[ServiceId]>, report: &mut Report) -> Vec<DispatchRule> {
    let rules: Vec<Spanned<DispatchRule>> = items(file, sources, ("dispatch.yaml", Companion::Dispatch, &[]), report, |_, list, report| {
        list.iter().filter_map(|item| rule(item, sources, services, report)).collect()
    });
    if let Some(extra) = rules.get(MANY_RULES) {
        let message = format!("{} dispatch rules; Google's App Engine takes {MANY_RULES}", rules.len());
        report.push(Diagnostic::new(&code::A0605, extra.span, message).label("the 21st"));
    }
    // Rules are compared pair by pair, which only a file of a sane size is worth.
    for (at, late) in rules.iter().enumerate().take(50 * MANY_RULES) {
        if let Some(early) = rules[..at].iter().find(|early| covers(&early.value, &late.value)) {
            let message = format!("the rule `{}` is never reached", late.value.written);
            report.push(Diagnostic::new(&code::A0604, late.span, message).related(early.span, "this one takes its requests"));
        }
    }
    rules.into_iter().map(|rule| rule.value).collect()
}

fn covers(early: &DispatchRule, late: &DispatchRule) -> bool {
    let host = match (&early.host, &late.host) {
        (HostPattern::Any, _) => true,
        (HostPattern::Suffix(early), HostPattern::Exact(late) | HostPattern::Suffix(late)) => late.ends_with(early.as_str()),
        (early, late) => early == late,
    };
    let path = match (&early.path, &late.path) {
        (PathPattern::Prefix(early), PathPattern::Exact(late) | PathPattern::Prefix(late)) => late.starts_with(early.as_str()),
        (early, late) => early == late,
    };
    host && path
}

fn rule(item: &Node, sources: &Sources, services: Option<&[ServiceId]>, report: &mut Report) -> Option<Spanned<DispatchRule>> {
    let fields = Fields::open(item, "a dispatch rule", &["url", "service", "module"], report)?;
    fields.require("url", "for example `url: \"*/mobile/*\"`", report);
    let service = service(&fields, services, report);
    let url = fields.text("url", report)?;
    let (host, path) = pattern(&url, report)?;
    let line = sources.line(url.span);
    Some(Spanned { value: DispatchRule { written: url.value, host, path, service: service?, line }, span: url.span })
}

fn service(fields: &Fields<'_>, services: Option<&[ServiceId]>, report: &mut Report) -> Option<ServiceId> {
    if let [Some(first), Some(second)] = ["service", "module"].map(|name| fields.get(name).and_then(|_| fields.key(name))) {
        let message = "`service` and `module` are two names for one setting";
        report.push(Diagnostic::new(&code::A0018, second.span, message).related(first.span, "the other one").help("remove `module`"));
    }
    let key = if fields.get("module").is_some() && fields.get("service").is_none() { "module" } else { "service" };
    fields.require(key, "the service that gets the requests", report);
    let found = fields.text(key, report)?;
    match found.value.parse::<ServiceId>() {
        Ok(service) => {
            if let Some(services) = services.filter(|services| !services.is_empty() && !services.contains(&service)) {
                let message = format!("there is no service `{service}` here; its requests go to the default service");
                let help =
                    suggestion(service.as_str(), services.iter().map(ServiceId::as_str)).unwrap_or_else(|| "give its file too".into());
                report.push(Diagnostic::new(&code::A0603, found.span, message).help(help));
            }
            Some(service)
        }
        Err(error) => {
            report.push(Diagnostic::new(&code::A0204, found.span, error.0));
            None
        }
    }
}

fn pattern(url: &Spanned<String>, report: &mut Report) -> Option<(HostPattern, PathPattern)> {
    let text = url.value.as_str();
    let slash = text.find('/').unwrap_or(text.len());
    let (host, path) = text.split_at(slash);
    let refuse = |message: String, help: String, span: Span, report: &mut Report| {
        report.push(Diagnostic::new(&code::A0601, span, message).help(help));
        None
    };
    if text.contains("://") {
        let help = format!("write `{}`", text.split_once("://").map_or("", |(_, rest)| rest));
        return refuse(format!("`{text}` names a scheme; a rule has a host and a path only"), help, url.span, report);
    }
    if host.is_empty() {
        let help = format!("write `\"*{text}\"` for every host");
        return refuse(format!("`{text}` has no host"), help, url.span, report);
    }
    if path.is_empty() {
        let help = format!("write `\"{text}/*\"` for every path");
        return refuse(format!("`{text}` has no path"), help, url.span, report);
    }
    let host_pattern = match host.strip_prefix('*') {
        Some("") => HostPattern::Any,
        Some(suffix) if is_suffix(suffix) => HostPattern::Suffix(suffix.to_owned()),
        None if is_host(host) => HostPattern::Exact(host.to_owned()),
        _ => {
            let lower = host.to_lowercase();
            let fits = lower.strip_prefix('*').map_or_else(|| is_host(&lower), is_suffix);
            let help = if fits {
                format!("write `{lower}`")
            } else {
                "lower-case letters, digits, hyphens and dots, with `*` only at the beginning".into()
            };
            return refuse(format!("`{host}` is not a host"), help, url.span, report);
        }
    };
    if host.parse::<Ipv4Addr>().is_ok() {
        report.push(Diagnostic::new(&code::A0602, url.span, format!("`{host}` is an address, not the name of a host")));
        return None;
    }
    // A `*` inside the path is accepted and means itself, as with the SDK.
    let path_pattern = match path.strip_suffix('*') {
        Some(prefix) => PathPattern::Prefix(prefix.to_owned()),
        None => PathPattern::Exact(path.to_owned()),
    };
    Some((host_pattern, path_pattern))
}

fn is_label(label: &str) -> bool {
    let inside = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    !label.is_empty() && inside && !label.starts_with('-') && !label.ends_with('-')
}

fn is_host(host: &str) -> bool {
    host.split('.').all(is_label)
}

/// What follows a leading `*`: the first label may be cut off in the middle, so that it may be empty or begin with a hyphen.
fn is_suffix(suffix: &str) -> bool {
    let (first, rest) = suffix.split_once('.').map_or((suffix, None), |(first, rest)| (first, Some(rest)));
    let cut = first.trim_start_matches('-');
    let first_fits = (first.is_empty() && rest.is_some()) || is_label(cut);
    first_fits && rest.is_none_or(is_host)
}
