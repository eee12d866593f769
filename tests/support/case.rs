//! The golden cases: reading them, comparing a reply with them, writing them anew. The grammar is in
//! tests/cases/README.md.

use super::ask::{COOKIE, Question, class_number, cookie, from_hex, to_hex, type_number};
use super::present::{present, present_name, present_rdata, present_type};
use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsOption;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One golden case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its path below tests/cases without the ending.
    pub(crate) title: String,
    /// The world it plays in.
    pub(crate) world: String,
    /// By which door it is asked.
    pub(crate) door: DoorName,
    /// From which address; none: the loopback's first.
    pub(crate) client: Option<IpAddr>,
    /// What is asked.
    pub(crate) query: QueryForm,
    /// Over what it is asked.
    pub(crate) transports: Transports,
    /// It is asked once before, and again so much later: what comes back then counts.
    pub(crate) again: Option<Duration>,
    /// What must come back; none: silence.
    pub(crate) reply: Option<Expected>,
}

/// A door, as cases call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DoorName {
    /// A plus-two door of this VPC.
    From(String),
    /// This inbound endpoint's address with this number.
    Via(String, usize),
    /// The shared door.
    Shared,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum QueryForm {
    /// A question.
    Question(Question),
    /// These octets.
    Raw(Vec<u8>),
}

/// Which transports a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transports {
    Both,
    UdpOnly,
    TcpOnly,
}

/// What a reply must be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// The mnemonic of the rcode.
    pub(crate) rcode: String,
    /// Exactly these flags.
    pub(crate) flags: Vec<String>,
    /// The opcode.
    pub(crate) opcode: u8,
    /// The extended error.
    pub(crate) extended_error: ExtendedError,
    /// Whether an OPT comes back.
    pub(crate) has_opt: bool,
    /// Answer, authority, additional.
    pub(crate) sections: [ExpectedSection; 3],
}

/// Which extended error must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ExtendedError {
    #[default]
    None,
    Any,
    Code(u16),
}

/// What a section must hold.
#[derive(Clone, Debug)]
pub(crate) enum ExpectedSection {
    /// These records, sets in this order.
    Exactly(Vec<ExpectedRecord>),
    /// Some of these and no others.
    SomeOf(Vec<ExpectedRecord>),
    /// So many different ones of these.
    CountOf(usize, Vec<ExpectedRecord>),
    /// Whatever.
    Any,
}

impl Default for ExpectedSection {
    fn default() -> Self {
        Self::Exactly(Vec::new())
    }
}

/// A record as a case writes it.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedRecord {
    line: String,
    owner: String,
    ttl: ExpectedTtl,
    rtype: String,
    rdata: String,
}

#[derive(Clone, Copy, Debug)]
enum ExpectedTtl {
    Exactly(u32),
    /// At most this, and at least [`AGE_MAX`] less.
    CountingDown(u32),
    Any,
}

/// How long ago, in seconds, a forwarded answer of these tests may have been put into the cache.
const AGE_MAX: u32 = 60;

const SECTIONS: [&str; 3] = ["answer", "authority", "additional"];

impl Case {
    /// Reads one file; `root` is tests/cases.
    pub(crate) fn read(root: &Path, path: &Path) -> Self {
        let title = path.strip_prefix(root).expect("below tests/cases").with_extension("").display().to_string();
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{title}: {error}"));
        Self::parse(path, &title, &text).unwrap_or_else(|problem| panic!("{title}: {problem}"))
    }

    fn parse(path: &Path, title: &str, text: &str) -> Result<Self, String> {
        if !text.starts_with('#') {
            return Err("the first line is a comment that cites the rule".to_owned());
        }
        let (mut world, mut asked, mut reply) = (None, None, None);
        let (mut transports, mut again, mut section) = (Transports::Both, None, None);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["world", name] => world = Some(name.to_owned()),
                ["ask" | "raw", ..] => asked = Some(parse_query(&words)?),
                ["udp-only"] => transports = Transports::UdpOnly,
                ["tcp-only"] => transports = Transports::TcpOnly,
                ["again", millis] => {
                    let millis = millis.parse().map_err(|_| format!("not milliseconds: {line}"))?;
                    again = Some(Duration::from_millis(millis));
                }
                ["reply", "none"] => reply = Some(None),
                ["reply", rcode, ..] => reply = Some(Some(parse_reply(rcode, &words[2..])?)),
                [name, ..] if SECTIONS.contains(&name) => {
                    let index = SECTIONS.iter().position(|section| *section == name).expect("just found");
                    let expected = reply.as_mut().and_then(Option::as_mut).ok_or("a section before `reply`")?;
                    expected.sections[index] = match words[1..] {
                        [] => ExpectedSection::Exactly(Vec::new()),
                        ["some", "of"] => ExpectedSection::SomeOf(Vec::new()),
                        [count, "of"] => {
                            let count = count.parse().map_err(|_| format!("not a number: {line}"))?;
                            ExpectedSection::CountOf(count, Vec::new())
                        }
                        ["any"] => ExpectedSection::Any,
                        _ => return Err(format!("not a section: {line}")),
                    };
                    section = Some(index);
                }
                _ => {
                    let index = section.ok_or_else(|| format!("not understood: {line}"))?;
                    let expected = reply.as_mut().and_then(Option::as_mut).expect("a section has a reply");
                    match &mut expected.sections[index] {
                        ExpectedSection::Exactly(records)
                        | ExpectedSection::SomeOf(records)
                        | ExpectedSection::CountOf(_, records) => {
                            records.push(ExpectedRecord::parse(line)?);
                        }
                        ExpectedSection::Any => return Err(format!("a record under `any`: {line}")),
                    }
                }
            }
        }
        let (door, client, query) = asked.ok_or("no `ask` and no `raw`")?;
        let mut reply = reply.ok_or("no `reply`")?;
        if let (Some(expected), QueryForm::Question(question)) = (&mut reply, &query) {
            expected.has_opt = question.edns.is_some();
        }
        let world = world.ok_or("no `world`")?;
        let (path, title) = (path.to_owned(), title.to_owned());
        Ok(Self { path, title, world, door, client, query, transports, again, reply })
    }

    /// Whether a part of the records is expected: as many as fit.
    pub(crate) fn wants_as_many_as_fit(&self) -> bool {
        let sections = self.reply.iter().flat_map(|expected| &expected.sections);
        sections.into_iter().any(|section| matches!(section, ExpectedSection::SomeOf(_)))
    }

    /// The octets to send.
    pub(crate) fn octets(&self, id: u16) -> Vec<u8> {
        match &self.query {
            QueryForm::Question(question) => question.octets(id),
            QueryForm::Raw(octets) => octets.clone(),
        }
    }

    /// Everything that is wrong with a reply to `query`.
    pub(crate) fn faults(&self, query: &[u8], reply: &[u8]) -> Vec<String> {
        match &self.reply {
            None => vec![format!("a reply of {} octets, where none is owed", reply.len())],
            Some(expected) => expected.faults(query, reply),
        }
    }

    /// The file with what came back in place of what was expected; loose TTLs that hold stay.
    pub(crate) fn updated(&self, reply: &[u8]) -> String {
        let text = std::fs::read_to_string(&self.path).expect("it has been read before");
        let kept = text.lines().take_while(|line| !line.trim_start().starts_with("reply"));
        let mut updated: String = kept.flat_map(|line| [line, "\n"]).collect();
        let message = Message::from_vec(reply).expect("hickory-proto reads it");
        let code = extended_error(&message).map(|code| format!(" ede {code}")).unwrap_or_default();
        let flags = flags(&message).join(" ");
        let _ = writeln!(updated, "reply {} {flags}{code}", rcode(&message));
        let sections = [&message.answers, &message.authorities, &message.additionals];
        for (index, records) in sections.into_iter().enumerate().filter(|(_, records)| !records.is_empty()) {
            let _ = writeln!(updated, "{}", SECTIONS[index]);
            let old: &[ExpectedRecord] = match self.reply.as_ref().map(|expected| &expected.sections[index]) {
                Some(
                    ExpectedSection::Exactly(old) | ExpectedSection::SomeOf(old) | ExpectedSection::CountOf(_, old),
                ) => old,
                _ => &[],
            };
            for record in records {
                let line = old.iter().find(|old| old.holds(record)).map(|old| old.line.clone());
                let _ = writeln!(updated, "{}", line.unwrap_or_else(|| present(record)));
            }
        }
        updated
    }
}

/// The door, the client and what is sent.
fn parse_query(words: &[&str]) -> Result<(DoorName, Option<IpAddr>, QueryForm), String> {
    let address = |word: &str| word.parse::<IpAddr>().map_err(|error| format!("{word}: {error}"));
    let (door, mut client, mut rest) = match words[1..] {
        ["from", vpc, ref rest @ ..] => (DoorName::From(vpc.to_owned()), None, rest),
        ["via", endpoint, ref rest @ ..] => match endpoint.split_once('/') {
            Some((id, number)) => {
                (DoorName::Via(id.to_owned(), number.parse().map_err(|_| "not a number")?), None, rest)
            }
            None => (DoorName::Via(endpoint.to_owned(), 0), None, rest),
        },
        ["shared", from, ref rest @ ..] => (DoorName::Shared, Some(address(from)?), rest),
        _ => return Err("`from VPC`, `via ENDPOINT` or `shared ADDRESS` comes first".to_owned()),
    };
    if let ["client", from, ref behind @ ..] = *rest {
        (client, rest) = (Some(address(from)?), behind);
    }
    if words[0] == "raw" {
        return Ok((door, client, QueryForm::Raw(from_hex(&rest.concat()))));
    }
    let [name, rtype, ref options @ ..] = *rest else { return Err("a name and a type are missing".to_owned()) };
    type_number(rtype).ok_or_else(|| format!("no type {rtype}"))?;
    let mut question = Question::new(name, rtype);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "class" => {
                let word = options.next().ok_or("`class` of what")?;
                question.class = class_number(word).ok_or_else(|| format!("no class {word}"))?;
            }
            option => set_option(&mut question, option)?,
        }
    }
    Ok((door, client, QueryForm::Question(question)))
}

fn set_option(question: &mut Question, option: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<u16>().map_err(|error| format!("{option}: {error}"));
    match option.split_once('=').unwrap_or((option, "")) {
        ("+norec", "") => question.flags &= !super::ask::RD,
        ("+aa", "") => question.flags |= 0x0400,
        ("+z", "") => question.flags |= 0x0040,
        ("+ad", "") => question.flags |= 0x0020,
        ("+cd", "") => question.flags |= 0x0010,
        ("+noedns", "") => question.edns = None,
        ("+cookie", digits) => question.cookie = Some(from_hex(digits)),
        ("+do", "") => question.edns.as_mut().ok_or("+do without EDNS")?.2 = true,
        ("+bufsize", octets) => question.edns.as_mut().ok_or("+bufsize without EDNS")?.0 = number(octets)?,
        ("+ednsversion", version) => {
            question.edns.as_mut().ok_or("+ednsversion without EDNS")?.1 = number(version)? as u8;
        }
        _ => return Err(format!("no option {option}")),
    }
    Ok(())
}

fn parse_reply(rcode: &str, words: &[&str]) -> Result<Expected, String> {
    let mut expected = Expected { rcode: rcode.to_owned(), ..Expected::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "aa" | "tc" | "rd" | "ra" | "ad" | "cd" => expected.flags.push((*word).to_owned()),
            "opt" => expected.has_opt = true,
            "opcode" => {
                let number = words.next().and_then(|number| number.parse().ok());
                expected.opcode = number.ok_or("`opcode` has a number")?;
            }
            "ede" => {
                expected.extended_error = match words.next() {
                    Some(&"*") => ExtendedError::Any,
                    Some(code) => ExtendedError::Code(code.parse().map_err(|_| "`ede` has a number")?),
                    None => return Err("`ede` has a number".to_owned()),
                };
            }
            other => return Err(format!("no flag {other}")),
        }
    }
    Ok(expected)
}

impl ExpectedRecord {
    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.splitn(5, char::is_whitespace);
        let mut word = || words.next().ok_or_else(|| format!("not OWNER TTL IN TYPE RDATA: {line}"));
        let (owner, ttl, class, rtype, rdata) = (word()?, word()?, word()?, word()?, word()?);
        if class != "IN" {
            return Err(format!("not class IN: {line}"));
        }
        let seconds = |text: &str| text.parse().map_err(|_| format!("not a TTL: {line}"));
        let ttl = match ttl.strip_suffix('~') {
            Some(most) => ExpectedTtl::CountingDown(seconds(most)?),
            None if ttl == "*" => ExpectedTtl::Any,
            None => ExpectedTtl::Exactly(seconds(ttl)?),
        };
        Ok(Self {
            line: line.to_owned(),
            owner: owner.to_owned(),
            ttl,
            rtype: rtype.to_owned(),
            rdata: rdata.trim().to_owned(),
        })
    }

    /// Whether a record is what is meant.
    fn holds(&self, record: &Record) -> bool {
        let ttl = match self.ttl {
            ExpectedTtl::Exactly(seconds) => record.ttl == seconds,
            ExpectedTtl::CountingDown(seconds) => (seconds.saturating_sub(AGE_MAX)..=seconds).contains(&record.ttl),
            ExpectedTtl::Any => true,
        };
        ttl && u16::from(record.dns_class) == 1
            && present_name(&record.name) == self.owner
            && present_type(record) == self.rtype
            && (self.rdata == "*" || present_rdata(record) == self.rdata)
    }
}

impl Expected {
    fn faults(&self, query: &[u8], reply: &[u8]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |what: &str, expected: String, found: String| {
            if expected != found {
                faults.push(format!("{what}: expected {expected}, got {found}"));
            }
        };
        let message = match Message::from_vec(reply) {
            Ok(message) => message,
            Err(error) => return vec![format!("hickory-proto cannot read it: {error}: {}", to_hex(reply))],
        };
        check("id", format!("{:02x?}", &query[..2]), format!("{:02x?}", &reply[..2]));
        check("QR", "1".to_owned(), (reply[2] >> 7).to_string());
        check("Z", "0".to_owned(), (reply[3] >> 6 & 1).to_string());
        check("opcode", self.opcode.to_string(), (reply[2] >> 3 & 0xf).to_string());
        check("rcode", self.rcode.clone(), rcode(&message));
        check("flags", self.flags.join(" "), flags(&message).join(" "));
        check("OPT", self.has_opt.to_string(), message.edns.is_some().to_string());
        if let (Some(edns), Some(asked)) = (&message.edns, Message::from_vec(query).ok().and_then(|query| query.edns)) {
            check("EDNS version", "0".to_owned(), edns.version().to_string());
            check("EDNS size", "1232".to_owned(), edns.max_payload().to_string());
            check("DO", asked.flags().dnssec_ok.to_string(), edns.flags().dnssec_ok.to_string());
            let own = cookie(query).map(|sent| to_hex(&sent[..8]));
            let back = cookie(reply).map(|back| (to_hex(&back[..8]), back.len()));
            check("cookie", format!("{:?}", own.map(|own| (own, 24))), format!("{back:?}"));
            let known = [EXTENDED_ERROR, COOKIE];
            let others = edns.options().options.iter().filter(|(code, _)| !known.contains(&u16::from(*code))).count();
            check("other EDNS options", "0".to_owned(), others.to_string());
        }
        let error = extended_error(&message);
        match self.extended_error {
            ExtendedError::None => check("extended error", "None".to_owned(), format!("{error:?}")),
            ExtendedError::Any => check("some extended error", "true".to_owned(), error.is_some().to_string()),
            ExtendedError::Code(code) => check("extended error", format!("{:?}", Some(code)), format!("{error:?}")),
        }
        if !message.queries.is_empty() || !message.answers.is_empty() {
            let question = question_octets(query);
            check("question", to_hex(question), to_hex(reply.get(12..12 + question.len()).unwrap_or_default()));
        }
        let sections = [&message.answers, &message.authorities, &message.additionals];
        for (index, (expected, found)) in self.sections.iter().zip(sections).enumerate() {
            if let Some(fault) = expected.fault(found) {
                faults.push(format!("{}: {fault}", SECTIONS[index]));
            }
        }
        let octets = walk_octets(reply);
        if octets != Some(reply.len()) {
            faults.push(format!("{} octets, of which the message takes {octets:?}", reply.len()));
        }
        faults
    }
}

impl ExpectedSection {
    fn fault(&self, found: &[Record]) -> Option<String> {
        let shown = || found.iter().map(|record| format!("\n      {}", present(record))).collect::<String>();
        match self {
            Self::Any => None,
            Self::SomeOf(records) => {
                let strange = found.iter().any(|record| !records.iter().any(|expected| expected.holds(record)));
                (found.is_empty() || found.len() >= records.len() || strange)
                    .then(|| format!("expected a part of the records, got {}{}", found.len(), shown()))
            }
            Self::CountOf(count, records) => {
                let used: std::collections::HashSet<usize> = found
                    .iter()
                    .filter_map(|record| records.iter().position(|expected| expected.holds(record)))
                    .collect();
                (found.len() != *count || used.len() != *count)
                    .then(|| format!("expected {count} of the records, got {}{}", found.len(), shown()))
            }
            Self::Exactly(records) => {
                let expected: String = records.iter().map(|record| format!("\n      {}", record.line)).collect();
                (!same_sets(records, found)).then(|| format!("expected{expected}\n    got{}", shown()))
            }
        }
    }
}

/// Whether the records are those expected: sets in order, the records of one set in any.
fn same_sets(expected: &[ExpectedRecord], found: &[Record]) -> bool {
    if expected.len() != found.len() {
        return false;
    }
    let mut at = 0;
    while at < expected.len() {
        let first = &expected[at];
        let alike = |record: &&ExpectedRecord| record.owner == first.owner && record.rtype == first.rtype;
        let octets = expected[at..].iter().take_while(alike).count();
        let mut set: Vec<&ExpectedRecord> = expected[at..at + octets].iter().collect();
        for record in &found[at..at + octets] {
            match set.iter().position(|expected| expected.holds(record)) {
                Some(index) => _ = set.remove(index),
                None => return false,
            }
        }
        at += octets;
    }
    true
}

/// OPTION-CODE of extended errors (RFC 8914 section 2).
const EXTENDED_ERROR: u16 = 15;

/// The INFO-CODE of the extended error, if there is one.
pub(crate) fn extended_error(message: &Message) -> Option<u16> {
    let options = &message.edns.as_ref()?.options().options;
    options.iter().find_map(|(code, option)| match option {
        EdnsOption::Unknown(_, data) if u16::from(*code) == EXTENDED_ERROR => {
            data.first_chunk::<2>().map(|code| u16::from_be_bytes(*code))
        }
        _ => None,
    })
}

/// The mnemonic of the rcode, the OPT's upper bits included.
pub(crate) fn rcode(message: &Message) -> String {
    let low = u16::from(message.metadata.response_code) & 0xf;
    let high = message.edns.as_ref().map_or(0, |edns| u16::from(edns.rcode_high()));
    match high << 4 | low {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        16 => "BADVERS".to_owned(),
        23 => "BADCOOKIE".to_owned(),
        other => format!("RCODE{other}"),
    }
}

fn flags(message: &Message) -> Vec<&'static str> {
    let header = &message.metadata;
    let flags = [
        (header.authoritative, "aa"),
        (header.truncation, "tc"),
        (header.recursion_desired, "rd"),
        (header.recursion_available, "ra"),
        (header.authentic_data, "ad"),
        (header.checking_disabled, "cd"),
    ];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
}

/// The octets of the question section of a query; empty where it is broken.
fn question_octets(query: &[u8]) -> &[u8] {
    skip_name(query, 12).and_then(|at| query.get(12..at + 4)).unwrap_or_default()
}

/// Where the name that begins at an octet ends.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            octets if octets >= 0xc0 => return Some(at + 2),
            octets => at += 1 + usize::from(octets),
        }
    }
}

/// How many octets the counts of a message account for: what follows would be rubbish.
fn walk_octets(message: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(usize::from(u16::from_be_bytes(*message.get(at..)?.first_chunk()?)));
    let mut at = 12;
    for _ in 0..word(4)? {
        at = skip_name(message, at)? + 4;
    }
    for _ in 0..word(6)? + word(8)? + word(10)? {
        at = skip_name(message, at)?;
        at += 10 + word(at + 8)?;
    }
    Some(at)
}
