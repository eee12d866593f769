//! Buffers of sockets, and what the kernel has dropped for want of them.

use super::{Finding, Scene};
use crate::daemon::port_holder::sockets;
use crate::dns::reply::Transport;
use crate::serve::doors::RECEIVE_BUFFER_OCTETS;
use std::fs;

/// The least that a kernel has as the limit of what a socket may send ahead; a distribution may have lowered it.
const SEND_BUFFER_OCTETS: usize = 208 * 1024;

/// Compares what doors ask for with what the kernel gives.
pub(super) fn check() -> Vec<Finding> {
    const CHECK: &str = "socket-buffers";
    let limits = [
        ("net.core.rmem_max", "rmem_max", RECEIVE_BUFFER_OCTETS, "bursts of queries"),
        ("net.core.wmem_max", "wmem_max", SEND_BUFFER_OCTETS, "bursts of replies"),
    ];
    let of_limit = |(key, file, wanted, what): (&str, &str, usize, &str)| {
        let octets = fs::read_to_string(format!("/proc/sys/net/core/{file}")).ok();
        match octets.and_then(|octets| octets.trim().parse::<usize>().ok()) {
            None => Finding::skipped(CHECK, key, "it cannot be seen from here, as in a container"),
            Some(octets) if octets >= wanted => Finding::ok(CHECK, key, format!("{octets} octets; doors ask for {wanted}")),
            Some(octets) => Finding::warn(CHECK, key, format!("{octets} octets; doors ask for {wanted}"))
                .means(format!("the kernel drops longer {what}, and clients ask again after seconds"))
                .remedy(format!("`{key} = {wanted}` in /etc/sysctl.d/60-plustwo.conf, then `sudo sysctl --system` and restart plustwo")),
        }
    };
    limits.map(of_limit).to_vec()
}

/// What was dropped.
pub(super) fn drops(scene: &Scene) -> Vec<Finding> {
    const CHECK: &str = "drops";
    let mut findings = Vec::new();
    let of_doors: u64 = sockets(Transport::Udp)
        .iter()
        .filter(|socket| scene.answering.contains(&socket.local))
        .filter_map(|socket| socket.drops)
        .sum();
    if scene.answering.is_empty() {
        findings.push(Finding::skipped(CHECK, "doors", "no door of a running plustwo was found"));
    } else if of_doors == 0 {
        findings.push(Finding::ok(CHECK, "doors", "the kernel has dropped no query of an open door"));
    } else {
        let finding = Finding::warn(CHECK, "doors", format!("the kernel has dropped {of_doors} queries of open doors"));
        findings.push(finding.means("the workers were too slow for a burst, or the buffers too small for it").remedy(
            "raise net.core.rmem_max, see socket-buffers; or `[server] workers`, where there are CPUs to spare",
        ));
    }
    let snmp = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let counter = |name: &str| udp_counter(&snmp, name);
    findings.push(match (counter("RcvbufErrors"), counter("SndbufErrors")) {
        (Some(received), Some(sent)) => Finding::ok(
            CHECK,
            "machine",
            format!("for want of buffers, of all programs since it started: {received} on receipt, {sent} on sending"),
        ),
        _ => Finding::skipped(CHECK, "machine", "/proc/net/snmp does not say"),
    });
    findings
}

/// A counter of UDP in `/proc/net/snmp`, where a line of names stands before one of numbers.
fn udp_counter(snmp: &str, name: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|known| known == name)?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_below_their_names() {
        let snmp = "Ip: A B\nIp: 1 2\nUdp: InDatagrams RcvbufErrors SndbufErrors\nUdp: 10 7 3\nUdpLite: InDatagrams\nUdpLite: 0\n";
        assert_eq!((udp_counter(snmp, "RcvbufErrors"), udp_counter(snmp, "SndbufErrors")), (Some(7), Some(3)));
        assert_eq!(udp_counter(snmp, "Other"), None);
        assert_eq!(udp_counter("", "RcvbufErrors"), None);
    }
}
