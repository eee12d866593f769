//! Zone files (RFC 1035 section 5).
//!
//! A record's TTL is the one it states, else `$TTL` (RFC 2308 section 4), else the last one that a record stated
//! (RFC 1035 section 5.1), else [`Ttl::DEFAULT`].

use super::super::name::{Name, NameError};
use super::super::number::Rtype;
use super::super::ttl::Ttl;
use super::lexer::{Entry, Lexer, Token, TokenKind};
use super::name::push_name;
use super::rdata::{Fields, name_message, read_rdata, seconds};
use super::{Escapes, Fault, TextError, shown};

/// Errors of one zone file that are reported; of the rest only the number is.
pub const ZONE_FILE_ERRORS_MAX: usize = 100;

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
    /// The line on which the record begins, from 1.
    pub line: u32,
}

/// Calls `each` for every record of a zone file whose origin starts as `apex`; returns every error, at most
/// [`ZONE_FILE_ERRORS_MAX`] and then one that says how many more there are.
///
/// Whether an owner lies within the zone is not checked here.
pub fn read_zone_file(text: &str, apex: &Name, each: &mut dyn FnMut(ZoneRecord<'_>)) -> Vec<TextError> {
    // A byte order mark is no part of the text (Unicode section 23.8); CRLF is the lexer's matter.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).as_bytes();
    let mut reader = Reader::new(text, apex);
    let mut lexer = Lexer::new(text, Escapes::Decimal);
    let mut tokens = Vec::with_capacity(16);
    let mut errors = Errors::default();
    while let Some(mut entry) = lexer.next_entry(&mut tokens) {
        let read = match entry.fault.take() {
            None => reader.read_entry(&entry, &tokens, each),
            Some(fault) => {
                // Whose record it is remains useful; what it says does not.
                let owner = tokens.first().filter(|_| !entry.begins_blank);
                let _ = owner.map(|token| reader.set_owner(*token));
                Err(fault)
            }
        };
        if let Err(fault) = read {
            errors.push(fault, text, &entry);
        }
    }
    errors.into_list()
}

/// The errors of a file, bounded.
#[derive(Default)]
struct Errors {
    list: Vec<TextError>,
    more: usize,
    first_of_more: Option<TextError>,
}

impl Errors {
    fn push(&mut self, fault: Fault, text: &[u8], entry: &Entry) {
        if self.list.len() < ZONE_FILE_ERRORS_MAX {
            self.list.push(fault.locate(text, entry.start, entry.line));
            return;
        }
        self.more += 1;
        if self.first_of_more.is_none() {
            self.first_of_more = Some(fault.locate(text, entry.start, entry.line));
        }
    }

    fn into_list(mut self) -> Vec<TextError> {
        if let Some(mut rest) = self.first_of_more {
            rest.message = format!("and {} more errors from here on; correct those above first", self.more);
            self.list.push(rest);
        }
        self.list
    }
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
struct Reader<'t> {
    text: &'t [u8],
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

impl<'t> Reader<'t> {
    fn new(text: &'t [u8], apex: &Name) -> Self {
        Self {
            text,
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

    /// Reads one directive or record.
    fn read_entry(
        &mut self,
        entry: &Entry,
        tokens: &[Token],
        each: &mut dyn FnMut(ZoneRecord<'_>),
    ) -> Result<(), Fault> {
        let (&first, mut rest) = tokens.split_first().expect("an entry without a fault has a token");
        if entry.begins_blank {
            rest = tokens;
        } else if first.kind == TokenKind::Word && self.text[first.start] == b'$' {
            return self.read_directive(first, rest, entry.end);
        } else {
            self.set_owner(first)?;
        }
        if self.owner_state == OwnerState::Missing {
            let message = "the line begins with a blank, which stands for the owner of the record before, and there \
                           is none (RFC 1035 section 5.1); begin the line with a name, or with @ for the origin";
            return Err(Fault::new(entry.start, message));
        }
        let (rtype, stated_ttl, rdata) = self.read_head(rest, entry.end)?;
        let mut fields = Fields {
            text: self.text,
            tokens: rdata,
            end: entry.end,
            escapes: Escapes::Decimal,
            origin: Some(&self.origin),
        };
        read_rdata(rtype, &mut fields, &mut self.rdata)?;
        self.stated_ttl = stated_ttl.or(self.stated_ttl);
        let ttl = stated_ttl.or(self.default_ttl).or(self.stated_ttl).unwrap_or(Ttl::DEFAULT);
        if self.owner_state == OwnerState::Known {
            let Self { owner, owner_is_new, rdata, .. } = &*self;
            each(ZoneRecord { owner, owner_is_new: *owner_is_new, rtype, ttl, rdata, line: entry.line });
            self.owner_is_new = false;
        }
        Ok(())
    }

    /// Makes a token the owner of this record and of those after it that name none.
    fn set_owner(&mut self, token: Token) -> Result<(), Fault> {
        let octets = token.of(self.text);
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

    /// Reads TTL and class, in either order and each if it is there, and the type; what is left is rdata.
    fn read_head<'k>(&self, tokens: &'k [Token], end: usize) -> Result<(Rtype, Option<Ttl>, &'k [Token]), Fault> {
        let mut stated_ttl = None;
        let mut class_seen = false;
        let mut rest = tokens;
        while let Some((&token, after)) = rest.split_first() {
            let word = token.of(self.text);
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

    /// Reads a line that begins with `$`.
    fn read_directive(&mut self, first: Token, rest: &[Token], end: usize) -> Result<(), Fault> {
        let word = first.of(self.text);
        if word.eq_ignore_ascii_case(b"$ORIGIN") {
            let token = self.only_argument(rest, end, "$ORIGIN", "$ORIGIN example.com.")?;
            let octets = token.of(self.text);
            let mut origin = Vec::with_capacity(octets.len() + 2);
            push_name(&mut origin, octets, Escapes::Decimal, Some(&self.origin))
                .map_err(|error| Fault::new(token.at(), name_message(octets, "origin", error)))?;
            self.origin = origin;
            Ok(())
        } else if word.eq_ignore_ascii_case(b"$TTL") {
            let token = self.only_argument(rest, end, "$TTL", "$TTL 300")?;
            self.default_ttl = Some(read_ttl(token, token.of(self.text))?);
            Ok(())
        } else if word.eq_ignore_ascii_case(b"$INCLUDE") {
            let message = "$INCLUDE is not supported: a zone is read from one file; put that file's records here";
            Err(Fault::new(first.at(), message))
        } else if word.eq_ignore_ascii_case(b"$GENERATE") {
            let message = "$GENERATE is not supported: it is BIND's own (not in RFC 1035); write the records out, \
                           for example with `named-compilezone`";
            Err(Fault::new(first.at(), message))
        } else {
            let message = format!(
                "`{}` is not a directive: $ORIGIN (RFC 1035 section 5.1) and $TTL (RFC 2308 section 4) are; an owner \
                 that begins with a dollar sign is written with \\$",
                shown(word)
            );
            Err(Fault::new(first.at(), message))
        }
    }

    /// The one argument that a directive takes.
    fn only_argument(&self, rest: &[Token], end: usize, directive: &str, example: &str) -> Result<Token, Fault> {
        match rest {
            [token] if token.kind == TokenKind::Word => Ok(*token),
            _ => {
                let at = rest.get(1).or_else(|| rest.first()).map_or(end, |token| token.at());
                Err(Fault::new(at, format!("{directive} takes exactly one word; write such as `{example}`")))
            }
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
    Ok(rtype)
}

#[cfg(test)]
mod tests {
    use super::super::{DisplayRdata, parse_folded_name};
    use super::*;
    use crate::dns::name::DisplayWire;

    fn read(text: &str) -> (Vec<String>, Vec<String>) {
        let apex = parse_folded_name("corp.example", Escapes::Decimal, None).expect("a name");
        let mut records = Vec::new();
        let errors = read_zone_file(text, &apex, &mut |record| {
            records.push(format!(
                "{} {}{} {} {} {}",
                record.line,
                if record.owner_is_new { "" } else { "^" },
                DisplayWire(record.owner),
                record.ttl.seconds(),
                record.rtype,
                DisplayRdata { rtype: record.rtype, rdata: record.rdata }
            ));
        });
        (records, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn records_as_people_write_them() {
        let (records, errors) = read(concat!(
            "\u{feff}$TTL 1h30m ; the default\r\n",
            "@ IN SOA ns1 Host\\.Master (\r\n",
            "   2024010101 ; serial\r\n",
            "   2h 15m 2w 1d )\r\n",
            "  NS ns1\r\n",
            "WWW 60 IN A 10.0.0.1\r\n",
            "    IN 61 A 10.0.0.2\r\n",
            "\r\n",
            "www A 10.0.0.3\r\n",
            "; only a comment\r\n",
            "txt TXT \"a;b (c)\" word \"\\\"q\\\"\" \\065\\;\r\n",
            "$ORIGIN Sub\r\n",
            "a CNAME @\r\n",
            "b in cname A\r\n",
            "c TYPE65400 \\# 3 ab cdef\r\n",
            "d.example.net. mx 10 (\n mail.\n)\n",
            "e IN A 10.0.0.9",
        ));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            records,
            [
                "2 corp.example. 5400 SOA ns1.corp.example. Host\\.Master.corp.example. 2024010101 7200 900 1209600 86400",
                "5 ^corp.example. 5400 NS ns1.corp.example.",
                "6 www.corp.example. 60 A 10.0.0.1",
                "7 ^www.corp.example. 61 A 10.0.0.2",
                "9 ^www.corp.example. 5400 A 10.0.0.3",
                "11 txt.corp.example. 5400 TXT \"a;b (c)\" \"word\" \"\\\"q\\\"\" \"A;\"",
                "13 a.sub.corp.example. 5400 CNAME Sub.corp.example.",
                "14 b.sub.corp.example. 5400 CNAME A.Sub.corp.example.",
                "15 c.sub.corp.example. 5400 TYPE65400 \\# 3 abcdef",
                "16 d.example.net. 5400 MX 10 mail.",
                "19 e.sub.corp.example. 5400 A 10.0.0.9",
            ]
        );
    }

    #[test]
    fn ttls() {
        let (records, errors) = read(concat!(
            "a A 10.0.0.1\n",
            "b 0 A 10.0.0.1\n",
            "c IN A 10.0.0.1\n",
            "$TTL 1w2D3h4M5s\n",
            "d A 10.0.0.1\n",
            "e 7 A 10.0.0.1\n",
            "f A 10.0.0.1\n",
            "g 2147483647 A 10.0.0.1\n",
        ));
        assert_eq!(errors, Vec::<String>::new());
        let ttls: Vec<&str> = records.iter().filter_map(|record| record.split(' ').nth(2)).collect();
        // The default, a stated one, the last stated one; then $TTL, a stated one, $TTL again, and the largest.
        assert_eq!(ttls, ["300", "0", "0", "788645", "7", "788645", "2147483647"]);
    }

    #[test]
    fn every_error_has_its_place_and_the_records_around_it_are_read() {
        let long = "a".repeat(64);
        let text = format!(
            concat!(
                "  A 10.0.0.1\n",
                "é A 10.0.0\n",
                "www 300 CH A 10.0.0.1\n",
                "www 2147483648 A 10.0.0.1\n",
                "www 1h30 A 10.0.0.1\r\n",
                "www IN\r\n",
                "www ANY 10.0.0.1\n",
                "$INCLUDE other.zone\n",
                "$GENERATE 1-9 a$ A 10.0.0.$\n",
                "$OTHER x\n",
                "$TTL\n",
                "$ORIGIN a b\n",
                "{long} A 10.0.0.1\n",
                "  A 10.0.0.2\n",
                "txt TXT ( a\n",
                "   \"not closed )\n",
                "  b )\n",
                "  A 10.0.0.3\n",
                "www FOO x\n",
                "www MX 10 a..b ; comment\n",
                "last A 10.0.0.4\n",
                "soa SOA a b (\n",
                " 1 2 3 4 5\n",
                "lost A 10.0.0.5\n",
            ),
            long = long
        );
        let (records, errors) = read(&text);
        assert_eq!(records, ["18 txt.corp.example. 300 A 10.0.0.3", "21 last.corp.example. 300 A 10.0.0.4"]);
        let expected = [
            ("1:1: ", "there is none"),
            ("2:5: ", "`10.0.0` is not an IPv4 address"),
            ("3:9: ", "class `CH` is not served"),
            ("4:5: ", "`2147483648` is not a TTL"),
            ("5:5: ", "`1h30` is not a TTL"),
            ("6:7: ", "lacks its type"),
            ("7:5: ", "type ANY is not one that a zone can hold"),
            ("8:1: ", "$INCLUDE is not supported"),
            ("9:1: ", "$GENERATE is not supported"),
            ("10:1: ", "`$OTHER` is not a directive"),
            ("11:5: ", "$TTL takes exactly one word"),
            ("12:11: ", "$ORIGIN takes exactly one word"),
            ("13:1: ", "a label is at most 63 octets"),
            ("16:4: ", "is not closed on its line"),
            ("19:5: ", "`FOO` is not a type"),
            ("20:11: ", "a label is empty"),
            ("22:13: ", "`(` is never closed"),
        ];
        for (error, (place, part)) in errors.iter().zip(expected) {
            assert!(error.starts_with(place) && error.contains(part), "{error}, not {place}{part}");
        }
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    }

    #[test]
    fn errors_are_bounded_and_counted() {
        let text = "a A x\n".repeat(250);
        let (records, errors) = read(&text);
        assert!(records.is_empty());
        assert_eq!(errors.len(), ZONE_FILE_ERRORS_MAX + 1);
        assert!(errors[99].starts_with("100:5: `x`"), "{}", errors[99]);
        assert_eq!(errors[100], "101:5: and 150 more errors from here on; correct those above first");
    }
}
