//! Whom to forward to, and over what: the targets of a rule or of the upstream.

mod text;

pub use text::{DOH_PATH, DOH_PATH_OCTETS_MAX, TARGET_SCHEMES, TargetError, host_name, parse_socket_address};

use std::net::{IpAddr, SocketAddr};

/// The port of DNS over UDP and TCP (RFC 1035 section 4.2).
pub const DNS_PORT: u16 = 53;
/// The port of DNS over TLS (RFC 7858 section 3.1) and over QUIC (RFC 9250 section 4.1.1).
pub const TLS_PORT: u16 = 853;
/// The port of DNS over HTTPS (RFC 8484 section 3: that of the https scheme).
pub const HTTPS_PORT: u16 = 443;

/// The targets of one rule, or of the upstream, and how one of them is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TargetGroup {
    /// In the order of the file, none twice.
    pub targets: Vec<Target>,
    /// Who is asked first.
    pub order: TargetOrder,
}

/// One server that questions are forwarded to (Route 53 Resolver API: TargetAddress).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where it is.
    pub host: TargetHost,
    /// The port.
    pub port: u16,
    /// How it is asked.
    pub protocol: TargetProtocol,
    /// The name that its certificate must be for, where that is not the host as written
    /// (Route 53 Resolver API: ServerNameIndication). Encrypted protocols only.
    pub server_name: Option<Box<str>>,
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetHost {
    /// At this address.
    Address(IpAddr),
    /// At the addresses of this host name, without the final dot. Encrypted protocols only: the certificate pins the
    /// name, so whoever answers for the addresses cannot put itself in its place.
    Name(Box<str>),
}

/// How a target is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetProtocol {
    /// UDP, and TCP where that has to be (RFC 7766). The host is an address.
    Do53,
    /// TCP only. The host is an address.
    Tcp,
    /// DNS over TLS (RFC 7858).
    Dot,
    /// DNS over HTTPS (RFC 8484).
    Doh {
        /// The path of the URI, `/dns-query` mostly; begins with `/`.
        path: Box<str>,
    },
    /// DNS over dedicated QUIC connections (RFC 9250).
    Doq,
}

/// Which target is asked first. Those that are known to be away are always asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetOrder {
    /// The one with the shortest round-trip time, measured anew from time to time.
    #[default]
    Fastest,
    /// The first of the file.
    InOrder,
    /// Any, as AWS does (Route 53 Developer Guide: forwarding outbound DNS queries).
    Random,
}

impl TargetOrder {
    /// Every order and its word.
    pub const WORDS: [(&str, Self); 3] =
        [("fastest", Self::Fastest), ("in_order", Self::InOrder), ("random", Self::Random)];
}

impl TargetProtocol {
    /// The port where none is written.
    pub fn default_port(&self) -> u16 {
        match self {
            Self::Do53 | Self::Tcp => DNS_PORT,
            Self::Dot | Self::Doq => TLS_PORT,
            Self::Doh { .. } => HTTPS_PORT,
        }
    }

    /// Whether a certificate says who answers, and nobody on the way can read or change what is said.
    pub fn is_encrypted(&self) -> bool {
        match self {
            Self::Dot | Self::Doh { .. } | Self::Doq => true,
            Self::Do53 | Self::Tcp => false,
        }
    }
}

impl Target {
    /// A target; without a port, at that of the protocol. A server name that is the host as written is left out, so
    /// that equal targets compare as such.
    ///
    /// # Errors
    ///
    /// A host name or a server name without encryption.
    pub fn new(
        host: TargetHost,
        port: Option<u16>,
        protocol: TargetProtocol,
        server_name: Option<Box<str>>,
    ) -> Result<Self, TargetError> {
        match (&host, &server_name) {
            (TargetHost::Name(name), _) if !protocol.is_encrypted() => {
                return Err(TargetError::NameUnencrypted(name.clone()));
            }
            (_, Some(name)) if !protocol.is_encrypted() => {
                return Err(TargetError::ServerNameUnencrypted(name.clone()));
            }
            _ => {}
        }
        let port = port.unwrap_or_else(|| protocol.default_port());
        let server_name = server_name.filter(|name| !matches!(&host, TargetHost::Name(host) if host == name));
        Ok(Self { host, port, protocol, server_name })
    }

    /// A target for UDP and TCP at an address.
    pub fn do53(address: SocketAddr) -> Self {
        let host = TargetHost::Address(address.ip());
        Self { host, port: address.port(), protocol: TargetProtocol::Do53, server_name: None }
    }

    /// Where it is, if that is known without asking.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            TargetHost::Address(ip) => Some(SocketAddr::new(ip, self.port)),
            TargetHost::Name(_) => None,
        }
    }

    /// The name that its certificate must be for: a host name, or an address in text.
    pub fn certificate_name(&self) -> String {
        match (&self.server_name, &self.host) {
            (Some(name), _) | (None, TargetHost::Name(name)) => name.to_string(),
            (None, TargetHost::Address(ip)) => ip.to_string(),
        }
    }

    /// Whether it is asked over an encrypted transport.
    pub fn is_encrypted(&self) -> bool {
        self.protocol.is_encrypted()
    }

    /// Whether what it says cannot be changed on the way: it is asked over an encrypted transport, or within this host.
    pub fn is_protected(&self) -> bool {
        self.is_encrypted() || matches!(self.host, TargetHost::Address(ip) if ip.to_canonical().is_loopback())
    }
}

impl TargetGroup {
    /// Targets for UDP and TCP at these addresses.
    pub fn do53(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { targets: addresses.into_iter().map(Target::do53).collect(), order: TargetOrder::default() }
    }

    /// Whether there is nobody to ask.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, port: u16, protocol: TargetProtocol, server_name: Option<&str>) -> Target {
        let host = host.parse().map_or_else(|_| TargetHost::Name(host.into()), TargetHost::Address);
        Target { host, port, protocol, server_name: server_name.map(Into::into) }
    }

    #[test]
    fn only_encrypted_and_local_targets_are_protected() {
        for (host, protocol, is_protected) in [
            ("192.0.2.1", TargetProtocol::Do53, false),
            ("192.0.2.1", TargetProtocol::Tcp, false),
            ("127.0.0.53", TargetProtocol::Do53, true),
            ("::1", TargetProtocol::Tcp, true),
            ("192.0.2.1", TargetProtocol::Dot, true),
            ("dns.example", TargetProtocol::Doq, true),
        ] {
            assert_eq!(target(host, 1, protocol.clone(), None).is_protected(), is_protected, "{host} {protocol:?}");
        }
    }
}
