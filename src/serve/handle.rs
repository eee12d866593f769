//! The engine: octets of a query in, octets of its reply out.
//!
//! Two halves, so that a worker can work a batch in stages: [`begin`] reads the query and finds where its answer
//! stands; [`complete`] decides and writes. Neither blocks, logs or (for what is answered at once) allocates. What has
//! to be asked elsewhere first comes back as a [`Miss`]; whoever fetched it calls [`complete`] again with it at hand.

mod dns64;
mod upstream_reply;

use super::rate_limit::{Judgement, ReplyKind};
use super::refusal::Refusal;
use super::wall_clock::WallClock;
use crate::dns::cookie::CookieStanding;
use crate::dns::edns::ExtendedError;
use crate::dns::query::HEADER_OCTETS;
use crate::dns::reply::{Owner, QNAME_AT, RecordHead, ReplyWriter, Section, Transport, write_header_only};
use crate::dns::{Class, ExtendedErrorCode, FoldedName, Malformed, Query, Rcode, Rtype};
use crate::forward::{self, ExchangeError, Forwarder, Millis};
use crate::resolve::autodefined::Computed;
use crate::resolve::{self, Chance, End, Negative, Several};
use crate::snapshot::autodefined::COMPUTED_TTL_SECONDS;
use crate::snapshot::{
    Authority, ContextIndex, DoorIndex, Located, NegativeAnswers, NoView, Records, Snapshot, View, ViewIndex, ZoneKind,
};
use std::net::IpAddr;

/// The TTL of the HINFO that answers ANY for names we forward, in seconds (RFC 8482 section 4.2 leaves it to us).
const ANY_HINFO_TTL: u32 = 3600;
/// Its rdata: CPU "RFC8482", an empty OS (RFC 8482 section 4.2).
const ANY_HINFO_RDATA: &[u8] = b"\x07RFC8482\x00";

/// What goes with a stale answer (RFC 8914 sections 4.4 and 4.20).
const STALE_TEXT: &str = "the upstreams fail; this is what they said before";

/// One query in work, with room for the names it leads to. Made to be overwritten by the next one.
#[derive(Default)]
pub struct Slot {
    query: Query,
    state: State,
}

/// How far a query has come.
#[derive(Clone, Copy)]
enum State {
    Malformed(Malformed),
    NoView(NoView),
    /// There is no question, only a cookie; with the view of who asks.
    CookieAlone(ViewIndex),
    /// Too many replies go to the client's prefix.
    Limited(Judgement),
    Located {
        view: ViewIndex,
        located: Located,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Malformed(Malformed::TooShort)
    }
}

/// Names met on the way; kept by the thread, so that nothing is zeroed a query.
#[derive(Default)]
pub struct Scratch {
    current: FoldedName,
    last: FoldedName,
    /// A reply that another one is made of: see `dns64`.
    basis: Vec<u8>,
}

/// What [`complete`] may look at besides the query.
pub struct Surroundings<'a> {
    /// The snapshot that [`begin`] was given.
    pub snapshot: &'a Snapshot,
    /// Where cached replies are.
    pub forwarder: &'a Forwarder,
    /// Now.
    pub now: Millis,
    /// A random number: multi-value answers start at a random record (R53:routing-policy-simple), and routing policies
    /// choose by it, unless something has been fetched: see [`Miss::pick`].
    pub pick: u32,
    /// How the reply travels.
    pub transport: Transport,
    /// What the cache says to [`first_ask`].
    pub looked_up: LookedUp<'a>,
    /// What has been fetched for this query, for which the cache need not be asked.
    pub fetched: &'a [Fetched],
}

impl Surroundings<'_> {
    /// The random number by which routing policies choose: the same in every round of a query.
    fn choice_pick(&self) -> u32 {
        self.fetched.first().map_or(self.pick, |fetched| fetched.miss.pick)
    }
}

/// What the cache says to the first question of a query.
#[derive(Clone, Copy)]
pub enum LookedUp<'a> {
    /// It has not been asked.
    NotYet,
    /// It has been asked, and knows nothing.
    Nothing,
    /// This, or an upstream has just said it.
    Found(&'a forward::Outcome),
}

impl<'a> LookedUp<'a> {
    /// What the cache said when it was asked.
    #[inline]
    pub fn of(outcome: Option<&'a forward::Outcome>) -> Self {
        outcome.map_or(Self::Nothing, Self::Found)
    }
}

/// What somebody else said, or failed to say.
pub struct Fetched {
    /// The question that was asked.
    pub miss: Miss,
    /// What came of it.
    pub result: forward::Outcome,
}

/// A question for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Whom to ask.
    pub context: ContextIndex,
    /// The name in folded wire form.
    pub qname: Box<[u8]>,
    /// The type.
    pub qtype: Rtype,
    /// DO as the client set it.
    pub dnssec_ok: bool,
    /// CD as the client set it.
    pub checking_disabled: bool,
    /// The random number by which routing policies chose on the way to this question. Whoever answers the query again
    /// chooses by it too: another choice would ask for another name, and weights would not be what they say.
    pub pick: u32,
}

/// What becomes of a query.
#[derive(Debug)]
pub enum Outcome {
    /// The first octets of the buffer are the reply.
    Reply(Reply),
    /// No reply is owed.
    Silent,
    /// There is none, because too many go to the client's prefix.
    Dropped,
    /// Others have to be asked first.
    Miss(Miss),
}

/// A finished reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its octets.
    pub octets: usize,
    /// Its rcode.
    pub rcode: Rcode,
    /// Whether TC is set.
    pub truncated: bool,
    /// Whether it is though the client takes more: it is bounded by the length of the query.
    pub bounded: bool,
    /// Whether something in it is served beyond its lifetime.
    pub stale: bool,
    /// Where the answer came from.
    pub source: Source,
}

/// Where an answer came from, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A zone here.
    Zone(ZoneKind),
    /// What an upstream said, kept or just fetched.
    Forward,
    /// We ourselves, where ANY is asked for a name whose records are elsewhere.
    Ourselves,
    /// Nobody, and why. Who may not ask at all has its stream closed after the reply.
    Refused(Refusal),
    /// Nobody: the query was not well-formed.
    Malformed,
}

/// Reads a query and finds where its answer stands.
#[inline]
pub fn begin(slot: &mut Slot, snapshot: &Snapshot, message: &[u8], door: DoorIndex, client: IpAddr) {
    slot.state = match slot.query.read(message, snapshot.seed) {
        Err(malformed) => begin_malformed(&mut slot.query, snapshot, message, (door, client), malformed),
        Ok(()) => match snapshot.view_for(door, client) {
            Err(no_view) => State::NoView(no_view),
            Ok(index) => {
                let located = snapshot.locate(snapshot.view(index), &slot.query.qname);
                State::Located { view: index, located }
            }
        },
    };
}

/// What becomes of octets that are no query, unless they ask for a cookie.
#[cold]
fn begin_malformed(
    query: &mut Query,
    snapshot: &Snapshot,
    message: &[u8],
    (door, client): (DoorIndex, IpAddr),
    malformed: Malformed,
) -> State {
    let asks_for_a_cookie = snapshot.protection.cookies.is_some()
        && malformed == Malformed::QuestionCount(0)
        && query.read_without_question(message).is_ok();
    if !asks_for_a_cookie {
        // What an earlier query in this place had is not what this one has.
        (query.cookie, query.cookie_answer) = (None, None);
        return State::Malformed(malformed);
    }
    match snapshot.view_for(door, client) {
        Err(no_view) => State::NoView(no_view),
        Ok(view) => State::CookieAlone(view),
    }
}

/// Whether a query that has been begun has a cookie, so that [`meet_cookie`] has something to do.
#[inline]
pub fn has_cookie(slot: &Slot) -> bool {
    slot.query.cookie.is_some()
}

/// Looks at the cookie of a query that has been begun, and makes the one that its reply carries; none where there is no
/// cookie, or we have none ourselves.
#[inline(never)]
pub fn meet_cookie(
    slot: &mut Slot,
    snapshot: &Snapshot,
    client: IpAddr,
    clock: &mut WallClock,
) -> Option<CookieStanding> {
    let (sent, secrets) = slot.query.cookie.as_ref().zip(snapshot.protection.cookies.as_ref())?;
    let answer = secrets.answer(sent, client, clock.seconds());
    slot.query.cookie_answer = Some(answer);
    Some(answer.standing)
}

/// As what the reply to a query that has been begun counts where replies are limited; none: it does not count, for its
/// client has a valid cookie, or none is owed.
#[inline]
pub fn reply_kind(slot: &Slot) -> Option<ReplyKind> {
    if slot.query.has_valid_cookie() {
        return None;
    }
    match slot.state {
        State::Located { .. } | State::CookieAlone(_) => Some(ReplyKind::Answer),
        State::NoView(_) => Some(ReplyKind::Error),
        State::Malformed(malformed) => malformed.reply().map(|_| ReplyKind::Error),
        State::Limited(_) => None,
    }
}

/// Takes what was judged of the reply to a query that has been begun: [`complete`] then says no more than that allows.
#[inline]
pub fn limit(slot: &mut Slot, judgement: Judgement) {
    if judgement != Judgement::Send {
        slot.state = State::Limited(judgement);
    }
}

/// The view of a query that has been begun; none where it was malformed or its client has none.
#[inline]
pub fn view(slot: &Slot) -> Option<ViewIndex> {
    match slot.state {
        State::Located { view, .. } | State::CookieAlone(view) => Some(view),
        _ => None,
    }
}

/// The hash of the node where the answer begins, to be touched before it is read; 0 where there is none.
#[inline]
pub fn node_hash(slot: &Slot) -> u64 {
    match slot.state {
        State::Located { located, .. } => located.node_hash,
        _ => 0,
    }
}

/// What the cache will be asked first, if anything: worth asking for a whole batch at a time.
#[inline]
pub fn first_ask<'a>(slot: &'a Slot, snapshot: &'a Snapshot) -> Option<forward::Ask<'a>> {
    first_context(slot, snapshot).map(|context| ask(&slot.query, snapshot, context, slot.query.qname.as_wire()))
}

/// In whose name that is asked. Where there is one, and the cache knows nothing, [`complete`] would come to a [`Miss`] of
/// the very name asked, and need not be called.
#[inline]
pub fn first_context(slot: &Slot, snapshot: &Snapshot) -> Option<ContextIndex> {
    let State::Located { view, located: Located { authority: Authority::Forward(context), .. } } = slot.state else {
        return None;
    };
    let query = &slot.query;
    let is_asked_of_others = query.recursion_desired
        && query.qclass == Class::IN
        && query.qtype != Rtype::ANY
        && !is_meta_type(query.qtype)
        && query.edns.is_none_or(|edns| edns.version == 0)
        && snapshot.view(view).dns_support
        && !(snapshot.view(view).dns64 && dns64::leads_elsewhere(query));
    is_asked_of_others.then_some(context)
}

/// The [`Miss`] of the very name asked, in a context; `pick` is for what it leads to, for nothing has been chosen yet.
pub fn first_miss(slot: &Slot, context: ContextIndex, pick: u32) -> Miss {
    miss(&slot.query, context, slot.query.qname.as_wire(), pick)
}

/// What a query lacks about a name.
fn miss(query: &Query, context: ContextIndex, qname: &[u8], pick: u32) -> Miss {
    Miss {
        context,
        qname: qname.into(),
        qtype: query.qtype,
        dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
        checking_disabled: query.checking_disabled,
        pick,
    }
}

/// A query's question to others about a name that it has led to.
#[inline]
fn ask<'a>(query: &Query, snapshot: &'a Snapshot, context: ContextIndex, qname: &'a [u8]) -> forward::Ask<'a> {
    let context = snapshot.context(context);
    forward::Ask {
        context: context.id,
        qname,
        qtype: query.qtype,
        class: Class::IN,
        dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
        checking_disabled: query.checking_disabled,
    }
}

/// Decides what a query gets, and writes it. The order of decisions:
/// malformed, not allowed, EDNS version, VPC attribute, class, query type, then who answers for the name.
#[inline]
pub fn complete(
    slot: &Slot,
    scratch: &mut Scratch,
    around: &Surroundings<'_>,
    message: &[u8],
    out: &mut [u8],
) -> Outcome {
    let query = &slot.query;
    let (view_index, located) = match slot.state {
        State::Malformed(malformed) => return reply_to_malformed(malformed, message, out),
        State::NoView(NoView::NotAllowed) => return refuse(query, around, message, out, Refusal::NotAllowed),
        State::NoView(NoView::Unclaimed) => return refuse(query, around, message, out, Refusal::Unclaimed),
        State::CookieAlone(_) => return reply_with_cookie_alone(query, around, message, out),
        State::Limited(Judgement::Slip) => return slip(query, around, message, out),
        State::Limited(_) => return Outcome::Dropped,
        State::Located { view, located } => (view, located),
    };
    let view = around.snapshot.view(view_index);
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return refuse(query, around, message, out, Refusal::EdnsVersion);
    }
    if !view.dns_support {
        return refuse(query, around, message, out, Refusal::DnsSupportOff);
    }
    if query.qclass != Class::IN {
        return refuse(query, around, message, out, Refusal::Class);
    }
    if is_meta_type(query.qtype) {
        return refuse(query, around, message, out, Refusal::MetaType);
    }
    if view.dns64
        && let Some(outcome) = dns64::complete((query, view_index, located), scratch, around, message, out)
    {
        return outcome;
    }
    let writer = begin_reply(query, around, message, out);
    let has_first_ask = matches!(located.authority, Authority::Forward(_));
    let asked = Asked { qtype: query.qtype, nodata_is_told: true };
    Work { query, view_index, view, around, has_first_ask, asked, writer, owner_at: QNAME_AT, cnames: 0, stale: None }
        .answer(scratch, located)
}

/// Types that only a query may have, ANY excepted: OPT, and TKEY to MAILA with the transfers (RFC 6895 section 3.1).
fn is_meta_type(qtype: Rtype) -> bool {
    qtype == Rtype::OPT || (249..=254).contains(&qtype.0)
}

/// What the client is told, as far as it is not that of the [`Query`] in work: DNS64 works on two for one reply.
#[derive(Clone, Copy)]
struct Asked {
    /// The type that it asked.
    qtype: Rtype,
    /// Whether it is told NODATA, if it comes to that.
    nodata_is_told: bool,
}

/// A query being answered: what has been written, and whose records come next.
struct Work<'a, 'b> {
    query: &'a Query,
    view_index: ViewIndex,
    view: &'a View,
    around: &'a Surroundings<'a>,
    /// Whether the very name asked is others': then [`first_ask`] has asked the cache for it. A zone here may leave names
    /// to others too, which only [`resolve`] finds out.
    has_first_ask: bool,
    asked: Asked,
    writer: ReplyWriter<'b>,
    /// Where the name stands that the next records belong to.
    owner_at: usize,
    /// CNAMEs written so far.
    cnames: usize,
    /// What to say where something written is served beyond its lifetime.
    stale: Option<ExtendedErrorCode>,
}

/// What a step leads to.
enum Next {
    /// The reply is complete.
    Done { rcode: Rcode, error: Option<ExtendedError>, source: Source },
    /// The reply says this instead.
    Refuse(Refusal),
    /// Others have to be asked.
    Miss(Miss),
    /// Go on with the name in `scratch.current`.
    Continue,
}

impl<'b> Work<'_, 'b> {
    /// Resolves the name asked; where that leads through others' replies to names of ours, goes on there.
    #[inline(always)]
    fn answer(mut self, scratch: &mut Scratch, located: Located) -> Outcome {
        match self.step(&self.query.qname, located, scratch) {
            Next::Done { rcode, error, source } => self.finish(rcode, error, source),
            next => self.answer_onward(scratch, next),
        }
    }

    /// Resolves name after name until the reply is complete.
    #[inline(never)]
    fn answer_onward(mut self, scratch: &mut Scratch, mut next: Next) -> Outcome {
        loop {
            match next {
                Next::Done { rcode, error, source } => return self.finish(rcode, error, source),
                Next::Refuse(refusal) => {
                    self.clear();
                    let (rcode, error) = refusal.reply();
                    return self.finish(rcode, error, Source::Refused(refusal));
                }
                Next::Miss(miss) => return Outcome::Miss(miss),
                Next::Continue => {}
            }
            if self.cnames > resolve::CNAME_CHAIN_MAX {
                next = Next::Refuse(Refusal::ChainTooLong);
                continue;
            }
            let current = scratch.current.clone();
            let located = self.around.snapshot.locate(self.view, &current);
            next = self.step(&current, located, scratch);
        }
    }

    /// Resolves one name and writes what it comes to: CNAMEs on the way, then the end.
    #[inline(always)]
    fn step(&mut self, name: &FoldedName, located: Located, scratch: &mut Scratch) -> Next {
        let Self { view, around, .. } = *self;
        let ask = resolve::Ask { name, qtype: self.query.qtype, cnames_before: self.cnames };
        let chance = || Chance { pick: around.choice_pick(), health: &around.snapshot.health };
        let before = self.cnames;
        let end = resolve::follow(around.snapshot, view, ask, located, chance, &mut scratch.last, |link| {
            if let Some(target_at) = self.writer.push_template(Section::Answer, self.owner_at, link) {
                self.owner_at = target_at;
            }
            self.cnames += 1;
        });
        if self.cnames > before && self.writer.is_truncated() {
            // A CNAME did not fit: TC says so.
            return done(Rcode::NOERROR, Source::Zone(ZoneKind::HostedZone));
        }
        let Scratch { current, last, .. } = scratch;
        self.write_end(end, if self.cnames == before { name } else { last }, current)
    }

    /// Writes how a resolution ends, which is about `name`.
    #[inline(always)]
    fn write_end(&mut self, end: End<'_>, name: &FoldedName, onward: &mut FoldedName) -> Next {
        match end {
            End::Records { records, zone } => {
                self.push_records(records);
                done(Rcode::NOERROR, Source::Zone(zone.kind))
            }
            End::Computed { record, zone } => {
                self.push_computed(record);
                done(Rcode::NOERROR, Source::Zone(zone.kind))
            }
            End::Several { several, zone } => {
                self.push_several(several);
                done(Rcode::NOERROR, Source::Zone(zone.kind))
            }
            End::NoData(negative) => self.negative(Rcode::NOERROR, negative),
            End::NxDomain(negative) => self.negative(Rcode::NXDOMAIN, negative),
            End::Forward(context) => self.forward(context, name, onward),
            End::ForwardAlias { context, target, negative } => self.forward_alias(context, target, negative),
            End::NobodyToAsk if self.writer.has_answer() => done(Rcode::NOERROR, Source::Zone(ZoneKind::HostedZone)),
            End::NobodyToAsk => Next::Refuse(Refusal::NobodyToAsk),
            End::ChainTooLong => Next::Refuse(Refusal::ChainTooLong),
        }
    }

    /// Writes some sets of a multivalue policy.
    #[inline(never)]
    fn push_several(&mut self, several: Several<'_>) {
        several.each_run(|records| {
            let whole = self.owner_at == QNAME_AT
                && self.writer.push_templates(Section::Answer, records.templates, records.count);
            if !whole {
                self.push_one_by_one(records);
            }
        });
    }

    /// Writes records that are not the question's own, or do not all fit.
    fn push_one_by_one(&mut self, records: Records<'_>) {
        for template in records.iter() {
            self.writer.push_template(Section::Answer, self.owner_at, template);
        }
    }

    /// Writes an RRset, beginning at a random record.
    #[inline]
    fn push_records(&mut self, records: Records<'_>) {
        // A random fraction of the count: no division.
        let start = ((u64::from(self.around.pick) * u64::from(records.count)) >> 32) as u16;
        let (first, rest) = records.rotated(start);
        let answer = Section::Answer;
        let whole = self.owner_at == QNAME_AT
            && if rest.is_empty() {
                self.writer.push_templates(answer, first, records.count)
            } else {
                self.writer.fits(records.templates.len())
                    && self.writer.push_templates(answer, first, records.count - start)
                    && self.writer.push_templates(answer, rest, start)
            };
        if !whole {
            for templates in [first, rest] {
                self.push_one_by_one(Records { templates, count: 0 });
            }
        }
    }

    /// Writes a record that stands nowhere.
    #[cold]
    fn push_computed(&mut self, record: Computed) {
        let head = RecordHead { rtype: record.rtype(), class: Class::IN.0, ttl_seconds: COMPUTED_TTL_SECONDS };
        let networks = self.around.snapshot.networks(self.view);
        let write_rdata = |out: &mut [u8]| record.write_rdata(networks, out);
        self.writer.push_with(Section::Answer, Owner::At(self.owner_at), head, write_rdata);
    }

    /// Writes the SOA of a negative answer (RFC 2308 section 2). Its owner is a suffix of the name that was not found.
    #[inline]
    fn negative(&mut self, rcode: Rcode, negative: Negative<'_>) -> Next {
        if let Some(given) = &self.around.snapshot.negative_answers
            && self.is_repeat(given, rcode, negative.zone.negative_ttl_seconds())
        {
            return done(rcode, Source::Zone(negative.zone.kind));
        }
        self.writer.push_template(Section::Authority, self.owner_at + negative.apex_at, &negative.zone.negative_soa);
        done(rcode, Source::Zone(negative.zone.kind))
    }

    /// Whether the question has been answered negatively lately, where such an answer is to carry its SOA only the first
    /// time; it lives for so many seconds from then on.
    #[cold]
    fn is_repeat(&self, given: &NegativeAnswers, rcode: Rcode, lifetime_seconds: u32) -> bool {
        let Asked { qtype, nodata_is_told } = self.asked;
        if rcode != Rcode::NXDOMAIN && !nodata_is_told {
            return false;
        }
        let now_seconds = (self.around.now.0 / 1000) as u32;
        given.is_repeat((self.view_index, &self.query.qname, qtype), now_seconds, lifetime_seconds)
    }

    /// Answers with what others said of `name`, or asks for it.
    fn forward(&mut self, context: ContextIndex, name: &FoldedName, onward: &mut FoldedName) -> Next {
        if !self.query.recursion_desired {
            return self.own_data_only();
        }
        if self.query.qtype == Rtype::ANY {
            self.push_any_hinfo();
            return done(Rcode::NOERROR, Source::Ourselves);
        }
        // Only the very name asked has been looked up before.
        let is_first = self.cnames == 0 && self.has_first_ask;
        let (looked_up, asked_now) = match self.around.looked_up {
            LookedUp::Found(outcome) if is_first => (Some(outcome), None),
            LookedUp::Nothing if is_first => (None, None),
            LookedUp::Found(_) | LookedUp::Nothing | LookedUp::NotYet => (None, self.said(context, name.as_wire())),
        };
        match looked_up.or(asked_now.as_ref()) {
            None => Next::Miss(self.miss(context, name.as_wire())),
            Some(Err(error)) => self.failed(*error),
            Some(Ok(reply)) => self.write_upstream_reply(reply, context, name, onward),
        }
    }

    /// Answers an alias with the records of its target, under the alias's own name and with the target's TTL
    /// (R53:resource-record-sets-choosing-alias-non-alias).
    fn forward_alias(&mut self, context: ContextIndex, target: &[u8], negative: Negative<'_>) -> Next {
        if self.query.qtype == Rtype::ANY {
            self.push_any_hinfo();
            return done(Rcode::NOERROR, Source::Zone(negative.zone.kind));
        }
        if !self.query.recursion_desired {
            return self.own_data_only();
        }
        match self.said(context, target) {
            None => Next::Miss(self.miss(context, target)),
            Some(Err(error)) => self.failed(error),
            Some(Ok(reply)) => match reply.rcode() {
                Rcode::NOERROR | Rcode::NXDOMAIN if !self.write_alias_records(&reply) => {
                    self.negative(Rcode::NOERROR, negative)
                }
                Rcode::NOERROR | Rcode::NXDOMAIN => done(Rcode::NOERROR, Source::Zone(negative.zone.kind)),
                rcode => done(self.sendable(rcode), Source::Forward),
            },
        }
    }

    /// RD is clear: the CNAMEs of our own that lead elsewhere, if there are any.
    fn own_data_only(&self) -> Next {
        if self.writer.has_answer() {
            done(Rcode::NOERROR, Source::Zone(ZoneKind::HostedZone))
        } else {
            Next::Refuse(Refusal::NotRecursive)
        }
    }

    /// Answers ANY for a name whose records are elsewhere, without asking for them (RFC 8482 section 4.2).
    fn push_any_hinfo(&mut self) {
        let head = RecordHead { rtype: Rtype::HINFO, class: Class::IN.0, ttl_seconds: ANY_HINFO_TTL };
        self.writer.push_with(Section::Answer, Owner::At(self.owner_at), head, |out| {
            out.get_mut(..ANY_HINFO_RDATA.len())?.copy_from_slice(ANY_HINFO_RDATA);
            Some(ANY_HINFO_RDATA.len())
        });
    }

    /// What others said: what was fetched for this query, else what the cache holds.
    fn said(&self, context: ContextIndex, qname: &[u8]) -> Option<forward::Outcome> {
        let qtype = self.query.qtype;
        let is_it =
            |Fetched { miss, .. }: &&Fetched| miss.context == context && miss.qtype == qtype && *miss.qname == *qname;
        if let Some(fetched) = self.around.fetched.iter().find(is_it) {
            return Some(fetched.result.clone());
        }
        let ask = ask(self.query, self.around.snapshot, context, qname);
        self.around.forwarder.cached(&ask, self.around.now)
    }

    /// The question for others.
    fn miss(&self, context: ContextIndex, qname: &[u8]) -> Miss {
        miss(self.query, context, qname, self.around.choice_pick())
    }

    /// Takes back all that has been written, to say something else instead.
    fn clear(&mut self) {
        self.writer.clear_records(self.query);
        self.stale = None;
    }

    /// Completes the reply.
    #[inline]
    fn finish(self, rcode: Rcode, error: Option<ExtendedError>, source: Source) -> Outcome {
        let error = match self.stale {
            Some(code) if error.is_none() => Some(ExtendedError { code, text: STALE_TEXT }),
            _ => error,
        };
        match finish(self.writer, self.query, rcode, error, source) {
            Outcome::Reply(reply) => Outcome::Reply(Reply { stale: self.stale.is_some(), ..reply }),
            outcome => outcome,
        }
    }

    /// Nobody answered: SERVFAIL with the reason, and nothing of the chain.
    fn failed(&mut self, error: ExchangeError) -> Next {
        self.clear();
        Next::Done { rcode: Rcode::SERVFAIL, error: Some(error.extended_error()), source: Source::Forward }
    }

    /// An upstream's rcode as this client can take it: one over 15 needs an OPT (RFC 6891 section 6.1.3).
    fn sendable(&self, rcode: Rcode) -> Rcode {
        if rcode.0 > 15 && self.query.edns.is_none() { Rcode::SERVFAIL } else { rcode }
    }
}

/// The reply is complete, and there is nothing more to say.
fn done(rcode: Rcode, source: Source) -> Next {
    Next::Done { rcode, error: None, source }
}

/// Begins a reply as large as the client and the transport take.
#[inline]
fn begin_reply<'b>(query: &Query, around: &Surroundings<'_>, message: &[u8], out: &'b mut [u8]) -> ReplyWriter<'b> {
    ReplyWriter::begin(out, message, query, around.transport.reply_octets_max(query, message.len()))
}

/// Completes a reply.
#[inline]
fn finish(
    writer: ReplyWriter<'_>,
    query: &Query,
    rcode: Rcode,
    error: Option<ExtendedError>,
    source: Source,
) -> Outcome {
    let truncated = writer.is_truncated();
    let bounded = truncated && writer.is_bounded(query);
    let octets = writer.finish(query, rcode, error);
    Outcome::Reply(Reply { octets, rcode, truncated, bounded, stale: false, source })
}

/// Answers a refusal.
fn refuse(query: &Query, around: &Surroundings<'_>, message: &[u8], out: &mut [u8], refusal: Refusal) -> Outcome {
    let (rcode, error) = refusal.reply();
    finish(begin_reply(query, around, message, out), query, rcode, error, Source::Refused(refusal))
}

/// Answers a query without a question: the cookie is the answer (RFC 7873 section 5.4).
#[cold]
fn reply_with_cookie_alone(query: &Query, around: &Surroundings<'_>, message: &[u8], out: &mut [u8]) -> Outcome {
    let rcode = match query.cookie_answer.map(|answer| answer.standing) {
        None => return reply_to_malformed(Malformed::QuestionCount(0), message, out),
        Some(CookieStanding::ClientOnly | CookieStanding::Valid) => Rcode::NOERROR,
        Some(CookieStanding::Expired | CookieStanding::Invalid) => Rcode::BADCOOKIE,
    };
    finish(begin_reply(query, around, message, out), query, rcode, None, Source::Ourselves)
}

/// Tells a client to come again: with the cookie that it gets, if it has one that is not ours, else over TCP. No longer
/// than the query, but for the cookie.
#[cold]
fn slip(query: &Query, around: &Surroundings<'_>, message: &[u8], out: &mut [u8]) -> Outcome {
    let mut writer = begin_reply(query, around, message, out);
    let refusal = if query.cookie_answer.is_some() {
        Refusal::BadCookie
    } else {
        writer.set_truncated();
        Refusal::RateLimited
    };
    let (rcode, error) = refusal.reply();
    match finish(writer, query, rcode, error, Source::Refused(refusal)) {
        Outcome::Reply(reply) => Outcome::Reply(Reply { bounded: false, ..reply }),
        outcome => outcome,
    }
}

/// Answers a query for which others would have to be asked, as [`complete`] said, where that is one question too many:
/// with an answer to it whose lifetime is over, if there is one, else with a refusal. Nothing was fetched before.
pub fn complete_at_limit(
    slot: &Slot,
    scratch: &mut Scratch,
    around: &Surroundings<'_>,
    miss: Miss,
    message: &[u8],
    out: &mut [u8],
) -> Outcome {
    let ask = forward::Ask { qtype: miss.qtype, ..ask(&slot.query, around.snapshot, miss.context, &miss.qname) };
    if let Some(stale) = around.forwarder.cache().stale(&ask, around.now) {
        let fetched = [Fetched { miss, result: Ok(stale) }];
        let around = Surroundings { looked_up: LookedUp::NotYet, fetched: &fetched, ..*around };
        match complete(slot, scratch, &around, message, out) {
            // It leads to something else that is not known.
            Outcome::Miss(_) => {}
            outcome => return outcome,
        }
    }
    refuse(&slot.query, around, message, out, Refusal::InFlightLimit)
}

/// Answers octets of a client with a refusal that arose outside the engine. Silent where they cannot be read.
pub fn refuse_message(
    slot: &mut Slot,
    around: &Surroundings<'_>,
    (message, client): (&[u8], IpAddr),
    out: &mut [u8],
    why: Refusal,
) -> Outcome {
    match slot.query.read(message, around.snapshot.seed) {
        Ok(()) => {
            meet_cookie(slot, around.snapshot, client, &mut WallClock::default());
            refuse(&slot.query, around, message, out, why)
        }
        Err(malformed) => reply_to_malformed(malformed, message, out),
    }
}

/// FORMERR or NOTIMP as a header alone, or silence.
fn reply_to_malformed(malformed: Malformed, message: &[u8], out: &mut [u8]) -> Outcome {
    match malformed.reply() {
        Some(rcode) if message.len() >= HEADER_OCTETS => {
            let octets = write_header_only(out, message, rcode);
            let source = Source::Malformed;
            Outcome::Reply(Reply { octets, rcode, truncated: false, bounded: false, stale: false, source })
        }
        _ => Outcome::Silent,
    }
}
