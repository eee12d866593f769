//! Whom to ask first.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use rand::{CryptoRng, Rng};

use super::TargetState;
use super::health::Look;
use crate::dns::TargetOrder;
use crate::forward::exchange::{Candidate, PROBES_MAX, TARGETS_ASKED_MAX, TargetIndex, Turn};
use crate::forward::{ExchangeError, Millis};

/// Targets that take at most so much longer than the fastest are treated alike, in parts of its round-trip time.
const ALIKE_FACTOR: f32 = 1.2;
/// The same in milliseconds.
const ALIKE_MILLIS: f32 = 5.0;

/// The targets of a question in the order in which to ask.
#[derive(Clone, Copy, Debug)]
pub struct Candidates {
    list: [Candidate; TARGETS_ASKED_MAX],
    count: usize,
    all_away: bool,
}

impl Candidates {
    /// Whether every one of them has failed twice, and was not heard of since.
    pub fn are_all_away(&self) -> bool {
        self.all_away
    }
}

impl Deref for Candidates {
    type Target = [Candidate];

    fn deref(&self) -> &[Candidate] {
        &self.list[..self.count]
    }
}

/// The targets in the order in which to ask: as the group wants it, but the suspect ones last, and those at their
/// limit not at all.
///
/// The candidates name the targets by their places in `states`; only the first six are looked at.
pub fn order(
    states: &[Arc<TargetState>],
    order: TargetOrder,
    now: Millis,
    rng: &mut impl CryptoRng,
) -> Result<Candidates, ExchangeError> {
    if states.is_empty() {
        return Err(ExchangeError::NoTargets);
    }
    // Most groups have one target, and nothing to be sorted.
    if let [only] = states {
        if only.is_busy() {
            return Err(ExchangeError::TargetBusy);
        }
        let look = only.health().look(TargetIndex(0), now);
        let mut candidates = Candidates { list: Default::default(), count: 1, all_away: look.candidate.is_away };
        candidates.list[0] = look.candidate;
        return Ok(candidates);
    }
    let states = &states[..states.len().min(TARGETS_ASKED_MAX)];
    let mut looks = [Look::default(); TARGETS_ASKED_MAX];
    let mut count = 0;
    for (index, state) in states.iter().enumerate().filter(|(_, state)| !state.is_busy()) {
        looks[count] = state.health().look(TargetIndex(index as u8), now);
        count += 1;
    }
    if count == 0 {
        return Err(ExchangeError::TargetBusy);
    }
    let looks = &mut looks[..count];
    looks.sort_by_key(|look| look.is_suspect());
    let healthy = looks.partition_point(|look| !look.is_suspect());
    put_in_order(&mut looks[..if healthy > 0 { healthy } else { count }], order, rng);
    claim_probes(looks, states, order, now);
    let mut candidates =
        Candidates { list: Default::default(), count, all_away: looks.iter().all(|look| look.candidate.is_away) };
    for (candidate, look) in candidates.list.iter_mut().zip(looks) {
        *candidate = look.candidate;
    }
    Ok(candidates)
}

/// Puts targets of which each may be asked first in the order that the group wants.
fn put_in_order(looks: &mut [Look], order: TargetOrder, rng: &mut impl CryptoRng) {
    match order {
        TargetOrder::Fastest => {
            looks.sort_by(Look::by_round_trip);
            let alike = alike(looks);
            if alike > 1 {
                looks[..rng.random_range(1..=alike)].rotate_right(1);
            }
        }
        TargetOrder::InOrder => {}
        TargetOrder::Random => {
            for last in (1..looks.len()).rev() {
                looks.swap(last, rng.random_range(0..=last));
            }
        }
    }
}

/// How many of the targets, ordered by their round-trip times, are as good as the first.
fn alike(looks: &[Look]) -> usize {
    let mut times = looks.iter().map_while(|look| look.round_trip_millis);
    let Some(fastest) = times.next() else { return 0 };
    let limit = (fastest * ALIKE_FACTOR).max(fastest + ALIKE_MILLIS);
    1 + times.take_while(|&millis| millis <= limit).count()
}

/// Finds those that are to be asked beside the first: suspect ones that may be back, and where the fastest is wanted,
/// one that was not measured for long. Where all are suspect they are asked anyhow.
fn claim_probes(looks: &mut [Look], states: &[Arc<TargetState>], order: TargetOrder, now: Millis) {
    let Some((first, others)) = looks.split_first_mut().filter(|(first, _)| !first.is_suspect()) else { return };
    debug_assert_eq!(first.candidate.turn, Turn::InOrder);
    let mut probes = 0;
    let mut measured = 0;
    for look in others.iter_mut().filter(|look| look.is_due) {
        let is_wanted = look.is_suspect() || order == TargetOrder::Fastest && measured == 0;
        let state = &states[usize::from(look.candidate.target.0)];
        if probes < PROBES_MAX && is_wanted && state.health().claim_probe(now) {
            probes += 1;
            measured += usize::from(!look.is_suspect());
            look.candidate.turn = if look.is_suspect() { Turn::Probe } else { Turn::Measured };
        }
    }
}

impl Look {
    /// Whether it is asked after those that are not.
    fn is_suspect(&self) -> bool {
        self.candidate.turn != Turn::InOrder
    }

    /// The quickest first, those never measured behind them.
    fn by_round_trip(&self, other: &Self) -> Ordering {
        let millis = |look: &Self| look.round_trip_millis.unwrap_or(f32::INFINITY);
        millis(self).total_cmp(&millis(other))
    }
}
