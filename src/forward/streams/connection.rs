//! The task of one connection, from its first question to its end.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Duration, Instant, MissedTickBehavior, interval};

use super::establish::{Session, establish};
use super::line::Connection;
use super::question::Question;
use super::{EXPIRY_MILLIS, StreamFailure, framed, multiplexed};

/// Establishes a connection and asks on it, until it is closed.
pub(super) async fn drive(mut connection: Connection) {
    let mut waiting = Vec::new();
    match connect(&mut connection, &mut waiting).await {
        Ok(session) => {
            connection.opened();
            match session {
                Session::Tcp(stream) => framed::run(stream, connection, waiting).await,
                Session::Tls(stream) => framed::run(stream, connection, waiting).await,
                Session::Https(session, ended) => multiplexed::run(session, ended, connection, waiting).await,
                Session::Quic(session, ended) => multiplexed::run(session, ended, connection, waiting).await,
            }
        }
        Err(failure) => connection.failed(failure, waiting),
    }
}

/// Establishes it, while questions gather behind `waiting` and grow old.
async fn connect(connection: &mut Connection, waiting: &mut Vec<Question>) -> Result<Session, StreamFailure> {
    let deadline = Instant::now() + connection.equipment().times.connect;
    let target = Arc::new(connection.target().clone());
    let mut establishing = pin!(establish(target, Arc::clone(connection.equipment()), deadline));
    let mut ticks = interval(Duration::from_millis(EXPIRY_MILLIS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            established = &mut establishing => return established,
            Some(question) = connection.next_question() => waiting.push(question),
            _ = ticks.tick() => {
                let now = Instant::now();
                let expired: Vec<Question> = waiting.extract_if(.., |question| question.deadline <= now).collect();
                expire(connection, expired);
            }
        }
    }
}

/// Ends questions that nobody waits for any more, and frees their places.
pub(super) fn expire(connection: &Connection, expired: Vec<Question>) {
    let count = expired.len();
    for question in expired {
        connection.equipment().counters.timed_out.add();
        question.fail(StreamFailure::TimedOut);
    }
    connection.freed(count);
}
