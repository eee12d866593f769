//! Negative answers given lately, for who wants repeats of them without their SOA. Stands beside the data of a snapshot,
//! as health does, and only where the configuration asks for it.

use super::ViewIndex;
use crate::dns::{FoldedName, Rtype};
use std::sync::atomic::{AtomicU64, Ordering};

/// Negative answers that are remembered at a time. Two that fall on one place push each other out, and then carry their
/// SOA again, as they do where a cache has dropped them.
pub const NEGATIVE_ANSWERS_MAX: usize = 1 << 16;

/// Which negative answers have been given lately, in all views.
pub struct NegativeAnswers {
    /// 32 bits of a question's hash, and the second until which its answer lives.
    places: Box<[AtomicU64]>,
}

impl Default for NegativeAnswers {
    fn default() -> Self {
        Self { places: (0..NEGATIVE_ANSWERS_MAX).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl NegativeAnswers {
    /// Whether this question has been answered negatively in this view, and that answer is still alive; if not, one that
    /// lives for so many seconds from now on is remembered. `now_seconds` counts from any moment, the same every time.
    ///
    /// Takes no lock and allocates nothing. Of two that ask at the same moment, both may be the first.
    pub fn is_repeat(
        &self,
        (view, name, qtype): (ViewIndex, &FoldedName, Rtype),
        now_seconds: u32,
        lifetime_seconds: u32,
    ) -> bool {
        let rest = u64::from(view.0) << 16 | u64::from(qtype.0);
        let hash = mixed(name.suffix_hash(name.label_count()) ^ mixed(rest));
        let place = &self.places[hash as usize % NEGATIVE_ANSWERS_MAX];
        let known = place.load(Ordering::Relaxed);
        if known >> 32 == hash >> 32 && now_seconds < known as u32 {
            return true;
        }
        place.store(hash >> 32 << 32 | u64::from(now_seconds.saturating_add(lifetime_seconds)), Ordering::Relaxed);
        false
    }
}

/// Every bit of the result depends on every bit of the number (the finalizer of SplitMix64).
fn mixed(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::HashSeed;

    fn name(text: &str) -> FoldedName {
        let mut wire: Vec<u8> = Vec::new();
        for label in text.split('.') {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        let mut name = FoldedName::default();
        name.read(&wire, HashSeed(1)).expect("well-formed");
        name
    }

    #[test]
    fn an_answer_is_a_repeat_until_the_first_has_expired() {
        let answers = NegativeAnswers::default();
        let (a, b) = (name("a.corp.example"), name("b.corp.example"));
        let ask = |name, view, qtype, now| answers.is_repeat((ViewIndex(view), name, qtype), now, 60);
        assert!(!ask(&a, 0, Rtype::A, 100));
        assert!(ask(&a, 0, Rtype::A, 100));
        assert!(ask(&a, 0, Rtype::A, 159));
        // Another name, type or view has not been asked.
        assert!(!ask(&b, 0, Rtype::A, 101));
        assert!(!ask(&a, 0, Rtype::AAAA, 101));
        assert!(!ask(&a, 1, Rtype::A, 101));
        // After its lifetime it is the first again.
        assert!(!ask(&a, 0, Rtype::A, 160));
        assert!(ask(&a, 0, Rtype::A, 161));
    }

    #[test]
    fn what_does_not_live_is_never_repeated() {
        let answers = NegativeAnswers::default();
        let name = name("a.corp.example");
        for now in [0, 0, 5] {
            assert!(!answers.is_repeat((ViewIndex(0), &name, Rtype::A), now, 0));
        }
    }

    #[test]
    fn answers_beyond_the_limit_push_others_out() {
        let answers = NegativeAnswers::default();
        let first = name("first.corp.example");
        assert!(!answers.is_repeat((ViewIndex(0), &first, Rtype::A), 0, 60));
        for number in 0..NEGATIVE_ANSWERS_MAX * 4 {
            answers.is_repeat((ViewIndex(0), &name(&format!("{number}.corp.example")), Rtype::A), 0, 60);
        }
        // One of four times as many has taken its place; which one follows from the seed.
        assert!(!answers.is_repeat((ViewIndex(0), &first, Rtype::A), 1, 60));
    }
}
