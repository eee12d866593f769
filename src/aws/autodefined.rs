//! EC2's names: what they end in, in each region.

use crate::dns::Name;

/// The first region, whose names are older than the rule for the others.
const FIRST_REGION: &str = "us-east-1";

/// What the private names of instances end in: `ap-northeast-2.compute.internal`; in us-east-1 `ec2.internal`
/// (EC2 user guide, ec2-instance-naming).
pub fn private_domain(region: &str) -> Name {
    match region {
        FIRST_REGION => name(&["ec2", "internal"]),
        _ => name(&[region, "compute", "internal"]),
    }
}

/// A further domain of private names that the region has: us-east-1's `compute-1.internal`.
pub fn further_private_domain(region: &str) -> Option<Name> {
    (region == FIRST_REGION).then(|| name(&["compute-1", "internal"]))
}

/// What the public names of instances end in: `ap-northeast-2.compute.amazonaws.com`, in China
/// `cn-north-1.compute.amazonaws.com.cn`, in us-east-1 `compute-1.amazonaws.com` (VPC user guide, vpc-dns).
pub fn public_domain(region: &str) -> Name {
    match region {
        FIRST_REGION => name(&["compute-1", "amazonaws", "com"]),
        _ => {
            let suffix = PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix));
            let suffix = suffix.map_or(&["amazonaws", "com"][..], |(_, suffix)| suffix);
            name(&[&[region, "compute"], suffix].concat())
        }
    }
}

/// What regions of the partitions begin with whose names do not end in `amazonaws.com`, and what these end in: China and
/// the European Sovereign Cloud (botocore, data/partitions.json: dnsSuffix).
const PARTITIONS: [(&str, &[&str]); 2] = [("cn-", &["amazonaws", "com", "cn"]), ("eusc-", &["amazonaws", "eu"])];

fn name(labels: &[&str]) -> Name {
    Name::from_labels(labels.iter().map(|label| label.as_bytes())).expect("a region's name is a label")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_of_the_partitions() {
        for (region, private, public) in [
            ("us-east-1", "ec2.internal.", "compute-1.amazonaws.com."),
            ("us-west-2", "us-west-2.compute.internal.", "us-west-2.compute.amazonaws.com."),
            ("cn-north-1", "cn-north-1.compute.internal.", "cn-north-1.compute.amazonaws.com.cn."),
            ("eusc-de-east-1", "eusc-de-east-1.compute.internal.", "eusc-de-east-1.compute.amazonaws.eu."),
            ("us-gov-west-1", "us-gov-west-1.compute.internal.", "us-gov-west-1.compute.amazonaws.com."),
        ] {
            assert_eq!(
                (private_domain(region).to_string(), public_domain(region).to_string()),
                (private.to_owned(), public.to_owned())
            );
        }
        assert_eq!(
            further_private_domain("us-east-1").map(|name| name.to_string()),
            Some("compute-1.internal.".into())
        );
        assert_eq!(further_private_domain("us-east-2"), None);
    }
}
