//! Running pip: as the user, with the user's own pip settings, in a session that ends with us.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::fleet::House;
use crate::prepare::PrepareError;
use crate::work::{self, Work};

/// Prints a folder or wheel whose `pip` can be run as a script by another interpreter of the same version, which is how pip bootstraps itself:
/// the installed one, or the one that ensurepip carries.
const LOCATE: &str = "\
import glob, os
try:
    import pip
    found = [os.path.dirname(os.path.abspath(pip.__file__))]
except ImportError:
    import ensurepip
    places = [os.path.join(os.path.dirname(ensurepip.__file__), '_bundled'), '/usr/share/python-wheels']
    found = [os.path.join(wheel, 'pip') for place in places for wheel in sorted(glob.glob(os.path.join(place, 'pip-*.whl')))]
print(found[-1])
";

/// Where pip is for `python`.
pub(crate) fn locate(house: &House, python: &Path) -> Result<PathBuf, PrepareError> {
    let missing = |_| {
        let python = python.display();
        PrepareError(format!(
            "packages must be installed, but {python} has no pip; install it (`apt install python3-pip python3-venv`, or `{python} -m ensurepip`), \
             or name another interpreter with --python PATH"
        ))
    };
    let mut last = String::new();
    let args = vec!["-c".into(), LOCATE.into()];
    run(house, python, args, Path::new("/"), &mut |line| line.clone_into(&mut last)).map_err(missing)?;
    Ok(PathBuf::from(last))
}

/// Runs `python` with `args` in `dir` and hands every line that it prints to `heard`. The error holds the last lines.
pub(crate) fn run(house: &House, python: &Path, args: Vec<OsString>, dir: &Path, heard: &mut dyn FnMut(&str)) -> Result<(), Vec<String>> {
    let work = Work { program: python, args, env: surroundings(python), dir, log: None };
    work::run(house, work, heard)
}

/// The house's own environment, in which the user's proxies, indexes and certificates are configured, less what would lead Python astray.
fn surroundings(python: &Path) -> Vec<(OsString, OsString)> {
    const ASTRAY: [&str; 6] = ["PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "VIRTUAL_ENV", "PYENV_VERSION"];
    let kept = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        !name.starts_with("PYTHON") && !ASTRAY.contains(&&*name)
    });
    let own =
        [("PYTHONUNBUFFERED", "1"), ("PIP_DISABLE_PIP_VERSION_CHECK", "1"), ("PIP_NO_INPUT", "1"), ("PIP_ROOT_USER_ACTION", "ignore")];
    // In a fresh virtual environment a setup.py finds no setuptools, so it must be given an environment of its own.
    let inside = python.parent().and_then(Path::parent).is_some_and(|home| home.join("pyvenv.cfg").is_file());
    let own = own.into_iter().chain(inside.then_some(("PIP_USE_PEP517", "1")));
    kept.chain(own.map(|(name, value)| (name.into(), value.into()))).collect()
}
