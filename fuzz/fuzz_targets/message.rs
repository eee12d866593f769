//! Octets of an upstream -> `Message`: never panics, always ends, and what parsed can be taken apart.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plustwo::dns::message::Message;

fuzz_target!(|octets: &[u8]| {
    let Ok(message) = Message::parse(octets) else { return };
    let mut rdata = vec![0; 70_000];
    for record in message.records() {
        let mut owner = [0; 255];
        assert!(record.is_opt() || message.expand_name(record.owner_at, &mut owner).is_some());
        assert!(message.expand_rdata(&record, &mut rdata).is_some());
    }
});
