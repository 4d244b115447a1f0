//! Manual scaling (row Y31): every number runs, whether anybody asks or not.

use super::Start;
use crate::scaling::Manual;

/// What to start next: the lowest number that is free.
pub(super) fn next(rule: &Manual, taken: impl Fn(u32) -> bool) -> Option<(u32, Start)> {
    let number = (0..rule.instances).find(|number| !taken(*number))?;
    Some((number, Start { why: format!("manual_scaling, instances {}", rule.instances), ahead: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y31_every_number_runs() {
        let rule = Manual { instances: 2 };
        assert_eq!(next(&rule, |_| false).map(|(number, _)| number), Some(0));
        assert_eq!(next(&rule, |number| number == 0).map(|(number, _)| number), Some(1));
        assert_eq!(next(&rule, |_| true).map(|(number, _)| number), None);
    }
}
