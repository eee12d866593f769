//! Whom to forward to, and over what: the targets of a rule or of the upstream.

use std::fmt;
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

impl Target {
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
        match self.protocol {
            TargetProtocol::Dot | TargetProtocol::Doh { .. } | TargetProtocol::Doq => true,
            TargetProtocol::Do53 | TargetProtocol::Tcp => false,
        }
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

/// As it is written in a configuration: an address and port, or a URL.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default_port) = match self.protocol {
            TargetProtocol::Do53 => ("", None),
            TargetProtocol::Tcp => ("tcp://", None),
            TargetProtocol::Dot => ("tls://", Some(TLS_PORT)),
            TargetProtocol::Doh { .. } => ("https://", Some(HTTPS_PORT)),
            TargetProtocol::Doq => ("quic://", Some(TLS_PORT)),
        };
        f.write_str(scheme)?;
        match &self.host {
            TargetHost::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            TargetHost::Address(IpAddr::V4(ip)) => write!(f, "{ip}")?,
            TargetHost::Name(name) => f.write_str(name)?,
        }
        if default_port != Some(self.port) {
            write!(f, ":{}", self.port)?;
        }
        if let TargetProtocol::Doh { path } = &self.protocol {
            f.write_str(path)?;
        }
        if let Some(name) = &self.server_name {
            write!(f, "#{name}")?;
        }
        Ok(())
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
    fn targets_are_shown_as_they_are_written() {
        let doh = || TargetProtocol::Doh { path: "/dns-query".into() };
        let shown = [
            target("192.0.2.1", 53, TargetProtocol::Do53, None),
            target("2001:db8::1", 5300, TargetProtocol::Tcp, None),
            target("192.0.2.1", 853, TargetProtocol::Dot, Some("dns.example")),
            target("dns.example", 443, doh(), None),
            target("2001:db8::1", 8443, doh(), Some("dns.example")),
            target("dns.example", 8853, TargetProtocol::Doq, None),
        ]
        .map(|target| target.to_string());
        let expected = [
            "192.0.2.1:53",
            "tcp://[2001:db8::1]:5300",
            "tls://192.0.2.1#dns.example",
            "https://dns.example/dns-query",
            "https://[2001:db8::1]:8443/dns-query#dns.example",
            "quic://dns.example:8853",
        ];
        assert_eq!(shown, expected);
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
