//! A saved cache -> the cache: never panics, and what is loaded is sound, is served, and comes back when saved again.
//!
//! The octets are a file, or (first octet odd) the bodies of records that get their heads and checksums here: a fuzzer
//! does not find those.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plustwo::dns::Ttl;
use plustwo::forward::cache::{CacheLimits, ReplyCache, WallClock};
use plustwo::forward::reply::TtlLimits;
use plustwo::forward::{ContextId, Millis};

const UNIX_NOW: u64 = 1_800_000_000;

fuzz_target!(|octets: &[u8]| {
    let Some((first, rest)) = octets.split_first() else { return };
    let file = if first & 1 == 1 { framed(rest) } else { rest.to_vec() };
    let limits = CacheLimits {
        octets_max: 1 << 20,
        ttls: TtlLimits {
            ttl_max: Ttl::from_wire(86_400),
            negative_ttl_max: Ttl::from_wire(3_600),
            failure_ttl: Ttl::from_wire(5),
        },
        stale_seconds: 86_400,
        prefetch: true,
    };
    let clock = WallClock { at: Millis(1), unix_seconds: UNIX_NOW };
    let context_of = |name: &str| name.bytes().next().map(|octet| ContextId(u32::from(octet)));
    let cache = ReplyCache::new(limits);
    let loaded = cache.load(&mut file.as_slice(), clock, &context_of);
    assert_eq!(cache.len() as u64, loaded.replies);
    let mut again = Vec::new();
    let name_of = |context: ContextId| Some(char::from(context.0 as u8).to_string());
    let saved = cache.save(&mut again, clock, &name_of).expect("memory takes it");
    assert_eq!(saved.replies, loaded.replies);
    if saved.replies > 0 {
        let once_more = ReplyCache::new(limits)
            .load(&mut again.as_slice(), clock, &|name| name.chars().next().map(|first| ContextId(first as u32)));
        assert!(once_more.damage.is_none(), "{:?}", once_more.damage);
        assert_eq!(once_more.replies, loaded.replies);
    }
});

/// A file of records: each begins with its kind and the octets of its body, two of them.
fn framed(mut rest: &[u8]) -> Vec<u8> {
    let mut file = b"+2cache\n\x00\x00\x00\x01".to_vec();
    file.extend_from_slice(&UNIX_NOW.to_be_bytes());
    file.extend_from_slice(&checksum(&file).to_be_bytes());
    while let Some((&[kind, high, low], behind)) = rest.split_first_chunk() {
        let octets = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (body, behind) = behind.split_at(octets);
        rest = behind;
        let mut record = vec![kind % 4];
        record.extend_from_slice(&(octets as u32).to_be_bytes());
        let sum = checksum(&[&record, body].concat());
        record.extend_from_slice(&sum.to_be_bytes());
        file.extend_from_slice(&record);
        file.extend_from_slice(body);
    }
    file
}

/// FNV-1a, as the file has it.
fn checksum(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |sum, octet| (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}
