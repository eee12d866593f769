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
    /// Cannot be reached, as is known after so many milliseconds.
    Refuse(u64),
    /// Cannot be asked, for want of a socket or the like, as is known after so many milliseconds.
    NotSend(u64),
    /// Somebody seems to be guessing at the socket, as is noticed after so many milliseconds.
    Alarm(u64),
}

/// One query as the upstream saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    at: u64,
    target: u8,
    channel: Channel,
    with_edns: bool,
}

/// How an exchange went.
struct Went {
    at: u64,
    result: Result<Vec<u8>, ExchangeError>,
    sent: Vec<Sent>,
    learned: Vec<(u8, Observation)>,
    counted: Vec<Event>,
    /// When it was over, lingering included.
    over_at: u64,
}

impl Went {
    /// When each query was sent, and to which target.
    fn sends(&self) -> Vec<(u64, u8)> {
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

/// Targets that have answered with EDNS before, and get no cookies.
fn candidates(count: u8) -> Vec<Candidate> {
    let candidate = |index| Candidate {
        target: TargetIndex(index),
        patience_millis: 400,
        edns: EdnsSupport::Answers,
        ..Candidate::default()
    };
    (0..count).map(candidate).collect()
}

/// What an answer over this channel shows, of a target that knows EDNS.
fn answered(channel: Channel, millis: u32) -> Observation {
    Observation::Answered(Answer { channel, millis, edns: EdnsSupport::Answers, kept_case: false })
}

/// Runs an exchange to its end; `upstream` says what each query meets.
fn run(candidates: Vec<Candidate>, upstream: impl FnMut(&Sent, &Judge) -> Vec<Does>) -> Went {
    run_with(Options::default(), candidates, upstream)
}

/// The same with other options.
fn run_with(
    options: Options,
    candidates: Vec<Candidate>,
    mut upstream: impl FnMut(&Sent, &Judge) -> Vec<Does>,
) -> Went {
    let mut run = Run {
        exchange: Exchange::new(&candidates, Millis(START), options),
        now: START,
        rng: StdRng::seed_from_u64(7),
        attempts: Vec::new(),
        coming: Vec::new(),
        went: Went {
            at: 0,
            result: Err(ExchangeError::Abandoned),
            sent: vec![],
            learned: vec![],
            counted: vec![],
            over_at: 0,
        },
        has_ended: false,
    };
    run.step(Input::Start, &mut upstream);
    while !run.exchange.is_over() {
        let next = run.coming.iter().enumerate().min_by_key(|(_, (at, ..))| *at).map(|(index, (at, ..))| (index, *at));
        match next {
            Some((index, at)) if at <= run.exchange.wake_at().0 => {
                let (_, attempt, does) = run.coming.remove(index);
                run.now = at;
                let input = match &does {
                    Does::Reply(_, octets) => Input::Message(attempt, octets),
                    Does::Refuse(_) => Input::Unreachable(attempt),
                    Does::NotSend(_) => Input::Unsent(attempt),
                    Does::Alarm(_) => Input::Suspicious(attempt),
                };
                run.step(input, &mut upstream);
            }
            _ => {
                assert!(run.exchange.wake_at().0 >= run.now, "time goes on");
                run.now = run.exchange.wake_at().0;
                run.step(Input::Tick, &mut upstream);
            }
        }
    }
    assert!(run.has_ended, "an exchange has an ending");
    assert!(run.attempts.iter().all(|attempt| !attempt.is_open), "what was sent was closed");
    run.went.over_at = run.now - START;
    assert!(run.went.at <= EXCHANGE_MILLIS_MAX && run.went.over_at <= run.went.at + LINGER_MILLIS);
    run.went
}

/// When every exchange begins.
const START: u64 = 1_000_000;

/// An exchange with its scripted upstream.
struct Run {
    exchange: Exchange,
    now: u64,
    rng: StdRng,
    /// Every attempt: what was sent first for it, and whether it is open.
    attempts: Vec<SentAttempt>,
    /// What is on its way: when it comes, for whom, and what it is.
    coming: Vec<(u64, AttemptId, Does)>,
    went: Went,
    has_ended: bool,
}

/// An attempt as the driver knows it.
struct SentAttempt {
    sent: Sent,
    octets: Vec<u8>,
    is_open: bool,
}

impl Run {
    /// One step, and what comes of it.
    fn step(&mut self, input: Input<'_>, upstream: &mut impl FnMut(&Sent, &Judge) -> Vec<Does>) {
        let mut out = Outputs::new();
        let ending = self.exchange.step(&ask(), input, Millis(self.now), &mut self.rng, &mut out);
        let is_end = ending.is_some();
        if let Some(ending) = ending {
            assert!(!std::mem::replace(&mut self.has_ended, true), "it ends once");
            self.went.at = self.now - START;
            self.went.result = match ending {
                Ending::Reply { message, .. } => Ok(message.octets().to_vec()),
                Ending::Kept { octets, .. } => Ok(octets),
                Ending::Error(error) => Err(error),
            };
        }
        for output in out {
            match output {
                Output::Send(attempt) => {
                    assert!(!is_end && usize::from(attempt.id.0) == self.attempts.len());
                    self.exchange.set_id(attempt.id, rand::Rng::random(&mut self.rng));
                    let octets = self.query(attempt.id);
                    let judge = judged(&octets);
                    let at = self.now - START;
                    let sent = Sent {
                        at,
                        target: attempt.target.0,
                        channel: attempt.channel,
                        with_edns: judge.edns.is_some(),
                    };
                    self.attempts.push(SentAttempt { sent: sent.clone(), octets, is_open: true });
                    self.meet(attempt.id, sent, &judge, upstream);
                }
                Output::Resend(attempt) => {
                    let octets = self.query(attempt.id);
                    let first = &self.attempts[usize::from(attempt.id.0)];
                    assert!(!is_end && first.is_open && first.octets == octets, "the same octets again");
                    let sent = Sent { at: self.now - START, ..first.sent.clone() };
                    self.meet(attempt.id, sent, &judged(&octets), upstream);
                }
                Output::Close(attempt) => {
                    let known = &mut self.attempts[usize::from(attempt.id.0)];
                    assert!(std::mem::replace(&mut known.is_open, false), "closed once");
                    self.coming.retain(|(_, of, _)| *of != attempt.id);
                }
                Output::Learned(target, observation) => self.went.learned.push((target.0, observation)),
                Output::Counted(event) => self.went.counted.push(event),
            }
        }
        let open = self.attempts.iter().filter(|attempt| attempt.is_open).count();
        assert!(open <= ATTEMPTS_OPEN_MAX && open == self.exchange.open_attempts().count());
        assert!(self.went.sent.len() <= ATTEMPTS_MAX);
    }

    /// The query of an attempt.
    fn query(&self, attempt: AttemptId) -> Vec<u8> {
        let mut octets = [0; QUERY_OCTETS_MAX];
        let count = self.exchange.write_query(&ask(), attempt, &mut octets);
        octets[..count].to_vec()
    }

    /// The upstream gets a query.
    fn meet(
        &mut self,
        attempt: AttemptId,
        sent: Sent,
        query: &Judge,
        upstream: &mut impl FnMut(&Sent, &Judge) -> Vec<Does>,
    ) {
        for does in upstream(&sent, query) {
            let (Does::Reply(delay, _) | Does::Refuse(delay) | Does::NotSend(delay) | Does::Alarm(delay)) = does;
            self.coming.push((self.now + delay, attempt, does));
        }
        self.went.sent.push(sent);
    }
}

/// A query of ours, read by the judge.
fn judged(octets: &[u8]) -> Judge {
    let judge = Judge::from_vec(octets).expect("the judge reads our query");
    check_query(&judge);
    judge
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
        assert_eq!(went.sent, [Sent { at: 0, target: 0, channel: Channel::Datagram, with_edns: true }]);
        assert_eq!(went.learned, [(0, answered(Channel::Datagram, 30))]);
    }
}

#[test]
fn a_silent_target_is_followed_by_the_next_one_after_400_ms() {
    let went = run(candidates(3), |sent, query| if sent.target == 1 { vec![good(20, query)] } else { vec![] });
    assert_eq!((went.at, went.sends()), (420, vec![(0, 0), (400, 1)]));
    assert_eq!(went.learned, [(0, Observation::SilentSince(Millis(1_000_000))), (1, answered(Channel::Datagram, 20))]);
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
    assert_eq!(went.learned[1], (0, answered(Channel::Datagram, 700)));
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
    let went = run(candidates(1), |sent, query| match sent.channel {
        Channel::Datagram => {
            let mut octets = octets(query, ResponseCode::NoError);
            octets[2] |= 2;
            vec![Does::Reply(450 - sent.at / 10, octets)]
        }
        Channel::Stream => vec![good(600, query)],
    });
    let over = |channel| went.sent.iter().filter(|sent| sent.channel == channel).count();
    assert_eq!((went.at, over(Channel::Datagram), over(Channel::Stream)), (1050, 2, 1));

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
    let went = run(candidates(1), |sent, query| match sent.channel {
        Channel::Stream => vec![good(5, query)],
        Channel::Datagram => (0..100)
            .map(|at| {
                let mut forged = reply(query, ResponseCode::NoError);
                forged.metadata.id = forged.metadata.id.wrapping_add(at + 1);
                Does::Reply(1, forged.to_vec().expect("the judge writes"))
            })
            .chain([good(2, query)])
            .collect(),
    });
    assert_eq!(went.counted, [Event::Mismatched, Event::Mismatched, Event::Mismatched, Event::Suspicious]);
    assert_eq!((went.at, went.sent.len(), went.rcode()), (6, 2, Rcode::NOERROR));
}

#[test]
fn a_truncated_reply_is_asked_again_over_tcp() {
    let truncated = |query: &Judge| {
        let mut reply = reply(query, ResponseCode::NoError);
        reply.metadata.truncation = true;
        Does::Reply(1, reply.to_vec().expect("the judge writes"))
    };
    let went = run(candidates(2), |sent, query| match sent.channel {
        Channel::Datagram => vec![truncated(query)],
        Channel::Stream => vec![good(10, query)],
    });
    assert_eq!((went.at, went.sends(), went.rcode()), (11, vec![(0, 0), (1, 0)], Rcode::NOERROR));
    assert_eq!(went.sent[1].channel, Channel::Stream);

    // TCP does not work there: the next target, over UDP first.
    let went = run(candidates(2), |sent, query| match (sent.target, sent.channel) {
        (0, Channel::Datagram) => vec![truncated(query)],
        (0, Channel::Stream) => vec![Does::Refuse(1)],
        (_, Channel::Datagram) => vec![good(10, query)],
        _ => vec![],
    });
    assert_eq!((went.at, went.sends()), (12, vec![(0, 0), (1, 0), (2, 1)]));

    // TCP works nowhere: the truncated reply is not given.
    let went = run(candidates(1), |sent, query| match sent.channel {
        Channel::Datagram => vec![truncated(query)],
        Channel::Stream => vec![Does::Refuse(1)],
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
                .map(|(at, with_edns)| Sent { at, target: 0, channel: Channel::Datagram, with_edns })
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
    assert_eq!(went.counted, [Event::Malformed, Event::Malformed, Event::Silent], "the other one was silent");

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
    let mut candidates = candidates(2);
    candidates[1].turn = Turn::Probe;
    let went = run(candidates, |sent, query| vec![good(if sent.target == 0 { 10 } else { 5 }, query)]);
    assert_eq!((went.at, went.sends()), (5, vec![(0, 1), (0, 0)]));
}

#[test]
fn a_query_without_wishes() {
    let ask = Ask { dnssec_ok: false, checking_disabled: false, ..ask() };
    let mut exchange = Exchange::new(&candidates(1), Millis(0), Options::default());
    exchange.step(&ask, Input::Start, Millis(0), &mut StdRng::seed_from_u64(7), &mut Vec::new());
    exchange.set_id(AttemptId(0), 0x1234);
    let mut octets = [0; QUERY_OCTETS_MAX];
    let count = exchange.write_query(&ask, AttemptId(0), &mut octets);
    let query = Judge::from_vec(&octets[..count]).expect("the judge reads it");
    assert_eq!(query.metadata.id, 0x1234);
    assert!(!query.metadata.checking_disabled && !query.edns.expect("has EDNS").flags().dnssec_ok);
    let name = Name::from_ascii("db.corp.example.").expect("well-formed");
    assert_eq!(query.queries, [Query::query(name, RecordType::A)]);
    assert_eq!(exchange.write_query(&ask, AttemptId(1), &mut octets), 0, "there is no such attempt");
}

proptest! {
    /// Whatever comes, an exchange ends in time, and sends and listens within its bounds.
    #[test]
    fn bounds(
        targets in 1u8..7,
        patience in 50u16..=400,
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
        prop_assert!(went.sent.len() <= ATTEMPTS_MAX && went.at <= EXCHANGE_MILLIS_MAX);
    }
}
