//! `[[profile]]`: what several VPCs are to have in common.

use super::Builder;
use super::document::{Document, Texts};
use super::resolver_tables::ProfileTable;
use super::table::Text;
use crate::aws::profile::PROFILE_PRIORITY;
use crate::aws::{Profile, ProfileAssociation, RuleAction, VpcIndex};
use crate::config::diagnostic::{nearest, quoted};
use crate::dns::Name;
use std::collections::{HashMap, HashSet};

/// The ids of all that profiles share.
pub(super) fn shared_ids(tables: &[ProfileTable<'_>]) -> HashSet<String> {
    let lists = tables.iter().flat_map(|table| [&table.hosted_zones, &table.resolver_rules, &table.vpc_endpoints]);
    lists.flatten().flat_map(|texts| &texts.value).map(|text| text.value.clone().into_owned()).collect()
}

/// What may be shared of one kind: where each stands in the model, by its id; none: it has been refused.
type Shareable<'m> = HashMap<&'m str, Option<usize>>;

/// Something shared, and where the profile names it.
struct Member<'a, 't> {
    index: usize,
    text: &'a Text<'t>,
}

impl<'t> Builder<'t, '_> {
    /// Settles every profile; what it shares has been settled before.
    pub(super) fn settle_profiles(&mut self, document: &Document<'t>) {
        let tables = &document.profiles;
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        let settled = |ids: Vec<Box<str>>| -> HashMap<Box<str>, usize> {
            ids.into_iter().enumerate().map(|(index, id)| (id, index)).collect()
        };
        let zones = settled(self.model.hosted_zones.iter().map(|zone| zone.id.clone()).collect());
        let rules = settled(self.model.resolver_rules.iter().map(|rule| rule.id.clone()).collect());
        let endpoints = settled(self.model.endpoints.iter().map(|endpoint| endpoint.id.clone()).collect());
        let zones = shareable(document.hosted_zones.iter().filter_map(|table| table.id.as_ref()), &zones);
        let rules = shareable(document.resolver_rules.iter().filter_map(|table| table.id.as_ref()), &rules);
        let endpoints = shareable(document.endpoints.iter().filter_map(|table| table.id.as_ref()), &endpoints);
        let mut priorities: HashMap<(VpcIndex, u64), (usize, &str)> = HashMap::new();
        for table in tables {
            let associations = self.profile_associations(table, &mut priorities);
            let zones = self.members(table.hosted_zones.as_ref(), &zones, ("hosted_zones", "hosted zone"), table);
            let rules = self.members(table.resolver_rules.as_ref(), &rules, ("resolver_rules", "rule"), table);
            let endpoints =
                self.members(table.vpc_endpoints.as_ref(), &endpoints, ("vpc_endpoints", "endpoint"), table);
            if [&table.hosted_zones, &table.resolver_rules, &table.vpc_endpoints].into_iter().flatten().next().is_none()
            {
                let warning = self.reading.warning(table.at, &table.label, "the profile shares nothing");
                self.reading
                    .report(warning.hint("name `hosted_zones`, `resolver_rules` or `vpc_endpoints`, or remove it"));
            }
            self.refuse_same_names_in_profile(&zones, &rules, &endpoints, table);
            let Some(id) = &table.id else { continue };
            let indexes = |members: Vec<Member<'_, 't>>| members.into_iter().map(|member| member.index).collect();
            self.model.profiles.push(Profile {
                id: id.value.as_ref().into(),
                hosted_zones: indexes(zones),
                resolver_rules: indexes(rules),
                endpoints: indexes(endpoints),
                associations,
            });
        }
    }

    /// The VPCs that have a profile. Of several profiles of a VPC no two have the same priority (Route 53 Profiles API,
    /// AssociateProfile).
    fn profile_associations<'a>(
        &mut self,
        table: &'a ProfileTable<'t>,
        priorities: &mut HashMap<(VpcIndex, u64), (usize, &'a str)>,
    ) -> Vec<ProfileAssociation> {
        let associations = self.associations(table.vpcs.as_ref(), &table.label, false);
        let mut settled = Vec::with_capacity(associations.len());
        for (vpc, association) in associations {
            let (priority, at) = match association.priority {
                Some(priority) => (priority.value, priority.at),
                None => (PROFILE_PRIORITY, association.at),
            };
            if let Some((other_at, other_label)) = priorities.get(&(vpc, priority)) {
                let id = &self.model.vpc(vpc).id;
                let problem = format!("two profiles of {id} have the priority {priority}");
                let also = self.reading.place(*other_at, *other_label);
                let rule = format!(
                    "at one name the profile with the lowest goes first; where none is written it is {PROFILE_PRIORITY} \
                     (Route 53 Profiles API, AssociateProfile)"
                );
                let hint = format!("write {{ vpc = \"{id}\", priority = {} }}", priority + 1);
                self.reading.report(self.reading.error(at, &table.label, problem).also(also).rule(rule).hint(hint));
            }
            priorities.entry((vpc, priority)).or_insert((at, &table.label));
            settled.push(ProfileAssociation { vpc, priority });
        }
        settled
    }

    /// What a list of a profile names.
    fn members<'a>(
        &mut self,
        texts: Option<&'a Texts<'t>>,
        known: &Shareable<'_>,
        (key, noun): (&str, &str),
        table: &ProfileTable<'t>,
    ) -> Vec<Member<'a, 't>> {
        let mut members: Vec<Member<'a, 't>> = Vec::new();
        let mut seen: HashSet<usize> = HashSet::new();
        for text in texts.map_or(&[][..], |texts| &texts.value) {
            match known.get(text.value.as_ref()) {
                None => {
                    let compared_max = if self.reading.diagnostics.is_crowded() { 0 } else { IDS_COMPARED_MAX };
                    let hint = match nearest(&text.value, known.keys().copied().take(compared_max)) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => "write the `id` of one that is in this file".to_owned(),
                    };
                    let problem = format!("no {noun} has the id {}", quoted(&text.value));
                    self.reading.report(self.reading.error(text.at, &table.label, problem).hint(hint));
                }
                Some(Some(index)) if !seen.insert(*index) => {
                    let problem = format!("{} stands twice in `{key}`", quoted(&text.value));
                    let warning = self.reading.warning(text.at, &table.label, problem);
                    self.reading.report(warning.hint("remove one of them"));
                }
                Some(index) => members.extend(index.map(|index| Member { index, text })),
            }
        }
        members
    }

    /// A profile shares one rule of a domain, and one zone or private name; warns of endpoints that share nothing.
    fn refuse_same_names_in_profile(
        &mut self,
        zones: &[Member<'_, 't>],
        rules: &[Member<'_, 't>],
        endpoints: &[Member<'_, 't>],
        table: &ProfileTable<'t>,
    ) {
        let mut named: Vec<(Name, &Text<'t>)> = Vec::new();
        for member in rules {
            let rule = &self.model.resolver_rules[member.index];
            if !matches!(rule.action, RuleAction::Delegate) {
                named.push((rule.domain.clone(), member.text));
            }
        }
        self.refuse_same_names(&named, "rules for", table);
        named.clear();
        for member in zones {
            named.push((self.model.hosted_zones[member.index].apex.clone(), member.text));
        }
        for member in endpoints {
            let endpoint = &self.model.endpoints[member.index];
            let mut private_names = endpoint.private_names().map(|name| &name.apex).peekable();
            if private_names.peek().is_none() {
                let problem = format!("{} has no private DNS name to share", quoted(&member.text.value));
                let warning = self.reading.warning(member.text.at, &table.label, problem);
                let hint = "set `private_dns = true` there, or take it out of the profile";
                self.reading.report(warning.rule("its own name answers everywhere").hint(hint));
            } else if endpoint.state.has_private_names() {
                named.extend(private_names.map(|apex| (apex.clone(), member.text)));
            }
        }
        self.refuse_same_names(&named, "zones or endpoints that answer", table);
    }

    fn refuse_same_names(&mut self, named: &[(Name, &Text<'t>)], what: &str, table: &ProfileTable<'t>) {
        let mut first: HashMap<&Name, &Text<'t>> = HashMap::new();
        for (name, text) in named {
            let Some(other) = first.insert(name, text) else { continue };
            let problem = format!("the profile shares two {what} `{name}`");
            let also = self.reading.place(other.at, &table.label);
            let error = self.reading.error(text.at, &table.label, problem).also(also);
            let rule = "only one of them can answer in a VPC that has the profile";
            self.reading
                .report(error.rule(rule).hint("remove one of them, or put it into a profile of another priority"));
        }
    }
}

/// Where what is written under these ids stands in the model.
fn shareable<'a, 't: 'a>(
    written: impl Iterator<Item = &'a Text<'t>>,
    settled: &HashMap<Box<str>, usize>,
) -> Shareable<'a> {
    written.map(|id| (id.value.as_ref(), settled.get(id.value.as_ref()).copied())).collect()
}

/// Ids that an unknown one is compared with, which takes a microsecond each.
const IDS_COMPARED_MAX: usize = 1000;
