//! Writing a reply: the question echoed as it was asked, pre-encoded records copied, counts and flags last.
//!
//! Flags of every reply: QR, RA, RD as asked, AA never, Z 0, CD as asked (`aws-semantics`: the VPC resolver never sets
//! AA, also for hosted zones). AD is clear, unless all of the reply is an upstream's that said so and can be believed.

use super::cookie::{COOKIE_OPTION_CODE, COOKIE_OPTION_OCTETS};
use super::edns::{Edns, ExtendedError, OPT_OCTETS, UDP_PAYLOAD_OCTETS_MAX, UDP_PAYLOAD_OCTETS_MIN};
use super::name::wire_name_octets;
use super::number::{Rcode, Rtype};
use super::query::{HEADER_OCTETS, Query};

/// Where the name of the question stands: the owner of every direct answer (RFC 1035 section 4.1.4).
pub const QNAME_AT: usize = HEADER_OCTETS;
/// Octets of a record template before its rdata: pointer, type, class, TTL, length.
pub const TEMPLATE_HEAD_OCTETS: usize = 12;
/// The last octet that a compression pointer reaches (RFC 1035 section 4.1.4): owners behind it are written out.
pub const POINTER_TARGET_MAX: usize = 0x3fff;
/// The largest message over a stream (RFC 1035 section 4.2.2).
pub const STREAM_MESSAGE_OCTETS_MAX: usize = 65_535;

/// How many times as large as its query a datagram may be that goes to a client without a valid cookie: whoever forges
/// the address of another gains no more.
pub const AMPLIFICATION_MAX: usize = 25;

// Who has a cookie is not held to that, and need not be asked: such a query is long enough for any datagram.
const _: () = assert!(QUERY_WITH_COOKIE_OCTETS_MIN * AMPLIFICATION_MAX >= UDP_PAYLOAD_OCTETS_MAX);
/// Octets of a query with a server cookie of ours at least: about the root, and with no other option.
const QUERY_WITH_COOKIE_OCTETS_MIN: usize = HEADER_OCTETS + 5 + OPT_OCTETS + COOKIE_OPTION_OCTETS;

/// What carries the reply, and so how large it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram: what the client offers, at most 1232 octets, at least 512; and at most [`AMPLIFICATION_MAX`] times
    /// the octets of the query.
    Udp,
    /// A stream: 65,535 octets, whatever the client's OPT says.
    Tcp,
}

impl Transport {
    /// The largest reply to a query of so many octets, in octets.
    #[inline]
    pub fn reply_octets_max(self, query: &Query, query_octets: usize) -> usize {
        match self {
            Self::Udp => offered_octets(query.edns).min(query_octets * AMPLIFICATION_MAX),
            Self::Tcp => STREAM_MESSAGE_OCTETS_MAX,
        }
    }

    /// Octets of a buffer that any reply fits into.
    pub const fn buffer_octets(self) -> usize {
        match self {
            Self::Udp => UDP_PAYLOAD_OCTETS_MAX,
            Self::Tcp => STREAM_MESSAGE_OCTETS_MAX,
        }
    }
}

/// The largest datagram that a client takes, as far as we send one.
#[inline]
fn offered_octets(edns: Option<Edns>) -> usize {
    match edns {
        None => UDP_PAYLOAD_OCTETS_MIN,
        Some(edns) => usize::from(edns.udp_payload).clamp(UDP_PAYLOAD_OCTETS_MIN, UDP_PAYLOAD_OCTETS_MAX),
    }
}

/// Octets of our OPT without an extended error, for which room is kept.
#[inline]
fn opt_octets(query: &Query) -> usize {
    match (query.edns, query.cookie_answer) {
        (None, _) => 0,
        (Some(_), None) => OPT_OCTETS,
        (Some(_), Some(_)) => OPT_OCTETS + COOKIE_OPTION_OCTETS,
    }
}

/// The three sections after the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Answers.
    Answer = 0,
    /// Authority: the SOA of a negative answer.
    Authority = 1,
    /// Additional; our OPT is counted by the writer itself.
    Additional = 2,
}

/// A reply in the making, in the caller's buffer.
///
/// A record that does not fit sets TC and ends the section; what follows it is dropped, so that no RRset is
/// followed by a hole (RFC 2181 section 9). Room for the OPT is kept from the start (RFC 6891 section 7).
// Invariant: HEADER_OCTETS <= at <= room <= buffer.len().
pub struct ReplyWriter<'b> {
    buffer: &'b mut [u8],
    at: usize,
    room: usize,
    counts: [u16; 3],
    truncated: bool,
    authentic_data: bool,
}

impl<'b> ReplyWriter<'b> {
    /// Begins the reply to `query`, whose octets are `message`. `octets_max` is capped by the buffer.
    ///
    /// The buffer must hold at least the question and an OPT: 512 octets are enough for any question.
    #[inline]
    pub fn begin(buffer: &'b mut [u8], message: &[u8], query: &Query, octets_max: usize) -> Self {
        let at = HEADER_OCTETS + query.question_octets;
        buffer[HEADER_OCTETS..at].copy_from_slice(&message[HEADER_OCTETS..at]);
        let room = octets_max.min(buffer.len()).saturating_sub(opt_octets(query)).max(at);
        Self { buffer, at, room, counts: [0; 3], truncated: false, authentic_data: false }
    }

    /// Octets written so far.
    pub fn octets(&self) -> usize {
        self.at
    }

    /// Whether a record did not fit.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Whether there is less room than the client offers: see [`AMPLIFICATION_MAX`].
    pub fn is_bounded(&self, query: &Query) -> bool {
        self.room + opt_octets(query) < offered_octets(query.edns)
    }

    /// Whether any record of an answer has been written.
    pub fn has_answer(&self) -> bool {
        self.counts[Section::Answer as usize] > 0
    }

    /// Octets that header, question and records may take together.
    #[inline]
    pub fn room(&self) -> usize {
        self.room
    }

    /// Whether that many more octets of records fit.
    #[inline]
    pub fn fits(&self, octets: usize) -> bool {
        !self.truncated && self.at + octets <= self.room
    }

    /// Appends one record from its template (owner pointer, type, class, TTL, rdata); its owner becomes a pointer
    /// to the uncompressed name at octet `owner_at`. Returns where its rdata begins, or none if it does not fit.
    #[inline]
    pub fn push_template(&mut self, section: Section, owner_at: usize, template: &[u8]) -> Option<usize> {
        if owner_at > POINTER_TARGET_MAX {
            return self.push_template_beyond_pointers(section, owner_at, template);
        }
        let end = self.at + template.len();
        if self.truncated || end > self.room {
            self.overflow(section);
            return None;
        }
        self.buffer[self.at..end].copy_from_slice(template);
        let pointer = (0xc000 | owner_at as u16).to_be_bytes();
        self.buffer[self.at..self.at + 2].copy_from_slice(&pointer);
        self.counts[section as usize] += 1;
        let rdata_at = self.at + TEMPLATE_HEAD_OCTETS;
        self.at = end;
        Some(rdata_at)
    }

    /// The same where the owner stands so far back that no pointer reaches it.
    #[cold]
    fn push_template_beyond_pointers(&mut self, section: Section, owner_at: usize, template: &[u8]) -> Option<usize> {
        let field = |at: usize| u16::from_be_bytes([template[at], template[at + 1]]);
        let ttl_seconds = u32::from(field(6)) << 16 | u32::from(field(8));
        let head = RecordHead { rtype: Rtype(field(2)), class: field(4), ttl_seconds };
        let rdata = &template[TEMPLATE_HEAD_OCTETS..];
        self.push_with(section, Owner::At(owner_at), head, |out| {
            out.get_mut(..rdata.len())?.copy_from_slice(rdata);
            Some(rdata.len())
        })
    }

    /// Appends `count` whole templates, already one after another, whose owner is the question's name: the hot path.
    #[inline]
    pub fn push_templates(&mut self, section: Section, templates: &[u8], count: u16) -> bool {
        let end = self.at + templates.len();
        if self.truncated || end > self.room {
            return false;
        }
        self.buffer[self.at..end].copy_from_slice(templates);
        self.counts[section as usize] += count;
        self.at = end;
        true
    }

    /// Appends one record whose rdata `write_rdata` puts into the octets it is given, returning how many it took, or
    /// none if they do not suffice. Owner as in [`Self::push_template`]; returns where the rdata begins.
    pub fn push_with(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        head: RecordHead,
        write_rdata: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<usize> {
        let written = if self.truncated { None } else { self.try_push_with(owner, head, write_rdata) };
        match written {
            Some((rdata_at, end)) => {
                self.counts[section as usize] += 1;
                self.at = end;
                Some(rdata_at)
            }
            None => {
                self.overflow(section);
                None
            }
        }
    }

    /// Writes a record behind what is there, without counting it; rdata's place and the record's end.
    fn try_push_with(
        &mut self,
        owner: Owner<'_>,
        head: RecordHead,
        write_rdata: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<(usize, usize)> {
        let (written, space) = self.buffer.get_mut(..self.room)?.split_at_mut_checked(self.at)?;
        let owner_octets = match owner {
            Owner::At(at) if at <= POINTER_TARGET_MAX => {
                space.get_mut(..2)?.copy_from_slice(&(0xc000 | at as u16).to_be_bytes());
                2
            }
            Owner::At(at) => {
                let from = written.get(at..)?;
                let octets = wire_name_octets(from).ok()?;
                space.get_mut(..octets)?.copy_from_slice(&from[..octets]);
                octets
            }
            Owner::Wire(wire) => {
                space.get_mut(..wire.len())?.copy_from_slice(wire);
                wire.len()
            }
        };
        let (fixed, rdata) = space.get_mut(owner_octets..)?.split_first_chunk_mut::<10>()?;
        fixed[0..2].copy_from_slice(&head.rtype.0.to_be_bytes());
        fixed[2..4].copy_from_slice(&head.class.to_be_bytes());
        fixed[4..8].copy_from_slice(&head.ttl_seconds.to_be_bytes());
        let room = rdata.len().min(usize::from(u16::MAX));
        let octets = write_rdata(&mut rdata[..room])?;
        fixed[8..10].copy_from_slice(&(octets as u16).to_be_bytes());
        let rdata_at = self.at + owner_octets + 10;
        Some((rdata_at, rdata_at + octets))
    }

    /// Appends octets of records as they stand in an upstream's reply, which began with the same question.
    pub fn push_verbatim(&mut self, octets: &[u8], counts: [u16; 3]) -> bool {
        let end = self.at + octets.len();
        if self.truncated || end > self.room {
            return false;
        }
        self.buffer[self.at..end].copy_from_slice(octets);
        for (total, more) in self.counts.iter_mut().zip(counts) {
            *total += more;
        }
        self.at = end;
        true
    }

    /// Octets written so far, to be changed in place: TTLs of a cached reply.
    pub fn written_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.at]
    }

    /// Marks the reply as incomplete.
    pub fn set_truncated(&mut self) {
        self.truncated = true;
    }

    /// Says that all of the reply was validated by somebody who can be believed (RFC 4035 section 3.2.3).
    pub fn set_authentic_data(&mut self) {
        self.authentic_data = true;
    }

    /// Something does not fit: TC, unless it is only additional data (RFC 2181 section 9).
    fn overflow(&mut self, section: Section) {
        if section != Section::Additional {
            self.truncated = true;
        }
    }

    /// Takes back every record, to say something else instead.
    pub fn clear_records(&mut self, query: &Query) {
        self.at = HEADER_OCTETS + query.question_octets;
        self.counts = [0; 3];
        self.truncated = false;
        self.authentic_data = false;
    }

    /// Writes OPT and header; returns the octets of the whole reply.
    #[inline]
    pub fn finish(mut self, query: &Query, rcode: Rcode, error: Option<ExtendedError>) -> usize {
        let mut additional = self.counts[Section::Additional as usize];
        if let Some(edns) = query.edns {
            self.write_opt(edns, query, rcode, error);
            additional += 1;
        }
        // RFC 6840 section 5.8: AD for those who know what it means. Of a set that was cut it would say too much.
        let knows_ad = query.authentic_data || query.edns.is_some_and(|edns| edns.dnssec_ok);
        let authentic_data = self.authentic_data && knows_ad && !self.truncated;
        let [answers, authority, _] = self.counts.map(u16::to_be_bytes);
        let header = self.buffer.first_chunk_mut::<HEADER_OCTETS>().expect("begin wrote a question behind the header");
        let [additional_high, additional_low] = additional.to_be_bytes();
        *header = [
            query.id[0],
            query.id[1],
            0x80 | u8::from(self.truncated) << 1 | u8::from(query.recursion_desired),
            0x80 | u8::from(authentic_data) << 5 | u8::from(query.checking_disabled) << 4 | (rcode.0 & 0x0f) as u8,
            0,
            u8::from(query.question_octets > 0),
            answers[0],
            answers[1],
            authority[0],
            authority[1],
            additional_high,
            additional_low,
        ];
        self.at
    }

    /// Our OPT: version 0, 1232 octets, DO copied (RFC 6891 section 7, RFC 3225 section 3), the cookie, and the extended
    /// error as far as it fits.
    fn write_opt(&mut self, edns: Edns, query: &Query, rcode: Rcode, error: Option<ExtendedError>) {
        let [rtype_high, rtype_low] = Rtype::OPT.0.to_be_bytes();
        let [payload_high, payload_low] = (UDP_PAYLOAD_OCTETS_MAX as u16).to_be_bytes();
        // The code without its text is better than neither.
        let fits = |error: &ExtendedError| self.at + error.option_octets() <= self.room;
        let error = error.map(|error| if fits(&error) { error } else { ExtendedError { text: "", ..error } });
        let error = error.filter(fits);
        let cookie = query.cookie.zip(query.cookie_answer);
        let cookie_octets = cookie.map_or(0, |_| COOKIE_OPTION_OCTETS);
        let options = (error.map_or(0, |error| error.option_octets()) + cookie_octets) as u16;
        let opt = [
            0,
            rtype_high,
            rtype_low,
            payload_high,
            payload_low,
            (rcode.0 >> 4) as u8,
            0,
            u8::from(edns.dnssec_ok) << 7,
            0,
            (options >> 8) as u8,
            options as u8,
        ];
        self.append(&opt);
        if let Some((sent, answer)) = cookie {
            self.append(&COOKIE_OPTION_CODE.to_be_bytes());
            self.append(&((COOKIE_OPTION_OCTETS - 4) as u16).to_be_bytes());
            self.append(&sent.client);
            self.append(&answer.server);
        }
        if let Some(ExtendedError { code, text }) = error {
            // OPTION-CODE 15 (RFC 8914 section 2).
            self.append(&[0, 15]);
            self.append(&(2 + text.len() as u16).to_be_bytes());
            self.append(&code.0.to_be_bytes());
            self.append(text.as_bytes());
        }
    }

    /// Appends octets for which room was kept.
    fn append(&mut self, octets: &[u8]) {
        let end = self.at + octets.len();
        self.buffer[self.at..end].copy_from_slice(octets);
        self.at = end;
    }
}

/// Whose record it is.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'n> {
    /// The uncompressed name that begins at this octet of the reply.
    At(usize),
    /// This uncompressed name.
    Wire(&'n [u8]),
}

/// The fixed fields of a record.
#[derive(Clone, Copy, Debug)]
pub struct RecordHead {
    /// The type.
    pub rtype: Rtype,
    /// The class; its upper meaning in an OPT is not our matter here.
    pub class: u16,
    /// The TTL in seconds.
    pub ttl_seconds: u32,
}

/// Answers what could not be read as a query: a header alone, with id, opcode and RD copied and RA set.
/// `message` has at least 12 octets; returns 12.
pub fn write_header_only(buffer: &mut [u8], message: &[u8], rcode: Rcode) -> usize {
    let flags = [0x80 | message[2] & 0x79, 0x80 | message[3] & 0x10 | (rcode.0 & 0x0f) as u8];
    buffer[..2].copy_from_slice(&message[..2]);
    buffer[2..4].copy_from_slice(&flags);
    buffer[4..HEADER_OCTETS].fill(0);
    HEADER_OCTETS
}

/// Encodes one record as a template: owner pointer to the question, type, class IN, TTL, rdata.
pub fn template(into: &mut Vec<u8>, rtype: Rtype, ttl_seconds: u32, rdata: &[u8]) {
    into.extend_from_slice(&[0xc0, QNAME_AT as u8]);
    into.extend_from_slice(&rtype.0.to_be_bytes());
    into.extend_from_slice(&[0, 1]);
    into.extend_from_slice(&ttl_seconds.to_be_bytes());
    into.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    into.extend_from_slice(rdata);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::message::Message;
    use crate::dns::{ExtendedErrorCode, HashSeed};

    /// A query for `www.example. A` with this octet of flags, and with an OPT whose flags are these.
    fn query(flags: u8, opt_flags: Option<u8>) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, flags, 0, 1, 0, 0, 0, 0, 0, u8::from(opt_flags.is_some())];
        message.extend_from_slice(b"\x03www\x07example\x00\x00\x01\x00\x01");
        if let Some(flags) = opt_flags {
            message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, flags, 0, 0, 0]);
        }
        message
    }

    /// Octets of the reply to a query, made by `write` in a buffer of 512.
    fn reply(message: &[u8], error: Option<ExtendedError>, write: impl FnOnce(&mut ReplyWriter<'_>)) -> Vec<u8> {
        let mut query = Query::default();
        query.read(message, HashSeed(1)).expect("well-formed");
        let mut buffer = vec![0; UDP_PAYLOAD_OCTETS_MIN];
        let mut writer = ReplyWriter::begin(&mut buffer, message, &query, UDP_PAYLOAD_OCTETS_MIN);
        write(&mut writer);
        let octets = writer.finish(&query, Rcode::NOERROR, error);
        buffer.truncate(octets);
        buffer
    }

    #[test]
    fn ad_is_for_those_who_know_it_and_for_whole_replies() {
        const AD: u8 = 0x20;
        for (flags, opt_flags, expected) in
            [(0, None, false), (0, Some(0), false), (AD, None, true), (AD, Some(0), true), (0, Some(0x80), true)]
        {
            let told = |write: fn(&mut ReplyWriter<'_>)| reply(&query(flags, opt_flags), None, write)[3] & AD != 0;
            assert_eq!(told(|writer| writer.set_authentic_data()), expected, "{flags} {opt_flags:?}");
            assert!(!told(|_| {}), "nobody validated it");
            let cut: fn(&mut ReplyWriter<'_>) = |writer| {
                writer.set_authentic_data();
                writer.set_truncated();
            };
            assert!(!told(cut));
        }
    }

    #[test]
    fn an_extended_error_is_sent_as_far_as_it_fits() {
        let error = ExtendedError { code: ExtendedErrorCode::STALE_ANSWER, text: "why" };
        let message = query(0, Some(0));
        let option_octets = |filler: usize| {
            let reply = reply(&message, Some(error), |writer| {
                let mut record = Vec::new();
                template(&mut record, Rtype(65_280), 60, &vec![0; filler]);
                writer.push_template(Section::Answer, QNAME_AT, &record).expect("it fits");
            });
            Message::parse(&reply).expect("well-formed").opt().expect("an OPT").options.len()
        };
        // 512 octets less header, question, record head and OPT.
        let room = 512 - 12 - 17 - 12 - 11;
        assert_eq!(option_octets(room - 9), 9);
        assert_eq!(option_octets(room - 8), 6, "the code alone");
        assert_eq!(option_octets(room - 6), 6);
        assert_eq!(option_octets(room - 5), 0);
    }

    #[test]
    fn owners_that_no_pointer_reaches_are_written_out() {
        let message = b"\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01";
        let mut query = Query::default();
        query.read(message, HashSeed(1)).expect("well-formed");
        let mut buffer = vec![0; STREAM_MESSAGE_OCTETS_MAX];
        let mut writer = ReplyWriter::begin(&mut buffer, message, &query, STREAM_MESSAGE_OCTETS_MAX);
        let mut filler = Vec::new();
        template(&mut filler, Rtype(65_280), 60, &[0; 20_000]);
        writer.push_template(Section::Answer, QNAME_AT, &filler).expect("it fits");
        let (mut cname, mut address) = (Vec::new(), Vec::new());
        template(&mut cname, Rtype::CNAME, 60, b"\x02db\x04corp\x00");
        template(&mut address, Rtype::A, 0x0102_0304, &[10, 0, 0, 1]);
        let target_at = writer.push_template(Section::Answer, QNAME_AT, &cname).expect("it fits");
        assert!(target_at > POINTER_TARGET_MAX);
        writer.push_template(Section::Answer, target_at, &address).expect("it fits");
        writer.push_template(Section::Authority, target_at + 3, &address).expect("a suffix of it too");
        assert!(!writer.is_truncated());
        let octets = writer.finish(&query, Rcode::NOERROR, None);
        let reply = Message::parse(&buffer[..octets]).expect("well-formed");
        let records: Vec<_> = reply.records().skip(2).collect();
        let owner = |at| {
            let mut name = [0; 255];
            let octets = reply.expand_name(at, &mut name).expect("a name");
            name[..octets].to_vec()
        };
        assert_eq!(owner(records[0].owner_at), b"\x02db\x04corp\x00");
        assert_eq!(owner(records[1].owner_at), b"\x04corp\x00");
        assert_eq!((records[0].rtype, records[0].ttl.seconds()), (Rtype::A, 0x0102_0304));
        assert_eq!(reply.rdata(&records[0]), [10, 0, 0, 1]);
    }
}
