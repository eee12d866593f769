//! The text being read, and what has been found wrong so far.

use crate::config::diagnostic::{Diagnostic, Diagnostics, Place};
use std::sync::Arc;

/// One file's text with its lines, and the diagnostics of all.
pub(super) struct Reading<'t> {
    file: Arc<str>,
    text: &'t str,
    /// Where each line begins.
    line_starts: Vec<usize>,
    /// What is wrong, in this file and those it names.
    pub(super) diagnostics: Diagnostics,
}

/// A value and where it stands: octets from the start of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

impl<'t> Reading<'t> {
    pub(super) fn new(file: &str, text: &'t str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text, line_starts, diagnostics: Diagnostics::default() }
    }

    /// The place of an octet of the text.
    pub(super) fn place(&self, at: usize, label: impl Into<String>) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= at).saturating_sub(1);
        let before = self.text.get(self.line_starts[line]..at).unwrap_or_default();
        let column = before.chars().count() as u32 + 1;
        Place { file: self.file.clone(), rank: 0, line: line as u32 + 1, column, label: label.into() }
    }

    /// Adds a diagnostic.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// The start of an error at an octet of the text; to be reported when it is complete.
    pub(super) fn error(&self, at: usize, label: impl Into<String>, problem: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.place(at, label), problem)
    }

    /// As [`Self::error`], for a warning.
    pub(super) fn warning(&self, at: usize, label: impl Into<String>, problem: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(self.place(at, label), problem)
    }
}

/// The further files that the configuration names, in the order in which it is settled.
#[derive(Debug, Default)]
pub(super) struct FurtherFiles(Vec<(Box<str>, Place)>);

impl FurtherFiles {
    /// Notes that a file is named at a place; returns the how-manieth it is, from 1.
    pub(super) fn name(&mut self, path: &str, at: Place) -> u32 {
        self.0.push((path.into(), at));
        self.0.len() as u32
    }

    /// How many there are so far.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Those behind the first so many, as they were named.
    pub(super) fn since(&self, count: usize) -> &[(Box<str>, Place)] {
        &self.0[count..]
    }

    /// Their paths as written, and where.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.0.iter().map(|(path, at)| (&**path, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let reading = Reading::new("f", "é = 1\nab\n");
        let at = |at| {
            let place = reading.place(at, "");
            (place.line, place.column)
        };
        assert_eq!((at(0), at(2), at(7), at(10), at(999)), ((1, 1), (1, 2), (2, 1), (3, 1), (3, 1)));
    }
}
