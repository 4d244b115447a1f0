//! Traffic splitting: which share of a service's requests each of its versions takes (rows T1, T3–T5, T10).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

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
    /// A stored split whose buckets are not those of its shares.
    #[error("The buckets of the traffic split do not go with its allocations.")]
    Buckets,
}

/// A split that adds up. Versions stand in the order of their ids.
///
/// Every client falls into one of 1000 buckets ([`crate::route::split`]), and a split of several versions says whose each bucket is. Which buckets a
/// version has depends on the splits before ([`Self::change_to`]), so that a change moves the fewest clients that it can; a split that is written down
/// keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct TrafficSplit {
    by: Option<ShardBy>,
    parts: BTreeMap<VersionId, u16>,
    /// Absent for a single version.
    buckets: Option<Arc<Buckets>>,
}

/// Whose each bucket is.
#[derive(Clone, PartialEq, Eq)]
struct Buckets {
    /// The versions in the order of their ids.
    versions: Vec<VersionId>,
    /// A place in `versions` for each bucket.
    owners: [u16; WHOLE as usize],
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.runs()).finish()
    }
}

/// A split as it is written down.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<ShardBy>,
    parts: BTreeMap<VersionId, u16>,
    /// The buckets from 0 on: a version, and how many in a row are its. Left out where the versions stand one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    buckets: Vec<(VersionId, u16)>,
}

impl TrafficSplit {
    /// Everything to one version.
    pub fn all(version: VersionId) -> Self {
        Self { by: None, parts: BTreeMap::from([(version, WHOLE)]), buckets: None }
    }

    /// A split of thousandths. Where another one is in force, [`Self::change_to`] says how to get from there to here.
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
        if sum != u32::from(WHOLE) {
            return Err(SplitError::Sum(format!("{}", f64::from(sum) / 1000.0)));
        }
        let buckets = (parts.len() > 1).then(|| Arc::new(Buckets::in_order(&parts)));
        Ok(Self { by, parts, buckets })
    }

    /// `asked`, with as many clients as possible at the version that they have now: exactly those move whose version's share shrinks, and no more of
    /// them than it shrinks by.
    #[must_use]
    pub fn change_to(&self, asked: Self) -> Self {
        if asked.parts.len() == 1 {
            return asked;
        }
        let before = self.buckets.clone().unwrap_or_else(|| Arc::new(Buckets::in_order(&self.parts)));
        let buckets = Some(Arc::new(before.moved_to(&asked.parts)));
        Self { buckets, ..asked }
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

    /// Whether the versions have the same shares by the same means, whichever their buckets are.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.by == other.by && self.parts == other.parts
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

    /// Whose `bucket` is; buckets from [`WHOLE`] on do not exist and are taken for the last one.
    pub fn owner(&self, bucket: u16) -> &VersionId {
        let Some(buckets) = &self.buckets else { return self.main() };
        let owner = buckets.owners[usize::from(bucket.min(WHOLE - 1))];
        buckets.versions.get(usize::from(owner)).unwrap_or_else(|| self.main())
    }

    /// The buckets in order: from which to which, and whose they are.
    pub fn ranges(&self) -> Vec<(RangeInclusive<u16>, &VersionId)> {
        let Some(buckets) = &self.buckets else { return vec![(0..=WHOLE - 1, self.main())] };
        let mut from = 0;
        let range = |(version, length): (_, u16)| {
            let range = from..=from + length - 1;
            from += length;
            (range, version)
        };
        buckets.runs().map(range).collect()
    }
}

impl Buckets {
    /// One version after the other, in the order of their ids.
    fn in_order(parts: &BTreeMap<VersionId, u16>) -> Self {
        Self::filled(parts, &mut parts.values().copied().collect::<Vec<_>>(), |_| None)
    }

    /// Each bucket stays where it is as long as its owner's new share lasts; what is left over goes to those who miss some.
    fn moved_to(&self, parts: &BTreeMap<VersionId, u16>) -> Self {
        let places: Vec<Option<u16>> =
            self.versions.iter().map(|old| parts.keys().position(|new| new == old).and_then(|place| place.try_into().ok())).collect();
        let mut missing: Vec<u16> = parts.values().copied().collect();
        let mut kept = [None; WHOLE as usize];
        for (kept, owner) in kept.iter_mut().zip(&self.owners) {
            let place = places.get(usize::from(*owner)).copied().flatten();
            *kept = place.filter(|place| {
                let left = &mut missing[usize::from(*place)];
                let stays = *left > 0;
                *left = left.saturating_sub(1);
                stays
            });
        }
        Self::filled(parts, &mut missing, |bucket| kept[bucket])
    }

    /// The buckets that nobody `kept` go to the versions that are `missing` some, in order.
    fn filled(parts: &BTreeMap<VersionId, u16>, missing: &mut [u16], kept: impl Fn(usize) -> Option<u16>) -> Self {
        let mut place = 0;
        let mut owners = [0; WHOLE as usize];
        for (bucket, owner) in owners.iter_mut().enumerate() {
            *owner = kept(bucket).unwrap_or_else(|| {
                while missing.get(usize::from(place)) == Some(&0) {
                    place += 1;
                }
                if let Some(missing) = missing.get_mut(usize::from(place)) {
                    *missing -= 1;
                }
                place
            });
        }
        Self { versions: parts.keys().cloned().collect(), owners }
    }

    /// Versions and how many buckets in a row are theirs.
    fn runs(&self) -> impl Iterator<Item = (&VersionId, u16)> {
        self.owners.chunk_by(|a, b| a == b).filter_map(|run| {
            let length = u16::try_from(run.len()).ok()?;
            Some((self.versions.get(usize::from(run[0]))?, length))
        })
    }

    /// What [`Self::runs`] gave; `None` if the runs are not those of `parts`.
    fn of_runs(parts: &BTreeMap<VersionId, u16>, runs: &[(VersionId, u16)]) -> Option<Self> {
        let mut missing: Vec<u16> = parts.values().copied().collect();
        let mut owners = [0; WHOLE as usize];
        let mut from = 0;
        for (version, length) in runs {
            let place = parts.keys().position(|known| known == version)?;
            missing[place] = missing[place].checked_sub(*length)?;
            let to = from + usize::from(*length);
            owners.get_mut(from..to)?.fill(u16::try_from(place).ok()?);
            from = to;
        }
        missing.iter().all(|left| *left == 0).then(|| Self { versions: parts.keys().cloned().collect(), owners })
    }
}

impl From<TrafficSplit> for Stored {
    fn from(split: TrafficSplit) -> Self {
        let told = split.buckets.as_ref().filter(|buckets| ***buckets != Buckets::in_order(&split.parts));
        let buckets = told.map_or_else(Vec::new, |buckets| buckets.runs().map(|(version, length)| (version.clone(), length)).collect());
        Self { by: split.by, parts: split.parts, buckets }
    }
}

impl TryFrom<Stored> for TrafficSplit {
    type Error = SplitError;
    fn try_from(stored: Stored) -> Result<Self, SplitError> {
        let split = Self::new(stored.by, stored.parts)?;
        if stored.buckets.is_empty() || split.buckets.is_none() {
            return Ok(split);
        }
        let buckets = Buckets::of_runs(&split.parts, &stored.buckets).ok_or(SplitError::Buckets)?;
        Ok(Self { buckets: Some(Arc::new(buckets)), ..split })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> VersionId {
        text.parse().expect("a name")
    }

    fn split(by: ShardBy, parts: &[(&str, u16)]) -> TrafficSplit {
        let parts = parts.iter().map(|(version, share)| (id(version), *share)).collect();
        TrafficSplit::new(Some(by), parts).expect("a split")
    }

    /// Buckets that `after` gives to another version.
    fn moved(before: &TrafficSplit, after: &TrafficSplit) -> usize {
        (0..WHOLE).filter(|bucket| before.owner(*bucket) != after.owner(*bucket)).count()
    }

    /// No change can move fewer: what versions lose, somebody else must get.
    fn least(before: &TrafficSplit, after: &TrafficSplit) -> usize {
        before.parts().map(|(version, share)| usize::from(share.saturating_sub(after.share(version.as_str())))).sum()
    }

    #[test]
    fn t4_shares_are_kept_to_the_thousandth() {
        let split = split(ShardBy::Cookie, &[("v1", 600), ("v2", 201), ("v3", 199)]);
        for (version, share) in split.parts() {
            assert_eq!((0..WHOLE).filter(|bucket| split.owner(*bucket) == version).count(), usize::from(share));
        }
        assert_eq!(split.ranges(), [(0..=599, &id("v1")), (600..=800, &id("v2")), (801..=999, &id("v3"))]);
        assert_eq!(TrafficSplit::all(id("v1")).ranges(), [(0..=999, &id("v1"))]);
        assert_eq!(TrafficSplit::all(id("v1")).owner(7).as_str(), "v1");
    }

    #[test]
    fn t4_what_is_no_split_is_refused() {
        let new =
            |by, parts: &[(&str, u16)]| TrafficSplit::new(by, parts.iter().map(|(v, n)| (id(v), *n)).collect()).expect_err("no split");
        assert_eq!(new(None, &[]), SplitError::Empty);
        assert_eq!(new(None, &[("a", 0), ("b", 1000)]), SplitError::Share(id("a")));
        assert_eq!(new(None, &[("a", 500), ("b", 499)]), SplitError::Sum("0.999".into()));
        assert_eq!(new(Some(ShardBy::Ip), &[("a", 501), ("b", 499)]), SplitError::Precision(id("a")));
    }

    #[test]
    fn t10_a_split_is_written_down_briefly_and_with_its_buckets() {
        let plain = split(ShardBy::Ip, &[("v1", 600), ("v2", 400)]);
        let text = serde_json::to_string(&plain).expect("writes");
        assert_eq!(text, r#"{"by":"IP","parts":{"v1":600,"v2":400}}"#);
        let changed = plain.change_to(split(ShardBy::Ip, &[("v1", 500), ("v0", 500)]));
        let text = serde_json::to_string(&changed).expect("writes");
        assert_eq!(text, r#"{"by":"IP","parts":{"v0":500,"v1":500},"buckets":[["v1",500],["v0",500]]}"#);
        assert_eq!(serde_json::from_str::<TrafficSplit>(&text).expect("reads"), changed);
        for bad in [
            r#"{"parts":{"v1":600,"v2":400},"buckets":[["v1",600]]}"#,
            r#"{"parts":{"v1":600,"v2":400},"buckets":[["v1",601],["v2",399]]}"#,
            r#"{"parts":{"v1":600,"v2":400},"buckets":[["v1",600],["v3",400]]}"#,
            r#"{"parts":{"v1":600,"v2":500}}"#,
            r#"{"parts":{}}"#,
        ] {
            assert!(serde_json::from_str::<TrafficSplit>(bad).is_err(), "{bad}");
        }
    }

    /// Shares of some of six versions.
    fn any_split() -> impl Strategy<Value = TrafficSplit> {
        (proptest::collection::btree_map(0_u8..6, 1_u16..400, 1..6), any::<bool>())
            .prop_map(|(weights, by_ip)| {
                let step: u16 = if by_ip { 10 } else { 1 };
                let whole: u32 = weights.values().map(|weight| u32::from(*weight)).sum();
                let mut left = WHOLE;
                let mut parts = BTreeMap::new();
                for (version, weight) in &weights {
                    let share = u16::try_from(u32::from(*weight) * u32::from(WHOLE) / whole).expect("small") / step * step;
                    parts.insert(id(&format!("v{version}")), share.max(step));
                    left = left.saturating_sub(share.max(step));
                }
                if let Some(largest) = parts.values_mut().max() {
                    *largest += left;
                }
                let by = if by_ip { ShardBy::Ip } else { ShardBy::Cookie };
                TrafficSplit::new(Some(by), parts)
            })
            .prop_filter_map("rounding made too much of it", Result::ok)
    }

    proptest! {
        #[test]
        fn t10_no_change_moves_more_clients_than_it_must(splits in proptest::collection::vec(any_split(), 2..8)) {
            let mut now = splits[0].clone();
            for asked in splits {
                let next = now.change_to(asked.clone());
                prop_assert!(next.says_the_same(&asked));
                prop_assert_eq!(moved(&now, &next), least(&now, &next));
                for (version, share) in next.parts() {
                    prop_assert_eq!((0..WHOLE).filter(|bucket| next.owner(*bucket) == version).count(), usize::from(share));
                }
                // Who moves, moves to a version that gains.
                for bucket in (0..WHOLE).filter(|bucket| now.owner(*bucket) != next.owner(*bucket)) {
                    let to = next.owner(bucket).as_str();
                    prop_assert!(next.share(to) > now.share(to));
                }
                let text = serde_json::to_string(&next).expect("writes");
                prop_assert_eq!(&serde_json::from_str::<TrafficSplit>(&text).expect("reads"), &next);
                now = next;
            }
        }
    }
}
