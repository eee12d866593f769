//! Why a query gets no answer from here, and what that looks like on the wire: one row a reason.

use crate::dns::edns::ExtendedError;
use crate::dns::{ExtendedErrorCode, Rcode};

/// Why we will not answer, or cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The door's `allow` does not name the client.
    NotAllowed,
    /// No VPC claims the client, and there is no `default_vpc`.
    Unclaimed,
    /// A version of EDNS other than 0.
    EdnsVersion,
    /// The VPC has `dns_support = false`.
    DnsSupportOff,
    /// A class other than IN (only IN data is here).
    Class,
    /// AXFR, IXFR and the other types that only a query may have (RFC 5936: nobody may transfer).
    MetaType,
    /// RD is clear and the name is not ours: AWS supports only recursive queries for those.
    NotRecursive,
    /// Nobody here owns the name, and `[upstream]` is empty.
    NobodyToAsk,
    /// More CNAMEs than we follow, or a loop.
    ChainTooLong,
    /// As many questions are being forwarded as may be.
    InFlightLimit,
    /// Answering took more rounds of forwarding than we make.
    RoundLimit,
    /// Too many replies go to the client's prefix: this one says TC and nothing else, so that the client comes by TCP.
    RateLimited,
    /// The same where the client has a cookie that is not ours: with this one it comes again (RFC 7873 section 5.2.3).
    BadCookie,
    /// A bug of ours: answering panicked.
    Internal,
}

impl Refusal {
    /// How many there are.
    pub const COUNT: usize = Self::Internal as usize + 1;

    /// Each with its name in metrics, in their order.
    pub const NAMED: [(Self, &'static str); Self::COUNT] = [
        (Self::NotAllowed, "not_allowed"),
        (Self::Unclaimed, "unclaimed"),
        (Self::EdnsVersion, "edns_version"),
        (Self::DnsSupportOff, "dns_support_off"),
        (Self::Class, "class"),
        (Self::MetaType, "meta_type"),
        (Self::NotRecursive, "not_recursive"),
        (Self::NobodyToAsk, "nobody_to_ask"),
        (Self::ChainTooLong, "chain_too_long"),
        (Self::InFlightLimit, "in_flight_limit"),
        (Self::RoundLimit, "round_limit"),
        (Self::RateLimited, "rate_limited"),
        (Self::BadCookie, "bad_cookie"),
        (Self::Internal, "internal_error"),
    ];

    /// The rcode, and the extended error for clients with EDNS (RFC 8914).
    pub fn reply(self) -> (Rcode, Option<ExtendedError>) {
        let extended = |code, text| Some(ExtendedError { code, text });
        match self {
            Self::NotAllowed => {
                (Rcode::REFUSED, extended(ExtendedErrorCode::PROHIBITED, "this client may not ask here: see allow"))
            }
            Self::Unclaimed => (
                Rcode::REFUSED,
                extended(ExtendedErrorCode::PROHIBITED, "no VPC claims this client and there is no default_vpc"),
            ),
            Self::EdnsVersion => (Rcode::BADVERS, None),
            Self::DnsSupportOff => {
                (Rcode::REFUSED, extended(ExtendedErrorCode::PROHIBITED, "enableDnsSupport is false for this VPC"))
            }
            Self::Class => (Rcode::REFUSED, extended(ExtendedErrorCode::NOT_SUPPORTED, "only class IN is served")),
            Self::MetaType => {
                (Rcode::REFUSED, extended(ExtendedErrorCode::NOT_SUPPORTED, "this query type is not served"))
            }
            Self::NotRecursive => (
                Rcode::REFUSED,
                extended(ExtendedErrorCode::NOT_AUTHORITATIVE, "not a name of ours, and RD is not set"),
            ),
            Self::NobodyToAsk => {
                (Rcode::REFUSED, extended(ExtendedErrorCode::NOT_AUTHORITATIVE, "not a name of ours, and no upstream"))
            }
            Self::ChainTooLong => {
                (Rcode::SERVFAIL, extended(ExtendedErrorCode::OTHER, "CNAME chain over 11, or a loop"))
            }
            Self::InFlightLimit => {
                (Rcode::SERVFAIL, extended(ExtendedErrorCode::OTHER, "too many questions in flight: see in_flight"))
            }
            Self::RoundLimit => {
                (Rcode::SERVFAIL, extended(ExtendedErrorCode::OTHER, "too many names had to be forwarded"))
            }
            Self::RateLimited => (Rcode::NOERROR, None),
            Self::BadCookie => (Rcode::BADCOOKIE, None),
            Self::Internal => (Rcode::SERVFAIL, extended(ExtendedErrorCode::OTHER, "internal error")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_named_in_its_place() {
        assert!(Refusal::NAMED.iter().enumerate().all(|(index, (refusal, _))| *refusal as usize == index));
    }
}
