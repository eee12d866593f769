use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

fn workers(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A door that no other test and no other process takes: an address of this one's own, a port nobody is handed.
fn own_door(test: u8) -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 64 + test, high, low.max(1)], 5300))
}

/// A port that was free for both transports on every loopback address a moment ago.
fn open_two(first: &str, second: &str) -> Doors {
    for _ in 0..PORT_TRIES {
        let port = Doors::open(&[at("0.0.0.0:0")], workers(1)).unwrap().addresses[0].port();
        let doors = [SocketAddr::new(first.parse().unwrap(), port), SocketAddr::new(second.parse().unwrap(), port)];
        if let Ok(doors) = Doors::open(&doors, workers(2)) {
            return doors;
        }
    }
    panic!("no port is free");
}

#[test]
fn udp_and_tcp_share_the_port_that_the_system_picked() {
    for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
        let doors = Doors::open(&[at(address)], workers(3)).unwrap();
        let settled = doors.addresses[0];
        assert_ne!(settled.port(), 0);
        assert_eq!(doors.tcp[0].local_addr().unwrap(), settled);
        assert_eq!(doors.udp[0].len(), 3);
        assert!(doors.udp[0].iter().all(|socket| socket.local_addr().unwrap() == settled));
    }
}

#[test]
fn every_worker_gets_datagrams() {
    let doors = Doors::open(&[at("127.0.0.1:0")], workers(2)).unwrap();
    for _ in 0..64 {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", doors.addresses[0]).unwrap();
    }
    for socket in &doors.udp[0] {
        let mut octets = [0; 8];
        assert_eq!(socket.recv(&mut octets).unwrap(), 1);
    }
}

#[test]
fn a_second_opening_of_a_door_is_an_error_that_names_it() {
    let address = own_door(0);
    let held = Doors::open(&[address], workers(2)).unwrap();
    let errors = Doors::open(&[address], workers(2)).unwrap_err();
    assert_eq!(errors.iter().map(|e| e.transport).collect::<Vec<_>>(), [Transport::Udp, Transport::Tcp]);
    for error in &errors {
        assert!(error.is_taken());
        let text = error.to_string();
        assert!(text.contains(&address.to_string()), "{text}");
    }
    let wildcard = Doors::open(&[SocketAddr::new(at("0.0.0.0:0").ip(), address.port())], workers(1)).unwrap_err();
    assert!(wildcard.iter().all(DoorError::is_taken));
    drop(held);
    Doors::open(&[address], workers(1)).unwrap();
}

#[test]
fn a_list_with_a_taken_door_leaves_the_others_free() {
    let held = Doors::open(&[own_door(1)], workers(1)).unwrap();
    let free = own_door(2);
    let errors = Doors::open(&[free, held.addresses[0], at("192.0.2.1:5300")], workers(2)).unwrap_err();
    let mut failed: Vec<_> = errors.iter().map(|e| (e.address, e.transport == Transport::Udp)).collect();
    failed.sort_unstable();
    let taken = held.addresses[0];
    let missing = at("192.0.2.1:5300");
    assert_eq!(failed, [(taken, false), (taken, true), (missing, false), (missing, true)]);
    assert!(TcpStream::connect(free).is_err());
    UdpSocket::bind(free).unwrap();
    TcpListener::bind(free).unwrap();
}

#[test]
fn a_door_whose_tcp_side_alone_is_taken_is_not_opened() {
    let address = own_door(3);
    let _listener = TcpListener::bind(address).unwrap();
    let errors = Doors::open(&[address], workers(1)).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].address, errors[0].transport), (address, Transport::Tcp));
    UdpSocket::bind(address).unwrap();
}

#[test]
fn a_wildcard_door_and_one_on_a_single_address_of_its_port_stand_together() {
    for order in [["0.0.0.0", "127.0.0.9"], ["127.0.0.9", "0.0.0.0"]] {
        let doors = open_two(order[0], order[1]);
        let single = order.iter().position(|ip| *ip == "127.0.0.9").unwrap();
        let port = doors.addresses[0].port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (door, asked) in [(single, "127.0.0.9"), (1 - single, "127.0.0.8")] {
            let asked = SocketAddr::new(asked.parse().unwrap(), port);
            client.send_to(asked.to_string().as_bytes(), asked).unwrap();
            let mut octets = [0; 64];
            for socket in &doors.udp[door] {
                socket.set_nonblocking(true).unwrap();
            }
            let length = loop {
                if let Some(length) = doors.udp[door].iter().find_map(|socket| socket.recv(&mut octets).ok()) {
                    break length;
                }
                std::thread::yield_now();
            };
            assert_eq!(octets[..length], *asked.to_string().as_bytes());
            let mut stream = TcpStream::connect(asked).unwrap();
            stream.write_all(b"hello").unwrap();
            doors.tcp[door].set_nonblocking(false).unwrap();
            let (mut accepted, _) = doors.tcp[door].accept().unwrap();
            accepted.read_exact(&mut octets[..5]).unwrap();
            assert_eq!(&octets[..5], b"hello");
        }
    }
}

#[test]
fn the_wildcard_of_ipv6_leaves_ipv4_alone() {
    let over_ipv4 = |port| Doors::open(&[SocketAddr::new(at("0.0.0.0:0").ip(), port)], workers(1));
    // Some ports are taken by others; were the wildcard of both families, all would be.
    let (six, _four) = (0..PORT_TRIES)
        .find_map(|_| {
            let six = Doors::open(&[at("[::]:0")], workers(1)).unwrap();
            let four = over_ipv4(six.addresses[0].port()).ok()?;
            Some((six, four))
        })
        .unwrap();
    TcpStream::connect(("::1", six.addresses[0].port())).unwrap();
    assert_eq!(six.packet_info(), PacketInfo::PerDatagram);
}

#[test]
fn trying_says_what_opening_would_and_leaves_the_doors_free() {
    let held = Doors::open(&[own_door(4)], workers(1)).unwrap();
    let free = own_door(5);
    assert!(Doors::obstacles(&[free]).is_empty());
    let found = |addresses: &[SocketAddr]| -> Vec<_> {
        Doors::obstacles(addresses).iter().map(|error| (error.address, error.transport)).collect()
    };
    let taken = held.addresses[0];
    assert_eq!(found(&[taken, free]), [(taken, Transport::Udp), (taken, Transport::Tcp)]);
    Doors::open(&[free], workers(2)).unwrap();
    TcpStream::connect(taken).unwrap();
}
