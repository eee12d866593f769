//! The sockets of one lane: for each target a few connected ones on ports that nobody can foresee.
//!
//! What a forger off the path has to guess, and what it costs him (RFC 5452 section 4.5, RFC 5452 section 9.2):
//!
//! * The **port**. The kernel picks it at random for each socket, out of 28,232 as it comes (`ip_local_port_range`):
//!   14.8 bits. That questions share sockets does not change the chance that one forged packet hits the port of one
//!   question: it is 1 in 28,232 as if each had its own. What sharing would give him is time to find ports out. So a
//!   socket is used for [`SOCKET_USES_MAX`] queries or [`SOCKET_SECONDS_MAX`] at most, and each batch takes one of
//!   [`SOCKETS_PER_TARGET`] at random: who has found out all of them still has 6 bits to guess.
//! * The **id**: 16 bits of a CSPRNG, and none is used twice on a socket.
//! * He is seen: a wrong id on the right port is a near miss. After [`SOCKET_STRAYS_MAX`] of them the socket is given up
//!   and its questions go on over TCP, so that a port that was found out is worth 8 guesses in 65,536: 13 bits, and he
//!   has to look for the next one.
//! * The **question** has to be the right one, its letters' case among it where that is randomized, and identical
//!   questions are asked once: many of them at a time are not many chances.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::{CryptoRng, Rng};
use socket2::{Domain, Protocol, Socket as NewSocket, Type};

use super::ids::{IdState, Ids};
use crate::forward::Millis;
use crate::forward::counters::Counters;
use crate::forward::exchange::{AttemptId, Input};
use crate::forward::pool::TargetState;
use crate::udp::connected::{Incoming, Outgoing, SENT_OCTETS_MAX};
use crate::udp::events::Events;
use crate::udp::sys::{Family, probe_path_mtu};

/// Sockets that a lane has for one target at most, those not counted that only wait for their last replies.
pub const SOCKETS_PER_TARGET: usize = 64;
/// Queries from one socket, a batch more at most. Enough that making sockets costs little: 10 microseconds each.
pub const SOCKET_USES_MAX: usize = 512;
/// The same where there may be no more sockets: then it is given up even so, and what was asked from it is asked anew.
const USES_MAX: usize = 8 * SOCKET_USES_MAX;
/// The part of a lane's sockets that is kept for targets that have none: a fourth.
const KEPT_FOR_FIRST: usize = 4;
/// Sockets that give their place to another target in one turn, and are closed at its end.
pub const GIVEN_UP_MAX: usize = 8;
/// How long a socket is used, in seconds: trying all its ports at the 1,000 packets a second at which Linux lets itself be
/// asked about them takes three times as long.
pub const SOCKET_SECONDS_MAX: u64 = 10;
/// Datagrams with an id that was never used on a socket, before it is given up.
pub const SOCKET_STRAYS_MAX: u32 = 8;

/// How many upstream sockets there may be, over all lanes.
#[derive(Debug)]
pub(in crate::forward) struct SocketBudget {
    max: usize,
    open: AtomicUsize,
}

impl SocketBudget {
    /// So many sockets.
    pub(in crate::forward) fn new(max: usize) -> Self {
        Self { max, open: AtomicUsize::new(0) }
    }

    /// Sockets that are open.
    pub(in crate::forward) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many one of so many lanes may have open. Questions are spread evenly over lanes, and one cannot close what
    /// another does not use.
    fn share(&self, lanes: usize) -> usize {
        (self.max / lanes).max(1)
    }

    fn take(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who waits for a reply on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The flight.
    pub(super) flight: u32,
    /// Which of its attempts.
    pub(super) attempt: u8,
}

/// The sockets for one target, known to the lane by this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolIndex(u32);

/// A socket of this lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketIndex(u32);

/// Why a query was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// There is no way to the target.
    NoRoute,
    /// This machine gives us no socket: no descriptors, no memory, no ports.
    NoSocket,
}

impl Unsent {
    /// The same in the words of an exchange.
    pub(super) fn as_input(self, attempt: AttemptId) -> Input<'static> {
        match self {
            Self::NoRoute => Input::Unreachable(attempt),
            Self::NoSocket => Input::Unsent(attempt),
        }
    }
}

/// All sockets of one lane.
pub(super) struct Sockets {
    sockets: Vec<Option<Socket>>,
    /// Places in `sockets` that are free.
    free: Vec<u32>,
    pools: Vec<Pool>,
    /// Places in `pools` that nobody uses. What stands there is written over.
    free_pools: Vec<PoolIndex>,
    by_address: HashMap<SocketAddr, PoolIndex>,
    /// Sockets opened so far.
    opened: u32,
    /// Pools that have a batch to be sent.
    in_turn: Vec<PoolIndex>,
    /// Batches that no pool needs now.
    spare: Vec<Outgoing>,
    /// Sockets that are to be given up, with all whose queries they had, by their events' numbers: those that told an
    /// error when a batch was sent, and those whose place another one has taken.
    broken: Vec<(u64, Unsent)>,
    budget: Arc<SocketBudget>,
    /// How many may be open here, those counted that only wait for their last replies; [`GIVEN_UP_MAX`] more until the end
    /// of a turn.
    open_max: usize,
    counters: Arc<Counters>,
    /// When to look for sockets that nobody uses any more; none while there are no sockets.
    sweep_at: Option<Millis>,
}

/// One socket.
struct Socket {
    socket: UdpSocket,
    ids: Ids<Owner>,
    /// Ids that are open.
    open: usize,
    opened_at: Millis,
    strays: u32,
    pool: PoolIndex,
    /// Its place in the pool; none once it is used for no more queries and only waits for its last replies.
    place: Option<usize>,
    /// Tells it from the ones that had its number before.
    generation: u32,
}

/// The sockets for one target.
struct Pool {
    address: SocketAddr,
    target: Arc<TargetState>,
    /// Contexts that ask it.
    users: usize,
    /// Empty before the first socket.
    places: Box<[Option<SocketIndex>]>,
    /// The batch of this turn, and the socket that it leaves by.
    turn: Option<(SocketIndex, Outgoing)>,
}

impl Sockets {
    /// No sockets yet, in one of so many lanes.
    pub(super) fn new(budget: Arc<SocketBudget>, lanes: usize, counters: Arc<Counters>) -> Self {
        Self {
            open_max: budget.share(lanes),
            sockets: Vec::new(),
            free: Vec::new(),
            pools: Vec::new(),
            free_pools: Vec::new(),
            by_address: HashMap::new(),
            opened: 0,
            in_turn: Vec::new(),
            spare: Vec::new(),
            broken: Vec::new(),
            budget,
            counters,
            sweep_at: None,
        }
    }

    /// The pool for a target that is asked over UDP at this address, with one more user; a new one has no socket yet.
    pub(super) fn pool(&mut self, address: SocketAddr, target: &Arc<TargetState>) -> PoolIndex {
        let Self { pools, free_pools, by_address, .. } = self;
        let index = *by_address.entry(address).or_insert_with(|| {
            let pool = Pool { address, target: Arc::clone(target), users: 0, places: Box::default(), turn: None };
            match free_pools.pop() {
                Some(free) => {
                    pools[free.0 as usize] = pool;
                    free
                }
                None => {
                    pools.push(pool);
                    PoolIndex(pools.len() as u32 - 1)
                }
            }
        });
        pools[index.0 as usize].users += 1;
        index
    }

    /// One user fewer of a pool, who waits for nothing any more. With the last one it goes, and so do its sockets.
    pub(super) fn release(&mut self, index: PoolIndex) {
        let pool = &mut self.pools[index.0 as usize];
        pool.users -= 1;
        if pool.users > 0 {
            return;
        }
        let sockets: Vec<SocketIndex> = pool.places.iter().flatten().copied().collect();
        self.by_address.remove(&pool.address);
        for socket in sockets {
            self.retire(socket);
        }
        self.free_pools.push(index);
    }

    /// Adds a query to the batch that leaves for a target at the end of this turn; `write` is given its id and writes it.
    /// Returns the socket and the id.
    pub(super) fn send(
        &mut self,
        pool: PoolIndex,
        owner: Owner,
        (events, now): (&Events, Millis),
        rng: &mut impl CryptoRng,
        write: impl FnOnce(u16, &mut [u8; SENT_OCTETS_MAX]) -> usize,
    ) -> Result<(SocketIndex, u16), Unsent> {
        let has_room = |(_, batch): &(_, Outgoing)| batch.has_room();
        if !self.pools[pool.0 as usize].turn.as_ref().is_some_and(has_room) {
            self.send_batch(pool);
            let socket = self.choose(pool, events, now, rng)?;
            let batch = self.spare.pop().unwrap_or_default();
            self.pools[pool.0 as usize].turn = Some((socket, batch));
            self.in_turn.push(pool);
        }
        let (socket, batch) = self.pools[pool.0 as usize].turn.as_mut().expect("it was just made sure of");
        let Socket { ids, open, .. } = self.sockets[socket.0 as usize].as_mut().expect("a batch keeps its socket");
        let id = ids.open(owner, rng);
        *open += 1;
        batch.push(|octets| write(id, octets));
        Ok((*socket, id))
    }

    /// Sends a query once more, by itself.
    pub(super) fn send_again(&mut self, socket: SocketIndex, octets: &[u8]) {
        if let Some(Socket { socket, .. }) = &self.sockets[socket.0 as usize] {
            // What it met is told once more when the socket is received from, and a full buffer is one datagram lost.
            let _ = socket.send(octets);
        }
    }

    /// Sends the batches of this turn. Sockets that could not are told by [`Sockets::next_broken`].
    pub(super) fn send_turn(&mut self) {
        while let Some(pool) = self.in_turn.pop() {
            self.send_batch(pool);
        }
    }

    /// A socket that is to be given up, and why; what it had open is still open.
    pub(super) fn next_broken(&mut self) -> Option<(SocketIndex, Unsent)> {
        while let Some((number, why)) = self.broken.pop() {
            if let Some(index) = self.of_event(number) {
                return Some((index, why));
            }
        }
        None
    }

    /// Sends the batch of a pool, if it has one.
    fn send_batch(&mut self, pool: PoolIndex) {
        let Some((socket, mut batch)) = self.pools[pool.0 as usize].turn.take() else { return };
        if let Some(Socket { socket: connected, generation, .. }) = &self.sockets[socket.0 as usize] {
            match batch.send(connected) {
                Ok(0) => {}
                Ok(lost) => self.counters.send_full.add_many(lost as u64),
                Err(error) => self.broken.push((event_number(socket, *generation), reason(&error))),
            }
        }
        self.spare.push(batch);
    }

    /// A socket for the next batch to a target: one of its places at random, with a new socket where it has none, or one
    /// that has been used enough.
    fn choose(
        &mut self,
        pool: PoolIndex,
        events: &Events,
        now: Millis,
        rng: &mut impl CryptoRng,
    ) -> Result<SocketIndex, Unsent> {
        let place = rng.random_range(0..SOCKETS_PER_TARGET);
        let places = &mut self.pools[pool.0 as usize].places;
        if places.is_empty() {
            *places = vec![None; SOCKETS_PER_TARGET].into();
        }
        let stands = places[place];
        let state = stands.and_then(|index| self.get(index)).map(|socket| (socket.may_be_used(now), socket.open == 0));
        match (stands, state) {
            (Some(index), Some((true, _))) => return Ok(index),
            (Some(index), Some((false, true))) => self.retire(index),
            _ => {}
        }
        if !self.has_room(pool) {
            self.counters.socket_limit.add();
            let is_usable = |socket: &Socket| socket.may_be_used(now) || socket.must_be_used_on();
            if let Some(other) = self.any(pool, rng, is_usable) {
                return Ok(other);
            }
            if !self.make_room(pool) {
                return Err(Unsent::NoSocket);
            }
        }
        // What still waits there for replies does so until they have come.
        if let Some(index) = self.pools[pool.0 as usize].places[place] {
            self.retire(index);
        }
        self.open(pool, place, events, now, rng).or_else(|error| {
            let unsent = reason(&error);
            if unsent == Unsent::NoRoute {
                return Err(unsent);
            }
            self.counters.no_socket.add();
            self.any(pool, rng, |socket| socket.ids.used() < USES_MAX).ok_or(unsent)
        })
    }

    /// Whether one more may be opened for a pool. A target that has none comes before one that has some: however many
    /// questions wait for dead targets, the others are asked.
    fn has_room(&self, pool: PoolIndex) -> bool {
        let has_none = self.pools[pool.0 as usize].places.iter().all(Option::is_none);
        let kept = if has_none { 0 } else { self.open_max / KEPT_FOR_FIRST };
        self.open_count() < self.open_max - kept
    }

    /// Makes room for one more socket of a pool that has none it can use: one is closed that nobody waits on, whoever's
    /// it is; else one is given up that has been used too much, or that belongs to a target that does not answer, where
    /// this one does. False if there is none.
    fn make_room(&mut self, pool: PoolIndex) -> bool {
        let open = || {
            let sockets = self.sockets.iter().zip(0..);
            sockets.filter_map(|(socket, index)| Some((socket.as_ref()?, SocketIndex(index))))
        };
        let oldest_of = |may_go: &dyn Fn(&Socket) -> bool| {
            let those = open().filter(|(socket, _)| may_go(socket));
            those.min_by_key(|(socket, _)| socket.opened_at).map(|(socket, index)| (index, socket.generation))
        };
        if let Some((idle, _)) = oldest_of(&|socket| socket.open == 0) {
            self.retire(idle);
            return true;
        }
        if self.broken.len() >= GIVEN_UP_MAX {
            return false;
        }
        let is_away = |pool: PoolIndex| self.pools[pool.0 as usize].target.is_away();
        let own = oldest_of(&|socket| socket.pool == pool);
        let given_up = own.or_else(|| if is_away(pool) { None } else { oldest_of(&|socket| is_away(socket.pool)) });
        if let Some((index, generation)) = given_up {
            self.retire(index);
            self.broken.push((event_number(index, generation), Unsent::NoSocket));
        }
        given_up.is_some()
    }

    /// Sockets that are open, those among them that only wait for their last replies.
    fn open_count(&self) -> usize {
        self.sockets.len() - self.free.len()
    }

    /// Any of a pool's sockets that are like this.
    fn any(&self, pool: PoolIndex, rng: &mut impl Rng, is_so: impl Fn(&Socket) -> bool) -> Option<SocketIndex> {
        let is_so = |index: &&SocketIndex| self.get(**index).is_some_and(&is_so);
        let those = || self.pools[pool.0 as usize].places.iter().flatten().filter(is_so);
        let count = those().count();
        if count > 0 { those().nth(rng.random_range(0..count)).copied() } else { None }
    }

    /// Opens a socket to a target, on a port that the kernel picks at random.
    fn open(
        &mut self,
        pool: PoolIndex,
        place: usize,
        events: &Events,
        now: Millis,
        rng: &mut impl CryptoRng,
    ) -> io::Result<SocketIndex> {
        let Pool { address, target, .. } = &self.pools[pool.0 as usize];
        let socket = NewSocket::new(Domain::for_address(*address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        let family = if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        probe_path_mtu(&socket, family)?;
        socket.connect(&(*address).into())?;
        let socket = UdpSocket::from(socket);
        target.set_local_address(socket.local_addr()?.ip(), rng);
        self.opened = self.opened.wrapping_add(1);
        let generation = self.opened;
        let index = SocketIndex(self.free.last().copied().unwrap_or(self.sockets.len() as u32));
        events.watch(&socket, event_number(index, generation))?;
        let place_in_pool = Some(place);
        let socket = Socket {
            socket,
            ids: Ids::new(),
            open: 0,
            opened_at: now,
            strays: 0,
            pool,
            place: place_in_pool,
            generation,
        };
        match self.free.pop() {
            Some(free) => self.sockets[free as usize] = Some(socket),
            None => self.sockets.push(Some(socket)),
        }
        self.pools[pool.0 as usize].places[place] = Some(index);
        self.sweep_at.get_or_insert_with(|| now.plus(SOCKET_SECONDS_MAX * 1000));
        self.budget.take();
        self.counters.sockets_opened.add();
        Ok(index)
    }

    /// The socket that an event's number tells of, if it is still the same.
    pub(super) fn of_event(&self, number: u64) -> Option<SocketIndex> {
        let index = SocketIndex(number as u32);
        self.get(index).filter(|socket| socket.generation == (number >> 32) as u32).map(|_| index)
    }

    /// Receives what has come.
    pub(super) fn receive(&self, index: SocketIndex, incoming: &mut Incoming) -> io::Result<usize> {
        self.get(index).map_or(Ok(0), |socket| incoming.receive(&socket.socket))
    }

    /// What a datagram's id means on a socket.
    #[inline]
    pub(super) fn state(&self, index: SocketIndex, id: u16) -> IdState<Owner> {
        self.get(index).map_or(IdState::Unknown, |socket| socket.ids.state(id))
    }

    /// Takes note of a datagram with an id that was never used; whether there have been too many by now.
    pub(super) fn note_stray(&mut self, index: SocketIndex) -> bool {
        let Some(socket) = self.sockets[index.0 as usize].as_mut() else { return false };
        socket.strays += 1;
        socket.strays >= SOCKET_STRAYS_MAX
    }

    /// All whose ids are open on a socket.
    pub(super) fn owners(&self, index: SocketIndex) -> Vec<Owner> {
        self.get(index).map_or_else(Vec::new, |socket| socket.ids.owners().collect())
    }

    /// Nothing of an open id matters any more.
    pub(super) fn close_id(&mut self, index: SocketIndex, id: u16) {
        let Some(socket) = self.sockets[index.0 as usize].as_mut() else { return };
        socket.ids.close(id);
        socket.open -= 1;
        self.close_if_done(index);
    }

    /// Uses a socket for no more queries. It stays open until its last ones have ended; a batch that has not left is not
    /// sent.
    pub(super) fn retire(&mut self, index: SocketIndex) {
        let Some(socket) = self.sockets[index.0 as usize].as_mut() else { return };
        let pool = &mut self.pools[socket.pool.0 as usize];
        if let Some(place) = socket.place.take() {
            pool.places[place] = None;
        }
        if let Some((_, mut batch)) = pool.turn.take_if(|(of, _)| *of == index) {
            batch.clear();
            self.spare.push(batch);
        }
        self.close_if_done(index);
    }

    /// When [`Sockets::sweep`] is due; none while there are no sockets.
    pub(super) fn sweep_at(&self) -> Option<Millis> {
        self.sweep_at
    }

    /// Closes the sockets that have been open for long and have nothing to wait for.
    pub(super) fn sweep(&mut self, now: Millis) {
        for index in (0..self.sockets.len() as u32).map(SocketIndex) {
            if self.get(index).is_some_and(|socket| socket.open == 0 && !socket.may_be_used(now)) {
                self.retire(index);
            }
        }
        let any_left = self.open_count() > 0;
        self.sweep_at = any_left.then(|| now.plus(SOCKET_SECONDS_MAX * 1000));
    }

    /// Closes a socket that is used no more, once nothing is waited for on it.
    fn close_if_done(&mut self, index: SocketIndex) {
        let is_done = |socket: &&mut Option<Socket>| socket.as_ref().is_some_and(|s| s.place.is_none() && s.open == 0);
        if let Some(socket) = self.sockets.get_mut(index.0 as usize).filter(is_done) {
            *socket = None;
            self.free.push(index.0);
            self.budget.give_back();
        }
    }

    fn get(&self, index: SocketIndex) -> Option<&Socket> {
        self.sockets.get(index.0 as usize)?.as_ref()
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for _ in self.sockets.iter().flatten() {
            self.budget.give_back();
        }
    }
}

impl Socket {
    /// Whether it is used for another batch where there may be no other: closing it would make no room yet.
    fn must_be_used_on(&self) -> bool {
        self.open > 0 && self.ids.used() < USES_MAX
    }

    /// Whether it may be used for another batch.
    fn may_be_used(&self, now: Millis) -> bool {
        self.ids.used() < SOCKET_USES_MAX && now.since(self.opened_at) < SOCKET_SECONDS_MAX * 1000
    }
}

/// What stands for a socket among the numbers of events. Never `u64::MAX`: no socket has that index.
fn event_number(index: SocketIndex, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index.0)
}

/// Why a system call on a socket failed.
pub(super) fn reason(error: &io::Error) -> Unsent {
    match error.raw_os_error() {
        // EAGAIN: no port is free.
        Some(
            libc::EMFILE
            | libc::ENFILE
            | libc::ENOMEM
            | libc::ENOBUFS
            | libc::ENOSPC
            | libc::EAGAIN
            | libc::EADDRNOTAVAIL
            | libc::EADDRINUSE,
        ) => Unsent::NoSocket,
        _ => Unsent::NoRoute,
    }
}
