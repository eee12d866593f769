//! How long an RR may be kept.

/// A time to live in seconds, at most 2^31-1 (RFC 2181 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u32);

impl Ttl {
    /// The largest TTL there is (RFC 2181 section 8).
    pub const MAX: Self = Self(0x7fff_ffff);
    /// What a record that states no TTL gets in the configuration: 300 seconds.
    pub const DEFAULT: Self = Self(300);

    /// Takes seconds as the wire gives them: a value with the top bit set counts as 0 (RFC 2181 section 8).
    pub const fn from_wire(seconds: u32) -> Self {
        if seconds > Self::MAX.0 { Self(0) } else { Self(seconds) }
    }

    /// Takes seconds that an operator wrote; none if over 2^31-1.
    pub const fn from_seconds(seconds: u32) -> Option<Self> {
        if seconds > Self::MAX.0 { None } else { Some(Self(seconds)) }
    }

    /// The TTL in seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }
}
