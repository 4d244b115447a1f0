//! What is compared: the scaling blocks of the files, and each of them with `--set`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use appyaml::{Loaded, load_app, parse, render};
use model::config::VersionConfig;
use model::ids::ServiceId;
use model::scaling::{Automatic, Scaling};

use crate::check::tally;

/// One configuration to be simulated.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    /// The file, or what `--set` says.
    pub(crate) name: String,
    /// The configuration.
    pub(crate) config: VersionConfig,
    /// The class of the file, for which times are given.
    pub(crate) measured_on: model::scaling::InstanceClass,
}

/// So many can be compared.
const MOST: usize = 12;

/// Reads the files and applies each `--set`.
///
/// # Errors
/// A text for people, several lines long if it shows places in files.
pub(crate) fn read(paths: &[PathBuf], service: Option<&str>, sets: &[String]) -> Result<Vec<Variant>, String> {
    let mut variants = Vec::new();
    for path in paths {
        let (name, config) = config(path, service)?;
        let measured_on = config.class;
        variants.push(Variant { name: name.clone(), config: config.clone(), measured_on });
        for set in sets {
            let config = changed(&config, set)?;
            let name = if paths.len() > 1 { format!("{name} {set}") } else { set.clone() };
            variants.push(Variant { name, config, measured_on });
        }
    }
    if variants.len() > MOST {
        return Err(format!(
            "{} configurations are too many to compare, {MOST} are the most; leave some files or --set out",
            variants.len()
        ));
    }
    Ok(variants)
}

/// The service that is meant, and its file: the one that is named, the only one, or the default one.
fn config(path: &Path, service: Option<&str>) -> Result<(String, VersionConfig), String> {
    let loaded = load_app(&[path.to_owned()], &appyaml::Options::default());
    if !loaded.is_ok() {
        let text = render::text(&loaded.diagnostics, &loaded.sources, true);
        return Err(format!("{text}{} cannot be simulated: {}", path.display(), tally(&loaded.diagnostics)));
    }
    let wanted = |config: &VersionConfig| match service {
        Some(name) => config.key.service.as_str() == name,
        None => loaded.services.len() == 1 || config.key.service == ServiceId::default_service(),
    };
    let found = loaded.services.iter().find(|service| wanted(&service.config));
    found.map(|found| (found.file.display().to_string(), found.config.clone())).ok_or_else(|| no_service(&loaded, path, service))
}

fn no_service(loaded: &Loaded, path: &Path, service: Option<&str>) -> String {
    let names: Vec<_> = loaded.services.iter().map(|service| service.config.key.service.to_string()).collect();
    match service {
        Some(name) => format!("{} has no service `{name}`; it has {}", path.display(), names.join(", ")),
        None => format!("{} has no service to simulate", path.display()),
    }
}

/// `config` with the settings of `set`. The result goes through the same checks as a file: it is written down as one and read again.
fn changed(config: &VersionConfig, set: &str) -> Result<VersionConfig, String> {
    let mut class = None;
    let mut block = (kind(&config.scaling), entries(&config.scaling));
    for one in set.split(',') {
        let (key, value) = one.split_once('=').ok_or_else(|| format!("--set {set}: write KEY=VALUE, not `{one}`"))?;
        let (key, value) = (key.trim(), value.trim());
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !plain(key) || !plain(value) {
            return Err(format!("--set {set}: `{one}` is not KEY=VALUE with a key of a scaling block, such as max_instances=5"));
        }
        match key.split_once('.') {
            None if key == "instance_class" => class = Some(value.to_owned()),
            None => drop(block.1.insert(key.to_owned(), value.to_owned())),
            Some((name, key)) => {
                if name != block.0 {
                    block = (name.to_owned(), BTreeMap::new());
                }
                block.1.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    let text = written(config, class, &block);
    let parsed = parse::app_yaml(&format!("--set {set}"), &text, &BTreeMap::new());
    if !parsed.is_ok() {
        return Err(format!("{}--set {set} is refused", render::text(&parsed.diagnostics, &parsed.sources, true)));
    }
    let read = parsed.ok().ok_or_else(|| format!("--set {set} is refused"))?;
    Ok(VersionConfig { scaling: read.scaling, class: read.class, ..config.clone() })
}

/// A file that says nothing but how the version scales.
fn written(config: &VersionConfig, class: Option<String>, block: &(String, BTreeMap<String, String>)) -> String {
    // A class that was not asked for goes with the kind of scaling that it came from.
    let kept = || (block.0 == kind(&config.scaling)).then(|| config.class.name().to_owned());
    let class = class.or_else(kept).map(|class| format!("instance_class: {class}\n"));
    let lines: Vec<String> = block.1.iter().map(|(key, value)| format!("  {key}: {value}\n")).collect();
    let lines = if lines.is_empty() { "  {}\n".to_owned() } else { lines.concat() };
    format!("runtime: python312\n{}{}:\n{lines}", class.unwrap_or_default(), block.0)
}

/// The name of the block.
pub(crate) fn kind(scaling: &Scaling) -> String {
    match scaling {
        Scaling::Automatic(_) => "automatic_scaling",
        Scaling::Basic(_) => "basic_scaling",
        Scaling::Manual(_) => "manual_scaling",
    }
    .to_owned()
}

/// What the block says, without what goes without saying.
pub(crate) fn entries(scaling: &Scaling) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    let mut set = |key: &str, value: Option<String>| drop(value.and_then(|value| entries.insert(key.to_owned(), value)));
    let time = |time: Duration| format!("{}ms", time.as_millis());
    match scaling {
        Scaling::Automatic(own) => {
            let usual = Automatic::default();
            let number = |value: Option<u32>| value.map(|value| value.to_string());
            set("max_instances", number(own.max_instances));
            set("min_instances", number(Some(own.min_instances).filter(|min| *min != usual.min_instances)));
            set("max_idle_instances", number(own.max_idle_instances));
            set("min_idle_instances", number(own.min_idle_instances));
            let (cpu, throughput) = (own.target_cpu_utilization.to_string(), own.target_throughput_utilization.to_string());
            set("target_cpu_utilization", Some(cpu).filter(|text| *text != usual.target_cpu_utilization.to_string()));
            set("target_throughput_utilization", Some(throughput).filter(|text| *text != usual.target_throughput_utilization.to_string()));
            let most = Some(own.max_concurrent_requests).filter(|most| *most != usual.max_concurrent_requests);
            set("max_concurrent_requests", number(most));
            set("min_pending_latency", own.min_pending_latency.map(time));
            set("max_pending_latency", own.max_pending_latency.map(time));
        }
        Scaling::Basic(own) => {
            set("max_instances", Some(own.max_instances.to_string()));
            set("idle_timeout", Some(format!("{}s", own.idle_timeout.as_secs())));
        }
        Scaling::Manual(own) => set("instances", Some(own.instances.to_string())),
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> VersionConfig {
        parse::app_yaml("app.yaml", text, &BTreeMap::new()).ok().expect("a configuration")
    }

    #[test]
    fn y29_settings_are_changed_one_by_one() {
        let base = config("runtime: python312\nautomatic_scaling:\n  max_instances: 7\n  min_pending_latency: 30ms\n");
        let changed = |set: &str| changed(&base, set).expect(set);
        let Scaling::Automatic(automatic) = changed("max_concurrent_requests=40").scaling else { panic!("automatic") };
        assert_eq!((automatic.max_concurrent_requests, automatic.max_instances), (40, Some(7)));
        assert_eq!(automatic.min_pending_latency, Some(Duration::from_millis(30)));
        let more = changed("automatic_scaling.max_instances=9, min_idle_instances=2,instance_class=F4");
        assert_eq!(entries(&more.scaling)["max_instances"], "9");
        assert_eq!((more.class.name(), entries(&more.scaling)["min_idle_instances"].as_str()), ("F4", "2"));
    }

    #[test]
    fn y30_y31_another_kind_of_scaling_brings_its_class() {
        let base = config("runtime: python312\ninstance_class: F4\n");
        let basic = changed(&base, "basic_scaling.max_instances=3").expect("basic");
        assert_eq!((basic.class.name(), kind(&basic.scaling).as_str()), ("B2", "basic_scaling"));
        let manual = changed(&base, "manual_scaling.instances=3,instance_class=B8").expect("manual");
        assert_eq!((manual.class.name(), entries(&manual.scaling)["instances"].as_str()), ("B8", "3"));
    }

    #[test]
    fn what_a_file_may_not_say_may_not_be_set() {
        let base = config("runtime: python312\n");
        for bad in [
            "max_concurrent_requests=81",
            "max_instanses=3",
            "x",
            "",
            "=",
            "max_instances=",
            "a.b.c=1",
            "max_instances=1\nruntime: x",
            "max_instances=5,min_instances=6",
            "instance_class=B1",
        ] {
            assert!(changed(&base, bad).is_err(), "{bad}");
        }
    }
}
