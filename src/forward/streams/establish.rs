//! From a target to a session with it: addresses, connection, and what the protocol needs before the first question.

use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::{Equipment, NEXT_ADDRESS_MILLIS, StreamFailure, UNACKNOWLEDGED_MILLIS_MAX};
use crate::dns::Target;

/// What questions can be asked on.
pub(super) enum Session {
    /// Length and message, in the clear.
    Tcp(TcpStream),
}

/// Establishes a session before the deadline.
pub(super) async fn establish(
    target: Arc<Target>,
    equipment: Arc<Equipment>,
    deadline: Instant,
) -> Result<Session, StreamFailure> {
    let addresses: Vec<SocketAddr> = target.address().into_iter().collect();
    race(&addresses, &target, &equipment, deadline).await
}

/// Tries addresses in turn, the next one when the last has failed or lets us wait; the first session counts
/// (RFC 8305).
async fn race(
    addresses: &[SocketAddr],
    target: &Arc<Target>,
    equipment: &Arc<Equipment>,
    deadline: Instant,
) -> Result<Session, StreamFailure> {
    let mut attempts = JoinSet::new();
    let mut rest = addresses.iter();
    let mut failure = None;
    let mut is_next_due = true;
    loop {
        if (is_next_due || attempts.is_empty())
            && let Some(&address) = rest.next()
        {
            attempts.spawn(session_with(address, Arc::clone(target), Arc::clone(equipment)));
        } else if attempts.is_empty() {
            return Err(failure.unwrap_or(StreamFailure::NoAddress));
        }
        is_next_due = false;
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(new)) => failure = Some(more_telling(failure, new)),
                Err(_) => failure = Some(more_telling(failure, StreamFailure::Abandoned)),
            },
            () = sleep(Duration::from_millis(NEXT_ADDRESS_MILLIS)), if rest.len() > 0 => is_next_due = true,
            () = sleep_until(deadline) => return Err(more_telling(failure, StreamFailure::TimedOut)),
        }
    }
}

/// The failure that an operator can do more about.
fn more_telling(old: Option<StreamFailure>, new: StreamFailure) -> StreamFailure {
    let weight = |failure: &StreamFailure| match failure {
        StreamFailure::Certificate(_) => 3,
        StreamFailure::Protocol(_) => 2,
        StreamFailure::Unreachable => 1,
        _ => 0,
    };
    match old {
        Some(old) if weight(&old) >= weight(&new) => old,
        _ => new,
    }
}

/// Establishes a session with one address of a target.
async fn session_with(
    address: SocketAddr,
    _target: Arc<Target>,
    _equipment: Arc<Equipment>,
) -> Result<Session, StreamFailure> {
    let stream = dial(address).await.map_err(|_| StreamFailure::Unreachable)?;
    Ok(Session::Tcp(stream))
}

/// A TCP connection that notices when nobody is at its other end.
async fn dial(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(Duration::from_millis(UNACKNOWLEDGED_MILLIS_MAX)))?;
    Ok(stream)
}
