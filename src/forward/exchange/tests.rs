//! A scripted upstream and a hand clock. hickory-proto reads every query that we send, and writes the replies.

mod bounds;
mod cookies;
mod edns;
mod failover;
mod loss;
mod streams;
mod trust;

use hickory_proto::op::{Message as Judge, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::{A, NS, TXT};
use hickory_proto::rr::{Name, RData, Record};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

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
    /// Whose reply it is.
    by: Option<u8>,
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

    /// What was learned of one target.
    fn learned_of(&self, target: u8) -> Vec<Observation> {
        self.learned.iter().filter(|(of, _)| *of == target).map(|(_, observation)| *observation).collect()
    }

    /// Over what each query was sent.
    fn channels(&self) -> Vec<Channel> {
        self.sent.iter().map(|sent| sent.channel).collect()
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

/// The same with this patience.
fn patient(count: u8, patience_millis: u16) -> Vec<Candidate> {
    candidates(count).into_iter().map(|candidate| Candidate { patience_millis, ..candidate }).collect()
}

/// What an answer over this channel shows, of a target that knows EDNS.
fn answered(channel: Channel, millis: u32) -> Observation {
    Observation::Answered(Answer { channel, millis, edns: EdnsSupport::Answers, kept_case: false, gave_cookie: false })
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
    let mut run = Run::new(options, &candidates);
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
                run.now = run.now.max(run.exchange.wake_at().0);
                run.step(Input::Tick, &mut upstream);
            }
        }
    }
    run.over()
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
    /// An exchange that has not begun.
    fn new(options: Options, candidates: &[Candidate]) -> Self {
        Self {
            exchange: Exchange::new(candidates, Millis(START), options),
            now: START,
            rng: StdRng::seed_from_u64(7),
            attempts: Vec::new(),
            coming: Vec::new(),
            went: Went {
                at: 0,
                result: Err(ExchangeError::Abandoned),
                by: None,
                sent: Vec::new(),
                learned: Vec::new(),
                counted: Vec::new(),
                over_at: 0,
            },
            has_ended: false,
        }
    }

    /// How it went, once it is over.
    fn over(mut self) -> Went {
        assert!(self.has_ended && self.exchange.is_over(), "an exchange has an ending");
        assert!(self.attempts.iter().all(|attempt| !attempt.is_open), "what was sent was closed");
        self.went.over_at = self.now - START;
        self.went
    }

    /// One step, and what comes of it.
    fn step(&mut self, input: Input<'_>, upstream: &mut impl FnMut(&Sent, &Judge) -> Vec<Does>) {
        let mut out = Outputs::new();
        let is_due = matches!(input, Input::Tick) && self.exchange.wake_at().0 <= self.now;
        let ending = self.exchange.step(&ask(), input, Millis(self.now), &mut self.rng, &mut out);
        let is_end = ending.is_some();
        if let Some(ending) = ending {
            assert!(!std::mem::replace(&mut self.has_ended, true), "it ends once");
            self.went.at = self.now - START;
            (self.went.result, self.went.by) = match ending {
                Ending::Reply { message, target } => (Ok(message.octets().to_vec()), Some(target.0)),
                Ending::Kept { octets, target } => (Ok(octets), Some(target.0)),
                Ending::Error(error) => (Err(error), None),
            };
        }
        for output in out {
            match output {
                Output::Send(attempt) => {
                    assert!(!is_end && usize::from(attempt.id.0) == self.attempts.len());
                    self.exchange.set_id(attempt.id, self.rng.random());
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
        assert!(!is_due || self.exchange.is_over() || self.exchange.wake_at().0 > self.now, "time goes on");
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
    assert!(header.recursion_desired && header.checking_disabled && header.authentic_data);
    assert_eq!(query.queries.len(), 1);
    assert_eq!(query.queries[0].name().to_string().to_ascii_lowercase(), "db.corp.example.");
    if let Some(edns) = &query.edns {
        assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (1232, 0, true));
        let only_cookies = edns.options().as_ref().iter().all(|(code, _)| *code == EdnsCode::Cookie);
        assert!(only_cookies, "no client subnet");
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

/// The octets of a reply after some change.
fn changed(query: &Judge, rcode: ResponseCode, change: impl FnOnce(&mut Judge)) -> Vec<u8> {
    let mut reply = reply(query, rcode);
    change(&mut reply);
    reply.to_vec().expect("the judge writes")
}

/// A good reply with TC.
fn truncated(delay: u64, query: &Judge) -> Does {
    Does::Reply(delay, changed(query, ResponseCode::NoError, |reply| reply.metadata.truncation = true))
}

/// A reply with this rcode.
fn failing(delay: u64, query: &Judge, rcode: ResponseCode) -> Does {
    Does::Reply(delay, octets(query, rcode))
}

/// A reply that says who else might know, and nothing more.
fn referral(delay: u64, query: &Judge) -> Does {
    let octets = changed(query, ResponseCode::NoError, |reply| {
        reply.answers.clear();
        let server = NS(Name::from_ascii("ns.example.").expect("well-formed"));
        reply.add_authority(Record::from_rdata(
            Name::from_ascii("example.").expect("well-formed"),
            60,
            RData::NS(server),
        ));
    });
    Does::Reply(delay, octets)
}

/// The COOKIE option of a query or reply.
fn cookie_of(message: &Judge) -> Option<Vec<u8>> {
    match message.edns.as_ref()?.option(EdnsCode::Cookie)? {
        EdnsOption::Unknown(_, octets) => Some(octets.clone()),
        other => panic!("no cookie: {other:?}"),
    }
}
