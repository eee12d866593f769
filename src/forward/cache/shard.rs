//! A part of the cache: entries found by their hash, bounded in octets, the least asked ones leave first.
//!
//! Eviction is S3-FIFO: a newcomer waits in a small queue, and only what is asked for again there comes into the main
//! one. So names that are asked once, however many, push each other out and nothing else. What says that there is
//! nothing (NXDOMAIN, NODATA, failures) has queues of its own and a bounded share of the octets: names at random can be
//! made up without end, and most of them do not exist.

use std::mem::size_of;
use std::sync::atomic::{AtomicU8, Ordering};

use hashbrown::HashTable;

use super::{CacheKey, Entry};
use crate::forward::Millis;

/// Entries with their queues.
#[derive(Debug)]
pub(super) struct Shard {
    /// Slots by the hash of what stands there.
    index: HashTable<u32>,
    slots: Slots,
    /// For each class of entries the small and the main queue.
    queues: [[Queue; 2]; 2],
    /// Hashes of what left a small queue without being asked for: who comes back is no newcomer.
    left: Box<[u32]>,
    octets_max: u64,
    /// Entries that have gone to make room.
    evicted: u64,
    /// How long answers may be served beyond their lifetime, in seconds.
    stale_seconds: u32,
}

/// A slot of one shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u32);

/// An entry that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visited<'s> {
    /// What it is about.
    pub(super) key: &'s CacheKey,
    /// The entry.
    pub(super) entry: &'s Entry,
    /// Whether it has been asked for again since it came.
    pub(super) is_established: bool,
}

/// The classes of entries, as indexes of queues.
const ANSWERS: usize = 0;
const NEGATIVE: usize = 1;
/// The queues of a class, as indexes.
const SMALL: usize = 0;
const MAIN: usize = 1;

/// A place for an entry. Places are never moved, so that a number stands for one.
#[derive(Debug)]
struct Slot {
    held: Option<Held>,
    /// The neighbours in the queue; of a free slot, `behind` is the next free one.
    before: u32,
    behind: u32,
}

/// What stands in a slot; what a lookup reads comes first.
#[derive(Debug)]
#[repr(C)]
struct Held {
    key: CacheKey,
    entry: Entry,
    /// How often it was asked for since it last came to the end of its queue, at most [`ASKED_MAX`].
    asked: AtomicU8,
    class: u8,
    queue: u8,
    octets: u32,
    hash: u64,
}

impl Held {
    /// Reads something of both ends; the octet means nothing.
    #[inline]
    fn touch(&self) -> u8 {
        self.key.touch() ^ self.hash as u8
    }
}

/// No slot.
const NONE: u32 = u32::MAX;
/// More often than this is not counted.
const ASKED_MAX: u8 = 3;
/// The share of negative and failing entries in the octets: one in so many.
const NEGATIVE_SHARE: u64 = 4;
/// The share of the small queue in what its class may take: one in so many.
const SMALL_SHARE: u64 = 10;
/// Entries that an eviction looks at before it takes one that was asked for: nobody waits long for the lock.
const EVICTION_STEPS_MAX: usize = 256;
/// Octets of the cache for each hash that is remembered of what left.
const OCTETS_PER_LEFT: usize = 512;
/// What an entry takes of the index: an octet and a number, in a table that is 7/16 full at least.
const INDEX_OCTETS: usize = 12;

/// A queue: entries come in at its head and leave at its tail.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: u32,
    tail: u32,
    entries: usize,
    octets: u64,
}

impl Queue {
    const EMPTY: Self = Self { head: NONE, tail: NONE, entries: 0, octets: 0 };
}

impl Shard {
    /// An empty one for so many octets.
    pub(super) fn new(octets_max: usize, stale_seconds: u32) -> Self {
        let left = (octets_max / OCTETS_PER_LEFT).next_power_of_two();
        Self {
            index: HashTable::new(),
            slots: Slots::default(),
            queues: [[Queue::EMPTY; 2]; 2],
            left: vec![0; left].into(),
            octets_max: (octets_max - left * size_of::<u32>()) as u64,
            evicted: 0,
            stale_seconds,
        }
    }

    /// The entry with this hash whose key is the one; it counts as asked for.
    #[inline]
    pub(super) fn get(&self, hash: u64, is_it: impl Fn(&CacheKey) -> bool) -> Option<&Entry> {
        let held = self.find(hash, is_it)?;
        // Two who count at the same time may count as one: it is a hint.
        let asked = held.asked.load(Ordering::Relaxed);
        if asked < ASKED_MAX {
            held.asked.store(asked + 1, Ordering::Relaxed);
        }
        Some(&held.entry)
    }

    /// The slot where the entry with this hash stands, as far as can be told without looking there.
    #[inline]
    pub(super) fn place(&self, hash: u64) -> Option<Place> {
        self.index.find(hash, |_| true).map(|slot| Place(*slot))
    }

    /// Reads what a lookup will read of a slot; the octet means nothing.
    #[inline]
    pub(super) fn touch(&self, Place(slot): Place) -> u8 {
        self.slots.get(slot).map_or(0, Held::touch)
    }

    #[inline]
    fn find(&self, hash: u64, is_it: impl Fn(&CacheKey) -> bool) -> Option<&Held> {
        let mut found = None;
        self.index.find(hash, |&slot| {
            found = self.slots.get(slot).filter(|held| is_it(&held.key));
            found.is_some()
        })?;
        found
    }

    /// Puts an entry in, in the place of the one with its key if there is one, and makes room.
    pub(super) fn insert(&mut self, hash: u64, key: CacheKey, entry: Entry, now: Millis) {
        let (asked, queue) = match self.take_out(hash, |kept| *kept == key) {
            Some(before) => (before.asked.into_inner(), usize::from(before.queue)),
            None if self.has_left(hash) => (0, MAIN),
            None => (0, SMALL),
        };
        self.put_in(hash, key, entry, asked, queue);
        self.make_room(now);
    }

    /// Puts an entry of long ago in, unless there is one with its key; whether it did. `is_established`: it is no
    /// newcomer.
    pub(super) fn insert_old(
        &mut self,
        hash: u64,
        key: CacheKey,
        entry: Entry,
        is_established: bool,
        now: Millis,
    ) -> bool {
        if self.find(hash, |kept| *kept == key).is_some() {
            return false;
        }
        self.put_in(hash, key, entry, 0, if is_established { MAIN } else { SMALL });
        self.make_room(now);
        true
    }

    /// Puts an entry whose key is not there into a queue.
    fn put_in(&mut self, hash: u64, key: CacheKey, entry: Entry, asked: u8, queue: usize) {
        let class = if entry.is_negative() { NEGATIVE } else { ANSWERS };
        let octets = entry_octets(&key, &entry);
        // Class and queue are set where it is put into a queue.
        let slot = self.slots.put(Held { key, entry, asked: asked.into(), class: 0, queue: 0, octets, hash });
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |&slot| slots.hash(slot));
        self.enqueue(slot, class, queue);
    }

    /// Takes the entry with this hash out whose key is the one, if there is one.
    pub(super) fn remove(&mut self, hash: u64, is_it: impl Fn(&CacheKey) -> bool) {
        drop(self.take_out(hash, is_it));
    }

    /// Octets held, bookkeeping counted.
    pub(super) fn octets(&self) -> u64 {
        self.queues.as_flattened().iter().map(|queue| queue.octets).sum()
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.queues.as_flattened().iter().map(|queue| queue.entries).sum()
    }

    /// Entries that have gone to make room, so far.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Counts on from where another has come.
    pub(super) fn count_on(&mut self, before: &Self) {
        self.evicted = before.evicted;
    }

    /// Number of slots, used and free: what [`Self::visit`] and [`Self::sweep`] can be asked for.
    pub(super) fn slots(&self) -> u32 {
        self.slots.used
    }

    /// Looks at the entries in `count` slots from `first` on.
    pub(super) fn visit(&self, first: u32, count: u32, mut look: impl FnMut(Visited<'_>)) {
        for slot in first..first.saturating_add(count).min(self.slots.used) {
            if let Some(held) = self.slots.get(slot) {
                let is_established = usize::from(held.queue) == MAIN;
                look(Visited { key: &held.key, entry: &held.entry, is_established });
            }
        }
    }

    /// Takes those out of `count` slots from `first` on that are to go; returns how many.
    pub(super) fn sweep(&mut self, first: u32, count: u32, is_to_go: impl Fn(&CacheKey) -> bool) -> u64 {
        let mut gone = 0;
        for slot in first..first.saturating_add(count).min(self.slots.used) {
            if self.slots.get(slot).is_some_and(|held| is_to_go(&held.key)) {
                self.drop_slot(slot);
                gone += 1;
            }
        }
        gone
    }

    /// Evicts until the octets suffice.
    fn make_room(&mut self, now: Millis) {
        while self.octets_of(NEGATIVE) > self.octets_max / NEGATIVE_SHARE {
            self.evicted += 1;
            self.evict(NEGATIVE, now);
        }
        while self.octets() > self.octets_max {
            self.evicted += 1;
            // What says that there is nothing stays within its share, so it need not go unless it is of no more use.
            let oldest = self.queues[NEGATIVE].map(|queue| queue.tail);
            if let Some(slot) = oldest.into_iter().find(|&slot| slot != NONE && self.is_over(slot, now)) {
                self.drop_slot(slot);
            } else if self.queues[ANSWERS].iter().any(|queue| queue.entries > 0) {
                self.evict(ANSWERS, now);
            } else {
                self.evict(NEGATIVE, now);
            }
        }
    }

    /// Evicts one entry of a class that has some.
    fn evict(&mut self, class: usize, now: Millis) {
        let share = if class == NEGATIVE { self.octets_max / NEGATIVE_SHARE } else { self.octets_max };
        for _ in 0..EVICTION_STEPS_MAX {
            let [small, main] = self.queues[class];
            let queue =
                if small.entries > 1 && small.octets > share / SMALL_SHARE || main.entries == 0 { SMALL } else { MAIN };
            let slot = self.queues[class][queue].tail;
            let is_over = self.is_over(slot, now);
            let held = self.slots.get_mut(slot).expect("queues hold used slots");
            let asked = *held.asked.get_mut();
            if is_over || asked == 0 {
                let hash = held.hash;
                self.drop_slot(slot);
                if queue == SMALL && !is_over {
                    self.leave(hash);
                }
                self.touch_next(self.queues[class][queue].tail);
                return;
            }
            *held.asked.get_mut() = if queue == SMALL { 0 } else { asked - 1 };
            self.dequeue(slot);
            self.enqueue(slot, class, MAIN);
        }
        // All that is due is asked for: the newcomer before the last goes. The last may be new only in what it says.
        let [small, main] = self.queues[class];
        let newcomer = if small.entries > 1 { self.slots.slot(small.head).behind } else { main.tail };
        self.drop_slot(newcomer);
    }

    /// Reads what the next evictions from a queue will read, if they begin with this slot: they go for what was not used
    /// for longest, so all of it would be cache misses of the processor's, one behind the other. Here nothing waits for
    /// them: of the next slot all that it leads to is read, and of the one after it what leads there.
    fn touch_next(&self, next: u32) {
        let Some(held) = self.slots.get_if_any(next) else { return };
        let mut touched = held.entry.touch();
        self.index.find(held.hash, |slot| {
            touched ^= *slot as u8;
            true
        });
        if let Some(after) = self.slots.get_if_any(self.slots.slot(next).before) {
            touched ^= after.touch();
        }
        // The octets must count for something, or reading them is optimised away.
        std::hint::black_box(touched);
    }

    /// Whether what stands in a slot will never be served again.
    fn is_over(&self, slot: u32, now: Millis) -> bool {
        self.slots.get(slot).is_some_and(|held| held.entry.is_over(now, self.stale_seconds))
    }

    fn octets_of(&self, class: usize) -> u64 {
        self.queues[class].iter().map(|queue| queue.octets).sum()
    }

    /// Takes the entry with this hash out whose key is the one.
    fn take_out(&mut self, hash: u64, is_it: impl Fn(&CacheKey) -> bool) -> Option<Held> {
        let slots = &self.slots;
        let is_slot = |&slot: &u32| slots.get(slot).is_some_and(|held| is_it(&held.key));
        let (slot, _) = self.index.find_entry(hash, is_slot).ok()?.remove();
        self.dequeue(slot);
        self.slots.take(slot)
    }

    /// Takes out and drops what stands in a slot that is used.
    fn drop_slot(&mut self, slot: u32) {
        let hash = self.slots.hash(slot);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
        self.dequeue(slot);
        self.slots.free(slot);
    }

    /// Puts a slot that is in no queue at the head of one.
    fn enqueue(&mut self, slot: u32, class: usize, queue: usize) {
        let held = self.slots.get_mut(slot).expect("only used slots are put into queues");
        (held.class, held.queue) = (class as u8, queue as u8);
        let octets = u64::from(held.octets);
        let queue = &mut self.queues[class][queue];
        let behind = std::mem::replace(&mut queue.head, slot);
        queue.entries += 1;
        queue.octets += octets;
        if behind == NONE {
            queue.tail = slot;
        } else {
            self.slots.slot_mut(behind).before = slot;
        }
        let slot = self.slots.slot_mut(slot);
        (slot.before, slot.behind) = (NONE, behind);
    }

    /// Takes a slot out of its queue.
    fn dequeue(&mut self, slot: u32) {
        let of_slot = self.slots.slot_mut(slot);
        let (before, behind) = (of_slot.before, of_slot.behind);
        let held = of_slot.held.as_ref().expect("only used slots are in queues");
        let queue = &mut self.queues[usize::from(held.class)][usize::from(held.queue)];
        queue.entries -= 1;
        queue.octets -= u64::from(held.octets);
        if before == NONE {
            queue.head = behind;
        } else {
            self.slots.slot_mut(before).behind = behind;
        }
        if behind == NONE {
            queue.tail = before;
        } else {
            self.slots.slot_mut(behind).before = before;
        }
    }

    /// Remembers that this left. Another may be forgotten for it.
    fn leave(&mut self, hash: u64) {
        let place = self.place_of_left(hash);
        self.left[place] = fingerprint(hash);
    }

    /// Whether this left a while ago, as far as is remembered.
    fn has_left(&self, hash: u64) -> bool {
        self.left[self.place_of_left(hash)] == fingerprint(hash)
    }

    fn place_of_left(&self, hash: u64) -> usize {
        hash as usize & (self.left.len() - 1)
    }
}

/// What is remembered of a hash, never 0: that is nobody.
fn fingerprint(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

/// Octets that an entry takes in all: its slot, its place in the index, and what it points to.
fn entry_octets(key: &CacheKey, entry: &Entry) -> u32 {
    (size_of::<Slot>() + INDEX_OCTETS + key.octets_boxed() + entry.octets_boxed()) as u32
}

/// Slots in chunks: more are added without moving those there are, so that growing takes no longer than usual.
#[derive(Debug)]
struct Slots {
    chunks: Vec<Box<[Slot]>>,
    /// How many have been used so far.
    used: u32,
    /// The first that is free among them.
    free: u32,
}

/// Slots of a chunk.
const CHUNK: u32 = 64;

impl Default for Slots {
    fn default() -> Self {
        Self { chunks: Vec::new(), used: 0, free: NONE }
    }
}

impl Slots {
    /// Puts this into a free slot; which one.
    fn put(&mut self, held: Held) -> u32 {
        let slot = self.free;
        if slot != NONE {
            self.free = self.slot(slot).behind;
            self.slot_mut(slot).held = Some(held);
            return slot;
        }
        let slot = self.used;
        if slot.is_multiple_of(CHUNK) {
            let empty = || Slot { held: None, before: NONE, behind: NONE };
            self.chunks.push(std::iter::repeat_with(empty).take(CHUNK as usize).collect());
        }
        self.used += 1;
        self.slot_mut(slot).held = Some(held);
        slot
    }

    /// Frees a slot; what stood there.
    fn take(&mut self, slot: u32) -> Option<Held> {
        let free = self.free;
        let of_slot = self.slot_mut(slot);
        let held = of_slot.held.take()?;
        of_slot.behind = free;
        self.free = slot;
        Some(held)
    }

    /// Frees a slot and drops what stood there, in its place: moving it out would cost more than the rest.
    fn free(&mut self, slot: u32) {
        let free = self.free;
        let of_slot = self.slot_mut(slot);
        of_slot.held = None;
        of_slot.behind = free;
        self.free = slot;
    }

    #[inline]
    fn slot(&self, slot: u32) -> &Slot {
        &self.chunks[(slot / CHUNK) as usize][(slot % CHUNK) as usize]
    }

    #[inline]
    fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.chunks[(slot / CHUNK) as usize][(slot % CHUNK) as usize]
    }

    /// What stands in a slot.
    #[inline]
    fn get(&self, slot: u32) -> Option<&Held> {
        self.slot(slot).held.as_ref()
    }

    /// The same where there may be no slot.
    #[inline]
    fn get_if_any(&self, slot: u32) -> Option<&Held> {
        if slot == NONE { None } else { self.get(slot) }
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Held> {
        self.slot_mut(slot).held.as_mut()
    }

    /// The hash of what stands in a slot.
    fn hash(&self, slot: u32) -> u64 {
        self.get(slot).map_or(0, |held| held.hash)
    }
}

#[cfg(test)]
mod tests;
