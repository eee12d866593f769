use super::*;
use crate::udp::sys::{REPLY_OCTETS, encode_address};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

/// From linux/udp.h.
const UDP_NO_CHECK6_TX: libc::c_int = 101;
/// From linux/udp.h.
const UDP_NO_CHECK6_RX: libc::c_int = 102;

fn open(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Sets an option of a socket.
fn set(socket: &UdpSocket, level: libc::c_int, option: libc::c_int) {
    let yes: libc::c_int = 1;
    let octets = size_of_val(&yes) as socklen_t;
    // SAFETY: a call that reads one live local.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const yes).cast(), octets) };
    assert_eq!(set, 0);
}

/// A reply as its owner has it.
struct Owned {
    octets: Vec<u8>,
    client: Address,
    client_octets: socklen_t,
}

/// One for a client, of so many octets, that says its number first.
fn reply(number: usize, client: &UdpSocket, octets: usize) -> Owned {
    let (address, client_octets) = encode_address(client.local_addr().unwrap());
    let mut text = vec![0xee; octets];
    text[0] = number as u8;
    Owned { octets: text, client: address, client_octets }
}

/// Adds replies; the numbers of those in each run.
fn add(replies: &mut Replies, owned: &mut [Owned], from: Option<IpAddr>) -> Vec<u8> {
    for one in owned {
        let octets = (NonNull::new(one.octets.as_mut_ptr()).unwrap(), one.octets.len() as u16);
        // SAFETY: both live on, unchanged, until they were sent: the callers see to that.
        unsafe { replies.add(octets, (NonNull::from(&mut one.client), one.client_octets), from.map(|ip| (ip, 0))) };
    }
    replies.each_run[..replies.runs].iter().map(|run| run.parts).collect()
}

/// Sends what was added.
fn send(replies: &mut Replies, socket: &UdpSocket) -> SendReport {
    // SAFETY: the callers keep what they added.
    unsafe { replies.send(socket) }
}

/// The next datagrams: their numbers and lengths.
fn receive(client: &UdpSocket, count: usize) -> Vec<(u8, usize)> {
    let mut octets = [0; 2 * REPLY_OCTETS];
    let mut one = || client.recv(&mut octets).map(|count| (octets[0], count)).unwrap();
    (0..count).map(|_| one()).collect()
}

fn all_sent(sent: usize) -> SendReport {
    SendReport { sent, failed: 0 }
}

#[test]
fn neighbours_to_one_client_are_one_message_whose_last_datagram_may_be_shorter() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (door, one, other) = (open(address), open(address), open(address));
        let to = [(&one, 40), (&one, 40), (&one, 30), (&one, 40), (&other, 40), (&one, 40), (&one, 41), (&one, 1)];
        let mut owned: Vec<_> = (0..).zip(to).map(|(number, (client, octets))| reply(number, client, octets)).collect();
        let mut replies = Replies::default();
        assert_eq!(add(&mut replies, &mut owned, None), [3, 1, 1, 1, 2]);
        assert_eq!(replies.len(), 8);
        assert_eq!(send(&mut replies, &door), all_sent(8));
        assert_eq!(receive(&one, 7), [(0, 40), (1, 40), (2, 30), (3, 40), (5, 40), (6, 41), (7, 1)]);
        assert_eq!(receive(&other, 1), [(4, 40)]);
        assert_eq!((replies.len(), send(&mut replies, &door)), (0, all_sent(0)), "sent once");
    }
}

#[test]
fn what_a_longer_address_left_behind_a_shorter_one_says_nothing() {
    let (door, client) = (open("127.0.0.1:0"), open("127.0.0.1:0"));
    let mut owned: Vec<_> = (0..4).map(|number| reply(number, &client, 20)).collect();
    for (number, one) in owned.iter_mut().enumerate() {
        let (v4, _) = encode_address(client.local_addr().unwrap());
        (one.client, _) = encode_address(format!("[2001:db8::{number}:0:0:{number}]:53").parse().unwrap());
        // SAFETY: the first octets of an address of the longer kind, over which those of the shorter one are written.
        unsafe {
            let octets = (&raw const v4).cast::<u8>();
            octets.copy_to_nonoverlapping((&raw mut one.client).cast(), size_of::<sockaddr_in>());
        }
    }
    let mut replies = Replies::default();
    assert_eq!(add(&mut replies, &mut owned, None), [4]);
    assert_eq!(send(&mut replies, &door), all_sent(4));
    assert_eq!(receive(&client, 4), [0, 1, 2, 3].map(|number| (number, 20)));
}

#[test]
fn a_whole_batch_of_the_largest_replies_is_more_than_one_message() {
    let (door, client) = (open("127.0.0.1:0"), open("127.0.0.1:0"));
    let mut owned: Vec<_> = (0..BATCH).map(|number| reply(number, &client, REPLY_OCTETS)).collect();
    let mut replies = Replies::default();
    let most = segment::MESSAGE_OCTETS_MAX / REPLY_OCTETS;
    assert_eq!(add(&mut replies, &mut owned, None), [most as u8, (BATCH - most) as u8]);
    assert_eq!(send(&mut replies, &door), all_sent(BATCH));
    let expected: Vec<_> = (0..BATCH).map(|number| (number as u8, REPLY_OCTETS)).collect();
    assert_eq!(receive(&client, BATCH), expected);
}

#[test]
fn a_message_leaves_from_the_address_that_was_asked() {
    let (door, client) = (open("0.0.0.0:0"), open("127.0.0.1:0"));
    let port = door.local_addr().unwrap().port();
    let mut owned: Vec<_> = (0..7).map(|number| reply(number, &client, 9)).collect();
    let (first, rest) = owned.split_at_mut(3);
    let (second, third) = rest.split_at_mut(2);
    let mut replies = Replies::default();
    let from = |last: u8| Some(IpAddr::from([127, 0, 0, last]));
    add(&mut replies, first, from(9));
    add(&mut replies, second, from(8));
    assert_eq!(add(&mut replies, third, None), [3, 2, 2]);
    assert_eq!(send(&mut replies, &door), all_sent(7));
    for last in [9, 9, 9, 8, 8, 1, 1] {
        let sender = client.recv_from(&mut [0; 16]).unwrap().1;
        assert_eq!(sender, SocketAddr::from(([127, 0, 0, last], port)));
    }
}

#[test]
fn where_the_kernel_refuses_to_cut_each_reply_leaves_alone() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (door, client, other) = (open(address), open(address), open(address));
        // Without checksums the kernel does not cut.
        if door.local_addr().unwrap().is_ipv4() {
            set(&door, libc::SOL_SOCKET, libc::SO_NO_CHECK);
        } else {
            set(&door, libc::SOL_UDP, UDP_NO_CHECK6_TX);
            set(&client, libc::SOL_UDP, UDP_NO_CHECK6_RX);
            set(&other, libc::SOL_UDP, UDP_NO_CHECK6_RX);
        }
        let mut replies = Replies::default();
        for round in 0..=REFUSALS_MAX {
            let mut owned: Vec<_> = (0..5).map(|number| reply(number, &client, 20)).collect();
            owned.extend((5..7).map(|number| reply(number, &other, 20)));
            // What is refused is one message to each client a round, so half as many rounds.
            let expected: &[u8] = if round < REFUSALS_MAX / 2 { &[5, 2] } else { &[1; 7] };
            assert_eq!(add(&mut replies, &mut owned, None), expected, "round {round}");
            assert_eq!(send(&mut replies, &door), all_sent(7));
            assert_eq!(receive(&client, 5), [0, 1, 2, 3, 4].map(|number| (number, 20)));
            assert_eq!(receive(&other, 2), [(5, 20), (6, 20)]);
        }
        assert!(matches!(replies.cutting, Cutting::CutsNot));
    }
}

#[test]
fn one_client_that_nothing_can_be_sent_to_costs_only_its_own() {
    let (door, client) = (open("127.0.0.1:0"), open("127.0.0.1:0"));
    let mut owned: Vec<_> = (0..6).map(|number| reply(number, &client, 20)).collect();
    for bad in [1, 2] {
        (owned[bad].client, owned[bad].client_octets) = encode_address("[2001:db8::1]:53".parse().unwrap());
    }
    let mut replies = Replies::default();
    assert_eq!(add(&mut replies, &mut owned, None), [1, 2, 3]);
    assert_eq!(send(&mut replies, &door), SendReport { sent: 4, failed: 2 });
    assert_eq!(receive(&client, 4), [0, 3, 4, 5].map(|number| (number, 20)));
}
