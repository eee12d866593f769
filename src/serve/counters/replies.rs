//! Replies, by where they came from and what they say.

use super::{AddTo, Counter, Counters};
use crate::dns::Rcode;
use crate::serve::handle::{Reply, Source};
use crate::serve::refusal::Refusal;
use crate::snapshot::ZoneKind;

/// Where a reply came from, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplySource {
    /// A private hosted zone.
    HostedZone,
    /// The private DNS names of an endpoint.
    PrivateName,
    /// The `vpce-…` names of an endpoint.
    EndpointName,
    /// `localhost` and the other built-in names, and what we say ourselves to ANY.
    BuiltIn,
    /// EC2's names and the reverse zones of a VPC's addresses.
    Autodefined,
    /// What an upstream said before, or that it failed.
    Cache,
    /// The same, beyond its lifetime.
    Stale,
    /// What an upstream said to this question, or that it failed.
    Forward,
    /// Nobody: see [`Refusal`].
    Refused,
    /// Nobody: the query was not well-formed.
    Malformed,
}

/// When a reply was found, by which what was kept differs from what was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    AtOnce,
    /// After others had been asked.
    Later,
}

impl ReplySource {
    /// How many there are.
    pub const COUNT: usize = Self::Malformed as usize + 1;

    /// Each with its name in metrics, in their order.
    pub const NAMED: [(Self, &'static str); Self::COUNT] = [
        (Self::HostedZone, "hosted_zone"),
        (Self::PrivateName, "private_name"),
        (Self::EndpointName, "endpoint_name"),
        (Self::BuiltIn, "built_in"),
        (Self::Autodefined, "autodefined"),
        (Self::Cache, "cache"),
        (Self::Stale, "stale"),
        (Self::Forward, "forward"),
        (Self::Refused, "refused"),
        (Self::Malformed, "malformed"),
    ];

    /// Where a reply came from.
    #[inline]
    pub fn of(reply: &Reply, when: When) -> Self {
        match reply.source {
            _ if reply.stale => Self::Stale,
            // In the order of the kinds of zones, so that this takes no table.
            Source::Zone(ZoneKind::HostedZone) => Self::HostedZone,
            Source::Zone(ZoneKind::PrivateName) => Self::PrivateName,
            Source::Zone(ZoneKind::EndpointName) => Self::EndpointName,
            Source::Zone(ZoneKind::BuiltIn) | Source::Ourselves => Self::BuiltIn,
            Source::Zone(ZoneKind::Autodefined) => Self::Autodefined,
            Source::Forward if when == When::AtOnce => Self::Cache,
            Source::Forward => Self::Forward,
            Source::Refused(_) => Self::Refused,
            Source::Malformed => Self::Malformed,
        }
    }
}

/// The names of rcodes in metrics: the first ones by their number, then all others.
pub const RCODES: [&str; 7] = ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "other"];

/// Replies of each source by rcode, and those that are refusals by reason too.
#[derive(Debug, Default)]
pub struct Replies {
    by_source: [Counters<{ RCODES.len() }>; ReplySource::COUNT],
    refusals: Counters<{ Refusal::COUNT }>,
}

impl Replies {
    /// Counts a reply; `add_to` is how: alone at the counters, or among others. Returns what it was counted as.
    #[inline]
    pub fn count_reply(&self, reply: &Reply, when: When, add_to: AddTo) -> ReplySource {
        let source = ReplySource::of(reply, when);
        self.count(source, reply.rcode, add_to);
        if let Source::Refused(refusal) = reply.source {
            add_to(self.refusals.at(refusal as usize), 1);
        }
        source
    }

    /// Counts a reply of this source with this rcode.
    #[inline]
    pub fn count(&self, source: ReplySource, rcode: Rcode, add_to: AddTo) {
        add_to(self.by_source[source as usize].at(usize::from(rcode.0)), 1);
    }

    /// Replies of a source by rcode, as in [`RCODES`].
    pub fn by_rcode(&self, source: ReplySource) -> &[Counter] {
        self.by_source[source as usize].all()
    }

    /// Replies of a source.
    pub fn from_source(&self, source: ReplySource) -> u64 {
        self.by_source[source as usize].sum()
    }

    /// Replies with the rcode of this name.
    pub fn with_rcode(&self, name: &str) -> u64 {
        let rcode = RCODES.iter().position(|rcode| *rcode == name);
        rcode.map_or(0, |rcode| self.by_source.iter().map(|of_source| of_source.at(rcode).get()).sum())
    }

    /// Replies that refuse for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refusals.at(why as usize).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_named_in_its_place_and_every_rcode_is_counted_under_its_name() {
        assert!(ReplySource::NAMED.iter().enumerate().all(|(index, (source, _))| *source as usize == index));
        let rcodes = [Rcode::NOERROR, Rcode::FORMERR, Rcode::SERVFAIL, Rcode::NXDOMAIN, Rcode::NOTIMP, Rcode::REFUSED];
        for (rcode, name) in rcodes
            .into_iter()
            .chain([Rcode(6), Rcode::BADVERS, Rcode(4095)])
            .zip(["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "other", "other", "other"])
        {
            let replies = Replies::default();
            replies.count(ReplySource::Forward, rcode, Counter::add);
            assert_eq!((replies.with_rcode(name), replies.from_source(ReplySource::Forward)), (1, 1), "{rcode:?}");
        }
    }

    #[test]
    fn a_reply_is_counted_once_and_a_refusal_with_its_reason() {
        let reply = |rcode, source| Reply { octets: 12, rcode, truncated: false, bounded: false, stale: false, source };
        let replies = Replies::default();
        let count = |reply: &Reply, when| replies.count_reply(reply, when, Counter::add_shared);
        let refused = reply(Rcode::SERVFAIL, Source::Refused(Refusal::InFlightLimit));
        assert_eq!(count(&refused, When::AtOnce), ReplySource::Refused);
        let forwarded = reply(Rcode::NOERROR, Source::Forward);
        assert_eq!(count(&forwarded, When::AtOnce), ReplySource::Cache);
        assert_eq!(count(&forwarded, When::Later), ReplySource::Forward);
        assert_eq!(count(&Reply { stale: true, ..forwarded }, When::AtOnce), ReplySource::Stale);
        let counted: u64 = ReplySource::NAMED.into_iter().map(|(source, _)| replies.from_source(source)).sum();
        assert_eq!((counted, replies.refused(Refusal::InFlightLimit), replies.refused(Refusal::NotAllowed)), (4, 1, 0));
    }
}
