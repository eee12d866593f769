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
use plustwo::serve::udp::worker::{BatchWork, Batched, Datagrams};
use plustwo::snapshot::{DoorIndex, Reader};
use plustwo::udp::sys::{REPLY_OCTETS, Received};
use std::net::SocketAddr;
use std::time::Duration;
use workloads::{BATCH, CASES, Extent, Mode, Workload};

fn main() {
    match Mode::from_env() {
        Mode::Quick => {
            for case in CASES {
                answer_all(&Workload::new(*case, Extent::Quick));
                println!("{}: right", case.name);
            }
        }
        Mode::Instructions(filter) => {
            for case in CASES.iter().filter(|case| case.name.contains(&filter)) {
                workloads::count_instructions(*case, "measured_batch");
            }
        }
        Mode::Counted(name) => answer_all(&Workload::new(workloads::case(&name), Extent::FewQueries)),
        Mode::Time => {
            let mut criterion = Criterion::default()
                .sample_size(30)
                .warm_up_time(Duration::from_millis(500))
                .measurement_time(Duration::from_secs(2))
                .configure_from_args();
            for case in CASES {
                time(&mut criterion, case.name, &Workload::new(*case, Extent::Full));
            }
            criterion.final_summary();
        }
    }
}

/// Measures batches of 64, each with the next queries.
fn time(criterion: &mut Criterion, name: &str, workload: &Workload) {
    let mut group = criterion.benchmark_group("worker");
    group.throughput(Throughput::Elements(BATCH as u64));
    let (mut work, mut memory) = (BatchWork::default(), Memory::new(workload));
    let mut orders = workload.server.lanes.orders();
    let mut reader = workload.server.publisher.reader();
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            measured_batch(&mut work, &mut orders, &mut reader, &mut memory);
            memory.advance();
        });
    });
    group.finish();
}

/// Answers every query once and checks the replies.
fn answer_all(workload: &Workload) {
    let (mut work, mut memory) = (BatchWork::default(), Memory::new(workload));
    let mut orders = workload.server.lanes.orders();
    let mut reader = workload.server.publisher.reader();
    for _ in 0..workload.len() / BATCH {
        measured_batch(&mut work, &mut orders, &mut reader, &mut memory);
        for slot in 0..BATCH {
            workload.check(memory.first + slot, &memory.replies[slot][..memory.octets[slot]]);
        }
        memory.advance();
    }
}

/// One batch, as the worker answers it: its own function, for callgrind counts by function.
#[inline(never)]
fn measured_batch(work: &mut BatchWork, orders: &mut Orders<Waiter>, reader: &mut Reader, memory: &mut Memory<'_>) {
    let server = &memory.workload.server;
    let published = reader.current();
    let (counters, began) = (&server.counters[0], server.precisely());
    let batched = Batched { server, published, counters, door: DoorIndex(0), began };
    batched.answer(work, memory, BATCH, orders);
    batched.time(work, server.precisely());
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
