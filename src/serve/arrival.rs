//! How a query came in: by which door, from whom, to which address.

use crate::snapshot::DoorIndex;
use std::net::{IpAddr, SocketAddr};

/// What is known of a query besides its octets: what picks its view and decides whether it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The door it came in by.
    pub door: DoorIndex,
    /// Who asks, exactly as the kernel names it: where the reply goes.
    pub client: SocketAddr,
    /// The address that was asked, where the door is a wildcard: where the reply leaves from.
    pub local: Option<IpAddr>,
}

impl Arrival {
    /// The client's address for every comparison: an IPv4-mapped one (RFC 4291 section 2.5.5.2) is IPv4.
    #[inline]
    pub fn client_ip(&self) -> IpAddr {
        self.client.ip().to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_client_compares_as_ipv4_and_keeps_its_address() {
        let client: SocketAddr = "[::ffff:10.1.2.3]:4000".parse().unwrap();
        let arrival = Arrival { door: DoorIndex(0), client, local: None };
        assert_eq!(arrival.client_ip(), "10.1.2.3".parse::<IpAddr>().unwrap());
        assert!(arrival.client.is_ipv6());
        let plain = Arrival { client: "[2001:db8::1]:53".parse().unwrap(), ..arrival };
        assert_eq!(plain.client_ip(), "2001:db8::1".parse::<IpAddr>().unwrap());
    }
}
