//! One request from its head to the last byte of its answer. Dropping the visit is its end, whatever happened: the record is written and the
//! connection may rest.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use model::journal::{Entry, Request, Span, Tally};
use model::table::Version;
use model::trace::Place;

use crate::body::Aborted;
use crate::core::Core;
use crate::forward::Notes;
use crate::link::Link;
use crate::sweep::Alarm;

/// A request that is being served.
pub(crate) struct Visit {
    pub(crate) core: Rc<Core>,
    /// The connection; requests of the house's own have none.
    link: Option<Rc<Link>>,
    pub(crate) at: SystemTime,
    begun: Instant,
    /// What is written down; absent if nobody wants it.
    pub(crate) record: Option<Box<Request>>,
    bytes: u64,
    /// What is counted, whether a record is wanted or not.
    pub(crate) count: Count,
    /// What the app said besides its response.
    pub(crate) notes: Option<Rc<Notes>>,
    /// HTTP/2 only: rings when the client takes no more of the answer.
    pub(crate) stall: Option<Rc<Alarm>>,
}

/// What the counters want to know of a request.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) version: Option<Arc<Version>>,
    pub(crate) handler: Option<usize>,
    pub(crate) status: u16,
    /// Set once an instance was given.
    pub(crate) pending: Option<Duration>,
    pub(crate) cold: bool,
}

impl Visit {
    pub(crate) fn new(core: Rc<Core>, link: Option<Rc<Link>>, record: Option<Box<Request>>, begun: Instant, at: SystemTime) -> Self {
        Self { core, link, at, begun, record, bytes: 0, count: Count::default(), notes: None, stall: None }
    }

    /// The connection's own alarm, if nobody else has it.
    pub(crate) fn alarm(&self) -> Option<Rc<Alarm>> {
        self.link.as_ref()?.alarm(&self.core.sweep)
    }

    /// Time since the request began.
    pub(crate) fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Changes the record, if there is one.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Request)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }

    /// The place in a trace that is followed.
    pub(crate) fn place(&self) -> Option<Place> {
        self.record.as_ref()?.span.as_ref().map(|span| span.place)
    }

    /// Changes what the trace shows, if it is followed; the time since the request began is given.
    pub(crate) fn mark(&mut self, change: impl FnOnce(&mut Span, Duration)) {
        if let Some(span) = self.record.as_mut().and_then(|record| record.span.as_mut()) {
            change(span, self.begun.elapsed());
        }
    }

    /// Hears what the answer's body said.
    pub(crate) fn step(&mut self, polled: &Poll<Option<Result<Bytes, Aborted>>>) {
        match polled {
            Poll::Pending => {
                if let Some(stall) = &self.stall {
                    stall.set(None);
                }
            }
            Poll::Ready(Some(Ok(bytes))) => self.moved(bytes.len() as u64),
            Poll::Ready(Some(Err(Aborted(why)))) => self.note(|record| {
                record.fault.get_or_insert_with(|| (*why).to_owned());
            }),
            Poll::Ready(None) => {}
        }
    }

    /// So many bytes of the answer's body are on their way.
    pub(crate) fn moved(&mut self, length: u64) {
        self.bytes += length;
        if let Some(stall) = &self.stall {
            let most = crate::sweep::millis(self.core.house.options.timeouts.stall);
            stall.set(Some(self.core.sweep.now() + most));
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.end(self.core.sweep.now());
        }
        let took = self.begun.elapsed();
        let Count { version, handler, status, pending, cold } = &self.count;
        let (handler, status, pending, cold) = (*handler, *status, *pending, *cold);
        self.core.house.journal.tally(&Tally { version: version.as_ref(), handler, status, bytes: self.bytes, took, pending, cold });
        if let Some(mut record) = self.record.take() {
            record.took = took;
            record.bytes = self.bytes;
            if let Some(notes) = &self.notes {
                record.lines = notes.lines.take();
                record.cpu = notes.cpu.get();
                if let Some(fault) = notes.fault.take() {
                    record.fault = Some(fault);
                }
            }
            self.core.house.journal.write(Entry::Request(record));
        }
    }
}
