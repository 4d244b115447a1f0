//! The language of `schedule:`: `every 5 minutes from 10:00 to 14:00`, `1st,third monday of sep,oct 17:00`. Lower case only, as with the SDK.

use std::ops::Range;
use std::time::Duration;

use super::{Days, Schedule, Window};

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    /// What is wrong, for people.
    pub message: String,
    /// The bytes of the schedule that are to blame.
    pub span: Range<usize>,
}

const WEEKDAYS: [[&str; 2]; 7] = [
    ["sun", "sunday"],
    ["mon", "monday"],
    ["tue", "tuesday"],
    ["wed", "wednesday"],
    ["thu", "thursday"],
    ["fri", "friday"],
    ["sat", "saturday"],
];

const MONTHS: [[&str; 2]; 12] = [
    ["jan", "january"],
    ["feb", "february"],
    ["mar", "march"],
    ["apr", "april"],
    ["may", "may"],
    ["jun", "june"],
    ["jul", "july"],
    ["aug", "august"],
    ["sep", "september"],
    ["oct", "october"],
    ["nov", "november"],
    ["dec", "december"],
];

const ORDINALS: [[&str; 2]; 5] = [["1st", "first"], ["2nd", "second"], ["3rd", "third"], ["4th", "fourth"], ["5th", "fifth"]];

/// Most days that each month has.
const LONGEST: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const DAY: u64 = 86_400;

type Result<T> = std::result::Result<T, ScheduleError>;

struct Tokens<'t> {
    words: Vec<(Range<usize>, &'t str)>,
    at: usize,
    end: usize,
}

impl<'t> Tokens<'t> {
    /// Splits at white space and around commas.
    fn new(text: &'t str) -> Self {
        let mut words = Vec::new();
        let mut start = None;
        for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
            let separator = c.is_whitespace() || c == ',';
            if let Some(from) = start.filter(|_| separator) {
                words.push((from..at, &text[from..at]));
                start = None;
            }
            if c == ',' {
                words.push((at..at + 1, ","));
            } else if !separator && start.is_none() {
                start = Some(at);
            }
        }
        Self { words, at: 0, end: text.len() }
    }

    fn peek(&self) -> Option<&'t str> {
        self.words.get(self.at).map(|(_, word)| *word)
    }

    fn next(&mut self) -> Option<&'t str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let hit = self.peek() == Some(word);
        self.at += usize::from(hit);
        hit
    }

    /// Refuses the word at hand.
    fn expected<T>(&self, what: &str) -> Result<T> {
        let (span, message) = match self.words.get(self.at) {
            Some((span, word)) => (span.clone(), format!("expected {what}, not `{word}`")),
            None => (self.end..self.end, format!("expected {what} at the end")),
        };
        Err(ScheduleError { message, span })
    }

    /// Refuses the word before.
    fn refused<T>(&self, message: impl Into<String>) -> Result<T> {
        let span = self.words.get(self.at.saturating_sub(1)).map_or(0..self.end, |(span, _)| span.clone());
        Err(ScheduleError { message: message.into(), span })
    }

    /// `name, name, …` out of a table; the numbers count from `first`.
    fn names(&mut self, table: &[[&str; 2]], first: u8, what: &str) -> Result<Vec<u8>> {
        let mut found = Vec::new();
        loop {
            let index = self.peek().and_then(|word| table.iter().position(|names| names.contains(&word)));
            let Some(index) = index.and_then(|index| u8::try_from(index).ok()) else { return self.expected(what) };
            self.at += 1;
            found.push(index + first);
            if !self.take(",") {
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
        }
    }

    /// `H:MM` or `HH:MM`, as the minute of the day.
    fn time(&mut self) -> Result<u16> {
        let minute = self.peek().and_then(|word| {
            let (hours, minutes) = word.split_once(':')?;
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            let fits = matches!(hours.len(), 1 | 2) && minutes.len() == 2 && digits(hours) && digits(minutes);
            let (hours, minutes) = fits.then(|| (hours.parse::<u16>().ok(), minutes.parse::<u16>().ok()))?;
            let (hours, minutes) = (hours.filter(|h| *h < 24)?, minutes.filter(|m| *m < 60)?);
            Some(hours * 60 + minutes)
        });
        match minute {
            Some(minute) => {
                self.at += 1;
                Ok(minute)
            }
            None => self.expected("a time such as `09:00`"),
        }
    }
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// If the text follows neither of the two forms, or no day or time could ever come up.
    pub fn parse(text: &str) -> Result<Self> {
        let mut tokens = Tokens::new(text);
        let schedule = read(&mut tokens)?;
        if tokens.peek().is_some() { tokens.expected("the end of the schedule") } else { Ok(schedule) }
    }
}

fn read(tokens: &mut Tokens<'_>) -> Result<Schedule> {
    let number = |word: Option<&str>| word.is_some_and(|word| word.bytes().all(|b| b.is_ascii_digit()));
    if number(tokens.peek()) {
        return month_days(tokens);
    }
    if tokens.take("every") {
        if number(tokens.peek()) {
            return interval(tokens);
        }
        return weekdays(tokens, vec![1, 2, 3, 4, 5]);
    }
    let ordinals = tokens.names(&ORDINALS, 1, "`every`, an ordinal such as `1st`, or a day of the month")?;
    weekdays(tokens, ordinals)
}

fn interval(tokens: &mut Tokens<'_>) -> Result<Schedule> {
    let Some(number) = tokens.next().filter(|word| word.len() <= 5).and_then(|word| word.parse::<u64>().ok()) else {
        return tokens.refused("the number is too large");
    };
    if number == 0 {
        return tokens.refused("the interval must be greater than zero");
    }
    let scale = match tokens.peek() {
        Some("hours") => 3_600,
        Some("mins" | "minutes") => 60,
        _ => return tokens.expected("`minutes` or `hours`"),
    };
    tokens.at += 1;
    let seconds = number * scale;
    let window = if tokens.take("synchronized") {
        if !DAY.is_multiple_of(seconds) {
            return tokens.refused("`synchronized` needs an interval that divides 24 hours evenly");
        }
        Window::Synchronized
    } else if tokens.take("from") {
        let from = tokens.time()?;
        if !tokens.take("to") {
            return tokens.expected("`to`");
        }
        Window::Between(from, tokens.time()?)
    } else {
        Window::Free
    };
    Ok(Schedule::Interval { every: Duration::from_secs(seconds), window })
}

fn weekdays(tokens: &mut Tokens<'_>, ordinals: Vec<u8>) -> Result<Schedule> {
    let weekdays = if tokens.take("day") { (0..7).collect() } else { tokens.names(&WEEKDAYS, 0, "`day` or a weekday")? };
    let months = if tokens.take("of") { months(tokens)? } else { (1..=12).collect() };
    Ok(Schedule::Days { days: Days::Weekdays { weekdays, ordinals }, months, minute: tokens.time()? })
}

fn months(tokens: &mut Tokens<'_>) -> Result<Vec<u8>> {
    if tokens.take("month") { Ok((1..=12).collect()) } else { tokens.names(&MONTHS, 1, "`month` or the name of a month") }
}

fn month_days(tokens: &mut Tokens<'_>) -> Result<Schedule> {
    let mut days = Vec::new();
    loop {
        let Some(word) = tokens.next() else { return tokens.expected("a day of the month") };
        match word.parse::<u8>() {
            Ok(day @ 1..=31) => days.push(day),
            _ => return tokens.refused(format!("`{word}` is not a day of the month")),
        }
        if !tokens.take(",") {
            break;
        }
    }
    days.sort_unstable();
    days.dedup();
    if !tokens.take("of") {
        return tokens.expected("`of`");
    }
    let months = months(tokens)?;
    if !months.iter().any(|month| days.iter().any(|day| *day <= LONGEST[usize::from(*month) - 1])) {
        return tokens.refused("no such day exists in these months");
    }
    Ok(Schedule::Days { days: Days::OfMonth(days), months, minute: tokens.time()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_schedules_read_into_what_they_mean() {
        assert_eq!(
            Schedule::parse("every 5 mins from 10:00 to 14:00"),
            Ok(Schedule::Interval { every: Duration::from_mins(5), window: Window::Between(600, 840) })
        );
        assert_eq!(
            Schedule::parse("1st, third mon,sunday of jan,december 9:05"),
            Ok(Schedule::Days { days: Days::Weekdays { weekdays: vec![0, 1], ordinals: vec![1, 3] }, months: vec![1, 12], minute: 545 })
        );
    }

    #[test]
    fn s2_broken_schedules_point_at_the_word() {
        for (text, message, span) in [
            ("every 5 minute", "expected `minutes` or `hours`, not `minute`", 8..14),
            ("every 5", "expected `minutes` or `hours` at the end", 7..7),
            ("Every day 09:00", "expected `every`, an ordinal such as `1st`, or a day of the month, not `Every`", 0..5),
            ("every 7 minutes synchronized", "`synchronized` needs an interval that divides 24 hours evenly", 16..28),
            ("30 of feb 12:00", "no such day exists in these months", 6..9),
            ("32 of month 12:00", "`32` is not a day of the month", 0..2),
            ("every day 09:00 UTC", "expected the end of the schedule, not `UTC`", 16..19),
            ("", "expected `every`, an ordinal such as `1st`, or a day of the month at the end", 0..0),
        ] {
            assert_eq!(Schedule::parse(text), Err(ScheduleError { message: message.into(), span }), "{text}");
        }
    }
}
