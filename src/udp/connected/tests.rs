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
fn batches_arrive_whole_and_the_shorter_datagrams_first() {
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
            expected.sort_by_key(Vec::len);
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

/// From linux/udp.h.
const UDP_NO_CHECK6_TX: libc::c_int = 101;
/// From linux/udp.h.
const UDP_NO_CHECK6_RX: libc::c_int = 102;

/// Sets an option of a socket.
fn set(socket: &UdpSocket, level: libc::c_int, option: libc::c_int) {
    let yes: libc::c_int = 1;
    let octets = size_of_val(&yes) as libc::socklen_t;
    // SAFETY: a call that reads one live local.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, addr_of!(yes).cast(), octets) };
    assert_eq!(set, 0);
}

/// Fills a batch with three lengths, and sends it; what of it should arrive, in any order.
fn send_three_lengths(outgoing: &mut Outgoing, socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut expected: Vec<_> = (0..BATCH).map(|number| vec![number as u8; [33, 12, 40][number % 3]]).collect();
    for octets in &expected {
        outgoing.push(|out| {
            out[..octets.len()].copy_from_slice(octets);
            octets.len()
        });
    }
    assert_eq!(outgoing.send(socket).unwrap(), 0);
    expected.sort();
    expected
}

#[test]
fn datagrams_of_the_same_length_leave_as_one_message_or_singly_where_the_kernel_refuses() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (one, other) = pair(address);
        let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::default());
        let mut check = |outgoing: &mut Outgoing| {
            let expected = send_three_lengths(outgoing, &one);
            let mut received = receive_all(&mut incoming, &other, BATCH);
            received.sort();
            assert_eq!(received, expected);
        };
        check(&mut outgoing);
        assert_eq!(outgoing.is_cut_by_kernel, Some(true), "Linux 4.18 and later do");
        assert_eq!(outgoing.address(0..BATCH), 3);
        // Without checksums the kernel does not cut.
        let is_ipv4 = one.local_addr().unwrap().is_ipv4();
        if is_ipv4 {
            set(&one, libc::SOL_SOCKET, libc::SO_NO_CHECK);
        } else {
            set(&one, libc::SOL_UDP, UDP_NO_CHECK6_TX);
            set(&other, libc::SOL_UDP, UDP_NO_CHECK6_RX);
        }
        check(&mut outgoing);
        assert_eq!(outgoing.is_cut_by_kernel, Some(false));
        check(&mut outgoing);
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
