//! One line of the query log: the JSON object of AWS's Resolver query log, with what AWS does not say behind it under
//! `plustwo_`.
//!
//! Field names and shapes are AWS's (R53:resolver-query-logs-format, R53:resolver-query-logs-example-json); where its page
//! says nothing, what its logs show. Nothing of a query gets into a line but through two escapes: names and rdata become
//! presentation form, which is printable ASCII, and that becomes a JSON string. So a line is one line, whoever asks.

use crate::dns::Class;
use crate::dns::message::Message;
use crate::dns::name::DisplayWire;
use crate::dns::reply::{Section, Transport};
use crate::dns::text::DisplayRdata;
use std::fmt::{self, Display, Write};
use std::net::SocketAddr;

/// The version of AWS's format that is written.
const VERSION: &str = "1.100000";

/// What is known of a query besides its reply. Texts of the configuration may hold anything.
#[derive(Clone, Copy, Debug)]
pub struct LoggedQuery<'l> {
    /// The account that the VPC is said to belong to.
    pub account_id: &'l str,
    /// The VPC's region.
    pub region: &'l str,
    /// The VPC.
    pub vpc_id: &'l str,
    /// When the query came, in seconds since 1970.
    pub received_at: u64,
    /// Who asked: the true address of the client.
    pub client: SocketAddr,
    /// How.
    pub transport: Transport,
    /// The instance with the client's address, if there is one.
    pub instance: Option<&'l str>,
    /// The endpoint that the query came in by, or went out by.
    pub resolver_endpoint: Option<&'l str>,
    /// The network interface of that endpoint.
    pub resolver_network_interface: Option<&'l str>,
    /// Where the reply came from, in the words of the metrics.
    pub source: &'l str,
    /// The zone or endpoint that answered.
    pub zone: Option<&'l str>,
    /// The rule that the question was forwarded by.
    pub rule: Option<&'l str>,
    /// From receiving the query to sending the reply, in nanoseconds.
    pub took_nanos: u64,
}

/// Writes the line of a query that got this reply, its newline included. Without a question that can be read there is
/// nothing to write: false.
pub fn write_line(out: &mut String, query: &LoggedQuery<'_>, reply: &[u8]) -> bool {
    let Ok(message) = Message::parse(reply) else { return false };
    let line = Line { query, message };
    write!(out, "{line}").expect("a String takes everything");
    true
}

/// How much longer rdata may get where its names are written out: two names at most, of 255 octets.
const EXPANSION_OCTETS_MAX: usize = 2 * 255;

/// A line to be written.
struct Line<'l> {
    query: &'l LoggedQuery<'l>,
    message: Message<'l>,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query, message } = self;
        write!(f, "{{\"version\":\"{VERSION}\"")?;
        for (key, value) in [("account_id", query.account_id), ("region", query.region), ("vpc_id", query.vpc_id)] {
            write!(f, ",\"{key}\":{}", Json(value))?;
        }
        write!(f, ",\"query_timestamp\":\"{}\"", Timestamp(query.received_at))?;
        write!(f, ",\"query_name\":{}", Json(DisplayWire(message.question_name_wire())))?;
        write!(f, ",\"query_type\":{}", Json(message.question_type()))?;
        write!(f, ",\"query_class\":\"{}\"", ClassText(message.question_class()))?;
        write!(f, ",\"rcode\":\"{}\"", message.rcode())?;
        write!(f, ",\"answers\":{}", Answers(message))?;
        // The port is a string there, and a number nowhere.
        let client = query.client.ip().to_canonical();
        write!(f, ",\"srcaddr\":\"{client}\",\"srcport\":\"{}\"", query.client.port())?;
        let transport = match query.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        write!(f, ",\"transport\":\"{transport}\",\"srcids\":{{")?;
        let ids = [
            ("instance", query.instance),
            ("resolver_endpoint", query.resolver_endpoint),
            ("resolver_network_interface", query.resolver_network_interface),
        ];
        let ids = ids.into_iter().filter_map(|(key, value)| Some((key, value?)));
        for (index, (key, value)) in ids.enumerate() {
            write!(f, "{}\"{key}\":{}", if index > 0 { "," } else { "" }, Json(value))?;
        }
        write!(f, "}},\"plustwo_source\":{}", Json(query.source))?;
        for (key, value) in [("plustwo_zone", query.zone), ("plustwo_rule", query.rule)] {
            if let Some(value) = value {
                write!(f, ",\"{key}\":{}", Json(value))?;
            }
        }
        let micros = query.took_nanos / 1000;
        writeln!(f, ",\"plustwo_took_seconds\":{}.{:06}}}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// The records of the answer section, as AWS shows them: no owner and no TTL.
struct Answers<'l>(&'l Message<'l>);

impl Display for Answers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(message) = self;
        let mut rdata = vec![0; message.octets().len() + EXPANSION_OCTETS_MAX];
        let answers = message.records().filter(|record| record.section == Section::Answer);
        f.write_str("[")?;
        for (index, record) in answers.enumerate() {
            // A reply of ours can be read; if one could not, the line says the data as it stands.
            let expanded = message.expand_rdata(&record, &mut rdata).map(|octets| &rdata[..octets]);
            let shown = DisplayRdata { rtype: record.rtype, rdata: expanded.unwrap_or_else(|| message.rdata(&record)) };
            let comma = if index > 0 { "," } else { "" };
            let (rtype, class) = (Json(record.rtype), ClassText(Class(record.class)));
            write!(f, "{comma}{{\"Rdata\":{},\"Type\":{rtype},\"Class\":\"{class}\"}}", Json(shown))?;
        }
        f.write_str("]")
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

/// A text as a JSON string, its quotes included.
struct Json<T>(T);

impl<T: Display> Display for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        write!(Escaped(f), "{}", self.0)?;
        f.write_str("\"")
    }
}

/// Writes text with what JSON wants escaped: quotes, backslashes and all control characters, DEL and the line ends of
/// Unicode among them, for a terminal or a log reader may obey those.
struct Escaped<'w, 'f>(&'w mut fmt::Formatter<'f>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '"' | '\\' => write!(self.0, "\\{character}")?,
                '\u{2028}' | '\u{2029}' => write!(self.0, "\\u{:04x}", u32::from(character))?,
                _ if character.is_control() => write!(self.0, "\\u{:04x}", u32::from(character))?,
                _ => self.0.write_char(character)?,
            }
        }
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
            resolver_network_interface: None,
            source: "hosted_zone",
            zone: Some("Z0"),
            rule: None,
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
        assert!(write_line(&mut out, query, reply));
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
             \"plustwo_zone\":\"Z0\",\"plustwo_took_seconds\":0.000012}\n"
        );
    }

    #[test]
    fn a_failure_of_a_forwarded_query_over_tcp_from_ipv6() {
        let reply = reply("db.corp.example.", RecordType::AAAA, ResponseCode::ServFail, Vec::new());
        let query = LoggedQuery {
            client: "[2001:db8::1]:4000".parse().expect("an address"),
            transport: Transport::Tcp,
            resolver_endpoint: Some("rslvr-out-1"),
            resolver_network_interface: Some("rni-1"),
            source: "forward",
            zone: None,
            rule: Some("rslvr-rr-1"),
            took_nanos: 3_900_000_000,
            ..query()
        };
        assert_eq!(
            line(&query, &reply),
            "{\"version\":\"1.100000\",\"account_id\":\"111122223333\",\"region\":\"us-east-1\",\"vpc_id\":\"vpc-7example\",\
             \"query_timestamp\":\"2021-02-04T17:51:55Z\",\"query_name\":\"db.corp.example.\",\"query_type\":\"AAAA\",\
             \"query_class\":\"IN\",\"rcode\":\"SERVFAIL\",\"answers\":[],\"srcaddr\":\"2001:db8::1\",\"srcport\":\"4000\",\
             \"transport\":\"TCP\",\"srcids\":{\"resolver_endpoint\":\"rslvr-out-1\",\"resolver_network_interface\":\"rni-1\"},\
             \"plustwo_source\":\"forward\",\"plustwo_rule\":\"rslvr-rr-1\",\"plustwo_took_seconds\":3.900000}\n"
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
    fn what_has_no_question_has_no_line() {
        let mut out = String::new();
        assert!(!write_line(&mut out, &query(), &[0, 7, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(!write_line(&mut out, &query(), b""));
        assert_eq!(out, "");
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
