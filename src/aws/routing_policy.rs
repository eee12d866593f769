//! Routing policies: what chooses among the record sets of one name and type
//! (Route 53 Developer Guide, routing-policy).

use super::health_check::HealthCheckIndex;
use super::region::{Code, Continent, Coordinates, Region};

/// What a record set with a routing policy has besides its data.
#[derive(Clone, Debug)]
pub struct Routing {
    /// What tells it from the others of its name and type.
    pub set_identifier: Box<str>,
    /// The policy, the same kind for all sets of its name and type.
    pub policy: RoutingPolicy,
    /// What says whether it is healthy; none: it always is.
    pub health_check: Option<HealthCheckIndex>,
}

/// A policy with what this set has to say to it.
#[derive(Clone, Debug, PartialEq)]
pub enum RoutingPolicy {
    /// One set by chance, in proportion to the weights.
    Weighted(u8),
    /// The primary while it is healthy.
    Failover(FailoverRole),
    /// The set whose region, which this names, is nearest to the VPC's.
    Latency(Box<str>),
    /// The set of the smallest area that the VPC's region lies in.
    Geolocation(Area),
    /// The set that is nearest to the VPC's region, distances stretched by the bias.
    Geoproximity {
        /// Where the resource lies.
        coordinates: Coordinates,
        /// Positive draws more questions; −99 to 99.
        bias: i8,
    },
    /// Up to eight healthy sets at once.
    Multivalue,
}

impl RoutingPolicy {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Weighted(_) => "weighted",
            Self::Failover(_) => "failover",
            Self::Latency(_) => "latency",
            Self::Geolocation(_) => "geolocation",
            Self::Geoproximity { .. } => "geoproximity",
            Self::Multivalue => "multivalue",
        }
    }

    /// Sets of one name and type with this policy (Route 53 Developer Guide, DNSLimitations).
    pub fn sets_max(&self) -> usize {
        match self {
            Self::Geoproximity { .. } => 30,
            _ => ROUTED_SETS_MAX,
        }
    }
}

/// Which of the two sets of a failover policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailoverRole {
    /// Answered while it is healthy, and if neither is.
    Primary,
    /// Answered while the primary is not healthy.
    Secondary,
}

/// The area that a geolocation set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// A state of the United States.
    Subdivision(Code),
    /// A country.
    Country(Code),
    /// A continent.
    Continent(Continent),
    /// Whatever no other set is for, `*`.
    Default,
}

impl Area {
    /// How well it fits a region: the higher the smaller the area; none where the region does not lie in it. What a
    /// region that nobody knows lies in is only the default.
    pub fn fit(self, region: Option<&Region>) -> Option<u8> {
        let lies_in = |inside: &dyn Fn(&Region) -> bool| region.is_some_and(inside);
        match self {
            Self::Subdivision(state) => lies_in(&|region| region.subdivision == Some(state)).then_some(3),
            Self::Country(country) => lies_in(&|region| region.country == country).then_some(2),
            Self::Continent(continent) => lies_in(&|region| region.continent == continent).then_some(1),
            Self::Default => Some(0),
        }
    }
}

/// A distance with its bias (Route 53 Developer Guide, routing-policy-geoproximity).
pub fn biased_km(distance_km: f64, bias: i8) -> f64 {
    distance_km * (1.0 - f64::from(bias) / 100.0)
}

/// Sets of one name and type, geoproximity's excepted (Route 53 Developer Guide, DNSLimitations).
pub const ROUTED_SETS_MAX: usize = 100;
/// Sets that a multivalue policy answers with (Route 53 Developer Guide, routing-policy-multivalue).
pub const MULTIVALUE_SETS_MAX: usize = 8;
/// Parts of the sets of a multivalue policy of which no two have a value in common; AWS names no number.
pub const MULTIVALUE_PARTS_MAX: usize = 127;
/// Aliases and policies that one question may lead through, one after the other; AWS names no number.
pub const ALIAS_DEPTH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::region;

    #[test]
    fn the_smallest_area_fits_best() {
        let code = |text| Code::parse(text).expect("two letters");
        let oregon = region::find("us-west-2");
        let fits = |area: Area| area.fit(oregon);
        let (state, country) = (Area::Subdivision(code("or")), Area::Country(code("US")));
        let continent = Area::Continent(Continent::NorthAmerica);
        assert!(
            fits(state) > fits(country) && fits(country) > fits(continent) && fits(continent) > fits(Area::Default)
        );
        assert_eq!(fits(Area::Default), Some(0));
        assert_eq!((fits(Area::Subdivision(code("VA"))), fits(Area::Country(code("CA")))), (None, None));
        assert_eq!((country.fit(None), Area::Default.fit(None)), (None, Some(0)));
    }

    #[test]
    fn a_bias_stretches_and_shrinks() {
        assert!((biased_km(150.0, 50) - 75.0).abs() < 1e-9);
        assert!((biased_km(150.0, -50) - 225.0).abs() < 1e-9);
    }
}
