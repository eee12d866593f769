//! Routing policies of record sets: what each set says by itself.

mod group;

use super::Builder;
use super::document::{CoordinatesTable, GeolocationTable, GeoproximityTable, RecordTable};
use super::hosted_zone::ZoneInMaking;
use super::source::At;
use super::table::Text;
use crate::aws::region::{self, Code, Continent, Coordinates};
use crate::aws::routing_policy::{Area, FailoverRole};
use crate::aws::service_name::is_region;
use crate::aws::{Region, Routing, RoutingPolicy};
use crate::config::diagnostic::{nearest, quoted};
use crate::dns::{Name, Rtype};

/// A set whose routing cannot be used, which has been told.
pub(super) struct Refused;

impl<'t> Builder<'t, '_> {
    /// What a record says of routing; none: it has the simple policy, or what it says cannot be.
    pub(super) fn routing(
        &mut self,
        record: &RecordTable<'t>,
        rtype: Rtype,
        label: &str,
    ) -> Result<Option<Box<Routing>>, Refused> {
        let table = &record.routing;
        if table.is_by_address {
            return Err(Refused);
        }
        let key = match (&*table.policies, &table.set_identifier) {
            ([], None) => {
                if let Some(check) = &table.health_check {
                    let error = self.reading.error(check.at, label, "a `health_check` without a routing policy");
                    let rule = "in a private hosted zone only sets with a policy have one (Route 53 Developer Guide, \
                                hosted-zone-private-considerations)";
                    let hint = "remove it, or give the set a policy: failover, weight, multivalue …";
                    self.reading.report(error.rule(rule).hint(hint));
                    return Err(Refused);
                }
                return Ok(None);
            }
            ([], Some(identifier)) => {
                let error = self.reading.error(identifier.at, label, "a `set_identifier` without a routing policy");
                self.reading.report(error.rule(EXACTLY_ONE_RULE).hint("add the policy, or remove `set_identifier`"));
                return Err(Refused);
            }
            ([key], Some(_)) => *key,
            ([key], None) => {
                let problem = format!("`{key}` without a `set_identifier`");
                let rule = "it tells the set from the others of its name and type (Route 53 API, ResourceRecordSet)";
                let error = self.reading.error(record.at, label, problem).rule(rule);
                self.reading.report(error.hint("add `set_identifier = \"…\"`, different in each"));
                return Err(Refused);
            }
            (several, _) => {
                let problem = format!("the record set has several policies: {}", several.join(", "));
                let error = self.reading.error(record.at, label, problem);
                self.reading.report(error.rule(EXACTLY_ONE_RULE).hint("keep one"));
                return Err(Refused);
            }
        };
        let policy = self.policy(record, key, label);
        let identifier = table.set_identifier.as_ref().and_then(|text| self.set_identifier(text, label));
        let health_check = table.health_check.as_ref().map(|text| self.health_check_index(text, label));
        let (policy, set_identifier) = (policy.ok_or(Refused)?, identifier.ok_or(Refused)?);
        let health_check = match health_check {
            Some(index) => Some(index.ok_or(Refused)?),
            None => None,
        };
        let routing = Routing { set_identifier, policy, health_check };
        self.check_policy(record, &routing, rtype, label)?;
        Ok(Some(Box::new(routing)))
    }

    fn set_identifier(&mut self, text: &Text<'t>, label: &str) -> Option<Box<str>> {
        let fits = (1..=SET_IDENTIFIER_CHARACTERS_MAX).contains(&text.value.chars().count());
        if !fits {
            let problem = format!("`set_identifier` {} cannot be one", quoted(&text.value));
            let rule =
                format!("it has 1 to {SET_IDENTIFIER_CHARACTERS_MAX} characters (Route 53 API, ResourceRecordSet)");
            self.reading.report(self.reading.error(text.at, label, problem).rule(rule));
        }
        fits.then(|| text.value.as_ref().into())
    }

    /// The policy that a key says; none if its value cannot be, which has been told.
    fn policy(&mut self, record: &RecordTable<'t>, key: &str, label: &str) -> Option<RoutingPolicy> {
        let table = &record.routing;
        match key {
            "weight" => self.weight(table.weight?, label).map(RoutingPolicy::Weighted),
            "region" => self.latency_region(table.region.as_ref()?, label).map(RoutingPolicy::Latency),
            "failover" => self.failover_role(table.failover.as_ref()?, label).map(RoutingPolicy::Failover),
            "geolocation" => self.area(table.geolocation.as_ref()?, label).map(RoutingPolicy::Geolocation),
            "geoproximity" => self.geoproximity(table.geoproximity.as_ref()?, label),
            _ => table.multivalue.map(|_| RoutingPolicy::Multivalue),
        }
    }

    fn weight(&mut self, weight: At<u64>, label: &str) -> Option<u8> {
        let read = u8::try_from(weight.value).ok();
        if read.is_none() {
            let problem = format!("`weight = {}` is too large", weight.value);
            let rule = "a weight is 0 to 255 (Route 53 API, ResourceRecordSet)";
            self.reading.report(self.reading.error(weight.at, label, problem).rule(rule));
        }
        read
    }

    fn failover_role(&mut self, text: &Text<'t>, label: &str) -> Option<FailoverRole> {
        match text.value.to_ascii_lowercase().as_str() {
            "primary" => Some(FailoverRole::Primary),
            "secondary" => Some(FailoverRole::Secondary),
            _ => {
                let problem = format!("`failover` {} is not known", quoted(&text.value));
                let error = self.reading.error(text.at, label, problem);
                self.reading.report(error.hint("write \"primary\" or \"secondary\""));
                None
            }
        }
    }

    /// The region of a latency set. One that the table of regions does not have yet is far from all others.
    fn latency_region(&mut self, text: &Text<'t>, label: &str) -> Option<Box<str>> {
        if region::find(&text.value).is_none() {
            if !is_region(&text.value) {
                return self.known_region(text, label).map(|region| region.name.into());
            }
            let problem = format!("nobody here knows where {} lies", quoted(&text.value));
            let warning = self.reading.warning(text.at, label, problem);
            let rule = "VPCs in that very region prefer the set; to all others it is the farthest";
            let hint = nearest(&text.value, region::names()).map(|meant| format!("did you mean `{meant}`?"));
            self.reading.report(warning.rule(rule).maybe_hint(hint));
        }
        Some(text.value.as_ref().into())
    }

    /// A region that the table of regions has.
    fn known_region(&mut self, text: &Text<'t>, label: &str) -> Option<&'static Region> {
        let found = region::find(&text.value);
        if found.is_none() {
            let problem = format!("{} is no region that is known here", quoted(&text.value));
            let hint = nearest(&text.value, region::names()).map(|meant| format!("did you mean `{meant}`?"));
            let error = self.reading.error(text.at, label, problem);
            let rule = "distances need to know where it lies";
            self.reading.report(error.rule(rule).maybe_hint(hint));
        }
        found
    }

    /// The area of a geolocation set.
    fn area(&mut self, table: &At<GeolocationTable<'t>>, label: &str) -> Option<Area> {
        let GeolocationTable { continent, country, subdivision } = &table.value;
        match (continent, country, subdivision) {
            (Some(continent), None, None) => {
                let found = Continent::parse(&continent.value);
                if found.is_none() {
                    let codes = Continent::ALL.map(|(code, _)| code).join(", ");
                    self.report_code(continent, "continent", &format!("write one of {codes}"), label);
                }
                found.map(Area::Continent)
            }
            (None, Some(country), None) if country.value == "*" => Some(Area::Default),
            (None, Some(country), None) => self.country(country, label).map(Area::Country),
            (None, Some(country), Some(subdivision)) => {
                if Code::parse(&country.value) != Some(Code::US) {
                    let problem = format!("`subdivision` in the country {}", quoted(&country.value));
                    let rule = "Route 53 knows those of the United States (Route 53 API, GeoLocation)";
                    let error = self.reading.error(subdivision.at, label, problem).rule(rule);
                    self.reading.report(error.hint("remove `subdivision`, or write country = \"US\""));
                    return None;
                }
                let found = Code::parse(&subdivision.value).filter(|code| STATES.contains(&code.as_str()));
                if found.is_none() {
                    self.report_code(subdivision, "subdivision", "write the two letters of a state, as \"OR\"", label);
                }
                found.map(Area::Subdivision)
            }
            _ => {
                let error = self.reading.error(table.at, label, "`geolocation` is not one area");
                let rule =
                    "it has a continent, a country, or a country and its subdivision (Route 53 API, GeoLocation)";
                let hint = "write { continent = \"EU\" }, { country = \"US\", subdivision = \"OR\" }, or \
                            { country = \"*\" } for all that no other set is for";
                self.reading.report(error.rule(rule).hint(hint));
                None
            }
        }
    }

    fn country(&mut self, text: &Text<'t>, label: &str) -> Option<Code> {
        let found = Code::parse(&text.value).filter(|code| COUNTRIES.split(' ').any(|known| known == code.as_str()));
        if found.is_none() {
            self.report_code(text, "country", "write two letters of ISO 3166-1, as \"KR\", or \"*\"", label);
        }
        found
    }

    fn report_code(&mut self, text: &Text<'t>, noun: &str, hint: &str, label: &str) {
        let problem = format!("{} is no {noun} of geolocation routing", quoted(&text.value));
        self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
    }

    /// Where a resource lies, and how strongly it draws.
    fn geoproximity(&mut self, table: &At<GeoproximityTable<'t>>, label: &str) -> Option<RoutingPolicy> {
        let GeoproximityTable { aws_region, local_zone_group, coordinates, bias, places } = &table.value;
        if *places != 1 {
            let error = self.reading.error(table.at, label, "`geoproximity` is not one place");
            let rule = "it has an aws_region, a local_zone_group or coordinates (Route 53 API, GeoProximityLocation)";
            let hint = "write { aws_region = \"ap-northeast-2\" }, or { coordinates = { latitude = 37.57, longitude = 126.98 } }";
            self.reading.report(error.rule(rule).hint(hint));
            return None;
        }
        let coordinates = match (aws_region, local_zone_group, coordinates) {
            (Some(name), ..) => self.known_region(name, label).map(|region| region.coordinates),
            (_, Some(name), _) => self.local_zone_group(name, label),
            (_, _, Some(CoordinatesTable { latitude: Some(latitude), longitude: Some(longitude) })) => {
                let in_range = |this: &mut Self, degrees: At<f64>, most: f64, key: &str| {
                    let fits = degrees.value.abs() <= most;
                    if !fits {
                        let problem = format!("`{key} = {}` is out of range", degrees.value);
                        let rule = format!("it is -{most} to {most} degrees");
                        this.reading.report(this.reading.error(degrees.at, label, problem).rule(rule));
                    }
                    fits
                };
                let fits = in_range(self, *latitude, 90.0, "latitude") & in_range(self, *longitude, 180.0, "longitude");
                fits.then_some(Coordinates { latitude: latitude.value, longitude: longitude.value })
            }
            _ => None,
        };
        let bias = match bias {
            None => Some(0),
            Some(bias) => {
                let read = i8::try_from(bias.value).ok().filter(|bias| bias.unsigned_abs() <= BIAS_MAX);
                if read.is_none() {
                    let problem = format!("`bias = {}` is out of range", bias.value);
                    let rule = format!("it is -{BIAS_MAX} to {BIAS_MAX} (Route 53 API, GeoProximityLocation)");
                    self.reading.report(self.reading.error(bias.at, label, problem).rule(rule));
                }
                read
            }
        };
        Some(RoutingPolicy::Geoproximity { coordinates: coordinates?, bias: bias? })
    }

    fn local_zone_group(&mut self, text: &Text<'t>, label: &str) -> Option<Coordinates> {
        let found = region::local_zone_group(&text.value);
        if found.is_none() {
            let problem = format!("{} is no group of Local Zones that is known here", quoted(&text.value));
            let mut groups: Vec<String> = region::local_zone_groups().collect();
            groups.sort_unstable();
            let meant = nearest(&text.value, groups.iter().map(String::as_str));
            let hint =
                meant.map_or_else(|| "write its coordinates".to_owned(), |meant| format!("did you mean `{meant}`?"));
            self.reading.report(self.reading.error(text.at, label, problem).hint(hint));
        }
        found
    }

    /// What a policy demands of its set alone.
    fn check_policy(
        &mut self,
        record: &RecordTable<'t>,
        routing: &Routing,
        rtype: Rtype,
        label: &str,
    ) -> Result<(), Refused> {
        let is_alias = record.alias.is_some();
        let evaluates = record.evaluate_target_health.is_some_and(|evaluate| evaluate.value);
        let (problem, rule, hint) = match &routing.policy {
            _ if rtype == Rtype::SOA => (
                "an SOA with a routing policy".to_owned(),
                "a zone has one SOA (RFC 1035 section 5.2)",
                "remove the policy",
            ),
            RoutingPolicy::Failover(_) if rtype == Rtype::NS => (
                "a failover set of type NS".to_owned(),
                "Route 53 has none (Developer Guide, resource-record-sets-values-failover)",
                "remove the policy",
            ),
            RoutingPolicy::Multivalue if matches!(rtype, Rtype::NS | Rtype::CNAME) => (
                format!("a multivalue set of type {rtype}"),
                "Route 53 has none (Developer Guide, resource-record-sets-values-multivalue)",
                "use another policy; `weight` gives one of several by chance",
            ),
            RoutingPolicy::Multivalue if is_alias => (
                "a multivalue alias".to_owned(),
                "Route 53 has none (API, ResourceRecordSet: MultiValueAnswer)",
                "write `values`, or use `weight`",
            ),
            RoutingPolicy::Failover(_) if is_alias && !evaluates => (
                "a failover alias without `evaluate_target_health = true`".to_owned(),
                "Route 53 wants it there (API, ResourceRecordSet: Failover)",
                "add `evaluate_target_health = true`",
            ),
            RoutingPolicy::Failover(FailoverRole::Primary) if !is_alias && routing.health_check.is_none() => (
                "a primary without a `health_check`".to_owned(),
                "Route 53: \"A non-alias primary ResourceRecordSet must have an associated health check\"",
                "add `health_check`, the id of a [[health_check]]",
            ),
            _ => return Ok(()),
        };
        self.reading.report(self.reading.error(record.at, label, problem).rule(rule).hint(hint));
        Err(Refused)
    }

    /// Counts a set; says so where Route 53 takes no more of its name and type.
    pub(super) fn has_room_for(
        &mut self,
        zone: &mut ZoneInMaking<'_>,
        (owner, rtype): (&Name, Rtype),
        routing: &Routing,
        at: usize,
        label: &str,
    ) -> bool {
        let count = zone.routed_counts.entry((owner.clone(), rtype)).or_default();
        *count += 1;
        let (count, most) = (*count, routing.policy.sets_max());
        if count == most + 1 {
            let problem = format!("more than {most} {} sets {rtype} `{owner}`", routing.policy.name());
            let rule = "Route 53 takes no more of one name and type (Developer Guide, DNSLimitations)";
            self.reading.report(self.reading.error(at, label, problem).rule(rule).hint("remove some"));
        }
        count <= most
    }
}

/// Why a record set has one policy.
const EXACTLY_ONE_RULE: &str = "Route 53: \"Expected exactly one of [Weight, Region, Failover, GeoLocation, or MultiValueAnswer]\", or geoproximity";
/// Characters of a set identifier (Route 53 API, ResourceRecordSet).
const SET_IDENTIFIER_CHARACTERS_MAX: usize = 128;
/// The largest bias, either way (Route 53 API, GeoProximityLocation).
const BIAS_MAX: u8 = 99;
/// The states of the United States and their capital's district, as geolocation codes them.
const STATES: [&str; 51] = [
    "AK", "AL", "AR", "AZ", "CA", "CO", "CT", "DC", "DE", "FL", "GA", "HI", "IA", "ID", "IL", "IN", "KS", "KY", "LA",
    "MA", "MD", "ME", "MI", "MN", "MO", "MS", "MT", "NC", "ND", "NE", "NH", "NJ", "NM", "NV", "NY", "OH", "OK", "OR",
    "PA", "RI", "SC", "SD", "TN", "TX", "UT", "VA", "VT", "WA", "WI", "WV", "WY",
];
/// The countries of ISO 3166-1.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR \
    BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI \
    FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS \
    IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA \
    RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT \
    TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_lies_in_a_country_and_state_that_can_be_written() {
        assert_eq!(COUNTRIES.split(' ').count(), 249);
        for region in region::names().filter_map(region::find) {
            assert!(COUNTRIES.split(' ').any(|country| country == region.country.as_str()), "{}", region.name);
            assert!(region.subdivision.is_none_or(|state| STATES.contains(&state.as_str())), "{}", region.name);
        }
    }
}
