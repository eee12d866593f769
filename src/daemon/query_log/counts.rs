//! What is counted of the logs' outputs: by the thread that writes, for whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The counts of one output.
#[derive(Debug, Default)]
pub(crate) struct OutputCounts {
    written: AtomicU64,
    octets: AtomicU64,
    lost: [AtomicU64; Loss::NAMED.len()],
    is_on: AtomicBool,
    is_up: AtomicBool,
}

/// Why an output loses lines or frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It cannot be written to: no such folder, a full disk, nobody who listens.
    OutputFailed,
    /// Whoever reads it does so too slowly.
    ReaderSlow,
}

impl Loss {
    /// Each with its name in metrics, in their order.
    pub(crate) const NAMED: [(Self, &'static str); 2] =
        [(Self::OutputFailed, "output_failed"), (Self::ReaderSlow, "reader_slow")];
}

impl OutputCounts {
    /// So many have been written, with so many octets.
    pub(super) fn wrote(&self, written: u64, octets: usize) {
        self.written.fetch_add(written, Ordering::Relaxed);
        self.octets.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// So many are lost.
    pub(super) fn lost(&self, lost: u64, why: Loss) {
        self.lost[why as usize].fetch_add(lost, Ordering::Relaxed);
    }

    /// It is there, or not any more.
    pub(super) fn set_on(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// It takes what is written, or not.
    pub(super) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
    }

    /// Lines or frames that the system took.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Their octets.
    pub(crate) fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    /// Those that it did not take.
    pub(crate) fn lost_because(&self, why: Loss) -> u64 {
        self.lost[why as usize].load(Ordering::Relaxed)
    }

    /// Whether it takes what is written; none: it is off.
    pub(crate) fn is_up(&self) -> Option<bool> {
        self.is_on.load(Ordering::Relaxed).then(|| self.is_up.load(Ordering::Relaxed))
    }
}
