//! Endpoint services (PrivateLink): what a provider offers to the endpoints of others. They answer nothing by themselves;
//! their private DNS names become those of endpoints.

/// The states of the verification that a private DNS name is the provider's (EC2 API, PrivateDnsNameConfiguration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "AWS's own words")]
pub enum DnsNameState {
    PendingVerification,
    Verified,
    Failed,
}

impl DnsNameState {
    /// Every state and the word the EC2 API has for it.
    pub const WORDS: [(&str, Self); 3] =
        [("pendingVerification", Self::PendingVerification), ("verified", Self::Verified), ("failed", Self::Failed)];
}
