//! Whether each door is free, open, or held by somebody else.

use super::ask::{Query, millis, reachable, words};
use super::{Finding, Scene, privilege};
use crate::daemon::port_holder::{Holder, Holders, user_name};
use crate::daemon::refused_door::{RefusedDoor, is_privileged};
use crate::dns::reply::Transport;
use crate::dns::{Name, Rtype};
use crate::serve;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const CHECK: &str = "door";
/// Open doors that are asked a question.
const ASKED_MAX: usize = 16;
/// Doors that are told one by one where nothing is wrong.
const FINE_SHOWN_MAX: usize = 16;

/// What was found of the doors.
pub(super) struct Doors {
    pub(super) findings: Vec<Finding>,
    /// Where a running plustwo answers, or presumably does.
    pub(super) answering: Vec<SocketAddr>,
    /// The process of that.
    pub(super) running: Option<u32>,
}

/// What a door is.
enum State {
    Free,
    /// A running plustwo has it.
    Open(Option<u32>),
    Refused(Vec<Finding>),
}

/// Looks at every door.
pub(super) fn check(scene: &Scene) -> Doors {
    let errors = serve::doors::Doors::obstacles(&scene.doors);
    let refused = RefusedDoor::explain(errors, &scene.configuration.door_places);
    let doors: BTreeSet<SocketAddr> = scene.doors.iter().copied().collect();
    // Where nothing is in the way nobody has to be looked for.
    let looked = (!refused.is_empty()).then(Holders::look);
    let state = |door| (door, state(scene, door, &refused, looked.as_ref()));
    let states: Vec<(SocketAddr, State)> = doors.into_iter().map(state).collect();
    let (mut findings, mut fine, mut answering) = (Vec::new(), Vec::new(), Vec::new());
    let open: Vec<SocketAddr> =
        states.iter().filter(|(_, state)| matches!(state, State::Open(_))).map(|(door, _)| *door).collect();
    let mut running = None;
    let asked: Vec<(SocketAddr, Finding)> = std::thread::scope(|scope| {
        let asked = open.iter().take(ASKED_MAX).map(|door| (*door, scope.spawn(|| answer(*door)))).collect::<Vec<_>>();
        let told = |(door, thread): (SocketAddr, std::thread::ScopedJoinHandle<'_, Finding>)| {
            Some((door, thread.join().ok()?))
        };
        asked.into_iter().filter_map(told).collect()
    });
    for (door, state) in states {
        match state {
            State::Free if door.port() == 0 => {
                fine.push(Finding::ok(CHECK, door.to_string(), "any free port is taken"))
            }
            State::Free => fine.push(Finding::ok(CHECK, door.to_string(), "free: plustwo can open it")),
            State::Open(pid) => {
                running = running.or(pid);
                match asked.iter().find(|(asked, _)| *asked == door) {
                    None => {
                        answering.push(door);
                        fine.push(Finding::ok(
                            CHECK,
                            door.to_string(),
                            "plustwo has it open; not asked, for there are many",
                        ));
                    }
                    Some((_, finding)) if finding.outcome == super::Outcome::Fail => findings.push(finding.clone()),
                    Some((_, finding)) => {
                        answering.push(door);
                        fine.push(finding.clone());
                    }
                }
            }
            State::Refused(found) => findings.extend(found),
        }
    }
    let more = fine.len().saturating_sub(FINE_SHOWN_MAX);
    fine.truncate(FINE_SHOWN_MAX);
    findings.extend(fine);
    if more > 0 {
        findings.push(Finding::ok(CHECK, "", format!("and {more} more doors are fine")));
    }
    if scene.doors.is_empty() {
        findings.push(Finding::warn(CHECK, "", "the configuration opens no door").remedy("give it a `listen`"));
    }
    Doors { findings, answering, running }
}

/// What one door is.
fn state(scene: &Scene, door: SocketAddr, refused: &[RefusedDoor], looked: Option<&Holders>) -> State {
    let of_door: Vec<&RefusedDoor> = refused.iter().filter(|refused| refused.address == door).collect();
    let pid = |holders: &[Holder]| holders.iter().find_map(|holder| Some(holder.process.as_ref()?.pid));
    if of_door.is_empty() {
        // A door on one address, beside one of the same process on every address, can be bound by its own user again.
        let both = [Transport::Udp, Transport::Tcp];
        let held = looked.map(|looked| looked.of(door, &both)).unwrap_or_default();
        let is_own = |holder: &Holder| holder.address == door && is_ours(scene, holder);
        let own: Vec<Holder> = held.into_iter().filter(is_own).collect();
        return if own.is_empty() { State::Free } else { State::Open(pid(&own)) };
    }
    let is_ours = |refused: &&RefusedDoor| {
        !refused.holders.is_empty()
            && refused.holders.iter().all(|holder| is_ours(scene, holder) && is_door(scene, holder))
    };
    if of_door.iter().all(is_ours) {
        return State::Open(of_door.iter().find_map(|refused| pid(&refused.holders)));
    }
    State::Refused(of_door.into_iter().map(|refused| finding(scene, refused)).collect())
}

/// Whether a holder is plustwo: the process that answers operators, or one of the same program.
fn is_ours(scene: &Scene, holder: &Holder) -> bool {
    let own_name = std::env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    match &holder.process {
        Some(process) => scene.running == Some(process.pid) || Some(&process.name) == own_name.as_ref(),
        // Where descriptors are hidden, the user of the process that answers operators still shows.
        None => scene.running.is_some_and(|pid| {
            let user = fs::metadata(format!("/proc/{pid}")).map(|process| process.uid());
            user.is_ok_and(|user| user_name(Path::new("/"), user) == holder.user)
        }),
    }
}

/// Whether what a holder has is a door of this configuration: else it is a plustwo with another one.
fn is_door(scene: &Scene, holder: &Holder) -> bool {
    scene.doors.contains(&holder.address)
}

/// What is said of a door that cannot be opened.
fn finding(scene: &Scene, refused: &RefusedDoor) -> Finding {
    let subject = refused.address.to_string();
    let place = refused.place.as_ref().map(|place| format!(" (written at {place})")).unwrap_or_default();
    let means = format!("a start of plustwo with this file ends here, before any door is open{place}");
    let is_denied = matches!(refused.error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
    if is_denied && is_privileged(refused.address.port()) && !privilege::grants(scene).is_empty() {
        let says = "this user may not open it to see whether it is free; what starts plustwo may";
        return Finding::skipped(CHECK, subject, says).remedy("`sudo plustwo doctor` sees more");
    }
    let mut says = refused.problem();
    for reason in &refused.reasons {
        says += "; ";
        says += reason;
    }
    let mut finding = Finding::fail(CHECK, subject, says).means(means);
    finding.remedies.clone_from(&refused.remedies);
    finding
}

/// Asks an open door, over both transports; any reply is one.
fn answer(door: SocketAddr) -> Finding {
    let asked = reachable(door);
    let name = Name::from_labels([&b"localhost"[..]]).unwrap_or_else(|_| Name::root());
    let query = Query::new(&name, Rtype::A, true);
    match (query.over_udp(asked), query.over_tcp(asked)) {
        (Ok((reply, over_udp)), Ok((_, over_tcp))) => {
            let says = format!(
                "plustwo has it open and answers {} over UDP in {}, over TCP in {}",
                reply.rcode,
                millis(over_udp),
                millis(over_tcp)
            );
            Finding::ok(CHECK, door.to_string(), says)
        }
        (over_udp, over_tcp) => {
            let failed = [("UDP", over_udp.err()), ("TCP", over_tcp.err())];
            let failed = failed
                .iter()
                .filter_map(|(transport, error)| Some(format!("over {transport} {}", words(error.as_ref()?))));
            let says = format!("plustwo has it open, and does not answer: {}", failed.collect::<Vec<_>>().join(", "));
            Finding::fail(CHECK, door.to_string(), says)
                .means("clients of this door get no answers")
                .remedy("look whether a packet filter drops them: `sudo nft list ruleset`, `sudo iptables -S`")
                .remedy(
                    "`plustwo status` and `plustwo stats` say what it does; `systemctl restart plustwo` starts it anew",
                )
        }
    }
}
