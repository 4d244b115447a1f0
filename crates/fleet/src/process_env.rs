//! The environment of an instance's process: only what the documents list, never what the house was started with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use model::ids::InstanceId;
use model::runtime::Language;

use crate::fleet::House;
use crate::google;
use crate::pool::Deployment;
use crate::prepare::Launch;
use crate::python::agent::{self, Role};

/// Every variable of one instance.
pub(crate) fn of(house: &House, deployment: &Deployment, id: &InstanceId, port: Option<u16>) -> Vec<(OsString, OsString)> {
    let mut env = surroundings(house, deployment);
    let config = &deployment.version.config;
    if !config.runtime.is_first_generation() {
        documented(&mut env, house, deployment, id);
    }
    if let Some(port) = port {
        env.insert("PORT".into(), port.to_string().into());
    } else if !config.runtime.is_first_generation() {
        // Nobody listens there: the agent has its socket. But code that reads the variable should find production's value.
        env.insert("PORT".into(), "8080".into());
    }
    if let Some(api) = google::wanted(house, config) {
        env.extend(google::variables(api));
    }
    // The app's own variables come last: they may set PATH or NODE_ENV; names that begin with GAE never get this far (row Y9).
    let own = config.env.iter().chain(&house.options.env);
    env.extend(own.map(|(name, value)| (name.into(), value.into())));
    if let Launch::Agent(launch) = &deployment.prepared.launch {
        env.insert(agent::VARIABLE.into(), agent::config(house, deployment, launch, id, Role::Alone).into());
    }
    env.into_iter().collect()
}

/// Where the instance's SDK calls bundled services, and where its libraries find the metadata server; nothing else may stand in these variables.
pub(crate) fn calls(deployment: &Deployment, door: Option<SocketAddr>) -> impl Iterator<Item = (OsString, OsString)> {
    let calling = door.filter(|_| deployment.version.config.app_engine_apis);
    let address = |door: SocketAddr| [("API_HOST", door.ip().to_string()), ("API_PORT", door.port().to_string())];
    let calls = calling.into_iter().flat_map(address).map(|(name, value)| (name.into(), value.into()));
    calls.chain(metadata(door))
}

/// Where the metadata server is: google-auth asks a name for facts and an address whether there is one at all.
pub(crate) fn metadata(door: Option<SocketAddr>) -> impl Iterator<Item = (OsString, OsString)> {
    let both = |door: SocketAddr| ["GCE_METADATA_HOST", "GCE_METADATA_IP"].map(|name| (name.into(), door.to_string().into()));
    door.into_iter().flat_map(both)
}

/// What any process needs to run here.
fn surroundings(house: &House, deployment: &Deployment) -> BTreeMap<OsString, OsString> {
    let mut env: BTreeMap<OsString, OsString> = BTreeMap::new();
    env.insert("LANG".into(), "C.UTF-8".into());
    env.insert("TZ".into(), "UTC".into());
    env.insert("HOME".into(), home(house, deployment).into());
    // Lines reach the log when they are printed, as in production's images, and the app's folder stays as it is.
    env.insert("PYTHONUNBUFFERED".into(), "1".into());
    env.insert("PYTHONDONTWRITEBYTECODE".into(), "1".into());
    let config = &deployment.version.config;
    if config.runtime.language() == Language::Java {
        // The heap's default is a quarter of the machine; beside the heap Java needs room for code, threads and metadata.
        let heap = config.class.memory_mb(config.runtime.is_first_generation()) / 10 * 7;
        env.insert("JAVA_TOOL_OPTIONS".into(), format!("-Xmx{heap}m").into());
    }
    let mut programs = Vec::new();
    if let Launch::Command(command) = &deployment.prepared.launch {
        if let Some(environment) = &command.environment {
            env.insert("VIRTUAL_ENV".into(), environment.into());
            programs.push(environment.join("bin"));
        }
        programs.extend(command.programs.iter().cloned());
        env.extend(command.env.iter().map(|(name, value)| (name.into(), value.clone())));
    }
    env.insert("PATH".into(), search_path(&programs));
    env
}

/// npm, go and the like keep caches at home; the owner's real home, with keys in it, is no business of the app's. One for each service, because
/// some programs put a socket or a lock there.
pub(crate) fn home(house: &House, deployment: &Deployment) -> PathBuf {
    let app = house.options.app.as_str().replace([':', '~'], "_");
    house.options.cache.join("home").join(app).join(deployment.version.config.key.service.as_str())
}

/// The version's own programs first, then the house's search path, where node, go and the like are found.
fn search_path(programs: &[PathBuf]) -> OsString {
    let mut path = OsString::new();
    for folder in programs {
        path.push(folder);
        path.push(":");
    }
    path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
    path
}

/// The second generation's documented variables (docs: "runtime environment", the same table in all languages).
fn documented(env: &mut BTreeMap<OsString, OsString>, house: &House, deployment: &Deployment, id: &InstanceId) {
    let version = &deployment.version;
    let config = &version.config;
    let app = &house.options.app;
    let mut set = |name: &str, value: String| env.insert(name.into(), value.into());
    set("GAE_APPLICATION", long_id(app.as_str()));
    set("GAE_DEPLOYMENT_ID", version.deployment.to_string());
    set("GAE_ENV", "standard".into());
    set("GAE_INSTANCE", id.to_string());
    set("GAE_MEMORY_MB", config.class.memory_mb(false).to_string());
    set("GAE_RUNTIME", config.runtime.as_str().into());
    set("GAE_SERVICE", config.key.service.as_str().into());
    set("GAE_VERSION", config.key.version.as_str().into());
    set("GOOGLE_CLOUD_PROJECT", app.project().into());
    set("NODE_ENV", "production".into());
}

/// The app id with its partition: `s~` unless it has one.
fn long_id(app: &str) -> String {
    if app.contains('~') { app.to_owned() } else { format!("s~{app}") }
}
