//! Octets of an upstream -> `UpstreamReply`: never panics, and what is kept is a sound message without EDNS that would be
//! kept again as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plustwo::dns::Ttl;
use plustwo::dns::message::Message;
use plustwo::forward::Millis;
use plustwo::forward::reply::{Age, TtlLimits, UpstreamReply};

fuzz_target!(|octets: &[u8]| {
    let limits = TtlLimits {
        ttl_max: Ttl::from_wire(86_400),
        negative_ttl_max: Ttl::from_wire(3_600),
        failure_ttl: Ttl::from_wire(5),
    };
    let Ok(message) = Message::parse(octets) else { return };
    let Some(reply) = UpstreamReply::new(&message, limits, Millis(0), false) else { return };
    let kept = Message::parse(reply.octets()).expect("what is kept is sound");
    assert_eq!(kept.octets(), reply.octets());
    assert_eq!(kept.records().count(), reply.message().records().count());
    if let Some(again) = UpstreamReply::new(&kept, limits, Millis(0), false) {
        assert_eq!(again.octets(), reply.octets());
    }
    for link in reply.links() {
        assert!(kept.name(link.target_at).is_some());
    }
    assert!(reply.message().opt().is_none());
    assert!(!reply.authentic_data());
    assert!(reply.lifetime() <= limits.ttl_max);
    let mut served = reply.octets().to_vec();
    reply.write_ttls(&mut served, Age::Seconds(7));
    reply.write_ttls(&mut served, Age::Stale);
    for record in reply.message().records() {
        assert!(record.ttl <= limits.ttl_max);
        assert_eq!(served[record.ttl_at..record.ttl_at + 4], [0, 0, 0, 30]);
    }
    assert!(reply.fitting(512).records.len() <= 512);
});
