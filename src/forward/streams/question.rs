//! One question to one target, until it is answered.

use std::fmt;

use tokio::time::Instant;

use super::StreamFailure;

/// Whom to tell.
pub(super) type Reply = Box<dyn FnOnce(Result<Vec<u8>, StreamFailure>) + Send>;

/// A query and whom to tell what came of it. Whatever happens to it, they are told exactly once.
// Invariant: `reply` is there until the question is answered or dropped.
pub(super) struct Question {
    /// The query as it was given, under the id that the reply must have.
    pub(super) query: Vec<u8>,
    /// When it is no longer waited for.
    pub(super) deadline: Instant,
    /// Set once a connection was lost with it: the number of the first connection that is fresh to it.
    pub(super) fresh_from: Option<u64>,
    reply: Option<Reply>,
}

impl Question {
    /// A question that was not asked yet; the query has a whole header.
    pub(super) fn new(query: Vec<u8>, deadline: Instant, reply: Reply) -> Self {
        Self { query, deadline, fresh_from: None, reply: Some(reply) }
    }

    /// Gives the reply, under the id of the query.
    pub(super) fn answer(self, mut reply: Vec<u8>) {
        reply[..2].copy_from_slice(&self.query[..2]);
        self.tell(Ok(reply));
    }

    /// Says why there is no reply.
    pub(super) fn fail(self, failure: StreamFailure) {
        self.tell(Err(failure));
    }

    /// Ends it.
    fn tell(mut self, result: Result<Vec<u8>, StreamFailure>) {
        if let Some(reply) = self.reply.take() {
            reply(result);
        }
    }
}

/// The task that held it is gone: the runtime ends, or a fault of ours.
impl Drop for Question {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply(Err(StreamFailure::Abandoned));
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("octets", &self.query.len()).field("deadline", &self.deadline).finish()
    }
}
