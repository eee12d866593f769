//! `docs/operating.md` tells the truth: each fault names a test that is there, and each test of faults is named; messages are
//! in the program as they are written there, and so are metrics and alerts.

use plustwo::daemon::metrics::FAMILIES;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page() -> String {
    read("docs/operating.md")
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The rows of the tables below a heading, up to the next one of its level, each with its cells.
fn rows<'p>(page: &'p str, heading: &str) -> Vec<Vec<&'p str>> {
    let (_, below) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let section = below.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with("| "));
    let cells = |line: &'p str| line.trim_matches('|').split(" | ").map(str::trim).collect();
    lines.map(cells).collect()
}

/// The tests of a file, by name.
fn tests_of(path: &str) -> BTreeSet<String> {
    let text = read(path);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let named = lines.windows(2).filter(|two| two[0] == "#[test]");
    named.filter_map(|two| Some(two[1].strip_prefix("fn ")?.split('(').next()?.to_owned())).collect()
}

#[test]
fn every_fault_has_its_test_and_every_test_of_faults_its_row() {
    let page = page();
    let mut named: BTreeSet<(String, String)> = BTreeSet::new();
    let mut faults = 0;
    for row in rows(&page, "Faults").iter().filter(|row| row[0] != "fault") {
        let [_, happens, seen, _, shown] = row[..] else { panic!("five cells: {row:?}") };
        assert!(!happens.is_empty() && !seen.is_empty(), "{row:?}");
        let mut file = "";
        let mut tests = 0;
        for word in quoted(shown) {
            if word.ends_with(".rs") {
                file = word;
                continue;
            }
            assert!(tests_of(file).contains(word), "{file} has no test {word}, which is to show: {}", row[0]);
            named.insert((file.to_owned(), word.to_owned()));
            tests += 1;
        }
        assert!(tests > 0, "nothing shows {}", row[0]);
        faults += 1;
    }
    assert!(faults >= 30, "{faults}");
    for file in ["tests/operating.rs", "tests/operating_state.rs"] {
        for test in tests_of(file) {
            assert!(
                named.contains(&(file.to_owned(), test.clone())),
                "no row of docs/operating.md names {test} of {file}"
            );
        }
    }
}

/// The files of a folder and those below it.
fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// All sources as one text, in which a string that goes on in the next line stands in one.
fn sources() -> String {
    let mut files = Vec::new();
    files_below(&root().join("src"), &mut files);
    let text: String = files.iter().map(read).collect();
    let mut joined = String::with_capacity(text.len());
    let mut parts = text.split("\\\n");
    joined.push_str(parts.next().unwrap_or_default());
    parts.for_each(|part| joined.push_str(part.trim_start()));
    joined
}

#[test]
fn messages_are_as_the_program_says_them() {
    let (page, sources) = (page(), sources());
    let mut messages = 0;
    for row in rows(&page, "Messages").iter().filter(|row| row[0] != "message") {
        for message in quoted(row[0]) {
            let found = message.split('…').map(str::trim).filter(|part| !part.is_empty());
            for part in found {
                assert!(sources.contains(part) || part == "serving generation 1", "nobody says {part:?}");
            }
            messages += 1;
        }
    }
    assert!(messages >= 20, "{messages}");
    // Every warning and error of the daemon's own has a row.
    let written: BTreeSet<&str> = rows(&page, "Messages").iter().flat_map(|row| quoted(row[0])).collect();
    let mut missing = Vec::new();
    for event in
        sources.split("tracing::").skip(1).filter(|event| event.starts_with("warn!") || event.starts_with("error!"))
    {
        let Some(said) = event.split(");").next().and_then(|event| event.split('"').nth(1)) else { continue };
        let said: &str = said.split(['{', ';']).next().unwrap_or_default().trim();
        let is_bug = event.split(");").next().is_some_and(|event| event.contains("this is a bug"));
        if !is_bug
            && !said.is_empty()
            && !written
                .iter()
                .any(|message| message.starts_with(said) || said.starts_with(message.trim_end_matches('…').trim_end()))
        {
            missing.push(said);
        }
    }
    assert!(missing.is_empty(), "docs/operating.md does not say what these mean: {missing:#?}");
}

#[test]
fn metrics_and_alerts_are_those_that_there_are() {
    let page = page();
    let alerts = read("packaging/prometheus/alerts.yaml");
    let mut metrics = 0;
    for word in quoted(&page) {
        let name = word.split('{').next().unwrap_or_default();
        if name.starts_with("plustwo_") || name.starts_with("process_") {
            assert!(FAMILIES.iter().any(|family| family.name == name), "there is no metric {name}");
            metrics += 1;
        }
        if word.starts_with("Plustwo") {
            assert!(alerts.contains(&format!("alert: {word}\n")), "there is no alert {word}");
        }
    }
    assert!(metrics > 8, "{metrics}");
}
