//! Names as TOML holds them: absolute, with or without the final dot, octal escapes (Route 53's rule).

use super::Builder;
use super::table::Text;
use crate::config::diagnostic::quoted;
use crate::dns::Name;
use crate::dns::text::{Escapes, parse_folded_name};

impl<'t> Builder<'t, '_> {
    /// Reads an absolute name; says so where it is none.
    pub(super) fn absolute_name(&mut self, text: &Text<'t>, label: &str, key: &str) -> Option<Name> {
        match parse_folded_name(&text.value, Escapes::Octal, None) {
            Ok(name) => Some(name),
            Err(error) => {
                let problem = format!("`{key}` {} is not a domain name", quoted(&text.value));
                self.reading.report(self.reading.error(text.at, label, problem).rule(error.to_string()));
                None
            }
        }
    }
}

/// Whether a `*` stands where it is no wildcard: anywhere but as the whole first label (RFC 4592 section 2.1.1).
pub(super) fn has_literal_asterisk(name: &Name) -> bool {
    let mut labels = name.labels();
    labels.next().is_some_and(|first| first.len() > 1 && first.contains(&b'*'))
        || labels.any(|label| label.contains(&b'*'))
}

/// What an asterisk that is no wildcard is.
pub(super) const LITERAL_ASTERISK_RULE: &str =
    "a `*` is a wildcard only as the whole first label (RFC 4592 section 2.1.1); here it is an asterisk, no more";
