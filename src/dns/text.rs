//! Presentation form: names, rdata and zone files as people write them (RFC 1035 section 5.1).
//!
//! Two dialects share one reader. Zone files follow RFC 1035; what stands in the TOML file follows Route 53, whose
//! `\123` is octal and whose values know neither comments nor parentheses. Every error has its line and column.

mod layout;
mod lexer;
mod name;
mod rdata;
mod show;
mod svcb;
#[cfg(test)]
mod tests;
mod zone_file;

use std::fmt;

pub use name::{parse_folded_name, parse_name};
pub use rdata::{RDATA_OCTETS_MAX, TXT_VALUE_CHARACTERS_MAX, parse_rdata};
pub use show::DisplayRdata;
pub use zone_file::{
    IncludedFile, ZONE_FILE_ERRORS_MAX, ZONE_FILES_MAX, ZONE_FILES_OCTETS_MAX, ZONE_FILES_OPEN_MAX, ZoneFileError,
    ZoneFileUser, ZoneRecord, read_zone_file,
};

/// How `\123` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// Decimal: in zone files (RFC 1035 section 5.1).
    Decimal,
    /// Octal: in TOML names and values, as Route 53 prints it (Developer Guide, DomainNameFormat).
    Octal,
}

/// What is wrong with a text, and where. The message says the value, the rule and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The value, the rule that it breaks, and what to write instead.
    pub message: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for TextError {}

/// An error at an octet of the text, before anybody has counted lines.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    at: usize,
    message: String,
}

impl Fault {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    /// Counts lines and characters up to the fault, from a place before it that begins line `line`.
    fn locate(self, text: &[u8], line_start: usize, line: u32) -> TextError {
        let before = &text[line_start..self.at.min(text.len())];
        let newlines = before.iter().filter(|&&octet| octet == b'\n').count();
        let last_line = before.rsplit(|&octet| octet == b'\n').next().unwrap_or_default();
        TextError { line: line + newlines as u32, column: characters(last_line) as u32 + 1, message: self.message }
    }
}

/// Characters in UTF-8 octets: every octet that does not continue one.
fn characters(octets: &[u8]) -> usize {
    octets.iter().filter(|&&octet| octet & 0xc0 != 0x80).count()
}

/// A value as an error shows it: cut where it is long, control characters escaped, so that it is safe to log.
fn shown(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let mut out = String::with_capacity(text.len().min(SHOWN_CHARACTERS_MAX) + 2);
    for (index, character) in text.chars().enumerate() {
        if index == SHOWN_CHARACTERS_MAX {
            out.push('…');
            break;
        }
        match character.is_control() {
            true => out.extend(character.escape_default()),
            false => out.push(character),
        }
    }
    out
}

/// Characters of a value that an error repeats.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// The octet that the escape at `octets[at]`, a backslash, stands for, and where reading goes on; none if it is bad.
fn read_escape(octets: &[u8], at: usize, escapes: Escapes) -> Option<(u8, usize)> {
    let first = *octets.get(at + 1)?;
    if !first.is_ascii_digit() {
        return Some((first, at + 2));
    }
    let base = match escapes {
        Escapes::Decimal => 10,
        Escapes::Octal => 8,
    };
    let mut value = 0;
    for &digit in octets.get(at + 1..at + 4)? {
        value = value * base + char::from(digit).to_digit(base)?;
    }
    Some((u8::try_from(value).ok()?, at + 4))
}
