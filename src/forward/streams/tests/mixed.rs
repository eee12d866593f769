//! One group whose targets are asked over everything there is, and who answers when only one of them does.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use tokio::net::UdpSocket;

use super::authority::{Authority, accept};
use super::*;
use crate::dns::{Class, Name, Rtype, TargetGroup, TargetOrder, Ttl};
use crate::forward::cache::CacheLimits;
use crate::forward::clock::Clock;
use crate::forward::exchange::Options;
use crate::forward::lane::{Audience, LaneSetup, Lanes, Order};
use crate::forward::reply::TtlLimits;
use crate::forward::{Ask, ContextId, ForwardLimits, Forwarder, Millis, Outcome};

const NAME: &str = "dns.example";

/// Tells through channels.
struct Channels;

impl Audience for Channels {
    type Waiter = Sender<Outcome>;

    fn tell(&mut self, waiter: Sender<Outcome>, outcome: &Outcome, _: Millis) {
        let _ = waiter.send(outcome.clone());
    }

    fn flush(&mut self) {}

    fn way_of(&self, _: &Sender<Outcome>) -> String {
        "a test".to_owned()
    }
}

fn limits() -> ForwardLimits {
    let ttls = TtlLimits { ttl_max: Ttl::MAX, negative_ttl_max: Ttl::MAX, failure_ttl: Ttl::from_wire(5) };
    ForwardLimits {
        cache: CacheLimits { octets_max: 1 << 20, ttls, stale_seconds: 0, prefetch: false },
        in_flight_max: 1000,
        in_flight_per_target_max: 1000,
        sockets_max: 256,
        options: Options::default(),
    }
}

/// The reply of the target at this place in the group: an address that ends with it.
fn reply_of(place: usize, query: &[u8]) -> Vec<u8> {
    let mut reply = reply_to(query);
    *reply.last_mut().expect("an address") = place as u8;
    reply
}

/// Answers the messages of a stream while this is the one that does, and hangs up when it is not.
async fn answer_while(mut stream: impl AsyncRead + AsyncWrite + Unpin, place: usize, alive: Arc<AtomicUsize>) {
    while let Some(query) = read(&mut stream).await {
        if alive.load(Ordering::SeqCst) != place {
            return;
        }
        write(&mut stream, &reply_of(place, &query)).await;
    }
}

#[test]
fn whoever_of_six_targets_answers_is_found_over_whatever_it_is_asked() {
    let authority = Authority::new();
    let net = Net::with(StreamSettings { roots: authority.roots(), ..settings() });
    let alive = Arc::new(AtomicUsize::new(0));
    // The first one is silent for ever.
    let hole = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let dead = Target::do53(hole.local_addr().expect("an address"));
    let of_tls = {
        let (config, alive) = (Arc::new(authority.server(&[NAME], b"dot")), Arc::clone(&alive));
        let target = net.peer(move |_, stream| {
            let (config, alive) = (Arc::clone(&config), Arc::clone(&alive));
            async move {
                if let Some(stream) = accept(stream, &config).await {
                    answer_while(stream, 1, alive).await;
                }
            }
        });
        tls::dot(target, NAME)
    };
    let of_https = {
        let alive = Arc::clone(&alive);
        https::peer(&net, &authority, usize::MAX, move |_, _, _, query| {
            let is_alive = alive.load(Ordering::SeqCst) == 2;
            Box::pin(async move { if is_alive { https::ok(reply_of(2, &query)) } else { https::Act::HangUp } })
        })
    };
    let of_quic = {
        let alive = Arc::clone(&alive);
        quic::peer(&net, authority.server(&[NAME], b"doq"), move |_, incoming| {
            let alive = Arc::clone(&alive);
            async move {
                let Ok(connection) = incoming.await else { return };
                while let Ok((send, mut receive)) = connection.accept_bi().await {
                    let query = quic::read_query(&mut receive).await;
                    if alive.load(Ordering::SeqCst) != 3 {
                        return;
                    }
                    quic::write_reply(send, &reply_of(3, &query)).await;
                }
            }
        })
    };
    let of_tcp = {
        let alive = Arc::clone(&alive);
        let target = net.peer(move |_, stream| answer_while(stream, 4, Arc::clone(&alive)));
        Target { protocol: TargetProtocol::Tcp, ..target }
    };
    let of_udp = {
        let socket = net.runtime.block_on(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let target = Target::do53(socket.local_addr().expect("an address"));
        let alive = Arc::clone(&alive);
        net.runtime.spawn(async move {
            let mut octets = [0; 512];
            while let Ok((count, from)) = socket.recv_from(&mut octets).await {
                if alive.load(Ordering::SeqCst) == 5 {
                    let _ = socket.send_to(&reply_of(5, &octets[..count]), from).await;
                }
            }
        });
        target
    };
    let targets = vec![dead, of_tls, of_https, of_quic, of_tcp, of_udp];
    let group = Arc::new(TargetGroup { targets, order: TargetOrder::InOrder });

    let forwarder = Forwarder::new(limits());
    let lanes = Lanes::new(&forwarder, NonZeroUsize::MIN).expect("descriptors");
    let clock = Clock::at(Millis(10_000));
    let setup = LaneSetup { streams: net.targets.clone(), clock };
    let threads = lanes.start(&setup, |_| Channels).expect("a thread");
    // Each comes after one that is before it in the list, and after one that is behind it.
    for (round, place) in [5, 1, 4, 2, 3, 1, 5, 3].into_iter().enumerate() {
        alive.store(place, Ordering::SeqCst);
        for number in 0..3 {
            let label = format!("n{number}-{round}");
            let name = Name::from_labels([label.as_bytes(), b"example"]).expect("a name");
            let ask = Ask {
                context: ContextId(0),
                qname: name.as_wire(),
                qtype: Rtype::A,
                class: Class::IN,
                dnssec_ok: false,
                checking_disabled: false,
            };
            let (waiter, told) = mpsc::channel();
            lanes.submit(Order::new(lanes.question(&ask), &group, [192, 0, 2, 1].into(), clock.now(), waiter));
            let outcome = told.recv_timeout(PATIENCE).expect("whoever asks is told");
            let reply = outcome.unwrap_or_else(|error| panic!("round {round}, target {place}: {error:?}"));
            assert_eq!(reply.octets().last().copied(), Some(place as u8), "round {round}, {label}");
        }
    }
    drop((threads, hole));
}
