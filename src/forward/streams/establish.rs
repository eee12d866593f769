//! From a target to a session with it: addresses, connection, and what the protocol needs before the first question.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until};
use tokio_rustls::client::TlsStream;

use super::https::{self, HttpsSession};
use super::multiplexed::Ended;
use super::quic::QuicSession;
use super::{Equipment, NEXT_ADDRESS_MILLIS, StreamFailure, UNACKNOWLEDGED_MILLIS_MAX};
use crate::dns::{Target, TargetHost, TargetProtocol};

/// What questions can be asked on.
pub(super) enum Session {
    /// Length and message, in the clear.
    Tcp(TcpStream),
    /// Length and message, encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// A request for each question.
    Https(HttpsSession, Ended),
    /// A stream for each question.
    Quic(QuicSession, Ended),
}

/// Establishes a session before the deadline.
pub(super) async fn establish(
    target: Arc<Target>,
    equipment: Arc<Equipment>,
    deadline: Instant,
) -> Result<Session, StreamFailure> {
    let name = match &target.host {
        TargetHost::Address(ip) => {
            return race(&[*ip], &target, &equipment, deadline).await.map(|(session, _)| session);
        }
        TargetHost::Name(name) => name,
    };
    let mut tried = Vec::new();
    let mut failure = StreamFailure::NoAddress;
    loop {
        let addresses = equipment.bootstrap.addresses(name, deadline).await;
        if addresses.iter().all(|ip| tried.contains(ip)) {
            return Err(failure);
        }
        match race(&addresses, &target, &equipment, deadline).await {
            Ok((session, ip)) => {
                equipment.bootstrap.prefer(name, ip);
                return Ok(session);
            }
            Err(new) => failure = new,
        }
        // It may have moved: once more, if it is somewhere else by now.
        equipment.bootstrap.distrust(name);
        tried.extend(addresses);
    }
}

/// Tries addresses in turn, the next one when the last has failed or lets us wait; the first session counts
/// (RFC 8305 section 5).
async fn race(
    addresses: &[IpAddr],
    target: &Arc<Target>,
    equipment: &Arc<Equipment>,
    deadline: Instant,
) -> Result<(Session, IpAddr), StreamFailure> {
    let mut attempts = JoinSet::new();
    let mut rest = addresses.iter();
    let mut failure = None;
    let mut is_next_due = true;
    loop {
        if (is_next_due || attempts.is_empty())
            && let Some(&ip) = rest.next()
        {
            let (target, equipment) = (Arc::clone(target), Arc::clone(equipment));
            attempts.spawn(async move {
                let address = SocketAddr::new(ip, target.port);
                session_with(address, &target, &equipment).await.map(|session| (session, ip))
            });
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
async fn session_with(address: SocketAddr, target: &Target, equipment: &Equipment) -> Result<Session, StreamFailure> {
    if target.protocol == TargetProtocol::Doq {
        let (session, ended) = equipment.quic.dial(address, target).await?;
        return Ok(Session::Quic(session, ended));
    }
    let stream = dial(address).await.map_err(|_| StreamFailure::Unreachable)?;
    match target.protocol {
        TargetProtocol::Dot => Ok(Session::Tls(Box::new(equipment.tls.dot(stream, target).await?))),
        TargetProtocol::Doh { .. } => {
            let stream = equipment.tls.http2(stream, target).await?;
            let (session, ended) = https::begin(stream, target).await?;
            Ok(Session::Https(session, ended))
        }
        TargetProtocol::Do53 | TargetProtocol::Tcp | TargetProtocol::Doq => Ok(Session::Tcp(stream)),
    }
}

/// A TCP connection that notices when nobody is at its other end.
async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(Duration::from_millis(UNACKNOWLEDGED_MILLIS_MAX)))?;
    Ok(stream)
}
