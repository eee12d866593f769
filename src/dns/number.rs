//! Numbers from the IANA registries. They stay open (`Rtype(u16)`), because IANA grows without us.

use std::fmt;
use std::str::FromStr;

/// An RR type (RFC 1035 section 3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

/// Names of RR types and their numbers, in the order of the numbers.
macro_rules! rtypes {
    ($($name:ident = $number:literal),* $(,)?) => {
        #[allow(missing_docs, reason = "the registry's mnemonics explain themselves")]
        impl Rtype {
            $(pub const $name: Self = Self($number);)*
        }
        /// Every mnemonic we know, with its type.
        const RTYPE_MNEMONICS: &[(&str, Rtype)] = &[$((stringify!($name), Rtype::$name)),*];
    };
}
rtypes! {
    A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, HINFO = 13, MX = 15, TXT = 16, RP = 17, AFSDB = 18, AAAA = 28,
    LOC = 29, SRV = 33, NAPTR = 35, DNAME = 39, OPT = 41, DS = 43, SSHFP = 44, RRSIG = 46, NSEC = 47, DNSKEY = 48,
    NSEC3 = 50, TLSA = 52, SVCB = 64, HTTPS = 65, SPF = 99, TSIG = 250, IXFR = 251, AXFR = 252, ANY = 255,
    URI = 256, CAA = 257,
}

impl Rtype {
    /// The 17 types that a private hosted zone may hold (Route 53 Developer Guide, ResourceRecordTypes).
    pub const ROUTE_53: [Self; 17] = [
        Self::A,
        Self::AAAA,
        Self::CAA,
        Self::CNAME,
        Self::DS,
        Self::HTTPS,
        Self::MX,
        Self::NAPTR,
        Self::NS,
        Self::PTR,
        Self::SOA,
        Self::SPF,
        Self::SRV,
        Self::SSHFP,
        Self::SVCB,
        Self::TLSA,
        Self::TXT,
    ];
}

impl fmt::Display for Rtype {
    /// The mnemonic, or `TYPEnnn` (RFC 3597 section 5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RTYPE_MNEMONICS.iter().find(|(_, rtype)| rtype == self) {
            Some((mnemonic, _)) => f.write_str(mnemonic),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl FromStr for Rtype {
    type Err = UnknownMnemonic;

    /// Reads a mnemonic or `TYPEnnn`, in any case (RFC 3597 section 5).
    fn from_str(text: &str) -> Result<Self, UnknownMnemonic> {
        if let Some((_, rtype)) = RTYPE_MNEMONICS.iter().find(|(mnemonic, _)| mnemonic.eq_ignore_ascii_case(text)) {
            return Ok(*rtype);
        }
        numbered(text, "TYPE").map(Self).ok_or(UnknownMnemonic)
    }
}

/// The number in `PREFIXnnn`.
fn numbered(text: &str, prefix: &str) -> Option<u16> {
    let (head, digits) = text.split_at_checked(prefix.len())?;
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    (head.eq_ignore_ascii_case(prefix) && all_digits).then(|| digits.parse().ok())?
}

/// A word that is no mnemonic of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMnemonic;

/// A class (RFC 1035 section 3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class(pub u16);

impl Class {
    /// The Internet: the only class we answer for.
    pub const IN: Self = Self(1);
}

/// A kind of query (RFC 1035 section 4.1.1); 4 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opcode(pub u8);

impl Opcode {
    /// A standard query: the only opcode we serve.
    pub const QUERY: Self = Self(0);
}

/// A response code, with the upper bits of EDNS (RFC 6891 section 6.1.3); 12 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

#[allow(missing_docs, reason = "the registry's mnemonics explain themselves")]
impl Rcode {
    pub const NOERROR: Self = Self(0);
    pub const FORMERR: Self = Self(1);
    pub const SERVFAIL: Self = Self(2);
    pub const NXDOMAIN: Self = Self(3);
    pub const NOTIMP: Self = Self(4);
    pub const REFUSED: Self = Self(5);
    pub const BADVERS: Self = Self(16);
    pub const BADCOOKIE: Self = Self(23);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NOERROR => f.write_str("NOERROR"),
            Self::FORMERR => f.write_str("FORMERR"),
            Self::SERVFAIL => f.write_str("SERVFAIL"),
            Self::NXDOMAIN => f.write_str("NXDOMAIN"),
            Self::NOTIMP => f.write_str("NOTIMP"),
            Self::REFUSED => f.write_str("REFUSED"),
            Self::BADVERS => f.write_str("BADVERS"),
            Self::BADCOOKIE => f.write_str("BADCOOKIE"),
            Self(other) => write!(f, "RCODE{other}"),
        }
    }
}

/// The INFO-CODE of an extended DNS error (RFC 8914 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedErrorCode(pub u16);

#[allow(missing_docs, reason = "the registry's names explain themselves")]
impl ExtendedErrorCode {
    pub const OTHER: Self = Self(0);
    pub const STALE_ANSWER: Self = Self(3);
    pub const NOT_READY: Self = Self(14);
    pub const PROHIBITED: Self = Self(18);
    pub const STALE_NXDOMAIN_ANSWER: Self = Self(19);
    pub const NOT_AUTHORITATIVE: Self = Self(20);
    pub const NOT_SUPPORTED: Self = Self(21);
    pub const NO_REACHABLE_AUTHORITY: Self = Self(22);
    pub const NETWORK_ERROR: Self = Self(23);
}
