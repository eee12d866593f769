//! Health checks: what says whether a record set may be answered.

/// Which of [`super::Model::health_checks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HealthCheckIndex(pub u32);

/// One health check.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// The id that record sets name.
    pub id: Box<str>,
    /// How it comes to its status.
    pub kind: HealthCheckKind,
    /// Whether healthy counts as unhealthy and the other way round (Route 53 API, HealthCheckConfig: Inverted).
    pub inverted: bool,
    /// Whether nothing is looked at and the status is healthy, before it is inverted (HealthCheckConfig: Disabled).
    pub disabled: bool,
}

/// How a health check comes to its status.
#[derive(Clone, Debug)]
pub enum HealthCheckKind {
    /// Set by hand, in the configuration: what a CloudWatch alarm or a routing control is in AWS.
    Manual {
        /// Whether it is healthy.
        healthy: bool,
    },
    /// Healthy while enough others are (HealthCheckConfig: CALCULATED).
    Calculated {
        /// How many must be healthy: 0 is always enough, more than there are never (HealthThreshold).
        health_threshold: u32,
        /// The others; each stands before this one in the model.
        children: Vec<HealthCheckIndex>,
    },
}

/// Health checks that a calculated one looks at (Route 53 Developer Guide, DNSLimitations).
pub const CHILD_HEALTH_CHECKS_MAX: usize = 255;
