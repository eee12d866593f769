//! Keys, lifetimes and bounds.

use proptest::prelude::*;

use super::*;
use crate::dns::message::Message;
use crate::dns::{Rcode, Ttl};
use crate::forward::reply::TtlLimits;

const T0: Millis = Millis(1_000);
const QNAME: &[u8] = b"\x03www\x07example\x00";

fn ask(qname: &[u8]) -> Ask<'_> {
    Ask { context: ContextId(1), qname, qtype: Rtype::A, class: Class::IN, dnssec_ok: false, checking_disabled: false }
}

/// A reply with one record of this TTL and so many octets of data.
fn reply(qname: &[u8], ttl: u8, rdata_octets: u16) -> Outcome {
    let mut octets = b"\x00\x00\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00".to_vec();
    octets.extend_from_slice(qname);
    octets.extend_from_slice(&[0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl]);
    octets.extend_from_slice(&rdata_octets.to_be_bytes());
    octets.resize(octets.len() + usize::from(rdata_octets), 0);
    let limits = TtlLimits { ttl_max: Ttl::MAX, negative_ttl_max: Ttl::MAX };
    let message = Message::parse(&octets).expect("well-formed");
    Ok(Arc::new(UpstreamReply::new(&message, limits, T0).expect("small")))
}

fn insert(cache: &ReplyCache, ask: &Ask<'_>, outcome: &Outcome) {
    cache.insert(CacheKey::from(ask), outcome, T0);
}

#[test]
fn every_part_of_the_key_keeps_replies_apart() {
    let cache = ReplyCache::new(1 << 20);
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
    let mut octets = b"\x00\x00\x81\x83\x00\x01\x00\x00\x00\x01\x00\x00".to_vec();
    octets.extend_from_slice(QNAME);
    octets.extend_from_slice(b"\x00\x01\x00\x01\xc0\x10\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x16\x00\x00");
    octets.extend_from_slice(&[0, 0, 0, 60].repeat(5));
    let limits = TtlLimits { ttl_max: Ttl::MAX, negative_ttl_max: Ttl::MAX };
    let message = Message::parse(&octets).expect("well-formed");
    Ok(Arc::new(UpstreamReply::new(&message, limits, T0).expect("small")))
}

#[test]
fn nxdomain_is_kept_for_the_name_and_for_one_context() {
    let cache = ReplyCache::new(1 << 20);
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
    let cache = ReplyCache::new(64 << 20);
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
        let mut outcomes = [const { None }; LOOKUPS_MAX];
        cache.get_all(asks.iter().copied(), now, &mut outcomes);
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
    let cache = ReplyCache::new(1 << 20);
    insert(&cache, &ask(QNAME), &reply(QNAME, 60, 4));
    assert!(cache.get(&ask(QNAME), T0.plus(59_999)).is_some());
    assert!(cache.get(&ask(QNAME), T0.plus(60_000)).is_none());

    insert(&cache, &ask(b"\x01x\x00"), &Err(ExchangeError::TimedOut));
    assert!(matches!(cache.get(&ask(b"\x01x\x00"), T0.plus(4_999)), Some(Err(ExchangeError::TimedOut))));
    assert!(cache.get(&ask(b"\x01x\x00"), T0.plus(5_000)).is_none());
}

#[test]
fn what_may_not_be_kept_is_not() {
    let cache = ReplyCache::new(1 << 20);
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

#[test]
fn bounded_in_octets() {
    let octets_max = 1 << 20;
    let cache = ReplyCache::new(octets_max);
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
        let cache = ReplyCache::new(1 << 20);
        insert(&cache, &ask, &Err(ExchangeError::TimedOut));
        prop_assert!(cache.get(&ask, T0).is_some());
        let kept = Hashed { hash: 0, key: CacheKey::from(&ask) };
        let is_equivalent = Hashed { hash: 0, key: ask }.equivalent(&kept);
        prop_assert!(is_equivalent);
    }
}
