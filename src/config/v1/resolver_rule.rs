//! `[[resolver_rule]]`.

use super::Builder;
use super::conflict::same_domains;
use super::name::{LITERAL_ASTERISK_RULE, has_literal_asterisk};
use super::resolver_tables::ResolverRuleTable;
use super::settings::word;
use super::table::Text;
use crate::aws::{ResolverRule, RuleAction};
use crate::config::diagnostic::quoted;
use crate::dns::Name;

/// The words of `action`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ActionWord {
    Forward,
    System,
    Delegate,
}

/// The words of `action`, AWS's RuleType.
const ACTION_WORDS: [(&str, ActionWord); 3] =
    [("forward", ActionWord::Forward), ("system", ActionWord::System), ("delegate", ActionWord::Delegate)];

impl<'t> Builder<'t, '_> {
    /// Settles every rule, and refuses two of one domain in one VPC.
    pub(super) fn settle_resolver_rules(&mut self, tables: &[ResolverRuleTable<'t>]) {
        self.refuse_repeated_ids(tables.iter().map(|table| (table.id.as_ref(), table.label.as_str())));
        let mut settled: Vec<(ResolverRule, &ResolverRuleTable<'t>)> = Vec::with_capacity(tables.len());
        for table in tables {
            let is_shared = table.id.as_ref().is_some_and(|id| self.shared_ids.contains(id.value.as_ref()));
            let vpcs = self.associations(table.vpcs.as_ref(), &table.label, is_shared);
            let vpcs = vpcs.into_iter().map(|(vpc, _)| vpc).collect();
            let Some(word) = self.action_word(table) else {
                if !table.has_delegation_record {
                    self.domain(table);
                }
                continue;
            };
            let domain = match word {
                ActionWord::Delegate => self.delegation_record(table),
                _ => self.domain(table),
            };
            let action = self.rule_action(table, word, domain.as_ref());
            if let (Some(id), Some(domain), Some(action)) = (&table.id, domain, action) {
                settled.push((ResolverRule { id: id.value.as_ref().into(), domain, action, vpcs }, table));
            }
        }
        self.refuse_same_domains(&settled);
        self.model.resolver_rules = settled.into_iter().map(|(rule, _)| rule).collect();
    }

    /// What the rule does, in a word.
    fn action_word(&mut self, table: &ResolverRuleTable<'t>) -> Option<ActionWord> {
        let text = table.action.as_ref()?;
        if text.value.eq_ignore_ascii_case("recursive") {
            let error = self.reading.error(text.at, &table.label, "nobody can make a RECURSIVE rule");
            let rule = "only Resolver itself has rules of this type (Route 53 Resolver API, CreateResolverRule)";
            let hint = "names without a rule go to `[upstream]`; to take some out of a longer rule, write \"system\"";
            self.reading.report(error.rule(rule).hint(hint));
            return None;
        }
        word(text, &ACTION_WORDS, &table.label, "action", &mut self.reading)
    }

    /// The domain of a FORWARD or SYSTEM rule.
    fn domain(&mut self, table: &ResolverRuleTable<'t>) -> Option<Name> {
        if !table.has_domain {
            let error = self.reading.error(table.at, &table.label, "`domain` is missing");
            self.reading.report(error.hint("add `domain = \"corp.example.com\"`"));
        }
        if let Some(text) = &table.delegation_record {
            let problem = "`delegation_record` is for `delegate` rules only";
            let error = self.reading.error(text.at, &table.label, problem);
            self.reading.report(error.hint("remove it, or write action = \"delegate\""));
        }
        self.rule_domain(table.domain.as_ref(), "domain", table)
    }

    /// What the name servers of a DELEGATE rule are at or below.
    fn delegation_record(&mut self, table: &ResolverRuleTable<'t>) -> Option<Name> {
        if !table.has_delegation_record {
            let error = self.reading.error(table.at, &table.label, "`delegation_record` is missing");
            self.reading
                .report(error.hint("add `delegation_record = \"corp.example.com\"`: where the name servers are"));
        }
        if let Some(text) = &table.domain {
            let error = self.reading.error(text.at, &table.label, "a `delegate` rule has a `domain`");
            let rule = "what it is for are the domains whose NS records name servers at or below its \
                        `delegation_record` (R53:outbound-delegation-tutorial)";
            self.reading.report(error.rule(rule).hint("remove `domain`"));
        }
        self.rule_domain(table.delegation_record.as_ref(), "delegation_record", table)
    }

    fn rule_domain(&mut self, text: Option<&Text<'t>>, key: &str, table: &ResolverRuleTable<'t>) -> Option<Name> {
        let text = text?;
        let domain = self.absolute_name(text, &table.label, key)?;
        if domain.is_wildcard() {
            let problem = format!("`{key}` {} starts with `*`", quoted(&text.value));
            let hint = match domain.parent() {
                Some(parent) => format!("write {parent}: a rule is for its domain and all below it"),
                None => String::new(),
            };
            self.reading.report(self.reading.error(text.at, &table.label, problem).rule("RSLVR-00711").hint(hint));
        } else if has_literal_asterisk(&domain) {
            let problem = format!("`{key}` {} has a `*` in it", quoted(&text.value));
            let warning = self.reading.warning(text.at, &table.label, problem);
            self.reading.report(warning.rule(LITERAL_ASTERISK_RULE));
        }
        Some(domain)
    }

    /// What the rule does: `forward` has targets, the others have none.
    fn rule_action(
        &mut self,
        table: &ResolverRuleTable<'t>,
        action: ActionWord,
        domain: Option<&Name>,
    ) -> Option<RuleAction> {
        let what = domain.map_or_else(|| "a query".to_owned(), Name::to_string);
        match (action, &table.targets) {
            (ActionWord::System, _) => {
                let rule = "it takes its domain out of the FORWARD rules above, back to what AWS itself answers";
                self.without_targets(table, "system", rule).then_some(RuleAction::System)
            }
            (ActionWord::Delegate, _) => {
                let rule = "asked are the name servers that the NS records of a hosted zone name";
                self.without_targets(table, "delegate", rule).then_some(RuleAction::Delegate)
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

    /// Refuses targets of a rule that has none, and warns of an order that they would be asked in.
    fn without_targets(&mut self, table: &ResolverRuleTable<'t>, what: &str, rule: &str) -> bool {
        if table.has_targets {
            let at = table.targets.as_ref().map_or(table.at, |targets| targets.at);
            let error = self.reading.error(at, &table.label, format!("a `{what}` rule has targets"));
            self.reading.report(error.rule(rule).hint("remove `targets`, or write action = \"forward\""));
            return false;
        }
        if let Some(order) = &table.order {
            let problem = format!("`order` of a `{what}` rule does nothing");
            let warning = self.reading.warning(order.at, &table.label, problem);
            self.reading.report(warning.rule("it has no targets to be asked in any").hint("remove it"));
        }
        true
    }

    /// No two rules of one domain in one VPC (RSLVR-00802). DELEGATE rules have no domain.
    fn refuse_same_domains(&mut self, rules: &[(ResolverRule, &ResolverRuleTable<'t>)]) {
        let vpcs = |rule: &ResolverRule| match rule.action {
            RuleAction::Delegate => 0,
            RuleAction::Forward(_) | RuleAction::System => rule.vpcs.len(),
        };
        for same in same_domains(rules.iter().map(|(rule, _)| (&rule.domain, &rule.vpcs[..vpcs(rule)]))) {
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
