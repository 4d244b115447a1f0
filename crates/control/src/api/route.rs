//! Which resource a path names.

use percent_encoding::percent_decode_str;

/// A resource of the Admin API. Ids are as the path has them, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `/v1/apps`.
    Apps,
    /// `/v1/apps/A…`.
    In(String, Within),
}

/// What an app has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the collections' own names")]
pub(crate) enum Within {
    App,
    Repair,
    ListRuntimes,
    Services,
    Service(String),
    Versions(String),
    Version(String, String),
    ExportAppImage(String, String),
    Instances(String, String),
    Instance(String, String, String),
    DebugInstance(String, String, String),
    Operations,
    Operation(String),
    IngressRules,
    BatchUpdateIngressRules,
    IngressRule(String),
    DomainMappings,
    DomainMapping(String),
    Certificates,
    Certificate(String),
    AuthorizedDomains,
    Locations,
    Location(String),
}

/// Verbs behind a `:`. Other colons belong to ids (`example.com:app`).
const VERBS: [&str; 6] = ["repair", "listRuntimes", "exportAppImage", "debug", "batchUpdate", "promote"];

/// A path in parts: percent-decoded, the verb split off, a trailing slash dropped.
#[derive(Debug)]
pub(crate) struct Parts {
    /// What stands between slashes.
    pub(crate) segments: Vec<String>,
    /// The verb.
    pub(crate) verb: Option<String>,
}

impl Parts {
    /// Takes a path apart; `None` if it is not UTF-8.
    pub(crate) fn of(path: &str, verbs: &[&str]) -> Option<Self> {
        let mut segments = Vec::new();
        for segment in path.trim_start_matches('/').trim_end_matches('/').split('/') {
            segments.push(percent_decode_str(segment).decode_utf8().ok()?.into_owned());
        }
        let verb = segments.last().and_then(|last| last.rsplit_once(':')).map(|(rest, verb)| (rest.to_owned(), verb.to_owned()));
        let verb = verb.filter(|(_, verb)| verbs.contains(&verb.as_str()));
        if let (Some((rest, _)), Some(last)) = (&verb, segments.last_mut()) {
            last.clone_from(rest);
        }
        Some(Self { segments, verb: verb.map(|(_, verb)| verb) })
    }
}

/// The resource of a path; `/v1` and `/v1beta` have the same. `None` if there is none.
pub(crate) fn resource(path: &str) -> Option<Resource> {
    let parts = Parts::of(path, &VERBS)?;
    let segments: Vec<&str> = parts.segments.iter().map(String::as_str).collect();
    let (version, rest) = segments.split_first()?;
    if !["v1", "v1beta", "v1alpha"].contains(version) {
        return None;
    }
    let (app, rest) = match rest {
        ["apps"] if parts.verb.is_none() => return Some(Resource::Apps),
        ["apps", app, rest @ ..] => (*app, rest),
        // An application has the id of its project.
        ["projects", project, "locations", _, "applications", app, rest @ ..] if project == app => (*app, rest),
        ["projects", project, "locations"] => (*project, &rest[2..]),
        ["projects", project, "locations", location] => {
            return Some(Resource::In((*project).to_owned(), Within::Location((*location).to_owned())));
        }
        ["projects", project, "locations", _, "operations", ..] => (*project, &rest[4..]),
        _ => return None,
    };
    if app.is_empty() {
        return None;
    }
    let own = |text: &str| text.to_owned();
    let within = match (rest, parts.verb.as_deref()) {
        ([], None) => Within::App,
        ([], Some("repair")) => Within::Repair,
        ([], Some("listRuntimes")) => Within::ListRuntimes,
        (["services"], None) => Within::Services,
        (["services", s], None) => Within::Service(own(s)),
        (["services", s, "versions"], None) => Within::Versions(own(s)),
        (["services", s, "versions", v], None) => Within::Version(own(s), own(v)),
        (["services", s, "versions", v], Some("exportAppImage")) => Within::ExportAppImage(own(s), own(v)),
        (["services", s, "versions", v, "instances"], None) => Within::Instances(own(s), own(v)),
        (["services", s, "versions", v, "instances", i], None) => Within::Instance(own(s), own(v), own(i)),
        (["services", s, "versions", v, "instances", i], Some("debug")) => Within::DebugInstance(own(s), own(v), own(i)),
        (["operations"], None) => Within::Operations,
        (["operations", o], None) => Within::Operation(own(o)),
        (["firewall", "ingressRules"], None) => Within::IngressRules,
        (["firewall", "ingressRules"], Some("batchUpdate")) => Within::BatchUpdateIngressRules,
        (["firewall", "ingressRules", r], None) => Within::IngressRule(own(r)),
        (["domainMappings"], None) => Within::DomainMappings,
        (["domainMappings", d], None) => Within::DomainMapping(own(d)),
        (["authorizedCertificates"], None) => Within::Certificates,
        (["authorizedCertificates", c], None) => Within::Certificate(own(c)),
        (["authorizedDomains"], None) => Within::AuthorizedDomains,
        (["locations"], None) => Within::Locations,
        (["locations", l], None) => Within::Location(own(l)),
        _ => return None,
    };
    Some(Resource::In(app.to_owned(), within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t9_paths_in_all_their_forms() {
        let within = |path: &str| match resource(path) {
            Some(Resource::In(app, within)) => format!("{app} {within:?}"),
            Some(Resource::Apps) => "apps".to_owned(),
            None => "none".to_owned(),
        };
        for (path, found) in [
            ("/v1/apps", "apps"),
            ("/v1/apps/", "apps"),
            ("/v1/apps/demo", "demo App"),
            ("/v1beta/apps/demo:repair", "demo Repair"),
            ("/v1/apps/example.com:app", "example.com:app App"),
            ("/v1/apps/example.com%3Aapp:listRuntimes", "example.com:app ListRuntimes"),
            ("/v1/apps/demo/services/default/", "demo Service(\"default\")"),
            ("/v1/apps/demo/services/default/versions/v1/instances/0:debug", "demo DebugInstance(\"default\", \"v1\", \"0\")"),
            ("/v1/apps/demo/firewall/ingressRules:batchUpdate", "demo BatchUpdateIngressRules"),
            ("/v1/projects/demo/locations/europe-west/applications/demo/services/s", "demo Service(\"s\")"),
            ("/v1beta/projects/demo/locations/europe-west/operations/1", "demo Operation(\"1\")"),
            ("/v1/projects/demo/locations/l/applications/other", "none"),
            ("/v2/apps/demo", "none"),
            ("/v1/apps//services", "none"),
            ("/v1/apps/demo/services/a/b", "none"),
            ("/v1/apps/%ff", "none"),
            ("/", "none"),
        ] {
            assert_eq!(within(path), found, "{path}");
        }
        assert_eq!(resource("/v1beta/apps"), Some(Resource::Apps));
    }
}
