//! Whatever comes, an exchange ends once and in time, and sends and listens within its bounds. [`Run::step`] checks the
//! bounds at every step.

use proptest::prelude::*;

use super::*;

/// What a scripted reply looks like.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Rcode(u8),
    Truncated,
    Referral,
    HeaderAlone(u8),
    OtherId,
    OtherType,
    OtherCase,
    Cut,
    BadCookie,
    Garbage,
}

#[test]
fn of_a_failing_reply_only_the_rcode_is_kept() {
    let large = |query: &Judge| {
        let octets = changed(query, ResponseCode::Refused, |reply| {
            let owner = query.queries[0].name().clone();
            let texts = |n| TXT::new((0..100).map(|_| format!("{n:0250}")).collect());
            (0..2).for_each(|n| reply.answers.push(Record::from_rdata(owner.clone(), 60, RData::TXT(texts(n)))));
        });
        assert!(octets.len() > 50_000);
        Does::Reply(1, octets)
    };
    let went = run(candidates(2), |sent, query| match sent.target {
        0 => vec![large(query)],
        _ => vec![],
    });
    assert_eq!((went.at, went.by, went.rcode()), (3800, Some(0), Rcode::REFUSED));
    let kept = went.result.expect("there is a reply");
    let kept = Message::parse(&kept).expect("it is one");
    assert!(kept.question_matches(QNAME, Rtype::A, Class::IN) && kept.section_counts() == [0; 3]);
    assert!(kept.octets().len() <= QUERY_OCTETS_MAX, "{} octets", kept.octets().len());
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        (0u8..16).prop_map(Shape::Rcode),
        Just(Shape::Truncated),
        Just(Shape::Referral),
        (0u8..16).prop_map(Shape::HeaderAlone),
        Just(Shape::OtherId),
        Just(Shape::OtherType),
        Just(Shape::OtherCase),
        Just(Shape::Cut),
        Just(Shape::BadCookie),
        Just(Shape::Garbage),
    ]
}

/// A reply of this shape to a query of ours, put together octet by octet.
fn shaped(query: &[u8], shape: Shape) -> Vec<u8> {
    let question_end = 12 + QNAME.len() + 4;
    let mut reply = query[..question_end].to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..12].fill(0);
    match shape {
        Shape::Rcode(rcode) => reply[3] |= rcode,
        Shape::Truncated => reply[2] |= 2,
        Shape::Referral => {
            reply[9] = 1;
            reply.extend(b"\x00\x00\x02\x00\x01\x00\x00\x00\x3c\x00\x01\x00");
        }
        Shape::HeaderAlone(rcode) => {
            reply.truncate(12);
            reply[3] |= rcode;
            reply[5] = 0;
        }
        Shape::OtherId => reply[1] ^= 1,
        Shape::OtherType => reply[question_end - 3] ^= 2,
        Shape::OtherCase => reply[13] ^= 0x20,
        Shape::Cut => reply[7] = 1,
        Shape::BadCookie => {
            reply[3] |= 7;
            reply[11] = 1;
            reply.extend(
                b"\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x14\x00\x0a\x00\x10\x01\x01\x01\x01\x01\x01\x01\x01",
            );
            reply.extend(&reply.clone()[..8]);
        }
        Shape::Garbage => reply = vec![0xc0; 40],
    }
    reply
}

/// A target of any kind.
fn candidate() -> impl Strategy<Value = Candidate> {
    let turn = prop::sample::select(vec![Turn::InOrder, Turn::Measured, Turn::Suspect, Turn::Probe]);
    let edns = prop::sample::select(vec![EdnsSupport::Unknown, EdnsSupport::Answers, EdnsSupport::PlainOnly]);
    let cookie = prop::option::of(any::<bool>().prop_map(|is_expected| Cookie {
        client: ClientCookie([1; 8]),
        server: ServerCookie::default(),
        is_expected,
    }));
    let kind = (any::<bool>(), 0u16..1000, turn, any::<bool>(), edns, cookie);
    kind.prop_map(|(is_stream, patience_millis, turn, is_away, edns, cookie)| {
        let channel = if is_stream { Channel::Stream } else { Channel::Datagram };
        Candidate { target: TargetIndex(0), channel, patience_millis, turn, is_away, edns, cookie }
    })
}

/// What happens, and how many milliseconds after what happened before.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Reply(u8, Shape),
    Refused(u8),
    Unsent(u8),
    Suspicious(u8),
    Tick,
    Start,
}

fn happens() -> impl Strategy<Value = (u64, Happens)> {
    let what = prop_oneof![
        6 => (0u8..34, shape()).prop_map(|(attempt, shape)| Happens::Reply(attempt, shape)),
        1 => (0u8..34).prop_map(Happens::Refused),
        1 => (0u8..34).prop_map(Happens::Unsent),
        1 => (0u8..34).prop_map(Happens::Suspicious),
        3 => Just(Happens::Tick),
        1 => Just(Happens::Start),
    ];
    (prop_oneof![Just(0), 0u64..600], what)
}

proptest! {
    /// Upstreams that answer each query as a script says.
    #[test]
    fn with_scripted_upstreams(
        mut candidates in prop::collection::vec(candidate(), 0..8),
        case_randomization in any::<bool>(),
        script in prop::collection::vec((prop::option::weighted(0.8, shape()), 0u64..1500), 1..40),
    ) {
        for (index, candidate) in candidates.iter_mut().enumerate() {
            candidate.target = TargetIndex(index as u8);
        }
        let options = Options { case_randomization, ..Options::default() };
        let mut next = 0;
        let went = run_with(options, candidates, |_, query| {
            let (shape, delay) = script[next % script.len()];
            next += 1;
            let octets = query.to_vec().expect("the judge writes");
            vec![shape.map_or(Does::Refuse(delay), |shape| Does::Reply(delay, shaped(&octets, shape)))]
        });
        prop_assert!(went.at <= EXCHANGE_MILLIS_MAX && went.over_at <= went.at + LINGER_MILLIS);
    }

    /// Inputs in any order, for attempts that there are and others; then time alone.
    #[test]
    fn with_any_inputs(
        mut candidates in prop::collection::vec(candidate(), 0..8),
        case_randomization in any::<bool>(),
        inputs in prop::collection::vec(happens(), 0..120),
    ) {
        for (index, candidate) in candidates.iter_mut().enumerate() {
            candidate.target = TargetIndex(index as u8);
        }
        let mut run = Run::new(Options { case_randomization, ..Options::default() }, &candidates);
        let mut nobody = |_: &Sent, _: &Judge| vec![];
        run.step(Input::Start, &mut nobody);
        for (later, happens) in inputs {
            run.now += later;
            let query = |attempt: u8| run.attempts.get(usize::from(attempt)).map(|attempt| attempt.octets.clone());
            let octets;
            let input = match happens {
                Happens::Reply(attempt, shape) => {
                    octets = query(attempt).map_or_else(Vec::new, |query| shaped(&query, shape));
                    Input::Message(AttemptId(attempt), &octets)
                }
                Happens::Refused(attempt) => Input::Unreachable(AttemptId(attempt)),
                Happens::Unsent(attempt) => Input::Unsent(AttemptId(attempt)),
                Happens::Suspicious(attempt) => Input::Suspicious(AttemptId(attempt)),
                Happens::Tick => Input::Tick,
                Happens::Start => Input::Start,
            };
            run.step(input, &mut nobody);
        }
        let mut ticks = 0;
        while !run.exchange.is_over() {
            run.now = run.now.max(run.exchange.wake_at().0);
            run.step(Input::Tick, &mut nobody);
            ticks += 1;
            prop_assert!(ticks < 200, "it goes on for ever");
        }
        run.over();
    }
}
