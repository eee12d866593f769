//! The UDP worker's loop over memory: everything between `recvmmsg` and `sendmmsg`.
//!
//! `cargo bench --bench worker` measures time; `-- --instructions [case]` counts user instructions a query with
//! callgrind; `-- --quick` (or `PLUSTWO_BENCH_QUICK=1`) runs each case once on a small world and checks the replies.

#![allow(clippy::print_stdout, reason = "a bench says what it found")]

#[path = "support/workloads.rs"]
mod workloads;

use criterion::{Criterion, Throughput};
use plustwo::forward::lane::Orders;
use plustwo::serve::later::Waiter;
use plustwo::serve::query_log::{Logger, Pending, Selection, Selections};
use plustwo::serve::udp::worker::{BatchWork, Batched, Datagrams};
use plustwo::snapshot::{DoorIndex, Reader};
use plustwo::udp::sys::{REPLY_OCTETS, Received};
use std::net::SocketAddr;
use std::time::Duration;
use workloads::{BATCH, CASES, Extent, Mode, Workload};

/// A workload whose queries are logged: what that adds to the workload without is what a log costs its worker.
struct Logged {
    name: &'static str,
    case: &'static str,
    sample_rate: f64,
}

/// All of these.
const LOGGED: &[Logged] = &[
    Logged { name: "log_every_query", case: "names_100k", sample_rate: 1.0 },
    Logged { name: "log_one_percent", case: "names_100k", sample_rate: 0.01 },
];
/// Octets that wait for the writer at most: what [`BATCHES_TAKEN`] batches take, and more.
const LOG_OCTETS: usize = 16 << 20;
/// Batches after which the writer takes what there is.
const BATCHES_TAKEN: usize = 64;

impl Logged {
    fn workload(&self, extent: Extent) -> Workload {
        let workload = Workload::new(workloads::case(self.case), extent);
        let selection = Selection { sample_rate: self.sample_rate, ..Selection::ALL };
        let selections = Selections { of_logs: [Some(selection), None], wants_queries: false };
        workload.server.query_log.start(selections, LOG_OCTETS);
        workload
    }
}

fn main() {
    match Mode::from_env() {
        Mode::Quick => {
            for case in CASES {
                answer_all(&Workload::new(*case, Extent::Quick));
                println!("{}: right", case.name);
            }
            for logged in LOGGED {
                answer_all(&logged.workload(Extent::Quick));
                println!("{}: right", logged.name);
            }
        }
        Mode::Instructions(filter) => {
            for case in CASES.iter().filter(|case| case.name.contains(&filter)) {
                workloads::count_instructions(*case, "measured_batch");
            }
            for logged in LOGGED.iter().filter(|logged| logged.name.contains(&filter)) {
                workloads::count_instructions_of(logged.name, "measured_batch");
            }
        }
        Mode::Counted(name) => match LOGGED.iter().find(|logged| logged.name == name) {
            Some(logged) => answer_all(&logged.workload(Extent::FewQueries)),
            None => answer_all(&Workload::new(workloads::case(&name), Extent::FewQueries)),
        },
        Mode::Time => {
            let mut criterion = Criterion::default()
                .sample_size(30)
                .warm_up_time(Duration::from_millis(500))
                .measurement_time(Duration::from_secs(2))
                .configure_from_args();
            for case in CASES {
                time(&mut criterion, case.name, &Workload::new(*case, Extent::Full));
            }
            for logged in LOGGED {
                time(&mut criterion, logged.name, &logged.workload(Extent::Full));
            }
            criterion.final_summary();
        }
    }
}

/// Measures batches of 64, each with the next queries.
fn time(criterion: &mut Criterion, name: &str, workload: &Workload) {
    let mut group = criterion.benchmark_group("worker");
    group.throughput(Throughput::Elements(BATCH as u64));
    let (mut worker, mut memory) = (Worker::new(workload), Memory::new(workload));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            measured_batch(&mut worker, &mut memory);
            worker.let_writer_take(workload);
            memory.advance();
        });
    });
    group.finish();
}

/// Answers every query once and checks the replies.
fn answer_all(workload: &Workload) {
    let (mut worker, mut memory) = (Worker::new(workload), Memory::new(workload));
    for _ in 0..workload.len() / BATCH {
        measured_batch(&mut worker, &mut memory);
        worker.let_writer_take(workload);
        for slot in 0..BATCH {
            workload.check(memory.first + slot, &memory.replies[slot][..memory.octets[slot]]);
        }
        memory.advance();
    }
    assert_eq!(workload.server.query_log.lost(), 0, "what is logged has room");
}

/// What a worker keeps from batch to batch.
struct Worker {
    work: BatchWork,
    orders: Orders<Waiter>,
    reader: Reader,
    logger: Logger,
    /// What the writer of the log took, and batches since then.
    taken: Pending,
    batches: usize,
}

impl Worker {
    fn new(workload: &Workload) -> Self {
        let server = &workload.server;
        Self {
            work: BatchWork::default(),
            orders: server.lanes.orders(),
            reader: server.publisher.reader(),
            logger: Logger::new(0),
            taken: Pending::with_room(server.query_log.octets_each(LOG_OCTETS)),
            batches: 0,
        }
    }

    /// Takes what is to be logged, now and then.
    fn let_writer_take(&mut self, workload: &Workload) {
        self.batches += 1;
        if self.batches == BATCHES_TAKEN {
            self.batches = 0;
            workload.server.query_log.take(0, &mut self.taken);
        }
    }
}

/// One batch, as the worker answers it: its own function, for callgrind counts by function.
#[inline(never)]
fn measured_batch(worker: &mut Worker, memory: &mut Memory<'_>) {
    let Worker { work, orders, reader, logger, .. } = worker;
    let server = &memory.workload.server;
    let published = reader.current();
    let (counters, began) = (&server.counters[0], server.precisely());
    let batched = Batched { server, published, counters, door: DoorIndex(0), began };
    batched.answer(work, memory, BATCH, orders);
    let ended = server.precisely();
    batched.time(work, ended);
    batched.log(logger, work, memory, BATCH, ended);
    assert!(orders.is_empty(), "everything is known here");
}

/// A batch in memory: queries of a workload, and room for their replies.
struct Memory<'w> {
    workload: &'w Workload,
    /// The first query of the batch.
    first: usize,
    replies: Box<[[u8; REPLY_OCTETS]]>,
    octets: [usize; BATCH],
}

impl<'w> Memory<'w> {
    fn new(workload: &'w Workload) -> Self {
        Self { workload, first: 0, replies: vec![[0; REPLY_OCTETS]; BATCH].into(), octets: [0; BATCH] }
    }

    /// Goes on to the next queries.
    fn advance(&mut self) {
        self.first = (self.first + BATCH) % self.workload.len();
    }
}

impl Datagrams for Memory<'_> {
    #[inline]
    fn datagram(&self, slot: usize) -> Received<'_> {
        let index = self.first + slot;
        let client = SocketAddr::new(self.workload.client(index), 4000);
        Received { octets: self.workload.message(index), client, local: None, truncated: false }
    }

    #[inline]
    fn exchange(&mut self, slot: usize) -> (Received<'_>, &mut [u8; REPLY_OCTETS]) {
        let index = self.first + slot;
        let client = SocketAddr::new(self.workload.client(index), 4000);
        let received = Received { octets: self.workload.message(index), client, local: None, truncated: false };
        (received, &mut self.replies[slot])
    }

    #[inline]
    fn set_reply(&mut self, slot: usize, octets: usize) {
        self.octets[slot] = octets;
    }
}
