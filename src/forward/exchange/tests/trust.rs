//! What is not the reply to our query: ignored, doubted, or asked again where it cannot be forged.

use std::collections::HashSet;

use hickory_proto::rr::{DNSClass, RecordType};

use super::*;

#[test]
fn what_does_not_answer_the_query_is_ignored_and_the_wait_goes_on() {
    type Damage = fn(&mut Judge);
    let name = |text: &str| Name::from_ascii(text).expect("well-formed");
    let wrong: [(&str, Damage); 7] = [
        ("id", |reply| reply.metadata.id ^= 1),
        ("QR", |reply| reply.metadata.message_type = MessageType::Query),
        ("opcode", |reply| reply.metadata.op_code = OpCode::Status),
        ("name", |reply| {
            reply.queries[0].set_name(Name::from_ascii("dc.corp.example.").expect("well-formed"));
        }),
        ("longer name", |reply| {
            reply.queries[0].set_name(Name::from_ascii("db.corp.example.x.").expect("well-formed"));
        }),
        ("type", |reply| {
            reply.queries[0].set_query_type(RecordType::AAAA);
        }),
        ("class", |reply| {
            reply.queries[0].set_query_class(DNSClass::CH);
        }),
    ];
    assert_ne!(name("db.corp.example."), name("dc.corp.example."));
    for (what, damage) in wrong {
        let went = run(candidates(2), |_, query| {
            let forged = changed(query, ResponseCode::NXDomain, damage);
            vec![Does::Reply(1, forged), Does::Reply(2, vec![0; 5]), good(30, query)]
        });
        assert_eq!((went.at, went.sends(), went.rcode()), (30, vec![(0, 0)], Rcode::NOERROR), "wrong {what}");
        assert_eq!(went.counted, [Event::Mismatched; 2], "wrong {what}");
        assert_eq!(went.learned, [(0, answered(Channel::Datagram, 30))], "no reply, nothing learned: wrong {what}");
    }
}

#[test]
fn the_name_may_come_back_in_another_case() {
    let went = run(candidates(1), |_, query| {
        let mut octets = octets(query, ResponseCode::NoError);
        octets[13].make_ascii_uppercase();
        vec![Does::Reply(1, octets)]
    });
    assert_eq!((went.at, went.rcode()), (1, Rcode::NOERROR));
}

/// Replies to other questions than this query's, under its id.
fn forged(query: &Judge, count: usize) -> impl Iterator<Item = Does> + use<> {
    let octets = changed(query, ResponseCode::NoError, |reply| {
        reply.queries[0].set_query_type(RecordType::AAAA);
    });
    std::iter::repeat_with(move || Does::Reply(1, octets.clone())).take(count)
}

#[test]
fn near_misses_go_to_a_stream_after_the_third() {
    let went = run(candidates(1), |_, query| forged(query, 2).chain([good(2, query)]).collect());
    assert_eq!((went.at, went.sent.len(), went.rcode()), (2, 1, Rcode::NOERROR), "two are ignored");

    let went = run(candidates(1), |sent, query| match sent.channel {
        Channel::Stream => vec![good(5, query)],
        Channel::Datagram => forged(query, 100).chain([good(2, query)]).collect(),
    });
    assert_eq!(went.counted, [Event::Mismatched, Event::Mismatched, Event::Mismatched, Event::Suspicious]);
    assert_eq!((went.at, went.channels(), went.rcode()), (6, vec![Channel::Datagram, Channel::Stream], Rcode::NOERROR));

    // It has no stream: the next target.
    let went = run(candidates(2), |sent, query| match (sent.target, sent.channel) {
        (0, Channel::Datagram) => forged(query, 3).collect(),
        (0, Channel::Stream) => vec![Does::Refuse(1)],
        _ => vec![good(5, query)],
    });
    assert_eq!((went.at, went.by), (7, Some(1)));
    assert_eq!(went.learned_of(0), [], "a target of UDP is not away because it has no TCP");
}

#[test]
fn guessing_at_a_socket_moves_its_questions_to_a_stream() {
    let went = run(candidates(2), |sent, query| match sent.channel {
        Channel::Datagram => vec![Does::Alarm(3), good(4, query)],
        Channel::Stream => vec![good(10, query)],
    });
    assert_eq!((went.at, went.channels()), (13, vec![Channel::Datagram, Channel::Stream]));
    assert_eq!(went.counted, [Event::Suspicious]);
    // An alarm for what is closed, or is a stream, changes nothing.
    let went = run(candidates(1), |sent, query| match sent.channel {
        Channel::Datagram => vec![truncated(1, query)],
        Channel::Stream => vec![Does::Alarm(1), good(10, query)],
    });
    assert_eq!((went.at, went.sent.len(), went.counted), (11, 2, vec![Event::Truncated]));
}

#[test]
fn a_broken_reply_makes_us_ask_on_but_not_stop_listening() {
    let broken = |query: &Judge| {
        let mut octets = octets(query, ResponseCode::NoError);
        octets.pop();
        Does::Reply(1, octets)
    };
    let went = run(candidates(2), |sent, query| match sent.target {
        0 => vec![broken(query), broken(query), good(300, query)],
        _ => vec![],
    });
    assert_eq!((went.at, went.sends(), went.rcode()), (300, vec![(0, 0), (1, 1)], Rcode::NOERROR));
    assert_eq!(went.counted, [Event::Malformed, Event::Malformed, Event::Silent], "the other one was silent");
    assert_eq!(went.learned_of(0), [answered(Channel::Datagram, 300)]);

    let went = run(candidates(2), |_, query| vec![broken(query)]);
    assert_eq!((went.at, went.result), (3800, Err(ExchangeError::BadReply)));
}

#[test]
fn garbage_ends_nothing() {
    let went = run(candidates(1), |_, query| {
        let [high, low] = query.metadata.id.to_be_bytes();
        let mut garbage = vec![0xff; 64];
        garbage[..4].copy_from_slice(&[high, low, 0x81, 0x80]);
        vec![Does::Reply(1, vec![]), Does::Reply(1, vec![0xff; 600]), Does::Reply(2, garbage), good(3, query)]
    });
    assert_eq!((went.at, went.sends(), went.rcode()), (3, vec![(0, 0)], Rcode::NOERROR));
    assert_eq!(went.counted, [Event::Mismatched, Event::Mismatched, Event::Malformed]);
}

// ---------------------------------------------------------------------------------------------------------------------
// Random case

const RANDOM_CASE: Options = Options { case_randomization: true, cookies: true, udp_payload_octets: 1232 };

/// A good reply whose question is in the case of the query, or another.
fn reply_in_case(delay: u64, query: &Judge, case: fn(&mut [u8])) -> Does {
    let mut octets = octets(query, ResponseCode::NoError);
    case(&mut octets[12..12 + QNAME.len()]);
    Does::Reply(delay, octets)
}

#[test]
fn letters_are_in_random_case_where_that_is_wanted() {
    let mut names = HashSet::new();
    for seed in 0..200 {
        let mut exchange = Exchange::new(&candidates(1), Millis(0), RANDOM_CASE);
        let mut rng = StdRng::seed_from_u64(seed);
        exchange.step(&ask(), Input::Start, Millis(0), &mut rng, &mut Vec::new());
        let mut octets = [0; QUERY_OCTETS_MAX];
        exchange.write_query(&ask(), AttemptId(0), &mut octets);
        let name = octets[12..12 + QNAME.len()].to_vec();
        assert_eq!(name.to_ascii_lowercase(), QNAME);
        names.insert(name);
    }
    assert!(names.len() > 150, "{} of 200: 13 letters have 8192 cases", names.len());
}

#[test]
fn a_reply_must_have_the_case_of_the_query() {
    let went = run_with(RANDOM_CASE, candidates(1), |_, query| vec![reply_in_case(1, query, |_| ())]);
    let Observation::Answered(answer) = went.learned[0].1 else { panic!("{:?}", went.learned) };
    assert!(went.at == 1 && answer.kept_case);

    // A forger does not know it. The stream is asked, and whoever is first answers: the stream, or the true reply.
    for (true_reply, by) in [(3, Channel::Datagram), (9, Channel::Stream)] {
        let went = run_with(RANDOM_CASE, candidates(1), |sent, query| match sent.channel {
            Channel::Datagram => {
                vec![
                    reply_in_case(1, query, |name| name[1] ^= 0x20),
                    reply_in_case(1, query, |name| name[1] ^= 0x20),
                    reply_in_case(true_reply, query, |_| ()),
                ]
            }
            Channel::Stream => vec![good(4, query)],
        });
        assert_eq!((went.at, went.channels()), (true_reply.min(5), vec![Channel::Datagram, Channel::Stream]));
        let changed = Observation::ChangedCase;
        let Observation::Answered(answer) = went.learned[2].1 else { panic!("{:?}", went.learned) };
        assert_eq!((went.learned_of(0)[..2].to_vec(), answer.channel), (vec![changed; 2], by));
        assert_eq!(went.counted, [Event::Mismatched, Event::Suspicious, Event::Mismatched]);
    }
}

#[test]
fn a_target_that_lower_cases_is_asked_over_a_stream() {
    let upstream = |sent: &Sent, query: &Judge| {
        if sent.channel == Channel::Stream {
            assert_eq!(query.queries[0].name().to_string(), "db.corp.example.", "a stream needs no random case");
        }
        vec![reply_in_case(2, query, |name| name.make_ascii_lowercase())]
    };
    let went = run_with(RANDOM_CASE, candidates(1), upstream);
    assert_eq!((went.at, went.channels()), (4, vec![Channel::Datagram, Channel::Stream]));
    // What its state then says: not over UDP at all.
    let mut known = candidates(1);
    known[0].channel = Channel::Stream;
    let went = run_with(RANDOM_CASE, known, upstream);
    assert_eq!((went.at, went.channels()), (2, vec![Channel::Stream]));
}
