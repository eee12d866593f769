//! A reload that takes over what did not change, held against one that reads and compiles everything: after any edits, both
//! say the same of the files, and answer the same.

#[path = "support/worlds.rs"]
mod worlds;

use plustwo::aws::{HostedZone, RecordSets};
use plustwo::compile::{Contexts, compile, compile_after};
use plustwo::config::{
    self, Before, Configuration, DIAGNOSTICS_KEPT_MAX, Loaded, Surroundings, ZoneOfFiles, ZonesOfFiles,
};
use plustwo::dns::{FoldedName, Rtype};
use plustwo::resolve::{Ask, Chance, End, Negative, authority_of, resolve};
use plustwo::snapshot::{HealthStates, Snapshot, View, Zone, ZoneKind};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::hash::{DefaultHasher, Hasher as _};
use worlds::SEED;

/// Types that every name is asked for.
const TYPES: [Rtype; 8] =
    [Rtype::A, Rtype::AAAA, Rtype::TXT, Rtype::CNAME, Rtype::NS, Rtype::SOA, Rtype::MX, Rtype::ANY];
/// How diagnostics call the configuration.
const FILE_NAME: &str = "plustwo.toml";

/// Files by their paths below the configuration's folder.
type Files = BTreeMap<String, String>;

/// Somebody who reloads in both ways, and compares.
struct Reloads {
    names: Vec<FoldedName>,
    contexts: Contexts,
    health: HealthStates,
    served: Option<ServedNow>,
    /// How much memory wasted the one before, and this one.
    wasted: usize,
}

/// What is served.
struct ServedNow {
    zones: ZonesOfFiles,
    files: Files,
    snapshot: Snapshot,
    answers: u64,
}

/// What came of a reload.
#[derive(Debug, Default)]
struct Reloaded {
    is_accepted: bool,
    /// What was said, as an operator reads it.
    said: String,
    /// Ids of the zones that were taken over.
    kept: BTreeSet<String>,
    /// Files that were read for the others.
    read: BTreeSet<String>,
    /// Hosted zones in all.
    zones: usize,
    /// Whether the names were put into the table that was there, beyond doubt: what went from it is in it still.
    is_patched: bool,
    /// Whether the names were put together anew, beyond doubt: what had gone from the table before is in it no more.
    is_anew: bool,
}

impl Reloaded {
    #[track_caller]
    fn assert_kept<'i>(&self, ids: impl IntoIterator<Item = &'i str>) {
        assert!(self.is_accepted, "{}", self.said);
        assert_eq!(self.kept, ids.into_iter().map(str::to_owned).collect::<BTreeSet<_>>());
    }
}

impl Reloads {
    /// Asks for these names, written without escapes, whenever something was loaded.
    fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let names: BTreeSet<Vec<u8>> = names.into_iter().map(worlds::wire).collect();
        let folded = |wire: Vec<u8>| {
            let mut name = FoldedName::default();
            name.read(&wire, SEED).expect("a legal name");
            name
        };
        let (contexts, health) = (Contexts::default(), HealthStates::default());
        Self { names: names.into_iter().map(folded).collect(), contexts, health, served: None, wasted: 0 }
    }

    /// Loads what the files say now, in both ways; the error is what is different.
    fn reload(&mut self, text: &str, files: &Files) -> Result<Reloaded, String> {
        let was_read = RefCell::new(BTreeSet::new());
        let served = self.served.as_ref();
        let is_unchanged = |zone: &ZoneOfFiles| {
            let before = served.map(|served| &served.files);
            zone.files().all(|path| files.contains_key(path) && before.and_then(|was| was.get(path)) == files.get(path))
        };
        let before = served.map(|served| Before { zones: &served.zones, is_unchanged: &is_unchanged });
        let Loaded { configuration: after, diagnostics } = load(before.as_ref(), text, files, &was_read);
        let scratch = load(None, text, files, &RefCell::default());
        let said: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        let said_from_scratch: Vec<String> = scratch.diagnostics.iter().map(ToString::to_string).collect();
        same("what is said", &said, &said_from_scratch)?;
        let mut reloaded = Reloaded { said: said.concat(), ..Reloaded::default() };
        let (Some(after), Some(scratch)) = (&after, &scratch.configuration) else {
            return match (after, scratch.configuration) {
                (None, None) => Ok(reloaded),
                _ => Err("only one of them is a configuration".to_owned()),
            };
        };
        compare_configurations(after, scratch)?;
        reloaded.is_accepted = true;
        reloaded.read = was_read.into_inner();
        reloaded.zones = after.model.hosted_zones.len();
        for zone in after.model.hosted_zones.iter().filter(|zone| is_as_served(zone)) {
            reloaded.kept.insert(zone.id.to_string());
        }
        let snapshot =
            compile_after(served.map(|served| &served.snapshot), &after.model, &mut self.contexts, &self.health, SEED);
        let health = HealthStates::default();
        let from_scratch = compile(&scratch.model, &mut Contexts::default(), &health, SEED);
        compare_sizes(&snapshot, &from_scratch)?;
        let answers = self.compare_answers(&snapshot, &from_scratch)?;
        if let Some(served) = served {
            let now = self.answers(&served.snapshot);
            ensure(now == served.answers, || "the snapshot before answers otherwise than it did".to_owned())?;
        }
        let wasted = snapshot.nodes.octets().checked_sub(from_scratch.nodes.octets());
        let wasted = wasted.ok_or("it is smaller than from scratch")?;
        (reloaded.is_patched, reloaded.is_anew) = (wasted > 0, wasted == 0 && self.wasted > 0);
        self.wasted = wasted;
        let zones = after.zones_of_files.clone();
        self.served = Some(ServedNow { zones, files: files.clone(), snapshot, answers });
        Ok(reloaded)
    }

    /// The same where nothing may be different.
    #[track_caller]
    fn must(&mut self, text: &str, files: &Files) -> Reloaded {
        self.reload(text, files).unwrap_or_else(|difference| panic!("{difference}"))
    }

    /// The same where it must be taken up.
    #[track_caller]
    fn accepted(&mut self, text: &str, files: &Files) -> Reloaded {
        let reloaded = self.must(text, files);
        assert!(reloaded.is_accepted, "{}", reloaded.said);
        reloaded
    }

    /// Compares every answer of two snapshots; a number for all of them.
    fn compare_answers(&self, one: &Snapshot, other: &Snapshot) -> Result<u64, String> {
        let views = |snapshot: &Snapshot| -> Vec<_> {
            snapshot.views.iter().map(|view| (view.vpc.clone(), view.ingress, view.dns_support, view.dns64)).collect()
        };
        same("the views", &views(one), &views(other))?;
        let (one, other) = (Answering::of(one), Answering::of(other));
        let (mut said, mut said_by_other) = (Vec::new(), Vec::new());
        let mut hasher = DefaultHasher::new();
        for (view, view_of_other) in one.snapshot.views.iter().zip(&other.snapshot.views) {
            for (name, qtype) in self.names.iter().flat_map(|name| TYPES.map(|qtype| (name, qtype))) {
                one.say(view, name, qtype, &mut said);
                other.say(view_of_other, name, qtype, &mut said_by_other);
                ensure(said == said_by_other, || {
                    let (is, should_be) = (one.show(view, name, qtype), other.show(view_of_other, name, qtype));
                    format!("{} {qtype} in {}:\n{is}\nfrom scratch:\n{should_be}", name.to_name(), view.vpc)
                })?;
                hasher.write(&said);
            }
        }
        Ok(hasher.finish())
    }

    /// A number for all answers of a snapshot.
    fn answers(&self, snapshot: &Snapshot) -> u64 {
        let (answering, mut said, mut hasher) = (Answering::of(snapshot), Vec::new(), DefaultHasher::new());
        for view in &snapshot.views {
            for (name, qtype) in self.names.iter().flat_map(|name| TYPES.map(|qtype| (name, qtype))) {
                answering.say(view, name, qtype, &mut said);
                hasher.write(&said);
            }
        }
        hasher.finish()
    }
}

/// Loads a text and its files; notes which were read.
fn load(served: Option<&Before<'_>>, text: &str, files: &Files, was_read: &RefCell<BTreeSet<String>>) -> Loaded {
    let read_file = |path: &str| {
        was_read.borrow_mut().insert(path.to_owned());
        files.get(path).cloned().ok_or_else(|| format!("there is no {path}"))
    };
    let surroundings = Surroundings {
        read_file: &read_file,
        system_nameservers: &|| Err("there is no resolv.conf".to_owned()),
        is_own_address: &|_| false,
    };
    config::load_after(served, FILE_NAME, text, &surroundings)
}

fn is_as_served(zone: &HostedZone) -> bool {
    matches!(zone.record_sets, RecordSets::AsServed)
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn same<T: PartialEq + Debug>(what: &str, is: &T, should_be: &T) -> Result<(), String> {
    ensure(is == should_be, || format!("{what}:\n{is:#?}\nfrom scratch:\n{should_be:#?}"))
}

/// Compares two configurations but for the record sets of zones.
fn compare_configurations(one: &Configuration, other: &Configuration) -> Result<(), String> {
    let of_files = |configuration: &Configuration| -> Vec<String> {
        let shown = |id: &str, zone: &ZoneOfFiles| {
            let included: Vec<String> =
                zone.included.iter().map(|(path, place)| format!("{path} at {place}")).collect();
            format!("{id}: {} {} {included:?} {:?}", zone.apex, zone.file, zone.delegations)
        };
        configuration.zones_of_files.iter().map(|(id, zone)| shown(id, zone)).collect()
    };
    same("zones of files", &of_files(one), &of_files(other))?;
    let model = |configuration: &Configuration| {
        let mut model = configuration.model.clone();
        model.hosted_zones.iter_mut().for_each(|zone| zone.record_sets = RecordSets::AsServed);
        format!("{model:#?}")
    };
    same("the rest of the model", &model(one), &model(other))?;
    same("the settings", &format!("{:#?}", one.settings), &format!("{:#?}", other.settings))
}

/// Compares how much there is in two snapshots.
fn compare_sizes(one: &Snapshot, other: &Snapshot) -> Result<(), String> {
    same("how many names", &one.nodes.len(), &other.nodes.len())?;
    same("sizes", &one.sizes, &other.sizes)?;
    let zones = |snapshot: &Snapshot| {
        let mut zones: Vec<String> = snapshot.zones.iter().map(|zone| format!("{zone:?}")).collect();
        zones.sort_unstable();
        zones
    };
    same("the zones", &zones(one), &zones(other))?;
    let hosted = |snapshot: &Snapshot| snapshot.zones.iter().position(|zone| zone.kind != ZoneKind::HostedZone);
    same("how many hosted zones come first", &hosted(one), &hosted(other))
}

/// A snapshot that is asked.
struct Answering<'s> {
    snapshot: &'s Snapshot,
    /// Its contexts by whose targets they are and who these are: their ids may be other ones.
    contexts: Vec<Vec<u8>>,
}

impl<'s> Answering<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let contexts = snapshot.contexts.iter();
        let contexts = contexts.map(|context| format!("{:?} {:?}", context.kind, context.group).into_bytes()).collect();
        Self { snapshot, contexts }
    }

    /// What a question comes to.
    fn resolve<'l>(
        &self,
        view: &'s View,
        name: &FoldedName,
        qtype: Rtype,
        last: &'l mut FoldedName,
    ) -> (plustwo::resolve::Resolution<'s>, &'l FoldedName) {
        let snapshot = self.snapshot;
        // Policies choose by the number and the node's hash, in which the index of the zone has a part.
        let node_hash = snapshot.located(authority_of(snapshot, view, name), name).node_hash;
        let chance = Chance { pick: 0x5eed ^ node_hash as u32, health: &snapshot.health };
        let ask = Ask { name, qtype, cnames_before: 0 };
        let resolution = resolve(snapshot, view, ask, snapshot.locate(view, name), chance, last);
        (resolution, last)
    }

    /// Writes what a question comes to, wherever that stands.
    fn say(&self, view: &'s View, name: &FoldedName, qtype: Rtype, out: &mut Vec<u8>) {
        out.clear();
        let mut last = FoldedName::default();
        let (resolution, last) = self.resolve(view, name, qtype, &mut last);
        for link in resolution.chain.links() {
            say(b"CNAME", link, out);
        }
        if !resolution.chain.links().is_empty() {
            say(b"to", last.as_wire(), out);
        }
        match resolution.end {
            End::Records { records, zone } => {
                say(&records.count.to_be_bytes(), records.templates, out);
                say_zone(zone, out);
            }
            End::Several { several, zone } => {
                several.each_run(|records| say(b"several", records.templates, out));
                say_zone(zone, out);
            }
            End::Computed { record, zone } => {
                say(b"computed", format!("{record:?}").as_bytes(), out);
                say_zone(zone, out);
            }
            End::NoData(negative) => say_negative(b"NODATA", negative, out),
            End::NxDomain(negative) => say_negative(b"NXDOMAIN", negative, out),
            End::Forward(context) => say(b"forward", &self.contexts[context.0 as usize], out),
            End::ForwardAlias { context, target, negative } => {
                say(b"alias", target, out);
                say(b"forward", &self.contexts[context.0 as usize], out);
                say_negative(b"NODATA", negative, out);
            }
            End::NobodyToAsk => say(b"nobody", b"", out),
            End::ChainTooLong => say(b"too long", b"", out),
        }
    }

    /// The same for people.
    fn show(&self, view: &'s View, name: &FoldedName, qtype: Rtype) -> String {
        format!("{:?}", self.resolve(view, name, qtype, &mut FoldedName::default()).0)
    }
}

fn say(what: &[u8], octets: &[u8], out: &mut Vec<u8>) {
    for part in [what, octets] {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part);
    }
}

fn say_zone(zone: &Zone, out: &mut Vec<u8>) {
    say(zone.id.as_bytes(), &[zone.kind as u8, zone.apex_labels], out);
}

fn say_negative(what: &[u8], negative: Negative<'_>, out: &mut Vec<u8>) {
    say(what, &negative.zone.negative_soa, out);
    say(&negative.apex_at.to_be_bytes(), b"", out);
    say_zone(negative.zone, out);
}

// ------------------------------------------------------------------------------------------------- worlds and their edits

/// Names of zones; some are below others.
const APEXES: [&str; 5] = ["corp.example", "sub.corp.example", "deep.er.corp.example", "other.test", "x.test"];
/// Files: the last two are included too.
const PATHS: [&str; 5] = ["zones/a.zone", "zones/b.zone", "c.zone", "zones/inc1.zone", "inc2.zone"];
/// Those that are not only included.
const OWN_PATHS: u8 = 4;
/// The first that is included.
const INCLUDED: u8 = 3;
/// Ids of zones.
const IDS: u8 = 7;
/// VPCs at most.
const VPCS: u8 = 3;
/// The name of an endpoint.
const ENDPOINT_NAME: &str = "vpce-0b1c2d3e4f5061728-q7r8s9t0.ec2.ap-northeast-2.vpce.amazonaws.com";

/// Everything that is written.
#[derive(Clone, Debug)]
struct World {
    vpcs: u8,
    zones: Vec<WrittenZone>,
    files: [WrittenFile; PATHS.len()],
    /// Which [rules](RULES) there are.
    rules: u8,
    has_endpoint: bool,
    has_profile: bool,
    /// A file that the cache is to be written into.
    cache: Option<u8>,
}

#[derive(Clone, Debug)]
struct WrittenZone {
    id: u8,
    apex: u8,
    is_upper_case: bool,
    file: Option<u8>,
    /// Which of [`inline_records`] it has.
    records: u8,
    vpcs: u8,
    falls_through: bool,
}

/// Which [lines](line) a file has, each with a number.
#[derive(Clone, Debug, Default)]
struct WrittenFile {
    lines: BTreeMap<u8, u8>,
    is_absent: bool,
}

/// How many kinds of lines there are.
const LINES: u8 = 22;
/// Those of which there may be one in each file without anything to complain about.
const HARMLESS: [u8; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18];
/// Those that files may have that are included in others which have them too.
const FOR_INCLUDED: [u8; 7] = [4, 5, 6, 8, 14, 15, 18];

/// What stands in a file.
fn line(kind: u8, number: u8) -> String {
    match kind {
        0 => format!("@ 3600 SOA ns host 1 7200 900 1209600 {number}0"),
        1 => format!("@ 300 NS ns{number}.elsewhere.test."),
        2 => format!("@ 300 TXT \"{number}\""),
        3 => format!("@ 300 MX {number} mail"),
        4 => format!("www 60 A 10.0.0.{number}"),
        5 => format!("www 60 AAAA 2001:db8::{number}"),
        6 => format!("a.b.c 60 A 10.0.1.{number}"),
        7 => format!("b.c 60 TXT \"{number}\""),
        8 => format!("* 60 A 10.0.9.{number}"),
        9 => format!("*.b.c 60 TXT \"any {number}\""),
        10 => format!("cn 60 CNAME {}", if number.is_multiple_of(2) { "www" } else { "nothing" }),
        11 => format!("cross 60 CNAME www.{}.", APEXES[usize::from(number) % APEXES.len()]),
        12 => format!("out 60 CNAME www{number}.outside.test."),
        13 => "sub 300 NS ns.sub".to_owned(),
        14 => format!("ns.sub 300 A 10.0.53.{number}"),
        15 => format!("mail 60 A 10.0.25.{number}"),
        16 => format!("$INCLUDE {}{}", PATHS[3], if number.is_multiple_of(2) { "" } else { " inc" }),
        17 => format!("$INCLUDE {}", PATHS[4]),
        18 => (0..number * 12).fold(String::new(), |lines, host| lines + &format!("h{host} 60 A 10.3.0.{host}\n")),
        // A warning: the TTLs differ. Another one: it looks like a wildcard and is none. An error.
        19 => format!("warned 60 A 10.4.0.{number}\nwarned 61 A 10.5.0.{number}"),
        20 => format!("x.*.warned 60 A 10.4.0.{number}"),
        _ => format!("refused 60 A {number}"),
    }
}

/// Record sets that stand in the configuration itself.
fn inline_records(which: u8, apex: &str) -> Vec<String> {
    let all = [
        vec![r#"{ name = "in", type = "A", values = ["10.2.0.1"] }"#.to_owned()],
        vec![
            r#"{ name = "w", type = "A", set_identifier = "a", weight = 1, values = ["10.2.1.1"] }"#.to_owned(),
            r#"{ name = "w", type = "A", set_identifier = "b", weight = 2, values = ["10.2.1.2"] }"#.to_owned(),
            format!(r#"{{ name = "al", type = "A", alias = "w.{apex}" }}"#),
        ],
        vec![r#"{ name = "lb", type = "A", alias = "lb-1.ap-northeast-2.elb.amazonaws.com" }"#.to_owned()],
        vec![format!(r#"{{ name = "ve", type = "A", alias = "{ENDPOINT_NAME}" }}"#)],
        vec![r#"{ name = "www", type = "TXT", values = ['"in the configuration"'] }"#.to_owned()],
    ];
    let is_there = |(bit, _): &(usize, Vec<String>)| which >> bit & 1 == 1;
    all.into_iter().enumerate().filter(is_there).flat_map(|(_, sets)| sets).collect()
}

/// Rules, without their VPCs.
const RULES: [&str; 5] = [
    "domain = \"fwd.example\"\naction = \"forward\"\ntargets = [\"192.0.2.1\"]",
    "domain = \"www.corp.example\"\naction = \"forward\"\ntargets = [\"192.0.2.2\"]",
    "domain = \"other.test\"\naction = \"forward\"\ntargets = [\"192.0.2.3\"]",
    "delegation_record = \"sub.corp.example\"\naction = \"delegate\"",
    "domain = \"www.x.test\"\naction = \"system\"",
];

impl World {
    fn new() -> Self {
        let zone = |number: u8| WrittenZone {
            id: number,
            apex: number,
            is_upper_case: false,
            file: Some(number),
            records: 0,
            vpcs: 0b011,
            falls_through: false,
        };
        let file =
            |kinds: &[u8]| WrittenFile { lines: kinds.iter().map(|kind| (*kind, 1)).collect(), is_absent: false };
        Self {
            vpcs: 2,
            zones: (0..4).map(zone).collect(),
            files: [file(&[0, 4, 6, 13, 16]), file(&[4, 8, 17]), file(&[2, 9]), file(&[14, 15]), file(&[5])],
            rules: 0,
            has_endpoint: true,
            has_profile: false,
            cache: None,
        }
    }

    /// The configuration.
    fn text(&self) -> String {
        let mut text =
            "version = 1\nregion = \"ap-northeast-2\"\nupstream = { targets = [\"192.0.2.53\"] }\n".to_owned();
        if let Some(file) = self.cache {
            let _ = write!(text, "[cache]\nfile = \"{}\"\n", PATHS[usize::from(file)]);
        }
        for vpc in 0..self.vpcs {
            let _ = write!(text, "[[vpc]]\nid = \"vpc-{vpc}\"\nlisten = [\"127.0.0.{}:5300\"]\n", vpc + 10);
        }
        let vpcs = |which: u8| {
            let there = (0..self.vpcs).filter(|vpc| which >> vpc & 1 == 1);
            format!("{:?}", there.map(|vpc| format!("vpc-{vpc}")).collect::<Vec<_>>())
        };
        if self.has_endpoint {
            text += "[[vpc_endpoint]]\nid = \"vpce-0b1c2d3e4f5061728\"\nvpc = \"vpc-0\"\n";
            let _ = write!(text, "service = \"com.amazonaws.ap-northeast-2.ec2\"\ndns_name = \"{ENDPOINT_NAME}\"\n");
            text += "addresses = { ap-northeast-2a = [\"10.0.12.153\"] }\nprivate_dns = true\n";
        }
        for zone in &self.zones {
            let apex = APEXES[usize::from(zone.apex)];
            let name = if zone.is_upper_case { apex.to_uppercase() } else { apex.to_owned() };
            let of = vpcs(zone.vpcs);
            let _ = write!(text, "[[hosted_zone]]\nid = \"Z{}\"\nname = \"{name}\"\nvpcs = {of}\n", zone.id);
            if let Some(file) = zone.file {
                let _ = writeln!(text, "file = \"{}\"", PATHS[usize::from(file)]);
            }
            if zone.falls_through {
                text += "fallthrough = \"public\"\n";
            }
            if zone.records != 0 {
                let _ = writeln!(text, "records = [{}]", inline_records(zone.records, apex).join(", "));
            }
        }
        for (number, rule) in RULES.iter().enumerate().filter(|(number, _)| self.rules >> number & 1 == 1) {
            let _ = write!(text, "[[resolver_rule]]\nid = \"rslvr-rr-{number}\"\n{rule}\nvpcs = {}\n", vpcs(0b101));
        }
        if self.has_profile {
            let shared: Vec<String> =
                self.zones.iter().filter(|zone| zone.id % 2 == 0).map(|zone| format!("Z{}", zone.id)).collect();
            let last = self.vpcs - 1;
            let _ = write!(text, "[[profile]]\nid = \"rp-1\"\nvpcs = [\"vpc-{last}\"]\nhosted_zones = {shared:?}\n");
        }
        text
    }

    fn files(&self) -> Files {
        let files = PATHS.iter().zip(&self.files).filter(|(_, file)| !file.is_absent);
        let text = |file: &WrittenFile| {
            let lines = file.lines.iter().map(|(kind, number)| line(*kind, *number) + "\n");
            "; a zone\n".to_owned() + &lines.collect::<String>()
        };
        files.map(|(path, file)| ((*path).to_owned(), text(file))).collect()
    }

    /// Whether no other zone has its name in one of its VPCs.
    fn may_be(&self, zone: &WrittenZone, but_for: usize) -> bool {
        let mut others = self.zones.iter().enumerate().filter(|(at, _)| *at != but_for).map(|(_, other)| other);
        others.all(|other| other.id != zone.id && (other.apex != zone.apex || other.vpcs & zone.vpcs == 0))
    }

    /// Makes an edit. What two zones cannot both have is left as it is, unless the edit is careless.
    fn edit(&mut self, edit: &Edit) {
        let count = self.zones.len();
        let place = |at: u8| (count > 0).then(|| usize::from(at) % count);
        match *edit {
            Edit::Line { file, kind, number } => {
                self.files[usize::from(file)].lines.insert(kind, number);
            }
            Edit::NoLine { file, nth } => {
                let lines = &mut self.files[usize::from(file)].lines;
                if let Some(kind) = lines.keys().nth(usize::from(nth) % lines.len().max(1)).copied() {
                    lines.remove(&kind);
                }
            }
            Edit::Absent(file) => self.files[usize::from(file)].is_absent ^= true,
            Edit::Add { at, ref zone, is_careless } => {
                if is_careless || self.may_be(zone, usize::MAX) {
                    self.zones.insert(usize::from(at) % (count + 1), zone.clone());
                }
            }
            Edit::Remove(at) => {
                if let Some(at) = place(at) {
                    self.zones.remove(at);
                }
            }
            Edit::Change { at, ref to, is_careless } => {
                let Some(at) = place(at) else { return };
                let mut zone = self.zones[at].clone();
                match *to {
                    Change::Id(id) => zone.id = id,
                    Change::Apex(apex) => zone.apex = apex,
                    Change::Case => zone.is_upper_case ^= true,
                    Change::File(file) => {
                        (zone.file, zone.records) = (file, if file.is_none() { 1 } else { zone.records })
                    }
                    Change::Records(which) => zone.records = which,
                    Change::Vpcs(vpcs) => zone.vpcs = vpcs,
                    Change::FallsThrough => zone.falls_through ^= true,
                }
                if is_careless || self.may_be(&zone, at) {
                    self.zones[at] = zone;
                }
            }
            Edit::SwapPlaces(one, other) => {
                if let (Some(one), Some(other)) = (place(one), place(other)) {
                    self.zones.swap(one, other);
                }
            }
            Edit::SwapIds(one, other) => {
                if let (Some(one), Some(other)) = (place(one), place(other)) {
                    let id = self.zones[one].id;
                    self.zones[one].id = std::mem::replace(&mut self.zones[other].id, id);
                }
            }
            Edit::SwapFiles(one, other) => {
                if let (Some(one), Some(other)) = (place(one), place(other)) {
                    let file = self.zones[one].file;
                    self.zones[one].file = std::mem::replace(&mut self.zones[other].file, file);
                }
            }
            Edit::Rules(rules) => self.rules = rules,
            Edit::Vpcs(vpcs) => self.vpcs = vpcs,
            Edit::Endpoint => self.has_endpoint ^= true,
            Edit::Profile => self.has_profile ^= true,
            Edit::Cache(file) => self.cache = file,
        }
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Line { file: u8, kind: u8, number: u8 },
    NoLine { file: u8, nth: u8 },
    Absent(u8),
    Add { at: u8, zone: WrittenZone, is_careless: bool },
    Remove(u8),
    Change { at: u8, to: Change, is_careless: bool },
    SwapPlaces(u8, u8),
    SwapIds(u8, u8),
    SwapFiles(u8, u8),
    Rules(u8),
    Vpcs(u8),
    Endpoint,
    Profile,
    Cache(Option<u8>),
}

/// What is changed of a zone.
#[derive(Clone, Debug)]
enum Change {
    Id(u8),
    Apex(u8),
    Case,
    File(Option<u8>),
    Records(u8),
    Vpcs(u8),
    FallsThrough,
}

fn apexes() -> std::ops::Range<u8> {
    0..APEXES.len() as u8
}

fn paths() -> std::ops::Range<u8> {
    0..PATHS.len() as u8
}

fn records() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0), 1 => 0u8..32]
}

fn is_careless() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.05)
}

fn zones() -> impl Strategy<Value = WrittenZone> {
    let falls_through = prop::bool::weighted(0.1);
    let file = prop::option::weighted(0.9, 0..OWN_PATHS);
    (0..IDS, apexes(), any::<bool>(), file, records(), 0u8..1 << VPCS, falls_through).prop_map(
        |(id, apex, is_upper_case, file, records, vpcs, falls_through)| WrittenZone {
            records: if file.is_none() { records | 1 } else { records },
            ..WrittenZone { id, apex, is_upper_case, file, records, vpcs, falls_through }
        },
    )
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => (0..IDS).prop_map(Change::Id),
        2 => apexes().prop_map(Change::Apex),
        1 => Just(Change::Case),
        2 => prop::option::weighted(0.8, 0..OWN_PATHS).prop_map(Change::File),
        2 => records().prop_map(Change::Records),
        2 => (0u8..1 << VPCS).prop_map(Change::Vpcs),
        1 => Just(Change::FallsThrough),
    ]
}

fn lines() -> impl Strategy<Value = Edit> {
    let one = |file: u8, kind: u8, number: u8| Edit::Line { file, kind, number };
    prop_oneof![
        6 => (0..INCLUDED, select(&HARMLESS[..]), 1u8..9).prop_map(move |(file, kind, number)| one(file, kind, number)),
        4 => (INCLUDED..paths().end, select(&FOR_INCLUDED[..]), 1u8..9)
            .prop_map(move |(file, kind, number)| one(file, kind, number)),
        2 => (0..INCLUDED, 16u8..18, 1u8..9).prop_map(move |(file, kind, number)| one(file, kind, number)),
        // Several files include the last; nothing stands twice then that must not.
        1 => (1u8..9).prop_map(move |number| one(INCLUDED, 17, number)),
        1 => (paths(), 19u8..21, 1u8..9).prop_map(move |(file, kind, number)| one(file, kind, number)),
        1 => (paths(), 0..LINES, 1u8..9).prop_map(move |(file, kind, number)| one(file, kind, number)),
        8 => (paths(), any::<u8>()).prop_map(|(file, nth)| Edit::NoLine { file, nth }),
    ]
}

fn edits() -> impl Strategy<Value = Edit> {
    let two = || (any::<u8>(), any::<u8>());
    prop_oneof![
        16 => lines(),
        1 => paths().prop_map(Edit::Absent),
        4 => (any::<u8>(), zones(), is_careless()).prop_map(|(at, zone, is_careless)| Edit::Add { at, zone, is_careless }),
        4 => any::<u8>().prop_map(Edit::Remove),
        10 => (any::<u8>(), changes(), is_careless()).prop_map(|(at, to, is_careless)| Edit::Change { at, to, is_careless }),
        2 => two().prop_map(|(one, other)| Edit::SwapPlaces(one, other)),
        2 => two().prop_map(|(one, other)| Edit::SwapIds(one, other)),
        1 => two().prop_map(|(one, other)| Edit::SwapFiles(one, other)),
        2 => (0u8..1 << RULES.len()).prop_map(Edit::Rules),
        1 => (1..=VPCS).prop_map(Edit::Vpcs),
        1 => Just(Edit::Endpoint),
        1 => Just(Edit::Profile),
        1 => prop::option::weighted(0.3, paths()).prop_map(Edit::Cache),
    ]
}

/// Edits up to a reload, and whether the last good world is edited where the one before was refused.
type Step = (Vec<Edit>, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((prop::collection::vec(edits(), 0..4), prop::bool::weighted(0.7)), 4..14)
}

/// Names that exist, or did, or never will, at, above and below the zones.
fn names() -> Vec<String> {
    let relative = [
        "www",
        "x.www",
        "a.b.c",
        "b.c",
        "c",
        "z.b.c",
        "z.c",
        "*",
        "cn",
        "cross",
        "out",
        "sub",
        "ns.sub",
        "z.sub",
        "mail",
        "inc",
        "www.inc",
        "mail.inc",
        "h0",
        "h7",
        "h31",
        "h90",
        "in",
        "w",
        "al",
        "lb",
        "ve",
        "warned",
        "x.*.warned",
        "never",
        "very.never",
    ];
    let of_zone = |apex: &str| {
        let below = relative.map(|name| format!("{name}.{apex}"));
        below.into_iter().chain([apex.to_owned()]).collect::<Vec<_>>()
    };
    let others =
        ["", "example", "test", "er.corp.example", "fwd.example", "localhost", "ec2.ap-northeast-2.amazonaws.com"];
    let others = others.into_iter().chain([ENDPOINT_NAME]).map(str::to_owned);
    APEXES.iter().flat_map(|apex| of_zone(apex)).chain(others).collect()
}

/// What the cases came to, so that it is known that they were about something.
#[derive(Debug, Default)]
struct Counts {
    reloads: usize,
    accepted: usize,
    refused: usize,
    zones: usize,
    kept: usize,
    /// Reloads that kept some zones and read others.
    mixed: usize,
    patched: usize,
}

impl Counts {
    fn add(&mut self, reloaded: &Reloaded) {
        self.reloads += 1;
        self.accepted += usize::from(reloaded.is_accepted);
        self.refused += usize::from(!reloaded.is_accepted);
        self.zones += reloaded.zones;
        self.kept += reloaded.kept.len();
        self.mixed += usize::from(!reloaded.kept.is_empty() && reloaded.kept.len() < reloaded.zones);
        self.patched += usize::from(reloaded.is_patched);
    }
}

#[test]
fn any_edits_are_taken_up_as_if_everything_were_read_again() {
    let names = names();
    let counts = RefCell::new(Counts::default());
    let config = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::with_cases(64) };
    let result = TestRunner::new(config).run(&steps(), |steps| {
        let mut reloads = Reloads::new(names.iter().map(String::as_str));
        let mut world = World::new();
        let mut good = world.clone();
        let first = reloads.reload(&world.text(), &world.files()).map_err(TestCaseError::fail)?;
        prop_assert!(first.is_accepted && first.kept.is_empty(), "{}", first.said);
        for (edits, goes_back) in steps {
            edits.iter().for_each(|edit| world.edit(edit));
            let (text, files) = (world.text(), world.files());
            let reloaded = reloads.reload(&text, &files);
            let reloaded = reloaded.map_err(|error| TestCaseError::fail(format!("{error}\n\n{text}\n{files:#?}")))?;
            counts.borrow_mut().add(&reloaded);
            if reloaded.is_accepted {
                good = world.clone();
            } else if goes_back {
                world = good.clone();
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let counts = counts.into_inner();
    println!("{counts:?}");
    let Counts { reloads, accepted, refused, zones, kept, mixed, patched } = counts;
    assert!(
        accepted * 2 > reloads && refused * 50 > reloads,
        "{accepted} of {reloads} are accepted, {refused} refused"
    );
    assert!(kept * 4 > zones, "{kept} of {zones} zones are kept");
    assert!(mixed * 8 > reloads, "{mixed} of {reloads} reloads keep some zones and read others");
    // None is put together anew: that is for larger ones, below, and for the builder's own test.
    assert!(patched * 8 > reloads, "{patched} of {reloads} tables are patched");
}

// ----------------------------------------------------------------------------------------------------- one thing at a time

/// A configuration of two VPCs, and whatever else is written.
fn configuration(rest: &[String]) -> String {
    let mut text = "version = 1\nregion = \"ap-northeast-2\"\nupstream = { targets = [\"192.0.2.53\"] }\n".to_owned();
    text += "[[vpc]]\nid = \"vpc-a\"\nlisten = [\"127.0.0.10:5300\"]\n[[vpc]]\nid = \"vpc-b\"\nlisten = [\"127.0.0.11:5300\"]\n";
    text + &rest.concat()
}

/// A zone of both VPCs that is made of a file.
fn zone(id: &str, name: &str, file: &str) -> String {
    format!("[[hosted_zone]]\nid = \"{id}\"\nname = \"{name}\"\nvpcs = [\"vpc-a\", \"vpc-b\"]\nfile = \"{file}\"\n")
}

fn files<const N: usize>(files: [(&str, &str); N]) -> Files {
    files.map(|(path, text)| (path.to_owned(), text.to_owned())).into()
}

/// That many zones, each with a file of its own in which there is an address.
fn numbered(zones: impl IntoIterator<Item = u8>) -> (String, Files) {
    let zones: Vec<u8> = zones.into_iter().collect();
    let text = zones.iter().map(|number| zone(&format!("Z{number}"), &format!("z{number}.test"), &format!("{number}")));
    let file = |number: &u8| (number.to_string(), format!("www 60 A 10.0.0.{number}\na.b 60 TXT \"{number}\"\n"));
    (configuration(&text.collect::<Vec<_>>()), zones.iter().map(file).collect())
}

/// Names of such zones.
fn numbered_names() -> Vec<String> {
    (0..24).flat_map(|number| ["www", "a.b", "b", "x"].map(|name| format!("{name}.z{number}.test"))).collect()
}

fn numbered_reloads() -> Reloads {
    Reloads::new(numbered_names().iter().map(String::as_str))
}

#[test]
fn what_did_not_change_is_not_read() {
    let mut reloads = numbered_reloads();
    let (text, mut files) = numbered(0..6);
    reloads.accepted(&text, &files).assert_kept([]);
    let same = reloads.accepted(&text, &files);
    same.assert_kept(["Z0", "Z1", "Z2", "Z3", "Z4", "Z5"]);
    assert_eq!(same.read, BTreeSet::new());
    files.insert("3".to_owned(), "www 60 A 10.9.9.9\n".to_owned());
    let one = reloads.accepted(&text, &files);
    one.assert_kept(["Z0", "Z1", "Z2", "Z4", "Z5"]);
    assert_eq!(one.read, BTreeSet::from(["3".to_owned()]));
}

#[test]
fn zones_share_files() {
    let names = ["www.a.test", "sub.a.test", "www.sub.a.test", "www.b.test", "sub.b.test", "own.b.test", "www.c.test"];
    let mut reloads = Reloads::new(names);
    let text =
        configuration(&[zone("Z1", "a.test", "one"), zone("Z2", "b.test", "one"), zone("Z3", "c.test", "sub/other")]);
    let mut files = files([
        ("one", "$INCLUDE sub/included\n$INCLUDE sub/included sub\n"),
        ("sub/other", "$INCLUDE sub/included\n"),
        ("sub/included", "www 60 A 10.0.0.1\n"),
    ]);
    let mut change = |files: &Files| reloads.accepted(&text, files);
    change(&files);
    change(&files).assert_kept(["Z1", "Z2", "Z3"]);
    files.insert("one".to_owned(), "$INCLUDE sub/included\nown 60 A 10.0.0.2\n".to_owned());
    change(&files).assert_kept(["Z3"]);
    files.insert("sub/included".to_owned(), "www 60 A 10.0.0.3\n".to_owned());
    change(&files).assert_kept([]);
    change(&files).assert_kept(["Z1", "Z2", "Z3"]);
    // One of them is taken away, and a zone of the included file itself comes.
    let text = configuration(&[zone("Z2", "b.test", "one"), zone("Z4", "c.test", "sub/included")]);
    reloads.accepted(&text, &files).assert_kept(["Z2"]);
    files.insert("one".to_owned(), "www 60 A 10.0.0.4\n".to_owned());
    reloads.accepted(&text, &files).assert_kept(["Z4"]);
    // What is not included any more may go.
    let text = configuration(&[zone("Z2", "b.test", "one")]);
    files.remove("sub/included");
    reloads.accepted(&text, &files).assert_kept(["Z2"]);
}

#[test]
fn a_file_that_is_included_comes_and_goes() {
    let mut reloads = Reloads::new(["www.a.test", "a.test"]);
    let text = configuration(&[zone("Z1", "a.test", "one"), zone("Z2", "b.test", "other")]);
    let whole = files([("one", "$INCLUDE two\n"), ("two", "www 60 A 10.0.0.1\n"), ("other", "www 60 A 10.0.0.2\n")]);
    reloads.accepted(&text, &whole);
    for (path, broken) in [("two", None), ("two", Some("")), ("two", Some("www 60 A")), ("one", None)] {
        let mut files = whole.clone();
        match broken {
            Some(text) => drop(files.insert(path.to_owned(), text.to_owned())),
            None => drop(files.remove(path)),
        }
        assert!(!reloads.must(&text, &files).is_accepted, "{path}: {broken:?}");
        // What is served is what was served all along.
        reloads.accepted(&text, &whole).assert_kept(["Z1", "Z2"]);
    }
}

#[test]
fn what_was_refused_is_not_what_is_served() {
    let mut reloads = Reloads::new(["www.a.test", "www.b.test"]);
    let text = configuration(&[zone("Z1", "a.test", "one"), zone("Z2", "b.test", "other")]);
    let first = files([("one", "www 60 A 10.0.0.1\n"), ("other", "www 60 A 10.0.0.1\n")]);
    let refused = files([("one", "www 60 A 10.0.0.2\n"), ("other", "www 60 A\n")]);
    let next = files([("one", "www 60 A 10.0.0.2\n"), ("other", "www 60 A 10.0.0.1\n")]);
    reloads.accepted(&text, &first);
    assert!(!reloads.must(&text, &refused).is_accepted);
    reloads.accepted(&text, &next).assert_kept(["Z2"]);
    // No TOML, and a zone that another part of the configuration refuses.
    assert!(!reloads.must("version", &next).is_accepted);
    let two = configuration(&[zone("Z1", "a.test", "one"), zone("Z1", "b.test", "one")]);
    assert!(!reloads.must(&two, &next).is_accepted);
    reloads.accepted(&text, &next).assert_kept(["Z1", "Z2"]);
}

#[test]
fn what_there_is_to_complain_about_is_complained_about_each_time() {
    let mut reloads = Reloads::new(["www.a.test", "www.b.test"]);
    let text = configuration(&[zone("Z1", "a.test", "one"), zone("Z2", "b.test", "other")]);
    let mut files = files([
        ("one", "$INCLUDE warned\n"),
        ("warned", "www 60 A 10.0.0.1\nwww 61 A 10.0.0.2\n"),
        ("other", "www 60 A 10.0.0.1\n"),
    ]);
    for round in 0..3 {
        let reloaded = reloads.accepted(&text, &files);
        reloaded.assert_kept(if round == 0 { vec![] } else { vec!["Z2"] });
        assert!(reloaded.said.contains("different TTLs"), "{}", reloaded.said);
    }
    files.insert("warned".to_owned(), "www 60 A 10.0.0.1\nwww 60 A 10.0.0.2\n".to_owned());
    reloads.accepted(&text, &files).assert_kept(["Z2"]);
    assert_eq!(reloads.accepted(&text, &files).said, "");
    // A zone is complained about of which the files are in order: it is kept, and so is the complaint.
    files.insert("other".to_owned(), "; nothing yet\n".to_owned());
    let text =
        configuration(&[zone("Z1", "a.test", "one") + "fallthrough = \"public\"\n", zone("Z2", "x.*.test", "other")]);
    reloads.accepted(&text, &files);
    let again = reloads.accepted(&text, &files);
    again.assert_kept(["Z1", "Z2"]);
    assert!(again.said.contains("fallthrough") && again.said.contains("has a `*` in it"), "{}", again.said);
}

#[test]
fn what_there_is_too_much_of_to_be_kept_is_still_complained_about() {
    let mut reloads = Reloads::new(["h1.a.test", "h1.b.test", "h1.c.test"]);
    let zones = [zone("Z1", "a.test", "one"), zone("Z2", "b.test", "two"), zone("Z3", "c.test", "three")];
    let text = configuration(&zones);
    let warned = |hosts: usize| {
        let twice = (0..hosts).map(|host| format!("h{host} 60 A 10.0.0.1\nh{host} 60 A 10.0.0.1\n"));
        twice.collect::<String>()
    };
    let all = DIAGNOSTICS_KEPT_MAX + 10;
    let mut files = files([("one", &warned(all)), ("two", &warned(5)), ("three", "h1 60 A 10.0.0.3\n")]);
    reloads.accepted(&text, &files);
    for _ in 0..2 {
        let again = reloads.accepted(&text, &files);
        again.assert_kept(["Z3"]);
        assert!(again.said.contains("15 more problems of this kind"), "{}", again.said.len());
    }
    files.insert("one".to_owned(), "h1 60 A 10.0.0.1\n".to_owned());
    let fewer = reloads.accepted(&text, &files);
    fewer.assert_kept(["Z3"]);
    assert!(fewer.said.contains("two:2:1"), "{}", fewer.said);
}

#[test]
fn a_zone_is_called_as_an_endpoint_is() {
    let mut reloads = Reloads::new(["www.a.test", "a.test", "ec2.ap-northeast-2.amazonaws.com", ENDPOINT_NAME]);
    let endpoint = format!(
        "[[vpc_endpoint]]\nid = \"vpce-0b1c2d3e4f5061728\"\nvpc = \"vpc-a\"\n\
         service = \"com.amazonaws.ap-northeast-2.ec2\"\ndns_name = \"{ENDPOINT_NAME}\"\n\
         addresses = {{ ap-northeast-2a = [\"10.0.12.153\"] }}\nprivate_dns = true\n"
    );
    let files = files([("one", "www 60 A 10.0.0.1\n"), ("two", "www 60 A 10.0.0.2\n")]);
    let (called_so, other) = (zone("vpce-0b1c2d3e4f5061728", "a.test", "one"), zone("Z1", "b.test", "two"));
    let text = configuration(&[endpoint.clone(), called_so.clone(), other.clone()]);
    reloads.accepted(&text, &files);
    reloads.accepted(&text, &files).assert_kept(["vpce-0b1c2d3e4f5061728", "Z1"]);
    // Before it, and without it.
    reloads
        .accepted(&configuration(&[called_so.clone(), endpoint.clone()]), &files)
        .assert_kept(["vpce-0b1c2d3e4f5061728"]);
    reloads.accepted(&configuration(&[other, called_so]), &files).assert_kept(["vpce-0b1c2d3e4f5061728"]);
    reloads.accepted(&configuration(&[endpoint]), &files).assert_kept([]);
}

#[test]
fn ids_names_and_files_move_from_zone_to_zone() {
    let names = ["www.a.test", "www.b.test", "www.c.test", "a.test", "b.test", "c.test"];
    let mut reloads = Reloads::new(names);
    let files =
        files([("one", "www 60 A 10.0.0.1\n"), ("two", "www 60 A 10.0.0.2\n"), ("three", "www 60 A 10.0.0.3\n")]);
    let mut change = |zones: [[&str; 3]; 3]| {
        let zones = zones.map(|[id, name, file]| zone(id, name, file));
        reloads.accepted(&configuration(&zones), &files)
    };
    change([["Z1", "a.test", "one"], ["Z2", "b.test", "two"], ["Z3", "c.test", "three"]]);
    // In another order, in other letters.
    change([["Z3", "C.Test", "three"], ["Z1", "A.TEST.", "one"], ["Z2", "b.test", "two"]])
        .assert_kept(["Z1", "Z2", "Z3"]);
    // Each has the id of another; then each the name of another; then each the file of another.
    change([["Z1", "c.test", "three"], ["Z2", "a.test", "one"], ["Z3", "b.test", "two"]]).assert_kept([]);
    change([["Z1", "b.test", "three"], ["Z2", "c.test", "one"], ["Z3", "a.test", "two"]]).assert_kept([]);
    change([["Z1", "b.test", "two"], ["Z2", "c.test", "three"], ["Z3", "a.test", "one"]]).assert_kept([]);
    // Two of them, while the third is kept between them.
    change([["Z2", "b.test", "two"], ["Z3", "a.test", "one"], ["Z1", "c.test", "three"]]).assert_kept(["Z3"]);
    change([["Z3", "a.test", "one"], ["Z4", "b.test", "two"], ["Z1", "c.test", "three"]]).assert_kept(["Z1", "Z3"]);
}

#[test]
fn one_name_is_another_zone_in_each_vpc() {
    let mut reloads = Reloads::new(["www.a.test", "a.test", "x.a.test"]);
    let files = files([("one", "www 60 A 10.0.0.1\n"), ("two", "www 60 A 10.0.0.2\n")]);
    let zone = |id: &str, file: &str, vpcs: &str| {
        format!("[[hosted_zone]]\nid = \"{id}\"\nname = \"a.test\"\nvpcs = [{vpcs}]\nfile = \"{file}\"\n")
    };
    let mut change = |zones: &[String]| reloads.accepted(&configuration(zones), &files);
    change(&[zone("Z1", "one", "\"vpc-a\""), zone("Z2", "two", "\"vpc-b\"")]);
    change(&[zone("Z1", "one", "\"vpc-b\""), zone("Z2", "two", "\"vpc-a\"")]).assert_kept(["Z1", "Z2"]);
    change(&[zone("Z2", "one", "\"vpc-b\""), zone("Z1", "two", "\"vpc-a\"")]).assert_kept([]);
    change(&[zone("Z2", "one", ""), zone("Z1", "two", "\"vpc-a\", \"vpc-b\"")]).assert_kept(["Z1", "Z2"]);
    change(&[zone("Z3", "one", "\"vpc-a\""), zone("Z1", "two", "\"vpc-b\"")]).assert_kept(["Z1"]);
}

#[test]
fn zones_have_fewer_places_than_before() {
    let mut reloads = numbered_reloads();
    let mut change = |zones: &[u8]| {
        let (text, files) = numbered(zones.iter().copied());
        reloads.accepted(&text, &files)
    };
    change(&(0..20).collect::<Vec<_>>());
    // Those that stood last are all that is left; with a new one before them, between them, behind them.
    change(&[20, 18, 21, 19, 22]).assert_kept(["Z18", "Z19"]);
    change(&[22, 19]).assert_kept(["Z19", "Z22"]);
    change(&[19]).assert_kept(["Z19"]);
    change(&[]).assert_kept([]);
    change(&[19]).assert_kept([]);
    change(&[0, 1, 2, 3, 19, 4]).assert_kept(["Z19"]);
    change(&[3, 0]).assert_kept(["Z0", "Z3"]);
    // As many as before, of which one is another.
    change(&[3, 23]).assert_kept(["Z3"]);
}

#[test]
fn a_table_grows_and_shrinks_name_by_name() {
    let mut reloads = numbered_reloads();
    let (text, mut files) = numbered(0..4);
    let names = |count: u32| (0..count).map(|host| format!("h{host} 60 A 10.0.0.1\n")).collect::<String>();
    files.insert("1".to_owned(), names(1));
    reloads.accepted(&text, &files);
    let mut sizes = BTreeSet::new();
    for count in (2..400).step_by(7).chain((1..400).rev().step_by(11)) {
        files.insert("1".to_owned(), names(count));
        reloads.accepted(&text, &files).assert_kept(["Z0", "Z2", "Z3"]);
        let names = reloads.served.as_ref().expect("it was taken up").snapshot.nodes.len();
        sizes.insert((names * 3 / 2 + 1).next_power_of_two());
    }
    assert!(sizes.len() > 2, "the table had {sizes:?} slots");
}

#[test]
fn records_of_the_configuration_come_to_a_zone_and_go() {
    let mut reloads =
        Reloads::new(["a.test", "www.a.test", "in.a.test", "w.a.test", "al.a.test", "lb.a.test", "www.b.test"]);
    let files = files([("one", "www 60 A 10.0.0.1\n"), ("two", "www 60 A 10.0.0.2\n")]);
    let mut change = |rest: String| {
        let zones = [zone("Z1", "a.test", "one") + &rest, zone("Z2", "b.test", "two")];
        reloads.accepted(&configuration(&zones), &files)
    };
    let records = |which: u8| format!("records = [{}]\n", inline_records(which, "a.test").join(", "));
    change(String::new());
    // Policies and aliases beside the file, other ones, none, and an empty list of them.
    change(records(0b10111)).assert_kept(["Z2"]);
    change(records(0b00010)).assert_kept(["Z2"]);
    change(String::new()).assert_kept(["Z2"]);
    change("records = []\n".to_owned()).assert_kept(["Z1", "Z2"]);
    change(records(0b00001)).assert_kept(["Z2"]);
    change(records(0b00001)).assert_kept(["Z2"]);
    // No file at all, and it again.
    let alone = |which: u8| zone("Z1", "a.test", "one").replace("file = \"one\"\n", "") + &records(which);
    let alone = configuration(&[alone(0b00011), zone("Z2", "b.test", "two")]);
    reloads.accepted(&alone, &files).assert_kept(["Z2"]);
    let both = configuration(&[zone("Z1", "a.test", "one"), zone("Z2", "b.test", "two")]);
    reloads.accepted(&both, &files).assert_kept(["Z2"]);
    reloads.accepted(&both, &files).assert_kept(["Z1", "Z2"]);
}

#[test]
fn a_kept_zone_still_delegates() {
    let names = ["sub.a.test", "www.sub.a.test", "ns.sub.a.test", "a.test", "www.a.test", "sub.b.test", "x.sub.b.test"];
    let mut reloads = Reloads::new(names);
    let rule =
        |id: &str, what: &str, vpc: &str| format!("[[resolver_rule]]\nid = \"{id}\"\n{what}\nvpcs = [\"{vpc}\"]\n");
    let delegate = "action = \"delegate\"\ndelegation_record = \"sub.a.test\"";
    let forward = "action = \"forward\"\ndomain = \"sub.b.test\"\ntargets = [\"192.0.2.7\"]";
    let mut files = files([
        ("one", "$INCLUDE glue\nsub 300 NS ns.sub\nwww 60 A 10.0.0.1\n"),
        ("glue", "ns.sub 300 A 10.0.53.1\n"),
        ("two", "sub 300 NS ns.sub.a.test.\n"),
    ]);
    let zones = [zone("Z1", "a.test", "one"), zone("Z2", "b.test", "two")];
    let with = |rules: &[String]| configuration(&[&zones[..], rules].concat());
    let plain = reloads.accepted(&with(&[]), &files);
    plain.assert_kept([]);
    let delegating = reloads.accepted(&with(&[rule("rr-1", delegate, "vpc-a")]), &files);
    delegating.assert_kept(["Z1", "Z2"]);
    let contexts = |reloads: &Reloads| {
        let snapshot = &reloads.served.as_ref().expect("it was taken up").snapshot;
        let delegated = snapshot.contexts.iter().map(|context| format!("{:?}", context));
        delegated.filter(|context| context.contains("Delegation")).collect::<Vec<_>>()
    };
    let first = contexts(&reloads);
    assert!(first.len() == 2 && first.iter().any(|context| context.contains("10.0.53.1")), "{first:#?}");
    // The same targets are the same context, so that what they said is known on.
    reloads.accepted(&with(&[rule("rr-1", delegate, "vpc-a")]), &files).assert_kept(["Z1", "Z2"]);
    assert_eq!(contexts(&reloads), first);
    reloads.accepted(&with(&[rule("rr-2", delegate, "vpc-b"), rule("rr-3", forward, "vpc-a")]), &files);
    files.insert("glue".to_owned(), "ns.sub 300 A 10.0.53.2\n".to_owned());
    reloads.accepted(&with(&[rule("rr-1", delegate, "vpc-b")]), &files).assert_kept(["Z2"]);
    assert!(contexts(&reloads).iter().any(|context| context.contains("10.0.53.2")), "{:#?}", contexts(&reloads));
    // Where nobody can be asked, that is said of a zone that is not read too.
    files.insert("glue".to_owned(), "ns.sub 300 A 0.0.0.0\n".to_owned());
    reloads.accepted(&with(&[]), &files).assert_kept(["Z2"]);
    let refused = reloads.must(&with(&[rule("rr-1", delegate, "vpc-a")]), &files);
    assert!(!refused.is_accepted && refused.said.contains("nobody can be asked at 0.0.0.0"), "{}", refused.said);
    reloads.accepted(&with(&[]), &files).assert_kept(["Z1", "Z2"]);
}

#[test]
fn profiles_share_kept_zones() {
    let mut reloads = Reloads::new(["www.a.test", "a.test", "sub.a.test", "www.b.test", "x.b.test"]);
    let files = files([("one", "www 60 A 10.0.0.1\nsub 60 NS ns.elsewhere.test.\n"), ("two", "* 60 A 10.0.0.2\n")]);
    let nobodys = |id: &str, name: &str, file: &str| zone(id, name, file).replace("\"vpc-a\", \"vpc-b\"", "");
    let profile = |zones: &str, vpc: &str| {
        format!("[[profile]]\nid = \"rp-{vpc}\"\nvpcs = [\"vpc-{vpc}\"]\nhosted_zones = [{zones}]\n")
    };
    let mut change = |rest: &[String]| {
        let zones = [nobodys("Z1", "a.test", "one"), nobodys("Z2", "b.test", "two")];
        reloads.accepted(&configuration(&[&zones[..], rest].concat()), &files)
    };
    change(&[]);
    change(&[profile("\"Z1\"", "a")]).assert_kept(["Z1", "Z2"]);
    change(&[profile("\"Z2\", \"Z1\"", "b"), profile("\"Z2\"", "a")]).assert_kept(["Z1", "Z2"]);
    change(&[profile("\"Z2\"", "b")]).assert_kept(["Z1", "Z2"]);
    let of_vpc = configuration(&[zone("Z3", "c.test", "two"), zone("Z2", "b.test", "two"), profile("\"Z2\"", "b")]);
    reloads.accepted(&of_vpc, &files).assert_kept(["Z2"]);
}

#[test]
fn kept_zones_cover_others_and_are_covered() {
    let names = ["www.a.test", "x.a.test", "www.sub.a.test", "x.sub.a.test", "sub.a.test", "a.test", "x.y.sub.a.test"];
    let mut reloads = Reloads::new(names);
    let files = files([
        ("one", "www 60 A 10.0.0.1\nwww.sub 60 A 10.0.0.2\n"),
        ("two", "*.y 60 CNAME www\nwww 60 A 10.0.0.3\n"),
    ]);
    let (whole, sub) = (zone("Z1", "a.test", "one"), zone("Z2", "sub.a.test", "two"));
    let falls_through = "fallthrough = \"public\"\n";
    let system = "[[resolver_rule]]\nid = \"rr-1\"\naction = \"system\"\ndomain = \"sub.a.test\"\nvpcs = [\"vpc-a\"]\n";
    reloads.accepted(&configuration(&[whole.clone(), sub.clone()]), &files);
    for rest in [
        vec![sub.clone() + falls_through, whole.clone()],
        vec![whole.clone() + falls_through, sub.clone() + falls_through],
        vec![whole.clone() + falls_through, sub.clone(), system.to_owned()],
        vec![whole.clone(), sub + falls_through, system.to_owned()],
    ] {
        reloads.accepted(&configuration(&rest), &files).assert_kept(["Z1", "Z2"]);
    }
    reloads.accepted(&configuration(&[whole + falls_through]), &files).assert_kept(["Z1"]);
}

#[test]
fn what_is_written_into_is_no_file_of_a_kept_zone() {
    let mut reloads = Reloads::new(["www.a.test"]);
    let files =
        files([("one", "$INCLUDE sub/two\n"), ("sub/two", "$INCLUDE three\n"), ("three", "www 60 A 10.0.0.1\n")]);
    let zones = [zone("Z1", "a.test", "one"), zone("Z2", "b.test", "three")];
    reloads.accepted(&configuration(&zones), &files);
    let cache = |path: &str| format!("[cache]\nfile = \"{path}\"\n");
    let query_log = |path: &str| format!("[query_log]\noutput = \"file:{path}\"\n");
    // Where the file is named stands elsewhere than it did when it was read.
    let moved = [zone("Z0", "before.test", "three"), zones[1].clone(), zones[0].clone()];
    for path in ["one", "sub/two", "./three", "three"] {
        for table in [cache(path), query_log(path)] {
            for zones in [&zones[..], &moved] {
                let refused = reloads.must(&configuration(&[zones, std::slice::from_ref(&table)].concat()), &files);
                assert!(!refused.is_accepted && refused.said.contains("written"), "{table}: {}", refused.said);
            }
        }
    }
    let elsewhere = configuration(&[&zones[..], &[cache("sub/one")]].concat());
    reloads.accepted(&elsewhere, &files).assert_kept(["Z1", "Z2"]);
    // A file that no zone is made of any more may be written into.
    let without = configuration(&[zones[1].clone(), cache("sub/two")]);
    reloads.accepted(&without, &files).assert_kept(["Z2"]);
}

/// That many zones of a file each with so many names, about 260 octets each for each string.
fn large(zones: usize, names: usize, strings: usize, revision: impl Fn(usize) -> usize) -> (String, Files) {
    let text = (0..zones).map(|number| zone(&format!("Z{number}"), &format!("z{number}.test"), &number.to_string()));
    let string = format!(" \"{}\"", "x".repeat(250)).repeat(strings);
    let file = |number: usize| {
        let lines = (0..names).map(|host| format!("h{host} 60 TXT \"{}\"{string}\n", revision(number)));
        (number.to_string(), lines.collect::<String>())
    };
    (configuration(&text.collect::<Vec<_>>()), (0..zones).map(file).collect())
}

/// Changes one of 40 large zones after another; after how many of these everything is put together anew, and how large
/// the table was.
fn changes_until_anew(names: usize, strings: usize) -> (usize, usize) {
    const ZONES: usize = 40;
    let asked: Vec<String> =
        (0..ZONES).flat_map(|zone| ["h0", "h77", "never"].map(|host| format!("{host}.z{zone}.test"))).collect();
    let mut reloads = Reloads::new(asked.iter().map(String::as_str));
    let (text, files) = large(ZONES, names, strings, |_| 0);
    reloads.accepted(&text, &files);
    let octets = reloads.served.as_ref().expect("it was taken up").snapshot.nodes.octets();
    for changed in 1..ZONES {
        let (text, files) = large(ZONES, names, strings, |zone| usize::from(zone < changed));
        let reloaded = reloads.accepted(&text, &files);
        assert_eq!((reloaded.kept.len(), reloaded.is_patched), (ZONES - 1, !reloaded.is_anew));
        if reloaded.is_anew {
            // From there on it is patched again.
            let (text, files) =
                large(ZONES, names, strings, |zone| usize::from(zone < changed) + usize::from(zone == 20));
            assert!(reloads.accepted(&text, &files).is_patched);
            return (changed, octets);
        }
    }
    panic!("{octets} octets are never put together anew");
}

/// What is wasted, or copied from table to table, when so many of 40 zones have changed one after another.
fn waste_after(changed: usize, octets: usize) -> usize {
    (2 * changed - 1) * (octets / 40)
}

#[test]
fn a_large_table_is_patched_until_a_mebioctet_of_it_is_waste() {
    let (changed, octets) = changes_until_anew(50, 8);
    assert!(octets < 16 << 20 && changed > 2, "after {changed} of {octets} octets");
    assert!(waste_after(changed - 1, octets) <= 1 << 20 && waste_after(changed, octets) > 1 << 20, "after {changed}");
}

#[test]
fn a_larger_table_is_patched_until_a_sixteenth_of_it_is_waste() {
    let (changed, octets) = changes_until_anew(50, 50);
    assert!(octets > 20 << 20, "it has {octets} octets");
    assert!(
        waste_after(changed - 1, octets) <= octets / 16 && waste_after(changed, octets) > octets / 16,
        "after {changed}"
    );
}
