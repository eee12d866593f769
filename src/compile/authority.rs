//! Claims by view: the one longest match of a VPC (R53:resolver-overview-forward-vpc-to-network-domain-name-matches).

use super::autodefined::Autodefined;
use super::profile::{Associated, Profiles};
use super::same_az::{SameAzViews, SameAzZones};
use super::view_index;
use crate::aws::{Delegation, HostedZone, Model, NameServer, ProfileIndex, ResolverRule, Vpc, VpcEndpoint, VpcIndex};
use crate::dns::name::name_hash;
use crate::dns::{FoldedName, HashSeed, Name, TargetGroup, TargetOrder};
use crate::snapshot::authority::{ClaimIndex, TableClaim};
use crate::snapshot::targets::ContextKind;
use crate::snapshot::{
    Authority, AuthorityTable, AuthorityTables, ContextIndex, Ingress, Layer, LayerIndex, NetworksIndex, ZoneIndex,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What every view claims, in the making.
pub(super) struct ClaimsByView<'m> {
    seed: HashSeed,
    views: Vec<ViewClaims<'m>>,
    profiles: Profiles,
    /// `vpce-…` names: in every view at the rank of autodefined names, whatever the VPC's attributes.
    everywhere: Vec<(Name, Authority)>,
    /// `localhost` and the like: only with `enableDnsHostnames`.
    built_in: Vec<(Name, Authority)>,
    /// What else is autodefined in a region: only with `enableDnsHostnames`.
    regions: BTreeMap<Box<str>, RegionClaims>,
    /// Hosted zones that delegate or fall through.
    peculiar: HashMap<ZoneIndex, &'m HostedZone>,
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
    /// What is associated with the VPC itself.
    own: Associated,
    /// The profiles of the VPC, in the order of their priorities.
    profiles: Vec<ProfileIndex>,
}

/// What everyone claims in a region, or in an Availability Zone of it, and the table of it.
struct Base {
    claims: BTreeMap<Name, Authority>,
    table: AuthorityTable,
}

/// What all views claim.
pub(super) struct Authorities {
    pub(super) tables: AuthorityTables,
    pub(super) layers: Vec<Layer>,
    pub(super) of_views: Vec<ViewTables>,
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
        let profiles = Profiles::new(model);
        let views = (0..).zip(&model.vpcs).flat_map(|(index, vpc)| {
            let profiles = profiles.of_vpc(VpcIndex(index));
            INGRESSES.map(|ingress| ViewClaims {
                index: VpcIndex(index),
                vpc,
                ingress,
                autodefined: BTreeMap::new(),
                carved_out: BTreeMap::new(),
                own: Associated::default(),
                profiles: profiles.clone(),
            })
        });
        let views = views.collect();
        Self {
            seed,
            views,
            profiles,
            everywhere: Vec::new(),
            built_in: Vec::new(),
            regions: BTreeMap::new(),
            peculiar: HashMap::new(),
            same_az: SameAzZones::default(),
        }
    }

    fn view(&mut self, vpc: VpcIndex, ingress: Ingress) -> &mut ViewClaims<'m> {
        &mut self.views[view_index(vpc, ingress).0 as usize]
    }

    /// A hosted zone in every VPC and profile that it is associated with.
    pub(super) fn hosted_zone(&mut self, number: usize, hosted_zone: &'m HostedZone, zone: ZoneIndex) {
        if hosted_zone.falls_through || !hosted_zone.delegations.is_empty() {
            self.peculiar.insert(zone, hosted_zone);
        }
        for ingress in INGRESSES {
            for &vpc in &hosted_zone.vpcs {
                self.view(vpc, ingress).own.add_hosted_zone(hosted_zone, zone);
            }
            for associated in self.profiles.with_hosted_zone(number, ingress) {
                associated.add_hosted_zone(hosted_zone, zone);
            }
        }
    }

    /// Whether anybody sees the private names of an endpoint.
    pub(super) fn has_private_names(&mut self, number: usize, endpoint: &VpcEndpoint) -> bool {
        let own = self.view(endpoint.vpc, Ingress::Inside).vpc.dns_hostnames;
        own || self.profiles.with_endpoint(number, Ingress::Inside).next().is_some()
    }

    /// A private name in the VPC of its endpoint and the profiles that share it.
    pub(super) fn private_name(
        &mut self,
        number: usize,
        endpoint: &VpcEndpoint,
        ingress: Ingress,
        apex: &Name,
        zone: ZoneIndex,
    ) {
        self.view(endpoint.vpc, ingress).own.zones.insert(apex.clone(), zone);
        for associated in self.profiles.with_endpoint(number, ingress) {
            associated.zones.insert(apex.clone(), zone);
        }
    }

    /// A `vpce-…` name.
    pub(super) fn everywhere(&mut self, apex: &Name, zone: ZoneIndex) {
        self.everywhere.push((apex.clone(), Authority::Zone(zone)));
    }

    /// A zone as clients of an Availability Zone see it.
    pub(super) fn same_az(&mut self, availability_zone: &str, zone: ZoneIndex, same: ZoneIndex) {
        self.same_az.add(availability_zone, zone, same);
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

    /// A rule in both views of every VPC, and in every profile, that it is associated with.
    pub(super) fn resolver_rule(&mut self, number: usize, rule: &ResolverRule, context: Option<ContextIndex>) {
        for ingress in INGRESSES {
            for &vpc in &rule.vpcs {
                self.view(vpc, ingress).own.add_rule(rule, context);
            }
            for associated in self.profiles.with_resolver_rule(number, ingress) {
                associated.add_rule(rule, context);
            }
        }
    }

    /// Makes the tables: claims and whole tables that are equal are made once. The views of Availability Zones come behind
    /// the others. `delegated` gives the context of a delegation to these targets.
    pub(super) fn build(
        self,
        upstream: Authority,
        autodefined: &Autodefined,
        same_az_views: &SameAzViews<'_>,
        mut delegated: impl FnMut(ContextKind, TargetGroup) -> ContextIndex,
    ) -> Authorities {
        let mut interner = Interner::new(self.seed);
        // With the Availability Zone of their clients, as in [`Decisive`]: what everyone claims is the same in all VPCs.
        let mut bases: HashMap<(RegionOf<'_>, Option<&str>), Base> = HashMap::new();
        let mut layers = Layers::default();
        let mut settled: HashMap<Decisive<'_>, AuthorityTable> = HashMap::new();
        let depend_on_ingress: Vec<bool> =
            self.profiles.all().map(|profile| self.profiles.depends_on_ingress(profile)).collect();
        let of_profiles_by_ingress = |view: &ViewClaims<'_>| {
            let depends = view.profiles.iter().any(|profile| depend_on_ingress[profile.0 as usize]);
            depends.then_some(view.ingress)
        };
        let of_zones = same_az_views.iter().map(|(vpc, availability_zone)| {
            (&self.views[view_index(vpc, Ingress::Inside).0 as usize], Some(availability_zone))
        });
        let all = self.views.iter().map(|view| (view, None)).chain(of_zones);
        let views = all.map(|(view, availability_zone)| {
            let region = view.vpc.dns_hostnames.then_some((&*view.vpc.region, view.vpc.autodefined_reverse));
            let base = bases.entry((region, availability_zone)).or_insert_with(|| {
                let mut claims = self.base_claims(region);
                if let Some(availability_zone) = availability_zone {
                    self.same_az.put_in(availability_zone, &mut claims);
                }
                let table = interner.base_table(&claims);
                Base { claims, table }
            });
            let of_profiles = view.profiles.iter().map(|profile| self.profiles.associated(*profile, view.ingress));
            let sources: Vec<&Associated> = std::iter::once(&view.own).chain(of_profiles).collect();
            let leads_back = view.vpc.has_reverse_zones() && sources.iter().any(|source| source.leads_back());
            let decisive = Decisive {
                region,
                blocks: leads_back.then_some(autodefined.of_vpcs[view.index.0 as usize]),
                view: (&view.autodefined, &view.carved_out, &view.own),
                profiles: (&view.profiles, of_profiles_by_ingress(view)),
                availability_zone,
            };
            let own = *settled.entry(decisive).or_insert_with(|| {
                let settling = Settling {
                    view,
                    sources,
                    base: &base.claims,
                    autodefined,
                    upstream,
                    peculiar: &self.peculiar,
                    layers: &mut layers,
                    looked_through: Vec::new(),
                };
                let mut claims = settling.claims(&mut delegated);
                if let Some(availability_zone) = availability_zone {
                    self.same_az.put_in(availability_zone, &mut claims);
                }
                interner.table(&claims)
            });
            ViewTables { vpc: view.index, ingress: view.ingress, own, base: base.table }
        });
        let of_views = views.collect();
        Authorities { tables: interner.tables, layers: layers.made, of_views }
    }

    /// What everyone claims who has the autodefined names of this region.
    fn base_claims(&self, region: RegionOf<'_>) -> BTreeMap<Name, Authority> {
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
pub(super) const INGRESSES: [Ingress; 2] = [Ingress::Inside, Ingress::ViaInbound];

/// Zones as those who answer.
fn authorities(zones: Vec<(Name, ZoneIndex)>) -> Vec<(Name, Authority)> {
    zones.into_iter().map(|(apex, zone)| (apex, Authority::Zone(zone))).collect()
}

/// The region whose autodefined names a VPC has, and whether it has reverse ones; none: it has no autodefined names.
type RegionOf<'a> = Option<(&'a str, bool)>;

/// All that decides what a view claims: where it is the same for many VPCs, it is settled once.
#[derive(PartialEq, Eq, Hash)]
struct Decisive<'a> {
    region: RegionOf<'a>,
    /// The blocks whose reverse zones it may lead back to.
    blocks: Option<NetworksIndex>,
    view: (&'a BTreeMap<Name, Authority>, &'a BTreeMap<Name, Authority>, &'a Associated),
    /// The profiles, and if any of them shares something with only one of both ways in, which this is.
    profiles: (&'a [ProfileIndex], Option<Ingress>),
    /// Where its clients are, if that makes a difference.
    availability_zone: Option<&'a str>,
}

/// One view while its claims are settled.
struct Settling<'a, 'm> {
    view: &'a ViewClaims<'m>,
    /// What is associated with the VPC, then with its profiles: on equal length the first wins (R53:profiles).
    sources: Vec<&'a Associated>,
    base: &'a BTreeMap<Name, Authority>,
    autodefined: &'a Autodefined,
    upstream: Authority,
    peculiar: &'a HashMap<ZoneIndex, &'m HostedZone>,
    layers: &'a mut Layers,
    /// Zones that fall through, while it is found out what is beneath them.
    looked_through: Vec<ZoneIndex>,
}

impl Settling<'_, '_> {
    /// Who answers for each suffix that the view claims beyond what everyone does.
    fn claims(
        mut self,
        delegated: &mut impl FnMut(ContextKind, TargetGroup) -> ContextIndex,
    ) -> BTreeMap<Name, Authority> {
        let mut claims: BTreeMap<Name, Authority> = BTreeMap::new();
        for index in 0..self.sources.len() {
            let source = self.sources[index];
            for suffix in source.zones.keys().chain(source.forward.keys()).chain(&source.system) {
                // A zone that the view does not see is no claim.
                if let Some(authority) = (!claims.contains_key(suffix)).then(|| self.claimed(suffix)).flatten() {
                    claims.insert(suffix.clone(), authority);
                }
            }
        }
        // Where nothing is claimed above them, public names go to the upstream by themselves.
        let is_claimed = |name: &Name| {
            let mut sources = self.sources.iter();
            sources.any(|source| source.zones.contains_key(name) || source.forward.contains_key(name))
        };
        let carved_out = self.view.carved_out.iter();
        let carved_out = carved_out.filter(|(domain, _)| ancestors(domain).any(|name| is_claimed(&name)));
        for (domain, authority) in self.view.autodefined.iter().chain(carved_out) {
            claims.entry(domain.clone()).or_insert(*authority);
        }
        self.delegate(&mut claims, delegated);
        claims
    }

    /// Who claims exactly this suffix: rule > hosted zone and private name, and what is associated with the VPC before what
    /// its profiles bring.
    fn claimed(&mut self, suffix: &Name) -> Option<Authority> {
        for index in 0..self.sources.len() {
            let source = self.sources[index];
            if let Some(context) = source.forward.get(suffix) {
                return Some(Authority::Forward(*context));
            }
            if source.system.contains(suffix) {
                return Some(self.as_aws_itself(suffix));
            }
            if let Some(zone) = self.visible_zone(source, suffix) {
                return Some(self.zone(zone, |this| this.longest(suffix)));
            }
        }
        None
    }

    /// Who answers for this suffix: the longest match, and on equal length whoever claims it > autodefined name.
    fn longest(&mut self, suffix: &Name) -> Authority {
        let matches = |suffix: Name| self.claimed(&suffix).or_else(|| self.autodefined(&suffix));
        ancestors(suffix).find_map(matches).unwrap_or(self.upstream)
    }

    /// The same as if there were no rules: what a SYSTEM rule goes back to.
    fn as_aws_itself(&mut self, suffix: &Name) -> Authority {
        for ancestor in ancestors(suffix) {
            let zone = self.sources.iter().find_map(|source| self.visible_zone(source, &ancestor));
            if let Some(zone) = zone {
                return self.zone(zone, |this| this.as_aws_itself(suffix));
            }
            if let Some(authority) = self.autodefined(&ancestor) {
                return authority;
            }
        }
        self.upstream
    }

    /// The zone of a source that has exactly this apex, if the view sees it.
    fn visible_zone(&self, source: &Associated, apex: &Name) -> Option<ZoneIndex> {
        let zone = source.zones.get(apex).copied().filter(|_| self.view.vpc.dns_hostnames)?;
        (!self.looked_through.contains(&zone)).then_some(zone)
    }

    /// A zone as it answers: if it falls through, with what is beneath it.
    fn zone(&mut self, zone: ZoneIndex, beneath: impl FnOnce(&mut Self) -> Authority) -> Authority {
        if !self.peculiar.get(&zone).is_some_and(|hosted_zone| hosted_zone.falls_through) {
            return Authority::Zone(zone);
        }
        self.looked_through.push(zone);
        let beneath = beneath(self);
        self.looked_through.pop();
        Authority::Layered(self.layers.index(Layer { zone, beneath }))
    }

    /// What is autodefined for exactly this suffix.
    fn autodefined(&self, suffix: &Name) -> Option<Authority> {
        let written = self.view.autodefined.get(suffix).or_else(|| self.view.carved_out.get(suffix));
        let reverse = || {
            let zone = self.autodefined.reverse_zone(self.view.index, suffix);
            zone.filter(|_| self.view.vpc.has_reverse_zones())
        };
        written.copied().or_else(reverse).or_else(|| self.base.get(suffix).copied())
    }

    /// Leaves to their name servers what zones delegate, where a DELEGATE rule covers these and the zone itself would
    /// answer (R53:outbound-delegation-tutorial). What anybody else claims is not the zone's to delegate, nor is what is
    /// below another delegation. Zones that fall through stay before what is delegated, as they stood before the zone.
    fn delegate(
        &mut self,
        claims: &mut BTreeMap<Name, Authority>,
        delegated: &mut impl FnMut(ContextKind, TargetGroup) -> ContextIndex,
    ) {
        if self.sources.iter().all(|source| source.delegation_records.is_empty()) {
            return;
        }
        let zones: BTreeSet<ZoneIndex> = claims.values().flat_map(|authority| self.layers.zones(*authority)).collect();
        let zones = zones.into_iter().filter_map(|zone| Some((zone, *self.peculiar.get(&zone)?)));
        let mut delegations: Vec<_> = zones
            .flat_map(|(zone, hosted_zone)| hosted_zone.delegations.iter().map(move |one| (zone, hosted_zone, one)))
            .collect();
        delegations.sort_by_key(|(zone, _, delegation)| (delegation.owner.label_count(), *zone));
        let mut made = Delegated::new();
        for (zone, hosted_zone, Delegation { owner, name_servers }) in delegations {
            let covered: Vec<&NameServer> =
                name_servers.iter().filter(|server| self.covers_name_server(&server.name)).collect();
            // A SYSTEM rule of the same name takes it out.
            if covered.is_empty() || self.has_system_rule(owner) {
                continue;
            }
            let claimed = ancestors(owner).find_map(|name| {
                let authority = claims.get(&name).copied().or_else(|| self.autodefined(&name))?;
                Some((name, authority))
            });
            let answers = claimed.map(|(name, authority)| self.leading_to(&made, &name, authority));
            let Some(answers) = answers.filter(|authority| self.layers.zones(*authority).any(|other| other == zone))
            else {
                continue;
            };
            let targets = covered.iter().flat_map(|server| &server.targets).take(DELEGATION_TARGETS_MAX);
            let group = TargetGroup { targets: targets.cloned().collect(), order: TargetOrder::default() };
            let kind = ContextKind::Delegation { zone: hosted_zone.id.clone(), owner: owner.clone() };
            let asked = Authority::Forward(delegated(kind, group));
            claims.insert(owner.clone(), self.layers.with(answers, zone, asked));
            made.insert(owner, (zone, asked));
        }
        for (suffix, authority) in claims {
            *authority = self.leading_to(&made, suffix, *authority);
        }
    }

    /// Whoever claims this suffix; zones that fall through with what is delegated above them in the place of the zone that
    /// delegates it, unless a SYSTEM rule stands between.
    fn leading_to(&mut self, made: &Delegated<'_>, suffix: &Name, authority: Authority) -> Authority {
        let Authority::Layered(_) = authority else { return authority };
        let above = ancestors(suffix).take_while(|name| !self.has_system_rule(name));
        let above: Vec<_> = above.filter_map(|name| made.get(&name).copied()).collect();
        above.into_iter().fold(authority, |authority, (zone, asked)| self.layers.with(authority, zone, asked))
    }

    /// Whether a SYSTEM rule has exactly this domain.
    fn has_system_rule(&self, domain: &Name) -> bool {
        self.sources.iter().any(|source| source.system.contains(domain))
    }

    /// Whether a DELEGATE rule covers this name server.
    fn covers_name_server(&self, name: &Name) -> bool {
        ancestors(name).any(|name| self.sources.iter().any(|source| source.delegation_records.contains(&name)))
    }
}

/// What is delegated, by its owner: the zone that does, and who is asked instead.
type Delegated<'m> = BTreeMap<&'m Name, (ZoneIndex, Authority)>;

/// Addresses of one delegation that are asked: as many as a rule may have targets (Developer Guide, DNSLimitations).
const DELEGATION_TARGETS_MAX: usize = 6;

/// Layers in the making, equal ones once.
#[derive(Default)]
struct Layers {
    made: Vec<Layer>,
    indexes: HashMap<Layer, LayerIndex>,
}

impl Layers {
    fn index(&mut self, layer: Layer) -> LayerIndex {
        let next = LayerIndex(u32::try_from(self.made.len()).expect("fewer layers than 2^32"));
        *self.indexes.entry(layer).or_insert_with(|| {
            self.made.push(layer);
            next
        })
    }

    /// The zone that answers first, if it is one.
    fn zone_of(&self, authority: Authority) -> Option<ZoneIndex> {
        match authority {
            Authority::Zone(zone) => Some(zone),
            Authority::Layered(index) => Some(self.made[index.0 as usize].zone),
            Authority::Forward(_) | Authority::Nothing => None,
        }
    }

    /// The zones that may answer: the one that answers first, then those beneath it.
    fn zones(&self, authority: Authority) -> impl Iterator<Item = ZoneIndex> {
        let beneath = |authority: &Authority| match authority {
            Authority::Layered(index) => Some(self.made[index.0 as usize].beneath),
            Authority::Zone(_) | Authority::Forward(_) | Authority::Nothing => None,
        };
        std::iter::successors(Some(authority), beneath).filter_map(|authority| self.zone_of(authority))
    }

    /// The same with another in the place of this zone and of what is beneath it.
    fn with(&mut self, authority: Authority, zone: ZoneIndex, other: Authority) -> Authority {
        if self.zone_of(authority) == Some(zone) {
            return other;
        }
        let Authority::Layered(index) = authority else { return authority };
        let layer = self.made[index.0 as usize];
        let beneath = self.with(layer.beneath, zone, other);
        Authority::Layered(self.index(Layer { beneath, ..layer }))
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
