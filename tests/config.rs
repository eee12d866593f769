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
