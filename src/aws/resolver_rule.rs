//! Resolver rules.

use super::model::VpcIndex;
use crate::dns::{Name, TargetGroup};

/// One rule and the VPCs it is associated with.
#[derive(Clone, Debug)]
pub struct ResolverRule {
    /// The id, `rslvr-rr-…`.
    pub id: Box<str>,
    /// The domain: it and all below it. Of a DELEGATE rule its `DelegationRecord`: the names of name servers.
    pub domain: Name,
    /// What happens to a query there.
    pub action: RuleAction,
    /// Associated VPCs, without repeats.
    pub vpcs: Vec<VpcIndex>,
}

/// What a rule does.
#[derive(Clone, Debug)]
pub enum RuleAction {
    /// Ask these targets, and nobody else: at least one.
    Forward(TargetGroup),
    /// As if the FORWARD rules above were not there: what AWS's own sources say, else upstream.
    System,
    /// Where a hosted zone delegates to name servers at or below the domain, ask these
    /// (R53:outbound-delegation-tutorial).
    Delegate,
}
