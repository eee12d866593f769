//! `[[resolver_rule]]`.

use super::Builder;
use super::conflict::same_domains;
use super::document::ResolverRuleTable;
use super::name::{LITERAL_ASTERISK_RULE, has_literal_asterisk};
use super::settings::word;
use crate::aws::{ResolverRule, RuleAction};
use crate::config::diagnostic::quoted;
use crate::dns::Name;

/// The words of `action`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ActionWord {
    Forward,
    System,
}

impl<'t> Builder<'t, '_> {
    /// Settles every rule, and refuses two of one domain in one VPC.
    pub(super) fn settle_resolver_rules(&mut self, tables: &[ResolverRuleTable<'t>]) {
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        let mut settled: Vec<(ResolverRule, &ResolverRuleTable<'t>)> = Vec::with_capacity(tables.len());
        for table in tables {
            let domain = self.rule_domain(table);
            let vpcs = self.associations(table.vpcs.as_ref(), &table.label);
            let action = self.rule_action(table, domain.as_ref());
            if let (Some(id), Some(domain), Some(action)) = (&table.id, domain, action) {
                settled.push((ResolverRule { id: id.value.as_ref().into(), domain, action, vpcs }, table));
            }
        }
        self.refuse_same_domains(&settled);
        self.model.resolver_rules = settled.into_iter().map(|(rule, _)| rule).collect();
    }

    fn rule_domain(&mut self, table: &ResolverRuleTable<'t>) -> Option<Name> {
        let text = table.domain.as_ref()?;
        let domain = self.absolute_name(text, &table.label, "domain")?;
        if domain.is_wildcard() {
            let problem = format!("`domain` {} starts with `*`", quoted(&text.value));
            let hint = match domain.parent() {
                Some(parent) => format!("write {parent}: a rule is for its domain and all below it"),
                None => String::new(),
            };
            self.reading.report(self.reading.error(text.at, &table.label, problem).rule("RSLVR-00711").hint(hint));
        } else if has_literal_asterisk(&domain) {
            let problem = format!("`domain` {} has a `*` in it", quoted(&text.value));
            let warning = self.reading.warning(text.at, &table.label, problem);
            self.reading.report(warning.rule(LITERAL_ASTERISK_RULE));
        }
        Some(domain)
    }

    /// What the rule does: `forward` has targets, `system` has none.
    fn rule_action(&mut self, table: &ResolverRuleTable<'t>, domain: Option<&Name>) -> Option<RuleAction> {
        let words = [("forward", ActionWord::Forward), ("system", ActionWord::System)];
        let action = word(table.action.as_ref()?, &words, &table.label, "action", &mut self.reading)?;
        let what = domain.map_or_else(|| "a query".to_owned(), Name::to_string);
        match (action, &table.targets) {
            (ActionWord::System, _) if table.has_targets => {
                let at = table.targets.as_ref().map_or(table.at, |targets| targets.at);
                let error = self.reading.error(at, &table.label, "a `system` rule has targets");
                let rule = "it takes its domain out of the FORWARD rules above, back to what AWS itself answers";
                self.reading.report(error.rule(rule).hint("remove `targets`, or write action = \"forward\""));
                None
            }
            (ActionWord::System, _) => {
                if let Some(order) = &table.order {
                    let warning =
                        self.reading.warning(order.at, &table.label, "`order` of a `system` rule does nothing");
                    self.reading.report(warning.rule("it has no targets to be asked in any").hint("remove it"));
                }
                Some(RuleAction::System)
            }
            (ActionWord::Forward, Some(targets)) if !targets.value.is_empty() => {
                let order = table.order.as_ref();
                Some(RuleAction::Forward(self.target_group(targets, order, &table.label, &what)))
            }
            (ActionWord::Forward, targets) => {
                if targets.is_some() || !table.has_targets {
                    let at = targets.as_ref().map_or(table.at, |targets| targets.at);
                    let error = self.reading.error(at, &table.label, "a `forward` rule has no targets");
                    self.reading.report(error.hint("add `targets = [\"192.0.2.1\"]`: who is asked"));
                }
                None
            }
        }
    }

    /// No two rules of one domain in one VPC (RSLVR-00802).
    fn refuse_same_domains(&mut self, rules: &[(ResolverRule, &ResolverRuleTable<'t>)]) {
        for same in same_domains(rules.iter().map(|(rule, _)| (&rule.domain, rule.vpcs.as_slice()))) {
            let ((rule, table), (other, other_table)) = (&rules[same.later], &rules[same.earlier]);
            let verb = match (&rule.action, &other.action) {
                (RuleAction::Forward(_), RuleAction::Forward(_)) => "forward",
                _ => "decide about",
            };
            let place = |table: &ResolverRuleTable<'t>| table.domain.as_ref().map_or(table.at, |text| text.at);
            let problem = format!("two rules {verb} `{}` for the same VPC", rule.domain);
            let also = self.reading.place(place(other_table), &other_table.label);
            let rule = format!(
                "both are associated with {}, and a query can follow only one: Cannot associate rules with same \
                 domain name with same VPC (RSLVR-00802)",
                self.model.vpc(same.vpc).id
            );
            let error = self.reading.error(place(table), &table.label, problem).also(also).rule(rule);
            self.reading.report(error.hint("remove one association, or give one of them a longer domain"));
        }
    }
}
