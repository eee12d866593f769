//! How replies are kept from being abused: whose cookies are accepted, and how many replies a second go where.
//!
//! It stands with the answer data so that a reload changes both at once and a query sees one of them.

use super::prefix::PrefixMap;
use crate::dns::cookie::CookieSecrets;
use ipnet::IpNet;
use std::net::IpAddr;

/// What protects us and others from who asks. Nothing of it by default.
#[derive(Default)]
pub struct Protection {
    /// What cookies are made with; none: queries with a cookie are answered as if they had none.
    pub cookies: Option<CookieSecrets>,
    /// Limits of replies over UDP; none: there are none.
    pub rates: Option<Rates>,
}

/// How many replies a second go to one prefix over UDP.
pub struct Rates {
    /// Replies to clients that may ask.
    pub answers: Rate,
    /// Errors: what goes to clients that may not ask, and to octets that are no query.
    pub errors: Rate,
    /// Of the replies to clients that may ask beyond their rate, each how-manieth is sent without answer, for the client
    /// to come again by another way; 0: none.
    pub slip: u32,
    exempt: Exempt,
    /// Bits of an IPv4 address beyond the prefix.
    ipv4_host_bits: u32,
    /// Bits of the upper half of an IPv6 address beyond the prefix.
    ipv6_host_bits: u32,
}

/// A rate: so many at once, and as many each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What one reply takes of a second, in nanoseconds; 0: there is no limit.
    pub nanos_each: u64,
}

impl Rate {
    /// So many a second; 0: no limit.
    pub fn per_second(replies: u64) -> Self {
        Self { nanos_each: NANOS_PER_SECOND.checked_div(replies).map_or(0, |nanos| nanos.max(1)) }
    }

    /// Whether there is one.
    pub fn is_limit(self) -> bool {
        self.nanos_each > 0
    }
}

/// A second in nanoseconds: how far a rate may be used up ahead.
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Clients that no rate is for.
struct Exempt {
    prefixes: PrefixMap<()>,
    /// The first octets of IPv4 addresses that are exempt, whatever follows: a bit each. Most clients are among these.
    whole_ipv4: [u64; 4],
}

impl Rates {
    /// Rates for prefixes of these lengths (IPv4: 1 to 32, IPv6: 1 to 64), but for these clients.
    pub fn new(answers: Rate, errors: Rate, slip: u32, (ipv4, ipv6): (u8, u8), exempt: &[IpNet]) -> Self {
        let prefixes = PrefixMap::new(exempt.iter().map(|net| (*net, ())));
        let mut whole_ipv4 = [0; 4];
        for first in 0..=u8::MAX {
            let is_in = |net: &IpNet| net.prefix_len() <= 8 && net.contains(&IpAddr::from([first, 0, 0, 0]));
            if exempt.iter().any(is_in) {
                whole_ipv4[usize::from(first >> 6)] |= 1 << (first & 63);
            }
        }
        Self {
            answers,
            errors,
            slip,
            exempt: Exempt { prefixes, whole_ipv4 },
            ipv4_host_bits: 32 - u32::from(ipv4.clamp(1, 32)),
            ipv6_host_bits: 64 - u32::from(ipv6.clamp(1, 64)),
        }
    }

    /// Whether a client is exempt; IPv4-mapped addresses already turned into IPv4.
    #[inline]
    pub fn is_exempt(&self, client: IpAddr) -> bool {
        if let IpAddr::V4(address) = client {
            let [first, ..] = address.octets();
            if self.exempt.whole_ipv4[usize::from(first >> 6)] >> (first & 63) & 1 != 0 {
                return true;
            }
        }
        self.exempt.prefixes.get(client).is_some()
    }

    /// The prefix of a client as one number, another for each; IPv4-mapped addresses already turned into IPv4.
    #[inline]
    pub fn prefix_of(&self, client: IpAddr) -> u64 {
        match client {
            // Among prefixes of multicast addresses, from which nobody asks.
            IpAddr::V4(address) => 0xffff << 48 | u64::from(address.to_bits()) >> self.ipv4_host_bits,
            IpAddr::V6(address) => {
                let upper = (address.to_bits() >> 64) as u64;
                upper >> self.ipv6_host_bits << self.ipv6_host_bits
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(prefixes: (u8, u8), exempt: &[&str]) -> Rates {
        let exempt: Vec<IpNet> = exempt.iter().map(|net| net.parse().expect("a prefix")).collect();
        Rates::new(Rate::per_second(10), Rate::per_second(1), 2, prefixes, &exempt)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_rate_is_a_share_of_a_second() {
        assert_eq!(Rate::per_second(10).nanos_each, 100_000_000);
        assert_eq!(Rate::per_second(3_000_000_000).nanos_each, 1);
        assert!(!Rate::per_second(0).is_limit());
    }

    #[test]
    fn exempt_clients_by_any_length_of_prefix() {
        let rates = rates((24, 56), &["10.0.0.0/8", "96.0.0.0/5", "172.16.0.0/12", "192.0.2.7/32", "fc00::/7"]);
        for (client, expected) in [
            ("10.255.0.1", true),
            ("96.0.0.1", true),
            ("103.255.255.255", true),
            ("104.0.0.0", false),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("11.0.0.1", false),
            ("fd00::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(rates.is_exempt(ip(client)), expected, "{client}");
        }
        let none = rates_of_all();
        assert!(!none.is_exempt(ip("127.0.0.1")) && !none.is_exempt(ip("::1")));
    }

    fn rates_of_all() -> Rates {
        rates((24, 56), &[])
    }

    #[test]
    fn clients_of_one_prefix_are_one() {
        let rates = rates((24, 56), &[]);
        let is_one = |a: &str, b: &str| rates.prefix_of(ip(a)) == rates.prefix_of(ip(b));
        assert!(is_one("192.0.2.1", "192.0.2.255") && !is_one("192.0.2.1", "192.0.3.1"));
        assert!(
            is_one("2001:db8:0:100::1", "2001:db8:0:1ff:ffff::") && !is_one("2001:db8:0:100::1", "2001:db8:0:200::1")
        );
        assert!(!is_one("0.0.0.1", "::1"));
        let whole = self::rates((32, 64), &[]);
        assert_ne!(whole.prefix_of(ip("192.0.2.1")), whole.prefix_of(ip("192.0.2.2")));
        assert_ne!(whole.prefix_of(ip("2001:db8::1")), whole.prefix_of(ip("2001:db8:0:1::1")));
    }
}
