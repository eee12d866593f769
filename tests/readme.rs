//! The README tells the truth about files: it quotes the examples as they are, and its table of keys is that of the
//! sample configuration. So does docs/compatibility.md about cases.

use plustwo::config::{Surroundings, load};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the project.
fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The example configurations, by path from the project's folder.
fn examples() -> Vec<String> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let entries = std::fs::read_dir(folder).expect("config/examples/ is there");
    let names = entries.map(|entry| entry.expect("config/examples/ can be listed").file_name());
    let mut paths: Vec<String> =
        names.map(|name| format!("config/examples/{}", name.to_str().expect("UTF-8"))).collect();
    paths.sort();
    paths
}

#[test]
fn every_example_is_quoted_as_it_is() {
    let readme = read("README.md");
    let examples = examples();
    assert_eq!(examples.len(), 3, "the README has three uses: {examples:?}");
    for path in examples {
        assert!(readme.contains(&format!("```toml\n{}```", read(&path))), "README.md does not quote {path} verbatim");
        assert!(readme.contains(&format!("`{path}`")), "README.md does not say where {path} is");
    }
}

#[test]
fn every_row_of_compatibility_names_what_shows_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows: Vec<String> = read("docs/compatibility.md").lines().map(str::to_owned).collect();
    let rows = rows.iter().filter(|line| line.starts_with("| ")).filter(|line| !line.starts_with("| AWS says"));
    let mut shown = 0;
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing shows {row}");
        for name in names {
            let case = root.join("tests/cases").join(format!("{name}.case"));
            assert!(case.is_file() || root.join(name).is_file(), "there is no {name}, which is to show {row}");
            shown += 1;
        }
    }
    assert!(shown > 0);
}

/// Loads a configuration of the project as a user's machine would; it must be fine, without a warning.
#[track_caller]
fn is_fine(name: &str, text: &str) {
    let surroundings = Surroundings {
        read_file: &|path| Err(format!("{path}: an example names no further file")),
        system_nameservers: &|| Ok(vec!["192.0.2.53".parse().expect("an address")]),
        is_own_address: &|_| false,
    };
    let loaded = load(name, text, &surroundings);
    assert!(loaded.diagnostics.is_empty(), "{name}: {:#?}", loaded.diagnostics);
    assert!(loaded.configuration.is_some(), "{name} gives no configuration");
}

#[test]
fn every_configuration_that_ships_is_fine() {
    for path in examples().into_iter().chain(["config/plustwo.toml".to_owned()]) {
        is_fine(&path, &read(&path));
    }
}

/// A key behind `# ` shows its default: written out, it changes nothing.
#[test]
fn commented_keys_of_the_sample_are_right() {
    let sample = read("config/plustwo.toml");
    let uncommented: String = sample
        .lines()
        .map(|line| {
            let key = line.strip_prefix("# ").and_then(|rest| Some((rest, rest.split_once(" = ")?.0)));
            match key {
                // Files that do not ship, and where operators may be answered.
                Some((_, "file" | "tls_roots" | "secret_file" | "socket" | "http")) => line,
                Some((rest, key))
                    if key
                        .bytes()
                        .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_') =>
                {
                    rest
                }
                _ => line,
            }
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_ne!(uncommented, sample);
    is_fine("config/plustwo.toml", &uncommented);
    let surroundings = Surroundings {
        read_file: &|path| Err(path.to_owned()),
        system_nameservers: &|| Ok(vec!["192.0.2.53".parse().expect("an address")]),
        is_own_address: &|_| false,
    };
    let of = |text: &str| load("config/plustwo.toml", text, &surroundings).configuration.expect("it is fine");
    let (written, absent) = (of(&uncommented), of(&sample));
    assert_eq!(written.settings, absent.settings, "a default in config/plustwo.toml is not the built-in one");
    assert_eq!(format!("{:?}", written.model), format!("{:?}", absent.model), "a default is not the built-in one");
}

/// The keys of the README's table, as `section.key` (`records` are a section of their own).
fn documented_keys(readme: &str) -> BTreeSet<String> {
    let table = readme.split("| key | default | meaning |").nth(1).expect("a table of keys");
    let table = table.split("\n\n").next().expect("a table ends");
    let mut section = "";
    let mut keys = BTreeSet::new();
    for row in table.lines().skip(2) {
        let cell = row.trim_matches('|').split(" | ").next().expect("a first cell").trim();
        match cell.strip_prefix("**`").and_then(|cell| cell.strip_suffix("`**")) {
            Some(heading) => section = heading.trim_matches(['[', ']']),
            None => assert!(keys.insert(format!("{section}.{}", cell.trim_matches('`'))), "{section}.{cell} twice"),
        }
    }
    keys
}

/// Keys of a record set.
const RECORD_KEYS: [&str; 14] = [
    "name",
    "type",
    "ttl",
    "values",
    "alias",
    "evaluate_target_health",
    "set_identifier",
    "weight",
    "failover",
    "multivalue",
    "region",
    "geolocation",
    "geoproximity",
    "health_check",
];

/// The keys of the sample, those behind `# ` too: `section.key`.
fn sample_keys(sample: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut in_records = false;
    let mut keys = BTreeSet::new();
    for line in sample.lines() {
        if let Some(heading) = line.strip_prefix('[') {
            section = heading.split(']').next().expect("a heading ends").trim_matches('[');
            continue;
        }
        let record = line.trim_start().strip_prefix("{ ");
        if let Some(record) = record.filter(|_| in_records) {
            for key in RECORD_KEYS {
                if record.starts_with(&format!("{key} = ")) || record.contains(&format!(", {key} = ")) {
                    keys.insert(format!("records.{key}"));
                }
            }
            continue;
        }
        let Some((key, value)) = line.trim_start_matches("# ").split_once(" = ") else {
            in_records = in_records && !line.starts_with(']');
            continue;
        };
        if key.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_') {
            keys.insert(format!("{section}.{key}"));
            in_records = key == "records" && value.trim() == "[";
        }
    }
    keys
}

#[test]
fn the_table_of_keys_is_that_of_the_sample() {
    let documented = documented_keys(&read("README.md"));
    let shown = sample_keys(&read("config/plustwo.toml"));
    assert!(documented.len() > 50, "the table was not read: {documented:?}");
    let undocumented: Vec<_> = shown.difference(&documented).collect();
    let not_shown: Vec<_> = documented.difference(&shown).collect();
    assert!(undocumented.is_empty(), "config/plustwo.toml has keys that the README's table lacks: {undocumented:?}");
    assert!(not_shown.is_empty(), "the README's table has keys that config/plustwo.toml lacks: {not_shown:?}");
}

/// The keys of plustwo.toml(5), as `section.key`.
fn manual_keys(manual: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut keys = BTreeSet::new();
    let lines: Vec<&str> = manual.lines().collect();
    for pair in lines.windows(2) {
        if let Some(heading) = pair[0].strip_prefix(".SS ") {
            section = heading.trim_matches(['[', ']']);
        } else if let (".TP", Some(shown)) = (pair[0], pair[1].strip_prefix("\\fB")) {
            let key = shown.trim_start_matches('[').split(" = ").next().expect("a first part");
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

#[test]
fn the_man_page_has_every_key_of_the_sample() {
    let share = tempfile::tempdir().expect("a temporary folder");
    let made = Command::new(env!("CARGO_BIN_EXE_plustwo")).arg("generate").arg(share.path()).status();
    assert!(made.expect("it starts").success());
    let manual = std::fs::read_to_string(share.path().join("man/man5/plustwo.toml.5")).expect("it is there");
    // Keys of a record set stand within `records`, as they are written.
    let shown = sample_keys(&read("config/plustwo.toml"));
    let shown: BTreeSet<String> = shown.into_iter().filter(|key| !key.starts_with("records.")).collect();
    let of_keys = manual.split("\n.SH FILES\n").next().expect("a first part");
    assert_eq!(manual_keys(of_keys), shown);
}

/// The README's defaults are those of the sample, where that shows any.
#[test]
fn the_table_of_keys_has_the_defaults_of_the_sample() {
    let readme = read("README.md");
    let sample = read("config/plustwo.toml");
    let shown: BTreeSet<&str> = sample.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    let table = readme.split("| key | default | meaning |").nth(1).expect("a table of keys");
    let mut compared = 0;
    for row in table.split("\n\n").next().expect("a table ends").lines().skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, default] = [cells[0], cells[1]].map(|cell| cell.trim_matches('`'));
        let is_shown = shown.iter().any(|line| line.split(" = ").next() == Some(key));
        if is_shown && cells[1].starts_with('`') {
            let line = format!("{key} = {default}");
            assert!(
                shown.iter().any(|shown| shown.split("  ").next() == Some(&line)),
                "the sample does not say {line}"
            );
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared} defaults were compared");
}

#[test]
fn paths_that_the_readme_names_exist() {
    let readme = read("README.md");
    for path in readme.split('`').skip(1).step_by(2).filter(|word| word.contains('/') && !word.contains([' ', '\n'])) {
        let of_the_project =
            ["config/", "docs/", "packaging/", "benches/", ".ci/"].iter().any(|at| path.starts_with(at));
        if of_the_project && path != "benches/" {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "README.md names {path}");
        }
    }
}

/// Whoever copies a target from the README has one.
#[test]
fn targets_that_the_readme_shows_are_targets() {
    let readme = read("README.md");
    let readme = readme.split("## Forwarding").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let words: Vec<&str> = readme.split('`').skip(1).step_by(2).collect();
    let is_shown = |word: &&&str| word.contains("192.0.2.1") || word.contains("://") || word.contains("[2001:db8::1]");
    let targets: Vec<&&str> = words.iter().filter(is_shown).collect();
    assert!(targets.len() > 8, "{targets:?}");
    for target in targets {
        let quoted = if target.starts_with('{') { (*target).to_owned() } else { format!("{target:?}") };
        is_fine(
            "README.md",
            &format!("version = 1\nserver = {{ listen = ['127.0.0.1'] }}\nupstream = {{ targets = [{quoted}] }}\n"),
        );
    }
}
