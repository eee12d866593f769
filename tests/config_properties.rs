//! Whatever is written, loading ends, never panics, and says nothing that a terminal would obey; and what is accepted can
//! be compiled.

use plustwo::compile::{Contexts, compile};
use plustwo::config::{self, Loaded, Surroundings};
use plustwo::dns::HashSeed;
use plustwo::snapshot::HealthStates;
use proptest::prelude::*;
use std::fs;
use std::path::Path;

/// Loads a text whose every zone file is `zone`.
fn load(text: &str, zone: &str) -> Loaded {
    let surroundings = Surroundings {
        read_file: &|_| Ok(zone.to_owned()),
        system_nameservers: &|| Err("there is no resolv.conf".to_owned()),
        is_own_address: &|_| false,
    };
    config::load("plustwo.toml", text, &surroundings)
}

/// What must hold of every outcome.
fn check(loaded: &Loaded) -> Result<(), TestCaseError> {
    let said = config::render(&loaded.diagnostics);
    let has_error = loaded.diagnostics.iter().any(|one| one.severity == config::Severity::Error);
    prop_assert_eq!(loaded.configuration.is_none(), has_error, "{}", said);
    prop_assert!(said.chars().all(|character| character == '\n' || !character.is_control()), "{said:?}");
    let places: Vec<_> = loaded.diagnostics.iter().filter_map(|one| one.place.as_ref()).collect();
    prop_assert!(places.is_sorted_by_key(|place| (place.rank, place.line, place.column)));
    if let Some(configuration) = &loaded.configuration {
        // Cannot fail: what is accepted can be compiled.
        compile(&configuration.model, &mut Contexts::default(), &HealthStates::default(), HashSeed(1));
    }
    Ok(())
}

/// Every configuration of the golden tests.
fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let files = ["accepted", "warned", "rejected"].into_iter().flat_map(|kind| {
        fs::read_dir(folder.join(kind)).expect("the cases are there").map(|entry| entry.expect("readable").path())
    });
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.map(|path| fs::read_to_string(path).expect("readable")).collect()
}

/// A text with a piece replaced by another.
fn spliced(text: &str, at: usize, length: usize, put: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = at % (characters.len() + 1);
    let end = (at + length).min(characters.len());
    characters[..at].iter().copied().chain(put.chars()).chain(characters[end..].iter().copied()).collect()
}

proptest! {
    #[test]
    fn any_text_loads_or_is_refused(text in ".{0,200}", zone in ".{0,200}") {
        check(&load(&text, &zone))?;
    }

    #[test]
    fn any_value_anywhere_loads_or_is_refused(
        which in any::<prop::sample::Index>(),
        at in any::<usize>(),
        length in 0usize..12,
        put in prop_oneof![
            "[ -~]{0,6}",
            ".{0,4}",
            Just("\\u0000".to_owned()),
            Just("'*.*'".to_owned()),
            Just("[[hosted_zone]]\n".to_owned()),
            Just("18446744073709551616".to_owned()),
        ],
        zone in "([a-z@*.\\\\ ]{0,9} (IN )?(A|TXT|CNAME|SOA|NS) [ -~]{0,12}\n){0,6}",
    ) {
        let corpus = corpus();
        let base: &String = which.get(&corpus);
        let text = spliced(base, at, length, &put);
        check(&load(&text, &zone))?;
    }
}
