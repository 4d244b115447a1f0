//! `modules` (rows M1–M4): the services, versions and instances of the calling app, read from the snapshot in force and changed through
//! [`model::steer`]. What a missing name stands for, and which error is which, is the SDK's `modules_stub.py`.

use std::sync::Arc;

use bytes::Bytes;
use model::ids::VersionKey;
use model::pool::Boxed;
use model::route::host::{self, Style};
use model::scaling::Scaling;
use model::steer::{Change, MOST_INSTANCES, Refused};
use model::table::{RoutingTable, Service as Served, Version};

use crate::call::{Answer, Context, Failure, Service, read, write};
use crate::card::{self, Card};
use crate::outside::Outside;
use crate::proto::modules::{self as pb, ErrorCode as Code};
use crate::proto::remote_api::rpc_error;

/// The service.
pub struct Modules {
    outside: Arc<Outside>,
    style: Style,
}

impl Modules {
    /// `style` is how the names of hosts are written.
    pub fn new(outside: Arc<Outside>, style: Style) -> Self {
        Self { outside, style }
    }

    async fn answer(&self, method: &str, message: Bytes, context: &Context) -> Answer {
        let table = self.outside.table(context.app()).ok_or_else(|| transient("the app is not served yet"))?;
        let own = &context.caller.version.config.key;
        let scene = Scene { table: &table, own };
        match method {
            "GetModules" => {
                read::<pb::GetModulesRequest>(message)?;
                Ok(write(&pb::GetModulesResponse { module: table.services.keys().map(ToString::to_string).collect() }))
            }
            "GetVersions" => {
                let asked: pb::GetVersionsRequest = read(message)?;
                let service = scene.service(asked.module.as_deref()).ok_or_else(|| no_module(asked.module()))?;
                Ok(write(&pb::GetVersionsResponse { version: service.versions.keys().map(ToString::to_string).collect() }))
            }
            "GetDefaultVersion" => {
                let asked: pb::GetDefaultVersionRequest = read(message)?;
                let service = scene.service(asked.module.as_deref()).ok_or_else(|| no_module(asked.module()))?;
                Ok(write(&pb::GetDefaultVersionResponse { version: service.split.main().to_string() }))
            }
            "GetNumInstances" => {
                let asked: pb::GetNumInstancesRequest = read(message)?;
                let version = scene.version(asked.module.as_deref(), asked.version.as_deref()).ok_or_else(no_version)?;
                let Scaling::Manual(rule) = &version.config.scaling else { return Err(unnumbered(version)) };
                Ok(write(&pb::GetNumInstancesResponse { instances: rule.instances.into() }))
            }
            "SetNumInstances" => {
                let asked: pb::SetNumInstancesRequest = read(required(message, &[3])?)?;
                let version = scene.version(asked.module.as_deref(), asked.version.as_deref()).ok_or_else(no_version)?;
                let instances = u32::try_from(asked.instances).ok().filter(|count| (1..=MOST_INSTANCES).contains(count));
                let text = || format!("The number of instances is 1 to {MOST_INSTANCES}, not {}.", asked.instances);
                let change = Change::Instances(instances.ok_or_else(|| Failure::app(Code::InvalidInstances, text()))?);
                self.change(context, version, change).await?;
                Ok(write(&pb::SetNumInstancesResponse {}))
            }
            "StartModule" => {
                let asked: pb::StartModuleRequest = read(required(message, &[1, 2])?)?;
                let version = scene.version(Some(&asked.module), Some(&asked.version)).ok_or_else(no_version)?;
                self.change(context, version, Change::Serving(true)).await?;
                Ok(write(&pb::StartModuleResponse {}))
            }
            "StopModule" => {
                let asked: pb::StopModuleRequest = read(message)?;
                let version = scene.version(asked.module.as_deref(), asked.version.as_deref()).ok_or_else(no_version)?;
                self.change(context, version, Change::Serving(false)).await?;
                Ok(write(&pb::StopModuleResponse {}))
            }
            "GetHostname" => Ok(write(&pb::GetHostnameResponse { hostname: self.hostname(&scene, &read(message)?)? })),
            _ => Err(Failure::no_call("modules", method)),
        }
    }

    async fn change(&self, context: &Context, version: &Version, change: Change) -> Result<(), Failure> {
        change.check(&version.config.key, &version.config.scaling, version.stopped).map_err(|why| refused(&why))?;
        self.outside.steer(context.app(), &version.config.key, change).await.map_err(|why| refused(&why))
    }

    /// `[[INSTANCE.]VERSION.]SERVICE.HOST`; without the service where it is the only one and the default one (reference: Google's own
    /// re-implementation over the Admin API).
    fn hostname(&self, scene: &Scene<'_>, asked: &pb::GetHostnameRequest) -> Result<String, Failure> {
        let unknown = || no_module(asked.module());
        let service = scene.service(asked.module.as_deref()).ok_or_else(unknown)?;
        let version = scene.version(asked.module.as_deref(), asked.version.as_deref()).ok_or_else(unknown)?;
        let key = &version.config.key;
        let mut labels = Vec::with_capacity(3);
        let instance = asked.instance.as_deref().map(|text| instance(text, version)).transpose()?.map(|number| number.to_string());
        labels.extend(instance.as_deref());
        if asked.version.is_some() || instance.is_some() || service.versions.contains_key(&scene.own.version) {
            labels.push(key.version.as_str());
        }
        if !(scene.table.services.len() == 1 && key.service.is_default()) {
            labels.push(key.service.as_str());
        }
        Ok(host::below(&scene.table.naming, &labels, self.style))
    }
}

impl Service for Modules {
    fn card(&self) -> &'static Card {
        &card::MODULES
    }

    fn call<'a>(&'a self, method: &'a str, message: Bytes, context: &'a Context) -> Boxed<'a, Answer> {
        Box::pin(self.answer(method, message, context))
    }
}

/// The app as it is now, and who asks.
struct Scene<'a> {
    table: &'a RoutingTable,
    own: &'a VersionKey,
}

impl<'a> Scene<'a> {
    /// The service of this name, the caller's own without one.
    fn service(&self, name: Option<&str>) -> Option<&'a Served> {
        self.table.services.get(name.unwrap_or(self.own.service.as_str()))
    }

    /// The version of this name; without one that of the caller's name if the service has it, otherwise its default version.
    fn version(&self, service: Option<&str>, name: Option<&str>) -> Option<&'a Version> {
        let service = self.service(service)?;
        let found = if let Some(name) = name {
            service.versions.get(name)
        } else {
            service.versions.get(&self.own.version).or_else(|| service.versions.get(service.split.main()))
        };
        found.map(AsRef::as_ref)
    }
}

/// A number that the version has, under basic or manual scaling.
fn instance(text: &str, version: &Version) -> Result<u32, Failure> {
    let most = match &version.config.scaling {
        Scaling::Automatic(_) => 0,
        Scaling::Basic(rule) => rule.max_instances,
        Scaling::Manual(rule) => rule.instances,
    };
    // Not `+1` or `01`, of which no host can be made.
    let number = text.parse::<u32>().ok().filter(|number| *number < most && number.to_string() == text);
    number.ok_or_else(|| Failure::app(Code::InvalidInstances, format!("{} has no instance {text:?}.", version.config.key)))
}

/// Fields that proto2 requires and `prost` takes for zero are looked for by hand.
fn required(message: Bytes, numbers: &[u32]) -> Result<Bytes, Failure> {
    match numbers.iter().find(|number| !crate::call::has_field(&message, **number)) {
        None => Ok(message),
        Some(number) => Err(Failure::Rpc(rpc_error::Code::ParseError, format!("The request lacks its required field {number}."))),
    }
}

fn no_module(name: &str) -> Failure {
    Failure::app(
        Code::InvalidModule,
        if name.is_empty() { "There is no such version.".into() } else { format!("There is no such module as {name:?}.") },
    )
}

fn no_version() -> Failure {
    Failure::app(Code::InvalidVersion, "There is no such version.")
}

fn unnumbered(version: &Version) -> Failure {
    Failure::app(Code::InvalidVersion, format!("{} does not have manual scaling.", version.config.key))
}

fn transient(why: &str) -> Failure {
    Failure::app(Code::TransientError, format!("Try again: {why}."))
}

fn refused(why: &Refused) -> Failure {
    let code = match why {
        Refused::Missing(_) | Refused::Scaling(_) => Code::InvalidVersion,
        Refused::Already(_) => Code::UnexpectedState,
        Refused::NotNow(_) => Code::TransientError,
    };
    Failure::app(code, why.to_string())
}
