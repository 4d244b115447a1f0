//! Landlock: the second wall around files, and the only one around ports. What the kernel cannot do is left out; the house has named it.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreated, RulesetCreatedAttr as _, Scope,
};

use crate::plan::Plan;
use crate::view::{self, Result};

/// The newest version of Landlock whose walls are used.
const NEWEST: ABI = ABI::V6;

/// What everybody may read where there is no root of the instance's own.
const READABLE: [&str; 13] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/etc", "/proc", "/sys", "/dev"];
/// Devices that may be written to.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Restricts this process, and all that come from it, for good.
pub(crate) fn restrict(plan: &Plan) -> Result<()> {
    attempt(plan).map_err(|error| format!("Landlock: {error}"))
}

fn attempt(plan: &Plan) -> std::result::Result<(), landlock::RulesetError> {
    let read = AccessFs::from_read(NEWEST);
    let all = AccessFs::from_all(NEWEST);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    if plan.walls.namespaces {
        rules = allow(rules, Path::new("/"), read)?;
        // Where one is not there, the others say the same.
        for path in ["/tmp", "/dev/shm", view::ABOVE_TEMPORARY] {
            rules = allow(rules, Path::new(path), all)?;
        }
    } else {
        for path in READABLE {
            rules = allow(rules, Path::new(path), read)?;
        }
    }
    for device in DEVICES {
        rules = allow(rules, Path::new(device), AccessFs::from_file(NEWEST))?;
    }
    for bind in &plan.binds {
        let path: &PathBuf = if plan.walls.namespaces { &bind.target } else { &bind.source };
        rules = allow(rules, path, if bind.writable { all } else { read })?;
    }
    if let Some(port) = plan.port {
        rules = rules.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    rules.restrict_self()?;
    Ok(())
}

/// What does not exist needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> std::result::Result<RulesetCreated, landlock::RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(opened, access))
}
