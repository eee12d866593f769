//! Health checks: the entries of the health table that stand for them.

use crate::aws::{HealthCheckKind, Model};
use crate::snapshot::{HealthIndex, HealthPlan};

/// Enters every health check; the entries that say what they come to, in the order of the model.
pub(super) fn compile(model: &Model, plan: &mut HealthPlan) -> Vec<HealthIndex> {
    let mut checks: Vec<HealthIndex> = Vec::with_capacity(model.health_checks.len());
    for check in &model.health_checks {
        let seen = match &check.kind {
            // Disabled, it counts as healthy, whatever it was set to (Route 53 API, HealthCheckConfig: Disabled).
            _ if check.disabled => HealthIndex::ALWAYS,
            HealthCheckKind::Manual { healthy } => plan.seen(&check.id, Some(*healthy)),
            HealthCheckKind::Calculated { health_threshold, children } => {
                let children: Vec<HealthIndex> = children.iter().map(|child| checks[child.0 as usize]).collect();
                plan.at_least(*health_threshold, &children, false)
            }
        };
        checks.push(if check.inverted { plan.at_least(1, &[seen], true) } else { seen });
    }
    checks
}
