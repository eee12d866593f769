//! Rdata as text: reading never panics, what is shown reads back as the same, and hickory-proto decodes it.
#![no_main]

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, Restrict};
use libfuzzer_sys::fuzz_target;
use plustwo::dns::text::{DisplayRdata, Escapes, TextError, parse_rdata};
use plustwo::dns::{Name, Rtype};

fuzz_target!(|input: (u8, &str)| {
    let (choice, text) = input;
    let rtype = Rtype::ROUTE_53.get(usize::from(choice & 0x1f)).copied().unwrap_or(Rtype(65_400));
    let escapes = if choice & 0x20 == 0 { Escapes::Decimal } else { Escapes::Octal };
    let origin = Name::from_wire(b"\x04corp\x07example\x00").expect("a name");
    let origin = (choice & 0x40 != 0).then_some(&origin);
    let rdata = match parse_rdata(rtype, text, escapes, origin) {
        Ok(rdata) => rdata,
        Err(error) => return check_place(text, &error),
    };
    let shown = DisplayRdata { rtype, rdata: &rdata }.to_string();
    assert_eq!(parse_rdata(rtype, &shown, Escapes::Decimal, None).as_ref(), Ok(&rdata), "{shown}");
    // hickory-proto holds alpn ids as strings, and CAA tags to 15 octets, as RFC 6844 did and RFC 8659 does not.
    let has_long_tag = rtype == Rtype::CAA && rdata[1] > 15;
    if !shown.contains(" alpn=") && !has_long_tag {
        let octets = Restrict::new(rdata.len() as u16);
        let mut decoder = BinDecoder::new(&rdata);
        let decoded = RData::read(&mut decoder, RecordType::from(rtype.0), octets);
        assert!(decoded.is_ok(), "{rtype} {shown}: {decoded:?}");
    }
});

/// The error points into the text, or just behind it.
fn check_place(text: &str, error: &TextError) {
    let line = text.split('\n').nth(error.line as usize - 1).expect("the line is there");
    assert!(error.column as usize <= line.chars().count() + 1, "{error}");
    assert!(!error.message.is_empty() && !error.message.contains(char::is_control), "{error:?}");
}
