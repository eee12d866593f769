//! A door that the system does not let us open: where it is written, who or what stands in the way, and what to do.

use super::port_holder::{Holder, Holders};
use crate::config::{DoorPlaces, Place};
use crate::dns::reply::Transport;
use crate::serve::doors::DoorError;
use std::cell::OnceCell;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first port that anybody may bind, unless the system says otherwise (ip(7)).
const UNPRIVILEGED_PORTS_FROM: u16 = 1024;
/// Where the system says it; it counts for IPv6 too.
const UNPRIVILEGED_PORTS: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
/// Where the system says that no interface has IPv6 addresses.
const IPV6_DISABLED: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
/// An IPv6 address that is still being asked for on the link whether somebody else has it (`IFA_F_TENTATIVE`).
const TENTATIVE: u8 = 0x40;
/// One that somebody else has (`IFA_F_DADFAILED`).
const DUPLICATE: u8 = 0x08;

/// A door that cannot be opened.
#[derive(Debug)]
pub struct RefusedDoor {
    /// Its address.
    pub address: SocketAddr,
    /// Over what.
    pub transports: Vec<Transport>,
    /// What the system said.
    pub error: io::Error,
    /// Where it is written; none where it is in no file.
    pub place: Option<Place>,
    /// What stands in the way, a sentence each.
    pub reasons: Vec<String>,
    /// What to do about it, one thing each.
    pub remedies: Vec<String>,
    /// Who has it.
    pub(super) holders: Vec<Holder>,
}

impl RefusedDoor {
    /// Finds out what stands in the way of these doors. Both sides of a door are one thing to mend.
    pub(super) fn explain(errors: Vec<DoorError>, places: &DoorPlaces) -> Vec<Self> {
        let mut doors: Vec<Self> = Vec::new();
        for DoorError { address, transport, error } in errors {
            let is_same =
                |door: &&mut Self| door.address == address && door.error.raw_os_error() == error.raw_os_error();
            match doors.iter_mut().find(is_same) {
                Some(door) => door.transports.push(transport),
                None => doors.push(Self {
                    address,
                    transports: vec![transport],
                    place: places.of(address).cloned(),
                    reasons: Vec::new(),
                    remedies: Vec::new(),
                    holders: Vec::new(),
                    error,
                }),
            }
        }
        let looked = OnceCell::new();
        doors.iter_mut().for_each(|door| door.look(&looked));
        doors
    }

    /// Looks at the machine; `looked` is who holds what, once somebody had to know.
    fn look(&mut self, looked: &OnceCell<Holders>) {
        let (ip, port) = (self.address.ip(), self.address.port());
        match self.error.raw_os_error() {
            Some(libc::EADDRINUSE) => {
                self.holders = looked.get_or_init(Holders::look).of(self.address, &self.transports);
                (self.reasons, self.remedies) = taken(self.address, &self.transports, &self.holders);
            }
            Some(libc::EACCES | libc::EPERM) if is_privileged(port) => {
                self.reasons = vec![format!(
                    "ports below {} need CAP_NET_BIND_SERVICE, which this process does not have",
                    unprivileged_ports_from()
                )];
                self.remedies = privilege_remedies(port);
                // The kernel asks for the privilege first, so somebody may be in the way as well.
                self.holders = looked.get_or_init(Holders::look).of(self.address, &self.transports);
                if !self.holders.is_empty() {
                    let (reasons, remedies) = taken(self.address, &self.transports, &self.holders);
                    self.reasons.extend(reasons);
                    self.remedies.extend(remedies);
                }
            }
            Some(libc::EACCES | libc::EPERM) => {
                self.reasons =
                    vec!["a policy of this machine forbids it: SELinux, AppArmor or a seccomp filter".to_owned()];
                self.remedies = vec![
                    "look for the refusal: `ausearch -m AVC -ts recent`, `journalctl -k`, `SocketBindDeny=` and \
                     `RestrictAddressFamilies=` of the unit"
                        .to_owned(),
                ];
            }
            Some(libc::EADDRNOTAVAIL) => {
                let (reason, remedies) = not_here(ip);
                (self.reasons, self.remedies) = (vec![reason], remedies);
            }
            Some(libc::EAFNOSUPPORT) => {
                self.reasons = vec!["the kernel has IPv6 switched off (`ipv6.disable=1`)".to_owned()];
                self.remedies =
                    vec!["remove that from the kernel's command line, or this door from the file".to_owned()];
            }
            Some(libc::EINVAL) if is_link_local(ip) => {
                self.reasons = vec!["a link-local address means something only together with an interface".to_owned()];
                self.remedies = vec!["choose an address that is not in fe80::/10".to_owned()];
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                self.reasons =
                    vec!["too many open files: each door takes one descriptor a worker and one for TCP".to_owned()];
                self.remedies = vec!["raise `LimitNOFILE=` in the unit (`ulimit -n`)".to_owned()];
            }
            _ => self.remedies = vec!["choose another address".to_owned()],
        }
    }

    /// What is wrong, in a line.
    pub(super) fn problem(&self) -> String {
        format!("cannot listen on {} over {}: {}", self.address, words(&self.transports), self.error)
    }
}

impl fmt::Display for RefusedDoor {
    /// A few lines in the form of a diagnostic, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.problem())?;
        if let Some(place) = &self.place {
            write!(f, "\n  --> {place}")?;
        }
        for reason in &self.reasons {
            write!(f, "\n  {reason}")?;
        }
        for remedy in &self.remedies {
            write!(f, "\nhint: {remedy}")?;
        }
        Ok(())
    }
}

/// The same in one line, for the log.
pub(super) fn in_a_line(door: &RefusedDoor) -> String {
    let place = door.place.as_ref().map(|place| format!(" ({}:{})", place.file, place.line)).unwrap_or_default();
    let rest = door.reasons.iter().chain(&door.remedies).fold(String::new(), |text, words| text + "; " + words);
    format!("{}{place}{rest}", door.problem())
}

/// Transports in words.
pub(super) fn words(transports: &[Transport]) -> &'static str {
    match transports {
        [Transport::Udp] => "UDP",
        [Transport::Tcp] => "TCP",
        _ => "UDP and TCP",
    }
}

/// Whether a port needs a privilege.
pub(super) fn is_privileged(port: u16) -> bool {
    port != 0 && port < unprivileged_ports_from()
}

/// The first port that anybody may bind.
fn unprivileged_ports_from() -> u16 {
    let said = fs::read_to_string(UNPRIVILEGED_PORTS).ok();
    said.and_then(|text| text.trim().parse().ok()).unwrap_or(UNPRIVILEGED_PORTS_FROM)
}

/// The lines that give the privilege.
pub(super) fn privilege_remedies(port: u16) -> Vec<String> {
    let program =
        std::env::current_exe().map_or_else(|_| "/usr/bin/plustwo".to_owned(), |path| path.display().to_string());
    vec![
        "in the unit, under [Service]: `AmbientCapabilities=CAP_NET_BIND_SERVICE` (`systemctl edit plustwo`)"
            .to_owned(),
        format!("or on the program, without systemd: `sudo setcap cap_net_bind_service=+ep {program}`"),
        format!("or for everyone on this machine: `sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}`"),
        format!("or a port from {} on", unprivileged_ports_from()),
    ]
}

/// Who holds an address, and how to make room.
fn taken(address: SocketAddr, transports: &[Transport], holders: &[Holder]) -> (Vec<String>, Vec<String>) {
    let port = address.port();
    let table = match transports {
        [Transport::Udp] => "-lunp",
        [Transport::Tcp] => "-ltnp",
        _ => "-ltunp",
    };
    let show = format!("`sudo ss {table} 'sport = :{port}'` shows who it is");
    if holders.is_empty() {
        let reason = "the kernel's tables name no socket there: it has just been given back, or is not yet listened at";
        return (vec![reason.to_owned()], vec![format!("try again; {show}")]);
    }
    let mut reasons = Vec::new();
    let mut remedies: Vec<String> = Vec::new();
    // One process may hold several addresses, as systemd-resolved its two stubs.
    let is_same = |one: &Holder, other: &Holder| {
        (&one.process, &one.user, &one.transports) == (&other.process, &other.user, &other.transports)
    };
    for group in holders.chunk_by(is_same) {
        let [holder, ..] = group else { continue };
        let held: Vec<String> = group.iter().map(|holder| holder.address.to_string()).collect();
        let over = words(&holder.transports);
        reasons.push(match (holder.address == address, address.ip().is_unspecified()) {
            (true, _) => format!("{holder} holds it over {over}"),
            (false, true) => {
                format!("{holder} holds {} over {over}, and {} means every address", held.join(" and "), address.ip())
            }
            (false, false) => format!("{holder} holds every address of this port, {}, over {over}", held.join(" and ")),
        });
        for remedy in remedies_of(holder, address) {
            if !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
    }
    if holders.iter().any(|holder| holder.process.is_none()) {
        remedies.push(show);
    }
    if address.ip().is_unspecified() && holders.iter().all(|holder| !holder.address.ip().is_unspecified()) {
        remedies.push("or listen on the addresses that clients ask, and not on every one".to_owned());
    } else {
        remedies.push("or give this door another address or port".to_owned());
    }
    (reasons, remedies)
}

/// How who holds an address lets it go.
fn remedies_of(holder: &Holder, address: SocketAddr) -> Vec<String> {
    let user = &*holder.user;
    // What cannot be looked at is often told by its user.
    let name = holder.process.as_ref().map_or(user, |process| &*process.name);
    let unit =
        holder.process.as_ref().and_then(|process| process.unit.as_deref()).filter(|unit| unit.ends_with(".service"));
    let is_called_with = |word| holder.process.as_ref().is_some_and(|process| process.is_called_with(word));
    let stop = |usual: &str| format!("`sudo systemctl disable --now {}`", unit.unwrap_or(usual));
    let line = match name {
        "systemd-resolve" | "systemd-resolved" => {
            return vec![
                "switch systemd-resolved's stub off: put `[Resolve]` and `DNSStubListener=no` into \
                 /etc/systemd/resolved.conf.d/plustwo.conf, then `sudo systemctl restart systemd-resolved`"
                    .to_owned(),
                "then /etc/resolv.conf must not lead to the stub: `sudo ln -sf /run/systemd/resolve/resolv.conf \
                 /etc/resolv.conf`"
                    .to_owned(),
            ];
        }
        "dnsmasq" | "libvirt-dnsmasq" if is_called_with("libvirt") || name == "libvirt-dnsmasq" => {
            "it is dnsmasq of a virtual network of libvirt, which needs only its bridge: listen on single addresses, or \
             `virsh net-edit NETWORK`, `<dns enable='no'/>`, and start the network anew"
                .to_owned()
        }
        "dnsmasq" if is_called_with("NetworkManager") || unit == Some("NetworkManager.service") => {
            "NetworkManager started it: `dns=default` under [main] in /etc/NetworkManager/conf.d/plustwo.conf, then \
             `sudo systemctl restart NetworkManager`"
                .to_owned()
        }
        "dnsmasq" if is_called_with("lxc") || is_called_with("lxd") || is_called_with("incus") => {
            "it is dnsmasq of a bridge of containers, which needs only that bridge: listen on single addresses".to_owned()
        }
        "dnsmasq" => format!(
            "`port=0` in /etc/dnsmasq.d/plustwo.conf switches dnsmasq's DNS off and leaves its DHCP; `bind-interfaces` \
             with `listen-address=` leaves other addresses free; or {}",
            stop("dnsmasq")
        ),
        "named" | "bind" => format!(
            "leave the address out of `listen-on {{ … }};` in the options of /etc/bind/named.conf.options (or \
             /etc/named.conf), or {}",
            stop("named")
        ),
        "unbound" => format!(
            "name the addresses that it keeps with `interface:` in /etc/unbound/unbound.conf.d/plustwo.conf, or {}",
            stop("unbound")
        ),
        "kresd" | "knot-resolver" => format!(
            "leave the address out of `net.listen(…)` in /etc/knot-resolver/kresd.conf, or {}",
            stop("kresd@1")
        ),
        "pdns_recursor" | "pdns-recursor" => {
            format!("name the addresses that it keeps with `local-address=` in recursor.conf, or {}", stop("pdns-recursor"))
        }
        "dnsdist" | "_dnsdist" => format!("leave the address out of `setLocal(…)` in dnsdist.conf, or {}", stop("dnsdist")),
        "knotd" | "knot" => format!("leave the address out of `listen:` in knot.conf, or {}", stop("knot")),
        "nsd" => format!("name the addresses that it keeps with `ip-address:` in nsd.conf, or {}", stop("nsd")),
        "coredns" => format!("`bind ADDRESS` in its Corefile leaves other addresses free, or {}", stop("coredns")),
        "docker-proxy" | "rootlessport" | "conmon" | "pasta" | "slirp4netns" => format!(
            "a container publishes this port: `docker ps --filter publish={0}` or `podman ps --filter publish={0}` names it",
            address.port()
        ),
        "connmand" => "start connmand with `--nodnsproxy`".to_owned(),
        "pihole-FTL" => "Pi-hole answers there: `FTLCONF_dns_port`, or `port=` of its dnsmasq, moves it".to_owned(),
        "AdGuardHome" => "`dns.port` or `dns.bind_hosts` in AdGuardHome.yaml moves it".to_owned(),
        "plustwo" => match &holder.process {
            Some(process) if process.pid == std::process::id() => "it is this plustwo itself".to_owned(),
            _ => format!("another plustwo runs: `plustwo status` says what it serves; stop it with {}", stop("plustwo")),
        },
        _ => match (&holder.process, unit) {
            (Some(_), Some(_)) => format!("stop it: {}", stop("")),
            (Some(process), None) => format!("stop it: `kill {}`, and what starts it", process.pid),
            (None, _) => return Vec::new(),
        },
    };
    vec![line]
}

/// Why an address cannot be bound that this machine has not, and what to do.
fn not_here(ip: IpAddr) -> (String, Vec<String>) {
    let is_off = || fs::read_to_string(IPV6_DISABLED).is_ok_and(|text| text.trim() == "1");
    if ip.is_ipv6() && is_off() {
        let remedies = ["`sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0`", "or remove the IPv6 doors from the file"];
        let reason = "IPv6 is switched off on this machine (net.ipv6.conf.all.disable_ipv6 = 1)";
        return (reason.to_owned(), remedies.map(str::to_owned).to_vec());
    }
    if let IpAddr::V6(ip) = ip {
        let state = ipv6_addresses().into_iter().find(|interface| interface.address == ip);
        if let Some(Ipv6Interface { name, flags, .. }) =
            state.filter(|found| found.flags & (TENTATIVE | DUPLICATE) != 0)
        {
            return if flags & DUPLICATE != 0 {
                let reason = format!("another machine on {name} has this address too");
                (
                    reason,
                    vec![format!("`ip -6 address show dev {name} dadfailed` shows it; give it to one of them only")],
                )
            } else {
                let reason = format!("{name} is still asking whether another machine has this address");
                let remedy = "start plustwo after the network is up: `After=network-online.target` in the unit";
                (reason, vec![remedy.to_owned()])
            };
        }
    }
    let length = if ip.is_ipv4() { 32 } else { 128 };
    let family = if ip.is_ipv4() { "ip" } else { "ip -6" };
    let nonlocal = format!(
        "or, where it moves between machines (VRRP, keepalived), let it be bound before it is here: `sudo sysctl -w \
         net.{}.ip_nonlocal_bind=1`",
        if ip.is_ipv4() { "ipv4" } else { "ipv6" }
    );
    let elsewhere = format!("or choose an address that `{family} address` shows");
    match interface_for(ip) {
        Some((interface, length)) => (
            format!("this machine has not this address; its network is that of {interface}"),
            vec![format!("add it: `sudo ip address add {ip}/{length} dev {interface}`"), nonlocal, elsewhere],
        ),
        None => (
            "this machine has not this address, nor an interface in its network".to_owned(),
            vec![
                format!("add it, if clients are routed here for it: `sudo ip address add {ip}/{length} dev lo`"),
                nonlocal,
                elsewhere,
            ],
        ),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The interface whose network an address is in, and how long that network's prefix is.
fn interface_for(ip: IpAddr) -> Option<(String, u8)> {
    match ip {
        IpAddr::V4(ip) => interface_in_routes(&fs::read_to_string("/proc/net/route").ok()?, ip),
        IpAddr::V6(ip) => {
            let is_near = |found: &Ipv6Interface| {
                let mask = u128::MAX.checked_shl(128 - u32::from(found.length)).unwrap_or(0);
                found.length < 128
                    && !found.address.is_unicast_link_local()
                    && (found.address.to_bits() ^ ip.to_bits()) & mask == 0
            };
            ipv6_addresses().into_iter().find(is_near).map(|found| (found.name, found.length))
        }
    }
}

/// The interface of the longest route to a network that is on the link, from `/proc/net/route`.
fn interface_in_routes(routes: &str, ip: Ipv4Addr) -> Option<(String, u8)> {
    let word = |text: &str| Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()).to_bits());
    let on_the_link = routes.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (network, gateway, mask) = (word(words.get(1)?)?, word(words.get(2)?)?, word(words.get(7)?)?);
        let is_near = gateway == 0 && mask != 0 && mask != u32::MAX && ip.to_bits() & mask == network;
        is_near.then(|| ((*words[0]).to_owned(), mask.leading_ones() as u8))
    });
    on_the_link.max_by_key(|(_, length)| *length)
}

/// An address of an interface.
struct Ipv6Interface {
    address: Ipv6Addr,
    length: u8,
    flags: u8,
    name: String,
}

/// The IPv6 addresses of this machine, from `/proc/net/if_inet6`.
fn ipv6_addresses() -> Vec<Ipv6Interface> {
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u8::from_str_radix(words.get(at)?, 16).ok();
        let address = Ipv6Addr::from_bits(u128::from_str_radix(words.first()?, 16).ok()?);
        Some(Ipv6Interface { address, length: number(2)?, flags: number(4)?, name: (*words.get(5)?).to_owned() })
    };
    table.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::super::port_holder::Process;
    use super::*;

    fn refused(address: &str, code: i32) -> RefusedDoor {
        let error = |transport| DoorError {
            address: address.parse().unwrap(),
            transport,
            error: io::Error::from_raw_os_error(code),
        };
        let errors = vec![error(Transport::Udp), error(Transport::Tcp)];
        let mut doors = RefusedDoor::explain(errors, &DoorPlaces::default());
        assert_eq!(doors.len(), 1, "both sides are one thing to mend");
        doors.remove(0)
    }

    fn holder(name: &str, arguments: &[&str], unit: Option<&str>, address: &str) -> Holder {
        Holder {
            address: address.parse().unwrap(),
            transports: vec![Transport::Udp],
            process: Some(Process {
                pid: 612,
                name: name.to_owned(),
                arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
                unit: unit.map(str::to_owned),
            }),
            user: "somebody".to_owned(),
            is_hidden: false,
        }
    }

    #[test]
    fn a_privilege_that_is_missing_is_named_with_the_lines_that_give_it() {
        if !is_privileged(53) {
            return assert_eq!(unprivileged_ports_from(), 0, "this machine gives every port to everyone");
        }
        let said = refused("127.0.0.1:53", libc::EACCES).to_string();
        for words in
            ["over UDP and TCP", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "setcap", "ip_unprivileged_port_start=53"]
        {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(refused("127.0.0.1:53000", libc::EACCES).to_string().contains("SELinux"));
        assert!(refused("127.0.0.1:53", libc::EMFILE).to_string().contains("LimitNOFILE"));
        assert!(refused("[fe80::1]:53", libc::EINVAL).to_string().contains("link-local"));
        assert!(refused("[::1]:53", libc::EAFNOSUPPORT).to_string().contains("ipv6.disable"));
    }

    #[test]
    fn an_address_of_nobody_here_says_how_it_could_be_here() {
        let said = refused("192.0.2.1:5300", libc::EADDRNOTAVAIL).to_string();
        assert!(said.contains("ip address add 192.0.2.1/") && said.contains("ip_nonlocal_bind"), "{said}");
    }

    #[test]
    fn the_longest_network_on_the_link_takes_an_address() {
        // As a machine of this byte order has it.
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let route = |name: &str, network, gateway, mask| {
            format!("{name}\t{}\t{}\t0001\t0\t0\t0\t{}\t0\t0\t0\n", hex(network), hex(gateway), hex(mask))
        };
        let routes = "Iface\tDestination\tGateway\n".to_owned()
            + &route("eth0", [0, 0, 0, 0], [10, 0, 0, 1], [0, 0, 0, 0])
            + &route("eth0", [10, 0, 0, 0], [0, 0, 0, 0], [255, 255, 0, 0])
            + &route("vlan7", [10, 0, 7, 0], [0, 0, 0, 0], [255, 255, 255, 0])
            + &route("tun0", [10, 9, 0, 0], [10, 0, 0, 9], [255, 255, 0, 0]);
        let of = |ip: &str| interface_in_routes(&routes, ip.parse().unwrap());
        assert_eq!(of("10.0.7.2"), Some(("vlan7".to_owned(), 24)));
        assert_eq!(of("10.0.8.2"), Some(("eth0".to_owned(), 16)));
        assert_eq!(of("10.9.0.2"), None, "behind a gateway it is somebody else's");
        assert_eq!(of("192.0.2.1"), None);
    }

    #[test]
    fn who_holds_an_address_decides_the_remedy() {
        let every = "0.0.0.0:53".parse().unwrap();
        let said = |holders: &[Holder]| {
            let (reasons, remedies) = taken(every, &[Transport::Udp, Transport::Tcp], holders);
            format!("{}\n{}", reasons.join("\n"), remedies.join("\n"))
        };
        for (name, arguments, unit, words) in [
            ("systemd-resolved", &[][..], Some("systemd-resolved.service"), "DNSStubListener=no"),
            ("dnsmasq", &["dnsmasq", "--conf-file=/var/lib/libvirt/dnsmasq/default.conf"], None, "virsh net-edit"),
            ("dnsmasq", &["dnsmasq", "--pid-file=/run/NetworkManager/dnsmasq.pid"], None, "dns=default"),
            ("dnsmasq", &["dnsmasq"], Some("dnsmasq.service"), "port=0"),
            ("named", &[], Some("bind9.service"), "disable --now bind9.service"),
            ("unbound", &[], None, "disable --now unbound"),
            ("docker-proxy", &[], Some("docker.service"), "publish=53"),
            ("something", &[], Some("something.service"), "disable --now something.service"),
            ("something", &[], None, "kill 612"),
        ] {
            let said = said(&[holder(name, arguments, unit, "127.0.0.53:53")]);
            assert!(said.contains(words), "{name}: {said}");
            assert!(said.contains(&format!("{name} (process 612, user somebody")), "{said}");
            assert!(said.contains("holds 127.0.0.53:53 over UDP, and 0.0.0.0 means every address"), "{said}");
            assert!(said.contains("not on every one"), "{said}");
        }
        let two = [
            holder("systemd-resolved", &[], None, "127.0.0.53:53"),
            holder("systemd-resolved", &[], None, "127.0.0.54:53"),
        ];
        assert!(said(&two).contains("holds 127.0.0.53:53 and 127.0.0.54:53 over UDP"), "{}", said(&two));
        let hidden = Holder {
            process: None,
            is_hidden: true,
            user: "systemd-resolve".to_owned(),
            ..holder("", &[], None, "0.0.0.0:53")
        };
        let said = said(&[hidden]);
        assert!(said.contains("may not look at") && said.contains("sudo ss -ltunp 'sport = :53'"), "{said}");
        assert!(said.contains("DNSStubListener=no"), "its user tells what it is: {said}");
    }
}
