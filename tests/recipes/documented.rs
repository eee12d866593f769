//! docs/forwarding.md tells the truth about the recipes, and the recipes agree with each other.

use crate::forwarder::{Forwarder, recipe};
use std::collections::BTreeSet;
use std::path::Path;

/// What every recipe forwards.
const DOMAINS: [&str; 7] = [
    "ap-northeast-2.amazonaws.com",
    "ap-northeast-2.vpce.amazonaws.com",
    "ap-northeast-2.api.aws",
    "ap-northeast-2.on.aws",
    "ap-northeast-2.compute.internal",
    "0.10.in-addr.arpa",
    "shop.internal",
];
/// Where to.
const SERVERS: [&str; 2] = ["192.168.10.53", "192.168.10.54"];
/// Recipes for programs that Debian 12 does not have.
const NOT_TRIED: [&str; 3] = ["Corefile", "coredns-configmap.yaml", "windows-dns.ps1"];
const FORWARDERS: [Forwarder; 7] = [
    Forwarder::Unbound,
    Forwarder::Bind,
    Forwarder::Dnsmasq,
    Forwarder::Knot,
    Forwarder::PowerDns,
    Forwarder::Resolved,
    Forwarder::NetworkManager,
];

/// A file of the project.
fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of packaging/recipes.
fn recipes() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/recipes");
    let entries = std::fs::read_dir(folder).expect("packaging/recipes is there");
    entries.map(|entry| entry.expect("it can be listed").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn every_recipe_is_quoted_as_it_is() {
    let page = read("docs/forwarding.md");
    for name in recipes() {
        let text = recipe(&name);
        let quoted = page.split("```").skip(1).step_by(2).filter_map(|block| Some(block.split_once('\n')?.1));
        assert!(quoted.clone().any(|block| block == text), "docs/forwarding.md does not quote {name} as it is");
        assert!(
            page.contains(&format!("`packaging/recipes/{name}`")),
            "docs/forwarding.md does not say where {name} is"
        );
    }
}

#[test]
fn every_recipe_is_tried_or_says_that_it_is_not() {
    let tried = FORWARDERS.iter().flat_map(|forwarder| forwarder.recipe()).map(|(name, _)| *name);
    let known: BTreeSet<String> = tried.chain(NOT_TRIED).map(str::to_owned).collect();
    assert_eq!(recipes(), known);
    for name in NOT_TRIED {
        assert!(recipe(name).contains("# Not tried: "), "{name}");
    }
}

#[test]
fn all_recipes_forward_the_same() {
    let together = |forwarder: &Forwarder| forwarder.recipe().iter().map(|(name, _)| recipe(name)).collect::<String>();
    for text in FORWARDERS.iter().map(together).chain(NOT_TRIED.map(recipe)) {
        for words in DOMAINS.iter().chain(&SERVERS) {
            assert!(text.contains(words), "no {words} in\n{text}");
        }
    }
    let example = read("config/examples/on-prem.toml");
    for words in SERVERS.iter().chain(&["\"ap-northeast-2\"", "\"10.0.0.0/16\"", "\"shop.internal\""]) {
        assert!(
            example.contains(words),
            "config/examples/on-prem.toml is another example than the recipes': no {words}"
        );
    }
}

/// Whoever forwards what the page says has every private name that plustwo knows of.
#[test]
fn private_names_of_the_catalogue_are_in_the_domains() {
    let page = read("docs/forwarding.md");
    let catalogue = read("src/aws/service-catalog.tsv");
    let rows = catalogue.lines().filter(|line| !line.starts_with('#'));
    let names = rows.filter_map(|row| row.split('\t').nth(3)).flat_map(|names| names.split(' '));
    let mut count = 0;
    for name in names.filter(|name| *name != "-") {
        let name = name.replace("{region}", "ap-northeast-2");
        // The name itself and what it is below, without the top.
        let labels: Vec<&str> = name.trim_start_matches("*.").split('.').collect();
        let mut suffixes = (0..labels.len() - 2).map(|first| labels[first..].join("."));
        let suffix = suffixes.find(|suffix| page.contains(&format!("`{suffix}`")));
        assert!(suffix.is_some(), "docs/forwarding.md names no domain that {name} is in");
        count += 1;
    }
    assert!(count > 400, "{count} names were read");
}
