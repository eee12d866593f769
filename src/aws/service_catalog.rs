//! The catalogue of endpoint services and the private DNS names each has.
//!
//! The data is `service-catalog.tsv` beside this file; its head says where each fact comes from.

use super::partition::Partition;
use super::service_name::{ServiceName, ServiceOwner};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What the catalogue says of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogEntry<'n> {
    /// How well the private names are known.
    pub confidence: Confidence,
    /// Whether there are gateway endpoints for it (S3 and DynamoDB).
    pub has_gateway: bool,
    /// What the catalogue says besides, for people.
    pub note: Option<&'static str>,
    private_names: &'static str,
    region: Option<&'n str>,
    partition: &'static Partition,
}

/// How well a service's private names are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// An AWS page states them, or states that there are none.
    Documented,
    /// Seen on the wire, or equal to a host name that AWS's SDK calls.
    Evidenced,
    /// Made by the general rule; nothing independent agrees.
    Inferred,
    /// No basis.
    Unknown,
}

/// What private DNS of a service answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivateNames {
    /// These names; a leading `*.` stands for everything below.
    Names(Vec<String>),
    /// AWS says that it has none.
    None,
    /// The catalogue cannot say: no list, or one with a word in it that only the account knows.
    NotKnown,
}

/// Looks a service up; none if the catalogue does not have it.
pub fn find<'n>(service: &ServiceName<'n>) -> Option<CatalogEntry<'n>> {
    if service.owner == ServiceOwner::Provider {
        return None;
    }
    let template = service.template();
    // China prefixes some names with `cn`.
    let template = template.strip_prefix("cn.").unwrap_or(&template);
    let exact = BY_SERVICE.get(template).or_else(|| BY_SERVICE.get(service.text));
    let row = exact.or_else(|| BY_SERVICE.values().find(|row| row.is_pattern && matches(row.service, template)));
    let partition = Partition::of_region(service.region.unwrap_or_default());
    row.map(|row| CatalogEntry {
        confidence: match row.confidence {
            // The pages and transcripts are of other partitions, but for what a service does not have at all.
            Confidence::Documented | Confidence::Evidenced
                if !partition.has_commercial_suffixes() && row.private_names != EMPTY =>
            {
                Confidence::Inferred
            }
            confidence => confidence,
        },
        partition,
        has_gateway: row.types.contains("gateway"),
        note: row.note,
        private_names: row.private_names,
        region: service.region,
    })
}

/// The service names of the catalogue, `{region}` filled in: for suggestions.
pub fn service_names(region: &str) -> impl Iterator<Item = String> {
    rows().map(move |row| row.service.replace(REGION, region))
}

impl CatalogEntry<'_> {
    /// The private names in the service's own region and partition.
    pub fn private_names(&self) -> PrivateNames {
        let names = self.names().filter_map(|name| self.in_partition(name));
        let names: Vec<String> = match self.region {
            Some(region) => names.map(|name| name.replace(REGION, region)).collect(),
            None => names.collect(),
        };
        match self.confidence {
            _ if names.iter().any(|name| name.contains('{')) => PrivateNames::NotKnown,
            Confidence::Documented if names.is_empty() => PrivateNames::None,
            _ if names.is_empty() => PrivateNames::NotKnown,
            _ => PrivateNames::Names(names),
        }
    }

    /// A name of the partition `aws` as another partition has it; none where that is not known.
    fn in_partition(&self, name: &str) -> Option<String> {
        let Partition { name: partition, dns_suffix, dual_stack_dns_suffix, .. } = *self.partition;
        match name.split_once(REGION) {
            _ if partition == "aws" => Some(name.to_owned()),
            // A name without a region is that of one region of `aws`.
            None => None,
            _ if self.partition.has_commercial_suffixes() => Some(name.to_owned()),
            Some((host, ".amazonaws.com")) => Some(format!("{host}{REGION}.{dns_suffix}")),
            Some((host, ".api.aws")) => dual_stack_dns_suffix.map(|suffix| format!("{host}{REGION}.{suffix}")),
            Some(_) => None,
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.private_names.split(' ').filter(|name| *name != EMPTY)
    }
}

/// One line of the data.
struct Row {
    service: &'static str,
    types: &'static str,
    confidence: Confidence,
    private_names: &'static str,
    note: Option<&'static str>,
    /// Whether the service name has a `{word}` besides the region.
    is_pattern: bool,
}

/// The lines of the data by service name, read once.
static BY_SERVICE: LazyLock<HashMap<&'static str, Row>> =
    LazyLock::new(|| rows().map(|row| (row.service, row)).collect());

/// The lines of the data, taken apart.
fn rows() -> impl Iterator<Item = Row> {
    DATA.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.split('\t');
        let (service, types, confidence) = (columns.next()?, columns.next()?, columns.next()?);
        let (private_names, _sources, note) = (columns.next()?, columns.next()?, columns.next()?);
        let confidence = match confidence {
            "documented" => Confidence::Documented,
            "documented-partly" | "observed" | "corroborated" | "corroborated-alt" => Confidence::Evidenced,
            "inferred" => Confidence::Inferred,
            "unknown" => Confidence::Unknown,
            _ => return None,
        };
        let is_pattern = service.replace(REGION, "").contains('{');
        Some(Row { service, types, confidence, private_names, note: (note != EMPTY).then_some(note), is_pattern })
    })
}

/// Whether a name of the catalogue, whose labels may end in a `{word}` for anything, is this one.
fn matches(pattern: &str, name: &str) -> bool {
    let (patterns, labels) = (pattern.split('.'), name.split('.'));
    patterns.clone().count() == labels.clone().count()
        && patterns.zip(labels).all(|(pattern, label)| match pattern.split_once('{') {
            // The region is already `{region}` in a name that has one.
            _ if pattern == label => true,
            Some((before, _)) if pattern != REGION => label.len() > before.len() && label.starts_with(before),
            _ => false,
        })
}

const DATA: &str = include_str!("service-catalog.tsv");
const REGION: &str = "{region}";
const EMPTY: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    fn private_names(service: &str) -> Option<PrivateNames> {
        find(&ServiceName::parse(service).expect("a service name")).map(|entry| entry.private_names())
    }

    #[test]
    fn every_line_is_read() {
        let lines = DATA.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!((lines, rows().count()), (503, 503));
    }

    #[test]
    fn names_are_those_of_the_region() {
        let names = |list: &[&str]| Some(PrivateNames::Names(list.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(private_names("com.amazonaws.eu-west-1.kms"), names(&["kms.eu-west-1.amazonaws.com"]));
        assert_eq!(private_names("aws.sagemaker.eu-west-1.notebook"), names(&["*.notebook.eu-west-1.sagemaker.aws"]));
        assert_eq!(private_names("com.amazonaws.iam"), names(&["iam.amazonaws.com"]));
    }

    #[test]
    fn names_are_those_of_the_partition() {
        let names = |list: &[&str]| Some(PrivateNames::Names(list.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(private_names("com.amazonaws.cn-north-1.kms"), names(&["kms.cn-north-1.amazonaws.com.cn"]));
        assert_eq!(private_names("cn.com.amazonaws.cn-north-1.kms"), names(&["kms.cn-north-1.amazonaws.com.cn"]));
        assert_eq!(
            private_names("com.amazonaws.cn-north-1.ssm"),
            names(&["ssm.cn-north-1.amazonaws.com.cn", "ssm.cn-north-1.api.amazonwebservices.com.cn"])
        );
        // What stands below on.aws elsewhere is not known.
        assert_eq!(
            private_names("com.amazonaws.cn-north-1.ecr.dkr"),
            names(&["dkr.ecr.cn-north-1.amazonaws.com.cn", "*.dkr.ecr.cn-north-1.amazonaws.com.cn"])
        );
        assert_eq!(
            private_names("com.amazonaws.us-gov-west-1.logs"),
            names(&[
                "logs.us-gov-west-1.amazonaws.com",
                "logs.us-gov-west-1.api.aws",
                "streaming-logs.us-gov-west-1.amazonaws.com",
                "streaming-logs.us-gov-west-1.api.aws"
            ])
        );
        assert_eq!(private_names("com.amazonaws.us-gov-west-1.account"), Some(PrivateNames::NotKnown));
        assert_eq!(private_names("com.amazonaws.us-iso-east-1.kms"), names(&["kms.us-iso-east-1.c2s.ic.gov"]));
        assert_eq!(private_names("com.amazonaws.cn-north-1.dynamodb"), Some(PrivateNames::None));
        let confidence =
            |service| find(&ServiceName::parse(service).expect("a service name")).map(|entry| entry.confidence);
        assert_eq!(confidence("com.amazonaws.us-gov-west-1.kms"), Some(Confidence::Evidenced));
        assert_eq!(confidence("com.amazonaws.cn-north-1.kms"), Some(Confidence::Inferred));
    }

    #[test]
    fn what_is_not_known_is_told_apart_from_none() {
        assert_eq!(private_names("com.amazonaws.eu-west-1.dynamodb"), Some(PrivateNames::None));
        assert_eq!(private_names("com.amazonaws.eu-west-1.iot.data"), Some(PrivateNames::NotKnown));
        assert_eq!(private_names("com.amazonaws.eu-west-1.dsql-fnh4"), Some(PrivateNames::NotKnown));
        assert_eq!(private_names("com.amazonaws.eu-west-1.timestream.ingest-cell1"), Some(PrivateNames::NotKnown));
        assert_eq!(private_names("com.amazonaws.eu-west-1.nothing"), None);
        assert_eq!(private_names("com.amazonaws.vpce.eu-west-1.vpce-svc-01"), None);
    }
}
