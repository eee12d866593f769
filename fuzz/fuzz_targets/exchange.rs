//! Anything that can happen to an exchange: it ends once and in time, and sends and listens within its bounds.
//!
//! The octets are a script: first the targets and options, then what happens. A reply is our own query, made a reply
//! and changed where the script says so, or the script's octets as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plustwo::dns::{Class, Rtype};
use plustwo::forward::exchange::{
    ATTEMPTS_MAX, ATTEMPTS_OPEN_MAX, Attempt, AttemptId, Candidate, Channel, ClientCookie, Cookie, EXCHANGE_MILLIS_MAX,
    EdnsSupport, Ending, Exchange, Input, LINGER_MILLIS, Options, Output, QUERY_OCTETS_MAX, ServerCookie, TargetIndex,
    Turn,
};
use plustwo::forward::{Ask, ContextId, Millis};
use rand::SeedableRng;
use rand::rngs::StdRng;

const START: u64 = 1_000_000;

fuzz_target!(|script: &[u8]| {
    let mut script = Script(script);
    let candidates: Vec<_> = (0..script.next() % 8).map(|index| script.candidate(index)).collect();
    let options = Options { case_randomization: script.next() & 1 == 1, ..Options::default() };
    let ask = Ask {
        context: ContextId(0),
        qname: b"\x02db\x07example\x00",
        qtype: Rtype::A,
        class: Class::IN,
        dnssec_ok: false,
        checking_disabled: false,
    };
    let mut run = Run {
        exchange: Exchange::new(&candidates, Millis(START), options),
        ask,
        now: START,
        rng: StdRng::seed_from_u64(7),
        queries: Vec::new(),
        open: Vec::new(),
        sendings: 0,
        ended_at: None,
    };
    run.step(Input::Start);
    while !script.0.is_empty() {
        let [what, attempt, later] = [(); 3].map(|()| script.next());
        run.now += u64::from(later) * 2;
        let id = AttemptId(attempt % 34);
        let octets;
        let input = match what % 8 {
            0 => Input::Unreachable(id),
            1 => Input::Unsent(id),
            2 => Input::Suspicious(id),
            3 => Input::Tick,
            4 => {
                octets = script.octets().to_vec();
                Input::Message(id, &octets)
            }
            _ => {
                let query = run.queries.get(usize::from(id.0)).cloned().unwrap_or_default();
                octets = script.reply_to(&query, ask.qname.len() + 16);
                Input::Message(id, &octets)
            }
        };
        run.step(input);
    }
    for ticks in 0.. {
        if run.exchange.is_over() {
            break;
        }
        assert!(ticks < 200, "it goes on for ever");
        run.now = run.now.max(run.exchange.wake_at().0);
        run.step(Input::Tick);
    }
    assert!(run.ended_at.is_some() && run.open.is_empty());
});

/// What is left of the script; behind its end it is all zeros.
struct Script<'s>(&'s [u8]);

impl<'s> Script<'s> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Some octets, their number first.
    fn octets(&mut self) -> &'s [u8] {
        let count = usize::from(self.next()).min(self.0.len());
        let (octets, rest) = self.0.split_at(count);
        self.0 = rest;
        octets
    }

    fn candidate(&mut self, index: u8) -> Candidate {
        let [kind, patience] = [(); 2].map(|()| self.next());
        let server = ServerCookie::new(&[7; 16][..if kind & 0x40 == 0 { 0 } else { 16 }]).expect("none, or 16 octets");
        let cookie = Cookie { client: ClientCookie([index; 8]), server, is_expected: kind & 0x80 != 0 };
        Candidate {
            target: TargetIndex(index),
            channel: if kind & 1 == 0 { Channel::Datagram } else { Channel::Stream },
            patience_millis: u16::from(patience) * 4,
            turn: [Turn::InOrder, Turn::Measured, Turn::Suspect, Turn::Probe][usize::from(kind >> 1 & 3)],
            is_away: patience & 1 != 0,
            edns: [EdnsSupport::Unknown, EdnsSupport::Answers, EdnsSupport::PlainOnly, EdnsSupport::Answers]
                [usize::from(kind >> 3 & 3)],
            cookie: (kind & 0x20 != 0).then_some(cookie),
        }
    }

    /// A query made a reply: other flags, counts and records behind its question, and some octets overwritten.
    fn reply_to(&mut self, query: &[u8], question_end: usize) -> Vec<u8> {
        let mut reply = query[..question_end.min(query.len())].to_vec();
        if let Some(header) = reply.first_chunk_mut::<12>() {
            header[2] = 0x80 | self.next();
            header[3] = self.next();
            header[6..].fill(0);
            let counts = self.next();
            (header[7], header[9], header[11]) = (counts & 3, counts >> 2 & 3, counts >> 4 & 1);
        }
        reply.extend_from_slice(self.octets());
        for _ in 0..self.next() % 4 {
            let (at, octet) = (usize::from(self.next()), self.next());
            if let Some(place) = reply.get_mut(at) {
                *place = octet;
            }
        }
        reply
    }
}

/// An exchange, and what its driver knows.
struct Run<'a> {
    exchange: Exchange,
    ask: Ask<'a>,
    now: u64,
    rng: StdRng,
    queries: Vec<Vec<u8>>,
    open: Vec<Attempt>,
    sendings: usize,
    ended_at: Option<u64>,
}

impl Run<'_> {
    /// One step, held against the bounds.
    fn step(&mut self, input: Input<'_>) {
        let is_due = matches!(input, Input::Tick) && self.exchange.wake_at().0 <= self.now;
        let is_late = self.now > START + EXCHANGE_MILLIS_MAX;
        let had_ended = self.ended_at.is_some();
        let mut out = Vec::new();
        if let Some(ending) = self.exchange.step(&self.ask, input, Millis(self.now), &mut self.rng, &mut out) {
            assert!(!had_ended, "it ends once");
            self.ended_at = Some(self.now);
            match ending {
                Ending::Reply { message, .. } => assert!(message.is_reply() && message.octets().len() >= 12),
                Ending::Kept { octets, .. } => {
                    let message = plustwo::dns::message::Message::parse(&octets).expect("what is kept can be read");
                    assert!(message.is_reply() && message.question_matches(self.ask.qname, Rtype::A, Class::IN));
                }
                Ending::Error(_) => {}
            }
        }
        for output in out {
            match output {
                Output::Send(attempt) => {
                    assert!(!had_ended && usize::from(attempt.id.0) == self.queries.len());
                    self.exchange.set_id(attempt.id, 0x1234);
                    let mut octets = [0; QUERY_OCTETS_MAX];
                    let count = self.exchange.write_query(&self.ask, attempt.id, &mut octets);
                    assert!(count > 12);
                    self.queries.push(octets[..count].to_vec());
                    self.open.push(attempt);
                    self.sendings += 1;
                }
                Output::Resend(attempt) => {
                    assert!(!had_ended && self.open.contains(&attempt) && attempt.channel == Channel::Datagram);
                    self.sendings += 1;
                }
                Output::Close(attempt) => {
                    let at = self.open.iter().position(|open| *open == attempt).expect("closed once");
                    self.open.remove(at);
                }
                Output::Learned(..) | Output::Counted(_) => {}
            }
        }
        assert!(self.open.len() <= ATTEMPTS_OPEN_MAX && self.sendings <= ATTEMPTS_MAX);
        assert!(self.exchange.open_attempts().count() == self.open.len());
        assert!(!is_due || self.exchange.is_over() || self.exchange.wake_at().0 > self.now, "time goes on");
        assert!(!(is_due && is_late) || self.ended_at.is_some(), "it ends in time");
        if let Some(ended_at) = self.ended_at {
            assert!(self.exchange.is_over() || self.exchange.wake_at().0 <= ended_at + LINGER_MILLIS);
        }
    }
}
