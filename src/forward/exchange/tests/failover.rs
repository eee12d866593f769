//! Targets that are slow, silent, dead or unwilling: who is asked next, and what is passed on.

use hickory_proto::rr::rdata::{CNAME, SOA};

use crate::forward::reply::SECTION_RECORDS_MAX;

use super::*;

#[test]
fn a_good_reply_ends_it() {
    for rcode in [ResponseCode::NoError, ResponseCode::NXDomain, ResponseCode::YXDomain] {
        let went = run(candidates(2), |_, query| vec![failing(30, query, rcode)]);
        assert_eq!((went.at, went.by, went.rcode()), (30, Some(0), Rcode(u16::from(rcode))));
        assert_eq!(went.sent, [Sent { at: 0, target: 0, channel: Channel::Datagram, with_edns: true }]);
        assert_eq!(went.learned, [(0, answered(Channel::Datagram, 30))]);
        assert_eq!(went.over_at, 30, "nobody else was asked");
    }
}

#[test]
fn nobody_to_ask() {
    let went = run(Vec::new(), |_, _| unreachable!("there is no upstream"));
    assert_eq!((went.at, went.result), (0, Err(ExchangeError::NoTargets)));
}

#[test]
fn a_silent_target_is_followed_by_the_next_one_after_400_ms() {
    let went = run(candidates(3), |sent, query| if sent.target == 1 { vec![good(20, query)] } else { vec![] });
    assert_eq!((went.at, went.sends(), went.by), (420, vec![(0, 0), (400, 1)], Some(1)));
    assert_eq!(went.learned, [(0, Observation::SilentSince(Millis(START))), (1, answered(Channel::Datagram, 20))]);
    assert_eq!(went.counted, [Event::Silent]);
}

#[test]
fn a_target_whose_round_trip_time_is_known_gets_less_time() {
    // Six targets of 10 ms, the first of them a black hole.
    let mut candidates = candidates(6);
    for candidate in &mut candidates {
        candidate.patience_millis = 50;
    }
    let went = run(candidates, |sent, query| if sent.target > 0 { vec![good(10, query)] } else { vec![] });
    assert_eq!((went.at, went.sends()), (60, vec![(0, 0), (50, 1)]));
}

#[test]
fn a_late_reply_of_an_earlier_target_counts() {
    let went = run(candidates(2), |sent, query| if sent.target == 0 { vec![good(700, query)] } else { vec![] });
    assert_eq!((went.at, went.sends(), went.by), (700, vec![(0, 0), (400, 1), (650, 0)], Some(0)));
    assert_eq!(went.learned.last(), Some(&(0, answered(Channel::Datagram, 700))));
}

#[test]
fn all_silent_is_an_error_within_4_seconds() {
    let went = run(candidates(2), |_, _| vec![]);
    assert_eq!((went.at, went.over_at, went.result.clone()), (3800, 3800, Err(ExchangeError::TimedOut)));
    assert_eq!(went.sends()[..5], [(0, 0), (400, 1), (650, 0), (900, 1), (1150, 0)]);
    assert_eq!(ExchangeError::TimedOut.extended_error().code.0, 22);

    let went = run(candidates(6), |_, _| vec![]);
    assert_eq!((went.at, went.result.clone()), (3800, Err(ExchangeError::TimedOut)));
    assert_eq!(went.sends()[..7], [(0, 0), (400, 1), (650, 2), (900, 3), (1150, 4), (1400, 5), (1650, 0)]);
}

#[test]
fn a_target_that_refuses_is_followed_at_once() {
    let went = run(candidates(2), |sent, query| match sent.target {
        0 => vec![Does::Refuse(1)],
        _ => vec![good(5, query)],
    });
    assert_eq!((went.at, went.sends()), (6, vec![(0, 0), (1, 1)]));
    assert_eq!(went.learned[0], (0, Observation::Unreachable));
    assert_eq!(went.counted, [Event::Unreachable]);
}

#[test]
fn when_all_refuse_twice_it_is_over() {
    let went = run(candidates(2), |_, _| vec![Does::Refuse(1)]);
    assert_eq!((went.at, went.result.clone()), (402, Err(ExchangeError::Unreachable)));
    assert_eq!(went.sends(), [(0, 0), (1, 1), (400, 0), (401, 1)]);
    assert_eq!(ExchangeError::Unreachable.extended_error().code.0, 23);
}

#[test]
fn what_could_not_be_sent_is_not_the_targets_fault() {
    let went = run(candidates(2), |sent, query| match sent.target {
        0 => vec![Does::NotSend(0)],
        _ => vec![good(5, query)],
    });
    assert_eq!((went.at, went.sends()), (5, vec![(0, 0), (0, 1)]));
    assert_eq!((went.learned_of(0), went.counted), (vec![], vec![]));

    let went = run(candidates(2), |_, _| vec![Does::NotSend(0)]);
    assert_eq!((went.at, went.result), (400, Err(ExchangeError::TargetBusy)));
    let went = run(candidates(2), |sent, _| match sent.target {
        0 => vec![Does::NotSend(0)],
        _ => vec![Does::Refuse(0)],
    });
    assert_eq!(went.result, Err(ExchangeError::Unreachable));
}

#[test]
fn after_a_failing_rcode_the_next_target_is_asked_at_once() {
    for rcode in [ResponseCode::ServFail, ResponseCode::Refused] {
        let went = run(candidates(2), |sent, query| match sent.target {
            0 => vec![failing(1, query, rcode)],
            _ => vec![good(5, query)],
        });
        assert_eq!((went.at, went.sends(), went.rcode()), (6, vec![(0, 0), (1, 1)], Rcode::NOERROR));
        assert_eq!(went.counted, [Event::FailingRcode]);
    }
}

#[test]
fn a_failing_rcode_is_passed_on_when_there_is_nothing_better() {
    let went = run(candidates(3), |_, query| vec![failing(1, query, ResponseCode::Refused)]);
    assert_eq!((went.at, went.sends(), went.rcode()), (3, vec![(0, 0), (1, 1), (2, 2)], Rcode::REFUSED));
    assert_eq!(went.by, Some(0), "the first one counts");
    let went = run(candidates(1), |_, query| vec![failing(1, query, ResponseCode::ServFail)]);
    assert_eq!((went.at, went.rcode()), (1, Rcode::SERVFAIL));

    // The other target is silent, and may just be slow.
    let servfail_and_silence = |sent: &Sent, query: &Judge| match sent.target {
        0 => vec![failing(1, query, ResponseCode::ServFail)],
        _ => vec![],
    };
    let went = run(candidates(2), servfail_and_silence);
    assert_eq!(
        (went.at, <[_; 5]>::try_from(&went.sends()[..5]).expect("five"), went.rcode()),
        (3800, [(0, 0), (1, 1), (401, 1), (651, 1), (901, 1)], Rcode::SERVFAIL)
    );

    // It has been silent before: it gets one chance.
    let mut candidates = candidates(2);
    candidates[1].turn = Turn::Suspect;
    let went = run(candidates, servfail_and_silence);
    assert_eq!((went.at, went.sends(), went.rcode()), (401, vec![(0, 0), (1, 1)], Rcode::SERVFAIL));
}

#[test]
fn a_referral_is_not_passed_on() {
    let went = run(candidates(2), |sent, query| match sent.target {
        0 => vec![referral(1, query)],
        _ => vec![good(5, query)],
    });
    assert_eq!((went.at, went.sends(), went.by), (6, vec![(0, 0), (1, 1)], Some(1)));
    assert_eq!(went.counted, [Event::Referral]);

    let went = run(candidates(2), |_, query| vec![referral(1, query)]);
    assert_eq!((went.at, went.sends(), went.result), (2, vec![(0, 0), (1, 1)], Err(ExchangeError::BadReply)));
    // A failing rcode says more.
    let went = run(candidates(2), |sent, query| match sent.target {
        0 => vec![referral(1, query)],
        _ => vec![failing(1, query, ResponseCode::Refused)],
    });
    assert_eq!((went.at, went.by, went.rcode()), (2, Some(1), Rcode::REFUSED));
}

#[test]
fn an_empty_reply_is_a_nodata() {
    // With a SOA, with a SOA and name servers, and with neither, as some servers on premises give it: of the zone, or such
    // as ask others for us.
    for (soa, servers, aa, ra) in [
        (true, false, false, false),
        (true, true, false, false),
        (false, false, true, false),
        (false, false, false, true),
        (false, false, true, true),
    ] {
        let went = run(candidates(2), |_, query| {
            let octets = changed(query, ResponseCode::NoError, |reply| {
                reply.answers.clear();
                (reply.metadata.authoritative, reply.metadata.recursion_available) = (aa, ra);
                let zone = Name::from_ascii("example.").expect("well-formed");
                if servers {
                    reply.add_authority(Record::from_rdata(zone.clone(), 60, RData::NS(NS(zone.clone()))));
                }
                if soa {
                    let soa = SOA::new(zone.clone(), zone.clone(), 1, 2, 3, 4, 5);
                    reply.add_authority(Record::from_rdata(zone, 60, RData::SOA(soa)));
                }
            });
            vec![Does::Reply(1, octets)]
        });
        assert_eq!((went.at, went.by, went.rcode()), (1, Some(0), Rcode::NOERROR), "{soa} {servers} {aa} {ra}");
        assert_eq!(went.counted, [], "{soa} {servers} {aa} {ra}");
    }
}

#[test]
fn a_target_that_does_nothing_for_us_is_followed_at_once() {
    // NOERROR with nothing in it, of a server that is not one of the zone and asks nobody.
    let lame = |query: &Judge| {
        let octets = changed(query, ResponseCode::NoError, |reply| reply.answers.clear());
        vec![Does::Reply(1, octets)]
    };
    let went = run(candidates(2), |sent, query| if sent.target == 0 { lame(query) } else { vec![good(5, query)] });
    assert_eq!((went.at, went.sends(), went.by), (6, vec![(0, 0), (1, 1)], Some(1)));
    assert_eq!(went.counted, [Event::Referral]);
    // That nobody does anything for us does not say that there are no such records.
    let went = run(candidates(2), |_, query| lame(query));
    assert_eq!((went.at, went.sends(), went.result), (2, vec![(0, 0), (1, 1)], Err(ExchangeError::BadReply)));
}

#[test]
fn an_answer_that_cannot_be_used_is_followed_at_once() {
    let about_another = |query: &Judge| {
        changed(query, ResponseCode::NoError, |reply| {
            reply.answers[0].name = Name::from_ascii("other.corp.example.").expect("well-formed");
        })
    };
    let too_many = |query: &Judge| {
        changed(query, ResponseCode::NoError, |reply| {
            let record = reply.answers[0].clone();
            reply.answers.resize(usize::from(SECTION_RECORDS_MAX) + 1, record);
        })
    };
    let about_it_besides = |query: &Judge| {
        changed(query, ResponseCode::NoError, |reply| {
            let mut other = reply.answers[0].clone();
            other.name = Name::from_ascii("other.corp.example.").expect("well-formed");
            reply.answers.insert(0, other);
        })
    };
    for (what, unusable) in [("another", &about_another as &dyn Fn(&Judge) -> Vec<u8>), ("too many", &too_many)] {
        let went = run(candidates(2), |sent, query| match sent.target {
            0 => vec![Does::Reply(1, unusable(query))],
            _ => vec![good(5, query)],
        });
        assert_eq!((went.at, went.sends(), went.by), (6, vec![(0, 0), (1, 1)], Some(1)), "{what}");
        assert_eq!(went.counted, [Event::Malformed], "{what}");
        // Asked again they would say it again.
        let went = run(candidates(2), |_, query| vec![Does::Reply(1, unusable(query))]);
        assert_eq!((went.at, went.sends()), (2, vec![(0, 0), (1, 1)]), "{what}");
        assert_eq!(went.result, Err(ExchangeError::BadReply), "{what}");
    }
    let went = run(candidates(2), |_, query| vec![Does::Reply(1, about_it_besides(query))]);
    assert_eq!((went.at, went.by, went.counted), (1, Some(0), vec![]));
}

#[test]
fn a_loop_of_cnames_is_passed_on() {
    let went = run(candidates(2), |_, query| {
        let octets = changed(query, ResponseCode::NoError, |reply| {
            reply.answers.clear();
            let (a, b) = (query.queries[0].name().clone(), Name::from_ascii("b.example.").expect("well-formed"));
            for (owner, target) in [(&a, &b), (&b, &a)] {
                reply.add_answer(Record::from_rdata(owner.clone(), 60, RData::CNAME(CNAME(target.clone()))));
            }
        });
        vec![Does::Reply(1, octets)]
    });
    assert_eq!((went.at, went.by, went.rcode()), (1, Some(0), Rcode::NOERROR));
}

#[test]
fn duplicates_change_nothing() {
    let went = run(candidates(3), |sent, query| match sent.target {
        0 => [1, 2, 3].map(|delay| failing(delay, query, ResponseCode::ServFail)).into(),
        _ => vec![good(100, query), good(100, query)],
    });
    assert_eq!((went.at, went.sends()), (101, vec![(0, 0), (1, 1)]));

    // After the end nothing happens any more.
    let (mut exchange, mut out) = (Exchange::new(&candidates(1), Millis(0), Options::default()), Vec::new());
    let mut rng = StdRng::seed_from_u64(7);
    assert!(exchange.step(&ask(), Input::Start, Millis(0), &mut rng, &mut out).is_none());
    let ending = exchange.step(&ask(), Input::Tick, Millis(5000), &mut rng, &mut out);
    assert!(matches!(ending, Some(Ending::Error(ExchangeError::TimedOut))) && exchange.is_over());
    let count = out.len();
    for input in [Input::Start, Input::Unreachable(AttemptId(0)), Input::Tick] {
        assert!(exchange.step(&ask(), input, Millis(9000), &mut rng, &mut out).is_none());
    }
    assert_eq!(out.len(), count);
}

#[test]
fn a_probe_goes_beside_the_first_query() {
    for turn in [Turn::Probe, Turn::Measured] {
        let mut candidates = candidates(2);
        candidates[1].turn = turn;
        let went = run(candidates, |sent, query| vec![good(if sent.target == 0 { 10 } else { 5 }, query)]);
        assert_eq!((went.at, went.sends(), went.by), (5, vec![(0, 1), (0, 0)], Some(1)), "{turn:?}");
        assert_eq!(went.over_at, 10, "the other one is heard, too");
    }
}

#[test]
fn at_most_two_are_asked_beside_the_first() {
    let mut candidates = candidates(6);
    for candidate in &mut candidates[1..] {
        candidate.turn = Turn::Probe;
    }
    let went = run(candidates, |_, query| vec![good(5, query)]);
    assert_eq!(went.sends(), [(0, 1), (0, 2), (0, 0)]);
}

#[test]
fn a_probe_that_is_slower_than_the_first_is_heard() {
    let run = |delay: Option<u64>| {
        let mut candidates = candidates(2);
        candidates[1].turn = Turn::Probe;
        run(candidates, |sent, query| match (sent.target, delay) {
            (0, _) => vec![good(10, query)],
            (_, Some(delay)) => vec![good(delay, query)],
            (_, None) => vec![],
        })
    };
    let went = run(Some(600));
    assert_eq!((went.at, went.by, went.over_at), (10, Some(0), 600));
    assert_eq!(went.learned_of(1), [answered(Channel::Datagram, 600)]);
    let went = run(None);
    assert_eq!((went.at, went.by, went.over_at), (10, Some(0), 10 + LINGER_MILLIS));
    assert_eq!(went.learned_of(1), [Observation::SilentSince(Millis(START))]);
}

#[test]
fn who_lingers_only_learns() {
    // What a lingering exchange is given: nothing makes it send or end again.
    for does in [
        |query: &Judge| failing(50, query, ResponseCode::ServFail),
        |query: &Judge| truncated(50, query),
        |_: &Judge| Does::Refuse(50),
        |_: &Judge| Does::NotSend(50),
        |_: &Judge| Does::Alarm(50),
    ] {
        let mut candidates = candidates(2);
        candidates[1].turn = Turn::Probe;
        let went = run(candidates, |sent, query| vec![if sent.target == 0 { good(10, query) } else { does(query) }]);
        assert_eq!((went.at, went.sent.len(), went.over_at), (10, 2, 50));
    }
    // Strange replies do not end its listening.
    let mut candidates = candidates(2);
    candidates[1].turn = Turn::Probe;
    let went = run(candidates, |sent, query| match sent.target {
        0 => vec![good(10, query)],
        _ => vec![Does::Reply(20, vec![0; 12]), Does::Reply(30, vec![0; 3]), good(40, query)],
    });
    assert_eq!((went.over_at, went.counted), (40, vec![Event::Mismatched; 2]));
}

#[test]
fn an_abandoned_exchange_closes_what_is_open() {
    let mut candidates = candidates(2);
    candidates[1].turn = Turn::Probe;
    let mut run = Run::new(Options::default(), &candidates);
    run.step(Input::Start, &mut |_, _| vec![]);
    let open: Vec<_> = run.exchange.open_attempts().map(Output::Close).collect();
    let mut out = Outputs::new();
    run.exchange.abandon(&mut out);
    assert_eq!((out, open.len()), (open, 2));
    assert!(run.exchange.is_over());
}
