//! Lanes: plain threads that own sockets, timers and the questions in flight. Everything that is asked over UDP happens
//! here, a batch at a time.
//!
//! ```text
//! other threads ── Order ──> inbox ─┐                                  ┌─> sockets    sendmmsg, one a turn and target
//!                                   ├─> turn: flights, each with its ──┼─> streams    on tokio, back through the inbox
//! epoll ── datagrams, ICMP, time ───┘         exchange                 └─> cache, then the audience, told and flushed
//! ```
//!
//! A question's hash picks its lane, so that identical questions meet: they are asked once (RFC 5452 section 5). A lane
//! sleeps until something happens; with nothing in flight and no socket open it sleeps for good.

mod contexts;
mod flights;
mod ids;
mod inbox;
mod sockets;
mod timers;
mod turn;

use std::io;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::cache::{CacheKey, Lookups, entry_hash};
use super::clock::Clock;
use super::loops::LoopProbe;
use super::streams::StreamTargets;
use super::{Ask, ContextId, Forwarder, Millis, Outcome};
use crate::dns::{Class, Rtype, TargetGroup};
use flights::{Waiting, Wanted};
pub use inbox::INBOX_MAX;
use inbox::Inbox;
pub(super) use sockets::SocketBudget;
pub use sockets::{GIVEN_UP_MAX, SOCKET_SECONDS_MAX, SOCKET_STRAYS_MAX, SOCKET_USES_MAX, SOCKETS_PER_TARGET};
use turn::Lane;
pub use turn::{CLIENT_PATIENCE_MILLIS, QUERY_MILLIS_MAX};

/// Those who wait for outcomes, in the words of whoever knows them. Each lane has one, on its own thread.
pub trait Audience {
    /// One who waits.
    type Waiter: Send + 'static;

    /// Tells one who waited. It may hand in further orders, but not wait for anything.
    fn tell(&mut self, waiter: Self::Waiter, outcome: &Outcome, now: Millis);

    /// Tells one whose question goes on being asked. What comes back holds whatever the waiter was given so that it might be
    /// asked, its place among the questions in flight, and is told when that is over; none if there is nothing to hold.
    fn tell_early(&mut self, waiter: Self::Waiter, outcome: &Outcome, now: Millis) -> Option<Self::Waiter> {
        self.tell(waiter, outcome, now);
        None
    }

    /// The end of a turn: whatever was collected is to leave now.
    fn flush(&mut self);

    /// By which way a question came, for a line of the log.
    fn way_of(&self, waiter: &Self::Waiter) -> String;
}

/// A question, and the hash of its name, which is computed once: by it a lane is chosen, the question is found among
/// those in flight, and its reply is put into the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    name_hash: u64,
    key: CacheKey,
}

/// A question to be asked, and who wants to know.
pub struct Order<W> {
    question: Question,
    group: Arc<TargetGroup>,
    wanted: Wanted<W>,
}

impl<W> Order<W> {
    /// For a client, whose address shows whether it is itself being asked. It is told within [`QUERY_MILLIS_MAX`] of the
    /// arrival of its query, whatever was asked for that query before.
    pub fn new(question: Question, group: &Arc<TargetGroup>, client: IpAddr, arrived: Millis, waiter: W) -> Self {
        let waiting = Waiting { waiter, client, until: arrived.plus(QUERY_MILLIS_MAX) };
        Self { question, group: Arc::clone(group), wanted: Wanted::By(waiting) }
    }

    /// For the cache: nobody waits. `holder` is told when it is over, whatever came of it, and holds until then whatever
    /// asking takes.
    pub fn for_cache(question: Question, group: &Arc<TargetGroup>, holder: Option<W>) -> Self {
        Self { question, group: Arc::clone(group), wanted: Wanted::ByCache(holder) }
    }
}

/// The way to all lanes. Clones share everything.
pub struct Lanes<W>(Arc<Shared<W>>);

/// What all clones share.
struct Shared<W> {
    forwarder: Forwarder,
    inboxes: Box<[Inbox<W>]>,
}

impl<W> Clone for Lanes<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Orders that are handed in together, a list for each lane.
pub struct Orders<W>(Box<[Vec<Option<Order<W>>>]>);

impl<W> Orders<W> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What lanes need besides what they share with their forwarder.
pub struct LaneSetup {
    /// The way to targets over streams.
    pub streams: StreamTargets,
    /// The clock of everything that uses the same cache.
    pub clock: Clock,
}

/// Lanes that run.
pub struct LaneThreads<W> {
    lanes: Lanes<W>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Send + 'static> Lanes<W> {
    /// That many lanes for a forwarder. Nothing is asked before they are started.
    pub fn new(forwarder: &Forwarder, count: NonZeroUsize) -> io::Result<Self> {
        let inboxes = (0..count.get()).map(|_| Inbox::new()).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Shared { forwarder: forwarder.clone(), inboxes })))
    }

    /// Starts the threads; each makes its own audience.
    pub fn start<A>(&self, setup: &LaneSetup, mut audience: impl FnMut(usize) -> A) -> io::Result<LaneThreads<W>>
    where
        A: Audience<Waiter = W> + Send + 'static,
    {
        let mut started = LaneThreads { lanes: self.clone(), threads: Vec::new() };
        for index in 0..self.0.inboxes.len() {
            let (lanes, audience) = (self.clone(), audience(index));
            let lane = Lane::new(lanes, index, audience, setup.streams.clone(), setup.clock)?;
            let thread = std::thread::Builder::new().name(format!("lane-{index}")).spawn(move || lane.run())?;
            started.threads.push(thread);
        }
        Ok(started)
    }

    /// How many lanes there are.
    pub fn count(&self) -> usize {
        self.0.inboxes.len()
    }

    /// Wakes every lane: one that is well has made a turn a moment later.
    pub fn ring(&self) {
        self.0.inboxes.iter().for_each(|inbox| inbox.bell().ring());
    }

    /// How many turns each lane has made.
    pub fn turns(&self) -> impl Iterator<Item = u64> {
        self.0.inboxes.iter().map(Inbox::turns)
    }

    /// A question, ready to be ordered.
    #[inline]
    pub fn question(&self, ask: &Ask<'_>) -> Question {
        Question { name_hash: self.0.forwarder.0.cache.name_hash(ask), key: ask.into() }
    }

    /// The same for the nth question of a batch that was looked up: its name has been hashed.
    #[inline]
    pub fn question_looked_up(&self, ask: &Ask<'_>, lookups: &Lookups, nth: usize) -> Question {
        Question { name_hash: lookups.name_hashes[nth], key: ask.into() }
    }

    /// Whether the lane of a question takes one more order. If not, the question is refused.
    #[inline]
    pub fn has_room(&self, question: &Question) -> bool {
        self.0.inboxes[self.lane_of(question)].has_room()
    }

    /// An empty list of orders.
    pub fn orders(&self) -> Orders<W> {
        Orders((0..self.0.inboxes.len()).map(|_| Vec::new()).collect())
    }

    /// Adds an order to a list.
    #[inline]
    pub fn add(&self, orders: &mut Orders<W>, order: Order<W>) {
        orders.0[self.lane_of(&order.question)].push(Some(order));
    }

    /// Hands in one order.
    pub fn submit(&self, order: Order<W>) {
        self.0.inboxes[self.lane_of(&order.question)].put_orders(&mut vec![Some(order)]);
    }

    /// Hands in a list of orders and leaves it empty: one lock a lane, and at most one bell.
    pub fn submit_all(&self, orders: &mut Orders<W>) {
        for (inbox, orders) in self.0.inboxes.iter().zip(&mut orders.0) {
            if !orders.is_empty() {
                inbox.put_orders(orders);
            }
        }
    }

    /// Asks the targets of each context for a name that nobody can know. Whoever asks us for it while it is in flight has
    /// it from them: a loop, which is warned about.
    pub fn probe_loops(&self, contexts: impl IntoIterator<Item = LoopProbe>) {
        for context in contexts.into_iter().filter(|context| !context.group.is_empty()) {
            let Some(qname) = self.0.forwarder.0.loops.begin_probe(&context) else { continue };
            let ask = Ask {
                context: context.context,
                qname: &qname,
                qtype: Rtype::A,
                class: Class::IN,
                dnssec_ok: false,
                checking_disabled: false,
            };
            self.submit(Order::for_cache(self.question(&ask), &context.group, None));
        }
    }

    /// The lane that a question belongs to: a fraction of their number, from the upper half of the hash, since the lower
    /// half finds its place among the flights.
    #[inline]
    fn lane_of(&self, question: &Question) -> usize {
        (((question.name_hash >> 32) * self.0.inboxes.len() as u64) >> 32) as usize
    }
}

impl<W> LaneThreads<W> {
    /// Answers what is still in flight with failures, and ends the threads.
    pub fn stop(&mut self) {
        for inbox in &self.lanes.0.inboxes {
            inbox.put_stop();
        }
        for thread in self.threads.drain(..) {
            // A lane catches panics itself.
            let _ = thread.join();
        }
    }
}

impl<W> Drop for LaneThreads<W> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Default for Question {
    /// A question for the root, to be written over.
    fn default() -> Self {
        let ask = Ask {
            context: ContextId(0),
            qname: &[0],
            qtype: Rtype::A,
            class: Class::IN,
            dnssec_ok: false,
            checking_disabled: false,
        };
        Self { name_hash: 0, key: (&ask).into() }
    }
}

impl Question {
    /// By which it is found among those in flight.
    #[inline]
    fn hash(&self) -> u64 {
        entry_hash(self.name_hash, self.key.ask().qtype)
    }

    /// The context that it is asked in.
    fn context(&self) -> ContextId {
        self.key.ask().context
    }

    /// Reads something of both ends; the octet means nothing.
    #[inline]
    fn touch(&self) -> u8 {
        self.key.ask().context.0 as u8 ^ self.name_hash as u8
    }

    /// The same to be read.
    fn ask(&self) -> Ask<'_> {
        self.key.ask()
    }
}
