//! What streams say to each message: the same engine as over UDP, without its size limit.

use super::arrival::Arrival;
use super::counters::Counter;
use super::handle::{self, LookedUp, Outcome, Scratch, Slot, Source, Surroundings};
use super::later::{self, WaitingMessage};
use super::server::Server;
use super::stream::{Answer, StreamAnswer};
use super::udp::worker::count_reply;
use crate::dns::reply::Transport;
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
    let now = server.now();
    handle::begin(&mut kept.slot, &published.snapshot, message, arrival.door, client);
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
            let waiting = WaitingMessage {
                server: server.clone(),
                published: Arc::clone(&published),
                message: message.to_vec(),
                door: arrival.door,
                client,
                arrived: now,
                permit,
            };
            let server = server.clone();
            return StreamAnswer::Later(Box::pin(async move {
                let (octets, reply) = waiting.answer(miss).await?;
                count_reply(server.shared_counters(), &reply, Counter::increment_shared);
                Some(octets)
            }));
        }
        counters.in_flight_limit.increment_shared();
        outcome = handle::complete_at_limit(&kept.slot, &mut kept.scratch, &around, miss, message, &mut kept.out);
    }
    match outcome {
        Outcome::Reply(done) => {
            reply.extend_from_slice(&kept.out[..done.octets]);
            count_reply(counters, &done, Counter::increment_shared);
            if done.source == Source::Forward {
                counters.cache_hits.increment_shared();
            }
            if done.source == Source::NotAllowed { StreamAnswer::NowThenClose } else { StreamAnswer::Now }
        }
        Outcome::Silent | Outcome::Miss(_) => {
            counters.silent.increment_shared();
            StreamAnswer::Silent
        }
    }
}
