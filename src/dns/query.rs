//! Reading a query: header, one question, OPT. Everything else in it is skipped.

use super::cookie::{COOKIE_OPTION_CODE, CookieAnswer, CookieStanding, SentCookie};
use super::edns::Edns;
use super::name::{FoldedName, HashSeed};
use super::number::{Class, Opcode, Rcode, Rtype};

/// Octets of a header (RFC 1035 section 4.1.1).
pub const HEADER_OCTETS: usize = 12;

/// How octets fail to be a query, and so whether they get a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Under 12 octets: there is no id to answer.
    TooShort,
    /// QR is set. Never answered: two servers that did would talk for ever.
    IsReply,
    /// An opcode that is not QUERY.
    Opcode(Opcode),
    /// Not exactly one question (RFC 9619).
    QuestionCount(u16),
    /// The name is broken or compressed, or the question is cut off.
    Question,
    /// A record after the question is broken or cut off.
    Record,
    /// More than one OPT, or one that is out of place (RFC 6891 section 6.1.1).
    Opt,
    /// A COOKIE option of a length that none has (RFC 7873 section 5.2.2).
    Cookie,
}

impl Malformed {
    /// The rcode to answer with; none to stay silent.
    pub fn reply(self) -> Option<Rcode> {
        match self {
            Self::TooShort | Self::IsReply => None,
            Self::Opcode(_) => Some(Rcode::NOTIMP),
            Self::QuestionCount(_) | Self::Question | Self::Record | Self::Opt | Self::Cookie => Some(Rcode::FORMERR),
        }
    }
}

/// One query, as far as an answer depends on it. Made to be overwritten by the next one.
#[derive(Clone)]
pub struct Query {
    /// The id, as on the wire.
    pub id: [u8; 2],
    /// Recursion desired.
    pub recursion_desired: bool,
    /// AD: the client wants to know whether the answer was validated (RFC 6840 section 5.7).
    pub authentic_data: bool,
    /// Checking disabled (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
    /// The name asked, folded.
    pub qname: FoldedName,
    /// The type asked.
    pub qtype: Rtype,
    /// The class asked.
    pub qclass: Class,
    /// Octets of the question section, which begins at octet 12.
    pub question_octets: usize,
    /// The client's OPT, if it sent one.
    pub edns: Option<Edns>,
    /// The cookie in it, if there is one.
    pub cookie: Option<SentCookie>,
    /// What the reply says of that; none as long as nobody has looked at it, and where we have no cookies.
    pub cookie_answer: Option<CookieAnswer>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            id: [0; 2],
            recursion_desired: false,
            authentic_data: false,
            checking_disabled: false,
            qname: FoldedName::default(),
            qtype: Rtype(0),
            qclass: Class(0),
            question_octets: 0,
            edns: None,
            cookie: None,
            cookie_answer: None,
        }
    }
}

impl Query {
    /// Reads a message into `self`. After an error the content of `self` means nothing.
    #[inline]
    pub fn read(&mut self, message: &[u8], seed: HashSeed) -> Result<(), Malformed> {
        let (header, body) = message.split_first_chunk::<HEADER_OCTETS>().ok_or(Malformed::TooShort)?;
        if header[2] & 0x80 != 0 {
            return Err(Malformed::IsReply);
        }
        let opcode = Opcode(header[2] >> 3 & 0x0f);
        if opcode != Opcode::QUERY {
            return Err(Malformed::Opcode(opcode));
        }
        let questions = u16::from_be_bytes([header[4], header[5]]);
        if questions != 1 {
            return Err(Malformed::QuestionCount(questions));
        }
        self.id = [header[0], header[1]];
        self.recursion_desired = header[2] & 0x01 != 0;
        self.authentic_data = header[3] & 0x20 != 0;
        self.checking_disabled = header[3] & 0x10 != 0;
        let name_octets = self.qname.read(body, seed).map_err(|_| Malformed::Question)?;
        let fixed = body[name_octets..].first_chunk::<4>().ok_or(Malformed::Question)?;
        self.qtype = Rtype(u16::from_be_bytes([fixed[0], fixed[1]]));
        self.qclass = Class(u16::from_be_bytes([fixed[2], fixed[3]]));
        self.question_octets = name_octets + 4;
        self.cookie_answer = None;
        (self.edns, self.cookie) =
            if header[6..12] == [0; 6] { (None, None) } else { read_records(header, &body[self.question_octets..])? };
        Ok(())
    }

    /// Reads a message that has no question and asks for a cookie by that (RFC 7873 section 5.4). What it says of names
    /// and types means nothing.
    pub fn read_without_question(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (header, body) = message.split_first_chunk::<HEADER_OCTETS>().ok_or(Malformed::TooShort)?;
        let (edns, cookie) = read_records(header, body)?;
        if cookie.is_none() {
            return Err(Malformed::QuestionCount(0));
        }
        self.id = [header[0], header[1]];
        self.recursion_desired = header[2] & 0x01 != 0;
        self.authentic_data = false;
        self.checking_disabled = header[3] & 0x10 != 0;
        self.question_octets = 0;
        (self.edns, self.cookie, self.cookie_answer) = (edns, cookie, None);
        Ok(())
    }

    /// Whether the client has shown that it is where it says: it has a cookie that we accept.
    #[inline]
    pub fn has_valid_cookie(&self) -> bool {
        self.cookie_answer.is_some_and(|answer| answer.standing == CookieStanding::Valid)
    }
}

/// Walks what follows the question and returns the OPT (RFC 6891 section 6.1.1: at most one, in the additional section)
/// and the cookie in it.
fn read_records(
    header: &[u8; HEADER_OCTETS],
    mut rest: &[u8],
) -> Result<(Option<Edns>, Option<SentCookie>), Malformed> {
    let count = |at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let before_additional = count(6) + count(8);
    let (mut edns, mut cookie) = (None, None);
    for index in 0..before_additional + count(10) {
        let (record, after) = read_record(rest)?;
        rest = after;
        if record.rtype == Rtype::OPT {
            if edns.is_some() || index < before_additional || !record.owner_is_root {
                return Err(Malformed::Opt);
            }
            cookie = read_options(record.rdata)?;
            edns =
                Some(Edns { udp_payload: record.class, version: record.ttl[1], dnssec_ok: record.ttl[2] & 0x80 != 0 });
        }
    }
    Ok((edns, cookie))
}

/// The parts of a record that tell an OPT from the rest.
struct SkippedRecord<'m> {
    owner_is_root: bool,
    rtype: Rtype,
    class: u16,
    ttl: [u8; 4],
    rdata: &'m [u8],
}

/// Reads one record without following its owner's compression pointer.
fn read_record(octets: &[u8]) -> Result<(SkippedRecord<'_>, &[u8]), Malformed> {
    let mut at = 0usize;
    loop {
        match *octets.get(at).ok_or(Malformed::Record)? {
            0 => {
                at += 1;
                break;
            }
            pointer if pointer & 0xc0 == 0xc0 => {
                at += 2;
                break;
            }
            label if label & 0xc0 == 0 => at += usize::from(label) + 1,
            _ => return Err(Malformed::Record),
        }
    }
    let (fixed, rest) = octets.get(at..).and_then(|rest| rest.split_first_chunk::<10>()).ok_or(Malformed::Record)?;
    let rdata_octets = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let (rdata, rest) = rest.split_at_checked(rdata_octets).ok_or(Malformed::Record)?;
    let record = SkippedRecord {
        owner_is_root: at == 1,
        rtype: Rtype(u16::from_be_bytes([fixed[0], fixed[1]])),
        class: u16::from_be_bytes([fixed[2], fixed[3]]),
        ttl: [fixed[4], fixed[5], fixed[6], fixed[7]],
        rdata,
    };
    Ok((record, rest))
}

/// Reads the options of an OPT, which fill its rdata exactly (RFC 6891 section 6.1.2): the cookie, of several the first
/// (RFC 7873 section 5.2). Others are not looked at.
fn read_options(mut rdata: &[u8]) -> Result<Option<SentCookie>, Malformed> {
    let mut cookie = None;
    while let Some((fixed, rest)) = rdata.split_first_chunk::<4>() {
        let octets = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        let (data, rest) = rest.split_at_checked(octets).ok_or(Malformed::Opt)?;
        if u16::from_be_bytes([fixed[0], fixed[1]]) == COOKIE_OPTION_CODE && cookie.is_none() {
            cookie = Some(SentCookie::read(data).ok_or(Malformed::Cookie)?);
        }
        rdata = rest;
    }
    if rdata.is_empty() { Ok(cookie) } else { Err(Malformed::Opt) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::cookie::SentServerCookie;

    const SEED: HashSeed = HashSeed(1);
    const QUESTION: &[u8] = b"\x03wWw\x07example\x00\x00\x01\x00\x01";

    /// A message with the flags and counts given, one question, and `tail`.
    fn message(flags: u16, counts: [u16; 4], tail: &[u8]) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd];
        message.extend_from_slice(&flags.to_be_bytes());
        message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        message.extend_from_slice(QUESTION);
        message.extend_from_slice(tail);
        message
    }

    fn read(message: &[u8]) -> Result<Query, Malformed> {
        let mut query = Query::default();
        query.read(message, SEED).map(|()| query)
    }

    #[test]
    fn plain_query() {
        let query = read(&message(0x0110, [1, 0, 0, 0], b"")).expect("well-formed");
        assert_eq!(query.qname.to_name().to_string(), "www.example.");
        assert!(query.recursion_desired && query.checking_disabled);
        assert_eq!((query.qtype, query.qclass, query.question_octets), (Rtype::A, Class::IN, QUESTION.len()));
        assert_eq!(query.edns, None);
    }

    #[test]
    fn opt_is_read_and_options_are_ignored() {
        let opt = b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x05\xff\xfe\x00\x01x";
        let query = read(&message(0x0100, [1, 0, 0, 1], opt)).expect("well-formed");
        assert_eq!(query.edns, Some(Edns { udp_payload: 4096, version: 0, dnssec_ok: true }));
    }

    #[test]
    fn a_cookie_is_read_the_first_of_several() {
        let opt = |options: &[u8]| {
            let head = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, options.len() as u8];
            message(0x0100, [1, 0, 0, 1], &[&head[..], options].concat())
        };
        let client_only = b"\x00\x0a\x00\x08abcdefgh";
        let whole = b"\x00\x0a\x00\x18ABCDEFGHijklmnopqrstuvwx";
        let cookie = |options: &[u8]| read(&opt(options)).map(|query| query.cookie);
        let expected = SentCookie { client: *b"abcdefgh", server: SentServerCookie::Absent };
        assert_eq!(cookie(b""), Ok(None));
        assert_eq!(cookie(client_only), Ok(Some(expected)));
        assert_eq!(cookie(&[&client_only[..], whole].concat()), Ok(Some(expected)));
        assert_eq!(cookie(&[b"\xff\xfe\x00\x01x", &client_only[..]].concat()), Ok(Some(expected)));
        assert_eq!(cookie(b"\x00\x0a\x00\x07abcdefg"), Err(Malformed::Cookie));
        assert_eq!(cookie(b"\x00\x0a\x00\x0cabcdefghijkl"), Err(Malformed::Cookie));
        assert_eq!(cookie(b"\x00\x0a\x00\x00"), Err(Malformed::Cookie));
        // What a query had is not what the next one has.
        let mut query = read(&opt(client_only)).expect("well-formed");
        query.read(&message(0x0100, [1, 0, 0, 0], b""), SEED).expect("well-formed");
        assert_eq!((query.edns, query.cookie), (None, None));
    }

    #[test]
    fn without_a_question_there_is_a_cookie_or_nothing() {
        let mut octets =
            vec![0xab, 0xcd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8];
        octets.extend_from_slice(b"abcdefgh");
        let mut query = Query::default();
        query.read_without_question(&octets).expect("well-formed");
        assert_eq!((query.id, query.question_octets), ([0xab, 0xcd], 0));
        assert_eq!(query.cookie.map(|cookie| cookie.client), Some(*b"abcdefgh"));
        assert_eq!(query.read_without_question(&octets[..22]), Err(Malformed::Record));
        (octets[22], octets[24]) = (0, 0);
        assert_eq!(query.read_without_question(&octets[..23]), Err(Malformed::QuestionCount(0)));
    }

    #[test]
    fn malformed() {
        let opt = b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00";
        let two = [opt.as_slice(), opt].concat();
        let named_opt = b"\x01a\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00";
        let long_option = b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x04\x00\x01\x00\x01";
        for (octets, expected) in [
            (b"\x00\x01\x01".to_vec(), Malformed::TooShort),
            (message(0x8100, [1, 0, 0, 0], b""), Malformed::IsReply),
            (message(0x2900, [1, 0, 0, 0], b""), Malformed::Opcode(Opcode(5))),
            (message(0x0100, [0, 0, 0, 0], b""), Malformed::QuestionCount(0)),
            (message(0x0100, [2, 0, 0, 0], b""), Malformed::QuestionCount(2)),
            (message(0x0100, [1, 0, 0, 0], b"")[..20].to_vec(), Malformed::Question),
            (message(0x0100, [1, 0, 0, 1], b""), Malformed::Record),
            (message(0x0100, [1, 0, 0, 2], &two), Malformed::Opt),
            (message(0x0100, [1, 1, 0, 0], opt), Malformed::Opt),
            (message(0x0100, [1, 0, 0, 1], named_opt), Malformed::Opt),
            (message(0x0100, [1, 0, 0, 1], long_option), Malformed::Opt),
        ] {
            assert_eq!(read(&octets).map(|_| ()), Err(expected), "{octets:02x?}");
        }
    }
}
