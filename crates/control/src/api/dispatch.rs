//! From a resource and a method to the function that answers, and what the caller must be allowed to do first.

use http::Method;
use model::ids::{AppId, InstanceId, ServiceId, VersionId};

use super::ask::Ask;
use super::auth::Deed;
use super::route::{Resource, Within};
use super::{Answered, Api};
use crate::status::{Code, Status};

impl Api {
    /// Answers a request. Blocks.
    pub(crate) fn answer(&self, resource: &Resource, ask: &Ask) -> Answered {
        let (app, within) = match resource {
            Resource::Apps => {
                if ask.method != Method::POST {
                    return Err(no_method(ask));
                }
                ask.caller.check(Deed::Own, None)?;
                return self.create_app(ask);
            }
            Resource::In(app, within) => (app, within),
        };
        let deed = deed(&ask.method, within).ok_or_else(|| no_method(ask))?;
        if deed == Deed::Administer && *within == Within::App && super::apps::only_routes(ask) {
            ask.caller.check(Deed::Deploy, Some(app))?;
        } else {
            ask.caller.check(deed, Some(app))?;
        }
        // A name that no app could have is the name of none.
        let missing = || Status::not_found(format!("Could not find Application \"{app}\"."));
        let app: AppId = app.parse().map_err(|_| missing())?;
        self.within(&app, within, ask)
    }

    fn within(&self, app: &AppId, within: &Within, ask: &Ask) -> Answered {
        let get = ask.method == Method::GET;
        let post = ask.method == Method::POST;
        let patch = ask.method == Method::PATCH || ask.method == Method::PUT;
        match within {
            Within::App if get => self.app(app),
            Within::App => self.patch_app(app, ask),
            Within::Repair => self.repair_app(app, ask),
            Within::ListRuntimes => self.runtimes(app, ask),
            Within::Locations => self.locations(app, ask),
            Within::Location(id) => self.location(app, id),
            Within::AuthorizedDomains => self.authorized_domains(app, ask),
            Within::Operations => self.operations(app, ask),
            Within::Operation(id) => self.operation(app, id),
            Within::Services => self.services(app, ask),
            Within::Service(s) if get => self.service(app, s),
            Within::Service(s) if patch => self.patch_service(app, &known::<ServiceId>("Service", app, s)?, ask),
            Within::Service(s) => self.delete_service(app, &known::<ServiceId>("Service", app, s)?, ask),
            Within::Versions(s) if post => self.create_version(app, s, ask),
            Within::Versions(s) => self.versions(app, &known::<ServiceId>("Service", app, s)?, ask),
            Within::Version(s, v) => {
                let (service, version) = self.both(app, s, v)?;
                match () {
                    () if get => self.version(app, &service, &version, ask),
                    () if patch => self.patch_version(app, &service, &version, ask),
                    () => self.delete_version(app, &service, &version, ask),
                }
            }
            Within::ExportAppImage(s, v) => {
                let (service, version) = self.both(app, s, v)?;
                self.store().read(|view| view.version(app, &service, &version))?;
                Err(Status::new(
                    Code::Unimplemented,
                    "Images cannot be exported: versions run without containers here. `enginehouse deploy` takes the same source code elsewhere.",
                ))
            }
            Within::Instances(s, v) => {
                let (service, version) = self.both(app, s, v)?;
                self.instances(app, &service, &version, ask)
            }
            Within::Instance(s, v, i) => {
                let (service, version) = self.both(app, s, v)?;
                let instance = instance_id(i);
                if get {
                    self.instance(app, &service, &version, &instance)
                } else {
                    self.delete_instance(app, &service, &version, &instance, ask)
                }
            }
            Within::DebugInstance(s, v, i) => {
                let (service, version) = self.both(app, s, v)?;
                self.debug_instance(app, &service, &version, &instance_id(i))
            }
            Within::IngressRules if post => self.create_rule(app, ask),
            Within::IngressRules => self.rules(app, ask),
            Within::BatchUpdateIngressRules => self.replace_rules(app, ask),
            Within::IngressRule(id) if get => self.rule(app, id),
            Within::IngressRule(id) if patch => self.patch_rule(app, id, ask),
            Within::IngressRule(id) => self.delete_rule(app, id, ask),
            Within::DomainMappings if post => self.create_domain(app, ask),
            Within::DomainMappings => self.domains(app, ask),
            Within::DomainMapping(id) if get => self.domain(app, id),
            Within::DomainMapping(id) if patch => self.patch_domain(app, id, ask),
            Within::DomainMapping(id) => self.delete_domain(app, id, ask),
            Within::Certificates if post => self.create_certificate(app, ask),
            Within::Certificates => self.certificates(app, ask),
            Within::Certificate(id) if get => self.certificate(app, id, ask),
            Within::Certificate(id) if patch => self.patch_certificate(app, id, ask),
            Within::Certificate(id) => self.delete_certificate(app, id, ask),
        }
    }

    fn both(&self, app: &AppId, service: &str, version: &str) -> Result<(ServiceId, VersionId), Status> {
        let id: ServiceId = known("Service", app, service)?;
        let missing = || Status::not_found(format!("Version `apps/{app}/services/{service}/versions/{version}` was not found."));
        // An app or service that is missing is told first.
        if let Ok(version) = version.parse() {
            return Ok((id, version));
        }
        self.store().read(|view| view.app(app.as_str()).and_then(|_| view.service(app, &id)))?;
        Err(missing())
    }
}

/// An id of a path; what no id can be names nothing.
fn known<T: std::str::FromStr>(what: &str, app: &AppId, id: &str) -> Result<T, Status> {
    id.parse().map_err(|_| Status::not_found(format!("{what} `apps/{app}/services/{id}` was not found.")))
}

/// Numbers are those of basic and manual scaling, everything else is opaque.
fn instance_id(text: &str) -> InstanceId {
    match text.parse() {
        Ok(number) if text.len() < 10 => InstanceId::Number(number),
        _ => InstanceId::Opaque(text.into()),
    }
}

/// What a method does to a resource; `None` if the resource has no such method.
fn deed(method: &Method, within: &Within) -> Option<Deed> {
    use Within as W;
    let only = |wanted: Method, deed: Deed| (*method == wanted).then_some(deed);
    // PUT is PATCH to clients that know only the old verbs.
    let patch = *method == Method::PATCH || *method == Method::PUT;
    let (get, post, delete) = (*method == Method::GET, *method == Method::POST, *method == Method::DELETE);
    match within {
        W::ListRuntimes
        | W::Operations
        | W::Operation(_)
        | W::Locations
        | W::Location(_)
        | W::AuthorizedDomains
        | W::Services
        | W::Instances(..) => only(Method::GET, Deed::Look),
        W::Repair | W::DebugInstance(..) => only(Method::POST, Deed::Deploy),
        W::ExportAppImage(..) => only(Method::POST, Deed::Look),
        W::BatchUpdateIngressRules => only(Method::POST, Deed::Administer),
        _ if get => Some(Deed::Look),
        W::App if patch => Some(Deed::Administer),
        W::Service(_) | W::Version(..) if patch => Some(Deed::Deploy),
        W::Version(..) | W::Instance(..) if delete => Some(Deed::Deploy),
        W::Versions(_) if post => Some(Deed::Deploy),
        W::Service(_) if delete => Some(Deed::Administer),
        W::IngressRules | W::DomainMappings | W::Certificates if post => Some(Deed::Administer),
        W::IngressRule(_) | W::DomainMapping(_) | W::Certificate(_) if patch || delete => Some(Deed::Administer),
        _ => None,
    }
}

fn no_method(ask: &Ask) -> Status {
    Status::not_found(format!("There is no method {} for this resource.", ask.method))
}
