//! What is said to an endpoint in HTTP/1.1, and what its octets say; no more of them is kept than decides.

use super::Failure;
use super::attempt::{HTTP_BODY_SECONDS_MAX, HTTP_STATUS_SECONDS_MAX};
use crate::snapshot::HttpRequest;
use httparse::{EMPTY_HEADER, ParserConfig, Response, Status};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

/// Octets of a body in which is searched (R53:dns-failover-determining-health-of-endpoints).
pub(super) const BODY_OCTETS_MAX: usize = 5120;
/// Octets of a header that are read.
pub(super) const HEAD_OCTETS_MAX: usize = 16 << 10;
/// Fields of a header.
const FIELDS_MAX: usize = 128;
/// Octets of what stands before a chunk, with its extensions.
const CHUNK_HEAD_OCTETS_MAX: usize = 4 << 10;
/// Octets that are read at a time.
const READ_OCTETS: usize = 4 << 10;

/// Asks for a page; whether the answer is as it should be: its status 2xx or 3xx, and what is searched for in its body.
pub(super) async fn ask<S>(mut stream: S, request: &HttpRequest, status_by: Instant) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut octets = Vec::new();
    let asking = async {
        stream.write_all(&words(request)).await.map_err(|_| Failure::Closed)?;
        stream.flush().await.map_err(|_| Failure::Closed)?;
        until_status(&mut stream, &mut octets).await
    };
    let too_late = |_| Failure::StatusTimedOut(HTTP_STATUS_SECONDS_MAX);
    let status = timeout_at(status_by, asking).await.map_err(too_late)??;
    if !(200..400).contains(&status) {
        return Err(Failure::Status(status));
    }
    let Some(search) = &request.search else { return Ok(()) };
    let searching = search_body(&mut stream, octets, search.as_bytes());
    let too_late = |_| Failure::BodyTimedOut(HTTP_BODY_SECONDS_MAX);
    timeout(Duration::from_secs(HTTP_BODY_SECONDS_MAX), searching).await.map_err(too_late)?
}

/// What is said. It asks for no coding, so that what is searched for can be found.
fn words(request: &HttpRequest) -> Vec<u8> {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nUser-Agent: plustwo-health-check/{}\r\nAccept: */*\r\n\
         Accept-Encoding: identity\r\n\r\n",
        request.path,
        request.host,
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes()
}

/// Reads until the status is known; the octets that were read stay, from the status line on. What only announces a
/// response is passed over (RFC 9110 section 15.2), as long as all of it is no longer than a header may be.
async fn until_status<S>(stream: &mut S, octets: &mut Vec<u8>) -> Result<u16, Failure>
where
    S: AsyncRead + Unpin,
{
    let mut passed_over = 0;
    loop {
        let head = Head::read(octets)?;
        match (head.status, head.octets) {
            (Some(100..=199), Some(head_octets)) => {
                octets.drain(..head_octets);
                passed_over += head_octets;
                if passed_over > HEAD_OCTETS_MAX {
                    return Err(Failure::HeadTooLong(HEAD_OCTETS_MAX));
                }
                continue;
            }
            (Some(100..=199) | None, _) => {}
            (Some(status), _) => return Ok(status),
        }
        if octets.len() >= HEAD_OCTETS_MAX {
            return Err(Failure::HeadTooLong(HEAD_OCTETS_MAX));
        }
        more(stream, octets).await?;
    }
}

/// Looks for something in a body, of which the octets from the status line on are given.
async fn search_body<S>(stream: &mut S, mut octets: Vec<u8>, search: &[u8]) -> Result<(), Failure>
where
    S: AsyncRead + Unpin,
{
    let mut body = loop {
        let head = Head::read(&octets)?;
        if let Some(head_octets) = head.octets {
            octets.drain(..head_octets);
            break Body::new(head.framing);
        }
        if let Some(failure) = head.unreadable {
            return Err(failure);
        }
        if octets.len() >= HEAD_OCTETS_MAX {
            return Err(Failure::HeadTooLong(HEAD_OCTETS_MAX));
        }
        more(stream, &mut octets).await?;
    };
    loop {
        body.take(&mut octets)?;
        if body.has(search) {
            return Ok(());
        }
        // A connection that breaks off has said all that it will: what is missing is not there.
        if body.is_over() || more(stream, &mut octets).await.is_err() {
            return Err(Failure::NotFound(BODY_OCTETS_MAX));
        }
    }
}

/// Reads what there is, some octets at most; nothing more is [`Failure::Closed`].
async fn more<S: AsyncRead + Unpin>(stream: &mut S, octets: &mut Vec<u8>) -> Result<(), Failure> {
    octets.reserve(READ_OCTETS);
    match stream.take(READ_OCTETS as u64).read_buf(octets).await {
        Ok(0) | Err(_) => Err(Failure::Closed),
        Ok(_) => Ok(()),
    }
}

/// What the beginning of a response says so far.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Known with the end of the status line, whatever follows.
    status: Option<u16>,
    /// How long the header is; none: it is not all there.
    octets: Option<usize>,
    /// Why its fields cannot be read, which matters to nobody who asks for the status alone.
    unreadable: Option<Failure>,
    framing: Framing,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// After so many octets.
    Length(u64),
    /// Behind the last of its chunks.
    Chunked,
    /// Where the connection does.
    UntilClose,
}

impl Head {
    /// Reads what is there of it.
    fn read(octets: &[u8]) -> Result<Self, Failure> {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut response = Response::new(&mut fields);
        // What is no field is passed over, as browsers do.
        let mut parser = ParserConfig::default();
        parser.allow_spaces_after_header_name_in_responses(true).ignore_invalid_headers_in_responses(true);
        let parsed = parser.parse_response(&mut response, octets);
        // How the octets are parted must not decide: until its line ends, `200` may become `2000`.
        let status = response.code.filter(|_| response.reason.is_some());
        let (head_octets, unreadable) = match parsed {
            Ok(Status::Complete(head_octets)) => (Some(head_octets), None),
            Ok(Status::Partial) => (None, None),
            Err(httparse::Error::TooManyHeaders) => (None, Some(Failure::HeadTooLong(HEAD_OCTETS_MAX))),
            Err(_) if status.is_some() => (None, Some(Failure::NotHttp)),
            Err(_) => return Err(Failure::NotHttp),
        };
        let framing = if head_octets.is_some() { framing(response.headers) } else { Framing::UntilClose };
        Ok(Self { status, octets: head_octets, unreadable, framing })
    }
}

/// Where a body ends, by the fields of its header (RFC 9112 section 6.3).
fn framing(fields: &[httparse::Header<'_>]) -> Framing {
    let field =
        |name: &str| fields.iter().rfind(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    if let Some(coding) = field("transfer-encoding") {
        let is_chunked = coding.trim_ascii_end().to_ascii_lowercase().ends_with(b"chunked");
        return if is_chunked { Framing::Chunked } else { Framing::UntilClose };
    }
    let length = field("content-length").and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
    length.map_or(Framing::UntilClose, Framing::Length)
}

/// A body in the making: the octets in which is searched.
#[derive(Debug)]
struct Body {
    framing: Framing,
    /// Its first octets, [`BODY_OCTETS_MAX`] at most.
    octets: Vec<u8>,
    /// How many of them have been searched.
    searched: usize,
    /// Octets of the chunk that is being read which have not come, with the two that end it.
    of_chunk: u64,
    /// Whether the last chunk has come.
    is_over: bool,
}

impl Body {
    fn new(framing: Framing) -> Self {
        Self { framing, octets: Vec::new(), searched: 0, of_chunk: 0, is_over: false }
    }

    /// Whether nothing that comes would be searched.
    fn is_over(&self) -> bool {
        self.is_over || self.framing == Framing::Length(0) || self.octets.len() >= BODY_OCTETS_MAX
    }

    /// Takes from what was read whatever can be taken.
    fn take(&mut self, read: &mut Vec<u8>) -> Result<(), Failure> {
        let mut at = 0;
        while at < read.len() && !self.is_over() {
            let rest = &read[at..];
            at += match self.framing {
                Framing::UntilClose => self.keep(rest, rest.len()),
                Framing::Length(left) => {
                    let taken = self.keep(rest, usize::try_from(left).unwrap_or(usize::MAX));
                    self.framing = Framing::Length(left - taken as u64);
                    taken
                }
                Framing::Chunked if self.of_chunk > 0 => self.take_of_chunk(rest),
                Framing::Chunked => match self.begin_chunk(rest)? {
                    0 => break,
                    taken => taken,
                },
            };
        }
        read.drain(..at);
        Ok(())
    }

    /// Keeps up to so many of these octets; how many were taken.
    fn keep(&mut self, rest: &[u8], up_to: usize) -> usize {
        let taken = rest.len().min(up_to);
        let room = BODY_OCTETS_MAX - self.octets.len();
        self.octets.extend_from_slice(&rest[..taken.min(room)]);
        taken
    }

    /// Reads what stands before a chunk (RFC 9112 section 7.1); 0: it is not all there.
    fn begin_chunk(&mut self, rest: &[u8]) -> Result<usize, Failure> {
        match httparse::parse_chunk_size(rest) {
            Ok(Status::Complete((_, 0))) => {
                self.is_over = true;
                Ok(rest.len())
            }
            Ok(Status::Complete((head_octets, size))) => {
                self.of_chunk = size.saturating_add(CHUNK_END_OCTETS);
                Ok(head_octets)
            }
            Ok(Status::Partial) if rest.len() < CHUNK_HEAD_OCTETS_MAX => Ok(0),
            Ok(Status::Partial) | Err(_) => Err(Failure::NotHttp),
        }
    }

    /// Takes what there is of a chunk.
    fn take_of_chunk(&mut self, rest: &[u8]) -> usize {
        let taken = if self.of_chunk > CHUNK_END_OCTETS {
            self.keep(rest, usize::try_from(self.of_chunk - CHUNK_END_OCTETS).unwrap_or(usize::MAX))
        } else {
            rest.len().min(self.of_chunk as usize)
        };
        self.of_chunk -= taken as u64;
        taken
    }

    /// Whether something is in it; what was searched before is not searched again.
    fn has(&mut self, search: &[u8]) -> bool {
        let from = self.searched.saturating_sub(search.len() - 1);
        self.searched = self.octets.len();
        self.octets[from..].windows(search.len()).any(|octets| octets == search)
    }
}

/// Octets that end a chunk.
const CHUNK_END_OCTETS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is seen of a response that comes in pieces of so many octets, and then ends.
    fn seen(response: &[u8], search: Option<&str>, piece: usize) -> Result<(), Failure> {
        let request =
            HttpRequest { host: "web.example".into(), path: "/".into(), tls: None, search: search.map(Box::from) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let response = response.to_vec();
            let endpoint = tokio::spawn(async move {
                for piece in response.chunks(piece) {
                    // It fails where nobody listens any more.
                    let _ = theirs.write_all(piece).await;
                    tokio::task::yield_now().await;
                }
            });
            let asked = ask(ours, &request, Instant::now() + Duration::from_secs(60)).await;
            endpoint.await.expect("no panic");
            asked
        })
    }

    #[track_caller]
    fn check(response: &[u8], search: Option<&str>, expected: &Result<(), Failure>) {
        for piece in [1, 2, 7, 100, 1 << 16] {
            let text = String::from_utf8_lossy(&response[..response.len().min(200)]);
            assert_eq!(seen(response, search, piece), *expected, "{text:?} in pieces of {piece}");
        }
    }

    #[test]
    fn the_status_decides_where_nothing_is_searched_for() {
        for (response, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Ok(())),
            ("HTTP/1.0 204\r\n", Ok(())),
            ("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", Ok(())),
            ("HTTP/1.1 399 Odd\r\n", Ok(())),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", Err(Failure::Status(400))),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Err(Failure::Status(503))),
            ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n", Ok(())),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\n", Err(Failure::Status(500))),
            ("HTTP/1.1 100 Continue\r\n\r\n", Err(Failure::Closed)),
            ("", Err(Failure::Closed)),
            ("HTTP/1.1 20", Err(Failure::Closed)),
            ("SSH-2.0-OpenSSH_9.9\r\n", Err(Failure::NotHttp)),
            ("HTTP/2.0 200 OK\r\n", Err(Failure::NotHttp)),
            ("HTTP/1.1 2000 OK\r\n", Err(Failure::NotHttp)),
            ("HTTP/1.1 200", Err(Failure::Closed)),
            ("HTTP/1.1 200 OK\r\nServer\0: old\r\n\r\n", Ok(())),
            ("HTTP/1.1 503 No\r\nServer\0: old\r\n\r\n", Err(Failure::Status(503))),
        ] {
            check(response.as_bytes(), None, &expected);
        }
    }

    #[test]
    fn what_is_searched_for_is_found_however_the_body_is_framed() {
        let found = Ok(());
        let missing = Err(Failure::NotFound(BODY_OCTETS_MAX));
        for (response, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nit is fine", &missing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nit is fine", &found),
            ("HTTP/1.1 200 OK\r\ncontent-length:  10 \r\n\r\nit is fine and more", &found),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nfine", &missing),
            ("HTTP/1.1 200 OK\r\n\r\nit is fine", &found),
            ("HTTP/1.1 200 OK\r\n\r\nit is FINE", &missing),
            ("HTTP/1.1 200 OK\r\nfine: fine\r\n\r\n", &missing),
            ("HTTP/1.1 302 Found\r\n\r\nit is fine", &found),
            ("HTTP/1.1 200 OK\r\nno field\r\nContent-Length : 4\r\n\r\nfine", &found),
            ("HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nfine", &missing),
            ("HTTP/1.1 200 OK\r\nServer\0: old\r\n\r\nfine", &Err(Failure::NotHttp)),
            ("HTTP/1.1 500 No\r\n\r\nit is fine", &Err(Failure::Status(500))),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfin\r\n1\r\ne\r\n0\r\n\r\n", &found),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, CHUNKED\r\n\r\n4;a=b\r\nfine\r\n0\r\n\r\n", &found),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n0\r\n\r\nfine", &missing),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfine\r\n", &Err(Failure::NotHttp)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nit breaks off", &missing),
            ("HTTP/1.1 200 OK\r\nContent-Le", &Err(Failure::Closed)),
        ] {
            check(response.as_bytes(), Some("fine"), expected);
        }
    }

    #[test]
    fn only_the_first_octets_of_a_body_are_searched() {
        for (before, is_found) in [(0, true), (5115, true), (5116, true), (5117, false), (100_000, false)] {
            let expected = if is_found { Ok(()) } else { Err(Failure::NotFound(BODY_OCTETS_MAX)) };
            let body = format!("{}fine", "x".repeat(before));
            let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            check(whole.as_bytes(), Some("fine"), &expected);
            let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in body.as_bytes().chunks(700) {
                chunked.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                chunked.extend(chunk);
                chunked.extend(b"\r\n");
            }
            chunked.extend(b"0\r\n\r\n");
            check(&chunked, Some("fine"), &expected);
        }
    }

    #[test]
    fn a_header_without_end_is_left() {
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_OCTETS_MAX * 2));
        let crowded = format!("HTTP/1.1 200 OK\r\n{}\r\nfine", "A: b\r\n".repeat(FIELDS_MAX + 1));
        let hints = "HTTP/1.1 103 Early Hints\r\nA: ".to_owned() + &"x".repeat(HEAD_OCTETS_MAX * 2);
        let too_long = Err(Failure::HeadTooLong(HEAD_OCTETS_MAX));
        // The status is enough where it is all that is asked for.
        assert_eq!(seen(endless.as_bytes(), None, 100), Ok(()));
        assert_eq!(seen(crowded.as_bytes(), None, 100), Ok(()));
        assert_eq!(seen(endless.as_bytes(), Some("fine"), 100), too_long);
        assert_eq!(seen(crowded.as_bytes(), Some("fine"), 100), too_long);
        assert_eq!(seen(hints.as_bytes(), None, 100), too_long);
        let announced = "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_OCTETS_MAX / 25 + 1) + "HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(seen(announced.as_bytes(), None, 100), too_long, "also in many parts");
    }

    proptest! {
        #[test]
        fn no_response_is_too_odd_to_be_read(
            head in "(HTTP/1.1 [0-9]{3}|[ -~]{0,12})( [ -~]{0,9})?\r?\n(Transfer-Encoding: chunked\r\n)?(Content-Length: [0-9]{1,21}\r\n)?\r\n",
            body in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), b'0'..=b'9'], 0..300),
            piece in 1..300usize,
        ) {
            let _ = seen(&[head.as_bytes(), &body].concat(), Some("fine"), piece);
        }
    }

    #[test]
    fn what_stands_before_a_chunk_is_not_endless() {
        let extended = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;a={}\r\nfine\r\n",
            "x".repeat(CHUNK_HEAD_OCTETS_MAX + READ_OCTETS)
        );
        assert_eq!(seen(extended.as_bytes(), Some("fine"), 100), Err(Failure::NotHttp));
    }
}
