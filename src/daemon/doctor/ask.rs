//! One question over UDP or TCP, and what the reply shows of who sent it.

use crate::dns::edns::UDP_PAYLOAD_OCTETS_MAX;
use crate::dns::message::Message;
use crate::dns::name::Name;
use crate::dns::query::HEADER_OCTETS;
use crate::dns::reply::Section;
use crate::dns::{Class, Rcode, Rtype};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long one sending over UDP is waited for.
pub(super) const UDP_WAIT: Duration = Duration::from_millis(1_000);
/// How often a question is sent over UDP.
pub(super) const UDP_TRIES: usize = 3;
/// How long a connection and a reply over TCP are each waited for.
pub(super) const TCP_WAIT: Duration = Duration::from_secs(2);

/// A question in wire form, with RD and, if wanted, EDNS; the letters of its name in random case.
#[derive(Clone, Debug)]
pub(super) struct Query {
    octets: Vec<u8>,
    name: Vec<u8>,
    rtype: Rtype,
}

/// What a reply shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) rcode: Rcode,
    pub(super) recursion_available: bool,
    pub(super) authoritative: bool,
    pub(super) truncated: bool,
    /// Whether it has an OPT.
    pub(super) has_edns: bool,
    /// Whether the name came back in the case it was sent in.
    pub(super) keeps_case: bool,
    /// The addresses of its answer.
    pub(super) addresses: Vec<IpAddr>,
}

impl Query {
    pub(super) fn new(name: &Name, rtype: Rtype, has_edns: bool) -> Self {
        const RD: u16 = 0x0100;
        // Length octets are under 64, which no letter is.
        let random_case = |octet: &u8| match octet {
            b'a'..=b'z' if rand::random() => octet.to_ascii_uppercase(),
            octet => *octet,
        };
        let name: Vec<u8> = name.as_wire().iter().map(random_case).collect();
        let mut octets = Vec::with_capacity(name.len() + 27);
        for word in [rand::random(), RD, 1, 0, 0, u16::from(has_edns)] {
            octets.extend_from_slice(&word.to_be_bytes());
        }
        octets.extend_from_slice(&name);
        for word in [rtype.0, Class::IN.0] {
            octets.extend_from_slice(&word.to_be_bytes());
        }
        if has_edns {
            octets.push(0);
            for word in [Rtype::OPT.0, UDP_PAYLOAD_OCTETS_MAX as u16, 0, 0, 0] {
                octets.extend_from_slice(&word.to_be_bytes());
            }
        }
        Self { octets, name, rtype }
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Reads a reply; none where it is none to this question.
    pub(super) fn read(&self, reply: &[u8]) -> Option<Reply> {
        let Ok(message) = Message::parse(reply) else { return self.read_header(reply) };
        let is_ours = message.is_reply()
            && message.id() == [self.octets[0], self.octets[1]]
            && message.question_matches(&self.name, self.rtype, Class::IN);
        is_ours.then(|| Reply {
            rcode: message.rcode(),
            recursion_available: message.recursion_available(),
            authoritative: message.authoritative(),
            truncated: message.truncated(),
            has_edns: message.opt().is_some(),
            keeps_case: message.question_name_wire() == self.name,
            addresses: addresses(&message),
        })
    }

    /// Reads a reply that is a header alone, with which some refuse (unbound's `access-control`).
    fn read_header(&self, reply: &[u8]) -> Option<Reply> {
        let header: &[u8; HEADER_OCTETS] = reply.try_into().ok()?;
        let is_ours = header[..2] == self.octets[..2] && header[2] & 0x80 != 0 && header[4..] == [0; 8];
        let rcode = Rcode(u16::from(header[3] & 0x0f));
        (is_ours && ![Rcode::NOERROR, Rcode::NXDOMAIN].contains(&rcode)).then(|| Reply {
            rcode,
            recursion_available: header[3] & 0x80 != 0,
            authoritative: header[2] & 0x04 != 0,
            truncated: false,
            has_edns: false,
            keeps_case: true,
            addresses: Vec::new(),
        })
    }

    /// Asks over UDP; what is no reply to this is not waited for beyond its time.
    pub(super) fn over_udp(&self, server: SocketAddr) -> io::Result<(Reply, Duration)> {
        let own = match server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((own, 0))?;
        socket.connect(server)?;
        let mut octets = vec![0; usize::from(u16::MAX)];
        for _ in 0..UDP_TRIES {
            let began = Instant::now();
            socket.send(&self.octets)?;
            loop {
                let left = UDP_WAIT.saturating_sub(began.elapsed());
                if left.is_zero() {
                    break;
                }
                socket.set_read_timeout(Some(left))?;
                match socket.recv(&mut octets) {
                    Ok(received) => {
                        if let Some(reply) = self.read(&octets[..received]) {
                            return Ok((reply, began.elapsed()));
                        }
                    }
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }

    /// Asks over TCP.
    pub(super) fn over_tcp(&self, server: SocketAddr) -> io::Result<(Reply, Duration)> {
        let began = Instant::now();
        let mut stream = TcpStream::connect_timeout(&server, TCP_WAIT)?;
        stream.set_read_timeout(Some(TCP_WAIT))?;
        stream.set_write_timeout(Some(TCP_WAIT))?;
        let framed = [&(self.octets.len() as u16).to_be_bytes()[..], &self.octets].concat();
        stream.write_all(&framed)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut octets)?;
        let reply = self.read(&octets).ok_or_else(|| io::Error::other("what it sent is no reply to the question"))?;
        Ok((reply, began.elapsed()))
    }
}

/// The addresses in the answer of a message.
fn addresses(message: &Message<'_>) -> Vec<IpAddr> {
    let records = message.records().filter(|record| record.section == Section::Answer);
    let address = |record: crate::dns::message::Record| {
        let rdata = message.rdata(&record);
        match record.rtype {
            Rtype::A => Some(IpAddr::from(<[u8; 4]>::try_from(rdata).ok()?)),
            Rtype::AAAA => Some(IpAddr::from(<[u8; 16]>::try_from(rdata).ok()?)),
            _ => None,
        }
    };
    records.filter_map(address).collect()
}

/// Where a door is asked from here: one on every address at the loopback one.
pub(super) fn reachable(door: SocketAddr) -> SocketAddr {
    let ip = match door.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, door.port())
}

/// What an error of asking means, in words.
pub(super) fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "it does not answer in time".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => "it closes before it answers".to_owned(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => format!("there is no way to it: {error}"),
        _ => error.to_string(),
    }
}

/// Milliseconds as people read them.
pub(super) fn millis(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::text::{Escapes, parse_folded_name};

    #[test]
    fn a_reply_is_read_only_by_the_question_it_answers() {
        let name = parse_folded_name("abcdefghijklmnopqrstuvwxyz.example", Escapes::Decimal, None).unwrap();
        let query = Query::new(&name, Rtype::A, true);
        let other = Query::new(&name, Rtype::A, true);
        assert_ne!(query.name, other.name, "the case is random");
        let mut reply = query.octets().to_vec();
        assert_eq!(query.read(&reply), None, "a query is no reply");
        reply[2] |= 0x80;
        reply[3] |= 0x85;
        let read = query.read(&reply).unwrap();
        assert_eq!(
            (read.rcode, read.recursion_available, read.has_edns, read.keeps_case),
            (Rcode::REFUSED, true, true, true)
        );
        let folded: Vec<u8> = reply
            .iter()
            .enumerate()
            .map(|(at, octet)| if at < 12 { *octet } else { octet.to_ascii_lowercase() })
            .collect();
        assert!(!query.read(&folded).unwrap().keeps_case);
        reply[4..12].fill(0);
        assert_eq!(query.read(&reply[..12]).map(|reply| reply.rcode), Some(Rcode::REFUSED), "a header alone");
        reply[3] &= 0xf0;
        assert_eq!(query.read(&reply[..12]), None, "that answers nothing");
        reply[3] |= 5;
        reply[0] ^= 1;
        assert_eq!(query.read(&reply[..12]), None, "another id");
    }
}
