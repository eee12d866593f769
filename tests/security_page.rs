//! Holds `docs/security.md` to what there is: each attack has a place in the code and something that shows it, and all
//! files, tests and settings that the page names are there.

use std::collections::BTreeSet;
use std::path::Path;

/// A file of this repository.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The keys of the sample as `[table] key`.
fn settings() -> BTreeSet<String> {
    let sample = read("config/plustwo.toml").expect("the sample is there");
    let mut table = "";
    let mut settings = BTreeSet::new();
    for line in sample.lines() {
        if line.starts_with('[') {
            table = line.split_inclusive(']').next().unwrap_or_default();
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
            settings.insert(format!("{table} {key}"));
        }
    }
    settings
}

/// What is wrong with a file that is named, or with a test in it: `path` or `path::test`.
fn fault(named: &str) -> Option<String> {
    let (path, test) = named.split_once("::").map_or((named, None), |(path, test)| (path, Some(test)));
    let Some(text) = read(path) else { return Some(format!("there is no {path}")) };
    let test = test.filter(|test| !text.contains(&format!("fn {test}()")))?;
    Some(format!("{path} has no {test}"))
}

#[test]
fn every_attack_has_a_place_and_a_test() {
    let page = read("docs/security.md").expect("the page is there");
    let settings = settings();
    let mut faults = Vec::new();
    let mut attacks = 0;
    for line in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack |")) {
        attacks += 1;
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [attack, stops, places, shown, set] = cells[..] else {
            faults.push(format!("not five cells: {line}"));
            continue;
        };
        if attack.is_empty() || stops.is_empty() {
            faults.push(format!("says nothing: {line}"));
        }
        let is_place = |path: &&str| path.starts_with("src/");
        let is_shown = |path: &&str| ["tests/", "src/", "fuzz/"].iter().any(|folder| path.starts_with(folder));
        if !quoted(places).any(|path| is_place(&path)) || !quoted(shown).any(|path| is_shown(&path)) {
            faults.push(format!("no place, or nothing that shows it: {attack}"));
        }
        for path in quoted(places).chain(quoted(shown)) {
            faults.extend(fault(path).map(|fault| format!("{attack}: {fault}")));
        }
        let unknown = quoted(set).filter(|setting| !settings.contains(*setting));
        faults.extend(unknown.map(|setting| format!("{attack}: there is no {setting}")));
    }
    assert!(attacks > 25, "the tables were not read: {attacks} attacks");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_is_not_there_is_seen() {
    assert_eq!(fault("tests/security_page.rs::what_is_not_there_is_seen"), None);
    assert!(fault("tests/nobody.rs").is_some_and(|fault| fault.contains("there is no")));
    assert!(fault("tests/wire.rs::nobody").is_some_and(|fault| fault.contains("has no nobody")));
    assert!(settings().contains("[limits] in_flight") && !settings().contains("[limits] nobody"));
}
