//! Service names of VPC endpoints: `com.amazonaws.REGION.SERVICE` and the other forms AWS has.

use crate::dns::name::LABEL_OCTETS_MAX;

/// Whether a word has the form of a region's name: `ap-northeast-2`, `us-gov-west-1`. It is a label of names.
pub fn is_region(word: &str) -> bool {
    let mut parts = word.split('-');
    let Some(last) = parts.next_back() else { return false };
    let words: Vec<&str> = parts.collect();
    word.len() <= LABEL_OCTETS_MAX
        && words.len() >= 2
        && (1..=2).contains(&last.len())
        && last.bytes().all(|octet| octet.is_ascii_digit())
        && words.iter().all(|word| word.len() >= 2 && word.bytes().all(|octet| octet.is_ascii_lowercase()))
}

/// A service name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceName<'n> {
    /// The whole name.
    pub text: &'n str,
    /// The region in it; global services have none.
    pub region: Option<&'n str>,
    /// Who offers it.
    pub owner: ServiceOwner,
}

/// Who offers a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceOwner {
    /// AWS itself: the catalogue may know it.
    Aws,
    /// Somebody else, `com.amazonaws.vpce.REGION.vpce-svc-ID`: nobody but the operator knows its private name.
    Provider,
}

impl<'n> ServiceName<'n> {
    /// Takes a service name apart; none if it has no form that AWS gives.
    pub fn parse(text: &'n str) -> Option<Self> {
        let labels: Vec<&str> = text.split('.').collect();
        let well_formed = labels.iter().all(|label| {
            !label.is_empty()
                && label.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
        });
        if !well_formed {
            return None;
        }
        // China prefixes some names with `cn`.
        let plain = labels.strip_prefix(&["cn"]).unwrap_or(&labels);
        let (rest, owner) = match plain {
            ["com", "amazonaws", "vpce", rest @ ..] => (rest, ServiceOwner::Provider),
            ["com", "amazonaws", rest @ ..] | ["aws", rest @ ..] => (rest, ServiceOwner::Aws),
            _ => return None,
        };
        let region = rest.iter().copied().find(|label| is_region(label));
        match owner {
            ServiceOwner::Provider if region.is_none() || rest.len() != 2 || !rest[1].starts_with("vpce-svc-") => None,
            _ if rest.is_empty() || (rest.len() == 1 && region.is_some()) => None,
            _ => Some(Self { text, region, owner }),
        }
    }

    /// The name with `{region}` where the region stands: how the catalogue writes it.
    pub fn template(&self) -> String {
        let labels: Vec<&str> =
            self.text.split('.').map(|label| if Some(label) == self.region { "{region}" } else { label }).collect();
        labels.join(".")
    }

    /// Whether this is S3 of a region: its endpoint names are wildcards, its private names may be for inbound only.
    pub fn is_s3(&self) -> bool {
        self.owner == ServiceOwner::Aws && self.text.ends_with(".s3") && self.region.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_words_and_a_number() {
        assert!(is_region("ap-northeast-2") && is_region("us-gov-west-1"));
        assert!(!is_region("vpce-svc-0123") && !is_region("us-east") && !is_region("1") && !is_region("apne2-az1"));
    }

    #[test]
    fn names_are_taken_apart() {
        let ecr = ServiceName::parse("com.amazonaws.ap-northeast-2.ecr.dkr").expect("known form");
        assert_eq!((ecr.region, ecr.owner), (Some("ap-northeast-2"), ServiceOwner::Aws));
        assert_eq!(ecr.template(), "com.amazonaws.{region}.ecr.dkr");
        let notebook = ServiceName::parse("aws.sagemaker.us-east-1.notebook").expect("known form");
        assert_eq!(notebook.template(), "aws.sagemaker.{region}.notebook");
        let provider = ServiceName::parse("com.amazonaws.vpce.us-east-1.vpce-svc-0057da316bfac556a");
        assert_eq!(provider.map(|name| name.owner), Some(ServiceOwner::Provider));
        assert_eq!(ServiceName::parse("com.amazonaws.iam").map(|name| name.region), Some(None));
        assert!(ServiceName::parse("com.amazonaws.eu-west-1.s3").is_some_and(|name| name.is_s3()));
        for bad in ["", "s3", "com.amazonaws", "com.amazonaws.eu-west-1", "com.amazonaws..s3", "com.amazonaws.EU.s3"] {
            assert_eq!(ServiceName::parse(bad), None, "{bad}");
        }
    }
}
