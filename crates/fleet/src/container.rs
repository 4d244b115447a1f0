//! `--isolation oci`: the same plan as a container of runc or crun.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sandbox::Plan;
use sandbox::oci::{self, Inside};

use crate::fleet::House;
use crate::launch::{CONTAINER, INIT};
use crate::spawn::Spec;
use crate::warden::MARK;

/// What has to be tidied up when the instance has ended.
#[derive(Debug)]
pub(crate) struct Container {
    runtime: PathBuf,
    state: PathBuf,
    bundle: PathBuf,
    id: String,
}

/// Writes the bundle and turns the order to start the command into one to start the runtime.
pub(crate) fn enclose(house: &House, runtime: PathBuf, mut spec: Spec, plan: &Plan, cgroup: Option<&str>) -> io::Result<(Spec, Container)> {
    let container = Container {
        runtime,
        state: house.run_dir.join("oci"),
        bundle: house.run_dir.join(format!("oci-{}", spec.mark)),
        id: format!("enginehouse-{}", spec.mark),
    };
    let mut args = vec![spec.program];
    args.append(&mut spec.args);
    spec.env.push((MARK.into(), spec.mark.clone().into()));
    // Not the link to it, which names another program inside.
    let init = std::fs::canonicalize(&house.options.launcher)?;
    let inside = Inside { args: &args, env: &spec.env, init: &init, role: INIT, cgroup };
    std::fs::create_dir_all(&container.bundle)?;
    oci::write(&container.bundle, plan, &inside)?;
    let mut env: Vec<_> =
        ["PATH", "HOME", "XDG_RUNTIME_DIR"].into_iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?))).collect();
    env.push((CONTAINER.into(), "1".into()));
    let run = [
        "--root".into(),
        container.state.clone().into(),
        "run".into(),
        "--preserve-fds".into(),
        "1".into(),
        "--bundle".into(),
        container.bundle.clone().into(),
    ];
    let args = run.into_iter().chain([container.id.clone().into()]).collect();
    let program = container.runtime.clone().into();
    Ok((Spec { program, args, env, dir: "/".into(), stdin: spec.stdin, mark: spec.mark, walls: None }, container))
}

impl Drop for Container {
    fn drop(&mut self) {
        // Nothing is left to delete if the runtime came to its own end.
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(&self.state).args(["delete", "--force", &self.id]);
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.bundle);
    }
}
