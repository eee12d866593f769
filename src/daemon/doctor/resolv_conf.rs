//! Whom programs on this machine ask: resolv.conf(5) and the `hosts:` line of nsswitch.conf(5).

use super::machine::Machine;
use super::{Finding, Scene};
use std::net::{IpAddr, SocketAddr};

const CHECK: &str = "resolv.conf";
const PATH: &str = "/etc/resolv.conf";
/// Nameservers that glibc uses; further ones it ignores (`MAXNS`).
const USED_MAX: usize = 3;
/// From so many dots on a name is asked as it is first, where nothing is said.
const NDOTS: u32 = 1;

/// What a resolv.conf says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// With the port 53, in its order.
    pub(super) servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: u32,
    /// Who has written it, as far as it says so.
    writer: Option<&'static str>,
}

/// Words of the comments that writers leave, and who they are.
const WRITERS: [(&str, &str); 6] = [
    ("by NetworkManager", "NetworkManager"),
    ("by resolvconf", "resolvconf"),
    ("systemd-resolved", "systemd-resolved"),
    ("Docker Engine", "Docker"),
    ("by WSL", "WSL"),
    ("dhclient", "dhclient"),
];
/// Where links lead that writers make, and who they are.
const LINKS: [(&str, &str); 4] = [
    ("/systemd/resolve/", "systemd-resolved"),
    ("/NetworkManager/", "NetworkManager"),
    ("/resolvconf/", "resolvconf"),
    ("/netconfig/", "netconfig"),
];

impl ResolvConf {
    /// Reads one; of repeated `search` and `domain` lines the last counts.
    pub(super) fn read(text: &str) -> Self {
        let mut found = Self { ndots: NDOTS, ..Self::default() };
        for line in text.lines() {
            if line.starts_with(['#', ';']) {
                let writer = WRITERS.iter().find(|(words, _)| line.contains(words)).map(|(_, writer)| *writer);
                found.writer = found.writer.or(writer);
                continue;
            }
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A scope says on which link, and is no part of the address.
                    let address = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
                    found
                        .servers
                        .extend(address.map(|ip| SocketAddr::new(ip.to_canonical(), crate::dns::target::DNS_PORT)));
                }
                Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let mut ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    found.ndots = ndots.next_back().unwrap_or(found.ndots);
                }
                _ => {}
            }
        }
        found
    }
}

/// Looks at resolv.conf.
pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    let link = scene.machine.link(PATH);
    let Some(text) = scene.machine.read(PATH) else {
        let says = match &link {
            Some(target) => format!("it is a link to {target}, which cannot be read"),
            None => "it cannot be read".to_owned(),
        };
        let finding = Finding::warn(CHECK, PATH, says).means("programs on this machine ask 127.0.0.1");
        return vec![finding.remedy("write one, with a `nameserver` line, or start what writes it")];
    };
    let conf = ResolvConf::read(&text);
    let by_link = link.as_deref().and_then(|target| LINKS.iter().find(|(words, _)| target.contains(words)));
    let writer = by_link.map(|(_, writer)| *writer).or(conf.writer);
    let mut findings = vec![asked(scene, &conf, link.as_deref(), writer)];
    findings.extend(search(&conf));
    findings
}

/// Whom it names, and whether that is us.
fn asked(scene: &Scene, conf: &ResolvConf, link: Option<&str>, writer: Option<&str>) -> Finding {
    let listed = list(&conf.servers);
    let mut by = link.map(|target| format!("; it is a link to {target}")).unwrap_or_default();
    if let Some(writer) = writer {
        by += &format!("; {writer} writes it");
    }
    let keep = |finding: Finding| match writer {
        Some(writer) => {
            finding.remedy(format!("{writer} writes this file, so tell {writer}: what is written by hand is lost"))
        }
        None => finding,
    };
    if conf.servers.is_empty() {
        let finding = Finding::warn(CHECK, PATH, format!("it names no nameserver{by}"));
        return finding.means("programs on this machine ask 127.0.0.1").remedy("add a `nameserver` line");
    }
    let used = &conf.servers[..conf.servers.len().min(USED_MAX)];
    let ours: Vec<SocketAddr> = used.iter().copied().filter(|server| scene.door_at(*server).is_some()).collect();
    if ours.is_empty() {
        let says = format!("programs on this machine ask {listed}, not plustwo{by}");
        return Finding::ok(CHECK, PATH, says);
    }
    if ours.len() == used.len() && scene.configuration.model.upstream_is_system {
        let says = format!("it names only plustwo ({listed}), and plustwo asks whom it names{by}");
        let finding = Finding::fail(CHECK, PATH, says)
            .means("that would be a loop, so there is nobody to forward to: names that nobody here owns get SERVFAIL")
            .remedy("name other resolvers in `[upstream] targets`");
        return keep(finding.remedy("or add a `nameserver` line of a resolver that is not plustwo"));
    }
    let is_answering = |server: &SocketAddr| scene.door_at(*server).is_some_and(|door| scene.answering.contains(&door));
    if !ours.iter().all(is_answering) {
        let says = format!("programs on this machine ask plustwo ({}), which does not answer there{by}", list(&ours));
        let finding = Finding::warn(CHECK, PATH, says)
            .means("names are looked up late, or not at all, until it runs")
            .remedy("start plustwo: `sudo systemctl start plustwo`");
        return keep(finding.remedy("or name another resolver until then"));
    }
    if ours.len() < used.len() {
        let says = format!("programs on this machine ask {listed}, of whom {} is plustwo{by}", list(&ours));
        let finding = Finding::warn(CHECK, PATH, says)
            .means(
                "the others know no private names: glibc asks them where plustwo is late, musl (Alpine) asks all at once and \
                 takes whoever is first, so that private names come and go",
            )
            .remedy("name plustwo only, and a second plustwo for when this one is away");
        return keep(finding);
    }
    let finding = Finding::ok(CHECK, PATH, format!("programs on this machine ask plustwo ({listed}){by}"));
    if conf.servers.len() > USED_MAX {
        let mut finding = finding;
        finding.outcome = super::Outcome::Warn;
        return finding.means(format!("glibc uses the first {USED_MAX} only")).remedy("take out the others");
    }
    finding
}

/// How names are tried with others behind them.
fn search(conf: &ResolvConf) -> Option<Finding> {
    let count = conf.search.len();
    if count == 0 || conf.ndots <= NDOTS {
        return None;
    }
    let says = format!("`ndots:{}` with {count} search domains ({})", conf.ndots, conf.search.join(", "));
    Some(
        Finding::warn(CHECK, PATH, says)
            .means(format!(
                "a name with fewer than {} dots is asked {} times, with each of these behind it first: most of the load, and \
                 private names of these domains first",
                conf.ndots,
                count + 1
            ))
            .remedy("end names with a dot in what asks for them, or lower it: `options ndots:1` (Kubernetes: `dnsConfig` of the pod)"),
    )
}

/// Whether programs ask the DNS at all.
pub(super) fn nsswitch(machine: &Machine) -> Vec<Finding> {
    const CHECK: &str = "nsswitch";
    const PATH: &str = "/etc/nsswitch.conf";
    let Some(text) = machine.read(PATH) else {
        return vec![Finding::ok(CHECK, PATH, "it is not there, which means `files dns` (musl reads none)")];
    };
    let Some(line) = text.lines().find_map(|line| line.trim().strip_prefix("hosts:")) else {
        return vec![Finding::ok(CHECK, PATH, "it has no `hosts:` line, which means `files dns`")];
    };
    let line = line.split('#').next().unwrap_or_default();
    // Actions in brackets belong to the source before them.
    let sources: Vec<&str> = line.split_whitespace().collect();
    let at = |wanted: &str| sources.iter().position(|source| *source == wanted);
    let says = format!("hosts: {}", sources.join(" "));
    let asks_resolved = at("resolve");
    let dns = at("dns");
    let mut findings = Vec::new();
    findings.push(match (asks_resolved, dns) {
        (None, None) => Finding::warn(CHECK, PATH, says)
            .means("programs that use the C library ask no DNS at all")
            .remedy("add `dns` to the line `hosts:`"),
        (Some(resolve), dns) if dns.is_none_or(|dns| resolve < dns) => {
            let finding =
                Finding::ok(CHECK, PATH, format!("{says}; programs ask systemd-resolved, not whom resolv.conf names"));
            finding.means("it must ask plustwo, see systemd-resolved")
        }
        _ => Finding::ok(CHECK, PATH, says),
    });
    let minimal = sources.iter().position(|source| source.starts_with("mdns"));
    let ends = |at: usize| sources.get(at + 1).is_some_and(|action| action.contains("NOTFOUND=return"));
    if minimal.is_some_and(|at| ends(at) && dns.is_some_and(|dns| at < dns)) {
        let finding = Finding::ok(CHECK, PATH, "names below local. are asked of mDNS and of nobody else");
        findings.push(finding.means("a private zone below local. is not found by programs of this machine"));
    }
    findings
}

/// A few addresses in words.
pub(super) fn list(servers: &[SocketAddr]) -> String {
    let servers: Vec<String> = servers.iter().map(|server| server.ip().to_string()).collect();
    servers.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;
    use std::fs;

    #[test]
    fn what_a_resolv_conf_says() {
        let text = "# Generated by NetworkManager\nsearch a b\ndomain c\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n\
                    ; nameserver 192.0.2.9\nnameserver ::ffff:192.0.2.2 \noptions edns0 ndots:5 trust-ad\n";
        let servers = ["192.0.2.1:53", "[fe80::1]:53", "192.0.2.2:53"].map(|server| server.parse().unwrap()).to_vec();
        let expected = ResolvConf { servers, search: vec!["c".to_owned()], ndots: 5, writer: Some("NetworkManager") };
        assert_eq!(ResolvConf::read(text), expected);
        assert_eq!(ResolvConf::read(""), ResolvConf { ndots: 1, ..ResolvConf::default() });
        assert!(search(&expected).unwrap().means.contains("asked 2 times"));
        assert_eq!(search(&ResolvConf::read("search a\n")), None);
    }

    #[test]
    fn who_is_asked_for_hosts() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let outcomes = |line: &str| {
            fs::write(root.path().join("etc/nsswitch.conf"), line).unwrap();
            let found = nsswitch(&Machine::below(root.path()));
            (found[0].outcome, found.iter().map(|finding| finding.says.clone()).collect::<String>())
        };
        assert_eq!(outcomes("hosts: files dns # dns\n").0, Outcome::Ok);
        assert_eq!(outcomes("passwd: files\n").0, Outcome::Ok);
        assert_eq!(outcomes("hosts: files myhostname\n").0, Outcome::Warn);
        assert!(outcomes("hosts: files resolve [!UNAVAIL=return] dns\n").1.contains("ask systemd-resolved"));
        assert!(outcomes("hosts: files mdns4_minimal [NOTFOUND=return] dns\n").1.contains("mDNS"));
        fs::remove_file(root.path().join("etc/nsswitch.conf")).unwrap();
        assert_eq!(nsswitch(&Machine::below(root.path()))[0].outcome, Outcome::Ok);
    }
}
