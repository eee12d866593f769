//! When to look at which flight again: a wheel, on which setting and clearing a timer touch a few words.

use crate::forward::Millis;

/// At most one timer for each of many small numbers.
// Invariant: a number that is armed is linked into exactly the list of its slot; `occupied` has a bit for each list that
// is not empty; every armed tick t has turned_to < t <= turned_to + SLOTS.
pub(super) struct Timers {
    /// The first number of each slot's list, or NONE.
    heads: Box<[u32; SLOTS]>,
    /// A bit for each slot whose list is not empty.
    occupied: [u64; SLOTS / 64],
    /// What each number is linked to.
    links: Vec<Link>,
    /// The last tick whose timers have all been told.
    turned_to: u64,
    armed: usize,
}

/// A number's place in a list.
#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    /// The tick that it is armed for; NOT_ARMED if it is not.
    tick: u64,
}

/// Milliseconds of a tick: no timer is told later than that, and none is told early.
const TICK_MILLIS: u64 = 4;
/// Ticks that the wheel reaches into the future: a little over 4 seconds. What is due later is told then, and armed anew.
const SLOTS: usize = 1024;
/// No number.
const NONE: u32 = u32::MAX;
/// The tick of a number that is not armed.
const NOT_ARMED: u64 = u64::MAX;

impl Timers {
    /// Nothing armed.
    pub(super) fn new() -> Self {
        Self { heads: Box::new([NONE; SLOTS]), occupied: [0; SLOTS / 64], links: Vec::new(), turned_to: 0, armed: 0 }
    }

    /// Arms the timer of a number for a moment, unless it is armed for one that is not later.
    pub(super) fn arm(&mut self, number: u32, at: Millis, now: Millis) {
        if self.armed == 0 {
            // Nothing is on the wheel, so it need not be turned step by step.
            self.turned_to = self.turned_to.max(now.0 / TICK_MILLIS);
        }
        let index = number as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, Link { next: NONE, previous: NONE, tick: NOT_ARMED });
        }
        let tick = at.0.div_ceil(TICK_MILLIS).clamp(self.turned_to + 1, self.turned_to + SLOTS as u64);
        let armed_for = self.links[index].tick;
        if armed_for != NOT_ARMED {
            if armed_for <= tick {
                return;
            }
            self.disarm(number);
        }
        let slot = slot_of(tick);
        let next = std::mem::replace(&mut self.heads[slot], number);
        self.links[index] = Link { next, previous: NONE, tick };
        if next != NONE {
            self.links[next as usize].previous = number;
        }
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.armed += 1;
    }

    /// Clears the timer of a number, if it is armed.
    pub(super) fn disarm(&mut self, number: u32) {
        let Some(link) = self.links.get_mut(number as usize).filter(|link| link.tick != NOT_ARMED) else { return };
        let Link { next, previous, tick } = *link;
        link.tick = NOT_ARMED;
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        if previous == NONE {
            let slot = slot_of(tick);
            self.heads[slot] = next;
            if next == NONE {
                self.occupied[slot / 64] &= !(1 << (slot % 64));
            }
        } else {
            self.links[previous as usize].next = next;
        }
        self.armed -= 1;
    }

    /// Takes a number off the wheel whose moment has come.
    pub(super) fn due(&mut self, now: Millis) -> Option<u32> {
        let now = now.0 / TICK_MILLIS;
        match self.next_tick() {
            Some(tick) if tick <= now => {
                let number = self.heads[slot_of(tick)];
                self.disarm(number);
                self.turned_to = tick - 1;
                Some(number)
            }
            _ => {
                self.turned_to = self.turned_to.max(now);
                None
            }
        }
    }

    /// The moment when the next one is due; none if nothing is armed.
    pub(super) fn next_at(&self) -> Option<Millis> {
        self.next_tick().map(|tick| Millis(tick * TICK_MILLIS))
    }

    /// The first tick after the last one told that something is armed for.
    fn next_tick(&self) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let first = slot_of(self.turned_to + 1);
        // The words from the first slot's on, round to it again: there its lower bits come last.
        (0..=self.occupied.len()).find_map(|step| {
            let word = (first / 64 + step) % self.occupied.len();
            let wanted = match step {
                0 => u64::MAX << (first % 64),
                _ if step == self.occupied.len() => !(u64::MAX << (first % 64)),
                _ => u64::MAX,
            };
            let bits = self.occupied[word] & wanted;
            let slot = word * 64 + bits.trailing_zeros() as usize;
            (bits != 0).then(|| self.turned_to + 1 + ((slot + SLOTS - first) % SLOTS) as u64)
        })
    }
}

/// Where on the wheel a tick is.
fn slot_of(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Everything that is due, in the order it is told.
    fn all_due(timers: &mut Timers, now: u64) -> Vec<u32> {
        std::iter::from_fn(|| timers.due(Millis(now))).collect()
    }

    #[test]
    fn a_timer_is_told_once_and_at_its_time() {
        let mut timers = Timers::new();
        assert_eq!((timers.next_at(), timers.due(Millis(10_000))), (None, None));
        timers.arm(7, Millis(10_050), Millis(10_000));
        assert_eq!(timers.next_at(), Some(Millis(10_052)), "rounded up to a tick");
        assert!(all_due(&mut timers, 10_051).is_empty());
        assert_eq!(all_due(&mut timers, 10_052), [7]);
        assert!(all_due(&mut timers, 20_000).is_empty());
        assert_eq!(timers.next_at(), None);
    }

    #[test]
    fn only_an_earlier_moment_moves_a_timer() {
        let mut timers = Timers::new();
        timers.arm(1, Millis(400), Millis(0));
        timers.arm(1, Millis(800), Millis(0));
        assert_eq!(timers.next_at(), Some(Millis(400)));
        timers.arm(1, Millis(200), Millis(0));
        assert_eq!(timers.next_at(), Some(Millis(200)));
        assert_eq!(all_due(&mut timers, 4_000), [1]);
    }

    #[test]
    fn what_is_overdue_is_told_next_and_what_is_far_off_at_the_end_of_the_wheel() {
        let mut timers = Timers::new();
        timers.arm(1, Millis(5), Millis(1_000));
        timers.arm(2, Millis(1_000_000), Millis(1_000));
        assert!(all_due(&mut timers, 1_003).is_empty());
        assert_eq!(all_due(&mut timers, 1_004), [1]);
        assert_eq!(timers.next_at(), Some(Millis(1_000 + SLOTS as u64 * TICK_MILLIS)));
        assert_eq!(all_due(&mut timers, 1_000_000), [2]);
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_map_does(steps in prop::collection::vec((0u32..40, 0u64..6_000, 0u64..300), 1..300)) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 123_456;
            for (number, delay, passes) in steps {
                if delay < 600 && model.contains_key(&number) {
                    timers.disarm(number);
                    model.remove(&number);
                } else {
                    timers.arm(number, Millis(now + delay), Millis(now));
                    let tick = (now + delay).div_ceil(TICK_MILLIS).max(now / TICK_MILLIS + 1);
                    let end = now / TICK_MILLIS + SLOTS as u64;
                    let entry = model.entry(number).or_insert(u64::MAX);
                    *entry = (*entry).min(tick.min(end));
                }
                prop_assert_eq!(timers.next_at(), model.values().min().map(|tick| Millis(tick * TICK_MILLIS)));
                now += passes;
                let mut told = all_due(&mut timers, now);
                told.sort_unstable();
                let due: Vec<u32> =
                    model.iter().filter(|(_, tick)| **tick <= now / TICK_MILLIS).map(|(number, _)| *number).collect();
                model.retain(|_, tick| *tick > now / TICK_MILLIS);
                prop_assert_eq!(told, due);
            }
        }
    }
}
