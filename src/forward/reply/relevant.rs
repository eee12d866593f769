//! Which records of an upstream's message answer its question. All others are left out before anything is kept: what
//! nobody asked for is not to be passed on (RFC 5452 section 6), least of all next to records of ours.
//!
//! | section | kept |
//! |---|---|
//! | answer | the CNAMEs that lead from the name asked onward, the DNAMEs that they come from, the records of the type asked at the end, and the signatures of these |
//! | authority | the SOA at or above the end, NSEC and NSEC3, and their signatures |
//! | additional | nothing: it is for whoever resolves by himself (RFC 2181 section 5.4.1: the least trustworthy of all) |
//!
//! The work for a message is bounded: so many records a section are looked at, each is compared with the few names of
//! one chain, and all names are compared in place.

use crate::dns::message::{Message, Record};
use crate::dns::name::NAME_OCTETS_MAX;
use crate::dns::query::HEADER_OCTETS;
use crate::dns::reply::{POINTER_TARGET_MAX, QNAME_AT, STREAM_MESSAGE_OCTETS_MAX, Section};
use crate::dns::{Rcode, Rtype};

/// CNAMEs of one chain. A reply with more cannot be used, as a longer chain of our own is not followed.
pub const LINKS_MAX: usize = 11;
/// Records of one section of a reply, answer or authority, that are looked at. A reply with more cannot be used: part of
/// an RRset is not an RRset, and others stop at 100 to 256 records of one.
pub const SECTION_RECORDS_MAX: u16 = 256;

/// Where a record stands among those that are kept: in the answer section so many CNAMEs lead to its owner, and the
/// authority section comes behind them all.
pub(super) type Rank = u8;

/// The rank of the authority section.
const AUTHORITY: Rank = LINKS_MAX as Rank + 1;

/// Whether a message is about its own question, and not so large that nobody can have meant it: a NOERROR with an answer
/// has a record of the name asked.
pub(in crate::forward) fn is_about_its_question(message: &Message<'_>) -> bool {
    let [answers, authorities, _] = message.section_counts();
    let is_of_the_name = |record: Record| message.is_same_name(record.owner_at, QNAME_AT);
    answers <= SECTION_RECORDS_MAX
        && authorities <= SECTION_RECORDS_MAX
        && (answers == 0
            || message.rcode() != Rcode::NOERROR
            || message.records().take(usize::from(answers)).any(is_of_the_name))
}

/// What of a message is relevant.
#[derive(Debug)]
pub(super) struct Relevant<'m> {
    message: Message<'m>,
    qtype: Rtype,
    /// Whether it is an answer by its rcode: records beside any other say nothing.
    has_meaning: bool,
    chain: Chain,
}

/// A chain of CNAMEs, as places in the message.
#[derive(Debug, Default)]
struct Chain {
    /// The names: the one that was asked, then the targets.
    names: [usize; LINKS_MAX + 1],
    /// Where the CNAME of each name but the last begins.
    cnames: [usize; LINKS_MAX],
    /// Where the DNAME begins that it comes from; 0 where there is none.
    dnames: [usize; LINKS_MAX],
    length: usize,
}

impl Chain {
    /// The name at which it ends.
    fn last(&self) -> usize {
        self.names[self.length]
    }

    /// The names that have a CNAME.
    fn linked(&self) -> &[usize] {
        &self.names[..self.length]
    }
}

/// The kept records of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// These first so many of each section, in an order that needs no change.
    First { counts: [u16; 3], end: usize },
    /// Not all of what stands before the last one, or in another order.
    Scattered,
}

impl<'m> Relevant<'m> {
    /// Finds the chain. None where it is longer than [`LINKS_MAX`], or the message is not about its question.
    pub(super) fn of(message: &Message<'m>) -> Option<Self> {
        if !is_about_its_question(message) {
            return None;
        }
        let mut relevant = Self {
            message: *message,
            qtype: message.question_type(),
            has_meaning: matches!(message.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN),
            chain: Chain::default(),
        };
        relevant.chain.names[0] = QNAME_AT;
        if relevant.has_meaning && relevant.is_followed() {
            relevant.follow()?;
            relevant.find_dnames();
        }
        Some(relevant)
    }

    /// Whether CNAMEs lead onward: not where they are what is asked for.
    fn is_followed(&self) -> bool {
        !matches!(self.qtype, Rtype::CNAME | Rtype::ANY)
    }

    /// The records of the answer section of a type, in the question's class.
    fn answers(&self, rtype: Rtype) -> impl Iterator<Item = Record> + use<'m> {
        let class = self.message.question_class().0;
        let answers = usize::from(self.message.section_counts()[0]);
        let records = self.message.records().take(answers);
        records.filter(move |record| record.rtype == rtype && record.class == class)
    }

    /// Follows the CNAMEs, in whatever order they stand: each pass takes what stands in order, and at least one, so there
    /// are few. Of two CNAMEs of one name the first counts (RFC 2181 section 10.1), and a loop ends where it closes.
    fn follow(&mut self) -> Option<()> {
        loop {
            let (mut seen, before) = (0, self.chain.length);
            for cname in self.answers(Rtype::CNAME) {
                seen += 1;
                let is_of = |at: usize| self.message.is_same_name(cname.owner_at, at);
                if !is_of(self.chain.last()) || self.chain.linked().iter().any(|name| is_of(*name)) {
                    continue;
                }
                // The first of its name may stand before what led here.
                let Some(first) = self.answers(Rtype::CNAME).find(|other| is_of(other.owner_at)) else { continue };
                let chain = &mut self.chain;
                *chain.cnames.get_mut(chain.length)? = first.start;
                chain.length += 1;
                chain.names[chain.length] = self.message.name_start(first.rdata_at);
            }
            if self.chain.length == before || self.chain.length == seen {
                return Some(());
            }
        }
    }

    /// Finds the DNAMEs from which CNAMEs of the chain come (RFC 6672 section 3.1).
    fn find_dnames(&mut self) {
        if self.chain.length == 0 {
            return;
        }
        for dname in self.answers(Rtype::DNAME) {
            for link in 0..self.chain.length {
                if self.chain.dnames[link] == 0 && self.synthesizes(&dname, link) == Some(true) {
                    self.chain.dnames[link] = dname.start;
                }
            }
        }
    }

    /// Whether the CNAME of a link is what a DNAME makes of its owner (RFC 6672 section 2.2). None where a name is broken.
    fn synthesizes(&self, dname: &Record, link: usize) -> Option<bool> {
        let name = |at| self.message.name(at);
        let (from, to) = (name(self.chain.names[link])?, name(self.chain.names[link + 1])?);
        let Some(labels) = from.labels_below(&name(dname.owner_at)?) else { return Some(false) };
        let made = to.labels_below(&name(dname.rdata_at)?);
        Some(!labels.is_empty() && made.is_some_and(|made| made.eq_ignore_ascii_case(labels)))
    }

    /// Whether a name is the last of the chain or above it.
    fn is_above_the_end(&self, at: usize) -> bool {
        let names = (self.message.name(self.chain.last()), self.message.name(at));
        matches!(names, (Some(last), Some(name)) if last.labels_below(&name).is_some())
    }

    /// How many CNAMEs there are in the chain.
    pub(super) fn links(&self) -> usize {
        self.chain.length
    }

    /// Which link of the chain a CNAME is.
    pub(super) fn link_of(&self, record: &Record) -> Option<usize> {
        self.chain.cnames[..self.chain.length].iter().position(|start| *start == record.start)
    }

    /// Where a record belongs; none if it is left out.
    pub(super) fn rank(&self, record: &Record) -> Option<Rank> {
        if !self.has_meaning || record.class != self.message.question_class().0 {
            return None;
        }
        match record.section {
            Section::Answer => self.rank_of_answer(record).map(|links| links as Rank),
            Section::Authority => self.is_of_the_end(record.rtype, record).then_some(AUTHORITY),
            // Here stands also what is for one hop only: OPT (RFC 6891 section 6.1.1), TSIG (RFC 8945 section 5) and
            // SIG(0) (RFC 2931 section 3).
            Section::Additional => None,
        }
    }

    /// How many CNAMEs lead to a record of the answer section.
    fn rank_of_answer(&self, record: &Record) -> Option<usize> {
        let chain = &self.chain;
        let is_wanted = |rtype| rtype == self.qtype || self.qtype == Rtype::ANY;
        if is_wanted(record.rtype) && self.message.is_same_name(record.owner_at, chain.last()) {
            return Some(chain.length);
        }
        let dname_at = |start: &usize| *start == record.start;
        match record.rtype {
            Rtype::CNAME => self.link_of(record),
            Rtype::DNAME => chain.dnames[..chain.length].iter().position(dname_at),
            Rtype::RRSIG => match self.covered(record)? {
                Rtype::CNAME if self.is_followed() => {
                    chain.linked().iter().position(|name| self.message.is_same_name(record.owner_at, *name))
                }
                covered if is_wanted(covered) && self.message.is_same_name(record.owner_at, chain.last()) => {
                    Some(chain.length)
                }
                Rtype::DNAME => self.rank_of_dname_signature(record),
                _ => None,
            },
            _ => None,
        }
    }

    /// The link whose DNAME a signature may be of.
    fn rank_of_dname_signature(&self, signature: &Record) -> Option<usize> {
        let mut dnames = self.answers(Rtype::DNAME);
        let is_its = |dname: &Record| self.message.is_same_name(dname.owner_at, signature.owner_at);
        let dname = dnames.find(|dname| self.chain.dnames.contains(&dname.start) && is_its(dname))?;
        self.chain.dnames.iter().position(|start| *start == dname.start)
    }

    /// Whether a record of the authority section, or what it signs, says something about the end of the chain.
    fn is_of_the_end(&self, rtype: Rtype, record: &Record) -> bool {
        match rtype {
            Rtype::SOA => self.is_above_the_end(record.owner_at),
            Rtype::NSEC | Rtype::NSEC3 => true,
            Rtype::RRSIG => match self.covered(record) {
                None | Some(Rtype::RRSIG) => false,
                Some(covered) => self.is_of_the_end(covered, record),
            },
            _ => false,
        }
    }

    /// The type that a signature is of (RFC 4034 section 3.1.1).
    fn covered(&self, signature: &Record) -> Option<Rtype> {
        self.message.rdata(signature).first_chunk().map(|octets| Rtype(u16::from_be_bytes(*octets)))
    }

    /// Whether the kept records are the first ones and in order, as almost always: then they are copied as they stand.
    pub(super) fn kept(&self) -> Kept {
        let mut kept = ([0; 3], self.message.question_end());
        let (mut last, mut is_over) = (0, false);
        for record in self.message.records() {
            match self.rank(&record) {
                None if record.section == Section::Additional => break,
                None => is_over = true,
                Some(rank) if is_over || rank < last => return Kept::Scattered,
                Some(rank) => {
                    last = rank;
                    kept.0[record.section as usize] += 1;
                    kept.1 = record.end;
                }
            }
        }
        Kept::First { counts: kept.0, end: kept.1 }
    }

    /// The message with the kept records only, the answer in the order of the chain: names may point at what is left
    /// out, so they are written out, but for those of the chain. None if it does not fit into 65,535 octets.
    pub(super) fn rewritten(&self) -> Option<Vec<u8>> {
        let message = &self.message;
        let mut records: Vec<(Rank, Record)> =
            message.records().filter_map(|record| Some((self.rank(&record)?, record))).collect();
        records.sort_by_key(|(rank, _)| *rank);
        let mut octets = message.octets()[..message.question_end()].to_vec();
        octets[6..HEADER_OCTETS].fill(0);
        // Where the names of the chain stand now.
        let mut names = [QNAME_AT; LINKS_MAX + 1];
        let mut rdata = vec![0; STREAM_MESSAGE_OCTETS_MAX];
        for (rank, record) in &records {
            let link = usize::from(*rank);
            let name = self.chain.names[..=self.chain.length].get(link);
            let is_of_the_chain = name.is_some_and(|name| message.is_same_name(record.owner_at, *name));
            if is_of_the_chain && names[link] <= POINTER_TARGET_MAX {
                octets.extend_from_slice(&(0xc000 | names[link] as u16).to_be_bytes());
            } else {
                let mut owner = [0; NAME_OCTETS_MAX];
                let owner_octets = message.expand_name(record.owner_at, &mut owner)?;
                octets.extend_from_slice(&owner[..owner_octets]);
            }
            octets.extend_from_slice(&message.octets()[record.ttl_at - 4..record.ttl_at + 4]);
            let rdata_octets = message.expand_rdata(record, &mut rdata)?;
            octets.extend_from_slice(&(rdata_octets as u16).to_be_bytes());
            if let Some(link) = self.link_of(record) {
                names[link + 1] = octets.len();
            }
            octets.extend_from_slice(&rdata[..rdata_octets]);
            if octets.len() > STREAM_MESSAGE_OCTETS_MAX {
                return None;
            }
            let count = 6 + 2 * record.section as usize;
            let counted = u16::from_be_bytes([octets[count], octets[count + 1]]) + 1;
            octets[count..count + 2].copy_from_slice(&counted.to_be_bytes());
        }
        Some(octets)
    }
}

#[cfg(test)]
mod tests;
