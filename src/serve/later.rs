//! The miss path: ask others, then answer the query again from the start with what they said at hand.
//!
//! Nothing of the first attempt is kept but the question: the snapshot taken when the query arrived is used to the end
//! (no query sees two), and each round either completes the reply or learns one more thing.

use super::handle::{self, Fetched, Miss, Outcome, Reply, Scratch, Slot, Surroundings};
use super::refusal::Refusal;
use super::server::Server;
use crate::dns::Class;
use crate::dns::reply::Transport;
use crate::forward::Ask;
use crate::resolve::CNAME_CHAIN_MAX;
use crate::snapshot::publish::Published;
use crate::snapshot::{DoorIndex, Snapshot};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Questions asked of others for one query at most: one a CNAME, and the first.
pub const ROUNDS_MAX: usize = CNAME_CHAIN_MAX + 1;

/// A query that waits for others.
pub struct Waiting {
    /// The server it came to.
    pub server: Server,
    /// The snapshot that was current when it arrived.
    pub published: Arc<Published>,
    /// Its octets.
    pub message: Vec<u8>,
    /// The door it came in by.
    pub door: DoorIndex,
    /// Who asks.
    pub client: IpAddr,
    /// How the reply travels.
    pub transport: Transport,
}

impl Waiting {
    /// Asks what is missing until the reply is complete; the reply, and what it says. None: no reply is owed.
    pub async fn answer(self, first: Miss) -> Option<(Vec<u8>, Reply)> {
        let mut fetched = Vec::with_capacity(1);
        let mut miss = first;
        for _ in 0..ROUNDS_MAX {
            let result = self.fetch(&miss).await;
            fetched.push(Fetched { miss, result });
            match self.again(&fetched) {
                Round::Done(reply) => return reply,
                Round::Miss(next) => miss = next,
            }
        }
        self.refuse(Refusal::RoundLimit)
    }

    /// Asks others one question.
    async fn fetch(&self, miss: &Miss) -> crate::forward::Outcome {
        let context = self.published.snapshot.context(miss.context);
        let ask = Ask {
            context: context.id,
            qname: &miss.qname,
            qtype: miss.qtype,
            class: Class::IN,
            dnssec_ok: miss.dnssec_ok,
            checking_disabled: miss.checking_disabled,
        };
        self.server.forwarder.fetch(&ask, &context.group, self.server.now()).await
    }

    /// Answers the query with what is at hand. A panic is a bug of ours: it costs this query its answer, not its reply.
    fn again(&self, fetched: &[Fetched]) -> Round {
        let answer = || {
            self.run(fetched, |slot, scratch, around, out| {
                handle::begin(slot, around.snapshot, &self.message, self.door, self.client);
                handle::complete(slot, scratch, around, &self.message, out)
            })
        };
        catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| {
            tracing::error!("answering a forwarded query panicked; this is a bug, please report it");
            Round::Done(self.refuse(Refusal::Internal))
        })
    }

    /// The reply that says why there is none.
    pub fn refuse(&self, why: Refusal) -> Option<(Vec<u8>, Reply)> {
        let round = self.run(&[], |slot, _, around, out| handle::refuse_message(slot, around, &self.message, out, why));
        match round {
            Round::Done(reply) => reply,
            Round::Miss(_) => None,
        }
    }

    /// Runs the engine once with room for a reply of this transport.
    fn run(
        &self,
        fetched: &[Fetched],
        engine: impl FnOnce(&mut Slot, &mut Scratch, &Surroundings<'_>, &mut [u8]) -> Outcome,
    ) -> Round {
        let snapshot: &Snapshot = &self.published.snapshot;
        let around = Surroundings {
            snapshot,
            forwarder: &self.server.forwarder,
            now: self.server.now(),
            pick: rand::random(),
            transport: self.transport,
            looked_up: None,
            fetched,
        };
        let mut out = vec![0; self.transport.buffer_octets()];
        match engine(&mut Slot::default(), &mut Scratch::default(), &around, &mut out) {
            Outcome::Reply(reply) => {
                out.truncate(reply.octets);
                Round::Done(Some((out, reply)))
            }
            Outcome::Silent => Round::Done(None),
            Outcome::Miss(miss) => Round::Miss(miss),
        }
    }
}

/// What one round led to.
enum Round {
    Done(Option<(Vec<u8>, Reply)>),
    Miss(Miss),
}
