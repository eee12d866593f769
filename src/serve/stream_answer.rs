//! What streams say to each message: the same engine as over UDP, without its size limit.

use super::arrival::Arrival;
use super::counters::{Counter, ReplySource, When};
use super::handle::{self, LookedUp, Outcome, Reply, Scratch, Slot, Source, Surroundings};
use super::later::{self, WaitingMessage};
use super::query_log::{Noted, Record};
use super::refusal::Refusal;
use super::server::Server;
use super::stream::{Answer, StreamAnswer};
use super::udp::worker::count_reply;
use super::wall_clock::WallClock;
use crate::dns::reply::Transport;
use crate::forward::Nanos;
use crate::snapshot::publish::Published;
use std::cell::RefCell;
use std::sync::Arc;

/// What a thread keeps from message to message.
#[derive(Default)]
struct Kept {
    slot: Slot,
    scratch: Scratch,
    out: Vec<u8>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// The answering side of all streams.
pub fn answer(server: &Server) -> Answer {
    let server = server.clone();
    Arc::new(move |message, arrival, reply| KEPT.with_borrow_mut(|kept| one(&server, kept, message, arrival, reply)))
}

/// Answers one message at once, or begins to.
fn one(server: &Server, kept: &mut Kept, message: &[u8], arrival: &Arrival, reply: &mut Vec<u8>) -> StreamAnswer {
    let counters = server.shared_counters();
    counters.queries.increment_shared();
    let published = server.publisher.current();
    let client = arrival.client_ip();
    let received = server.precisely();
    let now = received.millis();
    handle::begin(&mut kept.slot, &published.snapshot, message, arrival.door, client);
    let mut clock = WallClock::default();
    if let Some(standing) = handle::meet_cookie(&mut kept.slot, &published.snapshot, client, &mut clock) {
        counters.cookie(standing).increment_shared();
    }
    counters.door(published.snapshot.door_slot(arrival.door)).increment_shared();
    if let Some(view) = handle::view(&kept.slot) {
        counters.view(published.snapshot.view(view).slot).increment_shared();
    }
    let looked_up = handle::first_ask(&kept.slot, &published.snapshot);
    let looked_up = looked_up.and_then(|ask| server.forwarder.cached(&ask, now));
    if let Some(Ok(cached)) = &looked_up
        && cached.claim_prefetch(now)
    {
        let mut orders = server.lanes.orders();
        later::renew(server, &published.snapshot, &kept.slot, client, &mut orders);
        server.lanes.submit_all(&mut orders);
    }
    let around = Surroundings {
        snapshot: &published.snapshot,
        forwarder: &server.forwarder,
        now,
        pick: rand::random(),
        transport: Transport::Tcp,
        looked_up: LookedUp::of(looked_up.as_ref()),
        fetched: &[],
    };
    kept.out.resize(Transport::Tcp.buffer_octets(), 0);
    let mut outcome = handle::complete(&kept.slot, &mut kept.scratch, &around, message, &mut kept.out);
    if let Outcome::Miss(miss) = outcome {
        if let Some(permit) = server.in_flight.admit(client) {
            counters.cache_misses.increment_shared();
            let mut waiting = WaitingMessage {
                server: server.clone(),
                published: Arc::clone(&published),
                message: message.to_vec(),
                door: arrival.door,
                client,
                arrived: now,
                permit,
            };
            let (server, arrival) = (server.clone(), *arrival);
            return StreamAnswer::Later(Box::pin(async move {
                let (octets, reply) = waiting.answer(miss).await?;
                let source = count(&server, &reply, When::Later, received);
                let WaitingMessage { published, message, .. } = &waiting;
                log(&server, published, &arrival, (message, &octets), Noted::new(&reply, source), received);
                Some(octets)
            }));
        }
        counters.in_flight_limit.increment_shared();
        outcome = handle::complete_at_limit(&kept.slot, &mut kept.scratch, &around, miss, message, &mut kept.out);
    }
    match outcome {
        Outcome::Reply(done) => {
            reply.extend_from_slice(&kept.out[..done.octets]);
            let source = count(server, &done, When::AtOnce, received);
            let messages = (message, &kept.out[..done.octets]);
            log(server, &published, arrival, messages, Noted::new(&done, source), received);
            let may_ask = done.source != Source::Refused(Refusal::NotAllowed);
            if may_ask { StreamAnswer::Now } else { StreamAnswer::NowThenClose }
        }
        Outcome::Silent | Outcome::Dropped | Outcome::Miss(_) => {
            counters.silent.increment_shared();
            StreamAnswer::Silent
        }
    }
}

/// Counts a reply to a message that was received then.
fn count(server: &Server, reply: &Reply, when: When, received: Nanos) -> ReplySource {
    let counters = server.shared_counters();
    let source = count_reply(counters, reply, when, Counter::add_shared);
    counters.latencies.add(source, server.precisely().since(received), Counter::add_shared);
    source
}

/// Says to the query log, if there is one, what a message and its reply were.
fn log(
    server: &Server,
    published: &Arc<Published>,
    arrival: &Arrival,
    (query, reply): (&[u8], &[u8]),
    noted: Noted,
    received: Nanos,
) {
    if server.query_log.is_on() {
        let took_nanos = server.precisely().since(received);
        let arrived = (received, took_nanos);
        let record = Record::of(published, arrival, Transport::Tcp, arrived, noted, (query, reply));
        server.query_log.log_stream(published, noted, record);
    }
}
