//! What the cache of replies takes of the heap, as the allocator counts it. One test a file: the count is the process's.

use plustwo::dns::message::Message;
use plustwo::dns::{Class, Rtype, Ttl};
use plustwo::forward::cache::{CacheKey, CacheLimits, ReplyCache};
use plustwo::forward::reply::{TtlLimits, UpstreamReply};
use plustwo::forward::{Ask, ContextId, ExchangeError, Millis, Outcome};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, which counts the octets that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator cannot be had otherwise; it only counts and passes on")]
// SAFETY: every call is passed on to the system's allocator as it came; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` passed the system's pointers on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TTLS: TtlLimits = TtlLimits {
    ttl_max: Ttl::from_wire(86_400),
    negative_ttl_max: Ttl::from_wire(3_600),
    failure_ttl: Ttl::from_wire(5),
};

/// A reply to a question with one record of so many octets.
fn reply(qname: &[u8], rdata_octets: u16) -> Outcome {
    let mut octets = b"\x00\x00\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00".to_vec();
    octets.extend_from_slice(qname);
    octets.extend_from_slice(b"\x00\x10\x00\x01\xc0\x0c\x00\x10\x00\x01\x00\x00\x0e\x10");
    octets.extend_from_slice(&rdata_octets.to_be_bytes());
    octets.resize(octets.len() + usize::from(rdata_octets), 0);
    let message = Message::parse(&octets).expect("well-formed");
    Ok(Arc::new(UpstreamReply::new(&message, TTLS, Millis(0), false).expect("small")))
}

fn name(number: u32, label: usize) -> Vec<u8> {
    let text = format!("{number:0label$}");
    [&[text.len() as u8], text.as_bytes(), b"\x07example\x00"].concat()
}

/// What may come on top of the octets configured: a part of them for what only grows by doubling and for free slots, and
/// the reply that is being put in with the message that it is made of.
const OVERHEAD_PERCENT: usize = 3;
const OVERHEAD_OCTETS: usize = 192 << 10;

#[test]
fn the_heap_grows_by_the_octets_configured_and_no_more() {
    for octets_max in [1 << 20, 16 << 20] {
        let bound = octets_max + octets_max * OVERHEAD_PERCENT / 100 + OVERHEAD_OCTETS;
        for (what, label, rdata_octets) in [
            ("failures", 20, None),
            ("one address", 20, Some(4)),
            ("long names", 60, Some(4)),
            ("half a kilobyte", 20, Some(500)),
            ("large ones", 20, Some(60_000)),
        ] {
            let before = IN_USE.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            let cache = ReplyCache::new(CacheLimits { octets_max, ttls: TTLS, stale_seconds: 3600, prefetch: true });
            // Three times as many as fit.
            for number in 0..(octets_max * 3 / (200 + usize::from(rdata_octets.unwrap_or(0)))) as u32 {
                let qname = name(number, label);
                let ask = Ask {
                    context: ContextId(0),
                    qname: &qname,
                    qtype: Rtype::TXT,
                    class: Class::IN,
                    dnssec_ok: false,
                    checking_disabled: false,
                };
                let outcome = match rdata_octets {
                    Some(octets) => reply(&qname, octets),
                    None => Err(ExchangeError::TimedOut),
                };
                // What is told is another test's matter.
                let _ = cache.insert(CacheKey::from(&ask), outcome, Millis(0));
            }
            let [used, peak] = [&IN_USE, &PEAK].map(|octets| octets.load(Ordering::Relaxed) - before);
            println!("{what}: {} of {octets_max} octets said, {used} used, {peak} at most", cache.octets());
            assert!(cache.octets() <= octets_max as u64);
            assert!(peak <= bound, "{what}: {peak} octets of heap, where {bound} may be");
            // What is said is not much more than what there is, or the memory would go unused.
            assert!(used as u64 * 10 >= cache.octets() * 8, "{what}: {used} used of {} said", cache.octets());
            drop(cache);
            assert!(IN_USE.load(Ordering::Relaxed) <= before + OVERHEAD_OCTETS / 8, "{what}: it is given back");
        }
    }
}
