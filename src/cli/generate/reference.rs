//! plustwo.toml(5): the sample configuration, key by key. Its comments are the words of the page.

use super::SOURCE;
use clap_mangen::roff::{Roff, bold, roman};
use std::collections::BTreeSet;

/// What the page says before the sample does.
const ABOUT: &str = "What plustwo answers, and where, is one file in TOML. This page is the example file that comes \
    with it, key by key: what a key is about, and after it the value that the example has. A key in brackets may be left \
    out; it shows the default, or an example where the words say that there is none.";

/// The page of a sample.
pub(super) fn page(sample: &str) -> Roff {
    let mut page = Page::default();
    page.roff.control("TH", ["plustwo.toml", "5", "", SOURCE, "File Formats"]);
    page.section("name");
    page.roff.text([roman("plustwo.toml - the configuration of plustwo(8)")]);
    page.section("description");
    page.roff.text([roman(ABOUT)]);
    let mut lines = sample.lines();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            page.paragraph();
        } else if let Some(title) = title(line) {
            page.section(title);
        } else if line.starts_with('[') {
            page.table(line);
        } else if let Some(key) = Key::begin(line) {
            page.key(&key.with_further_lines(&mut lines));
        } else {
            page.words.push(line.strip_prefix('#').unwrap_or(line));
        }
    }
    page.paragraph();
    page.section("files");
    page.roff.control("TP", []).text([bold("/etc/plustwo/plustwo.toml")]);
    page.roff.text([roman("Where the packages expect it. Files that it names are relative to its folder.")]);
    page.section("see also");
    page.roff.text([bold("plustwo"), roman("(8), "), bold("plustwo-check"), roman("(8)")]);
    page.roff
}

/// The title of a part of the file, `# ------ title`.
fn title(line: &str) -> Option<&str> {
    line.strip_prefix("# ---").map(|rest| rest.trim_start_matches('-').trim())
}

/// A key and its value, which may be many lines.
struct Key<'s> {
    name: &'s str,
    value: &'s str,
    /// The words behind it on its line.
    comment: Option<&'s str>,
    is_commented_out: bool,
    /// The lines below its own, the closing bracket the last.
    further: Vec<&'s str>,
}

impl<'s> Key<'s> {
    /// The key that a line begins with, if it does.
    fn begin(line: &'s str) -> Option<Self> {
        let live = line.strip_prefix("# ");
        let (name, rest) = live.unwrap_or(line).split_once(" = ")?;
        let is_name = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_';
        if !name.bytes().all(is_name) {
            return None;
        }
        let (value, comment) = without_comment(rest);
        Some(Self { name, value, comment, is_commented_out: live.is_some(), further: Vec::new() })
    }

    fn with_further_lines(mut self, lines: &mut std::str::Lines<'s>) -> Self {
        if self.value == "[" {
            for line in lines.by_ref() {
                self.further.push(line);
                if line == "]" {
                    break;
                }
            }
        }
        self
    }

    /// Whether it says anything that an earlier one of its name may not have said.
    fn has_words(&self) -> bool {
        self.comment.is_some() || self.further.iter().any(|line| without_comment(line).1.is_some())
    }
}

/// A line without the comment behind its value, and the comment.
fn without_comment(line: &str) -> (&str, Option<&str>) {
    let mut quote = None;
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '#') => return (line[..at].trim_end(), Some(line[at + 1..].trim())),
            _ => {}
        }
    }
    (line.trim_end(), None)
}

/// The page as far as it is written.
#[derive(Default)]
struct Page<'s> {
    roff: Roff,
    /// Lines of a comment that are about what comes next.
    words: Vec<&'s str>,
    /// The table's heading, as `[[vpc]]`; empty before the first one.
    table: &'s str,
    /// The heading that what is shown now stands under.
    heading: &'s str,
    /// What was said before a further table of a heading: shown if any of its keys is.
    of_further_table: Vec<&'s str>,
    /// Headings and keys that have been shown.
    shown: BTreeSet<(&'s str, &'s str)>,
}

impl<'s> Page<'s> {
    fn section(&mut self, title: &str) {
        self.roff.control("SH", [title.to_uppercase().as_str()]);
    }

    /// Says what was said up to here, as paragraphs; lines that stand further in stay lines.
    fn paragraph(&mut self) {
        let words = std::mem::take(&mut self.words);
        for part in words.split(|line| line.is_empty()).filter(|part| !part.is_empty()) {
            self.roff.control("PP", []);
            self.say(part);
        }
    }

    fn say(&mut self, lines: &[&str]) {
        if lines.iter().all(|line| line.starts_with("   ")) {
            self.example(lines);
        } else {
            let words: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
            self.roff.text([roman(words.join(" "))]);
        }
    }

    /// Lines as they are.
    fn example(&mut self, lines: &[&str]) {
        self.roff.control("EX", []);
        for line in lines {
            self.roff.text([roman(*line)]);
        }
        self.roff.control("EE", []);
    }

    fn table(&mut self, heading: &'s str) {
        self.table = without_comment(heading).0;
        if self.shown.insert((self.table, "")) {
            self.head();
            self.paragraph();
        } else {
            self.of_further_table = std::mem::take(&mut self.words);
        }
    }

    fn head(&mut self) {
        self.heading = self.table;
        self.roff.control("SS", [self.table]);
    }

    fn key(&mut self, key: &Key<'s>) {
        let words = std::mem::take(&mut self.words);
        let is_new = self.shown.insert((self.table, key.name));
        if !is_new && words.is_empty() && !key.has_words() {
            return;
        }
        if self.heading != self.table {
            self.head();
        }
        self.words = std::mem::take(&mut self.of_further_table);
        self.paragraph();
        let value = if key.further.is_empty() { key.value } else { "[ … ]" };
        let shown = format!("{} = {value}", key.name);
        self.roff.control("TP", []);
        self.roff.text([bold(if key.is_commented_out { format!("[{shown}]") } else { shown })]);
        let words: Vec<&str> = words.iter().map(|line| line.trim()).chain(key.comment).collect();
        if !words.is_empty() {
            self.roff.text([roman(words.join(" "))]);
        }
        if !key.further.is_empty() {
            let lines: Vec<&str> = key.further.iter().copied().filter(|line| *line != "]").collect();
            self.example(&lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn a_sample_becomes_a_page() {
        let text = page(
            "# About it.\n#\n#   dig it\n\nversion = 1   # required\n\n# ----- process\n\n# Alone.\n\n# The process.\n[server]\n\
             # Who \"may\"\n# ask.\n# allow = [\"#1\"]  # nobody\n\n[[vpc]]\nid = \"a\"\n\n# Not shown.\n[[vpc]]\nid = \"b\"\n\n\
             [other]\n\n# Shown.\n[[vpc]]\nid = \"c\"\nname = \"c\"\nlist = [\n  1, # one\n]\n",
        )
        .render();
        let body =
            text.split(".SH DESCRIPTION\n").nth(1).and_then(|text| text.split(".SH FILES").next()).expect("a body");
        let body = body.lines().skip(1).collect::<Vec<_>>().join("\n");
        assert_eq!(
            body,
            ".PP\nAbout it.\n.PP\n.EX\n   dig it\n.EE\n.TP\n\\fBversion = 1\\fR\nrequired\n.SH PROCESS\n.PP\nAlone.\n\
             .SS [server]\n.PP\nThe process.\n.TP\n\\fB[allow = [\"#1\"]]\\fR\nWho \"may\" ask. nobody\n\
             .SS [[vpc]]\n.TP\n\\fBid = \"a\"\\fR\n.SS [other]\n.SS [[vpc]]\n.PP\nShown.\n.TP\n\\fBname = \"c\"\\fR\n.TP\n\\fBlist = [ … ]\\fR\n.EX\n\
             \x20 1, # one\n.EE"
        );
    }
}
