//! Zones: hosted zones, the hidden zones of endpoints, and the autodefined ones.

/// Which of [`super::Snapshot::zones`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneIndex(pub u32);

/// What kind of source a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZoneKind {
    /// A private hosted zone.
    HostedZone,
    /// The hidden zone of an endpoint's private DNS name.
    PrivateName,
    /// The hidden zone of a `vpce-…` name.
    EndpointName,
    /// `localhost` and the other built-in names.
    BuiltIn,
    /// EC2's names and the reverse zones of the VPC's addresses.
    Autodefined,
}

/// Where the names of a zone come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// They are stored.
    Stored,
    /// There are none, not even the apex (`invalid`, `onion`: RFC 6761 section 6.4, RFC 7686).
    Denied,
    /// Some are stored, here or with the VPCs that the view sees, and each address of the view's blocks has its IP name.
    IpNames,
    /// Some are stored with the VPCs that the view sees; the others are public, and asked of the upstream.
    PublicNames,
    /// Each address of the view's blocks has its reverse name. A zone of blocks stands for all of as many labels.
    ReverseNames,
}

/// One zone; its names stand in the node table under its index.
#[derive(Clone, Debug)]
pub struct Zone {
    /// What kind of source it is.
    pub kind: ZoneKind,
    /// Labels of the apex.
    pub apex_labels: u8,
    /// Labels of the longest name in it: nothing longer needs to be looked for.
    pub labels_max: u8,
    /// Whether a `*` stands directly below the apex.
    pub apex_has_wildcard: bool,
    /// Where its names come from.
    pub contents: Contents,
    /// The SOA of a negative answer as a template, TTL = min(SOA TTL, MINIMUM) (RFC 2308 section 3).
    pub negative_soa: Box<[u8]>,
    /// What it is called in words: the hosted zone's or endpoint's id.
    pub id: Box<str>,
}

impl Zone {
    /// How long a negative answer lives, in seconds: the TTL of its SOA.
    pub fn negative_ttl_seconds(&self) -> u32 {
        // Behind the owner's pointer, the type and the class.
        self.negative_soa.get(6..10).and_then(|ttl| ttl.try_into().ok()).map_or(0, u32::from_be_bytes)
    }
}
