//! Keys, lifetimes and bounds.

use proptest::prelude::*;

use super::*;
use crate::dns::message::Message;
use crate::dns::{Name, Rcode, Ttl};
use crate::forward::reply::TtlLimits;

const T0: Millis = Millis(1_000);
const TTLS: TtlLimits = TtlLimits { ttl_max: Ttl::MAX, negative_ttl_max: Ttl::MAX, failure_ttl: Ttl::from_wire(5) };
const QNAME: &[u8] = b"\x03www\x07example\x00";

fn ask(qname: &[u8]) -> Ask<'_> {
    Ask { context: ContextId(1), qname, qtype: Rtype::A, class: Class::IN, dnssec_ok: false, checking_disabled: false }
}

/// A reply with one record of this TTL and so many octets of data.
fn reply(qname: &[u8], ttl: u8, rdata_octets: u16) -> Outcome {
    reply_at(qname, ttl, rdata_octets, T0)
}

/// The same, received at a moment.
fn reply_at(qname: &[u8], ttl: u8, rdata_octets: u16, received_at: Millis) -> Outcome {
    let mut octets = b"\x00\x00\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00".to_vec();
    octets.extend_from_slice(qname);
    octets.extend_from_slice(&[0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl]);
    octets.extend_from_slice(&rdata_octets.to_be_bytes());
    octets.resize(octets.len() + usize::from(rdata_octets), 0);
    let message = Message::parse(&octets).expect("well-formed");
    Ok(Arc::new(UpstreamReply::new(&message, TTLS, received_at, false).expect("small")))
}

fn insert(cache: &ReplyCache, ask: &Ask<'_>, outcome: &Outcome) {
    // What is told is another test's matter.
    let _ = cache.insert(CacheKey::from(ask), outcome.clone(), T0);
}

/// A cache of so many octets that keeps no reply beyond its lifetime.
fn cache(octets_max: usize) -> ReplyCache {
    ReplyCache::new(CacheLimits { octets_max, ttls: TTLS, stale_seconds: 0, prefetch: true })
}

#[test]
fn every_part_of_the_key_keeps_replies_apart() {
    let cache = cache(1 << 20);
    let asked = ask(QNAME);
    insert(&cache, &asked, &reply(QNAME, 60, 4));
    assert!(cache.get(&asked, T0).is_some());
    for other in [
        Ask { context: ContextId(2), ..asked },
        Ask { qname: b"\x03www\x07exampld\x00", ..asked },
        Ask { qname: b"\x00", ..asked },
        Ask { qtype: Rtype::AAAA, ..asked },
        Ask { class: Class(3), ..asked },
        Ask { dnssec_ok: true, ..asked },
        Ask { checking_disabled: true, ..asked },
    ] {
        assert!(cache.get(&other, T0).is_none(), "{other:?}");
        insert(&cache, &other, &Err(ExchangeError::TimedOut));
    }
    assert_eq!(cache.len(), 8);
    assert!(matches!(cache.get(&asked, T0), Some(Ok(_))));
}

/// NXDOMAIN for [`QNAME`], good for a minute.
fn denial() -> Outcome {
    denial_at(T0)
}

/// The same, received at a moment.
fn denial_at(received_at: Millis) -> Outcome {
    let mut octets = b"\x00\x00\x81\x83\x00\x01\x00\x00\x00\x01\x00\x00".to_vec();
    octets.extend_from_slice(QNAME);
    octets.extend_from_slice(b"\x00\x01\x00\x01\xc0\x10\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x16\x00\x00");
    octets.extend_from_slice(&[0, 0, 0, 60].repeat(5));
    let message = Message::parse(&octets).expect("well-formed");
    Ok(Arc::new(UpstreamReply::new(&message, TTLS, received_at, false).expect("small")))
}

#[test]
fn nxdomain_is_kept_for_the_name_and_for_one_context() {
    let cache = cache(1 << 20);
    let asked = ask(QNAME);
    insert(&cache, &Ask { qtype: Rtype::AAAA, ..asked }, &reply(QNAME, 60, 16));
    insert(&cache, &asked, &denial());
    let rcode = |ask: &Ask<'_>, now| cache.get(ask, now).map(|outcome| outcome.expect("a reply").rcode());
    assert_eq!(rcode(&asked, T0), Some(Rcode::NXDOMAIN));
    assert_eq!(rcode(&Ask { qtype: Rtype::TXT, ..asked }, T0), Some(Rcode::NXDOMAIN), "another type");
    assert_eq!(
        rcode(&Ask { qtype: Rtype::AAAA, ..asked }, T0),
        Some(Rcode::NOERROR),
        "what is known of a type goes first"
    );
    assert_eq!(rcode(&asked, T0.plus(60_000)), None);
    for other in [Ask { context: ContextId(2), ..asked }, Ask { dnssec_ok: true, ..asked }, ask(b"\x07example\x00")] {
        assert_eq!(rcode(&other, T0), None, "{other:?}");
    }
}

#[test]
fn a_batch_finds_what_each_question_finds() {
    let cache = cache(64 << 20);
    insert(&cache, &ask(QNAME), &reply(QNAME, 60, 4));
    insert(&cache, &ask(b"\x01x\x00"), &Err(ExchangeError::TimedOut));
    insert(&cache, &ask(b"\x01y\x00"), &reply(b"\x01y\x00", 60, 1000));
    let denied = Ask { context: ContextId(3), ..ask(QNAME) };
    insert(&cache, &denied, &denial());
    let long = [&[63; 64][..], b"\x00"].concat();
    insert(&cache, &Ask { qname: &long, ..denied }, &reply(&long, 60, 4));
    let many: Vec<Vec<u8>> = (b'a'..=b'z').map(|letter| vec![2, b'n', letter, 0]).collect();
    many.iter().for_each(|name| insert(&cache, &ask(name), &reply(name, 60, 4)));
    let mut asks = vec![
        Some(ask(QNAME)),
        None,
        Some(Ask { qtype: Rtype::AAAA, ..ask(QNAME) }),
        Some(ask(b"\x01x\x00")),
        Some(ask(b"\x01y\x00")),
        Some(Ask { context: ContextId(2), ..ask(b"\x01y\x00") }),
        Some(Ask { qtype: Rtype::TXT, ..denied }),
        Some(denied),
        Some(Ask { qname: &long, ..denied }),
    ];
    asks.extend(many.iter().map(|name| Some(ask(name))));
    for now in [T0, T0.plus(5_000), T0.plus(60_000)] {
        let mut lookups = Lookups::default();
        cache.get_all(asks.iter().copied(), now, &mut lookups);
        let outcomes = lookups.outcomes;
        let found = outcomes.iter().flatten().count();
        assert_eq!(
            found,
            if now == T0 {
                asks.len() - 3
            } else if now == T0.plus(5_000) {
                asks.len() - 4
            } else {
                0
            }
        );
        for (index, outcome) in outcomes.iter().enumerate() {
            let alone = asks.get(index).copied().flatten().and_then(|ask| cache.get(&ask, now));
            let is_same = match (outcome, &alone) {
                (Some(Ok(one)), Some(Ok(other))) => Arc::ptr_eq(one, other),
                (Some(Err(one)), Some(Err(other))) => one == other,
                (None, None) => true,
                _ => false,
            };
            assert!(is_same, "{index}: {outcome:?} {alone:?}");
        }
    }
}

#[test]
fn replies_end_with_their_ttl_and_failures_after_five_seconds() {
    let cache = cache(1 << 20);
    insert(&cache, &ask(QNAME), &reply(QNAME, 60, 4));
    assert!(cache.get(&ask(QNAME), T0.plus(59_999)).is_some());
    assert!(cache.get(&ask(QNAME), T0.plus(60_000)).is_none());

    insert(&cache, &ask(b"\x01x\x00"), &Err(ExchangeError::TimedOut));
    assert!(matches!(cache.get(&ask(b"\x01x\x00"), T0.plus(4_999)), Some(Err(ExchangeError::TimedOut))));
    assert!(cache.get(&ask(b"\x01x\x00"), T0.plus(5_000)).is_none());
}

#[test]
fn what_may_not_be_kept_is_not() {
    let cache = cache(1 << 20);
    for outcome in [
        reply(QNAME, 0, 4),
        Err(ExchangeError::NoTargets),
        Err(ExchangeError::InFlightLimit),
        Err(ExchangeError::Abandoned),
    ] {
        insert(&cache, &ask(QNAME), &outcome);
        assert!(cache.is_empty());
    }
    // A name whose TTL becomes 0 is not answered from the reply before it.
    insert(&cache, &ask(QNAME), &reply(QNAME, 60, 4));
    insert(&cache, &ask(QNAME), &reply(QNAME, 0, 4));
    assert!(cache.get(&ask(QNAME), T0).is_none());
}

const STALE_SECONDS: u32 = 3600;

/// A cache that keeps answers for an hour beyond their lifetime.
fn stale_cache() -> ReplyCache {
    ReplyCache::new(CacheLimits { octets_max: 1 << 20, ttls: TTLS, stale_seconds: STALE_SECONDS, prefetch: true })
}

/// A reply to [`QNAME`] without records, received at a moment.
fn bare(rcode: u8, received_at: Millis) -> Outcome {
    let mut octets = b"\x00\x00\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    octets[3] |= rcode;
    octets.extend_from_slice(QNAME);
    octets.extend_from_slice(&[0, 1, 0, 1]);
    let message = Message::parse(&octets).expect("well-formed");
    Ok(Arc::new(UpstreamReply::new(&message, TTLS, received_at, false).expect("small")))
}

fn rcode_of(outcome: &Outcome) -> Option<Rcode> {
    outcome.as_ref().ok().map(|reply| reply.rcode())
}

#[test]
fn a_failure_leaves_what_may_be_served_stale() {
    for failure in [Err(ExchangeError::TimedOut), bare(2, T0.plus(61_000)), bare(5, T0.plus(61_000))] {
        for (kept, rcode) in [(reply(QNAME, 60, 4), Rcode::NOERROR), (denial(), Rcode::NXDOMAIN)] {
            let cache = stale_cache();
            let (asked, failed_at) = (ask(QNAME), T0.plus(61_000));
            insert(&cache, &asked, &kept);
            assert!(cache.get(&asked, failed_at).is_none(), "somebody asks again");
            let told = cache.insert(CacheKey::from(&asked), failure.clone(), failed_at);
            assert_eq!(rcode_of(&told), Some(rcode));
            assert!(told.expect("a reply").is_stale(failed_at));
            // Nobody asks for 30 seconds, then somebody does.
            let found = cache.get(&asked, failed_at.plus(29_999)).expect("held");
            assert_eq!(rcode_of(&found), Some(rcode));
            assert!(found.expect("a reply").is_stale(failed_at.plus(29_999)));
            assert!(cache.get(&asked, failed_at.plus(30_000)).is_none());
            // And again, until the window is over.
            let (last, over) = (T0.plus(3_659_999), T0.plus(3_660_000));
            let told = cache.insert(CacheKey::from(&asked), Err(ExchangeError::Unreachable), last);
            assert_eq!(rcode_of(&told), Some(rcode));
            let told = cache.insert(CacheKey::from(&asked), failure.clone(), over);
            assert_ne!(rcode_of(&told), Some(rcode));
            // A success ends it.
            insert(&cache, &asked, &reply(QNAME, 60, 4));
            let told = cache.insert(CacheKey::from(&asked), bare(0, failed_at), failed_at);
            assert!(told.is_ok_and(|reply| reply.counts() == [0; 3] && !reply.is_stale(failed_at)));
            assert!(cache.stale(&asked, failed_at).is_none(), "it may not be kept, and ends what was kept");
        }
    }
}

#[test]
fn a_failure_that_is_ours_tells_the_stale_answer_and_holds_nothing() {
    let cache = stale_cache();
    let (asked, now) = (ask(QNAME), T0.plus(61_000));
    insert(&cache, &asked, &reply(QNAME, 60, 4));
    let told = cache.insert(CacheKey::from(&asked), Err(ExchangeError::InFlightLimit), now);
    assert!(told.is_ok_and(|reply| reply.is_stale(now)));
    assert!(cache.get(&asked, now.plus(1)).is_none(), "the next one asks");
}

#[test]
fn a_failure_beside_a_fresh_answer_changes_nothing_yet() {
    let cache = stale_cache();
    let (asked, now) = (ask(QNAME), T0.plus(55_000));
    insert(&cache, &asked, &reply(QNAME, 60, 4));
    let told = cache.insert(CacheKey::from(&asked), Err(ExchangeError::TimedOut), now);
    assert!(told.is_ok_and(|reply| !reply.is_stale(now)));
    let found = cache.get(&asked, T0.plus(60_000)).expect("held since the failure").expect("a reply");
    assert!(found.is_stale(T0.plus(60_000)));
}

#[test]
fn a_failure_makes_nothing_last_longer_than_it_may() {
    let asked = ask(QNAME);
    // Renewing it failed while it was fresh; nothing is served beyond its lifetime.
    let off = cache(1 << 20);
    insert(&off, &asked, &reply(QNAME, 60, 4));
    let told = off.insert(CacheKey::from(&asked), Err(ExchangeError::TimedOut), T0.plus(55_000));
    assert!(told.is_ok_and(|reply| !reply.is_stale(T0.plus(60_000))));
    assert!(off.get(&asked, T0.plus(59_999)).is_some());
    assert!(off.get(&asked, T0.plus(60_000)).is_none());
    // The same at the end of the hour for which it may be served.
    let cache = stale_cache();
    insert(&cache, &asked, &reply(QNAME, 60, 4));
    let told = cache.insert(CacheKey::from(&asked), Err(ExchangeError::TimedOut), T0.plus(3_650_000));
    assert!(told.is_ok());
    assert!(cache.get(&asked, T0.plus(3_659_999)).is_some());
    assert!(cache.get(&asked, T0.plus(3_660_000)).is_none());
}

#[test]
fn the_newest_of_what_is_stale_is_served() {
    let cache = stale_cache();
    let (a, aaaa) = (ask(QNAME), Ask { qtype: Rtype::AAAA, ..ask(QNAME) });
    let later = T0.plus(100_000);
    // An address, then no such name: the address of the other type is gone with it.
    insert(&cache, &aaaa, &reply(QNAME, 60, 16));
    let denied = denial_at(T0.plus(50_000));
    let _ = cache.insert(CacheKey::from(&a), denied, T0.plus(50_000));
    assert_eq!(cache.stale(&aaaa, T0.plus(200_000)).map(|reply| reply.rcode()), Some(Rcode::NXDOMAIN));
    // An answer of any type ends that there is no such name.
    let _ = cache.insert(CacheKey::from(&a), reply_at(QNAME, 60, 4, later), later);
    assert!(cache.stale(&Ask { qtype: Rtype::TXT, ..a }, later).is_none());
    assert_eq!(cache.stale(&aaaa, later).map(|reply| reply.rcode()), Some(Rcode::NOERROR));
}

#[test]
fn nothing_is_stale_where_that_is_off_or_was_never_an_answer() {
    let (asked, now) = (ask(QNAME), T0.plus(61_000));
    let off = cache(1 << 20);
    insert(&off, &asked, &reply(QNAME, 60, 4));
    assert!(off.stale(&asked, now).is_none());
    assert!(off.stale(&asked, T0).is_some_and(|reply| !reply.is_stale(T0)), "fresh");
    let told = off.insert(CacheKey::from(&asked), Err(ExchangeError::TimedOut), now);
    assert!(told.is_err());

    let cache = stale_cache();
    insert(&cache, &asked, &bare(2, T0));
    assert!(cache.stale(&asked, T0.plus(6_000)).is_none(), "SERVFAIL");
    insert(&cache, &asked, &Err(ExchangeError::TimedOut));
    assert!(cache.stale(&asked, T0.plus(6_000)).is_none());
    insert(&cache, &asked, &reply(QNAME, 60, 4));
    assert!(cache.stale(&Ask { dnssec_ok: true, ..asked }, now).is_none(), "another variant");
    assert!(cache.stale(&Ask { context: ContextId(2), ..asked }, now).is_none(), "another context");
}

#[test]
fn one_hit_in_the_last_tenth_renews() {
    let cache = stale_cache();
    let asked = ask(QNAME);
    let claims = |now| cache.get(&asked, now).is_some_and(|outcome| outcome.is_ok_and(|r| r.claim_prefetch(now)));
    insert(&cache, &asked, &reply(QNAME, 60, 4));
    assert!(!claims(T0) && !claims(T0.plus(53_999)));
    assert!(claims(T0.plus(54_000)));
    assert!(!claims(T0.plus(54_001)) && !claims(T0.plus(59_999)), "one does");
    insert(&cache, &asked, &reply(QNAME, 10, 4));
    assert!(claims(T0.plus(9_999)));
    insert(&cache, &asked, &reply(QNAME, 9, 4));
    assert!(!claims(T0.plus(8_999)), "too short to renew");
    let long_failures = TtlLimits { failure_ttl: Ttl::from_wire(30), ..TTLS };
    let octets = bare(2, T0).expect("a reply").octets().to_vec();
    let failure = UpstreamReply::new(&Message::parse(&octets).expect("kept"), long_failures, T0, false).expect("small");
    assert!(failure.is_fresh(T0.plus(29_000)) && !failure.claim_prefetch(T0.plus(29_000)), "a failure");
    // What is past its lifetime is asked for by whoever misses it.
    insert(&cache, &asked, &reply(QNAME, 60, 4));
    let stale = cache.stale(&asked, T0.plus(60_000)).expect("kept");
    assert!(!stale.claim_prefetch(T0.plus(60_000)));

    let off = ReplyCache::new(CacheLimits { octets_max: 1 << 20, ttls: TTLS, stale_seconds: 0, prefetch: false });
    insert(&off, &asked, &reply(QNAME, 60, 4));
    let kept = off.get(&asked, T0.plus(59_000)).expect("kept").expect("a reply");
    assert!(!kept.claim_prefetch(T0.plus(59_000)));
}

#[test]
fn bounded_in_octets() {
    let octets_max = 1 << 20;
    let cache = cache(octets_max);
    let names: Vec<Vec<u8>> = (0..3000).map(|n| [b"\x05", format!("{n:05}").as_bytes(), b"\x00"].concat()).collect();
    for name in &names {
        insert(&cache, &ask(name), &reply(name, 60, 1000));
        assert!(cache.octets() <= octets_max as u64);
    }
    assert!(cache.octets() > octets_max as u64 / 2 && cache.len() < 1000, "{} of {}", cache.len(), cache.octets());
    // The largest reply is kept too.
    insert(&cache, &ask(QNAME), &reply(QNAME, 60, 65_000));
    assert!(cache.get(&ask(QNAME), T0).is_some());
}

#[test]
fn what_goes_to_make_room_is_counted_and_what_is_flushed_is_not() {
    let cache = cache(64 * 1024);
    for number in 0..1000 {
        let qname = [b"\x05", format!("{number:05}").as_bytes(), b"\x00"].concat();
        insert(&cache, &ask(&qname), &reply(&qname, 60, 200));
    }
    let (left, evicted) = (cache.len() as u64, cache.evicted());
    assert!(left > 0 && evicted > 0);
    assert_eq!(left + evicted, 1000);
    assert_eq!((cache.flush(&Flush::All), cache.evicted()), (left, evicted));
}

#[test]
fn a_flush_takes_what_it_names_and_says_how_much() {
    let name = |text: &str| Name::from_labels(text.split('.').map(str::as_bytes)).expect("a name");
    let fill = |cache: &ReplyCache| {
        for context in [1, 2] {
            for qname in [b"\x03www\x07example\x00".as_slice(), b"\x04xwww\x07example\x00", b"\x07example\x00", b"\x00"]
            {
                for qtype in [Rtype::A, Rtype::AAAA] {
                    let ask = Ask { context: ContextId(context), qtype, ..ask(qname) };
                    insert(cache, &ask, &reply(qname, 60, 4));
                    insert(cache, &Ask { dnssec_ok: true, ..ask }, &Err(ExchangeError::TimedOut));
                }
            }
        }
        for number in 0..3_000u32 {
            let qname = [b"\x06".as_slice(), format!("{number:06}").as_bytes(), b"\x03net\x00"].concat();
            insert(cache, &Ask { context: ContextId(3), ..ask(&qname) }, &reply(&qname, 60, 4));
        }
    };
    for (what, expected) in [
        (Flush::All, 3_032),
        (Flush::Name(name("www.example")), 8),
        (Flush::Suffix(name("example")), 24),
        (Flush::Suffix(name("www.example")), 8),
        (Flush::Suffix(name("ww.example")), 0),
        (Flush::Suffix(name("net")), 3_000),
        (Flush::Suffix(Name::root()), 3_032),
        (Flush::Context(ContextId(1)), 16),
        (Flush::Context(ContextId(4)), 0),
    ] {
        let cache = cache(8 << 20);
        fill(&cache);
        assert_eq!(cache.len(), 3_032);
        assert_eq!(cache.flush(&what), expected, "{what:?}");
        assert_eq!(cache.len(), 3_032 - expected as usize, "{what:?}");
        assert_eq!(cache.flush(&what), 0, "{what:?}");
        let is_there = cache.get(&Ask { context: ContextId(2), ..ask(QNAME) }, T0).is_some();
        assert_eq!(is_there, matches!(expected, 0 | 3_000 | 16), "{what:?}");
        fill(&cache);
        assert_eq!(cache.len(), 3_032, "it can be filled again");
    }
}

/// How often each of 1,000 names was not there when it was asked for, while a flood of others passes: `asked` others
/// between two questions for a name of these, each with what `flood` says.
fn misses_in_a_flood(others: u32, asked: u32, flood: &[Outcome]) -> u32 {
    let cache = ReplyCache::new(CacheLimits { octets_max: 4 << 20, ttls: TTLS, stale_seconds: 86_400, prefetch: true });
    let name = |number: u32| -> Vec<u8> { [b"\x07", format!("{number:07}").as_bytes(), b"\x00"].concat() };
    let hot: Vec<Vec<u8>> = (0..1_000).map(|number| name(9_000_000 + number)).collect();
    let answer = reply(QNAME, 60, 4);
    let mut misses = 0;
    let mut next = hot.iter().cycle();
    for number in 0..others {
        let other = name(number);
        insert(&cache, &ask(&other), &flood[number as usize % flood.len()]);
        if number % asked == 0 {
            let hot = next.next().expect("round and round");
            if cache.get(&ask(hot), T0).is_none() {
                misses += 1;
                insert(&cache, &ask(hot), &answer);
            }
        }
    }
    assert!(cache.octets() <= 4 << 20);
    misses
}

#[test]
fn random_names_do_not_push_out_those_that_are_asked_for() {
    let nothing = [denial(), Err(ExchangeError::TimedOut), bare(2, T0)];
    // Each name is missed once: when it is asked for first.
    assert_eq!(misses_in_a_flood(1_000_000, 10, &nothing), 1_000);
    // A wildcard answers them all: an answer that nobody asked for again goes first.
    assert_eq!(misses_in_a_flood(200_000, 4, &[reply(QNAME, 60, 4)]), 1_000);
}

proptest! {
    /// A borrowed question finds what an owned key stored.
    #[test]
    fn borrowed_and_owned_keys_hash_alike(
        context: u32, qtype: u16, class: u16, dnssec_ok: bool, checking_disabled: bool,
        qname in prop::collection::vec(any::<u8>(), 1..255),
    ) {
        let ask = Ask {
            context: ContextId(context), qname: &qname, qtype: Rtype(qtype), class: Class(class),
            dnssec_ok, checking_disabled,
        };
        let cache = cache(1 << 20);
        insert(&cache, &ask, &Err(ExchangeError::TimedOut));
        prop_assert!(cache.get(&ask, T0).is_some());
        prop_assert!(CacheKey::from(&ask).is_of(&ask));
    }
}
