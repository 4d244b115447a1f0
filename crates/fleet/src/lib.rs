//! Instances as processes: interpreters, environments, and the shell around the pure scheduler. A crate of its own because it is a failure
//! boundary: it owns the child processes, and what goes wrong in them stays behind [`model::pool::Pool`].

mod build;
mod cache;
mod capacity;
mod container;
pub mod doctor;
mod fleet;
mod google;
pub mod launch;
mod life;
mod lifecycle;
mod memory;
mod meter;
mod names;
mod output;
mod pool;
pub mod prepare;
mod process;
mod process_env;
mod prune;
mod python;
mod report;
mod spawn;
mod stage;
mod tools;
mod walls;
mod warden;
mod work;
mod zygote;

pub use capacity::Capacity;
pub use fleet::{Fleet, Options, PythonChoice};
pub use google::AdminApi;
pub use prepare::{PrepareError, Prepared, Progress, Summary};
pub use report::{Step, Unready};
pub use sandbox::probe::{Report, State};
pub use stage::Staged;
pub use walls::{Isolation, Share, Survey};
pub use zygote::Preload;
