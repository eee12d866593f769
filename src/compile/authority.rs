//! Claims by view: the one longest match of a VPC (R53:resolver-overview-forward-vpc-to-network-domain-name-matches).

use super::autodefined::Autodefined;
use super::same_az::{SameAzViews, SameAzZones};
use super::view_index;
use crate::aws::{Model, ResolverRule, RuleAction, Vpc, VpcIndex};
use crate::dns::name::name_hash;
use crate::dns::{FoldedName, HashSeed, Name};
use crate::snapshot::authority::{ClaimIndex, TableClaim};
use crate::snapshot::{Authority, AuthorityTable, AuthorityTables, ContextIndex, Ingress, ZoneIndex};
use std::collections::{BTreeMap, HashMap};

/// What every view claims, in the making.
pub(super) struct ClaimsByView<'m> {
    seed: HashSeed,
    views: Vec<ViewClaims<'m>>,
    /// `vpce-…` names: in every view at the rank of autodefined names, whatever the VPC's attributes.
    everywhere: Vec<(Name, Authority)>,
    /// `localhost` and the like: only with `enableDnsHostnames`.
    built_in: Vec<(Name, Authority)>,
    /// What else is autodefined in a region: only with `enableDnsHostnames`.
    regions: BTreeMap<Box<str>, RegionClaims>,
    /// What is different for clients of known Availability Zones.
    same_az: SameAzZones,
}

/// What is autodefined for all VPCs of a region.
struct RegionClaims {
    /// EC2's private names.
    forward: Vec<(Name, Authority)>,
    /// Reverse zones that every VPC has: only with `AutodefinedReverse`.
    reverse: Vec<(Name, Authority)>,
}

/// What one view claims.
struct ViewClaims<'m> {
    index: VpcIndex,
    vpc: &'m Vpc,
    ingress: Ingress,
    /// What is autodefined for this VPC and not for all of its region.
    autodefined: BTreeMap<Name, Authority>,
    /// The domains of public names, as far as the VPC has none there: what the upstream answers, whatever is claimed above.
    carved_out: BTreeMap<Name, Authority>,
    /// Hosted zones and private names.
    zones: BTreeMap<Name, Authority>,
    /// FORWARD rules; on equal length they beat zones.
    forward: BTreeMap<Name, Authority>,
    /// The domains of SYSTEM rules.
    system: Vec<Name>,
}

/// What everyone claims in a region, and the table of it.
struct Base {
    claims: BTreeMap<Name, Authority>,
    table: AuthorityTable,
}

/// The tables of one view.
pub(super) struct ViewTables {
    pub(super) vpc: VpcIndex,
    pub(super) ingress: Ingress,
    pub(super) own: AuthorityTable,
    pub(super) base: AuthorityTable,
}

impl<'m> ClaimsByView<'m> {
    pub(super) fn new(model: &'m Model, seed: HashSeed) -> Self {
        let views = (0..).zip(&model.vpcs).flat_map(|(index, vpc)| {
            INGRESSES.map(|ingress| ViewClaims {
                index: VpcIndex(index),
                vpc,
                ingress,
                autodefined: BTreeMap::new(),
                carved_out: BTreeMap::new(),
                zones: BTreeMap::new(),
                forward: BTreeMap::new(),
                system: Vec::new(),
            })
        });
        let views = views.collect();
        let same_az = SameAzZones::default();
        Self { seed, views, everywhere: Vec::new(), built_in: Vec::new(), regions: BTreeMap::new(), same_az }
    }

    fn view(&mut self, vpc: VpcIndex, ingress: Ingress) -> &mut ViewClaims<'m> {
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

    /// A private name's zone as clients of an Availability Zone see it.
    pub(super) fn same_az(&mut self, availability_zone: &str, zone: ZoneIndex, same: ZoneIndex) {
        self.same_az.add(availability_zone, zone, same);
    }

    /// The same of a `vpce-…` name.
    pub(super) fn same_az_everywhere(
        &mut self,
        availability_zone: &str,
        apex: &Name,
        zone: ZoneIndex,
        same: ZoneIndex,
    ) {
        self.same_az.add_everywhere(availability_zone, apex, zone, same);
    }

    /// The built-in names.
    pub(super) fn built_in(&mut self, zones: Vec<(Name, ZoneIndex)>) {
        self.built_in = authorities(zones);
    }

    /// What is autodefined for all VPCs of a region.
    pub(super) fn region(&mut self, name: &str, forward: Vec<(Name, ZoneIndex)>, reverse: Vec<(Name, ZoneIndex)>) {
        let claims = RegionClaims { forward: authorities(forward), reverse: authorities(reverse) };
        self.regions.insert(name.into(), claims);
    }

    /// What is autodefined for one VPC besides.
    pub(super) fn autodefined(&mut self, vpc: VpcIndex, domain: &Name, zone: ZoneIndex) {
        for ingress in INGRESSES {
            self.view(vpc, ingress).autodefined.insert(domain.clone(), Authority::Zone(zone));
        }
    }

    /// A domain that the upstream answers for, whatever is claimed above it.
    pub(super) fn carved_out(&mut self, vpc: VpcIndex, domain: &Name, zone: ZoneIndex) {
        for ingress in INGRESSES {
            self.view(vpc, ingress).carved_out.insert(domain.clone(), Authority::Zone(zone));
        }
    }

    /// A rule in both views of every VPC it is associated with.
    pub(super) fn resolver_rule(&mut self, rule: &ResolverRule, context: Option<ContextIndex>) {
        for &vpc in &rule.vpcs {
            for ingress in INGRESSES {
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

    /// Makes the tables: claims and whole tables that are equal are made once. The views of Availability Zones come behind
    /// the others.
    pub(super) fn build(
        self,
        upstream: Authority,
        autodefined: &Autodefined,
        same_az_views: &SameAzViews<'_>,
    ) -> (AuthorityTables, Vec<ViewTables>) {
        let mut interner = Interner::new(self.seed);
        let mut bases: HashMap<Option<(&str, bool)>, Base> = HashMap::new();
        let all = self.views.iter().map(|view| (view, None)).chain(same_az_views.iter().map(|(vpc, zone)| {
            let inside = &self.views[view_index(vpc, Ingress::Inside).0 as usize];
            (inside, Some(zone))
        }));
        let views = all.map(|(view, availability_zone)| {
            let region = view.vpc.dns_hostnames.then_some((&*view.vpc.region, view.vpc.autodefined_reverse));
            let base = bases.entry(region).or_insert_with(|| {
                let claims = self.base_claims(region);
                let table = interner.base_table(&claims);
                Base { claims, table }
            });
            let mut claims = view.settle(&base.claims, upstream, autodefined);
            if let Some(availability_zone) = availability_zone {
                self.same_az.put_in(availability_zone, &mut claims, &base.claims);
            }
            let own = interner.table(&claims);
            ViewTables { vpc: view.index, ingress: view.ingress, own, base: base.table }
        });
        let views = views.collect();
        (interner.tables, views)
    }

    /// What everyone claims who has this region and these reverse names; none: who has no autodefined names.
    fn base_claims(&self, region: Option<(&str, bool)>) -> BTreeMap<Name, Authority> {
        let mut claims: BTreeMap<Name, Authority> = self.everywhere.iter().cloned().collect();
        if let Some((name, has_reverse)) = region {
            let region = &self.regions[name];
            let reverse = if has_reverse { &*region.reverse } else { &[] };
            claims.extend(self.built_in.iter().chain(&region.forward).chain(reverse).cloned());
        }
        claims
    }
}

/// Both ways into a VPC.
const INGRESSES: [Ingress; 2] = [Ingress::Inside, Ingress::ViaInbound];

/// Zones as those who answer.
fn authorities(zones: Vec<(Name, ZoneIndex)>) -> Vec<(Name, Authority)> {
    zones.into_iter().map(|(apex, zone)| (apex, Authority::Zone(zone))).collect()
}

impl ViewClaims<'_> {
    /// Rule > hosted zone and private name > autodefined name on equal length; SYSTEM rules as if no FORWARD rule stood
    /// above them.
    fn settle(
        &self,
        base: &BTreeMap<Name, Authority>,
        upstream: Authority,
        autodefined: &Autodefined,
    ) -> BTreeMap<Name, Authority> {
        // Where nothing is claimed above them, public names go to the upstream by themselves.
        let is_claimed = |name: Name| self.zones.contains_key(&name) || self.forward.contains_key(&name);
        let carved_out = self.carved_out.iter().filter(|(domain, _)| ancestors(domain).any(is_claimed));
        let own = self.autodefined.iter().chain(carved_out).chain(&self.zones);
        let mut claims: BTreeMap<Name, Authority> = own.map(|(name, authority)| (name.clone(), *authority)).collect();
        for domain in &self.system {
            let aws_own = ancestors(domain).find_map(|name| self.aws_own(&name, base, autodefined));
            claims.insert(domain.clone(), aws_own.unwrap_or(upstream));
        }
        claims.extend(self.forward.iter().map(|(domain, authority)| (domain.clone(), *authority)));
        claims
    }

    /// Who answers for exactly this suffix where no rule is: hosted zone and private name > autodefined name.
    fn aws_own(&self, suffix: &Name, base: &BTreeMap<Name, Authority>, autodefined: &Autodefined) -> Option<Authority> {
        let written =
            [&self.zones, &self.autodefined, &self.carved_out].into_iter().find_map(|claims| claims.get(suffix));
        let reverse = || autodefined.reverse_zone(self.index, suffix).filter(|_| self.vpc.has_reverse_zones());
        written.copied().or_else(reverse).or_else(|| base.get(suffix).copied())
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
    claims: HashMap<(Name, Authority), TableClaim>,
    made: HashMap<Vec<ClaimIndex>, AuthorityTable>,
}

impl Interner {
    fn new(seed: HashSeed) -> Self {
        let mut tables = AuthorityTables::default();
        let arpa = Name::from_labels([b"arpa".as_slice()]).expect("a short label");
        tables.set_reverse(name_hash(&arpa, seed));
        Self { seed, tables, claims: HashMap::new(), made: HashMap::new() }
    }

    /// The table of these claims, made if no view had the same before.
    fn table(&mut self, claims: &BTreeMap<Name, Authority>) -> AuthorityTable {
        let claims = self.claims(claims);
        let key = claims.iter().map(|claim| claim.claim).collect();
        *self.made.entry(key).or_insert_with(|| self.tables.add_table(&claims))
    }

    /// A table of what everyone claims.
    fn base_table(&mut self, claims: &BTreeMap<Name, Authority>) -> AuthorityTable {
        let claims = self.claims(claims);
        self.tables.add_base_table(&claims)
    }

    fn claims(&mut self, claims: &BTreeMap<Name, Authority>) -> Vec<TableClaim> {
        claims.iter().map(|(name, authority)| self.claim(name, *authority)).collect()
    }

    fn claim(&mut self, suffix: &Name, authority: Authority) -> TableClaim {
        if let Some(known) = self.claims.get(&(suffix.clone(), authority)) {
            return *known;
        }
        let mut folded = FoldedName::default();
        folded.read(suffix.as_wire(), self.seed).expect("a Name is well-formed");
        let labels = folded.label_count();
        let interned = TableClaim {
            claim: self.tables.add_claim(suffix, authority),
            suffix_hash: folded.suffix_hash(labels),
            last_label_hash: folded.suffix_hash(1),
            labels,
        };
        self.claims.insert((suffix.clone(), authority), interned);
        interned
    }
}
