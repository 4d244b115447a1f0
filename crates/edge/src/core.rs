//! What one core owns: its clock, its idle connections to instances, its scratch memory and its source of ids. Nothing here is shared or locked.

use std::cell::{Cell, Ref, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};

use crate::assets::Desk;
use crate::draws::Draws;
use crate::forward::Idle;
use crate::gzip::Squeezer;
use crate::house::House;
use crate::link::Link;
use crate::sweep::Sweep;

/// One core.
pub(crate) struct Core {
    pub(crate) house: Arc<House>,
    pub(crate) sweep: Sweep,
    /// Where sockets are read into before anybody keeps the bytes.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) draws: Draws,
    pub(crate) idle: Idle,
    pub(crate) squeezer: Squeezer,
    pub(crate) desk: Desk,
    pub(crate) spare: Spare,
    links: RefCell<Vec<Weak<Link>>>,
    stamp: RefCell<Stamp>,
    pub(crate) draining: Cell<bool>,
}

/// What every answer says about itself (row H22), made once a second.
pub(crate) struct Stamp {
    /// Since 1970.
    pub(crate) seconds: u64,
    pub(crate) date: HeaderValue,
    /// Date and Server as they stand in an HTTP/1 head.
    pub(crate) lines: Vec<u8>,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { seconds: 0, date: HeaderValue::from_static(""), lines: Vec::new() }
    }
}

impl Stamp {
    fn new(seconds: u64, server: &HeaderValue) -> Self {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        let lines = [b"date: ", date.as_bytes(), b"\r\nserver: ", server.as_bytes(), b"\r\n"].concat();
        Self { seconds, date: HeaderValue::try_from(date).unwrap_or(HeaderValue::from_static("")), lines }
    }
}

/// Header maps that were used before, empty: making one takes two allocations.
#[derive(Default)]
pub(crate) struct Spare(RefCell<Vec<HeaderMap>>);

impl Spare {
    pub(crate) fn take(&self) -> HeaderMap {
        self.0.borrow_mut().pop().unwrap_or_else(|| HeaderMap::with_capacity(FIELDS))
    }

    /// Keeps a map that nobody needs any more, if it is neither too small nor too large to be of use.
    pub(crate) fn keep(&self, mut map: HeaderMap) {
        let mut maps = self.0.borrow_mut();
        if maps.len() < MAPS && (FIELDS..=4 * FIELDS).contains(&map.capacity()) {
            map.clear();
            maps.push(map);
        }
    }
}

/// Header fields that a spare map has room for, and spare maps of one core.
const FIELDS: usize = 24;
const MAPS: usize = 64;

/// Bytes that are read from a socket at once.
const SCRATCH: usize = 64 * 1024;

impl Core {
    pub(crate) fn new(house: Arc<House>) -> Rc<Self> {
        let step = house.options.timeouts.step();
        Rc::new(Self {
            sweep: Sweep::new(step),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            draws: Draws::new(),
            idle: Idle::default(),
            squeezer: Squeezer::default(),
            desk: Desk::default(),
            spare: Spare::default(),
            links: RefCell::default(),
            stamp: RefCell::default(),
            draining: Cell::new(false),
            house,
        })
    }

    /// What an answer of this time says about itself.
    pub(crate) fn stamp(&self, now: SystemTime) -> Ref<'_, Stamp> {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let known = self.stamp.borrow();
        if known.seconds == seconds && !known.lines.is_empty() {
            return known;
        }
        drop(known);
        self.stamp.replace(Stamp::new(seconds, &self.house.server));
        self.stamp.borrow()
    }

    /// Takes a connection under the sweep's eye.
    pub(crate) fn adopt(&self, link: &Rc<Link>) {
        self.sweep.watch(Rc::downgrade(link) as Weak<dyn crate::sweep::Swept>);
        self.links.borrow_mut().push(Rc::downgrade(link));
        if self.draining.get() {
            link.drain();
        }
    }

    /// Housekeeping, once a step.
    pub(crate) fn tidy(&self, now: u64) {
        self.links.borrow_mut().retain(|link| link.strong_count() > 0);
        self.idle.prune(now);
        self.desk.prune();
    }

    /// Asks every connection to close after its current response.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        let links: Vec<Rc<Link>> = self.links.borrow().iter().filter_map(Weak::upgrade).collect();
        for link in links {
            link.drain();
        }
    }

    /// Whether no connection is left.
    pub(crate) fn empty(&self) -> bool {
        self.links.borrow().iter().all(|link| link.strong_count() == 0)
    }
}
