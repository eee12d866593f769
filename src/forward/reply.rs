//! An upstream's reply as it is kept and served: its octets, without what does not answer the question.

mod relevant;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Millis;
use crate::dns::message::{Message, Record};
use crate::dns::query::HEADER_OCTETS;
use crate::dns::reply::{STREAM_MESSAGE_OCTETS_MAX, Section};
use crate::dns::{Rcode, Rtype, Ttl};
use relevant::{Kept, Relevant};

pub(super) use relevant::is_about_its_question;
pub use relevant::{LINKS_MAX, SECTION_RECORDS_MAX};

/// How long replies are kept at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlLimits {
    /// The largest TTL that is believed; larger ones count as this (RFC 8767 section 4).
    pub ttl_max: Ttl,
    /// The same for NXDOMAIN and NODATA (RFC 2308 section 5).
    pub negative_ttl_max: Ttl,
    /// How long a failure is remembered: at least 1 second, at most 5 minutes (RFC 9520 section 3.2).
    pub failure_ttl: Ttl,
}

/// A reply of an upstream, ready to be served: the records are copied behind the client's question, then the TTLs set.
///
/// The question stands as octets 12.. as in every reply of ours, so all compression pointers stay true.
// Invariant: the first message_octets of content are a message that `Message::parse` accepts, with what is relevant and
// nothing else, so without additional records; the answers stand in the order of the chain. Behind them is one place a
// record, in order, then one octet a CNAME of the chain: which record it is. No TTL is above the limits it was made with.
#[derive(Debug)]
pub struct UpstreamReply {
    /// On the clock of [`Millis`]; negative for a reply of an earlier process.
    received_at: i64,
    /// Until when it is served beyond its lifetime without asking again, in milliseconds as [`Millis`]; 0: it has not
    /// been served beyond its lifetime.
    stale_until: AtomicU64,
    lifetime: Ttl,
    message_octets: u16,
    question_end: u16,
    counts: [u16; 3],
    rcode: Rcode,
    /// CNAMEs of the chain.
    links: u8,
    is_negative: bool,
    /// Whether the chain ends in a name of which nothing is said, not even that there is nothing.
    dangles: bool,
    /// Whether somebody is asking again before the lifetime ends, or nobody is to.
    prefetch_claimed: AtomicBool,
    content: Content,
}

/// The message and the places of its records: within the reply where they are few, so that serving it from the cache
/// reads one stretch of memory. Out of the cache every stretch is a miss that nothing overlaps.
#[derive(Debug)]
enum Content {
    Inline([u8; CONTENT_OCTETS_INLINE]),
    Boxed(Box<[u8]>),
}

/// Content that needs no allocation of its own, in octets: with it a reply in its `Arc` fills an allocation of 256.
const CONTENT_OCTETS_INLINE: usize = 191;

/// Octets that a processor reads into its caches at a time; on some more, and then a touch is one too many.
const CACHE_LINE_OCTETS: usize = 64;

/// The two counts of an `Arc`, in octets.
const ARC_OCTETS: usize = 2 * size_of::<usize>();
/// What an allocation takes besides what was asked for, in octets: its head, and rounding up.
pub(super) const ALLOCATION_OCTETS: usize = 16;

/// Where a record has its TTL, and where it ends. 65,535 octets at most, so 16 bits hold both.
#[derive(Clone, Copy, Debug)]
struct Place {
    ttl_at: u16,
    end: u16,
}

/// Octets of a place as it is kept.
const PLACE_OCTETS: usize = 4;

impl Place {
    /// As it is kept behind the message.
    fn to_octets(self) -> [u8; PLACE_OCTETS] {
        let ([a, b], [c, d]) = (self.ttl_at.to_ne_bytes(), self.end.to_ne_bytes());
        [a, b, c, d]
    }

    /// The inverse.
    #[inline]
    fn of([a, b, c, d]: [u8; PLACE_OCTETS]) -> Self {
        Self { ttl_at: u16::from_ne_bytes([a, b]), end: u16::from_ne_bytes([c, d]) }
    }
}

/// A CNAME of the chain that a reply begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its class.
    pub class: u16,
    /// Its TTL in seconds, as it was received.
    pub ttl_seconds: u32,
    /// Where its target stands in the message.
    pub target_at: usize,
}

/// The records of a reply that fit into a number of octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitting<'r> {
    /// The octets of the records, to be put right behind the question.
    pub records: &'r [u8],
    /// How many there are in each section.
    pub counts: [u16; 3],
    /// Whether these are all, or all but additional ones: then the reply is not truncated (RFC 2181 section 9).
    pub complete: bool,
}

/// How old a reply is, as far as its TTLs tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// So many whole seconds.
    Seconds(u32),
    /// Its lifetime is over, and it is served all the same.
    Stale,
}

impl Age {
    /// What is told of a TTL in seconds: less the age and never below 0; of a stale reply 30 seconds for every record
    /// (RFC 8767 section 4).
    #[inline]
    pub fn ttl(self, received: u32) -> u32 {
        match self {
            Self::Seconds(seconds) => received.saturating_sub(seconds),
            Self::Stale => STALE_TTL_SECONDS,
        }
    }
}

/// The TTL of stale records, in seconds (RFC 8767 section 4).
const STALE_TTL_SECONDS: u32 = 30;
/// Shorter lifetimes are not renewed before they end, in seconds: it would double the questions for them.
const PREFETCH_LIFETIME_MIN: u32 = 10;
/// AD in octet 3 of a header.
const FLAG_AD: u8 = 0x20;

impl UpstreamReply {
    /// Keeps what of an upstream's message answers its question, and no more (`relevant`). None if that cannot be told,
    /// because the message is about something else, has over [`SECTION_RECORDS_MAX`] records in a section, or a chain of
    /// over [`LINKS_MAX`] CNAMEs; or does not fit into 65,535 octets with its names written out, which is only done when
    /// something that is left out stands among the other records.
    ///
    /// `protected`: nobody on the way could have changed it, so its AD means what it says.
    pub fn new(message: &Message<'_>, limits: TtlLimits, received_at: Millis, protected: bool) -> Option<Self> {
        let mut reply = Self {
            received_at: received_at.0 as i64,
            stale_until: AtomicU64::new(0),
            lifetime: NOT_KEPT,
            message_octets: 0,
            question_end: 0,
            counts: [0; 3],
            rcode: message.rcode(),
            links: 0,
            is_negative: false,
            dangles: false,
            prefetch_claimed: AtomicBool::new(false),
            content: Content::Inline([0; CONTENT_OCTETS_INLINE]),
        };
        let flags_cleared = if protected { 0 } else { FLAG_AD };
        let relevant = Relevant::of(message)?;
        match relevant.kept() {
            Kept::First { counts, end } => reply.fill(message, &relevant, counts, end, limits, flags_cleared)?,
            Kept::Scattered => {
                let octets = relevant.rewritten()?;
                let message = Message::parse(&octets).ok()?;
                let relevant = Relevant::of(&message)?;
                let Kept::First { counts, end } = relevant.kept() else { return None };
                reply.fill(&message, &relevant, counts, end, limits, flags_cleared)?;
            }
        }
        Some(reply)
    }

    /// Takes over a message up to an octet, with so many records of each section, in one walk over them. Of the octet of
    /// flags that holds AD, some are cleared. None if the message is too long, or a name in it points at a TTL that had to
    /// be changed.
    #[inline]
    fn fill(
        &mut self,
        message: &Message<'_>,
        relevant: &Relevant<'_>,
        counts: [u16; 3],
        end: usize,
        limits: TtlLimits,
        flags_cleared: u8,
    ) -> Option<()> {
        if end > STREAM_MESSAGE_OCTETS_MAX {
            return None;
        }
        let records: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let content_octets = end + records * PLACE_OCTETS + relevant.links();
        if content_octets > CONTENT_OCTETS_INLINE {
            self.content = Content::Boxed(vec![0; content_octets].into());
        }
        self.message_octets = end as u16;
        self.question_end = message.question_end() as u16;
        self.counts = counts;
        self.links = relevant.links() as u8;
        let (octets, behind) = self.content.octets_mut()[..content_octets].split_at_mut(end);
        let (places, links) = behind.split_at_mut(records * PLACE_OCTETS);
        octets.copy_from_slice(&message.octets()[..end]);
        octets[..2].fill(0);
        octets[3] &= !flags_cleared;
        for (field, count) in octets[6..HEADER_OCTETS].as_chunks_mut().0.iter_mut().zip(counts) {
            *field = count.to_be_bytes();
        }
        let (rcode, qtype) = (self.rcode, message.question_type());
        let mut ttls = Ttls { limits, rcode, qtype, answer: None, negative: None, any: false };
        let mut changed = false;
        for (index, (record, place)) in message.records().zip(places.as_chunks_mut().0).enumerate() {
            if record.rtype == Rtype::CNAME
                && let Some(link) = relevant.link_of(&record)
            {
                links[link] = index as u8;
            }
            let ttl = ttls.limited(message, &record).seconds().to_be_bytes();
            let field = &mut octets[record.ttl_at..record.ttl_at + 4];
            if *field != ttl {
                field.copy_from_slice(&ttl);
                changed = true;
            }
            *place = Place { ttl_at: record.ttl_at as u16, end: record.end as u16 }.to_octets();
        }
        // A hostile name may point at a TTL that has just been changed.
        if changed && Message::parse(octets).is_err() {
            return None;
        }
        self.is_negative = self.rcode != Rcode::NOERROR || ttls.negative.is_some() || ttls.answer.is_none();
        self.dangles = self.links > 0 && self.rcode == Rcode::NOERROR && !ttls.any && ttls.negative.is_none();
        self.lifetime = ttls.lifetime();
        Some(())
    }

    /// The whole message: header with id 0 and the upstream's flags, question, records.
    #[inline]
    pub fn octets(&self) -> &[u8] {
        self.content.octets().split_at(usize::from(self.message_octets)).0
    }

    /// Where the records have their TTLs and end, in order.
    #[inline]
    fn places(&self) -> &[[u8; PLACE_OCTETS]] {
        &self.content.octets()[usize::from(self.message_octets)..].as_chunks().0[..self.record_count()]
    }

    /// Where the first so many records end.
    #[inline]
    fn end_of(&self, records: usize) -> usize {
        let last = records.checked_sub(1).map(|last| Place::of(self.places()[last]));
        usize::from(last.map_or(self.question_end, |last| last.end))
    }

    /// Records in all sections.
    #[inline]
    fn record_count(&self) -> usize {
        self.counts.iter().map(|&count| usize::from(count)).sum()
    }

    /// The message, to be walked. That costs nothing: it was found sound when it was kept.
    #[inline]
    pub fn message(&self) -> Message<'_> {
        Message::parsed_before(self.octets(), self.question_end())
    }

    /// Where the question ends and the records begin.
    pub fn question_end(&self) -> usize {
        usize::from(self.question_end)
    }

    /// Records in the three sections.
    pub fn counts(&self) -> [u16; 3] {
        self.counts
    }

    /// What the upstream answered.
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }

    /// Whether CNAMEs lead from the name asked to another: only then can another source of the view own that one.
    #[inline]
    pub fn has_links(&self) -> bool {
        self.links > 0
    }

    /// The CNAMEs that lead from the name asked onward, in the order of the chain.
    pub fn links(&self) -> impl Iterator<Item = Link> {
        let octets = self.octets();
        let at = usize::from(self.message_octets) + self.record_count() * PLACE_OCTETS;
        let indexes = &self.content.octets()[at..at + usize::from(self.links)];
        indexes.iter().map(|index| {
            let ttl_at = usize::from(Place::of(self.places()[usize::from(*index)]).ttl_at);
            let [ttl @ .., _, _] = *octets[ttl_at..].first_chunk::<6>().expect("the fixed part of a record is whole");
            Link {
                class: u16::from_be_bytes([octets[ttl_at - 2], octets[ttl_at - 1]]),
                ttl_seconds: u32::from_be_bytes(ttl),
                target_at: ttl_at + 6,
            }
        })
    }

    /// Whether CNAMEs lead to a name of which nothing is said, neither its data nor by a SOA that there are none (RFC 2308
    /// section 2.2): the upstream did not follow them.
    pub fn dangles(&self) -> bool {
        self.dangles
    }

    /// Whether it says that there is nothing, or that the upstream failed.
    pub fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// Whether it says that the very name asked does not exist, and not the target of a CNAME.
    pub fn denies_the_name(&self) -> bool {
        self.rcode == Rcode::NXDOMAIN && self.counts[Section::Answer as usize] == 0
    }

    /// How long it may be kept from the moment it was received; 0 is not at all.
    pub fn lifetime(&self) -> Ttl {
        self.lifetime
    }

    /// The same reply, received so many seconds earlier.
    pub(super) fn aged(mut self, seconds: u64) -> Self {
        self.received_at = self.received_at.saturating_sub_unsigned(seconds.saturating_mul(1000));
        self
    }

    /// How old it is; 0 where that moment was before it came.
    #[inline]
    pub(super) fn age_millis(&self, now: Millis) -> u64 {
        u64::try_from((now.0 as i64).saturating_sub(self.received_at)).unwrap_or(0)
    }

    /// Whether it may still be served.
    #[inline]
    pub fn is_fresh(&self, now: Millis) -> bool {
        self.age_millis(now) < u64::from(self.lifetime.seconds()) * 1000
    }

    /// Whether it is being served beyond its lifetime: it was fresh no more, and the cache gave it out all the same
    /// (RFC 8767). What was fetched for a query and has ended since is not stale.
    #[inline]
    pub fn is_stale(&self, now: Millis) -> bool {
        !self.is_fresh(now) && self.stale_until.load(Ordering::Relaxed) != 0
    }

    /// How old it is, as far as its TTLs tell.
    #[inline]
    pub fn age(&self, now: Millis) -> Age {
        if self.is_stale(now) {
            return Age::Stale;
        }
        Age::Seconds(u32::try_from(self.age_millis(now) / 1000).unwrap_or(u32::MAX))
    }

    /// True for one caller in the last tenth of a lifetime of 10 seconds or more: that one is to ask again, so that the
    /// next client does not wait. Never for a failure.
    #[inline]
    pub fn claim_prefetch(&self, now: Millis) -> bool {
        let lifetime_millis = u64::from(self.lifetime.seconds()) * 1000;
        let age_millis = self.age_millis(now);
        // Fresh, and nine tenths of the lifetime are over.
        age_millis < lifetime_millis && age_millis * 10 >= lifetime_millis * 9 && self.claim_prefetch_now()
    }

    /// The same once the moment is right.
    #[cold]
    fn claim_prefetch_now(&self) -> bool {
        self.lifetime.seconds() >= PREFETCH_LIFETIME_MIN
            && self.is_an_answer()
            && !self.prefetch_claimed.load(Ordering::Relaxed)
            && !self.prefetch_claimed.swap(true, Ordering::Relaxed)
    }

    /// Nobody is to ask again before the lifetime ends.
    pub(super) fn forgo_prefetch(&self) {
        self.prefetch_claimed.store(true, Ordering::Relaxed);
    }

    /// Whether the upstream answered, be it that there is nothing; else its rcode is a failure.
    pub fn is_an_answer(&self) -> bool {
        matches!(self.rcode, Rcode::NOERROR | Rcode::NXDOMAIN)
    }

    /// Whether it may be served where nobody can say anything newer: an answer that could be kept, whose lifetime is
    /// not over for longer than that (RFC 8767 section 5: "maximum stale timer").
    pub(super) fn may_be_served_for(&self, now: Millis, stale_seconds: u32) -> bool {
        self.is_an_answer() && self.lifetime > NOT_KEPT && now < self.may_be_served_until(stale_seconds)
    }

    /// When its lifetime has been over for so long.
    pub(super) fn may_be_served_until(&self, stale_seconds: u32) -> Millis {
        let seconds = u64::from(self.lifetime.seconds()) + u64::from(stale_seconds);
        Millis(u64::try_from(self.received_at.saturating_add_unsigned(seconds * 1000)).unwrap_or(0))
    }

    /// Serves it beyond its lifetime, until then without asking again.
    pub(super) fn serve_stale_until(&self, until: Millis) {
        self.stale_until.fetch_max(until.0.max(1), Ordering::Relaxed);
    }

    /// Whether it may be served without asking anybody: it is fresh, or asking has failed a moment ago.
    #[inline]
    pub(super) fn may_be_served(&self, now: Millis) -> bool {
        self.is_fresh(now) || now.0 < self.stale_until.load(Ordering::Relaxed)
    }

    /// When it was received, on the clock of [`Millis`]; negative for a reply of an earlier process.
    pub(super) fn received_at(&self) -> i64 {
        self.received_at
    }

    /// Whether the upstream said that it validated the answer (RFC 4035 section 3.2.3) and could be believed.
    pub fn authentic_data(&self) -> bool {
        self.octets()[3] & FLAG_AD != 0
    }

    /// The records that fit into a message of `octets_max` octets, its header and question included.
    #[inline]
    pub fn fitting(&self, octets_max: usize) -> Fitting<'_> {
        let octets = self.octets();
        if octets.len() <= octets_max {
            return Fitting { records: &octets[self.question_end()..], counts: self.counts, complete: true };
        }
        let count = self.places().partition_point(|place| usize::from(Place::of(*place).end) <= octets_max);
        let mut left = count as u16;
        let counts = self.counts.map(|in_section| {
            let fit = in_section.min(left);
            left -= fit;
            fit
        });
        let records = &octets[self.question_end()..self.end_of(count)];
        Fitting { records, counts, complete: counts[..2] == self.counts[..2] }
    }

    /// Sets the TTLs in a message that begins with header, question and records of this reply, as [`Age::ttl`] says.
    #[inline]
    pub fn write_ttls(&self, message: &mut [u8], age: Age) {
        if age == Age::Seconds(0) {
            return;
        }
        let octets = self.octets();
        for place in self.places().iter().map(|place| Place::of(*place)) {
            if usize::from(place.end) > message.len() {
                return;
            }
            let at = usize::from(place.ttl_at);
            let field = &octets[at..at + 4];
            let ttl = u32::from_be_bytes([field[0], field[1], field[2], field[3]]);
            message[at..at + 4].copy_from_slice(&age.ttl(ttl).to_be_bytes());
        }
    }

    /// Reads something of every line of the processor's caches that serving it will read, none to find the next; what it
    /// comes to means nothing.
    #[inline]
    pub fn touch(&self) -> u8 {
        let of_content = match &self.content {
            Content::Inline(octets) => {
                octets.iter().step_by(CACHE_LINE_OCTETS).fold(0, |touched, octet| touched ^ octet)
            }
            Content::Boxed(octets) => octets.first().map_or(0, |first| first ^ octets[octets.len() / 2]),
        };
        of_content ^ u8::from(self.is_negative)
    }

    /// Octets that it takes in memory, in an `Arc`.
    pub fn octets_held(&self) -> usize {
        let boxed = match &self.content {
            Content::Inline(_) => 0,
            Content::Boxed(octets) => octets.len() + ALLOCATION_OCTETS,
        };
        ARC_OCTETS + size_of::<Self>() + ALLOCATION_OCTETS + boxed
    }
}

impl Content {
    /// The octets, to be written.
    fn octets_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Inline(octets) => octets,
            Self::Boxed(octets) => octets,
        }
    }

    /// The octets, with what stands behind them in an inline buffer.
    #[inline]
    fn octets(&self) -> &[u8] {
        match self {
            Self::Inline(octets) => octets,
            Self::Boxed(octets) => octets,
        }
    }
}

/// What the TTLs of a message come to, while its records are walked in order.
struct Ttls {
    limits: TtlLimits,
    rcode: Rcode,
    qtype: Rtype,
    /// The smallest of the answer section.
    answer: Option<Ttl>,
    /// How long the SOA says that nothing is there, where that is what the message says.
    negative: Option<Ttl>,
    /// Whether the answer section holds a record of the type asked.
    any: bool,
}

impl Ttls {
    /// The TTL of the next record, capped. What others keep after us must not outlive what we keep: the SOA of a
    /// negative reply counts down from the negative TTL, not from its own (RFC 2308 section 5).
    fn limited(&mut self, message: &Message<'_>, record: &Record) -> Ttl {
        let ttl = record.ttl.min(self.limits.ttl_max);
        match record.section {
            Section::Answer => {
                self.any |= record.rtype == self.qtype || self.qtype == Rtype::ANY;
                self.answer = Some(self.answer.map_or(ttl, |smallest| smallest.min(ttl)));
                ttl
            }
            Section::Authority if record.rtype == Rtype::SOA && self.is_negative() && self.negative.is_none() => {
                // The smaller of the SOA's TTL and its MINIMUM (RFC 2308 section 3), capped.
                let minimum = message.rdata(record).last_chunk::<4>().map_or(0, |octets| u32::from_be_bytes(*octets));
                let ttl = record.ttl.min(Ttl::from_wire(minimum)).min(self.limits.negative_ttl_max);
                self.negative = Some(ttl);
                ttl
            }
            Section::Authority | Section::Additional => ttl,
        }
    }

    /// Whether it is NXDOMAIN or NODATA (RFC 2308 sections 2.1 and 2.2); the answer section has been walked.
    fn is_negative(&self) -> bool {
        self.rcode == Rcode::NXDOMAIN || self.rcode == Rcode::NOERROR && !self.any
    }

    /// How long the reply may be kept.
    fn lifetime(&self) -> Ttl {
        if !matches!(self.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
            return self.limits.failure_ttl;
        }
        match (self.negative, self.answer) {
            // A CNAME chain that ends in nothing lives as long as its shortest part.
            (Some(negative), answer) => answer.map_or(negative, |ttl| ttl.min(negative)),
            // A CNAME that the upstream did not follow is no negative answer but all that it has.
            (None, Some(ttl)) if self.rcode == Rcode::NOERROR => ttl,
            // RFC 2308 section 5: without SOA a negative answer is not kept.
            (None, _) => NOT_KEPT,
        }
    }
}

/// The lifetime of what is not kept.
const NOT_KEPT: Ttl = Ttl::from_wire(0);

#[cfg(test)]
mod tests;
