//! Names as text: reading never panics, what is read is well-formed, and what is shown reads back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plustwo::dns::Name;
use plustwo::dns::name::{DisplayWire, wire_name_octets};
use plustwo::dns::text::{Escapes, parse_folded_name, parse_name};

fuzz_target!(|input: &str| {
    let origin = Name::from_wire(b"\x04Corp\x07example\x00").expect("a name");
    for escapes in [Escapes::Decimal, Escapes::Octal] {
        for origin in [None, Some(&origin)] {
            let Ok(wire) = parse_name(input, escapes, origin) else {
                assert!(parse_folded_name(input, escapes, origin).is_err());
                continue;
            };
            assert_eq!(wire_name_octets(&wire), Ok(wire.len()));
            let shown = DisplayWire(&wire).to_string();
            assert_eq!(parse_name(&shown, Escapes::Decimal, origin).as_ref(), Ok(&wire), "{shown}");
            let folded = parse_folded_name(input, escapes, origin).expect("read once already");
            assert_eq!(folded.as_wire(), wire.to_ascii_lowercase());
        }
    }
});
