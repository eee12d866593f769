//! Forwarding contexts and their ids.

use super::counter_slots::CounterSlots;
use crate::aws::{Model, RuleAction};
use crate::dns::TargetGroup;
use crate::snapshot::targets::ContextKind;
use crate::snapshot::{Authority, ContextId, ContextIndex, ForwardContext};
use std::collections::HashMap;
use std::sync::Arc;

/// Gives out context ids over the life of the process: the same rule with the same targets keeps its id, and with it
/// its cached replies; new targets mean a new id, so that nothing the old ones said is used. The places where queries
/// are counted are given out beside them, for they last as long.
#[derive(Debug, Default)]
pub struct Contexts {
    pub(super) counter_slots: CounterSlots,
    known: HashMap<(ContextKind, TargetGroup), Known>,
    /// The next id. None is ever given out again.
    next: u32,
    /// Models so far.
    models: u64,
}

/// A context that has been in a model.
#[derive(Debug)]
struct Known {
    id: ContextId,
    /// The last model that had it.
    model: u64,
}

/// A rule whose targets were changed gets its old id back, and its replies with it, when they are changed back within so
/// many models. Older ones are forgotten: there may be a reload a minute for years.
const MODELS_REMEMBERED: u64 = 16;

/// The contexts of one model.
pub(super) struct ModelContexts {
    pub(super) contexts: Vec<ForwardContext>,
    /// Who answers for what nobody claims.
    pub(super) upstream: Authority,
    /// For each rule in order: its context, or none where it has no targets of its own.
    pub(super) of_rules: Vec<Option<ContextIndex>>,
    /// Those of delegations, which are found when the views' claims are.
    of_delegations: HashMap<(ContextKind, TargetGroup), ContextIndex>,
}

impl Contexts {
    /// The context id of these targets.
    fn id(&mut self, kind: &ContextKind, group: &TargetGroup) -> ContextId {
        let Self { known, next, models, .. } = self;
        let known = known.entry((kind.clone(), group.clone())).or_insert_with(|| {
            let id = ContextId(*next);
            *next = next.checked_add(1).expect("fewer contexts than 2^32 in the life of a process");
            Known { id, model: *models }
        });
        known.model = *models;
        known.id
    }

    /// The contexts of a model: the upstream first, then those of the rules.
    pub(super) fn of_model(&mut self, model: &Model) -> ModelContexts {
        self.models += 1;
        let oldest = self.models.saturating_sub(MODELS_REMEMBERED);
        self.known.retain(|_, known| known.model >= oldest);
        let mut contexts = Vec::new();
        let upstream = match (model.upstream.is_empty(), model.upstream_is_system) {
            (true, false) => Authority::Nothing,
            _ => Authority::Forward(self.add(&mut contexts, ContextKind::Upstream, &model.upstream)),
        };
        let of_rules = model.resolver_rules.iter().map(|rule| match &rule.action {
            RuleAction::Forward(group) => Some(self.add(&mut contexts, ContextKind::Rule(rule.id.clone()), group)),
            RuleAction::System | RuleAction::Delegate => None,
        });
        let of_rules = of_rules.collect();
        ModelContexts { contexts, upstream, of_rules, of_delegations: HashMap::new() }
    }

    /// The context of a delegation to these targets, made if no view of the model had the same before.
    pub(super) fn of_delegation(
        &mut self,
        of_model: &mut ModelContexts,
        kind: ContextKind,
        group: TargetGroup,
    ) -> ContextIndex {
        let ModelContexts { contexts, of_delegations, .. } = of_model;
        *of_delegations.entry((kind, group)).or_insert_with_key(|(kind, group)| self.add(contexts, kind.clone(), group))
    }

    fn add(&mut self, contexts: &mut Vec<ForwardContext>, kind: ContextKind, group: &TargetGroup) -> ContextIndex {
        let id = self.id(&kind, group);
        contexts.push(ForwardContext { id, kind, group: Arc::new(group.clone()) });
        ContextIndex(contexts.len() as u32 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::ResolverRule;
    use crate::dns::{Name, TargetOrder};

    fn group(targets: &[&str]) -> TargetGroup {
        let targets = targets.iter().map(|target| target.parse().expect("a target")).collect();
        TargetGroup { targets, order: TargetOrder::Fastest }
    }

    fn rule(id: &str, group: TargetGroup) -> ResolverRule {
        let action = RuleAction::Forward(group);
        ResolverRule { id: id.into(), domain: Name::root(), action, vpcs: Vec::new() }
    }

    #[test]
    fn an_id_stands_for_one_rule_with_one_group() {
        let mut contexts = Contexts::default();
        let mut id = |id: &str, group: TargetGroup| {
            let model = Model { resolver_rules: vec![rule(id, group)], ..Model::default() };
            contexts.of_model(&model).contexts[0].id
        };
        let plain = || group(&["192.0.2.1", "192.0.2.2"]);
        let first = id("a", plain());
        let others = [
            id("b", plain()),
            id("a", group(&["192.0.2.2", "192.0.2.1"])),
            id("a", TargetGroup { order: TargetOrder::InOrder, ..plain() }),
            id("a", group(&["tls://192.0.2.1", "192.0.2.2"])),
            id("a", group(&["tls://192.0.2.1#dns.example", "192.0.2.2"])),
        ];
        let different: std::collections::HashSet<ContextId> = others.into_iter().chain([first]).collect();
        assert_eq!(different.len(), 6, "{different:?}");
        assert_eq!(id("a", plain()), first, "back to what it was: its replies are still its own");
    }

    #[test]
    fn many_reloads_leave_nothing_behind_and_no_id_comes_twice() {
        let mut contexts = Contexts::default();
        let mut reload = |number: u64| {
            let targets = group(&[&format!("192.0.2.1:{number}")]);
            let rules = vec![rule("stays", group(&["192.0.2.2"])), rule("changes", targets)];
            let of_model = contexts.of_model(&Model { resolver_rules: rules, ..Model::default() });
            let ids = of_model.contexts.iter().map(|context| context.id.0).collect::<Vec<_>>();
            // The models remembered, this one, and the rule that stays.
            assert!(contexts.known.len() as u64 <= MODELS_REMEMBERED + 2, "{}", contexts.known.len());
            <[u32; 2]>::try_from(ids).expect("two rules")
        };
        let mut seen = std::collections::HashSet::new();
        let stays = reload(1)[0];
        for number in 2..1000 {
            let [same, changed] = reload(number);
            assert_eq!(same, stays);
            assert!(seen.insert(changed), "{changed} was another's");
        }
        // Back to what it was a few reloads ago, and to what it was too long ago.
        assert!(!seen.insert(reload(999 + 1 - MODELS_REMEMBERED)[1]));
        assert!(seen.insert(reload(500)[1]), "what was said in the old one is not used again");
    }
}
