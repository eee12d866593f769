//! Addresses and CIDR blocks as they are written.

use crate::config::settings::PRIVATE_NETWORKS;
use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;

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
/// within [`PRIVATE_NETWORKS`], whose unique local and link-local blocks are wider.
pub(super) fn is_too_wide(net: &IpNet) -> bool {
    let is_wide = match net {
        IpNet::V4(v4) => v4.prefix_len() < 8,
        IpNet::V6(v6) => v6.prefix_len() < 16,
    };
    is_wide && !PRIVATE_NETWORKS.iter().any(|default| default.contains(net))
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
