//! What forwarding is held to under faults, and how that is asked.

use super::netns::{Network, UPSTREAMS};
use super::script::{Act, Asked, Scripted};
use super::served::{Reply, Served, forwarding_to};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// With one of two targets gone, the first answer may take this long: glibc asks again after five seconds, and people
/// notice well before.
pub(crate) const FIRST_ANSWER_MAX: Duration = Duration::from_secs(1);
/// And what is asked a second later: the median of them, for a machine that is busy makes some wait.
pub(crate) const LATER_ANSWER_MAX: Duration = Duration::from_millis(50);
/// With all targets gone a client hears so within this.
pub(crate) const SERVFAIL_BAR: Duration = Duration::from_secs(4);
/// The same for every single one on a machine that is busy with other tests, too.
pub(crate) const SERVFAIL_MAX: Duration = Duration::from_millis(4_500);
/// What is ours, or in the cache, takes no longer than this in the middle, whatever the upstreams do.
pub(crate) const LOCAL_ANSWER_MAX: Duration = Duration::from_millis(20);
/// After a link is back the first answer comes within this.
pub(crate) const RETURN_MAX: Duration = Duration::from_secs(2);
/// What upstreams say.
pub(crate) const ADDRESS: [u8; 4] = [198, 51, 100, 1];
/// What the private name of the configuration has.
pub(crate) const OWN_ADDRESS: [u8; 4] = [10, 0, 0, 1];

/// The middle one of some times.
pub(crate) fn median(times: impl IntoIterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.into_iter().collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// SERVFAIL that says why: no reachable authority, or a network error (RFC 8914).
pub(crate) fn is_servfail_with_a_reason(reply: &Reply) -> bool {
    reply.rcode() == "SERVFAIL" && reply.extended_errors().iter().any(|code| [22, 23].contains(code))
}

/// Asks again and again, while `others` goes on, for a name of ours and one from the cache; every one is answered.
pub(crate) fn ask_what_is_here_meanwhile(served: &Served, cached: &str, others: impl FnOnce()) {
    let over = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                for (name, address) in [("www.corp.example", OWN_ADDRESS), (cached, ADDRESS)] {
                    let reply = served.ask(name);
                    assert!(reply.is(address), "{name}: {reply:?}");
                    times.push(reply.took);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            times
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(others));
        over.store(true, Ordering::Relaxed);
        let times = asking.join().expect("what is here is answered");
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
        times
    });
    let middle = median(times.iter().copied());
    assert!(middle < LOCAL_ANSWER_MAX, "what is here took {middle:?} in the middle of {}", times.len());
}

/// Asks for many names at once, each from a thread of its own; the replies.
pub(crate) fn ask_all_at_once(served: &Served, label: &str, names: usize) -> Vec<Reply> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..names)
            .map(|number| scope.spawn(move || served.ask(&format!("{label}{number}.public.example"))))
            .collect();
        asked.into_iter().map(|asked| asked.join().expect("a reply, of whatever kind")).collect()
    })
}

/// Where upstreams listen.
pub(crate) fn upstream_address(number: usize) -> SocketAddr {
    SocketAddr::new(UPSTREAMS[number], 53)
}

/// Answers every name with one address.
pub(crate) fn answers(asked: &Asked) -> Vec<Act> {
    vec![Act::Send(asked.address(ADDRESS))]
}

/// So many upstreams that answer, and the program that forwards to them.
pub(crate) fn start(network: &Network, upstreams: usize) -> (Vec<Scripted>, Served) {
    let addresses: Vec<SocketAddr> = (0..upstreams).map(upstream_address).collect();
    let scripted = addresses.iter().map(|address| Scripted::at(*address, answers)).collect();
    (scripted, Served::inside(network, &forwarding_to(&addresses)))
}
