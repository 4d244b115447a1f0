//! May a request that got no answer be asked again, of another instance (docs/decisions/112-asking-again.md)?

use std::time::Duration;

use http::Method;

/// How far a request came that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No app has read it: nobody was reached, or the connection ended with the request unread.
    Nowhere,
    /// An app may have begun. Not a byte of its answer went on to the client.
    App,
}

/// How often one request was asked again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tries {
    nowhere: u32,
    app: u32,
}

/// Nobody has begun, so only a version that cannot be reached at all ends this. With the pauses some two seconds, in which the scheduler hears of any
/// death.
const NOWHERE: u32 = 10;
/// A request that kills instances must not kill them all.
const APP: u32 = 2;
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(500);

impl Tries {
    /// How long to wait before it is asked again; `None` if it is not.
    pub fn again(&mut self, reach: Reach, method: &Method) -> Option<Duration> {
        match reach {
            Reach::Nowhere => {
                self.nowhere += 1;
                // The first time at once: there may be another instance. Then the scheduler gets time to notice that this one is gone.
                let pause =
                    if self.nowhere == 1 { Duration::ZERO } else { PAUSE.saturating_mul(1 << (self.nowhere - 2).min(10)).min(LONGEST) };
                (self.nowhere <= NOWHERE).then_some(pause)
            }
            Reach::App => {
                self.app += 1;
                (self.app <= APP && is_idempotent(method)).then_some(Duration::ZERO)
            }
        }
    }
}

/// RFC 9110 §9.2.2.
pub fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE].contains(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_app_has_read_is_asked_again_whatever_its_method() {
        for method in [Method::GET, Method::POST, Method::PATCH] {
            let mut tries = Tries::default();
            let pauses: Vec<_> = std::iter::from_fn(|| tries.again(Reach::Nowhere, &method)).collect();
            assert_eq!(pauses.len(), 10);
            assert_eq!(pauses[..3], [Duration::ZERO, PAUSE, 2 * PAUSE]);
            let all: Duration = pauses.iter().sum();
            assert!(all > Duration::from_secs(1) && all < Duration::from_secs(5), "{all:?}");
        }
    }

    #[test]
    fn what_an_app_may_have_begun_is_asked_again_twice_if_that_does_no_harm() {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
            let mut tries = Tries::default();
            assert!(tries.again(Reach::App, &method).is_some() && tries.again(Reach::App, &method).is_some());
            assert_eq!(tries.again(Reach::App, &method), None);
            assert!(tries.again(Reach::Nowhere, &method).is_some(), "counted apart");
        }
        for method in [Method::POST, Method::PATCH, Method::CONNECT] {
            assert_eq!(Tries::default().again(Reach::App, &method), None);
        }
    }
}
