//! Forwarding under faults of the network: the real program between real links, in namespaces of the test's own.
//!
//! Which rule and which bar of forwarding is shown by which test, here and elsewhere (`the_table_is_true` checks that
//! each is there):
//!
//! | rule or bar | test |
//! |---|---|
//! | one of two targets dead: first answer within 1.0 s, none lost, then within 50 ms | `faults::one_target_of_two_in_a_black_hole`, `faults::a_target_that_falls_into_a_black_hole_while_it_is_used`, `faults_peers::one_of_two_peers_dies` |
//! | all targets dead: SERVFAIL with extended error 22 or 23 within 4 s, what is here answered all the while | `faults::all_targets_in_a_black_hole`, `faults::all_targets_refuse` |
//! | 30 % of the packets lost each way: all answered | `faults::two_hundred_names_while_packets_are_lost` |
//! | a link goes and comes back: answers within 2 s | `faults::a_link_that_goes_and_comes_back` |
//! | upstreams killed, stopped, started again | `faults_peers::a_peer_that_comes_and_goes` |
//! | 300 lookups of a second each | `faults::three_hundred_slow_names_at_once` |
//! | 40 identical questions: at most 2 upstream | `faults::forty_clients_that_ask_the_same` |
//! | random names while no upstream answers: 1000 sockets, 50 MiB, what is here answered | `faults_flood::random_names_while_no_upstream_answers`, `limits::a_dead_upstream_and_random_names_cost_neither_sockets_nor_our_own_names` |
//! | two that forward to each other: SERVFAIL within a second, no storm, a word in the log | `faults_loops::two_that_forward_to_each_other`, `faults_loops::a_loop_over_another_address` |
//! | RFC 1034 section 4.3.2, 6604: CNAMEs through upstreams | `cases/forward/cname-chain-comes-back.case`, `cases/forward/cname-into-a-private-zone-is-cut.case`, `cases/zone/cname-goes-out-and-back-in.case` |
//! | RFC 2181 section 8: top bit of a TTL, TTL 0 | `faults_rules::a_ttl_of_nothing_is_not_kept` |
//! | RFC 2308: denials, with SOA and without | `faults_rules::a_denial_lives_as_long_as_its_soa_says`, `faults_rules::a_denial_without_soa_is_not_kept_for_long` |
//! | RFC 3597: unknown types octet for octet | `faults_rules::any_type_goes_through`, `faults_peers::bind_behind` |
//! | RFC 4343: case | `faults_rules::one_name_in_many_cases_is_asked_once`, `faults_replies::the_answer_in_another_case_is_the_answer` |
//! | RFC 5452: source, id, question, QR, opcode; the wait goes on | `faults_replies::the_wait_goes_on_after_what_is_not_the_answer`, `faults_replies::what_is_not_the_answer_is_never_told`, `faults_replies::a_stream_of_forgeries_does_not_win` |
//! | RFC 5452 section 6, MaginotDNS: answers stay in their rule | `faults_rules::the_answers_of_a_rule_stay_in_the_rule`, `faults_rules::new_targets_start_afresh`, `doors::nobody_poisons_a_cache` |
//! | RFC 5625: any type, large messages, TCP, EDNS, AD and CD | `faults_rules::any_type_goes_through`, `faults_rules::the_query_to_an_upstream_is_our_own`, `faults_rules::cd_is_passed_on_and_ad_comes_back_to_who_asks_for_it`, `faults_rules::ad_that_came_in_the_clear_goes_no_further` |
//! | RFC 6303, 6761, 7686: never forwarded; RD clear, transfers, classes, opcodes | `faults_rules::what_is_never_forwarded` |
//! | RFC 6891 section 6.2.2: upstreams without EDNS | `faults_replies::upstreams_that_know_no_edns`, `faults_replies::an_upstream_that_ceases_to_answer_edns`, `cases/forward/upstream-without-edns.case` |
//! | RFC 7766: TC leads to TCP, up to 65,535 octets; broken streams | `faults_replies::upstreams_that_truncate_everything`, `faults_replies::what_may_go_wrong_over_tcp`, `faults_replies::an_upstream_that_answers_one_question_a_connection`, `faults_rules::the_largest_answers_come_whole` |
//! | RFC 7858, 8484: the same over TLS and HTTPS; a peer that comes and goes | `faults_peers::bind_behind_tls`, `faults_peers::bind_behind_https`, `faults_peers::unbound_behind_tls`, `faults_peers::unbound_behind_https`, `faults_peers::an_encrypted_peer_that_comes_and_goes`, `faults_peers::a_peer_that_is_somebody_else`, `faults_peers::a_peer_that_is_a_host_name` |
//! | RFC 7873: upstreams that want their cookie back | `faults_peers::bind_that_requires_cookies` |
//! | names in random case | `faults_peers::peers_asked_in_random_case`, `faults_settings::a_target_that_neither_keeps_the_case_nor_has_tcp_is_named` |
//! | RFC 8482: ANY | `faults_rules::what_is_never_forwarded`, `cases/protocol/any-of-a-forwarded-name.case` |
//! | RFC 8767 section 4: TTLs are capped and count down | `faults_rules::a_ttl_counts_down_and_ends` |
//! | RFC 8767: stale answers, marked (RFC 8914), while upstreams are dead or fail | `faults_stale::stale_answers_while_all_targets_are_in_a_black_hole`, `faults_stale::stale_answers_while_an_upstream_fails`, `faults_stale::a_name_that_is_gone_is_not_stale`, `faults_stale::stale_answers_can_be_switched_off`, `faults_stale::a_renewal_that_fails_makes_nothing_stale_where_that_is_off` |
//! | RFC 9460: SvcParams octet for octet | `faults_peers::unbound_behind`, `faults_peers::knot_behind` |
//! | RFC 9520: failures are remembered, and referrals are failures | `faults_rules::failures_do_not_hammer_the_upstream`, `faults_stale::referrals_of_all_targets_are_a_failure` |
//! | RFC 9715: 1232 octets offered, and at most sent | `faults_rules::the_query_to_an_upstream_is_our_own`, `faults_rules::the_largest_answers_come_whole` |
//! | DO and RRSIG variants kept apart | `faults_peers::nsd_behind` |
//! | failing and unreadable replies | `faults_replies::failures_of_an_upstream_are_no_success`, `faults_replies::answers_that_cannot_be_read`, `faults_replies::the_answer_twice_is_one_answer` |
//! | what the file sets: order, TCP only, sockets, failure_ttl, prefetch | `faults_settings::the_order_says_who_is_asked_first`, `faults_settings::a_target_over_tcp_is_asked_over_tcp`, `faults_settings::upstream_sockets_are_as_many_as_the_file_says`, `faults_settings::a_failure_is_remembered_as_long_as_the_file_says`, `faults_settings::what_is_asked_for_is_fetched_before_it_is_over` |
//! | private names never go upstream | `doors::private_names_stay_here` |
//! | a suffix matches by label | `cases/precedence/suffix-is-by-label.case` |
//!
//! RFC 6303's empty zones for private networks' reverse names and RFC 6762's `local` are forwarded on purpose: the
//! README says what differs.

mod support;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::alone::alone;
use support::ask::{self, Question};
use support::bars::{
    ADDRESS, FIRST_ANSWER_MAX, LATER_ANSWER_MAX, RETURN_MAX, SERVFAIL_BAR, SERVFAIL_MAX, answers, ask_all_at_once,
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
            let mut took = Vec::new();
            for name in ["a.public.example", "b.public.example"] {
                let reply = served.ask(name);
                assert!(is_servfail_with_a_reason(&reply), "{reply:?}");
                assert!(reply.took < SERVFAIL_MAX, "{:?}", reply.took);
                took.push(reply.took);
            }
            let reply = served.ask_over_tcp(&Question::new("c.public.example", "A"));
            assert!(is_servfail_with_a_reason(&reply) && reply.took < SERVFAIL_MAX, "{reply:?}");
            took.push(reply.took);
            assert!(took.iter().min() < Some(&SERVFAIL_BAR), "{took:?}");
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
fn two_hundred_names_while_packets_are_lost() {
    alone("two_hundred_names_while_packets_are_lost", || {
        let network = Network::new().expect("a network");
        let (_upstreams, served) = start(&network, 2);
        for number in 0..20 {
            assert!(served.ask(&format!("before{number}.public.example")).is(ADDRESS));
        }
        network.lose(30).expect("rules");
        let replies = ask_all_at_once(&served, "lossy", 200);
        let right = replies.iter().filter(|reply| reply.is(ADDRESS)).count();
        // Less than one in ten thousand fails, so that of two hundred two fail once in five thousand runs at most.
        assert!(right >= 199, "{right} of 200 are answered");
        let middle = median(replies.iter().map(|reply| reply.took));
        assert!(middle < FIRST_ANSWER_MAX, "{middle:?} in the middle");
        // One name after the other: neither target is given up, whatever it has lost.
        let one_by_one = (0..20).filter(|number| served.ask(&format!("single{number}.public.example")).is(ADDRESS));
        assert!(one_by_one.count() >= 19);
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
    // Four times each, and a few more where this machine was busy.
    let asked = upstream.asked().len();
    assert!(asked <= 8 * 300, "{asked} queries for 300 names");
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

/// Every test and case that the table above names is there.
#[test]
fn the_table_is_true() {
    let table: Vec<&str> = include_str!("faults.rs").lines().filter(|line| line.starts_with("//! | ")).collect();
    let named: Vec<&str> = table.iter().flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert!(table.len() > 20 && named.len() > table.len(), "{} rows, {} names", table.len(), named.len());
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for name in named {
        let is_there = match name.split_once("::") {
            Some((file, test)) => {
                let text = std::fs::read_to_string(root.join(format!("{file}.rs"))).unwrap_or_default();
                text.contains(&format!("#[test]\nfn {test}()")) || text.contains(&format!("\nasync fn {test}()"))
            }
            None => root.join(name).is_file(),
        };
        assert!(is_there, "no test {name}");
    }
}
