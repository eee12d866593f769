//! The query that is sent, and targets that do not know EDNS.

use hickory_proto::op::Query;
use hickory_proto::rr::RecordType;

use super::*;

#[test]
fn a_query_without_wishes() {
    let ask = Ask { dnssec_ok: false, checking_disabled: false, ..ask() };
    let options = Options { udp_payload_octets: 1400, ..Options::default() };
    let mut exchange = Exchange::new(&candidates(1), Millis(0), options);
    exchange.step(&ask, Input::Start, Millis(0), &mut StdRng::seed_from_u64(7), &mut Vec::new());
    exchange.set_id(AttemptId(0), 0x1234);
    let mut octets = [0; QUERY_OCTETS_MAX];
    let count = exchange.write_query(&ask, AttemptId(0), &mut octets);
    let query = Judge::from_vec(&octets[..count]).expect("the judge reads it");
    assert_eq!(query.metadata.id, 0x1234);
    let edns = query.edns.expect("has EDNS");
    assert!(!query.metadata.checking_disabled && !edns.flags().dnssec_ok && edns.max_payload() == 1400);
    let name = Name::from_ascii("db.corp.example.").expect("well-formed");
    assert_eq!(query.queries, [Query::query(name, RecordType::A)]);
    assert_eq!(exchange.write_query(&ask, AttemptId(1), &mut octets), 0, "there is no such attempt");
}

#[test]
fn the_longest_query_fits() {
    let mut name: Vec<u8> = [[63].as_slice(), &[b'a'; 63]].concat().repeat(3);
    name.extend([[61].as_slice(), &[b'a'; 61], &[0]].concat());
    let ask = Ask { qname: &name, ..ask() };
    let server = ServerCookie::new(&[7; 32]).expect("as long as may be");
    let cookie = Some(Cookie { client: ClientCookie([1; 8]), server, is_expected: true });
    let candidate = Candidate { cookie, ..candidates(1)[0] };
    let mut exchange = Exchange::new(&[candidate], Millis(0), Options::default());
    exchange.step(&ask, Input::Start, Millis(0), &mut StdRng::seed_from_u64(7), &mut Vec::new());
    let mut octets = [0; QUERY_OCTETS_MAX];
    assert_eq!(exchange.write_query(&ask, AttemptId(0), &mut octets), QUERY_OCTETS_MAX);
    let query = Judge::from_vec(&octets).expect("the judge reads it");
    assert_eq!(cookie_of(&query).expect("has a cookie").len(), 40);
}

/// A target of which it is not known whether it answers EDNS.
fn unknown() -> Vec<Candidate> {
    vec![Candidate { edns: EdnsSupport::Unknown, ..candidates(1)[0] }]
}

/// What was learned of EDNS, reply by reply.
fn learned_edns(went: &Went) -> Vec<EdnsSupport> {
    let edns = |(_, observation): &(u8, Observation)| match observation {
        Observation::Answered(answer) => Some(answer.edns),
        _ => None,
    };
    went.learned.iter().filter_map(edns).collect()
}

#[test]
fn a_target_that_may_not_know_edns_is_asked_without() {
    for rcode in [ResponseCode::FormErr, ResponseCode::NotImp] {
        for header_only in [false, true] {
            let went = run(candidates(2), |sent, query| {
                let mut octets = octets(query, rcode);
                if header_only {
                    octets.truncate(12);
                    octets[5] = 0;
                }
                if sent.with_edns { vec![Does::Reply(1, octets)] } else { vec![good(1, query)] }
            });
            let expected: Vec<_> = [(0, true), (1, false)]
                .map(|(at, with_edns)| Sent { at, target: 0, channel: Channel::Datagram, with_edns })
                .into();
            assert_eq!((went.at, went.sent.clone(), went.rcode()), (2, expected, Rcode::NOERROR));
            assert_eq!(learned_edns(&went), [EdnsSupport::Unknown, EdnsSupport::PlainOnly]);
        }
        // It does not help: the next target, and nobody better: that rcode.
        let went = run(candidates(2), |_, query| vec![failing(1, query, rcode)]);
        assert_eq!(went.sends(), [(0, 0), (1, 0), (2, 1), (3, 1)]);
        assert_eq!(went.rcode(), Rcode(u16::from(rcode)));
        assert_eq!(learned_edns(&went), [EdnsSupport::Unknown; 4]);
    }
}

#[test]
fn two_replies_that_blame_edns_are_one_query_without() {
    let went = run(patient(1, 100), |sent, query| match sent.with_edns {
        true => vec![failing(150, query, ResponseCode::FormErr)],
        false => vec![good(150, query)],
    });
    let sent: Vec<_> = went.sent.iter().map(|sent| (sent.at, sent.with_edns)).collect();
    assert_eq!((went.at, sent), (300, vec![(0, true), (100, true), (150, false)]));
}

#[test]
fn a_target_that_is_silent_to_edns_is_asked_once_without() {
    let went = run(unknown(), |sent, query| if sent.with_edns { vec![] } else { vec![good(10, query)] });
    let sent: Vec<_> = went.sent.iter().map(|sent| (sent.at, sent.with_edns)).collect();
    assert_eq!((went.at, sent), (410, vec![(0, true), (400, false)]));
    assert_eq!(learned_edns(&went), [EdnsSupport::PlainOnly]);

    // It is silent altogether: once, then with EDNS as before.
    let went = run(unknown(), |_, _| vec![]);
    let sent: Vec<_> = went.sent.iter().map(|sent| (sent.at, sent.with_edns)).collect();
    assert_eq!(sent[..4], [(0, true), (400, false), (650, true), (900, true)]);
    assert!(sent[4..].iter().all(|(_, with_edns)| *with_edns));
    assert_eq!(went.result, Err(ExchangeError::TimedOut));

    // It is only slow: the reply to the first query counts, and shows that it knows EDNS.
    let went = run(unknown(), |_, query| vec![good(600, query)]);
    assert_eq!((went.at, learned_edns(&went)), (600, vec![EdnsSupport::Answers]));

    // It has answered with EDNS before: EDNS is not why it is silent.
    let went = run(candidates(1), |_, _| vec![]);
    assert!(went.sent.iter().all(|sent| sent.with_edns));
}

#[test]
fn a_target_that_answers_only_without_edns_is_asked_so() {
    let plain = vec![Candidate { edns: EdnsSupport::PlainOnly, ..candidates(1)[0] }];
    let went = run(plain, |_, query| vec![good(10, query)]);
    assert_eq!((went.at, went.sent[0].with_edns, went.sent.len()), (10, false, 1));
}

#[test]
fn an_rcode_of_this_hop_is_never_passed_on() {
    let went = run(candidates(1), |_, query| {
        let mut octets = octets(query, ResponseCode::NXDomain);
        octets[3] &= 0xf0;
        octets[11] += 1;
        // An OPT whose extended rcode makes it BADVERS.
        octets.extend_from_slice(&[0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]);
        vec![Does::Reply(1, octets)]
    });
    assert!(went.sent.iter().skip(1).all(|sent| !sent.with_edns), "EDNS is blamed");
    assert_eq!(went.result, Err(ExchangeError::BadReply));
}

#[test]
fn a_header_alone_says_only_what_failed() {
    let header = |query: &Judge, flags: [u8; 2]| {
        let [high, low] = query.metadata.id.to_be_bytes();
        Does::Reply(1, [&[high, low, flags[0], flags[1]], [0; 8].as_slice()].concat())
    };
    // SERVFAIL: passed on, with our question.
    let went = run(candidates(1), |_, query| vec![header(query, [0x81, 0x82])]);
    assert_eq!((went.at, went.rcode()), (1, Rcode::SERVFAIL));
    let reply = Message::parse(went.result.as_ref().expect("there is a reply")).expect("it is one");
    assert!(reply.is_reply() && reply.question_matches(QNAME, Rtype::A, Class::IN));
    assert_eq!(reply.section_counts(), [0; 3]);
    // The first target's header is kept for when the others have nothing.
    let went = run(candidates(2), |_, query| vec![header(query, [0x81, 0x85])]);
    assert_eq!((went.at, went.by, went.rcode()), (2, Some(0), Rcode::REFUSED));
    // NOERROR and NXDOMAIN say nothing without a question; the true reply may still come.
    for rcode in [0x80, 0x83] {
        let went = run(candidates(1), |_, query| vec![header(query, [0x81, rcode]), good(5, query)]);
        assert_eq!((went.at, went.rcode(), went.counted), (5, Rcode::NOERROR, vec![Event::Malformed]));
    }
    // With TC it means: over TCP.
    let went = run(candidates(1), |sent, query| match sent.channel {
        Channel::Datagram => vec![header(query, [0x83, 0x80])],
        Channel::Stream => vec![good(5, query)],
    });
    assert_eq!((went.at, went.counted), (6, vec![Event::Truncated]));
}
