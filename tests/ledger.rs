//! The ledger `docs/rfc.md` and the citations in `src/` say the same.
//!
//! Every `RFC nnnn section x.y` in a comment of the sources has a row, and every row that says "obeyed" names files
//! that exist and cite it, and a test that shows it. When a row is missing, this test prints the row to paste.

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// The ledger, from the project's folder.
const LEDGER: &str = "docs/rfc.md";

#[test]
fn every_citation_has_a_row_and_every_row_is_true() {
    let sources = sources::rust_sources();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(LEDGER)).expect("docs/rfc.md is there");
    let mut problems = Vec::new();
    let mut cited: BTreeMap<Section, Vec<Citation>> = BTreeMap::new();
    for (path, source) in &sources {
        for (section, sentence) in
            citations_of(without_tests(path, source), &mut |odd| problems.push(format!("{path}: {odd}")))
        {
            cited.entry(section).or_default().push(Citation { path: path.clone(), sentence });
        }
    }
    let rows = rows_of(&text, &mut |wrong| problems.push(format!("{LEDGER}: {wrong}")));
    problems.extend(order_problems(&rows));
    for row in &rows {
        problems.extend(row_problems(row, &cited, &|path| root.join(path).is_file()));
    }
    let missing: Vec<String> = cited
        .iter()
        .filter(|(section, _)| !rows.iter().any(|row| row.section == **section))
        .map(|(section, citations)| suggested_row(section, citations))
        .collect();
    let mut report = problems.join("\n");
    if !missing.is_empty() {
        report.push_str("\nrows to add, each in its place (say the rule in your own words, name its case):\n");
        report.push_str(&missing.join("\n"));
    }
    assert!(report.is_empty(), "the ledger and the sources differ:\n{report}");
}

/// One place that cites a section.
struct Citation {
    path: String,
    /// The comment around it, as the start of a rule's text.
    sentence: String,
}

/// A section of an RFC, or a whole RFC (no parts): sorted by number, then part by part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Section {
    rfc: u32,
    parts: Vec<Part>,
}

/// One part of `4.2.1` or `A.2`; numbers sort as numbers, and appendices behind them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u32),
    Letter(String),
}

impl Section {
    /// Reads `RFC 1035 section 4.2.1` or `RFC 7873`.
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("RFC ")?;
        let (rfc, section) = rest.split_once(" section ").unwrap_or((rest, ""));
        let parts = if section.is_empty() { Vec::new() } else { parts_of(section)? };
        Some(Self { rfc: rfc.parse().ok()?, parts })
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RFC {}", self.rfc)?;
        for (at, part) in self.parts.iter().enumerate() {
            f.write_str(if at == 0 { " section " } else { "." })?;
            match part {
                Part::Number(number) => write!(f, "{number}")?,
                Part::Letter(letter) => f.write_str(letter)?,
            }
        }
        Ok(())
    }
}

/// Reads `4.2.1` or `A.2`.
fn parts_of(text: &str) -> Option<Vec<Part>> {
    text.split('.')
        .map(|part| match part.parse() {
            Ok(number) => Some(Part::Number(number)),
            Err(_) if part.len() == 1 && part.chars().all(|c| c.is_ascii_uppercase()) => {
                Some(Part::Letter(part.to_owned()))
            }
            Err(_) => None,
        })
        .collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// Citations

/// A source without its test module: what a test cites is no rule that the code obeys.
fn without_tests<'s>(path: &str, source: &'s str) -> &'s str {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return "";
    }
    source.split_once("#[cfg(test)]\nmod tests {").map_or(source, |(code, _)| code)
}

/// Every section that a source cites, with the comment around it. A whole RFC alone is a mention, no citation.
/// What looks like a citation in another form is `odd`: it would escape the ledger.
fn citations_of(source: &str, odd: &mut dyn FnMut(String)) -> Vec<(Section, String)> {
    let mut found = Vec::new();
    for comment in comments_of(source) {
        for (at, _) in comment.match_indices("RFC ") {
            let rest = &comment[at + 4..];
            let digits = rest.chars().take_while(char::is_ascii_digit).count();
            let Ok(rfc) = rest[..digits].parse::<u32>() else { continue };
            let behind = &rest[digits..];
            let (list, plural) = if let Some(list) = behind.strip_prefix(" section ") {
                (list, false)
            } else if let Some(list) = behind.strip_prefix(" sections ") {
                (list, true)
            } else {
                let next = behind.trim_start_matches([' ', ',']);
                if behind.starts_with(' ') && next.starts_with(|c: char| c.is_ascii_digit()) || next.starts_with('§') {
                    odd(format!("`RFC {rfc} {}`: write `RFC {rfc} section …`", first_word(next)));
                }
                continue;
            };
            let mut listed = 0;
            for (at, word) in list.split_whitespace().enumerate() {
                if plural && word == "and" {
                    continue;
                }
                let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).trim_end_matches("'s");
                let Some(parts) = parts_of(bare) else { break };
                found.push((Section { rfc, parts }, comment.clone()));
                listed += 1;
                if !plural || at > 0 && !word.ends_with(',') {
                    break;
                }
            }
            if listed == 0 {
                odd(format!("`RFC {rfc} section {}` names no section", first_word(list)));
            }
        }
    }
    found
}

/// The first word of a text.
fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// The comments of a source: lines that follow one another are one, and a comment behind code stands alone.
fn comments_of(source: &str) -> Vec<String> {
    let mut comments: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in source.lines() {
        let Some((code, comment)) = line.split_once("//") else {
            goes_on = false;
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim();
        let alone = code.trim().is_empty();
        match comments.last_mut() {
            Some(last) if goes_on && alone => {
                last.push(' ');
                last.push_str(comment);
            }
            _ => comments.push(comment.to_owned()),
        }
        goes_on = alone;
    }
    comments
}

/// A row to paste: who cites it, and what they say there.
fn suggested_row(section: &Section, citations: &[Citation]) -> String {
    let mut paths: Vec<&str> = citations.iter().map(|citation| citation.path.as_str()).collect();
    paths.dedup();
    let sentence: String = citations[0].sentence.chars().take(160).collect();
    format!("| {section} | {} | {} | … | obeyed |", sentence.replace('|', "\\|"), code_list(&paths))
}

/// Paths as a cell of the ledger shows them.
fn code_list(paths: &[impl AsRef<str>]) -> String {
    paths.iter().map(|path| format!("`{}`", path.as_ref())).collect::<Vec<_>>().join(", ")
}

// ---------------------------------------------------------------------------------------------------------------------
// Rows

/// One row of the ledger.
#[derive(Debug)]
struct Row {
    section: Section,
    rule: String,
    places: Vec<String>,
    cases: Vec<String>,
    status: String,
}

/// Reads the rows of every table whose first cell starts with `RFC `.
fn rows_of(text: &str, wrong: &mut dyn FnMut(String)) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line_number = at + 1;
        if !line.starts_with("| RFC ") || line.starts_with("| RFC section |") {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [section, rule, places, cases, status] = cells[..] else {
            wrong(format!("line {line_number}: a row has five cells, this one {}", cells.len()));
            continue;
        };
        let Some(section) = Section::parse(section) else {
            wrong(format!("line {line_number}: `{section}` is not `RFC nnnn section x.y`"));
            continue;
        };
        let list = |cell: &str| {
            cell.split(',').map(|path| path.trim().trim_matches('`').to_owned()).filter(|path| path != "–").collect()
        };
        let (places, cases) = (list(places), list(cases));
        rows.push(Row { section, rule: rule.to_owned(), places, cases, status: status.to_owned() });
    }
    rows
}

/// Rows out of order, and rows that stand twice.
fn order_problems(rows: &[Row]) -> Vec<String> {
    let out_of_order = |pair: &[Row]| match pair[0].section.cmp(&pair[1].section) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(format!("{LEDGER}: {} has two rows", pair[1].section)),
        std::cmp::Ordering::Greater => Some(format!("{LEDGER}: {} stands behind {}", pair[1].section, pair[0].section)),
    };
    rows.windows(2).filter_map(out_of_order).collect()
}

/// What is not true of one row.
fn row_problems(row: &Row, cited: &BTreeMap<Section, Vec<Citation>>, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let section = &row.section;
    let mut problems = Vec::new();
    if row.rule.is_empty() {
        problems.push(format!("{LEDGER}: {section}: no rule"));
    }
    for path in row.places.iter().chain(&row.cases).filter(|path| !exists(path)) {
        problems.push(format!("{LEDGER}: {section}: there is no file `{path}`"));
    }
    match row.status.as_str() {
        "obeyed" => {
            if row.places.is_empty() || row.cases.is_empty() {
                problems.push(format!("{LEDGER}: {section}: obeyed, but no place or no case is named"));
            }
            let mut citing: Vec<&str> =
                cited.get(section).into_iter().flatten().map(|citation| citation.path.as_str()).collect();
            citing.dedup();
            let named: BTreeSet<&str> = row.places.iter().map(String::as_str).collect();
            if named != citing.iter().copied().collect() && row.places.iter().all(|path| exists(path)) {
                let (places, cases) = (code_list(&citing), code_list(&row.cases));
                problems.push(format!(
                    "{LEDGER}: {section}: other files cite it than it names; the row should be\n| {section} | {} | {places} | {cases} | obeyed |",
                    row.rule
                ));
            }
        }
        status if status.starts_with("not: ") || status.starts_with("in part: ") => {}
        status => problems.push(format!(
            "{LEDGER}: {section}: status `{status}` is none of `obeyed`, `in part: reason`, `not: reason`"
        )),
    }
    problems.dedup();
    problems
}

// ---------------------------------------------------------------------------------------------------------------------
// The test of the test

/// What a source cites, as text; odd forms are marked.
fn cited_in(source: &str) -> Vec<String> {
    let mut odd = Vec::new();
    let mut found: Vec<String> =
        citations_of(source, &mut |what| odd.push(format!("odd: {what}"))).iter().map(|(s, _)| s.to_string()).collect();
    found.extend(odd);
    found
}

#[test]
fn citations_are_seen_in_every_form() {
    assert_eq!(cited_in("/// Folds case (RFC 4343)."), [""; 0], "a whole RFC is a mention");
    assert_eq!(cited_in("x(); // RFC 1035 section 4.1.4."), ["RFC 1035 section 4.1.4"]);
    assert_eq!(cited_in("/// so (RFC 1035\n    /// section 4.1.4)"), ["RFC 1035 section 4.1.4"]);
    assert_eq!(
        cited_in("// RFC 4592 sections 2.2.2 and 3.3.1, RFC 2308 section 5; 7 of them"),
        ["RFC 4592 section 2.2.2", "RFC 4592 section 3.3.1", "RFC 2308 section 5"]
    );
    assert_eq!(cited_in("//! RFC 1035 section 4's limits 9"), ["RFC 1035 section 4"]);
    assert_eq!(cited_in("let x = \"RFC 1035 section 9\";"), [""; 0], "only comments cite");
    assert_eq!(without_tests("src/a.rs", "a\n#[cfg(test)]\nmod tests {\n}"), "a\n");
    assert_eq!(without_tests("src/a/tests.rs", "a"), "");
    assert_eq!(cited_in("// RFC 1034 4.3.2"), ["odd: `RFC 1034 4.3.2`: write `RFC 1034 section …`"]);
}

#[test]
fn a_wrong_ledger_is_seen() {
    let row = |line: &str| rows_of(line, &mut |wrong| panic!("{wrong}")).remove(0);
    let section = Section::parse("RFC 1035 section 4.1").expect("a section");
    let citation = Citation { path: "src/a.rs".to_owned(), sentence: "one | two".to_owned() };
    let cited = BTreeMap::from([(section, vec![citation])]);
    let problems = |line: &str| row_problems(&row(line), &cited, &|path| path != "src/gone.rs").join("; ");
    assert_eq!(problems("| RFC 1035 section 4.1 | rule | `src/a.rs` | `tests/x.case` | obeyed |"), "");
    assert_eq!(problems("| RFC 7873 | cookies | – | – | not: later |"), "");
    assert!(problems("| RFC 1035 section 4.1 | rule | src/a.rs, src/gone.rs | t | obeyed |").contains("no file"));
    let wrong_place = problems("| RFC 1035 section 4.1 | rule | src/b.rs | t | obeyed |");
    assert!(wrong_place.ends_with("| RFC 1035 section 4.1 | rule | `src/a.rs` | `t` | obeyed |"), "{wrong_place}");
    assert!(problems("| RFC 1035 section 4.1 | rule | src/a.rs | – | obeyed |").contains("no case"));
    assert!(problems("| RFC 1035 section 4.1 | rule | src/a.rs | t | maybe |").contains("status `maybe`"));
    let rows = |text: &str| rows_of(text, &mut |wrong| panic!("{wrong}"));
    let line = |section: &str| format!("| {section} | r | – | – | not: x |\n");
    assert!(order_problems(&rows(&(line("RFC 1035 section 4.2") + &line("RFC 1035 section 4.10")))).is_empty());
    assert_eq!(order_problems(&rows(&(line("RFC 1035 section 4.10") + &line("RFC 1035 section 4.2")))).len(), 1);
    assert_eq!(order_problems(&rows(&(line("RFC 1035") + &line("RFC 1035")))).len(), 1);
    let mut wrong = Vec::new();
    rows_of("| RFC 1035 section x | r | a | b | c |\n| RFC 1035 | r |", &mut |what| wrong.push(what));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    let paste = suggested_row(cited.keys().next().expect("one"), cited.values().next().expect("one"));
    assert_eq!(paste, "| RFC 1035 section 4.1 | one \\| two | `src/a.rs` | … | obeyed |");
}
