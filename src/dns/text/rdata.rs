//! Rdata in presentation form.
//!
//! The types of Route 53 are read field by field, as their [`layout`] says; every type can also be given as RFC 3597
//! has it, `\# octets hex`.

use std::net::Ipv6Addr;

use super::super::name::{Name, NameError};
use super::super::number::Rtype;
use super::layout::{Field, Layout, is_well_formed, layout, record};
use super::lexer::{Lexer, Token, TokenKind};
use super::{Escapes, Fault, TextError, characters, read_escape, shown, svcb};

/// Octets of the rdata of one record (RFC 1035 section 3.2.1: RDLENGTH has 16 bits).
pub const RDATA_OCTETS_MAX: usize = 65_535;
/// Characters of one TXT or SPF value in Route 53's form (Developer Guide, ResourceRecordTypes).
pub const TXT_VALUE_CHARACTERS_MAX: usize = 4_000;
/// Octets of one character-string (RFC 1035 section 3.3).
const STRING_OCTETS_MAX: usize = 255;

/// Reads the rdata of one record in presentation form into wire octets: names uncompressed, case kept.
///
/// The 17 types of Route 53 can be given in their own form, every type in that of RFC 3597 section 5.
pub fn parse_rdata(rtype: Rtype, text: &str, escapes: Escapes, origin: Option<&Name>) -> Result<Vec<u8>, TextError> {
    let octets = text.as_bytes();
    let mut rdata = Vec::with_capacity(64);
    match read_only_entry(rtype, octets, escapes, origin, &mut rdata) {
        Ok(()) => Ok(rdata),
        Err(fault) => Err(fault.locate(octets, 0, 1)),
    }
}

/// Reads a text that must be one record's rdata and nothing else.
fn read_only_entry(
    rtype: Rtype,
    text: &[u8],
    escapes: Escapes,
    origin: Option<&Name>,
    rdata: &mut Vec<u8>,
) -> Result<(), Fault> {
    let is_text = matches!(rtype, Rtype::TXT | Rtype::SPF);
    if is_text && escapes == Escapes::Octal && characters(text) > TXT_VALUE_CHARACTERS_MAX {
        let message = format!(
            "the {rtype} value has {} characters: Route 53 takes at most {TXT_VALUE_CHARACTERS_MAX} \
             (Developer Guide, ResourceRecordTypes); shorten it, or put it into a zone file",
            characters(text)
        );
        return Err(Fault::new(0, message));
    }
    let mut tokens = Vec::new();
    let mut lexer = Lexer::new(text, escapes);
    let entry = lexer.next_entry(&mut tokens);
    let end = entry.as_ref().map_or(text.len(), |entry| entry.end);
    if let Some(fault) = entry.and_then(|entry| entry.fault) {
        return Err(fault);
    }
    let mut fields = Fields { text, tokens: &tokens, end, escapes, origin: origin.map(Name::as_wire) };
    read_rdata(rtype, &mut fields, rdata)?;
    match lexer.next_entry(&mut Vec::new()) {
        None => Ok(()),
        Some(second) => {
            let message = "a second line follows: one value is one record; give every record a value of its own";
            Err(Fault::new(second.start, message))
        }
    }
}

/// Reads the fields that are left as rdata of this type, in place of what `rdata` held.
pub(super) fn read_rdata(rtype: Rtype, fields: &mut Fields<'_, '_>, rdata: &mut Vec<u8>) -> Result<(), Fault> {
    rdata.clear();
    if fields.peek_octets() == Some(b"\\#") {
        return read_generic(rtype, fields, rdata);
    }
    let Some(layout) = layout(rtype) else {
        let message = format!(
            "type {rtype} has no form of its own here; write its rdata as RFC 3597 section 5 has it, \
             `\\# <number of octets> <hexadecimal digits>`"
        );
        return Err(Fault::new(fields.at(), message));
    };
    for field in layout.fields {
        read_field(*field, rtype, layout, fields, rdata)?;
    }
    if let Some(token) = fields.take() {
        let message = format!(
            "`{}` is one field too many: {} ends before it ({}); {}",
            shown(token.of(fields.text)),
            record(rtype),
            layout.rule,
            layout.remedy(),
        );
        return Err(Fault::new(token.at(), message));
    }
    if rdata.len() > RDATA_OCTETS_MAX {
        let message = format!(
            "the rdata has {} octets: at most {RDATA_OCTETS_MAX} fit into a record (RFC 1035 section 3.2.1); shorten it",
            rdata.len()
        );
        return Err(Fault::new(fields.end, message));
    }
    Ok(())
}

/// RFC 3597 section 5: `\#`, the number of octets, and as many octets in hexadecimal.
fn read_generic(rtype: Rtype, fields: &mut Fields<'_, '_>, rdata: &mut Vec<u8>) -> Result<(), Fault> {
    let marker_at = fields.at();
    fields.take();
    let remedy = "write `\\# <number of octets> <hexadecimal digits>`, such as `\\# 4 0a000001`";
    let count_at = fields.at();
    let count = fields.take().map(|token| token.of(fields.text)).unwrap_or_default();
    let Some(count) = decimal(count, u64::from(u16::MAX)) else {
        let message = format!(
            "`{}` is not a number of octets from 0 to {RDATA_OCTETS_MAX} (RFC 3597 section 5); {remedy}",
            shown(count)
        );
        return Err(Fault::new(count_at, message));
    };
    read_hex(fields, rdata, remedy)?;
    if rdata.len() as u64 != count {
        let message = format!(
            "{count} octets are announced and {} follow (RFC 3597 section 5); make the number and the digits agree",
            rdata.len()
        );
        return Err(Fault::new(count_at, message));
    }
    // The types we know must be well-formed in this form too: others walk the names in their rdata.
    if !is_well_formed(rtype, rdata) {
        let message = format!(
            "these octets are not the rdata of {} (RFC 3597 section 5); correct them, or write the type's own form",
            record(rtype)
        );
        return Err(Fault::new(marker_at, message));
    }
    Ok(())
}

/// The tokens of a record that are not read yet.
pub(super) struct Fields<'t, 'k> {
    pub(super) text: &'t [u8],
    pub(super) tokens: &'k [Token],
    /// Where the record ends: where an error about a missing field points.
    pub(super) end: usize,
    pub(super) escapes: Escapes,
    /// The origin of relative names in wire form.
    pub(super) origin: Option<&'t [u8]>,
}

impl<'t> Fields<'t, '_> {
    pub(super) fn take(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    /// Where the next field is, or should be.
    pub(super) fn at(&self) -> usize {
        self.tokens.first().map_or(self.end, |token| token.at())
    }

    /// The next field if it is a plain word.
    fn peek_octets(&self) -> Option<&'t [u8]> {
        let token = self.tokens.first()?;
        (token.kind == TokenKind::Word).then(|| token.of(self.text))
    }
}

/// Reads one field and appends its wire form.
fn read_field(
    field: Field,
    rtype: Rtype,
    layout: &Layout,
    fields: &mut Fields<'_, '_>,
    rdata: &mut Vec<u8>,
) -> Result<(), Fault> {
    let at = fields.at();
    let lacks = |what: &str| Fault::new(at, layout.lacks(rtype, what));
    let is_not = |octets: &[u8], what: &str| Fault::new(at, layout.is_not(octets, what));
    match field {
        Field::Strings => return read_strings(rtype, layout, fields, rdata),
        Field::SvcParams => return svcb::read_params(fields, rdata),
        Field::Hex(what) => {
            let start = rdata.len();
            read_hex(fields, rdata, &layout.remedy())?;
            return if rdata.len() > start { Ok(()) } else { Err(lacks(what)) };
        }
        _ => {}
    }
    let token = fields.take().ok_or_else(|| lacks(field.what()))?;
    let octets = token.of(fields.text);
    let takes_quotes = matches!(field, Field::Alphanumerics(_) | Field::String(_) | Field::CaaValue);
    if token.kind == TokenKind::Pair || (token.kind == TokenKind::Quoted && !takes_quotes) {
        return Err(is_not(octets, &format!("the {}, which stands without quotes", field.what())));
    }
    let number = |max: u64| {
        decimal(octets, max).ok_or_else(|| is_not(octets, &format!("the {}, a number from 0 to {max}", field.what())))
    };
    match field {
        Field::U8(_) => rdata.push(number(u64::from(u8::MAX))? as u8),
        Field::U16(_) => rdata.extend_from_slice(&(number(u64::from(u16::MAX))? as u16).to_be_bytes()),
        Field::U32(_) => rdata.extend_from_slice(&(number(u64::from(u32::MAX))? as u32).to_be_bytes()),
        Field::Seconds(what) => {
            let seconds = seconds(octets, u32::MAX).ok_or_else(|| {
                let range = format!("seconds from 0 to {} with or without units such as 1h30m", u32::MAX);
                is_not(octets, &format!("the {what}, {range}"))
            })?;
            rdata.extend_from_slice(&seconds.to_be_bytes());
        }
        Field::Ipv4 => {
            let what =
                "an IPv4 address, four decimal numbers from 0 to 255 without leading zeros and with dots between";
            rdata.extend_from_slice(&ipv4(octets).ok_or_else(|| is_not(octets, what))?);
        }
        Field::Ipv6 => {
            let text = str::from_utf8(octets).ok();
            let address: Option<Ipv6Addr> = text.and_then(|text| text.parse().ok());
            let address = address.ok_or_else(|| is_not(octets, "an IPv6 address (RFC 4291 section 2.2)"))?;
            rdata.extend_from_slice(&address.octets());
        }
        Field::Name(what) => {
            let pushed = super::name::push_name(rdata, octets, fields.escapes, fields.origin);
            pushed.map_err(|error| Fault::new(at, name_message(octets, what, error)))?;
        }
        Field::Alphanumerics(what) => {
            if !octets.iter().all(u8::is_ascii_alphanumeric) {
                return Err(is_not(octets, &format!("the {what}: letters and digits, or none in quotes")));
            }
            push_string(rdata, token, fields, what)?;
        }
        Field::String(what) => push_string(rdata, token, fields, what)?,
        Field::CaaTag => {
            // RFC 8659 section 4.1: letters and digits, one at least.
            if octets.len() > STRING_OCTETS_MAX || octets.is_empty() || !octets.iter().all(u8::is_ascii_alphanumeric) {
                return Err(is_not(octets, "the tag, 1 to 255 letters and digits"));
            }
            rdata.push(octets.len() as u8);
            rdata.extend_from_slice(octets);
        }
        Field::CaaValue => push_unescaped(rdata, token, fields)?,
        Field::Strings | Field::SvcParams | Field::Hex(_) => unreachable!("read to the end above"),
    }
    Ok(())
}

/// What an error says about a name that is none.
pub(super) fn name_message(octets: &[u8], what: &str, error: NameError) -> String {
    let remedy = match error {
        NameError::BadEscape => "write a backslash as \\\\",
        NameError::EmptyLabel => "remove the dot that is too many",
        NameError::Unescaped => "write a blank as \\032 in a zone file and as \\040 in TOML",
        NameError::NoOrigin => "write the name out",
        _ => "shorten it",
    };
    format!("`{}` is not a name ({what}): {error}; {remedy}", shown(octets))
}

/// Reads one or more character-strings to the end.
fn read_strings(rtype: Rtype, layout: &Layout, fields: &mut Fields<'_, '_>, rdata: &mut Vec<u8>) -> Result<(), Fault> {
    if fields.tokens.is_empty() {
        return Err(Fault::new(fields.at(), layout.lacks(rtype, "string")));
    }
    while let Some(token) = fields.take() {
        // Route 53 takes quoted strings only (Developer Guide, ResourceRecordTypes); zone files also plain words.
        let lacks_quotes = token.kind == TokenKind::Word && fields.escapes == Escapes::Octal;
        if lacks_quotes || token.kind == TokenKind::Pair {
            let rule = match fields.escapes {
                Escapes::Decimal => "quotes go around a whole string (RFC 1035 section 5.1)",
                Escapes::Octal => "every string stands in quotes (Route 53 Developer Guide, ResourceRecordTypes)",
            };
            let word = shown(token.of(fields.text));
            let message = format!("`{word}` is not in double quotes: {rule}; {}", layout.remedy());
            return Err(Fault::new(token.at(), message));
        }
        push_string(rdata, token, fields, "string")?;
    }
    Ok(())
}

/// Appends a character-string behind its length.
fn push_string(rdata: &mut Vec<u8>, token: Token, fields: &Fields<'_, '_>, what: &str) -> Result<(), Fault> {
    let length_at = rdata.len();
    rdata.push(0);
    push_unescaped(rdata, token, fields)?;
    let octets = rdata.len() - length_at - 1;
    rdata[length_at] = u8::try_from(octets).map_err(|_| {
        let message = format!(
            "the {what} `{}` has {octets} octets: a character-string has at most {STRING_OCTETS_MAX} \
             (RFC 1035 section 3.3); split it into several, each in its own quotes",
            shown(token.of(fields.text)),
        );
        Fault::new(token.at(), message)
    })?;
    Ok(())
}

/// Appends a token's octets with the escapes undone.
pub(super) fn push_unescaped(out: &mut Vec<u8>, token: Token, fields: &Fields<'_, '_>) -> Result<(), Fault> {
    let octets = token.of(fields.text);
    let mut at = 0;
    while let Some(&octet) = octets.get(at) {
        if octet != b'\\' {
            out.push(octet);
            at += 1;
            continue;
        }
        let (octet, after) = read_escape(octets, at, fields.escapes).ok_or_else(|| {
            let (rule, remedy) = match fields.escapes {
                Escapes::Decimal => ("three decimal digits up to 255", "\\065"),
                Escapes::Octal => ("three octal digits up to 377", "\\101"),
            };
            let message = format!(
                "the backslash escapes nothing: a character or {rule} must follow it (RFC 1035 section 5.1); \
                 write `A` such as {remedy}, and a backslash as \\\\"
            );
            Fault::new(token.start + at, message)
        })?;
        out.push(octet);
        at = after;
    }
    Ok(())
}

/// Appends the octets of all fields that are left, read as hexadecimal; blanks may stand between octets.
fn read_hex(fields: &mut Fields<'_, '_>, rdata: &mut Vec<u8>, remedy: &str) -> Result<(), Fault> {
    let mut high = None;
    while let Some(token) = fields.take() {
        let digits = token.of(fields.text);
        for (index, &digit) in digits.iter().enumerate() {
            let value = char::from(digit).to_digit(16).filter(|_| token.kind == TokenKind::Word).ok_or_else(|| {
                let message = format!("`{}` is not hexadecimal: the digits are 0-9 and a-f; {remedy}", shown(digits));
                Fault::new(token.at() + index, message)
            })? as u8;
            match high.take() {
                None => high = Some(value),
                Some(high) => rdata.push(high << 4 | value),
            }
        }
    }
    match high {
        None => Ok(()),
        Some(_) => {
            let message = format!("a hexadecimal digit is missing: two make an octet; {remedy}");
            Err(Fault::new(fields.end, message))
        }
    }
}

/// A number in decimal digits, at most `max`.
pub(super) fn decimal(octets: &[u8], max: u64) -> Option<u64> {
    // 19 digits fit into 64 bits.
    if octets.is_empty() || octets.len() > 19 {
        return None;
    }
    let mut value = 0u64;
    for &octet in octets {
        value = value * 10 + u64::from(octet.is_ascii_digit().then(|| octet - b'0')?);
    }
    (value <= max).then_some(value)
}

/// Seconds as digits alone, or as numbers with units (w, d, h, m, s in any case), as BIND reads `1h30m`.
pub(super) fn seconds(octets: &[u8], max: u32) -> Option<u32> {
    if let Some(seconds) = decimal(octets, u64::from(max)) {
        return Some(seconds as u32);
    }
    let mut total = 0u64;
    let mut rest = octets;
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let unit = match rest.get(digits)?.to_ascii_lowercase() {
            b'w' => 604_800,
            b'd' => 86_400,
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(decimal(&rest[..digits], u64::from(max))?.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!octets.is_empty() && total <= u64::from(max)).then_some(total as u32)
}

/// An IPv4 address: four decimal numbers of one to three digits, without leading zeros. As std reads it, but faster.
fn ipv4(octets: &[u8]) -> Option<[u8; 4]> {
    let mut address = [0u8; 4];
    let mut part = 0;
    let mut value = 0u32;
    let mut digits = 0;
    for &octet in octets {
        match octet {
            b'0'..=b'9' if digits < 3 && (digits == 0 || value > 0) => {
                value = value * 10 + u32::from(octet - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && part < 3 => {
                address[part] = u8::try_from(value).ok()?;
                part += 1;
                (value, digits) = (0, 0);
            }
            _ => return None,
        }
    }
    address[part] = u8::try_from(value).ok()?;
    (part == 3 && digits > 0).then_some(address)
}
