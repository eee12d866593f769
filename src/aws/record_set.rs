//! Resource record sets: AWS's unit inside a hosted zone.

use super::routing_policy::Routing;
use crate::dns::{Name, Rtype, Ttl};

/// One resource record set.
#[derive(Clone, Debug)]
pub struct RecordSet {
    /// Whose records they are; a wildcard is stored as its `*` label.
    pub owner: Name,
    /// Their type; never OPT or a query type.
    pub rtype: Rtype,
    /// The records, or what they are an alias of.
    pub data: RecordData,
    /// What chooses between it and the others of its owner and type; none: simple routing, and there is no other.
    pub routing: Option<Box<Routing>>,
}

/// What a record set holds.
#[derive(Clone, Debug)]
pub enum RecordData {
    /// Records of its own: the TTL they share, and each rdata in wire form behind its length (u16, big-endian).
    /// At least one. Names inside are uncompressed and keep their case.
    Records {
        /// The TTL of the whole set (RFC 2181 section 5.2).
        ttl: Ttl,
        /// Length-prefixed rdata, one after another.
        rdatas: Box<[u8]>,
    },
    /// An alias: answered under this set's own name with the target's records and TTL, no CNAME shown
    /// (Route 53 Developer Guide, resource-record-sets-choosing-alias-non-alias).
    Alias {
        /// What it points at.
        target: AliasTarget,
        /// Whether it is only as healthy as what it points at (Route 53 API, AliasTarget: EvaluateTargetHealth).
        evaluate_target_health: bool,
    },
}

/// What an alias points at, settled.
#[derive(Clone, Debug)]
pub enum AliasTarget {
    /// The record sets of the same zone, of this name and of the alias's own type. They exist, no loop leads back, and
    /// the way from here has at most [`super::routing_policy::ALIAS_DEPTH_MAX`] aliases and policies.
    SameZone(Name),
    /// The regional or zonal name of an endpoint, or that of an association, in this configuration (index into `Model::endpoints`).
    Endpoint {
        /// Which endpoint.
        endpoint: usize,
        /// Which of its names: none for the regional one, else the index into its `zonal` list, or into its
        /// `associations`.
        zonal: Option<usize>,
    },
    /// Any other name under an AWS suffix (ELB, API Gateway, S3 website): asked from the view's forwarder.
    Forwarded(Name),
}

/// Walks length-prefixed rdata.
pub fn rdatas(mut packed: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (octets, rest) = packed.split_first_chunk::<2>()?;
        let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*octets)))?;
        packed = rest;
        Some(rdata)
    })
}

/// Appends one length-prefixed rdata (at most 65,535 octets).
pub fn push_rdata(packed: &mut Vec<u8>, rdata: &[u8]) {
    let octets = u16::try_from(rdata.len()).expect("rdata is at most 65,535 octets in every form that is read");
    packed.extend_from_slice(&octets.to_be_bytes());
    packed.extend_from_slice(rdata);
}

/// Where a name lies that an alias of a private hosted zone may point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasSuffix {
    /// Under the names of VPC endpoints.
    Endpoint,
    /// Under another suffix of AWS.
    Aws,
    /// CloudFront, which a private hosted zone may not alias
    /// (Route 53 Developer Guide, resource-record-sets-choosing-alias-non-alias).
    CloudFront,
    /// Not AWS's.
    Elsewhere,
}

impl AliasSuffix {
    /// Classifies a name by its last labels.
    pub fn of(name: &Name) -> Self {
        let labels: Vec<&[u8]> = name.labels().collect();
        let is_below = |suffix: &str| {
            let mut rest = labels.iter().rev();
            suffix.rsplit('.').all(|label| rest.next().is_some_and(|own| *own == label.as_bytes()))
                && rest.next().is_some()
        };
        match () {
            () if ENDPOINT_SUFFIXES.into_iter().any(is_below) => Self::Endpoint,
            () if is_below("cloudfront.net") => Self::CloudFront,
            () if AWS_SUFFIXES.into_iter().any(is_below) => Self::Aws,
            () => Self::Elsewhere,
        }
    }
}

/// Suffixes of endpoint names (PL:privatelink-access-aws-services; China's from the AWS CDK).
const ENDPOINT_SUFFIXES: [&str; 3] = ["vpce.amazonaws.com", "vpce.amazonaws.com.cn", "vpce.sagemaker.aws"];
/// Suffixes of what Route 53 makes aliases to: ELB, API Gateway, S3 websites, OpenSearch (amazonaws.com and, for the
/// partitions, .cn, .eu), everything under AWS's own top-level domain (on.aws, api.aws), and products with their own.
const AWS_SUFFIXES: [&str; 7] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "aws",
    "elasticbeanstalk.com",
    "awsglobalaccelerator.com",
    "awsapprunner.com",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_whole_labels() {
        let suffix =
            |text: &str| AliasSuffix::of(&Name::from_labels(text.split('.').map(str::as_bytes)).expect("a name"));
        assert_eq!(suffix("vpce-1-a.kms.eu-west-1.vpce.amazonaws.com"), AliasSuffix::Endpoint);
        assert_eq!(suffix("dualstack.lb-1.eu-west-1.elb.amazonaws.com"), AliasSuffix::Aws);
        assert_eq!(suffix("d-x.execute-api.eu-west-1.amazonaws.com"), AliasSuffix::Aws);
        assert_eq!(suffix("abc.eu-west-1.on.aws"), AliasSuffix::Aws);
        assert_eq!(suffix("d111.cloudfront.net"), AliasSuffix::CloudFront);
        assert_eq!(suffix("notamazonaws.com"), AliasSuffix::Elsewhere);
        assert_eq!(suffix("amazonaws.com"), AliasSuffix::Elsewhere);
        assert_eq!(suffix("www.example.com"), AliasSuffix::Elsewhere);
    }

    #[test]
    fn packed_rdata_comes_out_as_it_went_in() {
        let mut packed = Vec::new();
        push_rdata(&mut packed, b"one");
        push_rdata(&mut packed, b"");
        push_rdata(&mut packed, b"three");
        assert_eq!(rdatas(&packed).collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
    }
}
