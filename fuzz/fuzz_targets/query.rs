//! Octets from the net: reading them never panics, and what we write back is a reply that hickory-proto reads.
#![no_main]

use hickory_proto::op::{Message, MessageType};
use libfuzzer_sys::fuzz_target;
use plustwo::dns::edns::ExtendedError;
use plustwo::dns::query::HEADER_OCTETS;
use plustwo::dns::reply::{self, QNAME_AT, ReplyWriter, Section, Transport};
use plustwo::dns::{ExtendedErrorCode, HashSeed, Query, Rcode, Rtype};

fuzz_target!(|message: &[u8]| {
    let mut query = Query::default();
    let mut buffer = vec![0; 65_535];
    let octets = match query.read(message, HashSeed(message.len() as u64)) {
        Ok(()) => {
            let transport = if query.recursion_desired { Transport::Udp } else { Transport::Tcp };
            let octets_max = transport.reply_octets_max(&query, message.len());
            let octets = write_reply(&mut buffer, message, &query, octets_max);
            assert!(octets <= octets_max, "{octets} octets in a reply of at most {octets_max}");
            octets
        }
        Err(malformed) => match malformed.reply() {
            Some(rcode) => reply::write_header_only(&mut buffer, message, rcode),
            None => return,
        },
    };
    let decoded = Message::from_vec(&buffer[..octets]).expect("a reply of ours");
    assert_eq!(decoded.metadata.message_type, MessageType::Response);
    assert_eq!(buffer[..2], message[..2]);
    if octets > HEADER_OCTETS {
        let question = HEADER_OCTETS..HEADER_OCTETS + query.question_octets;
        assert_eq!(buffer[question.clone()], message[question]);
        assert_eq!(decoded.queries.len(), 1);
    }
});

/// As many A records as the id says, an SOA-like record in the authority section, and an extended error.
fn write_reply(buffer: &mut [u8], message: &[u8], query: &Query, octets_max: usize) -> usize {
    let mut template = Vec::new();
    reply::template(&mut template, Rtype::A, 300, &[192, 0, 2, 1]);
    let mut writer = ReplyWriter::begin(buffer, message, query, octets_max);
    for _ in 0..query.id[0] {
        writer.push_template(Section::Answer, QNAME_AT, &template);
    }
    template.clear();
    reply::template(&mut template, Rtype::TXT, 300, b"\x04text");
    writer.push_template(Section::Authority, QNAME_AT, &template);
    let error = ExtendedError { code: ExtendedErrorCode::PROHIBITED, text: "fuzz" };
    writer.finish(query, Rcode(u16::from(query.id[1])), Some(error))
}
