//! Records in presentation form, as cases write them: hickory-proto's own, but for what it leaves unquoted or unread.

use super::ask::to_hex;
use hickory_proto::rr::{Name, RData, Record};
use std::fmt::Write as _;

/// A record in presentation form.
pub(crate) fn present(record: &Record) -> String {
    let class = match u16::from(record.dns_class) {
        1 => "IN".to_owned(),
        other => format!("CLASS{other}"),
    };
    let owner = present_name(&record.name);
    format!("{owner} {} {class} {} {}", record.ttl, present_type(record), present_rdata(record))
}

/// The type of a record in presentation form.
pub(crate) fn present_type(record: &Record) -> String {
    match u16::from(record.record_type()) {
        99 => "SPF".to_owned(),
        number => match &record.data {
            RData::Unknown { .. } if number != DS => format!("TYPE{number}"),
            _ => record.record_type().to_string(),
        },
    }
}

/// DS, whose rdata hickory-proto reads only with its DNSSEC features.
const DS: u16 = 43;

/// The rdata of a record in presentation form.
pub(crate) fn present_rdata(record: &Record) -> String {
    match &record.data {
        RData::TXT(txt) => present_strings(txt.txt_data.iter().map(|string| &**string)),
        RData::HINFO(hinfo) => present_strings([&*hinfo.cpu, &*hinfo.os].into_iter()),
        RData::Unknown { code, rdata } => {
            let octets = &rdata.anything;
            match (u16::from(*code), &octets[..]) {
                (99, strings) => present_strings(split_strings(strings).into_iter()),
                (DS, [tag_high, tag_low, algorithm, digest_type, digest @ ..]) => {
                    let tag = u16::from_be_bytes([*tag_high, *tag_low]);
                    format!("{tag} {algorithm} {digest_type} {}", to_hex(digest))
                }
                (_, octets) => format!("\\# {} {}", octets.len(), to_hex(octets)).trim().to_owned(),
            }
        }
        other => other.to_string(),
    }
}

/// Character-strings behind their lengths.
fn split_strings(mut octets: &[u8]) -> Vec<&[u8]> {
    let mut strings = Vec::new();
    while let Some((&length, rest)) = octets.split_first() {
        let (string, behind) = rest.split_at_checked(usize::from(length)).expect("strings fill their rdata");
        strings.push(string);
        octets = behind;
    }
    strings
}

fn present_strings<'s>(strings: impl Iterator<Item = &'s [u8]>) -> String {
    let quoted = strings.map(|string| format!("\"{}\"", escaped(string, b"\"\\", b' ')));
    quoted.collect::<Vec<_>>().join(" ")
}

/// A name in presentation form, final dot included.
pub(crate) fn present_name(name: &Name) -> String {
    let labels: String = name.iter().map(|label| escaped_label(label) + ".").collect();
    if labels.is_empty() { ".".to_owned() } else { labels }
}

/// A label in presentation form.
pub(crate) fn escaped_label(label: &[u8]) -> String {
    escaped(label, b".\\\"();@$", b'!')
}

/// Octets with a backslash before the special ones, and `\DDD` for what is not printable (under `least` or over 126).
fn escaped(octets: &[u8], special: &[u8], least: u8) -> String {
    let mut text = String::new();
    for &octet in octets {
        if special.contains(&octet) {
            text.push('\\');
            text.push(char::from(octet));
        } else if octet < least || octet > 126 {
            let _ = write!(text, "\\{octet:03}");
        } else {
            text.push(char::from(octet));
        }
    }
    text
}
