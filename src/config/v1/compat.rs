//! `[compat]`: what is done as AWS does it, though it need not be.

use super::settings::word;
use super::source::Reading;
use super::table::{Table, Text};
use crate::aws::{Compat, SoaInNegativeAnswers};

/// `[compat]` as written.
#[derive(Default)]
pub(super) struct CompatTable<'t> {
    soa_in_negative_answers: Option<Text<'t>>,
}

pub(super) fn read_compat<'t>(mut table: Table<'t>, reading: &mut Reading<'t>) -> CompatTable<'t> {
    let compat = CompatTable { soa_in_negative_answers: table.text(reading, "soa_in_negative_answers") };
    table.finish(reading);
    compat
}

/// What is absent is not done.
pub(super) fn settle<'t>(table: &CompatTable<'t>, reading: &mut Reading<'t>) -> Compat {
    let written = table.soa_in_negative_answers.as_ref();
    let words = &SoaInNegativeAnswers::WORDS;
    let soa_in_negative_answers =
        written.and_then(|text| word(text, words, COMPAT, "soa_in_negative_answers", reading)).unwrap_or_default();
    Compat { soa_in_negative_answers }
}

/// How it is called in messages.
pub(super) const COMPAT: &str = "[compat]";
