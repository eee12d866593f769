//! What each type's rdata is made of: a row of [`Field`]s, which reading, checking and showing walk.

use super::super::name::wire_name_octets;
use super::super::number::Rtype;
use super::{shown, svcb};

/// One field of rdata, with what people call it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    U8(&'static str),
    U16(&'static str),
    U32(&'static str),
    /// Seconds in 32 bits, with or without units.
    Seconds(&'static str),
    Ipv4,
    Ipv6,
    Name(&'static str),
    /// A character-string of letters and digits.
    Alphanumerics(&'static str),
    /// One character-string.
    String(&'static str),
    /// One or more character-strings, to the end.
    Strings,
    /// Octets in hexadecimal, one at least, to the end.
    Hex(&'static str),
    /// The tag of a CAA record: letters and digits behind their length.
    CaaTag,
    /// A quoted string without a length, to the end.
    CaaValue,
    /// SvcParams, to the end.
    SvcParams,
}

/// How a type looks.
pub(super) struct Layout {
    pub(super) fields: &'static [Field],
    /// The section that says so.
    pub(super) rule: &'static str,
    /// Right rdata, for people to copy.
    example: &'static str,
}

impl Layout {
    /// What to do about an error.
    pub(super) fn remedy(&self) -> String {
        format!("write such as `{}`", self.example)
    }

    /// What an error says where a record ends too early.
    pub(super) fn lacks(&self, rtype: Rtype, what: &str) -> String {
        format!("{} lacks its {what} ({}); {}", record(rtype), self.rule, self.remedy())
    }

    /// What an error says about a value that is not what it should be.
    pub(super) fn is_not(&self, value: &[u8], what: &str) -> String {
        format!("`{}` is not {what} ({}); {}", shown(value), self.rule, self.remedy())
    }
}

/// "an MX record", "a TXT record".
pub(super) fn record(rtype: Rtype) -> String {
    let name = rtype.to_string();
    let article = if name.starts_with(['A', 'H', 'M', 'N', 'S']) { "an" } else { "a" };
    format!("{article} {name} record")
}

/// The row of fields of each type that we read and show in its own form.
pub(super) fn layout(rtype: Rtype) -> Option<&'static Layout> {
    macro_rules! layout {
        ($fields:expr, $rule:literal, $example:literal) => {{
            const LAYOUT: Layout = Layout { fields: $fields, rule: $rule, example: $example };
            &LAYOUT
        }};
    }
    Some(match rtype {
        Rtype::A => layout!(&[Field::Ipv4], "RFC 1035 section 3.4.1", "192.0.2.1"),
        Rtype::AAAA => layout!(&[Field::Ipv6], "RFC 3596 section 2.2", "2001:db8::1"),
        Rtype::NS => layout!(&[Field::Name("name server")], "RFC 1035 section 3.3.11", "ns1.example.com."),
        Rtype::CNAME => layout!(&[Field::Name("canonical name")], "RFC 1035 section 3.3.1", "www.example.com."),
        Rtype::PTR => layout!(&[Field::Name("domain name")], "RFC 1035 section 3.3.12", "host.example.com."),
        Rtype::SOA => layout!(
            &[
                Field::Name("primary name server"),
                Field::Name("mailbox"),
                Field::U32("serial"),
                Field::Seconds("refresh"),
                Field::Seconds("retry"),
                Field::Seconds("expire"),
                Field::Seconds("minimum"),
            ],
            "RFC 1035 section 3.3.13",
            "ns1.example.com. hostmaster.example.com. 1 7200 900 1209600 86400"
        ),
        Rtype::MX => layout!(
            &[Field::U16("preference"), Field::Name("exchange")],
            "RFC 1035 section 3.3.9",
            "10 mail.example.com."
        ),
        Rtype::TXT | Rtype::SPF => {
            layout!(&[Field::Strings], "RFC 1035 section 3.3.14", "\"v=spf1 -all\" \"second string\"")
        }
        Rtype::SRV => layout!(
            &[Field::U16("priority"), Field::U16("weight"), Field::U16("port"), Field::Name("target")],
            "RFC 2782",
            "10 5 443 host.example.com."
        ),
        Rtype::NAPTR => layout!(
            &[
                Field::U16("order"),
                Field::U16("preference"),
                Field::Alphanumerics("flags"),
                Field::String("service"),
                Field::String("regular expression"),
                Field::Name("replacement"),
            ],
            "RFC 3403 section 4.1",
            "100 50 \"s\" \"http+N2L\" \"\" www.example.com."
        ),
        Rtype::DS => layout!(
            &[Field::U16("key tag"), Field::U8("algorithm"), Field::U8("digest type"), Field::Hex("digest")],
            "RFC 4034 section 5.3",
            "60485 8 2 d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50a"
        ),
        Rtype::SSHFP => layout!(
            &[Field::U8("algorithm"), Field::U8("fingerprint type"), Field::Hex("fingerprint")],
            "RFC 4255 section 3.2",
            "2 1 123456789abcdef67890123456789abcdef67890"
        ),
        Rtype::TLSA => layout!(
            &[
                Field::U8("certificate usage"),
                Field::U8("selector"),
                Field::U8("matching type"),
                Field::Hex("certificate association data"),
            ],
            "RFC 6698 section 2.2",
            "3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971"
        ),
        Rtype::CAA => layout!(
            &[Field::U8("flags"), Field::CaaTag, Field::CaaValue],
            "RFC 8659 section 4.1.1",
            "0 issue \"ca.example.net\""
        ),
        Rtype::SVCB | Rtype::HTTPS => layout!(
            &[Field::U16("priority"), Field::Name("target"), Field::SvcParams],
            "RFC 9460 section 2.1",
            "1 . alpn=\"h2,h3\" port=443"
        ),
        _ => return None,
    })
}

impl Field {
    /// What people call the field.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::U8(what) | Self::U16(what) | Self::U32(what) | Self::Seconds(what) => what,
            Self::Name(what) | Self::Alphanumerics(what) | Self::String(what) | Self::Hex(what) => what,
            Self::Ipv4 => "IPv4 address",
            Self::Ipv6 => "IPv6 address",
            Self::Strings => "string",
            Self::CaaTag => "tag",
            Self::CaaValue => "value",
            Self::SvcParams => "SvcParams",
        }
    }
}

/// Whether octets are rdata of this type: of those that we know, exactly their fields; of others, anything.
pub(super) fn is_well_formed(rtype: Rtype, rdata: &[u8]) -> bool {
    let Some(layout) = layout(rtype) else { return true };
    let mut rest = rdata;
    for field in layout.fields {
        match split_field(*field, rest) {
            Some((octets, after)) if field_is_sound(*field, octets) => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

/// Splits the octets of a field off; none if they do not suffice.
pub(super) fn split_field(field: Field, rdata: &[u8]) -> Option<(&[u8], &[u8])> {
    let octets = match field {
        Field::U8(_) => 1,
        Field::U16(_) => 2,
        Field::U32(_) | Field::Seconds(_) | Field::Ipv4 => 4,
        Field::Ipv6 => 16,
        Field::Name(_) => wire_name_octets(rdata).ok()?,
        Field::Alphanumerics(_) | Field::String(_) | Field::CaaTag => 1 + usize::from(*rdata.first()?),
        Field::Strings | Field::Hex(_) | Field::CaaValue | Field::SvcParams => rdata.len(),
    };
    rdata.split_at_checked(octets)
}

/// Whether the octets of a field mean something.
fn field_is_sound(field: Field, octets: &[u8]) -> bool {
    match field {
        Field::Strings => !octets.is_empty() && strings(octets).all(|string| string.is_some()),
        Field::Hex(_) => !octets.is_empty(),
        Field::Alphanumerics(_) => octets[1..].iter().all(u8::is_ascii_alphanumeric),
        Field::CaaTag => octets.len() > 1 && octets[1..].iter().all(u8::is_ascii_alphanumeric),
        Field::SvcParams => svcb::are_well_formed(octets),
        _ => true,
    }
}

/// The character-strings of rdata; none where one is cut off, which is the last.
pub(super) fn strings(rdata: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = rdata;
    std::iter::from_fn(move || {
        let octets = usize::from(*rest.first()?);
        let string = rest.get(1..=octets);
        rest = rest.get(octets + 1..).unwrap_or_default();
        Some(string)
    })
}
