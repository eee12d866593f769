//! DNS over HTTPS (RFC 8484): a POST over HTTP/2 for each question.

use std::future::poll_fn;
use std::io::Cursor;

use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{ACCEPT, AGE, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Request, StatusCode, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::StreamFailure;
use super::multiplexed::{Ended, Multiplexed, Trouble};
use super::wire::{self, MESSAGE_OCTETS_MAX, StreamOptions};
use crate::dns::query::HEADER_OCTETS;
use crate::dns::target::HTTPS_PORT;
use crate::dns::{Target, TargetProtocol};

/// The media type of queries and replies (RFC 8484 section 6).
const MEDIA_TYPE: &str = "application/dns-message";
/// Octets of a reply's header fields that are read at most.
const FIELD_OCTETS_MAX: u32 = 16 * 1024;
/// Octets of all replies on a connection that may be on the way at a time.
const WINDOW_OCTETS: u32 = 1024 * 1024;

/// An HTTP/2 connection to a target.
#[derive(Clone)]
pub(super) struct HttpsSession {
    requests: SendRequest<Cursor<Vec<u8>>>,
    uri: Uri,
}

/// Begins HTTP/2 on a stream that TLS has secured.
pub(super) async fn begin<S>(stream: S, target: &Target) -> Result<(HttpsSession, Ended), StreamFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let uri = uri_of(target).ok_or_else(|| StreamFailure::Protocol("its URL cannot be asked for".into()))?;
    let (requests, connection) = Builder::new()
        .enable_push(false)
        .max_header_list_size(FIELD_OCTETS_MAX)
        .initial_window_size(MESSAGE_OCTETS_MAX as u32)
        .initial_connection_window_size(WINDOW_OCTETS)
        .handshake(stream)
        .await
        .map_err(|_| StreamFailure::Unreachable)?;
    // How it ended each question learns for itself.
    let ended = Box::pin(async move { drop(connection.await) });
    Ok((HttpsSession { requests, uri }, ended))
}

/// Where a target is asked.
fn uri_of(target: &Target) -> Option<Uri> {
    let TargetProtocol::Doh { path } = &target.protocol else { return None };
    let name = target.certificate_name();
    let host = if name.contains(':') { format!("[{name}]") } else { name };
    let authority = if target.port == HTTPS_PORT { host } else { format!("{host}:{}", target.port) };
    Uri::builder().scheme("https").authority(authority).path_and_query(&**path).build().ok()
}

impl Multiplexed for HttpsSession {
    async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::with_capacity(wire::PADDED_OCTETS * 2);
        // The id is 0, so that equal questions are equal requests (RFC 8484 section 4.1).
        wire::write_query(query, [0; 2], StreamOptions { padding: true, ..StreamOptions::default() }, &mut body);
        let request = Request::post(self.uri.clone())
            .version(Version::HTTP_2)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(ACCEPT, MEDIA_TYPE)
            .header(CONTENT_LENGTH, body.len())
            .body(())
            .map_err(|error| refusal(format!("it cannot be asked over HTTPS: {error}")))?;
        let mut requests = self.requests.clone().ready().await.map_err(trouble_of)?;
        let (response, mut stream) = requests.send_request(request, false).map_err(trouble_of)?;
        stream.send_data(Cursor::new(body), true).map_err(trouble_of)?;
        let (head, body) = response.await.map_err(trouble_of)?.into_parts();
        check(head.status, &head.headers)?;
        let mut reply = read(body).await?;
        if reply.len() < HEADER_OCTETS {
            return Err(refusal("what it answers over HTTPS is no DNS message".to_owned()));
        }
        // A cache on the way had it so long (RFC 8484 section 5.1).
        if let Some(age_seconds) = number(&head.headers, AGE) {
            wire::age(&mut reply, age_seconds);
        }
        Ok(reply)
    }

    fn close(self) {
        // The connection says farewell when nobody can ask on it any more.
    }
}

/// Whether a body that can be a DNS message follows. Redirections are not followed: the operator wrote where to ask.
fn check(status: StatusCode, fields: &HeaderMap) -> Result<(), Trouble> {
    // Only with a status of success is there a DNS message to read (RFC 8484 section 4.2.1).
    if !status.is_success() {
        return Err(refusal(format!("it answers over HTTPS with status {}", status.as_u16())));
    }
    let media_type = fields.get(CONTENT_TYPE).map_or(b"".as_slice(), |value| value.as_bytes());
    let essence = media_type.split(|&octet| octet == b';').next().unwrap_or_default().trim_ascii();
    if !essence.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()) {
        let shown = String::from_utf8_lossy(&essence[..essence.len().min(64)]).into_owned();
        return Err(refusal(format!("it answers over HTTPS with `{}`, not {MEDIA_TYPE}", shown.escape_default())));
    }
    if number(fields, CONTENT_LENGTH).is_some_and(|octets| octets as usize > MESSAGE_OCTETS_MAX) {
        return Err(too_long());
    }
    Ok(())
}

/// Reads a body of at most [`MESSAGE_OCTETS_MAX`].
async fn read(mut body: RecvStream) -> Result<Vec<u8>, Trouble> {
    let mut octets = Vec::new();
    while let Some(part) = poll_fn(|cx| body.poll_data(cx)).await {
        let part = part.map_err(trouble_of)?;
        if octets.len() + part.len() > MESSAGE_OCTETS_MAX {
            return Err(too_long());
        }
        octets.extend_from_slice(&part);
        body.flow_control().release_capacity(part.len()).map_err(trouble_of)?;
    }
    Ok(octets)
}

/// The number in a field, if it is one.
fn number(fields: &HeaderMap, name: HeaderName) -> Option<u32> {
    fields.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// What an error of HTTP/2 means for a question. Whatever ends the connection does, also GOAWAY; so does a peer that
/// refuses a stream before it looked at it (RFC 9113 section 8.7).
fn trouble_of(error: h2::Error) -> Trouble {
    match error.reason() {
        Some(reason) if error.is_reset() && reason != Reason::REFUSED_STREAM => {
            refusal(format!("it breaks a question over HTTPS off: {reason}"))
        }
        _ => Trouble::Lost,
    }
}

/// The peer refuses a question.
fn refusal(reason: String) -> Trouble {
    Trouble::Failed(StreamFailure::Protocol(reason.into()))
}

/// The peer answers with more than a message can hold.
fn too_long() -> Trouble {
    refusal(format!("it answers over HTTPS with more than {MESSAGE_OCTETS_MAX} octets"))
}
