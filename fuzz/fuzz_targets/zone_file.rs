//! Zone files: reading never panics, errors are bounded and point into their file, and each record reads back. The first
//! text is the zone's own file; what follows a NUL is the file `1`, after the next one `2`, and so on, for `$INCLUDE`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plustwo::dns::Name;
use plustwo::dns::name::wire_name_octets;
use plustwo::dns::text::{
    DisplayRdata, Escapes, IncludedFile, ZONE_FILE_ERRORS_MAX, ZONE_FILES_MAX, ZoneFileUser, ZoneRecord, parse_rdata,
    read_zone_file,
};

fuzz_target!(|text: &str| {
    let apex = Name::from_wire(b"\x04corp\x07example\x00").expect("a name");
    let files: Vec<&str> = text.split('\0').collect();
    let mut checks = Checks { files: &files, begun: vec![files[0]], last_owner: None, needless: false };
    let errors = read_zone_file("0", files[0], &apex, &mut checks);
    assert!(!checks.needless || !errors.is_empty());
    assert!(errors.len() <= ZONE_FILE_ERRORS_MAX + 1);
    assert!(checks.begun.len() <= ZONE_FILES_MAX);
    for error in errors {
        let text = checks.begun[error.file as usize];
        let line = text.split('\n').nth(error.error.line as usize - 1).expect("the line is there");
        assert!(error.error.column as usize <= line.chars().count() + 1, "{error:?}");
    }
});

struct Checks<'t> {
    files: &'t [&'t str],
    /// The files in the order of their numbers.
    begun: Vec<&'t str>,
    last_owner: Option<Vec<u8>>,
    needless: bool,
}

impl ZoneFileUser for Checks<'_> {
    fn record(&mut self, record: ZoneRecord<'_>) {
        assert_eq!(wire_name_octets(record.owner), Ok(record.owner.len()));
        assert_eq!(record.owner, record.owner.to_ascii_lowercase());
        let is_same = self.last_owner.as_deref() == Some(record.owner);
        assert!(record.owner_is_new || is_same);
        self.needless |= record.owner_is_new && is_same;
        self.last_owner = Some(record.owner.to_vec());
        let lines = self.begun[record.file as usize].split('\n').count() as u32;
        assert!((1..=lines).contains(&record.line));
        let shown = DisplayRdata { rtype: record.rtype, rdata: record.rdata }.to_string();
        let read_back = parse_rdata(record.rtype, &shown, Escapes::Decimal, None);
        assert_eq!(read_back.as_deref(), Ok(record.rdata), "{} {shown}", record.rtype);
    }

    fn include(&mut self, included: IncludedFile<'_>) -> Result<String, String> {
        assert!((included.file as usize) < self.begun.len());
        let file = included.path.parse().ok().and_then(|number: usize| self.files.get(number)).ok_or("no such file")?;
        self.begun.push(file);
        Ok((*file).to_owned())
    }
}
