//! Opening the doors: every socket of every door is bound before any of them is used, or none stays open.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::dns::reply::Transport;
use crate::udp::sys::{self, Family, PacketInfo};

/// The open sockets of all doors; the lists are in the order the doors were asked for.
#[derive(Debug)]
pub struct Doors {
    /// Per door one blocking socket for each worker.
    pub udp: Vec<Vec<Arc<UdpSocket>>>,
    /// Per door the listener, which does not block.
    pub tcp: Vec<TcpListener>,
    /// Per door its address, with the port that port 0 became.
    pub addresses: Vec<SocketAddr>,
}

impl Doors {
    /// Opens doors × workers datagram sockets and a listener a door, or reports everything that stands in the way.
    ///
    /// The first socket of a door is bound without `SO_REUSEPORT`, so that an address somebody holds is an error,
    /// also where that is another plustwo of the same user; it is given the option afterwards, for the other
    /// workers' sockets to join. No connection is taken in before the last door is bound.
    pub fn open(addresses: &[SocketAddr], workers: NonZeroUsize) -> Result<Self, Vec<DoorError>> {
        let mut problems = Vec::new();
        let mut bound: Vec<Option<BoundDoor>> = addresses.iter().map(|_| None).collect();
        // Wildcards first: binding one alone proves that nobody else holds its port on any address.
        let (wildcards, concrete): (Vec<usize>, Vec<usize>) =
            (0..addresses.len()).partition(|&door| addresses[door].ip().is_unspecified());
        for door in wildcards.into_iter().chain(concrete) {
            match BoundDoor::bind(addresses[door], workers, Neighbours::of(addresses[door], addresses)) {
                Ok(done) => bound[door] = Some(done),
                Err(errors) => problems.extend(errors),
            }
        }
        let bound: Vec<BoundDoor> = bound.into_iter().flatten().collect();
        if problems.is_empty() {
            for door in &bound {
                if let Err(error) = door.tcp.listen(TCP_BACKLOG) {
                    problems.push(DoorError { address: door.address, transport: Transport::Tcp, error });
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut doors = Self { udp: Vec::new(), tcp: Vec::new(), addresses: Vec::new() };
        for door in bound {
            doors.udp.push(door.udp.into_iter().map(|socket| Arc::new(UdpSocket::from(socket))).collect());
            doors.tcp.push(TcpListener::from(door.tcp));
            doors.addresses.push(door.address);
        }
        Ok(doors)
    }

    /// Opens only the stream side of a door, whose datagram side is open.
    pub fn listen(address: SocketAddr) -> Result<TcpListener, DoorError> {
        let listener =
            bind_tcp(address, Neighbours::None).and_then(|socket| socket.listen(TCP_BACKLOG).map(|()| socket));
        listener.map(TcpListener::from).map_err(|error| DoorError { address, transport: Transport::Tcp, error })
    }

    /// Whether a worker that serves these doors needs the address asked with every datagram.
    pub fn packet_info(&self) -> PacketInfo {
        if self.addresses.iter().any(|address| address.ip().is_unspecified()) {
            PacketInfo::PerDatagram
        } else {
            PacketInfo::Absent
        }
    }
}

/// Why one door could not be opened over one transport.
#[derive(Debug)]
pub struct DoorError {
    /// The address of the door.
    pub address: SocketAddr,
    /// Which of its two sides failed.
    pub transport: Transport,
    /// What the system said.
    pub error: io::Error,
}

impl DoorError {
    /// Whether somebody else holds the address.
    pub fn is_taken(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }

    /// What the operator can do about it.
    fn remedy(&self) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        match self.error.raw_os_error() {
            Some(libc::EADDRINUSE) => {
                let sockets = match self.transport {
                    Transport::Udp => "-ulpn",
                    Transport::Tcp => "-tlpn",
                };
                format!(
                    "another program, perhaps another plustwo, holds it: `ss {sockets} 'sport = :{port}'` names it; \
                     stop that program or choose another address"
                )
            }
            Some(libc::EACCES | libc::EPERM) if port < UNPRIVILEGED_PORTS_FROM => format!(
                "ports below {UNPRIVILEGED_PORTS_FROM} need a privilege: `AmbientCapabilities=CAP_NET_BIND_SERVICE` in \
                 the systemd unit, `setcap cap_net_bind_service=+ep` on the binary, \
                 `sysctl net.ipv4.ip_unprivileged_port_start={port}`, or a port from {UNPRIVILEGED_PORTS_FROM} on"
            ),
            Some(libc::EADDRNOTAVAIL) => {
                let (family, prefix) = if ip.is_ipv4() { ("", 32) } else { ("-6 ", 128) };
                format!(
                    "the address is not on this machine: add it, for example with \
                     `ip {family}addr add {ip}/{prefix} dev lo`, or choose one that `ip {family}addr` shows"
                )
            }
            Some(libc::EAFNOSUPPORT) => {
                "this machine has IPv6 switched off: switch it on, or remove the IPv6 doors".to_owned()
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                "too many open files: raise `LimitNOFILE=` in the systemd unit (`ulimit -n`); \
                 each door takes one descriptor a worker and one for TCP"
                    .to_owned()
            }
            _ => "the system refuses this address; choose another".to_owned(),
        }
    }
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        write!(f, "cannot listen on {} over {transport}: {}; {}", self.address, self.error, self.remedy())
    }
}

impl std::error::Error for DoorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The pending connections the kernel keeps for a door until they are accepted (cut to `net.core.somaxconn`).
pub const TCP_BACKLOG: i32 = 1024;
/// The receive buffer asked for each datagram socket in octets, for bursts; the kernel cuts it to `rmem_max`, except for
/// a process with `CAP_NET_ADMIN`.
pub const RECEIVE_BUFFER_OCTETS: usize = 4 * 1024 * 1024;
/// How many ports the system may pick for UDP until one is free for TCP too.
pub const PORT_TRIES: u32 = 32;
/// The first port anybody may bind, unless the system says otherwise.
const UNPRIVILEGED_PORTS_FROM: u16 = 1024;

/// Whether one of two doors is on every address of a port and the other on one of them: these have to be opened together.
pub fn is_wildcard_over(one: SocketAddr, other: SocketAddr) -> bool {
    other.port() == one.port()
        && one.port() != 0
        && other.is_ipv4() == one.is_ipv4()
        && other.ip().is_unspecified() != one.ip().is_unspecified()
}

/// Other doors of ours that share the port on the addresses of this one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Neighbours {
    /// None: the port on this address is to be ours alone.
    None,
    /// This is a wildcard and there are doors on single addresses of its port.
    Below,
    /// There is a wildcard door of this port, bound already.
    Above,
}

impl Neighbours {
    /// Finds them in the list of all doors.
    fn of(address: SocketAddr, all: &[SocketAddr]) -> Self {
        match all.iter().find(|other| is_wildcard_over(address, **other)) {
            None => Self::None,
            Some(_) if address.ip().is_unspecified() => Self::Below,
            Some(_) => Self::Above,
        }
    }
}

/// A door whose sockets are bound and not yet used.
struct BoundDoor {
    udp: Vec<Socket>,
    tcp: Socket,
    address: SocketAddr,
}

impl BoundDoor {
    /// Binds both sides; for port 0 the system picks one that is free for both.
    fn bind(address: SocketAddr, workers: NonZeroUsize, neighbours: Neighbours) -> Result<Self, Vec<DoorError>> {
        let mut tries = 1;
        loop {
            let udp = bind_udp(address, workers, neighbours);
            let settled = match &udp {
                Ok((_, settled)) => *settled,
                Err(_) => address,
            };
            let tcp = bind_tcp(settled, neighbours);
            let taken = matches!(&tcp, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
            if address.port() == 0 && udp.is_ok() && taken && tries < PORT_TRIES {
                tries += 1;
                continue;
            }
            let problem = |transport, error| DoorError { address: settled, transport, error };
            return match (udp, tcp) {
                (Ok((udp, address)), Ok(tcp)) => Ok(Self { udp, tcp, address }),
                (udp, tcp) => {
                    let udp = udp.err().map(|error| problem(Transport::Udp, error));
                    let tcp = tcp.err().map(|error| problem(Transport::Tcp, error));
                    Err(udp.into_iter().chain(tcp).collect())
                }
            };
        }
    }
}

/// Binds one datagram socket a worker; returns them with the address they have.
fn bind_udp(
    address: SocketAddr,
    workers: NonZeroUsize,
    neighbours: Neighbours,
) -> io::Result<(Vec<Socket>, SocketAddr)> {
    let first = datagram_socket(address)?;
    if neighbours == Neighbours::Above {
        // Our wildcard was bound alone, so this address can be held by nobody but us.
        first.set_reuse_port(true)?;
    }
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let settled = local_address(&first)?;
    let mut sockets = vec![first];
    while sockets.len() < workers.get() {
        let socket = datagram_socket(settled)?;
        socket.set_reuse_port(true)?;
        socket.bind(&settled.into())?;
        sockets.push(socket);
    }
    Ok((sockets, settled))
}

/// An unbound datagram socket with every option but `SO_REUSEPORT`.
fn datagram_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let family = family_of(address.ip());
    if family == Family::Ipv6 {
        socket.set_only_v6(true)?;
    }
    sys::probe_path_mtu(&socket, family)?;
    if address.ip().is_unspecified() {
        sys::receive_packet_info(&socket, family)?;
    }
    sys::set_receive_buffer(&socket, RECEIVE_BUFFER_OCTETS);
    Ok(socket)
}

/// Binds the stream side of a door; it does not listen yet.
fn bind_tcp(address: SocketAddr, neighbours: Neighbours) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of a former daemon in TIME_WAIT do not hold the address; a listener still does.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if neighbours == Neighbours::Above {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    if neighbours == Neighbours::Below {
        socket.set_reuse_port(true)?;
    }
    Ok(socket)
}

/// The address a bound socket has.
fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// The address family of an address.
fn family_of(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::Ipv4,
        IpAddr::V6(_) => Family::Ipv6,
    }
}

#[cfg(test)]
mod tests;
