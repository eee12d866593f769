//! `$INCLUDE` (RFC 1035 section 5.1): a further file, read where it is named; bounded in depth, number and octets.

use super::super::rdata::{Fields, push_unescaped};
use super::{Entry, Escapes, Fault, IncludedFile, OwnerState, Reader, Source, Token, TokenKind, shown};
use std::path::{Component, Path};

/// Files that may be open at a time, each but the first included by the one before it.
pub const ZONE_FILES_OPEN_MAX: usize = 10;
/// Files of one zone, its own among them; one that is included twice counts twice.
pub const ZONE_FILES_MAX: usize = 1_000;
/// Octets of all files of one zone together, counted in the same way.
pub const ZONE_FILES_OCTETS_MAX: usize = 1 << 30;

/// Which files are being read, and how much has been read.
pub(super) struct OpenFiles {
    /// The path of each, the zone's own first.
    paths: Vec<String>,
    /// Files begun so far.
    begun: usize,
    /// Their octets.
    octets: usize,
}

impl OpenFiles {
    /// Begins with the zone's own file.
    pub(super) fn begin(path: &str, text: &str) -> Self {
        Self { paths: vec![path.to_owned()], begun: 1, octets: text.len() }
    }

    /// Whether a further file may be opened; the error says why not, and what to do.
    fn check_further(&self, path: &str) -> Result<(), String> {
        if let Some(first) = self.paths.iter().position(|open| is_same_path(open, path)) {
            let chain = chain(&self.paths[first..], path);
            return Err(format!(
                "`{}` would include itself: {chain}; remove one of these lines",
                shown(path.as_bytes())
            ));
        }
        if self.paths.len() == ZONE_FILES_OPEN_MAX {
            return Err(format!(
                "files include each other more than {ZONE_FILES_OPEN_MAX} deep: {}; put its records into one of these",
                chain(&self.paths, path)
            ));
        }
        if self.begun == ZONE_FILES_MAX {
            return Err(format!(
                "the zone would be read from more than {ZONE_FILES_MAX} files; put the records of several into one"
            ));
        }
        Ok(())
    }

    /// Counts a file that begins, and gives its number; an error if all of them have too many octets then.
    pub(super) fn add(&mut self, octets: usize) -> Result<u32, String> {
        let number = self.begun as u32;
        self.begun += 1;
        self.octets = self.octets.saturating_add(octets);
        if self.octets > ZONE_FILES_OCTETS_MAX {
            return Err(format!(
                "the zone's files have more than {ZONE_FILES_OCTETS_MAX} octets together; make several zones of it"
            ));
        }
        Ok(number)
    }
}

/// Paths that include each other, in words.
fn chain(open: &[String], last: &str) -> String {
    let mut words = String::new();
    for path in open {
        words.push_str(&format!("`{}` includes ", shown(path.as_bytes())));
    }
    words.push_str(&format!("`{}`", shown(last.as_bytes())));
    words
}

/// Whether two paths without `..` are the same, as far as can be told without looking at a disk.
fn is_same_path(one: &str, other: &str) -> bool {
    let parts = |path| Path::new(path).components().filter(|part| *part != Component::CurDir);
    parts(one).eq(parts(other))
}

impl Reader<'_> {
    /// Reads `$INCLUDE path [origin]`, and the file that it names.
    pub(super) fn read_include(&mut self, source: Source<'_>, entry: &Entry, rest: &[Token]) -> Result<(), Fault> {
        let (path_token, origin_token) = match rest {
            [path] if path.kind != TokenKind::Pair => (*path, None),
            [path, origin] if path.kind != TokenKind::Pair && origin.kind == TokenKind::Word => (*path, Some(*origin)),
            _ => {
                let at = rest.get(2).or_else(|| rest.first()).map_or(entry.end, |token| token.at());
                let message = "$INCLUDE takes the path of a file and, if its names have another origin, that one \
                               (RFC 1035 section 5.1); write such as `$INCLUDE zones/hosts.zone dc1.example.com.`";
                return Err(Fault::new(at, message));
            }
        };
        let path = read_path(source, entry, path_token)?;
        let fault = |message: String| Fault::new(path_token.at(), message);
        let origin = match origin_token {
            Some(token) => self.read_origin(source, token)?,
            None => self.origin.clone(),
        };
        self.files.check_further(&path).map_err(fault)?;
        let included = IncludedFile { path: &path, file: source.file, line: entry.line };
        let text = self
            .user
            .include(included)
            .map_err(|trouble| fault(format!("the file `{}` cannot be included: {trouble}", shown(path.as_bytes()))))?;
        let number = self.files.add(text.len()).map_err(fault)?;
        self.files.paths.push(path);
        let origin_before = std::mem::replace(&mut self.origin, origin);
        let (owner_before, state_before) = (self.owner.clone(), self.owner_state);
        self.read_file(number, &text);
        self.files.paths.pop();
        self.origin = origin_before;
        self.owner_is_new |= self.owner_state != OwnerState::Known || self.owner != owner_before;
        (self.owner, self.owner_state) = (owner_before, state_before);
        Ok(())
    }
}

/// The path that an `$INCLUDE` names, with its escapes undone.
fn read_path(source: Source<'_>, entry: &Entry, token: Token) -> Result<String, Fault> {
    let fields = Fields { text: source.text, tokens: &[], end: entry.end, escapes: Escapes::Decimal, origin: None };
    let mut octets = Vec::new();
    push_unescaped(&mut octets, token, &fields)?;
    String::from_utf8(octets).map_err(|_| {
        let message = "the path is not UTF-8 once its escapes are undone; name a file whose name is";
        Fault::new(token.at(), message)
    })
}
