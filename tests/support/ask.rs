//! Asking: octets of a query, and carrying them over UDP and TCP.

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::EdnsOption;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// The longest a test waits for a reply: over what a client of glibc does (5 s), and over the 4 s in which a forwarded
/// question is answered.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// One query, as it is put into octets.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The name in presentation form, absolute with or without the final dot.
    pub(crate) name: String,
    /// The type.
    pub(crate) rtype: u16,
    /// The class.
    pub(crate) class: u16,
    /// The flags besides QR, opcode and rcode, as they stand in octets 2 and 3.
    pub(crate) flags: u16,
    /// The OPT: size, version and DO.
    pub(crate) edns: Option<(u16, u8, bool)>,
    /// The data of a COOKIE option in it.
    pub(crate) cookie: Option<Vec<u8>>,
}

/// RD, the flag that stub resolvers set.
pub(crate) const RD: u16 = 0x0100;

impl Question {
    /// A plain question with RD and an OPT of 1232 octets.
    pub(crate) fn new(name: &str, rtype: &str) -> Self {
        Self {
            name: name.to_owned(),
            rtype: type_number(rtype).unwrap_or_else(|| panic!("no type {rtype}")),
            class: 1,
            flags: RD,
            edns: Some((1232, 0, false)),
            cookie: None,
        }
    }

    /// Its octets.
    pub(crate) fn octets(&self, id: u16) -> Vec<u8> {
        let mut message = Vec::new();
        for word in [id, self.flags, 1, 0, 0, u16::from(self.edns.is_some())] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message.extend_from_slice(&wire_name(&self.name));
        message.extend_from_slice(&self.rtype.to_be_bytes());
        message.extend_from_slice(&self.class.to_be_bytes());
        if let Some((size, version, dnssec_ok)) = self.edns {
            message.extend_from_slice(&[0, 0, 41]);
            message.extend_from_slice(&size.to_be_bytes());
            message.extend_from_slice(&[0, version, u8::from(dnssec_ok) << 7, 0]);
            let cookie =
                self.cookie.iter().map(|data| [&[0, 10], &(data.len() as u16).to_be_bytes(), &**data].concat());
            let options = cookie.flatten().collect::<Vec<u8>>();
            message.extend_from_slice(&(options.len() as u16).to_be_bytes());
            message.extend_from_slice(&options);
        }
        message
    }
}

/// The data of the COOKIE option of a message, if it has one.
pub(crate) fn cookie(message: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_vec(message).ok()?;
    let options = &message.edns.as_ref()?.options().options;
    options.iter().find_map(|(code, option)| match option {
        EdnsOption::Unknown(_, data) if u16::from(*code) == COOKIE => Some(data.clone()),
        _ => None,
    })
}

/// OPTION-CODE of cookies (RFC 7873 section 4).
pub(crate) const COOKIE: u16 = 10;

/// A name in wire form; `\DDD` is decimal, `\X` is X.
pub(crate) fn wire_name(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut label = Vec::new();
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'.' => {
                if !label.is_empty() {
                    push_label(&mut wire, &mut label);
                }
            }
            b'\\' => {
                let next = octets.next().expect("something behind the backslash");
                if next.is_ascii_digit() {
                    let digits = [next, octets.next().expect("a digit"), octets.next().expect("a digit")];
                    let digits = std::str::from_utf8(&digits).expect("ASCII");
                    label.push(digits.parse().expect("a number under 256"));
                } else {
                    label.push(next);
                }
            }
            other => label.push(other),
        }
    }
    if !label.is_empty() {
        push_label(&mut wire, &mut label);
    }
    wire.push(0);
    wire
}

fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) {
    wire.push(label.len() as u8);
    wire.append(label);
}

/// The number of a type: a mnemonic or `TYPE65280`.
pub(crate) fn type_number(word: &str) -> Option<u16> {
    match word {
        "SPF" => Some(99),
        "IXFR" => Some(251),
        _ => match word.strip_prefix("TYPE") {
            Some(number) => number.parse().ok(),
            None => word.parse::<RecordType>().ok().map(u16::from),
        },
    }
}

/// The number of a class: a mnemonic or `CLASS65280`.
pub(crate) fn class_number(word: &str) -> Option<u16> {
    match word {
        "IN" => Some(1),
        "CH" => Some(3),
        "HS" => Some(4),
        _ => word.strip_prefix("CLASS")?.parse().ok(),
    }
}

/// Octets from hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "an odd number of digits: {text}");
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

/// Octets as hexadecimal digits, upper case as RFC 3597 shows them.
pub(crate) fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

/// A UDP socket of a client with this address, connected to a door.
pub(crate) fn udp_client(client: IpAddr, door: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((client, 0)).unwrap_or_else(|error| panic!("cannot ask from {client}: {error}"));
    socket.connect(door).expect("a door on the loopback");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
    socket
}

/// Sends one datagram and waits for one.
pub(crate) fn over_udp(client: IpAddr, door: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let socket = udp_client(client, door);
    socket.send(query)?;
    receive(&socket)
}

/// Waits for one datagram.
pub(crate) fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 65_535];
    let octets = socket.recv(&mut buffer)?;
    buffer.truncate(octets);
    Ok(buffer)
}

/// A TCP connection of a client with this address to a door.
pub(crate) fn tcp_client(client: IpAddr, door: SocketAddr) -> io::Result<TcpStream> {
    let domain = if client.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(client, 0).into())?;
    socket.connect(&door.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Writes one message with its length before it.
pub(crate) fn send_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed)
}

/// Reads one message with its length before it.
pub(crate) fn receive_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// Asks one question on a connection of its own.
pub(crate) fn over_tcp(client: IpAddr, door: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = tcp_client(client, door)?;
    send_framed(&mut stream, query)?;
    receive_framed(&mut stream)
}
