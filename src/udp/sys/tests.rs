use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::events::Events;
use super::*;
/// Sockets as doors have them: with packet information where they are bound to every address.
struct Doors {
    udp: Vec<Vec<UdpSocket>>,
    addresses: Vec<SocketAddr>,
}

impl Doors {
    fn open(addresses: &[SocketAddr]) -> Self {
        let open = |address: &SocketAddr| {
            let socket = UdpSocket::bind(address).unwrap();
            if address.ip().is_unspecified() {
                let family = if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
                receive_packet_info(&socket, family).unwrap();
            }
            socket
        };
        let sockets: Vec<_> = addresses.iter().map(open).collect();
        let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        Self { udp: sockets.into_iter().map(|socket| vec![socket]).collect(), addresses }
    }
}

fn open(address: &str) -> Doors {
    Doors::open(&[address.parse().unwrap()])
}

fn client(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Answers every datagram of the batch with its own octets, reversed.
fn reverse(batch: &mut Batch, received: usize) {
    for slot in 0..received {
        let (query, reply) = batch.exchange(slot);
        let octets = query.octets.len();
        reply[..octets].copy_from_slice(query.octets);
        reply[..octets].reverse();
        batch.set_reply(slot, octets);
    }
}

#[test]
fn more_than_a_batch_is_received_and_answered_in_several() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let doors = open(address);
        let client = client(address);
        let door = &doors.udp[0][0];
        let total = 2 * BATCH + 7;
        for number in 0..total {
            client.send_to(&[1, 0, number as u8], doors.addresses[0]).unwrap();
        }
        let mut batch = Batch::new(PacketInfo::Absent);
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < total {
            let received = batch.receive(door, Wait::Block).unwrap();
            assert_eq!(batch.datagram(0).client, client.local_addr().unwrap());
            assert_eq!(batch.datagram(0).local, None);
            reverse(&mut batch, received);
            assert_eq!(batch.send(door), SendReport { sent: received, failed: 0 });
            sizes.push(received);
        }
        assert_eq!(sizes, [BATCH, BATCH, 7]);
        let mut octets = [0; 64];
        for number in 0..total {
            let (length, from) = client.recv_from(&mut octets).unwrap();
            assert_eq!((from, &octets[..length]), (doors.addresses[0], &[number as u8, 0, 1][..]));
        }
        assert_eq!(batch.receive(door, Wait::Poll).unwrap(), 0);
        assert_eq!(batch.send(door), SendReport::default(), "a reply is sent once");
    }
}

#[test]
fn replies_of_a_wildcard_door_leave_from_the_address_asked() {
    let doors = open("0.0.0.0:0");
    let port = doors.addresses[0].port();
    let client = client("127.0.0.1:0");
    let mut batch = Batch::new(PacketInfo::PerDatagram);
    let asked: Vec<Ipv4Addr> = (1..=9).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
    // Twice, so that slots are used again.
    for _ in 0..2 {
        for ip in &asked {
            client.send_to(&ip.octets(), (*ip, port)).unwrap();
        }
        let mut done = 0;
        while done < asked.len() {
            let received = batch.receive(&doors.udp[0][0], Wait::Block).unwrap();
            for slot in 0..received {
                let datagram = batch.datagram(slot);
                assert_eq!(datagram.local, Some(IpAddr::V4(asked[done + slot])));
                assert_eq!(datagram.octets, asked[done + slot].octets());
            }
            reverse(&mut batch, received);
            assert_eq!(batch.send(&doors.udp[0][0]), SendReport { sent: received, failed: 0 });
            done += received;
        }
        let mut octets = [0; 64];
        for ip in &asked {
            let (_, from) = client.recv_from(&mut octets).unwrap();
            assert_eq!(from, SocketAddr::from((*ip, port)));
        }
    }
}

#[test]
fn the_wildcard_of_ipv6_tells_the_address_asked_and_answers_from_it() {
    let doors = open("[::]:0");
    let port = doors.addresses[0].port();
    let client = client("[::1]:0");
    client.send_to(b"ab", (Ipv6Addr::LOCALHOST, port)).unwrap();
    let mut batch = Batch::new(PacketInfo::PerDatagram);
    assert_eq!(batch.receive(&doors.udp[0][0], Wait::Block).unwrap(), 1);
    assert_eq!(batch.datagram(0).local, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    reverse(&mut batch, 1);
    assert_eq!(batch.send(&doors.udp[0][0]).sent, 1);
    let mut octets = [0; 64];
    let (length, from) = client.recv_from(&mut octets).unwrap();
    assert_eq!((&octets[..length], from), (&b"ba"[..], SocketAddr::from((Ipv6Addr::LOCALHOST, port))));
}

#[test]
fn one_batch_serves_doors_with_and_without_packet_information() {
    let (wild, single) = (open("0.0.0.0:0"), open("127.0.0.1:0"));
    let client = client("127.0.0.1:0");
    let mut batch = Batch::new(PacketInfo::PerDatagram);
    for _ in 0..2 {
        client.send_to(b"w", ("127.0.0.3", wild.addresses[0].port())).unwrap();
        assert_eq!(batch.receive(&wild.udp[0][0], Wait::Block).unwrap(), 1);
        assert_eq!(batch.datagram(0).local, Some("127.0.0.3".parse().unwrap()));
        client.send_to(b"s", single.addresses[0]).unwrap();
        assert_eq!(batch.receive(&single.udp[0][0], Wait::Block).unwrap(), 1);
        assert_eq!(batch.datagram(0).local, None);
        reverse(&mut batch, 1);
        assert_eq!(batch.send(&single.udp[0][0]).sent, 1);
        assert_eq!(client.recv_from(&mut [0; 8]).unwrap().1, single.addresses[0]);
    }
}

#[test]
fn a_late_reply_leaves_from_the_address_asked() {
    let wild = open("0.0.0.0:0");
    let v6 = open("[::]:0");
    let client4 = client("127.0.0.1:0");
    let client6 = client("[::1]:0");
    let mut octets = [0; 8];
    send_one(&wild.udp[0][0], client4.local_addr().unwrap(), Some("127.0.0.3".parse().unwrap()), b"one").unwrap();
    let (length, from) = client4.recv_from(&mut octets).unwrap();
    assert_eq!((&octets[..length], from.ip().to_string()), (&b"one"[..], "127.0.0.3".to_owned()));
    send_one(&v6.udp[0][0], client6.local_addr().unwrap(), Some("::1".parse().unwrap()), b"two").unwrap();
    let (length, from) = client6.recv_from(&mut octets).unwrap();
    assert_eq!((&octets[..length], from), (&b"two"[..], (Ipv6Addr::LOCALHOST, v6.addresses[0].port()).into()));
    let single = open("127.0.0.2:0");
    send_one(&single.udp[0][0], client4.local_addr().unwrap(), None, b"three").unwrap();
    assert_eq!(client4.recv_from(&mut octets).unwrap(), (5, single.addresses[0]));
}

#[test]
fn slots_without_a_reply_are_passed_over_and_one_that_fails_is_counted() {
    let doors = open("127.0.0.1:0");
    let door = &doors.udp[0][0];
    let client = client("127.0.0.1:0");
    for number in 0..5u8 {
        client.send_to(&[number], doors.addresses[0]).unwrap();
    }
    let mut batch = Batch::new(PacketInfo::Absent);
    assert_eq!(batch.receive(door, Wait::Block).unwrap(), 5);
    reverse(&mut batch, 5);
    batch.set_reply(1, 0);
    // A sender that nothing can be sent to, as one with the source port 0 is.
    batch.forge_client(2, "127.0.0.1:0".parse().unwrap());
    assert_eq!(batch.send(door), SendReport { sent: 3, failed: 1 });
    for number in [0, 3, 4] {
        let mut octets = [0; 8];
        assert_eq!(client.recv(&mut octets).unwrap(), 1);
        assert_eq!(octets[0], number);
    }
}

#[test]
fn long_and_empty_datagrams_are_told_apart_from_others() {
    let doors = open("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    for octets in [0, QUERY_OCTETS, QUERY_OCTETS + 1] {
        client.send_to(&vec![7; octets], doors.addresses[0]).unwrap();
    }
    let mut batch = Batch::new(PacketInfo::Absent);
    assert_eq!(batch.receive(&doors.udp[0][0], Wait::Block).unwrap(), 3);
    let seen: Vec<_> = (0..3).map(|slot| (batch.datagram(slot).octets.len(), batch.datagram(slot).truncated)).collect();
    assert_eq!(seen, [(0, false), (QUERY_OCTETS, false), (QUERY_OCTETS, true)]);
    assert_eq!(batch.datagram(0).client, client.local_addr().unwrap());
}

#[test]
fn shutting_a_door_wakes_the_sleeper_and_loses_nothing_that_is_queued() {
    for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let doors = open(address);
        let door = doors.udp[0][0].try_clone().unwrap();
        let (asleep, is_asleep) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || {
            let mut batch = Batch::new(PacketInfo::Absent);
            asleep.send(()).unwrap();
            batch.receive(&door, Wait::Block).unwrap()
        });
        is_asleep.recv().unwrap();
        shut_for_receiving(&doors.udp[0][0]).unwrap();
        assert_eq!(worker.join().unwrap(), 0);
    }
    let doors = open("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    client.send_to(b"last", doors.addresses[0]).unwrap();
    shut_for_receiving(&doors.udp[0][0]).unwrap();
    let mut batch = Batch::new(PacketInfo::Absent);
    assert_eq!(batch.receive(&doors.udp[0][0], Wait::Block).unwrap(), 1);
    reverse(&mut batch, 1);
    assert_eq!(batch.send(&doors.udp[0][0]).sent, 1, "sending goes on");
    assert_eq!(client.recv(&mut [0; 8]).unwrap(), 4);
    assert_eq!(batch.receive(&doors.udp[0][0], Wait::Block).unwrap(), 0);
}

#[test]
fn events_name_the_doors_that_are_ready_and_wake_when_one_is_shut() {
    let doors = ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap(), "127.0.0.2:0".parse().unwrap()];
    let doors = Doors::open(&doors);
    let sockets: Vec<&UdpSocket> = doors.udp.iter().map(|door| &door[0]).collect();
    let mut events = Events::new().unwrap();
    for (number, socket) in (0..).zip(&sockets) {
        events.watch(*socket, number).unwrap();
    }
    let client = client("127.0.0.1:0");
    client.send_to(b"x", doors.addresses[2]).unwrap();
    assert_eq!(events.wait(None).unwrap(), 1);
    assert_eq!(events.number(0), 2);
    let mut batch = Batch::new(PacketInfo::Absent);
    assert_eq!(batch.receive(sockets[2], Wait::Poll).unwrap(), 1);
    assert_eq!(batch.receive(sockets[2], Wait::Poll).unwrap(), 0);
    shut_for_receiving(sockets[1]).unwrap();
    assert_eq!(events.wait(None).unwrap(), 1);
    assert_eq!(events.number(0), 1);
    assert_eq!(batch.receive(sockets[1], Wait::Poll).unwrap(), 0);
}

#[test]
fn addresses_survive_the_form_of_the_kernel() {
    for text in ["192.0.2.1:53", "[2001:db8::1]:5300", "[fe80::1%3]:53", "[::ffff:10.0.0.1]:1"] {
        let address: SocketAddr = text.parse().unwrap();
        assert_eq!(address_of(&encode_address(address).0), address);
    }
}

#[test]
fn datagrams_that_find_the_receive_buffer_full_are_counted_by_the_kernel() {
    let (door, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), client("127.0.0.1:0"));
    assert_eq!(receive_drops(&door).unwrap(), 0);
    set_option(&door, libc::SOL_SOCKET, libc::SO_RCVBUF, 4096).unwrap();
    for _ in 0..200 {
        client.send_to(&[0; 500], door.local_addr().unwrap()).unwrap();
    }
    // Over the loopback a datagram is queued or dropped before send_to returns.
    let drops = receive_drops(&door).unwrap();
    assert!((100..200).contains(&drops), "{drops}");
}

#[test]
fn what_arrives_after_arrivals_are_refused_is_dropped_and_what_was_there_is_not() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let doors = open(address);
        let door = &doors.udp[0][0];
        let client = client(address);
        client.send_to(b"early", doors.addresses[0]).unwrap();
        refuse_arrivals(door).unwrap();
        client.send_to(b"late", doors.addresses[0]).unwrap();
        let mut batch = Batch::new(PacketInfo::Absent);
        assert_eq!(batch.receive(door, Wait::Poll).unwrap(), 1);
        assert_eq!(batch.datagram(0).octets, b"early");
        assert_eq!(batch.receive(door, Wait::Poll).unwrap(), 0);
    }
}
