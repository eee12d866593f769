//! Names in presentation form.

use super::super::name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX, Name, NameError};
use super::{Escapes, read_escape};

/// Reads a name into wire form, case kept.
///
/// Names without a final dot are relative to `origin`; where there is none, every name is absolute, with or without
/// the final dot (Route 53's rule). `@` alone is the origin.
pub fn parse_name(text: &str, escapes: Escapes, origin: Option<&Name>) -> Result<Vec<u8>, NameError> {
    let mut wire = Vec::with_capacity(text.len() + 2);
    push_name(&mut wire, text.as_bytes(), escapes, origin.map(Name::as_wire))?;
    Ok(wire)
}

/// As [`parse_name`], folded.
pub fn parse_folded_name(text: &str, escapes: Escapes, origin: Option<&Name>) -> Result<Name, NameError> {
    Name::from_wire(&parse_name(text, escapes, origin)?)
}

/// Appends the wire form of a name; after an error `wire` is as long as before.
pub(super) fn push_name(
    wire: &mut Vec<u8>,
    text: &[u8],
    escapes: Escapes,
    origin: Option<&[u8]>,
) -> Result<(), NameError> {
    let start = wire.len();
    let pushed = try_push_name(wire, text, escapes, origin);
    if pushed.is_err() {
        wire.truncate(start);
    }
    pushed
}

fn try_push_name(wire: &mut Vec<u8>, text: &[u8], escapes: Escapes, origin: Option<&[u8]>) -> Result<(), NameError> {
    let start = wire.len();
    match text {
        b"" => return Err(NameError::EmptyLabel),
        b"@" => {
            wire.extend_from_slice(origin.ok_or(NameError::NoOrigin)?);
            return Ok(());
        }
        b"." => {
            wire.push(0);
            return Ok(());
        }
        _ => {}
    }
    let mut at = 0;
    // Every round reads one label; what it stops at says what comes next.
    loop {
        let length_at = wire.len();
        wire.push(0);
        at = push_label_octets(wire, text, at, escapes)?;
        wire[length_at] = match wire.len() - length_at - 1 {
            0 => return Err(NameError::EmptyLabel),
            octets @ 1..=LABEL_OCTETS_MAX => octets as u8,
            _ => return Err(NameError::LabelTooLong),
        };
        let is_absolute = at + 1 == text.len();
        if at == text.len() || is_absolute {
            match origin {
                Some(origin) if !is_absolute => wire.extend_from_slice(origin),
                _ => wire.push(0),
            }
            break;
        }
        at += 1;
    }
    // RFC 1035 section 2.3.4.
    if wire.len() - start > NAME_OCTETS_MAX { Err(NameError::TooLong) } else { Ok(()) }
}

/// Appends the octets of the label that begins at `at`; returns where its dot or the end is.
fn push_label_octets(wire: &mut Vec<u8>, text: &[u8], mut at: usize, escapes: Escapes) -> Result<usize, NameError> {
    loop {
        let rest = &text[at..];
        let plain = rest.iter().position(|octet| !STANDS_FOR_ITSELF[usize::from(*octet)]).unwrap_or(rest.len());
        wire.extend_from_slice(&rest[..plain]);
        at += plain;
        match text.get(at) {
            None | Some(b'.') => return Ok(at),
            Some(b'\\') => {
                let (octet, after) = read_escape(text, at, escapes).ok_or(NameError::BadEscape)?;
                wire.push(octet);
                at = after;
            }
            Some(_) => return Err(NameError::Unescaped),
        }
    }
}

/// Which octets are themselves in a label, without a backslash.
const STANDS_FOR_ITSELF: [bool; 256] = {
    let mut table = [true; 256];
    let mut control = 0;
    while control <= b' ' {
        table[control as usize] = false;
        control += 1;
    }
    table[0x7f] = false;
    table[b'"' as usize] = false;
    table[b'.' as usize] = false;
    table[b'\\' as usize] = false;
    table
};
