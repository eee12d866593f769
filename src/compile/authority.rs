//! Claims by view: the one longest match of a VPC (R53:resolver-overview-forward-vpc-to-network-domain-name-matches).

use super::view_index;
use crate::aws::{Model, ResolverRule, RuleAction, VpcIndex};
use crate::dns::name::name_hash;
use crate::dns::{HashSeed, Name};
use crate::snapshot::authority::ClaimIndex;
use crate::snapshot::{Authority, AuthorityTable, AuthorityTables, ContextIndex, Ingress, ZoneIndex};
use std::collections::{BTreeMap, HashMap};

/// What every view claims, in the making.
pub(super) struct ClaimsByView {
    seed: HashSeed,
    views: Vec<ViewClaims>,
    /// `vpce-…` names: in every view at built-in rank, whatever the VPC's attributes.
    everywhere: Vec<(Name, Authority)>,
    /// `localhost` and the like: only with `enableDnsHostnames`.
    built_in: Vec<(Name, Authority)>,
}

/// What one view claims.
struct ViewClaims {
    vpc: VpcIndex,
    ingress: Ingress,
    dns_hostnames: bool,
    /// Hosted zones and private names.
    zones: BTreeMap<Name, Authority>,
    /// FORWARD rules; on equal length they beat zones.
    forward: BTreeMap<Name, Authority>,
    /// The domains of SYSTEM rules.
    system: Vec<Name>,
}

/// The tables of one view.
pub(super) struct ViewTables {
    pub(super) vpc: VpcIndex,
    pub(super) ingress: Ingress,
    pub(super) own: AuthorityTable,
    pub(super) base: AuthorityTable,
}

impl ClaimsByView {
    pub(super) fn new(model: &Model, seed: HashSeed) -> Self {
        let views = (0..).zip(&model.vpcs).flat_map(|(index, vpc)| {
            [Ingress::Inside, Ingress::ViaInbound].map(|ingress| ViewClaims {
                vpc: VpcIndex(index),
                ingress,
                dns_hostnames: vpc.dns_hostnames,
                zones: BTreeMap::new(),
                forward: BTreeMap::new(),
                system: Vec::new(),
            })
        });
        Self { seed, views: views.collect(), everywhere: Vec::new(), built_in: Vec::new() }
    }

    fn view(&mut self, vpc: VpcIndex, ingress: Ingress) -> &mut ViewClaims {
        &mut self.views[view_index(vpc, ingress).0 as usize]
    }

    /// A hosted zone or private name in one view.
    pub(super) fn zone(&mut self, vpc: VpcIndex, ingress: Ingress, apex: &Name, zone: ZoneIndex) {
        self.view(vpc, ingress).zones.insert(apex.clone(), Authority::Zone(zone));
    }

    /// A `vpce-…` name.
    pub(super) fn everywhere(&mut self, apex: &Name, zone: ZoneIndex) {
        self.everywhere.push((apex.clone(), Authority::Zone(zone)));
    }

    /// The built-in names.
    pub(super) fn built_in(&mut self, zones: Vec<(Name, ZoneIndex)>) {
        self.built_in = zones.into_iter().map(|(apex, zone)| (apex, Authority::Zone(zone))).collect();
    }

    /// A rule in both views of every VPC it is associated with.
    pub(super) fn resolver_rule(&mut self, rule: &ResolverRule, context: Option<ContextIndex>) {
        for &vpc in &rule.vpcs {
            for ingress in [Ingress::Inside, Ingress::ViaInbound] {
                let view = self.view(vpc, ingress);
                match (&rule.action, context) {
                    (RuleAction::Forward(_), Some(context)) => {
                        view.forward.insert(rule.domain.clone(), Authority::Forward(context));
                    }
                    _ => view.system.push(rule.domain.clone()),
                }
            }
        }
    }

    /// Makes the tables: claims and whole tables that are equal are made once.
    pub(super) fn build(self, upstream: Authority) -> (AuthorityTables, Vec<ViewTables>) {
        let mut interner = Interner::new(self.seed);
        let all: BTreeMap<Name, Authority> = self.everywhere.iter().chain(&self.built_in).cloned().collect();
        let only_endpoints: BTreeMap<Name, Authority> = self.everywhere.into_iter().collect();
        let base_with_built_in = interner.table(&all);
        let base_without = interner.table(&only_endpoints);
        let views = self.views.into_iter().map(|view| {
            let (base_claims, base) =
                if view.dns_hostnames { (&all, base_with_built_in) } else { (&only_endpoints, base_without) };
            let own = interner.table(&view.settle(base_claims, upstream));
            ViewTables { vpc: view.vpc, ingress: view.ingress, own, base }
        });
        let views = views.collect();
        (interner.tables, views)
    }
}

impl ViewClaims {
    /// Rule > hosted zone and private name on equal length; SYSTEM rules as if no FORWARD rule stood above them.
    fn settle(&self, base: &BTreeMap<Name, Authority>, upstream: Authority) -> BTreeMap<Name, Authority> {
        let mut claims = self.zones.clone();
        for domain in &self.system {
            let aws_own = ancestors(domain).find_map(|name| self.zones.get(&name).or_else(|| base.get(&name)));
            claims.insert(domain.clone(), aws_own.copied().unwrap_or(upstream));
        }
        claims.extend(self.forward.iter().map(|(domain, authority)| (domain.clone(), *authority)));
        claims
    }
}

/// A name and its ancestors up to the root.
fn ancestors(name: &Name) -> impl Iterator<Item = Name> {
    std::iter::successors(Some(name.clone()), Name::parent)
}

/// Tables in the making, with what has been made before.
struct Interner {
    seed: HashSeed,
    tables: AuthorityTables,
    claims: HashMap<(Name, Authority), InternedClaim>,
    made: HashMap<Vec<ClaimIndex>, AuthorityTable>,
}

/// A claim with what a table needs to place it: hash and label count of its suffix.
type InternedClaim = (ClaimIndex, u64, usize);

impl Interner {
    fn new(seed: HashSeed) -> Self {
        Self { seed, tables: AuthorityTables::default(), claims: HashMap::new(), made: HashMap::new() }
    }

    /// The table of these claims, made if no view had the same before.
    fn table(&mut self, claims: &BTreeMap<Name, Authority>) -> AuthorityTable {
        let claims: Vec<InternedClaim> = claims.iter().map(|(name, authority)| self.claim(name, *authority)).collect();
        let key = claims.iter().map(|(index, ..)| *index).collect();
        *self.made.entry(key).or_insert_with(|| self.tables.add_table(&claims))
    }

    fn claim(&mut self, suffix: &Name, authority: Authority) -> InternedClaim {
        if let Some(known) = self.claims.get(&(suffix.clone(), authority)) {
            return *known;
        }
        let index = self.tables.add_claim(suffix, authority);
        let interned = (index, name_hash(suffix, self.seed), suffix.label_count());
        self.claims.insert((suffix.clone(), authority), interned);
        interned
    }
}
