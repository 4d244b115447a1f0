//! Traffic splitting: which share of a service's requests each of its versions takes (rows T1, T3–T5, T10).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::VersionId;

/// A whole split, in thousandths.
pub const WHOLE: u16 = 1000;

/// By what a request is given to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ShardBy {
    /// The client's address, in hundredths.
    Ip,
    /// The cookie `GOOGAPPUID`, in thousandths.
    Cookie,
    /// A draw for each request, in thousandths.
    Random,
}

/// Why allocations are no split; the texts are for the Admin API's answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Nothing would be served.
    #[error("The traffic split must give traffic to at least one version.")]
    Empty,
    /// A share outside (0, 1].
    #[error("The allocation of version `{0}` must be greater than 0 and at most 1.")]
    Share(VersionId),
    /// A share that cannot be kept exactly.
    #[error(
        "The allocation of version `{0}` has more than two decimals, which splitting by IP address cannot keep; three are possible by COOKIE."
    )]
    Precision(VersionId),
    /// The shares do not add up.
    #[error("The allocations must add up to 1; they are {0}.")]
    Sum(String),
}

/// A split that adds up. Versions stand in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficSplit {
    by: Option<ShardBy>,
    parts: BTreeMap<VersionId, u16>,
}

impl TrafficSplit {
    /// Everything to one version.
    pub fn all(version: VersionId) -> Self {
        Self { by: None, parts: BTreeMap::from([(version, WHOLE)]) }
    }

    /// A split of thousandths.
    ///
    /// # Errors
    /// If nothing is served, a share is 0 or too fine for `by`, or the sum is not 1000.
    pub fn new(by: Option<ShardBy>, parts: BTreeMap<VersionId, u16>) -> Result<Self, SplitError> {
        if parts.is_empty() {
            return Err(SplitError::Empty);
        }
        let mut sum = 0_u32;
        for (version, share) in &parts {
            if *share == 0 || *share > WHOLE {
                return Err(SplitError::Share(version.clone()));
            }
            if by == Some(ShardBy::Ip) && share % 10 != 0 {
                return Err(SplitError::Precision(version.clone()));
            }
            sum += u32::from(*share);
        }
        if sum == u32::from(WHOLE) { Ok(Self { by, parts }) } else { Err(SplitError::Sum(format!("{}", f64::from(sum) / 1000.0))) }
    }

    /// By what requests are given out; unset means that a split of several versions goes by a draw.
    pub fn by(&self) -> Option<ShardBy> {
        self.by
    }

    /// The versions with traffic and their thousandths.
    pub fn parts(&self) -> impl Iterator<Item = (&VersionId, u16)> {
        self.parts.iter().map(|(version, share)| (version, *share))
    }

    /// The thousandths of a version.
    pub fn share(&self, version: &str) -> u16 {
        self.parts.get(version).copied().unwrap_or(0)
    }

    /// The version that takes everything, if one does.
    pub fn only(&self) -> Option<&VersionId> {
        if self.parts.len() == 1 { self.parts.keys().next() } else { None }
    }

    /// The default version: the one with the largest share, among equals the first by name (reference/modules-api.md §3).
    pub fn main(&self) -> &VersionId {
        let largest = self.parts.iter().max_by(|(a, x), (b, y)| x.cmp(y).then(b.cmp(a)));
        largest.map(|(version, _)| version).expect("a split is never empty")
    }
}
