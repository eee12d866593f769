//! Octets into tokens, one record at a time: blanks, parentheses, comments and quotes (RFC 1035 section 5.1).

use super::{Escapes, Fault, shown};

/// What kind of word a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A word without quotes.
    Word,
    /// What stands between two quotes, which are not part of it.
    Quoted,
    /// `key="value"`, the quotes included: a SvcParam (RFC 9460 section 2.1).
    Pair,
}

/// A word of a record: octets `start..end` of the text, escapes not yet undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: TokenKind,
}

impl Token {
    /// The octets of the token.
    pub(super) fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start..self.end]
    }

    /// Where an error about the token points: at the opening quote, if it has one.
    pub(super) fn at(self) -> usize {
        self.start - usize::from(self.kind == TokenKind::Quoted)
    }
}

/// One record, as far as the lexer knows it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where its first line begins.
    pub(super) start: usize,
    /// The number of that line, from 1.
    pub(super) line: u32,
    /// Where its last line ends: what is missing is missing here.
    pub(super) end: usize,
    /// Whether the first line begins with a blank: the owner is that of the record before.
    pub(super) begins_blank: bool,
    /// The first thing that is wrong with parentheses and quotes.
    pub(super) fault: Option<Fault>,
}

/// Cuts a text into records, and these into tokens.
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
    classes: &'static [OctetClass; 256],
}

impl<'t> Lexer<'t> {
    /// Begins at the start of a text. Where escapes are octal, as in Route 53's values, `;` and parentheses mean
    /// nothing.
    pub(super) fn new(text: &'t [u8], escapes: Escapes) -> Self {
        let classes = match escapes {
            Escapes::Decimal => &ZONE_FILE_CLASSES,
            Escapes::Octal => &VALUE_CLASSES,
        };
        Self { text, at: 0, line: 1, classes }
    }

    /// Reads the next record that has tokens (or a fault) into `tokens`; none at the end of the text.
    pub(super) fn next_entry(&mut self, tokens: &mut Vec<Token>) -> Option<Entry> {
        loop {
            tokens.clear();
            let (start, line) = (self.at, self.line);
            let begins_blank = self.class(start)? == OctetClass::Blank;
            let fault = self.read_tokens(tokens);
            if !tokens.is_empty() || fault.is_some() {
                let end = tokens.last().map_or(start, |last| last.end);
                return Some(Entry { start, line, end, begins_blank, fault });
            }
        }
    }

    fn class(&self, at: usize) -> Option<OctetClass> {
        self.text.get(at).map(|&octet| self.classes[usize::from(octet)])
    }

    /// Reads tokens up to the end of the record and past its line end.
    fn read_tokens(&mut self, tokens: &mut Vec<Token>) -> Option<Fault> {
        let mut opened: Vec<usize> = Vec::new();
        let mut fault = None;
        while let Some(class) = self.class(self.at) {
            let read = match class {
                OctetClass::Plain | OctetClass::Backslash => self.read_word().map(|token| tokens.push(token)),
                OctetClass::Blank => {
                    self.at += 1;
                    Ok(())
                }
                OctetClass::LineEnd => {
                    self.at += 1;
                    self.line += 1;
                    if opened.is_empty() {
                        return fault;
                    }
                    Ok(())
                }
                OctetClass::Semicolon => {
                    self.skip_line();
                    Ok(())
                }
                OctetClass::Open => {
                    opened.push(self.at);
                    self.at += 1;
                    Ok(())
                }
                OctetClass::Close => {
                    self.at += 1;
                    opened.pop().map(|_| ()).ok_or_else(|| Fault::new(self.at - 1, CLOSED_BUT_NOT_OPENED))
                }
                OctetClass::Quote => self.read_quoted().map(|token| tokens.push(token)),
            };
            fault = fault.or_else(|| read.err());
        }
        fault.or_else(|| opened.first().map(|&at| Fault::new(at, NOT_CLOSED)))
    }

    /// Goes to the end of the line, without passing it.
    fn skip_line(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().position(|&octet| octet == b'\n').unwrap_or(rest.len());
    }

    /// Reads a word; a quote may begin in it only right after `=`, and then ends it.
    fn read_word(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        loop {
            let rest = &self.text[self.at..];
            let is_plain = |octet: &u8| self.classes[usize::from(*octet)] == OctetClass::Plain;
            self.at += rest.iter().position(|octet| !is_plain(octet)).unwrap_or(rest.len());
            match self.class(self.at) {
                Some(OctetClass::Backslash) => self.skip_escape(),
                Some(OctetClass::Quote) if self.text[start..self.at].ends_with(b"=") => {
                    self.read_quoted()?;
                    return Ok(Token { start, end: self.at, kind: TokenKind::Pair });
                }
                Some(OctetClass::Quote) => {
                    let word = shown(&self.text[start..self.at]);
                    let message = format!(
                        "a double quote follows `{word}` in the middle of a word: a string is quoted as a whole \
                         (RFC 1035 section 5.1); put a blank before the quote, or write it as \\\""
                    );
                    let fault = Fault::new(self.at, message);
                    self.skip_line();
                    return Err(fault);
                }
                _ => return Ok(Token { start, end: self.at, kind: TokenKind::Word }),
            }
        }
    }

    /// Reads from an opening quote to the closing one on the same line.
    fn read_quoted(&mut self) -> Result<Token, Fault> {
        let quote_at = self.at;
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Token { start: quote_at + 1, end: self.at - 1, kind: TokenKind::Quoted });
                }
                Some(b'\\') => self.skip_escape(),
                None | Some(b'\n') => return Err(Fault::new(quote_at, QUOTE_NOT_CLOSED)),
                Some(_) => self.at += 1,
            }
        }
    }

    /// Goes past a backslash and what it escapes, but never past the end of the line.
    fn skip_escape(&mut self) {
        self.at += match self.text.get(self.at + 1) {
            None | Some(b'\n') => 1,
            Some(_) => 2,
        };
    }
}

const CLOSED_BUT_NOT_OPENED: &str =
    "`)` closes no parenthesis: every `)` needs a `(` before it (RFC 1035 section 5.1); remove it, or write it as \\)";
const NOT_CLOSED: &str = "`(` is never closed, so the record runs to the end of the file (RFC 1035 section 5.1); put `)` behind the record's last field";
const QUOTE_NOT_CLOSED: &str = "the string that begins here is not closed on its line (RFC 1035 section 5.1); put a \
     double quote behind it, and write quotes inside it as \\\"";

/// What an octet means to the lexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OctetClass {
    Plain,
    Blank,
    LineEnd,
    Quote,
    Backslash,
    Semicolon,
    Open,
    Close,
}

const VALUE_CLASSES: [OctetClass; 256] = {
    let mut classes = [OctetClass::Plain; 256];
    classes[b' ' as usize] = OctetClass::Blank;
    classes[b'\t' as usize] = OctetClass::Blank;
    // So that CRLF ends a line as LF does.
    classes[b'\r' as usize] = OctetClass::Blank;
    classes[b'\n' as usize] = OctetClass::LineEnd;
    classes[b'"' as usize] = OctetClass::Quote;
    classes[b'\\' as usize] = OctetClass::Backslash;
    classes
};

const ZONE_FILE_CLASSES: [OctetClass; 256] = {
    let mut classes = VALUE_CLASSES;
    classes[b';' as usize] = OctetClass::Semicolon;
    classes[b'(' as usize] = OctetClass::Open;
    classes[b')' as usize] = OctetClass::Close;
    classes
};
