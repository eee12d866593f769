//! Walking an upstream's reply: where its records, TTLs and names stand. Nothing is copied or allocated.
//!
//! What is read here comes from the network. Names may be compressed, with pointers that only go backwards
//! (RFC 1035 section 4.1.4: "a prior occurrence"), so that every walk ends, and with [`NAME_POINTERS_MAX`] of them at
//! most, so that it ends soon.

mod rdata;

use super::name::{LABEL_OCTETS_MAX, LABELS_MAX, NAME_OCTETS_MAX};
use super::number::{Class, Opcode, Rcode, Rtype};
use super::query::HEADER_OCTETS;
use super::reply::Section;
use super::ttl::Ttl;

/// Pointers in one name. A pointer stands for labels (RFC 1035 section 4.1.4), so a name has use for one before each of
/// its labels, the root not counted; a name with more is broken. Without a bound 64 KiB hold thousands of names that all
/// end in one chain of thousands of pointers.
pub const NAME_POINTERS_MAX: usize = LABELS_MAX;

/// How octets fail to be a message that we can pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Under 12 octets.
    TooShort,
    /// Not exactly one question (RFC 9619).
    QuestionCount(u16),
    /// The question is cut off, or its name is broken or compressed.
    Question,
    /// A record is cut off, or the name it belongs to is broken.
    Record,
    /// The data of a record of a well-known type does not have that type's form, or a name in it is broken.
    Rdata(Rtype),
    /// More than one OPT, or one that is out of place (RFC 6891 section 6.1.1).
    Opt,
}

/// One DNS message, walked through once and found sound.
// Invariant: octets end with the last record; every record, and every name in a record of a well-known type, is whole.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    octets: &'m [u8],
    question_end: usize,
    opt: Option<Record>,
}

/// Where one record stands in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The section it is in.
    pub section: Section,
    /// Where it begins.
    pub start: usize,
    /// Where the name it belongs to begins: `start`, or what the pointer that stands there points to.
    pub owner_at: usize,
    /// Its type; [`Rtype::OPT`] is not data but EDNS.
    pub rtype: Rtype,
    /// Its class; in an OPT the sender's UDP payload size.
    pub class: u16,
    /// Where its TTL stands.
    pub ttl_at: usize,
    /// Its TTL; the top bit set counts as 0 (RFC 2181 section 8). Without meaning in an OPT.
    pub ttl: Ttl,
    /// Where its data begins.
    pub rdata_at: usize,
    /// Octets of its data.
    pub rdata_octets: usize,
    /// Where it ends.
    pub end: usize,
}

/// What the OPT of a message says (RFC 6891 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt<'m> {
    /// The largest datagram that the sender takes, in octets.
    pub udp_payload: u16,
    /// The upper eight bits of the rcode.
    pub rcode_high: u8,
    /// The EDNS version.
    pub version: u8,
    /// DNSSEC OK.
    pub dnssec_ok: bool,
    /// The options, unread.
    pub options: &'m [u8],
}

impl<'m> Message<'m> {
    /// Walks a whole message. What follows the last record is cut off, not an error.
    pub fn parse(octets: &'m [u8]) -> Result<Self, MessageError> {
        let header = octets.first_chunk::<HEADER_OCTETS>().ok_or(MessageError::TooShort)?;
        let questions = u16::from_be_bytes([header[4], header[5]]);
        if questions != 1 {
            return Err(MessageError::QuestionCount(questions));
        }
        let name_end = skip_name(octets, HEADER_OCTETS).ok_or(MessageError::Question)?;
        let question_end = name_end + 4;
        if question_end > octets.len() {
            return Err(MessageError::Question);
        }
        let mut message = Self { octets, question_end, opt: None };
        let mut end = question_end;
        for (section, count) in SECTIONS.into_iter().zip(message.section_counts()) {
            for _ in 0..count {
                let record = message.read_record(section, end).ok_or(MessageError::Record)?;
                message.check_record(&record)?;
                if record.is_opt() {
                    message.opt = Some(record);
                }
                end = record.end;
            }
        }
        message.octets = &octets[..end];
        Ok(message)
    }

    /// A message that [`Self::parse`] has found sound before, without OPT. Where the octets are another message's, walks
    /// end early.
    pub fn parsed_before(octets: &'m [u8], question_end: usize) -> Self {
        Self { octets, question_end, opt: None }
    }

    /// The octets of the message, up to its last record.
    pub fn octets(&self) -> &'m [u8] {
        self.octets
    }

    /// The id, as on the wire.
    pub fn id(&self) -> [u8; 2] {
        [self.octets[0], self.octets[1]]
    }

    /// Whether QR is set.
    pub fn is_reply(&self) -> bool {
        self.octets[2] & 0x80 != 0
    }

    /// The kind of query that this is or answers.
    pub fn opcode(&self) -> Opcode {
        Opcode(self.octets[2] >> 3 & 0x0f)
    }

    /// Whether TC is set: something did not fit.
    pub fn truncated(&self) -> bool {
        self.octets[2] & 0x02 != 0
    }

    /// Whether AA is set: the answer is of a server of the zone (RFC 1035 section 4.1.1).
    pub fn authoritative(&self) -> bool {
        self.octets[2] & 0x04 != 0
    }

    /// Whether RA is set: the server asks others where it has to (RFC 1035 section 4.1.1).
    pub fn recursion_available(&self) -> bool {
        self.octets[3] & 0x80 != 0
    }

    /// Whether AD is set (RFC 4035 section 3.2.3).
    pub fn authentic_data(&self) -> bool {
        self.octets[3] & 0x20 != 0
    }

    /// The rcode, with the upper bits of the OPT if there is one (RFC 6891 section 6.1.3).
    pub fn rcode(&self) -> Rcode {
        let high = self.opt().map_or(0, |opt| opt.rcode_high);
        Rcode(u16::from(high) << 4 | u16::from(self.octets[3] & 0x0f))
    }

    /// Records in the three sections as the header counts them, the OPT included.
    #[inline]
    pub fn section_counts(&self) -> [u16; 3] {
        let header = self.octets.first_chunk::<HEADER_OCTETS>().expect("parse has read a header");
        // One by one: closures over arrays cost ten times as much here.
        let [.., a, b, c, d, e, f] = *header;
        [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), u16::from_be_bytes([e, f])]
    }

    /// Where the question ends and the records begin.
    pub fn question_end(&self) -> usize {
        self.question_end
    }

    /// The name asked, uncompressed, in the case of the wire.
    pub fn question_name_wire(&self) -> &'m [u8] {
        &self.octets[HEADER_OCTETS..self.question_end - 4]
    }

    /// The type asked.
    pub fn question_type(&self) -> Rtype {
        let at = self.question_end - 4;
        Rtype(u16::from_be_bytes([self.octets[at], self.octets[at + 1]]))
    }

    /// The class asked.
    pub fn question_class(&self) -> Class {
        let at = self.question_end - 2;
        Class(u16::from_be_bytes([self.octets[at], self.octets[at + 1]]))
    }

    /// Whether this is the question that was asked (RFC 5452 section 9.1); names compare without case (RFC 4343).
    pub fn question_matches(&self, name_folded_wire: &[u8], rtype: Rtype, class: Class) -> bool {
        // Length octets are under 64 and no letters: comparing the whole wire without case is exact.
        self.question_name_wire().eq_ignore_ascii_case(name_folded_wire)
            && self.question_type() == rtype
            && self.question_class() == class
    }

    /// Every record in order, the OPT among them.
    #[inline]
    pub fn records(&self) -> Records<'m> {
        Records { message: *self, left: self.section_counts(), section: 0, at: self.question_end }
    }

    /// The record that carries EDNS.
    pub fn opt_record(&self) -> Option<Record> {
        self.opt
    }

    /// What the OPT says.
    pub fn opt(&self) -> Option<Opt<'m>> {
        let record = self.opt?;
        let ttl = self.octets[record.ttl_at..].first_chunk::<4>()?;
        Some(Opt {
            udp_payload: record.class,
            rcode_high: ttl[0],
            version: ttl[1],
            dnssec_ok: ttl[2] & 0x80 != 0,
            options: self.rdata(&record),
        })
    }

    /// The data of a record as it stands: names in it may be compressed.
    pub fn rdata(&self, record: &Record) -> &'m [u8] {
        &self.octets[record.rdata_at..record.end]
    }

    /// Writes the name at octet `at` uncompressed, in the case of the wire; returns its octets.
    pub fn expand_name(&self, at: usize, into: &mut [u8; NAME_OCTETS_MAX]) -> Option<usize> {
        let mut labels = LabelWalk::new(self.octets, at);
        let mut octets = 0;
        loop {
            let label = labels.next_label()?;
            into.get_mut(octets..octets + label.len())?.copy_from_slice(label);
            octets += label.len();
            if label == [0] {
                return Some(octets);
            }
        }
    }

    /// The name at octet `at`, uncompressed, in the case of the wire.
    pub fn name(&self, at: usize) -> Option<WireName> {
        let mut wire = [0; NAME_OCTETS_MAX];
        let octets = self.expand_name(at, &mut wire)?;
        Some(WireName { wire, octets })
    }

    /// Whether the names at two octets are the same without case (RFC 4343); a broken one is like no other.
    #[inline]
    pub fn is_same_name(&self, a: usize, b: usize) -> bool {
        a == b || self.has_same_labels(a, b)
    }

    /// The same for names that stand in two places.
    fn has_same_labels(&self, a: usize, b: usize) -> bool {
        let (mut of_a, mut of_b) = (LabelWalk::new(self.octets, a), LabelWalk::new(self.octets, b));
        while let (Some(a), Some(b)) = (of_a.next_label(), of_b.next_label()) {
            if !a.eq_ignore_ascii_case(b) {
                return false;
            }
            if a == [0] {
                return true;
            }
        }
        false
    }

    /// Where the name at octet `at` begins: there, or at what the pointer that stands there points to.
    #[inline]
    pub fn name_start(&self, at: usize) -> usize {
        pointer_at(self.octets, at).unwrap_or(at)
    }

    /// Writes the data of a record with its names uncompressed; returns its octets, none if `out` is too small.
    ///
    /// Only the types of RFC 3597 section 4 are known to hold names that may be compressed. All others are copied
    /// octet by octet.
    pub fn expand_rdata(&self, record: &Record, out: &mut [u8]) -> Option<usize> {
        let mut octets = 0;
        for piece in rdata::pieces(self.octets, record) {
            let mut name = [0; NAME_OCTETS_MAX];
            let piece = match piece? {
                rdata::Piece::Octets(at, end) => &self.octets[at..end],
                rdata::Piece::Name(at) => {
                    let name_octets = self.expand_name(at, &mut name)?;
                    &name[..name_octets]
                }
            };
            out.get_mut(octets..octets + piece.len())?.copy_from_slice(piece);
            octets += piece.len();
        }
        Some(octets)
    }

    /// Reads the fixed part of the record that begins at `start`.
    #[inline]
    fn read_record(&self, section: Section, start: usize) -> Option<Record> {
        let name_end = skip_name(self.octets, start)?;
        let (fixed, _) = self.octets.get(name_end..)?.split_first_chunk::<10>()?;
        let rdata_octets = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let rdata_at = name_end + 10;
        let end = rdata_at + rdata_octets;
        let pointer = pointer_at(self.octets, start);
        (end <= self.octets.len()).then_some(Record {
            section,
            start,
            owner_at: pointer.unwrap_or(start),
            rtype: Rtype(u16::from_be_bytes([fixed[0], fixed[1]])),
            class: u16::from_be_bytes([fixed[2], fixed[3]]),
            ttl_at: name_end + 4,
            ttl: Ttl::from_wire(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]])),
            rdata_at,
            rdata_octets,
            end,
        })
    }

    /// What a record must be so that it can be passed on and taken apart later.
    fn check_record(&self, record: &Record) -> Result<(), MessageError> {
        if record.is_opt() {
            let in_place = record.section == Section::Additional && self.octets[record.start] == 0;
            return if in_place && self.opt.is_none() { Ok(()) } else { Err(MessageError::Opt) };
        }
        if !name_is_sound(self.octets, record.start) {
            return Err(MessageError::Record);
        }
        let sound = rdata::pieces(self.octets, record).all(|piece| match piece {
            Some(rdata::Piece::Octets(..)) => true,
            Some(rdata::Piece::Name(at)) => name_is_sound(self.octets, at),
            None => false,
        });
        if sound { Ok(()) } else { Err(MessageError::Rdata(record.rtype)) }
    }
}

/// The records of a message that have not been walked yet.
#[derive(Clone, Debug)]
pub struct Records<'m> {
    message: Message<'m>,
    /// How many are left in each section.
    left: [u16; 3],
    /// Which of [`SECTIONS`] is being walked.
    section: usize,
    /// Where the next one begins.
    at: usize,
}

impl Iterator for Records<'_> {
    type Item = Record;

    #[inline]
    fn next(&mut self) -> Option<Record> {
        while *self.left.get(self.section)? == 0 {
            self.section += 1;
        }
        self.left[self.section] -= 1;
        let record = self.message.read_record(SECTIONS[self.section], self.at)?;
        self.at = record.end;
        Some(record)
    }
}

impl Record {
    /// Whether this is EDNS and not data.
    pub fn is_opt(&self) -> bool {
        self.rtype == Rtype::OPT
    }
}

/// A name as it stands in a message, uncompressed.
#[derive(Clone, Copy, Debug)]
pub struct WireName {
    wire: [u8; NAME_OCTETS_MAX],
    octets: usize,
}

impl WireName {
    /// Its wire form, the root's zero included, in the case of the message.
    pub fn as_wire(&self) -> &[u8] {
        &self.wire[..self.octets]
    }

    /// Whether it is this name, without case (RFC 4343); length octets are below 64 and so never letters.
    pub fn is(&self, wire: &[u8]) -> bool {
        self.as_wire().eq_ignore_ascii_case(wire)
    }

    /// The octets of its labels before `ancestor`, none of them if it is `ancestor` itself; none if it is neither that
    /// nor below it.
    pub fn labels_below(&self, ancestor: &Self) -> Option<&[u8]> {
        let before = self.octets.checked_sub(ancestor.octets)?;
        let mut at = 0;
        while at < before {
            at += usize::from(self.wire[at]) + 1;
        }
        let (labels, rest) = self.as_wire().split_at(before);
        (at == before && ancestor.is(rest)).then_some(labels)
    }
}

/// The sections in the order of the message.
const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];

/// Where the name at `at` ends in place, pointers not followed.
fn skip_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let first = *octets.get(at)?;
        match first >> 6 {
            0 if first == 0 => return Some(at + 1),
            0 => at += usize::from(first) + 1,
            3 => return (at + 2 <= octets.len()).then_some(at + 2),
            // RFC 6891 section 5: extended label types are gone, and 0b10 never came.
            _ => return None,
        }
    }
}

/// What the compression pointer at `at` points to, if one stands there.
fn pointer_at(octets: &[u8], at: usize) -> Option<usize> {
    let pair = octets.get(at..)?.first_chunk::<2>()?;
    (pair[0] & 0xc0 == 0xc0).then(|| usize::from(u16::from_be_bytes(*pair) & 0x3fff))
}

/// Whether the name at `at` is whole, at most 255 octets, and its pointers go backwards and are not too many.
fn name_is_sound(octets: &[u8], at: usize) -> bool {
    let mut labels = LabelWalk::new(octets, at);
    let mut total = 0;
    while let Some(label) = labels.next_label() {
        total += label.len();
        if total > NAME_OCTETS_MAX {
            return false;
        }
        if label == [0] {
            return true;
        }
    }
    false
}

/// Follows a name label by label.
struct LabelWalk<'m> {
    /// What the run of labels that is being read must lie in: a pointer leads to a *prior* occurrence, which ends
    /// before the run that points there begins. So the walk ends, and no name reaches into itself.
    octets: &'m [u8],
    at: usize,
    run_start: usize,
    /// How many pointers may still follow.
    pointers_left: usize,
}

impl<'m> LabelWalk<'m> {
    /// Starts at the name at octet `at`.
    fn new(octets: &'m [u8], at: usize) -> Self {
        Self { octets, at, run_start: at, pointers_left: NAME_POINTERS_MAX }
    }

    /// The next label with its length octet; the root is `[0]`. None if the name is broken.
    fn next_label(&mut self) -> Option<&'m [u8]> {
        while let Some(target) = pointer_at(self.octets, self.at) {
            if target < HEADER_OCTETS {
                return None;
            }
            self.pointers_left = self.pointers_left.checked_sub(1)?;
            self.octets = self.octets.get(..self.run_start)?;
            self.at = target;
            self.run_start = target;
        }
        let octets = usize::from(*self.octets.get(self.at)?);
        if octets > LABEL_OCTETS_MAX {
            return None;
        }
        let label = self.octets.get(self.at..self.at + octets + 1)?;
        self.at += label.len();
        Some(label)
    }
}

#[cfg(test)]
mod tests;
