//! What a split is to become: shares as they are written, in thousandths, and the change in a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::By;
use crate::admin::output::percent;
use crate::client::{Failure, Outcome};
use crate::ui::{DIM, GREEN};

/// `VERSION` or `VERSION=SHARE`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    version: String,
    weight: Option<f64>,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((version, weight)) = text.split_once('=') else { return Ok(Self { version: text.to_owned(), weight: None }) };
        let number: f64 = weight.trim_end_matches('%').parse().map_err(|_| format!("`{weight}` is not a share; write {version}=60"))?;
        if !number.is_finite() || number <= 0.0 || number > 1e6 {
            return Err(format!("the share of {version} must be above 0; leave out versions that get nothing"));
        }
        Ok(Self { version: version.to_owned(), weight: Some(number) })
    }
}

/// Versions and their thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shares(BTreeMap<String, u16>);

impl Shares {
    /// Everything to one version.
    pub(super) fn all(version: &str) -> Self {
        Self(BTreeMap::from([(version.to_owned(), 1000)]))
    }

    /// What a resource with a `split` says.
    pub(super) fn of(resource: &Value) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares are fractions; a cast stays at the bounds")]
        let thousandths = |share: &Value| (share.as_f64().unwrap_or(0.0) * 1000.0).round() as u16;
        let allocations = resource["split"]["allocations"].as_object().into_iter().flatten();
        Self(allocations.map(|(version, share)| (version.clone(), thousandths(share))).collect())
    }

    /// What was asked: weights become parts of 1, as fine as `by` can have them; what rounding leaves goes to the largest.
    pub(super) fn asked(shares: &[Share], by: By) -> Outcome<Self> {
        let usage = |text: String| Err(Failure::Usage(text));
        let mut seen = BTreeSet::new();
        if let Some(twice) = shares.iter().find(|share| !seen.insert(&share.version)) {
            return usage(format!("{} is named twice", twice.version));
        }
        if let [Share { version, weight: None }] = shares {
            return Ok(Self::all(version));
        }
        let mut weights = Vec::new();
        for share in shares {
            let Some(weight) = share.weight else {
                return usage(format!("say how much {} gets: {}=20", share.version, share.version));
            };
            weights.push((share.version.clone(), weight));
        }
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let step = if by == By::Ip && weights.len() > 1 { 10 } else { 1 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1000")]
        let rounded = |weight: f64| ((weight / sum * 1000.0 / f64::from(step)).round() as u16) * step;
        let mut parts: BTreeMap<String, u16> = weights.iter().map(|(version, weight)| (version.clone(), rounded(*weight))).collect();
        if let Some((version, _)) = parts.iter().find(|(_, part)| **part == 0) {
            let finest = if step == 10 { "1 %; --by cookie can have 0.1 %" } else { "0.1 %" };
            return usage(format!("the share of {version} is too small: the least is {finest}"));
        }
        let largest = weights.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(version, _)| version.clone()).unwrap_or_default();
        let others: u16 = parts.iter().filter(|(version, _)| **version != largest).map(|(_, part)| part).sum();
        match 1000_u16.checked_sub(others).filter(|rest| *rest > 0) {
            Some(rest) => parts.insert(largest, rest),
            None => return usage("there are more versions than shares".to_owned()),
        };
        Ok(Self(parts))
    }

    /// The largest first.
    pub(super) fn sorted(&self) -> Vec<(&str, u16)> {
        let mut all: Vec<(&str, u16)> = self.0.iter().map(|(version, share)| (version.as_str(), *share)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all
    }

    /// Whether one version has everything.
    pub(super) fn is_one(&self) -> bool {
        self.0.len() == 1
    }

    /// As the API has it.
    pub(super) fn allocations(&self) -> Value {
        Value::Object(self.0.iter().map(|(version, share)| (version.clone(), (f64::from(*share) / 1000.0).into())).collect::<Map<_, _>>())
    }

    /// `v1 60 %, v2 40 %`
    pub(super) fn summary(&self) -> String {
        self.sorted().into_iter().map(|(version, share)| format!("{version} {}", shown(share))).collect::<Vec<_>>().join(", ")
    }
}

fn shown(thousandths: u16) -> String {
    percent(&(f64::from(thousandths) / 1000.0).into())
}

/// The change, version by version.
pub(super) fn text(service: &str, now: &Shares, then: &Shares, by: Option<By>) -> String {
    let by = by.filter(|_| !then.is_one()).map(|by| format!(", by {}", by.name().to_lowercase())).unwrap_or_default();
    let mut text = format!("The traffic of {service} is to change{by}:");
    let versions: BTreeSet<&String> = now.0.keys().chain(then.0.keys()).collect();
    let widest = versions.iter().map(|version| version.len()).max().unwrap_or(0);
    for version in versions {
        let share = |shares: &Shares| shares.0.get(version).copied().unwrap_or(0);
        let (old, new) = (share(now), share(then));
        let old_text = if old == 0 { "-".to_owned() } else { shown(old) };
        let new_text = if new == 0 { "-".to_owned() } else { shown(new) };
        let _ = if old == new {
            write!(text, "\n  {version:widest$}  {DIM}{old_text:>7} → {new_text}{DIM:#}")
        } else {
            write!(text, "\n  {version:widest$}  {old_text:>7} → {GREEN}{new_text}{GREEN:#}")
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(written: &[&str], by: By) -> Outcome<Shares> {
        let shares: Vec<Share> = written.iter().map(|text| text.parse().expect("a share")).collect();
        Shares::asked(&shares, by)
    }

    #[test]
    fn t1_weights_become_a_split_that_adds_up() {
        assert_eq!(asked(&["v1=60", "v2=20", "v3=20"], By::Ip).expect("a split").summary(), "v1 60 %, v2 20 %, v3 20 %");
        assert_eq!(asked(&["a=1", "b=7", "c=7"], By::Ip).expect("a split").allocations(), json!({"a": 0.07, "b": 0.47, "c": 0.46}));
        assert_eq!(asked(&["a=1", "b=2"], By::Cookie).expect("a split").allocations(), json!({"a": 0.333, "b": 0.667}));
        assert_eq!(asked(&["v1=.995", "v2=.005"], By::Cookie).expect("a split").summary(), "v1 99.5 %, v2 0.5 %");
        assert_eq!(asked(&["v1"], By::Ip).expect("a split").allocations(), json!({"v1": 1.0}));
    }

    #[test]
    fn t1_shares_that_cannot_be_are_refused() {
        for written in [&["a", "b=1"][..], &["a=1", "a=2"], &["a=999", "b=1"]] {
            assert!(matches!(asked(written, By::Ip), Err(Failure::Usage(_))), "{written:?}");
        }
        for bad in ["a=0", "a=-1", "a=x", "a=NaN", "a="] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    #[test]
    fn t1_the_plan_shows_what_changes() {
        let now = Shares::of(&json!({"split": {"allocations": {"v1": 1}}}));
        let then = asked(&["v1=60", "v2=40"], By::Ip).expect("a split");
        let plain = anstream::adapter::strip_str(&text("default", &now, &then, Some(By::Ip))).to_string();
        assert_eq!(plain, "The traffic of default is to change, by ip:\n  v1    100 % → 60 %\n  v2        - → 40 %");
    }
}
