//! Regions of AWS and the groups of its Local Zones: where each lies.
//!
//! The data is `regions.tsv` beside this file; its head says where each fact comes from.

use std::collections::HashMap;
use std::sync::LazyLock;

/// One region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Its name, as `ap-northeast-2`.
    pub name: &'static str,
    /// Where it lies.
    pub coordinates: Coordinates,
    /// On which continent.
    pub continent: Continent,
    /// In which country (ISO 3166-1).
    pub country: Code,
    /// In which state, for regions in the United States.
    pub subdivision: Option<Code>,
}

/// A code of two letters, in capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code([u8; 2]);

impl Code {
    /// The United States, whose states are the subdivisions of geolocation.
    pub const US: Self = Self(*b"US");

    /// Reads two letters in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: &[u8; 2] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A continent as geolocation routing divides the earth (Route 53 API, GeoLocation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Continent {
    /// AF.
    Africa,
    /// AN.
    Antarctica,
    /// AS.
    Asia,
    /// EU.
    Europe,
    /// NA.
    NorthAmerica,
    /// OC.
    Oceania,
    /// SA.
    SouthAmerica,
}

impl Continent {
    /// Every continent with its code.
    pub const ALL: [(&'static str, Self); 7] = [
        ("AF", Self::Africa),
        ("AN", Self::Antarctica),
        ("AS", Self::Asia),
        ("EU", Self::Europe),
        ("NA", Self::NorthAmerica),
        ("OC", Self::Oceania),
        ("SA", Self::SouthAmerica),
    ];

    /// Reads a code in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(code, _)| code.eq_ignore_ascii_case(text)).map(|(_, continent)| *continent)
    }
}

/// A point on the earth, in decimal degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinates {
    /// North is positive; −90 to 90.
    pub latitude: f64,
    /// East is positive; −180 to 180.
    pub longitude: f64,
}

impl Coordinates {
    /// The length of the great circle between two points in kilometres (haversine formula).
    pub fn distance_km(self, other: Self) -> f64 {
        let half_sine = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let across = half_sine(other.latitude - self.latitude);
        let along = half_sine(other.longitude - self.longitude);
        let cosines = self.latitude.to_radians().cos() * other.latitude.to_radians().cos();
        2.0 * EARTH_RADIUS_KM * (across + cosines * along).min(1.0).sqrt().asin()
    }
}

/// The mean radius of the earth in kilometres.
const EARTH_RADIUS_KM: f64 = 6371.0;

/// The region of a name; none if the table does not have it.
pub fn find(name: &str) -> Option<&'static Region> {
    TABLE.regions.get(name)
}

/// The names of all regions of the table, in the order of the alphabet: for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.names.iter().copied()
}

/// Where a group of Local Zones lies, as `us-west-2-lax-1`: by its name without the number of the group.
pub fn local_zone_group(name: &str) -> Option<Coordinates> {
    let (place, number) = name.rsplit_once('-')?;
    let is_numbered = (1..=2).contains(&number.len()) && number.bytes().all(|octet| octet.is_ascii_digit());
    TABLE.local_zones.get(place).copied().filter(|_| is_numbered)
}

/// The names of all groups of Local Zones of the table, each as its first group.
pub fn local_zone_groups() -> impl Iterator<Item = String> {
    TABLE.local_zones.keys().map(|place| format!("{place}-1"))
}

/// The data, taken apart.
struct Table {
    regions: HashMap<&'static str, Region>,
    names: Vec<&'static str>,
    local_zones: HashMap<&'static str, Coordinates>,
}

/// The data, read once.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table { regions: HashMap::new(), names: Vec::new(), local_zones: HashMap::new() };
    for (is_region, place) in DATA.lines().filter_map(row) {
        if is_region {
            table.names.push(place.name);
            table.regions.insert(place.name, place);
        } else {
            table.local_zones.insert(place.name, place.coordinates);
        }
    }
    table.names.sort_unstable();
    table
});

/// One line of the data: whether it is a region, and what it says. None for comments; a test counts the others.
fn row(line: &'static str) -> Option<(bool, Region)> {
    let mut columns = line.split('\t');
    let is_region = match columns.next()? {
        "region" => true,
        "local-zone" => false,
        _ => return None,
    };
    let name = columns.next()?;
    let coordinates = Coordinates { latitude: columns.next()?.parse().ok()?, longitude: columns.next()?.parse().ok()? };
    let (continent, country) = (Continent::parse(columns.next()?)?, Code::parse(columns.next()?)?);
    let subdivision = Code::parse(columns.next()?);
    Some((is_region, Region { name, coordinates, continent, country, subdivision }))
}

/// The data itself.
const DATA: &str = include_str!("regions.tsv");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::service_name::is_region;

    #[test]
    fn every_line_is_read() {
        let lines = DATA.lines().filter(|line| !line.starts_with('#'));
        assert!(lines.clone().all(|line| row(line).is_some() && line.split('\t').count() == 8));
        assert_eq!(TABLE.regions.len() + TABLE.local_zones.len(), lines.count(), "no place stands there twice");
        let told = format!("{} regions, {} groups", TABLE.regions.len(), TABLE.local_zones.len());
        assert!(DATA.lines().next().is_some_and(|first| first.contains(&told)), "the head says {told}");
    }

    #[test]
    fn every_place_has_the_form_of_its_kind() {
        for region in TABLE.regions.values() {
            assert!(is_region(region.name), "{}", region.name);
            assert_eq!(region.country == Code::US, region.subdivision.is_some(), "{}", region.name);
        }
        for group in local_zone_groups() {
            let region = names().find(|region| group.starts_with(region)).expect("a group lies below its region");
            let distance = local_zone_group(&group).map(|at| at.distance_km(find(region).expect("known").coordinates));
            // Buenos Aires, Lima and Santiago belong to us-east-1, Honolulu to us-west-2.
            assert!(distance.is_some_and(|km| km < 9000.0), "{group} is {distance:?} km from {region}");
        }
    }

    #[test]
    fn distances_are_those_of_the_atlas() {
        let at = |region| find(region).expect("known").coordinates;
        let near = |km: f64, expected: f64| (km - expected).abs() < expected / 50.0;
        assert!(near(at("ap-northeast-2").distance_km(at("ap-northeast-1")), 1160.0), "Seoul to Tokyo");
        assert!(near(at("eu-west-1").distance_km(at("us-east-1")), 5460.0), "Dublin to Ashburn");
        assert!(near(at("ap-southeast-2").distance_km(at("sa-east-1")), 13_400.0), "Sydney to Sao Paulo");
        assert!(at("us-west-2").distance_km(at("us-west-2")) < 0.001);
    }

    #[test]
    fn groups_of_local_zones_have_a_number() {
        assert!(local_zone_group("us-west-2-lax-1").is_some() && local_zone_group("us-east-1-chi-2").is_some());
        for bad in ["us-west-2-lax", "us-west-2-lax-", "us-west-2-xxx-1", "us-west-2-lax-1a", ""] {
            assert!(local_zone_group(bad).is_none(), "{bad}");
        }
    }
}
