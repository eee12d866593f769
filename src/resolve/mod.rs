//! What one query gets in one view. Pure: same snapshot, question, health and random number, same resolution; no I/O, no
//! clock, no log, no allocation.
//!
//! Which source answers is one longest match (`aws-semantics` 1.1, R53:resolver-overview-forward-vpc-to-network-
//! domain-name-matches); a private zone never falls through. CNAMEs of our own zones are followed here, inside the
//! view and across zones; where a chain leaves for others, the resolution says whom to ask for what.

pub mod autodefined;
mod routing_policy;
mod zone;

pub use routing_policy::Several;

use crate::dns::{FoldedName, Rtype};
use crate::snapshot::{Authority, ContextIndex, HealthTable, Located, PolicyIndex, Records, Snapshot, View, Zone};
use autodefined::Computed;
use routing_policy::{Chosen, choose, first_choice, mixed};
use zone::{Found, InView};

/// CNAMEs followed for one query before we give up with SERVFAIL. BIND's and unbound's `max-query-restarts` is 11 too;
/// the RFCs name no number.
pub const CNAME_CHAIN_MAX: usize = 11;

/// What a query gets: the CNAMEs met on the way, then how it ends.
#[derive(Clone, Copy, Debug)]
pub struct Resolution<'s> {
    /// CNAMEs of our own zones, in order.
    pub chain: Chain<'s>,
    /// How it ends; about the last CNAME's target, or the QNAME where there is none.
    pub end: End<'s>,
}

/// CNAME records as templates, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain<'s> {
    links: [&'s [u8]; CNAME_CHAIN_MAX],
    length: usize,
}

impl<'s> Chain<'s> {
    /// The records.
    #[inline]
    pub fn links(&self) -> &[&'s [u8]] {
        &self.links[..self.length]
    }

    /// Adds a record; [`follow`] gives out no more than fit.
    fn push(&mut self, link: &'s [u8]) {
        self.links[self.length] = link;
        self.length += 1;
    }
}

/// How a resolution ends. Every one of these is an answer, not an error.
#[derive(Clone, Copy, Debug)]
pub enum End<'s> {
    /// Records of a zone here.
    Records {
        /// The records.
        records: Records<'s>,
        /// Whose they are.
        zone: &'s Zone,
    },
    /// A record of an autodefined zone here that is computed.
    Computed {
        /// The record.
        record: Computed,
        /// Whose it is.
        zone: &'s Zone,
    },
    /// Sets of a multivalue policy, with their records.
    Several {
        /// The records.
        several: Several<'s>,
        /// Whose they are.
        zone: &'s Zone,
    },
    /// The name exists without that type, or with nothing of it for this region.
    NoData(Negative<'s>),
    /// There is no such name.
    NxDomain(Negative<'s>),
    /// Others are to be asked for the name.
    Forward(ContextIndex),
    /// An alias: others are to be asked for its target, whose records are answered under the alias's own name.
    ForwardAlias {
        /// Whom to ask.
        context: ContextIndex,
        /// The target in wire form.
        target: &'s [u8],
        /// The zone that the alias is in, for the SOA where the target has nothing.
        negative: Negative<'s>,
    },
    /// Nobody here owns the name, and there is no upstream.
    NobodyToAsk,
    /// More than [`CNAME_CHAIN_MAX`] CNAMEs.
    ChainTooLong,
}

/// What a negative answer carries.
#[derive(Clone, Copy, Debug)]
pub struct Negative<'s> {
    /// The zone whose SOA it is.
    pub zone: &'s Zone,
    /// Where the zone's apex begins, counted from the start of the name that was not found.
    pub apex_at: usize,
}

/// Where a question stands when it enters: CNAMEs that others have already added count against the limit.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'q> {
    /// The name.
    pub name: &'q FoldedName,
    /// The type; ANY gets one RRset (RFC 8482 section 4.1).
    pub qtype: Rtype,
    /// CNAMEs before this name.
    pub cnames_before: usize,
}

/// What routing policies choose by.
#[derive(Clone, Copy, Debug)]
pub struct Chance<'h> {
    /// A random number.
    pub pick: u32,
    /// What is healthy now.
    pub health: &'h HealthTable,
}

/// Decides what a query gets, routing policies by `chance`. `located` is [`Snapshot::locate`] of the name; `last` receives
/// the name that the end is about where the chain is not empty.
pub fn resolve<'s>(
    snapshot: &'s Snapshot,
    view: &'s View,
    ask: Ask<'_>,
    located: Located,
    chance: Chance<'_>,
    last: &mut FoldedName,
) -> Resolution<'s> {
    let mut chain = Chain::default();
    let end = follow(snapshot, view, ask, located, || chance, last, |record| chain.push(record));
    Resolution { chain, end }
}

/// The same for whoever has room of its own for the chain: `on_cname` is given each record of it, in order.
///
/// Inlined to the last step, so that what is found need not travel through memory as one enum after another. `chance` is
/// asked only where a routing policy stands.
#[inline(always)]
pub fn follow<'s, 'h>(
    snapshot: &'s Snapshot,
    view: &'s View,
    ask: Ask<'_>,
    mut located: Located,
    chance: impl Fn() -> Chance<'h>,
    last: &mut FoldedName,
    mut on_cname: impl FnMut(&'s [u8]),
) -> End<'s> {
    let mut cnames = 0;
    loop {
        let name = if cnames == 0 { ask.name } else { &*last };
        let target = match step(snapshot, view, name, ask.qtype, located, &chance) {
            Step::End(end) => return end,
            Step::Cname { record, target } => {
                if ask.cnames_before + cnames >= CNAME_CHAIN_MAX {
                    return End::ChainTooLong;
                }
                on_cname(record);
                target
            }
        };
        cnames += 1;
        // Names in our own zones are well-formed; `config` read them.
        if last.read(target, snapshot.seed).is_err() {
            return End::ChainTooLong;
        }
        located = snapshot.locate(view, last);
    }
}

/// One name on the way.
enum Step<'s> {
    /// The way ends here.
    End(End<'s>),
    /// The way goes on.
    Cname {
        /// The record as a template.
        record: &'s [u8],
        /// Its target in wire form.
        target: &'s [u8],
    },
}

/// What the authority of one name says.
#[inline(always)]
fn step<'s, 'h>(
    snapshot: &'s Snapshot,
    view: &'s View,
    name: &FoldedName,
    qtype: Rtype,
    located: Located,
    chance: impl Fn() -> Chance<'h>,
) -> Step<'s> {
    let index = match located.authority {
        Authority::Zone(index) => index,
        Authority::Layered(_) => return layered(snapshot, view, name, qtype, located, chance),
        Authority::Forward(context) => return Step::End(End::Forward(context)),
        Authority::Nothing => return Step::End(End::NobodyToAsk),
    };
    let zone = snapshot.zone(index);
    let apex_at = name.suffix_start(usize::from(zone.apex_labels));
    let negative = Negative { zone, apex_at };
    match zone::lookup(InView { snapshot, view, index, zone }, name, qtype, located.node_hash) {
        Found::Records(records) => Step::End(End::Records { records, zone }),
        Found::Cname { record, target } => Step::Cname { record, target },
        Found::Alias(target) => Step::End(alias(snapshot, view, target, negative)),
        Found::Policy { index, is_cname } => {
            let Chance { pick, health } = chance();
            // Each name its own random number: the choices of a chain of CNAMEs must not follow each other.
            let chance = Chance { pick: mixed(pick ^ located.node_hash as u32), health };
            match first_choice(snapshot, view.region, index, chance) {
                Some(records) if !is_cname => Step::End(End::Records { records, zone }),
                _ => routed(snapshot, view, chance, index, is_cname, negative),
            }
        }
        Found::NoData => Step::End(End::NoData(negative)),
        Found::NxDomain => Step::End(End::NxDomain(negative)),
        Found::Computed(record) => Step::End(End::Computed { record, zone }),
        Found::Elsewhere => Step::End(match view.otherwise {
            Authority::Forward(context) => End::Forward(context),
            Authority::Zone(_) | Authority::Layered(_) | Authority::Nothing => End::NobodyToAsk,
        }),
    }
}

/// What a zone that falls through says of one name, or whoever is beneath it.
#[cold]
fn layered<'s, 'h>(
    snapshot: &'s Snapshot,
    view: &'s View,
    name: &FoldedName,
    qtype: Rtype,
    located: Located,
    chance: impl Fn() -> Chance<'h>,
) -> Step<'s> {
    let authority = authority_beneath(snapshot, view, name, located.authority);
    step(snapshot, view, name, qtype, snapshot.located(authority, name), chance)
}

/// Who answers for `name`: never a zone that falls through and does not have it. A name exists that has data of any type,
/// or names below it, or that a wildcard stands for.
pub fn authority_of(snapshot: &Snapshot, view: &View, name: &FoldedName) -> Authority {
    authority_beneath(snapshot, view, name, snapshot.authority_for(view, name))
}

/// Looks through zones that do not have `name`.
fn authority_beneath(snapshot: &Snapshot, view: &View, name: &FoldedName, mut authority: Authority) -> Authority {
    while let Authority::Layered(index) = authority {
        let layer = snapshot.layer(index);
        let within = InView { snapshot, view, index: layer.zone, zone: snapshot.zone(layer.zone) };
        authority = if zone::has(within, name) { Authority::Zone(layer.zone) } else { layer.beneath };
    }
    authority
}

/// What a routing policy comes to, wherever that is.
#[inline(never)]
fn routed<'s>(
    snapshot: &'s Snapshot,
    view: &View,
    chance: Chance<'_>,
    index: PolicyIndex,
    is_cname: bool,
    negative: Negative<'s>,
) -> Step<'s> {
    match choose(snapshot, view.region, index, chance) {
        Chosen::Records(records) if is_cname => {
            let (record, target) = zone::cname_of(records);
            Step::Cname { record, target }
        }
        Chosen::Records(records) => Step::End(End::Records { records, zone: negative.zone }),
        Chosen::Several(several) => Step::End(End::Several { several, zone: negative.zone }),
        Chosen::Alias(target) => Step::End(alias(snapshot, view, target, negative)),
        // R53:routing-policy-geo calls it "no answer".
        Chosen::Nothing => Step::End(End::NoData(negative)),
    }
}

/// Whom to ask for an alias's target: the rule that covers it, else the upstream.
fn alias<'s>(snapshot: &'s Snapshot, view: &View, target: &'s [u8], negative: Negative<'s>) -> End<'s> {
    let mut name = FoldedName::default();
    let covering = match name.read(target, snapshot.seed) {
        Ok(_) => authority_of(snapshot, view, &name),
        Err(_) => view.otherwise,
    };
    match (covering, view.otherwise) {
        (Authority::Forward(context), _) | (_, Authority::Forward(context)) => {
            End::ForwardAlias { context, target, negative }
        }
        _ => End::NobodyToAsk,
    }
}
