//! `[[resolver_config]]`.

use super::Builder;
use super::ec2_tables::ResolverConfigTable;
use super::settings::word;
use crate::aws::VpcIndex;
use std::collections::HashMap;

/// The states of `AutodefinedReverse`, the words that the API takes to change it, and whether the reverse rules are there
/// (Route 53 Resolver API, ResolverConfig and UpdateResolverConfig). Until a change is complete the old state holds.
const AUTODEFINED_REVERSE_WORDS: [(&str, bool); 8] = [
    ("ENABLED", true),
    ("DISABLED", false),
    ("ENABLING", false),
    ("DISABLING", true),
    ("ENABLE", true),
    ("DISABLE", false),
    ("UPDATING_TO_USE_LOCAL_RESOURCE_SETTING", true),
    ("USE_LOCAL_RESOURCE_SETTING", true),
];

impl<'t> Builder<'t, '_> {
    /// Settles the resolver configuration of every VPC that has one.
    pub(super) fn settle_resolver_configs(&mut self, tables: &[ResolverConfigTable<'t>]) {
        let mut first_of: HashMap<VpcIndex, usize> = HashMap::new();
        for (index, table) in tables.iter().enumerate() {
            let vpc = table.vpc.as_ref().and_then(|vpc| self.vpc_index(vpc, &table.label));
            let written = table.autodefined_reverse.as_ref();
            let is_on = written.and_then(|text| {
                word(text, &AUTODEFINED_REVERSE_WORDS, &table.label, "autodefined_reverse", &mut self.reading)
            });
            let Some(vpc) = vpc else { continue };
            if let Some(first) = first_of.insert(vpc, index).map(|first| &tables[first]) {
                let problem = format!("two resolver configurations of {}", self.model.vpc(vpc).id);
                let place = |table: &ResolverConfigTable<'t>| table.vpc.as_ref().map_or(table.at, |vpc| vpc.at);
                let also = self.reading.place(place(first), &first.label);
                let error = self.reading.error(place(table), &table.label, problem).also(also);
                self.reading.report(error.rule("a VPC has one").hint("remove one of them"));
            }
            if let (Some(false), Some(written)) = (is_on, written) {
                self.warn_of_vpc_attributes(written.at, &table.label, "autodefined_reverse", vpc);
            }
            self.model.vpcs[vpc.0 as usize].autodefined_reverse = is_on.unwrap_or(true);
        }
    }
}
