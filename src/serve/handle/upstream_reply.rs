//! Answering with an upstream's reply: as it stands where nothing stands in its way, else record by record. What it holds
//! besides the answer was left out when it was kept (`forward::reply`).

use super::{Next, Source, Work, done};
use crate::dns::message::{Message, Record, WireName};
use crate::dns::reply::{Owner, RecordHead, Section};
use crate::dns::{ExtendedErrorCode, FoldedName, Rcode, Rtype};
use crate::forward::reply::{Age, LINKS_MAX, UpstreamReply};
use crate::resolve::{self, CNAME_CHAIN_MAX};
use crate::snapshot::{Authority, ContextIndex};

// Upstreams may give chains as long as ours are.
const _: () = assert!(LINKS_MAX == CNAME_CHAIN_MAX);

/// Where an upstream's chain of CNAMEs leads.
enum ChainEnd {
    /// To records, or to the upstream's own end of it.
    Theirs,
    /// After so many CNAMEs to a name that another source of the view answers for.
    CutAfter(usize),
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
        if reply.has_links()
            && let ChainEnd::CutAfter(links) = self.chain_end(reply, context, onward)
        {
            return match self.copy_links(reply, age, links) {
                Some(target_at) => {
                    self.owner_at = target_at;
                    Next::Continue
                }
                // It did not fit: TC says so.
                None => done(Rcode::NOERROR, Source::Forward),
            };
        }
        self.copy_to_the_end(reply, age, name)
    }

    /// Answers with all that an upstream said: nothing of ours stands in its way.
    fn copy_to_the_end(&mut self, reply: &UpstreamReply, age: Age, name: &FoldedName) -> Next {
        let lacks_soa = match &self.around.snapshot.negative_answers {
            Some(given) if reply.is_negative() => {
                self.is_repeat(given, reply.rcode(), age.ttl(reply.lifetime().seconds()))
            }
            _ => false,
        };
        if lacks_soa || self.writer.has_answer() {
            self.copy_answers(reply, age, name);
            if !lacks_soa && !self.writer.is_truncated() {
                self.copy_soa(reply, age);
            }
        } else {
            self.copy_whole(reply, age);
        }
        done(self.sendable(reply.rcode()), Source::Forward)
    }

    /// Follows the CNAMEs of a reply; `onward` receives the target of the last one that was followed.
    #[cold]
    fn chain_end(&self, reply: &UpstreamReply, context: ContextIndex, onward: &mut FoldedName) -> ChainEnd {
        let message = reply.message();
        let mut links = 0;
        for link in reply.links() {
            let Some(target) = message.name(link.target_at) else { return ChainEnd::Theirs };
            if onward.read(target.as_wire(), self.around.snapshot.seed).is_err() {
                return ChainEnd::Theirs;
            }
            links += 1;
            if self.is_elsewhere(onward, context) {
                return ChainEnd::CutAfter(links);
            }
        }
        if reply.dangles() && self.is_of_another_context(onward, context) {
            ChainEnd::CutAfter(links)
        } else {
            ChainEnd::Theirs
        }
    }

    /// Whether another source of the view owns a name that an upstream led to.
    fn is_elsewhere(&self, name: &FoldedName, context: ContextIndex) -> bool {
        match resolve::authority_of(self.around.snapshot, self.view, name) {
            Authority::Zone(_) | Authority::Layered(_) => true,
            other @ Authority::Forward(theirs) => theirs != context && other != self.view.otherwise,
            Authority::Nothing => false,
        }
    }

    /// Whether others are asked about a name: where a chain ends without data, the search goes on there
    /// (R53:resolver-query-logs-format shows chains over several rules).
    fn is_of_another_context(&self, name: &FoldedName, context: ContextIndex) -> bool {
        let authority = resolve::authority_of(self.around.snapshot, self.view, name);
        matches!(authority, Authority::Forward(theirs) if theirs != context)
    }

    /// Copies the answer section record by record, behind CNAMEs of ours that led to `name`.
    fn copy_answers(&mut self, reply: &UpstreamReply, age: Age, name: &FoldedName) {
        let message = reply.message();
        let mut cname_target: Option<(usize, WireName)> = None;
        for record in answers(&message) {
            let Some(owner) = message.name(record.owner_at) else { return };
            let owner_at = match &cname_target {
                _ if owner.is(name.as_wire()) => Owner::At(self.owner_at),
                Some((at, target)) if owner.is(target.as_wire()) => Owner::At(*at),
                _ => Owner::Wire(owner.as_wire()),
            };
            let Some(rdata_at) = self.copy_record(&message, &record, age, Section::Answer, owner_at) else { return };
            if record.rtype == Rtype::CNAME {
                cname_target = message.name(record.rdata_at).map(|target| (rdata_at, target));
            }
        }
    }

    /// Copies the first CNAMEs of a chain and nothing else: the records of its names are not the upstream's to give from
    /// there on. Returns where the target of the last one stands, or none where something did not fit.
    #[cold]
    fn copy_links(&mut self, reply: &UpstreamReply, age: Age, links: usize) -> Option<usize> {
        let message = reply.message();
        let mut owner_at = self.owner_at;
        for link in reply.links().take(links) {
            let target = message.name(link.target_at)?;
            let head = RecordHead { rtype: Rtype::CNAME, class: link.class, ttl_seconds: age.ttl(link.ttl_seconds) };
            owner_at = self.writer.push_with(Section::Answer, Owner::At(owner_at), head, |out| {
                let target = target.as_wire();
                out.get_mut(..target.len())?.copy_from_slice(target);
                Some(target.len())
            })?;
            self.cnames += 1;
        }
        Some(owner_at)
    }

    /// Copies the SOA of a negative answer.
    fn copy_soa(&mut self, reply: &UpstreamReply, age: Age) {
        let message = reply.message();
        let soa = message.records().find(|record| record.section == Section::Authority && record.rtype == Rtype::SOA);
        if let Some(record) = soa
            && let Some(owner) = message.name(record.owner_at)
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

    /// Writes what an upstream said of an alias's target under the alias's own name: the records of the type asked, which
    /// stand at the end of the target's chain; whether there were any.
    pub(super) fn write_alias_records(&mut self, reply: &UpstreamReply) -> bool {
        let message = reply.message();
        let age = reply.age(self.around.now);
        if age == Age::Stale {
            self.stale = Some(ExtendedErrorCode::STALE_ANSWER);
        }
        let qtype = self.query.qtype;
        let wanted = || answers(&message).filter(|record| record.rtype == qtype);
        // The chain is not shown, so its shortest TTL counts for all.
        let ttls = wanted().map(|record| record.ttl.seconds()).chain(reply.links().map(|link| link.ttl_seconds));
        let shortest = ttls.map(|ttl| age.ttl(ttl)).min().unwrap_or(0);
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

/// The records of the answer section.
fn answers(message: &Message<'_>) -> impl Iterator<Item = Record> {
    message.records().filter(|record| record.section == Section::Answer)
}
