//! What those who answer leave for the query log: whole records or counted losses, whatever the writer does; and nothing is
//! allocated for it.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "support/worlds.rs"]
mod worlds;

use allocator::Counting;
use plustwo::aws::{LoggedVpcs, Model, QueryLogConfig};
use plustwo::dns::Rtype;
use plustwo::forward::Millis;
use plustwo::forward::lane::Orders;
use plustwo::serve::counters::ReplySource;
use plustwo::serve::later::Waiter;
use plustwo::serve::query_log::{Logger, Pending, SNAPSHOTS_MAX, Selection, Selections};
use plustwo::serve::server::Server;
use plustwo::serve::udp::worker::{BatchWork, Batched, Datagrams};
use plustwo::snapshot::publish::Published;
use plustwo::snapshot::{DoorIndex, Logs};
use plustwo::udp::sys::{REPLY_OCTETS, Received};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// Allocations of this thread so far.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(count);

/// Counts one; nothing where the thread is ending.
fn count() {
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

/// Everything into the query log, without queries.
const EVERYTHING: Selections = Selections { of_logs: [Some(Selection::ALL), None], wants_queries: false };

/// A batch in memory: the same client asks everything.
struct Memory {
    messages: Vec<Vec<u8>>,
    replies: Box<[[u8; REPLY_OCTETS]]>,
}

impl Memory {
    fn new(messages: Vec<Vec<u8>>) -> Self {
        let replies = vec![[0; REPLY_OCTETS]; messages.len()].into();
        Self { messages, replies }
    }
}

fn client() -> SocketAddr {
    SocketAddr::new(worlds::client(0), 4000)
}

impl Datagrams for Memory {
    fn datagram(&self, slot: usize) -> Received<'_> {
        Received { octets: &self.messages[slot], client: client(), local: None, truncated: false }
    }

    fn exchange(&mut self, slot: usize) -> (Received<'_>, &mut [u8; REPLY_OCTETS]) {
        let received = Received { octets: &self.messages[slot], client: client(), local: None, truncated: false };
        (received, &mut self.replies[slot])
    }

    fn set_reply(&mut self, _slot: usize, _octets: usize) {}
}

/// A worker without its sockets.
struct Worker {
    server: Server,
    work: BatchWork,
    orders: Orders<Waiter>,
    logger: Logger,
}

impl Worker {
    fn new(model: &Model) -> Self {
        let server = worlds::server_at(worlds::snapshot(model), &worlds::forwarder(), Millis(1));
        let orders = server.lanes.orders();
        Self { server, work: BatchWork::default(), orders, logger: Logger::new(0) }
    }

    /// Answers and logs a batch.
    fn answer(&mut self, batch: &mut Memory) {
        let published = self.server.publisher.current();
        self.answer_with(batch, &published);
    }

    /// Answers and logs a batch with this snapshot.
    fn answer_with(&mut self, batch: &mut Memory, published: &Arc<Published>) {
        let Self { server, work, orders, logger } = self;
        let (counters, began) = (&server.counters[0], server.precisely());
        let batched = Batched { server, published, counters, door: DoorIndex(0), began };
        let received = batch.messages.len();
        batched.answer(work, batch, received, orders);
        let ended = server.precisely();
        batched.time(work, ended);
        batched.log(logger, work, batch, received, ended);
    }

    /// What is in the worker's buffer: sources with the lengths of replies and queries.
    fn taken(&self, into: &mut Pending) -> Vec<(ReplySource, usize, usize)> {
        self.server.query_log.take(0, into);
        into.records().map(|(_, record)| (record.noted.source(), record.reply.len(), record.query.len())).collect()
    }
}

/// The small world, where all is logged, or what belongs to these VPCs.
fn model(query_log: LoggedVpcs) -> Model {
    let mut model = worlds::small_model(Vec::new());
    let dnstap = LoggedVpcs::None;
    model.query_log = Some(QueryLogConfig { account_id: "000000000000".into(), query_log, dnstap });
    model
}

/// A name of the zone, one that is not there, one that nobody has; a query that is cut off, and a reply, which gets none.
fn messages() -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = ["www.corp.example", "gone.corp.example", "www.outside.example"]
        .iter()
        .map(|name| worlds::query(7, name, Rtype::A, true))
        .collect();
    messages.push(messages[0][..20].to_vec());
    let mut reply = messages[0].clone();
    reply[2] |= 0x80;
    messages.push(reply);
    messages
}

#[test]
fn a_batch_leaves_a_record_for_each_reply_and_allocates_nothing() {
    let mut worker = Worker::new(&model(LoggedVpcs::All));
    let (mut batch, mut taken) = (Memory::new(messages()), Pending::with_room(1 << 16));
    worker.answer(&mut batch);
    assert!(worker.taken(&mut Pending::default()).is_empty(), "it is off");
    worker.server.query_log.start(EVERYTHING, 1 << 20);
    for round in 0..5 {
        let before = ALLOCATIONS.get();
        worker.answer(&mut batch);
        let allocations = ALLOCATIONS.get() - before;
        // The first is where a worker makes its own room.
        assert!(round == 0 || allocations == 0, "{allocations} allocations in round {round}");
        let records = worker.taken(&mut taken);
        let sources: Vec<ReplySource> = records.iter().map(|(source, ..)| *source).collect();
        let [zone, refused, malformed] = [ReplySource::HostedZone, ReplySource::Refused, ReplySource::Malformed];
        assert_eq!(sources, [zone, zone, refused, malformed]);
        let octets: Vec<(usize, usize)> = records.iter().map(|(_, reply, query)| (*reply, *query)).collect();
        // Queries are kept only where nothing else says what was asked.
        assert!(octets[..3].iter().all(|(reply, query)| *reply > 20 && *query == 0), "{octets:?}");
        assert_eq!(octets[3], (12, 20));
    }
    // dnstap wants the queries of all.
    worker.server.query_log.start(Selections { wants_queries: true, ..EVERYTHING }, 1 << 20);
    worker.answer(&mut batch);
    let queries: Vec<usize> = worker.taken(&mut taken).iter().map(|(_, _, query)| *query).collect();
    assert_eq!(queries, messages()[..4].iter().map(Vec::len).collect::<Vec<_>>());
    worker.server.query_log.stop();
    worker.server.query_log.free();
    worker.answer(&mut batch);
    assert!(worker.taken(&mut taken).is_empty(), "it is off again");
    assert_eq!(worker.server.query_log.lost(), 0);
}

#[test]
fn queries_of_other_vpcs_and_of_none_are_not_copied() {
    let (mut batch, mut taken) = (Memory::new(messages()), Pending::with_room(1 << 16));
    for (logged, expected) in
        [(LoggedVpcs::Some(Vec::new()), 0), (LoggedVpcs::Some(vec![plustwo::aws::VpcIndex(0)]), 3)]
    {
        let mut worker = Worker::new(&model(logged));
        worker.server.query_log.start(EVERYTHING, 1 << 20);
        worker.answer(&mut batch);
        assert_eq!(worker.taken(&mut taken).len(), expected);
    }
}

#[test]
fn a_full_buffer_costs_whole_batches_which_are_counted() {
    const BATCHES: u64 = 1000;
    let mut worker = Worker::new(&model(LoggedVpcs::All));
    let log = &worker.server.query_log;
    // As little as there is: room for one batch of the longest, which is many of these.
    let octets_each = log.octets_each(0);
    let mut taken = Pending::with_room(octets_each);
    log.start(EVERYTHING, 0);
    let mut batch = Memory::new(messages());
    for _ in 0..BATCHES {
        worker.answer(&mut batch);
    }
    let written = worker.taken(&mut taken).len() as u64;
    assert_eq!(written % 4, 0);
    assert!(taken.octets() <= octets_each && written > 0, "{written}");
    let lost = worker.server.query_log.lost();
    assert!(lost > 0);
    assert_eq!(written + lost, BATCHES * 4);
}

#[test]
fn each_record_comes_with_the_snapshot_that_it_is_of_and_few_snapshots_wait() {
    let mut worker = Worker::new(&model(LoggedVpcs::All));
    worker.server.query_log.start(EVERYTHING, 1 << 20);
    let (mut batch, mut taken) = (Memory::new(messages()), Pending::with_room(1 << 16));
    for _ in 0..SNAPSHOTS_MAX + 2 {
        worker.answer(&mut batch);
        worker.server.publisher.publish(worlds::snapshot(&model(LoggedVpcs::All)));
    }
    worker.server.query_log.take(0, &mut taken);
    let generations: Vec<u64> = taken.records().map(|(published, _)| published.generation.0).collect();
    let expected: Vec<u64> = (1..=SNAPSHOTS_MAX as u64).flat_map(|generation| [generation; 4]).collect();
    assert_eq!(generations, expected);
    assert_eq!(worker.server.query_log.lost(), 2 * 4);
    assert!(worker.server.publisher.sweep() >= SNAPSHOTS_MAX, "they are held");
    taken.clear();
    assert_eq!(worker.server.publisher.sweep(), 0);
}

#[test]
fn snapshots_that_take_turns_count_once() {
    let mut worker = Worker::new(&model(LoggedVpcs::All));
    worker.server.query_log.start(EVERYTHING, 1 << 20);
    let old = worker.server.publisher.current();
    worker.server.publisher.publish(worlds::snapshot(&model(LoggedVpcs::All)));
    let new = worker.server.publisher.current();
    let (mut batch, mut taken) = (Memory::new(messages()), Pending::with_room(1 << 16));
    let rounds = SNAPSHOTS_MAX + 2;
    for _ in 0..rounds {
        for published in [&old, &new] {
            worker.answer_with(&mut batch, published);
        }
    }
    worker.server.query_log.take(0, &mut taken);
    let generations: Vec<u64> = taken.records().map(|(published, _)| published.generation.0).collect();
    assert_eq!(generations, [[1; 4], [2; 4]].as_flattened().repeat(rounds));
    assert_eq!(worker.server.query_log.lost(), 0);
}

#[test]
fn every_record_is_written_or_counted_as_lost() {
    const BATCHES: u64 = 20_000;
    let mut worker = Worker::new(&model(LoggedVpcs::All));
    worker.server.query_log.start(EVERYTHING, 64 << 10);
    let (server, is_over) = (worker.server.clone(), AtomicBool::new(false));
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut taken, mut written) = (Pending::with_room(server.query_log.octets_each(64 << 10)), 0);
            loop {
                let was_over = is_over.load(Ordering::Acquire);
                server.query_log.take(0, &mut taken);
                for (published, record) in taken.records() {
                    assert_eq!((published.generation.0, record.client), (1, client()));
                    assert_eq!(record.wanted_by, Logs::QUERY_LOG);
                    assert!(record.reply.starts_with(&[0, 7]));
                    written += 1;
                }
                if was_over {
                    return written;
                }
            }
        });
        let mut batch = Memory::new(messages());
        for _ in 0..BATCHES {
            worker.answer(&mut batch);
        }
        // What the writer kept from being handed over goes with the next batch.
        worker.answer(&mut Memory::new(vec![messages().remove(0)]));
        is_over.store(true, Ordering::Release);
        writer.join().expect("it does not panic")
    });
    let lost = worker.server.query_log.lost();
    assert_eq!(written + lost, BATCHES * 4 + 1, "{written} written, {lost} lost");
    assert!(written > 0);
}
