//! Who holds a port: the kernel's tables of sockets, and whose descriptors they are (proc(5)).

use crate::dns::reply::Transport;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Characters of a process's name or of one of its arguments that are shown at most.
const WORD_CHARACTERS_MAX: usize = 64;
/// Holders of one port that are named at most.
const HOLDERS_MAX: usize = 8;
/// The state of a listening TCP socket in the kernel's table.
const LISTENS: &str = "0A";

/// A socket of the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// What it is bound to.
    pub(super) local: SocketAddr,
    /// Over what.
    pub(super) transport: Transport,
    /// Whose it is, by number.
    pub(super) user: u32,
    /// What its descriptors lead to.
    pub(super) inode: u64,
    /// Datagrams that the kernel dropped for want of room; none for TCP.
    pub(super) drops: Option<u64>,
}

/// Somebody who holds an address that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// What it has bound.
    pub(super) address: SocketAddr,
    /// Over what.
    pub(super) transports: Vec<Transport>,
    /// The process; none: it cannot be seen from here.
    pub(super) process: Option<Process>,
    /// The name of its user, or the number where that has none.
    pub(super) user: String,
    /// Whether the process cannot be seen because this user may not look at others'.
    pub(super) is_hidden: bool,
}

/// A process, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// The name of its program.
    pub(super) name: String,
    /// Its arguments, the first of them its program as it was called.
    pub(super) arguments: Vec<String>,
    /// What systemd runs it as; none: as nothing that has a name.
    pub(super) unit: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(process) => {
                write!(f, "{} (process {}, user {}", process.name, process.pid, self.user)?;
                match &process.unit {
                    Some(unit) => write!(f, ", {unit})"),
                    None => f.write_str(")"),
                }
            }
            None if self.is_hidden => write!(f, "a process of the user {} that you may not look at", self.user),
            None => {
                write!(f, "a process of the user {} that cannot be seen from here, as in another container", self.user)
            }
        }
    }
}

/// Every socket of a transport that has a port, of this network namespace.
pub(super) fn sockets(transport: Transport) -> Vec<Socket> {
    let files = match transport {
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let tables = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    tables.flat_map(|table| table.lines().filter_map(|line| socket(line, transport)).collect::<Vec<_>>()).collect()
}

/// One line of a table; none for its heading, and for a TCP socket that does not listen.
fn socket(line: &str, transport: Transport) -> Option<Socket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let local = address(words.get(1)?)?;
    if transport == Transport::Tcp && *words.get(3)? != LISTENS {
        return None;
    }
    let user = words.get(7)?.parse().ok()?;
    let inode = words.get(9)?.parse().ok()?;
    let drops = (transport == Transport::Udp).then(|| words.get(12)?.parse().ok()).flatten();
    Some(Socket { local, transport, user, inode, drops })
}

/// An address as the tables have it: words of the machine in hexadecimal digits, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (index, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Whether a socket stands in the way of an address: the same one, or one of both is every address of the family.
fn is_in_the_way(held: SocketAddr, wanted: SocketAddr) -> bool {
    let is_one = held.ip() == wanted.ip() || held.ip().is_unspecified() || wanted.ip().is_unspecified();
    held.port() == wanted.port() && held.is_ipv4() == wanted.is_ipv4() && is_one
}

/// The sockets of this machine and whose they are, at one moment: looked at once for however many addresses.
pub(super) struct Holders {
    sockets: Vec<Socket>,
    /// The process of each socket that has been found, by inode.
    owners: BTreeMap<u64, u32>,
    /// Whether there are processes whose descriptors this user may not look at.
    is_any_hidden: bool,
}

impl Holders {
    /// Looks at the tables, and through the descriptors of all processes. Of several that share a socket, as parent and
    /// child, the first is named.
    pub(super) fn look() -> Self {
        let sockets: Vec<Socket> = [Transport::Udp, Transport::Tcp].into_iter().flat_map(sockets).collect();
        let inodes: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
        let mut holders = Self { sockets, owners: BTreeMap::new(), is_any_hidden: false };
        for pid in processes() {
            match fs::read_dir(format!("/proc/{pid}/fd")) {
                Ok(descriptors) => {
                    for descriptor in descriptors.flatten() {
                        match fs::read_link(descriptor.path()) {
                            Ok(link) => {
                                let inode = socket_inode(&link).filter(|inode| inodes.contains(inode));
                                inode.map(|inode| holders.owners.entry(inode).or_insert(pid));
                            }
                            // One's own processes may be listed, and yet be hidden, where they have other capabilities.
                            Err(error) => holders.is_any_hidden |= error.kind() == io::ErrorKind::PermissionDenied,
                        }
                    }
                }
                // Those that have ended meanwhile are none that hold anything.
                Err(error) => holders.is_any_hidden |= error.kind() == io::ErrorKind::PermissionDenied,
            }
        }
        holders
    }

    /// Who holds an address over these transports, or so much of it that nobody else can have it.
    pub(super) fn of(&self, wanted: SocketAddr, transports: &[Transport]) -> Vec<Holder> {
        let all = || self.sockets.iter().filter(|socket| transports.contains(&socket.transport));
        let mut found: Vec<&Socket> = all().filter(|socket| is_in_the_way(socket.local, wanted)).collect();
        if found.is_empty() && wanted.is_ipv4() {
            // A socket for every IPv6 address may hold IPv4 too, which the tables do not say.
            let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, wanted.port()));
            found = all().filter(|socket| socket.local == every).collect();
        }
        let mut holders: Vec<Holder> = Vec::new();
        for socket in found {
            let process = self.owners.get(&socket.inode);
            let is_same = |holder: &Holder| {
                holder.address == socket.local && holder.process.as_ref().map(|process| process.pid) == process.copied()
            };
            match holders.iter().position(is_same) {
                Some(known) if holders[known].transports.contains(&socket.transport) => {}
                Some(known) => holders[known].transports.push(socket.transport),
                None if holders.len() < HOLDERS_MAX => holders.push(Holder {
                    address: socket.local,
                    transports: vec![socket.transport],
                    process: process.map(|pid| Process::of(*pid)),
                    user: user_name(Path::new("/"), socket.user),
                    is_hidden: process.is_none() && self.is_any_hidden,
                }),
                None => {}
            }
        }
        holders.sort_by_key(|holder| (holder.process.as_ref().map(|process| process.pid), holder.address));
        holders
    }
}

/// The inode of a socket that a descriptor leads to; none for other things.
fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The numbers of all processes that can be seen, the lowest first.
pub(super) fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

impl Process {
    /// What is known of a process; little where it has ended meanwhile.
    pub(super) fn of(pid: u32) -> Self {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let words = |octets: &[u8]| printable(String::from_utf8_lossy(octets).trim());
        let arguments: Vec<String> =
            read("cmdline").split(|octet| *octet == 0).filter(|word| !word.is_empty()).map(words).collect();
        let short = words(&read("comm"));
        // The kernel cuts the name at fifteen octets; the program as it was called has the rest.
        let called = arguments.first().and_then(|program| program.rsplit('/').next());
        let name = called.filter(|called| called.starts_with(&short)).map_or_else(|| short.clone(), str::to_owned);
        let unit = unit(&String::from_utf8_lossy(&read("cgroup")));
        Self { pid, name, arguments, unit }
    }

    /// Whether a word stands in one of its arguments.
    pub(super) fn is_called_with(&self, word: &str) -> bool {
        self.arguments.iter().any(|argument| argument.contains(word))
    }
}

/// The unit of systemd's that a process belongs to, from its `/proc/PID/cgroup`: the innermost service, socket or scope.
fn unit(cgroup: &str) -> Option<String> {
    let mut parts = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2)).flat_map(|path| path.split('/'));
    let is_unit = |part: &&str| [".service", ".scope"].iter().any(|kind| part.ends_with(kind));
    parts.rfind(is_unit).map(printable)
}

/// The name of a user of this machine; the number where `/etc/passwd` below `root` has none, as for DynamicUser=.
pub(super) fn user_name(root: &Path, number: u32) -> String {
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| printable(name))
    });
    named.unwrap_or_else(|| number.to_string())
}

/// What somebody else wrote, without what a terminal would obey, and cut where it is long.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(WORD_CHARACTERS_MAX)
        .map(|character| if character.is_control() { '?' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn a_line_of_each_table() {
        let udp = " 2083: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 21234 2 0000000000000000 17";
        let read = socket(udp, Transport::Udp).unwrap();
        let local = if cfg!(target_endian = "little") { "127.0.0.53:53" } else { "53.0.0.127:53" };
        assert_eq!((read.local, read.user, read.inode, read.drops), (local.parse().unwrap(), 101, 21234, Some(17)));
        let tcp6 = "   1: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   111        0 5678 1 0000000000000000 100 0 0 10 0";
        let read = socket(tcp6, Transport::Tcp).unwrap();
        assert_eq!((read.local, read.inode, read.drops), ("[::]:53".parse().unwrap(), 5678, None));
        assert_eq!(socket(&tcp6.replace(" 0A ", " 01 "), Transport::Tcp), None, "a connection holds no port");
        for odd in ["", "  sl  local_address rem_address   st", "1: zz:0035 x 0A", "1: 0100007F:0035"] {
            assert_eq!(socket(odd, Transport::Udp), None, "{odd:?}");
        }
    }

    #[test]
    fn what_is_in_the_way_of_what() {
        for (held, wanted, expected) in [
            ("127.0.0.53:53", "127.0.0.53:53", true),
            ("127.0.0.53:53", "0.0.0.0:53", true),
            ("0.0.0.0:53", "127.0.0.1:53", true),
            ("127.0.0.53:53", "127.0.0.1:53", false),
            ("127.0.0.53:53", "127.0.0.53:54", false),
            ("[::]:53", "127.0.0.1:53", false),
            ("[::1]:53", "[::]:53", true),
        ] {
            assert_eq!(is_in_the_way(held.parse().unwrap(), wanted.parse().unwrap()), expected, "{held} {wanted}");
        }
    }

    #[test]
    fn this_process_is_found_by_its_sockets() {
        let both = [Transport::Udp, Transport::Tcp];
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wanted = udp.local_addr().unwrap();
        let _tcp = TcpListener::bind(wanted);
        let looked = Holders::look();
        let found = looked.of(wanted, &both);
        let own = |holder: &Holder| holder.process.as_ref().is_some_and(|process| process.pid == std::process::id());
        let holder = found.iter().find(|holder| own(holder)).unwrap_or_else(|| panic!("{found:?}"));
        assert!(holder.address == wanted && holder.transports.contains(&Transport::Udp));
        let process = holder.process.as_ref().unwrap();
        assert!(process.arguments[0].ends_with(&process.name), "{process:?}: the name is not cut");
        let every = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), wanted.port());
        assert!(looked.of(every, &both).iter().any(own), "one address is in the way of all");
    }

    #[test]
    fn the_innermost_unit_is_the_one_to_stop() {
        for (cgroup, expected) in [
            ("0::/system.slice/systemd-resolved.service\n", Some("systemd-resolved.service")),
            ("12:pids:/x\n1:name=systemd:/system.slice/named.service\n", Some("named.service")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/dnsmasq.scope\n", Some("dnsmasq.scope")),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit(cgroup).as_deref(), expected, "{cgroup:?}");
        }
    }

    #[test]
    fn users_have_names_and_words_obey_no_terminal() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\nsystemd-resolve:x:101:1::/:/x\n").unwrap();
        assert_eq!(user_name(root.path(), 101), "systemd-resolve");
        assert_eq!(user_name(root.path(), 61_184), "61184");
        assert_eq!(printable("a\x1b[2Jb\n"), "a?[2Jb?");
    }
}
