//! What is wrong in a file: where, what, why, what next.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is loaded.
    Error,
    /// It is loaded, and the operator should look.
    Warning,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// What is wrong, with the value.
    pub problem: String,
    /// Where; none for what has no place in a file.
    pub place: Option<Place>,
    /// The other places that have a part in it.
    pub also: Vec<Place>,
    /// The rule, with its RFC or AWS source where there is one.
    pub rule: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the operator knows it.
    pub file: Arc<str>,
    /// Whether this is the configuration itself or the how-manieth file it names: the order of diagnostics.
    pub rank: u32,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What stands there, as "rule `rslvr-rr-1`".
    pub label: String,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(place: Place, problem: impl Into<String>) -> Self {
        Self::new(Severity::Error, Some(place), problem.into())
    }

    /// A warning at a place.
    pub fn warning(place: Place, problem: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Some(place), problem.into())
    }

    fn new(severity: Severity, place: Option<Place>, problem: String) -> Self {
        Self { severity, problem, place, also: Vec::new(), rule: None, hint: None }
    }

    /// Names a further place.
    #[must_use]
    pub fn also(mut self, place: Place) -> Self {
        self.also.push(place);
        self
    }

    /// Says which rule it breaks.
    #[must_use]
    pub fn rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what to do, where anybody knows.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Where it sorts: by file, line, column.
    fn order(&self) -> (u32, u32, u32) {
        self.place.as_ref().map_or((u32::MAX, 0, 0), |place| (place.rank, place.line, place.column))
    }
}

impl fmt::Display for Diagnostic {
    /// A few lines, each ending in a newline; control characters are escaped, whoever wrote them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{word}: {}", Printable(&self.problem))?;
        if let Some(place) = &self.place {
            write!(f, "  --> {place}")?;
            for place in self.also.iter().take(ALSO_SHOWN_MAX) {
                write!(f, "; also {place}")?;
            }
            match self.also.len().saturating_sub(ALSO_SHOWN_MAX) {
                0 => writeln!(f)?,
                more => writeln!(f, "; and {more} more")?,
            }
        }
        if let Some(rule) = &self.rule {
            writeln!(f, "  {}", Printable(rule))?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "hint: {}", Printable(hint))?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", Printable(&self.file), self.line, self.column)?;
        if self.label.is_empty() { Ok(()) } else { write!(f, "   {}", Printable(&self.label)) }
    }
}

/// Text without control characters: what an operator's terminal must not obey is escaped.
struct Printable<'t>(&'t str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match is_unprintable(character) {
                true => write!(f, "{}", character.escape_default())?,
                false => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Control characters, and those that turn the direction of the text around them (Unicode UAX #9) or end a line.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes diagnostics as an operator reads them: the first [`DIAGNOSTICS_SHOWN_MAX`], and how many more there are.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(DIAGNOSTICS_SHOWN_MAX) {
        text.push_str(&diagnostic.to_string());
    }
    let more = diagnostics.len().saturating_sub(DIAGNOSTICS_SHOWN_MAX);
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

/// A value as a message shows it: in backquotes, cut where it is long.
pub(super) fn quoted(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((at, _)) => format!("`{}…`", &value[..at]),
        None => format!("`{value}`"),
    }
}

/// Diagnostics in the making.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Diagnostics {
    /// Adds one; past [`DIAGNOSTICS_KEPT_MAX`] of a severity they are only counted.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= DIAGNOSTICS_KEPT_MAX {
            self.kept.push(diagnostic);
        }
    }

    /// Whether anything forbids using the configuration.
    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.errors + self.warnings
    }

    /// Whether there are so many that suggestions are not worth their time: they take some for each word compared.
    pub(super) fn is_crowded(&self) -> bool {
        self.errors > DIAGNOSTICS_SHOWN_MAX
    }

    /// All of them in the order of the files, lines and columns; what was only counted at the end.
    pub(super) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.kept.sort_by_key(Diagnostic::order);
        for (severity, count) in [(Severity::Error, self.errors), (Severity::Warning, self.warnings)] {
            let more = count.saturating_sub(DIAGNOSTICS_KEPT_MAX);
            if more > 0 {
                self.kept.push(Diagnostic::new(severity, None, format!("{more} more problems of this kind")));
            }
        }
        self.kept
    }
}

/// The word of `known` that is nearest to what was written, if it is near enough to be meant.
pub(super) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let written: Vec<char> = written.chars().take(VALUE_CHARACTERS_MAX).collect();
    let enough = (written.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|word| word.chars().count().abs_diff(written.len()) <= enough)
        .map(|word| (edits(&written, word), word))
        .filter(|(edits, _)| *edits <= enough)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

/// The key of `known` that was meant by one that is not among them: the nearest, else one that has a word more or fewer
/// at an end, as `serve_stale_seconds` or `tcp_idle`.
pub(super) fn nearest_key<'k>(written: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> Option<&'k str> {
    let goes_on = |long: &str, short: &str| {
        let more = long.strip_prefix(short).is_some_and(|more| more.starts_with('_'));
        more || long.strip_suffix(short).is_some_and(|more| more.ends_with('_'))
    };
    let is_meant = |known: &&str| goes_on(written, known) || goes_on(known, written);
    nearest(written, known.clone()).or_else(|| known.into_iter().find(is_meant))
}

/// Letters to insert, delete or replace to get from one word to the other.
fn edits(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (index, letter) in to.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for at in 0..from.len() {
            let replaced = diagonal + usize::from(!from[at].eq_ignore_ascii_case(&letter));
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[from.len()]
}

/// Diagnostics that [`render`] writes out.
pub const DIAGNOSTICS_SHOWN_MAX: usize = 200;
/// Diagnostics of one severity that are kept; a zone file of a million bad lines must not fill the memory.
pub const DIAGNOSTICS_KEPT_MAX: usize = 1000;
/// Further places that one diagnostic names.
const ALSO_SHOWN_MAX: usize = 8;
/// Characters of a value that a message repeats.
const VALUE_CHARACTERS_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let place = Place { file: "a\x1bb".into(), rank: 0, line: 1, column: 2, label: "x\u{202e}y".into() };
        let text = Diagnostic::error(place, "bad\r\n\x07").rule("r\0").hint("h\u{9b}").to_string();
        assert!(text.chars().all(|character| character == '\n' || !is_unprintable(character)), "{text:?}");
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(nearest("lisen", ["listen", "allow"]), Some("listen"));
        assert_eq!(nearest("targtes", ["targets"]), Some("targets"));
        assert_eq!(nearest("xyz", ["listen", "allow"]), None);
        assert_eq!(nearest("id", ["ip", "vpc"]), Some("ip"));
        let keys = ["max_ttl", "serve_stale", "tcp_idle_seconds", "file"];
        for (written, meant) in [
            ("serve_stale_seconds", Some("serve_stale")),
            ("tcp_idle", Some("tcp_idle_seconds")),
            ("cache_file", Some("file")),
            ("max_tll", Some("max_ttl")),
            ("served", None),
            ("profile", None),
        ] {
            assert_eq!(nearest_key(written, keys), meant, "{written}");
        }
    }

    #[test]
    fn the_rest_is_counted() {
        let mut diagnostics = Diagnostics::default();
        for line in (1..=DIAGNOSTICS_KEPT_MAX as u32 + 7).rev() {
            let place = Place { file: "f".into(), rank: 0, line, column: 1, label: String::new() };
            diagnostics.push(Diagnostic::error(place, "bad"));
        }
        let sorted = diagnostics.into_sorted();
        assert_eq!(sorted.len(), DIAGNOSTICS_KEPT_MAX + 1);
        assert_eq!(sorted.last().map(|last| last.problem.as_str()), Some("7 more problems of this kind"));
        assert!(render(&sorted).ends_with("and 801 more\n"));
    }
}
