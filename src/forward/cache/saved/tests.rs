//! Round trips, ages, and damage.

use proptest::prelude::*;

use super::*;
use crate::dns::{Rcode, Ttl};
use crate::forward::cache::{CacheLimits, Flush};
use crate::forward::reply::TtlLimits;
use crate::forward::{ExchangeError, Outcome};

const TTLS: TtlLimits = TtlLimits { ttl_max: Ttl::MAX, negative_ttl_max: Ttl::MAX, failure_ttl: Ttl::from_wire(5) };
const T0: Millis = Millis(1_000_000);
const UNIX_T0: u64 = 1_800_000_000;
const STALE_SECONDS: u32 = 3600;
const QNAME: &[u8] = b"\x03www\x07example\x00";

fn cache_of(stale_seconds: u32) -> ReplyCache {
    ReplyCache::new(CacheLimits { octets_max: 1 << 20, ttls: TTLS, stale_seconds, prefetch: true })
}

/// The wall clock so many seconds after [`T0`], on a process's clock that began then at 0.
fn restarted_after(seconds: i64) -> WallClock {
    WallClock { at: Millis(7), unix_seconds: UNIX_T0.saturating_add_signed(seconds) }
}

fn ask(context: u32, qname: &[u8]) -> Ask<'_> {
    Ask {
        context: ContextId(context),
        qname,
        qtype: Rtype::A,
        class: Class::IN,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

/// A reply to a question: with an address for so long, or NXDOMAIN for a minute.
fn reply(ask: &Ask<'_>, ttl: u32, rcode: u8, protected: bool, received_at: Millis) -> Outcome {
    let is_answer = rcode == 0;
    let mut octets = vec![0, 0, 0x81, 0xa0 | rcode, 0, 1, 0, u8::from(is_answer), 0, u8::from(!is_answer), 0, 0];
    octets.extend_from_slice(ask.qname);
    octets.extend_from_slice(&ask.qtype.0.to_be_bytes());
    octets.extend_from_slice(&[0, 1, 0xc0, 12]);
    if is_answer {
        octets.extend_from_slice(&ask.qtype.0.to_be_bytes());
        octets.extend_from_slice(&[0, 1]);
        octets.extend_from_slice(&ttl.to_be_bytes());
        octets.extend_from_slice(&[0, 4, 10, 0, 0, 1]);
    } else {
        octets.extend_from_slice(&[0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
        octets.extend_from_slice(&[0, 0, 0, 60].repeat(5));
    }
    let message = Message::parse(&octets).expect("well-formed");
    Ok(Arc::new(UpstreamReply::new(&message, TTLS, received_at, protected).expect("small")))
}

fn insert(cache: &ReplyCache, ask: &Ask<'_>, outcome: Outcome, now: Millis) {
    // What is told is another test's matter.
    let _ = cache.insert(CacheKey::from(ask), outcome, now);
}

fn saved(cache: &ReplyCache, at: Millis) -> Vec<u8> {
    let mut octets = Vec::new();
    let clock = WallClock { at, unix_seconds: UNIX_T0 };
    let name = |context: ContextId| (context.0 < 10).then(|| format!("context {}", context.0));
    let saved = cache.save(&mut octets, clock, &name).expect("memory takes it");
    assert_eq!(saved.octets, octets.len() as u64);
    octets
}

/// Loads into a new cache; contexts have other numbers by then, and number 9 is gone.
fn loaded(octets: &[u8], clock: WallClock, stale_seconds: u32) -> (ReplyCache, Loaded) {
    let cache = cache_of(stale_seconds);
    let loaded = cache.load(&mut &*octets, clock, &context_of);
    (cache, loaded)
}

fn context_of(name: &str) -> Option<ContextId> {
    let number: u32 = name.strip_prefix("context ")?.parse().ok()?;
    (number != 9).then_some(ContextId(number + 100))
}

#[test]
fn what_is_saved_is_loaded_in_its_own_context() {
    let cache = cache_of(STALE_SECONDS);
    let other_name = [&[63; 64][..], b"\x07example\x00"].concat();
    let variants = [
        ask(1, QNAME),
        ask(2, QNAME),
        Ask { dnssec_ok: true, ..ask(1, QNAME) },
        Ask { checking_disabled: true, ..ask(1, QNAME) },
        Ask { qtype: Rtype::AAAA, ..ask(1, QNAME) },
        ask(1, &other_name),
        ask(1, b"\x00"),
    ];
    for (number, ask) in variants.iter().enumerate() {
        insert(&cache, ask, reply(ask, 300 + number as u32, 0, number == 0, T0), T0);
    }
    let denied = ask(3, QNAME);
    insert(&cache, &denied, reply(&denied, 0, 3, false, T0), T0);
    // These are not saved, or not loaded.
    insert(&cache, &ask(1, b"\x01a\x00"), Err(ExchangeError::TimedOut), T0);
    insert(&cache, &ask(1, b"\x01b\x00"), reply(&ask(1, b"\x01b\x00"), 0, 2, false, T0), T0);
    for context in [9, 10] {
        let gone = ask(context, QNAME);
        insert(&cache, &gone, reply(&gone, 300, 0, false, T0), T0);
    }

    let octets = saved(&cache, T0.plus(10_000));
    let clock = restarted_after(20);
    let (cache, loaded) = loaded(&octets, clock, STALE_SECONDS);
    assert!(loaded.damage.is_none(), "{:?}", loaded.damage);
    assert_eq!((loaded.replies, loaded.dropped, cache.len()), (8, 1, 8));
    for (number, before) in variants.iter().enumerate() {
        let ask = Ask { context: ContextId(before.context.0 + 100), ..*before };
        let found = cache.get(&ask, clock.at).expect("fresh").expect("a reply");
        assert_eq!(found.lifetime().seconds(), 300 + number as u32);
        assert_eq!(found.authentic_data(), number == 0, "AD where it could be believed");
        let mut octets = found.octets().to_vec();
        found.write_ttls(&mut octets, found.age(clock.at));
        let ttl = Message::parse(&octets).expect("kept").records().next().expect("one").ttl.seconds();
        // Saved ten seconds after it came, loaded twenty seconds later.
        assert_eq!(ttl, 300 + number as u32 - 30);
        assert!(cache.get(&Ask { context: before.context, ..ask }, clock.at).is_none());
    }
    for qtype in [Rtype::A, Rtype::TXT] {
        let found = cache.get(&Ask { qtype, ..ask(103, QNAME) }, clock.at).expect("for all types");
        assert_eq!(found.expect("a reply").rcode(), Rcode::NXDOMAIN);
    }
}

#[test]
fn a_life_is_never_longer_than_it_was() {
    let asked = ask(1, QNAME);
    let now_asked = ask(101, QNAME);
    let cache = cache_of(STALE_SECONDS);
    insert(&cache, &asked, reply(&asked, 300, 0, false, T0), T0);
    // Received 100 seconds before it is saved: it has 200 left.
    let octets = saved(&cache, T0.plus(100_000));
    for (seconds, is_fresh, is_there) in [
        (0, true, true),
        (199, true, true),
        (200, false, true),
        (3_799, false, true),
        (3_800, false, false),
        (1 << 40, false, false),
        // The clock went back: nobody knows how old it is.
        (-1, false, true),
        (-150, false, true),
        (-(1 << 40), false, true),
    ] {
        let clock = restarted_after(seconds);
        let (cache, loaded) = loaded(&octets, clock, STALE_SECONDS);
        assert_eq!((loaded.replies == 1, loaded.dropped == 1), (is_there, !is_there), "{seconds}");
        assert_eq!(cache.get(&now_asked, clock.at).is_some(), is_fresh, "{seconds}");
        let stale = cache.stale(&now_asked, clock.at);
        assert_eq!(stale.is_some(), is_there, "{seconds}");
        assert!(stale.is_none_or(|reply| reply.is_stale(clock.at) != is_fresh), "{seconds}");
        if is_fresh {
            let left = 200_000 - seconds as u64 * 1000;
            assert!(cache.get(&now_asked, clock.at.plus(left - 1)).is_some(), "{seconds}");
            assert!(cache.get(&now_asked, clock.at.plus(left)).is_none(), "{seconds}");
        }
    }
    // Where nothing is served stale, nothing stale is loaded.
    let (cache, loaded) = loaded(&octets, restarted_after(200), 0);
    assert_eq!((loaded.replies, cache.len()), (0, 0));
}

#[test]
fn a_part_of_a_second_counts_as_one() {
    let asked = ask(1, QNAME);
    let cache = cache_of(0);
    insert(&cache, &asked, reply(&asked, 2, 0, false, T0), T0);
    let octets = saved(&cache, T0.plus(1));
    let clock = restarted_after(0);
    let (cache, _) = loaded(&octets, clock, 0);
    assert!(cache.get(&ask(101, QNAME), clock.at.plus(999)).is_some());
    assert!(cache.get(&ask(101, QNAME), clock.at.plus(1_000)).is_none());
}

#[test]
fn what_is_known_already_stays() {
    let asked = ask(1, QNAME);
    let cache = cache_of(STALE_SECONDS);
    insert(&cache, &asked, reply(&asked, 300, 0, false, T0), T0);
    let octets = saved(&cache, T0);
    let newer = cache_of(STALE_SECONDS);
    let now_asked = ask(101, QNAME);
    insert(&newer, &now_asked, reply(&now_asked, 77, 0, false, Millis(0)), Millis(0));
    let loaded = newer.load(&mut &*octets, restarted_after(0), &context_of);
    assert_eq!((loaded.replies, loaded.dropped), (0, 1));
    let found = newer.get(&now_asked, Millis(7)).expect("kept").expect("a reply");
    assert_eq!(found.lifetime().seconds(), 77);
}

#[test]
fn who_was_asked_again_is_no_newcomer_after_a_restart() {
    let cache = cache_of(STALE_SECONDS);
    let name = |number: u32| [b"\x06".as_slice(), format!("{number:06}").as_bytes(), b"\x00"].concat();
    let fill = |cache: &ReplyCache, context: u32, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let qname = name(number);
            let asked = ask(context, &qname);
            insert(cache, &asked, reply(&asked, 300, 0, false, T0), T0);
            // The first hundred are asked for again and again.
            let hot = name(number % 100);
            let _ = cache.get(&ask(context, &hot), T0);
        }
    };
    fill(&cache, 1, 0..6_000);
    let octets = saved(&cache, T0);
    let (cache, _) = loaded(&octets, WallClock { at: T0, unix_seconds: UNIX_T0 }, STALE_SECONDS);
    for number in 10_000..12_000 {
        let qname = name(number);
        let asked = ask(101, &qname);
        insert(&cache, &asked, reply(&asked, 300, 0, false, T0), T0);
    }
    let there = (0..100).filter(|&number| cache.get(&ask(101, &name(number)), T0).is_some()).count();
    assert_eq!(there, 100);
}

/// A few replies, saved.
fn a_few() -> Vec<u8> {
    let cache = cache_of(STALE_SECONDS);
    for number in 0..20u8 {
        let qname = [1, b'a' + number, 0];
        let asked = ask(u32::from(number % 3), &qname);
        insert(&cache, &asked, reply(&asked, 300, if number % 4 == 0 { 3 } else { 0 }, false, T0), T0);
    }
    saved(&cache, T0)
}

#[test]
fn what_came_before_the_damage_is_loaded() {
    let whole = a_few();
    let (_, of_whole) = loaded(&whole, restarted_after(0), STALE_SECONDS);
    assert_eq!(of_whole.replies, 20);
    let mut replies_before = 0;
    for cut in 0..whole.len() {
        let (cache, loaded) = loaded(&whole[..cut], restarted_after(0), STALE_SECONDS);
        match loaded.damage {
            Some(Damage::NotACache) => assert!(cut < 28),
            Some(Damage::CutOff) => assert!(cut >= 28),
            other => panic!("cut at {cut}: {other:?}"),
        }
        assert!(loaded.replies >= replies_before && cache.len() as u64 == loaded.replies);
        replies_before = loaded.replies;
    }
    assert_eq!(replies_before, 20);
}

#[test]
fn what_is_wrong_is_said() {
    let said = |octets: &[u8]| {
        let (_, loaded) = loaded(octets, restarted_after(0), STALE_SECONDS);
        loaded.damage.map(|damage| damage.to_string())
    };
    let whole = a_few();
    let changed = |at: usize, octet: u8| {
        let mut octets = whole.clone();
        octets[at] = octet;
        octets
    };
    assert_eq!(said(&whole), None);
    assert_eq!(said(b"").as_deref(), Some("it holds no saved cache"));
    assert_eq!(said(&[0; 100]).as_deref(), Some("it holds no saved cache"));
    let version = "it is of version 2, and this program reads 1";
    assert_eq!(said(&changed(11, 2)).as_deref(), Some(version));
    assert_eq!(said(&changed(19, 2)).as_deref(), Some("its octets were changed"));
    assert_eq!(said(&changed(whole.len() - 1, 99)).as_deref(), Some("its octets were changed"));
    // A length that no record has is not even read.
    assert_eq!(said(&changed(29, 0xff)).as_deref(), Some("it says what cannot be"));
}

/// A saved cache with these records behind the header, checksums right.
fn with_records(records: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut writer = Writer { out: &mut octets, saved: Saved::default() };
    writer.header(UNIX_T0).expect("memory takes it");
    for (kind, body) in records {
        writer.record(*kind, body).expect("memory takes it");
    }
    octets
}

#[test]
fn what_no_upstream_can_have_said_is_refused() {
    let asked = ask(1, QNAME);
    let clock = WallClock { at: T0, unix_seconds: UNIX_T0 };
    let body = |ask: &Ask<'_>, outcome: Outcome| {
        let mut body = Vec::new();
        write_reply(&mut body, 0, &CacheKey::from(ask), &outcome.expect("a reply"), false, clock);
        body
    };
    let good = body(&asked, reply(&asked, 300, 0, false, T0));
    let take = |body: Vec<u8>| {
        let octets = with_records(&[(CONTEXT, b"context 1".to_vec()), (REPLY, body), (END, vec![])]);
        let (cache, loaded) = loaded(&octets, restarted_after(0), STALE_SECONDS);
        assert_eq!(cache.len() as u64, loaded.replies);
        (loaded.replies, matches!(loaded.damage, Some(Damage::Nonsense)))
    };
    assert_eq!(take(good.clone()), (1, false));
    let any = Ask { qtype: Rtype::ANY, ..asked };
    let upper = Ask { qname: b"\x03wWw\x07example\x00", ..asked };
    let changed = |at: usize, octet: u8| {
        let mut body = good.clone();
        body[at] = octet;
        body
    };
    for (what, body) in [
        ("no such context", changed(3, 1)),
        ("from the future", changed(9, 0xff)),
        ("another name in the reply", body(&ask(1, b"\x03wwx\x07example\x00"), reply(&asked, 300, 0, false, T0))),
        ("another type in the reply", body(&Ask { qtype: Rtype::TXT, ..asked }, reply(&asked, 300, 0, false, T0))),
        ("an address for all types", body(&any, reply(&asked, 300, 0, false, T0))),
        ("an answer to ANY", body(&any, reply(&any, 300, 0, false, T0))),
        ("NXDOMAIN for one type", body(&asked, reply(&asked, 300, 3, false, T0))),
        ("a failure", body(&asked, reply(&asked, 300, 2, false, T0))),
        ("a name that is not folded", body(&upper, reply(&upper, 300, 0, false, T0))),
        ("half a reply", good[..good.len() - 3].to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(take(body), (0, true), "{what}");
    }
    assert_eq!(take(body(&any, reply(&asked, 300, 3, false, T0))), (1, false), "NXDOMAIN for all types");
    for (what, records) in
        [("a kind that is none", vec![(77, vec![])]), ("a context that is no text", vec![(CONTEXT, vec![0xff])])]
    {
        let (_, loaded) = loaded(&with_records(&records), restarted_after(0), STALE_SECONDS);
        assert!(matches!(loaded.damage, Some(Damage::Nonsense)), "{what}");
    }
}

#[test]
fn no_more_is_written_than_the_cache_may_take() {
    let limits = CacheLimits { octets_max: 1 << 20, ttls: TTLS, stale_seconds: 0, prefetch: true };
    let large = ReplyCache::new(CacheLimits { octets_max: 64 << 20, ..limits });
    let small = ReplyCache::new(limits);
    for number in 0..20_000u32 {
        let qname = [b"\x06".as_slice(), format!("{number:06}").as_bytes(), b"\x00"].concat();
        let asked = ask(1, &qname);
        insert(&large, &asked, reply(&asked, 300, 0, false, T0), T0);
        insert(&small, &asked, reply(&asked, 300, 0, false, T0), T0);
    }
    let octets = saved(&small, T0);
    assert!(octets.len() < 1 << 20);
    // A cache that was larger before: what fits is loaded.
    let octets = saved(&large, T0);
    assert!(octets.len() > 1 << 20);
    let (cache, loaded) = loaded(&octets, restarted_after(0), 0);
    assert!(loaded.damage.is_none() && cache.octets() <= 1 << 20 && loaded.replies < 20_000);
    assert_eq!(large.flush(&Flush::All), 20_000);
}

proptest! {
    /// Whatever is in the cache comes back, and as old as it was.
    #[test]
    fn a_round_trip(
        replies in prop::collection::vec((0u32..9, prop::collection::vec(b'a'..=b'z', 1..60), 1u32..100_000, any::<bool>(), any::<bool>()), 1..40),
        age_millis in 0u64..200_000_000, away in 0u32..200_000,
    ) {
        let cache = cache_of(STALE_SECONDS);
        let received_at = Millis(1_000_000_000);
        let names: Vec<Vec<u8>> =
            replies.iter().map(|(_, label, ..)| [&[label.len() as u8], label.as_slice(), b"\x00"].concat()).collect();
        let asks: Vec<Ask<'_>> = replies.iter().zip(&names).map(|(&(context, _, _, dnssec_ok, checking_disabled), name)| {
            Ask { dnssec_ok, checking_disabled, ..ask(context, name) }
        }).collect();
        for (ask, (.., ttl, _, _)) in asks.iter().zip(&replies) {
            insert(&cache, ask, reply(ask, *ttl, 0, false, received_at), received_at);
        }
        let saved_at = received_at.plus(age_millis);
        let octets = saved(&cache, saved_at);
        let clock = restarted_after(i64::from(away));
        let (after, loaded) = loaded(&octets, clock, STALE_SECONDS);
        prop_assert!(loaded.damage.is_none());
        let later = saved_at.plus(u64::from(away) * 1000);
        for ask in &asks {
            let now_ask = Ask { context: ContextId(ask.context.0 + 100), ..*ask };
            let expected = if ask.context.0 == 9 { None } else { cache.get(ask, later) };
            let found = after.get(&now_ask, clock.at);
            match (expected, found) {
                (Some(Ok(expected)), Some(Ok(found))) => {
                    prop_assert_eq!(found.octets(), expected.octets());
                    prop_assert_eq!(found.lifetime(), expected.lifetime());
                    let (was, is) = (expected.age_millis(later), found.age_millis(clock.at));
                    prop_assert!(was <= is && is < was + 1000, "{} became {}", was, is);
                }
                (None, None) => {}
                // Within the second that ages are rounded up by.
                (Some(Ok(expected)), None) => {
                    let left = u64::from(expected.lifetime().seconds()) * 1000 - expected.age_millis(later);
                    prop_assert!(left < 1000, "{} milliseconds left", left);
                }
                (expected, found) => prop_assert!(false, "{:?} became {:?}", expected, found),
            }
        }
    }

    /// Damage is found or harmless: nothing panics, and what is loaded is sound.
    #[test]
    fn damaged_octets(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let mut octets = a_few();
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        let (cache, loaded) = loaded(&octets, restarted_after(0), STALE_SECONDS);
        prop_assert_eq!(cache.len() as u64, loaded.replies);
    }
}
