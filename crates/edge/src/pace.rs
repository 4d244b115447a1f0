//! When a core waits a moment before it looks at its sockets again.
//!
//! A turn of a core serves whatever arrived since the one before. If clients and instances share the machine with us, a quick core wakes for each
//! request that they send, and wakes them for each answer, one at a time; a core that looks a little later serves several in one turn and everybody
//! does more. Network cards moderate their interrupts for the same reason. Whether it helps cannot be known beforehand (with few clients it halves
//! what they get), so a busy core tries it: it waits in half of some stretches of ten milliseconds, and goes on waiting only if it served more in those.
//! Nothing here is done below 20,000 requests a second on one core (docs/decisions/282).

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// How long a core waits. The system's timers add some 50 µs of their own to the shortest sleep; a longer one gains no more.
const PAUSE: Duration = Duration::from_micros(1);

/// A turn that served fewer is not worth a pause (somebody may be waiting for this very answer); one that served more was large enough.
const WORTH: std::ops::Range<u32> = 2..24;

/// What is compared: so long with pauses, so long without.
const STRETCH: Duration = Duration::from_millis(10);

/// Requests a second, on one core, below which nobody gains by pauses.
const BUSY: u64 = 20_000;

/// Stretches of a trial, half of them with pauses. After each four it may be given up.
const STRETCHES: u8 = 16;

/// A trial must gain so much in a hundred, and is given up early if it loses so much.
const GAIN: u64 = 3;
const LOSS: u64 = 5;

/// What a trial found is believed for so long; each failure in a row doubles the time to the next trial.
const BELIEVED: Duration = Duration::from_secs(2);
const FIRST_DOUBT: Duration = Duration::from_millis(500);
const LONGEST_DOUBT: Duration = Duration::from_secs(16);

/// Decides after each turn. Time is given as what has passed since any fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    began: Duration,
    served: u64,
    state: State,
    /// No trial begins before, and how long the next failure is remembered.
    rest: Duration,
    doubt: Duration,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// No pauses.
    #[default]
    Prompt,
    Trial(Trial),
    /// Pauses, until the next trial.
    Paused {
        until: Duration,
    },
}

/// Stretches that ended, and requests a second without and with pauses, summed.
#[derive(Debug, Default, Clone, Copy)]
struct Trial {
    ended: u8,
    prompt: u64,
    paused: u64,
}

impl Trial {
    /// Whether the present stretch has pauses. A load that grows or shrinks meanwhile counts for both kinds alike.
    fn pauses(self) -> bool {
        matches!(self.ended % 4, 1 | 2)
    }

    /// A stretch with `rate` requests a second has ended.
    fn add(mut self, rate: u64) -> Self {
        *(if self.pauses() { &mut self.paused } else { &mut self.prompt }) += rate;
        self.ended += 1;
        self
    }

    fn is_over(self) -> bool {
        self.ended >= STRETCHES
    }

    fn failed(self) -> bool {
        let lost = self.ended.is_multiple_of(4) && 100 * self.paused < (100 - LOSS) * self.prompt;
        lost || (self.is_over() && 100 * self.paused < (100 + GAIN) * self.prompt)
    }
}

impl Pace {
    /// What follows a turn that ended `now` and served `requests`: how long the core waits.
    pub(crate) fn turn(&mut self, now: Duration, requests: u32) -> Option<Duration> {
        self.served += u64::from(requests);
        let took = now.saturating_sub(self.began);
        if took >= STRETCH {
            // A core that had nothing to do for so long is not busy, whatever came in the end.
            let rate = if took > 2 * STRETCH { 0 } else { rate(self.served, took) };
            self.state = self.after(rate, now);
            (self.began, self.served) = (now, 0);
        }
        let pauses = match self.state {
            State::Prompt => false,
            State::Trial(trial) => trial.pauses(),
            State::Paused { .. } => true,
        };
        (pauses && WORTH.contains(&requests)).then_some(PAUSE)
    }

    /// What a stretch with `rate` requests a second leads to.
    fn after(&mut self, rate: u64, now: Duration) -> State {
        let busy = rate >= BUSY;
        match self.state {
            State::Prompt if busy && now >= self.rest => State::Trial(Trial::default()),
            State::Trial(trial) => self.judge(trial.add(rate), busy, now),
            // Otherwise the load that this was found for is gone.
            State::Paused { until } if busy && now >= until => State::Trial(Trial::default()),
            State::Paused { until } if busy => State::Paused { until },
            State::Prompt | State::Paused { .. } => State::Prompt,
        }
    }

    fn judge(&mut self, trial: Trial, busy: bool, now: Duration) -> State {
        if !busy || trial.failed() {
            let doubt = self.doubt.max(FIRST_DOUBT);
            (self.rest, self.doubt) = (now + doubt, (2 * doubt).min(LONGEST_DOUBT));
            return State::Prompt;
        }
        if !trial.is_over() {
            return State::Trial(trial);
        }
        self.doubt = FIRST_DOUBT;
        State::Paused { until: now + BELIEVED }
    }
}

fn rate(requests: u64, took: Duration) -> u64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    requests.saturating_mul(1_000_000) / micros
}

thread_local! {
    static SERVED: Cell<u32> = const { Cell::new(0) };
    static PACE: RefCell<Option<(Instant, Pace)>> = const { RefCell::new(None) };
}

/// A request has begun on this core.
pub(crate) fn served() {
    SERVED.with(|served| served.set(served.get() + 1));
}

/// This core has nothing left to do but to look at its sockets.
pub(crate) fn rest() {
    let requests = SERVED.with(Cell::take);
    if requests == 0 {
        return;
    }
    let now = Instant::now();
    let pause = PACE.with_borrow_mut(|pace| {
        let (start, pace) = pace.get_or_insert_with(|| (now, Pace::default()));
        pace.turn(now.duration_since(*start), requests)
    });
    if let Some(pause) = pause {
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A core under a load that takes what it is given: `rate` says how many requests a second are served by turns after a pause or without one.
    struct World<R> {
        pace: Pace,
        now: Duration,
        waited: bool,
        rate: R,
    }

    impl<R: FnMut(bool) -> u64> World<R> {
        fn new(rate: R) -> Self {
            Self { pace: Pace::default(), now: Duration::from_secs(7), waited: false, rate }
        }

        /// Goes on for `span` in turns of eight requests; the share of that time, in a thousand, in which it paused.
        fn share(&mut self, span: Duration) -> u128 {
            let (end, mut paused) = (self.now + span, Duration::ZERO);
            while self.now < end {
                let took = Duration::from_nanos(8_000_000_000 / (self.rate)(self.waited));
                self.now += took;
                if self.waited {
                    paused += took;
                }
                self.waited = self.pace.turn(self.now, 8).is_some();
            }
            1_000 * paused.as_micros() / span.as_micros()
        }
    }

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_core_that_serves_more_with_pauses_goes_on_pausing() {
        let mut world = World::new(|waited| if waited { 53_000 } else { 50_000 });
        world.share(Duration::from_secs(1));
        let share = world.share(MINUTE);
        assert!(share > 950, "{share}");
    }

    #[test]
    fn a_core_that_serves_less_with_pauses_hardly_ever_does() {
        let mut world = World::new(|waited| if waited { 27_000 } else { 55_000 });
        let first = world.share(Duration::from_secs(1));
        assert!(first < 50, "{first}");
        let share = world.share(MINUTE);
        assert!(share < 5, "{share}");
    }

    #[test]
    fn what_makes_no_difference_is_left_alone() {
        let mut world = World::new(|_| 60_000);
        world.share(Duration::from_secs(1));
        let share = world.share(MINUTE);
        assert!(share < 15, "{share}");
    }

    #[test]
    fn a_load_that_changes_its_nature_is_tried_again() {
        let gains = Cell::new(true);
        let mut world = World::new(|waited| match (waited, gains.get()) {
            (false, _) => 50_000,
            (true, true) => 54_000,
            (true, false) => 30_000,
        });
        assert!(world.share(Duration::from_secs(2)) > 800);
        gains.set(false);
        world.share(BELIEVED);
        let share = world.share(MINUTE);
        assert!(share < 10, "{share}");
        gains.set(true);
        world.share(LONGEST_DOUBT);
        let share = world.share(MINUTE);
        assert!(share > 950, "{share}");
    }

    #[test]
    fn whoever_comes_after_a_busy_time_does_not_wait() {
        let mut world = World::new(|waited| if waited { 54_000 } else { 50_000 });
        assert!(world.share(Duration::from_secs(2)) > 800);
        let later = world.now + Duration::from_secs(1);
        assert_eq!(world.pace.turn(later, 2), None);
    }

    #[test]
    fn small_and_large_turns_are_not_followed_by_a_pause() {
        let mut world = World::new(|waited| if waited { 54_000 } else { 50_000 });
        assert!(world.share(Duration::from_secs(2)) > 800);
        let now = world.now;
        assert_eq!(world.pace.turn(now, 1), None);
        assert_eq!(world.pace.turn(now, 2), Some(PAUSE));
        assert_eq!(world.pace.turn(now, 23), Some(PAUSE));
        assert_eq!(world.pace.turn(now, 24), None);
    }

    proptest! {
        #[test]
        fn a_core_that_is_not_busy_never_pauses(turns in prop::collection::vec((1_u32..40, 60_u64..1_000), 1..4_000)) {
            let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
            for (requests, each) in turns {
                now += Duration::from_micros(each * u64::from(requests));
                prop_assert_eq!(pace.turn(now, requests), None);
            }
        }

        /// Whatever rates it meets, the time that trials take from a load that gains nothing stays small.
        #[test]
        fn trials_are_rare(rates in prop::collection::vec(20_000_u64..120_000, 8)) {
            let mut next = rates.iter().cycle();
            let mut turns = 0_u32;
            let mut rate = 0;
            let mut world = World::new(|waited| {
                if turns.is_multiple_of(20_000) {
                    rate = *next.next().unwrap_or(&20_000);
                }
                turns += 1;
                if waited { rate * 9 / 10 } else { rate }
            });
            world.share(Duration::from_secs(4));
            let share = world.share(MINUTE);
            prop_assert!(share < 80, "{}", share);
        }
    }
}
