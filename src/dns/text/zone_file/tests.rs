//! What zone files say, with and without `$INCLUDE`.

use super::super::{DisplayRdata, parse_folded_name};
use super::*;
use crate::dns::name::DisplayWire;
use proptest::prelude::*;

/// Files by path, and what was read from them.
struct Files<'f> {
    files: &'f [(&'f str, &'f str)],
    /// The paths in the order of their numbers.
    begun: Vec<String>,
    records: Vec<String>,
}

impl ZoneFileUser for Files<'_> {
    fn record(&mut self, record: ZoneRecord<'_>) {
        let file = if record.file == 0 { String::new() } else { format!("{}:", self.begun[record.file as usize]) };
        self.records.push(format!(
            "{file}{} {}{} {} {} {}",
            record.line,
            if record.owner_is_new { "" } else { "^" },
            DisplayWire(record.owner),
            record.ttl.seconds(),
            record.rtype,
            DisplayRdata { rtype: record.rtype, rdata: record.rdata }
        ));
    }

    fn include(&mut self, included: IncludedFile<'_>) -> Result<String, String> {
        let file = self.files.iter().find(|(path, _)| *path == included.path).ok_or("no such file")?;
        self.begun.push(included.path.to_owned());
        Ok(file.1.to_owned())
    }
}

/// Reads the first of some files: records and errors in words.
fn read_files(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let apex = parse_folded_name("corp.example", Escapes::Decimal, None).expect("a name");
    let (path, text) = files[0];
    let mut user = Files { files, begun: vec![path.to_owned()], records: Vec::new() };
    let errors = read_zone_file(path, text, &apex, &mut user);
    let word = |error: &ZoneFileError| match error.file {
        0 => error.error.to_string(),
        file => format!("{}:{}", user.begun[file as usize], error.error),
    };
    (user.records.clone(), errors.iter().map(word).collect())
}

fn read(text: &str) -> (Vec<String>, Vec<String>) {
    read_files(&[("corp.zone", text)])
}

#[test]
fn records_as_people_write_them() {
    let (records, errors) = read(concat!(
        "\u{feff}$TTL 1h30m ; the default\r\n",
        "@ IN SOA ns1 Host\\.Master (\r\n",
        "   2024010101 ; serial\r\n",
        "   2h 15m 2w 1d )\r\n",
        "  NS ns1\r\n",
        "WWW 60 IN A 10.0.0.1\r\n",
        "    IN 61 A 10.0.0.2\r\n",
        "\r\n",
        "www A 10.0.0.3\r\n",
        "; only a comment\r\n",
        "txt TXT \"a;b (c)\" word \"\\\"q\\\"\" \\065\\;\r\n",
        "$ORIGIN Sub\r\n",
        "a CNAME @\r\n",
        "b in cname A\r\n",
        "c TYPE65400 \\# 3 ab cdef\r\n",
        "d.example.net. mx 10 (\n mail.\n)\n",
        "e IN A 10.0.0.9",
    ));
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(
        records,
        [
            "2 corp.example. 5400 SOA ns1.corp.example. Host\\.Master.corp.example. 2024010101 7200 900 1209600 86400",
            "5 ^corp.example. 5400 NS ns1.corp.example.",
            "6 www.corp.example. 60 A 10.0.0.1",
            "7 ^www.corp.example. 61 A 10.0.0.2",
            "9 ^www.corp.example. 5400 A 10.0.0.3",
            "11 txt.corp.example. 5400 TXT \"a;b (c)\" \"word\" \"\\\"q\\\"\" \"A;\"",
            "13 a.sub.corp.example. 5400 CNAME Sub.corp.example.",
            "14 b.sub.corp.example. 5400 CNAME A.Sub.corp.example.",
            "15 c.sub.corp.example. 5400 TYPE65400 \\# 3 abcdef",
            "16 d.example.net. 5400 MX 10 mail.",
            "19 e.sub.corp.example. 5400 A 10.0.0.9",
        ]
    );
}

#[test]
fn ttls() {
    let (records, errors) = read(concat!(
        "a A 10.0.0.1\n",
        "b 0 A 10.0.0.1\n",
        "c IN A 10.0.0.1\n",
        "$TTL 1w2D3h4M5s\n",
        "d A 10.0.0.1\n",
        "e 7 A 10.0.0.1\n",
        "f A 10.0.0.1\n",
        "g 2147483647 A 10.0.0.1\n",
    ));
    assert_eq!(errors, Vec::<String>::new());
    let ttls: Vec<&str> = records.iter().filter_map(|record| record.split(' ').nth(2)).collect();
    // The default, a stated one, the last stated one; then $TTL, a stated one, $TTL again, and the largest.
    assert_eq!(ttls, ["300", "0", "0", "788645", "7", "788645", "2147483647"]);
}

#[test]
fn every_error_has_its_place_and_the_records_around_it_are_read() {
    let long = "a".repeat(64);
    let text = format!(
        concat!(
            "  A 10.0.0.1\n",
            "é A 10.0.0\n",
            "www 300 CH A 10.0.0.1\n",
            "www 2147483648 A 10.0.0.1\n",
            "www 1h30 A 10.0.0.1\r\n",
            "www IN\r\n",
            "www ANY 10.0.0.1\n",
            "$INCLUDE other.zone\n",
            "$GENERATE 1-9 a$ A 10.0.0.$\n",
            "$OTHER x\n",
            "$TTL\n",
            "$ORIGIN a b\n",
            "{long} A 10.0.0.1\n",
            "  A 10.0.0.2\n",
            "txt TXT ( a\n",
            "   \"not closed )\n",
            "  b )\n",
            "  A 10.0.0.3\n",
            "www FOO x\n",
            "www MX 10 a..b ; comment\n",
            "last A 10.0.0.4\n",
            "soa SOA a b (\n",
            " 1 2 3 4 5\n",
            "lost A 10.0.0.5\n",
        ),
        long = long
    );
    let (records, errors) = read(&text);
    assert_eq!(records, ["18 txt.corp.example. 300 A 10.0.0.3", "21 last.corp.example. 300 A 10.0.0.4"]);
    let expected = [
        ("1:1: ", "there is none"),
        ("2:5: ", "`10.0.0` is not an IPv4 address"),
        ("3:9: ", "class `CH` is not served"),
        ("4:5: ", "`2147483648` is not a TTL"),
        ("5:5: ", "`1h30` is not a TTL"),
        ("6:7: ", "lacks its type"),
        ("7:5: ", "type ANY is not one that a zone can hold"),
        ("8:10: ", "`other.zone` cannot be included: no such file"),
        ("9:1: ", "$GENERATE is not supported"),
        ("10:1: ", "`$OTHER` is not a directive"),
        ("11:5: ", "$TTL takes exactly one word"),
        ("12:11: ", "$ORIGIN takes exactly one word"),
        ("13:1: ", "a label is at most 63 octets"),
        ("16:4: ", "is not closed on its line"),
        ("19:5: ", "`FOO` is not a type"),
        ("20:11: ", "a label is empty"),
        ("22:13: ", "`(` is never closed"),
    ];
    for (error, (place, part)) in errors.iter().zip(expected) {
        assert!(error.starts_with(place) && error.contains(part), "{error}, not {place}{part}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
}

#[test]
fn errors_are_bounded_and_counted() {
    let text = "a A x\n".repeat(250);
    let (records, errors) = read(&text);
    assert!(records.is_empty());
    assert_eq!(errors.len(), ZONE_FILE_ERRORS_MAX + 1);
    assert!(errors[99].starts_with("100:5: `x`"), "{}", errors[99]);
    assert_eq!(errors[100], "101:5: and 150 more errors from here on; correct those above first");
}

#[test]
fn included_files_are_read_where_they_are_named() {
    let (records, errors) = read_files(&[
        (
            "corp.zone",
            concat!(
                "$TTL 100\n",
                "www A 10.0.0.1\n",
                "$INCLUDE hosts.zone\n",
                "    A 10.0.0.2\n",
                "$include \"a b.zone\" Sub ; another origin\n",
                "last A 10.0.0.3\n",
                "$INCLUDE empty.zone\n",
                "    A 10.0.0.4\n",
            ),
        ),
        ("hosts.zone", "\u{feff}    A 10.0.1.1\r\n$ORIGIN dc1\na A 10.0.1.2\n$TTL 200\n"),
        ("a b.zone", "@ A 10.0.2.1\n$INCLUDE deeper\\.zone @\nb CNAME c"),
        ("deeper.zone", "d MX 10 e\n"),
        ("empty.zone", ""),
    ]);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(
        records,
        [
            "2 www.corp.example. 100 A 10.0.0.1",
            // The owner goes on into the file, and is the same behind it; so is the origin. The TTL is the last.
            "hosts.zone:1 ^www.corp.example. 100 A 10.0.1.1",
            "hosts.zone:3 a.dc1.corp.example. 100 A 10.0.1.2",
            "4 www.corp.example. 200 A 10.0.0.2",
            "a b.zone:1 sub.corp.example. 200 A 10.0.2.1",
            "deeper.zone:1 d.sub.corp.example. 200 MX 10 e.Sub.corp.example.",
            "a b.zone:3 b.sub.corp.example. 200 CNAME c.Sub.corp.example.",
            "6 last.corp.example. 200 A 10.0.0.3",
            "8 ^last.corp.example. 200 A 10.0.0.4",
        ]
    );
}

#[test]
fn what_is_wrong_in_included_files_is_all_said_with_its_place() {
    let (records, errors) = read_files(&[
        (
            "corp.zone",
            concat!(
                "$INCLUDE bad.zone\n",
                "$INCLUDE\n",
                "$INCLUDE a b c\n",
                "$INCLUDE bad.zone a..b\n",
                "$INCLUDE \\300\n",
                "$INCLUDE \\255\n",
                "$INCLUDE gone.zone\n",
                "$INCLUDE ./corp.zone\n",
                "$INCLUDE one.zone\n",
                "a A 10.0.0.1\n",
            ),
        ),
        ("bad.zone", "x A 10.0.0.256\n\n  ( A 10.0.0.1\n"),
        ("one.zone", "b A 10.0.0.2\n$INCLUDE .//two.zone\n"),
        (".//two.zone", "$INCLUDE one.zone\nc A 10.0.0.3\n"),
    ]);
    assert_eq!(
        records,
        [
            "one.zone:1 b.corp.example. 300 A 10.0.0.2",
            ".//two.zone:2 c.corp.example. 300 A 10.0.0.3",
            "10 a.corp.example. 300 A 10.0.0.1"
        ]
    );
    let expected = [
        ("bad.zone:1:5: ", "`10.0.0.256` is not an IPv4 address"),
        ("bad.zone:3:3: ", "`(` is never closed"),
        ("2:9: ", "$INCLUDE takes the path of a file"),
        ("3:14: ", "$INCLUDE takes the path of a file"),
        ("4:19: ", "a label is empty"),
        ("5:10: ", "the backslash escapes nothing"),
        ("6:10: ", "not UTF-8"),
        ("7:10: ", "`gone.zone` cannot be included: no such file"),
        ("8:10: ", "`./corp.zone` would include itself: `corp.zone` includes `./corp.zone`; remove"),
        (
            ".//two.zone:1:10: ",
            "`one.zone` would include itself: `one.zone` includes `.//two.zone` includes `one.zone`; ",
        ),
    ];
    for (error, (place, part)) in errors.iter().zip(expected) {
        assert!(error.starts_with(place) && error.contains(part), "{error}, not {place}{part}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
}

#[test]
fn files_may_include_each_other_ten_deep() {
    let texts: Vec<(String, String)> = (0..ZONE_FILES_OPEN_MAX + 1)
        .map(|at| (format!("f{at}"), format!("n{at} A 10.0.0.1\n$INCLUDE f{}\n", at + 1)))
        .collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let (records, errors) = read_files(&files);
    assert_eq!(records.len(), ZONE_FILES_OPEN_MAX);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let expected = "f9:2:10: files include each other more than 10 deep: `f0` includes `f1` includes ";
    assert!(errors[0].starts_with(expected) && errors[0].contains("`f9` includes `f10`; "), "{}", errors[0]);
}

#[test]
fn a_zone_has_a_thousand_files_at_most() {
    // Nine files, each of which includes the next one three times, would be read some 10,000 times.
    let texts: Vec<(String, String)> =
        (0..9).map(|at| (format!("f{at}"), format!("$INCLUDE f{}\n", at + 1).repeat(3))).collect();
    let mut files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    files.push(("f9", "a A 10.0.0.1\n"));
    let apex = parse_folded_name("corp.example", Escapes::Decimal, None).expect("a name");
    let mut user = Files { files: &files, begun: vec!["f0".to_owned()], records: Vec::new() };
    let errors = read_zone_file("f0", files[0].1, &apex, &mut user);
    assert_eq!(user.begun.len(), ZONE_FILES_MAX);
    let is_it =
        |error: &ZoneFileError| error.error.message.starts_with("the zone would be read from more than 1000 files; ");
    assert!(!errors.is_empty() && errors.iter().all(is_it), "{errors:?}");
}

#[test]
fn the_files_of_a_zone_have_a_gibibyte_at_most() {
    let mut open = OpenFiles::begin("a", "12345");
    assert_eq!(open.add(ZONE_FILES_OCTETS_MAX - 5), Ok(1));
    let message = open.add(1).expect_err("one octet too many");
    assert!(message.contains("more than 1073741824 octets together; "), "{message}");
}

#[test]
fn generic_records() {
    let (records, errors) = read(concat!(
        "a CLASS1 TYPE1 \\# 4 0A000001\n",
        "a IN A \\# 4 0A 00 00 02\n",
        "a 60 class1 TYPE1 10.0.0.3\n",
        "b TYPE65400 \\# 0\n",
        "c TYPE15 10 mail\n",
        "d CLASS3 A 10.0.0.1\n",
        "e TYPE39 \\# 1 00\n",
        "f TYPE65400 10.0.0.1\n",
        "g TYPE1 \\# 3 0A0000\n",
    ));
    assert_eq!(
        records,
        [
            "1 a.corp.example. 300 A 10.0.0.1",
            "2 ^a.corp.example. 300 A 10.0.0.2",
            "3 ^a.corp.example. 60 A 10.0.0.3",
            "4 b.corp.example. 60 TYPE65400 \\# 0",
            "5 c.corp.example. 60 MX 10 mail.corp.example.",
        ]
    );
    let expected = [
        "6:3: class `CLASS3` is not",
        "7:3: type DNAME is more than data",
        "8:13: type TYPE65400 has no form",
        "9:9: these octets are not",
    ];
    for (error, start) in errors.iter().zip(expected) {
        assert!(error.starts_with(start), "{error}, not {start}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
}

/// The records of a file without the places they stand at.
fn without_places(records: &[String]) -> Vec<String> {
    records.iter().map(|record| record.split_once(' ').expect("a place").1.trim_start_matches('^').to_owned()).collect()
}

proptest! {
    #[test]
    fn a_file_cut_into_included_ones_says_the_same(
        lines in prop::collection::vec(0..6usize, 1..40),
        cuts in prop::collection::vec((0..40usize, 0..40usize), 0..6),
    ) {
        const KINDS: [&str; 6] =
            ["a A 10.0.0.1", "b 60 MX 10 m", "$TTL 5", "c TXT ( \"x\"\n \"y\" )", "d.e TYPE65400 \\# 1 ff", "; a comment"];
        let lines: Vec<&str> = lines.into_iter().map(|kind| KINDS[kind]).collect();
        let (whole, errors) = read(&(lines.join("\n") + "\n"));
        prop_assert_eq!(errors, Vec::<String>::new());
        // Each cut moves a run of lines, and what was cut out of it before, into a file of its own.
        let mut files: Vec<(String, Vec<String>)> = vec![("f0".to_owned(), lines.iter().map(|&line| line.to_owned()).collect())];
        for (from, octets) in cuts {
            let path = format!("f{}", files.len());
            let left = &mut files[0].1;
            let from = from % left.len();
            let to = (from + octets % 8).min(left.len());
            let moved: Vec<String> = left.splice(from..to, [format!("$INCLUDE {path}")]).collect();
            files.push((path, moved));
        }
        let texts: Vec<(String, String)> = files.into_iter().map(|(path, lines)| (path, lines.join("\n"))).collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (cut, errors) = read_files(&files);
        prop_assert_eq!(errors, Vec::<String>::new());
        prop_assert_eq!(without_places(&cut), without_places(&whole));
    }
}
