//! Identical questions in flight are asked once (RFC 5452 section 5: or a forger gets many chances at a time).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::cache::CacheKey;
use super::{Ask, ExchangeError, Outcome};

/// The questions that are being asked now, at most so many.
#[derive(Debug)]
pub(super) struct InFlight {
    // Keyed hasher (std's SipHash): clients choose the keys.
    questions: Mutex<HashMap<CacheKey, watch::Receiver<Option<Outcome>>>>,
    max: usize,
}

/// What became of the wish to know something.
pub(super) enum Joined {
    /// Nobody asks it yet: the caller runs the exchange.
    First(Lead, Waiter),
    /// Somebody asks it already.
    Waiting(Waiter),
    /// As many questions as may be are in flight.
    Full,
}

/// The duty to run the exchange of a question. Dropped unfinished, it tells the waiters so.
pub(super) struct Lead {
    in_flight: Arc<InFlight>,
    key: CacheKey,
    outcome: watch::Sender<Option<Outcome>>,
}

/// One who waits for an outcome.
pub(super) struct Waiter(watch::Receiver<Option<Outcome>>);

impl InFlight {
    /// Nothing in flight yet.
    pub(super) fn new(max: usize) -> Self {
        Self { questions: Mutex::default(), max }
    }

    /// Joins the exchange of this question, or takes the lead.
    pub(super) fn join(self: &Arc<Self>, ask: &Ask<'_>) -> Joined {
        let key = CacheKey::from(ask);
        let mut questions = self.lock();
        if let Some(outcome) = questions.get(&key) {
            return Joined::Waiting(Waiter(outcome.clone()));
        }
        if questions.len() >= self.max {
            return Joined::Full;
        }
        let (sender, receiver) = watch::channel(None);
        questions.insert(key.clone(), receiver.clone());
        Joined::First(Lead { in_flight: Arc::clone(self), key, outcome: sender }, Waiter(receiver))
    }

    /// Questions in flight.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The map; it stays whole whatever panics, so a poisoned lock is no reason to stop.
    fn lock(&self) -> MutexGuard<'_, HashMap<CacheKey, watch::Receiver<Option<Outcome>>>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// What is being asked.
    pub(super) fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Hands the outcome to all who wait; from here on the question may be asked anew.
    pub(super) fn finish(self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.in_flight.lock().remove(&self.key);
    }
}

impl Waiter {
    /// Waits until the exchange is over.
    pub(super) async fn outcome(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(ExchangeError::Abandoned)),
            Err(_) => Err(ExchangeError::Abandoned),
        }
    }
}
