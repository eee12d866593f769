//! Forwarding contexts and their ids.

use crate::aws::{Model, RuleAction};
use crate::dns::TargetGroup;
use crate::snapshot::targets::ContextKind;
use crate::snapshot::{Authority, ContextId, ContextIndex, ForwardContext};
use std::collections::HashMap;
use std::sync::Arc;

/// Gives out context ids over the life of the process: the same rule with the same targets keeps its id, and with it
/// its cached replies; new targets mean a new id, so that nothing the old ones said is used.
#[derive(Debug, Default)]
pub struct Contexts {
    ids: HashMap<(ContextKind, TargetGroup), ContextId>,
}

/// The contexts of one model.
pub(super) struct ModelContexts {
    pub(super) contexts: Vec<ForwardContext>,
    /// Who answers for what nobody claims.
    pub(super) upstream: Authority,
    /// For each rule in order: its context, or none for a SYSTEM rule.
    pub(super) of_rules: Vec<Option<ContextIndex>>,
}

impl Contexts {
    /// The context id of these targets.
    fn id(&mut self, kind: &ContextKind, group: &TargetGroup) -> ContextId {
        let next = ContextId(u32::try_from(self.ids.len()).expect("fewer contexts than 2^32 in the life of a process"));
        *self.ids.entry((kind.clone(), group.clone())).or_insert(next)
    }

    /// The contexts of a model: the upstream first, then those of the rules.
    pub(super) fn of_model(&mut self, model: &Model) -> ModelContexts {
        let mut contexts = Vec::new();
        let mut add = |this: &mut Self, kind: ContextKind, group: &TargetGroup| {
            let id = this.id(&kind, group);
            contexts.push(ForwardContext { id, kind, group: Arc::new(group.clone()) });
            ContextIndex(contexts.len() as u32 - 1)
        };
        let upstream = match (model.upstream.is_empty(), model.upstream_is_system) {
            (true, false) => Authority::Nothing,
            _ => Authority::Forward(add(self, ContextKind::Upstream, &model.upstream)),
        };
        let of_rules = model.resolver_rules.iter().map(|rule| match &rule.action {
            RuleAction::Forward(group) => Some(add(self, ContextKind::Rule(rule.id.clone()), group)),
            RuleAction::System => None,
        });
        let of_rules = of_rules.collect();
        ModelContexts { contexts, upstream, of_rules }
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
}
