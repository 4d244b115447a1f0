//! Tickets: a word that the front end gives with each request (`X-Appengine-Api-Ticket`), and that the app hands back with each call.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::rpc::Visit;

/// Calls may still be under way when the answer has been sent.
const GRACE: Duration = Duration::from_mins(1);
/// So many requests' tickets are kept in their grace; older ones end early.
const MOST_CLOSED: usize = 10_000;

/// The tickets of one instance. A ticket of another instance's request is none here.
#[derive(Debug, Default)]
pub struct Tickets {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<String, Arc<Visit>>,
    /// In the order in which they were closed.
    closed: VecDeque<(Instant, String)>,
}

impl Tickets {
    /// A request begins.
    pub fn open(&self, ticket: &str, visit: Visit) {
        self.state().open.insert(ticket.to_owned(), Arc::new(visit));
    }

    /// A request has been answered.
    pub fn close(&self, ticket: &str, now: Instant) {
        let mut state = self.state();
        state.closed.push_back((now, ticket.to_owned()));
        while state.closed.front().is_some_and(|(at, _)| now.duration_since(*at) > GRACE) || state.closed.len() > MOST_CLOSED {
            if let Some((_, old)) = state.closed.pop_front() {
                state.open.remove(&old);
            }
        }
    }

    /// The requests that have not been answered yet.
    pub fn under_way(&self) -> Vec<Arc<Visit>> {
        let state = self.state();
        let closed: HashSet<&str> = state.closed.iter().map(|(_, ticket)| ticket.as_str()).collect();
        state.open.iter().filter(|(ticket, _)| !closed.contains(ticket.as_str())).map(|(_, visit)| Arc::clone(visit)).collect()
    }

    /// The request of a ticket.
    pub fn find(&self, ticket: &str) -> Option<Arc<Visit>> {
        self.state().open.get(ticket).map(Arc::clone)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_outlives_its_request_for_a_while() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        tickets.open("a", Visit { log_id: "1".into(), ..Visit::default() });
        assert_eq!(tickets.find("a").map(|visit| visit.log_id.clone()), Some("1".into()));
        assert!(tickets.find("b").is_none(), "a forged ticket");
        tickets.close("a", now);
        assert!(tickets.find("a").is_some(), "calls under way may end");
        tickets.open("b", Visit::default());
        tickets.close("b", now + GRACE + Duration::from_secs(1));
        assert!(tickets.find("a").is_none() && tickets.find("b").is_some());
    }
}
