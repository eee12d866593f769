//! What was written of rules and profiles, and of their associations.

use super::document::{TARGETS_WANTED, TargetEntry, Texts, read_target};
use super::source::{At, Reading};
use super::table::{Table, Text, TextOrTable};

/// One `[[resolver_rule]]`.
pub(super) struct ResolverRuleTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) id: Option<Text<'t>>,
    pub(super) domain: Option<Text<'t>>,
    pub(super) delegation_record: Option<Text<'t>>,
    pub(super) action: Option<Text<'t>>,
    pub(super) targets: Option<At<Vec<TargetEntry<'t>>>>,
    /// Whether the keys are there, right or wrong.
    pub(super) has_domain: bool,
    pub(super) has_delegation_record: bool,
    pub(super) has_targets: bool,
    pub(super) order: Option<Text<'t>>,
    pub(super) vpcs: Option<At<Vec<AssociationTable<'t>>>>,
}

/// One `[[profile]]`.
pub(super) struct ProfileTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) id: Option<Text<'t>>,
    pub(super) vpcs: Option<At<Vec<AssociationTable<'t>>>>,
    pub(super) hosted_zones: Option<Texts<'t>>,
    pub(super) resolver_rules: Option<Texts<'t>>,
    pub(super) vpc_endpoints: Option<Texts<'t>>,
}

/// One entry of `vpcs` of a rule or a profile: a VPC, or a table that says more of the association.
pub(super) struct AssociationTable<'t> {
    pub(super) label: String,
    pub(super) at: usize,
    pub(super) vpc: Option<Text<'t>>,
    pub(super) status: Option<Text<'t>>,
    pub(super) priority: Option<At<u64>>,
}

pub(super) fn read_resolver_rule<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> ResolverRuleTable<'t> {
    let id = table.id(reading, "rule", "\"rslvr-rr-…\"");
    table.require(reading, "action", "\"forward\"");
    table.require(reading, "vpcs", "[\"vpc-…\"]");
    let rule = ResolverRuleTable {
        label: table.label.clone(),
        at: table.at,
        id,
        has_domain: table.has("domain"),
        has_delegation_record: table.has("delegation_record"),
        has_targets: table.has("targets"),
        domain: table.text(reading, "domain"),
        delegation_record: table.text(reading, "delegation_record"),
        action: table.text(reading, "action"),
        targets: table.list(reading, "targets", TARGETS_WANTED, read_target),
        order: table.text(reading, "order"),
        vpcs: table
            .list(reading, "vpcs", ASSOCIATIONS_WANTED, |item, reading| read_association(item, reading, |_, _| None)),
    };
    table.finish(reading);
    rule
}

pub(super) fn read_profile<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> ProfileTable<'t> {
    let id = table.id(reading, "profile", "\"rp-…\"");
    table.require(reading, "vpcs", "[\"vpc-…\"]");
    let profile = ProfileTable {
        label: table.label.clone(),
        at: table.at,
        id,
        vpcs: table.list(reading, "vpcs", ASSOCIATIONS_WANTED, |item, reading| {
            read_association(item, reading, |table, reading| table.number(reading, "priority"))
        }),
        hosted_zones: table.texts(reading, "hosted_zones"),
        resolver_rules: table.texts(reading, "resolver_rules"),
        vpc_endpoints: table.texts(reading, "vpc_endpoints"),
    };
    table.finish(reading);
    profile
}

/// Reads an entry of `vpcs`; `priority` reads what only profiles have.
fn read_association<'t>(
    item: TextOrTable<'t>,
    reading: &mut Reading<'t>,
    priority: impl Fn(&mut Table<'t>, &mut Reading<'t>) -> Option<At<u64>>,
) -> AssociationTable<'t> {
    let mut table = match item {
        TextOrTable::Text(text) => {
            let (label, at) = (String::new(), text.at);
            return AssociationTable { label, at, vpc: Some(text), status: None, priority: None };
        }
        TextOrTable::Table(table) => table,
    };
    table.require(reading, "vpc", "\"vpc-…\"");
    let association = AssociationTable {
        label: table.label.clone(),
        at: table.at,
        vpc: table.text(reading, "vpc"),
        status: table.text(reading, "status"),
        priority: priority(&mut table, reading),
    };
    table.finish(reading);
    association
}

/// What `vpcs` is to be.
const ASSOCIATIONS_WANTED: &str = "a list of texts or tables";
