//! Questions of ours that come back to us: forwarding loops, as they show while running.
//!
//! A loop through others cannot be seen in a configuration. Two things give it away. A target that asks us what we are
//! asking it, while we wait for its answer, would wait for itself. And a name that only we and our targets can know is
//! asked by nobody else: whoever asks for it has it from them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exchange::EXCHANGE_MILLIS_MAX;
use super::{ContextId, Millis};
use crate::dns::{Name, Target, TargetGroup};

/// Contexts that are probed at a time; those beyond are not.
const PROBES_MAX: usize = 1024;
/// A loop of a context is warned about once in so many milliseconds: whoever asks can make it show at will.
const WARNING_MILLIS: u64 = 60_000;

/// A context that is to be probed for loops.
#[derive(Clone, Debug)]
pub struct LoopProbe {
    /// Which.
    pub context: ContextId,
    /// Its targets.
    pub group: Arc<TargetGroup>,
    /// The name that the context answers for; what is asked is below it.
    pub domain: Name,
    /// What the operator calls it.
    pub text: String,
}

/// What is known of loops, for all lanes.
#[derive(Debug, Default)]
pub(super) struct Loops {
    /// Names that are being probed, for those who only want to know whether to look.
    probing: AtomicUsize,
    probes: Mutex<Vec<Probing>>,
    warned: Mutex<HashMap<ContextId, Millis>>,
}

/// A probe in flight.
#[derive(Debug)]
struct Probing {
    qname: Box<[u8]>,
    text: String,
    targets: String,
}

impl Loops {
    /// Makes up the name that a context is probed with; none if it is too long, or there are too many probes.
    pub(super) fn begin_probe(&self, context: &LoopProbe) -> Option<Box<[u8]>> {
        let label: String = (0..LABEL_OCTETS).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect();
        let domain = context.domain.as_wire();
        let qname: Box<[u8]> = [&[LABEL_OCTETS as u8], label.as_bytes(), domain].concat().into();
        if qname.len() > crate::dns::name::NAME_OCTETS_MAX {
            return None;
        }
        let mut probes = lock(&self.probes);
        if probes.len() >= PROBES_MAX {
            return None;
        }
        let targets = targets_text(&context.group.targets);
        probes.push(Probing { qname: qname.clone(), text: context.text.clone(), targets });
        self.probing.store(probes.len(), Ordering::Relaxed);
        Some(qname)
    }

    /// Whether any name is being probed.
    #[inline]
    pub(super) fn is_probing(&self) -> bool {
        self.probing.load(Ordering::Relaxed) > 0
    }

    /// Whether a name is one that is being probed; then whose probe it is: rule and targets.
    pub(super) fn probe_of(&self, qname: &[u8]) -> Option<String> {
        let probes = lock(&self.probes);
        let probing = probes.iter().find(|probing| *probing.qname == *qname)?;
        Some(format!("{} -> {}", probing.text, probing.targets))
    }

    /// A probe is over.
    pub(super) fn end_probe(&self, qname: &[u8]) {
        let mut probes = lock(&self.probes);
        probes.retain(|probing| *probing.qname != *qname);
        self.probing.store(probes.len(), Ordering::Relaxed);
    }

    /// Whether a loop of this context is to be warned about now.
    pub(super) fn may_warn(&self, context: ContextId, now: Millis) -> bool {
        let mut warned = lock(&self.warned);
        let is_due = warned.get(&context).is_none_or(|last| now.since(*last) >= WARNING_MILLIS);
        if is_due {
            // As many entries as contexts that looped within the time at most.
            warned.retain(|_, last| now.since(*last) < WARNING_MILLIS);
            warned.insert(context, now);
        }
        is_due
    }
}

/// Octets of the random label: 26^20 is 94 bits.
const LABEL_OCTETS: usize = 20;
const _: () = assert!(EXCHANGE_MILLIS_MAX < WARNING_MILLIS, "a probe is over before its loop is warned about again");

/// Targets, for a line of the log.
pub(super) fn targets_text<'t>(targets: impl IntoIterator<Item = &'t Target>) -> String {
    targets.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Lists and maps stay whole whatever panics, so a poisoned lock is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
