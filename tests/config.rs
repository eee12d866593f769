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

/// Loads a text as the daemon would from the folder of its kind, on a machine that has the address 192.0.2.9, where
/// resolv.conf names one nameserver.
fn load(kind: &str, name: &str, text: &str) -> Loaded {
    let below = folder(kind);
    let surroundings = Surroundings {
        read_file: &|path| fs::read_to_string(below.join(path)).map_err(|error| error.kind().to_string()),
        system_nameservers: &|| Ok(vec!["192.0.2.53".parse().expect("an address")]),
        is_own_address: &|ip| ip.to_string() == "192.0.2.9",
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

/// The configurations that are shipped: the sample, the examples, and the worlds of the other tests.
fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["config", "config/examples", "tests/worlds"].map(|folder| root.join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("the folder is there"));
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.iter().any(|path| path.ends_with("config/plustwo.toml")));
    files
}

/// Loads a file as the daemon would from where it lies; a zone file that is only shown is empty, one of certificates or of
/// cookie secrets has some.
fn load_beside(path: &Path, text: &str) -> Loaded {
    let below = path.parent().expect("a file lies in a folder");
    let shown = |file: &str| match file {
        _ if file.ends_with(".pem") => include_str!("config/accepted/corp-ca.pem"),
        _ if file.ends_with("-secrets") => include_str!("config/accepted/cookie-secrets"),
        _ => "",
    };
    let surroundings = Surroundings {
        read_file: &|file| Ok(fs::read_to_string(below.join(file)).unwrap_or_else(|_| shown(file).to_owned())),
        system_nameservers: &|| Ok(vec!["192.0.2.53".parse().expect("an address")]),
        is_own_address: &|_| false,
    };
    config::load(file_name(path), text, &surroundings)
}

#[test]
fn shipped_files_load_without_a_word() {
    for path in shipped() {
        let loaded = load_beside(&path, &fs::read_to_string(&path).expect("readable"));
        // Worlds may be there for what is warned of.
        let is_world = path.parent().is_some_and(|folder| folder.ends_with("worlds"));
        let mut found = loaded.diagnostics.clone();
        found.retain(|diagnostic| !is_world || diagnostic.severity == Severity::Error);
        assert!(found.is_empty(), "{}\n{}", path.display(), config::render(&found));
    }
}

/// The sample, which shows defaults behind `# `: as it is, and with these in force.
fn sample() -> (PathBuf, String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/plustwo.toml");
    let text = fs::read_to_string(&path).expect("readable");
    let in_force = |line: &str| {
        let shown = line.strip_prefix("# ").filter(|rest| rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)));
        format!("{}\n", shown.unwrap_or(line))
    };
    let with_defaults = text.lines().map(in_force).collect();
    (path, text, with_defaults)
}

fn is_key(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_')
}

#[test]
fn the_sample_shows_the_defaults() {
    let (path, text, with_defaults) = sample();
    assert!(with_defaults.lines().filter(|line| text.lines().all(|other| other != *line)).count() > 10);
    let [plain, mut explicit] = [text, with_defaults].map(|text| {
        let loaded = load_beside(&path, &text);
        loaded.configuration.unwrap_or_else(|| panic!("{}", config::render(&loaded.diagnostics)))
    });
    // Three files are shown of which there is none by default, and where operators may be answered.
    assert!(explicit.settings.admin.socket.take().is_some() && explicit.settings.admin.http.take().is_some());
    assert!(explicit.settings.upstream.tls_roots.take().is_some_and(|roots| &*roots.file == "corp-ca.pem"));
    assert_eq!(std::mem::take(&mut explicit.settings.cookies.secrets).len(), 2);
    assert!(explicit.settings.cache.file.take().is_some_and(|file| file.is_absolute()));
    assert_eq!(explicit.settings, config::Settings::default());
    assert_eq!(format!("{explicit:#?}"), format!("{plain:#?}"));
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
    for path in cases("accepted").into_iter().chain(shipped()) {
        let text = fs::read_to_string(&path).expect("readable");
        for mutant in with_unknown_keys(&text) {
            let loaded = load_beside(&path, &mutant);
            let said = config::render(&loaded.diagnostics);
            assert!(loaded.configuration.is_none() && said.contains(UNKNOWN_KEY), "{mutant}\n{said}");
        }
    }
}

#[test]
fn the_sample_shows_every_key() {
    let (path, _, text) = sample();
    let mut keys = std::collections::BTreeSet::new();
    for mutant in with_unknown_keys(&text) {
        for diagnostic in load_beside(&path, &mutant).diagnostics {
            let listed = diagnostic.hint.as_deref().and_then(|hint| hint.strip_prefix("keys here are "));
            keys.extend(listed.into_iter().flat_map(|keys| keys.split(", ")).map(str::to_owned));
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    let is_shown = |key: &str| {
        let heads = [format!("[{key}]"), format!("[[{key}]]")];
        let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end());
        lines.any(|line| heads.iter().any(|head| head == line) || line.split([' ', '{', ',']).any(|word| word == key))
    };
    let missing: Vec<&String> = keys.iter().filter(|key| !is_shown(key)).collect();
    assert!(missing.is_empty(), "the sample does not show {missing:?}");
}
