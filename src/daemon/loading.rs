//! What is known of loading: what is served, since when, and how the last attempt ended, for those who ask.

use super::changes::Sizes;
use super::files::FileRead;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// Octets of the reason for a failure that are kept at most.
pub(super) const REASON_OCTETS_MAX: usize = 4096;

/// What is known of loading, shared by those who want to know.
#[derive(Clone)]
pub(super) struct Loading(Arc<Mutex<LoadState>>);

/// The state of loading at one moment.
#[derive(Clone, Debug)]
pub(super) struct LoadState {
    /// What is served.
    pub(super) generation: u64,
    /// Since when, as a calendar has it.
    pub(super) loaded_at: SystemTime,
    /// The same on a clock that nobody sets.
    pub(super) loaded: Instant,
    /// How much of everything is in it.
    pub(super) sizes: Sizes,
    /// What it changed, as [`super::changes::Changes::lines`] says it; the first generation changed nothing.
    pub(super) changes: Vec<String>,
    /// Whether it is the last good configuration, and not what the file says.
    pub(super) is_last_good: bool,
    /// When loading was last tried, as a calendar has it.
    pub(super) last_attempt: SystemTime,
    /// The same on a clock that nobody sets.
    pub(super) attempted: Instant,
    /// Why that failed, the start of it; none: it did not.
    pub(super) last_error: Option<String>,
    /// How often another generation was taken up.
    pub(super) reloads: u64,
    /// How often an attempt failed.
    pub(super) failures: u64,
    /// What the last attempt read.
    pub(super) files: Arc<[FileRead]>,
}

impl Loading {
    /// Something is served for the first time.
    pub(super) fn new(sizes: Sizes, files: Arc<[FileRead]>) -> Self {
        let now = SystemTime::now();
        Self(Arc::new(Mutex::new(LoadState {
            generation: 1,
            loaded_at: now,
            loaded: Instant::now(),
            sizes,
            changes: Vec::new(),
            is_last_good: false,
            last_attempt: now,
            attempted: Instant::now(),
            last_error: None,
            reloads: 0,
            failures: 0,
            files,
        })))
    }

    /// What is served is the last good configuration, because of this.
    pub(super) fn fell_back(&self, reason: &str) {
        let mut state = self.lock();
        state.is_last_good = true;
        state.last_error = Some(beginning(reason));
        state.failures += 1;
    }

    /// Another generation is served.
    pub(super) fn succeeded(&self, generation: u64, sizes: Sizes, changes: Vec<String>, files: Arc<[FileRead]>) {
        let mut state = self.lock();
        let now = SystemTime::now();
        *state = LoadState {
            generation,
            loaded_at: now,
            loaded: Instant::now(),
            sizes,
            changes,
            is_last_good: false,
            last_attempt: now,
            attempted: Instant::now(),
            last_error: None,
            reloads: state.reloads + 1,
            failures: state.failures,
            files,
        };
    }

    /// What was read could not be taken up, because of this.
    pub(super) fn failed(&self, reason: &str, files: Arc<[FileRead]>) {
        let mut state = self.lock();
        state.last_attempt = SystemTime::now();
        state.attempted = Instant::now();
        state.last_error = Some(beginning(reason));
        state.failures += 1;
        state.files = files;
    }

    /// The state now.
    pub(super) fn state(&self) -> LoadState {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LoadState> {
        // Nothing that can panic happens under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As much of a reason as is kept.
fn beginning(reason: &str) -> String {
    let reason = reason.trim();
    let mut end = reason.len().min(REASON_OCTETS_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    if end < reason.len() { format!("{} …", &reason[..end]) } else { reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_what_is_served_and_success_ends_it() {
        let loading = Loading::new(Sizes::default(), Arc::new([]));
        loading.failed(&"é".repeat(REASON_OCTETS_MAX), Arc::new([]));
        let state = loading.state();
        assert_eq!((state.generation, state.failures, state.reloads), (1, 1, 0));
        assert!(state.last_error.is_some_and(|reason| reason.len() <= REASON_OCTETS_MAX + 4));
        loading.succeeded(2, Sizes::default(), vec!["vpc-a: names +1 ~0 -0".to_owned()], Arc::new([]));
        let state = loading.state();
        assert_eq!((state.generation, state.failures, state.reloads, state.last_error), (2, 1, 1, None));
    }
}
