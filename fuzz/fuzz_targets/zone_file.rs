//! Zone files: reading never panics, errors are bounded and point into the file, and each record reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plustwo::dns::Name;
use plustwo::dns::name::wire_name_octets;
use plustwo::dns::text::{DisplayRdata, Escapes, ZONE_FILE_ERRORS_MAX, parse_rdata, read_zone_file};

fuzz_target!(|text: &str| {
    let apex = Name::from_wire(b"\x04corp\x07example\x00").expect("a name");
    let lines = text.split('\n').count() as u32;
    let mut last_owner: Option<Vec<u8>> = None;
    let mut needless = false;
    let errors = read_zone_file(text, &apex, &mut |record| {
        assert_eq!(wire_name_octets(record.owner), Ok(record.owner.len()));
        assert_eq!(record.owner, record.owner.to_ascii_lowercase());
        let is_same = last_owner.as_deref() == Some(record.owner);
        assert!(record.owner_is_new || is_same);
        needless |= record.owner_is_new && is_same;
        last_owner = Some(record.owner.to_vec());
        assert!((1..=lines).contains(&record.line));
        let shown = DisplayRdata { rtype: record.rtype, rdata: record.rdata }.to_string();
        let read_back = parse_rdata(record.rtype, &shown, Escapes::Decimal, None);
        assert_eq!(read_back.as_deref(), Ok(record.rdata), "{} {shown}", record.rtype);
    });
    assert!(!needless || !errors.is_empty());
    assert!(errors.len() <= ZONE_FILE_ERRORS_MAX + 1);
    assert!(errors.is_sorted_by_key(|error| error.line));
    for error in errors {
        let line = text.split('\n').nth(error.line as usize - 1).expect("the line is there");
        assert!(error.column as usize <= line.chars().count() + 1, "{error}");
    }
});
