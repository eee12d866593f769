//! Answering with an upstream's reply: as it stands where nothing stands in its way, else record by record.

use super::{Next, Source, Work, done};
use crate::dns::message::{Message, Record};
use crate::dns::name::NAME_OCTETS_MAX;
use crate::dns::reply::{Owner, RecordHead, Section};
use crate::dns::{ExtendedErrorCode, FoldedName, Rcode, Rtype};
use crate::forward::reply::{Age, UpstreamReply};
use crate::resolve::CNAME_CHAIN_MAX;
use crate::serve::refusal::Refusal;
use crate::snapshot::{Authority, ContextIndex};

/// A name as it stands in a message, expanded.
struct Expanded {
    wire: [u8; NAME_OCTETS_MAX],
    octets: usize,
}

impl Expanded {
    /// Expands the name at an octet of a message.
    fn of(message: &Message<'_>, at: usize) -> Option<Self> {
        let mut wire = [0; NAME_OCTETS_MAX];
        let octets = message.expand_name(at, &mut wire)?;
        Some(Self { wire, octets })
    }

    fn as_wire(&self) -> &[u8] {
        &self.wire[..self.octets]
    }

    /// Whether it is this name; length octets are below 64 and so never letters.
    fn is(&self, wire: &[u8]) -> bool {
        self.as_wire().eq_ignore_ascii_case(wire)
    }
}

/// Where an upstream's chain of CNAMEs leads.
enum ChainEnd {
    /// To records, or to the upstream's own end of it.
    Theirs,
    /// At this record of the answer section to a name that another source of the view answers for.
    CutAfter(usize),
    /// The same, but the records of the chain do not stand in its order: these are they.
    CutOutOfOrder(ChainRecords),
    /// Through more CNAMEs than are followed.
    TooLong,
}

/// The places in the answer section of the CNAMEs of a chain, in its order.
#[derive(Clone, Copy, Default)]
struct ChainRecords {
    indexes: [usize; CNAME_CHAIN_MAX],
    length: usize,
}

impl ChainRecords {
    /// Adds one; none where the chain is full.
    fn push(&mut self, index: usize) -> Option<()> {
        *self.indexes.get_mut(self.length)? = index;
        self.length += 1;
        Some(())
    }

    fn as_slice(&self) -> &[usize] {
        &self.indexes[..self.length]
    }
}

impl Work<'_, '_> {
    /// Writes what an upstream said of `name`. At the first CNAME whose target another source of the view owns, the
    /// chain is cut and the target is resolved in the view.
    pub(super) fn write_upstream_reply(
        &mut self,
        reply: &UpstreamReply,
        context: ContextIndex,
        name: &FoldedName,
        onward: &mut FoldedName,
    ) -> Next {
        let age = reply.age(self.around.now);
        if age == Age::Stale {
            self.stale = Some(match reply.rcode() {
                Rcode::NXDOMAIN => ExtendedErrorCode::STALE_NXDOMAIN_ANSWER,
                _ => ExtendedErrorCode::STALE_ANSWER,
            });
        }
        let chain_end = if reply.has_cname() && self.query.qtype != Rtype::CNAME {
            self.chain_end(reply, context, name, onward)
        } else {
            ChainEnd::Theirs
        };
        let copied = match chain_end {
            ChainEnd::CutAfter(record) => self.copy_answers(reply, age, name, Some(record)),
            ChainEnd::CutOutOfOrder(records) => self.copy_chain(reply, age, records.as_slice()),
            ChainEnd::TooLong => return Next::Refuse(Refusal::ChainTooLong),
            ChainEnd::Theirs => return self.copy_to_the_end(reply, age, name),
        };
        match copied {
            Some(target_at) => {
                self.owner_at = target_at;
                Next::Continue
            }
            // It did not fit: TC says so.
            None => done(Rcode::NOERROR, Source::Forward),
        }
    }

    /// Answers with all that an upstream said: nothing of ours stands in its way.
    fn copy_to_the_end(&mut self, reply: &UpstreamReply, age: Age, name: &FoldedName) -> Next {
        if self.writer.has_answer() {
            self.copy_answers(reply, age, name, None);
            if !self.writer.is_truncated() {
                self.copy_soa(reply, age);
            }
        } else {
            self.copy_whole(reply, age);
        }
        done(self.sendable(reply.rcode()), Source::Forward)
    }

    /// Follows the CNAMEs of a reply, in whatever order they stand; where the chain is to be cut, `onward` receives the
    /// target. Each pass takes what stands in order: one does for almost all replies.
    fn chain_end(
        &self,
        reply: &UpstreamReply,
        context: ContextIndex,
        name: &FoldedName,
        onward: &mut FoldedName,
    ) -> ChainEnd {
        let message = reply.message();
        let seed = self.around.snapshot.seed;
        if onward.read(name.as_wire(), seed).is_err() {
            return ChainEnd::Theirs;
        }
        let cnames = || answers(&message).enumerate().filter(|(_, record)| record.rtype == Rtype::CNAME);
        let cname_count = cnames().count();
        let mut followed = 0;
        let mut chain = ChainRecords::default();
        let mut end = ChainEnd::Theirs;
        for pass in 0..=CNAME_CHAIN_MAX {
            let followed_before = followed;
            for (index, record) in cnames() {
                let Some(owner) = Expanded::of(&message, record.owner_at) else { return ChainEnd::Theirs };
                if !owner.is(onward.as_wire()) {
                    continue;
                }
                // More steps than CNAMEs: a loop among names that are all theirs.
                followed += 1;
                let Some(target) = Expanded::of(&message, record.rdata_at).filter(|_| followed <= cname_count) else {
                    return ChainEnd::Theirs;
                };
                if onward.read(target.as_wire(), seed).is_err() {
                    return ChainEnd::Theirs;
                }
                end = match (pass, chain.push(index)) {
                    (0, _) => ChainEnd::CutAfter(index),
                    (_, Some(())) => ChainEnd::CutOutOfOrder(chain),
                    (_, None) => return ChainEnd::TooLong,
                };
                if self.is_elsewhere(onward, context) {
                    return end;
                }
            }
            if followed == followed_before || followed == cname_count {
                return if self.dangles(reply, context, onward) { end } else { ChainEnd::Theirs };
            }
        }
        ChainEnd::TooLong
    }

    /// Whether another source of the view owns a name that an upstream led to.
    fn is_elsewhere(&self, name: &FoldedName, context: ContextIndex) -> bool {
        match self.around.snapshot.authority_for(self.view, name) {
            Authority::Zone(_) => true,
            other @ Authority::Forward(theirs) => theirs != context && other != self.view.otherwise,
            Authority::Nothing => false,
        }
    }

    /// Whether a reply's chain ends without data in a name that its source does not answer for: the search goes on
    /// there (R53:resolver-query-logs-format shows chains over several rules). An SOA says that there is no data
    /// (RFC 2308 section 2.2); NS beside a CNAME do not.
    fn dangles(&self, reply: &UpstreamReply, context: ContextIndex, last: &FoldedName) -> bool {
        let Authority::Forward(theirs) = self.around.snapshot.authority_for(self.view, last) else { return false };
        if theirs == context || reply.rcode() != Rcode::NOERROR {
            return false;
        }
        let message = reply.message();
        let says_something = |record: Record| match record.section {
            Section::Answer => record.rtype == self.query.qtype && is_of(&message, &record, last.as_wire()),
            Section::Authority => record.rtype == Rtype::SOA,
            Section::Additional => false,
        };
        !message.records().any(says_something)
    }

    /// Copies the answer section record by record, up to and with record `last`. Returns where the rdata of the last
    /// CNAME stands, or none where something did not fit.
    fn copy_answers(
        &mut self,
        reply: &UpstreamReply,
        age: Age,
        name: &FoldedName,
        last: Option<usize>,
    ) -> Option<usize> {
        let message = reply.message();
        let mut cname_target: Option<(usize, Expanded)> = None;
        for (index, record) in answers(&message).enumerate() {
            let owner = Expanded::of(&message, record.owner_at)?;
            let owner_at = match &cname_target {
                _ if owner.is(name.as_wire()) => Owner::At(self.owner_at),
                Some((at, target)) if owner.is(target.as_wire()) => Owner::At(*at),
                _ => Owner::Wire(owner.as_wire()),
            };
            let rdata_at = self.copy_record(&message, &record, age, Section::Answer, owner_at)?;
            if record.rtype == Rtype::CNAME {
                self.cnames += 1;
                cname_target = Expanded::of(&message, record.rdata_at).map(|target| (rdata_at, target));
            }
            if last == Some(index) {
                break;
            }
        }
        cname_target.map(|(at, _)| at)
    }

    /// Copies the CNAMEs of a chain in its order; returns where the rdata of the last one stands, or none where
    /// something did not fit.
    fn copy_chain(&mut self, reply: &UpstreamReply, age: Age, records: &[usize]) -> Option<usize> {
        let message = reply.message();
        let mut owner_at = self.owner_at;
        for index in records {
            let record = answers(&message).nth(*index)?;
            owner_at = self.copy_record(&message, &record, age, Section::Answer, Owner::At(owner_at))?;
            self.cnames += 1;
        }
        Some(owner_at)
    }

    /// Copies the SOA of a negative answer.
    fn copy_soa(&mut self, reply: &UpstreamReply, age: Age) {
        let message = reply.message();
        let soa = message.records().find(|record| record.section == Section::Authority && record.rtype == Rtype::SOA);
        if let Some(record) = soa
            && let Some(owner) = Expanded::of(&message, record.owner_at)
        {
            self.copy_record(&message, &record, age, Section::Authority, Owner::Wire(owner.as_wire()));
        }
    }

    /// Copies one record with its names expanded and its TTL counted down; returns where its rdata begins.
    fn copy_record(
        &mut self,
        message: &Message<'_>,
        record: &Record,
        age: Age,
        section: Section,
        owner: Owner<'_>,
    ) -> Option<usize> {
        let head = RecordHead { rtype: record.rtype, class: record.class, ttl_seconds: age.ttl(record.ttl.seconds()) };
        self.writer.push_with(section, owner, head, |out| message.expand_rdata(record, out))
    }

    /// Copies a reply to the same question as it stands, TTLs counted down; what does not fit is cut at a record.
    #[inline]
    fn copy_whole(&mut self, reply: &UpstreamReply, age: Age) {
        let fitting = reply.fitting(self.writer.room());
        self.writer.push_verbatim(fitting.records, fitting.counts);
        reply.write_ttls(self.writer.written_mut(), age);
        // Whoever validated it did so while it was fresh.
        if age != Age::Stale && reply.authentic_data() {
            self.writer.set_authentic_data();
        }
        if !fitting.complete {
            self.writer.set_truncated();
        }
    }

    /// Writes what an upstream said of an alias's target under the alias's own name: the records of the type asked at
    /// the end of the target's chain, and no others (RFC 5452 section 6); whether there were any.
    pub(super) fn write_alias_records(&mut self, reply: &UpstreamReply, target: &[u8]) -> bool {
        let message = reply.message();
        let age = reply.age(self.around.now);
        if age == Age::Stale {
            self.stale = Some(ExtendedErrorCode::STALE_ANSWER);
        }
        let ttl_left = |record: &Record| age.ttl(record.ttl.seconds());
        let mut last: Option<Expanded> = None;
        // The chain is not shown, so its shortest TTL counts for all.
        let mut shortest = u32::MAX;
        for _ in 0..CNAME_CHAIN_MAX {
            let name = last.as_ref().map_or(target, Expanded::as_wire);
            let Some(cname) =
                answers(&message).find(|record| record.rtype == Rtype::CNAME && is_of(&message, record, name))
            else {
                break;
            };
            shortest = shortest.min(ttl_left(&cname));
            last = Expanded::of(&message, cname.rdata_at);
        }
        let name = last.as_ref().map_or(target, Expanded::as_wire);
        let qtype = self.query.qtype;
        let wanted = || answers(&message).filter(|record| record.rtype == qtype && is_of(&message, record, name));
        shortest = wanted().map(|record| ttl_left(&record)).fold(shortest, u32::min);
        let mut any = false;
        for record in wanted() {
            any = true;
            let head = RecordHead { rtype: record.rtype, class: record.class, ttl_seconds: shortest };
            let owner = Owner::At(self.owner_at);
            self.writer.push_with(Section::Answer, owner, head, |out| message.expand_rdata(&record, out));
        }
        any
    }
}

/// Whether a record belongs to this name.
fn is_of(message: &Message<'_>, record: &Record, name: &[u8]) -> bool {
    Expanded::of(message, record.owner_at).is_some_and(|owner| owner.is(name))
}

/// The records of the answer section.
fn answers(message: &Message<'_>) -> impl Iterator<Item = Record> {
    message.records().filter(|record| record.section == Section::Answer)
}
