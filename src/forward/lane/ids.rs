//! The query ids of one socket: which are open, and for whom, and which it has used before.

use rand::Rng;

/// What a socket's datagram with some id is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdState<T> {
    /// The reply to a query that is waited for.
    Open(T),
    /// A query had this id, and nothing of it matters any more: a late reply, or a second one.
    Closed,
    /// No query from this socket ever had this id.
    Unknown,
}

/// The ids of one socket. None is used twice, so that a late reply is never taken for another's.
// Invariant: a power of two of places, at most half of them taken; an id stands in the first free place at or behind the
// one that its lower bits name, so that every id that stands is found before a free place.
pub(super) struct Ids<T> {
    places: Vec<Option<(u16, IdState<T>)>>,
    used: usize,
}

/// Places of a socket that begins.
const PLACES_MIN: usize = 16;

impl<T: Copy> Ids<T> {
    /// No id used yet.
    pub(super) fn new() -> Self {
        Self { places: vec![None; PLACES_MIN], used: 0 }
    }

    /// Ids that have been used.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Opens an id that this socket has not used yet; every such id is as likely as every other. To be called at most
    /// 2^15 times, or finding one takes ever longer.
    pub(super) fn open(&mut self, owner: T, rng: &mut impl Rng) -> u16 {
        if (self.used + 1) * 2 > self.places.len() {
            self.grow();
        }
        loop {
            let id = rng.random();
            let place = self.place_of(id);
            if self.places[place].is_none() {
                self.places[place] = Some((id, IdState::Open(owner)));
                self.used += 1;
                return id;
            }
        }
    }

    /// What is known of an id.
    #[inline]
    pub(super) fn state(&self, id: u16) -> IdState<T> {
        self.places[self.place_of(id)].map_or(IdState::Unknown, |(_, state)| state)
    }

    /// Nothing of an open id matters any more.
    pub(super) fn close(&mut self, id: u16) {
        let place = self.place_of(id);
        if let Some((_, state)) = &mut self.places[place] {
            *state = IdState::Closed;
        }
    }

    /// Whose ids are open.
    pub(super) fn owners(&self) -> impl Iterator<Item = T> {
        self.places.iter().flatten().filter_map(|(_, state)| match state {
            IdState::Open(owner) => Some(*owner),
            IdState::Closed | IdState::Unknown => None,
        })
    }

    /// Where an id stands, or would stand.
    #[inline]
    fn place_of(&self, id: u16) -> usize {
        let mask = self.places.len() - 1;
        let mut place = usize::from(id) & mask;
        while self.places[place].is_some_and(|(stands, _)| stands != id) {
            place = (place + 1) & mask;
        }
        place
    }

    /// Doubles the places.
    fn grow(&mut self) {
        let twice = vec![None; self.places.len() * 2];
        for taken in std::mem::replace(&mut self.places, twice).into_iter().flatten() {
            let place = self.place_of(taken.0);
            self.places[place] = Some(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::collections::HashSet;

    #[test]
    fn no_id_is_used_twice_and_each_is_known_for_ever() {
        let (mut ids, mut rng) = (Ids::new(), StdRng::seed_from_u64(1));
        let mut seen = Vec::new();
        for owner in 0..4096u32 {
            let id = ids.open(owner, &mut rng);
            assert_eq!(ids.state(id), IdState::Open(owner));
            seen.push(id);
        }
        assert_eq!((ids.used(), seen.iter().collect::<HashSet<_>>().len()), (4096, 4096));
        for (owner, id) in seen.iter().enumerate().filter(|(owner, _)| owner % 3 == 0) {
            assert_eq!(ids.state(*id), IdState::Open(owner as u32));
            ids.close(*id);
            ids.close(*id);
        }
        for (owner, id) in seen.iter().enumerate() {
            let expected = if owner % 3 == 0 { IdState::Closed } else { IdState::Open(owner as u32) };
            assert_eq!(ids.state(*id), expected);
        }
        let unknown = (0..=u16::MAX).filter(|id| ids.state(*id) == IdState::Unknown).count();
        assert_eq!(unknown, 65_536 - 4096);
        let owners: HashSet<u32> = ids.owners().collect();
        assert_eq!(owners, (0..4096).filter(|owner| owner % 3 != 0).collect());
    }

    #[test]
    fn ids_spread_evenly() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut in_each = [0u32; 256];
        for _ in 0..64 {
            let mut ids = Ids::new();
            for _ in 0..512 {
                in_each[usize::from(ids.open((), &mut rng) >> 8)] += 1;
            }
        }
        // 32,768 ids in 256 cells: 128 each, with a deviation of 11.3.
        let chi_square: f64 = in_each.iter().map(|count| (f64::from(*count) - 128.0).powi(2) / 128.0).sum();
        assert!(chi_square < 400.0, "{chi_square}");
    }
}
