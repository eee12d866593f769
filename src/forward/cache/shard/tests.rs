//! Queues, bounds and floods.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::dns::message::Message;
use crate::dns::{Class, Rtype, Ttl};
use crate::forward::reply::{TtlLimits, UpstreamReply};
use crate::forward::{Ask, ContextId, ExchangeError};

const NOW: Millis = Millis(1_000);
const STALE_SECONDS: u32 = 3600;

fn key(number: u32) -> CacheKey {
    let name = [b"\x06".as_slice(), format!("{number:06}").as_bytes(), b"\x00"].concat();
    CacheKey::from(&Ask {
        context: ContextId(1),
        qname: &name,
        qtype: Rtype::A,
        class: Class::IN,
        dnssec_ok: false,
        checking_disabled: false,
    })
}

/// A hash without a pattern that is the same in every run.
fn hash(number: u32) -> u64 {
    crate::dns::name::mix(u64::from(number) ^ 0x5bd1_e995, 0x9e37_79b9_7f4a_7c15)
}

/// A reply for a minute with so many octets of data; without any: NODATA.
fn reply(rdata_octets: usize) -> Entry {
    let answers = u8::from(rdata_octets > 0);
    let mut octets = vec![0, 0, 0x81, 0x80, 0, 1, 0, answers, 0, 1 - answers, 0, 0, 0, 0, 1, 0, 1];
    if rdata_octets > 0 {
        octets.extend_from_slice(&[0, 0, 1, 0, 1, 0, 0, 0, 60]);
        octets.extend_from_slice(&(rdata_octets as u16).to_be_bytes());
        octets.resize(octets.len() + rdata_octets, 0);
    } else {
        octets.extend_from_slice(&[0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
        octets.extend_from_slice(&[0, 0, 0, 60].repeat(5));
    }
    let limits = TtlLimits { ttl_max: Ttl::MAX, negative_ttl_max: Ttl::MAX, failure_ttl: Ttl::from_wire(5) };
    let message = Message::parse(&octets).expect("well-formed");
    Entry::Reply(Arc::new(UpstreamReply::new(&message, limits, NOW, false).expect("small")))
}

fn failure() -> Entry {
    Entry::Failure(ExchangeError::TimedOut, NOW.plus(5_000))
}

impl Shard {
    fn put(&mut self, number: u32, entry: &Entry) {
        self.insert(hash(number), key(number), entry.clone(), NOW);
    }

    fn has(&self, number: u32) -> bool {
        self.get(hash(number), |kept| *kept == key(number)).is_some()
    }

    /// Holds every number that is kept against what it is kept of.
    fn check(&self) {
        let mut seen = 0;
        for (class, queues) in self.queues.iter().enumerate() {
            for (queue, expected) in queues.iter().enumerate() {
                let (mut at, mut before) = (expected.head, NONE);
                let (mut entries, mut octets) = (0, 0);
                while at != NONE {
                    let slot = self.slots.slot(at);
                    let held = slot.held.as_ref().expect("a used slot");
                    assert_eq!((usize::from(held.class), usize::from(held.queue)), (class, queue));
                    assert_eq!(slot.before, before);
                    assert_eq!(held.octets, entry_octets(&held.key, &held.entry));
                    assert_eq!(held.entry.is_negative(), class == NEGATIVE);
                    assert_eq!(self.index.find(held.hash, |&other| other == at), Some(&at));
                    (entries, octets) = (entries + 1, octets + u64::from(held.octets));
                    (before, at) = (at, slot.behind);
                }
                assert_eq!((expected.tail, expected.entries, expected.octets), (before, entries, octets));
                seen += entries;
            }
        }
        let mut free = 0;
        let mut at = self.slots.free;
        while at != NONE {
            let slot = self.slots.slot(at);
            assert!(slot.held.is_none());
            (free, at) = (free + 1, slot.behind);
        }
        assert_eq!((self.len(), self.index.len()), (seen, seen));
        assert_eq!(seen + free, self.slots.used as usize);
        assert!(self.octets() <= self.octets_max);
        assert!(self.octets_of(NEGATIVE) <= self.octets_max / NEGATIVE_SHARE);
    }
}

#[test]
fn what_is_asked_once_pushes_out_nothing_that_is_asked_again() {
    let mut shard = Shard::new(1 << 20, STALE_SECONDS);
    let answer = reply(4);
    for number in 0..500 {
        shard.put(number, &answer);
    }
    for number in 500..100_000 {
        // Each of the first is asked for once while two hundred others come.
        if number % 2 == 0 {
            assert!(shard.has(number / 2 % 500), "{number}");
        }
        if number % 4 == 0 {
            shard.put(number, &answer);
        }
    }
    shard.check();
    assert!((0..500).all(|number| shard.has(number)));
    assert!(shard.octets() > shard.octets_max * 9 / 10);
}

#[test]
fn what_comes_back_soon_is_no_newcomer() {
    let mut shard = Shard::new(1 << 20, STALE_SECONDS);
    let answer = reply(4);
    (0..4_000).for_each(|number| shard.put(number, &answer));
    let gone = (0..4_000).find(|&number| !shard.has(number)).expect("they do not all fit");
    shard.put(gone, &answer);
    (4_000..8_000).for_each(|number| shard.put(number, &answer));
    assert!(shard.has(gone));
    shard.check();
}

#[test]
fn what_says_that_there_is_nothing_has_its_share() {
    let mut shard = Shard::new(1 << 20, STALE_SECONDS);
    let (answer, nothing, failure) = (reply(4), reply(0), failure());
    (0..1_000).for_each(|number| shard.put(number, &answer));
    for number in 1_000..50_000 {
        shard.put(number, if number % 2 == 0 { &nothing } else { &failure });
        // Even if they are asked for.
        assert!(shard.has(number));
    }
    shard.check();
    assert!((0..1_000).all(|number| shard.has(number)), "none of the answers left");
    assert!(shard.octets_of(NEGATIVE) > shard.octets_max / NEGATIVE_SHARE * 9 / 10);
    // Answers may take all the rest, and what can never be served again makes way for them.
    (50_000..60_000).for_each(|number| shard.put(number, &answer));
    let share = shard.octets_of(NEGATIVE);
    assert!(share > shard.octets_max / NEGATIVE_SHARE * 9 / 10);
    let later = NOW.plus(6_000);
    (60_000..70_000).for_each(|number| shard.insert(hash(number), key(number), answer.clone(), later));
    assert!(shard.octets_of(NEGATIVE) < share);
    let much_later = NOW.plus(u64::from(60 + STALE_SECONDS) * 1000);
    (70_000..80_000).for_each(|number| shard.insert(hash(number), key(number), answer.clone(), much_later));
    assert_eq!(shard.octets_of(NEGATIVE), 0);
    shard.check();
}

#[test]
fn one_insertion_looks_at_a_bounded_number_of_entries() {
    let mut shard = Shard::new(1 << 20, STALE_SECONDS);
    let answer = reply(4);
    (0..4_000).for_each(|number| shard.put(number, &answer));
    let kept: Vec<u32> = (0..4_000).filter(|&number| shard.has(number)).collect();
    for _ in 0..ASKED_MAX {
        assert!(kept.iter().all(|&number| shard.has(number)));
    }
    // All are asked for, so nothing leaves for its own sake: yet there is room for the next one.
    shard.put(5_000, &answer);
    shard.put(5_001, &answer);
    shard.check();
    let left = kept.iter().filter(|&&number| !shard.has(number)).count();
    assert!((1..=2).contains(&left), "{left}");
}

#[test]
fn slots_are_visited_and_swept_in_parts() {
    let mut shard = Shard::new(1 << 20, STALE_SECONDS);
    (0..200).for_each(|number| shard.put(number, &reply(4)));
    let mut seen = 0;
    for first in (0..shard.slots()).step_by(30) {
        shard.visit(first, 30, |entry| {
            assert!(!entry.is_established);
            seen += 1;
        });
    }
    assert_eq!(seen, 200);
    let odd = |key: &CacheKey| key.ask().qname[6] % 2 == 1;
    assert_eq!(shard.sweep(0, 100, odd), 50);
    assert_eq!(shard.sweep(100, u32::MAX, odd), 50);
    shard.check();
    assert!((0..200).all(|number| shard.has(number) == (number % 2 == 0)));
    // What was freed is used again.
    let slots = shard.slots();
    (1_000..1_100).for_each(|number| shard.put(number, &reply(4)));
    assert_eq!(shard.slots(), slots);
    shard.check();
}

/// A change or a look.
#[derive(Clone, Debug)]
enum Step {
    Put(u32, usize),
    Fail(u32),
    Remove(u32),
    Look(u32),
    Sweep(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0u32..600;
    prop_oneof![
        6 => (number.clone(), prop_oneof![Just(0), Just(4), Just(300), Just(20_000)]).prop_map(|(n, o)| Step::Put(n, o)),
        2 => number.clone().prop_map(Step::Fail),
        1 => number.clone().prop_map(Step::Remove),
        6 => number.clone().prop_map(Step::Look),
        1 => number.prop_map(Step::Sweep),
    ]
}

proptest! {
    /// Whatever happens: what is found is what was put there last, and the bounds and the books hold.
    #[test]
    fn a_shard_is_a_map_that_forgets(steps in prop::collection::vec(step(), 1..600)) {
        let mut shard = Shard::new(1 << 18, STALE_SECONDS);
        let mut model: HashMap<u32, Option<usize>> = HashMap::new();
        let entries = [0usize, 4, 300, 20_000].map(|octets| (octets, reply(octets)));
        for (count, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(number, octets) => {
                    let (_, entry) = entries.iter().find(|(of, _)| *of == octets).expect("made above");
                    shard.put(number, entry);
                    model.insert(number, Some(octets));
                }
                Step::Fail(number) => {
                    shard.put(number, &failure());
                    model.insert(number, None);
                }
                Step::Remove(number) => {
                    shard.remove(hash(number), |kept| *kept == key(number));
                    model.remove(&number);
                }
                Step::Look(number) => {
                    let found = shard.get(hash(number), |kept| *kept == key(number));
                    match (found, model.get(&number)) {
                        (None, _) => {}
                        (Some(Entry::Failure(..)), Some(None)) => {}
                        (Some(Entry::Reply(reply)), Some(Some(octets))) => {
                            prop_assert_eq!(reply.is_negative(), *octets == 0);
                            prop_assert!(reply.octets().len() >= *octets && reply.octets().len() <= octets + 60);
                        }
                        (found, expected) => prop_assert!(false, "{:?} where {:?} was put", found, expected),
                    }
                }
                Step::Sweep(number) => {
                    shard.sweep(0, u32::MAX, |kept| *kept == key(number));
                    prop_assert!(!shard.has(number));
                    model.remove(&number);
                }
            }
            if count % 100 == 0 {
                shard.check();
            }
        }
        shard.check();
    }
}
