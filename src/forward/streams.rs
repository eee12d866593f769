//! Asking targets over streams: TCP, and the encrypted protocols. Runs on tokio; lanes hand questions in and never wait.
//!
//! Octets in, octets out: neither query nor reply is understood here beyond what a stream needs of it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::dns::{Target, TargetProtocol};

/// How long a question is waited for on a stream, connecting included: as long as an exchange goes on.
pub const STREAM_MILLIS_MAX: u64 = 4_000;

/// What asking over streams needs to know.
#[derive(Clone, Debug, Default)]
pub struct StreamSettings {}

/// The way to all targets over streams: one for the process. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct StreamTargets {
    handle: Handle,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StreamFailure {
    /// The target, or the way to it, refuses connections, or closes them before it answers.
    Unreachable,
    /// No reply in time.
    TimedOut,
    /// So many questions to this target wait already that this one was not asked.
    Busy,
    /// What the target showed is not a certificate for it that we trust: the reason, for the operator.
    Certificate(Arc<str>),
    /// The target can be reached, but does not speak its protocol as it must: the reason, for the operator.
    Protocol(Arc<str>),
    /// No address is known for the target's name.
    NoAddress,
    /// The daemon is stopping.
    Abandoned,
}

impl fmt::Display for StreamFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("it refuses connections, or closes them before it answers"),
            Self::TimedOut => write!(f, "no reply within {} seconds", STREAM_MILLIS_MAX / 1000),
            Self::Busy => f.write_str("too many questions wait for it"),
            Self::Certificate(reason) => write!(f, "its certificate is not accepted: {reason}"),
            Self::Protocol(reason) => f.write_str(reason),
            Self::NoAddress => f.write_str("no address is known for its name"),
            Self::Abandoned => f.write_str("the daemon is stopping"),
        }
    }
}

impl StreamTargets {
    /// No connection yet; they are made on this runtime when there is something to ask.
    pub(super) fn new(_settings: StreamSettings, handle: Handle) -> Self {
        Self { handle }
    }

    /// Asks a target: a query without the length that goes before it. Never blocks.
    ///
    /// `reply` is called exactly once, from any thread: with the reply's octets under the id of the query, or with the
    /// reason why there is none.
    pub(super) fn ask(
        &self,
        target: &Target,
        query: Vec<u8>,
        reply: impl FnOnce(Result<Vec<u8>, StreamFailure>) + Send + 'static,
    ) {
        let address = match (&target.protocol, target.address()) {
            (TargetProtocol::Do53 | TargetProtocol::Tcp, Some(address)) => address,
            (_, None) => return reply(Err(StreamFailure::NoAddress)),
            _ => return reply(Err(StreamFailure::Protocol("this protocol is not spoken here yet".into()))),
        };
        self.handle.spawn(async move {
            let asked = timeout(Duration::from_millis(STREAM_MILLIS_MAX), ask_over_tcp(address, query)).await;
            reply(match asked {
                Ok(Ok(octets)) => Ok(octets),
                Ok(Err(_)) => Err(StreamFailure::Unreachable),
                Err(_) => Err(StreamFailure::TimedOut),
            });
        });
    }
}

/// Sends a query over a new connection and receives one message (RFC 7766 section 8: length first).
async fn ask_over_tcp(target: SocketAddr, query: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    // One write, one segment (RFC 7766 section 8).
    stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
    let length = stream.read_u16().await?;
    // Grows with what comes, not with what is promised.
    let mut octets = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut octets).await?;
    if octets.len() < usize::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(octets)
}

#[cfg(test)]
mod tests;
