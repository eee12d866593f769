//! Partitions of AWS: groups of regions with DNS suffixes of their own.
//!
//! The suffixes are those of the SDKs' endpoint rules (botocore's `partitions.json`).

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name, as `aws-cn`.
    pub name: &'static str,
    /// What the names of services end in: `amazonaws.com`.
    pub dns_suffix: &'static str,
    /// What their dual-stack names end in: `api.aws`; none where there are no such names.
    pub dual_stack_dns_suffix: Option<&'static str>,
    /// What its regions begin with.
    region_prefix: &'static str,
}

impl Partition {
    /// The partition of a region.
    pub fn of_region(region: &str) -> &'static Self {
        PARTITIONS.iter().find(|partition| region.starts_with(partition.region_prefix)).unwrap_or(&COMMERCIAL)
    }

    /// Whether its names end as those of the partition `aws`: so do those of `aws-us-gov`.
    pub fn has_commercial_suffixes(&self) -> bool {
        self.dns_suffix == COMMERCIAL.dns_suffix
    }
}

const COMMERCIAL: Partition = partition("aws", "amazonaws.com", Some("api.aws"), "");

/// All but `aws`, whose regions begin with anything else.
const PARTITIONS: [Partition; 7] = [
    partition("aws-cn", "amazonaws.com.cn", Some("api.amazonwebservices.com.cn"), "cn-"),
    partition("aws-us-gov", "amazonaws.com", Some("api.aws"), "us-gov-"),
    partition("aws-iso", "c2s.ic.gov", None, "us-iso-"),
    partition("aws-iso-b", "sc2s.sgov.gov", None, "us-isob-"),
    partition("aws-iso-e", "cloud.adc-e.uk", None, "eu-isoe-"),
    partition("aws-iso-f", "csp.hci.ic.gov", None, "us-isof-"),
    partition("aws-eusc", "amazonaws.eu", Some("api.amazonwebservices.eu"), "eusc-"),
];

const fn partition(
    name: &'static str,
    dns_suffix: &'static str,
    dual_stack_dns_suffix: Option<&'static str>,
    region_prefix: &'static str,
) -> Partition {
    Partition { name, dns_suffix, dual_stack_dns_suffix, region_prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_says_its_partition() {
        for (region, name) in [
            ("us-west-2", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-east-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(Partition::of_region(region).name, name, "{region}");
        }
        assert!(Partition::of_region("us-gov-west-1").has_commercial_suffixes());
        assert!(!Partition::of_region("cn-north-1").has_commercial_suffixes());
    }
}
