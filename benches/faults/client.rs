//! Asking: many questions at once, each with the time it took, and a flood.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::raw;
use crate::upstream::address_of;

/// What a question came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// NOERROR with the address that belongs to the name.
    Right,
    /// The same, marked as past its TTL (extended error 3).
    Stale,
    /// NXDOMAIN, which may be right too.
    Nxdomain,
    /// The rcode of a failure.
    Failure(u8),
    /// Another address, or NOERROR without one.
    Wrong,
}

/// A reply, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) verdict: Verdict,
    pub(crate) took: Duration,
}

/// The address of the private name that every server has.
pub(crate) const OWN_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// That name.
pub(crate) const OWN_NAME: &str = "www.corp.example";

/// A query for a name, with RD and an OPT of 1232 octets.
pub(crate) fn query(id: u16, name: &str, rtype: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut query = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend(wire_name(name));
    query.extend(rtype.to_be_bytes());
    query.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    query
}

/// A name in wire form.
pub(crate) fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
}

/// What a reply to a question for a name's address says.
pub(crate) fn verdict(reply: &[u8], name: &str) -> Verdict {
    let expected = if name == OWN_NAME { OWN_ADDRESS } else { address_of(&wire_name(name)) };
    match reply[3] & 15 {
        0 if raw::rdatas(reply, name, 1) != [expected.octets().to_vec()] => Verdict::Wrong,
        0 if raw::extended_errors(reply).iter().any(|(code, _)| *code == STALE) => Verdict::Stale,
        0 => Verdict::Right,
        3 => Verdict::Nxdomain,
        failure => Verdict::Failure(failure),
    }
}

/// A socket of a client, connected, that never waits.
pub(crate) fn socket(client: IpAddr, door: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((client, 0))?;
    socket.connect(door)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Asks for the addresses of names at once, from up to 64 clients; none where nobody replies in time.
pub(crate) fn ask_all(door: SocketAddr, names: &[String], patience: Duration) -> Result<Vec<Option<Reply>>, String> {
    let sockets: io::Result<Vec<UdpSocket>> =
        (0..names.len().min(SOCKETS_MAX)).map(|_| socket(crate::netns::CLIENT, door)).collect();
    let sockets = sockets.map_err(|error| format!("a client: {error}"))?;
    let mut replies: Vec<Option<Reply>> = vec![None; names.len()];
    let mut asked = HashMap::new();
    for (number, name) in names.iter().enumerate() {
        let id = (number as u16).wrapping_mul(40_503);
        let on = number % sockets.len();
        // A door that refuses says so here; the question is then without a reply.
        let _ = sockets[on].send(&query(id, name, 1));
        asked.insert((on, id), (number, Instant::now()));
    }
    let until = Instant::now() + patience;
    let mut buffer = [0; 4096];
    while !asked.is_empty() && Instant::now() < until {
        let mut is_idle = true;
        for (on, socket) in sockets.iter().enumerate() {
            while let Ok(octets) = socket.recv(&mut buffer) {
                is_idle = false;
                let reply = &buffer[..octets];
                let Some((number, sent)) = asked.remove(&(on, u16::from_be_bytes([reply[0], reply[1]]))) else {
                    continue;
                };
                replies[number] = Some(Reply { verdict: verdict(reply, &names[number]), took: sent.elapsed() });
            }
        }
        if is_idle {
            thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(replies)
}

/// Asks for one name.
pub(crate) fn ask(door: SocketAddr, name: &str, patience: Duration) -> Result<Option<Reply>, String> {
    Ok(ask_all(door, &[name.to_owned()], patience)?[0])
}

/// Names for `ask_all`.
pub(crate) fn names(label: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{label}{number}.public.example")).collect()
}

/// What a flood of random names saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flood {
    /// Random names asked, and replies to them.
    pub(crate) asked: u64,
    pub(crate) replies: u64,
}

/// Asks for random names at a rate, from many client addresses, for a while; replies are taken and counted.
pub(crate) fn flood(door: SocketAddr, rate: u32, time: Duration) -> Result<Flood, String> {
    let sockets: io::Result<Vec<UdpSocket>> =
        (0..FLOOD_CLIENTS).map(|number| socket(crate::netns::client(number + 1), door)).collect();
    let sockets = sockets.map_err(|error| format!("a client: {error}"))?;
    let (mut flood, mut buffer) = (Flood::default(), [0; 2048]);
    let began = Instant::now();
    while began.elapsed() < time + FLOOD_GRACE {
        let due = (began.elapsed().min(time).as_secs_f64() * f64::from(rate)) as u64;
        while flood.asked < due {
            let on = flood.asked as usize % sockets.len();
            let _ = sockets[on].send(&query(flood.asked as u16, &format!("r{}.random.example", flood.asked), 1));
            flood.asked += 1;
        }
        for socket in &sockets {
            while socket.recv(&mut buffer).is_ok() {
                flood.replies += 1;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(flood)
}

/// Extended error 3 of RFC 8914.
const STALE: u16 = 3;
/// Sockets of one `ask_all`.
const SOCKETS_MAX: usize = 64;
/// Addresses that a flood comes from.
const FLOOD_CLIENTS: u16 = 64;
/// For the last replies of a flood.
const FLOOD_GRACE: Duration = Duration::from_millis(500);
