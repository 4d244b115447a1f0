//! Random ids: quick ones for logs and traces, unguessable ones for tickets. One source a core, seeded by the operating system.

use std::cell::{Cell, RefCell};

use model::brief::hex_digits;

/// Hex digits that fit on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hex([u8; 32]);

impl Hex {
    /// All 128 bits of `value`.
    pub(crate) fn new(value: u128) -> Self {
        Self(hex_digits(value))
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The sources.
pub(crate) struct Draws {
    state: Cell<u128>,
    secret: RefCell<Secrets>,
}

struct Secrets {
    bytes: [u8; 512],
    used: usize,
}

impl Draws {
    pub(crate) fn new() -> Self {
        let mut seed = [0; 16];
        // Without the system's entropy ids would repeat between runs; they would still be unique within one.
        let _ = getrandom::fill(&mut seed);
        Self { state: Cell::new(u128::from_le_bytes(seed) | 1), secret: RefCell::new(Secrets { bytes: [0; 512], used: 512 }) }
    }

    /// 64 bits for ids that nobody must be unable to guess (a multiplicative generator over 128 bits, high half).
    fn next(&self) -> u128 {
        let state = self.state.get().wrapping_mul(0xda94_2042_e4dd_58b5);
        self.state.set(state);
        state >> 64
    }

    /// 64 random bits.
    pub(crate) fn number(&self) -> u64 {
        u64::try_from(self.next()).unwrap_or_default()
    }

    /// 128 bits for traces and request log ids.
    pub(crate) fn id(&self) -> u128 {
        (self.next() << 64) | self.next()
    }

    /// 128 bits that nobody can guess; drawn from the operating system 32 at a time. (aws-lc's own source takes 100 ms to warm up, which
    /// would be the first request's.)
    pub(crate) fn ticket(&self) -> u128 {
        let mut secret = self.secret.borrow_mut();
        if secret.used == secret.bytes.len() {
            // On failure the bytes stay zero, so the ticket opens nothing: no service issues the zero ticket.
            if getrandom::fill(&mut secret.bytes).is_err() {
                return 0;
            }
            secret.used = 0;
        }
        let at = secret.used;
        secret.used += 16;
        let mut ticket = [0; 16];
        ticket.copy_from_slice(&secret.bytes[at..at + 16]);
        secret.bytes[at..at + 16].fill(0);
        u128::from_le_bytes(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_differ() {
        assert_eq!(Hex::new(0xab).as_str(), "000000000000000000000000000000ab");
        let draws = Draws::new();
        let mut seen: Vec<u128> = (0..1000).flat_map(|_| [draws.id(), draws.ticket()]).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 2000);
    }
}
