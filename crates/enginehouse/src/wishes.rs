//! What `dev_appserver.py`'s flags change that `run` has no flags for: settings of the app's files, and names that its services tell.

use std::path::PathBuf;

use appyaml::LoadedService;
use model::config::SkipFiles;
use model::handler::HandlerKind;
use model::ids::ServiceId;
use model::journal::Severity;
use model::pattern::Pattern;
use model::runtime::Runtime;
use model::scaling::Scaling;

/// A setting of all services, or of some.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Each<T>(Vec<(Option<ServiceId>, T)>);

impl<T> Default for Each<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Each<T> {
    /// `VALUE`, or `SERVICE:VALUE,…`; an empty name is the default service.
    ///
    /// # Errors
    /// A text for people.
    pub(crate) fn read(text: &str, value: impl Fn(&str) -> Option<T>) -> Result<Self, String> {
        if let Some(all) = value(text) {
            return Ok(Self(vec![(None, all)]));
        }
        let mut each = Vec::new();
        for part in text.split(',') {
            let (service, one) = part.split_once(':').ok_or_else(|| format!("`{part}` is neither a value nor SERVICE:VALUE"))?;
            let service = if service.is_empty() { "default" } else { service };
            let id: ServiceId = service.parse().map_err(|error| format!("`{service}` is no service: {error}"))?;
            if each.iter().any(|(known, _)| known == &Some(id.clone())) {
                return Err(format!("`{service}` is named twice"));
            }
            each.push((Some(id), value(one).ok_or_else(|| format!("`{one}` is no value"))?));
        }
        Ok(Self(each))
    }

    fn of(&self, service: &ServiceId) -> Option<T> {
        self.0.iter().find(|(named, _)| named.as_ref().is_none_or(|named| named == service)).map(|(_, value)| *value)
    }
}

/// What is wished.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wishes {
    /// Every service runs on this.
    pub(crate) runtime: Option<Runtime>,
    /// Whether instances take several requests at once.
    pub(crate) threadsafe: Each<bool>,
    /// Most instances of a service.
    pub(crate) instances: Each<u32>,
    /// The command of services that name none.
    pub(crate) entrypoint: Option<String>,
    /// Apps may read what app.yaml skips, and static files.
    pub(crate) all_files: bool,
    /// Changes of these files are not noticed; matched from the beginning of their paths.
    pub(crate) unwatched: Option<Pattern>,
    /// The default bucket.
    pub(crate) bucket: Option<String>,
    /// The service account: its address, and the file of its key.
    pub(crate) account: Option<(String, PathBuf)>,
    /// Where the log is kept, instead of with the rest of the state.
    pub(crate) log: Option<PathBuf>,
    /// The least grave lines of the app that the console shows.
    pub(crate) level: Option<Severity>,
}

impl Wishes {
    /// Changes a service as it was read.
    pub(crate) fn apply(&self, service: &mut LoadedService) {
        let config = &mut service.config;
        let id = config.key.service.clone();
        if let Some(threadsafe) = self.threadsafe.of(&id) {
            config.threadsafe = threadsafe;
        }
        if let Some(most) = self.instances.of(&id) {
            limit(&mut config.scaling, most.max(1));
        }
        if config.entrypoint.is_none() && !config.runtime.is_first_generation() {
            config.entrypoint.clone_from(&self.entrypoint);
        }
        if self.all_files {
            config.skip_files = SkipFiles(Vec::new());
            for handler in &mut config.handlers {
                if let HandlerKind::Static(files) = &mut handler.kind {
                    files.application_readable = true;
                }
            }
        }
    }
}

/// Takes instances away, never gives any.
fn limit(scaling: &mut Scaling, most: u32) {
    match scaling {
        Scaling::Automatic(automatic) => {
            automatic.max_instances = Some(automatic.max_instances.map_or(most, |known| known.min(most)));
            automatic.min_instances = automatic.min_instances.min(most);
        }
        Scaling::Basic(basic) => basic.max_instances = basic.max_instances.min(most),
        Scaling::Manual(manual) => manual.instances = manual.instances.min(most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<u32> {
        text.parse().ok()
    }

    #[test]
    fn settings_are_of_all_services_or_of_some() {
        let id = |name: &str| name.parse::<ServiceId>().expect("a service");
        let all = Each::read("5", number).expect("read");
        assert_eq!((all.of(&id("default")), all.of(&id("api"))), (Some(5), Some(5)));
        let some = Each::read(":3,api:20", number).expect("read");
        assert_eq!((some.of(&id("default")), some.of(&id("api")), some.of(&id("b"))), (Some(3), Some(20), None));
        for bad in ["x", "api:x", "api:1,api:2", "A_:1"] {
            assert!(Each::read(bad, number).is_err(), "{bad}");
        }
    }

    #[test]
    fn instances_are_taken_away_and_never_given() {
        let limited = |mut scaling: Scaling| {
            limit(&mut scaling, 3);
            scaling
        };
        let manual = |instances| Scaling::Manual(model::scaling::Manual { instances });
        assert_eq!(limited(manual(9)), manual(3));
        assert_eq!(limited(manual(1)), manual(1));
        let Scaling::Automatic(automatic) = limited(Scaling::default()) else { panic!("automatic") };
        assert_eq!(automatic.max_instances, Some(3));
    }
}
