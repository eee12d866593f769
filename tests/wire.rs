//! The wire form, rule by rule, with hickory-proto as the outside judge: what `docs/rfc.md` points at for `dns`.

use hickory_proto::op::{Edns as JudgeEdns, Message, Query as JudgeQuery};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name as JudgeName, RecordType};
use plustwo::dns::edns::{ExtendedError, UDP_PAYLOAD_OCTETS_MAX};
use plustwo::dns::name::{HashSeed, NAME_OCTETS_MAX};
use plustwo::dns::query::HEADER_OCTETS;
use plustwo::dns::reply::{QNAME_AT, ReplyWriter, STREAM_MESSAGE_OCTETS_MAX, Section, Transport, template};
use plustwo::dns::{Class, ExtendedErrorCode, Malformed, Name, NameError, Query, Rcode, Rtype, Ttl};
use std::str::FromStr as _;

/// A query as hickory-proto writes it.
fn query_octets(qname: &str, edns: Option<JudgeEdns>) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = true;
    let name = JudgeName::from_ascii(qname).expect("a name");
    message.add_query(JudgeQuery::query(name, RecordType::A));
    message.edns = edns;
    message.to_vec().expect("the judge can write what it reads")
}

/// An OPT that offers so many octets, with DO set.
fn offering(octets: u16) -> Option<JudgeEdns> {
    let mut edns = JudgeEdns::new();
    edns.set_max_payload(octets).set_version(0).set_dnssec_ok(true);
    Some(edns)
}

/// Reads a query that must be well-formed.
fn read(octets: &[u8]) -> Query {
    let mut query = Query::default();
    query.read(octets, HashSeed(1)).expect("well-formed");
    query
}

/// Writes a reply of `count` addresses, and gives it to the judge.
fn reply(octets: &[u8], transport: Transport, count: u8, error: Option<ExtendedError>) -> (usize, Message) {
    let query = read(octets);
    let mut buffer = vec![0; STREAM_MESSAGE_OCTETS_MAX];
    let room = transport.reply_octets_max(&query, octets.len());
    let mut writer = ReplyWriter::begin(&mut buffer, octets, &query, room);
    for last in 0..count {
        let mut record = Vec::new();
        template(&mut record, Rtype::A, 60, &[10, 0, 0, last]);
        writer.push_template(Section::Answer, QNAME_AT, &record);
    }
    let end = writer.finish(&query, Rcode::NOERROR, error);
    (end, Message::from_vec(&buffer[..end]).expect("the judge reads what we write"))
}

/// RFC 1035 section 2.3.4; a longer one is refused, not cut.
#[test]
fn names_and_labels_have_their_limits() {
    let label = [b'a'; 63];
    assert!(Name::from_labels([&label[..]]).is_ok());
    assert_eq!(Name::from_labels([&[b'a'; 64][..]]), Err(NameError::LabelTooLong));
    // 3 * 64 + 62 + 1 = 255.
    let longest = Name::from_labels([&label[..], &label, &label, &label[..61]]).expect("255 octets are legal");
    assert_eq!(longest.as_wire().len(), NAME_OCTETS_MAX);
    assert_eq!(Name::from_labels([&label[..], &label, &label, &label[..62]]), Err(NameError::TooLong));
    assert_eq!(Name::from_wire(longest.as_wire()), Ok(longest));
}

/// RFC 1035 section 5.1: what is no graphic sign is escaped in decimal, and the octets can be read back.
#[test]
fn presentation_form_is_safe_to_print() {
    let label = b"a.b\\c\"\x00\xff\n;(";
    let shown = Name::from_labels([&label[..], b"example"]).expect("any octets are legal").to_string();
    assert!(shown.bytes().all(|octet| octet.is_ascii_graphic()), "{shown:?}");
    // The judge takes decimal escapes for octal ones, so it is not asked.
    let mut octets = Vec::new();
    let mut rest = shown.strip_suffix(".example.").expect("absolute").as_bytes();
    while let [first, behind @ ..] = rest {
        rest = match (first, behind) {
            (b'\\', [a @ b'0'..=b'9', b, c, behind @ ..]) => {
                octets.push((a - b'0') * 100 + (b - b'0') * 10 + (c - b'0'));
                behind
            }
            (b'\\', [escaped, behind @ ..]) => {
                octets.push(*escaped);
                behind
            }
            _ => {
                octets.push(*first);
                behind
            }
        };
    }
    assert_eq!(octets, label);
}

/// RFC 4592 section 2.1.1: only a whole leftmost `*` label is a wildcard.
#[test]
fn wildcards_are_whole_labels() {
    let name = |labels: &[&[u8]]| Name::from_labels(labels.iter().copied()).expect("a name");
    assert!(name(&[b"*", b"example"]).is_wildcard());
    assert!(!name(&[b"*a", b"example"]).is_wildcard());
    assert!(!name(&[b"a", b"*", b"example"]).is_wildcard());
}

/// RFC 1035 section 3.2.2 and RFC 3597 section 5: mnemonics where there is one, `TYPEnnn` for every number.
#[test]
fn types_have_the_names_the_judge_knows() {
    for rtype in Rtype::ROUTE_53 {
        // SPF has a mnemonic that the judge no longer knows.
        if rtype != Rtype(99) {
            assert_eq!(RecordType::from_str(&rtype.to_string()).map(u16::from).ok(), Some(rtype.0));
        }
        assert_eq!(Rtype::from_str(&rtype.to_string().to_lowercase()), Ok(rtype));
    }
    assert_eq!(Rtype(65_280).to_string(), "TYPE65280");
    assert_eq!(Rtype::from_str("type1"), Ok(Rtype::A));
    assert!(Rtype::from_str("TYPE65536").is_err());
}

/// RFC 2181 section 8: the top bit counts as zero; more than 31 bits cannot be written.
#[test]
fn ttls_are_31_bits() {
    assert_eq!(Ttl::from_wire(0x7fff_ffff), Ttl::MAX);
    assert_eq!(Some(Ttl::from_wire(0x8000_0000)), Ttl::from_seconds(0));
    assert_eq!(Ttl::from_seconds(0x8000_0000), None);
}

/// RFC 1035 section 4.1.1, 3.2.4; RFC 4035 section 3.2.2: header, class and CD of a query, and what the reply copies.
#[test]
fn the_reply_copies_what_it_must() {
    let octets = query_octets("WwW.Example.", None);
    let query = read(&octets);
    assert_eq!((query.qclass, query.qtype, query.checking_disabled), (Class::IN, Rtype::A, true));
    let (_, judged) = reply(&octets, Transport::Udp, 2, None);
    let metadata = &judged.metadata;
    assert_eq!(metadata.id, 0x1234);
    assert!(metadata.recursion_desired && metadata.recursion_available && metadata.checking_disabled);
    assert!(!metadata.authoritative && !metadata.truncation && !metadata.authentic_data);
    assert_eq!(judged.queries[0].name().to_ascii(), "WwW.Example.", "the question keeps the client's case");
    // RFC 1035 section 4.1.4: the owner is a pointer to the question.
    assert_eq!(judged.answers.len(), 2);
    assert_eq!(judged.answers[1].name.to_ascii(), "WwW.Example.");
    assert!(judged.edns.is_none(), "no OPT where the query had none (RFC 6891 section 7)");
}

/// RFC 1035 sections 4.2.1 and 4.2.2, RFC 6891 section 6.2.3: 512 without EDNS, the offer with it, at most 1232, and
/// a stream knows none of these.
#[test]
fn a_reply_is_no_longer_than_may_be() {
    for (edns, transport, octets_max, truncated) in [
        (None, Transport::Udp, 512, true),
        (offering(100), Transport::Udp, 512, true),
        (offering(800), Transport::Udp, 800, true),
        (offering(4096), Transport::Udp, UDP_PAYLOAD_OCTETS_MAX, true),
        (None, Transport::Tcp, STREAM_MESSAGE_OCTETS_MAX, false),
        (offering(512), Transport::Tcp, STREAM_MESSAGE_OCTETS_MAX, false),
    ] {
        let has_opt = edns.is_some();
        let (octets, judged) = reply(&query_octets("many.records.of.a.name.example.", edns), transport, 200, None);
        assert!(octets <= octets_max, "{octets} > {octets_max}");
        assert_eq!(judged.metadata.truncation, truncated);
        // RFC 2181 section 9: what is there is whole, and RFC 6891 section 7: the OPT has its room.
        assert!(octets + 16 > octets_max || !truncated, "as many records as fit: {octets} of {octets_max}");
        assert_eq!(judged.answers.len() == 200, !truncated);
        assert_eq!(judged.edns.is_some(), has_opt);
    }
}

/// Whoever forges an address gains at most 25 times what it sends.
#[test]
fn a_datagram_is_at_most_25_times_its_query() {
    for (name, edns) in
        [(".", None), ("a.", None), (".", offering(4096)), ("a.", offering(4096)), ("ab.cd.", offering(800))]
    {
        let offered = edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload()));
        let query = query_octets(name, edns);
        let (octets, judged) = reply(&query, Transport::Udp, 200, None);
        let bound = (25 * query.len()).min(offered);
        assert!(octets <= bound && octets + 16 > bound, "{name}: {octets} octets for {}", query.len());
        assert!(judged.metadata.truncation);
        assert!(!reply(&query, Transport::Tcp, 200, None).1.metadata.truncation, "over TCP it is whole");
    }
}

/// RFC 6891 section 7, RFC 3225 section 3: our OPT is version 0, offers 1232, and copies DO.
/// RFC 8914 sections 2 and 5.2: an extended error says its code and text.
#[test]
fn our_opt_says_what_it_must() {
    let error = ExtendedError { code: ExtendedErrorCode::PROHIBITED, text: "not you" };
    let (_, judged) = reply(&query_octets("www.example.", offering(1400)), Transport::Udp, 1, Some(error));
    let edns = judged.edns.expect("an OPT for an OPT");
    assert_eq!((edns.version(), edns.max_payload()), (0, 1232));
    assert!(edns.flags().dnssec_ok);
    let option = edns.option(EdnsCode::from(15)).expect("an extended error");
    let EdnsOption::Unknown(15, said) = option else { panic!("{option:?}") };
    assert_eq!(said, &[&[0, 18][..], b"not you"].concat());
}

/// RFC 6891 section 6.1.3: the upper bits of an rcode travel in the OPT.
#[test]
fn a_long_rcode_is_split() {
    let octets = query_octets("www.example.", offering(1232));
    let query = read(&octets);
    let mut buffer = [0; 512];
    let end = ReplyWriter::begin(&mut buffer, &octets, &query, 512).finish(&query, Rcode::BADVERS, None);
    let judged = Message::from_vec(&buffer[..end]).expect("the judge reads it");
    // 16 is BADVERS in an OPT and BADSIG in a TSIG.
    assert_eq!(u16::from(judged.metadata.response_code), Rcode::BADVERS.0);
    assert_eq!(buffer[3] & 0x0f, 0);
}

/// RFC 6891 sections 6.1.1 and 6.1.2: two OPTs are malformed, and so are options that do not fill their rdata.
#[test]
fn an_opt_that_is_wrong_is_malformed() {
    const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    const CUT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x03\x00\x0a\x00";
    let plain = query_octets("www.example.", None);
    for (records, count) in [([OPT, OPT].concat(), 2), (CUT.to_vec(), 1)] {
        let mut octets = [plain.as_slice(), &records].concat();
        octets[HEADER_OCTETS - 1] = count;
        let read = Query::default().read(&octets, HashSeed(1));
        assert_eq!(read, Err(Malformed::Opt));
        assert_eq!(Malformed::Opt.reply(), Some(Rcode::FORMERR));
    }
}
