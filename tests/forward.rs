//! Forwarding over real sockets: upstreams on ephemeral loopback ports, hickory-proto to read and write their messages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message as Judge, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA, TXT};
use hickory_proto::rr::{Name as JudgeName, RData, Record};
use plustwo::dns::{Class, Name, Rcode, Rtype, TargetGroup, Ttl};
use plustwo::forward::cache::CacheLimits;
use plustwo::forward::reply::TtlLimits;
use plustwo::forward::{Ask, ContextId, ExchangeError, ForwardLimits, Forwarder, Millis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

const T0: Millis = Millis(10_000);

/// What an upstream does with a query over UDP.
#[derive(Clone)]
enum Over {
    /// Replies after so long.
    Reply(Judge, Duration),
    /// First somebody else, at another port, sends the first reply; then the upstream sends the second.
    Forged(Judge, Judge),
    /// Says nothing.
    Silence,
}

/// An upstream on loopback, UDP and TCP on one port, and what it was asked.
struct Upstream {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(SocketAddr, Judge)>>>,
}

impl Upstream {
    /// Starts one that does this over UDP, and replies that over TCP (none: closes the connection).
    async fn start(
        udp: impl Fn(&Judge) -> Over + Send + Sync + 'static,
        tcp: impl Fn(&Judge) -> Option<Judge> + Send + Sync + 'static,
    ) -> Self {
        let (socket, listener) = bind_both().await;
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve_udp(Arc::new(socket), udp, Arc::clone(&asked)));
        tokio::spawn(serve_tcp(listener, tcp, Arc::clone(&asked)));
        Self { address, asked }
    }

    /// One that answers every query over UDP with what `reply` says.
    async fn replying(reply: impl Fn(&Judge) -> Judge + Send + Sync + 'static) -> Self {
        Self::start(move |query| Over::Reply(reply(query), Duration::ZERO), |_| None).await
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// One port for UDP and TCP.
async fn bind_both() -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        match TcpListener::bind(socket.local_addr().unwrap()).await {
            Ok(listener) => return (socket, listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, udp: impl Fn(&Judge) -> Over, asked: Arc<Mutex<Vec<(SocketAddr, Judge)>>>) {
    let mut octets = [0; 2048];
    loop {
        // ICMP of a client that has closed its socket comes back here as an error.
        let Ok((count, from)) = socket.recv_from(&mut octets).await else { continue };
        let query = Judge::from_vec(&octets[..count]).unwrap();
        asked.lock().unwrap().push((from, query.clone()));
        let (does, socket) = (udp(&query), Arc::clone(&socket));
        tokio::spawn(async move {
            match does {
                Over::Reply(reply, delay) => {
                    tokio::time::sleep(delay).await;
                    let _ = socket.send_to(&reply.to_vec().unwrap(), from).await;
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
fn reply(query: &Judge, rcode: ResponseCode) -> Judge {
    let mut reply = Judge::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.response_code = rcode;
    reply.metadata.recursion_available = true;
    reply.add_query(query.queries[0].clone());
    reply.set_edns(Edns::new());
    reply
}

/// A reply with one address.
fn address(query: &Judge, last: u8) -> Judge {
    let mut reply = reply(query, ResponseCode::NoError);
    let owner = query.queries[0].name().clone();
    reply.add_answer(Record::from_rdata(owner, 300, RData::A(A::new(10, 0, 0, last))));
    reply
}

/// The same with TC set and no address.
fn truncated(query: &Judge) -> Judge {
    let mut reply = reply(query, ResponseCode::NoError);
    reply.metadata.truncation = true;
    reply
}

fn forwarder(in_flight_max: usize) -> Forwarder {
    let ttls = TtlLimits {
        ttl_max: Ttl::from_wire(86_400),
        negative_ttl_max: Ttl::from_wire(3_600),
        failure_ttl: Ttl::from_wire(5),
    };
    let cache = CacheLimits { octets_max: 8 << 20, ttls, stale_seconds: 86_400, prefetch: true };
    Forwarder::new(ForwardLimits { cache, in_flight_max })
}

fn name(label: &str) -> Name {
    Name::from_labels([label.as_bytes(), b"corp", b"example"]).unwrap()
}

fn group(targets: &[SocketAddr]) -> Arc<TargetGroup> {
    Arc::new(TargetGroup::do53(targets.iter().copied()))
}

fn ask(name: &Name) -> Ask<'_> {
    Ask {
        context: ContextId(0),
        qname: name.as_wire(),
        qtype: Rtype::A,
        class: Class::IN,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

/// The last octet of the address that a reply gives.
fn last_octet(outcome: &plustwo::forward::Outcome) -> u8 {
    let reply = outcome.as_ref().expect("there is a reply");
    let judge = Judge::from_vec(reply.octets()).expect("the judge reads it");
    let RData::A(a) = &judge.answers[0].data else { panic!("{judge}") };
    a.octets()[3]
}

#[tokio::test]
async fn identical_questions_are_asked_once() {
    let upstream = Upstream::start(|q| Over::Reply(address(q, 1), Duration::from_millis(100)), |_| None).await;
    let (forwarder, targets) = (forwarder(100), [upstream.address]);
    let waiters: Vec<_> = (0..40)
        .map(|_| {
            let forwarder = forwarder.clone();
            tokio::spawn(async move { forwarder.fetch(&ask(&name("db")), &group(&targets), T0).await })
        })
        .collect();
    for waiter in waiters {
        assert_eq!(last_octet(&waiter.await.unwrap()), 1);
    }
    assert_eq!(upstream.asked(), 1);
    assert_eq!((forwarder.counters().exchanges, forwarder.in_flight()), (1, 0));
    // And now it is known.
    assert_eq!(last_octet(&forwarder.fetch(&ask(&name("db")), &group(&targets), T0).await), 1);
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn who_stops_waiting_cancels_nothing() {
    let upstream = Upstream::start(|q| Over::Reply(address(q, 1), Duration::from_millis(100)), |_| None).await;
    let (forwarder, targets, db) = (forwarder(100), [upstream.address], name("db"));
    let asked = ask(&db);
    let first = tokio::time::timeout(Duration::from_millis(20), forwarder.fetch(&asked, &group(&targets), T0)).await;
    assert!(first.is_err(), "the first one gave up");
    assert_eq!(last_octet(&forwarder.fetch(&asked, &group(&targets), T0).await), 1);
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn kept_for_its_ttl_and_counted_down() {
    let upstream = Upstream::replying(|query| address(query, 1)).await;
    let (forwarder, targets, db) = (forwarder(100), [upstream.address], name("db"));
    let asked = ask(&db);
    assert!(forwarder.cached(&asked, T0).is_none());
    forwarder.fetch(&asked, &group(&targets), T0).await.unwrap();
    let later = T0.plus(100_000);
    let cached = forwarder.cached(&asked, later).expect("kept").unwrap();
    let mut octets = cached.octets().to_vec();
    cached.write_ttls(&mut octets, cached.age(later));
    let ttl = Judge::from_vec(&octets).unwrap().answers[0].ttl;
    // The exchange itself took a moment.
    assert!((200..=201).contains(&ttl), "{ttl}");
    assert!(forwarder.cached(&asked, T0.plus(305_000)).is_none());
    // A context is a world of its own, and so is DO.
    assert!(forwarder.cached(&Ask { context: ContextId(1), ..asked }, T0).is_none());
    assert!(forwarder.cached(&Ask { dnssec_ok: true, ..asked }, T0).is_none());
    forwarder.fetch(&Ask { context: ContextId(1), ..asked }, &group(&targets), T0).await.unwrap();
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn negative_answers_are_kept_with_their_soa_only() {
    let upstream = Upstream::replying(|query| {
        let mut reply = reply(query, ResponseCode::NXDomain);
        if query.queries[0].name().to_string().starts_with("soa.") {
            let apex = JudgeName::from_ascii("corp.example.").unwrap();
            let soa = SOA::new(apex.clone(), apex.clone(), 1, 2, 3, 4, 60);
            reply.add_authority(Record::from_rdata(apex, 900, RData::SOA(soa)));
        }
        reply
    })
    .await;
    let (forwarder, targets, soa, none) = (forwarder(100), [upstream.address], name("soa"), name("none"));
    for _ in 0..3 {
        assert_eq!(forwarder.fetch(&ask(&soa), &group(&targets), T0).await.unwrap().rcode(), Rcode::NXDOMAIN);
    }
    assert_eq!(upstream.asked(), 1);
    assert!(forwarder.cached(&ask(&soa), T0.plus(58_000)).is_some());
    assert!(forwarder.cached(&ask(&soa), T0.plus(65_000)).is_none());
    for _ in 0..3 {
        forwarder.fetch(&ask(&none), &group(&targets), T0).await.unwrap();
    }
    assert_eq!(upstream.asked(), 4);
}

#[tokio::test]
async fn failures_are_not_asked_again_and_again() {
    let upstream = Upstream::replying(|query| reply(query, ResponseCode::ServFail)).await;
    let (forwarder, targets, db) = (forwarder(100), [upstream.address], name("db"));
    for _ in 0..5 {
        assert_eq!(forwarder.fetch(&ask(&db), &group(&targets), T0).await.unwrap().rcode(), Rcode::SERVFAIL);
    }
    assert_eq!(upstream.asked(), 1);

    // Nobody there at all.
    let closed = [closed_port().await];
    for _ in 0..5 {
        assert_eq!(
            forwarder.fetch(&ask(&name("gone")), &group(&closed), T0).await.unwrap_err(),
            ExchangeError::Unreachable
        );
    }
    assert_eq!(forwarder.counters().exchanges, 2);
    assert_eq!(forwarder.fetch(&ask(&db), &group(&[]), T0).await.unwrap_err(), ExchangeError::NoTargets);
}

/// An address where nobody listens.
async fn closed_port() -> SocketAddr {
    let (socket, _listener) = bind_both().await;
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn a_reply_of_64_kib_comes_over_tcp() {
    let large = |query: &Judge| {
        let mut reply = reply(query, ResponseCode::NoError);
        let owner = query.queries[0].name().clone();
        for n in 0..232 {
            let text = TXT::new(vec![format!("{n:0255}")]);
            reply.add_answer(Record::from_rdata(owner.clone(), 300, RData::TXT(text)));
        }
        reply
    };
    let upstream =
        Upstream::start(|query| Over::Reply(truncated(query), Duration::ZERO), move |query| Some(large(query))).await;
    let forwarder = forwarder(100);
    let reply = forwarder.fetch(&ask(&name("db")), &group(&[upstream.address]), T0).await.unwrap();
    assert!(reply.octets().len() > 63_000, "{}", reply.octets().len());
    let judge = Judge::from_vec(reply.octets()).unwrap();
    assert_eq!((judge.answers.len(), judge.edns.is_none()), (232, true));
    let counters = forwarder.counters();
    assert_eq!((counters.sent_udp, counters.sent_tcp, counters.truncated), (1, 1, 1));
    assert!(forwarder.cached(&ask(&name("db")), T0.plus(1000)).is_some());
}

#[tokio::test]
async fn when_tcp_fails_the_next_target_is_asked() {
    let first = Upstream::start(|query| Over::Reply(truncated(query), Duration::ZERO), |_| None).await;
    let second = Upstream::replying(|query| address(query, 2)).await;
    let outcome = forwarder(100).fetch(&ask(&name("db")), &group(&[first.address, second.address]), T0).await;
    assert_eq!((last_octet(&outcome), first.asked(), second.asked()), (2, 2, 1));
}

#[tokio::test]
async fn a_black_hole_costs_the_first_question_only() {
    let hole = Upstream::start(|_| Over::Silence, |_| None).await;
    let good = Upstream::replying(|query| address(query, 2)).await;
    let (forwarder, targets) = (forwarder(100), [hole.address, good.address]);
    let begun = Instant::now();
    assert_eq!(last_octet(&forwarder.fetch(&ask(&name("first")), &group(&targets), T0).await), 2);
    assert!((400..1500).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    for n in 0..25 {
        let begun = Instant::now();
        assert_eq!(last_octet(&forwarder.fetch(&ask(&name(&n.to_string())), &group(&targets), T0).await), 2);
        assert!(begun.elapsed().as_millis() < 300, "{:?}", begun.elapsed());
    }
    assert_eq!((hole.asked(), forwarder.counters().silent), (1, 1));
    // A second later one question looks beside whether it is back.
    assert_eq!(last_octet(&forwarder.fetch(&ask(&name("probe")), &group(&targets), T0.plus(5_000)).await), 2);
    for _ in 0..100 {
        if hole.asked() == 2 {
            return;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the black hole was not probed");
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again_from_the_same_socket() {
    let lost = AtomicBool::new(true);
    let upstream = Upstream::start(
        move |query| match lost.swap(false, Ordering::Relaxed) {
            true => Over::Silence,
            false => Over::Reply(address(query, 1), Duration::ZERO),
        },
        |_| None,
    )
    .await;
    assert_eq!(last_octet(&forwarder(100).fetch(&ask(&name("db")), &group(&[upstream.address]), T0).await), 1);
    let asked = upstream.asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[0].0, asked[0].1.metadata.id), (asked[1].0, asked[1].1.metadata.id));
}

#[tokio::test]
async fn many_silent_targets_share_the_sockets_there_are() {
    let holes = [(); 4].map(|()| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let targets = [0, 1, 2, 3].map(|hole: usize| holes[hole].local_addr().unwrap());
    let forwarder = forwarder(400);
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let waiters: Vec<_> = (0..400)
        .map(|n| {
            let forwarder = forwarder.clone();
            tokio::spawn(async move { forwarder.fetch(&ask(&name(&n.to_string())), &group(&targets), T0).await })
        })
        .collect();
    let mut most = 0;
    for waiter in waiters {
        while !waiter.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            most = most.max(open());
        }
        assert_eq!(waiter.await.unwrap().unwrap_err(), ExchangeError::TimedOut);
    }
    // The other tests of this process have a few sockets too.
    assert!((400..400 + 100 + 700).contains(&(most - before)), "{before} to {most}");
    assert_eq!(forwarder.counters().sent_udp, forwarder.counters().silent, "each sending was waited for");
}

#[tokio::test]
async fn a_closed_port_is_noticed_at_once() {
    let good = Upstream::replying(|query| address(query, 2)).await;
    let (forwarder, targets) = (forwarder(100), [closed_port().await, good.address]);
    let begun = Instant::now();
    assert_eq!(last_octet(&forwarder.fetch(&ask(&name("db")), &group(&targets), T0).await), 2);
    assert!(begun.elapsed().as_millis() < 300, "{:?}", begun.elapsed());
    assert_eq!(forwarder.counters().unreachable, 1);
}

#[tokio::test]
async fn who_was_not_asked_is_not_heard() {
    let upstream = Upstream::start(|query| Over::Forged(address(query, 66), address(query, 1)), |_| None).await;
    let forwarder = forwarder(100);
    assert_eq!(last_octet(&forwarder.fetch(&ask(&name("db")), &group(&[upstream.address]), T0).await), 1);
    assert_eq!(forwarder.counters().mismatched, 0, "the kernel keeps it from us");
}

#[tokio::test]
async fn a_reply_to_something_else_is_ignored() {
    let wrong = |query: &Judge| {
        let mut reply = address(query, 66);
        reply.metadata.id ^= 0x55aa;
        reply
    };
    let upstream = Upstream::start(move |query| Over::Reply(wrong(query), Duration::ZERO), |_| None).await;
    let good = Upstream::replying(|query| address(query, 2)).await;
    let forwarder = forwarder(100);
    let targets = [upstream.address, good.address];
    assert_eq!(last_octet(&forwarder.fetch(&ask(&name("db")), &group(&targets), T0).await), 2);
    assert_eq!(forwarder.counters().mismatched, 1);
}

#[tokio::test]
async fn ports_and_ids_are_not_used_again() {
    let upstream = Upstream::replying(|query| address(query, 1)).await;
    let (forwarder, targets) = (forwarder(1000), [upstream.address]);
    for n in 0..100 {
        forwarder.fetch(&ask(&name(&n.to_string())), &group(&targets), T0).await.unwrap();
    }
    let asked = upstream.asked.lock().unwrap();
    let ports: std::collections::HashSet<_> = asked.iter().map(|(from, _)| from.port()).collect();
    let ids: std::collections::HashSet<_> = asked.iter().map(|(_, query)| query.metadata.id).collect();
    assert!(ports.len() > 90 && ids.len() > 90, "{} ports, {} ids", ports.len(), ids.len());
}

#[tokio::test]
async fn at_the_limit_new_questions_fail_and_known_ones_do_not() {
    let upstream = Upstream::start(
        |query| match query.queries[0].name().to_string().as_str() {
            "known.corp.example." => Over::Reply(address(query, 1), Duration::ZERO),
            _ => Over::Silence,
        },
        |_| None,
    )
    .await;
    let (forwarder, targets) = (forwarder(2), [upstream.address]);
    forwarder.fetch(&ask(&name("known")), &group(&targets), T0).await.unwrap();
    for n in 0..2 {
        let forwarder = forwarder.clone();
        tokio::spawn(async move { forwarder.fetch(&ask(&name(&n.to_string())), &group(&targets), T0).await });
    }
    while forwarder.in_flight() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        forwarder.fetch(&ask(&name("x")), &group(&targets), T0).await.unwrap_err(),
        ExchangeError::InFlightLimit
    );
    assert_eq!(last_octet(&forwarder.fetch(&ask(&name("known")), &group(&targets), T0).await), 1);
    assert_eq!(forwarder.counters().in_flight_limit, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_slow_names_are_all_answered() {
    let upstream = Upstream::start(|query| Over::Reply(address(query, 1), Duration::from_millis(1000)), |_| None).await;
    let (forwarder, targets) = (forwarder(1000), [upstream.address]);
    let waiters: Vec<_> = (0..300)
        .map(|n| {
            let forwarder = forwarder.clone();
            tokio::spawn(async move { forwarder.fetch(&ask(&name(&n.to_string())), &group(&targets), T0).await })
        })
        .collect();
    for waiter in waiters {
        assert_eq!(last_octet(&waiter.await.unwrap()), 1);
    }
}

#[tokio::test]
async fn an_upstream_over_ipv6() {
    let socket = match UdpSocket::bind("[::1]:0").await {
        Ok(socket) => socket,
        Err(error) => return eprintln!("SKIPPED an_upstream_over_ipv6: no ::1 here: {error}"),
    };
    let target = socket.local_addr().unwrap();
    tokio::spawn(serve_udp(
        Arc::new(socket),
        |query| Over::Reply(address(query, 6), Duration::ZERO),
        Arc::new(Mutex::new(Vec::new())),
    ));
    assert_eq!(last_octet(&forwarder(100).fetch(&ask(&name("db")), &group(&[target]), T0).await), 6);
}
