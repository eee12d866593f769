//! Upstreams that do as they are told.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message as Judge, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name as JudgeName, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Runtime;

/// Where all upstreams live.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// What an upstream does with a query over UDP.
#[derive(Clone)]
pub(crate) enum Over {
    /// Replies after so long.
    Reply(Judge, Duration),
    /// Sends all of these, in order.
    Replies(Vec<Judge>),
    /// First somebody else, at another port, sends the first reply; then the upstream sends the second.
    Forged(Judge, Judge),
    /// Says nothing.
    Silence,
}

/// Replies at once.
pub(crate) fn at_once(reply: Judge) -> Over {
    Over::Reply(reply, Duration::ZERO)
}

/// An upstream on loopback, UDP and TCP on one port, and what it was asked. It is there to the end of the process.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<(SocketAddr, Judge)>>>,
}

impl Upstream {
    /// Starts one that does this over UDP, and replies that over TCP (none: closes the connection).
    pub(crate) fn start(
        udp: impl Fn(&Judge) -> Over + Send + Sync + 'static,
        tcp: impl Fn(&Judge) -> Option<Judge> + Send + Sync + 'static,
    ) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, udp, tcp)
    }

    /// The same at an address.
    pub(crate) fn at(
        ip: Ipv4Addr,
        udp: impl Fn(&Judge) -> Over + Send + Sync + 'static,
        tcp: impl Fn(&Judge) -> Option<Judge> + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (socket, listener) = RUNTIME.block_on(bind_both(ip));
        let address = socket.local_addr().unwrap();
        RUNTIME.spawn(serve_udp(Arc::new(socket), udp, Arc::clone(&asked)));
        RUNTIME.spawn(serve_tcp(listener, tcp, Arc::clone(&asked)));
        Self { address, asked }
    }

    /// One over UDP alone on a socket that is bound already.
    pub(crate) fn on(socket: std::net::UdpSocket, udp: impl Fn(&Judge) -> Over + Send + Sync + 'static) -> Self {
        let (asked, address) = (Arc::new(Mutex::new(Vec::new())), socket.local_addr().unwrap());
        socket.set_nonblocking(true).unwrap();
        let _entered = RUNTIME.enter();
        let socket = UdpSocket::from_std(socket).unwrap();
        RUNTIME.spawn(serve_udp(Arc::new(socket), udp, Arc::clone(&asked)));
        Self { address, asked }
    }

    /// One that answers every query over UDP with what `reply` says, and refuses TCP.
    pub(crate) fn replying(reply: impl Fn(&Judge) -> Judge + Send + Sync + 'static) -> Self {
        Self::start(move |query| at_once(reply(query)), |_| None)
    }

    /// One that says nothing.
    pub(crate) fn silent() -> Self {
        Self::start(|_| Over::Silence, |_| None)
    }

    /// How many queries it was asked. One that was only sent again, from the same port under the same id, counts once: on
    /// a busy machine that may happen at any time.
    pub(crate) fn asked(&self) -> usize {
        distinct(&self.asked.lock().unwrap()).len()
    }

    /// Who asked what, with all that was sent again.
    pub(crate) fn queries(&self) -> Vec<(SocketAddr, Judge)> {
        self.asked.lock().unwrap().clone()
    }
}

/// Which queries there are among those that came: port, id and name.
pub(crate) fn distinct(asked: &[(SocketAddr, Judge)]) -> HashSet<(u16, u16, JudgeName)> {
    asked.iter().map(|(from, query)| (from.port(), query.metadata.id, query.queries[0].name().clone())).collect()
}

/// One port for UDP and TCP.
async fn bind_both(ip: Ipv4Addr) -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind((ip, 0)).await.unwrap();
        match TcpListener::bind(socket.local_addr().unwrap()).await {
            Ok(listener) => return (socket, listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, udp: impl Fn(&Judge) -> Over, asked: Arc<Mutex<Vec<(SocketAddr, Judge)>>>) {
    let mut octets = [0; 2048];
    let mut answered = HashSet::new();
    loop {
        // ICMP of a client that has closed its socket comes back here as an error.
        let Ok((count, from)) = socket.recv_from(&mut octets).await else { continue };
        let query = Judge::from_vec(&octets[..count]).unwrap();
        asked.lock().unwrap().push((from, query.clone()));
        // Sent again because its reply took long: that is still on its way, for nothing is lost on the loopback.
        let name = query.queries[0].name().clone();
        if answered.contains(&(from, query.metadata.id, name.clone())) {
            continue;
        }
        let does = udp(&query);
        if !matches!(does, Over::Silence) {
            answered.insert((from, query.metadata.id, name));
        }
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            match does {
                Over::Reply(reply, delay) => {
                    tokio::time::sleep(delay).await;
                    let _ = socket.send_to(&reply.to_vec().unwrap(), from).await;
                }
                Over::Replies(replies) => {
                    for reply in replies {
                        let _ = socket.send_to(&reply.to_vec().unwrap(), from).await;
                    }
                }
                Over::Forged(forged, reply) => {
                    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                    let _ = stranger.send_to(&forged.to_vec().unwrap(), from).await;
                    let _ = socket.send_to(&reply.to_vec().unwrap(), from).await;
                }
                Over::Silence => {}
            }
        });
    }
}

async fn serve_tcp(
    listener: TcpListener,
    tcp: impl Fn(&Judge) -> Option<Judge>,
    asked: Arc<Mutex<Vec<(SocketAddr, Judge)>>>,
) {
    loop {
        let (mut stream, from) = listener.accept().await.unwrap();
        let Ok(length) = stream.read_u16().await else { continue };
        let mut octets = vec![0; usize::from(length)];
        stream.read_exact(&mut octets).await.unwrap();
        let query = Judge::from_vec(&octets).unwrap();
        asked.lock().unwrap().push((from, query.clone()));
        if let Some(reply) = tcp(&query) {
            let octets = reply.to_vec().unwrap();
            stream.write_u16(u16::try_from(octets.len()).unwrap()).await.unwrap();
            stream.write_all(&octets).await.unwrap();
        }
    }
}

/// A reply without records.
pub(crate) fn reply(query: &Judge, rcode: ResponseCode) -> Judge {
    let mut reply = Judge::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.response_code = rcode;
    reply.metadata.recursion_available = true;
    reply.add_query(query.queries[0].clone());
    reply.set_edns(Edns::new());
    reply
}

/// A reply with one address.
pub(crate) fn address(query: &Judge, last: u8) -> Judge {
    address_for(query, last, 300)
}

/// The same with a TTL.
pub(crate) fn address_for(query: &Judge, last: u8, ttl: u32) -> Judge {
    let mut reply = reply(query, ResponseCode::NoError);
    let owner = query.queries[0].name().clone();
    reply.add_answer(Record::from_rdata(owner, ttl, RData::A(A::new(10, 0, 0, last))));
    reply
}

/// The same with TC set and no address.
pub(crate) fn truncated(query: &Judge) -> Judge {
    let mut reply = reply(query, ResponseCode::NoError);
    reply.metadata.truncation = true;
    reply
}

/// A reply under another id than the query's.
pub(crate) fn with_wrong_id(mut reply: Judge, change: u16) -> Judge {
    reply.metadata.id ^= change;
    reply
}

/// The SOA of corp.example, for negative answers.
pub(crate) fn soa(minimum: u32) -> Record {
    let apex = JudgeName::from_ascii("corp.example.").unwrap();
    Record::from_rdata(apex.clone(), 900, RData::SOA(SOA::new(apex.clone(), apex, 1, 2, 3, 4, minimum)))
}

/// The first label of what a query asks.
pub(crate) fn label(query: &Judge) -> String {
    query.queries[0].name().to_string().split('.').next().unwrap_or_default().to_ascii_lowercase()
}

/// The last octet of the address in a message.
pub(crate) fn last_octet(octets: &[u8]) -> u8 {
    let judge = Judge::from_vec(octets).expect("the judge reads it");
    let RData::A(a) = &judge.answers[0].data else { panic!("{judge}") };
    a.octets()[3]
}

/// An address where nobody listens.
pub(crate) fn closed_port() -> SocketAddr {
    let (socket, _listener) = RUNTIME.block_on(bind_both(Ipv4Addr::LOCALHOST));
    socket.local_addr().unwrap()
}
