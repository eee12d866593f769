//! What is known of the targets, and whom to ask first: shared by all who ask.
//!
//! A target's state is found once ([`TargetPool::state`]) and kept by who asks it; from there on an exchange takes one
//! short lock a target when it begins ([`order`]) and one for each reply ([`TargetState::learn`]).

mod health;
mod order;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::CryptoRng;

use super::Millis;
use super::exchange::Observation;
use crate::dns::{Target, TargetGroup};
pub use health::Change;
use health::Health;
pub use order::{Candidates, order};

/// Targets that are remembered at a time; configurations have far fewer. One more is asked like any other, but what is
/// learned of it stays with who asks it.
const TARGETS_MAX: usize = 16_384;
/// Targets of configurations long gone that are remembered at most, or as many as are asked: when there are twice as many
/// as that, it is looked which are.
const UNUSED_TARGETS_MAX: usize = 64;

/// What is known of all targets: rules that share a target share what is known of it.
#[derive(Debug)]
pub struct TargetPool {
    in_flight_max: u32,
    states: Mutex<States>,
}

/// The states of all targets.
#[derive(Debug)]
struct States {
    by_target: HashMap<Target, Arc<TargetState>>,
    /// When there are so many, those that nobody asks any more are forgotten.
    look_at: usize,
}

/// What is known of one target.
#[derive(Debug)]
pub struct TargetState {
    target: Target,
    in_flight_max: u32,
    /// Attempts that listen to it.
    in_flight: AtomicU32,
    health: Mutex<Health>,
}

/// What is known of one target, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetReport {
    /// The target, as it is written in a configuration.
    pub target: String,
    /// How it does.
    pub condition: Condition,
    /// Its smoothed round-trip time in milliseconds; none before it has answered over its own channel.
    pub round_trip_millis: Option<f32>,
    /// Queries that wait for its reply.
    pub in_flight: u32,
    /// Replies of it.
    pub answered: u64,
    /// Times that it was silent or refused us.
    pub failed: u64,
    /// Whether it sends cookies (RFC 7873).
    pub has_cookies: bool,
    /// Whether it is asked without EDNS for now, because it answers only such queries.
    pub is_plain_only: bool,
    /// Whether it is asked over TCP for now, because it does not keep the case of names.
    pub changes_case: bool,
}

/// How a target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has not been heard of yet, nor missed.
    Fresh,
    /// It answers.
    Good,
    /// It was silent or unreachable at this moment, and has not been heard of since. It is asked last.
    Suspect(Millis),
    /// The same, and it failed again while it was suspect; where it was silent, for a while.
    Away(Millis),
}

impl TargetPool {
    /// A pool that knows of no target. Each target may have so many queries in flight.
    pub fn new(in_flight_max: u32) -> Self {
        let states = States { by_target: HashMap::new(), look_at: UNUSED_TARGETS_MAX };
        Self { in_flight_max, states: Mutex::new(states) }
    }

    /// The state of a target; a new one gets a client cookie.
    pub fn state(&self, target: &Target, rng: &mut impl CryptoRng) -> Arc<TargetState> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.by_target.get(target) {
            return Arc::clone(state);
        }
        if states.by_target.len() >= states.look_at {
            // Nobody else holds the state of a target that is not asked any more.
            states.by_target.retain(|_, state| Arc::strong_count(state) > 1);
            states.look_at = (2 * states.by_target.len()).clamp(UNUSED_TARGETS_MAX, TARGETS_MAX);
        }
        let state = Arc::new(TargetState {
            target: target.clone(),
            in_flight_max: self.in_flight_max,
            in_flight: AtomicU32::new(0),
            health: Mutex::new(Health::new(target, rng)),
        });
        if states.by_target.len() < TARGETS_MAX {
            states.by_target.insert(target.clone(), Arc::clone(&state));
        }
        state
    }

    /// The states of a group's targets, in its order.
    pub fn states(&self, group: &TargetGroup, rng: &mut impl CryptoRng) -> Vec<Arc<TargetState>> {
        group.targets.iter().map(|target| self.state(target, rng)).collect()
    }

    /// What is known of every target, in the order of their texts.
    pub fn report(&self) -> Vec<TargetReport> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let states: Vec<_> = states.by_target.values().map(Arc::clone).collect();
        let mut reports: Vec<_> = states.iter().map(|state| state.report()).collect();
        reports.sort_by(|a, b| a.target.cmp(&b.target));
        reports
    }
}

impl TargetState {
    /// The target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Takes note of what an attempt showed; says when that is news.
    pub fn learn(&self, observation: Observation, now: Millis) -> Option<Change> {
        self.health().learn(observation, now)
    }

    /// An attempt of this target listens from now on.
    pub fn attempt_opened(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt of this target is closed.
    pub fn attempt_closed(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether as many attempts as may be listen to it. Attempts that begin at the same time may all find room.
    pub fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) >= self.in_flight_max
    }

    /// Whether it counts as away: it failed again and again, and was not heard of in between.
    pub fn is_away(&self) -> bool {
        self.health().is_away()
    }

    /// Whether it is asked over TCP for now, because it does not keep the case of names.
    pub fn changes_case(&self, now: Millis) -> bool {
        self.health().changes_case(now)
    }

    /// From which address of ours it is asked, as a new socket to it shows. A client cookie belongs to one address: with
    /// another one there is a new cookie (RFC 9018 section 3).
    pub fn set_local_address(&self, local: IpAddr, rng: &mut impl CryptoRng) {
        self.health().set_local_address(local, rng);
    }

    /// What is known of it.
    fn report(&self) -> TargetReport {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        self.health().report(self.target.to_string(), in_flight)
    }

    /// The health; it stays whole whatever panics, so a poisoned lock is no reason to stop.
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
