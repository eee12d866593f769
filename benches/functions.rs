//! The steps of an answer by themselves: parse ([`Query::read`]), lookup ([`Snapshot::locate`] and `resolve`), write
//! (`handle::complete`, which looks up again what is now in the caches, and writes). And what is done with an upstream's
//! reply: read ([`Message::parse`]) and keep ([`UpstreamReply::new`]).
//!
//! `cargo bench --bench functions` measures time; `-- --instructions [case]` counts user instructions a query with
//! callgrind; `-- --quick` (or `PLUSTWO_BENCH_QUICK=1`) runs each case once on a small world and checks the replies.

#![allow(clippy::print_stdout, reason = "a bench says what it found")]

#[path = "support/workloads.rs"]
mod workloads;

use criterion::{Criterion, Throughput};
use plustwo::dns::message::Message;
use plustwo::dns::reply::Transport;
use plustwo::dns::{FoldedName, Query, Ttl};
use plustwo::forward::Millis;
use plustwo::forward::reply::{TtlLimits, UpstreamReply};
use plustwo::resolve::{Ask, Chance, End, resolve};
use plustwo::serve::handle::{self, LookedUp, Outcome, Scratch, Slot, Surroundings};
use plustwo::snapshot::{DoorIndex, Snapshot};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use workloads::{BATCH, CASES, Extent, Mode, Workload};

/// The measured functions, for callgrind.
const FUNCTIONS: [&str; 3] = ["measured_parse", "measured_lookup", "measured_write"];

fn main() {
    match Mode::from_env() {
        Mode::Quick => {
            for case in CASES {
                Steps::new().all_queries_once(&Workload::new(*case, Extent::Quick));
                println!("{}: right", case.name);
            }
            for reply in REPLIES {
                reply.check();
                println!("{}: right", reply.name);
            }
        }
        Mode::Instructions(filter) => {
            for case in CASES.iter().filter(|case| case.name.contains(&filter)) {
                FUNCTIONS.iter().for_each(|function| workloads::count_instructions(*case, function));
            }
            for reply in REPLIES.iter().filter(|reply| reply.name.contains(&filter)) {
                for function in REPLY_FUNCTIONS {
                    workloads::count_instructions_of(reply.name, function);
                }
            }
        }
        Mode::Counted(name) => {
            if let Some(reply) = REPLIES.iter().find(|reply| reply.name == name) {
                let octets = reply.octets();
                let message = Message::parse(&octets).expect("well-formed");
                for _ in 0..workloads::QUERIES_FEW {
                    measured_message(&octets);
                    measured_keep(&message);
                }
                return;
            }
            Steps::new().all_queries_once(&Workload::new(workloads::case(&name), Extent::FewQueries));
        }
        Mode::Time => {
            let mut criterion = Criterion::default()
                .sample_size(20)
                .warm_up_time(Duration::from_millis(300))
                .measurement_time(Duration::from_secs(1))
                .configure_from_args();
            for case in CASES {
                time(&mut criterion, case.name, &Workload::new(*case, Extent::Full));
            }
            for reply in REPLIES {
                reply.time(&mut criterion);
            }
            criterion.final_summary();
        }
    }
}

/// Measures each step over batches of 64; what a step needs from the one before is made outside the measured time.
fn time(criterion: &mut Criterion, name: &str, workload: &Workload) {
    let mut steps = Steps::new();
    let mut first = 0;
    let published = workload.server.publisher.current();
    let snapshot = &published.snapshot;
    for function in FUNCTIONS {
        let mut group = criterion.benchmark_group(function.trim_start_matches("measured_"));
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|batches| {
                let mut measured = Duration::ZERO;
                for _ in 0..batches {
                    measured += steps.one_batch(workload, snapshot, first, function);
                    first = (first + BATCH) % workload.len();
                }
                measured
            });
        });
        group.finish();
    }
}

/// What the steps work on.
struct Steps {
    queries: Vec<Query>,
    slots: Vec<Slot>,
    scratch: Scratch,
    last: FoldedName,
    replies: Vec<[u8; 1232]>,
    octets: [usize; BATCH],
}

impl Steps {
    fn new() -> Self {
        Self {
            queries: vec![Query::default(); BATCH],
            slots: std::iter::repeat_with(Slot::default).take(BATCH).collect(),
            scratch: Scratch::default(),
            last: FoldedName::default(),
            replies: vec![[0; 1232]; BATCH],
            octets: [0; BATCH],
        }
    }

    /// Runs every step on every query, and checks the replies.
    fn all_queries_once(&mut self, workload: &Workload) {
        let published = workload.server.publisher.current();
        let snapshot = &published.snapshot;
        for first in (0..workload.len()).step_by(BATCH) {
            self.measured_parse(workload, snapshot, first);
            self.measured_lookup(workload, snapshot, first);
            self.begin(workload, snapshot, first);
            self.measured_write(workload, snapshot, first);
            for slot in 0..BATCH {
                workload.check(first + slot, &self.replies[slot][..self.octets[slot]]);
            }
        }
    }

    /// One batch up to a step; the time of that step alone.
    fn one_batch(&mut self, workload: &Workload, snapshot: &Snapshot, first: usize, function: &str) -> Duration {
        let step = match function {
            "measured_parse" => Self::measured_parse,
            "measured_lookup" => {
                self.measured_parse(workload, snapshot, first);
                Self::measured_lookup
            }
            _ => {
                self.begin(workload, snapshot, first);
                Self::measured_write
            }
        };
        let start = Instant::now();
        step(self, workload, snapshot, first);
        start.elapsed()
    }

    #[inline(never)]
    fn measured_parse(&mut self, workload: &Workload, snapshot: &Snapshot, first: usize) {
        for (slot, query) in self.queries.iter_mut().enumerate() {
            query.read(workload.message(first + slot), snapshot.seed).expect("well-formed");
        }
    }

    #[inline(never)]
    fn measured_lookup(&mut self, workload: &Workload, snapshot: &Snapshot, first: usize) {
        for (slot, query) in self.queries.iter().enumerate() {
            let view = snapshot.view_for(DoorIndex(0), workload.client(first + slot)).expect("a VPC's client");
            let view = snapshot.view(view);
            let located = snapshot.locate(view, &query.qname);
            let ask = Ask { name: &query.qname, qtype: query.qtype, cnames_before: 0 };
            let chance = Chance { pick: 0, health: &snapshot.health };
            let resolution = resolve(snapshot, view, ask, located, chance, &mut self.last);
            assert!(!matches!(resolution.end, End::NobodyToAsk | End::ChainTooLong));
            black_box(&resolution);
        }
    }

    fn begin(&mut self, workload: &Workload, snapshot: &Snapshot, first: usize) {
        for (slot, into) in self.slots.iter_mut().enumerate() {
            let index = first + slot;
            handle::begin(into, snapshot, workload.message(index), DoorIndex(0), workload.client(index));
        }
    }

    #[inline(never)]
    fn measured_write(&mut self, workload: &Workload, snapshot: &Snapshot, first: usize) {
        let around = Surroundings {
            snapshot,
            forwarder: &workload.server.forwarder,
            now: Millis(0),
            pick: 0,
            transport: Transport::Udp,
            looked_up: LookedUp::NotYet,
            fetched: &[],
        };
        for (index, slot) in self.slots.iter().enumerate() {
            let message = workload.message(first + index);
            let outcome = handle::complete(slot, &mut self.scratch, &around, message, &mut self.replies[index]);
            let Outcome::Reply(reply) = outcome else { panic!("everything is known here: {outcome:?}") };
            self.octets[index] = reply.octets;
        }
    }
}

/// What an upstream may say: one in a list of replies to `www.example.com.`, each with an OPT.
struct UpstreamSays {
    name: &'static str,
    rcode: u8,
    counts: [u8; 2],
    /// The records of answer and authority.
    records: &'static [&'static [u8]],
    /// The lifetime that comes of it, in seconds.
    lifetime: u32,
}

/// The measured functions of replies, for callgrind.
const REPLY_FUNCTIONS: [&str; 2] = ["measured_message", "measured_keep"];

const REPLIES: &[UpstreamSays] = &[
    UpstreamSays {
        name: "reply_address",
        rcode: 0,
        counts: [1, 0],
        records: &[b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x01"],
        lifetime: 3600,
    },
    UpstreamSays {
        name: "reply_chain",
        rcode: 0,
        counts: [4, 0],
        records: &[
            b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x0e\x10\x00\x08\x05alias\xc0\x10",
            b"\xc0\x2d\x00\x05\x00\x01\x00\x00\x01\x2c\x00\x07\x04host\xc0\x10",
            b"\xc0\x41\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01",
            b"\xc0\x41\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x02",
        ],
        lifetime: 60,
    },
    UpstreamSays {
        name: "reply_nxdomain",
        rcode: 3,
        counts: [0, 1],
        // TTL and MINIMUM are 900: nothing has to be capped.
        records: &[b"\xc0\x10\x00\x06\x00\x01\x00\x00\x03\x84\x00\x20\x02ns\xc0\x10\x04mail\xc0\x10\
            \x00\x00\x00\x01\x00\x00\x1c\x20\x00\x00\x03\x84\x00\x12\x75\x00\x00\x00\x03\x84"],
        lifetime: 900,
    },
];

impl UpstreamSays {
    /// The reply as it comes off the wire.
    fn octets(&self) -> Vec<u8> {
        let [answers, authority] = self.counts;
        let mut octets = vec![0xab, 0xcd, 0x81, 0x80 | self.rcode, 0, 1, 0, answers, 0, authority, 0, 1];
        octets.extend_from_slice(b"\x03www\x07example\x03com\x00\x00\x01\x00\x01");
        octets.extend(self.records.concat());
        octets.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00");
        octets
    }

    /// Whether it is what it is to be.
    fn check(&self) {
        let octets = self.octets();
        let reply = measured_keep(&Message::parse(&octets).expect("well-formed"));
        assert_eq!(reply.lifetime().seconds(), self.lifetime, "{}", self.name);
        assert_eq!(reply.octets().len() + 11, octets.len(), "{}", self.name);
    }

    /// Measures both functions.
    fn time(&self, criterion: &mut Criterion) {
        let octets = self.octets();
        let message = Message::parse(&octets).expect("well-formed");
        criterion.benchmark_group("message").bench_function(self.name, |bencher| {
            bencher.iter(|| measured_message(black_box(&octets)));
        });
        criterion.benchmark_group("keep").bench_function(self.name, |bencher| {
            bencher.iter(|| measured_keep(black_box(&message)));
        });
    }
}

#[inline(never)]
fn measured_message(octets: &[u8]) {
    black_box(Message::parse(octets)).expect("well-formed");
}

#[inline(never)]
fn measured_keep(message: &Message<'_>) -> Arc<UpstreamReply> {
    let limits = TtlLimits {
        ttl_max: Ttl::from_wire(86_400),
        negative_ttl_max: Ttl::from_wire(3_600),
        failure_ttl: Ttl::from_wire(5),
    };
    Arc::new(UpstreamReply::new(message, limits, Millis(0), false).expect("small"))
}
