//! hickory-proto writes what upstreams say, and reads what we serve of it.

use std::str::FromStr;

use hickory_proto::op::{Edns, Message as Judge, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, NULL, SOA};
use hickory_proto::rr::{Name, RData, Record as JudgeRecord, RecordType};
use proptest::prelude::*;

use super::*;

const LIMITS: TtlLimits = TtlLimits {
    ttl_max: Ttl::from_wire(86_400),
    negative_ttl_max: Ttl::from_wire(3_600),
    failure_ttl: Ttl::from_wire(5),
};
const T0: Millis = Millis(5_000);

fn record(owner: &str, ttl: u32, rdata: RData) -> JudgeRecord {
    JudgeRecord::from_rdata(Name::from_str(owner).expect("well-formed"), ttl, rdata)
}

fn a(owner: &str, ttl: u32) -> JudgeRecord {
    record(owner, ttl, RData::A(A::new(10, 0, 0, 1)))
}

fn cname(owner: &str, ttl: u32, target: &str) -> JudgeRecord {
    record(owner, ttl, RData::CNAME(CNAME(Name::from_str(target).expect("well-formed"))))
}

fn soa(ttl: u32, minimum: u32) -> JudgeRecord {
    let name = |text| Name::from_str(text).expect("well-formed");
    record("example.", ttl, RData::SOA(SOA::new(name("ns.example."), name("mail.example."), 1, 2, 3, 4, minimum)))
}

/// A reply to `www.example. A` with these records in answer and authority.
fn reply(rcode: ResponseCode, answers: Vec<JudgeRecord>, authority: Vec<JudgeRecord>) -> Judge {
    let mut reply = Judge::new(77, MessageType::Response, OpCode::Query);
    reply.metadata.response_code = rcode;
    reply.add_query(Query::query(Name::from_str("www.example.").expect("well-formed"), RecordType::A));
    reply.insert_answers(answers);
    reply.insert_authorities(authority);
    reply
}

fn kept(reply: &Judge) -> UpstreamReply {
    let octets = reply.to_vec().expect("the judge writes");
    UpstreamReply::new(&Message::parse(&octets).expect("well-formed"), LIMITS, T0, false).expect("small")
}

#[test]
fn lifetimes() {
    use ResponseCode::{FormErr, NXDomain, NoError, Refused, ServFail};
    let other = |ttl| record("www.example.", ttl, RData::MX(MX::new(1, Name::root())));
    let chain = |ttl| cname("www.example.", ttl, "x.example.");
    for (what, rcode, answers, authority, expected) in [
        ("the smallest of the answer", NoError, vec![a("www.example.", 300), a("www.example.", 60)], vec![], 60),
        ("the chain counts", NoError, vec![chain(30), a("x.example.", 300)], vec![], 30),
        ("authority does not", NoError, vec![a("www.example.", 300)], vec![a("ns.example.", 5)], 300),
        ("a cap", NoError, vec![a("www.example.", 900_000)], vec![], 86_400),
        ("top bit", NoError, vec![a("www.example.", 0x8000_0001)], vec![], 0),
        ("zero", NoError, vec![a("www.example.", 0)], vec![], 0),
        ("NXDOMAIN: SOA's TTL", NXDomain, vec![], vec![soa(100, 900)], 100),
        ("NXDOMAIN: MINIMUM", NXDomain, vec![], vec![soa(900, 100)], 100),
        ("NXDOMAIN: a cap", NXDomain, vec![], vec![soa(90_000, 90_000)], 3_600),
        ("NXDOMAIN behind a CNAME", NXDomain, vec![chain(30)], vec![soa(900, 100)], 30),
        ("NXDOMAIN without SOA", NXDomain, vec![chain(30)], vec![], 0),
        ("NODATA", NoError, vec![], vec![soa(900, 100)], 100),
        ("NODATA behind a CNAME", NoError, vec![chain(300)], vec![soa(900, 100)], 100),
        ("NODATA without SOA", NoError, vec![], vec![], 0),
        ("NODATA as a referral", NoError, vec![], vec![a("ns.example.", 300)], 0),
        ("a CNAME that was not followed", NoError, vec![chain(300)], vec![], 300),
        ("an answer with a SOA beside it", NoError, vec![a("www.example.", 300)], vec![soa(9, 9)], 300),
        ("another type in the answer", NoError, vec![other(300)], vec![soa(900, 100)], 100),
        ("SERVFAIL", ServFail, vec![], vec![], 5),
        ("REFUSED", Refused, vec![a("www.example.", 300)], vec![], 5),
        ("FORMERR", FormErr, vec![], vec![], 5),
    ] {
        let reply = kept(&reply(rcode, answers, authority));
        assert_eq!(reply.lifetime().seconds(), expected, "{what}");
        assert_eq!(reply.is_fresh(T0), expected > 0, "{what}");
        let end = T0.plus(u64::from(expected) * 1000);
        assert!(!reply.is_fresh(end), "{what}");
        assert!(expected == 0 || reply.is_fresh(Millis(end.0 - 1)), "{what}");
    }
}

/// What is served of a reply at a moment, as the judge reads it.
fn served(reply: &UpstreamReply, now: Millis) -> Judge {
    let mut octets = reply.octets().to_vec();
    reply.write_ttls(&mut octets, reply.age(now));
    Judge::from_vec(&octets).expect("the judge reads it")
}

#[test]
fn ttls_count_down_and_never_below_zero() {
    let reply = kept(&reply(ResponseCode::NoError, vec![a("www.example.", 300), a("www.example.", 1)], vec![]));
    for (millis, expected) in [(0, [300, 1]), (999, [300, 1]), (1000, [299, 0]), (299_999, [1, 0])] {
        let served = served(&reply, T0.plus(millis));
        assert_eq!([served.answers[0].ttl, served.answers[1].ttl], expected);
    }
    // A worker's clock may be read a moment before the reply came.
    assert_eq!(served(&reply, Millis(0)).answers[0].ttl, 300);
    let first = reply.message().records().next().expect("one record");
    assert_eq!(Age::Seconds(7).ttl(first.ttl.seconds()), 293);
}

#[test]
fn ttls_are_capped_in_what_is_served() {
    let reply = kept(&reply(ResponseCode::NoError, vec![a("www.example.", 0x7fff_ffff)], vec![]));
    assert_eq!(served(&reply, T0).answers[0].ttl, 86_400);
}

#[test]
fn the_soa_of_a_negative_answer_counts_down_from_the_negative_ttl() {
    let reply = kept(&reply(ResponseCode::NXDomain, vec![], vec![soa(86_400, 300)]));
    assert_eq!(served(&reply, T0.plus(299_000)).authorities[0].ttl, 1);
}

#[test]
fn a_stale_reply_is_told_for_30_seconds() {
    let answers = vec![a("www.example.", 60), a("www.example.", 3600)];
    let reply = kept(&reply(ResponseCode::NoError, answers, vec![]));
    let later = T0.plus(100_000);
    assert!(!reply.is_stale(later), "it was fetched a while ago, and nobody said that it is served all the same");
    assert_eq!(served(&reply, later).answers[1].ttl, 3500);
    reply.serve_stale_until(later);
    assert!(reply.is_stale(later) && !reply.is_stale(T0));
    let told = served(&reply, later);
    assert_eq!([told.answers[0].ttl, told.answers[1].ttl], [30, 30]);
    assert_eq!(served(&reply, T0).answers[0].ttl, 60);
}

#[test]
fn ad_is_kept_of_those_who_can_be_believed() {
    let mut judge = reply(ResponseCode::NoError, vec![a("www.example.", 60)], vec![]);
    for said in [true, false] {
        judge.metadata.authentic_data = said;
        let octets = judge.to_vec().expect("the judge writes");
        for protected in [true, false] {
            let message = Message::parse(&octets).expect("well-formed");
            let reply = UpstreamReply::new(&message, LIMITS, T0, protected).expect("small");
            assert_eq!(reply.authentic_data(), said && protected);
            assert_eq!(served(&reply, T0).metadata.authentic_data, said && protected);
        }
    }
}

/// A full reply whose OPT stands last, as upstreams send it.
fn with_edns() -> Judge {
    let answers = vec![cname("www.example.", 60, "host.example."), a("host.example.", 60)];
    let mut judge = reply(ResponseCode::NoError, answers, vec![soa(60, 60)]);
    judge.add_additional(record("x.example.", 60, RData::MX(MX::new(1, Name::from_str("mail.example.").expect("ok")))));
    judge.set_edns(Edns::new());
    judge
}

#[test]
fn the_additional_section_is_cut_off_and_the_rest_stays_octet_by_octet() {
    let judge = with_edns();
    let octets = judge.to_vec().expect("the judge writes");
    let reply = kept(&judge);
    let kept_octets = reply.octets().len();
    assert_eq!(octets[reply.question_end()..kept_octets], reply.octets()[reply.question_end()..]);
    let message = Message::parse(&octets).expect("well-formed");
    let additional = message.records().find(|r| r.section == Section::Additional).expect("an MX");
    assert_eq!(kept_octets, additional.start);
    assert_eq!(reply.counts(), [2, 1, 0]);
    assert!(reply.has_links());
    let served = served(&reply, T0);
    assert!(served.edns.is_none());
    assert_eq!((served.answers, served.authorities), (judge.answers, judge.authorities));
    assert_eq!(served.additionals, []);
}

#[test]
fn what_is_for_one_hop_ends_here_wherever_it_stands() {
    let judge = with_edns();
    let octets = judge.to_vec().expect("the judge writes");
    let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00".as_slice();
    let signature =
        |rtype: u8| [b"\x00\x00".as_slice(), &[rtype], b"\x00\xff\x00\x00\x00\x00\x00\x15", &[0; 21]].concat();
    let without = &octets[..octets.len() - opt.len()];
    let message = Message::parse(&octets).expect("well-formed");
    let additional = message.records().find(|r| r.section == Section::Additional).expect("an MX").start;
    for (what, middle, end, count) in [
        ("OPT first", opt.to_vec(), vec![], 2),
        ("TSIG last", vec![], signature(250), 2),
        ("SIG(0) last", vec![], signature(24), 2),
        ("OPT first and TSIG last", opt.to_vec(), signature(250), 3),
        ("OPT and TSIG last", vec![], [opt.to_vec(), signature(250)].concat(), 3),
    ] {
        let mut octets = [&without[..additional], &middle, &without[additional..], &end].concat();
        octets[11] = count;
        let message = Message::parse(&octets).expect(what);
        let reply = UpstreamReply::new(&message, LIMITS, T0, false).expect("small");
        assert_eq!(reply.octets(), kept(&judge).octets(), "{what}");
    }
}

#[test]
fn what_would_not_fit_is_refused() {
    // The question's name has 255 octets. 250 MX point to it, and are written out where they have to be
    // rewritten, because something else stands before them.
    let mut octets = b"\x00\x01\x81\x80\x00\x01\x00\xfb\x00\x00\x00\x00".to_vec();
    for label_octets in [63, 63, 63, 61] {
        octets.push(label_octets);
        octets.extend(std::iter::repeat_n(b'x', usize::from(label_octets)));
    }
    octets.extend_from_slice(b"\x00\x00\x0f\x00\x01");
    let question_end = octets.len();
    octets.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x00\x00\x01");
    octets.extend(b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x05\x00\x04\x00\x01\xc0\x0c".repeat(250));
    let kept = |octets: &[u8]| UpstreamReply::new(&Message::parse(octets).expect("sound"), LIMITS, T0, false);
    assert!(kept(&octets).is_none());
    // One after the other without it, they stay as they are.
    octets.drain(question_end..question_end + 16);
    octets[7] = 250;
    assert_eq!(kept(&octets).expect("it fits").octets().len(), octets.len());
}

#[test]
fn unknown_types_come_out_as_they_came_in() {
    let unknown = RData::Unknown { code: RecordType::Unknown(65280), rdata: NULL::with((0..=255).collect()) };
    let mut judge = reply(ResponseCode::NoError, vec![record("www.example.", 60, unknown)], vec![]);
    judge.queries[0].set_query_type(RecordType::Unknown(65280));
    assert_eq!(served(&kept(&judge), T0).answers, judge.answers);
    assert!(!kept(&judge).has_links());
}

#[test]
fn as_many_records_as_fit() {
    let reply = kept(&reply(ResponseCode::NoError, vec![a("www.example.", 60); 10], vec![soa(60, 60); 2]));
    let all = reply.octets().len();
    assert_eq!(reply.fitting(all).counts, [10, 2, 0]);
    assert!(reply.fitting(all).complete);
    let fitting = reply.fitting(all - 1);
    assert_eq!((fitting.counts, fitting.complete), ([10, 1, 0], false));
    let fitting = reply.fitting(reply.question_end() + 16 * 3 + 15);
    assert_eq!((fitting.counts, fitting.records.len(), fitting.complete), ([3, 0, 0], 48, false));
    assert_eq!(reply.fitting(reply.question_end()).counts, [0; 3]);

    let mut octets = reply.octets()[..reply.question_end() + 48].to_vec();
    octets[6..10].copy_from_slice(&[0, 3, 0, 0]);
    reply.write_ttls(&mut octets, Age::Seconds(10));
    let served = Judge::from_vec(&octets).expect("the judge reads it");
    assert!(served.answers.iter().all(|record| record.ttl == 50));
}

#[test]
fn a_name_that_points_into_a_ttl_does_not_break_us() {
    // Two name servers; the name of the second points into the TTL of the first.
    let mut octets = b"\x00\x01\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x01a\x00\x00\x02\x00\x01".to_vec();
    octets.extend_from_slice(b"\xc0\x0c\x00\x02\x00\x01\x01\x00\x00\x00\x00\x01\x00");
    octets.extend_from_slice(b"\xc0\x0c\x00\x02\x00\x01\x00\x00\x00\x05\x00\x02\xc0\x1a");
    let message = Message::parse(&octets).expect("the root stands at octet 26");
    // Capped, the TTL is 0x00015180: a label of one octet, and then no label at all.
    assert!(UpstreamReply::new(&message, LIMITS, T0, false).is_none());
    let no_cap = TtlLimits { ttl_max: Ttl::MAX, ..LIMITS };
    assert!(UpstreamReply::new(&message, no_cap, T0, false).is_some());
}

#[test]
fn an_extended_rcode_stays_what_it_is() {
    // The lower four bits alone would be YXRRSET.
    let mut judge = reply(ResponseCode::NoError, vec![], vec![]);
    judge.set_edns(Edns::new());
    let mut octets = judge.to_vec().expect("the judge writes");
    octets[3] |= 7;
    let rcode_high = octets.len() - 6;
    octets[rcode_high] = 1;
    let reply = UpstreamReply::new(&Message::parse(&octets).expect("well-formed"), LIMITS, T0, false).expect("small");
    assert_eq!((reply.rcode(), reply.lifetime()), (Rcode(23), LIMITS.failure_ttl));
}

proptest! {
    /// Whatever an upstream sends: what we keep of it is a sound message, and its parts fit together.
    #[test]
    fn a_damaged_reply(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), age: u32) {
        let mut octets = with_edns().to_vec().expect("the judge writes");
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        let message = Message::parse(&octets).ok();
        let reply = message.and_then(|message| UpstreamReply::new(&message, LIMITS, T0, false));
        if let Some(reply) = reply {
            let places: Vec<(usize, usize)> = reply.message().records().map(|r| (r.ttl_at, r.end)).collect();
            let kept = reply.places().iter().map(|place| Place::of(*place));
            let kept: Vec<(usize, usize)> = kept.map(|p| (usize::from(p.ttl_at), usize::from(p.end))).collect();
            prop_assert_eq!(kept, places);
            prop_assert!(reply.message().opt().is_none());
            prop_assert_eq!(reply.message().octets(), reply.octets());
            prop_assert!(Message::parse(reply.octets()).is_ok());
            prop_assert_eq!(reply.counts()[Section::Additional as usize], 0);
            for octets_max in 0..reply.octets().len() + 1 {
                let fitting = reply.fitting(octets_max);
                prop_assert!(fitting.records.is_empty() || reply.question_end() + fitting.records.len() <= octets_max);
            }
            let mut served = reply.octets().to_vec();
            reply.write_ttls(&mut served, Age::Seconds(age));
            prop_assert!(reply.lifetime() <= LIMITS.ttl_max);
        }
    }
}
