use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;

/// The data of a query's OPT, which is its last record and has the root as owner.
fn options(query: &[u8]) -> &[u8] {
    let opt = query[12..].iter().position(|&octet| octet == 0).expect("a name's end") + 12 + 5;
    &query[opt + 11..]
}

#[test]
fn replies_come_in_any_order_and_under_the_ids_of_their_queries() {
    let net = Net::new();
    let (ids, seen) = mpsc::channel();
    let target = net.peer(move |_, mut stream| {
        let ids = ids.clone();
        async move {
            let mut queries = Vec::new();
            while queries.len() < 3 {
                queries.push(read(&mut stream).await.expect("three queries on one connection"));
            }
            for query in queries.iter().rev() {
                ids.send(query[..2].to_vec()).expect("the test waits");
                write(&mut stream, &reply_to(query)).await;
            }
        }
    });
    // The same id thrice: on the wire each has its own.
    let queries = [1, 2, 3].map(|number| [b"\x55\x55", &query(number)[2..]].concat());
    let waiting = queries.clone().map(|query| net.start(&target, query));
    for (query, waiting) in queries.iter().zip(&waiting) {
        assert_eq!(answer(waiting), Ok(reply_to(query)));
    }
    let mut ids: Vec<_> = seen.iter().take(3).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!(net.targets.counters().opened, 1);
}

#[test]
fn a_connection_that_the_peer_closed_meanwhile_is_replaced() {
    let net = Net::new();
    let (closed, was_closed) = mpsc::channel();
    let target = net.peer(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            let query = read(&mut stream).await.expect("a query");
            write(&mut stream, &reply_to(&query)).await;
            drop(stream);
            closed.send(()).expect("the test waits");
        }
    });
    for number in 1..=20 {
        assert_eq!(net.ask(&target, query(number)), reply(number));
        was_closed.recv_timeout(PATIENCE).expect("closed");
    }
}

#[test]
fn questions_on_a_connection_that_dies_are_asked_once_more() {
    let net = Net::new();
    let target = net.peer(|number, mut stream| async move {
        if number > 0 {
            return answer_all(stream).await;
        }
        let first = read(&mut stream).await.expect("a query");
        write(&mut stream, &reply_to(&first)).await;
        for _ in 0..5 {
            read(&mut stream).await.expect("five more");
        }
    });
    assert_eq!(net.ask(&target, query(0)), reply(0));
    let waiting = [1, 2, 3, 4, 5].map(|number| (number, net.start(&target, query(number))));
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    let counters = net.targets.counters();
    assert_eq!((counters.opened, counters.asked_again, counters.reused), (2, 5, 5));
}

#[test]
fn a_peer_that_answers_few_questions_on_each_connection_is_given_no_more() {
    for each in [1, 3] {
        let net = Net::new();
        let target = net.peer(move |_, mut stream| async move {
            for _ in 0..each {
                let Some(query) = read(&mut stream).await else { return };
                write(&mut stream, &reply_to(&query)).await;
            }
        });
        let waiting: Vec<_> = (0..60).map(|number| (number, net.start(&target, query(number)))).collect();
        for (number, waiting) in &waiting {
            assert_eq!(answer(waiting), reply(*number));
        }
        // Two connections tell; what was lost on them, and on those open at that time, is asked again.
        let asked_again = net.targets.counters().asked_again;
        assert!(asked_again > 0);
        for number in 0..20 {
            assert_eq!(net.ask(&target, query(number)), reply(number));
        }
        assert_eq!(net.targets.counters().asked_again, asked_again, "from then on nothing is lost");
    }
}

#[test]
fn a_connection_that_ends_early_once_costs_a_peer_nothing() {
    let net = Net::new();
    let target = net.peer(|number, mut stream| async move {
        if number % 2 == 1 {
            return answer_all(stream).await;
        }
        let first = read(&mut stream).await.expect("a query");
        write(&mut stream, &reply_to(&first)).await;
    });
    let waiting: Vec<_> = (0..40).map(|number| (number, net.start(&target, query(number)))).collect();
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    assert_eq!(net.targets.counters().opened, 2, "the second one is given all the rest");
}

#[test]
fn half_closed_is_closed() {
    let net = Net::new();
    let target = net.peer(|number, mut stream| async move {
        if number > 0 {
            return answer_all(stream).await;
        }
        read(&mut stream).await.expect("a query");
        stream.shutdown().await.expect("open");
        listen_only(stream).await;
    });
    assert_eq!(net.ask(&target, query(1)), reply(1));
}

#[test]
fn a_peer_that_always_hangs_up_is_unreachable_after_two_connections() {
    let net = Net::new();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let target = net.peer(move |_, mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            read(&mut stream).await;
        }
    });
    assert_eq!(net.ask(&target, query(1)), Err(StreamFailure::Unreachable));
    assert_eq!(accepted.load(Ordering::SeqCst), 2);
}

#[test]
fn a_peer_that_refuses_is_unreachable_and_found_again() {
    let net = Net::new();
    let (socket, target) = net.closed_port();
    assert_eq!(net.ask(&target, query(1)), Err(StreamFailure::Unreachable));
    assert_eq!(net.targets.counters().failed, 1);
    net.runtime.spawn(async move {
        let (stream, _) = socket.listen(1).expect("the port is ours").accept().await.expect("a connection");
        answer_all(stream).await;
    });
    net.insist(&target, 2);
}

#[test]
fn a_peer_that_is_silent_times_out_and_the_next_question_goes_elsewhere() {
    let net = Net::hasty(settings());
    let target = net.peer(|number, stream| async move {
        if number == 0 { listen_only(stream).await } else { answer_all(stream).await }
    });
    assert_eq!(net.ask(&target, query(1)), Err(StreamFailure::TimedOut));
    assert_eq!(net.targets.counters().timed_out, 1);
    net.insist(&target, 2);
    assert!(net.targets.counters().opened >= 2);
}

#[test]
fn a_late_reply_is_nobodys_and_does_no_harm() {
    let net = Net::with_times(settings(), Times { question: Duration::from_secs(2), ..Times::USUAL });
    let asked_again = Arc::new(Notify::new());
    let may_answer = Arc::clone(&asked_again);
    let target = net.peer(move |number, mut stream| {
        assert_eq!(number, 0, "one connection is enough");
        let may_answer = Arc::clone(&may_answer);
        async move {
            let late = read(&mut stream).await.expect("a query");
            // Something else is answered meanwhile: the connection is alive.
            let other = read(&mut stream).await.expect("a query");
            write(&mut stream, &reply_to(&other)).await;
            may_answer.notified().await;
            write(&mut stream, &reply_to(&late)).await;
            answer_all(stream).await;
        }
    });
    let late = net.start(&target, query(1));
    let other = net.start(&target, query(2));
    assert_eq!(answer(&other), reply(2));
    assert_eq!(answer(&late), Err(StreamFailure::TimedOut));
    asked_again.notify_one();
    for number in 3..6 {
        net.insist(&target, number);
    }
    assert_eq!(net.targets.counters().strays, 0);
}

#[test]
fn replies_may_come_octet_by_octet() {
    let net = Net::new();
    let target = net.peer(|_, mut stream| async move {
        while let Some(query) = read(&mut stream).await {
            let reply = reply_to(&query);
            for octet in [&(reply.len() as u16).to_be_bytes(), reply.as_slice()].concat() {
                stream.write_all(&[octet]).await.expect("the other side listens");
                tokio::task::yield_now().await;
            }
        }
    });
    for number in 1..4 {
        assert_eq!(net.ask(&target, query(number)), reply(number));
    }
}

#[test]
fn the_largest_reply_may_come_slowly() {
    let net = Net::new();
    let target = net.peer(|_, mut stream| async move {
        let query = read(&mut stream).await.expect("a query");
        let mut reply = reply_to(&query);
        reply.resize(65_535, 7);
        stream.write_all(&65_535_u16.to_be_bytes()).await.expect("the other side listens");
        for part in reply.chunks(6_000) {
            stream.write_all(part).await.expect("the other side listens");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut expected = reply_to(&query(1));
    expected.resize(65_535, 7);
    assert_eq!(net.ask(&target, query(1)), Ok(expected));
}

#[test]
fn a_peer_that_trickles_for_ever_keeps_nothing() {
    let net = Net::hasty(settings());
    let target = net.peer(|number, mut stream| async move {
        if number > 0 {
            return answer_all(stream).await;
        }
        stream.write_all(&[0xff, 0xff]).await.expect("the other side listens");
        while stream.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert_eq!(net.ask(&target, query(1)), Err(StreamFailure::TimedOut));
    net.insist(&target, 2);
}

#[test]
fn three_strays_close_a_connection_and_its_question_is_asked_elsewhere() {
    type Stray = fn(&[u8]) -> Vec<u8>;
    let strays: [(&str, Stray); 4] = [
        ("another id", |query| [&[query[0] ^ 1], &reply_to(query)[1..]].concat()),
        ("another question", |query| {
            let mut reply = reply_to(query);
            reply[13] ^= 1;
            reply
        }),
        ("a query", <[u8]>::to_vec),
        ("nothing", |_| Vec::new()),
    ];
    for (what, stray) in strays {
        let net = Net::new();
        let target = net.peer(move |number, mut stream| async move {
            if number > 0 {
                return answer_all(stream).await;
            }
            // Two are borne.
            for count in [2, 3] {
                let query = read(&mut stream).await.expect("a query");
                for _ in 0..count {
                    write(&mut stream, &stray(&query)).await;
                }
                if count == 2 {
                    write(&mut stream, &reply_to(&query)).await;
                }
            }
            listen_only(stream).await;
        });
        assert_eq!(net.ask(&target, query(1)), reply(1), "{what}");
        assert_eq!(net.targets.counters().strays, 2, "{what}");
        assert_eq!(net.ask(&target, query(2)), reply(2), "{what}");
        assert_eq!(net.targets.counters().opened, 2, "{what}");
    }
}

#[test]
fn three_hundred_questions_at_once_take_two_connections() {
    let net = Net::new();
    let both_are_full = Arc::new(tokio::sync::Barrier::new(2));
    let target = net.peer(move |number, mut stream| {
        assert!(number < 2, "a third connection");
        let both_are_full = Arc::clone(&both_are_full);
        async move {
            let mut queries = Vec::new();
            while queries.len() < PIPELINED_MAX {
                queries.push(read(&mut stream).await.expect("a query"));
            }
            // Not one more is on the wire while these are unanswered.
            assert!(tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await.is_err());
            both_are_full.wait().await;
            for query in queries {
                write(&mut stream, &reply_to(&query)).await;
            }
            answer_all(stream).await;
        }
    });
    let waiting: Vec<_> = (0..300).map(|number| (number, net.start(&target, query(number)))).collect();
    for (number, waiting) in &waiting {
        assert_eq!(answer(waiting), reply(*number));
    }
    assert_eq!(net.targets.counters().opened, 2);
}

#[test]
fn the_queue_has_an_end_and_all_that_wait_are_told_in_time() {
    let net = Net::hasty(settings());
    let target = net.peer(|_, stream| listen_only(stream));
    let room = CONNECTIONS_PER_TARGET * PIPELINED_MAX + STREAM_QUEUE_MAX;
    let waiting: Vec<_> = (0..room).map(|number| net.start(&target, query(number as u16))).collect();
    assert_eq!(net.ask(&target, query(9_999)), Err(StreamFailure::Busy));
    for waiting in &waiting {
        assert_eq!(answer(waiting), Err(StreamFailure::TimedOut));
    }
    assert_eq!((net.targets.counters().busy, net.targets.counters().timed_out), (1, room as u64));
}

#[test]
fn a_peer_that_lets_us_have_one_connection_only_delays_nobody() {
    let net = Net::new();
    let target = net.peer(|number, stream| async move {
        if number == 0 {
            answer_all(stream).await;
        }
    });
    assert_eq!(net.ask(&target, query(0)), reply(0));
    // Hung up on at once, which is not the fault of any question.
    for round in 0..5 {
        let waiting: Vec<_> = (0..300).map(|number| (number, net.start(&target, query(number)))).collect();
        for (number, waiting) in &waiting {
            assert_eq!(answer(waiting), reply(*number), "round {round}");
        }
    }
}

#[test]
fn a_connection_that_swallows_too_many_questions_gets_no_more() {
    let net = Net::hasty(settings());
    // The first connection answers questions from 9000 on only.
    let target = net.peer(|number, mut stream| async move {
        while let Some(query) = read(&mut stream).await {
            if number > 0 || query[12..].starts_with(b"\x05q9") {
                write(&mut stream, &reply_to(&query)).await;
            }
        }
    });
    let mut swallowed = 0;
    while net.targets.counters().opened < 2 {
        assert!(swallowed <= 4 * LATE_MAX, "the same connection is used for ever");
        let waiting: Vec<_> = (0..50).map(|number| net.start(&target, query(number))).collect();
        // It is alive: one that is silent altogether gets no more anyhow.
        while waiting.iter().all(|waiting| waiting.try_recv() == Err(mpsc::TryRecvError::Empty)) {
            net.insist(&target, 9000);
        }
        swallowed += waiting.len();
    }
    assert_eq!(net.targets.counters().strays, 0);
}

#[test]
fn connections_are_limited_over_all_targets_and_then_idle_ones_go_sooner() {
    let usual = Times { question: PATIENCE, connect: PATIENCE, ..Times::USUAL };
    let net = Net::with_times(settings(), Times { idle: 2 * PATIENCE, ..usual });
    let (first, second) = (net.peer(|_, stream| answer_all(stream)), net.peer(|_, stream| answer_all(stream)));
    let permits = Arc::clone(&net.targets.lines().equipment.connections);
    assert_eq!(permits.available_permits(), CONNECTIONS_MAX);
    let _elsewhere = permits.try_acquire_many(CONNECTIONS_MAX as u32 - 1).expect("nobody has any");
    assert_eq!(net.ask(&first, query(1)), reply(1));
    assert_eq!(net.ask(&second, query(2)), Err(StreamFailure::Busy));
    assert_eq!(net.targets.counters().busy, 1);
    // The idle one is closed sooner than usual.
    net.insist(&second, 3);
}

#[test]
fn the_peer_says_how_long_an_idle_connection_is_kept() {
    for (units, connections) in [(0, 2), (600, 1)] {
        let net = Net::new();
        let (seen, first_queries) = mpsc::channel();
        let target = net.peer(move |_, mut stream| {
            let seen = seen.clone();
            async move {
                while let Some(query) = read(&mut stream).await {
                    let mut reply = reply_to(&query);
                    reply[11] = 1;
                    reply.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\x06\0\x0b\0\x02");
                    reply.extend_from_slice(&u16::to_be_bytes(units));
                    write(&mut stream, &reply).await;
                    seen.send(options(&query).to_vec()).expect("the test waits");
                }
            }
        });
        net.ask(&target, query(1)).expect("a reply");
        net.ask(&target, query(2)).expect("a reply");
        assert_eq!(net.targets.counters().opened, connections, "{units} units");
        // The first query on a connection asks for it (RFC 7828 section 3.2.1).
        let asks = [first_queries.recv(), first_queries.recv()].map(|options| !options.expect("a query").is_empty());
        assert_eq!(asks, [true, connections == 2]);
    }
}

#[test]
fn an_idle_connection_is_closed() {
    let net = Net::hasty(settings());
    let (closed, was_closed) = mpsc::channel();
    let target = net.peer(move |_, stream| {
        let closed = closed.clone();
        async move {
            answer_all(stream).await;
            closed.send(()).expect("the test waits");
        }
    });
    net.insist(&target, 1);
    was_closed.recv_timeout(PATIENCE).expect("closed by us");
    net.insist(&target, 2);
}

#[test]
fn a_runtime_that_ends_abandons_its_questions() {
    let net = Net::new();
    let target = net.peer(|_, stream| listen_only(stream));
    let waiting = net.start(&target, query(1));
    let Net { targets, runtime } = net;
    runtime.shutdown_background();
    assert_eq!(answer(&waiting), Err(StreamFailure::Abandoned));
    // And those that come later.
    let (sender, receiver) = mpsc::channel();
    targets.ask(&target, query(2), move |reply| drop(sender.send(reply)));
    assert_eq!(answer(&receiver), Err(StreamFailure::Abandoned));
}

#[test]
fn what_is_no_query_is_not_asked() {
    let net = Net::new();
    let (_listener, target) = net.listener();
    for octets in [11, 65_536] {
        assert!(matches!(net.ask(&target, vec![0; octets]), Err(StreamFailure::Protocol(_))));
    }
}

#[test]
fn targets_that_are_not_used_are_forgotten() {
    let net = Net::new();
    let (_socket, target) = net.closed_port();
    for number in 0..1000 {
        let target = Target { server_name: Some(number.to_string().into()), ..target.clone() };
        assert_eq!(net.ask(&target, query(1)), Err(StreamFailure::Unreachable));
    }
    assert!(net.targets.lines().by_target.len() <= 2 * UNUSED_LINES_MAX);
}
