//! Addresses, CIDR blocks, and who may ask where nothing is written.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a text is no CIDR block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotANet {
    /// No address before a slash and a prefix length.
    Form,
    /// An address alone: the block that it is.
    NoPrefix(IpNet),
    /// Bits beyond the prefix are set: the block without them.
    HostBits(IpNet),
}

/// Reads a CIDR block; blocks of IPv4-mapped addresses become IPv4 (their sources compare as IPv4).
pub(super) fn parse_net(text: &str) -> Result<IpNet, NotANet> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Err(NotANet::NoPrefix(ip.to_canonical().into()));
    }
    let net: IpNet = text.parse().map_err(|_| NotANet::Form)?;
    if net.trunc() != net {
        return Err(NotANet::HostBits(net.trunc()));
    }
    Ok(match net {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED_PREFIX => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - MAPPED_PREFIX).map_or(net, IpNet::V4),
            None => net,
        },
        _ => net,
    })
}

/// Whether a block lets in more than an operator's own networks can be: wider than /8 (IPv4) or /16 (IPv6), and not
/// within [`DEFAULT_ALLOW`], whose unique local and link-local blocks are wider.
pub(super) fn is_too_wide(net: &IpNet) -> bool {
    let is_wide = match net {
        IpNet::V4(v4) => v4.prefix_len() < 8,
        IpNet::V6(v6) => v6.prefix_len() < 16,
    };
    is_wide && !DEFAULT_ALLOW.iter().any(|default| default.contains(net))
}

/// Who may ask at a door that has no `allow`, besides the clients of its VPC: nobody from the Internet.
pub(super) const DEFAULT_ALLOW: [IpNet; 9] = [
    v4(127, 0, 0, 0, 8),
    // RFC 1918 section 3.
    v4(10, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    // RFC 6598 section 7.
    v4(100, 64, 0, 0, 10),
    // RFC 3927 section 2.1.
    v4(169, 254, 0, 0, 16),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    // RFC 4193 section 3.1.
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
    // RFC 4291 section 2.5.6.
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

/// Bits of `::ffff:0:0/96` (RFC 4291 section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_exact() {
        let net = |text: &str| text.parse::<IpNet>().expect("a block");
        assert_eq!(parse_net("10.0.0.0/8"), Ok(net("10.0.0.0/8")));
        assert_eq!(parse_net("::ffff:10.0.0.0/104"), Ok(net("10.0.0.0/8")));
        assert_eq!(parse_net("10.0.0.1/8"), Err(NotANet::HostBits(net("10.0.0.0/8"))));
        assert_eq!(parse_net("10.0.0.1"), Err(NotANet::NoPrefix(net("10.0.0.1/32"))));
        assert_eq!(parse_net("corp"), Err(NotANet::Form));
    }

    #[test]
    fn own_networks_are_not_too_wide() {
        for (text, is_wide) in [
            ("10.0.0.0/8", false),
            ("10.0.0.0/7", true),
            ("0.0.0.0/0", true),
            ("2000::/3", true),
            ("2001::/16", false),
            ("fc00::/7", false),
            ("fe80::/10", false),
            ("::/0", true),
        ] {
            assert_eq!(parse_net(text).as_ref().map(is_too_wide), Ok(is_wide), "{text}");
        }
    }
}
