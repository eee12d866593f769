//! Takes TOML tables apart by hand, so that every unknown key, wrong type and missing key is told in one go (a
//! deserializer stops at the first).

use super::source::{At, Reading};
use crate::config::diagnostic::{nearest_key, quoted};
use std::borrow::Cow;
use toml::de::{DeTable, DeValue};

/// Text of the configuration and where it stands.
pub(super) type Text<'t> = At<Cow<'t, str>>;

/// A key and its value, none once it has been taken out.
type Entry<'t> = (Text<'t>, Option<At<DeValue<'t>>>);

/// Keys that the operator chose, each with its list of texts, in the order of the file.
pub(super) type Lists<'t> = Vec<(Text<'t>, Vec<Text<'t>>)>;

/// One table, whose keys are taken out one by one; what is left at the end is unknown.
pub(super) struct Table<'t> {
    /// How it is called in messages: `[server]`, `[[vpc]]`, or "vpc `vpc-0a`" once its id is known.
    pub(super) label: String,
    /// Where it begins.
    pub(super) at: usize,
    entries: Vec<Entry<'t>>,
    /// Keys that were asked for: what may stand here.
    known: Vec<&'static str>,
}

impl<'t> Table<'t> {
    pub(super) fn new(label: impl Into<String>, at: usize, table: DeTable<'t>) -> Self {
        let entries = table
            .into_iter()
            .map(|(key, value)| {
                let key = At { at: key.span().start, value: key.into_inner() };
                let value = At { at: value.span().start, value: value.into_inner() };
                (key, Some(value))
            })
            .collect();
        Self { label: label.into(), at, entries, known: Vec::new() }
    }

    /// Takes a value out, whatever its type.
    fn take(&mut self, key: &'static str) -> Option<At<DeValue<'t>>> {
        self.known.push(key);
        self.entries.iter_mut().find(|(known, _)| known.value == key).and_then(|(_, value)| value.take())
    }

    /// Whether a key stands here, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(known, _)| known.value == key)
    }

    /// Where the value of a key stands, right or wrong.
    pub(super) fn place_of(&self, key: &str) -> Option<usize> {
        self.entries.iter().find(|(known, _)| known.value == key).and_then(|(_, value)| Some(value.as_ref()?.at))
    }

    /// Says that a key must be here, unless it is.
    pub(super) fn require(&mut self, reading: &mut Reading<'t>, key: &'static str, example: &str) {
        if !self.has(key) {
            let problem = format!("`{key}` is missing");
            reading.report(reading.error(self.at, &self.label, problem).hint(format!("add `{key} = {example}`")));
        }
    }

    /// Takes text out.
    pub(super) fn text(&mut self, reading: &mut Reading<'t>, key: &'static str) -> Option<Text<'t>> {
        let value = self.take(key)?;
        self.as_text(reading, key, value, "a text in quotes")
    }

    /// Takes the identity of a table out and calls the table by it: text without spaces and control characters.
    pub(super) fn id(&mut self, reading: &mut Reading<'t>, noun: &str, example: &str) -> Option<Text<'t>> {
        self.require(reading, "id", example);
        let id = self.text(reading, "id")?;
        self.label = format!("{noun} {}", quoted(&id.value));
        self.check_id(reading, "id", &id).then_some(id)
    }

    /// Whether a text can be an id or a name of something.
    pub(super) fn check_id(&self, reading: &mut Reading<'t>, key: &str, id: &Text<'t>) -> bool {
        let fits = (1..=ID_CHARACTERS_MAX).contains(&id.value.chars().count());
        if fits && !id.value.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return true;
        }
        let problem = format!("`{key}` {} cannot be one", quoted(&id.value));
        let rule = format!("it has 1 to {ID_CHARACTERS_MAX} characters, without spaces and control characters");
        reading.report(reading.error(id.at, &self.label, problem).rule(rule));
        false
    }

    /// Takes a list of texts out.
    pub(super) fn texts(&mut self, reading: &mut Reading<'t>, key: &'static str) -> Option<At<Vec<Text<'t>>>> {
        let value = self.take(key)?;
        self.as_texts(reading, key, value)
    }

    /// Takes one text or a list of them out.
    pub(super) fn text_or_texts(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
    ) -> Option<OneOrMany<'t, Text<'t>>> {
        let value = self.take(key)?;
        match value.value {
            DeValue::String(text) => Some(OneOrMany::One(At { value: text, at: value.at })),
            _ => self.as_texts(reading, key, value).map(OneOrMany::Many),
        }
    }

    /// Takes a list out whose items are texts or tables, each read by `read`; `wanted` is what it is to be.
    pub(super) fn list<T>(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        wanted: &str,
        read: impl Fn(TextOrTable<'t>, &mut Reading<'t>) -> T,
    ) -> Option<At<Vec<T>>> {
        let value = self.take(key)?;
        self.as_list(reading, key, value, wanted, |table, reading, item| {
            let item = match item.value {
                DeValue::String(text) => TextOrTable::Text(At { value: text, at: item.at }),
                DeValue::Table(inner) => {
                    TextOrTable::Table(Self::new(format!("{}, `{key}`", table.label), item.at, inner))
                }
                _ => return table.wrong_type(reading, key, &item, wanted),
            };
            Some(read(item, reading))
        })
    }

    /// Takes one text out, or a list as [`Self::list`] does.
    pub(super) fn text_or_list<T>(
        &mut self,
        reading: &mut Reading<'t>,
        key: &'static str,
        wanted: &str,
        read: impl Fn(TextOrTable<'t>, &mut Reading<'t>) -> T,
    ) -> Option<OneOrMany<'t, T>> {
        let is_text = |(known, value): &&mut Entry<'t>| {
            known.value == key && matches!(value, Some(At { value: DeValue::String(_), .. }))
        };
        match self.entries.iter_mut().find(is_text) {
            Some(_) => self.text(reading, key).map(OneOrMany::One),
            None => self.list(reading, key, wanted, read).map(OneOrMany::Many),
        }
    }

    /// Takes a truth value out.
    pub(super) fn boolean(&mut self, reading: &mut Reading<'t>, key: &'static str) -> Option<At<bool>> {
        let value = self.take(key)?;
        match value.value {
            DeValue::Boolean(truth) => Some(At { value: truth, at: value.at }),
            _ => self.wrong_type(reading, key, &value, "true or false"),
        }
    }

    /// Takes a whole number out that is not negative.
    pub(super) fn number(&mut self, reading: &mut Reading<'t>, key: &'static str) -> Option<At<u64>> {
        let value = self.take(key)?;
        let DeValue::Integer(integer) = &value.value else {
            return self.wrong_type(reading, key, &value, "a whole number");
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Some(At { value: number, at: value.at }),
            Err(_) => {
                let problem = format!("`{key}` is {}, which is below 0 or too large", quoted(integer.as_str()));
                reading.report(reading.error(value.at, &self.label, problem).hint("write a whole number from 0 on"));
                None
            }
        }
    }

    /// Takes a number out, whole or with a fraction, also as text, as AWS's API has decimals; none of TOML's `inf` and
    /// `nan`.
    pub(super) fn decimal(&mut self, reading: &mut Reading<'t>, key: &'static str) -> Option<At<f64>> {
        let value = self.take(key)?;
        let read = match &value.value {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse::<f64>().ok(),
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::String(text) if is_decimal(text) => text.parse::<f64>().ok(),
            _ => None,
        };
        match read.filter(|number| number.is_finite()) {
            Some(number) => Some(At { value: number, at: value.at }),
            None => self.wrong_type(reading, key, &value, "a finite number, as 37.57 or \"37.57\","),
        }
    }

    /// Takes a whole number out that may be negative.
    pub(super) fn signed(&mut self, reading: &mut Reading<'t>, key: &'static str) -> Option<At<i64>> {
        let value = self.take(key)?;
        match &value.value {
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => Some(At { value: number, at: value.at }),
                Err(_) => {
                    let problem = format!("`{key}` is {}, which is too large", quoted(integer.as_str()));
                    reading.report(reading.error(value.at, &self.label, problem));
                    None
                }
            },
            _ => self.wrong_type(reading, key, &value, "a whole number"),
        }
    }

    /// Refuses a key that is known elsewhere, in words of its own.
    pub(super) fn refuse(&mut self, reading: &mut Reading<'t>, key: &str, problem: &str, rule: &str, hint: &str) {
        let found = self.entries.iter_mut().find(|(known, _)| known.value == key);
        if let Some(value) = found.and_then(|(_, value)| value.take()) {
            reading.report(reading.error(value.at, &self.label, problem).rule(rule).hint(hint));
        }
    }

    /// Takes a table out.
    pub(super) fn table(&mut self, reading: &mut Reading<'t>, key: &'static str, label: String) -> Option<Self> {
        let value = self.take(key)?;
        match value.value {
            DeValue::Table(table) => Some(Self::new(label, value.at, table)),
            _ => self.wrong_type(reading, key, &value, "a table"),
        }
    }

    /// Takes a list of tables out.
    pub(super) fn tables(&mut self, reading: &mut Reading<'t>, key: &'static str, label: &str) -> Vec<Self> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(array) = value.value else {
            let problem = format!("`{key}` is {} where a list of tables belongs", with_article(&value.value));
            reading.report(reading.error(value.at, &self.label, problem).hint(format!("write `[[{key}]]`")));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(array.len());
        for item in array {
            let item = At { at: item.span().start, value: item.into_inner() };
            match item.value {
                DeValue::Table(table) => tables.push(Self::new(label, item.at, table)),
                _ => {
                    self.wrong_type::<()>(reading, key, &item, "a list of tables");
                }
            }
        }
        tables
    }

    /// Takes out whatever keys the operator chose: each with its list of texts.
    pub(super) fn into_lists(mut self, reading: &mut Reading<'t>) -> Lists<'t> {
        let entries = std::mem::take(&mut self.entries);
        let mut lists: Lists<'t> = entries
            .into_iter()
            .filter_map(|(key, value)| {
                let texts = self.as_texts(reading, &key.value, value?)?;
                Some((key, texts.value))
            })
            .collect();
        lists.sort_by_key(|(key, _)| key.at);
        lists
    }

    /// Says which keys are unknown, with the one that was probably meant.
    pub(super) fn finish(self, reading: &mut Reading<'t>) {
        for (key, value) in &self.entries {
            if value.is_none() {
                continue;
            }
            let hint = match nearest_key(&key.value, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("keys here are {}", self.known.join(", ")),
            };
            let problem = format!("unknown key {}", quoted(&key.value));
            reading.report(reading.error(key.at, &self.label, problem).hint(hint));
        }
    }

    fn as_texts(&self, reading: &mut Reading<'t>, key: &str, value: At<DeValue<'t>>) -> Option<At<Vec<Text<'t>>>> {
        let wanted = "a list of texts";
        self.as_list(reading, key, value, wanted, |table, reading, item| table.as_text(reading, key, item, wanted))
    }

    /// A value as a list, with the items that can be read.
    fn as_list<T>(
        &self,
        reading: &mut Reading<'t>,
        key: &str,
        value: At<DeValue<'t>>,
        wanted: &str,
        read: impl Fn(&Self, &mut Reading<'t>, At<DeValue<'t>>) -> Option<T>,
    ) -> Option<At<Vec<T>>> {
        let DeValue::Array(array) = value.value else {
            return self.wrong_type(reading, key, &value, wanted);
        };
        let is_written = !array.is_empty();
        let items: Vec<T> = array
            .into_iter()
            .filter_map(|item| read(self, reading, At { at: item.span().start, value: item.into_inner() }))
            .collect();
        // A list of nothing but mistakes is none, so that nobody says it was empty.
        (!is_written || !items.is_empty()).then_some(At { value: items, at: value.at })
    }

    fn as_text(&self, reading: &mut Reading<'t>, key: &str, value: At<DeValue<'t>>, wanted: &str) -> Option<Text<'t>> {
        match value.value {
            DeValue::String(text) => Some(At { value: text, at: value.at }),
            _ => self.wrong_type(reading, key, &value, wanted),
        }
    }

    /// Says that a value has the wrong type; always none.
    fn wrong_type<T>(&self, reading: &mut Reading<'t>, key: &str, value: &At<DeValue<'t>>, wanted: &str) -> Option<T> {
        let problem = format!("{} is {} where {wanted} belongs", quoted(key), with_article(&value.value));
        reading.report(reading.error(value.at, &self.label, problem));
        None
    }
}

/// Whether a text is a decimal number without exponent: `-122.33`, `47`, `+1.`.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_digits = |part: &str| part.bytes().all(|octet| octet.is_ascii_digit());
    !whole.is_empty() && is_digits(whole) && is_digits(fraction)
}

/// One text, or a list.
pub(super) enum OneOrMany<'t, T> {
    One(Text<'t>),
    Many(At<Vec<T>>),
}

/// An item of a list that takes both.
pub(super) enum TextOrTable<'t> {
    Text(Text<'t>),
    Table(Table<'t>),
}

/// What a value is, in words.
fn with_article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Characters of an id or a name.
const ID_CHARACTERS_MAX: usize = 128;
