//! One line of the query log: the JSON object of AWS's Resolver query log, with what AWS does not say behind it under
//! `plustwo_`.
//!
//! Field names and shapes are AWS's (R53:resolver-query-logs-format, R53:resolver-query-logs-example-json); where its page
//! says nothing, what its logs show. Nothing of a query gets into a line but through two escapes: names and rdata become
//! presentation form, which is printable ASCII, and that becomes a JSON string. So a line is one line, whoever asks.

use crate::dns::message::Message;
use crate::dns::name::{DisplayWire, wire_name_octets};
use crate::dns::query::HEADER_OCTETS;
use crate::dns::reply::{Section, Transport};
use crate::dns::text::DisplayRdata;
use crate::dns::{Class, Rcode, Rtype};
use std::fmt::{self, Display, Write};
use std::net::{IpAddr, SocketAddr};

/// The version of AWS's format that is written.
const VERSION: &str = "1.100000";

/// What is known of a query besides its messages. Texts of the configuration may hold anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoggedQuery<'l> {
    /// The account that the VPC is said to belong to.
    pub(super) account_id: &'l str,
    /// The VPC's region; empty where there is no VPC.
    pub(super) region: &'l str,
    /// The VPC; empty where there is none.
    pub(super) vpc_id: &'l str,
    /// When the query came, in seconds since 1970.
    pub(super) received_at: u64,
    /// Who asked: the true address of the client.
    pub(super) client: SocketAddr,
    /// How.
    pub(super) transport: Transport,
    /// The instance with the client's address, if there is one.
    pub(super) instance: Option<&'l str>,
    /// The inbound endpoint that the query came in by.
    pub(super) resolver_endpoint: Option<&'l str>,
    /// The rcode of the reply.
    pub(super) rcode: Rcode,
    /// Where the reply came from, in the words of the metrics.
    pub(super) source: &'l str,
    /// Why it refuses, in the words of the metrics.
    pub(super) refusal: Option<&'l str>,
    /// The zone or endpoint that answers for the name.
    pub(super) zone: Option<&'l str>,
    /// The rule that the name is forwarded by.
    pub(super) rule: Option<&'l str>,
    /// What the cache had.
    pub(super) cache: Option<&'l str>,
    /// The door that the query came in by.
    pub(super) door: Option<SocketAddr>,
    /// How it came into its VPC.
    pub(super) ingress: Option<&'l str>,
    /// From receiving the query to its reply, in nanoseconds.
    pub(super) took_nanos: u64,
}

/// A question, as far as it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question<'m> {
    /// The name in wire form, uncompressed.
    pub(super) name: &'m [u8],
    /// The type.
    pub(super) rtype: Rtype,
    /// The class.
    pub(super) class: Class,
}

impl<'m> Question<'m> {
    /// That of a message that was found sound.
    pub(super) fn of(message: &Message<'m>) -> Self {
        Self { name: message.question_name_wire(), rtype: message.question_type(), class: message.question_class() }
    }

    /// The first one of octets that are no sound message; none where that cannot be read either.
    pub(super) fn first(octets: &'m [u8]) -> Option<Self> {
        let has_question = octets.get(4..6)? != [0, 0];
        let octets = octets.get(HEADER_OCTETS..).filter(|_| has_question)?;
        let (name, rest) = octets.split_at_checked(wire_name_octets(octets).ok()?)?;
        let [a, b, c, d] = *rest.first_chunk()?;
        Some(Self { name, rtype: Rtype(u16::from_be_bytes([a, b])), class: Class(u16::from_be_bytes([c, d])) })
    }
}

/// Writes the line of a query, its newline included: with what the reply says where it is a whole message, else with the
/// question, if there is one.
pub(super) fn write_line(
    out: &mut String,
    query: &LoggedQuery<'_>,
    question: Option<Question<'_>>,
    reply: Option<&Message<'_>>,
) {
    out.push_str("{\"version\":\"");
    out.push_str(VERSION);
    out.push('"');
    text(out, "account_id", Some(query.account_id));
    text(out, "region", Some(query.region));
    text(out, "vpc_id", Some(query.vpc_id));
    put(out, format_args!(",\"query_timestamp\":\"{}\"", Timestamp(query.received_at)));
    match question {
        Some(Question { name, rtype, class }) => {
            out.push_str(",\"query_name\":\"");
            push_name(out, name);
            put(out, format_args!("\",\"query_type\":\"{rtype}\",\"query_class\":\"{}\"", ClassText(class)));
        }
        None => out.push_str(",\"query_name\":\"\",\"query_type\":\"\",\"query_class\":\"\""),
    }
    put(out, format_args!(",\"rcode\":\"{}\",\"answers\":[", query.rcode));
    if let Some(message) = reply {
        push_answers(out, message);
    }
    // The port is a string there, and a number nowhere.
    let (client, port) = (query.client.ip().to_canonical(), query.client.port());
    put(out, format_args!("],\"srcaddr\":\"{client}\",\"srcport\":\"{port}\",\"transport\":"));
    out.push_str(match query.transport {
        Transport::Udp => "\"UDP\"",
        Transport::Tcp => "\"TCP\"",
    });
    out.push_str(",\"srcids\":{");
    let before = out.len();
    text(out, "instance", query.instance);
    text(out, "resolver_endpoint", query.resolver_endpoint);
    if out.len() > before {
        // The comma before the first.
        out.remove(before);
    }
    out.push('}');
    text(out, "plustwo_source", Some(query.source));
    text(out, "plustwo_refusal", query.refusal);
    text(out, "plustwo_zone", query.zone);
    text(out, "plustwo_rule", query.rule);
    text(out, "plustwo_cache", query.cache);
    if let Some(door) = query.door {
        put(out, format_args!(",\"plustwo_door\":\"{door}\""));
    }
    text(out, "plustwo_ingress", query.ingress);
    let is_truncated = reply.is_some_and(Message::truncated);
    let micros = query.took_nanos / 1000;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    put(
        out,
        format_args!(",\"plustwo_truncated\":{is_truncated},\"plustwo_latency_seconds\":{seconds}.{micros:06}}}\n"),
    );
}

/// Writes what takes no escape.
fn put(out: &mut String, words: fmt::Arguments<'_>) {
    out.write_fmt(words).expect("a String takes everything");
}

/// Writes a key of ours and its text, if there is one, with a comma before.
fn text(out: &mut String, key: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    out.push_str(",\"");
    out.push_str(key);
    out.push_str("\":\"");
    Escaped(out).write_str(value).expect("a String takes everything");
    out.push('"');
}

/// Writes a name in presentation form: as it stands where it is made of what hosts' names are, as most are.
fn push_name(out: &mut String, wire: &[u8]) {
    let start = out.len();
    let mut rest = wire;
    while let Some((&octets, after)) = rest.split_first() {
        let Some((label, after)) = after.split_at_checked(octets.into()).filter(|_| octets > 0) else { break };
        for octet in label {
            if !(octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')) {
                out.truncate(start);
                return put_escaped(out, format_args!("{}", DisplayWire(wire)));
            }
            out.push(char::from(*octet));
        }
        out.push('.');
        rest = after;
    }
    if out.len() == start {
        out.push('.');
    }
}

/// Writes what may hold anything, as part of a JSON string.
fn put_escaped(out: &mut String, words: fmt::Arguments<'_>) {
    Escaped(out).write_fmt(words).expect("a String takes everything");
}

/// How much longer rdata may get where its names are written out: two names at most, of 255 octets.
const EXPANSION_OCTETS_MAX: usize = 2 * 255;

/// The records of the answer section, as AWS shows them: no owner and no TTL.
fn push_answers(out: &mut String, message: &Message<'_>) {
    let mut expanded = Vec::new();
    let answers = message.records().take_while(|record| record.section == Section::Answer);
    for (index, record) in answers.enumerate() {
        out.push_str(if index > 0 { ",{\"Rdata\":\"" } else { "{\"Rdata\":\"" });
        match (record.rtype, message.rdata(&record)) {
            (Rtype::A, [a, b, c, d]) => put(out, format_args!("{}", IpAddr::from([*a, *b, *c, *d]))),
            (rtype, rdata) => {
                expanded.resize(rdata.len() + EXPANSION_OCTETS_MAX, 0);
                // A reply of ours can be read; if one could not, the line says the data as it stands.
                let whole = message.expand_rdata(&record, &mut expanded).map(|octets| &expanded[..octets]);
                match (rtype, whole.unwrap_or(rdata)) {
                    (Rtype::CNAME | Rtype::PTR | Rtype::NS, name) if wire_name_octets(name) == Ok(name.len()) => {
                        push_name(out, name);
                    }
                    (rtype, rdata) => put_escaped(out, format_args!("{}", DisplayRdata { rtype, rdata })),
                }
            }
        }
        put(out, format_args!("\",\"Type\":\"{}\",\"Class\":\"{}\"}}", record.rtype, ClassText(Class(record.class))));
    }
}

/// A class by its mnemonic, or `CLASSnnn`.
struct ClassText(Class);

impl Display for ClassText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            1 => f.write_str("IN"),
            3 => f.write_str("CH"),
            4 => f.write_str("HS"),
            255 => f.write_str("ANY"),
            other => write!(f, "CLASS{other}"),
        }
    }
}

/// Writes text with what JSON wants escaped: quotes, backslashes and all control characters, DEL and the line ends of
/// Unicode among them, for a terminal or a log reader may obey those.
struct Escaped<'o>(&'o mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let must_go =
            |character: char| character.is_control() || matches!(character, '"' | '\\' | '\u{2028}' | '\u{2029}');
        let mut rest = text;
        while let Some((at, character)) = rest.char_indices().find(|(_, character)| must_go(*character)) {
            self.0.push_str(&rest[..at]);
            match character {
                '"' | '\\' => self.0.extend(['\\', character]),
                _ => write!(self.0, "\\u{:04x}", u32::from(character))?,
            }
            rest = &rest[at + character.len_utf8()..];
        }
        self.0.push_str(rest);
        Ok(())
    }
}

/// Seconds since 1970 as `2021-02-04T17:51:55Z`.
struct Timestamp(u64);

impl Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // Years that begin in March, so that a leap day is a year's last; eras of 400 years have as many days each.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, is_next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year_of_era + is_next_year;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message as Judge, MessageType, OpCode, Query, ResponseCode};
    use hickory_proto::rr::rdata::{A, CNAME, TXT};
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn query() -> LoggedQuery<'static> {
        LoggedQuery {
            account_id: "111122223333",
            region: "us-east-1",
            vpc_id: "vpc-7example",
            received_at: 1_612_461_115,
            client: "4.5.64.102:56067".parse().expect("an address"),
            transport: Transport::Udp,
            instance: None,
            resolver_endpoint: None,
            rcode: Rcode::NOERROR,
            source: "hosted_zone",
            refusal: None,
            zone: Some("Z0"),
            rule: None,
            cache: None,
            door: Some("10.0.0.2:53".parse().expect("an address")),
            ingress: Some("inside"),
            took_nanos: 12_345,
        }
    }

    fn reply(name: &str, rtype: RecordType, rcode: ResponseCode, answers: Vec<RData>) -> Vec<u8> {
        let name = Name::from_ascii(name).expect("a name");
        let mut reply = Judge::new(7, MessageType::Response, OpCode::Query);
        reply.metadata.response_code = rcode;
        reply.add_query(Query::query(name.clone(), rtype));
        for data in answers {
            reply.add_answer(Record::from_rdata(name.clone(), 60, data));
        }
        reply.to_vec().expect("it is small")
    }

    fn line(query: &LoggedQuery<'_>, reply: &[u8]) -> String {
        let mut out = String::new();
        let message = Message::parse(reply).expect("it is sound");
        let query = LoggedQuery { rcode: message.rcode(), ..*query };
        write_line(&mut out, &query, Some(Question::of(&message)), Some(&message));
        let value: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
        assert!(value.is_object() && out.ends_with("}\n") && out.matches('\n').count() == 1, "{out}");
        out
    }

    #[test]
    fn an_answer_through_a_cname() {
        let target = Name::from_ascii("s3-r-w.dualstack.us-east-1.amazonaws.com.").expect("a name");
        let answers = vec![RData::CNAME(CNAME(target)), RData::A(A::new(203, 0, 113, 9))];
        let reply = reply("bucket.s3.us-east-1.amazonaws.com.", RecordType::A, ResponseCode::NoError, answers);
        assert_eq!(
            line(&LoggedQuery { instance: Some("i-0d15cd0d3example"), ..query() }, &reply),
            "{\"version\":\"1.100000\",\"account_id\":\"111122223333\",\"region\":\"us-east-1\",\"vpc_id\":\"vpc-7example\",\
             \"query_timestamp\":\"2021-02-04T17:51:55Z\",\"query_name\":\"bucket.s3.us-east-1.amazonaws.com.\",\
             \"query_type\":\"A\",\"query_class\":\"IN\",\"rcode\":\"NOERROR\",\"answers\":[\
             {\"Rdata\":\"s3-r-w.dualstack.us-east-1.amazonaws.com.\",\"Type\":\"CNAME\",\"Class\":\"IN\"},\
             {\"Rdata\":\"203.0.113.9\",\"Type\":\"A\",\"Class\":\"IN\"}],\"srcaddr\":\"4.5.64.102\",\"srcport\":\"56067\",\
             \"transport\":\"UDP\",\"srcids\":{\"instance\":\"i-0d15cd0d3example\"},\"plustwo_source\":\"hosted_zone\",\
             \"plustwo_zone\":\"Z0\",\"plustwo_door\":\"10.0.0.2:53\",\"plustwo_ingress\":\"inside\",\
             \"plustwo_truncated\":false,\"plustwo_latency_seconds\":0.000012}\n"
        );
    }

    #[test]
    fn a_failure_of_a_forwarded_query_over_tcp_from_ipv6() {
        let reply = reply("db.corp.example.", RecordType::AAAA, ResponseCode::ServFail, Vec::new());
        let query = LoggedQuery {
            client: "[2001:db8::1]:4000".parse().expect("an address"),
            transport: Transport::Tcp,
            resolver_endpoint: Some("rslvr-in-1"),
            source: "forward",
            zone: None,
            rule: Some("rslvr-rr-1"),
            cache: Some("miss"),
            door: Some("[fd00::2]:53".parse().expect("an address")),
            ingress: Some("inbound"),
            took_nanos: 3_900_000_000,
            ..query()
        };
        assert_eq!(
            line(&query, &reply),
            "{\"version\":\"1.100000\",\"account_id\":\"111122223333\",\"region\":\"us-east-1\",\"vpc_id\":\"vpc-7example\",\
             \"query_timestamp\":\"2021-02-04T17:51:55Z\",\"query_name\":\"db.corp.example.\",\"query_type\":\"AAAA\",\
             \"query_class\":\"IN\",\"rcode\":\"SERVFAIL\",\"answers\":[],\"srcaddr\":\"2001:db8::1\",\"srcport\":\"4000\",\
             \"transport\":\"TCP\",\"srcids\":{\"resolver_endpoint\":\"rslvr-in-1\"},\
             \"plustwo_source\":\"forward\",\"plustwo_rule\":\"rslvr-rr-1\",\"plustwo_cache\":\"miss\",\
             \"plustwo_door\":\"[fd00::2]:53\",\"plustwo_ingress\":\"inbound\",\"plustwo_truncated\":false,\
             \"plustwo_latency_seconds\":3.900000}\n"
        );
    }

    #[test]
    fn nothing_of_a_query_forges_a_line() {
        // A label of every octet that could end a string, a line or a terminal's patience.
        let label = b"a\"}\n{\"b\\\x00\x1b[2J\x7f\xe2\x80\xa8";
        let mut reply = vec![0, 7, 0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0, label.len() as u8];
        reply.extend_from_slice(label);
        reply.extend_from_slice(&[0, 0xff, 0x01, 0, 4]);
        let text = line(&query(), &reply);
        assert!(text.trim_end().bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let name = "a\\\"}\\010{\\\"b\\\\\\000\\027[2J\\127\\226\\128\\168.";
        assert_eq!((&value["query_name"], &value["query_type"]), (&name.into(), &"TYPE65281".into()));
        assert_eq!((&value["query_class"], &value["rcode"]), (&"HS".into(), &"NXDOMAIN".into()));
        assert_eq!((&value["srcids"], &value["answers"]), (&serde_json::json!({}), &serde_json::json!([])));
        // Neither does a word of the configuration.
        let zone = "Z\"\n\u{85}\u{2028}é";
        let text = line(&LoggedQuery { zone: Some(zone), ..query() }, &reply);
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(value["plustwo_zone"], zone);
        assert_eq!(text.chars().filter(|character| character.is_control()).count(), 1, "{text}");
    }

    #[test]
    fn text_records_are_shown_in_their_quotes() {
        let answers = vec![RData::TXT(TXT::new(vec!["v=spf1 \"x\"".to_owned(), "y".to_owned()]))];
        let text = line(&query(), &reply("t.example.", RecordType::TXT, ResponseCode::NoError, answers));
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(value["answers"][0]["Rdata"], "\"v=spf1 \\\"x\\\"\" \"y\"");
    }

    #[test]
    fn a_query_that_cannot_be_read_has_a_line_without_a_question_or_with_what_can_be_read_of_it() {
        let rcode = Rcode::FORMERR;
        let refused = LoggedQuery { vpc_id: "", region: "", rcode, source: "malformed", zone: None, ..query() };
        // Two questions, of which the first is whole.
        let two = b"\x00\x07\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x1c\x00\x01\x01b";
        // A name that is a pointer, one that is cut off, no question, and no header.
        let none: [&[u8]; 4] =
            [b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01", &two[..14], &[0; 12], b""];
        let line = |refused: &LoggedQuery<'_>, octets: &[u8]| {
            let mut out = String::new();
            write_line(&mut out, refused, Question::first(octets), None);
            serde_json::from_str::<serde_json::Value>(&out).expect("it is JSON")
        };
        let found = line(&refused, two);
        assert_eq!((&found["query_name"], &found["query_type"]), (&"a.".into(), &"AAAA".into()));
        for octets in none {
            let found = line(&refused, octets);
            for key in ["query_name", "query_type", "query_class", "vpc_id", "region"] {
                assert_eq!(found[key], "", "{octets:?}");
            }
            assert_eq!((&found["rcode"], &found["answers"]), (&"FORMERR".into(), &serde_json::json!([])));
        }
        // One that no header has room for.
        let found = line(&LoggedQuery { rcode: Rcode::BADCOOKIE, ..refused }, &[0; 12]);
        assert_eq!(found["rcode"], "BADCOOKIE");
    }

    proptest! {
        /// Whatever octets a reply or a query has, the line is one line of JSON in printable ASCII.
        #[test]
        fn any_octets_have_a_line(
            octets in vec(any::<u8>(), 0..120),
            changes in vec((any::<usize>(), any::<u8>()), 0..6),
        ) {
            let target = Name::from_ascii("a.b.example.").expect("a name");
            let answers = vec![RData::CNAME(CNAME(target)), RData::TXT(TXT::new(vec!["x".to_owned()]))];
            let mut changed = reply("www.a.b.example.", RecordType::ANY, ResponseCode::NoError, answers);
            for (at, octet) in changes {
                let at = at % changed.len();
                changed[at] = octet;
            }
            for octets in [octets, changed] {
                let mut out = String::new();
                match Message::parse(&octets) {
                    Ok(message) => write_line(&mut out, &query(), Some(Question::of(&message)), Some(&message)),
                    Err(_) => write_line(&mut out, &query(), Question::first(&octets), None),
                }
                let line = out.strip_suffix('\n').expect("a line ends");
                prop_assert!(line.bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{line:?}");
                let read = serde_json::from_str::<serde_json::Value>(line);
                prop_assert!(read.is_ok_and(|value| value["vpc_id"] == "vpc-7example"), "{line}");
            }
        }
    }

    #[test]
    fn names_are_written_as_one_function_writes_them_all() {
        let names: [&[u8]; 5] =
            [b"\x00", b"\x03wWw\x02-_\x00", b"\x01*\x01a\x00", b"\x04a.\"b\x00", b"\x02\xc3\xa9\x00"];
        for name in names {
            let (mut fast, mut plain) = (String::new(), String::new());
            push_name(&mut fast, name);
            put_escaped(&mut plain, format_args!("{}", DisplayWire(name)));
            assert_eq!(fast, plain);
        }
    }

    #[test]
    fn days_are_counted_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (68_169_599, "1972-02-28T23:59:59Z"),
            (68_169_600, "1972-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
    }
}
