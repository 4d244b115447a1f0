//! Basic scaling (row Y30): instances start on demand, under the lowest number that is free.

use super::Start;
use crate::scaling::Basic;

/// What to start next: a number that somebody waits for, or the lowest free one if requests wait that nobody has room for.
pub(super) fn next(
    rule: &Basic,
    aimed: impl IntoIterator<Item = u32>,
    unserved: usize,
    taken: impl Fn(u32) -> bool,
) -> Option<(u32, Start)> {
    let free = |number: &u32| *number < rule.max_instances && !taken(*number);
    if let Some(number) = aimed.into_iter().find(free) {
        return Some((number, Start { why: format!("a request for instance {number} waits"), ahead: false }));
    }
    if unserved == 0 {
        return None;
    }
    let number = (0..rule.max_instances).find(|number| !taken(*number))?;
    let (noun, verb) = if unserved == 1 { ("request", "waits") } else { ("requests", "wait") };
    Some((number, Start { why: format!("{unserved} {noun} {verb} and no instance has room"), ahead: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(found: Option<(u32, Start)>) -> Option<u32> {
        found.map(|(number, _)| number)
    }

    #[test]
    fn y30_the_lowest_free_number_starts() {
        let rule = Basic { max_instances: 3, idle_timeout: std::time::Duration::from_mins(5) };
        assert_eq!(number(next(&rule, [], 0, |_| false)), None, "nobody waits");
        assert_eq!(number(next(&rule, [], 1, |number| number == 0)), Some(1));
        assert_eq!(number(next(&rule, [2], 1, |number| number == 0)), Some(2), "somebody waits for this one");
        assert_eq!(number(next(&rule, [7], 0, |_| false)), None, "there is none of this number");
        assert_eq!(number(next(&rule, [], 1, |_| true)), None, "max_instances");
    }
}
