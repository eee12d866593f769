//! The configuration's golden tests: `accepted/*.toml` load, `rejected/*.toml` give exactly the text beside them.
//!
//! `UPDATE_CASES=1 cargo test --test config` rewrites `*.expected`; read the difference before you keep it.

use plustwo::config::{self, Loaded, Severity, Surroundings};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the cases of one kind.
fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind)
}

/// The configurations of one kind, by name.
fn cases(kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(kind)).expect("the folder of cases is there");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {kind}");
    cases
}

/// Loads a text as the daemon would from the folder of its kind, where resolv.conf names one nameserver.
fn load(kind: &str, name: &str, text: &str) -> Loaded {
    let below = folder(kind);
    let surroundings = Surroundings {
        read_file: &|path| fs::read_to_string(below.join(path)).map_err(|error| error.kind().to_string()),
        system_nameservers: &|| Ok(vec!["192.0.2.53".parse().expect("an address")]),
    };
    config::load(name, text, &surroundings)
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("cases have plain names")
}

#[test]
fn accepted_files_load_without_errors() {
    for path in cases("accepted") {
        let text = fs::read_to_string(&path).expect("readable");
        let loaded = load("accepted", file_name(&path), &text);
        let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
        assert!(errors == 0 && loaded.configuration.is_some(), "{}", config::render(&loaded.diagnostics));
    }
}

/// Compares every case of a kind with the text beside it, and what it loads to with what its folder says.
fn check_expected(kind: &str, is_rejected: bool) {
    let mut wrong = Vec::new();
    for path in cases(kind) {
        let text = fs::read_to_string(&path).expect("readable");
        let loaded = load(kind, file_name(&path), &text);
        let found = config::render(&loaded.diagnostics);
        assert_eq!(loaded.configuration.is_none(), is_rejected, "{}:\n{found}", path.display());
        assert!(!found.is_empty(), "{} says nothing", path.display());
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&expected, &found).expect("writable");
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if found != wanted {
            wrong.push(format!("{}\n--- expected\n{wanted}--- found\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rejected_files_say_why() {
    check_expected("rejected", true);
}

#[test]
fn warned_files_load_and_say_what_to_look_at() {
    check_expected("warned", false);
}

/// Loads an accepted case by its name.
fn accepted(name: &str) -> config::Configuration {
    let text = fs::read_to_string(folder("accepted").join(name)).expect("readable");
    load("accepted", name, &text).configuration.expect("accepted")
}

#[test]
fn the_sample_shows_the_defaults() {
    assert_eq!(accepted("every-key.toml").settings, config::Settings::default());
    assert_eq!(accepted("least.toml").settings, config::Settings::default());
}

/// The text with a line or an inline entry put in, at every place where a table begins.
fn with_unknown_keys(text: &str) -> Vec<String> {
    let mut mutants = vec![format!("{UNKNOWN_KEY} = 1\n{text}")];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or_default();
        if code.starts_with('[') {
            let end = at + line.len();
            mutants.push(format!("{}{UNKNOWN_KEY} = 1\n{}", &text[..end], &text[end..]));
        }
        for (brace, _) in code.match_indices('{') {
            let inside = at + brace + 1;
            mutants.push(format!("{} {UNKNOWN_KEY} = 1,{}", &text[..inside], &text[inside..]));
        }
        at += line.len();
    }
    mutants
}

const UNKNOWN_KEY: &str = "nobody-knows-this-key";

#[test]
fn an_unknown_key_in_any_table_is_refused() {
    for path in cases("accepted") {
        let text = fs::read_to_string(&path).expect("readable");
        for mutant in with_unknown_keys(&text) {
            let loaded = load("accepted", file_name(&path), &mutant);
            let said = config::render(&loaded.diagnostics);
            assert!(loaded.configuration.is_none() && said.contains(UNKNOWN_KEY), "{mutant}\n{said}");
        }
    }
}

#[test]
fn the_sample_shows_every_key() {
    let text = fs::read_to_string(folder("accepted").join("every-key.toml")).expect("readable");
    let mut keys = std::collections::BTreeSet::new();
    for mutant in with_unknown_keys(&text) {
        for diagnostic in load("accepted", "every-key.toml", &mutant).diagnostics {
            let listed = diagnostic.hint.as_deref().and_then(|hint| hint.strip_prefix("keys here are "));
            keys.extend(listed.into_iter().flat_map(|keys| keys.split(", ")).map(str::to_owned));
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    let is_shown = |key: &str| {
        let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        lines.any(|line| {
            line == format!("[{key}]").as_str()
                || line.trim_end() == format!("[[{key}]]").as_str()
                || line.split([' ', '{', ',']).any(|word| word == key)
                || line.trim_end() == format!("[{key}]").as_str()
        })
    };
    let missing: Vec<&String> = keys.iter().filter(|key| !is_shown(key)).collect();
    assert!(missing.is_empty(), "the sample does not show {missing:?}");
}
