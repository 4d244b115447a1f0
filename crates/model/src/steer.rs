//! What an app may change about its own versions from inside (rows M1–M4): the seam between the Modules API and whoever keeps the state.

use crate::ids::{AppId, VersionKey};
use crate::pool::Boxed;

/// Most instances that an app may give itself. Its owner may ask for more in app.yaml and through the Admin API.
pub const MOST_INSTANCES: u32 = 1_000;

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Manual scaling has so many instances from now on, 1 to [`MOST_INSTANCES`].
    Instances(u32),
    /// The version serves, or has no instances and refuses requests.
    Serving(bool),
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such version.
    #[error("there is no version {0}")]
    Missing(VersionKey),
    /// Its scaling does not allow it.
    #[error(
        "{0} has another kind of scaling: instances are set under manual scaling, and versions are started and stopped under basic and manual"
    )]
    Scaling(VersionKey),
    /// It is so already.
    #[error("{0} is in that state already")]
    Already(VersionKey),
    /// It cannot be written down now; to be tried again.
    #[error("the change cannot be made now: {0}")]
    NotNow(String),
}

/// Makes changes. The future resolves once the change is in force, or is certain to be.
pub trait Steer: Send + Sync {
    /// Makes one, in the app's own name.
    fn steer(&self, app: &AppId, version: &VersionKey, change: Change) -> Boxed<'static, Result<(), Refused>>;
}

impl Change {
    /// Whether a version may be changed so; `stopped` is how it is now.
    ///
    /// # Errors
    /// [`Refused::Scaling`] or [`Refused::Already`].
    pub fn check(self, key: &VersionKey, scaling: &crate::scaling::Scaling, stopped: bool) -> Result<(), Refused> {
        use crate::scaling::Scaling;
        match (self, scaling) {
            (Self::Instances(_), Scaling::Manual(_)) => Ok(()),
            (Self::Serving(serving), Scaling::Manual(_) | Scaling::Basic(_)) => {
                if serving == stopped {
                    Ok(())
                } else {
                    Err(Refused::Already(key.clone()))
                }
            }
            _ => Err(Refused::Scaling(key.clone())),
        }
    }
}
