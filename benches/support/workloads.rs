//! What the benches answer: a world, and queries for it in random order.

#![allow(dead_code, reason = "each bench takes the part it needs")]

#[path = "../../tests/support/worlds.rs"]
pub(crate) mod worlds;

use ipnet::IpNet;
use plustwo::aws::{LoggedVpcs, Model, QueryLogConfig};
use plustwo::dns::cookie::{CookieSecret, CookieSecrets, SentCookie, SentServerCookie};
use plustwo::dns::{Rcode, Rtype};
use plustwo::serve::server::Server;
use plustwo::serve::wall_clock::WallClock;
use plustwo::snapshot::protection::{Rate, Rates};
use plustwo::snapshot::{Protection, Snapshot};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::net::IpAddr;
use std::process::Command;
use std::str::FromStr as _;

/// Queries of one batch.
pub(crate) const BATCH: usize = 64;
/// Queries of a workload; each batch takes the next ones, round and round.
const QUERIES: usize = 256 * 1024;
/// The same for quick runs and under callgrind.
pub(crate) const QUERIES_FEW: usize = 4096;
/// VPCs of the workload that is about views.
const VIEW_VPCS: usize = 10_000;

/// A workload by name: how large its world is, and what is asked in it.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// What it is called.
    pub(crate) name: &'static str,
    names: usize,
    vpcs: usize,
    asked: Asked,
    edns: bool,
    guard: Guard,
}

/// What keeps the replies from being abused.
#[derive(Clone, Copy, PartialEq)]
enum Guard {
    /// Nothing.
    Off,
    /// Limits that the clients are exempt from, as private ones are by default.
    Exempt,
    /// Limits that the clients do not reach.
    Limited,
    /// The same limits, and clients with valid cookies.
    Cookies,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// One name again and again.
    One,
    /// Names that have an address.
    Names,
    /// Names that a wildcard answers for.
    Wildcard,
    /// Names that do not exist.
    NxDomain,
    /// IP names of the VPC's addresses, which are computed.
    IpNames,
    /// Names of a zone each, in a view that has as many zones, and rules beside them.
    Authorities,
    /// Names that an upstream has answered for before.
    Cached,
    /// Names whose record sets are these.
    Sets(worlds::Sets),
}

/// All workloads.
pub(crate) const CASES: &[Case] = &[
    Case { name: "one_name", names: 10, vpcs: 1, asked: Asked::One, edns: false, guard: Guard::Off },
    Case { name: "names_10", names: 10, vpcs: 1, asked: Asked::Names, edns: false, guard: Guard::Off },
    Case { name: "names_100k", names: 100_000, vpcs: 1, asked: Asked::Names, edns: false, guard: Guard::Off },
    Case { name: "names_100k_edns", names: 100_000, vpcs: 1, asked: Asked::Names, edns: true, guard: Guard::Off },
    Case { name: "names_1m", names: 1_000_000, vpcs: 1, asked: Asked::Names, edns: false, guard: Guard::Off },
    Case { name: "nxdomain", names: 100_000, vpcs: 1, asked: Asked::NxDomain, edns: false, guard: Guard::Off },
    Case { name: "wildcard", names: 100_000, vpcs: 1, asked: Asked::Wildcard, edns: false, guard: Guard::Off },
    Case { name: "views_10k", names: 100_000, vpcs: VIEW_VPCS, asked: Asked::Names, edns: false, guard: Guard::Off },
    Case { name: "authorities_10", names: 5, vpcs: 1, asked: Asked::Authorities, edns: false, guard: Guard::Off },
    Case { name: "authorities_2000", names: 1000, vpcs: 1, asked: Asked::Authorities, edns: false, guard: Guard::Off },
    Case { name: "ip_names", names: 256, vpcs: 1, asked: Asked::IpNames, edns: false, guard: Guard::Off },
    Case {
        name: "values_8",
        names: 10,
        vpcs: 1,
        asked: Asked::Sets(worlds::Sets::Values(8)),
        edns: false,
        guard: Guard::Off,
    },
    Case {
        name: "weighted_3",
        names: 10,
        vpcs: 1,
        asked: Asked::Sets(worlds::Sets::Weighted(3)),
        edns: false,
        guard: Guard::Off,
    },
    Case {
        name: "failover",
        names: 10,
        vpcs: 1,
        asked: Asked::Sets(worlds::Sets::Failover),
        edns: false,
        guard: Guard::Off,
    },
    Case {
        name: "latency_4",
        names: 10,
        vpcs: 1,
        asked: Asked::Sets(worlds::Sets::Latency),
        edns: false,
        guard: Guard::Off,
    },
    Case { name: "tree_2", names: 10, vpcs: 1, asked: Asked::Sets(worlds::Sets::Tree), edns: false, guard: Guard::Off },
    Case {
        name: "multivalue_8",
        names: 10,
        vpcs: 1,
        asked: Asked::Sets(worlds::Sets::Multivalue(8)),
        edns: false,
        guard: Guard::Off,
    },
    Case {
        name: "multivalue_12",
        names: 10,
        vpcs: 1,
        asked: Asked::Sets(worlds::Sets::Multivalue(12)),
        edns: false,
        guard: Guard::Off,
    },
    Case { name: "exempt_100k", names: 100_000, vpcs: 1, asked: Asked::Names, edns: false, guard: Guard::Exempt },
    Case { name: "limited_100k", names: 100_000, vpcs: 1, asked: Asked::Names, edns: false, guard: Guard::Limited },
    Case {
        name: "limited_views",
        names: 100_000,
        vpcs: VIEW_VPCS,
        asked: Asked::Names,
        edns: false,
        guard: Guard::Limited,
    },
    Case { name: "cookies_100k", names: 100_000, vpcs: 1, asked: Asked::Names, edns: true, guard: Guard::Cookies },
    Case { name: "cached_forward", names: 10_000, vpcs: 1, asked: Asked::Cached, edns: false, guard: Guard::Off },
];

impl Guard {
    /// What a snapshot holds of it.
    fn protection(self, secrets: &CookieSecrets) -> Protection {
        let everyone = [IpNet::from_str("0.0.0.0/0").expect("a prefix")];
        let exempt = if self == Self::Exempt { &everyone[..] } else { &[] };
        let rates = Rates::new(Rate::per_second(1_000_000_000), Rate::per_second(20), 2, (24, 56), exempt);
        match self {
            Self::Off => Protection::default(),
            _ => Protection { cookies: Some(secrets.clone()), rates: Some(rates) },
        }
    }
}

/// How large a run is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Extent {
    /// As stated.
    Full,
    /// The stated world, few queries.
    FewQueries,
    /// A small world, few queries.
    Quick,
}

/// A world that is served, and queries for it.
pub(crate) struct Workload {
    /// The server, with one worker.
    pub(crate) server: Server,
    messages: Vec<u8>,
    /// Where each message begins; one more than there are messages.
    starts: Vec<usize>,
    clients: Vec<IpAddr>,
    rcode: Rcode,
    answers: u16,
}

impl Workload {
    /// Makes the world of a case, and its queries.
    pub(crate) fn new(case: Case, extent: Extent) -> Self {
        let names = if extent == Extent::Quick { case.names.min(2000) } else { case.names };
        let vpcs = if extent == Extent::Quick { case.vpcs.min(100) } else { case.vpcs };
        let forwarder = worlds::forwarder();
        let cached = |index: usize| format!("host{index}.outside.example");
        let mut snapshot = if case.asked == Asked::Cached {
            let upstream = worlds::Upstream::start();
            let snapshot = snapshot(worlds::model(vpcs, vec![upstream.address]));
            let all: Vec<String> = (0..names).map(cached).collect();
            worlds::fill_cache(&forwarder, &snapshot, &all);
            snapshot
        } else if let Asked::Sets(sets) = case.asked {
            snapshot(worlds::routed_model(names, sets))
        } else if case.asked == Asked::Authorities {
            snapshot(worlds::authorities_model(names))
        } else {
            snapshot(worlds::sized_model(names, vpcs))
        };
        let secrets = CookieSecrets::new(CookieSecret([7; 16]), &[]);
        snapshot.protection = case.guard.protection(&secrets);
        let server = worlds::server(snapshot, &forwarder);
        let mut clock = WallClock::default();
        let mut random = SmallRng::seed_from_u64(1);
        let (mut messages, mut starts, mut clients) = (Vec::new(), vec![0], Vec::new());
        for id in 0..if extent == Extent::Full { QUERIES } else { QUERIES_FEW } {
            let index = random.random_range(0..names);
            let zone = worlds::sized_zone(index / worlds::NAMES_PER_ZONE);
            let qname = match case.asked {
                Asked::One => worlds::sized_name(7),
                Asked::Names | Asked::Sets(_) => worlds::sized_name(index),
                Asked::Wildcard => format!("host{index}.any.{zone}"),
                Asked::NxDomain => format!("nohost{index}.{zone}"),
                Asked::IpNames => format!("ip-10-0-0-{}.ap-northeast-2.compute.internal", index % 256),
                Asked::Authorities => worlds::authority_name(index),
                Asked::Cached => cached(index),
            };
            let client = worlds::client(random.random_range(0..vpcs));
            messages.extend_from_slice(&worlds::query(id as u16, &qname, Rtype::A, case.edns));
            if case.guard == Guard::Cookies {
                let sent = SentCookie { client: [5; 8], server: SentServerCookie::Absent };
                let given = secrets.answer(&sent, client, clock.seconds()).server;
                // The length of the options is what a query ends in.
                messages.truncate(messages.len() - 2);
                messages.extend([&[0, 28, 0, 10, 0, 24], &sent.client[..], &given].concat());
            }
            starts.push(messages.len());
            clients.push(client);
        }
        let (rcode, answers) = match case.asked {
            Asked::NxDomain => (Rcode::NXDOMAIN, 0),
            Asked::Sets(sets) => (Rcode::NOERROR, sets.answers()),
            Asked::One | Asked::Names | Asked::Wildcard | Asked::Authorities | Asked::IpNames | Asked::Cached => {
                (Rcode::NOERROR, 1)
            }
        };
        Self { server, messages, starts, clients, rcode, answers }
    }

    /// Number of queries, a multiple of [`BATCH`].
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// The octets of a query.
    #[inline]
    pub(crate) fn message(&self, index: usize) -> &[u8] {
        &self.messages[self.starts[index]..self.starts[index + 1]]
    }

    /// Who sends a query.
    #[inline]
    pub(crate) fn client(&self, index: usize) -> IpAddr {
        self.clients[index]
    }

    /// Holds a reply against what every query of this workload gets.
    pub(crate) fn check(&self, index: usize, reply: &[u8]) {
        let query = self.message(index);
        let question = 12 + query[12..].iter().position(|octet| *octet == 0).expect("the root") + 5;
        assert_eq!(reply[..2], query[..2], "the id");
        assert_eq!(reply[12..question], query[12..question], "the question");
        assert_eq!(u16::from(reply[3] & 0x0f), self.rcode.0, "the rcode");
        assert_eq!(u16::from_be_bytes([reply[6], reply[7]]), self.answers, "answers");
    }
}

/// What is served of a model. Whatever is logged is everybody's; nothing is, unless a bench turns it on.
fn snapshot(model: Model) -> Snapshot {
    let account_id = "000000000000".into();
    let query_log = QueryLogConfig { account_id, query_log: LoggedVpcs::All, dnstap: LoggedVpcs::None };
    worlds::snapshot(&Model { query_log: Some(query_log), ..model })
}

/// What a bench is to do.
pub(crate) enum Mode {
    /// Run each case once on a small world and check the replies.
    Quick,
    /// Count the instructions of each case (whose name holds this) in runs of its own under callgrind.
    Instructions(String),
    /// Such a run: one case, its queries once.
    Counted(String),
    /// Measure time with criterion.
    Time,
}

impl Mode {
    /// From the arguments and `PLUSTWO_BENCH_QUICK=1`. `cargo test --benches` gives no `--bench`: it is quick as well.
    pub(crate) fn from_env() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let after = |flag: &str| {
            let at = arguments.iter().position(|argument| argument == flag)?;
            Some(arguments.get(at + 1).filter(|value| !value.starts_with('-')).cloned().unwrap_or_default())
        };
        let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
        if let Some(case) = after("--counted") {
            Self::Counted(case)
        } else if let Some(filter) = after("--instructions") {
            Self::Instructions(filter)
        } else if has("--quick") || !has("--bench") || std::env::var_os("PLUSTWO_BENCH_QUICK").is_some_and(|v| v == "1")
        {
            Self::Quick
        } else {
            Self::Time
        }
    }
}

/// The case of this name.
pub(crate) fn case(name: &str) -> Case {
    *CASES.iter().find(|case| case.name == name).expect("a case of this name")
}

/// User instructions a query of one case, inside the function of this name, counted by callgrind. A name with a world
/// of a million is left out: under callgrind it takes minutes to make, and its instructions are those of 100,000.
pub(crate) fn count_instructions(case: Case, function: &str) {
    if case.names <= 100_000 {
        count_instructions_of(case.name, function);
    }
}

/// The same for whatever a run with `--counted NAME` does [`QUERIES_FEW`] times.
pub(crate) fn count_instructions_of(name: &str, function: &str) {
    let binary = std::env::current_exe().expect("the path of this bench");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(binary)
        .args(["--counted", name])
        .output()
        .expect("valgrind is installed");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    let collected = report.lines().find_map(|line| line.split_once("Collected : ")).expect("a count");
    let instructions: f64 = collected.1.trim().parse().expect("a number");
    println!("{name:<18} {function:<18} {:>7.1} instructions a query", instructions / QUERIES_FEW as f64);
}
