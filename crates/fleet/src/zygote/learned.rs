//! What was learned about an app: which installed modules its instances import. Kept in the cache, so that the next run's first instance
//! finds them imported already.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::fleet::House;
use crate::pool::Deployment;
use crate::prepare::AgentLaunch;

/// An app with more is left to its own devices.
const MOST: usize = 10_000;

/// Names of modules and scripts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Learned {
    /// Of the environment, the SDK and the standard library, in the order of their import.
    pub(crate) modules: Vec<String>,
    /// Top names of the app's own: if a library has one of the same name, the two must not be mixed up.
    pub(crate) own: Vec<String>,
    /// WSGI objects that handlers name.
    pub(crate) scripts: Vec<String>,
}

impl Learned {
    /// What an instance reported. It is the app's word, so anything that is no name makes all of it worthless.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let learned: Self = serde_json::from_slice(payload).ok()?;
        let mut names = learned.modules.iter().chain(&learned.own).chain(&learned.scripts);
        let plain = |name: &String| !name.is_empty() && name.len() < 300 && !name.chars().any(char::is_control);
        let few = learned.modules.len() <= MOST && learned.own.len() <= MOST && learned.scripts.len() <= MOST;
        (few && names.all(plain)).then_some(learned)
    }

    /// Adds what another instance saw; whether there was anything.
    pub(crate) fn add(&mut self, other: Self) -> bool {
        let mut grown = false;
        for (mine, theirs) in [(&mut self.modules, other.modules), (&mut self.own, other.own), (&mut self.scripts, other.scripts)] {
            let known: std::collections::BTreeSet<String> = mine.iter().cloned().collect();
            let before = mine.len();
            mine.extend(theirs.into_iter().filter(|name| !known.contains(name)));
            grown |= mine.len() > before;
        }
        grown
    }
}

/// The file for this app in this environment: with other packages, what was learned is void.
pub(crate) fn file(house: &House, deployment: &Deployment, launch: &AgentLaunch) -> PathBuf {
    let mut hash = Context::new(&SHA256);
    let mut add = |part: &[u8]| {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    let places = [&launch.python, &launch.folder].into_iter().chain(&launch.paths);
    places.for_each(|path| add(path.as_os_str().as_encoded_bytes()));
    // Two apps may have one id: `demo` is everybody's.
    add(deployment.version.root.as_os_str().as_encoded_bytes());
    add(house.options.app.as_str().as_bytes());
    add(deployment.version.config.key.service.as_str().as_bytes());
    let name = model::brief::hex(&hash.finish().as_ref()[..12]);
    house.options.cache.join("learned").join(name + ".json")
}

/// What is known, which may be nothing.
pub(crate) fn load(file: &Path) -> Option<Learned> {
    Learned::parse(&std::fs::read(file).ok()?)
}

/// Best effort: without it the next run learns again.
pub(crate) fn store(file: &Path, learned: &Learned) -> io::Result<()> {
    std::fs::create_dir_all(file.parent().unwrap_or(file))?;
    let fresh = file.with_extension(format!("new-{}", std::process::id()));
    std::fs::write(&fresh, serde_json::to_vec(learned)?)?;
    std::fs::rename(fresh, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(modules: &[&str]) -> Learned {
        Learned { modules: modules.iter().map(|&name| name.to_owned()).collect(), ..Learned::default() }
    }

    #[test]
    fn reports_add_up_in_order() {
        let mut all = learned(&["os", "json"]);
        assert!(!all.add(learned(&["json", "os"])));
        assert!(all.add(learned(&["json", "flask"])));
        assert_eq!(all, learned(&["os", "json", "flask"]));
    }

    #[test]
    fn what_is_no_report_is_dropped() {
        for bad in ["", "[]", r#"{"modules":["a\u0000b"],"own":[],"scripts":[]}"#, r#"{"modules":[""],"own":[],"scripts":[]}"#] {
            assert_eq!(Learned::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Learned::parse(br#"{"modules":["os"],"own":[],"scripts":[]}"#), Some(learned(&["os"])));
    }
}
