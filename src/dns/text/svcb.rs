//! SvcParams of SVCB and HTTPS records (RFC 9460).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::lexer::{Token, TokenKind};
use super::rdata::{Fields, decimal, push_unescaped};
use super::show::write_quoted;
use super::{Fault, shown};

/// The keys that have a name (IANA, "Service Parameter Keys"; RFC 9460 section 14.3.2, RFC 9461, RFC 9540).
const KEY_NAMES: [(&str, u16); 9] = [
    ("mandatory", MANDATORY),
    ("alpn", ALPN),
    ("no-default-alpn", NO_DEFAULT_ALPN),
    ("port", PORT),
    ("ipv4hint", IPV4HINT),
    ("ech", ECH),
    ("ipv6hint", IPV6HINT),
    ("dohpath", DOHPATH),
    ("ohttp", OHTTP),
];
const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;
/// Reserved as "invalid key" (RFC 9460 section 14.3.2).
const INVALID_KEY: u16 = 65_535;

/// Reads the fields that are left as SvcParams, sorts them by key (RFC 9460 section 2.2) and appends them.
pub(super) fn read_params(fields: &mut Fields<'_, '_>, rdata: &mut Vec<u8>) -> Result<(), Fault> {
    let mut params: Vec<(u16, Vec<u8>, Token)> = Vec::new();
    while let Some(token) = fields.take() {
        let (key, value) = read_param(token, fields)?;
        params.push((key, value, token));
    }
    // Stable, so that the second of two stays the one to blame.
    params.sort_by_key(|(key, ..)| *key);
    for pair in params.windows(2) {
        if pair[0].0 == pair[1].0 {
            let token = pair[1].2;
            let message = format!(
                "the SvcParamKey `{}` is there twice: each may be there once (RFC 9460 section 2.1); remove one",
                Key(pair[1].0)
            );
            return Err(Fault::new(token.at(), message));
        }
    }
    let has = |key: u16| params.iter().any(|(other, ..)| *other == key);
    for (key, value, token) in &params {
        match *key {
            MANDATORY => check_mandatory(value, *token, has)?,
            // RFC 9460 section 7.1.1.
            NO_DEFAULT_ALPN if !has(ALPN) => {
                let message = "no-default-alpn stands without alpn (RFC 9460 section 7.1.1); add alpn, or remove it";
                return Err(Fault::new(token.at(), message));
            }
            _ => {}
        }
    }
    for (key, value, token) in params {
        let octets = u16::try_from(value.len()).map_err(|_| {
            let message =
                format!("the value of `{}` has over 65,535 octets (RFC 9460 section 2.2); shorten it", Key(key));
            Fault::new(token.at(), message)
        })?;
        rdata.extend_from_slice(&key.to_be_bytes());
        rdata.extend_from_slice(&octets.to_be_bytes());
        rdata.extend_from_slice(&value);
    }
    Ok(())
}

/// RFC 9460 section 8: the keys that `mandatory` lists are there, and it does not list itself.
fn check_mandatory(value: &[u8], token: Token, has: impl Fn(u16) -> bool) -> Result<(), Fault> {
    for &listed in value.as_chunks::<2>().0 {
        let listed = u16::from_be_bytes(listed);
        if listed == MANDATORY || !has(listed) {
            let why = if listed == MANDATORY { "must not list itself" } else { "lists a key that is not there" };
            let message = format!(
                "mandatory={} {why} (RFC 9460 section 8); remove it from the list, or add the parameter",
                Key(listed)
            );
            return Err(Fault::new(token.at(), message));
        }
    }
    Ok(())
}

/// Reads `key`, `key=value` or `key="value"` into the key and the value's wire form.
fn read_param(token: Token, fields: &Fields<'_, '_>) -> Result<(u16, Vec<u8>), Fault> {
    let octets = token.of(fields.text);
    let name_octets = octets.iter().position(|&octet| octet == b'=').unwrap_or(octets.len());
    let (name, rest) = octets.split_at(name_octets);
    let key = read_key(name).filter(|_| token.kind != TokenKind::Quoted).ok_or_else(|| {
        let message = format!(
            "`{}` is not a SvcParam, a registered key in lower case or `key` and a number to 65534 (RFC 9460 section \
             2.1); write such as `alpn=\"h2,h3\"` or `key667=\"value\"`",
            shown(octets)
        );
        Fault::new(token.at(), message)
    })?;
    let mut value = Vec::new();
    if let Some((_, quoted)) = rest.split_first() {
        let quotes = usize::from(token.kind == TokenKind::Pair);
        let start = token.end - quoted.len() + quotes;
        let inner = Token { start, end: token.end - quotes, kind: TokenKind::Word };
        push_unescaped(&mut value, inner, fields)?;
    }
    // The generic name takes the wire form as it stands (RFC 9460 section 2.1).
    let wire = if name.starts_with(b"key") { Some(value.clone()) } else { value_to_wire(key, &value) };
    let wire = wire.filter(|wire| value_is_sound(key, wire)).ok_or_else(|| {
        let (rule, example) = value_rule(key);
        let message =
            format!("`{}` is not a value of `{}`: {rule}; write such as `{example}`", shown(&value), Key(key));
        Fault::new(token.at() + name_octets.min(octets.len() - 1), message)
    })?;
    Ok((key, wire))
}

/// What a key's value must be, and a right parameter.
fn value_rule(key: u16) -> (&'static str, &'static str) {
    match key {
        MANDATORY => ("keys with commas between, each once (RFC 9460 section 8)", "mandatory=alpn,port"),
        ALPN => ("protocol ids of 1 to 255 octets with commas between (RFC 9460 section 7.1.1)", "alpn=\"h2,h3\""),
        NO_DEFAULT_ALPN => ("it takes none (RFC 9460 section 7.1.1)", "no-default-alpn"),
        PORT => ("a number from 0 to 65535 (RFC 9460 section 7.2)", "port=443"),
        IPV4HINT => ("IPv4 addresses with commas between (RFC 9460 section 7.3)", "ipv4hint=192.0.2.1,192.0.2.2"),
        ECH => ("base64 (RFC 9848 section 3)", "ech=\"AEj+DQBEAQ==\""),
        IPV6HINT => ("IPv6 addresses with commas between (RFC 9460 section 7.3)", "ipv6hint=2001:db8::1"),
        DOHPATH => ("a URI template in UTF-8 that begins with / (RFC 9461 section 5)", "dohpath=\"/dns-query{?dns}\""),
        OHTTP => ("it takes none (RFC 9540 section 4)", "ohttp"),
        _ => ("at most 65,535 octets (RFC 9460 section 2.2)", "key667=\"value\""),
    }
}

/// The number of a key: a registered name, or `keyNNNNN` without leading zeros (RFC 9460 section 2.1).
fn read_key(name: &[u8]) -> Option<u16> {
    if let Some((_, key)) = KEY_NAMES.iter().find(|(known, _)| known.as_bytes() == name) {
        return Some(*key);
    }
    let digits = name.strip_prefix(b"key")?;
    let has_leading_zero = digits.len() > 1 && digits[0] == b'0';
    let key = decimal(digits, u64::from(INVALID_KEY - 1)).filter(|_| !has_leading_zero)?;
    Some(key as u16)
}

/// A value of a named key, its escapes undone once, in wire form; none if it is not one.
fn value_to_wire(key: u16, value: &[u8]) -> Option<Vec<u8>> {
    let mut wire = Vec::with_capacity(value.len());
    match key {
        MANDATORY => {
            let mut keys: Vec<u16> = value.split(|&octet| octet == b',').map(read_key).collect::<Option<_>>()?;
            // In wire form the list is sorted (RFC 9460 section 8).
            keys.sort_unstable();
            wire.extend(keys.iter().flat_map(|key| key.to_be_bytes()));
        }
        ALPN => {
            for id in comma_list(value)? {
                wire.push(u8::try_from(id.len()).ok()?);
                wire.extend_from_slice(&id);
            }
        }
        PORT => wire.extend_from_slice(&(decimal(value, u64::from(u16::MAX))? as u16).to_be_bytes()),
        IPV4HINT => {
            for address in str::from_utf8(value).ok()?.split(',') {
                wire.extend_from_slice(&address.parse::<Ipv4Addr>().ok()?.octets());
            }
        }
        IPV6HINT => {
            for address in str::from_utf8(value).ok()?.split(',') {
                wire.extend_from_slice(&address.parse::<Ipv6Addr>().ok()?.octets());
            }
        }
        ECH => wire = base64_to_octets(value)?,
        _ => wire.extend_from_slice(value),
    }
    Some(wire)
}

/// Items with commas between; in them `\,` and `\\` stand for the second character (RFC 9460 appendix A.1).
fn comma_list(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut items = vec![Vec::new()];
    let mut octets = value.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            b',' => items.push(Vec::new()),
            b'\\' => {
                let escaped = octets.next().filter(|octet| matches!(octet, b',' | b'\\'))?;
                items.last_mut()?.push(*escaped);
            }
            _ => items.last_mut()?.push(octet),
        }
    }
    Some(items)
}

/// Whether a value in wire form is one of this key.
fn value_is_sound(key: u16, value: &[u8]) -> bool {
    match key {
        MANDATORY => {
            let (keys, rest) = value.as_chunks::<2>();
            rest.is_empty() && !keys.is_empty() && keys.is_sorted_by(|a, b| a < b)
        }
        ALPN => !value.is_empty() && alpn_ids(value).all(|id| id.is_some_and(|id| !id.is_empty())),
        NO_DEFAULT_ALPN | OHTTP => value.is_empty(),
        PORT => value.len() == 2,
        IPV4HINT => !value.is_empty() && value.len().is_multiple_of(4),
        IPV6HINT => !value.is_empty() && value.len().is_multiple_of(16),
        ECH => !value.is_empty(),
        DOHPATH => value.starts_with(b"/") && str::from_utf8(value).is_ok(),
        INVALID_KEY => false,
        _ => true,
    }
}

/// The ids in the wire form of alpn; none where one is cut off, which is the last.
fn alpn_ids(value: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let octets = usize::from(*rest.first()?);
        let id = rest.get(1..=octets);
        rest = rest.get(octets + 1..).unwrap_or_default();
        Some(id)
    })
}

/// The parameters in wire form; none where one is cut off, which is the last.
fn params(octets: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let param = (|| {
            let (head, after) = rest.split_first_chunk::<4>()?;
            let octets = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let (value, after) = after.split_at_checked(octets)?;
            rest = after;
            Some((u16::from_be_bytes([head[0], head[1]]), value))
        })();
        if param.is_none() {
            rest = &[];
        }
        Some(param)
    })
}

/// Whether octets are SvcParams: keys strictly rising, each value of its key's form (RFC 9460 section 2.2).
pub(super) fn are_well_formed(octets: &[u8]) -> bool {
    let mut above = None;
    params(octets).all(|param| {
        let Some((key, value)) = param else { return false };
        let rises = above.is_none_or(|last| key > last);
        above = Some(key);
        rises && value_is_sound(key, value)
    })
}

/// Writes well-formed SvcParams, each known key in its own form.
pub(super) fn write_params(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    for (index, (key, value)) in params(octets).flatten().enumerate() {
        f.write_str(if index > 0 { " " } else { "" })?;
        write!(f, "{}", Key(key))?;
        if value.is_empty() {
            continue;
        }
        f.write_str("=")?;
        match key {
            MANDATORY => write_list(f, value.as_chunks::<2>().0.iter().map(|key| Key(u16::from_be_bytes(*key))))?,
            ALPN => write_quoted(f, &alpn_to_value(value))?,
            PORT => write!(f, "{}", value.iter().fold(0u16, |port, &octet| port << 8 | u16::from(octet)))?,
            IPV4HINT => write_list(f, value.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets)))?,
            IPV6HINT => write_list(f, value.as_chunks::<16>().0.iter().map(|octets| Ipv6Addr::from(*octets)))?,
            ECH => write_quoted(f, &octets_to_base64(value))?,
            _ => write_quoted(f, value)?,
        }
    }
    Ok(())
}

/// Items with commas between.
fn write_list(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = impl fmt::Display>) -> fmt::Result {
    for (index, item) in items.enumerate() {
        f.write_str(if index > 0 { "," } else { "" })?;
        write!(f, "{item}")?;
    }
    Ok(())
}

/// The ids of alpn as a comma-separated list with its escapes.
fn alpn_to_value(wire: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(wire.len());
    for (index, id) in alpn_ids(wire).flatten().enumerate() {
        value.extend((index > 0).then_some(b','));
        for &octet in id {
            value.extend(matches!(octet, b',' | b'\\').then_some(b'\\'));
            value.push(octet);
        }
    }
    value
}

/// A key as people write it.
struct Key(u16);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KEY_NAMES.iter().find(|(_, key)| *key == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "key{}", self.0),
        }
    }
}

const BASE64_DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with its padding (RFC 4648 section 4); none if it is not canonical.
fn base64_to_octets(text: &[u8]) -> Option<Vec<u8>> {
    let (quads, rest) = text.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut octets = Vec::with_capacity(quads.len() * 3);
    for (index, quad) in quads.iter().enumerate() {
        let padding = quad.iter().rev().take_while(|&&digit| digit == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 < quads.len()) {
            return None;
        }
        let mut bits = 0u32;
        for digit in &quad[..4 - padding] {
            let value = BASE64_DIGITS.iter().position(|known| known == digit)?;
            bits = bits << 6 | value as u32;
        }
        let [_, group @ ..] = (bits << (6 * padding)).to_be_bytes();
        let (kept, dropped) = group.split_at(3 - padding);
        if dropped.iter().any(|&octet| octet != 0) {
            return None;
        }
        octets.extend_from_slice(kept);
    }
    Some(octets)
}

fn octets_to_base64(octets: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(octets.len().div_ceil(3) * 4);
    for group in octets.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(padded);
        for index in 0..4 {
            let digit = BASE64_DIGITS[(bits >> (18 - 6 * index) & 0x3f) as usize];
            text.push(if index <= group.len() { digit } else { b'=' });
        }
    }
    text
}
