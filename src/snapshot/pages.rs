//! Octets that are read at random: on huge pages where there are many.
//!
//! A random read of tens of MiB misses the TLB almost every time, and in a virtual machine a page walk goes through two
//! tables. Pages of 2 MiB make both rare.

use memmap2::{Advice, MmapMut};
use std::ops::Deref;

/// Octets from which on huge pages are asked for: two of them.
const HUGE_OCTETS_MIN: usize = 4 << 20;

/// Octets that do not change any more.
pub(super) enum Pages {
    /// Few, or what was there when the system gave no mapping.
    Heap(Box<[u8]>),
    /// Many.
    Mapped(MmapMut),
}

impl Pages {
    /// Keeps octets. Where the system refuses a mapping or huge pages, they are kept all the same.
    pub(super) fn keep(octets: Vec<u8>) -> Self {
        if octets.len() < HUGE_OCTETS_MIN {
            return Self::Heap(octets.into());
        }
        match MmapMut::map_anon(octets.len()) {
            Ok(mut pages) => {
                // Only advice: without it the octets are as right on small pages.
                let _ = pages.advise(Advice::HugePage);
                pages.copy_from_slice(&octets);
                Self::Mapped(pages)
            }
            Err(_) => Self::Heap(octets.into()),
        }
    }
}

impl Deref for Pages {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(octets) => octets,
            Self::Mapped(octets) => octets,
        }
    }
}
