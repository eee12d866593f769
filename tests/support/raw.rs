//! Replies read octet by octet, where it counts that nothing was changed on the way. Only `std` is used here, because
//! benches take this file too.

#![allow(dead_code, reason = "tests take one part of it, benches another")]

/// A record as it stands in a message; its rdata is not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawRecord {
    /// 1 to 3: answer, authority, additional.
    pub(crate) section: u8,
    /// Uncompressed, in wire form, case as it came.
    pub(crate) owner: Vec<u8>,
    /// The type.
    pub(crate) rtype: u16,
    /// The class; an OPT's payload octets.
    pub(crate) class: u16,
    /// The TTL; an OPT's flags.
    pub(crate) ttl: u32,
    /// The rdata, octet for octet.
    pub(crate) rdata: Vec<u8>,
}

/// All records of a message, OPT included; it must be whole, and nothing may stand behind it.
pub(crate) fn records(message: &[u8]) -> Vec<RawRecord> {
    let word = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let mut at = 12;
    for _ in 0..word(4) {
        at = name(message, at).1 + 4;
    }
    let mut records = Vec::new();
    for section in 1..=3 {
        for _ in 0..word(4 + 2 * usize::from(section)) {
            let (owner, behind) = name(message, at);
            let length = usize::from(word(behind + 8));
            let rdata = message[behind + 10..behind + 10 + length].to_vec();
            let ttl = u32::from(word(behind + 4)) << 16 | u32::from(word(behind + 6));
            records.push(RawRecord { section, owner, rtype: word(behind), class: word(behind + 2), ttl, rdata });
            at = behind + 10 + length;
        }
    }
    assert_eq!(at, message.len(), "octets behind the message");
    records
}

/// A name that begins here, uncompressed, and where it ends.
fn name(message: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let (mut name, mut end) = (Vec::new(), None);
    for _ in 0..message.len() {
        let length = usize::from(message[at]);
        match length {
            0 => {
                name.push(0);
                return (name, end.unwrap_or(at + 1));
            }
            192.. => {
                end = end.or(Some(at + 2));
                at = (length & 63) << 8 | usize::from(message[at + 1]);
            }
            _ => {
                name.extend_from_slice(&message[at..=at + length]);
                at += 1 + length;
            }
        }
    }
    panic!("a name without an end");
}

/// The rdatas of a name's records of a type in the answer, sorted. The owner's case does not count, and there is no
/// backslash in it.
pub(crate) fn rdatas(message: &[u8], owner: &str, rtype: u16) -> Vec<Vec<u8>> {
    let labels = owner.split('.').filter(|label| !label.is_empty());
    let owner: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect();
    let is_meant = |record: &RawRecord| record.section == 1 && record.rtype == rtype;
    let is_its = |record: &RawRecord| record.owner.eq_ignore_ascii_case(&owner);
    let found = records(message).into_iter().filter(|record| is_meant(record) && is_its(record));
    let mut rdatas: Vec<Vec<u8>> = found.map(|record| record.rdata).collect();
    rdatas.sort();
    rdatas
}

/// The question as it stands in a message: name, type and class.
pub(crate) fn question(message: &[u8]) -> &[u8] {
    &message[12..name(message, 12).1 + 4]
}

/// The codes and texts of the extended errors of a reply (EDNS option 15).
pub(crate) fn extended_errors(message: &[u8]) -> Vec<(u16, String)> {
    let mut errors = Vec::new();
    for opt in records(message).iter().filter(|record| record.rtype == 41) {
        let mut rest = &opt.rdata[..];
        while let [high, low, length_high, length_low, options @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
            let (option, behind) = options.split_at(length);
            if u16::from_be_bytes([*high, *low]) == 15 {
                let code = u16::from_be_bytes([option[0], option[1]]);
                errors.push((code, String::from_utf8_lossy(&option[2..]).into_owned()));
            }
            rest = behind;
        }
    }
    errors
}
