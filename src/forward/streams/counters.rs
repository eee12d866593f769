//! What asking over streams counts.

use crate::forward::counters::Counter;

/// The live numbers.
#[derive(Debug, Default)]
pub(in crate::forward) struct StreamCounters {
    pub(super) opened: Counter,
    pub(super) reused: Counter,
    pub(super) asked_again: Counter,
    pub(super) failed: Counter,
    pub(super) certificates: Counter,
    pub(super) timed_out: Counter,
    pub(super) busy: Counter,
    pub(super) strays: Counter,
}

/// A copy of the numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounterValues {
    /// Connections that were established.
    pub opened: u64,
    /// Questions that went over a connection which was there already.
    pub reused: u64,
    /// Questions that were asked once more because their connection was closed before the reply.
    pub asked_again: u64,
    /// Connections that could not be established, for whatever reason.
    pub failed: u64,
    /// Those among them whose certificate was not accepted.
    pub certificates: u64,
    /// Questions that got no reply in time.
    pub timed_out: u64,
    /// Questions that were not asked because too many waited for the target, or too many connections were open.
    pub busy: u64,
    /// Messages that belong to no question asked on their connection.
    pub strays: u64,
}

impl StreamCounters {
    /// The numbers at this moment.
    pub(in crate::forward) fn values(&self) -> StreamCounterValues {
        StreamCounterValues {
            opened: self.opened.value(),
            reused: self.reused.value(),
            asked_again: self.asked_again.value(),
            failed: self.failed.value(),
            certificates: self.certificates.value(),
            timed_out: self.timed_out.value(),
            busy: self.busy.value(),
            strays: self.strays.value(),
        }
    }
}
