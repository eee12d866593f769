//! What comes with us may come: licences, sources and bans of `deny.toml`, for all that is built into the program and
//! its tests. `cargo deny` checks more, but has to be installed; this needs nothing but cargo.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What a tool prints.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What cargo knows of the packages that are built on this machine.
fn metadata() -> Value {
    let versions = output(Command::new("rustc").arg("-vV"));
    let host = versions.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc knows where it runs");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&output(&mut cargo)).expect("cargo prints JSON")
}

/// The packages, this one among them.
fn packages() -> Vec<Value> {
    metadata()["packages"].as_array().expect("a list").clone()
}

/// A list of `deny.toml`: a word, or a table with the word under `crate`, each.
fn list<'d>(deny: &'d toml::Table, section: &str, key: &str) -> BTreeSet<&'d str> {
    let items = deny[section][key].as_array().expect("a list");
    items.iter().map(|item| item.as_str().or_else(|| item["crate"].as_str()).expect("a word")).collect()
}

/// Whether a licence expression (SPDX; a slash is an old OR) can be met by licences that are allowed.
fn is_met(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let is_met = any(&mut words, allowed);
    assert_eq!(words.next(), None, "{expression}");
    is_met
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

/// Alternatives.
fn any(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut is_met = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        is_met |= all(words, allowed);
    }
    is_met
}

/// What has to be met together; AND binds closer than OR.
fn all(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut is_met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        is_met &= one(words, allowed);
    }
    is_met
}

/// A licence, perhaps with an exception, or an expression in parentheses.
fn one(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let word = words.next().expect("an expression ends with a licence");
    if word == "(" {
        let is_met = any(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return is_met;
    }
    match words.next_if_eq(&"WITH") {
        Some(_) => allowed.contains(&*format!("{word} WITH {}", words.next().expect("an exception"))),
        None => allowed.contains(word),
    }
}

#[test]
fn licences_sources_and_bans_are_as_deny_toml_says() {
    let deny = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).expect("it is there");
    let deny: toml::Table = deny.parse().expect("it is TOML");
    let (allowed, banned) = (list(&deny, "licenses", "allow"), list(&deny, "bans", "deny"));
    let packages = packages();
    assert!(packages.len() > 100, "{} packages", packages.len());
    let mut problems = Vec::new();
    for package in &packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, licence, source) = (text("name"), text("license"), text("source"));
        if licence.is_empty() || !is_met(licence, &allowed) {
            problems.push(format!("{name}: the licence {licence:?} is not among those that deny.toml allows"));
        }
        if banned.contains(name) {
            problems.push(format!("{name} is banned by deny.toml"));
        }
        if name != env!("CARGO_PKG_NAME") && !source.starts_with("registry+") {
            problems.push(format!("{name} comes from {source:?}, no registry"));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Whoever validates can be made to compute (KeyTrap): nothing is built in that would.
#[test]
fn nothing_validates_dnssec() {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().expect("a list");
    let is_of_hickory = |node: &&Value| node["id"].as_str().is_some_and(|id| id.contains("hickory-"));
    let features = nodes.iter().filter(is_of_hickory).flat_map(|node| node["features"].as_array().expect("a list"));
    let features: BTreeSet<&str> = features.map(|feature| feature.as_str().expect("a word")).collect();
    assert!(features.contains("std"), "{features:?}");
    assert!(features.iter().all(|feature| !feature.contains("dnssec")), "{features:?}");
}

#[test]
fn licence_expressions_are_read() {
    let allowed = BTreeSet::from(["MIT", "ISC"]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("Unlicense/MIT", true),
        ("GPL-3.0-only OR MIT", true),
        ("MIT AND GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only OR ISC", true),
        ("(MIT OR GPL-3.0-only) AND ISC", true),
        ("MIT AND (GPL-3.0-only OR BSD-2-Clause)", false),
        ("MIT WITH LLVM-exception", false),
    ] {
        assert_eq!(is_met(expression, &allowed), expected, "{expression}");
    }
}
