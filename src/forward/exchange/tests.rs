//! A scripted upstream and a hand clock. hickory-proto reads every query that we send, and writes the replies.

use hickory_proto::op::{Message as Judge, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::dns::message::Message;
use crate::dns::{Class, Rcode, Rtype};
use crate::forward::ContextId;

const QNAME: &[u8] = b"\x02db\x04corp\x07example\x00";

/// What the scripted upstream does with one query.
enum Does {
    /// Sends this back after so many milliseconds.
    Reply(u64, Vec<u8>),
    /// Lets the socket fail after so many milliseconds.
    Refuse(u64),
}

/// One query as the upstream saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    at: u64,
    target: usize,
    transport: Transport,
    with_edns: bool,
}

/// How an exchange went.
struct Went {
    at: u64,
    result: Result<Vec<u8>, ExchangeError>,
    sent: Vec<Sent>,
    learned: Vec<(usize, Observation)>,
    counted: Vec<Event>,
}

impl Went {
    /// When each query was sent, and to which target.
    fn sends(&self) -> Vec<(u64, usize)> {
        self.sent.iter().map(|sent| (sent.at, sent.target)).collect()
    }

    /// The rcode of the reply.
    fn rcode(&self) -> Rcode {
        Message::parse(self.result.as_ref().expect("there is a reply")).expect("it was checked").rcode()
    }
}

fn ask() -> Ask<'static> {
    Ask {
        context: ContextId(0),
        qname: QNAME,
        qtype: Rtype::A,
        class: Class::IN,
        dnssec_ok: true,
        checking_disabled: true,
    }
}

fn target(index: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, index as u8], 53))
}

fn candidates(count: usize) -> Vec<Candidate> {
    let candidate = |index| Candidate { target: target(index), patience_millis: 400, turn: Turn::InOrder };
    (0..count).map(candidate).collect()
}

/// Runs an exchange to its end; `upstream` says what each query meets.
fn run(candidates: Vec<Candidate>, mut upstream: impl FnMut(&Sent, &Judge) -> Vec<Does>) -> Went {
    let start = 1_000_000;
    let mut exchange = Exchange::new(&ask(), candidates, Millis(start));
    let mut rng = StdRng::seed_from_u64(7);
    let (mut sent, mut learned, mut counted, mut out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // Which of what was sent was the first from each socket.
    let mut sockets: Vec<usize> = Vec::new();
    // What is on its way: when it comes, whose it is, and what it is.
    let mut coming: Vec<(u64, AttemptId, Does)> = Vec::new();
    let mut now = start;
    exchange.step(Input::Start, Millis(now), &mut rng, &mut out);
    loop {
        for output in out.drain(..) {
            match output {
                Output::Send { attempt, target, transport, octets } => {
                    let SocketAddr::V4(v4) = target else { unreachable!("targets are IPv4") };
                    let judge = Judge::from_vec(&octets).expect("the judge reads our query");
                    check_query(&judge);
                    let with_edns = judge.edns.is_some();
                    assert_eq!(attempt.0, sockets.len());
                    sockets.push(sent.len());
                    let target = usize::from(v4.ip().octets()[3]);
                    sent.push(Sent { at: now - start, target, transport, with_edns });
                    for does in upstream(sent.last().expect("just pushed"), &judge) {
                        let (Does::Reply(delay, _) | Does::Refuse(delay)) = does;
                        coming.push((now + delay, attempt, does));
                    }
                }
                Output::Resend { attempt, octets } => {
                    let first: &Sent = &sent[sockets[attempt.0]];
                    let again = Sent { at: now - start, ..first.clone() };
                    let judge = Judge::from_vec(&octets).expect("the judge reads our query");
                    check_query(&judge);
                    for does in upstream(&again, &judge) {
                        let (Does::Reply(delay, _) | Does::Refuse(delay)) = does;
                        coming.push((now + delay, attempt, does));
                    }
                    sent.push(again);
                }
                Output::Close(attempt) => coming.retain(|(_, of, _)| *of != attempt),
                Output::Learned(SocketAddr::V4(v4), observation) => {
                    learned.push((usize::from(v4.ip().octets()[3]), observation));
                }
                Output::Learned(..) => unreachable!("targets are IPv4"),
                Output::Counted(event) => counted.push(event),
                Output::Done(result) => return Went { at: now - start, result, sent, learned, counted },
            }
        }
        let next = coming.iter().enumerate().min_by_key(|(_, (at, ..))| *at).map(|(index, (at, ..))| (index, *at));
        match next {
            Some((index, at)) if at <= exchange.wake_at().0 => {
                let (_, attempt, does) = coming.remove(index);
                now = at;
                let input = match &does {
                    Does::Reply(_, octets) => Input::Message(attempt, octets),
                    Does::Refuse(_) => Input::Unreachable(attempt),
                };
                exchange.step(input, Millis(now), &mut rng, &mut out);
            }
            _ => {
                assert!(exchange.wake_at().0 >= now, "time goes on");
                now = exchange.wake_at().0;
                exchange.step(Input::Tick, Millis(now), &mut rng, &mut out);
            }
        }
        assert!(now <= start + EXCHANGE_MILLIS_MAX);
    }
}

/// What every query of ours must be.
fn check_query(query: &Judge) {
    let header = &query.metadata;
    assert_eq!((header.message_type, header.op_code), (MessageType::Query, OpCode::Query));
    assert!(header.recursion_desired && header.checking_disabled && !header.authentic_data);
    assert_eq!(query.queries.len(), 1);
    assert_eq!(query.queries[0].name().to_string(), "db.corp.example.");
    if let Some(edns) = &query.edns {
        assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (1232, 0, true));
        assert!(edns.options().as_ref().is_empty(), "no client subnet, no cookie");
    }
}

/// The reply to a query, with this rcode; an A record if it is NOERROR.
fn reply(query: &Judge, rcode: ResponseCode) -> Judge {
    let mut reply = Judge::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.response_code = rcode;
    reply.add_query(query.queries[0].clone());
    if rcode == ResponseCode::NoError {
        let owner = query.queries[0].name().clone();
        reply.add_answer(Record::from_rdata(owner, 60, RData::A(A::new(10, 0, 0, 1))));
    }
    reply
}

/// The octets of such a reply.
fn octets(query: &Judge, rcode: ResponseCode) -> Vec<u8> {
    reply(query, rcode).to_vec().expect("the judge writes")
}

fn good(delay: u64, query: &Judge) -> Does {
    Does::Reply(delay, octets(query, ResponseCode::NoError))
}

#[test]
fn a_good_reply_ends_it() {
    for rcode in [ResponseCode::NoError, ResponseCode::NXDomain, ResponseCode::YXDomain] {
        let mut ids = Vec::new();
        let went = run(candidates(2), |_, query| {
            ids.push(query.metadata.id);
            vec![Does::Reply(30, octets(query, rcode))]
        });
        assert_eq!((went.at, went.rcode()), (30, Rcode(u16::from(rcode))));
        assert_eq!(went.sent, [Sent { at: 0, target: 0, transport: Transport::Udp, with_edns: true }]);
        assert_eq!(went.learned, [(0, Observation::Answered(30))]);
    }
}

#[test]
fn a_silent_target_is_followed_by_the_next_one_after_400_ms() {
    let went = run(candidates(3), |sent, query| if sent.target == 1 { vec![good(20, query)] } else { vec![] });
    assert_eq!((went.at, went.sends()), (420, vec![(0, 0), (400, 1)]));
    assert_eq!(went.learned, [(0, Observation::SilentSince(Millis(1_000_000))), (1, Observation::Answered(20))]);
}

#[test]
fn a_target_whose_round_trip_time_is_known_gets_less_time() {
    let mut candidates = candidates(2);
    candidates[0].patience_millis = 50;
    let went = run(candidates, |sent, query| if sent.target == 1 { vec![good(20, query)] } else { vec![] });
    assert_eq!((went.at, went.sends()), (70, vec![(0, 0), (50, 1)]));
}

#[test]
fn a_late_reply_of_an_earlier_target_counts() {
    let went = run(candidates(2), |sent, query| if sent.target == 0 { vec![good(700, query)] } else { vec![] });
    assert_eq!((went.at, went.sends()), (700, vec![(0, 0), (400, 1)]));
    assert_eq!(went.learned.last(), Some(&(0, Observation::Answered(700))));
}

#[test]
fn a_slow_upstream_alone_is_asked_more_and_more_slowly() {
    let mut ids = std::collections::HashSet::new();
    let went = run(candidates(1), |sent, query| {
        ids.insert(query.metadata.id);
        if sent.at == 0 { vec![good(3900, query)] } else { vec![] }
    });
    assert_eq!((went.at, went.sends()), (3900, vec![(0, 0), (400, 0), (1200, 0), (2800, 0)]));
    assert_eq!(ids.len(), 1, "one socket and one id: no more chances for a forger");
}

#[test]
fn all_silent_is_an_error_after_4_seconds() {
    let went = run(candidates(2), |_, _| vec![]);
    assert_eq!((went.at, went.result.clone()), (4000, Err(ExchangeError::TimedOut)));
    assert_eq!(went.sends(), [(0, 0), (400, 1), (800, 0), (1600, 1), (2400, 0)]);
    assert_eq!(ExchangeError::TimedOut.extended_error().code.0, 22);
}

#[test]
fn a_target_that_refuses_is_followed_at_once() {
    let went = run(candidates(2), |sent, query| match sent.target {
        0 => vec![Does::Refuse(1)],
        _ => vec![good(5, query)],
    });
    assert_eq!((went.at, went.sends()), (6, vec![(0, 0), (1, 1)]));
    assert_eq!(went.learned[0], (0, Observation::Unreachable));
}

#[test]
fn when_all_refuse_twice_it_is_over() {
    let went = run(candidates(2), |_, _| vec![Does::Refuse(1)]);
    assert_eq!((went.at, went.result.clone()), (402, Err(ExchangeError::Unreachable)));
    assert_eq!(went.sends(), [(0, 0), (1, 1), (400, 0), (401, 1)]);
    assert_eq!(ExchangeError::Unreachable.extended_error().code.0, 23);
}

#[test]
fn after_a_failing_rcode_the_next_target_is_asked_at_once() {
    for rcode in [ResponseCode::ServFail, ResponseCode::Refused] {
        let went = run(candidates(2), |sent, query| match sent.target {
            0 => vec![Does::Reply(1, octets(query, rcode))],
            _ => vec![good(5, query)],
        });
        assert_eq!((went.at, went.sends(), went.rcode()), (6, vec![(0, 0), (1, 1)], Rcode::NOERROR));
        assert_eq!(went.counted, [Event::FailingRcode]);
    }
}

#[test]
fn a_failing_rcode_is_passed_on_when_there_is_nothing_better() {
    let went = run(candidates(3), |_, query| vec![Does::Reply(1, octets(query, ResponseCode::Refused))]);
    assert_eq!((went.at, went.sends(), went.rcode()), (3, vec![(0, 0), (1, 1), (2, 2)], Rcode::REFUSED));

    // The other target is silent, and may just be slow.
    let servfail_and_silence = |sent: &Sent, query: &Judge| match sent.target {
        0 => vec![Does::Reply(1, octets(query, ResponseCode::ServFail))],
        _ => vec![],
    };
    let went = run(candidates(2), servfail_and_silence);
    assert_eq!(
        (went.at, went.sends(), went.rcode()),
        (4000, vec![(0, 0), (1, 1), (401, 1), (1201, 1), (2801, 1)], Rcode::SERVFAIL)
    );

    // It has been silent before: it gets one chance.
    let mut candidates = candidates(2);
    candidates[1].turn = Turn::Suspect;
    let went = run(candidates, servfail_and_silence);
    assert_eq!((went.at, went.sends(), went.rcode()), (401, vec![(0, 0), (1, 1)], Rcode::SERVFAIL));
}

#[test]
fn two_truncated_replies_are_one_question_over_tcp() {
    let went = run(candidates(1), |sent, query| match sent.transport {
        Transport::Udp => {
            let mut octets = octets(query, ResponseCode::NoError);
            octets[2] |= 2;
            vec![Does::Reply(450 - sent.at / 10, octets)]
        }
        Transport::Tcp => vec![good(600, query)],
    });
    let over = |transport| went.sent.iter().filter(|sent| sent.transport == transport).count();
    assert_eq!((went.at, over(Transport::Udp), over(Transport::Tcp)), (1050, 2, 1));

    let went = run(candidates(1), |sent, query| match sent.with_edns {
        true => vec![Does::Reply(450, octets(query, ResponseCode::FormErr))],
        false => vec![good(500, query)],
    });
    assert_eq!((went.at, went.sent.iter().filter(|sent| !sent.with_edns).count()), (950, 1));
}

#[test]
fn what_does_not_answer_the_query_is_ignored_and_the_wait_goes_on() {
    type Damage = fn(&mut Judge);
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
            reply.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
        }),
    ];
    for (what, damage) in wrong {
        let went = run(candidates(2), |_, query| {
            let mut forged = reply(query, ResponseCode::NXDomain);
            damage(&mut forged);
            vec![
                Does::Reply(1, forged.to_vec().expect("the judge writes")),
                Does::Reply(2, vec![0; 5]),
                good(30, query),
            ]
        });
        assert_eq!((went.at, went.sends(), went.rcode()), (30, vec![(0, 0)], Rcode::NOERROR), "wrong {what}");
        assert_eq!(went.counted, [Event::Mismatched; 2], "wrong {what}");
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

#[test]
fn guessing_is_ended_by_tcp() {
    let went = run(candidates(1), |sent, query| match sent.transport {
        Transport::Tcp => vec![good(5, query)],
        Transport::Udp => (0..100)
            .map(|at| {
                let mut forged = reply(query, ResponseCode::NoError);
                forged.metadata.id = forged.metadata.id.wrapping_add(at + 1);
                Does::Reply(1, forged.to_vec().expect("the judge writes"))
            })
            .chain([good(2, query)])
            .collect(),
    });
    assert_eq!(went.counted, [Event::Mismatched; MISMATCHES_MAX as usize]);
    assert_eq!((went.at, went.sent.len(), went.rcode()), (6, 2, Rcode::NOERROR));
}

#[test]
fn a_truncated_reply_is_asked_again_over_tcp() {
    let truncated = |query: &Judge| {
        let mut reply = reply(query, ResponseCode::NoError);
        reply.metadata.truncation = true;
        Does::Reply(1, reply.to_vec().expect("the judge writes"))
    };
    let went = run(candidates(2), |sent, query| match sent.transport {
        Transport::Udp => vec![truncated(query)],
        Transport::Tcp => vec![good(10, query)],
    });
    assert_eq!((went.at, went.sends(), went.rcode()), (11, vec![(0, 0), (1, 0)], Rcode::NOERROR));
    assert_eq!(went.sent[1].transport, Transport::Tcp);

    // TCP does not work there: the next target, over UDP first.
    let went = run(candidates(2), |sent, query| match (sent.target, sent.transport) {
        (0, Transport::Udp) => vec![truncated(query)],
        (0, Transport::Tcp) => vec![Does::Refuse(1)],
        (_, Transport::Udp) => vec![good(10, query)],
        _ => vec![],
    });
    assert_eq!((went.at, went.sends()), (12, vec![(0, 0), (1, 0), (2, 1)]));

    // TCP works nowhere: the truncated reply is not given.
    let went = run(candidates(1), |sent, query| match sent.transport {
        Transport::Udp => vec![truncated(query)],
        Transport::Tcp => vec![Does::Refuse(1)],
    });
    assert_eq!(went.result, Err(ExchangeError::Unreachable));
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
                .map(|(at, with_edns)| Sent { at, target: 0, transport: Transport::Udp, with_edns })
                .into();
            assert_eq!((went.at, went.sent.clone(), went.rcode()), (2, expected, Rcode::NOERROR));
        }
        // It does not help: the next target, and nobody better: that rcode.
        let went = run(candidates(2), |_, query| vec![Does::Reply(1, octets(query, rcode))]);
        assert_eq!(went.sends(), [(0, 0), (1, 0), (2, 1), (3, 1)]);
        assert_eq!(went.rcode(), Rcode(u16::from(rcode)));
    }
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
    assert_eq!(went.counted, [Event::Malformed; 2]);

    let went = run(candidates(2), |_, query| vec![broken(query)]);
    assert_eq!((went.at, went.result), (4000, Err(ExchangeError::BadReply)));
}

#[test]
fn duplicates_change_nothing() {
    let went = run(candidates(3), |sent, query| match sent.target {
        0 => {
            let servfail = octets(query, ResponseCode::ServFail);
            vec![Does::Reply(1, servfail.clone()), Does::Reply(2, servfail.clone()), Does::Reply(3, servfail)]
        }
        _ => vec![good(100, query), good(100, query)],
    });
    assert_eq!((went.at, went.sends()), (101, vec![(0, 0), (1, 1)]));

    // After the end nothing happens any more.
    let (mut exchange, mut out) = (Exchange::new(&ask(), candidates(1), Millis(0)), Vec::new());
    let mut rng = StdRng::seed_from_u64(7);
    exchange.step(Input::Start, Millis(0), &mut rng, &mut out);
    exchange.step(Input::Tick, Millis(5000), &mut rng, &mut out);
    assert!(matches!(out.last(), Some(Output::Done(Err(ExchangeError::TimedOut)))));
    let count = out.len();
    exchange.step(Input::Unreachable(AttemptId(0)), Millis(5001), &mut rng, &mut out);
    exchange.step(Input::Tick, Millis(9000), &mut rng, &mut out);
    assert_eq!(out.len(), count);
}

#[test]
fn a_probe_goes_beside_the_first_query() {
    let mut candidates = candidates(2);
    candidates[1].turn = Turn::Probe;
    let went = run(candidates, |sent, query| vec![good(if sent.target == 0 { 10 } else { 5 }, query)]);
    assert_eq!((went.at, went.sends()), (5, vec![(0, 1), (0, 0)]));
}

#[test]
fn ids_do_not_repeat_in_a_pattern() {
    let mut ids = std::collections::HashSet::new();
    for seed in 0..1000 {
        let mut out = Vec::new();
        Exchange::new(&ask(), candidates(1), Millis(0)).step(
            Input::Start,
            Millis(0),
            &mut StdRng::seed_from_u64(seed),
            &mut out,
        );
        let [Output::Send { octets, .. }] = out.as_slice() else { panic!("one query: {out:?}") };
        ids.insert([octets[0], octets[1]]);
    }
    assert!(ids.len() > 950, "{} of 1000", ids.len());
}

#[test]
fn a_query_without_wishes() {
    let ask = Ask { dnssec_ok: false, checking_disabled: false, ..ask() };
    let octets = QueryTemplate::new(&ask).write([1, 2], true);
    let query = Judge::from_vec(&octets).expect("the judge reads it");
    assert!(!query.metadata.checking_disabled && !query.edns.expect("has EDNS").flags().dnssec_ok);
    let name = Name::from_ascii("db.corp.example.").expect("well-formed");
    assert_eq!(query.queries, [Query::query(name, RecordType::A)]);
}

proptest! {
    /// Whatever comes, an exchange ends in time, and sends and listens within its bounds.
    #[test]
    fn bounds(
        targets in 1usize..7,
        patience in 50u64..=400,
        script in prop::collection::vec((0u8..9, 0u64..1500), 1..40),
    ) {
        let mut candidates = candidates(targets);
        for candidate in &mut candidates {
            candidate.patience_millis = patience;
        }
        let mut next = 0;
        let went = run(candidates, |_, query| {
            let (kind, delay) = script[next % script.len()];
            next += 1;
            let mut reply = octets(query, [ResponseCode::ServFail, ResponseCode::FormErr, ResponseCode::Refused][usize::from(kind) % 3]);
            match kind {
                0..=2 => vec![Does::Reply(delay, reply)],
                3 => { reply[2] |= 2; reply[3] &= 0xf0; vec![Does::Reply(delay, reply)] }
                4 => { reply[0] ^= 1; vec![Does::Reply(delay, reply)] }
                5 => { reply[7] = 1; vec![Does::Reply(delay, reply.clone()), Does::Reply(delay, reply)] }
                6 => vec![Does::Refuse(delay)],
                _ => vec![],
            }
        });
        prop_assert!(went.sent.len() <= SENDINGS_MAX + 2 * targets && went.at <= EXCHANGE_MILLIS_MAX);
    }
}
