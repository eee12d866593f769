//! Questions on a session that has a stream for each: HTTP/2 and QUIC.

use std::future::Future;
use std::pin::{Pin, pin};

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Duration, Instant, sleep, timeout, timeout_at};

use super::line::Connection;
use super::question::Question;
use super::{CLOSING_MILLIS_MAX, StreamFailure};

/// A session with a stream for each question. Clones share it.
pub(super) trait Multiplexed: Clone + Send + Sync + 'static {
    /// Asks on a stream of its own; dropped half-way, it gives the stream up. The id of the reply is not defined.
    fn ask(&self, query: &[u8]) -> impl Future<Output = Result<Vec<u8>, Trouble>> + Send;

    /// Tells the peer that this is the end; nothing is in flight.
    fn close(self);
}

/// Drives a session, and is ready when it has ended.
pub(super) type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a stream did not give a reply.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The session has ended, or takes no more questions; this one was perhaps not even read.
    Lost,
    /// The peer refuses this question.
    Failed(StreamFailure),
}

/// What came of a question.
struct Done {
    question: Question,
    asked_at: Instant,
    /// None: nothing in time.
    result: Option<Result<Vec<u8>, Trouble>>,
}

/// Asks on a session until it is closed. `waiting` are the questions that came while it was established.
pub(super) async fn run(
    session: impl Multiplexed,
    mut ended: Ended,
    mut connection: Connection,
    waiting: Vec<Question>,
) {
    let mut exchanges = JoinSet::new();
    for question in waiting {
        exchanges.spawn(exchange(session.clone(), question));
    }
    let (mut is_retired, mut has_ended) = (false, false);
    let mut last_reply_at = Instant::now();
    let mut idle = pin!(sleep(connection.idle_limit()));
    while !is_retired || !exchanges.is_empty() {
        tokio::select! {
            question = connection.next_question(), if !is_retired => match question {
                Some(question) => drop(exchanges.spawn(exchange(session.clone(), question))),
                None => is_retired = true,
            },
            Some(done) = exchanges.join_next() => {
                finish(done, &mut connection, &mut last_reply_at);
                idle.as_mut().reset(Instant::now() + connection.idle_limit());
            }
            // What is in flight learns of it by itself.
            () = &mut ended, if !has_ended => {
                has_ended = true;
                connection.retire();
            }
            () = &mut idle, if exchanges.is_empty() => {
                if connection.retire_if_idle() {
                    break;
                }
                // A question is on its way to us.
                idle.as_mut().reset(Instant::now() + connection.idle_limit());
            }
        }
    }
    drop(connection);
    session.close();
    if !has_ended {
        let _ = timeout(Duration::from_millis(CLOSING_MILLIS_MAX), ended).await;
    }
}

/// Asks one question.
async fn exchange(session: impl Multiplexed, question: Question) -> Done {
    let asked_at = Instant::now();
    let result = timeout_at(question.deadline, session.ask(&question.query)).await.ok();
    Done { question, asked_at, result }
}

/// Tells what came of a question.
fn finish(done: Result<Done, JoinError>, connection: &mut Connection, last_reply_at: &mut Instant) {
    // Otherwise a fault of ours, and the question was told so when it was dropped.
    if let Ok(Done { question, asked_at, result }) = done {
        match result {
            Some(Ok(reply)) => {
                *last_reply_at = Instant::now();
                connection.note_answer();
                question.answer(reply);
            }
            Some(Err(Trouble::Lost)) => connection.lost(vec![question]),
            Some(Err(Trouble::Failed(failure))) => {
                *last_reply_at = Instant::now();
                question.fail(failure);
            }
            None => {
                if *last_reply_at <= asked_at {
                    // Not one reply since it was asked: the next questions had better go elsewhere.
                    connection.retire();
                }
                connection.equipment().counters.timed_out.add();
                question.fail(StreamFailure::TimedOut);
            }
        }
    }
    connection.freed(1);
}
