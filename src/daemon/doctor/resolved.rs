//! systemd-resolved: whether it runs, whom it asks, and what of it is in the way of plustwo.

use super::machine::{Machine, said};
use super::resolv_conf::{ResolvConf, list};
use super::{Finding, Scene};
use crate::daemon::port_holder::{printable, processes, sockets};
use crate::dns::reply::Transport;
use crate::dns::target::DNS_PORT;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const CHECK: &str = "systemd-resolved";
/// Whom it asks, all links together.
const SERVERS: &str = "/run/systemd/resolve/resolv.conf";
/// Where its stub listens: the full one, and the one that only forwards.
const STUBS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];
/// Its files, those that win last (resolved.conf(5)).
const FOLDERS: [&str; 4] = [
    "/usr/lib/systemd/resolved.conf.d",
    "/usr/local/lib/systemd/resolved.conf.d",
    "/run/systemd/resolved.conf.d",
    "/etc/systemd/resolved.conf.d",
];
/// Links that are told of at most.
const LINKS_SHOWN_MAX: usize = 8;

/// Looks at it.
pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    let is_stub = |at: &SocketAddr| STUBS.contains(&at.ip()) && at.port() == DNS_PORT;
    let mut stubs: Vec<SocketAddr> =
        sockets(Transport::Udp).iter().map(|socket| socket.local).filter(is_stub).collect();
    stubs.sort_unstable();
    let is_named = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("systemd-resolve"))
    };
    let servers = scene.machine.read(SERVERS).map(|text| ResolvConf::read(&text).servers);
    if stubs.is_empty() && servers.is_none() && !processes().iter().any(is_named) {
        return vec![Finding::skipped(CHECK, "", "it does not run on this machine")];
    }
    let servers = servers.unwrap_or_default();
    let settings = settings(&scene.machine);
    let mut findings = vec![whom_it_asks(scene, &servers, &stubs)];
    let is_asking_us = servers.iter().any(|server| scene.door_at(*server).is_some());
    if settings.get("DNSSEC").is_some_and(|word| ["yes", "true", "1", "on"].contains(&&**word)) {
        let finding = Finding::warn(CHECK, "DNSSEC=yes", "it validates what it is told");
        findings.push(
            finding
                .means("private zones are not signed: names below a signed public parent fail there")
                .remedy("`DNSSEC=allow-downgrade` in /etc/systemd/resolved.conf.d/plustwo.conf")
                .remedy(
                    "or a negative trust anchor for each private zone in /etc/dnssec-trust-anchors.d/plustwo.negative",
                ),
        );
    }
    if is_asking_us && settings.get("DNSOverTLS").is_some_and(|word| ["yes", "true", "1", "on"].contains(&&**word)) {
        let finding =
            Finding::fail(CHECK, "DNSOverTLS=yes", "it asks over TLS only, which plustwo's doors do not speak");
        findings.push(finding.means("it gets no answer from plustwo").remedy("`DNSOverTLS=opportunistic`, or `no`"));
    }
    findings.extend(links(scene));
    findings
}

/// Whom it asks, and whether a question would go round in a circle.
fn whom_it_asks(scene: &Scene, servers: &[SocketAddr], stubs: &[SocketAddr]) -> Finding {
    let stubs: Vec<String> = stubs.iter().map(ToString::to_string).collect();
    let has_stub =
        if stubs.is_empty() { String::new() } else { format!("; its stub listens on {}", stubs.join(" and ")) };
    if servers.is_empty() {
        return Finding::ok(CHECK, "", format!("it runs; whom it asks cannot be seen{has_stub}"));
    }
    let is_ours = servers.iter().any(|server| scene.door_at(*server).is_some());
    let asks_stub = scene
        .configuration
        .model
        .upstream
        .targets
        .iter()
        .any(|target| target.address().is_some_and(|address| STUBS.contains(&address.ip())));
    if is_ours && asks_stub {
        let says = format!("it asks plustwo ({}), and plustwo's upstream asks it", list(servers));
        return Finding::fail(CHECK, "", says)
            .means("what nobody here owns goes round in a circle until plustwo sees it, and fails")
            .remedy("name other resolvers in `[upstream] targets` than its stub")
            .remedy("or have it ask plustwo for private names only: `DNS=` and `Domains=~example.internal` on the link to plustwo");
    }
    let whom = if is_ours { "plustwo among them" } else { "not plustwo" };
    Finding::ok(CHECK, "", format!("it asks {}, {whom}{has_stub}", list(servers)))
}

/// What `resolvectl` says of each link, where that is there and answers.
fn links(scene: &Scene) -> Option<Finding> {
    // Lines as `Link 2 (eth0): 10.0.0.2 10.0.0.3`.
    let said = said("resolvectl", &["--no-pager", "dns"])?;
    let is_listed = |line: &&str| line.split_once(": ").is_some_and(|(_, servers)| !servers.trim().is_empty());
    let lines: Vec<String> = said.lines().filter(is_listed).take(LINKS_SHOWN_MAX).map(printable).collect();
    if lines.is_empty() {
        return None;
    }
    let is_door =
        |word: &str| word.parse::<IpAddr>().is_ok_and(|ip| scene.door_at(SocketAddr::new(ip, DNS_PORT)).is_some());
    let ours = lines.iter().filter(|line| line.split_whitespace().any(is_door)).count();
    let finding = Finding::ok(CHECK, "per link", lines.join("; "));
    Some(if ours > 0 && ours < lines.len() {
        let mut finding = finding;
        finding.outcome = super::Outcome::Warn;
        finding
            .means("names that no link claims are asked of all of them at once, and the first answer counts")
            .remedy("`resolvectl domain LINK '~example.internal'` gives private names to plustwo's link")
    } else {
        finding
    })
}

/// Its settings, by key; the last of several counts.
fn settings(machine: &Machine) -> BTreeMap<String, String> {
    let drop_ins = FOLDERS.iter().flat_map(|folder| machine.list(folder, ".conf"));
    let mut settings = BTreeMap::new();
    for file in ["/etc/systemd/resolved.conf".to_owned()].into_iter().chain(drop_ins) {
        for line in machine.read(&file).unwrap_or_default().lines().map(str::trim) {
            let pair = line.split_once('=').filter(|_| !line.starts_with(['#', ';']));
            settings.extend(pair.map(|(key, value)| (key.trim().to_owned(), value.trim().to_lowercase())));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_wins_over_the_file() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/systemd/resolved.conf.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(root.path().join("etc/systemd/resolved.conf"), "[Resolve]\n#DNS=x\nDNSSEC=no\nDNSOverTLS = Yes\n")
            .unwrap();
        fs::write(folder.join("a.conf"), "[Resolve]\nDNSSEC=yes\n").unwrap();
        let found = settings(&Machine::below(root.path()));
        assert_eq!(found.get("DNSSEC").map(String::as_str), Some("yes"));
        assert_eq!(found.get("DNSOverTLS").map(String::as_str), Some("yes"));
        assert_eq!(found.get("DNS"), None);
    }
}
