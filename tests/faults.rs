//! Forwarding under faults of the network: the real program between real links, in namespaces of the test's own.

mod support;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::alone::alone;
use support::ask::{self, Question};
use support::bars::{
    ADDRESS, FIRST_ANSWER_MAX, LATER_ANSWER_MAX, RETURN_MAX, SERVFAIL_MAX, answers, ask_all_at_once,
    ask_what_is_here_meanwhile, is_servfail_with_a_reason, median, start, upstream_address,
};
use support::netns::{End, Network, UPSTREAMS};
use support::script::{Act, Scripted};
use support::served::{Served, forwarding_to};

/// Asks for 25 names, one after the other, over more than a second, and checks the bars for one dead target of two.
fn ask_with_one_dead_target(served: &Served, label: &str) {
    let began = Instant::now();
    let mut later = Vec::new();
    for number in 0..25 {
        let asked = began.elapsed();
        let reply = served.ask(&format!("{label}{number}.public.example"));
        assert!(reply.is(ADDRESS), "{label}{number}: {reply:?}");
        if number == 0 {
            assert!(reply.took < FIRST_ANSWER_MAX, "the first answer took {:?}", reply.took);
        }
        if asked >= Duration::from_secs(1) {
            later.push(reply.took);
        }
        // Over two seconds or so, as one person browses.
        std::thread::sleep(Duration::from_millis(80));
    }
    assert!(later.len() >= 5, "{} names are asked after the first second", later.len());
    let middle = median(later.iter().copied());
    assert!(middle < LATER_ANSWER_MAX, "{middle:?} is the median after the first second: {later:?}");
    let longest = later.iter().max().expect("there are some");
    assert!(*longest < FIRST_ANSWER_MAX, "{longest:?} for one name after the first second");
}

#[test]
fn one_target_of_two_in_a_black_hole() {
    alone("one_target_of_two_in_a_black_hole", || {
        for dead in [0, 1] {
            let network = Network::new().expect("a network");
            let (_upstreams, served) = start(&network, 2);
            network.black_hole(&UPSTREAMS[dead..=dead]).expect("a rule");
            ask_with_one_dead_target(&served, "a");
        }
    });
}

#[test]
fn a_target_that_falls_into_a_black_hole_while_it_is_used() {
    alone("a_target_that_falls_into_a_black_hole_while_it_is_used", || {
        let network = Network::new().expect("a network");
        let (upstreams, served) = start(&network, 2);
        for number in 0..20 {
            assert!(served.ask(&format!("before{number}.public.example")).is(ADDRESS));
        }
        // The one that it likes better is the one that goes.
        let favourite = usize::from(upstreams[1].asked().len() > upstreams[0].asked().len());
        network.black_hole(&UPSTREAMS[favourite..=favourite]).expect("a rule");
        ask_with_one_dead_target(&served, "after");
        // And the other way round: the one that was gone comes back, and then the other one goes.
        network.heal().expect("no rules");
        wait_until_asked(&served, &upstreams[favourite]);
        network.black_hole(&UPSTREAMS[1 - favourite..=1 - favourite]).expect("a rule");
        ask_with_one_dead_target(&served, "again");
    });
}

/// Asks for names until an upstream has heard one: it has been looked for and found.
fn wait_until_asked(served: &Served, upstream: &Scripted) {
    let (before, began) = (upstream.asked().len(), Instant::now());
    for number in 0.. {
        if upstream.asked().len() > before {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "an upstream that is back is never asked again");
        assert!(served.ask(&format!("wait{number}.public.example")).is(ADDRESS));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn all_targets_in_a_black_hole() {
    alone("all_targets_in_a_black_hole", || {
        let network = Network::new().expect("a network");
        let (_upstreams, served) = start(&network, 2);
        assert!(served.ask("known.public.example").is(ADDRESS));
        network.black_hole(&UPSTREAMS).expect("rules");
        ask_what_is_here_meanwhile(&served, "known.public.example", || {
            for name in ["a.public.example", "b.public.example"] {
                let reply = served.ask(name);
                assert!(is_servfail_with_a_reason(&reply), "{reply:?}");
                assert!(reply.took < SERVFAIL_MAX, "{:?}", reply.took);
            }
            let reply = served.ask_over_tcp(&Question::new("c.public.example", "A"));
            assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{reply:?}");
            // The failure is remembered (RFC 9520): who asks again need not wait.
            let reply = served.ask("c.public.example");
            assert!(is_servfail_with_a_reason(&reply) && reply.took < Duration::from_secs(1), "{reply:?}");
        });
    });
}

#[test]
fn all_targets_refuse() {
    alone("all_targets_refuse", || {
        let network = Network::new().expect("a network");
        let (upstreams, served) = start(&network, 2);
        assert!(served.ask("known.public.example").is(ADDRESS));
        drop(upstreams);
        ask_what_is_here_meanwhile(&served, "known.public.example", || {
            for name in ["a.public.example", "b.public.example"] {
                let reply = served.ask(name);
                assert!(is_servfail_with_a_reason(&reply), "{reply:?}");
                assert!(reply.took < SERVFAIL_MAX, "{:?}", reply.took);
            }
        });
        // And when they are back, so are answers.
        let _upstreams = [0, 1].map(|number| Scripted::at(upstream_address(number), answers));
        first_answer(&served, "back", Instant::now());
    });
}

/// Asks for a new name every 50 ms, each on its own, until one is answered; how long after `since` that was.
fn first_answer(served: &Served, label: &str, since: Instant) -> Duration {
    let answered = AtomicBool::new(false);
    let took = std::thread::scope(|scope| {
        let mut asking = Vec::new();
        while !answered.load(Ordering::Relaxed) && since.elapsed() < RETURN_MAX {
            let (name, answered) = (format!("{label}{}.public.example", asking.len()), &answered);
            asking.push(scope.spawn(move || {
                let reply = served.ask(&name);
                reply.is(ADDRESS).then(|| {
                    answered.store(true, Ordering::Relaxed);
                    since.elapsed()
                })
            }));
            std::thread::sleep(Duration::from_millis(50));
        }
        asking.into_iter().filter_map(|asked| asked.join().expect("a reply, of whatever kind")).min()
    });
    let took = took.unwrap_or_else(|| panic!("{label}: not one answer in {RETURN_MAX:?}\n{}", served.program.said()));
    assert!(took < RETURN_MAX, "{label}: the first answer came after {took:?}");
    took
}

#[test]
fn a_link_that_goes_and_comes_back() {
    alone("a_link_that_goes_and_comes_back", || {
        let network = Network::new().expect("a network");
        let (_upstreams, served) = start(&network, 2);
        for (turn, end) in [End::Near, End::Far, End::Near].into_iter().enumerate() {
            assert!(served.ask(&format!("known{turn}.public.example")).is(ADDRESS));
            network.link_down(end).expect("a link");
            ask_what_is_here_meanwhile(&served, &format!("known{turn}.public.example"), || {
                let reply = served.ask(&format!("down{turn}.public.example"));
                assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{end:?}: {reply:?}");
            });
            network.link_up(end).expect("a link");
            let took = first_answer(&served, &format!("up{turn}-"), Instant::now());
            println!("{end:?}: {took:?} after the link's return");
            // Nothing limps on: ten names in a row are answered as ever.
            let times = (0..10).map(|number| {
                let reply = served.ask(&format!("then{turn}-{number}.public.example"));
                assert!(reply.is(ADDRESS), "{end:?}: {reply:?}");
                reply.took
            });
            let middle = median(times);
            assert!(middle < LATER_ANSWER_MAX, "{end:?}: {middle:?} once the link is back");
        }
    });
}

#[test]
fn three_hundred_slow_names_at_once() {
    let upstream = Scripted::start(|asked| vec![Act::SendLater(Duration::from_secs(1), asked.address(ADDRESS))]);
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    let began = Instant::now();
    for reply in ask_all_at_once(&served, "slow", 300) {
        assert!(reply.is(ADDRESS), "{reply:?}");
        assert!(reply.took >= Duration::from_millis(990) && reply.took < SERVFAIL_MAX, "{:?}", reply.took);
    }
    // Together, not one after the other.
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn forty_clients_that_ask_the_same() {
    let upstream = Scripted::start(|asked| vec![Act::SendLater(Duration::from_millis(300), asked.address(ADDRESS))]);
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    let sockets: Vec<UdpSocket> = (0..40).map(|_| ask::udp_client(served.client, served.door)).collect();
    for (id, socket) in sockets.iter().enumerate() {
        // In many cases, over UDP; the upstream is asked for one name.
        let name = if id % 2 == 0 { "same.public.example" } else { "SAME.Public.Example" };
        socket.send(&Question::new(name, "A").octets(id as u16)).expect("it listens");
    }
    for (id, socket) in sockets.iter().enumerate() {
        let reply = ask::receive(socket).unwrap_or_else(|error| panic!("client {id}: no reply: {error}"));
        assert_eq!(reply[..2], (id as u16).to_be_bytes());
        assert_eq!(support::raw::rdatas(&reply, "same.public.example", 1), [ADDRESS.to_vec()]);
    }
    let asked = upstream.asked_for("same.public.example");
    assert!(asked <= 2, "{asked} questions for 40 clients that ask the same");
}
