//! The house keeps its floors: who may import whom, and where the words that have a home may stand.
//!
//! Reads `src/**/*.rs` as tokens (comments and literals are blank), so a path counts wherever it stands: in a `use`,
//! a nested group, an expression or a type. `ARCHITECTURE.md` shows the same two tables for people. Test modules may
//! use any word, but may import upwards as little as the code that they test.

#[path = "support/sources.rs"]
mod sources;

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Who may import whom: a room, and the rooms below it that it may name. Every folder of `src/` has a row.
const IMPORTS: &[(&str, &[&str])] = &[
    ("dns", &[]),
    ("udp", &[]),
    ("aws", &["dns"]),
    ("snapshot", &["dns"]),
    ("compile", &["dns", "aws", "snapshot"]),
    ("resolve", &["dns", "snapshot"]),
    ("forward", &["dns", "udp", "snapshot"]),
    ("probe", &["dns", "snapshot"]),
    ("serve", &["dns", "udp", "snapshot", "resolve", "forward"]),
    ("config", &["dns", "aws"]),
    ("daemon", &["dns", "udp", "aws", "snapshot", "compile", "resolve", "forward", "probe", "serve", "config"]),
    ("cli", &["dns", "udp", "aws", "snapshot", "compile", "resolve", "forward", "probe", "serve", "config", "daemon"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Words that have a home, and the homes. Test modules are exempt.
const HOMES: &[(Word, &[&str])] = &[
    (
        Word::Prefix("hickory_"),
        &["src/dns/text.rs", "src/dns/text/", "src/forward/streams/bootstrap.rs", "src/cli/query.rs"],
    ),
    (Word::Prefix("clap_complete"), &["src/cli/generate.rs", "src/cli/generate/"]),
    (Word::Prefix("clap_mangen"), &["src/cli/generate.rs", "src/cli/generate/"]),
    (Word::Prefix("hyper"), &["src/daemon/admin.rs", "src/daemon/admin/"]),
    (Word::Prefix("http_body_util"), &["src/daemon/admin.rs", "src/daemon/admin/"]),
    (Word::Keyword("notify"), &["src/daemon/watch.rs"]),
    (Word::Prefix("rustls"), &["src/forward/streams/", "src/probe/tls.rs", "src/daemon/system_roots.rs"]),
    (Word::Prefix("tokio_rustls"), &["src/forward/streams/", "src/probe/tls.rs"]),
    (Word::Prefix("h2"), &["src/forward/streams/"]),
    (Word::Prefix("quinn"), &["src/forward/streams/"]),
    (Word::Prefix("metrics"), &["src/daemon/"]),
    (Word::Prefix("httparse"), &["src/probe/http.rs"]),
    (Word::Prefix("siphasher"), &["src/dns/cookie.rs"]),
    (Word::Path("SystemTime", "now"), &["src/serve/wall_clock.rs", "src/daemon/", "src/cli/"]),
    (Word::Prefix("tokio"), &["src/forward/", "src/probe/", "src/serve/", "src/daemon/", "src/cli/"]),
    (Word::Prefix("serde"), &["src/config/", "src/daemon/", "src/cli/"]),
    (Word::Path("std", "fs"), &["src/daemon/", "src/cli/"]),
    (Word::Path("tokio", "fs"), &["src/daemon/", "src/cli/"]),
    (
        Word::Path("Instant", "now"),
        &["src/serve/", "src/forward/streams/", "src/probe/", "src/daemon/", "src/cli/query.rs"],
    ),
    (Word::Keyword("since_boot"), &["src/udp/clock.rs", "src/forward/clock.rs"]),
    (Word::Keyword("unsafe"), &["src/udp/"]),
];

/// A word with a home.
#[derive(Clone, Copy)]
enum Word {
    /// Any identifier that starts so.
    Prefix(&'static str),
    /// Exactly this identifier.
    Keyword(&'static str),
    /// Two segments of a path, one after the other, also through a group.
    Path(&'static str, &'static str),
}

/// Names that say nothing about what is in a file or folder.
const NAMES_THAT_SAY_NOTHING: &[&str] =
    &["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"];

/// At this many lines of a file we stop and think.
const FILE_LINES_TO_THINK_AT: usize = 500;

#[test]
fn sources_keep_the_floors() {
    let sources = sources::rust_sources();
    let mut breaches = Vec::new();
    let exempt = files_of_test_modules(&sources);
    for (path, text) in &sources {
        breaches.extend(breaches_of(path, text, exempt.contains(path)));
        let lines = text.lines().count();
        if lines > FILE_LINES_TO_THINK_AT {
            println!(
                "note: {path} has {lines} lines; at {FILE_LINES_TO_THINK_AT} stop and think whether it is two things"
            );
        }
    }
    let mut report = String::new();
    for breach in &breaches {
        let _ = writeln!(report, "  {breach}");
    }
    assert!(breaches.is_empty(), "the floors are broken (ARCHITECTURE.md, \"Floors\"):\n{report}");
}

/// Everything that is wrong with one file. `exempt`: the whole file is a test module.
fn breaches_of(path: &str, text: &str, exempt: bool) -> Vec<String> {
    let tokens = tokens_of(text);
    let mut breaches = Vec::new();
    for name in path.trim_end_matches(".rs").split('/') {
        if NAMES_THAT_SAY_NOTHING.contains(&name) {
            breaches.push(format!("{path}: `{name}` says nothing; name the file after what it holds"));
        }
    }
    breaches.extend(import_breaches(path, &tokens));
    if !exempt {
        breaches.extend(word_breaches(path, &tokens));
    }
    breaches
}

// ---------------------------------------------------------------------------------------------------------------------
// Imports

/// Paths that name a room which this file's room may not import.
fn import_breaches(path: &str, tokens: &[Token]) -> Vec<String> {
    let file_module = module_of(path);
    let room = file_module.first().map_or_else(|| root_room(path), String::as_str);
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == room) else {
        return vec![format!(
            "{path}: `{room}` is no room of the house; give it a row in IMPORTS and in ARCHITECTURE.md"
        )];
    };
    let mut breaches = Vec::new();
    for named in rooms_named(&file_module, tokens) {
        let line = named.line;
        match named.what {
            Named::Room(other) if other == room || allowed.contains(&other.as_str()) => {}
            Named::Room(other) if IMPORTS.iter().any(|(name, _)| *name == other) => {
                breaches.push(format!("{path}:{line}: {room} may not import {other}"));
            }
            // `lib.rs` and `main.rs` have no room around them: what they name of their own is theirs.
            Named::Room(other) if !file_module.is_empty() => {
                breaches
                    .push(format!("{path}:{line}: `crate::{other}` is no room; name things by the room they live in"));
            }
            Named::Room(_) => {}
            Named::Whole if path == "src/lib.rs" => {}
            Named::Whole => breaches.push(format!("{path}:{line}: imports the whole house; name the rooms")),
            Named::OtherPath => breaches.push(format!("{path}:{line}: `#[path]` hides which room a file is in")),
        }
    }
    breaches
}

/// What `crate`, `super` or `plustwo` leads to.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// The first segment below the crate's root.
    Room(String),
    /// The root itself: `crate::*`, `use crate as …`.
    Whole,
    /// An attribute that takes a module's text from another place.
    OtherPath,
}

/// A place where a room is named.
struct Mention {
    what: Named,
    line: usize,
}

/// Every room that these tokens name, in order.
fn rooms_named(file_module: &[String], tokens: &[Token]) -> Vec<Mention> {
    let mut mentions = Vec::new();
    let mut module = file_module.to_vec();
    // The depths of braces at which an inline module was opened.
    let mut open_modules = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        let starts_a_path = at == 0 || tokens[at - 1].text != "::";
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if open_modules.last() == Some(&depth) {
                    open_modules.pop();
                    module.pop();
                }
            }
            "mod" if word_at(tokens, at + 2) == "{" => {
                module.push(tokens[at + 1].text.clone());
                open_modules.push(depth);
            }
            "#" if word_at(tokens, at + 1) == "[" && word_at(tokens, at + 2) == "path" => {
                mentions.push(Mention { what: Named::OtherPath, line: token.line });
            }
            "crate" | "super" | "self" | "plustwo" if starts_a_path => {
                // A path ends where its tree does; braces inside it are groups, not blocks.
                at = follow(tokens, at, Some(module.clone()), &mut mentions);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    mentions
}

/// Follows one path (or group of paths) from `at`, and gives the place behind it. `module` is where the path has led
/// so far: none once it has left the root by naming a room.
fn follow(tokens: &[Token], mut at: usize, mut module: Option<Vec<String>>, mentions: &mut Vec<Mention>) -> usize {
    let mut from_root = false;
    loop {
        let line = tokens.get(at).map_or(0, |token| token.line);
        let at_root = from_root || module.as_ref().is_some_and(Vec::is_empty);
        match word_at(tokens, at) {
            "crate" | "plustwo" => {
                module = Some(Vec::new());
                from_root = true;
                if word_at(tokens, at + 1) == "as" {
                    mentions.push(Mention { what: Named::Whole, line });
                }
            }
            "super" => {
                if let Some(module) = &mut module {
                    module.pop();
                    from_root = module.is_empty();
                }
                if from_root && matches!(word_at(tokens, at + 1), "as" | ";" | "," | "}") {
                    mentions.push(Mention { what: Named::Whole, line });
                }
            }
            "self" => {
                if at_root && word_at(tokens, at + 1) == "as" {
                    mentions.push(Mention { what: Named::Whole, line });
                }
            }
            "{" => {
                at += 1;
                while at < tokens.len() && word_at(tokens, at) != "}" {
                    let before = at;
                    at = follow(tokens, at, module.clone(), mentions);
                    if word_at(tokens, at) == "as" {
                        at += 2;
                    }
                    if word_at(tokens, at) == "," || at == before {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "*" => {
                if at_root {
                    mentions.push(Mention { what: Named::Whole, line });
                }
                return at + 1;
            }
            word => {
                if at_root {
                    mentions.push(Mention { what: Named::Room(word.to_owned()), line });
                }
                module = None;
                from_root = false;
            }
        }
        if word_at(tokens, at + 1) != "::" {
            return at + 1;
        }
        at += 2;
        // `Vec::<T>`: generic arguments are no segments.
        if word_at(tokens, at) == "<" {
            return at;
        }
    }
}

/// The module that a file is, by its place: `src/serve/udp/worker.rs` is `serve::udp::worker`.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    match module.last().map(String::as_str) {
        Some("mod") => {
            module.pop();
        }
        Some("lib" | "main") if module.len() == 1 => module.clear(),
        _ => {}
    }
    module
}

/// The row of IMPORTS for a file that has no room around it.
fn root_room(path: &str) -> &'static str {
    if path == "src/main.rs" { "main" } else { "lib" }
}

// ---------------------------------------------------------------------------------------------------------------------
// Words

/// Words away from their homes, outside test modules.
fn word_breaches(path: &str, tokens: &[Token]) -> Vec<String> {
    let tested = spans_of_test_modules(tokens);
    let mut breaches = Vec::new();
    for (word, homes) in HOMES {
        if homes.iter().any(|home| path == *home || (home.ends_with('/') && path.starts_with(home))) {
            continue;
        }
        for (at, token) in tokens.iter().enumerate() {
            if tested.iter().any(|span| span.contains(&at)) {
                continue;
            }
            let (found, shown) = match *word {
                Word::Prefix(prefix) => (token.text.starts_with(prefix), prefix.to_owned()),
                Word::Keyword(keyword) => (token.text == keyword, keyword.to_owned()),
                Word::Path(first, second) => (leads_to(tokens, at, first, second), format!("{first}::{second}")),
            };
            if found {
                breaches.push(format!("{path}:{}: `{shown}` lives in {}", token.line, homes.join(", ")));
            }
        }
    }
    breaches
}

/// Whether the token at `at` is `first` and is followed by `::second` or `::{…, second, …}`.
fn leads_to(tokens: &[Token], at: usize, first: &str, second: &str) -> bool {
    if tokens[at].text != first || word_at(tokens, at + 1) != "::" {
        return false;
    }
    if word_at(tokens, at + 2) != "{" {
        return word_at(tokens, at + 2) == second;
    }
    let mut depth = 0_usize;
    for inner in at + 2..tokens.len() {
        match tokens[inner].text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return false,
            "}" => depth -= 1,
            word if depth == 1 && word == second && matches!(word_at(tokens, inner - 1), "{" | ",") => return true,
            _ => {}
        }
    }
    false
}

/// The tokens that stand in `#[cfg(test)] mod … { … }`.
fn spans_of_test_modules(tokens: &[Token]) -> Vec<std::ops::Range<usize>> {
    test_modules(tokens)
        .filter(|&name| word_at(tokens, name + 1) == "{")
        .map(|name| {
            let mut depth = 0_usize;
            let end = (name + 1..tokens.len()).find(|&at| {
                match tokens[at].text.as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            name..end.unwrap_or(tokens.len())
        })
        .collect()
}

/// Files that are test modules of their own: `#[cfg(test)] mod tests;` and what is below them.
fn files_of_test_modules(sources: &[(String, String)]) -> BTreeSet<String> {
    let mut modules = Vec::new();
    for (path, text) in sources {
        let tokens = tokens_of(text);
        for name in test_modules(&tokens).filter(|&name| word_at(&tokens, name + 1) == ";") {
            let mut module = module_of(path);
            module.push(tokens[name].text.clone());
            modules.push(module);
        }
    }
    let is_below = |path: &str| modules.iter().any(|module| module_of(path).starts_with(module));
    sources.iter().map(|(path, _)| path.clone()).filter(|path| is_below(path)).collect()
}

/// Where the names of `#[cfg(test)]` modules stand; further attributes and a visibility may come between.
fn test_modules(tokens: &[Token]) -> impl Iterator<Item = usize> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    (0..tokens.len()).filter(|&at| (0..7).all(|offset| word_at(tokens, at + offset) == ATTRIBUTE[offset])).filter_map(
        |at| {
            let mut at = at + ATTRIBUTE.len();
            loop {
                match word_at(tokens, at) {
                    "#" => at = (at..tokens.len()).find(|&end| tokens[end].text == "]")? + 1,
                    "pub" | "(" | ")" | "crate" | "super" => at += 1,
                    "mod" => return Some(at + 1),
                    _ => return None,
                }
            }
        },
    )
}

// ---------------------------------------------------------------------------------------------------------------------
// Tokens

/// An identifier, `::`, or one sign. Comments and literals leave none.
#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// The text of a token, or nothing behind the last.
fn word_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

/// Cuts Rust text into tokens.
fn tokens_of(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while at < chars.len() {
        let start = at;
        let next = chars.get(at + 1).copied();
        match chars[at] {
            '/' if next == Some('/') => at = end_of_line(&chars, at),
            '/' if next == Some('*') => at = end_of_block_comment(&chars, at),
            '"' => at = end_of_string(&chars, at),
            '\'' => at = end_of_quote(&chars, at),
            c if c.is_alphabetic() || c == '_' => {
                while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                    at += 1;
                }
                let word: String = chars[start..at].iter().collect();
                let raw = matches!(word.as_str(), "r" | "br" | "cr");
                match chars.get(at) {
                    Some('"' | '#') if raw && raw_string_starts(&chars, at) => at = end_of_raw_string(&chars, at),
                    // `r#unsafe` is an identifier like any other.
                    Some('#') if word == "r" => {}
                    // `b"…"` and `c"…"`: the literal is cut next time round.
                    Some('"' | '\'') if matches!(word.as_str(), "b" | "c") => {}
                    _ => tokens.push(Token { text: word, line }),
                }
            }
            ':' if next == Some(':') => {
                tokens.push(Token { text: "::".to_owned(), line });
                at += 2;
            }
            c => {
                if !c.is_whitespace() && !c.is_ascii_digit() {
                    tokens.push(Token { text: c.to_string(), line });
                }
                at += 1;
            }
        }
        line += chars[start..at.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    tokens
}

/// The end of a `//` comment.
fn end_of_line(chars: &[char], at: usize) -> usize {
    (at..chars.len()).find(|&end| chars[end] == '\n').unwrap_or(chars.len())
}

/// The end of a `/* … */` comment; they nest.
fn end_of_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The end of a string, from its opening quote.
fn end_of_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of a character, or of the quote of a lifetime.
fn end_of_quote(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        return (at + 3..chars.len()).find(|&end| chars[end] == '\'').map_or(chars.len(), |end| end + 1);
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at + 1 }
}

/// Whether hashes and then a quote stand here.
fn raw_string_starts(chars: &[char], at: usize) -> bool {
    chars[at..].iter().find(|&&c| c != '#') == Some(&'"')
}

/// The end of a raw string, from its first hash or its quote.
fn end_of_raw_string(chars: &[char], at: usize) -> usize {
    let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
    let closes =
        |end: usize| chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
    (at + hashes + 1..chars.len()).find(|&end| closes(end)).map_or(chars.len(), |end| end + 1 + hashes)
}

// ---------------------------------------------------------------------------------------------------------------------
// The test of the test: each breach is seen, and what is allowed is not called one.

/// A file at a path, which the check must refuse with words that contain `expected`.
#[track_caller]
fn refused(path: &str, text: &str, expected: &str) {
    let breaches = breaches_of(path, text, false);
    assert!(
        breaches.iter().any(|breach| breach.contains(expected)),
        "`{expected}` not among {breaches:?} for {text:?}"
    );
}

/// A file at a path, which the check must let pass.
#[track_caller]
fn accepted(path: &str, text: &str) {
    let breaches = breaches_of(path, text, false);
    assert!(breaches.is_empty(), "{breaches:?} for {text:?}");
}

#[test]
fn an_import_upwards_is_seen_in_every_form() {
    refused("src/dns/name.rs", "use crate::aws::Vpc;", "src/dns/name.rs:1: dns may not import aws");
    refused(
        "src/resolve/zone.rs",
        "\n\nuse crate::config::v1;",
        "src/resolve/zone.rs:3: resolve may not import config",
    );
    refused("src/resolve/zone.rs", "use crate::{dns::Name, compile::compile};", "resolve may not import compile");
    refused("src/resolve/zone.rs", "use crate::{dns::{Name, Ttl as T}, aws};", "resolve may not import aws");
    refused("src/forward/cache.rs", "fn f() { let _ = crate::serve::door(); }", "forward may not import serve");
    refused("src/forward/cache.rs", "fn f() -> crate::resolve::Resolution { x }", "forward may not import resolve");
    refused("src/snapshot/zone.rs", "impl X { fn f(&self, m: &crate::aws::Model) {} }", "snapshot may not import aws");
    refused("src/config/mod.rs", "pub use crate::compile::compile;", "config may not import compile");
    refused("src/daemon/start.rs", "use crate::cli::args;", "daemon may not import cli");
    refused("src/main.rs", "use plustwo::daemon;", "main may not import daemon");
    refused("src/serve/stream.rs", "use plustwo::config::load;", "serve may not import config");
}

#[test]
fn an_import_upwards_by_super_is_seen() {
    refused("src/dns/mod.rs", "use super::aws::Vpc;", "dns may not import aws");
    refused("src/dns/name.rs", "use super::super::aws::Vpc;", "dns may not import aws");
    refused("src/serve/udp/sys.rs", "use super::super::super::{dns, compile};", "serve may not import compile");
    refused("src/dns/name.rs", "use super::{query, super::config};", "dns may not import config");
    refused("src/dns/name.rs", "mod inner { use super::super::super::config::v1; }", "dns may not import config");
    refused(
        "src/dns/name.rs",
        "mod a {} mod b { fn f() { super::super::super::config::f() } }",
        "dns may not import config",
    );
    refused("src/dns/name.rs", "use self::super::super::config;", "dns may not import config");
}

#[test]
fn a_test_module_may_not_import_upwards_either() {
    refused("src/dns/name.rs", "#[cfg(test)] mod tests { use crate::config::load; }", "dns may not import config");
}

#[test]
fn ways_round_the_table_are_seen() {
    refused("src/dns/name.rs", "use crate::*;", "whole house");
    refused("src/dns/name.rs", "use crate::{dns, *};", "whole house");
    refused("src/dns/name.rs", "use crate as house;", "whole house");
    refused("src/dns/name.rs", "use crate::{self as house};", "whole house");
    refused("src/dns/name.rs", "use super::super as house;", "whole house");
    refused("src/dns/name.rs", "use crate::Model;", "`crate::Model` is no room");
    refused("src/dns/name.rs", "#[path = \"../config/v1.rs\"] mod v1;", "#[path]");
    refused("src/attic/mod.rs", "", "`attic` is no room");
}

#[test]
fn imports_downwards_pass() {
    accepted("src/lib.rs", "pub mod dns; pub mod aws;");
    accepted("src/main.rs", "fn main() -> ExitCode { plustwo::cli::main() }");
    accepted(
        "src/serve/udp/worker.rs",
        "use super::worker; use crate::{udp::sys, dns::{self, Query}, snapshot::View};",
    );
    accepted("src/compile/endpoint.rs", "pub(crate) fn f() {} pub(in crate::compile) fn g() {} use super::super::aws;");
    accepted("src/dns/name.rs", "mod a { use super::Name; mod b { use super::super::Name; } } use super::ttl;");
    accepted("src/dns/name.rs", "fn f(&self) { self::g(); Self::h(); let x = self; match super::query { _ => {} } }");
    accepted("src/dns/name.rs", "#[cfg(test)] mod tests { use super::*; use super::super::query; }");
    accepted(
        "src/dns/name.rs",
        "// crate::aws\n/* crate::cli /* nested */ crate::cli */\n/// [`crate::config`]\nstruct A;",
    );
    accepted(
        "src/dns/name.rs",
        "const A: &str = \"crate::cli \\\" crate::cli\"; const B: &[u8] = br#\"\" crate::cli\"#;",
    );
    accepted("src/dns/name.rs", "fn f<'a>(x: &'a str) -> char { '\"' } fn g() -> char { '\\'' } // \" crate::cli");
}

#[test]
fn a_word_away_from_home_is_seen() {
    refused(
        "src/dns/query.rs",
        "use hickory_proto::op::Message;",
        "src/dns/query.rs:1: `hickory_` lives in src/dns/text.rs",
    );
    refused("src/serve/stream.rs", "fn f() { hickory_proto::x() }", "`hickory_` lives in");
    refused("src/resolve/mod.rs", "async fn f() { tokio::spawn(g()); }", "`tokio` lives in");
    refused("src/config/mod.rs", "use tokio::sync::Mutex;", "`tokio` lives in");
    refused("src/aws/vpc.rs", "#[derive(serde::Deserialize)] struct A;", "`serde` lives in");
    refused("src/snapshot/mod.rs", "use serde_spanned::Spanned;", "`serde` lives in");
    refused("src/config/v1/mod.rs", "fn f() { std::fs::read(p) }", "`std::fs` lives in");
    refused("src/config/v1/mod.rs", "use std::{fs, io};", "`std::fs` lives in");
    refused("src/config/v1/mod.rs", "use std::{io, net::{IpAddr}, fs::{self, File}};", "`std::fs` lives in");
    refused("src/serve/stream.rs", "use tokio::fs;", "`tokio::fs` lives in");
    refused("src/resolve/mod.rs", "let t = std::time::Instant::now();", "`Instant::now` lives in");
    refused("src/forward/exchange.rs", "let t = tokio::time::Instant::now();", "`Instant::now` lives in");
    refused("src/serve/server.rs", "let t = since_boot();", "`since_boot` lives in");
    refused("src/serve/udp/worker.rs", "fn f() { unsafe { g() } }", "`unsafe` lives in src/udp/");
    refused(
        "src/serve/udp/worker.rs",
        "\n#[cfg(test)] mod tests { } unsafe fn f() {}",
        "worker.rs:2: `unsafe` lives in",
    );
}

#[test]
fn a_word_at_home_or_in_a_test_module_passes() {
    accepted("src/dns/text.rs", "use hickory_proto::rr::RData;");
    accepted("src/dns/text/rarer.rs", "use hickory_proto::rr::RData;");
    accepted("src/forward/streams/line.rs", "use tokio::net::UdpSocket; fn f() { let t = Instant::now(); }");
    accepted("src/udp/sys.rs", "fn f() { unsafe { g() } }");
    accepted("src/daemon/reload.rs", "use std::{fs, time::Instant}; fn f() { Instant::now(); } use serde::Serialize;");
    accepted("src/resolve/mod.rs", "use std::{io::fs_like, fmt}; #![deny(unsafe_code)] // unsafe, tokio, std::fs");
    accepted(
        "src/resolve/mod.rs",
        "#[cfg(test)]\n#[allow(x, reason = \"y\")]\npub(crate) mod tests { use hickory_proto::op; fn f() { Instant::now(); } }",
    );
}

#[test]
fn a_test_module_in_a_file_of_its_own_is_exempt() {
    let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let sources = [
        source("src/dns/query.rs", "#[cfg(test)]\nmod tests;"),
        source("src/dns/query/tests.rs", "use hickory_proto::op::Message;"),
        source("src/dns/name.rs", "mod tests;"),
        source("src/dns/name/tests.rs", "use hickory_proto::op::Message;"),
    ];
    let exempt = files_of_test_modules(&sources);
    assert_eq!(exempt.iter().collect::<Vec<_>>(), ["src/dns/query/tests.rs"]);
    assert_eq!(breaches_of(&sources[1].0, &sources[1].1, true), Vec::<String>::new());
    assert_eq!(breaches_of(&sources[3].0, &sources[3].1, false).len(), 1);
}

#[test]
fn a_name_that_says_nothing_is_seen() {
    refused("src/dns/utils.rs", "", "`utils` says nothing");
    refused("src/serve/common/mod.rs", "", "`common` says nothing");
    refused("src/forward/helpers.rs", "", "`helpers` says nothing");
    refused("src/daemon/manager.rs", "", "`manager` says nothing");
}

#[test]
fn every_row_of_the_table_points_down() {
    // The order of the rows is the order of the floors: a room may name only rooms that stand above it in the table.
    for (row, (room, allowed)) in IMPORTS.iter().enumerate() {
        for other in *allowed {
            let below = IMPORTS[..row].iter().any(|(name, _)| name == other);
            assert!(below, "{room} imports {other}, which is not below it");
        }
    }
}
