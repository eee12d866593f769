//! hickory-proto judges: what it encodes compressed must come out the same after we took every name apart.

use std::str::FromStr;

use hickory_proto::op::{Edns, Message as Judge, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, NAPTR, NS, NULL, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record as JudgeRecord, RecordType};
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::from_str(text).expect("test names are well-formed")
}

fn record(owner: &str, rdata: RData) -> JudgeRecord {
    JudgeRecord::from_rdata(name(owner), 300, rdata)
}

/// A reply with a record of each well-known form that hickory compresses.
fn sample() -> Judge {
    let mut reply = Judge::new(0xabcd, MessageType::Response, OpCode::Query);
    reply.add_query(Query::query(name("www.corp.example."), RecordType::A));
    reply.add_answer(record("www.corp.example.", RData::CNAME(CNAME(name("a.b.corp.example.")))));
    reply.add_answer(record("a.b.corp.example.", RData::A(A::new(10, 0, 0, 1))));
    reply.add_answer(record("corp.example.", RData::MX(MX::new(10, name("mail.corp.example.")))));
    reply.add_answer(record("corp.example.", RData::SRV(SRV::new(1, 2, 3, name("srv.corp.example.")))));
    let text = |text: &str| text.as_bytes().into();
    let naptr = NAPTR::new(1, 2, text("S"), text("SIP+D2U"), text(""), name("_sip.corp.example."));
    reply.add_answer(record("corp.example.", RData::NAPTR(naptr)));
    let soa = SOA::new(name("ns.corp.example."), name("host.corp.example."), 1, 2, 3, 4, 5);
    reply.add_authority(record("corp.example.", RData::SOA(soa)));
    reply.add_authority(record("example.", RData::NS(NS(name("ns.corp.example.")))));
    let unknown = RData::Unknown { code: RecordType::Unknown(65280), rdata: NULL::with(vec![0xc0, 0x0c, 3, b'x']) };
    reply.add_additional(record("x.corp.example.", unknown));
    reply
}

/// The message with every name written out.
fn expanded(message: &Message<'_>) -> Vec<u8> {
    let mut out = message.octets()[..message.question_end()].to_vec();
    for record in message.records() {
        let mut owner = [0; 255];
        let octets = message.expand_name(record.owner_at, &mut owner).expect("checked by parse");
        out.extend_from_slice(&owner[..octets]);
        out.extend_from_slice(&message.octets()[record.ttl_at - 4..record.ttl_at + 4]);
        let mut rdata = [0; 1024];
        let octets = message.expand_rdata(&record, &mut rdata).expect("checked by parse");
        out.extend_from_slice(&(octets as u16).to_be_bytes());
        out.extend_from_slice(&rdata[..octets]);
    }
    out
}

#[test]
fn expands_to_the_same_message() {
    let judge = sample();
    let octets = judge.to_vec().expect("encodes");
    let message = Message::parse(&octets).expect("well-formed");
    let expanded = expanded(&message);
    assert!(expanded.len() > octets.len() + 60, "the sample was compressed");
    let back = Judge::from_vec(&expanded).expect("the judge reads it");
    assert_eq!(back, judge);
    let last = message.records().last().expect("has records");
    assert_eq!(message.rdata(&last), [0xc0, 0x0c, 3, b'x'], "unknown types are never looked into (RFC 3597)");
    assert_eq!((last.section, last.rtype, last.end), (Section::Additional, Rtype(65280), octets.len()));
}

#[test]
fn header_question_and_opt() {
    let mut judge = sample();
    judge.metadata.response_code = ResponseCode::BADVERS;
    judge.metadata.truncation = true;
    judge.metadata.authentic_data = true;
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    edns.set_rcode_high(1);
    judge.set_edns(edns);
    let mut octets = judge.to_vec().expect("encodes");
    octets[14] = b'W';
    let message = Message::parse(&octets).expect("well-formed");
    assert_eq!(message.id(), [0xab, 0xcd]);
    assert!(message.is_reply() && message.truncated() && message.authentic_data());
    assert_eq!((message.opcode(), message.rcode()), (Opcode::QUERY, Rcode::BADVERS));
    assert_eq!(message.question_name_wire(), b"\x03wWw\x04corp\x07example\x00");
    let opt = message.opt().expect("has EDNS");
    assert_eq!((opt.udp_payload, opt.version, opt.dnssec_ok, opt.options), (4096, 0, true, [].as_slice()));
    assert_eq!(message.records().filter(Record::is_opt).count(), 1);
    assert_eq!(message.section_counts(), [5, 2, 2]);

    let folded = b"\x03www\x04corp\x07example\x00";
    assert!(message.question_matches(folded, Rtype::A, Class::IN));
    assert!(!message.question_matches(folded, Rtype::AAAA, Class::IN));
    assert!(!message.question_matches(folded, Rtype::A, Class(3)));
    assert!(!message.question_matches(b"\x03wwx\x04corp\x07example\x00", Rtype::A, Class::IN));
    assert!(!message.question_matches(b"\x08www.corp\x07example\x00", Rtype::A, Class::IN));
}

const QUESTION: &[u8] = b"\x01a\x07example\x00\x00\x01\x00\x01";

/// A reply with these counts after the question, and this tail.
fn reply(counts: [u16; 3], tail: &[u8]) -> Vec<u8> {
    let mut octets = b"\x00\x01\x81\x80\x00\x01".to_vec();
    octets.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    octets.extend_from_slice(QUESTION);
    octets.extend_from_slice(tail);
    octets
}

#[test]
fn malformed() {
    // Where the first record begins: a name that points to itself, or forward.
    let here = 12 + QUESTION.len() as u8;
    let a = |owner: &[u8]| [owner, b"\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x00\x00\x01"].concat();
    let opt = b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00".as_slice();
    let cname = |rdata: &[u8]| {
        [b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x05".as_slice(), &(rdata.len() as u16).to_be_bytes(), rdata].concat()
    };
    let long_name = [b"\x3f".as_slice(), &[b'x'; 63]].concat().repeat(4);
    let long_cname = cname(&[long_name.as_slice(), b"\x00"].concat());
    // Its pointer leads to the 1 of the class before it: a label that holds the pointer's first octet, then one of as
    // many octets as the pointer's second one says, then the root.
    let into_itself = [&[0xc0, here - 1], b"\xff\x00\x00\x01\x00\x00\x00\x05\x00\x11".as_slice(), &[0; 17]].concat();
    let bad_cname = MessageError::Rdata(Rtype::CNAME);
    let parse = |octets: &[u8]| Message::parse(octets).map(|_| ());
    for (octets, expected) in [
        (b"\x00\x01".to_vec(), Err(MessageError::TooShort)),
        ([&reply([0; 3], b"")[..4], &[0; 8]].concat(), Err(MessageError::QuestionCount(0))),
        (reply([0; 3], b"")[..24].to_vec(), Err(MessageError::Question)),
        (reply([0; 3], b"rest"), Ok(())),
        (reply([1, 0, 0], &a(b"\xc0\x0c")), Ok(())),
        (reply([2, 0, 0], &a(b"\xc0\x0c")), Err(MessageError::Record)),
        (reply([1, 0, 0], &a(&[0xc0, here])), Err(MessageError::Record)),
        (reply([1, 0, 0], &a(&[0xc0, here + 4])), Err(MessageError::Record)),
        (reply([1, 0, 0], &a(&[1, b'x', 0xc0, here])), Err(MessageError::Record)),
        // Before itself, but not ending before itself: found by fuzzing.
        (reply([1, 0, 0], &into_itself), Err(MessageError::Record)),
        (reply([1, 0, 0], &a(b"\xc0\x04")), Err(MessageError::Record)),
        (reply([1, 0, 0], &a(b"\x40")), Err(MessageError::Record)),
        (reply([1, 0, 0], &a(b"\xc0\x0c")[..15]), Err(MessageError::Record)),
        (reply([1, 0, 0], &cname(b"\x01b\xc0\x0c")), Ok(())),
        (reply([1, 0, 0], &cname(b"\x01b\xc0\x0c\x00")), Err(bad_cname)),
        (reply([1, 0, 0], &cname(b"\x01b")), Err(bad_cname)),
        (reply([1, 0, 0], &cname(b"")), Err(bad_cname)),
        (reply([1, 0, 0], &long_cname), Err(bad_cname)),
        (reply([0, 0, 1], opt), Ok(())),
        (reply([0, 0, 2], &opt.repeat(2)), Err(MessageError::Opt)),
        (reply([1, 0, 0], opt), Err(MessageError::Opt)),
        (reply([0, 0, 1], &[b"\x01x", opt].concat()), Err(MessageError::Opt)),
    ] {
        assert_eq!(parse(&octets), expected, "{octets:02x?}");
    }
    assert_eq!(Message::parse(&reply([0; 3], b"rest")).expect("tolerated").octets(), reply([0; 3], b""));
}

/// A reply with an unknown record that holds a chain of so many pointers, and a record that belongs to its end.
fn chain_of_pointers(pointers: usize) -> Vec<u8> {
    let mut octets = reply([2, 0, 0], b"\xc0\x0c\xff\x00\x00\x01\x00\x00\x00\x05");
    octets.extend_from_slice(&(2 * pointers as u16 - 2).to_be_bytes());
    let mut target = 12_u16;
    for _ in 1..pointers {
        let here = octets.len() as u16;
        octets.extend_from_slice(&(0xc000 | target).to_be_bytes());
        target = here;
    }
    octets.extend_from_slice(&(0xc000 | target).to_be_bytes());
    octets.extend_from_slice(b"\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x00\x00\x01");
    octets
}

#[test]
fn a_name_has_so_many_pointers() {
    for (pointers, expected) in [
        (1, Ok(())),
        (NAME_POINTERS_MAX, Ok(())),
        (NAME_POINTERS_MAX + 1, Err(MessageError::Record)),
        (8_000, Err(MessageError::Record)),
    ] {
        let octets = chain_of_pointers(pointers);
        assert_eq!(Message::parse(&octets).map(|_| ()), expected, "{pointers}");
    }
    let octets = chain_of_pointers(NAME_POINTERS_MAX);
    let message = Message::parse(&octets).expect("just sound");
    let last = message.records().last().expect("two records");
    assert!(message.is_same_name(last.start, 12) && message.is_same_name(12, last.owner_at));
    assert_eq!(message.name(last.owner_at).expect("whole").as_wire(), b"\x01a\x07example\x00");
    assert!(Judge::from_vec(&octets).is_ok(), "the judge reads it too");
}

#[test]
fn names_compare_without_case_and_by_label() {
    let names =
        [b"\x01a\x07example\x00".as_slice(), b"\x01A\x07EXAMPLE\x00", b"\x07example\x00", b"\x09a\x07example\x00"];
    let mut octets = reply([0; 3], b"");
    let at = names.map(|name| {
        octets.extend_from_slice(name);
        octets.len() - name.len()
    });
    octets.extend_from_slice(b"\x01a\xc0");
    octets.push(at[2] as u8);
    let compressed = octets.len() - 4;
    let message = Message::parsed_before(&octets, 12 + QUESTION.len());
    let name = |at| message.name(at).expect("whole");
    assert!([12, at[0], at[1], compressed].iter().all(|other| message.is_same_name(at[0], *other)));
    assert!(!message.is_same_name(at[0], at[2]) && !message.is_same_name(at[2], at[0]));
    assert!(!message.is_same_name(at[0], octets.len()) && !message.is_same_name(octets.len(), at[0]));
    assert_eq!(name(at[1]).labels_below(&name(at[2])), Some(b"\x01A".as_slice()));
    assert_eq!(name(compressed).labels_below(&name(at[1])), Some([].as_slice()));
    assert_eq!(name(at[2]).labels_below(&name(at[0])), None);
    // `\x09a\x07example` ends in the octets of `example.`, and is one label.
    assert_eq!(name(at[3]).labels_below(&name(at[2])), None);
}

#[test]
fn ttl_with_the_top_bit_is_zero() {
    let octets = reply([1, 0, 0], b"\xc0\x0c\x00\x01\x00\x01\x80\x00\x00\x05\x00\x04\x0a\x00\x00\x01");
    let record = Message::parse(&octets).expect("well-formed").records().next().expect("one record");
    assert_eq!((record.ttl, record.owner_at, record.start), (Ttl::from_wire(0), 12, 12 + QUESTION.len()));
    assert_eq!((record.ttl_at, record.rdata_octets, record.end), (record.start + 6, 4, octets.len()));
}

/// Takes everything out of a message that parsed.
fn exercise(octets: &[u8]) {
    let Ok(message) = Message::parse(octets) else { return };
    assert_eq!(message.records().count(), message.section_counts().map(usize::from).iter().sum::<usize>());
    let mut rdata = vec![0; 70_000];
    for record in message.records() {
        let mut owner = [0; 255];
        assert!(record.is_opt() || message.expand_name(record.owner_at, &mut owner).is_some());
        assert!(message.expand_rdata(&record, &mut rdata).is_some());
        assert!(message.expand_rdata(&record, &mut []).is_none_or(|octets| octets == 0));
    }
    for at in 0..octets.len() + 2 {
        message.expand_name(at, &mut [0; 255]);
    }
}

proptest! {
    #[test]
    fn arbitrary_octets(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(&octets);
    }

    #[test]
    fn a_reply_with_some_octets_changed(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let mut octets = sample().to_vec().expect("encodes");
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        exercise(&octets);
    }
}
