//! hickory-proto writes what upstreams say, and reads what is kept of it.

use std::collections::BTreeMap;

use hickory_proto::op::{Message as Judge, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{Name, RData, Record as JudgeRecord, RecordType};
use proptest::prelude::*;

use super::super::{TtlLimits, UpstreamReply};
use super::*;
use crate::dns::Ttl;
use crate::forward::Millis;

const LIMITS: TtlLimits =
    TtlLimits { ttl_max: Ttl::MAX, negative_ttl_max: Ttl::from_wire(3_600), failure_ttl: Ttl::from_wire(5) };

/// A record, as `OWNER TYPE RDATA`; `RRSIG COVERED` and `NSEC` have octets that nobody looks at.
fn record(line: &str) -> JudgeRecord {
    let (owner, rest) = line.split_once(' ').expect("an owner");
    let (rtype, rdata) = rest.split_once(' ').unwrap_or((rest, ""));
    let unknown = |code: u16, octets: Vec<u8>| RData::Unknown { code: code.into(), rdata: NULL::with(octets) };
    let rdata = match rtype {
        "RRSIG" => {
            let covered: Rtype = rdata.parse().expect("a type");
            unknown(46, [&covered.0.to_be_bytes()[..], &[7; 16], b"\x07example\x00", &[9; 64]].concat())
        }
        "DNAME" => {
            let target = Name::from_ascii(rdata).expect("a name");
            let labels = target.iter().flat_map(|label| [&[label.len() as u8], label].concat());
            unknown(39, labels.chain([0]).collect())
        }
        "NSEC" => unknown(47, b"\x01z\x07example\x00\x00\x01\x40".to_vec()),
        _ => RData::try_from_str(rtype.parse().expect("a type"), rdata).expect("rdata"),
    };
    JudgeRecord::from_rdata(Name::from_ascii(owner).expect("a name"), 300, rdata)
}

/// A reply to `www.first.example` with these records.
fn said(qtype: &str, rcode: ResponseCode, sections: [&[&str]; 3]) -> Judge {
    let mut reply = Judge::new(7, MessageType::Response, OpCode::Query);
    reply.metadata.response_code = rcode;
    let name = Name::from_ascii("www.first.example.").expect("a name");
    reply.add_query(Query::query(name, qtype.parse::<RecordType>().expect("a type")));
    let [answers, authorities, additionals] = sections.map(|lines| lines.iter().map(|line| record(line)).collect());
    (reply.answers, reply.authorities, reply.additionals) = (answers, authorities, additionals);
    reply
}

fn kept(judge: &Judge) -> Option<UpstreamReply> {
    let octets = judge.to_vec().expect("the judge writes");
    UpstreamReply::new(&Message::parse(&octets).expect("sound"), LIMITS, Millis(0), false)
}

/// What is kept, as the judge reads it.
fn judged(reply: &UpstreamReply) -> Judge {
    Judge::from_vec(reply.octets()).expect("the judge reads it")
}

/// The targets of the chain that a reply says it has.
fn links(reply: &UpstreamReply) -> Vec<Name> {
    let message = reply.message();
    let name = |at| message.name(at).expect("whole").as_wire().to_vec();
    let read = |wire: Vec<u8>| hickory_proto::serialize::binary::BinDecodable::from_bytes(&wire).expect("a name");
    reply.links().map(|link| read(name(link.target_at))).collect()
}

#[test]
fn what_answers_the_question_is_kept_and_nothing_else() {
    const A: &str = "www.first.example. A 10.0.0.1";
    const TO_X: &str = "www.first.example. CNAME x.first.example.";
    const X: &str = "x.first.example. A 10.0.0.2";
    const SOA: &str = "first.example. SOA ns.first.example. mail.first.example. 1 2 3 4 5";
    const OTHER_SOA: &str = "corp.example. SOA ns.first.example. mail.first.example. 1 2 3 4 5";
    const NS: &str = "first.example. NS ns.evil.example.";
    const EVIL: &str = "www.corp.example. A 203.0.113.66";
    const EVIL_NS: &str = "corp.example. NS ns.evil.example.";
    type Case = (&'static str, &'static str, ResponseCode, [&'static [&'static str]; 3], [&'static [&'static str]; 2]);
    use ResponseCode::{NXDomain, NoError, ServFail, YXDomain};
    let cases: [Case; 31] = [
        ("all of it", "A", NoError, [&[A, A], &[], &[]], [&[A, A], &[]]),
        (
            "others' records in all sections",
            "A",
            NoError,
            [&[A, EVIL], &[EVIL_NS, ". NS ns.evil.example."], &["ns.evil.example. A 203.0.113.66", EVIL]],
            [&[A], &[]],
        ),
        ("others' records first", "A", NoError, [&[EVIL, EVIL_NS, A], &[], &[]], [&[A], &[]]),
        ("before a CNAME", "A", NoError, [&[EVIL, EVIL_NS, TO_X, X], &[], &[]], [&[TO_X, X], &[]]),
        ("among a chain", "A", NoError, [&[TO_X, EVIL, X], &[], &[]], [&[TO_X, X], &[]]),
        ("data beside a CNAME", "A", NoError, [&[A, TO_X, X], &[], &[]], [&[TO_X, X], &[]]),
        ("a chain in reverse order", "A", NoError, [&[X, TO_X], &[], &[]], [&[TO_X, X], &[]]),
        (
            "the first CNAME of a name",
            "A",
            NoError,
            [&[TO_X, "www.first.example. CNAME y.first.example.", X, "y.first.example. A 10.0.0.3"], &[], &[]],
            [&[TO_X, X], &[]],
        ),
        (
            "the first CNAME of a name, which stands before what leads there",
            "A",
            NoError,
            [&["x.first.example. CNAME y.first.example.", TO_X, "x.first.example. CNAME z.first.example."], &[], &[]],
            [&[TO_X, "x.first.example. CNAME y.first.example."], &[]],
        ),
        (
            "CNAMEs that lead nowhere",
            "A",
            NoError,
            [&[TO_X, X, "z.first.example. CNAME x.first.example."], &[], &[]],
            [&[TO_X, X], &[]],
        ),
        (
            "a loop",
            "A",
            NoError,
            [&[TO_X, "x.first.example. CNAME www.first.example."], &[], &[]],
            [&[TO_X, "x.first.example. CNAME www.first.example."], &[]],
        ),
        (
            "a loop of one",
            "A",
            NoError,
            [&["www.first.example. CNAME www.first.example."], &[], &[]],
            [&["www.first.example. CNAME www.first.example."], &[]],
        ),
        ("case does not count", "A", NoError, [&[TO_X, "X.FIRST.example. A 10.0.0.2"], &[], &[]], [&[TO_X, X], &[]]),
        ("CNAME is asked for", "CNAME", NoError, [&[TO_X, X], &[], &[]], [&[TO_X], &[]]),
        ("another type", "AAAA", NoError, [&[A], &[SOA], &[]], [&[], &[SOA]]),
        ("another type behind a CNAME", "AAAA", NoError, [&[TO_X, X], &[], &[]], [&[TO_X], &[]]),
        (
            "a DNAME",
            "A",
            NoError,
            [
                &[
                    "first.example. DNAME second.example.",
                    "first.example. RRSIG DNAME",
                    "www.first.example. CNAME www.second.example.",
                    "www.second.example. A 10.0.0.4",
                ],
                &[],
                &[],
            ],
            [
                &[
                    "first.example. DNAME second.example.",
                    "first.example. RRSIG DNAME",
                    "www.first.example. CNAME www.second.example.",
                    "www.second.example. A 10.0.0.4",
                ],
                &[],
            ],
        ),
        (
            "DNAMEs that the CNAME does not come from",
            "A",
            NoError,
            [
                &[
                    "example. DNAME evil.example.",
                    "first.example. DNAME evil.example.",
                    "first.example. RRSIG DNAME",
                    TO_X,
                ],
                &[],
                &[],
            ],
            [&[TO_X], &[]],
        ),
        (
            "signatures",
            "A",
            NoError,
            [
                &[
                    TO_X,
                    "www.first.example. RRSIG CNAME",
                    "www.first.example. RRSIG A",
                    X,
                    "x.first.example. RRSIG A",
                    "x.first.example. RRSIG MX",
                    "www.corp.example. RRSIG A",
                ],
                &["q.first.example. NSEC", "q.first.example. RRSIG NSEC", NS, "first.example. RRSIG NS"],
                &[],
            ],
            [
                &[TO_X, "www.first.example. RRSIG CNAME", X, "x.first.example. RRSIG A"],
                &["q.first.example. NSEC", "q.first.example. RRSIG NSEC"],
            ],
        ),
        ("NXDOMAIN", "A", NXDomain, [&[], &[SOA], &[]], [&[], &[SOA]]),
        (
            "NXDOMAIN, signed",
            "A",
            NXDomain,
            [&[], &[SOA, "first.example. RRSIG SOA", "a.first.example. NSEC", "a.first.example. RRSIG NSEC"], &[]],
            [&[], &[SOA, "first.example. RRSIG SOA", "a.first.example. NSEC", "a.first.example. RRSIG NSEC"]],
        ),
        ("NXDOMAIN and name servers", "A", NXDomain, [&[], &[NS, SOA], &[]], [&[], &[SOA]]),
        ("NXDOMAIN behind a CNAME", "A", NXDomain, [&[TO_X], &[SOA], &[]], [&[TO_X], &[SOA]]),
        ("the SOA of others", "A", NXDomain, [&[], &[OTHER_SOA], &[]], [&[], &[]]),
        (
            "the SOA is of the last name",
            "A",
            NoError,
            [&["www.first.example. CNAME www.corp.example."], &[SOA, OTHER_SOA], &[]],
            [&["www.first.example. CNAME www.corp.example."], &[OTHER_SOA]],
        ),
        ("a referral", "A", NoError, [&[], &[NS, ". NS ns.example.", EVIL_NS], &[EVIL]], [&[], &[]]),
        ("NODATA and name servers", "A", NoError, [&[], &[NS, SOA], &[]], [&[], &[SOA]]),
        ("name servers behind a CNAME", "A", NoError, [&[TO_X], &[NS], &[]], [&[TO_X], &[]]),
        (
            "an rcode that is no answer",
            "A",
            YXDomain,
            [&["first.example. DNAME second.example."], &[], &[]],
            [&[], &[]],
        ),
        ("a failure says nothing", "A", ServFail, [&[A, TO_X], &[SOA], &[]], [&[], &[]]),
        (
            "HTTPS without the addresses",
            "HTTPS",
            NoError,
            [&["www.first.example. HTTPS 1 x.first.example."], &[], &[X]],
            [&["www.first.example. HTTPS 1 x.first.example."], &[]],
        ),
    ];
    for (what, qtype, rcode, sections, expected) in cases {
        let reply = kept(&said(qtype, rcode, sections)).unwrap_or_else(|| panic!("{what}: not kept"));
        let judge = judged(&reply);
        let expected = said(qtype, rcode, [expected[0], expected[1], &[]]);
        assert_eq!(judge.answers, expected.answers, "{what}");
        assert_eq!(judge.authorities, expected.authorities, "{what}");
        assert_eq!(judge.additionals, [], "{what}");
        // What has been kept would be kept again, octet by octet: the saved cache does so.
        let again = UpstreamReply::new(&reply.message(), LIMITS, Millis(0), false).expect("kept before");
        assert_eq!(again.octets(), reply.octets(), "{what}");
        assert_eq!((links(&again), again.dangles()), (links(&reply), reply.dangles()), "{what}");
    }
}

#[test]
fn records_of_another_class_are_left_out() {
    let mut judge = said("A", ResponseCode::NoError, [&["www.first.example. A 10.0.0.1"; 2], &[], &[]]);
    judge.answers[1].dns_class = hickory_proto::rr::DNSClass::CH;
    assert_eq!(kept(&judge).expect("one is kept").counts(), [1, 0, 0]);
}

#[test]
fn answers_about_others_are_refused() {
    use ResponseCode::{NXDomain, NoError};
    for (rcode, answers, expected) in [
        (NoError, vec!["other.first.example. A 203.0.113.66"], false),
        (NoError, vec!["first.example. DNAME second.example."], false),
        (NoError, vec!["other.first.example. A 203.0.113.66", "www.first.example. MX 1 mail.example."], true),
        (NoError, vec![], true),
        (NXDomain, vec!["other.first.example. A 203.0.113.66"], true),
    ] {
        assert_eq!(kept(&said("A", rcode, [&answers, &[], &[]])).is_some(), expected, "{answers:?}");
    }
}

#[test]
fn as_many_records_as_anybody_means() {
    let max = usize::from(SECTION_RECORDS_MAX);
    let address = "www.first.example. A 10.0.0.1";
    for (answers, authorities, additionals, expected) in
        [(max, max, max + 1, true), (max + 1, 0, 0, false), (1, max + 1, 0, false)]
    {
        let sections = [vec![address; answers], vec![address; authorities], vec![address; additionals]];
        let sections = sections.each_ref().map(Vec::as_slice);
        let reply = kept(&said("A", ResponseCode::NoError, sections));
        assert_eq!(reply.map(|reply| reply.counts()), expected.then_some([max as u16, 0, 0]));
    }
}

/// A chain of so many CNAMEs, and an address at its end.
fn chain(links: usize) -> Vec<String> {
    let name = |n: usize| if n == 0 { "www.first.example.".to_owned() } else { format!("n{n}.first.example.") };
    let cnames = (0..links).map(|n| format!("{} CNAME {}", name(n), name(n + 1)));
    cnames.chain([format!("{} A 10.0.0.1", name(links))]).collect()
}

#[test]
fn a_chain_is_followed_so_far() {
    for (length, expected) in [(0, true), (1, true), (LINKS_MAX, true), (LINKS_MAX + 1, false)] {
        let records = chain(length);
        for is_reversed in [false, true] {
            let mut lines: Vec<&str> = records.iter().map(String::as_str).collect();
            if is_reversed {
                lines.reverse();
            }
            let reply = kept(&said("A", ResponseCode::NoError, [&lines, &[], &[]]));
            assert_eq!(reply.is_some(), expected, "{length}");
            let Some(reply) = reply else { continue };
            let read: Vec<JudgeRecord> = records.iter().map(|line| record(line)).collect();
            assert_eq!(judged(&reply).answers, read, "in order, whatever order they came in");
            let targets: Vec<Name> = read[1..].iter().map(|record| record.name.clone()).collect();
            assert_eq!((links(&reply), reply.has_links()), (targets, length > 0));
            assert!(!reply.dangles());
        }
    }
}

#[test]
fn what_a_chain_ends_in() {
    const TO_X: &str = "www.first.example. CNAME x.first.example.";
    const SOA: &str = "first.example. SOA ns.first.example. mail.first.example. 1 2 3 4 5";
    use ResponseCode::{NXDomain, NoError};
    for (rcode, answers, authorities, expected) in [
        (NoError, vec![TO_X], vec![], true),
        (NoError, vec![TO_X], vec!["first.example. NS ns.example."], true),
        (NoError, vec![TO_X], vec![SOA], false),
        (NoError, vec![TO_X, "x.first.example. A 10.0.0.1"], vec![], false),
        (NoError, vec![TO_X, "other.first.example. A 10.0.0.1"], vec![], true),
        (NXDomain, vec![TO_X], vec![], false),
        (NoError, vec![], vec![], false),
    ] {
        let reply = kept(&said("A", rcode, [&answers, &authorities, &[]])).expect("kept");
        assert_eq!(reply.dangles(), expected, "{answers:?} {authorities:?}");
    }
}

/// Names, few enough that they meet.
const NAMES: [&str; 6] =
    ["www.first.example.", "x.first.example.", "y.first.example.", "first.example.", "www.corp.example.", "."];

fn any_record() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(&NAMES[..]);
    prop_oneof![
        (name(), 0..3_u8).prop_map(|(owner, octet)| format!("{owner} A 10.0.0.{octet}")),
        (name(), name()).prop_map(|(owner, target)| format!("{owner} CNAME {target}")),
        (name(), name()).prop_map(|(owner, target)| format!("{owner} DNAME {target}")),
        (name(), name()).prop_map(|(owner, target)| format!("{owner} MX 1 {target}")),
        (name(), name()).prop_map(|(owner, target)| format!("{owner} NS {target}")),
        name().prop_map(|owner| format!("{owner} SOA ns.example. mail.example. 1 2 3 4 5")),
        (name(), prop::sample::select(&["A", "CNAME", "DNAME", "SOA", "NS", "NSEC"][..]))
            .prop_map(|(owner, covered)| format!("{owner} RRSIG {covered}")),
        name().prop_map(|owner| format!("{owner} NSEC")),
    ]
}

/// The names of a chain as the judge sees it: each name's first CNAME.
fn names_of_chain(judge: &Judge) -> Vec<Name> {
    let mut cnames: BTreeMap<Name, Name> = BTreeMap::new();
    for record in &judge.answers {
        if let RData::CNAME(target) = &record.data {
            cnames.entry(record.name.to_lowercase()).or_insert_with(|| target.0.to_lowercase());
        }
    }
    let mut names = vec![judge.queries[0].name().to_lowercase()];
    while let Some(target) = cnames.remove(names.last().expect("never empty")) {
        names.push(target);
    }
    names
}

proptest! {
    /// Whatever an upstream says, in whatever order: all addresses at the end of the chain are kept, all CNAMEs of the
    /// chain in their order, and no record of any other name.
    #[test]
    fn nothing_else_is_kept(
        sections in prop::array::uniform3(prop::collection::vec(any_record(), 0..8)),
        is_nxdomain: bool,
    ) {
        let rcode = if is_nxdomain { ResponseCode::NXDomain } else { ResponseCode::NoError };
        let lines = sections.each_ref().map(|lines| lines.iter().map(String::as_str).collect::<Vec<_>>());
        let judge = said("A", rcode, lines.each_ref().map(Vec::as_slice));
        let names = names_of_chain(&judge);
        let is_about_it = judge.answers.is_empty() || judge.answers.iter().any(|record| record.name == names[0]);
        let Some(reply) = kept(&judge) else {
            prop_assert!(!is_about_it && !is_nxdomain);
            return Ok(());
        };
        prop_assert!(is_about_it || is_nxdomain);
        let found = judged(&reply);
        prop_assert_eq!(&links(&reply), &names[1..]);
        let last = names.last().expect("never empty");
        let addresses = |judge: &Judge| -> Vec<JudgeRecord> {
            let is_it = |record: &&JudgeRecord| record.record_type() == RecordType::A && record.name == *last;
            judge.answers.iter().filter(is_it).cloned().collect()
        };
        prop_assert_eq!(addresses(&found), addresses(&judge));
        let cnames = found.answers.iter().filter(|record| record.record_type() == RecordType::CNAME);
        let owners: Vec<&Name> = cnames.map(|record| &record.name).collect();
        prop_assert_eq!(owners, names[..names.len() - 1].iter().collect::<Vec<_>>());
        for record in &found.answers {
            let covered = match &record.data {
                RData::Unknown { code: RecordType::Unknown(46) | RecordType::RRSIG, rdata } => {
                    u16::from_be_bytes([rdata.anything[0], rdata.anything[1]])
                }
                _ => record.record_type().into(),
            };
            let is_link = names[..names.len() - 1].contains(&record.name);
            prop_assert!(match Rtype(covered) {
                Rtype::A => record.name == *last,
                Rtype::CNAME => is_link,
                Rtype::DNAME => names[..names.len() - 1].iter().any(|name| record.name.zone_of(name)),
                _ => false,
            }, "{record}");
        }
        for record in &found.authorities {
            let is_above = record.name.zone_of(last);
            prop_assert!(match record.record_type() {
                RecordType::SOA => is_above,
                RecordType::NS => false,
                _ => true,
            }, "{record}");
        }
        prop_assert!(found.additionals.is_empty());
    }
}
