//! Targets as people write them: an address, or a URL.

use super::{DNS_PORT, Target, TargetHost, TargetProtocol};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The path of a DNS over HTTPS server where none is written: the one of all of RFC 8484's examples.
pub const DOH_PATH: &str = "/dns-query";
/// Octets of a path.
pub const DOH_PATH_OCTETS_MAX: usize = 1024;
/// Characters of a part that a message repeats.
const SHOWN_MAX: usize = 64;
/// The schemes of targets that are URLs.
pub const TARGET_SCHEMES: [&str; 4] = ["tcp", "tls", "https", "quic"];

/// Why something is no target: the end of a sentence that begins with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// Neither an address nor a URL.
    Form,
    /// No scheme of ours: the scheme.
    Scheme(Box<str>),
    /// Something stands before an `@`.
    UserInfo,
    /// The host is neither an address nor a host name: the host.
    Host(Box<str>),
    /// An IPv6 address in a URL without brackets.
    Brackets(Ipv6Addr),
    /// An address with a scope, `%eth0`.
    Scope,
    /// The port is none, or 0: the port.
    Port(Box<str>),
    /// A host name without encryption: the name.
    NameUnencrypted(Box<str>),
    /// A path where the protocol has none.
    PathUnexpected,
    /// A path with characters that it cannot have, or a longer one than [`DOH_PATH_OCTETS_MAX`].
    Path,
    /// A query, `?…`.
    Query,
    /// What stands behind `#` is no host name: that.
    ServerName(Box<str>),
    /// A server name without encryption: the name.
    ServerNameUnencrypted(Box<str>),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("is neither an address nor a URL"),
            Self::Scheme(scheme) => write!(f, "has the unknown scheme `{scheme:.SHOWN_MAX$}`"),
            Self::UserInfo => f.write_str("has a user in it"),
            Self::Host(host) if host.is_empty() => f.write_str("has no host"),
            Self::Host(host) => {
                write!(f, "has the host `{host:.SHOWN_MAX$}`, which is neither an address nor a host name")
            }
            Self::Brackets(_) => f.write_str("has an IPv6 address without brackets"),
            Self::Scope => f.write_str("has an address with a scope"),
            Self::Port(port) => write!(f, "has the port `{port:.SHOWN_MAX$}`"),
            Self::NameUnencrypted(_) => f.write_str("is a host name, and is asked without encryption"),
            Self::PathUnexpected => f.write_str("has a path"),
            Self::Path => f.write_str("has a path that cannot be one"),
            Self::Query => f.write_str("has a query"),
            Self::ServerName(name) => write!(f, "has the server name `{name:.SHOWN_MAX$}`, which is no host name"),
            Self::ServerNameUnencrypted(_) => f.write_str("has a server name, and is asked without encryption"),
        }
    }
}

impl std::error::Error for TargetError {}

/// As it is written in a configuration: an address and port, or a URL.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            TargetProtocol::Do53 => "",
            TargetProtocol::Tcp => "tcp://",
            TargetProtocol::Dot => "tls://",
            TargetProtocol::Doh { .. } => "https://",
            TargetProtocol::Doq => "quic://",
        };
        f.write_str(scheme)?;
        match &self.host {
            TargetHost::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            TargetHost::Address(IpAddr::V4(ip)) => write!(f, "{ip}")?,
            TargetHost::Name(name) => f.write_str(name)?,
        }
        if !self.protocol.is_encrypted() || self.port != self.protocol.default_port() {
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

/// Reads what [`Display`](fmt::Display) writes, and what else means the same.
///
/// - an address as [`parse_socket_address`] reads it: UDP, and TCP where that has to be;
/// - `tcp://ADDRESS`, `tls://HOST`, `https://HOST/PATH`, `quic://HOST`, each with `:PORT` behind the host. HOST is an
///   IPv4 address, an IPv6 address in brackets, or for the encrypted ones a host name; the scheme and the host may be
///   in any case. Behind the encrypted ones `#NAME` is the name that the certificate must be for. Without a path,
///   https:// asks at [`DOH_PATH`].
impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.split_once("://") {
            Some((scheme, rest)) => parse_url(scheme, rest),
            None => parse_plain(text),
        }
    }
}

/// An address without a scheme.
fn parse_plain(text: &str) -> Result<Target, TargetError> {
    match parse_socket_address(text) {
        Some(SocketAddr::V6(address)) if address.scope_id() != 0 => return Err(TargetError::Scope),
        Some(address) if address.port() == 0 => return Err(TargetError::Port("0".into())),
        Some(address) => return Ok(Target::do53(address)),
        None => {}
    }
    if let Some((_, name)) = text.split_once('#').filter(|(address, _)| parse_socket_address(address).is_some()) {
        return Err(TargetError::ServerNameUnencrypted(name.into()));
    }
    let (host, port) = parse_authority(text).map_err(|error| match error {
        TargetError::Host(_) | TargetError::UserInfo | TargetError::Brackets(_) => TargetError::Form,
        other => other,
    })?;
    Target::new(host, port, TargetProtocol::Do53, None)
}

/// A URL (RFC 3986 section 3), cut at its scheme.
fn parse_url(scheme: &str, rest: &str) -> Result<Target, TargetError> {
    let (rest, server_name) = rest.split_once('#').map_or((rest, None), |(rest, name)| (rest, Some(name)));
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let protocol = match scheme.to_ascii_lowercase().as_str() {
        "tcp" => TargetProtocol::Tcp,
        "tls" => TargetProtocol::Dot,
        "quic" => TargetProtocol::Doq,
        "https" if path.is_empty() => TargetProtocol::Doh { path: DOH_PATH.into() },
        "https" => TargetProtocol::Doh { path: path.into() },
        _ => return Err(TargetError::Scheme(scheme.into())),
    };
    let (host, port) = parse_authority(authority)?;
    if query.is_some() {
        return Err(TargetError::Query);
    }
    match &protocol {
        TargetProtocol::Doh { path } if !is_path(path) => return Err(TargetError::Path),
        TargetProtocol::Doh { .. } => {}
        _ if !path.is_empty() => return Err(TargetError::PathUnexpected),
        _ => {}
    }
    let server_name = match server_name {
        Some(name) if !protocol.is_encrypted() => return Err(TargetError::ServerNameUnencrypted(name.into())),
        Some(name) => Some(host_name(name).ok_or_else(|| TargetError::ServerName(name.into()))?),
        None => None,
    };
    Target::new(host, port, protocol, server_name)
}

/// Host and port of a URL (RFC 3986 section 3.2).
fn parse_authority(text: &str) -> Result<(TargetHost, Option<u16>), TargetError> {
    if text.contains('@') {
        return Err(TargetError::UserInfo);
    }
    let (before_scope, scope) = text.strip_prefix('[').unwrap_or(text).split_once('%').unwrap_or((text, ""));
    match before_scope.parse::<Ipv6Addr>() {
        Ok(_) if !scope.is_empty() => return Err(TargetError::Scope),
        Ok(ip) => return Err(TargetError::Brackets(ip)),
        Err(_) => {}
    }
    let no_host = || TargetError::Host(text.into());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, behind) = rest.split_once(']').ok_or_else(no_host)?;
            let host = TargetHost::Address(inside.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| no_host())?);
            let port = match behind.strip_prefix(':') {
                Some(port) => Some(port),
                None if behind.is_empty() => None,
                None => return Err(no_host()),
            };
            (host, port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            let host = match host.parse::<Ipv4Addr>() {
                Ok(ip) => TargetHost::Address(IpAddr::V4(ip)),
                Err(_) => TargetHost::Name(host_name(host).ok_or_else(|| TargetError::Host(host.into()))?),
            };
            (host, port)
        }
    };
    let host = match host {
        TargetHost::Address(ip) => TargetHost::Address(ip.to_canonical()),
        name @ TargetHost::Name(_) => name,
    };
    Ok((host, port.map(parse_port).transpose()?))
}

/// A port that somebody can listen on.
fn parse_port(text: &str) -> Result<u16, TargetError> {
    let digits = Some(text).filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()));
    let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port != 0);
    port.ok_or_else(|| TargetError::Port(text.into()))
}

/// Whether this is a path that begins with `/`: of RFC 3986 section 3.3's characters, and not too long.
fn is_path(text: &str) -> bool {
    let octets = text.as_bytes();
    let is_encoded = |at: usize| octets.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    text.starts_with('/')
        && octets.len() <= DOH_PATH_OCTETS_MAX
        && octets.iter().enumerate().all(|(at, octet)| match octet {
            b'%' => is_encoded(at),
            _ => octet.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(octet),
        })
}

/// A host name in lower case without its final dot: labels of letters, digits and hyphens, the last of which is not a
/// number (RFC 1123 section 2.1). None where it is none.
pub fn host_name(text: &str) -> Option<Box<str>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    };
    let is_number = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    let is_name = text.len() <= 253 && text.split('.').all(is_label) && !text.rsplit('.').next().is_some_and(is_number);
    is_name.then(|| text.to_ascii_lowercase().into())
}

/// Reads `192.0.2.1`, `192.0.2.1:5300`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:5300`; the port is
/// [`DNS_PORT`] where none stands. An IPv4-mapped address becomes IPv4.
pub fn parse_socket_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        // A scope is part of what a socket is bound to, so that only addresses without one become IPv4.
        return Some(match address.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
            IpAddr::V6(_) => address,
        });
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => text.parse().ok()?,
    };
    Some(SocketAddr::from((ip.to_canonical(), DNS_PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn addresses_have_a_port() {
        let read = |text| parse_socket_address(text).map(|address| address.to_string());
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5300", "192.0.2.1:5300"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5300", "[2001:db8::1]:5300"),
            ("[::]", "[::]:53"),
            ("[::ffff:192.0.2.1]:5300", "192.0.2.1:5300"),
            ("::ffff:192.0.2.1", "192.0.2.1:53"),
        ] {
            assert_eq!(read(text).as_deref(), Some(address), "{text}");
        }
        for bad in ["", "ns.example", "192.0.2.1:", "192.0.2.1:65536", "[192.0.2.1]:53", "192.0.2.1/32", " 192.0.2.1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn targets_are_read_in_every_form() {
        for (text, same) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("::ffff:192.0.2.1", "192.0.2.1:53"),
            ("tcp://192.0.2.1", "tcp://192.0.2.1:53"),
            ("TCP://[2001:DB8:0::1]:5300", "tcp://[2001:db8::1]:5300"),
            ("tls://[::ffff:192.0.2.1]:853", "tls://192.0.2.1"),
            ("tls://DNS.Example.", "tls://dns.example"),
            ("tls://dns.example:853#DNS.example", "tls://dns.example"),
            ("tls://resolver:8853", "tls://resolver:8853"),
            ("quic://192.0.2.1#dns.example.", "quic://192.0.2.1#dns.example"),
            ("https://dns.example", "https://dns.example/dns-query"),
            ("https://dns.example:443/", "https://dns.example/"),
            ("https://192.0.2.1/a/%7Eb;c=1#dns.example", "https://192.0.2.1/a/%7Eb;c=1#dns.example"),
        ] {
            let target: Target = text.parse().unwrap_or_else(|error| panic!("{text} {error}"));
            assert_eq!(target.to_string(), same, "{text}");
            assert_eq!(same.parse(), Ok(target), "{same}");
        }
    }

    #[test]
    fn what_is_no_target_is_told_apart() {
        let host = |host: &str| TargetError::Host(host.into());
        let port = |port: &str| TargetError::Port(port.into());
        for (text, error) in [
            ("", TargetError::Form),
            ("192.0.2.1/32", TargetError::Form),
            ("192.0.2.1@853", TargetError::Form),
            ("192.0.2.1 ", TargetError::Form),
            ("192.0.2.1:0", port("0")),
            ("192.0.2.1:65536", port("65536")),
            ("192.0.2.1:", port("")),
            ("fe80::1%eth0", TargetError::Scope),
            ("[fe80::1%1]:53", TargetError::Scope),
            ("tls://[fe80::1%25eth0]", TargetError::Scope),
            ("dns.example", TargetError::NameUnencrypted("dns.example".into())),
            ("dns.example:53", TargetError::NameUnencrypted("dns.example".into())),
            ("tcp://dns.example", TargetError::NameUnencrypted("dns.example".into())),
            ("192.0.2.1#5353", TargetError::ServerNameUnencrypted("5353".into())),
            ("tcp://192.0.2.1#a.example", TargetError::ServerNameUnencrypted("a.example".into())),
            ("udp://192.0.2.1", TargetError::Scheme("udp".into())),
            ("://192.0.2.1", TargetError::Scheme("".into())),
            ("tls://", host("")),
            ("tls://:853", host("")),
            ("tls://192.0.2.256", host("192.0.2.256")),
            ("tls://1.2.3", host("1.2.3")),
            ("tls://-a.example", host("-a.example")),
            ("tls://a..example", host("a..example")),
            ("tls://under_score.example", host("under_score.example")),
            ("tls://d\u{f6}n.example", host("d\u{f6}n.example")),
            ("tls://[192.0.2.1]", host("[192.0.2.1]")),
            ("tls://[2001:db8::1", host("[2001:db8::1")),
            ("tls://[2001:db8::1]853", host("[2001:db8::1]853")),
            ("tls://2001:db8::1", TargetError::Brackets("2001:db8::1".parse().expect("an address"))),
            ("tls://a.example:0", port("0")),
            ("tls://a.example:+53", port("+53")),
            ("tls://a.example:53:53", port("53:53")),
            ("tls://user@a.example", TargetError::UserInfo),
            ("tls://a.example/", TargetError::PathUnexpected),
            ("tcp://192.0.2.1/dns-query", TargetError::PathUnexpected),
            ("https://a.example/dns-query{?dns}", TargetError::Query),
            ("https://a.example?x", TargetError::Query),
            ("https://a.example/a b", TargetError::Path),
            ("https://a.example/%4", TargetError::Path),
            ("https://a.example/\u{e9}", TargetError::Path),
            ("tls://a.example#", TargetError::ServerName("".into())),
            ("tls://192.0.2.1#192.0.2.1", TargetError::ServerName("192.0.2.1".into())),
            ("https://a.example/#a#b", TargetError::ServerName("a#b".into())),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error), "{text}");
        }
        let long = format!("https://a.example/{}", "a".repeat(DOH_PATH_OCTETS_MAX));
        assert_eq!(long.parse::<Target>(), Err(TargetError::Path));
        assert!(long[..long.len() - 1].parse::<Target>().is_ok());
    }

    #[test]
    fn host_names_are_as_long_as_names_can_be() {
        let label = "a".repeat(63);
        let longest = [label.as_str(), &label, &label, &label[..61]].join(".");
        assert_eq!(longest.len(), 253);
        assert_eq!(host_name(&format!("{longest}.")).as_deref(), Some(longest.as_str()));
        assert_eq!(host_name(&format!("{longest}a")), None);
        assert_eq!(host_name(&"a".repeat(64)), None);
    }

    fn targets() -> impl Strategy<Value = Target> {
        let label = "[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?";
        let name = (label, label, "[a-z]{2,4}").prop_map(|(first, second, last)| format!("{first}.{second}.{last}"));
        let ip = prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::V4), any::<Ipv6Addr>().prop_map(IpAddr::V6)];
        let ip = ip.prop_map(|ip| TargetHost::Address(ip.to_canonical()));
        let host = prop_oneof![ip.clone(), name.clone().prop_map(|name| TargetHost::Name(name.into()))];
        let path = "/([a-zA-Z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}){0,20}";
        let encrypted = prop_oneof![
            Just(TargetProtocol::Dot),
            Just(TargetProtocol::Doq),
            path.prop_map(|path| TargetProtocol::Doh { path: path.into() }),
        ];
        let plain = prop_oneof![Just(TargetProtocol::Do53), Just(TargetProtocol::Tcp)];
        let port = prop_oneof![Just(None), (1..=u16::MAX).prop_map(Some)];
        let server_name = prop::option::of(name.prop_map(Box::from));
        let encrypted = (host, port.clone(), encrypted, server_name);
        let plain = (ip, port, plain, Just(None));
        prop_oneof![encrypted.boxed(), plain.boxed()]
            .prop_map(|(host, port, protocol, name)| Target::new(host, port, protocol, name).expect("it may be so"))
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(target in targets()) {
            prop_assert_eq!(target.to_string().parse(), Ok(target));
        }

        #[test]
        fn whatever_is_read_is_shown_as_the_same(text in "(tls|https|quic|tcp)?(://)?[0-9a-z.:#/@%\\[\\]?-]{0,30}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse(), Ok(target));
            }
        }
    }
}
