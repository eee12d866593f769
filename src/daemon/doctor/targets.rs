//! Whether each target answers: a real question over every transport that the daemon would use, streams by its own code.

use super::ask::{Query, Reply, millis, words};
use super::{Finding, Outcome, Scene};
use crate::compile::{self, Contexts};
use crate::daemon::system_roots;
use crate::dns::{HashSeed, Name, Rcode, Rtype, Target, TargetProtocol};
use crate::forward::streams::{StreamFailure, StreamSettings, StreamTargets, TlsRoots};
use crate::snapshot::targets::ContextKind;
use crate::snapshot::{ForwardContext, HealthStates};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const CHECK: &str = "target";
/// Targets that are asked, each on a thread of its own.
const ASKED_MAX: usize = 64;
/// How long a stream is waited for: longer than the daemon's own code ever takes to give up.
const STREAM_WITHIN: Duration = Duration::from_secs(5);
/// What is asked of an upstream that answers for everything: a name that is reserved for examples and exists.
const FOR_EVERYTHING: [&[u8]; 2] = [b"example", b"com"];

/// A target, and what it is asked.
struct Asked {
    target: Target,
    domain: Name,
    /// For whom: `[upstream]`, a rule, a zone.
    whose: String,
    /// Whether the domain is one that it is asked for because somebody says that it knows it.
    knows_domain: bool,
    /// Whether it answers for its own zones only, as those do that are delegated to.
    is_authoritative: bool,
}

/// Asks all of them.
pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    if !scene.source.has_targets_of_the_operator() {
        return vec![Finding::skipped(
            CHECK,
            "",
            "the targets of the built-in example world are made up, so nobody is asked",
        )];
    }
    let mut asked = targets(scene);
    let mut findings = Vec::new();
    let roots = roots(scene, &asked, &mut findings);
    if asked.is_empty() {
        let says = "the configuration has nobody to forward to";
        let remedy = "name resolvers in `[upstream] targets`, unless only names that are owned here are to be answered";
        // `targets = []` is a decision.
        let outcome = if scene.configuration.model.upstream_is_system { Outcome::Warn } else { Outcome::Ok };
        let mut finding = Finding::new(CHECK, outcome, "", says);
        if outcome == Outcome::Warn {
            finding = finding.means("names that nobody here owns get SERVFAIL").remedy(remedy);
        }
        findings.push(finding);
        return findings;
    }
    let more = asked.len().saturating_sub(ASKED_MAX);
    asked.truncate(ASKED_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return vec![Finding::fail(CHECK, "", format!("the system refuses threads: {error}"))],
    };
    let settings = StreamSettings { roots, bootstrap: scene.configuration.model.bootstrap.clone() };
    let streams = StreamTargets::new(settings, runtime.handle().clone());
    let has_random_case = scene.configuration.settings.upstream.case_randomization;
    std::thread::scope(|scope| {
        let threads: Vec<_> = asked.iter().map(|asked| scope.spawn(|| ask(asked, &streams, has_random_case))).collect();
        findings.extend(threads.into_iter().filter_map(|thread| thread.join().ok()));
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    if more > 0 {
        findings.push(Finding::skipped(CHECK, "", format!("{more} more targets were not asked")));
    }
    findings
}

/// Every target once for each name that it is asked for.
fn targets(scene: &Scene) -> Vec<Asked> {
    let model = &scene.configuration.model;
    let domains: HashMap<&str, &Name> = model.resolver_rules.iter().map(|rule| (&*rule.id, &rule.domain)).collect();
    let snapshot =
        compile::compile(model, &mut Contexts::default(), &HealthStates::default(), HashSeed(rand::random()));
    let mut seen = HashSet::new();
    let mut asked = Vec::new();
    for ForwardContext { kind, group, .. } in &snapshot.contexts {
        let (domain, whose, is_authoritative) = match kind {
            ContextKind::Upstream => (Name::root(), "[upstream]".to_owned(), false),
            ContextKind::Rule(id) => {
                (domains.get(&**id).map_or_else(Name::root, |domain| (*domain).clone()), format!("rule {id}"), false)
            }
            ContextKind::Delegation { zone, owner } => (owner.clone(), format!("{zone}, NS of {owner}"), true),
        };
        let for_everything = || Name::from_labels(FOR_EVERYTHING).unwrap_or_else(|_| Name::root());
        let knows_domain = !domain.is_root();
        let domain = if knows_domain { domain } else { for_everything() };
        for target in &group.targets {
            if seen.insert((target.clone(), domain.clone())) {
                asked.push(Asked {
                    target: target.clone(),
                    domain: domain.clone(),
                    whose: whose.clone(),
                    knows_domain,
                    is_authoritative,
                });
            }
        }
    }
    asked
}

/// Whom encrypted targets are trusted by; says where that is nobody.
fn roots(scene: &Scene, asked: &[Asked], findings: &mut Vec<Finding>) -> TlsRoots {
    const CHECK: &str = "certificates";
    let named = scene.configuration.settings.upstream.tls_roots.iter().flat_map(|roots| &roots.certificates);
    let encrypted = asked.iter().filter(|asked| asked.target.is_encrypted()).count();
    let system = if encrypted > 0 { system_roots::system_roots() } else { Vec::new() };
    let none = || TlsRoots::new([], []).unwrap_or_else(|_| unreachable!("no certificate is unusable"));
    match TlsRoots::new(system, named.map(|certificate| &**certificate)) {
        Ok(roots) => {
            if encrypted > 0 && roots.count() == 0 {
                let finding = Finding::fail(CHECK, "", "this machine has no root certificates");
                findings.push(
                    finding
                        .means("no certificate of a target is accepted")
                        .remedy("install them (`sudo apt install ca-certificates`)")
                        .remedy("or name a file of them in `[upstream] tls_roots`"),
                );
            } else if encrypted > 0 {
                findings.push(Finding::ok(CHECK, "", format!("{} root certificates", roots.count())));
            }
            roots
        }
        Err(error) => {
            findings.push(
                Finding::fail(CHECK, "", format!("`[upstream] tls_roots`: {error}"))
                    .means("plustwo does not start")
                    .remedy("take that certificate out of the file"),
            );
            none()
        }
    }
}

/// Asks one target.
fn ask(asked: &Asked, streams: &StreamTargets, has_random_case: bool) -> Finding {
    let Asked { target, domain, whose, .. } = asked;
    let subject = format!("{target} ({whose})");
    let query = Query::new(domain, Rtype::SOA, true);
    let address = target.address().filter(|_| target.protocol == TargetProtocol::Do53);
    let Some(address) = address else {
        return match over_stream(target, &query, streams) {
            Ok((reply, took)) => answered(asked, subject, &reply, format!("in {}", millis(took))),
            Err(failure) => silent(subject, failure.to_string(), &failure, target),
        };
    };
    let tcp = Target { protocol: TargetProtocol::Tcp, ..target.clone() };
    let (over_udp, over_tcp) = std::thread::scope(|scope| {
        let over_tcp = scope.spawn(|| over_stream(&tcp, &query, streams));
        let over_udp = over_udp(&query, domain, address);
        (over_udp, over_tcp.join().unwrap_or(Err(StreamFailure::Abandoned)))
    });
    match (over_udp, over_tcp) {
        (Ok((reply, udp)), Ok((_, tcp))) => {
            let says = format!("over UDP in {}, over TCP in {}", millis(udp), millis(tcp));
            let finding = answered(asked, subject, &reply, says);
            // Who refuses may do so with less than a whole reply.
            if finding.outcome == Outcome::Fail { finding } else { odd(finding, &reply, has_random_case) }
        }
        (Ok((reply, udp)), Err(failure)) => {
            let finding = answered(asked, subject, &reply, format!("over UDP in {}; over TCP {failure}", millis(udp)));
            at_least(Outcome::Warn, finding)
                .means("what does not fit a datagram does not come, and neither does what is asked again to be sure")
                .remedy("let TCP through to port 53 on the way, and have it answer there")
        }
        (Err(error), Ok((reply, tcp))) => {
            let finding =
                answered(asked, subject, &reply, format!("over TCP in {}; over UDP {}", millis(tcp), words(&error)));
            at_least(Outcome::Warn, finding)
                .means("every question takes a connection, and the time until UDP is given up")
                .remedy(format!(
                    "let UDP through to port {} on the way, or write tcp:// before the target",
                    target.port
                ))
        }
        (Err(error), Err(failure)) => {
            silent(subject, format!("over UDP {}; over TCP {failure}", words(&error)), &failure, target)
        }
    }
}

/// Asks over UDP; without EDNS once more where that is what a target does not understand.
fn over_udp(query: &Query, domain: &Name, address: SocketAddr) -> io::Result<(Reply, Duration)> {
    let (reply, took) = query.over_udp(address)?;
    match reply.rcode {
        Rcode::FORMERR | Rcode::NOTIMP => Query::new(domain, Rtype::SOA, false).over_udp(address),
        _ => Ok((reply, took)),
    }
}

/// Asks as the daemon asks over streams.
fn over_stream(target: &Target, query: &Query, streams: &StreamTargets) -> Result<(Reply, Duration), StreamFailure> {
    let (say, told) = channel();
    let began = Instant::now();
    streams.ask(target, query.octets().to_vec(), move |reply| {
        // Nobody listens any more where it took too long.
        let _ = say.send((reply, began.elapsed()));
    });
    let (reply, took) = told.recv_timeout(STREAM_WITHIN).map_err(|_| StreamFailure::TimedOut)?;
    let reply = query.read(&reply?);
    let reply = reply.ok_or_else(|| StreamFailure::Protocol("what it sent is no reply to the question".into()))?;
    Ok((reply, took))
}

/// What a reply says of a target.
fn answered(asked: &Asked, subject: String, reply: &Reply, how: String) -> Finding {
    let domain = &asked.domain;
    let says = format!("answers {} for {domain} {how}", reply.rcode);
    match reply.rcode {
        Rcode::REFUSED => Finding::fail(CHECK, subject, says)
            .means("it answers, but not us: all that is forwarded to it fails")
            .remedy("let this machine's address ask it (BIND: `allow-query`, `allow-recursion`; unbound: `access-control`)"),
        Rcode::SERVFAIL => Finding::warn(CHECK, subject, says)
            .means("it cannot find that out itself; other names may fare better")
            .remedy(format!("ask it: `dig @{} {domain} SOA`", host(&asked.target))),
        Rcode::NXDOMAIN if asked.knows_domain => Finding::warn(CHECK, subject, says)
            .means("it does not know this domain, so no name below it is found there")
            .remedy(format!("compare who serves it with this target: `dig @{} {domain} SOA`", host(&asked.target))),
        Rcode::NOERROR | Rcode::NXDOMAIN if asked.is_authoritative && !reply.authoritative => Finding::warn(CHECK, subject, says)
            .means("a zone is delegated to it, and it does not say that it is its own (AA)")
            .remedy("compare the NS records of the zone with who serves it"),
        Rcode::NOERROR | Rcode::NXDOMAIN if !asked.is_authoritative && !reply.recursion_available && !reply.authoritative => {
            Finding::warn(CHECK, subject, says)
                .means("it offers no recursion (RA) and answers not of its own (AA): what it says may be a referral, which is not used")
                .remedy("name a resolver as the target, or let this machine's address recurse there")
        }
        Rcode::NOERROR | Rcode::NXDOMAIN => Finding::ok(CHECK, subject, says),
        _ => Finding::warn(CHECK, subject, says).means("a resolver should not answer that"),
    }
}

/// Adds what is odd about a reply over UDP.
fn odd(finding: Finding, reply: &Reply, has_random_case: bool) -> Finding {
    let mut finding = finding;
    if reply.truncated {
        finding.says += "; truncated over UDP";
    }
    if !reply.has_edns {
        finding = at_least(Outcome::Warn, finding).remedy("let it speak EDNS(0), or let TCP through");
        finding.says += "; without EDNS";
        finding.means =
            "answers over 512 octets take a connection, and neither DNSSEC records nor extended errors come".to_owned();
    }
    if !reply.keeps_case && has_random_case {
        finding = at_least(Outcome::Warn, finding).remedy("set `[upstream] case_randomization = false`");
        finding.says += "; the case of the name is not kept";
        finding.means = "with `case_randomization` every question to it is asked again over TCP".to_owned();
    } else if !reply.keeps_case {
        finding.says += "; the case of the name is not kept, so `case_randomization` must stay off";
    }
    finding
}

fn at_least(outcome: Outcome, mut finding: Finding) -> Finding {
    finding.outcome = finding.outcome.max(outcome);
    finding
}

/// A target that does not answer.
fn silent(subject: String, says: String, failure: &StreamFailure, target: &Target) -> Finding {
    let finding = Finding::fail(CHECK, subject, says)
        .means("what is forwarded goes to the other targets, or fails where there is none");
    match (failure, target.address()) {
        (StreamFailure::Certificate(_), _) => {
            finding.remedy(format!("have it show a certificate for {}", target.certificate_name())).remedy(
                "or name who signs its certificate in `[upstream] tls_roots`, or its name behind `#` of the target",
            )
        }
        (StreamFailure::Protocol(_), _) => {
            finding.remedy("look whether it speaks this protocol at this port, and who answers there in its place")
        }
        (_, Some(address)) => finding
            .remedy(format!("look at the way: `ip route get {}`, and at packet filters on it", address.ip()))
            .remedy("or take it out of the file"),
        (_, None) => {
            finding.remedy("look whether `[upstream] bootstrap` finds its address, or write that: tls://192.0.2.1#NAME")
        }
    }
}

/// A target's address or name.
fn host(target: &Target) -> String {
    target.address().map_or_else(|| target.to_string(), |address| address.ip().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(rcode: Rcode, recursion_available: bool, authoritative: bool, is_authoritative: bool) -> Outcome {
        let target = Target::do53("192.0.2.1:53".parse().unwrap());
        let domain = Name::from_labels([&b"corp"[..]]).unwrap();
        let asked = Asked { target, domain, whose: "x".to_owned(), knows_domain: is_authoritative, is_authoritative };
        let reply = Reply {
            rcode,
            recursion_available,
            authoritative,
            truncated: false,
            has_edns: true,
            keeps_case: true,
            addresses: Vec::new(),
        };
        answered(&asked, "x".to_owned(), &reply, String::new()).outcome
    }

    #[test]
    fn a_reply_is_judged_by_what_the_target_is_for() {
        use Outcome::{Fail, Ok, Warn};
        for (rcode, recursion, authoritative, is_delegated_to, expected) in [
            (Rcode::NOERROR, true, false, false, Ok),
            (Rcode::NXDOMAIN, true, false, false, Ok),
            (Rcode::NOERROR, false, true, false, Ok),
            (Rcode::NOERROR, false, false, false, Warn),
            (Rcode::NOERROR, false, true, true, Ok),
            (Rcode::NOERROR, true, false, true, Warn),
            (Rcode::NXDOMAIN, false, true, true, Warn),
            (Rcode::REFUSED, true, false, false, Fail),
            (Rcode::SERVFAIL, true, false, false, Warn),
            (Rcode::NOTIMP, true, false, false, Warn),
        ] {
            let found = judged(rcode, recursion, authoritative, is_delegated_to);
            assert_eq!(found, expected, "{rcode} RA {recursion} AA {authoritative} delegated {is_delegated_to}");
        }
    }

    #[test]
    fn oddities_are_added_and_never_made_less_of() {
        let reply = |has_edns, keeps_case| Reply {
            rcode: Rcode::NOERROR,
            recursion_available: true,
            authoritative: false,
            truncated: false,
            has_edns,
            keeps_case,
            addresses: Vec::new(),
        };
        let fine = || Finding::ok(CHECK, "x", "fine");
        assert_eq!(odd(fine(), &reply(true, true), true), fine());
        assert_eq!(odd(fine(), &reply(false, true), false).outcome, Outcome::Warn);
        assert_eq!(odd(fine(), &reply(true, false), false).outcome, Outcome::Ok);
        assert_eq!(odd(fine(), &reply(true, false), true).outcome, Outcome::Warn);
        assert_eq!(at_least(Outcome::Warn, Finding::fail(CHECK, "x", "y")).outcome, Outcome::Fail);
    }
}
