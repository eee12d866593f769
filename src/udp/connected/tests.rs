use super::*;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Two sockets of the loopback, connected to each other.
fn pair(address: &str) -> (UdpSocket, UdpSocket) {
    let bind = || UdpSocket::bind(address).unwrap();
    let (one, other) = (bind(), bind());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

/// Receives until so many datagrams have come.
fn receive_all(incoming: &mut Incoming, socket: &UdpSocket, total: usize) -> Vec<Vec<u8>> {
    let began = Instant::now();
    let mut all = Vec::new();
    while all.len() < total {
        assert!(began.elapsed() < Duration::from_secs(5), "{} of {total}", all.len());
        let received = incoming.receive(socket).unwrap();
        all.extend((0..received).map(|slot| incoming.datagram(slot).to_vec()));
    }
    all
}

#[test]
fn batches_arrive_whole_and_in_order() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (one, other) = pair(address);
        let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::default());
        for round in 0..3 {
            let mut expected = Vec::new();
            for number in 0..BATCH {
                let length = 1 + (number * 7 + round) % SENT_OCTETS_MAX;
                outgoing.push(|octets| {
                    octets[..length].fill(number as u8);
                    length
                });
                expected.push(vec![number as u8; length]);
            }
            assert!(!outgoing.has_room());
            assert_eq!(outgoing.send(&one).unwrap(), 0);
            assert!(outgoing.is_empty());
            assert_eq!(receive_all(&mut incoming, &other, BATCH), expected);
        }
        assert_eq!(incoming.receive(&other).unwrap(), 0);
        assert_eq!(outgoing.send(&one).unwrap(), 0, "sent once");
        assert_eq!(incoming.receive(&other).unwrap(), 0);
    }
}

#[test]
fn a_datagram_too_long_loses_its_end_and_nothing_more() {
    let (one, other) = pair("127.0.0.1:0");
    one.send(&vec![3; RECEIVED_OCTETS_MAX + 1000]).unwrap();
    one.send(&[4; 10]).unwrap();
    let mut incoming = Incoming::default();
    let received = receive_all(&mut incoming, &other, 2);
    assert_eq!(received, [vec![3; RECEIVED_OCTETS_MAX], vec![4; 10]]);
}

#[test]
fn what_strangers_send_is_not_received() {
    let (one, other) = pair("127.0.0.1:0");
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to: SocketAddr = other.local_addr().unwrap();
    // The kernel says "refused" to a stranger, as to anyone who sends to a port where nobody is.
    let _ = stranger.send_to(b"forged", to);
    one.send(b"true").unwrap();
    assert_eq!(receive_all(&mut Incoming::default(), &other, 1), [b"true"]);
}

#[test]
fn icmp_is_an_error_once_for_who_receives_and_for_who_sends() {
    let (one, other) = pair("127.0.0.1:0");
    drop(other);
    let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::default());
    let push = |outgoing: &mut Outgoing| outgoing.push(|_| 1);
    push(&mut outgoing);
    assert_eq!(outgoing.send(&one).unwrap(), 0);
    // On the loopback ICMP has come back before the system call returns.
    assert_eq!(incoming.receive(&one).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(incoming.receive(&one).unwrap(), 0);
    push(&mut outgoing);
    assert_eq!(outgoing.send(&one).unwrap(), 0);
    push(&mut outgoing);
    push(&mut outgoing);
    assert_eq!(outgoing.send(&one).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert!(outgoing.is_empty(), "what could not be sent is forgotten");
}
