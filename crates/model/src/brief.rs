//! Short texts that are made for every request: on the stack, without an allocation and without the standard formatter.

use std::fmt;

/// Most bytes of a [`Brief`].
const ROOM: usize = 63;

/// A text of at most 63 bytes, all of them ASCII.
#[derive(Clone, Copy)]
pub struct Brief {
    bytes: [u8; ROOM],
    length: u8,
}

impl Default for Brief {
    fn default() -> Self {
        Self { bytes: [0; ROOM], length: 0 }
    }
}

impl fmt::Debug for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Brief {
    /// The decimal digits of `number`.
    pub fn of(number: u64) -> Self {
        let mut text = Self::default();
        text.number(number);
        text
    }

    /// Adds ASCII; what does not fit is left out.
    pub fn push(&mut self, more: &[u8]) {
        let from = usize::from(self.length);
        let more = &more[..more.len().min(ROOM - from)];
        self.bytes[from..from + more.len()].copy_from_slice(more);
        self.length += u8::try_from(more.len()).unwrap_or_default();
    }

    /// Adds decimal digits.
    pub fn number(&mut self, number: u64) {
        self.push(itoa::Buffer::new().format(number).as_bytes());
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

/// Both digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// All 32 hexadecimal digits of `number`.
pub fn hex_digits(number: u128) -> [u8; 32] {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&PAIRS[usize::from(byte)]);
    }
    text
}

/// Both hexadecimal digits of every byte, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| PAIRS[usize::from(*byte)]).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter() {
        for number in [0, 7, 10, 1024, u64::MAX] {
            assert_eq!(Brief::of(number).as_str(), number.to_string());
            let wide = u128::from(number) << 37 | 5;
            assert_eq!(std::str::from_utf8(&hex_digits(wide)).expect("ASCII"), format!("{wide:032x}"));
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut text = Brief::default();
        text.push(&[b'x'; 60]);
        text.number(123_456);
        assert_eq!(text.as_str(), format!("{}123", "x".repeat(60)));
        text.push(b"more");
        assert_eq!(text.bytes().len(), ROOM);
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(hex(&[0, 1, 0x7f, 0xa0, 0xff]), "00017fa0ff");
        assert_eq!(hex(&[]), "");
    }
}
