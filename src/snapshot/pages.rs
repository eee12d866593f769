//! Octets that are read at random: on huge pages where there are many.
//!
//! A random read of tens of MiB misses the TLB almost every time, and in a virtual machine a page walk goes through two
//! tables. Pages of 2 MiB make both rare.

use memmap2::{Advice, MmapMut};
use std::ops::{Deref, DerefMut};

/// Octets from which on huge pages are asked for: two of them.
const HUGE_OCTETS_MIN: usize = 4 << 20;

/// Octets, all there from the start.
pub(super) enum Pages {
    /// Few, or what was there when the system gave no mapping.
    Heap(Box<[u8]>),
    /// Many.
    Mapped(MmapMut),
}

impl Pages {
    /// So many octets of 0. Where the system refuses a mapping or huge pages, they are there all the same.
    pub(super) fn zeroed(octets: usize) -> Self {
        if octets >= HUGE_OCTETS_MIN
            && let Ok(pages) = MmapMut::map_anon(octets)
        {
            // Only advice: without it the octets are as right on small pages.
            let _ = pages.advise(Advice::HugePage);
            return Self::Mapped(pages);
        }
        Self::Heap(vec![0; octets].into())
    }

    /// A copy of octets.
    pub(super) fn copy_of(octets: &[u8]) -> Self {
        let mut pages = Self::zeroed(octets.len());
        pages.copy_from_slice(octets);
        pages
    }

    /// Keeps octets.
    pub(super) fn keep(octets: Vec<u8>) -> Self {
        if octets.len() < HUGE_OCTETS_MIN { Self::Heap(octets.into()) } else { Self::copy_of(&octets) }
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

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(octets) => octets,
            Self::Mapped(octets) => octets,
        }
    }
}
