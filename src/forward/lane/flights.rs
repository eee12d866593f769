//! The questions in flight of one lane, found by number and by what is asked.

use std::net::IpAddr;

use hashbrown::HashTable;

use super::Question;
use super::sockets::SocketIndex;
use crate::forward::Millis;
use crate::forward::exchange::{ATTEMPTS_OPEN_MAX, AttemptId, Exchange, Options, TargetIndex};

/// One question in flight: its exchange, and who waits for the outcome.
pub(super) struct Flight<W> {
    /// What is asked, and its hash.
    pub(super) question: Question,
    /// The context's number in this lane.
    pub(super) context: u32,
    /// How far asking has come.
    pub(super) exchange: Exchange,
    /// Who waits.
    pub(super) waiters: Waiters<W>,
    /// Attempts that listen.
    pub(super) listening: Listening,
    /// When the first of the waiters has no more time; in the distant future where nobody waits.
    pub(super) until: Millis,
    /// When the waiters are told an answer whose lifetime is over; none where nobody waits, or it has been looked for.
    pub(super) stale_at: Option<Millis>,
    /// Whether they have been told one: then whoever joins is told at once.
    pub(super) has_told_stale: bool,
    /// Whether the outcome is known, and the exchange only listens on.
    pub(super) has_ended: bool,
}

impl<W> Flight<W> {
    /// Reads something of what a reply to it will need; the octet means nothing.
    #[inline]
    pub(super) fn touch(&self) -> u8 {
        let waits = if let First::Waits(first) = &self.waiters.first { u8::from(first.client.is_ipv4()) } else { 0 };
        self.exchange.touch() ^ self.question.touch() ^ waits ^ u8::from(self.has_ended)
    }
}

/// One who waits for an outcome.
pub(super) struct Waiting<W> {
    /// Who, in the words of whoever is told.
    pub(super) waiter: W,
    /// The client's address.
    pub(super) client: IpAddr,
    /// When it is told at the latest.
    pub(super) until: Millis,
}

/// Who wants a question to be asked.
pub(super) enum Wanted<W> {
    /// One who waits.
    By(Waiting<W>),
    /// The cache; and what holds for that long whatever asking takes.
    ByCache(Option<W>),
}

/// Those who wait: seldom more than one.
pub(super) struct Waiters<W> {
    first: First<W>,
    others: Vec<Waiting<W>>,
}

/// The one for whom a question was asked: what it was given for that is held until the question's end, even if it has
/// been told before.
enum First<W> {
    /// Nobody.
    None,
    /// It waits.
    Waits(Waiting<W>),
    /// It does not wait, or not any more; this only holds.
    Holds(W),
}

/// The moment that never comes.
const NEVER: Millis = Millis(u64::MAX);

impl<W> Waiters<W> {
    /// Nobody.
    pub(super) fn none() -> Self {
        Self { first: First::None, others: Vec::new() }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        usize::from(matches!(self.first, First::Waits(_))) + self.others.len()
    }

    /// Adds one.
    pub(super) fn push(&mut self, waiting: Waiting<W>) {
        match self.first {
            First::None => self.first = First::Waits(waiting),
            First::Waits(_) | First::Holds(_) => self.others.push(waiting),
        }
    }

    /// Takes note of what holds instead of the first one, who does not wait.
    pub(super) fn hold(&mut self, holder: W) {
        self.first = First::Holds(holder);
    }

    /// Takes the first one if it waits: the one for whom the question was asked.
    #[inline]
    pub(super) fn pop_first(&mut self) -> Option<Waiting<W>> {
        self.take_first(|_| true)
    }

    /// Takes one who waits; none when nobody is left.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Waiting<W>> {
        self.pop_first().or_else(|| self.others.pop())
    }

    /// Takes the first one if it waits and has no more time.
    pub(super) fn pop_first_late(&mut self, now: Millis) -> Option<Waiting<W>> {
        self.take_first(|first| first.until <= now)
    }

    /// Takes one of the others who has no more time. `looked_at` is how many of them are known to have some, 0 at first.
    pub(super) fn pop_late(&mut self, now: Millis, looked_at: &mut usize) -> Option<Waiting<W>> {
        *looked_at += self.others[*looked_at..].iter().position(|waiting| waiting.until <= now)?;
        Some(self.others.swap_remove(*looked_at))
    }

    /// Takes what only holds.
    pub(super) fn pop_holder(&mut self) -> Option<W> {
        match std::mem::replace(&mut self.first, First::None) {
            First::Holds(holder) => Some(holder),
            first @ (First::None | First::Waits(_)) => {
                self.first = first;
                None
            }
        }
    }

    /// When the first of those who wait has no more time.
    pub(super) fn until(&self) -> Millis {
        let first = if let First::Waits(first) = &self.first { first.until } else { NEVER };
        self.others.iter().fold(first, |until, waiting| until.min(waiting.until))
    }

    /// Takes the first one if it waits, and is so.
    #[inline]
    fn take_first(&mut self, is_so: impl FnOnce(&Waiting<W>) -> bool) -> Option<Waiting<W>> {
        if !matches!(&self.first, First::Waits(first) if is_so(first)) {
            return None;
        }
        match std::mem::replace(&mut self.first, First::None) {
            First::Waits(first) => Some(first),
            First::None | First::Holds(_) => None,
        }
    }
}

/// The attempts of a flight that listen.
#[derive(Clone, Copy, Default)]
pub(super) struct Listening([Option<Open>; ATTEMPTS_OPEN_MAX]);

/// An attempt that listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// Which one.
    pub(super) attempt: AttemptId,
    /// Whom it asked.
    pub(super) target: TargetIndex,
    /// Where.
    pub(super) via: Via,
}

/// Where an attempt listens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Via {
    /// On this socket, under this id.
    Datagrams(SocketIndex, u16),
    /// On nothing of this lane's: on a stream, or it could not be sent.
    Nothing,
}

impl Listening {
    /// Takes note of a new one.
    pub(super) fn add(&mut self, open: Open) {
        let free = self.0.iter_mut().find(|place| place.is_none());
        *free.expect("an exchange has no more attempts open than there are places") = Some(open);
    }

    /// An attempt.
    pub(super) fn of(&self, attempt: AttemptId) -> Option<Open> {
        self.iter().find(|open| open.attempt == attempt)
    }

    /// The same, and forgets it.
    pub(super) fn take(&mut self, attempt: AttemptId) -> Option<Open> {
        self.0.iter_mut().find(|place| place.is_some_and(|open| open.attempt == attempt))?.take()
    }

    /// One of them, and forgets it.
    pub(super) fn pop(&mut self) -> Option<Open> {
        self.0.iter_mut().find_map(Option::take)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Open> {
        self.0.iter().flatten().copied()
    }
}

/// A flight's number, and how often that number was given out: an old one is never taken for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlightId {
    /// The number.
    pub(super) number: u32,
    generation: u32,
}

/// All flights of a lane.
// Invariant: `by_question` holds the numbers of exactly the flights that have not ended, each under its question's hash;
// `free` holds exactly the numbers without a flight.
pub(super) struct Flights<W> {
    /// In pieces that never move: a flight is large.
    pieces: Vec<Box<[Place<W>]>>,
    free: Vec<u32>,
    by_question: HashTable<u32>,
}

/// The place of one number. Its flight is written over by the next one rather than moved in: it is large.
struct Place<W> {
    generation: u32,
    is_taken: bool,
    flight: Flight<W>,
}

impl<W> Place<W> {
    /// A place without a flight.
    fn vacant() -> Self {
        let flight = Flight {
            question: Question::default(),
            context: 0,
            exchange: Exchange::new(&[], Millis(0), Options::default()),
            waiters: Waiters::none(),
            listening: Listening::default(),
            until: NEVER,
            stale_at: None,
            has_told_stale: false,
            has_ended: true,
        };
        Self { generation: 0, is_taken: false, flight }
    }
}

/// Flights whose memory is had at a time.
const PIECE: usize = 64;

impl<W> Flights<W> {
    /// No flights.
    pub(super) fn new() -> Self {
        Self { pieces: Vec::new(), free: Vec::new(), by_question: HashTable::new() }
    }

    /// How many there are, those among them that have ended and only listen on.
    pub(super) fn len(&self) -> usize {
        self.pieces.len() * PIECE - self.free.len()
    }

    /// The flight of a question that has not ended.
    pub(super) fn find(&self, question: &Question) -> Option<u32> {
        let is_it = |number: &u32| self.get(*number).is_some_and(|flight| flight.question == *question);
        self.by_question.find(question.hash(), is_it).copied()
    }

    /// Begins one, whose exchange is still to be restarted and for which nobody waits; returns its number.
    pub(super) fn begin(&mut self, question: Question, context: u32) -> u32 {
        if self.free.is_empty() {
            let first = (self.pieces.len() * PIECE) as u32;
            self.pieces.push((0..PIECE).map(|_| Place::vacant()).collect());
            self.free.extend((first..first + PIECE as u32).rev());
        }
        let number = self.free.pop().expect("places were just made");
        let hash = question.hash();
        let place = self.place_mut(number);
        place.generation = place.generation.wrapping_add(1);
        place.is_taken = true;
        let flight = &mut place.flight;
        flight.question = question;
        flight.context = context;
        flight.until = NEVER;
        flight.stale_at = None;
        flight.has_told_stale = false;
        flight.has_ended = false;
        let Self { pieces, by_question, .. } = self;
        let hash_of = |number: &u32| pieces[*number as usize / PIECE][*number as usize % PIECE].flight.question.hash();
        by_question.insert_unique(hash, number, hash_of);
        number
    }

    /// A flight.
    pub(super) fn get(&self, number: u32) -> Option<&Flight<W>> {
        let place = &self.pieces.get(number as usize / PIECE)?[number as usize % PIECE];
        place.is_taken.then_some(&place.flight)
    }

    /// A flight, to be changed; its question and whether it has ended are not to be changed by the caller.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Flight<W>> {
        let place = &mut self.pieces.get_mut(number as usize / PIECE)?[number as usize % PIECE];
        place.is_taken.then_some(&mut place.flight)
    }

    /// The flight's number and generation, for those who may come back when it is gone.
    pub(super) fn id(&self, number: u32) -> FlightId {
        let generation = self.pieces[number as usize / PIECE][number as usize % PIECE].generation;
        FlightId { number, generation }
    }

    /// Whether the flight of an id is still the same.
    pub(super) fn is_there(&self, id: FlightId) -> bool {
        self.get(id.number).is_some() && self.id(id.number) == id
    }

    /// From now on nobody finds the flight by its question. Whether it had not ended before.
    pub(super) fn end(&mut self, number: u32) -> bool {
        let Some(flight) = self.get_mut(number) else { return false };
        if std::mem::replace(&mut flight.has_ended, true) {
            return false;
        }
        let hash = flight.question.hash();
        if let Ok(entry) = self.by_question.find_entry(hash, |of| *of == number) {
            entry.remove();
        }
        true
    }

    /// Takes a flight out; whether it had not ended before.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let had_not_ended = self.end(number);
        let Some(flight) = self.get_mut(number) else { return false };
        flight.waiters = Waiters::none();
        // It may hold a reply that was kept.
        flight.exchange.restart(&[], Millis(0), Options::default());
        flight.listening = Listening::default();
        self.place_mut(number).is_taken = false;
        self.free.push(number);
        had_not_ended
    }

    /// The numbers of all flights.
    pub(super) fn numbers(&self) -> Vec<u32> {
        (0..(self.pieces.len() * PIECE) as u32).filter(|number| self.get(*number).is_some()).collect()
    }

    fn place_mut(&mut self, number: u32) -> &mut Place<W> {
        &mut self.pieces[number as usize / PIECE][number as usize % PIECE]
    }
}
