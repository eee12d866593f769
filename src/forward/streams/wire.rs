//! The few octets of a message that a stream must understand: ids, the question, and the options of the stream itself.

use std::time::Duration;

use crate::dns::message::Message;
use crate::dns::query::HEADER_OCTETS;

/// Queries on encrypted transports are padded to a multiple of so many octets (RFC 8467 section 4.1).
pub(super) const PADDED_OCTETS: usize = 128;
/// The largest message of a stream, in octets.
pub(super) const MESSAGE_OCTETS_MAX: usize = u16::MAX as usize;

/// The option code of edns-tcp-keepalive (RFC 7828 section 3.1).
const KEEPALIVE_OPTION: u16 = 11;
/// The option code of padding (RFC 7830 section 3).
const PADDING_OPTION: u16 = 12;
/// Octets of an option's code and length.
const OPTION_HEAD_OCTETS: usize = 4;

/// What a stream adds to the OPT of a query.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamOptions {
    /// Ask how long an idle connection is kept (RFC 7828 section 3.2.1).
    pub(super) keepalive: bool,
    /// Hide how long the query is (RFC 8467 section 4.1).
    pub(super) padding: bool,
}

/// Writes a query behind `out`, under this id and with these options; without them if its last record is no OPT.
pub(super) fn write_query(query: &[u8], id: [u8; 2], options: StreamOptions, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(query);
    out[start..start + 2].copy_from_slice(&id);
    if !options.keepalive && !options.padding {
        return;
    }
    let Some(length_at) = opt_length_at(query) else { return };
    if options.keepalive {
        out.extend_from_slice(&option_head(KEEPALIVE_OPTION, 0));
    }
    if options.padding {
        let octets = out.len() - start + OPTION_HEAD_OCTETS;
        let padding = octets.next_multiple_of(PADDED_OCTETS) - octets;
        if octets + padding <= MESSAGE_OCTETS_MAX {
            out.extend_from_slice(&option_head(PADDING_OPTION, padding as u16));
            out.resize(out.len() + padding, 0);
        }
    }
    let options_octets = out.len() - start - length_at - 2;
    out[start + length_at..][..2].copy_from_slice(&(options_octets as u16).to_be_bytes());
}

/// Where the length of the OPT's data stands, if the OPT is the last record and so can grow.
fn opt_length_at(query: &[u8]) -> Option<usize> {
    let opt = Message::parse(query).ok()?.opt_record()?;
    (opt.end == query.len()).then(|| opt.rdata_at - 2)
}

/// Code and length of an option.
fn option_head(code: u16, octets: u16) -> [u8; OPTION_HEAD_OCTETS] {
    let ([code_high, code_low], [high, low]) = (code.to_be_bytes(), octets.to_be_bytes());
    [code_high, code_low, high, low]
}

/// Whether this can be the reply to a query of the same id: it has QR and the question of the query, or, as some do
/// that refuse to read a query at all, no question and a failing rcode. Names compare without case.
pub(super) fn is_reply_to(reply: &[u8], query: &[u8]) -> bool {
    let Some(header) = reply.first_chunk::<HEADER_OCTETS>() else { return false };
    let is_reply = header[2] & 0x80 != 0;
    is_reply
        && match u16::from_be_bytes([header[4], header[5]]) {
            0 => header[3] & 0x0f != 0,
            1 => has_question_of(reply, query),
            _ => false,
        }
}

/// Whether both have the same question.
fn has_question_of(reply: &[u8], query: &[u8]) -> bool {
    let Some(name_end) = name_end(query) else { return false };
    let question = HEADER_OCTETS..name_end + 4;
    let (Some(asked), Some(answered)) = (query.get(question.clone()), reply.get(question)) else { return false };
    let name_octets = name_end - HEADER_OCTETS;
    // Length octets are under 64 and no letters: comparing the whole wire without case is exact.
    asked[..name_octets].eq_ignore_ascii_case(&answered[..name_octets])
        && asked[name_octets..] == answered[name_octets..]
}

/// Where the name of a query's question ends.
fn name_end(query: &[u8]) -> Option<usize> {
    let mut at = HEADER_OCTETS;
    loop {
        match usize::from(*query.get(at)?) {
            0 => return Some(at + 1),
            octets @ 1..64 => at += 1 + octets,
            _ => return None,
        }
    }
}

/// How long the sender of a reply keeps an idle connection (RFC 7828 section 3.1), if it says so.
pub(super) fn keepalive(reply: &[u8]) -> Option<Duration> {
    let message = Message::parse(reply).ok()?;
    let mut options = message.opt()?.options;
    while let Some((&[code_high, code_low, high, low], rest)) = options.split_first_chunk::<OPTION_HEAD_OCTETS>() {
        let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        if u16::from_be_bytes([code_high, code_low]) == KEEPALIVE_OPTION {
            let units = u16::from_be_bytes(*data.first_chunk()?);
            return Some(Duration::from_millis(u64::from(units) * 100));
        }
        options = rest;
    }
    None
}

/// Makes a reply so many seconds older: its TTLs count down, to 0 at last.
pub(super) fn age(reply: &mut [u8], seconds: u32) {
    let Ok(message) = Message::parse(reply) else { return };
    let records = message.records().filter(|record| !record.is_opt());
    let ttls: Vec<_> = records.map(|record| (record.ttl_at, record.ttl.seconds().saturating_sub(seconds))).collect();
    for (at, left) in ttls {
        reply[at..at + 4].copy_from_slice(&left.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op;
    use hickory_proto::rr::rdata::opt::EdnsCode;

    use super::*;

    /// A query for `Ab. A`, with an OPT that holds these options.
    fn query(options: &[u8]) -> Vec<u8> {
        let mut octets = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x02Ab\0\0\x01\0\x01".to_vec();
        octets.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\x80\0");
        octets.extend_from_slice(&(options.len() as u16).to_be_bytes());
        octets.extend_from_slice(options);
        octets
    }

    fn written(query: &[u8], keepalive: bool, padding: bool) -> Vec<u8> {
        let mut out = b"before".to_vec();
        write_query(query, *b"\x99\x88", StreamOptions { keepalive, padding }, &mut out);
        assert_eq!(&out[..6], b"before");
        out.split_off(6)
    }

    #[test]
    fn options_join_those_that_are_there_already() {
        for before in [b"".as_slice(), b"\0\x0a\0\x0812345678"] {
            let octets = written(&query(before), true, true);
            assert_eq!(octets.len(), 128);
            let message = op::Message::from_vec(&octets).expect("hickory reads it");
            assert_eq!(message.metadata.id, 0x9988);
            let options = message.edns.as_ref().expect("an OPT").options();
            assert!(options.get(EdnsCode::Padding).is_some());
            assert!(options.get(EdnsCode::Keepalive).is_some());
            assert_eq!(options.get(EdnsCode::Cookie).is_some(), !before.is_empty());
        }
        assert_eq!(written(&query(b""), true, false).len(), query(b"").len() + 4);
    }

    #[test]
    fn padding_fills_whole_blocks_and_never_less() {
        let bare = query(b"").len();
        // What is left of the block: as many octets of another option as leave exactly room for an empty padding.
        for (data, expected) in [(128 - bare - 8, 128), (128 - bare - 7, 256)] {
            let mut options = vec![0xfd, 0xe9, 0, data as u8];
            options.resize(4 + data, 1);
            assert_eq!(written(&query(&options), false, true).len(), expected);
        }
    }

    #[test]
    fn a_query_without_an_opt_at_its_end_is_left_alone() {
        let without = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02Ab\0\0\x01\0\x01";
        assert_eq!(written(without, true, true)[2..], without[2..]);
    }

    #[test]
    fn replies_are_known_by_their_question() {
        let asked = query(b"");
        let reply = |change: fn(&mut Vec<u8>)| {
            let mut octets = asked.clone();
            octets[2] |= 0x80;
            change(&mut octets);
            is_reply_to(&octets, &asked)
        };
        assert!(reply(|_| {}));
        assert!(reply(|octets| octets[13] = b'a'), "names compare without case");
        assert!(!reply(|octets| octets[2] &= 0x7f), "a query is no reply");
        assert!(!reply(|octets| octets[13] = b'x'));
        assert!(!reply(|octets| octets[17] = 28), "another type");
        assert!(!reply(|octets| octets[19] = 3), "another class");
        assert!(!reply(|octets| octets[5] = 2));
        assert!(!reply(|octets| octets.truncate(19)));
        assert!(!reply(|octets| octets.truncate(11)));
        assert!(!reply(|octets| octets[5] = 0), "no question and no failure");
        assert!(reply(|octets| {
            octets.truncate(12);
            octets[3] |= 1;
            octets[4..].fill(0);
        }));
    }

    #[test]
    fn replies_age() {
        // One record with a TTL of an hour, before the OPT.
        let mut reply = query(b"");
        reply[2] |= 0x80;
        reply[7] = 1;
        let opt = reply.split_off(20);
        reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xc0\0\x02\x01");
        reply.extend_from_slice(&opt);
        let aged = |seconds| {
            let mut octets = reply.clone();
            age(&mut octets, seconds);
            assert_eq!(octets[36..], opt, "the OPT has no TTL");
            u32::from_be_bytes(*octets[26..].first_chunk().expect("a TTL"))
        };
        assert_eq!([aged(0), aged(600), aged(3600), aged(u32::MAX)], [3600, 3000, 0, 0]);
    }

    #[test]
    fn the_peer_says_how_long_it_waits() {
        assert_eq!(keepalive(&query(b"\0\x0b\0\x02\0\x64")), Some(Duration::from_secs(10)));
        assert_eq!(keepalive(&query(b"\0\x0c\0\x01\0\0\x0b\0\x02\0\0")), Some(Duration::ZERO));
        assert_eq!(keepalive(&query(b"\0\x0b\0\0")), None);
        assert_eq!(keepalive(&query(b"\0\x0b\0\x05\0")), None, "cut off");
        assert_eq!(keepalive(&query(b"")), None);
    }
}
