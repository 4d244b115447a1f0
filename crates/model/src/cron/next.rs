//! When a schedule is due next. Agrees with the SDK, daylight saving included: a time that a day skips does not fire on that day, a time that
//! comes twice fires twice.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::{Days, Schedule, Window};

/// How far to look for a day: the fifth weekday of a February comes every 28 years, every 40 around a century.
const YEARS: i16 = 60;

impl Schedule {
    /// The first time after `after`, in the time zone of the job. `None` if there is none within [`YEARS`] or before the end of time.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Interval { every, window } => {
                let every = i64::try_from(every.as_secs()).ok()?;
                match *window {
                    Window::Free => {
                        // Measured: counted from the last run, with the seconds cut off.
                        let next = after.as_second().checked_add(every)?;
                        Timestamp::from_second(next - next.rem_euclid(60)).ok()
                    }
                    Window::Synchronized => between(after, zone, every, 0, 23 * 60 + 59),
                    Window::Between(from, to) => between(after, zone, every, from, to),
                }
            }
            Self::Days { days, months, minute } => next_day(after, zone, days, months, *minute),
        }
    }
}

fn civil(date: Date, minute: u16) -> DateTime {
    let [hour, minute] = [minute / 60, minute % 60].map(|n| i8::try_from(n).unwrap_or(0));
    date.at(hour, minute, 0, 0)
}

/// The moment of a wall clock time: the earlier one if it comes twice, the end of the gap if it is skipped.
fn moment(date: Date, minute: u16, zone: &TimeZone) -> Option<Timestamp> {
    let mut wall = civil(date, minute);
    loop {
        match zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                return offset.to_timestamp(wall).ok();
            }
            AmbiguousOffset::Gap { .. } => wall = wall.checked_add(1.minute()).ok()?,
        }
    }
}

/// The last moment at or before `t` with this wall clock time.
fn previous(t: Timestamp, minute: u16, zone: &TimeZone) -> Option<Timestamp> {
    let mut date = zone.to_datetime(t).date();
    loop {
        match moment(date, minute, zone)? {
            found if found <= t => return Some(found),
            _ => date = date.yesterday().ok()?,
        }
    }
}

/// The first moment after `t` with this wall clock time.
fn following(t: Timestamp, minute: u16, zone: &TimeZone) -> Option<Timestamp> {
    let mut date = zone.to_datetime(t).date();
    loop {
        match moment(date, minute, zone)? {
            found if found > t => return Some(found),
            _ => date = date.tomorrow().ok()?,
        }
    }
}

fn between(after: Timestamp, zone: &TimeZone, every: i64, from: u16, to: u16) -> Option<Timestamp> {
    let in_range = |t: Timestamp| {
        let (start, end) = (previous(t, from, zone)?, previous(t, to, zone)?);
        Some(start > end || t == end)
    };
    let start = previous(after, from, zone)?;
    let passed = after.duration_since(start).as_secs();
    let runs = passed.checked_div(every)?.checked_add(1)?;
    let next = start.checked_add(SignedDuration::from_secs(runs.checked_mul(every)?)).ok()?;
    let restart = following(after, from, zone)?;
    Some(if in_range(after)? && in_range(next)? && next < restart { next } else { restart })
}

fn next_day(after: Timestamp, zone: &TimeZone, days: &Days, months: &[u8], minute: u16) -> Option<Timestamp> {
    let today = zone.to_datetime(after).date();
    for year in today.year()..=today.year().checked_add(YEARS)? {
        for &month in months {
            let first = Date::new(year, i8::try_from(month).ok()?, 1).ok()?;
            if first.last_of_month() < today {
                continue;
            }
            let due = matching(days, first).into_iter().filter(|date| *date >= today).find_map(|date| due(date, minute, zone, after));
            if due.is_some() {
                return due;
            }
        }
    }
    None
}

/// The days of a month that the schedule names, in order.
fn matching(days: &Days, first: Date) -> Vec<Date> {
    let numbers: Vec<i8> = match days {
        Days::OfMonth(days) => days.iter().filter_map(|day| i8::try_from(*day).ok()).collect(),
        Days::Weekdays { weekdays, ordinals } => {
            let start = first.weekday().to_sunday_zero_offset();
            let day = |weekday: u8, ordinal: u8| {
                let (weekday, ordinal) = (i8::try_from(weekday).ok()?, i8::try_from(ordinal).ok()?);
                Some((weekday - start).rem_euclid(7) + 1 + 7 * (ordinal - 1))
            };
            let mut found: Vec<i8> = ordinals.iter().flat_map(|&n| weekdays.iter().filter_map(move |&w| day(w, n))).collect();
            found.sort_unstable();
            found
        }
    };
    numbers.into_iter().filter_map(|day| Date::new(first.year(), first.month(), day).ok()).collect()
}

/// The first moment after `after` with this wall clock time on this day.
fn due(date: Date, minute: u16, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let wall = civil(date, minute);
    let offsets = match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => [offset, offset],
        AmbiguousOffset::Fold { before, after } => [before, after],
        AmbiguousOffset::Gap { .. } => return None,
    };
    offsets.into_iter().filter_map(|offset| offset.to_timestamp(wall).ok()).find(|found| *found > after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, after: &str, n: usize) -> String {
        let schedule = Schedule::parse(schedule).expect("valid");
        let zone = TimeZone::get(zone).expect("bundled");
        let mut at: Timestamp = after.parse().expect("valid");
        let mut found = Vec::new();
        for _ in 0..n {
            at = schedule.next_after(at, &zone).expect("due");
            found.push(at.to_string());
        }
        found.join(" ")
    }

    #[test]
    fn s2_a_skipped_hour_does_not_fire_and_a_doubled_one_fires_twice() {
        assert_eq!(next("every day 02:30", "Europe/Berlin", "2026-03-28T00:00:00Z", 2), "2026-03-28T01:30:00Z 2026-03-30T00:30:00Z");
        assert_eq!(next("every day 02:30", "Europe/Berlin", "2026-10-24T12:00:00Z", 2), "2026-10-25T00:30:00Z 2026-10-25T01:30:00Z");
    }

    #[test]
    fn s2_a_window_over_midnight() {
        assert_eq!(
            next("every 6 hours from 22:00 to 06:00", "UTC", "2026-01-01T21:00:00Z", 3),
            "2026-01-01T22:00:00Z 2026-01-02T04:00:00Z 2026-01-02T22:00:00Z"
        );
    }

    #[test]
    fn s2_the_end_of_time_is_no_panic() {
        let zone = TimeZone::UTC;
        for text in
            ["every 99999 hours", "every day 10:00", "29 of feb 12:00", "every 24 hours synchronized", "every 1 mins from 23:00 to 22:00"]
        {
            let schedule = Schedule::parse(text).expect("valid");
            schedule.next_after(Timestamp::MAX, &zone);
            schedule.next_after(Timestamp::MIN, &zone);
        }
    }
}
