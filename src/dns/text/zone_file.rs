//! Zone files (RFC 1035 section 5).
//!
//! A record's TTL is the one it states, else `$TTL` (RFC 2308 section 4), else the last one that a record stated
//! (RFC 1035 section 5.1), else [`Ttl::DEFAULT`].
//!
//! Behind an `$INCLUDE`, origin and owner are again what they were before it (RFC 1035 section 5.1 has it so for the
//! origin); what the included file said of TTLs stays, for `$TTL` holds for all records that appear after it (RFC 2308
//! section 4). BIND reads them in the same way.

mod included;
#[cfg(test)]
mod tests;

use super::super::name::{Name, NameError};
use super::super::number::Rtype;
use super::super::ttl::Ttl;
use super::lexer::{Entry, Lexer, Token, TokenKind};
use super::name::push_name;
use super::rdata::{Fields, name_message, read_rdata, seconds};
use super::{Escapes, Fault, TextError, shown};
use included::OpenFiles;

pub use included::{ZONE_FILES_MAX, ZONE_FILES_OCTETS_MAX, ZONE_FILES_OPEN_MAX};

/// Errors of one zone, in all of its files, that are reported; of the rest only the number is.
pub const ZONE_FILE_ERRORS_MAX: usize = 100;

/// Who is given what a zone's files say, and knows where these are.
pub trait ZoneFileUser {
    /// Takes a record.
    fn record(&mut self, record: ZoneRecord<'_>);

    /// The text of a file that an `$INCLUDE` names; the error is a sentence for the operator. Files are numbered in the
    /// order in which they are given out here, from 1: the zone's own is 0.
    fn include(&mut self, included: IncludedFile<'_>) -> Result<String, String>;
}

/// What an `$INCLUDE` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncludedFile<'z> {
    /// The path as written, with its escapes undone.
    pub path: &'z str,
    /// The number of the file that the directive stands in.
    pub file: u32,
    /// The line of that file, from 1.
    pub line: u32,
}

/// What is wrong in one of a zone's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFileError {
    /// The number of the file.
    pub file: u32,
    /// What is wrong in it, and where.
    pub error: TextError,
}

/// One record of a zone file, borrowed from the reader's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneRecord<'z> {
    /// The owner in wire form, folded.
    pub owner: &'z [u8],
    /// Whether the record before had another owner, or there was none. After an error it may be true without need.
    pub owner_is_new: bool,
    /// The type.
    pub rtype: Rtype,
    /// The TTL.
    pub ttl: Ttl,
    /// The rdata in wire form: names uncompressed, case kept.
    pub rdata: &'z [u8],
    /// The number of the file that it stands in.
    pub file: u32,
    /// The line on which the record begins, from 1.
    pub line: u32,
}

/// Gives `user` every record of a zone file and of those that it includes; `path` is what it is called itself, and the
/// origin starts as `apex`. Returns every error, at most [`ZONE_FILE_ERRORS_MAX`] and then one that says how many more
/// there are.
///
/// Whether an owner lies within the zone is not checked here.
pub fn read_zone_file(path: &str, text: &str, apex: &Name, user: &mut dyn ZoneFileUser) -> Vec<ZoneFileError> {
    let mut reader = Reader::new(apex, OpenFiles::begin(path, text), user);
    reader.read_file(0, text);
    reader.errors.into_list()
}

/// The errors of a zone, bounded.
#[derive(Default)]
struct Errors {
    list: Vec<ZoneFileError>,
    more: usize,
    first_of_more: Option<ZoneFileError>,
}

impl Errors {
    fn push(&mut self, fault: Fault, source: Source<'_>, entry: &Entry) {
        let locate = || ZoneFileError { file: source.file, error: fault.locate(source.text, entry.start, entry.line) };
        if self.list.len() < ZONE_FILE_ERRORS_MAX {
            self.list.push(locate());
            return;
        }
        self.more += 1;
        if self.first_of_more.is_none() {
            self.first_of_more = Some(locate());
        }
    }

    fn into_list(mut self) -> Vec<ZoneFileError> {
        if let Some(mut rest) = self.first_of_more {
            rest.error.message = format!("and {} more errors from here on; correct those above first", self.more);
            self.list.push(rest);
        }
        self.list
    }
}

/// A file while it is read.
#[derive(Clone, Copy)]
struct Source<'t> {
    file: u32,
    text: &'t [u8],
}

/// Whose records they are that name no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnerState {
    /// Nobody's: no owner was named yet.
    Missing,
    /// That of the owner buffer.
    Known,
    /// Unknown: the last owner was no name, which has been reported.
    Bad,
}

/// What the records read so far have left behind.
struct Reader<'u> {
    user: &'u mut dyn ZoneFileUser,
    files: OpenFiles,
    errors: Errors,
    /// Where names end that have no final dot; case kept, for rdata.
    origin: Vec<u8>,
    default_ttl: Option<Ttl>,
    stated_ttl: Option<Ttl>,
    owner: Vec<u8>,
    owner_state: OwnerState,
    owner_is_new: bool,
    /// The next owner, until it is known whether it is the same; kept for its room.
    next_owner: Vec<u8>,
    rdata: Vec<u8>,
}

impl<'u> Reader<'u> {
    fn new(apex: &Name, files: OpenFiles, user: &'u mut dyn ZoneFileUser) -> Self {
        Self {
            user,
            files,
            errors: Errors::default(),
            origin: apex.as_wire().to_vec(),
            default_ttl: None,
            stated_ttl: None,
            owner: Vec::with_capacity(256),
            owner_state: OwnerState::Missing,
            owner_is_new: true,
            next_owner: Vec::with_capacity(256),
            rdata: Vec::with_capacity(256),
        }
    }

    /// Reads a file to its end; what it includes is read where it does.
    fn read_file(&mut self, file: u32, text: &str) {
        // A byte order mark is no part of the text (Unicode section 23.8); CRLF is the lexer's matter.
        let source = Source { file, text: text.strip_prefix('\u{feff}').unwrap_or(text).as_bytes() };
        let mut lexer = Lexer::new(source.text, Escapes::Decimal);
        let mut tokens = Vec::with_capacity(16);
        while let Some(mut entry) = lexer.next_entry(&mut tokens) {
            let read = match entry.fault.take() {
                None => self.read_entry(source, &entry, &tokens),
                Some(fault) => {
                    // Whose record it is remains useful; what it says does not.
                    let owner = tokens.first().filter(|_| !entry.begins_blank);
                    let _ = owner.map(|token| self.set_owner(source, *token));
                    Err(fault)
                }
            };
            if let Err(fault) = read {
                self.errors.push(fault, source, &entry);
            }
        }
    }

    /// Reads one directive or record.
    fn read_entry(&mut self, source: Source<'_>, entry: &Entry, tokens: &[Token]) -> Result<(), Fault> {
        let (&first, mut rest) = tokens.split_first().expect("an entry without a fault has a token");
        if entry.begins_blank {
            rest = tokens;
        } else if first.kind == TokenKind::Word && source.text[first.start] == b'$' {
            return self.read_directive(source, entry, first, rest);
        } else {
            self.set_owner(source, first)?;
        }
        if self.owner_state == OwnerState::Missing {
            let message = "the line begins with a blank, which stands for the owner of the record before, and there \
                           is none (RFC 1035 section 5.1); begin the line with a name, or with @ for the origin";
            return Err(Fault::new(entry.start, message));
        }
        let (rtype, stated_ttl, rdata) = read_head(source.text, rest, entry.end)?;
        let mut fields = Fields {
            text: source.text,
            tokens: rdata,
            end: entry.end,
            escapes: Escapes::Decimal,
            origin: Some(&self.origin),
        };
        read_rdata(rtype, &mut fields, &mut self.rdata)?;
        self.stated_ttl = stated_ttl.or(self.stated_ttl);
        let ttl = stated_ttl.or(self.default_ttl).or(self.stated_ttl).unwrap_or(Ttl::DEFAULT);
        if self.owner_state == OwnerState::Known {
            let Self { user, owner, owner_is_new, rdata, .. } = self;
            let (file, line) = (source.file, entry.line);
            user.record(ZoneRecord { owner, owner_is_new: *owner_is_new, rtype, ttl, rdata, file, line });
            self.owner_is_new = false;
        }
        Ok(())
    }

    /// Makes a token the owner of this record and of those after it that name none.
    fn set_owner(&mut self, source: Source<'_>, token: Token) -> Result<(), Fault> {
        let octets = token.of(source.text);
        self.next_owner.clear();
        let pushed = match token.kind {
            TokenKind::Word => push_name(&mut self.next_owner, octets, Escapes::Decimal, Some(&self.origin)),
            // A quoted owner is not of RFC 1035; its blanks or its quotes are what is wrong with it.
            TokenKind::Quoted | TokenKind::Pair => Err(NameError::Unescaped),
        };
        if let Err(error) = pushed {
            self.owner_state = OwnerState::Bad;
            return Err(Fault::new(token.at(), name_message(octets, "owner", error)));
        }
        // The length octets are at most 63 and never letters.
        self.next_owner.make_ascii_lowercase();
        if self.owner_state != OwnerState::Known || self.next_owner != self.owner {
            std::mem::swap(&mut self.owner, &mut self.next_owner);
            self.owner_is_new = true;
        }
        self.owner_state = OwnerState::Known;
        Ok(())
    }

    /// Reads a line that begins with `$`.
    fn read_directive(&mut self, source: Source<'_>, entry: &Entry, first: Token, rest: &[Token]) -> Result<(), Fault> {
        let (word, end) = (first.of(source.text), entry.end);
        if word.eq_ignore_ascii_case(b"$ORIGIN") {
            let token = only_argument(rest, end, "$ORIGIN", "$ORIGIN example.com.")?;
            self.origin = self.read_origin(source, token)?;
            Ok(())
        } else if word.eq_ignore_ascii_case(b"$TTL") {
            let token = only_argument(rest, end, "$TTL", "$TTL 300")?;
            self.default_ttl = Some(read_ttl(token, token.of(source.text))?);
            Ok(())
        } else if word.eq_ignore_ascii_case(b"$INCLUDE") {
            self.read_include(source, entry, rest)
        } else if word.eq_ignore_ascii_case(b"$GENERATE") {
            let message = "$GENERATE is not supported: it is BIND's own (not in RFC 1035); write the records out, \
                           for example with `named-compilezone`";
            Err(Fault::new(first.at(), message))
        } else {
            let message = format!(
                "`{}` is not a directive: $ORIGIN, $INCLUDE (RFC 1035 section 5.1) and $TTL (RFC 2308 section 4) are; \
                 an owner that begins with a dollar sign is written with \\$",
                shown(word)
            );
            Err(Fault::new(first.at(), message))
        }
    }

    /// The origin that a directive names.
    fn read_origin(&self, source: Source<'_>, token: Token) -> Result<Vec<u8>, Fault> {
        let octets = token.of(source.text);
        let mut origin = Vec::with_capacity(octets.len() + 2);
        push_name(&mut origin, octets, Escapes::Decimal, Some(&self.origin))
            .map_err(|error| Fault::new(token.at(), name_message(octets, "origin", error)))?;
        Ok(origin)
    }
}

/// Reads TTL and class, in either order and each if it is there, and the type; what is left is rdata.
fn read_head<'k>(text: &[u8], tokens: &'k [Token], end: usize) -> Result<(Rtype, Option<Ttl>, &'k [Token]), Fault> {
    let mut stated_ttl = None;
    let mut class_seen = false;
    let mut rest = tokens;
    while let Some((&token, after)) = rest.split_first() {
        let word = token.of(text);
        rest = after;
        if token.kind == TokenKind::Word && word.first().is_some_and(u8::is_ascii_digit) && stated_ttl.is_none() {
            stated_ttl = Some(read_ttl(token, word)?);
        } else if !class_seen && is_class(word) {
            class_seen = true;
            check_class(token, word)?;
        } else {
            return Ok((read_rtype(token, word)?, stated_ttl, rest));
        }
    }
    let message = "the record lacks its type (RFC 1035 section 5.1); write such as `www 300 IN A 192.0.2.1`";
    Err(Fault::new(end, message))
}

/// The one argument that a directive takes.
fn only_argument(rest: &[Token], end: usize, directive: &str, example: &str) -> Result<Token, Fault> {
    match rest {
        [token] if token.kind == TokenKind::Word => Ok(*token),
        _ => {
            let at = rest.get(1).or_else(|| rest.first()).map_or(end, |token| token.at());
            Err(Fault::new(at, format!("{directive} takes exactly one word; write such as `{example}`")))
        }
    }
}

/// A TTL with or without units.
fn read_ttl(token: Token, word: &[u8]) -> Result<Ttl, Fault> {
    seconds(word, Ttl::MAX.seconds()).and_then(Ttl::from_seconds).ok_or_else(|| {
        let message = format!(
            "`{}` is not a TTL, seconds from 0 to {} with or without units (RFC 2181 section 8); write such as `300` \
             or `1h30m`",
            shown(word),
            Ttl::MAX.seconds()
        );
        Fault::new(token.at(), message)
    })
}

/// Whether a word is a class: a mnemonic or `CLASSnnn` (RFC 1035 section 3.2.4, RFC 3597 section 5).
fn is_class(word: &[u8]) -> bool {
    let is_numbered = word.len() > 5 && word[..5].eq_ignore_ascii_case(b"CLASS");
    is_numbered || [&b"IN"[..], b"CH", b"HS", b"CS"].iter().any(|class| word.eq_ignore_ascii_case(class))
}

/// Only the Internet class is served.
fn check_class(token: Token, word: &[u8]) -> Result<(), Fault> {
    if word.eq_ignore_ascii_case(b"IN") || word.eq_ignore_ascii_case(b"CLASS1") {
        return Ok(());
    }
    let message = format!("class `{}` is not served: only IN is; write IN, or remove the record", shown(word));
    Err(Fault::new(token.at(), message))
}

/// A type that a zone can hold.
fn read_rtype(token: Token, word: &[u8]) -> Result<Rtype, Fault> {
    // The two commonest before the table.
    let rtype = match word {
        b"A" => Some(Rtype::A),
        b"AAAA" => Some(Rtype::AAAA),
        _ => str::from_utf8(word).ok().and_then(|word| word.parse().ok()),
    };
    let Some(rtype) = rtype.filter(|_| token.kind == TokenKind::Word) else {
        let message = format!(
            "`{}` is not a type: a mnemonic such as A, or TYPE and its number (RFC 3597 section 5), stands before the \
             rdata; write such as `www 300 IN A 192.0.2.1`",
            shown(word)
        );
        return Err(Fault::new(token.at(), message));
    };
    // RFC 6895 section 3.1: 0 and OPT are no data, 128 to 255 are of queries only.
    if matches!(rtype.0, 0 | 41 | 128..=255) {
        let message = format!("type {rtype} is not one that a zone can hold (RFC 6895 section 3.1); remove the record");
        return Err(Fault::new(token.at(), message));
    }
    // Types that tell a server how to answer for other records: as mere data they would mislead.
    let instead = match rtype.0 {
        39 => "write the names below it as CNAME records of their own",
        24 | 30 | 46 | 47 | 50 => "remove it, for private zones are not signed",
        _ => return Ok(rtype),
    };
    Err(Fault::new(token.at(), format!("type {rtype} is more than data, and Route 53 does not have it; {instead}")))
}
