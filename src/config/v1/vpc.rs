//! `[[vpc]]`, and references to VPCs.

use super::Builder;
use super::document::{Texts, VpcTable};
use super::resolver_tables::AssociationTable;
use super::settings::word;
use super::source::At;
use super::table::Text;
use crate::aws::service_name::is_region;
use crate::aws::vpc::CIDRS_MAX;
use crate::aws::{Vpc, VpcIndex};
use crate::config::diagnostic::{nearest, quoted};
use ipnet::IpNet;
use std::collections::HashMap;

impl<'t> Builder<'t, '_> {
    /// Gives every VPC its index under its id and its name: one set without repeats.
    pub(super) fn claim_vpc_names(&mut self, tables: &[VpcTable<'t>]) {
        let mut first_at: HashMap<String, (usize, String)> = HashMap::new();
        for (index, table) in tables.iter().enumerate() {
            self.vpc_places.push((table.at, table.label.clone()));
            for (key, text) in [("id", &table.id), ("name", &table.name)] {
                let Some(text) = text else { continue };
                let own_id = table.id.as_ref().filter(|id| key == "name" && id.value == text.value);
                let taken = first_at.get(text.value.as_ref());
                match taken {
                    Some((at, label)) if own_id.is_none() => {
                        let problem = format!("two VPCs have the id or name {}", quoted(&text.value));
                        let also = self.reading.place(*at, label);
                        let error = self.reading.error(text.at, &table.label, problem).also(also);
                        self.reading.report(error.hint("ids and names of VPCs are one set: change one of them"));
                    }
                    Some(_) => {}
                    None => {
                        self.vpc_indexes.insert(text.value.clone().into_owned(), VpcIndex(index as u32));
                        first_at.insert(text.value.clone().into_owned(), (text.at, table.label.clone()));
                    }
                }
            }
        }
        self.vpc_names = self.vpc_indexes.keys().cloned().collect();
        self.vpc_names.sort_unstable();
    }

    /// Settles every VPC; an unusable part is left out of a model that nobody will get.
    pub(super) fn settle_vpcs(&mut self, tables: &[VpcTable<'t>], region: Option<&Text<'t>>) {
        let default_region = region.map(|region| self.region(region, "the top of the file"));
        for table in tables {
            let region = match (&table.region, &default_region) {
                (Some(region), _) => self.region(region, &table.label),
                (None, Some(region)) => region.clone(),
                (None, None) => {
                    let hint = "add `region = \"ap-northeast-2\"` here, or at the top of the file for all VPCs";
                    let error = self.reading.error(table.at, &table.label, "the VPC has no region");
                    self.reading.report(error.hint(hint));
                    Box::default()
                }
            };
            let cidrs = self.cidrs(table);
            let clients = self.plain_nets(table.clients.as_ref(), &table.label, "clients");
            let own: Vec<IpNet> = cidrs.iter().chain(&clients).copied().collect();
            let subnets = self.subnets(table, &cidrs);
            let vpc = Vpc {
                id: table.id.as_ref().map_or_else(Box::default, |id| id.value.as_ref().into()),
                name: table.name.as_ref().map(|name| name.value.as_ref().into()),
                region,
                owner_id: table.owner_id.as_ref().map(|owner| self.account_id(owner, &table.label, "owner_id")),
                cidrs,
                subnets,
                clients,
                listen: self.listen(table.listen.as_ref(), &table.label),
                allow: self.allow(table.allow.as_ref(), &own, &table.label),
                dns_support: table.dns_support.is_none_or(|on| on.value),
                dns_hostnames: table.dns_hostnames.is_none_or(|on| on.value),
                autodefined_reverse: true,
                dns64: table.enable_dns64.is_some_and(|on| on.value),
            };
            self.model.vpcs.push(vpc);
        }
    }

    /// The CIDR blocks of a VPC; refuses more than AWS allows. Clients of other networks belong into `clients`.
    fn cidrs(&mut self, table: &VpcTable<'t>) -> Vec<IpNet> {
        let cidrs = self.plain_nets(table.cidrs.as_ref(), &table.label, "cidrs");
        let ipv4 = cidrs.iter().filter(|block| matches!(block, IpNet::V4(_))).count();
        for (family, count) in [("IPv4", ipv4), ("IPv6", cidrs.len() - ipv4)] {
            if count > CIDRS_MAX {
                let at = table.cidrs.as_ref().map_or(table.at, |cidrs| cidrs.at);
                let error = self.reading.error(at, &table.label, format!("the VPC has {count} {family} blocks"));
                let rule = format!("AWS allows {CIDRS_MAX} of each family (VPC user guide, amazon-vpc-limits)");
                let hint = "write one block that covers several; networks beside the VPC's own belong into `clients`";
                self.reading.report(error.rule(rule).hint(hint));
            }
        }
        cidrs
    }

    fn plain_nets(&mut self, texts: Option<&Texts<'t>>, label: &str, key: &str) -> Vec<IpNet> {
        self.nets(texts, label, key).into_iter().map(|net| net.value).collect()
    }

    /// Checks that a text has the form of a region's name.
    fn region(&mut self, text: &Text<'t>, label: &str) -> Box<str> {
        if !is_region(&text.value) {
            let problem = format!("{} is not a region", quoted(&text.value));
            self.reading.report(self.reading.error(text.at, label, problem).hint("write it as ap-northeast-2"));
        }
        text.value.as_ref().into()
    }

    /// The VPC that an id or a name stands for; says so where there is none.
    pub(super) fn vpc_index(&mut self, text: &Text<'t>, label: &str) -> Option<VpcIndex> {
        if let Some(index) = self.vpc_indexes.get(text.value.as_ref()) {
            return Some(*index);
        }
        let known = &self.vpc_names;
        let compared_max = if self.reading.diagnostics.is_crowded() { 0 } else { VPCS_COMPARED_MAX };
        let comparable = &known[..known.len().min(compared_max)];
        let hint = match nearest(&text.value, comparable.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if known.is_empty() => "there is no [[vpc]] in this file".to_owned(),
            None if known.len() > VPCS_LISTED_MAX => "write the `id` or the `name` of a [[vpc]]".to_owned(),
            None => format!("the VPCs here are {}", known.join(", ")),
        };
        let problem = format!("no VPC has the id or name {}", quoted(&text.value));
        self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
        None
    }

    /// The VPCs that a hosted zone is associated with, without repeats; warns where there are none, unless a profile
    /// shares it.
    pub(super) fn associated_vpcs(&mut self, texts: Option<&Texts<'t>>, label: &str, is_shared: bool) -> Vec<VpcIndex> {
        let Some(texts) = texts else { return Vec::new() };
        if texts.value.is_empty() && !is_shared {
            self.warn_of_no_vpc(texts.at, label);
        }
        let vpcs = texts.value.iter().map(|text| (text, ())).collect();
        self.without_repeats(vpcs, label).into_iter().map(|(vpc, ())| vpc).collect()
    }

    /// The associations of a rule or a profile that are in force, with what each says; warns where there are none at all,
    /// unless a profile shares it.
    pub(super) fn associations<'a>(
        &mut self,
        tables: Option<&'a At<Vec<AssociationTable<'t>>>>,
        label: &str,
        is_shared: bool,
    ) -> Vec<(VpcIndex, &'a AssociationTable<'t>)> {
        let Some(tables) = tables else { return Vec::new() };
        if tables.value.is_empty() && !is_shared {
            self.warn_of_no_vpc(tables.at, label);
        }
        let mut in_force = Vec::with_capacity(tables.value.len());
        for table in &tables.value {
            let is_in_force = match &table.status {
                Some(status) => word(status, &ASSOCIATION_STATES, &table.label, "status", &mut self.reading),
                None => Some(true),
            };
            if let (Some(vpc), Some(true)) = (&table.vpc, is_in_force) {
                in_force.push((vpc, table));
            }
        }
        self.without_repeats(in_force, label)
    }

    fn warn_of_no_vpc(&mut self, at: usize, label: &str) {
        let warning = self.reading.warning(at, label, "no VPC uses this");
        self.reading.report(warning.hint("name a VPC in `vpcs`, or remove it"));
    }

    /// The VPCs of entries of `vpcs`, each with the first entry that names it.
    fn without_repeats<T>(&mut self, entries: Vec<(&Text<'t>, T)>, label: &str) -> Vec<(VpcIndex, T)> {
        let mut vpcs: Vec<(VpcIndex, T)> = Vec::with_capacity(entries.len());
        let mut seen = std::collections::HashSet::with_capacity(entries.len());
        for (text, what) in entries {
            let Some(vpc) = self.vpc_index(text, label) else { continue };
            match seen.insert(vpc) {
                true => vpcs.push((vpc, what)),
                false => {
                    let problem = format!("{} is the VPC of another entry of `vpcs`", quoted(&text.value));
                    self.reading.report(self.reading.warning(text.at, label, problem).hint("remove one of them"));
                }
            }
        }
        vpcs
    }

    /// Refuses the same prefix in two VPCs, where shared doors must tell their clients apart.
    pub(super) fn settle_same_prefixes(&mut self, tables: &[VpcTable<'t>]) {
        if self.model.shared.listen.is_empty() {
            return;
        }
        let mut claims: HashMap<IpNet, (usize, usize)> = HashMap::new();
        for (index, table) in tables.iter().enumerate() {
            let texts = [&table.cidrs, &table.clients].into_iter().flatten().flat_map(|texts| &texts.value);
            for text in texts {
                let Ok(net) = super::address::parse_net(&text.value) else { continue };
                match claims.get(&net) {
                    Some((other, at)) if *other != index => {
                        let problem = format!("two VPCs claim the clients of {net}");
                        let also = self.reading.place(*at, &tables[*other].label);
                        let rule = "at a shared door ([server] listen) the client's address picks the VPC";
                        let hint = "narrow one of the blocks (a longer one inside a shorter one is fine), or give the \
                                    VPCs doors of their own and remove [server] listen";
                        let error = self.reading.error(text.at, &table.label, problem).also(also).rule(rule);
                        self.reading.report(error.hint(hint));
                    }
                    Some(_) => {}
                    None => {
                        claims.insert(net, (index, text.at));
                    }
                }
            }
        }
    }
}

/// The states of an association of a rule or a profile, and whether it is in force (Route 53 Resolver API,
/// ResolverRuleAssociation; Route 53 Profiles API, ProfileAssociation). One that is being changed was in force before.
const ASSOCIATION_STATES: [(&str, bool); 7] = [
    ("COMPLETE", true),
    ("UPDATING", true),
    ("CREATING", false),
    ("DELETING", false),
    ("DELETED", false),
    ("FAILED", false),
    ("OVERRIDDEN", false),
];
/// Names that an unknown one is compared with, which takes a microsecond each.
const VPCS_COMPARED_MAX: usize = 1000;
/// VPCs that a hint lists by name.
const VPCS_LISTED_MAX: usize = 10;
