//! What a lane knows of the contexts that it asks in: as many as are in use, however many reloads there have been.

use std::sync::{Arc, Weak};

use hashbrown::HashTable;

use super::sockets::PoolIndex;
use crate::dns::{Target, TargetGroup};
use crate::forward::ContextId;
use crate::forward::pool::TargetState;

/// Contexts that nobody uses and that are kept all the same, at most, or as many as are used: when there are twice as
/// many as that, it is looked which are.
pub(super) const UNUSED_CONTEXTS_MAX: usize = 64;

/// The contexts of a lane, each under a number.
// Invariant: `by_id` holds the numbers of exactly the places that are taken; `free` those of the others.
pub(super) struct Contexts {
    places: Vec<Option<Context>>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    /// When there are so many, those that nobody uses are dropped.
    look_at: usize,
}

/// What a lane keeps of a context. A context's id never means other targets.
pub(super) struct Context {
    /// Which.
    pub(super) id: ContextId,
    /// Gone when no snapshot has the context any more, nor any order.
    group: Weak<TargetGroup>,
    /// Flights that ask in it.
    flights: usize,
    /// What is known of each target, in the order of the group.
    pub(super) states: Box<[Arc<TargetState>]>,
    /// The sockets of each target, where it is asked over UDP.
    pub(super) pools: Box<[Option<PoolIndex>]>,
}

impl Contexts {
    /// No contexts.
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), by_id: HashTable::new(), look_at: UNUSED_CONTEXTS_MAX }
    }

    /// The number of a context with these targets, if the lane knows it. After a reload its group may stand elsewhere.
    #[inline]
    pub(super) fn find(&mut self, id: ContextId, group: &Arc<TargetGroup>) -> Option<u32> {
        let Self { places, by_id, .. } = self;
        let is_it = |number: &u32| places[*number as usize].as_ref().is_some_and(|context| context.id == id);
        let number = *by_id.find(hash(id), is_it)?;
        let context = places[number as usize].as_mut()?;
        if !std::ptr::eq(context.group.as_ptr(), Arc::as_ptr(group)) {
            context.group = Arc::downgrade(group);
        }
        Some(number)
    }

    /// Adds a context that the lane does not know yet; its number.
    pub(super) fn add(&mut self, context: Context) -> u32 {
        let id = context.id;
        let number = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        self.places[number as usize] = Some(context);
        let Self { places, by_id, .. } = self;
        let hash_of = |number: &u32| places[*number as usize].as_ref().map_or(0, |context| hash(context.id));
        by_id.insert_unique(hash(id), number, hash_of);
        number
    }

    /// Takes out those that nobody uses, if there are so many that it is worth looking.
    pub(super) fn take_unused(&mut self) -> Vec<Context> {
        if self.len() < self.look_at {
            return Vec::new();
        }
        let mut unused = Vec::new();
        for number in 0..self.places.len() {
            if let Some(context) = self.places[number].take_if(|context| context.is_unused()) {
                if let Ok(entry) = self.by_id.find_entry(hash(context.id), |of| *of as usize == number) {
                    entry.remove();
                }
                self.free.push(number as u32);
                unused.push(context);
            }
        }
        self.look_at = (2 * self.len()).max(UNUSED_CONTEXTS_MAX);
        unused
    }

    /// A context.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Context> {
        self.places.get(number as usize)?.as_ref()
    }

    /// One more flight asks in a context.
    #[inline]
    pub(super) fn flight_began(&mut self, number: u32) {
        if let Some(context) = &mut self.places[number as usize] {
            context.flights += 1;
        }
    }

    /// One fewer.
    #[inline]
    pub(super) fn flight_ended(&mut self, number: u32) {
        if let Some(context) = &mut self.places[number as usize] {
            context.flights -= 1;
        }
    }

    /// How many there are.
    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

impl Context {
    /// One that no flight asks in yet.
    pub(super) fn new(
        id: ContextId,
        group: &Arc<TargetGroup>,
        states: Box<[Arc<TargetState>]>,
        pools: Box<[Option<PoolIndex>]>,
    ) -> Self {
        Self { id, group: Arc::downgrade(group), flights: 0, states, pools }
    }

    /// Its targets.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.states.iter().map(|state| state.target())
    }

    /// Whether no flight asks in it and no snapshot has it, as far as this lane has heard. One that comes back is known
    /// anew.
    fn is_unused(&self) -> bool {
        self.flights == 0 && self.group.strong_count() == 0
    }
}

/// By which a context is found. Ids are given out by this process, one after the other.
fn hash(id: ContextId) -> u64 {
    u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Arc<TargetGroup> {
        Arc::new(TargetGroup::do53([]))
    }

    fn add(contexts: &mut Contexts, id: u32, group: &Arc<TargetGroup>) -> u32 {
        contexts.add(Context::new(ContextId(id), group, Box::default(), Box::default()))
    }

    /// The ids of those that are taken out.
    fn unused(contexts: &mut Contexts) -> Vec<u32> {
        contexts.take_unused().iter().map(|context| context.id.0).collect()
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut contexts = Contexts::new();
        let served = group();
        let of_snapshot = add(&mut contexts, 0, &served);
        let in_flight = add(&mut contexts, 1, &group());
        contexts.flight_began(in_flight);
        for id in 2..UNUSED_CONTEXTS_MAX as u32 {
            assert!(contexts.take_unused().is_empty(), "there are not many yet");
            add(&mut contexts, id, &group());
        }
        assert_eq!(unused(&mut contexts), (2..UNUSED_CONTEXTS_MAX as u32).collect::<Vec<_>>());
        assert_eq!(contexts.find(ContextId(0), &served), Some(of_snapshot));
        assert_eq!(contexts.get(in_flight).map(|context| context.id), Some(ContextId(1)));
        assert_eq!(contexts.find(ContextId(2), &served), None);
        contexts.flight_ended(in_flight);
        contexts.look_at = 0;
        assert_eq!(unused(&mut contexts), [1]);
    }

    #[test]
    fn a_context_that_a_reload_keeps_is_in_use_by_its_new_group() {
        let mut contexts = Contexts::new();
        let (before, after) = (group(), group());
        let number = add(&mut contexts, 7, &before);
        assert_eq!(contexts.find(ContextId(7), &after), Some(number));
        drop(before);
        contexts.look_at = 0;
        assert!(contexts.take_unused().is_empty());
        drop(after);
        contexts.look_at = 0;
        assert_eq!(unused(&mut contexts), [7]);
    }

    #[test]
    fn a_number_is_given_out_again_and_never_found_under_the_old_id() {
        let mut contexts = Contexts::new();
        let mut numbers = 0;
        for id in 0..10_000 {
            contexts.take_unused();
            let group = group();
            let number = add(&mut contexts, id, &group);
            numbers = numbers.max(number + 1);
            assert_eq!(contexts.find(ContextId(id), &group), Some(number));
            assert_eq!(contexts.get(number).map(|context| context.id), Some(ContextId(id)));
            if let Some(before) = id.checked_sub(UNUSED_CONTEXTS_MAX as u32) {
                assert_eq!(contexts.find(ContextId(before), &group), None);
            }
        }
        assert!(numbers as usize <= UNUSED_CONTEXTS_MAX, "{numbers}");
    }

    #[test]
    fn many_that_are_in_use_are_not_looked_through_each_time() {
        let mut contexts = Contexts::new();
        let served: Vec<_> = (0..1000).map(|_| group()).collect();
        for (id, group) in served.iter().enumerate() {
            assert!(contexts.take_unused().is_empty());
            add(&mut contexts, id as u32, group);
        }
        assert!(contexts.look_at > 1000 && contexts.look_at <= 2000, "{}", contexts.look_at);
    }
}
