//! What stands around the services in hostile tests: the apps are served, changes are taken and change nothing, and nobody answers requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use model::errand::{Answer, Errand, Errands, Unanswered};
use model::firewall::Firewall;
use model::ids::{AppId, VersionKey};
use model::ingress::Ingress;
use model::pool::{Boxed, Caller, Instance, Lifecycle};
use model::steer::{Change, Refused, Steer};
use model::table::{Estate, Naming, RoutingTable, Service, Version};
use model::traffic::TrafficSplit;
use services::outside::{Links, Outside, Ports};

/// The house of these versions, each of an app of its own.
pub(crate) fn around(versions: impl IntoIterator<Item = Arc<Version>>) -> Arc<Outside> {
    let tables = versions.into_iter().map(table);
    let outside = Outside::default();
    outside.connect(Links {
        estate: Arc::new(ArcSwap::from_pointee(Estate::build(1, tables, None))),
        errands: Arc::new(Nobody),
        ports: Ports::default(),
        caller: Arc::new(Nobody),
        steer: Arc::new(Nobody),
    });
    Arc::new(outside)
}

fn table(version: Arc<Version>) -> Arc<RoutingTable> {
    let (app, key) = (version.app.clone(), version.config.key.clone());
    let naming = Naming::hosted(&app, "local", "example", None, Vec::new());
    let split = TrafficSplit::all(key.version.clone());
    let service = Service { versions: BTreeMap::from([(key.version, version)]), split, ingress: Ingress::All };
    let services = BTreeMap::from([(key.service, service)]);
    Arc::new(RoutingTable { generation: 1, app, naming, services, dispatch: Vec::new(), firewall: Firewall::default() })
}

struct Nobody;

impl Errands for Nobody {
    fn run(&self, _: Errand) -> Boxed<'static, Result<Answer, Unanswered>> {
        Box::pin(std::future::ready(Err(Unanswered("nobody is there".into()))))
    }
}

impl Caller for Nobody {
    fn call(&self, _: Arc<Version>, _: Arc<Instance>, _: Lifecycle, _: Duration) -> Boxed<'static, Result<u16, String>> {
        Box::pin(std::future::ready(Err("nobody is there".into())))
    }
}

impl Steer for Nobody {
    fn steer(&self, _: &AppId, _: &VersionKey, _: Change) -> Boxed<'static, Result<(), Refused>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
