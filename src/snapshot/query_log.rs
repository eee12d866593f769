//! What the query log says of a VPC beside its answers, and which logs have whose queries.

use std::collections::HashMap;
use std::net::IpAddr;

/// Some of the logs that queries are written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logs(u8);

impl Logs {
    /// How many there are.
    pub const COUNT: usize = 2;
    /// None of them.
    pub const NONE: Self = Self(0);
    /// The query log, a line a query.
    pub const QUERY_LOG: Self = Self(1);
    /// dnstap, a frame a message.
    pub const DNSTAP: Self = Self(2);
    /// Each, in order.
    pub const EACH: [Self; Self::COUNT] = [Self::QUERY_LOG, Self::DNSTAP];

    /// As octets carry it; unknown bits are none.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::QUERY_LOG.0 | Self::DNSTAP.0))
    }

    /// As octets carry it.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether none is among these.
    #[inline]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether one of those is among these.
    #[inline]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These and those.
    #[inline]
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the query log says of VPCs; empty where nothing is logged.
#[derive(Clone, Debug, Default)]
pub struct LogNames {
    /// Which logs have the queries that belong to no VPC.
    pub unclaimed: Logs,
    /// The account of those.
    pub account_id: Box<str>,
    /// VPCs by their ids.
    pub vpcs: HashMap<Box<str>, LoggedVpc>,
}

/// What the query log says of one VPC.
#[derive(Clone, Debug, Default)]
pub struct LoggedVpc {
    /// The account that it belongs to.
    pub account_id: Box<str>,
    /// The region that it is in.
    pub region: Box<str>,
    /// Instances by their private and IPv6 addresses.
    pub instances: HashMap<IpAddr, Box<str>>,
}
