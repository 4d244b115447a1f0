//! Host and path → service, version and instance. The `-dot-` grammar of host names lives only here.
//!
//! A host below one of the app's domains is read from the right: the domain, `REGION.r`, the project id, then `[[INSTANCE.]VERSION.]SERVICE`,
//! each separated by `.` or `-dot-`. What names nothing that exists goes to the default service, as in production ("soft routing").

mod foreign;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::dispatch::DispatchRule;
use crate::ids::{AppId, ServiceId, VersionKey};
use crate::ingress::Ingress;
use crate::scaling::Scaling;
use crate::table::{Naming, RoutingTable, Service, Version};
use foreign::allowed;
pub use foreign::owns;

/// Where a request goes.
#[derive(Debug, Clone)]
pub struct Aim<'t> {
    /// The service.
    pub service: &'t ServiceId,
    /// Its version; where a split is in force, the default one.
    pub version: &'t Arc<Version>,
    /// The split that is in force for this request: several versions take traffic, and the host names neither a version nor an instance (row T5).
    pub split: Option<&'t Service>,
    /// Whose requests the service takes.
    pub ingress: Ingress,
    /// The host named the version.
    pub named: bool,
    /// The instance that the host named.
    pub instance: Option<u32>,
    /// Which rule led here, for logs and `explain`.
    pub why: Why<'t>,
}

/// Why a request goes where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why<'t> {
    /// The host named it.
    Host,
    /// A rule of dispatch.yaml.
    Dispatch(&'t DispatchRule),
    /// The host names no service: the default one.
    Default,
    /// The host or rule names a service, version or instance that does not exist: the default one (soft routing).
    Soft,
}

/// Why a request goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AimError {
    /// 400: the host is no host.
    #[error("The Host header `{0}` is not a host name.")]
    Malformed(String),
    /// 400: a name that this app does not answer to (protection against DNS rebinding).
    #[error("The host `{0}` is not one of this app's names; start with `--allow-host {0}` to serve it.")]
    NotAllowed(String),
    /// 404: a host of the server's domain whose project does not exist.
    #[error("There is no project `{0}` on this server.")]
    NoProject(String),
    /// 404: a host that no app of the server answers to.
    #[error("No app of this server answers to the host `{0}`.")]
    NoApp(String),
    /// 404: the app has no service at all.
    #[error("This app has no service that could answer.")]
    NoService,
}

impl AimError {
    /// The status of the answer.
    pub fn status(&self) -> http::StatusCode {
        match self {
            Self::Malformed(_) | Self::NotAllowed(_) => http::StatusCode::BAD_REQUEST,
            Self::NoProject(_) | Self::NoApp(_) | Self::NoService => http::StatusCode::NOT_FOUND,
        }
    }
}

/// A host without its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host<'h> {
    /// No host at all (HTTP/1.0).
    None,
    /// A name in lower case without trailing dot.
    Name(Cow<'h, str>),
    /// An IP literal.
    Address(IpAddr),
}

/// By which kind of name an app was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// There is only one app, and it says itself which names it answers to. The project id may stand in them.
    Any,
    /// A name below the server's domain that ends with the project id.
    Project,
    /// A name below the server's domain without a project id, the domain itself, or an address.
    Bare,
    /// A custom domain.
    Mapped,
    /// A host that only a dispatch rule names.
    Dispatched,
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl<'h> Host<'h> {
    /// Splits an authority into host and port.
    ///
    /// # Errors
    /// [`AimError::Malformed`] for what is neither a name nor an address, or has a bad port.
    pub fn parse(authority: &'h str) -> Result<(Self, Option<u16>), AimError> {
        let bad = || AimError::Malformed(authority.chars().take(100).flat_map(char::escape_default).collect());
        if authority.is_empty() {
            return Ok((Self::None, None));
        }
        if let Some(rest) = authority.strip_prefix('[') {
            let (inside, after) = rest.split_once(']').ok_or_else(bad)?;
            let address: Ipv6Addr = inside.parse().map_err(|_| bad())?;
            return Ok((Self::Address(IpAddr::V6(address).to_canonical()), port(after).ok_or_else(bad)?));
        }
        let at = memchr::memchr(b':', authority.as_bytes()).unwrap_or(authority.len());
        let (name, after) = authority.split_at(at);
        let port = port(after).ok_or_else(bad)?;
        let name = name.strip_suffix('.').unwrap_or(name);
        if !is_name(name) {
            return Err(bad());
        }
        // A name whose last label is a number is an IPv4 address or nothing (WHATWG URL §3.5).
        if name.as_bytes().last().is_some_and(u8::is_ascii_digit) {
            if let Ok(address) = name.parse::<Ipv4Addr>() {
                return Ok((Self::Address(address.into()), port));
            }
            if name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit())) {
                return Err(bad());
            }
        }
        let lower = name.bytes().any(|b| b.is_ascii_uppercase());
        Ok((Self::Name(if lower { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }), port))
    }

    /// The same host, for longer than the text that it was read from.
    pub fn into_owned(self) -> Host<'static> {
        match self {
            Self::None => Host::None,
            Self::Name(name) => Host::Name(Cow::Owned(name.into_owned())),
            Self::Address(address) => Host::Address(address),
        }
    }
}

/// The port in what follows a host: nothing, `:` or `:8080`; the outer `None` is a mistake.
#[allow(clippy::option_option, reason = "absent and malformed are different answers")]
fn port(after: &str) -> Option<Option<u16>> {
    if after.is_empty() || after == ":" {
        return Some(None);
    }
    let digits = after.strip_prefix(':')?;
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok().map(Some) } else { None }
}

fn is_name(name: &str) -> bool {
    let mut label = 0;
    for b in name.bytes() {
        match b {
            b'.' if label == 0 => return false,
            b'.' => label = 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            _ => return false,
        }
    }
    label > 0 && name.len() <= 253
}

/// Aims, on a server with one app. `authority` as [`super::path::authority`] gives it, `path` decoded.
///
/// # Errors
/// See [`AimError`].
pub fn aim<'t>(table: &'t RoutingTable, authority: &str, path: &[u8]) -> Result<Aim<'t>, AimError> {
    let (host, _) = Host::parse(authority)?;
    aim_at(table, &host, By::Any, path)
}

/// Aims in the app that was found for a host ([`crate::table::Estate::find`]).
///
/// Rules of dispatch.yaml go first, except for hosts that name a version or an instance and for paths below `/_ah/` that are not the app's.
///
/// # Errors
/// See [`AimError`].
pub fn aim_at<'t>(table: &'t RoutingTable, host: &Host<'_>, by: By, path: &[u8]) -> Result<Aim<'t>, AimError> {
    let named = match host {
        Host::Name(name) => named(table, name, by),
        Host::None | Host::Address(_) => None,
    };
    if let Some(Named::Exactly(aim)) = named.as_ref().filter(|named| named.is_specific()) {
        return Ok(aim.clone());
    }
    let rule = dispatch(table, host, path);
    if named.is_none() && by != By::Dispatched && !allowed(table, host) {
        return Err(if by == By::Any { AimError::NotAllowed(host.to_string()) } else { AimError::NoApp(host.to_string()) });
    }
    if let Some(rule) = rule {
        return match table.services.get_key_value(&rule.service) {
            Some((id, service)) => serving(id, service, Why::Dispatch(rule)),
            None => default(table, Why::Soft),
        };
    }
    match named {
        Some(Named::Exactly(aim)) => Ok(aim),
        Some(Named::Unknown) => default(table, Why::Soft),
        Some(Named::Nothing) | None => default(table, Why::Default),
    }
}

/// What the labels before one of the app's domains name.
enum Named<'t> {
    /// Nothing: the bare domain.
    Nothing,
    /// A service, version or instance that exists.
    Exactly(Aim<'t>),
    /// Something that does not exist.
    Unknown,
}

impl Named<'_> {
    /// It names a version or an instance, which dispatch rules do not override.
    fn is_specific(&self) -> bool {
        matches!(self, Self::Exactly(aim) if aim.named || aim.instance.is_some())
    }
}

/// What the host names; `None` if it is none of the app's.
fn named<'t>(table: &'t RoutingTable, name: &str, by: By) -> Option<Named<'t>> {
    match by {
        By::Any => below_domains(table, name, Project::Perhaps).or_else(|| mapped(table, name)),
        By::Project => below_domains(table, name, Project::Always),
        By::Bare => below_domains(table, name, Project::Never),
        By::Mapped => mapped(table, name),
        By::Dispatched => None,
    }
}

/// Whether a name ends with the project id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Project {
    Always,
    /// It may be left out, except before `REGION.r`.
    Perhaps,
    Never,
}

/// `None` if the name is below none of the app's domains.
fn below_domains<'t>(table: &'t RoutingTable, name: &str, project: Project) -> Option<Named<'t>> {
    Some(resolve(table, labels_below(table, name)?, project))
}

/// What stands before the longest of the app's domains that fits.
fn labels_below<'h>(table: &RoutingTable, name: &'h str) -> Option<&'h str> {
    let fits = |domain: &&String| name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let domain = table.naming.domains.iter().filter(fits).max_by_key(|domain| domain.len())?;
    Some(name[..name.len() - domain.len()].trim_end_matches('.'))
}

/// What a name below a custom domain names: the default service, or what stands in place of the `*`.
fn mapped<'t>(table: &'t RoutingTable, name: &str) -> Option<Named<'t>> {
    let mut longest: Option<&str> = None;
    for pattern in &table.naming.mapped {
        if pattern == name {
            return Some(Named::Nothing);
        }
        let labels = pattern.strip_prefix('*').and_then(|suffix| name.strip_suffix(suffix)).filter(|labels| !labels.is_empty());
        if let Some(labels) = labels
            && longest.is_none_or(|known| labels.len() < known.len())
        {
            longest = Some(labels);
        }
    }
    longest.map(|labels| resolve(table, labels, Project::Never))
}

/// The host under which one version answers: `VERSION.SERVICE.localhost:8080`. The app's default host where that has no names below it.
pub fn of_version(naming: &Naming, key: &VersionKey) -> String {
    below(naming, &[key.version.as_str(), key.service.as_str()], Style::Dots)
}

/// The host under which a service answers, its split in force: `SERVICE.localhost:8080`. Like [`of_version`] where names are no use.
pub fn of_service(naming: &Naming, service: &ServiceId) -> String {
    below(naming, &[service.as_str()], Style::Dots)
}

/// How the labels of a host name that the house makes are joined; both are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// `VERSION.SERVICE.PROJECT.REGION.r.DOMAIN`
    #[default]
    Dots,
    /// `VERSION-dot-SERVICE-dot-PROJECT.REGION.r.DOMAIN`: one certificate for `*.REGION.r.DOMAIN` is enough.
    Dashes,
}

/// A host below the app's default one: `labels` are `[[INSTANCE,] VERSION,] SERVICE`, or of the default service `[[INSTANCE,] VERSION]`.
pub fn below(naming: &Naming, labels: &[&str], style: Style) -> String {
    let host = &naming.default_hostname;
    let Ok((Host::Name(name), _)) = Host::parse(host) else { return host.clone() };
    let (joint, last) = match style {
        Style::Dots => (".", "."),
        // Of `localhost` there is no label that could be joined.
        Style::Dashes if naming.domains.iter().any(|domain| *domain == name) => ("-dot-", "."),
        Style::Dashes => ("-dot-", "-dot-"),
    };
    if labels.is_empty() { host.clone() } else { format!("{}{last}{host}", labels.join(joint)) }
}

/// The names of an app that its instances must find although no name server knows them: those below `localhost`, at most `most`. Every service, version
/// and numbered instance has one in each [`Style`].
pub fn local_names(table: &RoutingTable, most: usize) -> Vec<String> {
    let naming = &table.naming;
    let Ok((Host::Name(own), _)) = Host::parse(&naming.default_hostname) else { return Vec::new() };
    if own != "localhost" && !own.ends_with(".localhost") {
        return Vec::new();
    }
    let mut names = vec![own.into_owned()];
    let sole = table.services.len() == 1;
    'all: for (service, held) in &table.services {
        let versions = held.versions.iter().flat_map(|(id, version)| {
            let numbers = match &version.config.scaling {
                Scaling::Automatic(_) => 0,
                Scaling::Basic(rule) => rule.max_instances,
                Scaling::Manual(rule) => rule.instances,
            };
            std::iter::once(vec![id.to_string()]).chain((0..numbers).map(move |number| vec![number.to_string(), id.to_string()]))
        });
        for labels in std::iter::once(Vec::new()).chain(versions) {
            for style in [Style::Dots, Style::Dashes] {
                let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                let mut add = |labels: &[&str]| {
                    let host = below(naming, labels, style);
                    names.push(host.split(':').next().unwrap_or_default().to_owned());
                };
                if sole && service.is_default() {
                    add(&labels);
                }
                labels.push(service.as_str());
                add(&labels);
            }
            if names.len() >= most {
                break 'all;
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Takes `REGION.r` away (document 003: `VERSION-dot-SERVICE-dot-PROJECT.REGION.r.DOMAIN`); the region's own name decides nothing.
fn without_region(labels: &str) -> (&str, bool) {
    match labels.strip_suffix(".r").and_then(|rest| rest.rsplit_once('.')) {
        Some((rest, _region)) => (rest, true),
        None => (labels, false),
    }
}

/// The last of the labels before a domain, where the project stands, and whether a region stood behind it.
pub(crate) fn last_label(labels: &str) -> (&str, bool) {
    let (labels, regional) = without_region(labels);
    let last = labels.rsplit('.').next().unwrap_or_default();
    (last.rsplit("-dot-").next().unwrap_or_default(), regional)
}

/// `labels` is what precedes the domain.
fn resolve<'t>(table: &'t RoutingTable, labels: &str, project: Project) -> Named<'t> {
    if labels.is_empty() {
        return Named::Nothing;
    }
    let (labels, regional) = if project == Project::Never { (labels, false) } else { without_region(labels) };
    let mut parts: [&str; 4] = [""; 4];
    let mut count = 0;
    for label in labels.split('.').flat_map(|label| label.split("-dot-")) {
        let Some(slot) = parts.get_mut(count) else { return Named::Unknown };
        *slot = label;
        count += 1;
    }
    let mut parts = &parts[..count];
    // Where the project id is optional, a service of the same name is meant before it.
    if let [rest @ .., last] = parts
        && match project {
            Project::Always => true,
            Project::Perhaps => *last == project_label(table) && (regional || !table.services.contains_key(*last)),
            Project::Never => false,
        }
    {
        parts = rest;
    }
    match *parts {
        [] => Named::Nothing,
        [service] => one(table, service),
        [version, service] => two(table, version, service),
        [instance, version, service] => match (table.services.get_key_value(service), number(instance)) {
            (Some((id, found)), Some(instance)) => version_of(id, found, version).map_or(Named::Unknown, |aim| at_instance(aim, instance)),
            _ => Named::Unknown,
        },
        _ => Named::Unknown,
    }
}

/// The project id as it stands in host names.
pub(crate) fn project_label(table: &RoutingTable) -> &str {
    label_of(&table.app)
}

/// A project id as it stands in host names, without `domain.tld:`; a server has each once (decision 352).
pub fn label_of(app: &AppId) -> &str {
    let project = app.project();
    project.rsplit_once(':').map_or(project, |(_, id)| id)
}

/// `SERVICE`, or of the default service: `VERSION`, `INSTANCE`.
fn one<'t>(table: &'t RoutingTable, label: &str) -> Named<'t> {
    if let Some((id, service)) = table.services.get_key_value(label) {
        return serving(id, service, Why::Host).map_or(Named::Unknown, Named::Exactly);
    }
    default_service(table).map_or(Named::Unknown, |(id, service)| version_or_instance(id, service, label))
}

/// `VERSION.SERVICE` or `INSTANCE.SERVICE`, or `INSTANCE.VERSION` of the default service.
fn two<'t>(table: &'t RoutingTable, first: &str, second: &str) -> Named<'t> {
    if let Some((id, service)) = table.services.get_key_value(second) {
        return version_or_instance(id, service, first);
    }
    let aim = default_service(table).and_then(|(id, service)| version_of(id, service, second));
    match (aim, number(first)) {
        (Some(aim), Some(instance)) => at_instance(aim, instance),
        _ => Named::Unknown,
    }
}

/// Document 003, `version`: a number is the version of that name if it exists, otherwise the instance of the default version.
fn version_or_instance<'t>(id: &'t ServiceId, service: &'t Service, label: &str) -> Named<'t> {
    if let Some(aim) = version_of(id, service, label) {
        return Named::Exactly(aim);
    }
    match (number(label), serving(id, service, Why::Host)) {
        (Some(instance), Ok(aim)) => at_instance(aim, instance),
        _ => Named::Unknown,
    }
}

fn version_of<'t>(id: &'t ServiceId, service: &'t Service, version: &str) -> Option<Aim<'t>> {
    let version = service.versions.get(version)?;
    Some(Aim { service: id, version, split: None, ingress: service.ingress, named: true, instance: None, why: Why::Host })
}

/// Only basic and manual scaling number their instances (row Y31).
fn at_instance(mut aim: Aim<'_>, instance: u32) -> Named<'_> {
    let instances = match &aim.version.config.scaling {
        Scaling::Automatic(_) => 0,
        Scaling::Basic(basic) => basic.max_instances,
        Scaling::Manual(manual) => manual.instances,
    };
    if instance >= instances {
        return Named::Unknown;
    }
    aim.instance = Some(instance);
    aim.split = None;
    Named::Exactly(aim)
}

fn number(label: &str) -> Option<u32> {
    let plain = label.bytes().all(|b| b.is_ascii_digit()) && (label.len() == 1 || !label.starts_with('0'));
    if plain { label.parse().ok() } else { None }
}

fn serving<'t>(id: &'t ServiceId, service: &'t Service, why: Why<'t>) -> Result<Aim<'t>, AimError> {
    let version = service.versions.get(service.split.main()).ok_or(AimError::NoService)?;
    let split = if service.split.only().is_none() { Some(service) } else { None };
    Ok(Aim { service: id, version, split, ingress: service.ingress, named: false, instance: None, why })
}

fn default<'t>(table: &'t RoutingTable, why: Why<'t>) -> Result<Aim<'t>, AimError> {
    let (id, service) = default_service(table).ok_or(AimError::NoService)?;
    serving(id, service, why)
}

/// The default service, or the only ones that exist (the SDK serves an app without a default service by any other).
fn default_service(table: &RoutingTable) -> Option<(&ServiceId, &Service)> {
    table.services.get_key_value("default").or_else(|| table.services.iter().next())
}

/// Whether rules of dispatch.yaml apply to a path: of `/_ah/`, only what the app itself serves there.
pub fn is_dispatchable(path: &[u8]) -> bool {
    !path.starts_with(b"/_ah/") || path.starts_with(b"/_ah/queue/deferred") || path.starts_with(b"/_ah/api")
}

fn dispatch<'t>(table: &'t RoutingTable, host: &Host<'_>, path: &[u8]) -> Option<&'t DispatchRule> {
    if table.dispatch.is_empty() || !is_dispatchable(path) {
        return None;
    }
    let name = match host {
        Host::Name(name) => name.as_ref(),
        Host::None | Host::Address(_) => "",
    };
    table.dispatch.iter().find(|rule| rule.host.matches(name) && rule.path.matches(path))
}
