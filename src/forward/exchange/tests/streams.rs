//! Streams: where a datagram is too small, and targets that have nothing else.

use hickory_proto::rr::rdata::TXT;

use super::*;

/// Targets that are only asked over streams.
fn stream_only(count: u8) -> Vec<Candidate> {
    let mut candidates = candidates(count);
    for candidate in &mut candidates {
        (candidate.channel, candidate.patience_millis) = (Channel::Stream, 800);
    }
    candidates
}

#[test]
fn a_truncated_reply_is_asked_again_over_tcp() {
    let went = run(candidates(2), |sent, query| match sent.channel {
        Channel::Datagram => vec![truncated(1, query)],
        Channel::Stream => vec![good(10, query)],
    });
    assert_eq!((went.at, went.sends(), went.rcode()), (11, vec![(0, 0), (1, 0)], Rcode::NOERROR));
    assert_eq!(went.sent[1].channel, Channel::Stream);
    assert_eq!(went.learned, [(0, answered(Channel::Datagram, 1)), (0, answered(Channel::Stream, 10))]);

    // TCP does not work there: the next target, over UDP first.
    let went = run(candidates(2), |sent, query| match (sent.target, sent.channel) {
        (0, Channel::Datagram) => vec![truncated(1, query)],
        (0, Channel::Stream) => vec![Does::Refuse(1)],
        (_, Channel::Datagram) => vec![good(10, query)],
        _ => vec![],
    });
    assert_eq!((went.at, went.sends()), (12, vec![(0, 0), (1, 0), (2, 1)]));
    assert_eq!(went.learned_of(0), [answered(Channel::Datagram, 1)], "it lives, whatever its TCP");

    // TCP works nowhere: the truncated reply is not given.
    let went = run(candidates(1), |sent, query| match sent.channel {
        Channel::Datagram => vec![truncated(1, query)],
        Channel::Stream => vec![Does::Refuse(1)],
    });
    assert_eq!(went.result, Err(ExchangeError::Unreachable));
}

#[test]
fn what_is_left_of_a_truncated_reply_is_not_looked_at() {
    let went = run(candidates(1), |sent, query| match sent.channel {
        Channel::Datagram => {
            let mut cut = changed(query, ResponseCode::NoError, |reply| reply.metadata.truncation = true);
            cut.truncate(cut.len() - 3);
            vec![Does::Reply(1, cut)]
        }
        Channel::Stream => vec![good(10, query)],
    });
    assert_eq!((went.at, went.counted), (11, vec![Event::Truncated]));
}

#[test]
fn two_truncated_replies_are_one_question_over_tcp() {
    let went = run(candidates(1), |sent, query| match sent.channel {
        Channel::Datagram => vec![truncated(450 - sent.at / 10, query)],
        Channel::Stream => vec![good(600, query)],
    });
    let over = |channel| went.sent.iter().filter(|sent| sent.channel == channel).count();
    assert_eq!((went.at, over(Channel::Datagram), over(Channel::Stream)), (1050, 2, 1));
}

#[test]
fn what_is_truncated_on_a_stream_is_broken() {
    let went = run(candidates(2), |sent, query| match sent.target {
        0 => vec![truncated(1, query)],
        _ => vec![good(5, query)],
    });
    assert_eq!((went.at, went.sends(), went.by), (7, vec![(0, 0), (1, 0), (2, 1)], Some(1)));
    assert_eq!(went.counted, [Event::Truncated, Event::Malformed]);
    let went = run(stream_only(1), |_, query| vec![truncated(1, query)]);
    assert_eq!((went.at, went.result), (3800, Err(ExchangeError::BadReply)));
}

#[test]
fn a_target_of_streams_gets_no_datagram() {
    let went = run(stream_only(2), |_, query| vec![good(30, query)]);
    assert_eq!((went.at, went.channels(), went.by), (30, vec![Channel::Stream], Some(0)));
    assert_eq!(went.learned, [(0, answered(Channel::Stream, 30))]);
    let mut rng_was_used = false;
    let random_case = Options { case_randomization: true, ..Options::default() };
    let went = run_with(random_case, stream_only(2), |sent, query| {
        rng_was_used |= query.queries[0].name().to_string() != "db.corp.example.";
        if sent.target == 0 { vec![Does::Refuse(2)] } else { vec![good(30, query)] }
    });
    assert_eq!((went.at, went.sends(), rng_was_used), (32, vec![(0, 0), (2, 1)], false));
    assert_eq!(went.learned_of(0), [Observation::Unreachable], "a stream is all that it has");
}

#[test]
fn a_stream_that_never_replies_is_followed_by_the_next_target() {
    let went = run(stream_only(2), |sent, query| if sent.target == 1 { vec![good(30, query)] } else { vec![] });
    assert_eq!((went.at, went.sends()), (830, vec![(0, 0), (800, 1)]));
    assert_eq!(went.learned[0], (0, Observation::SilentSince(Millis(START))));
    // Alone it is asked anew: the connection may be dead, and another one not.
    let went = run(stream_only(1), |sent, query| if sent.at > 0 { vec![good(30, query)] } else { vec![] });
    assert_eq!((went.at, went.sends()), (830, vec![(0, 0), (800, 0)]));
    let went = run(stream_only(1), |_, _| vec![]);
    assert_eq!((went.at, went.sends()), (3800, vec![(0, 0), (800, 0), (2400, 0)]));
    assert_eq!(went.result, Err(ExchangeError::TimedOut));
}

#[test]
fn a_stream_that_is_closed_before_its_reply_is_followed_by_the_next_target() {
    let went = run(stream_only(2), |_, _| vec![Does::Refuse(100)]);
    assert_eq!(went.sends(), [(0, 0), (100, 1), (800, 0), (900, 1)]);
    assert_eq!((went.at, went.result), (1000, Err(ExchangeError::Unreachable)));
}

#[test]
fn a_wrong_reply_on_a_stream_is_followed_by_the_next_target() {
    let went = run(stream_only(2), |sent, query| match sent.target {
        0 => vec![Does::Reply(1, changed(query, ResponseCode::NoError, |reply| reply.metadata.id ^= 1))],
        _ => vec![good(5, query)],
    });
    assert_eq!((went.at, went.sends(), went.by), (6, vec![(0, 0), (1, 1)], Some(1)));
    let went = run(stream_only(1), |_, _| vec![Does::Reply(1, vec![1; 7])]);
    assert_eq!(went.result, Err(ExchangeError::BadReply));
}

#[test]
fn a_large_reply_over_a_stream_is_passed_on_whole() {
    let went = run(stream_only(1), |_, query| {
        let octets = changed(query, ResponseCode::NoError, |reply| {
            reply.answers.clear();
            for n in 0..200 {
                let owner = query.queries[0].name().clone();
                reply.add_answer(Record::from_rdata(owner, 60, RData::TXT(TXT::new(vec![format!("{n:0200}")]))));
            }
        });
        assert!(octets.len() > 32_000);
        vec![Does::Reply(1, octets)]
    });
    assert_eq!((went.at, went.result.map(|octets| octets.len() > 32_000)), (1, Ok(true)));
}
