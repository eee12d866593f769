//! DNS over QUIC (RFC 9250): a stream for each question.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, IdleTimeout, ReadError, RecvStream, TransportConfig, VarInt,
    WriteError,
};
use tokio::time::Duration;

use super::multiplexed::{Ended, Multiplexed, Trouble};
use super::tls::{self, ALPN_DOQ, TlsRoots};
use super::wire::{self, MESSAGE_OCTETS_MAX, StreamOptions};
use super::{StreamFailure, UNACKNOWLEDGED_MILLIS_MAX};
use crate::dns::Target;
use crate::dns::query::HEADER_OCTETS;

/// Octets of all replies on a connection that may be on the way at a time.
const WINDOW_OCTETS: u32 = 1024 * 1024;
/// How often the peer is asked whether it is there while a connection is open: thrice before it counts as gone.
const PROBE_MILLIS: u64 = 600;
/// The error codes of RFC 9250 section 4.3.
const DOQ_NO_ERROR: VarInt = VarInt::from_u32(0);
const DOQ_PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const DOQ_REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);

/// Where the error codes of QUIC for alerts of TLS begin (RFC 9001 section 4.8).
const CRYPTO_ERROR: u64 = 0x100;
/// The alerts about a certificate, from bad_certificate to certificate_unknown (RFC 8446 section 6.2).
const CERTIFICATE_ALERT_FIRST: u64 = 42;
const CERTIFICATE_ALERT_LAST: u64 = 46;
/// The alert about the signer of a certificate.
const UNKNOWN_CA: u64 = 48;

/// What QUIC connections are made with: one socket for each family, opened when it is first needed.
#[derive(Debug)]
pub(super) struct QuicDialer {
    config: ClientConfig,
    endpoints: Mutex<[Option<Endpoint>; 2]>,
}

/// A QUIC connection to a target.
#[derive(Clone)]
pub(super) struct QuicSession(Connection);

impl QuicDialer {
    /// No socket yet.
    pub(super) fn new(roots: &TlsRoots) -> Self {
        let tls = tls::client_config(roots, ALPN_DOQ);
        let tls = QuicClientConfig::try_from(tls).expect("ring has the cipher suite of QUIC's first packets");
        let mut transport = TransportConfig::default();
        let idle = VarInt::from_u32(UNACKNOWLEDGED_MILLIS_MAX as u32);
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .max_idle_timeout(Some(IdleTimeout::from(idle)))
            .keep_alive_interval(Some(Duration::from_millis(PROBE_MILLIS)))
            .stream_receive_window(VarInt::from_u32(MESSAGE_OCTETS_MAX as u32 + 2))
            .receive_window(VarInt::from_u32(WINDOW_OCTETS))
            .datagram_receive_buffer_size(None);
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(transport));
        Self { config, endpoints: Mutex::default() }
    }

    /// Connects to one address of a target.
    pub(super) async fn dial(
        &self,
        address: SocketAddr,
        target: &Target,
    ) -> Result<(QuicSession, Ended), StreamFailure> {
        let endpoint = self.endpoint(address).map_err(|_| StreamFailure::Unreachable)?;
        let connection = endpoint
            .connect_with(self.config.clone(), address, &target.certificate_name())
            .map_err(|error| StreamFailure::Protocol(format!("it cannot be asked over QUIC: {error}").into()))?
            .await
            .map_err(failure_of)?;
        let closed = connection.clone();
        Ok((QuicSession(connection), Box::pin(async move { drop(closed.closed().await) })))
    }

    /// The socket for the family of an address.
    fn endpoint(&self, address: SocketAddr) -> io::Result<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let (slot, any) = match address {
            SocketAddr::V4(_) => (&mut endpoints[0], IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (&mut endpoints[1], IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        match slot {
            Some(endpoint) => Ok(endpoint.clone()),
            None => Ok(slot.insert(Endpoint::client(SocketAddr::new(any, 0))?).clone()),
        }
    }
}

impl Multiplexed for QuicSession {
    async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut framed = vec![0; 2];
        // The id is 0, for the stream tells questions apart (RFC 9250 section 4.2.1).
        wire::write_query(query, [0; 2], StreamOptions { padding: true, ..StreamOptions::default() }, &mut framed);
        let length = framed.len() - 2;
        framed[..2].copy_from_slice(&(length as u16).to_be_bytes());
        let (mut send, receive) = self.0.open_bi().await.map_err(|_| Trouble::Lost)?;
        let mut receive = Receiving { stream: receive, is_done: false };
        match send.write_all(&framed).await {
            Ok(()) => {}
            // It may have answered without reading to the end, or may say below why not.
            Err(WriteError::Stopped(_)) => {}
            Err(_) => return Err(Trouble::Lost),
        }
        // The end of the stream is the end of the query (RFC 9250 section 4.2). It fails only where the peer said stop.
        let _ = send.finish();
        let reply = receive.message().await?;
        if reply.len() < HEADER_OCTETS || reply[..2] != [0; 2] {
            // RFC 9250 section 4.3.3.
            self.0.close(DOQ_PROTOCOL_ERROR, b"");
            return Err(refusal("what it answers over QUIC is no DNS message with an id of 0".to_owned()));
        }
        Ok(reply)
    }

    fn close(self) {
        self.0.close(DOQ_NO_ERROR, b"");
    }
}

/// The reply's half of a stream. Dropped before the reply, it tells the peer that nobody waits.
struct Receiving {
    stream: RecvStream,
    is_done: bool,
}

impl Receiving {
    /// The one message on it.
    async fn message(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut octets = Vec::new();
        loop {
            if let Some((length, rest)) = octets.split_first_chunk()
                && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
            {
                self.is_done = true;
                return Ok(message.to_vec());
            }
            match self.stream.read_chunk(MESSAGE_OCTETS_MAX, true).await {
                Ok(Some(chunk)) => octets.extend_from_slice(&chunk.bytes),
                Ok(None) => return Err(refusal("it ends a stream of QUIC without a reply".to_owned())),
                Err(ReadError::Reset(code)) => {
                    return Err(refusal(format!("it breaks a question over QUIC off with error {code}")));
                }
                Err(_) => return Err(Trouble::Lost),
            }
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.is_done {
            // RFC 9250 section 4.3.1. It fails only where the stream has ended already.
            let _ = self.stream.stop(DOQ_REQUEST_CANCELLED);
        }
    }
}

/// What a connection that cannot be established means for the operator.
fn failure_of(error: ConnectionError) -> StreamFailure {
    match error {
        // Of TLS there is only the alert that we sent, and words.
        ConnectionError::TransportError(error) => match u64::from(error.code).checked_sub(CRYPTO_ERROR) {
            Some(UNKNOWN_CA) => tls::unknown_issuer(),
            Some(CERTIFICATE_ALERT_FIRST..=CERTIFICATE_ALERT_LAST) => {
                let reason = error.reason.trim_start_matches("invalid peer certificate: ");
                StreamFailure::Certificate(reason.into())
            }
            _ => StreamFailure::Protocol(format!("the handshake of QUIC fails: {error}").into()),
        },
        ConnectionError::TimedOut => StreamFailure::TimedOut,
        ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_) => {
            StreamFailure::Protocol(format!("it does not take a connection over QUIC: {error}").into())
        }
        ConnectionError::VersionMismatch => StreamFailure::Protocol("it does not speak QUIC version 1".into()),
        _ => StreamFailure::Unreachable,
    }
}

/// The peer refuses a question.
fn refusal(reason: String) -> Trouble {
    Trouble::Failed(StreamFailure::Protocol(reason.into()))
}
