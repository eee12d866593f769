//! One request each to endpoints of the test's own, over real sockets.

use super::*;
use crate::snapshot::ProbeTls;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn probe(address: SocketAddr, request: ProbeRequest) -> Probe {
    Probe {
        id: "a".into(),
        host: ProbeHost::Address(address.ip()),
        port: address.port(),
        request,
        interval: Duration::from_secs(10),
        threshold: 3,
    }
}

fn page(tls: Option<ProbeTls>, search: Option<&str>) -> ProbeRequest {
    let request = HttpRequest { host: "web.example".into(), path: "/a?b".into(), tls, search: search.map(Box::from) };
    ProbeRequest::Http(request)
}

/// Asks once.
fn ask(probe: &Probe) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(Attempter::new(2).attempt(probe));
    runtime.shutdown_background();
    outcome
}

/// Why it is not healthy; none: it is.
#[track_caller]
fn failure(probe: &Probe) -> Option<Failure> {
    match ask(probe) {
        Outcome::Healthy => None,
        Outcome::Unhealthy(failure) => Some(failure),
        Outcome::NotAsked(error) => panic!("it was not asked: {error}"),
    }
}

/// What an endpoint does with a connection.
enum Manner {
    /// It says this once it has read a request.
    Says(&'static str),
    /// It says this, and then neither more nor that it was all.
    SaysAndStays(&'static str),
    /// It closes the connection as soon as it has read something.
    Closes,
}

/// An endpoint on the loopback, with TLS or without; requests that it read, and names in handshakes.
struct Endpoint {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    names: Arc<Mutex<Vec<Option<String>>>>,
}

impl Endpoint {
    fn start(manner: Manner, tls: Option<ServerConfig>) -> Self {
        let listener = std::net::TcpListener::bind((LOOPBACK, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be");
        let address = listener.local_addr().expect("it is bound");
        let (requests, names) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let endpoint = Self { address, requests: Arc::clone(&requests), names: Arc::clone(&names) };
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a runtime runs");
                while let Ok((stream, _)) = listener.accept().await {
                    match &acceptor {
                        None => answer(stream, &manner, &requests).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { continue };
                            let name = stream.get_ref().1.server_name().map(str::to_owned);
                            names.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                            answer(stream, &manner, &requests).await;
                        }
                    }
                }
            });
        });
        endpoint
    }

    fn asks(&self, request: ProbeRequest) -> Option<Failure> {
        failure(&probe(self.address, request))
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn names(&self) -> Vec<Option<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, manner: &Manner, requests: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut request).await {
            Ok(octets) if octets > 0 && !matches!(manner, Manner::Closes) => {}
            _ => return,
        }
    }
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(&request).into_owned());
    let (Manner::Says(words) | Manner::SaysAndStays(words)) = manner else { return };
    // It fails where the other side has heard enough.
    let _ = stream.write_all(words.as_bytes()).await;
    let _ = stream.flush().await;
    match manner {
        Manner::SaysAndStays(_) => while stream.read_buf(&mut request).await.is_ok_and(|octets| octets > 0) {},
        _ => {
            let _ = stream.shutdown().await;
        }
    }
}

/// A server whose certificate is nobody's, for another name, and expired.
fn bad_certificate() -> ServerConfig {
    let mut params = CertificateParams::new(vec!["another.example".to_owned()]).expect("a name");
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("the key fits")
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind((LOOPBACK, 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}

#[test]
fn a_page_is_asked_for_as_aws_asks() {
    let endpoint = Endpoint::start(Manner::Says("HTTP/1.1 200 OK\r\n\r\nfine"), None);
    assert_eq!(endpoint.asks(page(None, None)), None);
    assert_eq!(endpoint.asks(page(None, Some("fine"))), None);
    assert_eq!(endpoint.asks(page(None, Some("bad"))), Some(Failure::NotFound(5120)));
    assert_eq!(endpoint.asks(ProbeRequest::Connect), None);
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 3);
    let lines: Vec<&str> = requests[0].lines().collect();
    assert_eq!(lines[..3], ["GET /a?b HTTP/1.1", "Host: web.example", "Connection: close"]);
}

#[test]
fn what_is_no_good_answer_is_told_apart() {
    for (words, expected) in [
        ("HTTP/1.1 301 Moved Permanently\r\n\r\n", None),
        ("HTTP/1.1 404 Not Found\r\n\r\n", Some(Failure::Status(404))),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Some(Failure::Status(503))),
        ("220 mail.example ESMTP\r\n", Some(Failure::NotHttp)),
    ] {
        assert_eq!(Endpoint::start(Manner::Says(words), None).asks(page(None, None)), expected, "{words}");
    }
    let closing = Endpoint::start(Manner::Closes, None);
    assert_eq!(closing.asks(page(None, None)), Some(Failure::Closed));
    assert_eq!(closing.asks(ProbeRequest::Connect), None, "for a connection there is one");
    assert_eq!(failure(&probe(nobody(), page(None, None))), Some(Failure::Refused));
    assert_eq!(failure(&probe(nobody(), ProbeRequest::Connect)), Some(Failure::Refused));
}

#[test]
fn certificates_are_not_looked_at_and_names_are_said_where_they_may() {
    let endpoint = Endpoint::start(Manner::Says("HTTP/1.1 200 OK\r\n\r\nfine"), Some(bad_certificate()));
    let tls = |name: Option<&str>| Some(ProbeTls { server_name: name.map(Box::from) });
    assert_eq!(endpoint.asks(page(tls(Some("web.example")), None)), None);
    assert_eq!(endpoint.asks(page(tls(None), Some("fine"))), None);
    assert_eq!(endpoint.asks(page(tls(None), Some("bad"))), Some(Failure::NotFound(5120)));
    assert_eq!(endpoint.names(), [Some("web.example".to_owned()), None, None]);
    let plain = Endpoint::start(Manner::Says("HTTP/1.1 400 Bad Request\r\n\r\n"), None);
    match plain.asks(page(tls(None), None)) {
        // A server that waits for the end of a request says nothing at all.
        Some(Failure::Tls(_) | Failure::StatusTimedOut(2) | Failure::Closed) => {}
        other => panic!("{other:?}"),
    }
    let closing = Endpoint::start(Manner::Closes, None);
    assert_eq!(closing.asks(page(tls(None), None)), Some(Failure::Closed));
}

#[test]
fn silence_has_an_end() {
    // Nobody takes the connections: the system has them.
    let silent = std::net::TcpListener::bind((LOOPBACK, 0)).expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let tls = Some(ProbeTls { server_name: None });
    let timed_out = Some(Failure::StatusTimedOut(2));
    let slow = Endpoint::start(Manner::SaysAndStays("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfine"), None);
    std::thread::scope(|scope| {
        let plain = scope.spawn(|| failure(&probe(address, page(None, None))));
        let encrypted = scope.spawn(|| failure(&probe(address, page(tls.clone(), None))));
        let body = scope.spawn(|| slow.asks(page(None, Some("bad"))));
        assert_eq!(plain.join().expect("no panic"), timed_out);
        assert_eq!(encrypted.join().expect("no panic"), timed_out);
        assert_eq!(body.join().expect("no panic"), Some(Failure::BodyTimedOut(2)));
    });
    // What is there already is enough.
    let slow = Endpoint::start(Manner::SaysAndStays("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfine"), None);
    assert_eq!(slow.asks(page(None, Some("fine"))), None);
    assert_eq!(failure(&probe(address, ProbeRequest::Connect)), None);
}

/// A queue of connections that is full: what comes on top gets no answer at all.
#[test]
fn a_connection_that_does_not_come_has_an_end() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(LOOPBACK, 0).into()).expect("a free port");
    socket.listen(0).expect("it can listen");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("an address");
    let queued = std::net::TcpStream::connect(address).expect("the queue has one place");
    std::thread::scope(|scope| {
        let page = scope.spawn(|| failure(&probe(address, page(None, None))));
        let connect = scope.spawn(|| failure(&probe(address, ProbeRequest::Connect)));
        assert_eq!(page.join().expect("no panic"), Some(Failure::ConnectTimedOut(4)));
        assert_eq!(connect.join().expect("no panic"), Some(Failure::ConnectTimedOut(10)));
    });
    drop(queued);
}

#[test]
fn names_are_looked_up_for_each_request() {
    let endpoint = Endpoint::start(Manner::Says("HTTP/1.1 200 OK\r\n\r\n"), None);
    let at = |name: &str| {
        let host = ProbeHost::Name(name.into());
        Probe { host, ..probe(endpoint.address, page(None, None)) }
    };
    assert_eq!(failure(&at("localhost")), None);
    // No resolver has it (RFC 6761 section 6.4), and where there is none, or a slow one, that is as bad.
    match failure(&at("nobody.invalid")) {
        Some(Failure::NoAddress(_) | Failure::LookupTimedOut(4)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_that_take_long_are_not_the_fault_of_others() {
    let endpoint = Endpoint::start(Manner::Says("HTTP/1.1 200 OK\r\n\r\n"), None);
    let named = Probe { host: ProbeHost::Name("localhost".into()), ..probe(endpoint.address, page(None, None)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let attempter = Attempter::new(1);
        // A lookup that does not end.
        let _place = Arc::clone(&attempter.lookups).acquire_owned().await.expect("it is never closed");
        assert!(matches!(attempter.attempt(&named).await, Outcome::NotAsked(_)));
    });
}

#[test]
fn a_connection_with_itself_is_none() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(LOOPBACK, 0)).expect("a free port");
        let own = socket.local_addr().expect("it is bound");
        assert!(is_with_itself(&socket.connect(own).await.expect("TCP allows it")));
        let listener = TcpListener::bind((LOOPBACK, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        assert!(!is_with_itself(&TcpStream::connect(address).await.expect("somebody listens")));
    });
}

#[test]
fn what_we_lack_is_not_the_endpoints_fault() {
    for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL] {
        assert!(matches!(without_connection(io::Error::from_raw_os_error(code)), Outcome::NotAsked(_)), "{code}");
    }
    for code in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ECONNRESET, libc::ETIMEDOUT] {
        assert!(matches!(without_connection(io::Error::from_raw_os_error(code)), Outcome::Unhealthy(_)), "{code}");
    }
}

#[test]
fn reasons_are_words() {
    for (failure, words) in [
        (Failure::Refused, "connection refused"),
        (Failure::Status(503), "HTTP 503"),
        (Failure::ConnectTimedOut(4), "no connection in 4 s"),
        (Failure::StatusTimedOut(2), "no HTTP status in 2 s"),
        (Failure::NotFound(5120), "the search string is not in the first 5120 octets of the body"),
    ] {
        assert_eq!(failure.to_string(), words);
    }
}
