//! What questions may use up, and what happens at each bound.

use super::asking::Waiter;
use super::upstream::{Over, Upstream, address, at_once, label};
use super::*;
use plustwo::dns::TargetOrder;
use plustwo::forward::ExchangeError;
use plustwo::forward::lane::{Audience, GIVEN_UP_MAX, INBOX_MAX, Lanes, Order, SOCKETS_PER_TARGET};
use plustwo::forward::pool::{Condition, TargetReport};
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

/// An upstream that answers for "known" and says nothing about other names.
fn knows_one() -> Upstream {
    Upstream::start(
        |query| match label(query).as_str() {
            "known" => at_once(address(query, 1)),
            _ => Over::Silence,
        },
        |_| None,
    )
}

#[test]
fn at_the_limit_new_questions_fail_and_those_in_flight_go_on() {
    let upstream = knows_one();
    let world = World::with(ForwardLimits { in_flight_max: 2, ..limits() }, &[upstream.address]);
    world.outcome("known").unwrap();
    let waiting = [world.ask("a"), world.ask("b")];
    wait_until("two are in flight", || world.forwarder.in_flight() == 2);
    assert_eq!(world.outcome("x").unwrap_err(), ExchangeError::InFlightLimit);
    assert!(world.cached("x").is_none(), "it says nothing about the name");
    assert_eq!(last_octet(&world.cached("known").unwrap()), 1);
    let joined = world.ask("a");
    for waiting in waiting.iter().chain([&joined]) {
        assert_eq!(told(waiting).unwrap_err(), ExchangeError::TimedOut);
    }
    assert_eq!(world.counters().in_flight_limit, 1);
    wait_until("nothing is in flight", || world.forwarder.in_flight() == 0);
}

#[test]
fn a_target_has_so_many_questions_at_a_time() {
    let (slow, other) = (knows_one(), Upstream::replying(|query| address(query, 2)));
    let limits = ForwardLimits { in_flight_per_target_max: 3, ..limits() };
    let world = World::with(limits, &[slow.address]);
    let _waiting = ["a", "b", "c"].map(|label| world.ask(label));
    let in_flight = || world.forwarder.target_reports().iter().map(|report| report.in_flight).sum::<u32>();
    wait_until("three wait for it", || in_flight() == 3);
    assert_eq!(world.outcome("d").unwrap_err(), ExchangeError::TargetBusy);
    assert_eq!(world.counters().target_busy, 1);
    // Where there is another one, it is asked.
    let both = Arc::new(TargetGroup::do53([slow.address, other.address]));
    let d = name("d");
    let outcome = world.asking.outcome(&Ask { context: ContextId(1), ..ask(&d) }, &both);
    assert_eq!(last_octet(&outcome), 2);
    wait_until("nobody waits for it", || in_flight() == 0);
}

#[test]
fn as_many_may_wait_for_one_question_as_may_be_in_flight() {
    const MAX: usize = 1_200;
    let upstream = Upstream::start(|q| Over::Reply(address(q, 1), Duration::from_millis(300)), |_| None);
    let world = World::with(ForwardLimits { in_flight_max: MAX, ..limits() }, &[upstream.address]);
    let waiting: Vec<_> = (0..MAX + 5).map(|_| world.ask("db")).collect();
    let outcomes: Vec<_> = waiting.iter().map(told).collect();
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(ExchangeError::InFlightLimit))).count();
    assert_eq!((refused, outcomes.iter().filter(|outcome| outcome.is_ok()).count()), (5, MAX));
    assert_eq!((world.counters().waiters_limit, world.counters().exchanges), (5, 1));
}

#[test]
fn an_inbox_says_when_it_is_full() {
    let upstream = Upstream::replying(|query| address(query, 1));
    let forwarder = Forwarder::new(ForwardLimits { in_flight_max: 2 * INBOX_MAX, ..limits() });
    let group = Arc::new(TargetGroup::do53([upstream.address]));
    // Lanes that do not run take nothing out.
    let lanes: Lanes<Waiter> = Lanes::new(&forwarder, NonZeroUsize::MIN).unwrap();
    let (waiter, told) = std::sync::mpsc::channel();
    let mut orders = lanes.orders();
    for n in 0..INBOX_MAX {
        let label = n.to_string();
        let name = name(&label);
        let question = lanes.question(&ask(&name));
        assert!(lanes.has_room(&question), "after {n}");
        lanes.add(&mut orders, Order::new(question, &group, Ipv4Addr::LOCALHOST.into(), T0, waiter.clone()));
        if n % 64 == 63 {
            lanes.submit_all(&mut orders);
            assert!(orders.is_empty());
        }
    }
    assert!(!lanes.has_room(&lanes.question(&ask(&name("x")))));
    drop((lanes, orders, waiter));
    assert!(told.recv().is_err(), "whoever is forgotten is let go");
}

#[test]
fn many_questions_to_dead_upstreams_share_a_few_sockets() {
    const QUESTIONS: usize = 20_000;
    const SOCKETS: usize = 100;
    let holes = [(); 4].map(|()| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let targets = [0, 1, 2, 3].map(|hole: usize| holes[hole].local_addr().unwrap());
    let limits = ForwardLimits { sockets_max: SOCKETS, in_flight_max: 5000, ..limits() };
    let world = World::with(ForwardLimits { in_flight_per_target_max: 5000, ..limits }, &targets);
    let resident_before = resident_kib();
    let mut sockets_most = 0;
    let waiting: Vec<_> = (0..QUESTIONS)
        .map(|n| {
            sockets_most = sockets_most.max(world.forwarder.sockets());
            world.ask(&format!("random{n}"))
        })
        .collect();
    let (mut timed_out, mut refused) = (0, 0);
    for waiting in &waiting {
        sockets_most = sockets_most.max(world.forwarder.sockets());
        match told(waiting) {
            Err(ExchangeError::TimedOut) => timed_out += 1,
            Err(ExchangeError::InFlightLimit) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(timed_out + refused, QUESTIONS, "everybody is told");
    assert!(timed_out >= 5000, "{timed_out} timed out, {refused} refused");
    // One that has been used enough is there until the turn ends in which it is replaced.
    assert!(sockets_most <= SOCKETS + GIVEN_UP_MAX, "{sockets_most} sockets");
    assert!(world.counters().sockets_opened >= 4);
    let grown = resident_kib().saturating_sub(resident_before);
    assert!(grown < 200 << 10, "{grown} KiB");
    wait_until("nothing is in flight", || world.forwarder.in_flight() == 0);
}

/// Resident memory of this process in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn at_the_limit_of_sockets_those_that_are_open_are_used_on() {
    let upstreams = [1, 2, 3].map(|last| Upstream::replying(move |query| address(query, last)));
    let world = World::with(ForwardLimits { sockets_max: 2, ..limits() }, &[]);
    for n in 0..60u32 {
        let last = n % 3;
        let group = Arc::new(TargetGroup::do53([upstreams[last as usize].address]));
        let name = name(&n.to_string());
        let outcome = world.asking.outcome(&Ask { context: ContextId(last), ..ask(&name) }, &group);
        assert_eq!(u32::from(last_octet(&outcome)), last + 1);
    }
    assert!(world.forwarder.sockets() <= 2, "{}", world.forwarder.sockets());
    assert!(world.counters().socket_limit > 0);
}

#[test]
fn more_targets_than_sockets_share_them_and_those_that_answer_come_first() {
    const SOCKETS: usize = 16;
    const TARGETS: u32 = 100;
    let holes: Vec<_> = (0..TARGETS).map(|_| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let world = World::with(ForwardLimits { sockets_max: SOCKETS, in_flight_max: 5000, ..limits() }, &[]);
    let mut sockets_most = 0;
    let mut waiting = Vec::new();
    // As long as somebody has a group, what is known of its targets is kept.
    let groups: Vec<_> = holes.iter().map(|hole| Arc::new(TargetGroup::do53([hole.local_addr().unwrap()]))).collect();
    for (context, group) in (1..).zip(&groups) {
        for n in 0..8 {
            let name = name(&format!("n{n}-{context}"));
            waiting.push(world.asking.ask(&Ask { context: ContextId(context), ..ask(&name) }, group));
            sockets_most = sockets_most.max(world.forwarder.sockets());
        }
    }
    let is_away = |report: &TargetReport| matches!(report.condition, Condition::Away(_));
    // All sockets are open, and whoever is waited for does not answer.
    wait_until("those who are asked are known to be away", || {
        sockets_most = sockets_most.max(world.forwarder.sockets());
        let reports = world.forwarder.target_reports();
        world.forwarder.sockets() >= SOCKETS && reports.iter().all(|report| report.in_flight == 0 || is_away(report))
    });
    let good = Upstream::replying(|query| address(query, 7));
    let group = Arc::new(TargetGroup::do53([good.address]));
    let name = name("good");
    let outcome = world.asking.outcome(&Ask { context: ContextId(TARGETS + 1), ..ask(&name) }, &group);
    assert_eq!(last_octet(&outcome), 7);
    let (mut silent, mut not_asked) = (0, 0);
    for waiting in &waiting {
        sockets_most = sockets_most.max(world.forwarder.sockets());
        match told(waiting) {
            Err(ExchangeError::TimedOut) => silent += 1,
            Err(ExchangeError::TargetBusy) => not_asked += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(silent >= 8 && not_asked > 0, "{silent} were silent, {not_asked} were not asked");
    // Whoever takes another's place is there before that one is gone.
    assert!(sockets_most <= SOCKETS + GIVEN_UP_MAX, "{sockets_most} sockets");
    wait_until("nothing is in flight", || world.forwarder.in_flight() == 0);
}

#[test]
fn sockets_that_nobody_uses_are_closed_and_the_lane_goes_to_sleep() {
    let upstream = Upstream::replying(|query| address(query, 1));
    let world = World::new(&[upstream.address]);
    for n in 0..20 {
        world.outcome(&n.to_string()).unwrap();
    }
    assert!(world.forwarder.sockets() > 0);
    let began = Instant::now();
    while world.forwarder.sockets() > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{} sockets are still open", world.forwarder.sockets());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(last_octet(&world.outcome("again")), 1);
}

/// Tells through channels, and panics once when it is to tell of a name.
struct PanicsOnce(Arc<AtomicBool>);

impl Audience for PanicsOnce {
    type Waiter = Waiter;

    fn tell(&mut self, waiter: Waiter, outcome: &Outcome, _: Millis) {
        assert!(!self.0.swap(false, Ordering::SeqCst), "the panic of this test");
        let _ = waiter.send(outcome.clone());
    }

    fn flush(&mut self) {}

    fn way_of(&self, _: &Waiter) -> String {
        String::new()
    }
}

#[test]
fn a_panic_costs_its_question_and_nothing_else() {
    let upstream = Upstream::start(|q| Over::Reply(address(q, 1), Duration::from_millis(200)), |_| None);
    let panics = Arc::new(AtomicBool::new(false));
    let mut world = World::new(&[upstream.address]);
    let audience = || PanicsOnce(Arc::clone(&panics));
    world.asking = Asking::with(&world.forwarder, 1, T0, audience);
    let of_it = [(); 3].map(|()| world.ask("db"));
    wait_until("all wait", || world.counters().coalesced == 2);
    panics.store(true, Ordering::SeqCst);
    let lost = told_or_let_go(&of_it[0]);
    assert!(lost.is_none(), "whom it was about to tell: {lost:?}");
    for waiting in &of_it[1..] {
        assert_eq!(told(waiting).unwrap_err(), ExchangeError::Abandoned);
    }
    assert_eq!(last_octet(&world.outcome("other")), 1, "the lane goes on");
    let counters = world.counters();
    assert_eq!(counters.panics, 1);
    wait_until("nothing is in flight", || world.forwarder.in_flight() == 0);
    assert_eq!(world.forwarder.target_reports()[0].in_flight, 0);
}

/// What one who waits is told; none if it is let go without a word.
fn told_or_let_go(waiting: &Receiver<Outcome>) -> Option<Outcome> {
    match waiting.recv_timeout(Duration::from_secs(20)) {
        Ok(outcome) => Some(outcome),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn reloads_leave_nothing_behind() {
    const RELOADS: u32 = 1000;
    // The same name, in two rules that alternate: what one was told is never the other's.
    let upstreams = [1, 2].map(|last| Upstream::replying(move |query| address(query, last)));
    let slow = Upstream::start(|q| Over::Reply(address(q, 3), Duration::from_millis(1500)), |_| None);
    let world = World::with(limits(), &[]);
    let (db, long) = (name("db"), name("long"));
    let in_context = |context, name| Ask { context: ContextId(context), ..ask(name) };
    let group = |targets: &[SocketAddr]| {
        Arc::new(TargetGroup { order: TargetOrder::InOrder, ..TargetGroup::do53(targets.iter().copied()) })
    };
    // Is in flight while its rule goes; its group is the order's alone.
    let waiting = world.asking.ask(&in_context(RELOADS, &long), &group(&[slow.address]));
    for reload in 0..RELOADS {
        // A new target each time, which is not asked while the first one answers.
        let new = SocketAddr::from(([198, 51, 100, 1], reload as u16 + 1));
        let last = reload % 2;
        let group = group(&[upstreams[last as usize].address, new]);
        let outcome = world.asking.outcome(&in_context(reload, &db), &group);
        assert_eq!(u32::from(last_octet(&outcome)), last + 1, "after {reload} reloads");
        let remembered = world.forwarder.target_reports().len();
        assert!(remembered <= 200, "{remembered} targets after {reload} reloads");
    }
    assert_eq!(last_octet(&told(&waiting)), 3);
    let asked = upstreams.iter().map(Upstream::asked).sum::<usize>();
    assert!(asked >= RELOADS as usize, "{asked}: none was answered by what another context had in the cache");
    assert!(world.forwarder.sockets() <= 3 * SOCKETS_PER_TARGET, "{}", world.forwarder.sockets());
}
