//! Upstreams that answer strangely: with broken messages, with messages of others, twice, without EDNS, cut off. What is
//! not the answer is not believed, and it ends neither the wait nor the program.

mod support;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::ask::{self, Question};
use support::bars::{ADDRESS, FIRST_ANSWER_MAX, SERVFAIL_MAX, answers};
use support::raw;
use support::script::{Act, Asked, Scripted, octets};
use support::served::{Reply, Served, forwarding_to};

/// What no client may ever hear.
const FORGED: [u8; 4] = [203, 0, 113, 66];
/// The right answer comes this long behind the strange one.
const BEHIND: Duration = Duration::from_millis(150);

/// Makes of a query what an upstream sends before, or instead of, the right answer.
type Strange = fn(&Asked) -> Act;

/// A forged answer, changed.
fn forged(asked: &Asked, change: impl FnOnce(&mut Message)) -> Act {
    let mut reply = asked.records(&[&format!("@ 300 IN A {}", Ipv4Addr::from(FORGED))]);
    change(&mut reply);
    Act::Send(octets(&reply))
}

/// The octets of a forged answer, changed.
fn forged_octets(asked: &Asked, change: impl FnOnce(&mut Vec<u8>)) -> Act {
    let mut reply = asked.address(FORGED);
    change(&mut reply);
    Act::Send(reply)
}

/// What does not answer the query: not one octet of it may be believed (RFC 5452 section 9.1).
const NOT_THE_ANSWER: [(&str, Strange); 20] = [
    ("from another port", |asked| Act::SendFromAnotherPort(asked.address(FORGED))),
    ("from another address", |asked| {
        Act::SendFromAnotherAddress(IpAddr::V4(Ipv4Addr::new(127, 66, 66, 66)), asked.address(FORGED))
    }),
    ("another id", |asked| forged(asked, |reply| reply.metadata.id ^= 1)),
    ("the id turned round", |asked| forged(asked, |reply| reply.metadata.id = reply.metadata.id.swap_bytes() ^ 0x0100)),
    ("another name", |asked| {
        forged(asked, |reply| {
            let other = Name::from_ascii("other.public.example.").expect("a name");
            reply.queries[0].set_name(other.clone());
            reply.answers[0].name = other;
        })
    }),
    ("a name cut off", |asked| {
        forged(asked, |reply| {
            let parent = reply.queries[0].name().base_name();
            reply.queries[0].set_name(parent);
        })
    }),
    ("another type", |asked| {
        forged(asked, |reply| {
            reply.queries[0].set_query_type(RecordType::AAAA);
        })
    }),
    ("another class", |asked| {
        forged(asked, |reply| {
            reply.queries[0].set_query_class(DNSClass::CH);
        })
    }),
    ("two questions", |asked| {
        forged(asked, |reply| {
            let question = reply.queries[0].clone();
            reply.queries.push(question);
        })
    }),
    ("no question", |asked| forged(asked, |reply| reply.queries.clear())),
    ("QR clear", |asked| forged_octets(asked, |reply| reply[2] &= 0x7f)),
    ("another opcode", |asked| forged(asked, |reply| reply.metadata.op_code = OpCode::Status)),
    ("the query itself", |asked| Act::Send(asked.octets.clone())),
    ("a header only", |asked| {
        forged_octets(asked, |reply| {
            reply.truncate(12);
            reply[4..12].fill(0);
        })
    }),
    ("a header that promises more", |asked| forged_octets(asked, |reply| reply.truncate(12))),
    ("eleven octets", |asked| forged_octets(asked, |reply| reply.truncate(11))),
    ("an empty datagram", |_| Act::Send(Vec::new())),
    ("noise", |asked| Act::Send(noise(asked, 300))),
    ("much noise", |asked| Act::Send(noise(asked, 4_000))),
    ("text", |_| Act::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
];

/// Octets without sense, the same for the same query.
fn noise(asked: &Asked, count: usize) -> Vec<u8> {
    let mut state = asked.octets.iter().fold(7_u64, |state, octet| state.wrapping_mul(31) ^ u64::from(*octet));
    let next = move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Serves with one upstream, asks for one name, and gives the reply.
fn ask_once(script: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static) -> (Reply, Scripted, Served) {
    let upstream = Scripted::start(script);
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    (served.ask("www.public.example"), upstream, served)
}

#[test]
fn the_wait_goes_on_after_what_is_not_the_answer() {
    std::thread::scope(|scope| {
        for (what, strange) in NOT_THE_ANSWER {
            scope.spawn(move || {
                let (reply, _upstream, served) = ask_once(move |asked| {
                    if asked.over_tcp || asked.name().starts_with("other") {
                        return answers(asked);
                    }
                    vec![strange(asked), Act::SendLater(BEHIND, asked.address(ADDRESS))]
                });
                assert!(reply.is(ADDRESS), "{what}: {reply:?}");
                assert!(reply.took < FIRST_ANSWER_MAX, "{what}: {:?}", reply.took);
                // Nor has anything of it been kept.
                assert!(served.ask("www.public.example").is(ADDRESS), "{what}");
                assert!(served.ask("other.public.example").is(ADDRESS), "{what}");
            });
        }
    });
}

#[test]
fn what_is_not_the_answer_is_never_told() {
    std::thread::scope(|scope| {
        for (what, strange) in NOT_THE_ANSWER {
            scope.spawn(move || {
                // Over TCP, where suspicion may lead, nobody answers either.
                let script = move |asked: &Asked| if asked.over_tcp { Vec::new() } else { vec![strange(asked)] };
                let (reply, ..) = ask_once(script);
                assert_eq!((reply.rcode().as_str(), reply.addresses().len()), ("SERVFAIL", 0), "{what}: {reply:?}");
                assert!(reply.took < SERVFAIL_MAX, "{what}: {:?}", reply.took);
            });
        }
    });
}

#[test]
fn a_stream_of_forgeries_does_not_win() {
    // Every id but the right one, as many as come quicker than the answer.
    let (reply, ..) = ask_once(|asked| {
        if asked.over_tcp {
            return answers(asked);
        }
        let mut acts: Vec<Act> = (1..200)
            .map(|change| forged(asked, |reply| reply.metadata.id = reply.metadata.id.wrapping_add(change)))
            .collect();
        acts.push(Act::SendLater(BEHIND, asked.address(ADDRESS)));
        acts
    });
    assert!(reply.is(ADDRESS), "{reply:?}");
    assert!(reply.took < FIRST_ANSWER_MAX, "{:?}", reply.took);
}

#[test]
fn the_answer_in_another_case_is_the_answer() {
    let (reply, ..) = ask_once(|asked| {
        let mut reply = asked.address(ADDRESS);
        let octets = raw::question(&reply).len();
        reply[12..12 + octets].make_ascii_uppercase();
        vec![Act::Send(reply)]
    });
    assert!(reply.is(ADDRESS), "{reply:?}");
    assert_eq!(raw::question(&reply.octets)[..5], *b"\x03www\x06", "the client's own case comes back");
}

#[test]
fn the_answer_twice_is_one_answer() {
    let upstream = Scripted::start(|asked| {
        let (right, forged) = (asked.address(ADDRESS), asked.address(FORGED));
        vec![Act::Send(right.clone()), Act::Send(right), Act::Send(forged.clone()), Act::SendLater(BEHIND, forged)]
    });
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    let socket = ask::udp_client(served.client, served.door);
    for id in 0..50 {
        let name = format!("n{id}.public.example");
        socket.send(&Question::new(&name, "A").octets(id)).expect("it listens");
        let reply = ask::receive(&socket).expect("a reply");
        assert_eq!(reply[..2], id.to_be_bytes(), "each question has one reply");
        assert_eq!(raw::rdatas(&reply, &name, 1), [ADDRESS.to_vec()]);
    }
    // The second answer has changed nothing that was kept.
    std::thread::sleep(2 * BEHIND);
    for id in 0..50 {
        assert!(served.ask(&format!("n{id}.public.example")).is(ADDRESS));
    }
    socket.set_read_timeout(Some(Duration::from_millis(1))).expect("not zero");
    assert!(ask::receive(&socket).is_err(), "and nothing else is sent to the client");
}

/// How an upstream may treat EDNS, and what it says to a query without.
const EDNS: [(&str, Strange); 6] = [
    ("ignores it", |asked| {
        let mut reply = asked.records(&["@ 300 IN A 198.51.100.1"]);
        reply.edns = None;
        Act::Send(octets(&reply))
    }),
    ("FORMERR", |asked| Act::Send(octets(&asked.reply(ResponseCode::FormErr)))),
    ("FORMERR without an OPT", |asked| {
        let mut reply = asked.reply(ResponseCode::FormErr);
        reply.edns = None;
        Act::Send(octets(&reply))
    }),
    ("FORMERR, a header only", |asked| {
        let mut reply = octets(&asked.reply(ResponseCode::FormErr));
        reply.truncate(12);
        reply[4..12].fill(0);
        Act::Send(reply)
    }),
    ("NOTIMP", |asked| {
        let mut reply = asked.reply(ResponseCode::NotImp);
        reply.edns = None;
        Act::Send(octets(&reply))
    }),
    ("the query's OPT comes back", |asked| {
        let mut reply = asked.records(&["@ 300 IN A 198.51.100.1"]);
        reply.edns = asked.message.edns.clone();
        Act::Send(octets(&reply))
    }),
];

#[test]
fn upstreams_that_know_no_edns() {
    std::thread::scope(|scope| {
        for (what, with_edns) in EDNS {
            scope.spawn(move || {
                let (reply, upstream, served) = ask_once(move |asked| match asked.message.edns {
                    Some(_) => vec![with_edns(asked)],
                    None => answers(asked),
                });
                assert!(reply.is(ADDRESS), "{what}: {reply:?}");
                assert!(reply.took < FIRST_ANSWER_MAX, "{what}: {:?}", reply.took);
                assert!(reply.message.edns.is_some(), "{what}: EDNS is hop by hop");
                for number in 0..5 {
                    assert!(served.ask(&format!("n{number}.public.example")).is(ADDRESS), "{what}");
                }
                let asked = upstream.asked().len();
                assert!(asked <= 12, "{what}: {asked} queries for six names");
            });
        }
    });
}

/// A connection for each question, also where many wait at once.
#[test]
fn an_upstream_that_answers_one_question_a_connection() {
    let upstream = Scripted::start(|asked| match asked.over_tcp {
        true => answers(asked).into_iter().chain([Act::Close]).collect(),
        false => vec![Act::Send(asked.truncated())],
    });
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    std::thread::scope(|scope| {
        let served = &served;
        let asking: Vec<_> =
            (0..20).map(|number| scope.spawn(move || served.ask(&format!("n{number}.public.example")))).collect();
        for asking in asking {
            let reply = asking.join().expect("it is asked");
            assert!(reply.is(ADDRESS), "{reply:?}");
        }
    });
}

/// RFC 6891 section 6.2.2: it answered EDNS, until something on the way began to drop it.
#[test]
fn an_upstream_that_ceases_to_answer_edns() {
    let drops = Arc::new(AtomicBool::new(false));
    let upstream = {
        let drops = Arc::clone(&drops);
        Scripted::start(move |asked| match drops.load(Ordering::SeqCst) && asked.message.edns.is_some() {
            true => Vec::new(),
            false => answers(asked),
        })
    };
    let served = Served::on_loopback(&forwarding_to(&[upstream.address()]));
    for number in 0..5 {
        assert!(served.ask(&format!("before{number}.public.example")).is(ADDRESS));
    }
    drops.store(true, Ordering::SeqCst);
    // The first one does not know yet, and by its end it is known; one that left in the millisecond of the last answer
    // may pass for slow.
    let lost = (0..3).take_while(|number| !served.ask(&format!("change{number}.public.example")).is(ADDRESS)).count();
    assert!(lost < 3, "it is never asked without EDNS");
    for number in 0..5 {
        let reply = served.ask(&format!("after{number}.public.example"));
        assert!(reply.is(ADDRESS) && reply.took < FIRST_ANSWER_MAX, "{reply:?}");
    }
}

#[test]
fn upstreams_that_truncate_everything() {
    let whole: Strange = |asked| Act::Send(asked.truncated());
    let with_records: Strange = |asked| forged(asked, |reply| reply.metadata.truncation = true);
    let cut: Strange = |asked| {
        forged_octets(asked, |reply| {
            reply[2] |= 2;
            reply.truncate(reply.len() - 13);
        })
    };
    for (what, truncated) in [("nothing in it", whole), ("records in it", with_records), ("cut off", cut)] {
        let (reply, upstream, _served) =
            ask_once(move |asked| if asked.over_tcp { answers(asked) } else { vec![truncated(asked)] });
        assert!(reply.is(ADDRESS) && !reply.message.metadata.truncation, "{what}: {reply:?}");
        assert!(reply.took < FIRST_ANSWER_MAX, "{what}: {:?}", reply.took);
        assert!(upstream.asked().iter().any(|asked| asked.over_tcp), "{what}");
    }
    // Over TCP too: that is no answer.
    let (reply, ..) = ask_once(|asked| vec![Act::Send(asked.truncated())]);
    assert_eq!(reply.rcode(), "SERVFAIL", "{reply:?}");
    assert!(reply.took < SERVFAIL_MAX, "{:?}", reply.took);
}

/// Makes of a query what an upstream does.
type Does = fn(&Asked) -> Vec<Act>;

/// What an upstream may do over TCP instead of answering.
const STREAMS: [(&str, Does); 8] = [
    ("closes", |_| vec![Act::Close]),
    ("says nothing", |_| Vec::new()),
    ("half a length", |_| vec![Act::Write(vec![0]), Act::Close]),
    ("half a message", |asked| {
        let reply = asked.address(FORGED);
        let mut framed = (reply.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&reply[..reply.len() / 2]);
        vec![Act::Write(framed)]
    }),
    ("promises 65,535 octets", |asked| vec![Act::Write([&[255, 255], &asked.address(FORGED)[..]].concat())]),
    ("no octets", |_| vec![Act::Write(vec![0, 0]), Act::Close]),
    ("another id", |asked| vec![forged(asked, |reply| reply.metadata.id ^= 1), Act::Close]),
    ("another name", |asked| {
        let other = |reply: &mut Message| {
            reply.queries[0].set_name(Name::from_ascii("other.public.example.").expect("a name"));
        };
        vec![forged(asked, other), Act::Close]
    }),
];

#[test]
fn what_may_go_wrong_over_tcp() {
    std::thread::scope(|scope| {
        for (what, over_tcp) in STREAMS {
            scope.spawn(move || {
                let script = move |asked: &Asked| {
                    if asked.over_tcp { over_tcp(asked) } else { vec![Act::Send(asked.truncated())] }
                };
                let (reply, ..) = ask_once(script);
                assert_eq!((reply.rcode().as_str(), reply.addresses().len()), ("SERVFAIL", 0), "{what}: {reply:?}");
                assert!(reply.took < SERVFAIL_MAX, "{what}: {:?}", reply.took);
                // With another target there is an answer, in time for the client that asked.
                let (bad, good) = (Scripted::start(script), Scripted::start(answers));
                let served = Served::on_loopback(&forwarding_to(&[bad.address(), good.address()]));
                for number in 0..3 {
                    let reply = served.ask(&format!("n{number}.public.example"));
                    assert!(reply.is(ADDRESS), "{what}: {reply:?}");
                    assert!(reply.took < SERVFAIL_MAX, "{what}: {:?}", reply.took);
                }
            });
        }
    });
}

/// Answers that cannot be read to their end, and are no answers.
const BROKEN: [(&str, Strange); 6] = [
    ("a record cut off", |asked| forged_octets(asked, |reply| reply.truncate(reply.len() - 13))),
    ("more records promised", |asked| forged_octets(asked, |reply| reply[6..8].fill(255))),
    ("rdata beyond the end", |asked| {
        forged_octets(asked, |reply| {
            let length = raw::question(reply).len() + 12 + 2 + 8;
            reply[length..length + 2].fill(255);
        })
    }),
    ("an owner that points at itself", |asked| {
        forged_octets(asked, |reply| {
            let owner = raw::question(reply).len() + 12;
            reply[owner..owner + 2].copy_from_slice(&(0xc000 | owner as u16).to_be_bytes());
        })
    }),
    ("an owner that points beyond the end", |asked| {
        forged_octets(asked, |reply| {
            let owner = raw::question(reply).len() + 12;
            reply[owner..owner + 2].fill(255);
        })
    }),
    ("a label of a type that is gone", |asked| {
        forged_octets(asked, |reply| {
            let owner = raw::question(reply).len() + 12;
            reply[owner] = 0x41;
        })
    }),
];

#[test]
fn answers_that_cannot_be_read() {
    std::thread::scope(|scope| {
        for (what, broken) in BROKEN {
            scope.spawn(move || {
                let (reply, ..) = ask_once(move |asked| vec![broken(asked)]);
                assert_eq!((reply.rcode().as_str(), reply.addresses().len()), ("SERVFAIL", 0), "{what}: {reply:?}");
                assert!(reply.took < SERVFAIL_MAX, "{what}: {:?}", reply.took);
                let (bad, good) = (Scripted::start(move |asked| vec![broken(asked)]), Scripted::start(answers));
                let served = Served::on_loopback(&forwarding_to(&[bad.address(), good.address()]));
                let reply = served.ask("www.public.example");
                assert!(reply.is(ADDRESS) && reply.took < FIRST_ANSWER_MAX, "{what}: {reply:?}");
            });
        }
    });
}

#[test]
fn failures_of_an_upstream_are_no_success() {
    for code in [1_u8, 2, 4, 5, 6, 9, 11, 15] {
        let script = move |asked: &Asked| {
            let mut reply = octets(&asked.reply(ResponseCode::NoError));
            reply[3] |= code;
            vec![Act::Send(reply)]
        };
        // With nobody else to ask, the failure is passed on or becomes SERVFAIL, never NOERROR or NXDOMAIN.
        let (reply, ..) = ask_once(script);
        let rcode = reply.rcode();
        assert!(rcode != "NOERROR" && rcode != "NXDOMAIN", "{code} becomes {rcode}");
        assert!(reply.took < SERVFAIL_MAX, "{code}: {:?}", reply.took);
        // With somebody else, that one is asked about what is this server's own trouble.
        if ![1, 2, 4, 5].contains(&code) {
            continue;
        }
        let (bad, good) = (Scripted::start(script), Scripted::start(answers));
        let served = Served::on_loopback(&forwarding_to(&[bad.address(), good.address()]));
        let reply = served.ask("www.public.example");
        assert!(reply.is(ADDRESS) && reply.took < FIRST_ANSWER_MAX, "{code}: {reply:?}");
    }
}
