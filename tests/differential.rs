//! The same zone files in plustwo, NSD and unbound, asked the same questions: names near, under and beside what exists,
//! of all types. Replies are compared as sets, and every difference is one that `differential/explanations.toml` explains
//! by a line of docs/compatibility.md. An explanation that nothing needs fails too.
//!
//! What is asked follows from a seed, which is printed: `DIFFERENTIAL_SEED=N cargo test --test differential` asks it again;
//! `DIFFERENTIAL_QUESTIONS=N` asks more or fewer at random.

mod support;

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};
use plustwo::dns::text::{Escapes, IncludedFile, ZoneFileUser, ZoneRecord, parse_folded_name, read_zone_file};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use support::ask::{self, Question};
use support::case::rcode;
use support::compatibility;
use support::peers::{Peer, Serving};
use support::present::{escaped_label, present, present_name};
use support::served::Served;

/// The files of the zones.
const FILES: [(&str, &str); 5] = [
    ("diff.zone", include_str!("differential/diff.zone")),
    ("hosts.zone", include_str!("differential/hosts.zone")),
    ("child.zone", include_str!("differential/child.zone")),
    ("second.zone", include_str!("differential/second.zone")),
    ("reverse.zone", include_str!("differential/reverse.zone")),
];
/// Each zone and its file.
const ZONES: [(&str, &str); 4] = [
    ("diff.example", "diff.zone"),
    ("child.diff.example", "child.zone"),
    ("second.example", "second.zone"),
    ("100.100.203.in-addr.arpa", "reverse.zone"),
];
const EXPLANATIONS: &str = include_str!("differential/explanations.toml");
/// Questions, most of them by chance.
const QUESTIONS: usize = 3_000;
/// Types that are asked: the 17 of Route 53, ANY, some that a server has rules for (HINFO, LOC, DNAME, RRSIG, NSEC, DNSKEY,
/// NSEC3PARAM, CDS, OPENPGPKEY), those of `odd` and one that nobody knows.
const TYPES: [u16; 30] = [
    1,
    28,
    257,
    5,
    43,
    65,
    15,
    35,
    2,
    12,
    6,
    99,
    33,
    44,
    64,
    52,
    16,
    ANY,
    13,
    29,
    39,
    46,
    47,
    48,
    51,
    59,
    61,
    65280,
    65281,
    NOBODY_KNOWS,
];
const NOBODY_KNOWS: u16 = 4711;
/// Types whose data has names in it that a server may change the case of.
const HAS_NAMES: [u16; 7] = [NS, CNAME, SOA, 12, 15, 33, 35];
const ANY: u16 = 255;
const CNAME: u16 = 5;
const TXT: u16 = 16;
const NS: u16 = 2;
const SOA: u16 = 6;
const DS: u16 = 43;
/// CNAMEs that are followed for one query.
const CNAMES_MAX: usize = 11;

#[test]
fn every_difference_to_nsd_and_unbound_is_explained() {
    let Some(nsd) = Serving::start_zones(Peer::Nsd, &ZONES, &FILES) else { return };
    let Some(unbound) = Serving::start_zones(Peer::Unbound, &ZONES, &FILES) else { return };
    let zones = ZONES.map(|(zone, file)| {
        format!("[[hosted_zone]]\nid = \"Z{file}\"\nname = \"{zone}\"\nvpcs = [\"vpc-1\"]\nfile = \"{file}\"\n")
    });
    let text = format!(
        "version = 1\nregion = \"us-west-2\"\nupstream = {{ targets = [] }}\n[[vpc]]\nid = \"vpc-1\"\n\
         listen = [\"@DOOR@\"]\n{}",
        zones.concat()
    );
    let ours = Served::on_loopback_beside(&text, &FILES);
    let data = Data::read();
    let mut explanations = Explanations::read();
    let seed = number("DIFFERENTIAL_SEED").unwrap_or_else(rand::random);
    let count = number("DIFFERENTIAL_QUESTIONS").map_or(QUESTIONS, |count| count as usize);
    println!("DIFFERENTIAL_SEED={seed}");
    let questions = data.questions(seed, count);
    let mut judges = [("nsd", Asked::of(nsd.address)), ("unbound", Asked::of(unbound.address))];
    let mut door = Asked::of(ours.door);
    for (zone, _) in ZONES {
        for (name, judge) in &mut judges {
            let reply = judge.reply(&question(zone, SOA));
            assert_eq!(reply.answers.len(), 1, "{name} does not serve {zone}: {reply:?}");
        }
    }
    let mut unexplained = Vec::new();
    let mut differences = 0;
    for question in &questions {
        let our_reply = door.reply(question);
        for (name, judge) in &mut judges {
            let compared = Compared { question, data: &data, ours: &our_reply, theirs: &judge.reply(question) };
            differences += compared.differences().len();
            for difference in compared.differences() {
                if !explanations.explain(name, difference, &compared) {
                    unexplained.push(format!("{name}, {difference:?}: {}", compared.in_words()));
                }
            }
        }
    }
    println!("{} questions, {differences} differences: {:?}", questions.len(), explanations.uses());
    let shown: Vec<&String> = unexplained.iter().take(40).collect();
    assert!(
        unexplained.is_empty(),
        "DIFFERENTIAL_SEED={seed}: {} differences are explained by nothing:\n{shown:#?}",
        unexplained.len()
    );
    let idle = explanations.idle();
    assert!(idle.is_empty(), "DIFFERENTIAL_SEED={seed}: explanations that nothing needs: {idle:?}");
}

#[test]
fn explanations_stand_in_the_documentation() {
    for explanation in Explanations::read().list {
        assert!(!explanation.reason.trim().is_empty(), "{} has no reason", explanation.id);
        compatibility::line(&explanation.line).unwrap_or_else(|fault| panic!("{}: {fault}", explanation.id));
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{variable}={value}")))
}

// ---------------------------------------------------------------------------------------------------------------------
// What the zones hold, and what to ask

/// A name as its labels, in lower case, the first first.
type Labels = Vec<Vec<u8>>;

/// The owners and types of all zones, as plustwo reads them.
struct Data {
    /// Each zone's apex.
    apexes: Vec<Labels>,
    /// Owners with their types; of CNAMEs also the target.
    owners: BTreeMap<Labels, BTreeMap<u16, Option<Labels>>>,
}

impl ZoneFileUser for Data {
    fn record(&mut self, record: ZoneRecord<'_>) {
        let target = (record.rtype.0 == CNAME).then(|| labels_of(record.rdata));
        self.owners.entry(labels_of(record.owner)).or_default().insert(record.rtype.0, target);
    }

    fn include(&mut self, included: IncludedFile<'_>) -> Result<String, String> {
        Ok(text_of(included.path).to_owned())
    }
}

impl Data {
    fn read() -> Self {
        let mut data = Self { apexes: Vec::new(), owners: BTreeMap::new() };
        for (zone, file) in ZONES {
            let apex = parse_folded_name(zone, Escapes::Decimal, None).expect("a name");
            data.apexes.push(labels_of(apex.as_wire()));
            let errors = read_zone_file(file, text_of(file), &apex, &mut data);
            assert!(errors.is_empty(), "{errors:?}");
        }
        data
    }

    /// The apex of the zone that a name is in.
    fn zone_of(&self, name: &[Vec<u8>]) -> Option<&Labels> {
        let above = self.apexes.iter().filter(|apex| name.ends_with(apex));
        above.max_by_key(|apex| apex.len())
    }

    /// The owner of name servers below an apex that a name is at or below.
    fn cut_of(&self, name: &[Vec<u8>]) -> Option<&Labels> {
        let zone = self.zone_of(name)?;
        let is_cut = |(owner, types): &(&Labels, &BTreeMap<u16, _>)| {
            types.contains_key(&NS) && self.zone_of(owner) == Some(zone) && *owner != zone && name.ends_with(owner)
        };
        self.owners.iter().find(is_cut).map(|(owner, _)| owner)
    }

    /// Whether anything stands at or below a name, in the zone that it is in.
    fn exists(&self, name: &[Vec<u8>]) -> bool {
        let zone = self.zone_of(name);
        self.owners.keys().any(|owner| owner.ends_with(name) && self.zone_of(owner) == zone)
    }

    /// The longest name above a name that exists, and the `*` below it; none where the name itself exists.
    fn encloser(&self, name: &[Vec<u8>]) -> Option<(Labels, Labels)> {
        let above = (0..name.len()).map(|at| &name[at..]).find(|above| self.exists(above))?;
        let wildcard = std::iter::once(b"*".to_vec()).chain(above.iter().cloned()).collect();
        (above.len() < name.len()).then(|| (above.to_vec(), wildcard))
    }

    /// What a name has: its own types, or those of the wildcard that covers it; none where there is no such name.
    fn types_at(&self, name: &[Vec<u8>]) -> Option<BTreeMap<u16, Option<Labels>>> {
        let types = |owner: &Labels| self.owners.get(owner).cloned().unwrap_or_default();
        match self.encloser(name) {
            None => Some(types(&name.to_vec())),
            Some((_, wildcard)) => self.exists(&wildcard).then(|| types(&wildcard)),
        }
    }

    /// The names that a question leads to by CNAMEs, itself first; ends early where they come round.
    fn chain(&self, name: &[Vec<u8>], qtype: u16) -> Vec<Labels> {
        let mut chain = vec![name.to_vec()];
        while qtype != CNAME && qtype != ANY && chain.len() <= CNAMES_MAX + 1 {
            let last = chain.last().expect("the name itself");
            match self.types_at(last).and_then(|types| types.get(&CNAME).cloned().flatten()) {
                Some(target) => chain.push(target),
                None => break,
            }
        }
        chain
    }

    /// Every name with each of its types, and one beside it; then others by chance.
    fn questions(&self, seed: u64, count: usize) -> Vec<Question> {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut questions = Vec::new();
        for (owner, types) in &self.owners {
            let asked = types.keys().copied().chain([ANY, DS, NOBODY_KNOWS]);
            questions.extend(asked.map(|rtype| question(&present_labels(owner), rtype)));
            if self.zone_of(&owner[1..]).is_some() {
                questions.push(question(&format!("nobody.{}", present_labels(&owner[1..])), TXT));
            }
        }
        let owners: Vec<&Labels> = self.owners.keys().collect();
        while questions.len() < count {
            let name = self.name_by_chance(&owners, &mut chance);
            if self.zone_of(&name).is_some() && octets_of(&name) <= 255 {
                let rtype = *TYPES.choose(&mut chance).expect("a type");
                let shown = present_labels(&name);
                let shown = if chance.random_ratio(1, 4) { in_any_case(&shown, &mut chance) } else { shown };
                questions.push(question(&shown, rtype));
            }
        }
        questions
    }

    /// An owner changed a little, once or more.
    fn name_by_chance(&self, owners: &[&Labels], chance: &mut StdRng) -> Labels {
        let mut name = (*owners.choose(chance).expect("an owner")).clone();
        for _ in 0..chance.random_range(0..4) {
            let label = LABELS.choose(chance).expect("a label").to_vec();
            match chance.random_range(0..6) {
                0 | 1 => name.insert(0, label),
                2 if name.len() > 1 => {
                    name.remove(0);
                }
                3 => name[0] = label,
                4 => {
                    let at = chance.random_range(0..name.len());
                    name[at] = label;
                }
                // As long as a name can be.
                _ if chance.random_ratio(1, 8) => {
                    while octets_of(&name) < 254 {
                        let octets = (254 - octets_of(&name)).min(63);
                        name.insert(0, vec![b'z'; octets]);
                    }
                }
                _ => name.insert(0, owners.choose(chance).expect("an owner")[0].clone()),
            }
        }
        name
    }
}

/// Labels that names are changed with.
const LABELS: [&[u8]; 16] = [
    b"*",
    b"www",
    b"x",
    b"a",
    b"host",
    b"deep",
    b"branch",
    b"missing",
    b"c1",
    b"cut",
    b"child",
    b"ent",
    b"0",
    b"a.b",
    b"\x00\xff",
    b"_sip",
];

fn question(name: &str, rtype: u16) -> Question {
    Question::new(name, &format!("TYPE{rtype}"))
}

fn text_of(file: &str) -> &'static str {
    FILES.iter().find(|(name, _)| *name == file).expect("one of the files").1
}

/// The labels of a name in wire form.
fn labels_of(mut wire: &[u8]) -> Labels {
    let mut labels = Vec::new();
    while let Some((&length, rest)) = wire.split_first().filter(|(length, _)| **length > 0) {
        labels.push(rest[..usize::from(length)].to_ascii_lowercase());
        wire = &rest[usize::from(length)..];
    }
    labels
}

fn octets_of(name: &[Vec<u8>]) -> usize {
    name.iter().map(|label| label.len() + 1).sum::<usize>() + 1
}

fn present_labels(name: &[Vec<u8>]) -> String {
    name.iter().map(|label| escaped_label(label) + ".").collect()
}

fn in_any_case(text: &str, chance: &mut StdRng) -> String {
    let turn = |letter: char| if chance.random() { letter.to_ascii_uppercase() } else { letter };
    text.chars().map(turn).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// Replies

/// A server that is asked from one socket.
struct Asked {
    socket: UdpSocket,
    id: u16,
}

impl Asked {
    fn of(server: SocketAddr) -> Self {
        Self { socket: ask::udp_client(IpAddr::V4(Ipv4Addr::LOCALHOST), server), id: 0 }
    }

    fn reply(&mut self, question: &Question) -> Reply {
        self.id = self.id.wrapping_add(1);
        self.socket.send(&question.octets(self.id)).expect("a datagram can be sent");
        let octets = ask::receive(&self.socket).unwrap_or_else(|error| panic!("{question:?}: {error}"));
        let message = Message::from_vec(&octets).unwrap_or_else(|error| panic!("{question:?}: {error}"));
        assert_eq!(message.metadata.id, self.id, "{question:?}");
        Reply::of(&message)
    }
}

/// What is compared of a reply.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    rcode: String,
    is_authoritative: bool,
    is_truncated: bool,
    /// The answer section, in presentation form, names in lower case: NSD keeps no other, and unbound compresses them.
    answers: BTreeSet<String>,
    /// Owner and TTL of the SOA in the authority section.
    soa: Option<(String, u32)>,
    /// The owner of name servers in the authority section.
    name_servers: Option<String>,
}

impl Reply {
    fn of(message: &Message) -> Self {
        let owner = |record: &Record| present_name(&record.name).to_ascii_lowercase();
        let answers = message.answers.iter().map(|record| {
            let words = present(record);
            if HAS_NAMES.contains(&u16::from(record.record_type())) {
                return words.to_ascii_lowercase();
            }
            owner(record) + words.split_at(present_name(&record.name).len()).1
        });
        let soa = message.authorities.iter().find(|record| matches!(record.data, RData::SOA(_)));
        let name_servers = message.authorities.iter().find(|record| matches!(record.data, RData::NS(_)));
        Self {
            rcode: rcode(message),
            is_authoritative: message.metadata.authoritative,
            is_truncated: message.metadata.truncation,
            answers: answers.collect(),
            soa: soa.map(|record| (owner(record), record.ttl)),
            name_servers: name_servers.map(owner),
        }
    }
}

/// In what two replies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    Authoritative,
    /// Rcode, answer or SOA.
    Said,
}

/// Two replies to one question.
struct Compared<'c> {
    question: &'c Question,
    data: &'c Data,
    ours: &'c Reply,
    theirs: &'c Reply,
}

impl Compared<'_> {
    fn differences(&self) -> Vec<Difference> {
        let said = |reply: &Reply| (reply.rcode.clone(), reply.is_truncated, reply.answers.clone(), reply.soa.clone());
        let mut differences = Vec::new();
        if self.ours.is_authoritative != self.theirs.is_authoritative {
            differences.push(Difference::Authoritative);
        }
        if said(self.ours) != said(self.theirs) {
            differences.push(Difference::Said);
        }
        differences
    }

    fn in_words(&self) -> String {
        let Question { name, rtype, .. } = self.question;
        format!("{name} type {rtype}\n  ours   {:?}\n  theirs {:?}", self.ours, self.theirs)
    }

    fn name(&self) -> Labels {
        labels_of(&ask::wire_name(&self.question.name))
    }

    /// The names on the way, the name asked first.
    fn chain(&self) -> Vec<Labels> {
        self.data.chain(&self.name(), self.question.rtype)
    }

    /// Whether ours is what the zone's data says of the end of the chain, name servers below the apex being data.
    fn ours_is_the_data(&self) -> bool {
        let chain = self.chain();
        let end = chain.last().expect("the name itself");
        let Some(zone) = self.data.zone_of(end) else { return self.ours.rcode == "NOERROR" && self.ours.soa.is_none() };
        let has_soa = self.ours.soa.as_ref().is_some_and(|(owner, _)| *owner == present_labels(zone));
        match self.data.types_at(end) {
            None => self.ours.rcode == "NXDOMAIN" && has_soa && self.ours.answers.len() == chain.len() - 1,
            Some(types) if types.contains_key(&self.question.rtype) => {
                self.ours.rcode == "NOERROR" && self.ours.soa.is_none() && self.ours.answers.len() >= chain.len()
            }
            Some(_) => self.ours.rcode == "NOERROR" && has_soa && self.ours.answers.len() == chain.len() - 1,
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Explanations

/// Whether an explanation holds for a difference.
type Holds = fn(Difference, &Compared<'_>) -> bool;

/// An entry of `explanations.toml`, and what it holds for.
struct Explanation {
    id: String,
    /// Whose replies differ.
    peers: Vec<String>,
    reason: String,
    /// How its line of docs/compatibility.md begins.
    line: String,
    holds: Holds,
    uses: usize,
}

struct Explanations {
    list: Vec<Explanation>,
}

impl Explanations {
    fn read() -> Self {
        let text: toml::Table = EXPLANATIONS.parse().expect("TOML");
        let entries = text["explanation"].as_array().expect("a list of tables");
        let word = |entry: &toml::Value, key: &str| entry[key].as_str().expect("a text").to_owned();
        let read = |entry: &toml::Value| {
            let id = word(entry, "id");
            let (_, holds) =
                *HOLDS.iter().find(|(known, _)| *known == id).unwrap_or_else(|| panic!("no code for {id}"));
            let peers = entry["peers"].as_array().expect("a list").iter();
            let peers = peers.map(|peer| peer.as_str().expect("a text").to_owned()).collect();
            Explanation { id, peers, reason: word(entry, "reason"), line: word(entry, "line"), holds, uses: 0 }
        };
        let list: Vec<Explanation> = entries.iter().map(read).collect();
        for (id, _) in HOLDS {
            assert_eq!(list.iter().filter(|explanation| explanation.id == id).count(), 1, "{id}");
        }
        Self { list }
    }

    /// Whether the first explanation that holds is there; it is counted.
    fn explain(&mut self, peer: &str, difference: Difference, compared: &Compared<'_>) -> bool {
        let is_it = |explanation: &&mut Explanation| {
            explanation.peers.iter().any(|name| name == peer) && (explanation.holds)(difference, compared)
        };
        let found = self.list.iter_mut().find(is_it);
        found.map(|explanation| explanation.uses += 1).is_some()
    }

    fn uses(&self) -> Vec<(&str, usize)> {
        self.list.iter().map(|explanation| (explanation.id.as_str(), explanation.uses)).collect()
    }

    fn idle(&self) -> Vec<&str> {
        self.list.iter().filter(|explanation| explanation.uses == 0).map(|one| one.id.as_str()).collect()
    }
}

/// What each explanation holds for.
const HOLDS: [(&str, Holds); 8] = [
    ("never-authoritative", |difference, compared| {
        difference == Difference::Authoritative && compared.theirs.is_authoritative && !compared.ours.is_authoritative
    }),
    ("any-is-one-rrset", |difference, compared| {
        let Compared { ours, theirs, data, .. } = compared;
        let types: BTreeSet<&str> = ours.answers.iter().filter_map(|record| record.split(' ').nth(3)).collect();
        let has_data = data.types_at(&compared.name()).is_some_and(|types| !types.is_empty());
        difference == Difference::Said
            && compared.question.rtype == ANY
            && has_data
            && (ours.rcode.as_str(), types.len()) == ("NOERROR", 1)
            && theirs.rcode == "NOERROR"
    }),
    ("name-servers-are-data", |difference, compared| {
        let ends_below = compared.chain().iter().any(|name| compared.data.cut_of(name).is_some());
        difference == Difference::Said && ends_below && compared.ours_is_the_data()
    }),
    ("chain-goes-on-in-other-zones", |difference, compared| {
        let chain = compared.chain();
        let zones: BTreeSet<_> = chain.iter().filter_map(|name| compared.data.zone_of(name)).collect();
        difference == Difference::Said
            && zones.len() > 1
            && compared.theirs.answers.is_subset(&compared.ours.answers)
            && compared.ours_is_the_data()
    }),
    ("chain-is-followed-to-its-end", |difference, compared| {
        // Eight CNAMEs, and no word of what is not at their end.
        let Compared { ours, theirs, .. } = compared;
        difference == Difference::Said
            && compared.chain().len() > 1
            && (theirs.rcode.as_str(), &theirs.soa) == ("NOERROR", &None)
            && (ours.soa.is_some() || ours.answers.len() > theirs.answers.len())
            && theirs.answers.is_subset(&ours.answers)
            && compared.ours_is_the_data()
    }),
    ("chain-too-long-is-servfail", |difference, compared| {
        difference == Difference::Said
            && compared.chain().len() > CNAMES_MAX + 1
            && compared.ours.rcode == "SERVFAIL"
            && compared.ours.answers.is_empty()
    }),
    ("empty-non-terminals-count", |difference, compared| {
        // What is above the name, or the `*` there, has nothing of its own.
        let Compared { data, .. } = compared;
        let is_empty = |name: &Labels| data.exists(name) && !data.owners.contains_key(name);
        let is_it = |name: &Labels| {
            data.encloser(name).is_some_and(|(above, wildcard)| is_empty(&above) || is_empty(&wildcard))
        };
        difference == Difference::Said && compared.chain().iter().any(is_it) && compared.ours_is_the_data()
    }),
    ("longest-zone-has-the-ds", |difference, compared| {
        let name = compared.name();
        difference == Difference::Said
            && compared.question.rtype == DS
            && compared.data.apexes.contains(&name)
            && compared.ours_is_the_data()
    }),
];
