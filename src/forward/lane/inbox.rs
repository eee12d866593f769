//! What other threads have for a lane: a bounded list, and a bell that is rung once until the lane has looked.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Order;
use super::flights::FlightId;
use crate::forward::exchange::AttemptId;
use crate::forward::streams::StreamFailure;
use crate::udp::events::Bell;

/// Orders that wait for one lane at most, but for those that several threads hand in at the same moment.
pub const INBOX_MAX: usize = 4096;

/// What waits for one lane.
pub(super) struct Inbox<W> {
    contents: Mutex<Contents<W>>,
    bell: Bell,
    /// How many orders wait, for those who only want to know whether there is room.
    orders: AtomicUsize,
    /// Times that the lane has woken.
    turns: AtomicU64,
}

/// What a lane takes out of its inbox at a time.
pub(super) struct Contents<W> {
    /// Questions to be asked; none where one has been taken.
    pub(super) orders: Vec<Option<Order<W>>>,
    /// What came of asking over streams.
    pub(super) streams: Vec<FromStream>,
    /// The lane is to answer what it has with failures and to end.
    pub(super) stop: bool,
}

/// What came of asking a target over a stream.
pub(super) struct FromStream {
    /// In whose flight.
    pub(super) flight: FlightId,
    /// By which of its attempts.
    pub(super) attempt: AttemptId,
    /// The message, or why there is none.
    pub(super) result: Result<Vec<u8>, StreamFailure>,
}

impl<W> Default for Contents<W> {
    fn default() -> Self {
        Self { orders: Vec::new(), streams: Vec::new(), stop: false }
    }
}

impl<W> Contents<W> {
    /// Whether the lane has nothing to look at.
    fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.streams.is_empty() && !self.stop
    }
}

impl<W> Inbox<W> {
    /// An empty inbox.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            contents: Mutex::default(),
            bell: Bell::new()?,
            orders: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
        })
    }

    /// The lane has woken; only the lane says so.
    pub(super) fn note_turn(&self) {
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How often the lane has woken.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The bell that says that something is here.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Whether there is room for one more order.
    pub(super) fn has_room(&self) -> bool {
        self.orders.load(Ordering::Relaxed) < INBOX_MAX
    }

    /// Hands in orders, whether there is room or not, and leaves the list empty.
    pub(super) fn put_orders(&self, orders: &mut Vec<Option<Order<W>>>) {
        self.put(|contents| {
            if contents.orders.is_empty() {
                std::mem::swap(&mut contents.orders, orders);
            } else {
                contents.orders.append(orders);
            }
            self.orders.store(contents.orders.len(), Ordering::Relaxed);
        });
    }

    /// Hands in what came of asking over a stream. There are as many of them at most as attempts over streams.
    pub(super) fn put_from_stream(&self, from_stream: FromStream) {
        self.put(|contents| contents.streams.push(from_stream));
    }

    /// Tells the lane to end.
    pub(super) fn put_stop(&self) {
        self.put(|contents| contents.stop = true);
    }

    /// Exchanges what is here for an empty one.
    pub(super) fn take(&self, for_it: &mut Contents<W>) {
        let mut contents = self.lock();
        std::mem::swap(&mut *contents, for_it);
        self.orders.store(contents.orders.len(), Ordering::Relaxed);
    }

    /// Puts something in, and rings if there was nothing before: else the bell has been rung and not yet been heard.
    fn put(&self, put: impl FnOnce(&mut Contents<W>)) {
        let mut contents = self.lock();
        let was_empty = contents.is_empty();
        put(&mut contents);
        drop(contents);
        if was_empty {
            self.bell.ring();
        }
    }

    /// The contents; lists stay whole whatever panics, so a poisoned lock is no reason to stop.
    fn lock(&self) -> MutexGuard<'_, Contents<W>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
