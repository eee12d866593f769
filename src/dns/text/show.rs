//! Rdata shown in presentation form, for diagnostics and tests.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::name::DisplayWire;
use super::super::number::Rtype;
use super::layout::{Field, is_well_formed, layout, split_field, strings};
use super::svcb;

/// Rdata shown in presentation form with decimal escapes, safe to log: the types of Route 53 in their own form, all
/// others, and what is not well-formed, as RFC 3597 section 5 has it.
pub struct DisplayRdata<'r> {
    /// The type.
    pub rtype: Rtype,
    /// Wire octets, names uncompressed.
    pub rdata: &'r [u8],
}

impl fmt::Display for DisplayRdata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = layout(self.rtype).filter(|_| is_well_formed(self.rtype, self.rdata));
        let Some(layout) = layout else {
            write!(f, "\\# {}", self.rdata.len())?;
            if !self.rdata.is_empty() {
                f.write_str(" ")?;
            }
            return write_hex(f, self.rdata);
        };
        let mut rest = self.rdata;
        for (index, field) in layout.fields.iter().enumerate() {
            let (octets, after) = split_field(*field, rest).ok_or(fmt::Error)?;
            if index > 0 && !(octets.is_empty() && matches!(field, Field::SvcParams)) {
                f.write_str(" ")?;
            }
            write_field(f, *field, octets)?;
            rest = after;
        }
        Ok(())
    }
}

fn write_field(f: &mut fmt::Formatter<'_>, field: Field, octets: &[u8]) -> fmt::Result {
    match field {
        Field::U8(_) | Field::U16(_) | Field::U32(_) | Field::Seconds(_) => {
            write!(f, "{}", octets.iter().fold(0u64, |value, &octet| value << 8 | u64::from(octet)))
        }
        Field::Ipv4 => {
            let octets: [u8; 4] = octets.try_into().map_err(|_| fmt::Error)?;
            write!(f, "{}", Ipv4Addr::from(octets))
        }
        Field::Ipv6 => {
            let octets: [u8; 16] = octets.try_into().map_err(|_| fmt::Error)?;
            write!(f, "{}", Ipv6Addr::from(octets))
        }
        Field::Name(_) => write!(f, "{}", DisplayWire(octets)),
        Field::Alphanumerics(_) | Field::String(_) => write_quoted(f, &octets[1..]),
        Field::Strings => {
            for (index, string) in strings(octets).flatten().enumerate() {
                f.write_str(if index > 0 { " " } else { "" })?;
                write_quoted(f, string)?;
            }
            Ok(())
        }
        Field::Hex(_) => write_hex(f, octets),
        Field::CaaTag => octets[1..].iter().try_for_each(|&octet| write!(f, "{}", char::from(octet))),
        Field::CaaValue => write_quoted(f, octets),
        Field::SvcParams => svcb::write_params(f, octets),
    }
}

/// Writes a string in double quotes.
pub(super) fn write_quoted(f: &mut fmt::Formatter<'_>, string: &[u8]) -> fmt::Result {
    f.write_str("\"")?;
    for &octet in string {
        match octet {
            b'"' | b'\\' => write!(f, "\\{}", char::from(octet))?,
            b' '..=b'~' => write!(f, "{}", char::from(octet))?,
            _ => write!(f, "\\{octet:03}")?,
        }
    }
    f.write_str("\"")
}

fn write_hex(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
}
