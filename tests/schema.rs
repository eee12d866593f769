//! `docs/plustwo.schema.json`, by which editors check and explain a configuration while it is written, is what the program
//! says: its keys, types, words and ranges are asked of the program, key by key, and the descriptions and defaults are those
//! of the README's table.
//!
//! `UPDATE_CASES=1 cargo test --test schema` writes both the schema and `tests/config/beyond-the-schema.txt` again; read the
//! difference before you keep it. By hand are only the descriptions of what has no row of its own in the README.

use plustwo::config::{self, Diagnostic, Loaded, Severity, Surroundings};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use toml::Value as Toml;

/// A key that no table has.
const UNKNOWN_KEY: &str = "nobody-knows-this-key";
/// A word that no key takes.
const UNKNOWN_WORD: &str = "nobody-knows-this-word";
/// A number that is over every range.
const HUGE: i64 = i64::MAX;
/// Another one, for angles.
const HUGE_ANGLE: f64 = 99_999.0;
/// Tables in which a key's words and range are asked for; they may depend on other keys.
const INSTANCES_MAX: usize = 40;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_updating() -> bool {
    std::env::var_os("UPDATE_CASES").is_some()
}

/// The TOML files of a folder of the project, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the program says of a configuration; files that it names have nothing in them, or certificates.
fn load(text: &str) -> Loaded {
    let shown = |file: &str| match file {
        _ if file.ends_with(".pem") => include_str!("config/accepted/corp-ca.pem"),
        _ if file.ends_with("-secrets") => include_str!("config/accepted/cookie-secrets"),
        _ => ";\n",
    };
    let surroundings = Surroundings {
        read_file: &|file| Ok(shown(file).to_owned()),
        system_nameservers: &|| Ok(vec!["192.0.2.53".parse().expect("an address")]),
        is_own_address: &|_| false,
    };
    config::load("plustwo.toml", text, &surroundings)
}

fn diagnostics(document: &toml::Table) -> Vec<Diagnostic> {
    load(&toml::to_string(document).expect("it came from TOML")).diagnostics
}

/// One table with one entry.
fn entry(key: &str, value: Toml) -> toml::Table {
    toml::Table::from_iter([(key.to_owned(), value)])
}

/// Where a table stands: what a document looks like that has it, with this in it.
type InDocument<'f> = &'f dyn Fn(toml::Table) -> toml::Table;

/// What a value of a key may be.
struct Forms {
    boolean: bool,
    integer: bool,
    /// Whether a whole number may be below 0.
    negative: bool,
    fraction: bool,
    text: bool,
    /// Whether any text may stand there, and not only a number.
    any_text: bool,
    texts: bool,
    tables: bool,
    table: bool,
}

impl Forms {
    /// Asks the program.
    fn of(key: &str, within: InDocument<'_>) -> Self {
        let complaint = |value: Toml, words: &str| {
            let found = diagnostics(&within(entry(key, value)));
            found.iter().any(|diagnostic| {
                diagnostic.problem.starts_with(&format!("`{key}` ")) && diagnostic.problem.contains(words)
            })
        };
        let takes = |value: Toml| !complaint(value, " belongs");
        let table = || Toml::Table(toml::Table::new());
        let forms = Self {
            boolean: takes(Toml::Boolean(false)),
            integer: takes(Toml::Integer(1)),
            negative: !complaint(Toml::Integer(-1), "below 0"),
            fraction: takes(Toml::Float(1.5)),
            text: takes("1".into()),
            any_text: takes("x".into()),
            texts: takes(vec![Toml::from("1")].into()),
            tables: takes(vec![table()].into()),
            table: takes(table()),
        };
        assert!(!takes(Toml::Datetime("2026-01-01".parse().expect("a date"))), "nothing takes a date, but `{key}`");
        forms
    }

    /// A value that may stand there.
    fn example(&self) -> Toml {
        let table = || Toml::Table(toml::Table::new());
        match self {
            Self { text: true, .. } => "1".into(),
            Self { integer: true, .. } => Toml::Integer(1),
            Self { boolean: true, .. } => Toml::Boolean(false),
            Self { texts: true, .. } => vec![Toml::from("1")].into(),
            Self { tables: true, .. } => vec![table()].into(),
            Self { table: true, .. } => table(),
            _ => panic!("a key that takes nothing"),
        }
    }
}

/// The schema of a table: its keys, and of each what its value may be.
fn schema_of_table(within: InDocument<'_>) -> Json {
    let asked = diagnostics(&within(entry(UNKNOWN_KEY, Toml::Integer(1))));
    let about: Vec<&Diagnostic> = asked.iter().filter(|diagnostic| diagnostic.problem.contains(UNKNOWN_KEY)).collect();
    let [about] = about[..] else { panic!("one complaint about an unknown key, not {asked:#?}") };
    if about.problem.ends_with("where a list of texts belongs") {
        return json!({ "type": "object", "additionalProperties": { "type": "array", "items": { "type": "string" } } });
    }
    let keys = about.hint.as_deref().and_then(|hint| hint.strip_prefix("keys here are ")).expect("it lists the keys");
    let keys: BTreeSet<&str> = keys.split(", ").collect();
    let forms: BTreeMap<&str, Forms> = keys.iter().map(|key| (*key, Forms::of(key, within))).collect();
    let mut properties = Map::new();
    for (key, forms) in &forms {
        properties.insert((*key).to_owned(), schema_of_value(key, forms, within));
    }
    let missing = |table: toml::Table, key: &str| {
        let wanted = format!("`{key}` is missing");
        diagnostics(&within(table)).iter().filter(|diagnostic| diagnostic.problem == wanted).count()
    };
    let all = || toml::Table::from_iter(forms.iter().map(|(key, forms)| ((*key).to_owned(), forms.example())));
    let is_required = |key: &&&str| {
        let alone = entry(key, forms[**key].example());
        let mut others = all();
        others.remove(**key);
        // Whether a key is required may depend on others: only one that always is, is here.
        missing(toml::Table::new(), key) > missing(alone, key) && missing(others, key) > missing(all(), key)
    };
    let required: Vec<&&str> = keys.iter().filter(is_required).collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn schema_of_value(key: &str, forms: &Forms, within: InDocument<'_>) -> Json {
    let mut choices = Vec::new();
    if forms.boolean {
        choices.push(json!({ "type": "boolean" }));
    }
    match forms {
        Forms { fraction: true, .. } => choices.push(json!({ "type": "number" })),
        Forms { integer: true, negative: true, .. } => choices.push(json!({ "type": "integer" })),
        Forms { integer: true, .. } => choices.push(json!({ "type": "integer", "minimum": 0 })),
        _ => {}
    }
    match forms {
        Forms { any_text: true, .. } => choices.push(json!({ "type": "string" })),
        Forms { text: true, .. } => choices.push(json!({ "type": "string", "pattern": "^[-+]?[0-9]+([.][0-9]*)?$" })),
        _ => {}
    }
    let mut items = Vec::new();
    if forms.texts {
        items.push(json!({ "type": "string" }));
    }
    if forms.tables {
        items.push(schema_of_table(&|table| within(entry(key, vec![Toml::Table(table)].into()))));
    }
    if !items.is_empty() {
        choices.push(json!({ "type": "array", "items": one_of(items) }));
    }
    if forms.table {
        choices.push(schema_of_table(&|table| within(entry(key, Toml::Table(table)))));
    }
    one_of(choices)
}

/// Any of these.
fn one_of(mut choices: Vec<Json>) -> Json {
    match choices.len() {
        0 => panic!("a value that can be nothing"),
        1 => choices.remove(0),
        _ => json!({ "anyOf": choices }),
    }
}

/// A step on the way to a value.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Item(usize),
}

/// Where a value stands, however many there are of its kind: `vpc[].listen[]`.
fn kind_of(way: &[Step]) -> String {
    let mut kind = String::new();
    for step in way {
        match step {
            Step::Key(key) if kind.is_empty() => kind.push_str(key),
            Step::Key(key) => kind.extend([".", key]),
            Step::Item(_) => kind.push_str("[]"),
        }
    }
    kind
}

/// Every value of a document that is no table and no list, with the way to it.
fn leaves(value: &Toml, way: &mut Vec<Step>, found: &mut Vec<(Vec<Step>, Toml)>) {
    match value {
        Toml::Table(table) => {
            for (key, value) in table {
                way.push(Step::Key(key.clone()));
                leaves(value, way, found);
                way.pop();
            }
        }
        Toml::Array(array) => {
            for (at, value) in array.iter().enumerate() {
                way.push(Step::Item(at));
                leaves(value, way, found);
                way.pop();
            }
        }
        leaf => found.push((way.clone(), leaf.clone())),
    }
}

/// The document with another value there.
fn with(document: &toml::Table, way: &[Step], value: Toml) -> toml::Table {
    let mut changed = Toml::Table(document.clone());
    let mut at = &mut changed;
    for step in way {
        at = match step {
            Step::Key(key) => at.get_mut(key),
            Step::Item(index) => at.get_mut(index),
        }
        .expect("the way leads there");
    }
    *at = value;
    match changed {
        Toml::Table(table) => table,
        _ => panic!("a document is a table"),
    }
}

/// The words after `write one of`, or between quotes.
fn words_in(hint: &str) -> Option<Vec<String>> {
    let listed = hint.strip_prefix("write one of ").or_else(|| Some(hint.split_once("It is one of ")?.1));
    if let Some(listed) = listed {
        return Some(listed.split(", ").map(|word| word.trim_matches('"').to_owned()).collect());
    }
    let quoted = hint.strip_prefix("write \"")?;
    let quoted = quoted.strip_suffix('"')?;
    let words: Vec<&str> = quoted.split('"').step_by(2).collect();
    let between: Vec<&str> = quoted.split('"').skip(1).step_by(2).collect();
    let is_list = between.iter().all(|between| [", ", " or "].contains(between));
    (is_list && !between.is_empty()).then(|| words.iter().map(|word| (*word).to_owned()).collect())
}

/// The numbers in a sentence as `write 1 to 10`, `it is -90 to 90 degrees`, `at most 5` or `10 or 30`.
fn numbers_in(sentence: &str) -> Option<Json> {
    let words: Vec<&str> = sentence.split([' ', ';']).collect();
    let number = |word: &&str| word.parse::<i64>().ok();
    words.windows(3).find_map(|three| match three {
        [first, "to", last] => Some(json!({ "minimum": number(first)?, "maximum": number(last)? })),
        [first, "or", last] => Some(json!({ "enum": [number(first)?, number(last)?] })),
        ["at", "most", last] => Some(json!({ "maximum": number(last)? })),
        _ => None,
    })
}

/// What is known of the values of keys beyond their types, by kind.
#[derive(Default)]
struct Narrower {
    words: BTreeMap<String, Vec<String>>,
    ignores_case: BTreeMap<String, bool>,
    numbers: BTreeMap<String, Json>,
    asked: BTreeMap<String, usize>,
}

impl Narrower {
    /// Asks the program with one value of a document after the other replaced by one that cannot be.
    fn ask(&mut self, document: &toml::Table) {
        let mut found = Vec::new();
        leaves(&Toml::Table(document.clone()), &mut Vec::new(), &mut found);
        for (way, leaf) in found {
            let kind = kind_of(&way);
            let asked = self.asked.entry(kind.clone()).or_default();
            *asked += 1;
            if *asked > INSTANCES_MAX {
                continue;
            }
            match leaf {
                Toml::String(_) => self.ask_words(document, &way, kind),
                Toml::Integer(_) => self.ask_numbers(document, &way, kind, Toml::Integer(HUGE), &HUGE.to_string()),
                Toml::Float(_) => {
                    self.ask_numbers(document, &way, kind, Toml::Float(HUGE_ANGLE), &HUGE_ANGLE.to_string());
                }
                _ => {}
            }
        }
    }

    fn ask_words(&mut self, document: &toml::Table, way: &[Step], kind: String) {
        let complaints = |word: &str| -> Vec<Vec<String>> {
            let found = diagnostics(&with(document, way, word.into()));
            let about = found.iter().filter(|found| found.problem.contains(&format!("`{word}`")));
            about.filter_map(|found| words_in(found.hint.as_deref()?)).collect()
        };
        let Some(words) = complaints(UNKNOWN_WORD).into_iter().next() else { return };
        let swapped = |word: &str| match word.chars().any(|letter| letter.is_ascii_uppercase()) {
            true => word.to_ascii_lowercase(),
            false => word.to_ascii_uppercase(),
        };
        let ignores_case = words.iter().all(|word| complaints(&swapped(word)).is_empty());
        *self.ignores_case.entry(kind.clone()).or_insert(true) &= ignores_case;
        let known = self.words.entry(kind).or_default();
        known.extend(words.into_iter().filter(|word| !known.contains(word)).collect::<Vec<_>>());
    }

    fn ask_numbers(&mut self, document: &toml::Table, way: &[Step], kind: String, huge: Toml, marker: &str) {
        for found in diagnostics(&with(document, way, huge)) {
            let sentences = [&found.hint, &found.rule];
            let mut sentences = sentences.into_iter().filter_map(Option::as_deref);
            if found.severity == Severity::Error
                && found.problem.contains(marker)
                && let Some(numbers) = sentences.find_map(numbers_in)
            {
                self.numbers.entry(kind.clone()).or_insert(numbers);
            }
        }
    }

    /// Puts what is known into the schema of a value.
    fn narrow(&self, kind: &str, schema: &mut Json) {
        if let Some(choices) = schema.get_mut("anyOf").and_then(Json::as_array_mut) {
            choices.iter_mut().for_each(|choice| self.narrow(kind, choice));
            return;
        }
        match schema["type"].as_str() {
            Some("string") if schema.get("pattern").is_none() => {
                let Some(words) = self.words.get(kind) else { return };
                *schema = json!({ "enum": words });
                // `file:/var/log/x` shows what a path after `file:` looks like; any other may stand there.
                let (paths, words): (Vec<String>, Vec<String>) =
                    words.iter().cloned().partition(|word| word.contains(":/"));
                let schemes: Vec<&str> = paths.iter().filter_map(|path| Some(path.split_once(':')?.0)).collect();
                if !schemes.is_empty() {
                    let pattern = format!("^({}):.", schemes.join("|"));
                    *schema = json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": pattern }] });
                    return;
                }
                if self.ignores_case[kind] {
                    *schema =
                        json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": in_any_case(&words) }] });
                }
            }
            Some("integer" | "number") => {
                let Some(Json::Object(numbers)) = self.numbers.get(kind) else { return };
                let schema = schema.as_object_mut().expect("it has a type");
                if numbers.contains_key("enum") {
                    schema.remove("minimum");
                }
                schema.extend(numbers.clone());
            }
            _ => {}
        }
    }
}

/// A pattern of these words in any case; none has a character that means something in a pattern.
fn in_any_case(words: &[String]) -> String {
    let letter = |letter: char| match letter.is_ascii_alphabetic() {
        true => format!("[{}{}]", letter.to_ascii_uppercase(), letter.to_ascii_lowercase()),
        false => letter.to_string(),
    };
    let words: Vec<String> = words.iter().map(|word| word.chars().map(letter).collect()).collect();
    format!("^({})$", words.join("|"))
}

/// Calls this with every property of a schema and its kind.
fn each_property(schema: &mut Json, kind: &str, visit: &mut dyn FnMut(&str, &mut Json)) {
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        for (key, property) in properties {
            let kind = if kind.is_empty() { key.clone() } else { format!("{kind}.{key}") };
            visit(&kind, property);
            each_property(property, &kind, visit);
        }
    }
    if let Some(items) = schema.get_mut("items") {
        each_property(items, &format!("{kind}[]"), visit);
    }
    for choice in schema.get_mut("anyOf").and_then(Json::as_array_mut).into_iter().flatten() {
        each_property(choice, kind, visit);
    }
}

/// The README's table of keys: by kind, the default and the meaning as they are written there.
fn readme_rows() -> BTreeMap<String, (String, String)> {
    let readme = read(&root().join("README.md"));
    let (_, configuration) = readme.split_once("\n## Configuration\n").expect("the README describes it");
    let (table, rest) = configuration.split_once("\n\n¹ ").expect("footnotes follow the table");
    let footnotes = footnotes(&format!("¹ {}", rest.split("\n\n").next().unwrap_or_default()));
    let mut rows = BTreeMap::new();
    let mut head = String::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [first, default, meaning] = cells[..] else { continue };
        let key = first.trim_matches('*').trim_matches('`');
        let kind = if first.starts_with("**") {
            head = match key.strip_prefix("[[").and_then(|key| key.strip_suffix("]]")) {
                Some(list) => format!("{list}[]"),
                None if key == "records" => "hosted_zone[].records[]".to_owned(),
                None => key.trim_matches(['[', ']']).to_owned(),
            };
            head.trim_end_matches("[]").to_owned()
        } else if head.is_empty() {
            key.to_owned()
        } else {
            format!("{head}.{key}")
        };
        let cells = format!("{default} {meaning}");
        let marks = cells.split(|character| !is_mark(character)).filter(|mark| footnotes.contains_key(*mark));
        let plain = |cell: &str| cell.chars().filter(|character| !is_mark(*character)).collect::<String>();
        let mut meaning = plain(meaning);
        if let Some(default) =
            Some(plain(default)).filter(|default| default_of(default).is_none() && !default.is_empty())
        {
            let said = match default.as_str() {
                "required" => "required".to_owned(),
                "none" | "–" | "default" => String::new(),
                other => format!("default: {other}"),
            };
            if !said.is_empty() && !first.starts_with("**") {
                meaning = format!("{meaning} ({said})");
            }
        }
        for mark in marks {
            meaning = format!("{meaning}. {}", footnotes[mark]);
        }
        if !meaning.is_empty() {
            rows.insert(kind, (plain(default), meaning));
        }
    }
    assert!(rows.len() > 100, "the table of keys is not where it was: {rows:#?}");
    rows
}

fn is_mark(character: char) -> bool {
    "¹²³⁴⁵⁶⁷⁸⁹⁰".contains(character)
}

/// The footnotes below the table that have a mark of one figure, without what they say of the README itself.
fn footnotes(text: &str) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    let mut mark = String::new();
    let mut note = String::new();
    let mut put = |mark: &mut String, note: &mut String| {
        let words = note.split_whitespace().collect::<Vec<_>>().join(" ");
        if mark.chars().count() == 1 && !words.starts_with("See ") {
            notes.insert(mark.clone(), words);
        }
        mark.clear();
        note.clear();
    };
    for character in text.chars() {
        if is_mark(character) {
            if !note.is_empty() {
                put(&mut mark, &mut note);
            }
            mark.push(character);
        } else {
            note.push(character);
        }
    }
    put(&mut mark, &mut note);
    notes
}

/// The default that a cell of the table shows; none where it is said in words.
fn default_of(cell: &str) -> Option<Json> {
    let code = cell.strip_prefix('`')?.strip_suffix('`')?;
    let value = format!("v = {code}").parse::<toml::Table>();
    Some(value.map_or_else(|_| json!(code), |mut table| serde_json::to_value(table.remove("v")).expect("no date")))
}

/// The schema as the program and the README say it.
fn schema(kept: &Json) -> Json {
    let mut schema = schema_of_table(&|mut table| {
        table.entry("version").or_insert(Toml::Integer(1));
        table
    });
    // A document without it was never asked about above, and with another one nothing else would be looked at.
    schema["required"] = json!(["version"]);
    schema["properties"]["version"] = json!({ "type": "integer", "enum": [1] });
    let mut narrower = Narrower::default();
    let documents = files("tests/config/accepted").into_iter().chain([root().join("config/plustwo.toml")]);
    for document in documents {
        narrower.ask(&read(&document).parse().expect("it is TOML"));
    }
    let rows = readme_rows();
    let mut kept_descriptions = BTreeMap::new();
    each_property(&mut kept.clone(), "", &mut |kind, property| {
        kept_descriptions.insert(kind.to_owned(), property["description"].clone());
    });
    let mut undescribed = Vec::new();
    let mut unasked = Vec::new();
    each_property(&mut schema, "", &mut |kind, property| {
        narrower.narrow(kind, property);
        let is_leaf = property["type"] == "integer" || property["type"] == "number" || property["type"] == "string";
        if is_leaf && !narrower.asked.contains_key(kind) {
            unasked.push(kind.to_owned());
        }
        match rows.get(kind) {
            Some((default, meaning)) => {
                property["description"] = json!(meaning);
                if let Some(default) = default_of(default) {
                    property["default"] = default;
                }
            }
            None => match kept_descriptions.get(kind) {
                Some(description) if description.is_string() => property["description"] = description.clone(),
                _ => undescribed.push(kind.to_owned()),
            },
        }
    });
    if !undescribed.is_empty() && is_updating() {
        each_property(&mut schema, "", &mut |kind, property| {
            if undescribed.iter().any(|other| other == kind) {
                property["description"] = json!("");
            }
        });
    }
    assert!(
        unasked.is_empty(),
        "put these keys into tests/config/accepted/every-key.toml, or every-key-further.toml: {unasked:?}"
    );
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Configuration of plustwo, version 1");
    schema["$comment"] = json!(
        "Made of what the program says: UPDATE_CASES=1 cargo test --test schema. By hand are only the descriptions of keys \
         that have no row in the README's table of keys."
    );
    schema
}

fn schema_path() -> PathBuf {
    root().join("docs/plustwo.schema.json")
}

fn kept_schema() -> Json {
    let text = fs::read_to_string(schema_path()).unwrap_or_else(|_| "{}".to_owned());
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn the_schema_is_what_the_program_says() {
    let mut kept = kept_schema();
    let found = schema(&kept);
    if is_updating() {
        let text = serde_json::to_string_pretty(&found).expect("it is JSON") + "\n";
        fs::write(schema_path(), text).expect("writable");
        kept = found.clone();
    }
    let mut differing = BTreeMap::new();
    for (schema, side) in [(&found, "the program has"), (&kept, "the schema has")] {
        each_property(&mut schema.clone(), "", &mut |kind, property| {
            let mut shown = property.clone();
            // Those have entries of their own here.
            for inner in ["properties", "items", "anyOf"] {
                if shown[inner].is_object() && !shown[inner]["properties"].is_null() {
                    shown[inner] = Json::Null;
                }
            }
            differing.entry(kind.to_owned()).or_insert_with(BTreeMap::new).insert(side, shown);
        });
    }
    differing.retain(|_, sides| sides.len() != 2 || sides["the program has"] != sides["the schema has"]);
    assert!(found == kept, "UPDATE_CASES=1 cargo test --test schema writes it again; what differs: {differing:#?}");
}

#[test]
fn every_key_is_described_and_every_default_can_stand_there() {
    let mut described = 0;
    each_property(&mut kept_schema(), "", &mut |kind, property| {
        let description = property["description"].as_str().unwrap_or_default();
        assert!(description.len() > 1, "describe `{kind}` in docs/plustwo.schema.json: it has no row in the README");
        if let Some(default) = property.get("default") {
            assert!(validator(property).is_valid(default), "`{kind}` cannot be {default}, which is its default");
        }
        described += 1;
    });
    assert!(described > 150, "{described}");
}

fn validator(schema: &Json) -> jsonschema::Validator {
    jsonschema::draft7::new(schema).expect("a schema of draft 7")
}

/// What a schema says against a configuration.
fn complaints(validator: &jsonschema::Validator, document: &toml::Table) -> Vec<String> {
    let document = serde_json::to_value(document).expect("no date");
    validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn what_the_program_accepts_is_valid() {
    let schema = kept_schema();
    assert!(jsonschema::draft7::meta::is_valid(&schema), "it is no schema of draft 7");
    let validator = validator(&schema);
    let folders = ["config", "config/examples", "tests/worlds", "tests/config/accepted", "tests/config/warned"];
    let mut wrong = Vec::new();
    for path in folders.into_iter().flat_map(files) {
        // Some worlds have a mark in the place of an address.
        let Ok(document) = read(&path).parse::<toml::Table>() else { panic!("{} is no TOML", path.display()) };
        let found = complaints(&validator, &document);
        if !found.is_empty() {
            wrong.push(format!("{}: {found:#?}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What only the program finds: everything that compares two things, or knows more of a text than that it is one.
const BEYOND: &str = "tests/config/beyond-the-schema.txt";
/// What both find; none of these words is said of what stands in that list.
const STRUCTURAL: [&str; 4] = ["unknown key", " belongs\n", "is out of range", "cannot be `"];
/// Cases in that list of which such a word is said all the same, and why.
const STRUCTURAL_AND_BEYOND: [(&str, &str); 2] = [
    ("bootstrap-word-unknown", "an address where a list of addresses belongs is a text, as `system` is"),
    ("upstream-word-unknown", "the same of a target"),
];

#[test]
fn what_is_wrong_in_its_structure_is_not_valid() {
    let validator = validator(&kept_schema());
    let mut beyond = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut refused = 0;
    for path in files("tests/config/rejected") {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("plain names").to_owned();
        // What is no TOML is refused before any schema is looked at.
        let Ok(document) = read(&path).parse::<toml::Table>() else { continue };
        if complaints(&validator, &document).is_empty() {
            let said = read(&path.with_extension("expected"));
            let is_excused = STRUCTURAL_AND_BEYOND.iter().any(|(excused, _)| *excused == name);
            let structural = STRUCTURAL.iter().find(|words| said.contains(**words));
            if structural.is_some() != is_excused {
                wrong.push(format!("{name} is valid, though the program says {structural:?}:\n{said}"));
            }
            beyond.insert(name);
        } else {
            refused += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 30, "{refused}");
    let listed: String = beyond.iter().map(|name| format!("{name}\n")).collect();
    if is_updating() {
        fs::write(root().join(BEYOND), &listed).expect("writable");
    }
    assert_eq!(listed, read(&root().join(BEYOND)), "UPDATE_CASES=1 writes {BEYOND} again; read what changed");
}

/// Every table of a document, with the way to it.
fn tables(value: &Toml, way: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    match value {
        Toml::Table(table) => {
            found.push(way.clone());
            for (key, value) in table {
                way.push(Step::Key(key.clone()));
                tables(value, way, found);
                way.pop();
            }
        }
        Toml::Array(array) => {
            for (at, value) in array.iter().enumerate() {
                way.push(Step::Item(at));
                tables(value, way, found);
                way.pop();
            }
        }
        _ => {}
    }
}

#[test]
fn an_unknown_key_in_any_table_is_not_valid() {
    let validator = validator(&kept_schema());
    let document: toml::Table = read(&root().join("tests/config/accepted/every-key.toml")).parse().expect("TOML");
    let mut found = Vec::new();
    tables(&Toml::Table(document.clone()), &mut Vec::new(), &mut found);
    assert!(found.len() > 40);
    for way in found {
        let mut table = Toml::Table(document.clone());
        for step in &way {
            table = match step {
                Step::Key(key) => table[key].clone(),
                Step::Item(at) => table[*at].clone(),
            };
        }
        table.as_table_mut().expect("a table").insert(UNKNOWN_KEY.to_owned(), Toml::Integer(1));
        assert!(!complaints(&validator, &with(&document, &way, table)).is_empty(), "{}", kind_of(&way));
    }
}
