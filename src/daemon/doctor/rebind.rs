//! Resolvers that drop private addresses from answers, which is what private zones and endpoints are made of: their
//! configuration files on this machine, and what the resolver of resolv.conf makes of one of our names.

use super::ask::{Query, reachable};
use super::machine::Machine;
use super::resolv_conf::ResolvConf;
use super::{Finding, Scene};
use crate::aws::{Model, RecordData};
use crate::dns::{Name, Rcode, Rtype};
use std::net::IpAddr;

const CHECK: &str = "rebind-filter";
/// Domains that a remedy names at most.
const DOMAINS_MAX: usize = 6;
/// Names of ours that are tried until a door answers one with a private address.
const NAMES_MAX: usize = 4;

/// What drops private addresses, and for which domains it does not.
#[derive(Debug, PartialEq, Eq)]
struct Filter {
    /// The program.
    what: &'static str,
    /// The file and the line that switches it on.
    place: String,
    /// Domains that it lets through; of those below them too.
    lets_through: Vec<String>,
    /// How it is told to let a domain through; `DOMAIN` stands for it.
    remedy: &'static str,
}

/// Looks at the files, and asks.
pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    let domains = domains(&scene.configuration.model);
    let filters = filters(&scene.machine);
    let mut findings: Vec<Finding> = filters.iter().map(|filter| finding(filter, &domains)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "", "no resolver on this machine is set up to drop private addresses"));
    }
    findings.extend(compared(scene));
    findings
}

/// The domains whose names have private addresses.
fn domains(model: &Model) -> Vec<String> {
    let zones = model.hosted_zones.iter().map(|zone| &zone.apex);
    let names = model.endpoints.iter().flat_map(|endpoint| endpoint.private_names()).map(|name| &name.apex);
    let mut domains: Vec<String> = Vec::new();
    for name in zones.chain(names) {
        let name = name.to_string();
        let domain = name.trim_end_matches('.').to_lowercase();
        let domain = if is_below(&domain, "amazonaws.com") { "amazonaws.com".to_owned() } else { domain };
        if !domain.is_empty() && !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains
}

/// Whether a domain is another one or below it.
fn is_below(domain: &str, ancestor: &str) -> bool {
    domain == ancestor || domain.strip_suffix(ancestor).is_some_and(|rest| rest.ends_with('.'))
}

/// What a filter means for our domains.
fn finding(filter: &Filter, domains: &[String]) -> Finding {
    let Filter { what, place, lets_through, remedy } = filter;
    let dropped: Vec<&String> =
        domains.iter().filter(|domain| !lets_through.iter().any(|through| is_below(domain, through))).collect();
    if dropped.is_empty() {
        return Finding::ok(
            CHECK,
            *what,
            format!("it drops private addresses ({place}), but not those of the domains here"),
        );
    }
    let mut finding = Finding::warn(CHECK, *what, format!("it drops private addresses from answers ({place})"))
        .means("whoever asks plustwo through it gets no address for private names, and often no error either");
    for domain in dropped.iter().take(DOMAINS_MAX) {
        finding = finding.remedy(remedy.replace("DOMAIN", domain));
    }
    finding.remedies.dedup();
    if dropped.len() > DOMAINS_MAX {
        finding = finding.remedy(format!("and the same for {} more domains", dropped.len() - DOMAINS_MAX));
    }
    finding
}

/// Every filter that is switched on in a file of this machine.
fn filters(machine: &Machine) -> Vec<Filter> {
    let files = |paths: &[&str], folders: &[(&str, &str)]| -> Vec<(String, String)> {
        let listed = folders.iter().flat_map(|(folder, ending)| machine.list(folder, ending));
        let paths = paths.iter().map(|path| (*path).to_owned()).chain(listed);
        paths.filter_map(|path| Some((machine.read(&path)?, path))).map(|(text, path)| (path, text)).collect()
    };
    let dnsmasq = files(
        &["/etc/dnsmasq.conf"],
        &[
            ("/etc/dnsmasq.d", ""),
            ("/etc/NetworkManager/dnsmasq.d", ""),
            ("/etc/NetworkManager/dnsmasq-shared.d", ""),
            ("/var/etc", ""),
        ],
    );
    let unbound = files(
        &["/etc/unbound/unbound.conf"],
        &[
            ("/etc/unbound/unbound.conf.d", ".conf"),
            ("/etc/unbound/conf.d", ".conf"),
            ("/etc/unbound/local.d", ".conf"),
        ],
    );
    let knot_resolver = files(&["/etc/knot-resolver/kresd.conf", "/etc/knot-resolver/config.yaml"], &[]);
    let bind =
        files(&["/etc/bind/named.conf", "/etc/named.conf"], &[("/etc/bind", ".options"), ("/etc/bind", ".local")]);
    let open_wrt = files(&["/etc/config/dhcp"], &[]);
    let found = [
        of_dnsmasq(&dnsmasq),
        of_unbound(&unbound),
        of_knot_resolver(&knot_resolver),
        of_bind(&bind),
        of_open_wrt(&open_wrt),
    ];
    found.into_iter().flatten().collect()
}

/// Files and what is in them.
type Files = [(String, String)];

/// Every line of the files without what is behind a sign of comment, and where it stands.
fn lines<'f>(files: &'f Files, comments: &'static [&'static str]) -> impl Iterator<Item = (String, &'f str)> {
    files.iter().flat_map(move |(path, text)| {
        text.lines().zip(1..).map(move |(line, number)| {
            let end = comments.iter().filter_map(|sign| line.find(sign)).min().unwrap_or(line.len());
            (format!("{path}:{number}"), line[..end].trim())
        })
    })
}

/// `stop-dns-rebind` and `rebind-domain-ok=` (dnsmasq(8)).
fn of_dnsmasq(files: &Files) -> Option<Filter> {
    let place = lines(files, &["#"]).find(|(_, line)| *line == "stop-dns-rebind")?.0;
    let through = lines(files, &["#"]).filter_map(|(_, line)| line.strip_prefix("rebind-domain-ok="));
    let lets_through = through.flat_map(|domains| domains.split('/')).filter_map(domain).collect();
    Some(Filter {
        what: "dnsmasq",
        place,
        lets_through,
        remedy: "`rebind-domain-ok=/DOMAIN/` in /etc/dnsmasq.d/plustwo.conf",
    })
}

/// `private-address:` and `private-domain:` (unbound.conf(5)).
fn of_unbound(files: &Files) -> Option<Filter> {
    let place = lines(files, &["#"]).find(|(_, line)| line.starts_with("private-address:"))?.0;
    let through = lines(files, &["#"]).filter_map(|(_, line)| line.strip_prefix("private-domain:"));
    let lets_through = through.filter_map(domain).collect();
    let remedy = "`private-domain: \"DOMAIN\"` under `server:` in /etc/unbound/unbound.conf.d/plustwo.conf";
    Some(Filter { what: "unbound", place, lets_through, remedy })
}

/// The module `rebinding` of version 5, and `rebinding-protection` of version 6; neither knows exceptions.
fn of_knot_resolver(files: &Files) -> Option<Filter> {
    let is_on = |line: &str| {
        (line.contains("rebinding") && line.contains("modules")) || line.replace(' ', "") == "rebinding-protection:true"
    };
    let place = lines(files, &["--", "#"]).find(|(_, line)| is_on(line))?.0;
    let remedy = "it knows no exceptions: take that line out";
    Some(Filter { what: "Knot Resolver", place, lets_through: Vec::new(), remedy })
}

/// `deny-answer-addresses` (BIND 9 Administrator Reference Manual), whose exceptions stand in the statement.
fn of_bind(files: &Files) -> Option<Filter> {
    let (place, _) = lines(files, &["//", "#"]).find(|(_, line)| line.starts_with("deny-answer-addresses"))?;
    let statement = files.iter().find_map(|(_, text)| text.split("deny-answer-addresses").nth(1))?;
    let except = statement.split_once('}').and_then(|(_, rest)| rest.trim_start().strip_prefix("except-from"));
    let except = except.and_then(|rest| rest.split('}').next());
    let names = except.unwrap_or_default().split('"').skip(1).step_by(2);
    let remedy = "`except-from { \"DOMAIN\"; }` behind its `deny-answer-addresses { … }`";
    Some(Filter { what: "BIND", place, lets_through: names.filter_map(domain).collect(), remedy })
}

/// `rebind_protection` of OpenWrt, which is on where nothing is said.
fn of_open_wrt(files: &Files) -> Option<Filter> {
    let (path, _) = files.first()?;
    let option = |line: &str, key: &str| {
        let mut words = line.split_whitespace();
        let is_key = matches!(words.next(), Some("option" | "list")) && words.next() == Some(key);
        is_key.then(|| words.collect::<String>().trim_matches(['\'', '"']).to_owned())
    };
    let is_off =
        lines(files, &["#"]).any(|(_, line)| option(line, "rebind_protection").is_some_and(|word| word == "0"));
    if is_off {
        return None;
    }
    let through = lines(files, &["#"]).filter_map(|(_, line)| option(line, "rebind_domain"));
    let lets_through = through.filter_map(|word| domain(&word)).collect();
    let remedy = "`uci add_list dhcp.@dnsmasq[0].rebind_domain='DOMAIN'; uci commit dhcp; service dnsmasq restart`";
    Some(Filter { what: "dnsmasq of OpenWrt", place: path.clone(), lets_through, remedy })
}

/// A domain as it is compared: without capitals, and quotes, slashes and dots at its ends.
fn domain(written: &str) -> Option<String> {
    let domain = written.trim().trim_matches(['"', '\'', '/']).trim_matches('.').to_lowercase();
    (!domain.is_empty()).then_some(domain)
}

/// Asks the resolver of resolv.conf for a name that a door of ours answers with a private address. Only one that is on
/// this machine or at a private address: a stranger must not hear of it.
fn compared(scene: &Scene) -> Option<Finding> {
    let conf = ResolvConf::read(&scene.machine.read("/etc/resolv.conf")?);
    let resolver = *conf.servers.first()?;
    if scene.door_at(resolver).is_some() || !is_private(resolver.ip()) {
        return None;
    }
    let (name, address) = private_answer(scene)?;
    let subject = format!("resolver {}", resolver.ip());
    let (reply, _) = Query::new(&name, Rtype::A, true).over_udp(resolver).ok()?;
    Some(if reply.addresses.contains(&address) {
        Finding::ok(CHECK, subject, format!("it says for {name} what plustwo says, {address}"))
    } else if reply.rcode == Rcode::NOERROR && reply.addresses.is_empty() {
        Finding::warn(CHECK, subject, format!("plustwo says {address} for {name}, and through this resolver there is no address"))
            .means("it drops private addresses, as dnsmasq, unbound, OpenWrt and FRITZ!Box do against DNS rebinding, or it asks somebody else")
            .remedy("let the domain through: `rebind-domain-ok=` (dnsmasq), `private-domain:` (unbound), `rebind_domain` (OpenWrt), \"DNS rebind protection\" under Home Network, Network (FRITZ!Box)")
    } else {
        let says = match reply.addresses.first() {
            Some(other) => format!("it says {other} for {name}, and plustwo says {address}"),
            None => format!("it says {} for {name}, and plustwo says {address}", reply.rcode),
        };
        Finding::ok(CHECK, subject, says).means("it does not ask plustwo for that domain")
    })
}

/// A name that a door answers with a private address, from here.
fn private_answer(scene: &Scene) -> Option<(Name, IpAddr)> {
    let model = &scene.configuration.model;
    let records = model.hosted_zones.iter().flat_map(|zone| zone.record_sets.here());
    let records = records.filter(|set| set.rtype == Rtype::A && set.routing.is_none() && !set.owner.is_wildcard());
    let owners = records.filter(|set| matches!(set.data, RecordData::Records { .. })).map(|set| &set.owner);
    let endpoints = model.endpoints.iter().flat_map(|endpoint| endpoint.private_names()).map(|name| &name.apex);
    let names = owners.take(NAMES_MAX).chain(endpoints.take(NAMES_MAX));
    let asked = names.flat_map(|name| scene.answering.iter().take(NAMES_MAX).map(move |door| (name, *door)));
    asked.into_iter().find_map(|(name, door)| {
        let (reply, _) = Query::new(name, Rtype::A, true).over_udp(reachable(door)).ok()?;
        let address = reply.addresses.into_iter().find(|address| is_private(*address))?;
        Some((name.clone(), address))
    })
}

/// Whether an address is of this machine or of a private network.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;
    use std::fs;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine::below(root.path());
        (root, machine)
    }

    /// What is said of each filter that these files switch on.
    fn found(files: &[(&str, &str)]) -> Vec<Finding> {
        let (_root, machine) = machine(files);
        let domains = ["amazonaws.com".to_owned(), "corp.example".to_owned()];
        filters(&machine).iter().map(|filter| finding(filter, &domains)).collect()
    }

    #[test]
    fn each_filter_is_found_and_its_exceptions_count() {
        for (files, what, remedy) in [
            (
                &[("etc/dnsmasq.d/x.conf", "# stop-dns-rebind\nserver=1\nstop-dns-rebind # on\n")][..],
                "dnsmasq",
                "rebind-domain-ok=/corp.example/",
            ),
            (
                &[("etc/unbound/unbound.conf.d/x.conf", "server:\n  private-address: 10.0.0.0/8\n")],
                "unbound",
                "private-domain: \"corp.example\"",
            ),
            (
                &[("etc/knot-resolver/kresd.conf", "-- a\nmodules.load('rebinding < iterate')\n")],
                "Knot Resolver",
                "take that line out",
            ),
            (
                &[("etc/knot-resolver/config.yaml", "options:\n  rebinding-protection: true\n")],
                "Knot Resolver",
                "take that line out",
            ),
            (
                &[("etc/bind/named.conf.options", "options {\n  deny-answer-addresses { 10.0.0.0/8; };\n};\n")],
                "BIND",
                "except-from",
            ),
            (
                &[("etc/config/dhcp", "config dnsmasq\n\toption domainneeded '1'\n")],
                "dnsmasq of OpenWrt",
                "rebind_domain='corp.example'",
            ),
        ] {
            let found = found(files);
            assert_eq!(found.len(), 1, "{files:?}");
            assert_eq!((found[0].outcome, &*found[0].subject), (Outcome::Warn, what));
            assert!(found[0].remedies.iter().any(|words| words.contains(remedy)), "{remedy}: {found:?}");
        }
        for files in [
            &[("etc/dnsmasq.conf", "stop-dns-rebind\nrebind-domain-ok=/example/amazonaws.com/\n")][..],
            &[(
                "etc/unbound/unbound.conf",
                "private-address: 10/8\nprivate-domain: \"Example.\"\n private-domain: amazonaws.com\n",
            )],
            &[(
                "etc/bind/named.conf.options",
                "deny-answer-addresses { 10/8; } except-from { \"corp.example\"; \"amazonaws.com\"; };\n",
            )],
            &[("etc/config/dhcp", "\tlist rebind_domain 'corp.example'\n\tlist rebind_domain '/amazonaws.com/'\n")],
        ] {
            let found = found(files);
            assert_eq!(found.len(), 1, "{files:?}");
            assert_eq!(found[0].outcome, Outcome::Ok, "{files:?}: {found:?}");
        }
        assert_eq!(
            found(&[
                ("etc/config/dhcp", "\toption rebind_protection '0'\n"),
                ("etc/dnsmasq.conf", "#stop-dns-rebind\n")
            ]),
            []
        );
    }

    #[test]
    fn domains_end_at_labels() {
        assert!(is_below("a.corp.example", "corp.example") && is_below("corp.example", "corp.example"));
        assert!(!is_below("xcorp.example", "corp.example"));
        assert!(is_private("10.0.0.1".parse().unwrap()) && !is_private("192.0.2.1".parse().unwrap()));
    }
}
