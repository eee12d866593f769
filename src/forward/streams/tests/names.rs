use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::UdpSocket;

use super::authority::{Authority, accept};
use super::*;
use crate::dns::TargetHost;

const NAME: &str = "dns.example";

/// What a name server says for `dns.example`; SERVFAIL for everything else.
#[derive(Clone, Default)]
struct NameServer {
    addresses: Arc<Mutex<Vec<Ipv4Addr>>>,
    /// How often it was asked for addresses of IPv4.
    asked: Arc<AtomicUsize>,
    is_silent: bool,
}

impl NameServer {
    fn with(addresses: &[[u8; 4]]) -> Self {
        let server = Self::default();
        server.set(addresses);
        server
    }

    fn set(&self, addresses: &[[u8; 4]]) {
        *self.addresses.lock().expect("no panic") = addresses.iter().map(|&ip| ip.into()).collect();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Runs it; returns where.
    fn run(&self, net: &Net) -> SocketAddr {
        let socket = net.runtime.block_on(UdpSocket::bind("127.0.0.1:0")).expect("a port");
        let address = socket.local_addr().expect("an address");
        let server = self.clone();
        net.runtime.spawn(async move {
            let mut query = [0; 1500];
            loop {
                let (octets, client) = socket.recv_from(&mut query).await.expect("a query");
                if let Some(reply) = server.reply(&query[..octets]) {
                    socket.send_to(&reply, client).await.expect("sent");
                }
            }
        });
        address
    }

    fn reply(&self, query: &[u8]) -> Option<Vec<u8>> {
        let question_end = 12 + query[12..].iter().position(|&octet| octet == 0).expect("a name's end") + 5;
        let mut reply = query[..question_end].to_vec();
        reply[2..4].copy_from_slice(&[0x81, 0x80]);
        reply[6..12].fill(0);
        if !query[12..question_end].to_ascii_lowercase().starts_with(b"\x03dns\x07example\0") {
            reply[3] |= 2;
            return Some(reply);
        }
        if query[question_end - 3] == 1 {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let addresses = self.addresses.lock().expect("no panic");
            reply[7] = addresses.len() as u8;
            for ip in addresses.iter() {
                // A TTL of 0: they are nevertheless used for a while.
                reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04");
                reply.extend_from_slice(&ip.octets());
            }
        }
        (!self.is_silent).then_some(reply)
    }
}

/// Trusts an authority of its own, and finds names with these servers.
fn world(servers: &[&NameServer]) -> (Net, Authority) {
    let authority = Authority::new();
    let net = Net::with(StreamSettings { roots: authority.roots(), ..settings() });
    net.targets.set_bootstrap(servers.iter().map(|server| server.run(&net)).collect());
    (net, authority)
}

/// Peers that answer over TLS for `dns.example` on one port of these loopback addresses, and the target that they are.
fn peers(
    net: &Net,
    authority: &Authority,
    addresses: &[[u8; 4]],
) -> (Target, HashMap<IpAddr, tokio::task::AbortHandle>) {
    let config = Arc::new(authority.server(&[NAME], b"dot"));
    let mut port = 0;
    let mut tasks = HashMap::new();
    for &address in addresses {
        let listener = net.runtime.block_on(TcpListener::bind(SocketAddr::from((address, port)))).expect("a port");
        port = listener.local_addr().expect("an address").port();
        let config = Arc::clone(&config);
        let task = net.runtime.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let config = Arc::clone(&config);
                connections.spawn(async move {
                    if let Some(stream) = accept(stream, &config).await {
                        answer_all(stream).await;
                    }
                });
            }
        });
        tasks.insert(IpAddr::from(address), task.abort_handle());
    }
    let host = TargetHost::Name(NAME.into());
    (Target { host, port, protocol: TargetProtocol::Dot, server_name: None }, tasks)
}

const HERE: [u8; 4] = [127, 0, 0, 11];
const THERE: [u8; 4] = [127, 0, 0, 12];

#[test]
fn names_are_found_and_kept() {
    let server = NameServer::with(&[HERE]);
    let (net, authority) = world(&[&server]);
    let (target, _peers) = peers(&net, &authority, &[HERE]);
    assert_eq!(net.ask(&target, query(1)), reply(1));
    let asked = server.asked();
    for number in 2..5 {
        // New connections each time: only the addresses are kept.
        net.targets.lines().by_target.clear();
        assert_eq!(net.ask(&target, query(number)), reply(number));
    }
    assert_eq!(server.asked(), asked);
}

#[test]
fn a_target_that_moved_is_found_again() {
    let server = NameServer::with(&[HERE]);
    let (net, authority) = world(&[&server]);
    let (target, peers) = peers(&net, &authority, &[HERE, THERE]);
    assert_eq!(net.ask(&target, query(1)), reply(1));
    server.set(&[THERE]);
    // Its connection ends, and where it was nobody listens.
    peers[&IpAddr::from(HERE)].abort();
    net.insist(&target, 2);
}

#[test]
fn the_last_good_addresses_are_kept_when_nobody_tells_new_ones() {
    let server = NameServer::with(&[HERE]);
    let (net, authority) = world(&[&server]);
    let (target, _peers) = peers(&net, &authority, &[HERE]);
    assert_eq!(net.ask(&target, query(1)), reply(1));
    server.set(&[]);
    let asked_before = server.asked();
    let deadline = std::time::Instant::now() + PATIENCE;
    // Asked again, in vain, and nothing is lost.
    while server.asked() == asked_before {
        assert!(std::time::Instant::now() < deadline, "nobody asks again");
        net.targets.lines().equipment.bootstrap.distrust(NAME);
        net.targets.lines().by_target.clear();
        assert_eq!(net.ask(&target, query(2)), reply(2));
    }
    net.targets.lines().by_target.clear();
    assert_eq!(net.ask(&target, query(3)), reply(3));
}

#[test]
fn a_name_without_an_address_is_said_to_have_none() {
    for server in [NameServer::default(), NameServer { is_silent: true, ..NameServer::with(&[HERE]) }] {
        let (net, authority) = world(&[&server]);
        let (target, _peers) = peers(&net, &authority, &[HERE]);
        assert_eq!(net.ask(&target, query(1)), Err(StreamFailure::NoAddress));
        let unknown = Target { host: TargetHost::Name("else.example".into()), ..target };
        assert_eq!(net.ask(&unknown, query(2)), Err(StreamFailure::NoAddress));
    }
}

#[test]
fn the_next_name_server_is_asked_where_one_fails_or_is_silent() {
    let silent = NameServer { is_silent: true, ..NameServer::default() };
    let (failing, good) = (NameServer::default(), NameServer::with(&[HERE]));
    let (net, authority) = world(&[&silent, &failing, &good]);
    let (target, _peers) = peers(&net, &authority, &[HERE]);
    assert_eq!(net.ask(&target, query(1)), reply(1));
}

#[test]
fn the_next_address_is_tried_where_one_is_silent_and_the_good_one_comes_first_later() {
    let server = NameServer::with(&[HERE, THERE]);
    let (net, authority) = world(&[&server]);
    let (target, _peers) = peers(&net, &authority, &[THERE]);
    // Takes connections, and never says anything.
    let silent = SocketAddr::from((HERE, target.port));
    let silent = net.runtime.block_on(TcpListener::bind(silent)).expect("the port is free there too");
    net.runtime.spawn(async move {
        let mut streams = Vec::new();
        loop {
            streams.push(silent.accept().await.expect("a connection"));
        }
    });
    assert_eq!(net.ask(&target, query(1)), reply(1));
    let equipment = Arc::clone(&net.targets.lines().equipment);
    let known = net.runtime.block_on(equipment.bootstrap.addresses(NAME, Instant::now()));
    assert_eq!(known, [THERE, HERE].map(IpAddr::from));
}

#[test]
fn targets_with_an_address_need_no_name_server() {
    let server = NameServer::with(&[HERE]);
    let (net, authority) = world(&[&server]);
    let (target, _peers) = peers(&net, &authority, &[HERE]);
    let target = Target { host: TargetHost::Address(HERE.into()), server_name: Some(NAME.into()), ..target };
    assert_eq!(net.ask(&target, query(1)), reply(1));
    assert_eq!(server.asked(), 0);
}
