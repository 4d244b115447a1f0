//! One byte range (RFC 9110 §14.1.2).

/// A range as the client asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=1-4`, both ends inclusive.
    Between(u64, u64),
    /// `bytes=5-`
    From(u64),
    /// `bytes=-3`: the last three bytes.
    Last(u64),
}

impl ByteRange {
    /// Reads a Range header with one range. `None` for anything else, several ranges included: such a header is ignored, and the whole file is a
    /// right answer to it (RFC 9110 §14.2).
    pub fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        match (first.trim_end(), last.trim_start()) {
            ("", "") => None,
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// The bytes of a body of `length` that are meant, end exclusive; `None` if there are none (416).
    pub fn within(self, length: u64) -> Option<(u64, u64)> {
        let (start, end) = match self {
            Self::Between(first, last) => (first, last.saturating_add(1).min(length)),
            Self::From(first) => (first, length),
            Self::Last(count) => (length.saturating_sub(count), length),
        };
        (start < end).then_some((start, end))
    }
}

/// Digits only; what does not fit is more than any file has.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y14_ranges() {
        use ByteRange::{Between, From, Last};
        for (text, want) in [
            ("bytes=1-4", Some(Between(1, 4))),
            ("bytes=0-0", Some(Between(0, 0))),
            ("Bytes = 2-", Some(From(2))),
            ("bytes=-3", Some(Last(3))),
            ("bytes=0-99999999999999999999999", Some(Between(0, u64::MAX))),
            ("bytes=4-1", None),
            ("bytes=-", None),
            ("bytes=1", None),
            ("bytes=0-1,3-4", None),
            ("bytes=+1-4", None),
            ("items=1-4", None),
            ("bytes", None),
        ] {
            assert_eq!(ByteRange::parse(text), want, "{text}");
        }
        assert_eq!(Between(1, 4).within(6), Some((1, 5)));
        assert_eq!(Between(1, u64::MAX).within(6), Some((1, 6)));
        assert_eq!(From(6).within(6), None);
        assert_eq!(Last(9).within(6), Some((0, 6)));
        assert_eq!(Last(0).within(6), None);
        assert_eq!(Last(1).within(0), None);
    }
}
